"""The worker as others see it: its session holds a lock, which the server frees with the session.

A free lock proves little. All are free after a restart of the server, and a session may break
while its worker lives. So the lease decides, with one exception. A worker is dead as well if its
lock, of the server that runs now, is free for a while. Its row must not change meanwhile.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from gorkflow._durations import LONGEST
from gorkflow.clock import Timekeeper
from gorkflow.store import Worker
from gorkflow.stores._sql.database import Row
from gorkflow.stores._sql.rows import worker_of

GRACE = 1.5
"""Seconds that a living worker has to take a lock again after its session broke."""
_FIELDS = len(Worker._fields)


class WorkerState(NamedTuple):
    """A worker as one look found it."""

    worker: Worker
    slot: int
    """The number of its lock; 0: it has none."""
    is_held: bool
    """Whether its lock is held: then it is certain that its process lives."""
    is_of_this_server: bool
    """Whether it was taken from the server that runs now."""
    looked_at: float
    """When, by the server's clock."""

    @staticmethod
    def of(row: Row) -> WorkerState:
        """Return the worker of a row."""
        return WorkerState(worker_of(row[:_FIELDS]), *row[_FIELDS:])


class _Suspicion(NamedTuple):
    """A lock that was found free."""

    slot: int
    seen_at: float
    """Both are as its row said: they change with a sign of life."""
    since: float


class Watch:
    """The looks of one store at the workers: it remembers since when a lock has been free."""

    def __init__(self) -> None:
        self.own: set[str] = set()
        """The workers that registered with this store: it is certain that they live."""
        self._suspected: dict[str, _Suspicion] = {}
        self._lock = threading.Lock()  # several lanes look

    def is_alive(self, state: WorkerState, times: Timekeeper | None) -> bool:
        """Whether a worker lives: within its lease, and not seen to be dead.

        Args:
            state: as a look found it just now.
            times: judges its lease; ``None``: that does not count.
        """
        worker = state.worker
        if not 0 <= worker.lease <= LONGEST:
            return False  # a damaged row: nobody has a lease like that, and it would last for ever
        free_for = self._free_for(state)
        return free_for < GRACE and (times is None or times.alive(worker.seen_at, worker.lease))

    def _free_for(self, state: WorkerState) -> float:
        """Return for how long its lock has been free in vain, in seconds."""
        name = state.worker.worker_id
        with self._lock:
            before = self._suspected.pop(name, None)
            if not state.slot or state.is_held or not state.is_of_this_server:
                return 0.0
            mark = state.slot, state.worker.seen_at
            if before is None or before[:2] != mark:
                before = _Suspicion(*mark, state.looked_at)
            self._suspected[name] = before
        return max(0.0, state.looked_at - before.since)
