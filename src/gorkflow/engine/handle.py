"""The handle on a run: waits for it, reads it, cancels it; and the feed of all events."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, overload

from gorkflow.engine._drawing import drawn_now
from gorkflow.errors import GorkflowError, RunCancelledError, RunFailedError, StateConflictError
from gorkflow.events import Event
from gorkflow.model import (
    Cancelled,
    Completed,
    Failed,
    FailureCode,
    LogLine,
    Outcome,
    Report,
    Run,
    RunStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from gorkflow.clock import Clock
    from gorkflow.engine._reads import Ended
    from gorkflow.signal import Signal
    from gorkflow.store import Store

T = TypeVar("T")
Out_co = TypeVar("Out_co", covariant=True)


class _Frameless:
    """Takes our frames off an error that passes, so that callers see the lines of their program.

    Python adds no frame where an error only passes.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        # Ctrl-C shows a CancelledError, too.
        if not isinstance(error, GorkflowError | asyncio.CancelledError):
            return
        if os.environ.get("GORKFLOW_DEBUG"):
            return
        error.__traceback__ = None
        if isinstance(error.__context__, GorkflowError):
            error.__suppress_context__ = True  # what we met on the way has frames of ours, too


FRAMELESS = _Frameless()
"""Around all that a public function does: ``with FRAMELESS: …``. The environment's
``GORKFLOW_DEBUG=1`` keeps the frames."""


class _Client(Protocol):
    """The client that made a handle, as far as the handle needs it."""

    store: Store
    _clock: Clock

    async def _ended(
        self, run_id: str, *, workflow_id: str | None, wait_blocked: bool
    ) -> Ended: ...
    async def get_run(self, run_id: str) -> Run: ...
    async def cancel(self, run_id: str, *, reason: str) -> None: ...
    async def send(self, run_id: str, signal: Any, payload: object) -> None: ...
    def events(
        self, run_id: str, *, after: int, progress: bool
    ) -> AsyncIterator[Event | Report]: ...
    async def logs(self, run_id: str, path: str | None) -> list[LogLine]: ...


class RunHandle(Generic[Out_co]):
    """One run, here or in another process; made by ``start``, ``rerun`` and ``handle``.

    Example:
        from gorkflow import Completed, Engine, Workflow, step

        @step
        async def double(number: int) -> int:
            return 2 * number

        async with Engine("memory:") as engine:
            handle = await engine.start(Workflow("doubling", input=int).then(double), 21)
            assert await handle.result() == 42
            assert await handle.outcome() == Completed("", 42)
    """

    def __init__(self, client: _Client, run_id: str, workflow_id: str | None = None) -> None:
        self._client = client
        self._workflow_id = workflow_id
        self.run_id = run_id

    def __repr__(self) -> str:
        """Return the run's id."""
        return f"RunHandle({self.run_id!r})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the drawing of the run as it is now, for a notebook."""
        now = self._client._clock.now()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return drawn_now(self._client.store, self.run_id, now, repr(self))

    async def result(self, *, wait_blocked: bool = False) -> Out_co:
        """Wait until the run has ended, and return its output.

        Cancelling the wait does not cancel the run.

        Args:
            wait_blocked: wait also while this code can't continue the run, until other code ends
                it.

        Raises:
            RunBlockedError: If this code can't continue the run; the message says why.
            RunFailedError: If it failed; lists every unhandled failure. A ``StateConflictError``
                if branches left different values under one key of the state.
            RunCancelledError: If it was cancelled.
            RunNotFoundError: If there is no such run.
            RunError: If it is of another workflow than ``handle`` was given.
            DeadlockError: If a step waits for its own run, or for one that needs a limit which the
                step holds.
            StoreError: If the store failed; an engine that recovers the run continues it.
        """
        with FRAMELESS:
            ended = await self._ended(wait_blocked=wait_blocked)
            match ended.status:
                case RunStatus.COMPLETED:
                    return ended.output  # type: ignore[no-any-return]
                case RunStatus.CANCELLED:
                    raise RunCancelledError(self.run_id, ended.reason)
                case _:
                    conflict = any(f.code is FailureCode.STATE_CONFLICT for f in ended.failures)
                    error = StateConflictError if conflict else RunFailedError
                    raise error(self.run_id, ended.failures, ended.outcomes)

    async def outcome(self, *, wait_blocked: bool = False) -> Outcome[Out_co]:
        """Wait until the run has ended, and return how, without raising for it.

        Args:
            wait_blocked: as of ``result``.

        Raises:
            RunBlockedError: If this code can't continue the run; the message says why.
            RunNotFoundError: If there is no such run.
            RunError: If it is of another workflow than ``handle`` was given.
            DeadlockError: If a step waits for its own run, or for one that needs a limit which the
                step holds.
            StoreError: If the store failed.
        """
        return outcome_of(await self._ended(wait_blocked=wait_blocked))

    async def _ended(self, *, wait_blocked: bool) -> Ended:
        return await self._client._ended(  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            self.run_id, workflow_id=self._workflow_id, wait_blocked=wait_blocked
        )

    async def info(self) -> Run:
        """Return the run as it is now.

        Raises:
            RunNotFoundError: If there is no such run.
        """
        return await self._client.get_run(self.run_id)

    async def cancel(self, reason: str = "cancelled by the caller") -> None:
        """Cancel the run, wherever it runs. Has no effect on one that has ended, or is undoing.

        It does not wait until the run has undone its steps: ``result`` and ``outcome`` do.

        Args:
            reason: what the run's record says.

        Raises:
            RunNotFoundError: If there is no such run.
            InputInvalidError: If the reason is not a text.
        """
        await self._client.cancel(self.run_id, reason=reason)

    @overload
    async def send(self, signal: Signal[T], payload: T) -> None: ...
    @overload
    async def send(self, signal: str, payload: object = None) -> None: ...
    async def send(self, signal: Signal[Any] | str, payload: object = None) -> None:
        """Send a signal into the run, wherever it is; see ``Client.send``.

        Args:
            signal: the signal, or its name.
            payload: its value, of the signal's type.

        Raises:
            RunNotFoundError: If there is no such run.
            RunEndedError: If it has ended.
            InputInvalidError: If the payload is not valid, or the run never waits for this signal.
        """
        await self._client.send(self.run_id, signal, payload)

    @overload
    def events(
        self, *, after: int = 0, progress: Literal[False] = False
    ) -> AsyncIterator[Event]: ...
    @overload
    def events(self, *, after: int = 0, progress: bool) -> AsyncIterator[Event | Report]: ...
    def events(self, *, after: int = 0, progress: bool = False) -> AsyncIterator[Event | Report]:
        """Iterate over the run's events as they are recorded, until it has ended.

        Args:
            after: skip events up to this ``seq``.
            progress: whether to yield also the reports of running steps.
        """
        return self._client.events(self.run_id, after=after, progress=progress)

    async def logs(self, path: str | None = None) -> list[LogLine]:
        """Return the first 1,000 lines of the log of the run's steps; see ``Client.logs``.

        Args:
            path: only the step at this path; ``None``: all steps.

        Raises:
            RunNotFoundError: If there is no such run.
        """
        return await self._client.logs(self.run_id, path)


def outcome_of(ended: Ended) -> Outcome[Any]:
    """Return the outcome of a run, which has no path."""
    match ended.status:
        case RunStatus.COMPLETED:
            return Completed("", ended.output)
        case RunStatus.CANCELLED:
            return Cancelled("", ended.reason)
        case _:
            return Failed("", ended.failures[0])


class EventFeed:
    """The events of all runs, as they are recorded.

    Example:
        from gorkflow import Engine, Workflow, step

        @step
        async def double(number: int) -> int:
            return 2 * number

        async with Engine("memory:") as engine:
            await engine.run(Workflow("doubling", input=int).then(double), 21, run_id="first")
            async for event in engine.events():
                if event.kind == "run_finished":
                    assert event.run_id == "first"
                    break
    """

    def __init__(
        self, read: Callable[[str], AsyncIterator[tuple[list[Event], str]]], after: str
    ) -> None:
        self._read = read
        self.cursor = after
        """The place to continue at: ``engine.events(after=cursor)``. All events before it were
        yielded. It moves by pages, so up to a thousand events may come twice."""

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the recorded events, then new ones, for ever."""
        async for events, cursor in self._read(self.cursor):
            for event in events:
                yield event
            self.cursor = cursor

    async def pages(self) -> AsyncIterator[list[Event]]:
        """Yield the same, some at a time; ``cursor`` is then after those that were yielded."""
        async for events, cursor in self._read(self.cursor):
            self.cursor = cursor
            yield events
