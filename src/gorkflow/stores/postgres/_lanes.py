"""The lanes of an open store: one for transitions, one for other changes, one for reads."""

from __future__ import annotations

import os
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from gorkflow.clock import Timekeeper
from gorkflow.store import Heartbeat, Message, RunRow, Transition, Worker, Written
from gorkflow.stores._lane import Lane
from gorkflow.stores._sql import hooks, limits, notes, reads, schedules
from gorkflow.stores.postgres import _limits, _mail, _notes, _owning, _reads, _writes
from gorkflow.stores.postgres._connections import Db, Settings
from gorkflow.stores.postgres._link import Link
from gorkflow.stores.postgres._liveness import Watch
from gorkflow.stores.postgres._session import Session

_OWN: dict[object, Callable[..., Any]] = {
    limits.take_limits: _limits.take_limits,
    notes.note: _notes.note,
    reads.get_runs: _reads.get_runs,
    reads.load: _reads.load,
    reads.load_many: _reads.load_many,
    reads.logs: _reads.logs,
    reads.reports: _reads.reports,
}
"""The work that this database does in its own way, by what others do. As statements, it wins."""
_OF_ONE_STATEMENT: frozenset[object] = frozenset(
    [
        hooks.calls, reads.get_run, reads.get_tree, reads.inbox, reads.owned, reads.read_events,
        reads.workers, schedules.schedules, _reads.clock, _reads.end_of_feed, _reads.get_runs,
        _reads.logs, _reads.reports,
    ]
)  # fmt: skip
"""Reads that need no transaction around them to be of one moment."""
_PATIENCE = 1.0
"""Seconds for which a transition waits for another program that holds its run."""
P = ParamSpec("P")
T = TypeVar("T")


class Lanes:
    """All that an open store holds.

    Args:
        settings: of the store.
    """

    def __init__(self, settings: Settings) -> None:
        self.pid = os.getpid()
        watch = Watch()
        self.session = Session(settings)
        # No program but a worker has a reason to hold a run.
        patient = replace(settings, patience=_PATIENCE)
        self.appends = Lane("postgres-appends", partial(Link, patient, watch))
        self.changes = Lane("postgres-changes", partial(Link, settings, watch))
        self.reads = Lane("postgres-reads", partial(Link, settings, watch, keeps=False))

    def append(self, batch: Sequence[Transition], /, *, block: bool) -> Future[list[Written]]:
        def write(link: Link) -> list[Written]:
            return link.write(batch)

        def write_here(link: Link) -> list[Written]:
            written = link.write(batch)
            link.tidy()  # else that waits for the next work of the thread
            return written

        # A batch that waits for somebody's new run must not hold up runs that are live.
        lane = self.changes if any(map(_writes.is_new, batch)) else self.appends
        return lane.run(write, here=write_here if block else None)

    def post(self, message: Message, /) -> Future[bool]:
        return self.write(_mail.post, message)

    def register(self, worker: Worker, /) -> Future[None]:
        return self.changes.run(partial(_register, session=self.session, worker=worker))

    def unregister(self, worker_id: str, /) -> Future[None]:
        return self.changes.run(partial(_unregister, session=self.session, worker_id=worker_id))

    def heartbeat(self, worker_id: str, times: Timekeeper, after: str, /) -> Future[Heartbeat]:
        beat = partial(_owning.heartbeat, worker_id=worker_id, times=times, after=after)
        return self.changes.run(lambda link: link.do(beat))

    def claim(
        self,
        worker_id: str,
        /,
        *,
        times: Timekeeper,
        ahead: float,
        workflow_ids: Sequence[str] | None,
        queues: Mapping[str, int | None] | None,
        run_id: str | None,
        limit: int,
    ) -> Future[list[RunRow]]:
        return self.write(
            _owning.claim,
            worker_id,
            times=times,
            ahead=ahead,
            workflow_ids=workflow_ids,
            queues=queues,
            run_id=run_id,
            limit=limit,
        )

    def write(
        self, work: Callable[Concatenate[Db, P], T], /, *args: P.args, **options: P.kwargs
    ) -> Future[T]:
        own = _own(work)
        return self.changes.run(lambda link: link.change(lambda db: own(db, *args, **options)))

    def note(
        self, work: Callable[Concatenate[Db, P], T], /, *args: P.args, **options: P.kwargs
    ) -> Future[T]:
        own = _own(work)
        return self.changes.run(
            lambda link: link.change(lambda db: own(db, *args, **options), synced=False)
        )

    def read(
        self, work: Callable[Concatenate[Db, P], T], /, *args: P.args, **options: P.kwargs
    ) -> Future[T]:
        own = _own(work)

        def read(db: Db) -> T:
            return own(db, *args, **options)

        if own in _OF_ONE_STATEMENT:
            return self.reads.run(lambda link: link.do(read))
        return self.reads.run(lambda link: link.read(read))

    def close(self) -> None:
        """Finish what was begun, and close the connections. Blocks."""
        self.reads.stop()
        self.appends.stop()
        self.changes.stop()
        self.session.close()


def _own(work: Callable[Concatenate[Db, P], T]) -> Callable[Concatenate[Db, P], T]:
    return _OWN.get(work, work)


def _register(link: Link, session: Session, worker: Worker) -> None:
    slot = session.take(worker.worker_id)
    try:
        link.change(partial(_owning.register, worker=worker, slot=slot))
    except BaseException:
        session.drop(worker.worker_id)
        raise


def _unregister(link: Link, session: Session, worker_id: str) -> None:
    link.change(partial(_owning.unregister, worker_id=worker_id))
    session.drop(worker_id)
