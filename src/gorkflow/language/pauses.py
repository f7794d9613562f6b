"""The pauses of a workflow: sleeps, and waits for a signal."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import inf
from types import GenericAlias
from typing import Any

from msgspec import Struct

from gorkflow._durations import due_of, seconds_of
from gorkflow._text import brief
from gorkflow.codec import codec_of
from gorkflow.flow import SleepSpec, TimeSpec, WaitSpec
from gorkflow.language.elements import UNSET
from gorkflow.language.options import chosen_id
from gorkflow.language.signature import Condition, asked_function
from gorkflow.language.typecheck import NOTHING, Element, Place, Record, Value, Walk
from gorkflow.node import Node
from gorkflow.signal import Signal


class Time(Struct, frozen=True):
    """The time that a pause takes. At most one of these is set; none: without end."""

    seconds: float | None = None
    until: float | None = None
    """Seconds since the epoch."""
    function: Condition | None = None
    """Says one of the two from the value."""
    is_due: bool = False
    """True if the function says the second."""

    def typed(self, walk: Walk, value: Value, place: Place, pause_id: str) -> Any:
        """Check the function; return the annotation of what arrives, ``None`` for nothing."""
        if self.function is not None:
            what = f"the time of {pause_id!r},"
            walk.fit(self.function.name, self.function.params, value, what=what)
            walk.record.times[place.at(pause_id)] = self.function
        return None if value.annotation is NOTHING else value.annotation

    @property
    def asks(self) -> TimeSpec | None:
        if self.function is None:
            return None
        return TimeSpec(function=self.function.name, is_due=self.is_due)


class Sleep(Struct, Element, frozen=True):
    """A time to wait; its output is its input."""

    named_by_options = False
    id: str
    time: Time

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Hand the value on."""
        walk.record.outputs[place.at(self.id)] = self.time.typed(walk, value, place, self.id)
        return value._replace(ids=value.ids | {self.id})

    def compiled(self, record: Record, place: Place) -> SleepSpec:
        time = self.time
        return SleepSpec(id=self.id, seconds=time.seconds, until=time.until, asks=time.asks)


class Wait(Struct, Element, frozen=True):
    """A signal to wait for."""

    named_by_options = False
    id: str
    signal: str
    """Its name."""
    annotation: Any
    """The annotation of its payload."""
    time: Time
    default: Any = None
    """When timed out, if ``has_default``; else the wait fails."""
    has_default: bool = False

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Return the pair of the value and the payload."""
        given = self.time.typed(walk, value, place, self.id)
        path = place.at(self.id)
        annotation = GenericAlias(tuple, (given, self.annotation))
        walk.record.outputs[path] = annotation
        walk.record.payloads[path] = self.annotation
        if self.has_default:
            walk.default(f"signal {self.signal!r}", self.default, self.annotation, path)
        return Value(annotation, sources=(self.id,), ids=value.ids | {self.id})

    def compiled(self, record: Record, place: Place) -> WaitSpec:
        return WaitSpec(
            id=self.id,
            signal=self.signal,
            schema=codec_of(self.annotation).digest(),
            timeout=self.time.seconds,
            until=self.time.until,
            asks=self.time.asks,
            default=record.default(place.at(self.id)),
        )

    def awaited(self) -> Sequence[tuple[str, Any]]:
        return ((self.signal, self.annotation),)


def make_sleep(problems: list[str], *, duration: Any, until: Any, id: Any) -> Sleep:
    """Return a sleep; add what is wrong with it."""
    sleep_id = chosen_id("sleep", id, "sleep", problems)
    time = Time()
    if duration is UNSET and until is None:
        problems.append("a sleep needs to know how long: sleep(seconds) or sleep(until=…)")
    elif duration is not UNSET and until is not None:
        problems.append("a sleep takes either a duration or until=, not both")
    elif until is not None:
        time = _due(until, problems)
    else:
        time = _duration(duration, "a sleep", problems)
    return Sleep(sleep_id, time)


def make_wait(
    problems: list[str], *, signal: Any, timeout: Any, until: Any, default: Any, id: Any
) -> Wait | None:
    """Return a wait, or ``None`` if it can't be made; add its problems."""
    if not isinstance(signal, Signal):
        problems.append(f"wait_for takes a Signal(name, type), not {brief(signal)}")
        return None
    wait_id = chosen_id("wait", id, signal.name, problems)
    time = Time()
    if timeout is not None and until is not None:
        problems.append("wait_for takes either timeout= or until=, not both")
    elif until is not None:
        time = _due(until, problems)
    elif timeout is not None:
        time = _duration(timeout, "timeout", problems, waits=True)
    if default is not UNSET and time == Time() and not problems:
        problems.append(
            f"the wait for {signal.name!r} has a default, but no timeout after which it would "
            "be used: give it a timeout="
        )
    return Wait(
        wait_id,
        signal.name,
        signal.type,
        time,
        default=None if default is UNSET else default,
        has_default=default is not UNSET,
    )


def _duration(duration: Any, what: str, problems: list[str], *, waits: bool = False) -> Time:
    """Return a time that is given as a duration, or as what says it; add what is wrong with it."""
    if _is_code(duration):
        what = "the time of a sleep" if what == "a sleep" else what
        return _said(duration, what, float | timedelta, "seconds or a timedelta", problems)
    try:
        seconds = seconds_of(duration, what, endless=waits)
        return Time(seconds=None if seconds == inf else seconds)
    except (TypeError, ValueError) as error:
        problems.append(str(error))
        return Time()


def _due(until: Any, problems: list[str]) -> Time:
    """Return a time that is given by its end, or by what says it; add what is wrong with it."""
    if _is_code(until):
        return _said(until, "until", datetime, "a datetime with a time zone", problems)
    try:
        return Time(until=due_of(until, "until"))
    except (TypeError, ValueError) as error:
        problems.append(str(error))
        return Time()


def _is_code(item: Any) -> bool:
    return isinstance(item, Node) or callable(item) or inspect.iscoroutine(item)


def _said(fn: Any, what: str, wanted: Any, words: str, problems: list[str]) -> Time:
    function = asked_function(problems, fn, what, wanted, words)
    return Time(function=function, is_due=wanted is datetime)
