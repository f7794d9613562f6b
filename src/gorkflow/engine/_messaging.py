"""What is sent into runs, wherever they live: signals, and requests to cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from gorkflow.engine._given import run_id_of
from gorkflow.engine._part import Part
from gorkflow.engine._signals import ended, message_for
from gorkflow.errors import InputInvalidError, RunNotFoundError
from gorkflow.language._growth import text_problems

if TYPE_CHECKING:
    from gorkflow.signal import Signal

T = TypeVar("T")


class Messaging(Part):
    """The part of ``Engine`` that speaks to runs."""

    @overload
    async def send(self, run_id: str, signal: Signal[T], payload: T) -> None: ...
    @overload
    async def send(self, run_id: str, signal: str, payload: object = None) -> None: ...
    async def send(self, run_id: str, signal: Signal[Any] | str, payload: object = None) -> None:
        """Send a signal into a run. When this returns it is recorded, and will not be lost.

        It is kept until the run waits for it. Signals of one name are taken in the order in which
        they were sent, each by one wait, the one that waits longest first.

        Args:
            run_id: the run.
            signal: the signal, or its name.
            payload: its value: of the signal's type, or what validates as one. That type may differ
                from the one that the run waits for, as long as the value reads as that one. The
                worker checks it where the workflow is not known here.

        Raises:
            RunNotFoundError: there is no such run.
            RunEndedError: it has ended.
            InputInvalidError: the payload is not valid, or the run never waits for such a signal.
            StoreError: the store failed; the signal was not recorded.
        """
        service, runtime = self._opened()
        run_id_of(run_id)
        message = await message_for(runtime, self._registry, run_id, signal, payload)
        if not await service.send(message):
            row = await self.store.get_run(run_id)
            raise RunNotFoundError(run_id) if row is None else ended(run_id, row.status.value)

    async def cancel(self, run_id: str, *, reason: str = "cancelled by the caller") -> None:
        """Cancel a run, wherever it runs. Has no effect on one that has ended, or is undoing.

        For a run that this engine or nobody carries, the cancellation is recorded on return: it has
        ended, or undoes what it did, and ends then (``wait`` and ``RunHandle.result`` wait for it).
        One that another process carries gets a message, which that process looks for every second.

        Raises:
            RunNotFoundError: there is no such run.
            InputInvalidError: the reason is no text.
        """
        service, _ = self._opened()
        problems = text_problems(reason=reason)
        if problems:
            raise InputInvalidError(problems[0])
        await service.cancel(run_id_of(run_id), reason)
