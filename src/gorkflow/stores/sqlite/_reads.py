"""The reads of a database, each within one snapshot that the caller began."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from msgspec import Struct, convert

from gorkflow._durations import LONGEST
from gorkflow.clock import Moment, Timekeeper
from gorkflow.errors import StoreCorruptError
from gorkflow.events import Event
from gorkflow.journal import Row, from_row
from gorkflow.listing import feed_cursor, feed_position
from gorkflow.store import LineRow, Loaded, Message, ReportRow, RunRow, Worker
from gorkflow.stores.sqlite._files import WorkerLocks
from gorkflow.stores.sqlite._schema import query, rows

S = TypeVar("S", bound=Struct)
T = TypeVar("T")
_logger = logging.getLogger("gorkflow.store")
UNREADABLE = (ValueError, TypeError, OverflowError, OSError, RecursionError)
"""Raised for a damaged row."""
_ALL = -1
"""As a limit: none."""
_LISTS = frozenset({"tags", "waits_for"})
"""Columns that hold JSON."""


def run_row(values: tuple[Any, ...]) -> RunRow:
    """Return the summary in a row of ``runs``.

    Raises:
        StoreCorruptError: If it can't be read.
    """
    try:
        return from_columns(RunRow, values[1:])
    except UNREADABLE as error:
        raise StoreCorruptError(
            f"the summary of run {values[1]!r} can't be read: {error}; restore it from a backup"
        ) from error


def from_columns(cls: type[S], values: Sequence[Any]) -> S:
    """Return an object of a class whose fields are the columns, in their order.

    Raises:
        Exception: If the row is damaged; one of ``UNREADABLE``.
    """
    "".join(value for value in values if type(value) is str).encode()  # else it is not UTF-8
    fields = dict(zip(cls.__struct_fields__, values, strict=True))
    for name in _LISTS & fields.keys():
        fields[name] = json.loads(fields[name]) if fields[name] != "[]" else ()
    return convert(fields, cls, strict=False)  # SQLite has 0 and 1 for booleans


def readable_rows(found: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, RunRow]]:
    """Return the keys and summaries that can be read; a damaged one must not hide the others."""
    for values in found:
        try:
            yield values[0], run_row(values)
        except StoreCorruptError:
            _logger.exception("left out a run")


def get_run(db: sqlite3.Connection, run_id: str) -> RunRow | None:
    found = rows(db, query("get_run"), (run_id,))
    return run_row(found[0]) if found else None


def get_runs(db: sqlite3.Connection, run_ids: Iterable[str]) -> dict[str, RunRow]:
    return _readable(get_run, db, run_ids)


def load_many(db: sqlite3.Connection, run_ids: Iterable[str]) -> dict[str, Loaded]:
    return _readable(load, db, run_ids)


def _readable(
    read: Callable[[sqlite3.Connection, str], T | None],
    db: sqlite3.Connection,
    run_ids: Iterable[str],
) -> dict[str, T]:
    """Return what is read of each run, by its id; a damaged one must not hide the others."""
    found: dict[str, T] = {}
    for run_id in run_ids:
        with suppress(StoreCorruptError):
            if (each := read(db, run_id)) is not None:
                found[run_id] = each
    return found


def load(db: sqlite3.Connection, run_id: str) -> Loaded | None:
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
    return Loaded(row, tree, tuple(events), tuple(inbox(db, run_id, 0)))


def get_tree(db: sqlite3.Connection, fingerprint: str) -> str | None:
    found = db.execute(query("get_definition"), (fingerprint,)).fetchone()
    return None if found is None else found[0]


def read_events(db: sqlite3.Connection, run_id: str, after: int, limit: int) -> list[Event]:
    wanted = {"run_id": run_id, "after": after, "limit": max(limit, _ALL)}
    return [from_row(Row._make(values)) for values in rows(db, query("read_events"), wanted)]


def read_all_events(db: sqlite3.Connection, after: str, limit: int) -> tuple[list[Event], str]:
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


def end_of_feed(db: sqlite3.Connection) -> str:
    [(position,)] = rows(db, query("latest_event"))
    return feed_cursor(position or 0)


def inbox(db: sqlite3.Connection, run_id: str, after: int) -> list[Message]:
    found = rows(db, query("list_messages"), {"run_id": run_id, "after": after})
    return [Message._make(values) for values in found]


def reports(db: sqlite3.Connection, run_id: str) -> list[ReportRow]:
    return [ReportRow._make(values) for values in rows(db, query("list_reports"), (run_id,))]


def logs(
    db: sqlite3.Connection, run_id: str, path: str | None, after: int, limit: int
) -> list[LineRow]:
    values = {"run_id": run_id, "path": path, "after": after, "limit": limit}
    statement = query("list_lines" if path is None else "list_lines_of_path")
    return [LineRow._make(found) for found in rows(db, statement, values)]


def worker_messages(db: sqlite3.Connection, worker_id: str, after: int) -> list[Message]:
    values = {"worker_id": worker_id, "after": after}
    return [Message._make(values) for values in rows(db, query("list_worker_messages"), values)]


def worker_alive(values: tuple[Any, ...], locks: WorkerLocks, times: Timekeeper | None) -> bool:
    """Whether the worker of this row lives: within its lease, and not seen to be dead."""
    worker_id, _, seen_at, lease, _, _, where = values
    if not 0 <= lease <= LONGEST:
        return False  # a damaged row: nobody has a lease like that, and it would last for ever
    if times is not None and not times.alive(seen_at, lease):
        return False
    return not locks.sees(where) or locks.is_held(worker_id)


def workers(db: sqlite3.Connection, locks: WorkerLocks, now: float | None) -> list[Worker]:
    times = None if now is None else Moment(now)
    return [
        Worker._make(row[:-1])
        for row in rows(db, query("list_workers"))
        if worker_alive(row, locks, times)
    ]


def owned(db: sqlite3.Connection) -> dict[str, int]:
    return dict(rows(db, query("count_owned")))
