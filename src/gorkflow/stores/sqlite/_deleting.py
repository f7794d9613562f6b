"""Deleting ended runs, in transactions that nobody has to wait for long."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from gorkflow.clock import Moment
from gorkflow.errors import StoreCorruptError
from gorkflow.stores.sqlite._locks import WorkerLocks
from gorkflow.stores.sqlite._reads import run_row, worker_alive
from gorkflow.stores.sqlite._schema import query

_BYTES = 8 * 1024 * 1024
_EVENTS = 5000
"""Freed in one transaction: some 50 ms. Each page of a large payload has to be looked at."""


def portions(db: sqlite3.Connection, run_ids: Sequence[str]) -> list[list[str]]:
    """Return the runs, in lists that one transaction may delete."""
    found: list[list[str]] = []
    room = _EVENTS, _BYTES
    for run_id in run_ids:
        sizes = [size for _, size in db.execute(query("list_event_sizes"), (run_id,))]
        room = room[0] - len(sizes), room[1] - sum(sizes)
        if not found or min(room) < 0:
            found.append([])
            room = _EVENTS - len(sizes), _BYTES - sum(sizes)
        found[-1].append(run_id)
    return found


def shorten(db: sqlite3.Connection, run_id: str) -> bool:
    """Delete the latest events of an ended run that is too large to go at once.

    Returns:
        Whether it still is. To be interrupted leaves a run that lacks events, and can be deleted.
    """
    events = db.execute(query("list_event_sizes"), (run_id,))
    last = list(_within(events))
    more = events.fetchone() is not None
    events.close()
    if more:
        db.executemany(query("delete_event"), [(number,) for number in last])
    return more


def _within(events: Iterator[tuple[int, int]]) -> Iterable[int]:
    """Return the ids of as many events as may go in one transaction, and at least one."""
    count = size = 0
    for number, length in events:
        yield number
        count, size = count + 1, size + length
        if count >= _EVENTS or size >= _BYTES:
            return


def give_up(
    db: sqlite3.Connection, locks: WorkerLocks, machine: str, run_id: str, now: float
) -> bool:
    """Note a run as cancelled, whatever is kept of it, so that it can be deleted like others.

    Returns:
        Whether it was: not one that a living worker carries.
    """
    found = db.execute(query("get_run"), (run_id,)).fetchone()
    if found is None:
        return False
    key, owner = found[0], found[14]
    for worker in db.execute(query("list_workers")).fetchall():
        if worker[0] == owner and worker_alive(worker, locks, machine, Moment(now)):
            return False
    try:
        run_row(found)
    except StoreCorruptError:
        db.execute(query("forget_tags"), {"key": key})
        db.execute(query("delete_tags_of_run"), (key,))
    db.execute(query("give_up_run"), {"key": key, "now": now})
    return True


def delete_runs(db: sqlite3.Connection, run_ids: Sequence[str]) -> int:
    """Delete ended runs and all that belongs to them."""
    return sum(_delete_run(db, run_id) for run_id in run_ids)


def _delete_run(db: sqlite3.Connection, run_id: str) -> bool:
    found = db.execute(query("delete_run"), (run_id,)).fetchall()
    for key, created_at, tags in found:
        db.execute(query("delete_events"), (key,))
        db.execute(query("delete_messages"), (key,))
        db.executemany(
            query("delete_tag"),
            [(name, value, created_at, run_id) for name, value in json.loads(tags)],
        )
    return bool(found)
