"""The committer: the transitions of all runs that are ready together share one transaction."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol

from gorkflow.errors import GorkflowError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sized

    from gorkflow.engine._observer import Commits
    from gorkflow.store import Store, Transition, Written

logger = logging.getLogger("gorkflow.engine")

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


class Committer:
    """Brings the transitions of runs into the store, one batch after another.

    While one batch is being written, what becomes ready gathers for the next: the slower the disk,
    the larger the groups.

    Args:
        store: has the runs.
        loop: in which the engine runs.
        live: the runs that are live here.
        owns_loop: whether nothing else runs in the loop: then a run that is alone may block it.
        commits: measures the commits; ``None``: nothing does.
    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        live: Sized,
        *,
        owns_loop: bool = False,
        commits: Commits | None = None,
    ) -> None:
        self._store = store
        self._commits = commits
        self._owns_loop = owns_loop
        self._loop = loop
        self._ready: dict[Writer, None] = {}  # in the order in which they came
        self._scheduled = False
        self._is_settling = False
        self._live = live
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

    def _write(self) -> None:
        """Write what is ready, unless a batch is being written: then it follows."""
        self._scheduled = False
        if self._writing is not None or not self._ready:
            return
        runs, batch = self._collect()
        if not batch:
            return
        began = 0.0 if self._commits is None else self._commits.begin()
        alone = self._owns_loop and len(self._live) < 2  # else other runs continue meanwhile
        try:
            write = self._store.write(batch, block=True) if alone else self._store.write(batch)
            answer = write if isinstance(write, asyncio.Future) else asyncio.ensure_future(write)
        except BaseException as error:  # noqa: BLE001 - a store may raise at once
            if not isinstance(error, Exception):
                # A signal handler did. The loop raises it: from here it would end the task of a
                # step, which asyncio reports as well.
                self._loop.call_soon(_raise, error)
            self._settle(runs, _meaning(error))
            return
        if self._commits is not None:
            self._commits.end_with(answer, began, batch)
        if answer.done():
            self._settle(runs, _result(answer))
        else:
            self._writing = answer
            answer.add_done_callback(partial(self._written, runs))

    def _written(self, runs: list[Writer], answer: asyncio.Future[list[Written]]) -> None:
        self._writing = None
        self._settle(runs, _result(answer))
        self._write()

    def _collect(self) -> tuple[list[Writer], list[Transition]]:
        ready, self._ready = self._ready, {}
        runs: list[Writer] = []
        batch: list[Transition] = []
        for run in ready:
            try:
                transition = run.transition()
                if transition is not None:
                    _check_events(transition)
            except Exception as error:  # noqa: BLE001 - a bug in one run must not stop the others
                run.broken(error)
                continue
            if transition is not None:
                runs.append(run)
                batch.append(transition)
        return runs, batch

    def _settle(self, runs: list[Writer], results: list[Written] | Exception) -> None:
        self._is_settling = True
        try:
            if isinstance(results, Exception):
                for run in runs:
                    run.broken(results)
                return
            for run, written in zip(runs, results, strict=True):
                try:
                    run.committed(written)
                except Exception as error:  # noqa: BLE001 - as in _collect: no thread can be made, say
                    run.broken(error)
        finally:
            self._is_settling = False


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
