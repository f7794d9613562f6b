"""The gates of handlers: a seed draws the order in which handlers begin and end.

Each handler passes two gates, before it begins and before its result is passed on. It waits at each
gate. When nothing else can happen in the loop, and before time passes, one handler passes. So a
seed draws the order of everything that steps do. Only one thread works at a time.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from gorkflow.context import StepContext
from gorkflow.step import Step
from gorkflow.testing._instrument import nodes_of, steps_rewritten
from gorkflow.testing.virtual_time import VirtualLoop, in_handler
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")

_TOGETHER = 0.25  # how likely it is that one more result comes in the same turn of the loop


class Begun(NamedTuple):
    """A handler that began."""

    path: str
    attempt: int
    key: str
    """Its idempotency key."""


class _Parked(NamedTuple):
    place: tuple[str, int, str, int]
    """``begin`` or ``end``, where the path is declared, the path, and the attempt: unique, and the
    order without a seed."""
    release: Callable[[], object]
    is_thread: bool


class GoneError(BaseException):
    """Raised in threads of an engine that died in a test."""


class Scheduler:
    """The gates of the handlers of one loop.

    Args:
        loop: where the handlers are run.
        random: draws the order; ``None``: beginnings first, then in declared order.
    """

    def __init__(self, loop: VirtualLoop, random: Random | None) -> None:
        self.order: list[tuple[str, int]] = []
        self.begun: list[Begun] = []
        self._loop = loop
        self._random = random
        self._parked: list[_Parked] = []
        self._declared: dict[str, int] = {}
        self._closed = False

    def __enter__(self) -> Self:
        """Take over the order of things in the loop."""
        self._loop.scheduler = self._let_one_go
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Let all go, and no handler begin any more."""
        self._closed = True
        self._loop.scheduler = None
        for parked in self._parked:
            if parked.is_thread:
                parked.release()

    def watched(self, workflow: Workflow[In, Out]) -> Workflow[In, Out]:
        """Return the workflow with gates around its handlers."""
        self._declared = {path: place for place, path in enumerate(nodes_of(workflow))}
        return steps_rewritten(workflow, self._watched)

    # ---- handlers -------------------------------------------------------------------------

    def _watched(self, step: Step[Any, Any]) -> Step[Any, Any]:
        async def on_loop(ctx: StepContext[Any], *args: Any) -> Any:
            await self._gate("begin", ctx)
            self._note(ctx)
            value, error = None, None
            token = in_handler.set(True)
            try:
                value = await step.call(ctx if step.takes_context else None, args)
            except asyncio.CancelledError:
                raise
            except Exception as caught:  # noqa: BLE001 - an error is a result, too
                error = caught
            in_handler.reset(token)
            await self._gate("end", ctx)
            if error is not None:
                raise error
            return value

        def in_thread(ctx: StepContext[Any], *args: Any) -> Any:
            self._thread_gate("begin", ctx)
            self._note(ctx)
            try:
                return step.call(ctx if step.takes_context else None, args)
            finally:
                self._thread_gate("end", ctx)

        vars(in_thread)["__wrapped__"] = step.fn  # tells what it may hand on
        handler: Callable[..., Any] = on_loop if step.is_async else in_thread
        return step.with_function(handler, is_async=step.is_async, takes_context=True)

    def _place(self, phase: str, ctx: StepContext[Any]) -> tuple[str, int, str, int]:
        return phase, self._declared.get(ctx.path, sys.maxsize), ctx.path, ctx.attempt

    def _note(self, ctx: StepContext[Any]) -> None:
        self.begun.append(Begun(ctx.path, ctx.attempt, ctx.idempotency_key))

    async def _gate(self, phase: str, ctx: StepContext[Any]) -> None:
        opened: asyncio.Future[None] = self._loop.create_future()

        def release() -> None:
            if not opened.done():
                opened.set_result(None)

        parked = _Parked(self._place(phase, ctx), release, is_thread=False)
        self._parked.append(parked)
        try:
            await opened
        finally:
            if parked in self._parked:  # cancelled meanwhile
                self._parked.remove(parked)

    def _thread_gate(self, phase: str, ctx: StepContext[Any]) -> None:
        opened = threading.Event()

        def park() -> None:
            self._parked.append(parked)
            self._loop.end_outside()

        def release() -> None:
            self._loop.begin_outside()
            opened.set()

        parked = _Parked(self._place(phase, ctx), release, is_thread=True)
        if not self._closed:
            self._loop.call_soon_threadsafe(park)
            opened.wait()
        if self._closed:
            raise GoneError

    # ---- the scheduler --------------------------------------------------------------------

    def _let_one_go(self, next_is_of_handler: bool) -> bool:  # noqa: FBT001 - the loop's contract
        if not self._parked:
            return False
        self._parked.sort(key=lambda parked: parked.place)
        if self._random is None:
            self._release(0)
            return True
        # A handler that sleeps may also be quicker than one that is ready to end.
        chosen = self._random.randrange(len(self._parked) + next_is_of_handler)
        if chosen == len(self._parked):
            return False
        while not self._release(chosen) and self._parked and self._random.random() < _TOGETHER:
            chosen = self._random.randrange(len(self._parked))
            if self._parked[chosen].is_thread:
                break
        return True

    def _release(self, index: int) -> bool:
        """Let one go; return whether it is a thread."""
        parked = self._parked.pop(index)
        phase, _, path, attempt = parked.place
        if phase == "end":
            self.order.append((path, attempt))
        parked.release()
        return parked.is_thread
