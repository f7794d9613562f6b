"""The committer: the transitions of all runs that are ready together share one transaction.

While the store is away, the batch is kept and sent again: the results of steps that have finished
are not thrown away because a server restarts.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol

from gorkflow.errors import GorkflowError, StoreError, StoreUnavailableError
from gorkflow.store import NewRun, Written

if TYPE_CHECKING:
    from collections.abc import Sized

    from gorkflow.engine._observer import Commits
    from gorkflow.engine._patience import Patience
    from gorkflow.store import RunRow, Store, Transition

logger = logging.getLogger("gorkflow.engine")

_UNDECIDED = 0.25  # seconds until the store is asked again
_MANY = 256  # live runs, up to which they are written together also in memory


class Writer(Protocol):
    """A live run, which has transitions to write."""

    def transition(self) -> Transition | None:
        """Return what is to be written; ``None``: nothing."""
        ...

    def committed(self, written: Written) -> None:
        """Continue, now that the store has answered."""
        ...

    def broken(self, error: BaseException) -> None:
        """Stop: the transition could not be made, or not be written."""
        ...


class _Batch(NamedTuple):
    """Transitions that are written together, and whose they are."""

    runs: list[Writer]
    items: list[Transition]
    began: float


class Committer:
    """Brings the transitions of runs into the store, one batch after another.

    While one batch is being written, what becomes ready gathers for the next: the slower the disk,
    the larger the groups.

    Args:
        store: has the runs.
        loop: in which the engine runs.
        live: the runs that are live here.
        patience: sends a batch again while the store is away.
        owns_loop: whether nothing else runs in the loop: then a run that is alone may block it.
        commits: measures the commits; ``None``: nothing does.
    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        live: Sized,
        patience: Patience,
        *,
        owns_loop: bool = False,
        commits: Commits | None = None,
    ) -> None:
        self._store = store
        self._commits = commits
        self._owns_loop = owns_loop
        self._loop = loop
        self._ready: dict[Writer, Transition | None] = {}
        """The runs to write, in the order in which they came; with a new run that was undecided."""
        self._undecided: dict[Writer, Transition] = {}
        """New runs that the store could not decide about."""
        self._hurries = False
        self._scheduled = False
        self._is_settling = False
        self._live = live
        self._patience = patience
        self._writing: asyncio.Future[list[Written]] | None = None
        """The store's answer for the batch that is being written."""

    def submit(self, run: Writer) -> None:
        """Have the run's next transition written with those of others."""
        self._ready[run] = None
        # Not at once: whatever else gets ready in this turn of the loop belongs to the same batch.
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._write)

    def commit(self, run: Writer) -> None:
        """Have the run's next transition written now, if no other run is live.

        Else it is submitted: many runs share a transaction. Only in memory, more than a few hundred
        are written at once again: by the time of the next step, the caches have forgotten a run.

        Only for a run that does nothing else, and at the end of a deed: the last act of a
        task or callback, or of what records a new run.
        """
        live = len(self._live)
        if self._is_settling or (live > 1 and (live <= _MANY or self._store.durable)):
            self.submit(run)
        else:
            self._ready[run] = None
            self._write()

    async def drain(self) -> None:
        """Wait until nothing is left to write."""
        while self._ready or self._writing is not None:
            if self._writing is not None:
                await asyncio.wait([self._writing])
            else:
                self._write()

    def hurry(self) -> None:
        """Wait no longer for new runs that the store can't decide about: they are not started."""
        self._hurries = True
        undecided, self._undecided = self._undecided, {}
        for run in undecided:
            run.committed(Written.UNDECIDED)

    def _write(self) -> None:
        """Write what is ready, unless a batch is being written: then it follows."""
        self._scheduled = False
        if self._writing is not None or not self._ready:
            return
        batch = self._collect()
        if not batch.items:
            return
        alone = self._owns_loop and len(self._live) < 2  # else other runs continue meanwhile
        try:
            items = batch.items
            write = self._store.write(items, block=True) if alone else self._store.write(items)
            answer = write if isinstance(write, asyncio.Future) else asyncio.ensure_future(write)
        except BaseException as error:  # noqa: BLE001 - a store may raise at once
            if not isinstance(error, Exception):
                # A signal handler did. The loop raises it: from here it would end the task of a
                # step, which asyncio reports as well.
                self._loop.call_soon(_raise, error)
            answer = self._loop.create_future()
            answer.set_exception(_meaning(error))
        self._follow(batch, answer)

    def _follow(self, batch: _Batch, answer: asyncio.Future[list[Written]]) -> None:
        """Continue with the store's answer for a batch, now or when it is there."""
        if self._commits is not None:
            self._commits.end_with(answer, batch.began, batch.items)
        if not answer.done():
            self._writing = answer
            answer.add_done_callback(partial(self._written, batch))
            return
        result = _result(answer)
        if isinstance(result, StoreUnavailableError):
            send = partial(self._write_again, batch.items)
            again = self._patience.again(send, result, lasts=self._patience.holds)
            self._writing = self._loop.create_task(again)
            self._writing.add_done_callback(partial(self._written, batch, last=True))
        else:
            self._settle(batch, result)

    def _written(
        self, batch: _Batch, answer: asyncio.Future[list[Written]], *, last: bool = False
    ) -> None:
        self._writing = None
        if last:
            self._settle(batch, _result(answer))
        else:
            self._follow(batch, answer)
        self._write()

    async def _write_again(self, items: list[Transition]) -> list[Written]:
        """Send items again of which the store may have recorded some, or all, the first time."""
        results = await self._store.write(items)
        refused = [
            item.row.run_id
            for item, written in zip(items, results, strict=True)
            if written in (Written.FENCED, Written.DUPLICATE)
        ]
        rows = await self._store.get_runs(refused) if refused else {}
        return [
            Written.OK if _is_ours(item, rows.get(item.row.run_id)) else written
            for item, written in zip(items, results, strict=True)
        ]

    def _collect(self) -> _Batch:
        ready, self._ready = self._ready, {}
        runs: list[Writer] = []
        batch: list[Transition] = []
        for run, undecided in ready.items():
            try:
                transition = run.transition() if undecided is None else undecided
                if transition is not None:
                    _check_events(transition)
            except Exception as error:  # noqa: BLE001 - a bug in one run must not stop the others
                run.broken(error)
                continue
            if transition is not None:
                runs.append(run)
                batch.append(transition)
        return _Batch(runs, batch, 0.0 if self._commits is None else self._commits.begin())

    def _settle(self, batch: _Batch, results: list[Written] | Exception) -> None:
        self._is_settling = True
        try:
            if isinstance(results, Exception):
                for run in batch.runs:
                    run.broken(results)
                return
            for run, item, written in zip(batch.runs, batch.items, results, strict=True):
                if written is Written.UNDECIDED and not self._hurries:
                    self._undecided[run] = item
                    self._loop.call_later(_UNDECIDED, self._ask_again, run)
                    continue
                try:
                    run.committed(written)
                except Exception as error:  # noqa: BLE001 - as in _collect: no thread can be made, say
                    run.broken(error)
        finally:
            self._is_settling = False

    def _ask_again(self, run: Writer) -> None:
        """Send a new run again that was undecided, unless the engine closes."""
        item = self._undecided.pop(run, None)
        if item is not None:
            self._ready[run] = item
            self._write()


def _is_ours(item: Transition, row: RunRow | None) -> bool:
    """Return whether an item that was not written was recorded before: its run stands there."""
    if row is None:
        return False
    if isinstance(item, NewRun):
        owner = item.row.worker_id
        mine = owner is None or (owner, item.row.token) == (row.worker_id, row.token)
        return mine and row.created_at == item.row.created_at
    return (row.token, row.seq) == (item.row.token, item.seq)


def _check_events(item: Transition) -> None:
    """Check that the events continue the run without gaps.

    Raises:
        StoreError: If they don't.
    """
    events, last = item.events, item.seq
    first = last - len(events) + 1
    if not events or (events[0].seq == first and events[-1].seq == last):
        return
    raise StoreError(
        f"run {item.row.run_id!r} continues with the events {first} to {last}, but got "
        f"{[event.seq for event in events][:20]!r}; this is a bug in gorkflow, please report it"
    )


def _result(answer: asyncio.Future[list[Written]]) -> list[Written] | Exception:
    error = asyncio.CancelledError() if answer.cancelled() else answer.exception()
    return answer.result() if error is None else _meaning(error)


def _meaning(error: BaseException) -> Exception:
    """Return what an error of the store means for the runs of a batch."""
    if isinstance(error, GorkflowError):
        return error
    if isinstance(error, Exception):
        logger.error("the store failed in a way it should not", exc_info=error)
        return StoreError(f"the store failed: {error!r}")
    return StoreError("the program was stopped while this was written; it may be recorded")


def _raise(error: BaseException) -> NoReturn:
    raise error
