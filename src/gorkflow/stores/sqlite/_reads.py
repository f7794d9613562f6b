"""The reads of a database, each within one snapshot that the caller began."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from gorkflow._durations import LONGEST
from gorkflow.clock import Moment, Timekeeper
from gorkflow.errors import StoreCorruptError
from gorkflow.events import Event
from gorkflow.journal import Row, from_row
from gorkflow.listing import Page, RunFilter
from gorkflow.model import RunStatus, instant
from gorkflow.store import Loaded, Message, RunRow, Worker
from gorkflow.stores._common import (
    feed_cursor,
    feed_position,
    page_cursor,
)
from gorkflow.stores.sqlite import _listing
from gorkflow.stores.sqlite._files import WorkerLocks
from gorkflow.stores.sqlite._schema import query, rows

_logger = logging.getLogger("gorkflow.store")
_ALL = -1
"""As a limit: none."""


def run_row(values: tuple[Any, ...]) -> RunRow:
    """Return the summary in a row of ``runs``.

    Raises:
        StoreCorruptError: If it can't be read.
    """
    (_, run_id, workflow_id, workflow_version, fingerprint, status, reason, resource_id, tags,
     created_at, started_at, finished_at, due_at, seq, worker_id, token, priority, exclusive,
     seen, orphaned) = values  # fmt: skip
    try:
        for at in (created_at, started_at, finished_at, due_at):
            if at is not None:
                instant(at)
        texts = f"{run_id}{workflow_id}{workflow_version}{fingerprint}{reason}{resource_id}"
        f"{texts}{worker_id}{tags}".encode()  # else the row was not UTF-8
        pairs = tag_pairs(tags) if tags != "[]" else ()
        return RunRow(
            run_id=run_id, workflow_id=workflow_id, workflow_version=workflow_version,
            fingerprint=fingerprint, status=RunStatus(status), reason=reason,
            resource_id=resource_id, tags=pairs, created_at=created_at,
            started_at=started_at, finished_at=finished_at, due_at=due_at, seq=seq,
            worker_id=worker_id, token=token, priority=priority, exclusive=bool(exclusive),
            seen=seen, orphaned=bool(orphaned),
        )  # fmt: skip
    except (ValueError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise StoreCorruptError(
            f"the summary of run {run_id!r} can't be read: {error}; restore it from a backup"
        ) from error


def tag_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Return the tags of a row.

    Raises:
        ValueError: If they are none.
        TypeError: If they are something else.
    """
    pairs = tuple((name, value) for name, value in json.loads(text))
    if not all(type(part) is str for pair in pairs for part in pair):
        raise TypeError(f"its tags are {text:.80}")
    return pairs


def readable_rows(found: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, RunRow]]:
    """Return the keys and summaries that can be read; a damaged one must not hide the others."""
    for values in found:
        try:
            yield values[0], run_row(values)
        except StoreCorruptError:
            _logger.exception("left out a run")


def get_run(db: sqlite3.Connection, run_id: str) -> RunRow | None:
    """Return the summary of a run."""
    found = rows(db, query("get_run"), (run_id,))
    return run_row(found[0]) if found else None


def load(db: sqlite3.Connection, run_id: str) -> Loaded | None:
    """Return everything recorded of a run.

    Raises:
        StoreCorruptError: If something of it can't be read, or is missing.
    """
    row = get_run(db, run_id)
    if row is None:
        return None
    events = read_events(db, run_id, 0, _ALL)
    tree = get_tree(db, row.fingerprint)
    whole = len(events) == row.seq and all(e.seq == n for n, e in enumerate(events, 1))
    if tree is None or not whole:
        missing = "its definition" if tree is None else "some of its events"
        raise StoreCorruptError(
            f"run {run_id!r} lacks {missing}; restore it from a backup, or delete it: "
            f"gorkflow runs delete {run_id}"
        )
    return Loaded(row, tree, tuple(events))


def get_tree(db: sqlite3.Connection, fingerprint: str) -> str | None:
    """Return the flow tree with this fingerprint."""
    found = db.execute(query("get_definition"), (fingerprint,)).fetchone()
    return None if found is None else found[0]


def read_events(db: sqlite3.Connection, run_id: str, after: int, limit: int) -> list[Event]:
    """Return events of a run above a ``seq``.

    Raises:
        StoreCorruptError: If one can't be read.
    """
    wanted = {"run_id": run_id, "after": after, "limit": max(limit, _ALL)}
    return [from_row(Row._make(values)) for values in rows(db, query("read_events"), wanted)]


def read_all_events(db: sqlite3.Connection, after: str, limit: int) -> tuple[list[Event], str]:
    """Return events of all runs after a cursor, and the cursor after them."""
    position = feed_position(after)
    events: list[Event] = []
    while len(events) < limit:
        values = {"after": position, "limit": limit - len(events)}
        found = rows(db, query("read_all_events"), values)
        if not found:
            break
        position = found[-1][-1]
        for row in found:
            try:
                events.append(from_row(Row._make(row[:-1])))
            except StoreCorruptError:
                _logger.exception("left out an event")
    return events, feed_cursor(position) if events else after


def list_runs(db: sqlite3.Connection, asked: RunFilter) -> Page[RunRow]:
    """Return one page of summaries, newest first."""
    ordered = _listing.page(db, asked)
    found = ordered[: asked.limit]
    cursor = page_cursor(found[-1][9], found[-1][1]) if len(ordered) > len(found) else None
    return Page([row for _, row in readable_rows(found)], cursor)


def inbox(db: sqlite3.Connection, run_id: str, after: int) -> list[Message]:
    """Return the messages of a run with an id above this one, oldest first."""
    found = rows(db, query("list_messages"), {"run_id": run_id, "after": after})
    return [Message._make(values) for values in found]


def worker_messages(db: sqlite3.Connection, worker_id: str, after: int) -> list[Message]:
    """Return the messages for the runs of a worker, oldest first."""
    values = {"worker_id": worker_id, "after": after}
    return [Message._make(values) for values in rows(db, query("list_worker_messages"), values)]


def lease_of(values: tuple[Any, ...]) -> tuple[float, float]:
    """Return when the worker of this row was last heard of, and the seconds of its lease."""
    _, _, seen_at, lease, *_ = values
    return seen_at, lease


def worker_alive(values: tuple[Any, ...], locks: WorkerLocks, times: Timekeeper | None) -> bool:
    """Whether the worker of this row lives: within its lease, and not seen to be dead."""
    worker_id, _, seen_at, lease, _, _, where = values
    if not 0 <= lease <= LONGEST:
        return False  # a damaged row: nobody has a lease like that, and it would last for ever
    if times is not None and not times.alive(seen_at, lease):
        return False
    return not locks.sees(where) or locks.is_held(worker_id)


def workers(db: sqlite3.Connection, locks: WorkerLocks, now: float | None) -> list[Worker]:
    """Return the workers that are alive."""
    times = None if now is None else Moment(now)
    return [
        Worker(
            worker_id=row[0], started_at=row[1], seen_at=row[2], lease=row[3], host=row[4],
            pid=row[5],
        )
        for row in rows(db, query("list_workers"))
        if worker_alive(row, locks, times)
    ]  # fmt: skip
