"""A handle on a run: to wait for it, look at it, cancel it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from gorkflow.engine._frames import FRAMELESS
from gorkflow.engine._given import run_id_of
from gorkflow.errors import RunCancelledError, RunFailedError, StateConflictError
from gorkflow.events import Event
from gorkflow.model import Cancelled, Completed, Failed, FailureCode, Outcome, Run, RunStatus

if TYPE_CHECKING:
    from gorkflow.engine._watch import Ended
    from gorkflow.engine.engine import Engine
    from gorkflow.signal import Signal

T = TypeVar("T")
Out_co = TypeVar("Out_co", covariant=True)


class RunHandle(Generic[Out_co]):
    """One run, here or in another process.

    Args:
        engine: the engine it is asked through.
        run_id: the run.
        workflow_id: the workflow that the caller takes it to be of; ``None``: not known.
    """

    def __init__(self, engine: Engine, run_id: str, workflow_id: str | None = None) -> None:
        self._engine = engine
        self._workflow_id = workflow_id
        self.run_id = run_id_of(run_id)

    def __repr__(self) -> str:
        """Return the run's id."""
        return f"RunHandle({self.run_id!r})"

    async def result(self, *, wait_blocked: bool = False) -> Out_co:
        """Wait until the run has ended, and return its output.

        Args:
            wait_blocked: wait on where the code at hand can't go on with the run, until other code
                ends it.

        Raises:
            RunBlockedError: If the code at hand can't go on with the run; says why.
            RunFailedError: it failed; lists every unhandled failure. A ``StateConflictError`` where
                branches left different values under one key of the state.
            RunCancelledError: it was cancelled.
            RunNotFoundError: there is no such run.
            RunError: it is of another workflow than ``engine.handle`` was given.
            StoreError: the store failed; the run goes on when an engine recovers it.
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
            RunBlockedError: If the code at hand can't go on with the run; says why.
            RunNotFoundError: there is no such run.
            RunError: it is of another workflow than ``engine.handle`` was given.
            StoreError: the store failed.
        """
        ended = await self._ended(wait_blocked=wait_blocked)
        match ended.status:
            case RunStatus.COMPLETED:
                return Completed("", ended.output)
            case RunStatus.CANCELLED:
                return Cancelled("", ended.reason)
            case _:
                return Failed("", ended.failures[0])

    async def _ended(self, *, wait_blocked: bool) -> Ended:
        return await self._engine.wait(
            self.run_id, workflow_id=self._workflow_id, wait_blocked=wait_blocked
        )

    async def info(self) -> Run:
        """Return the run as it is now.

        Raises:
            RunNotFoundError: there is no such run.
        """
        return await self._engine.get_run(self.run_id)

    async def cancel(self, reason: str = "cancelled by the caller") -> None:
        """Cancel the run, wherever it runs. Has no effect on one that has ended, or is undoing.

        Does not wait for what is undone then: ``result`` and ``outcome`` do; see ``Engine.cancel``.

        Raises:
            RunNotFoundError: there is no such run.
        """
        await self._engine.cancel(self.run_id, reason=reason)

    @overload
    async def send(self, signal: Signal[T], payload: T) -> None: ...
    @overload
    async def send(self, signal: str, payload: object = None) -> None: ...
    async def send(self, signal: Signal[Any] | str, payload: object = None) -> None:
        """Send a signal into the run, wherever it is; see ``Engine.send``.

        Raises:
            RunNotFoundError: there is no such run.
            RunEndedError: it has ended.
            InputInvalidError: the payload is not valid, or the run never waits for such a signal.
        """
        await self._engine.send(self.run_id, signal, payload)

    def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """Iterate over the run's events as they are recorded, until it has ended.

        Args:
            after: skip events up to this ``seq``.
        """
        return self._engine.events(self.run_id, after=after)
