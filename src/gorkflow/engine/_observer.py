"""The observer of an engine: it sees what is recorded, and never changes it.

An engine without observers pays an ``if`` in a few places. An observer that raises is logged once,
and fails no run. The same holds for the redaction of what it would see.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import structs

from gorkflow._text import brief

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from gorkflow.clock import Times
    from gorkflow.events import Event
    from gorkflow.machine import RunStep
    from gorkflow.redaction import Redaction
    from gorkflow.store import RunRow, Transition, Written

T = TypeVar("T")
logger = logging.getLogger("gorkflow.engine")

Sent = dict[str, dict[str, str]]
"""Texts that go with a remote job, by the function ``module:name`` that is called with them there.
That function returns another one, which is called when the handler has ended."""


class Activation:
    """The time of one run in one engine, as an observer sees it. Does nothing by itself.

    It begins when the run gets its turn. It ends when the run has ended, is suspended, or leaves
    the engine for another reason. Called on the event loop, but for ``enter``.
    """

    trace: str = ""
    """The trace that the run belongs to, to be kept with it; empty: as before."""

    def begin(self, at: float, context: Context) -> None:
        """See the run begin or continue.

        Args:
            at: when, in seconds since the epoch.
            context: the context variables that its functions will see. They may be set.
        """

    def recorded(self, row: RunRow, events: Sequence[Event]) -> None:
        """See events that are durable, before anything is done about them."""

    def enter(self, command: RunStep, at: float) -> Callable[[], object] | None:
        """See a handler begin, where it runs: in its thread, with its context variables.

        Returns:
            A function to call, in the same place, once it has ended.
        """

    def sent(self, command: RunStep, at: float) -> Sent:
        """See an attempt sent elsewhere, and return what goes with it."""
        return {}

    def left(self, row: RunRow, at: float) -> None:
        """See the run end, or leave the engine."""


class Observer:
    """Sees what an engine records. Does nothing by itself; called on the event loop."""

    def opened(self, strays: Callable[[], int]) -> None:
        """See an engine open; ``strays`` counts its stray threads, and any thread may call it."""

    def closed(self, strays: Callable[[], int]) -> None:
        """See it close."""

    def wrote(self, events: int, seconds: float) -> None:
        """See a batch written: so many events, and how long that took."""

    def cancelled(self, row: RunRow) -> None:
        """See a run end that was in no engine: nothing else is called for it."""

    def activation(self, row: RunRow, context: Context) -> Activation:
        """Return what will see a run, new or taken over.

        Args:
            row: its summary; of a new run, the ``seq`` is 0.
            context: the context variables of who starts it, if it is new.
        """
        return Activation()


class Telemetry:
    """Something that an engine reports to. ``Engine(telemetry=…)`` takes one, or several."""

    observers: Sequence[Observer] = ()


class _Guard:
    """Calls observers. An error is logged, once for each method, and never raised."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    def __call__(self, function: Callable[..., T], *args: Any) -> T | None:
        try:
            return function(*args)
        except Exception:
            name = getattr(function, "__qualname__", repr(function))
            if name not in self._failed:
                self._failed.add(name)
                logger.exception(
                    "%s() failed; the runs continue, but what it reports may lack parts; the next "
                    "such error is not logged",
                    name,
                )
            return None


class Activations:
    """The time of one run in one engine, as all observers of the engine see it: without secrets."""

    __slots__ = ("_guard", "_parts")

    def __init__(self, parts: Sequence[Activation], guard: _Guard) -> None:
        self._parts = parts
        self._guard = guard

    def trace(self, before: str) -> str:
        """Return the trace to be kept with the run, which has another one, or the same."""
        for part in self._parts:
            if part.trace:
                return part.trace
        return before

    def begin(self, at: float, context: Context) -> None:
        for part in self._parts:
            self._guard(part.begin, at, context)

    def recorded(self, row: RunRow, events: Sequence[Event], redaction: Redaction | None) -> None:
        if redaction is not None:
            shown = self._guard(_without_secrets, redaction, row, events)
            if shown is None:
                return
            row, events = shown
        for part in self._parts:
            self._guard(part.recorded, row, events)

    def enter(self, command: RunStep, at: float) -> Callable[[], object]:
        """See a handler begin; return what is to be called when it has ended."""
        ends = [self._guard(part.enter, command, at) for part in self._parts]
        return partial(self._leave, [end for end in ends if end is not None])

    def _leave(self, ends: Sequence[Callable[[], object]]) -> None:
        for end in reversed(ends):
            self._guard(end)

    def sent(self, command: RunStep, at: float) -> Sent:
        sent: Sent = {}
        for part in self._parts:
            sent.update(self._guard(part.sent, command, at) or {})
        return sent

    def left(self, row: RunRow, at: float, redaction: Redaction | None) -> None:
        if redaction is not None:
            shown = self._guard(_without_secrets, redaction, row, ())
            # An activation that began has to end, so it is told even if nothing can be said.
            row = structs.replace(row, reason="") if shown is None else shown[0]
        for part in self._parts:
            self._guard(part.left, row, at)


def _without_secrets(
    redaction: Redaction, row: RunRow, events: Sequence[Event]
) -> tuple[RunRow, Sequence[Event]]:
    row = structs.replace(row, reason=redaction.text(row.reason))
    return row, redaction.shown(tuple(events))


class Observers:
    """All observers of an engine.

    Args:
        observers: one or more.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._guard = _Guard()

    def opened(self, strays: Callable[[], int]) -> None:
        for each in self._observers:
            self._guard(each.opened, strays)

    def closed(self, strays: Callable[[], int]) -> None:
        for each in self._observers:
            self._guard(each.closed, strays)

    def wrote(self, events: int, seconds: float) -> None:
        for each in self._observers:
            self._guard(each.wrote, events, seconds)

    def cancelled(self, row: RunRow) -> None:
        for each in self._observers:
            self._guard(each.cancelled, row)

    def activation(self, row: RunRow, context: Context) -> Activations:
        found = [self._guard(each.activation, row, context) for each in self._observers]
        return Activations([each for each in found if each is not None], self._guard)


class Commits:
    """Measures the commits of an engine.

    Args:
        observers: see each that succeeded.
        clock: the engine's.
    """

    def __init__(self, observers: Observers, clock: Times) -> None:
        self._observers = observers
        self._clock = clock

    def begin(self) -> float:
        return self._clock.monotonic()

    def end_with(
        self, answer: asyncio.Future[list[Written]], began: float, batch: Sequence[Transition]
    ) -> None:
        """Measure a commit that began at this time, as soon as the store has answered."""

        def answered(_: object = None) -> None:
            if not answer.cancelled() and answer.exception() is None:
                events = sum(len(item.events) for item in batch)
                self._observers.wrote(events, self._clock.monotonic() - began)

        if answer.done():
            answered()
        else:
            answer.add_done_callback(answered)


def observers_of(given: Telemetry | Iterable[Telemetry] | None) -> Observers | None:
    """Return the observers that an engine was given; ``None``: none.

    Raises:
        TypeError: If one is not of ``gorkflow.telemetry``.
    """
    if given is None:
        return None
    found = list(given) if isinstance(given, Iterable) else [given]
    for each in found:
        if not isinstance(each, Telemetry):
            raise TypeError(
                f"telemetry takes objects of gorkflow.telemetry, such as OpenTelemetry(), not "
                f"{brief(each)}"
            )
    observers = [observer for each in found for observer in each.observers]
    return Observers(observers) if observers else None


def entered(sent: Sent) -> Callable[[], None]:
    """Enter, elsewhere, what observers sent with a job; return what ends that.

    They may have no code here: then nothing is entered.
    """
    ends: list[Callable[[], object]] = []
    for reference, texts in sent.items():
        module, _, name = reference.partition(":")
        with suppress(Exception):
            ends.append(getattr(import_module(module), name)(texts))

    def leave() -> None:
        for end in reversed(ends):
            with suppress(Exception):
                end()

    return leave
