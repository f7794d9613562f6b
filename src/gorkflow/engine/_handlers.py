"""The handlers of async steps: the tasks in which those of one run are called.

Handlers that never suspend share a task: what a task costs is most of what such a step costs. A
task is used again only after a handler that never suspended and set no context variable. Nor may it
have kept or cancelled the task. So a library that files things under ``asyncio.current_task()``
finds one task for each step. ``task.cancel()`` hits no other step.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from gc import get_referents
from math import inf
from operator import is_
from sys import getrefcount
from typing import TYPE_CHECKING, Any, Protocol
from weakref import getweakrefcount

from gorkflow.engine._watchdog import roots
from gorkflow.engine._within import Caller, enter

if TYPE_CHECKING:
    from collections.abc import Awaitable

MOST = 64
"""Handlers that one task calls: then the event loop has a turn."""
LONGEST = 0.05
"""Seconds after which it has one all the same, between two handlers."""


class Handler(Caller, Protocol):
    """An attempt with an async handler."""

    task: asyncio.Task[None] | None
    cancelled: bool

    def call(self) -> Awaitable[Any]:
        """Take the arguments, and call the handler."""
        ...

    def returned(self, value: Any) -> bytes:
        """Encode what the handler returned."""
        ...

    def means_nothing(self, error: BaseException) -> bool:
        """Return whether the handler was cancelled because the whole program stops."""
        ...

    def ended(self, output: bytes | None, error: BaseException | None) -> None:
        """Report the outcome. The next steps may be started in it."""
        ...


class _Turn:
    """A turn of the event loop, as one task uses it: over as soon as a handler suspends."""

    __slots__ = ("_context", "_handlers", "_marks", "_taken", "is_over", "until")

    def __init__(self, handler: Handler, *, is_over: bool = False) -> None:
        self._handlers: list[Handler | None] = [handler]
        self._taken = 0
        self.until = inf  # by the loop's time
        self.is_over = is_over
        self._context: Context | None = None
        self._marks: tuple[int, ...] = ()

    def add(self, handler: Handler) -> None:
        """Have a handler called after the others."""
        self._handlers.append(handler)

    def take(self) -> Handler | None:
        """Return the next handler, and keep it no longer; ``None``: there is none."""
        if self._taken == len(self._handlers):
            return None
        handler, self._handlers[self._taken] = self._handlers[self._taken], None
        self._taken += 1
        return handler

    def rest(self) -> _Turn | None:
        """Return a turn for the handlers that are left; ``None``: there are none."""
        first = self.take()
        if first is None:
            return None
        turn = _Turn(first)
        turn._handlers += self._handlers[self._taken :]
        self._taken = len(self._handlers)
        return turn

    def mark(self, task: asyncio.Task[Any]) -> None:
        """Remember how the task is before a handler is called."""
        if not self.is_over:
            self._context = copy_context()
            self._marks = self._marks or _marks(task)  # between two handlers, they stay

    def goes_on(self, task: asyncio.Task[Any], now: float) -> bool:
        """Return whether the task may call another handler: the last one left nothing in it."""
        if self.is_over or self._taken > MOST or now >= self.until:
            return False
        assert self._context is not None  # ``mark`` took it, for the turn was not over then
        return _marks(task) == self._marks and _has_variables_of(self._context)


class Handlers:
    """The tasks of one run.

    Args:
        loop: the engine's.
        context: the context variables that the handlers see.
    """

    __slots__ = ("_context", "_loop", "_open")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self._loop = loop
        self._context = context
        self._open: _Turn | None = None
        """The turn of the task that takes more handlers; ``None``: the next one needs a task."""

    def start(self, handler: Handler) -> None:
        """Have a handler called: in the open task, or in a new one."""
        if self._open is not None:
            self._open.add(handler)
        else:
            self._open = _Turn(handler)
            self._make_task(self._open)

    def _make_task(self, turn: _Turn) -> None:
        self._loop.create_task(self._run(turn), context=self._context.copy())

    async def _run(self, turn: _Turn) -> None:
        """Run steps: call each handler, encode what it returns, and report the outcome."""
        task = asyncio.current_task()
        assert task is not None  # this is one
        if not turn.is_over:
            turn.until = self._loop.time() + LONGEST
            self._loop.call_soon(self._spread, turn)
        try:
            while (handler := turn.take()) is not None:
                if self._open is turn:
                    self._open = None  # until this handler has ended
                if handler.cancelled:
                    continue  # its end is reported already
                output, error = None, None
                handler.task = task
                task.set_name(handler.path)
                enter(handler)
                turn.mark(task)
                try:
                    output = handler.returned(await handler.call())
                except (KeyboardInterrupt, SystemExit):
                    raise  # not a failure of the step: the program is to stop
                except BaseException as caught:
                    error = caught
                    if handler.means_nothing(caught):
                        raise  # the attempt has no result, and runs again
                if turn.goes_on(task, self._loop.time()):
                    self._open = turn
                handler.ended(output, error)
                output = error = None  # its traceback has this frame, which would be a cycle
                if self._open is not turn:
                    break
        finally:
            self._leave(turn)

    roots[_run.__code__] = lambda names: names.get("handler")

    def _spread(self, turn: _Turn) -> None:
        """Give a task to each handler that waits for one that has suspended."""
        turn.is_over = True
        while (handler := turn.take()) is not None:
            self._make_task(_Turn(handler, is_over=True))

    def _leave(self, turn: _Turn) -> None:
        """Give the handlers that are left to a new task."""
        if self._open is turn:
            self._open = None
        left = turn.rest()
        if left is not None:
            self._open = self._open or left
            self._make_task(left)


def _has_variables_of(before: Context) -> bool:
    """Return whether the context variables are those of a context.

    Values count by identity: ``==`` is code of the program, and two equal dicts may belong to two
    steps.
    """
    now = copy_context()
    if all(map(is_, get_referents(now), get_referents(before))):
        return True  # both refer to one map, and to set a variable makes a new one
    same = (before.get(variable, before) is value for variable, value in now.items())
    return len(now) == len(before) and all(same)


def _marks(task: asyncio.Task[Any]) -> tuple[int, ...]:
    """Return what else a handler changes if it leaves something in its task."""
    callbacks = len(getattr(task, "_callbacks", None) or ())  # asyncio's own tasks have it
    cancels = task.cancelling() + getattr(task, "_must_cancel", False)
    return cancels, getrefcount(task), getweakrefcount(task), callbacks
