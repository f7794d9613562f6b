"""The reads of a store's database, each within one snapshot that the caller began."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

from gorkflow.clock import Moment
from gorkflow.errors import StoreCorruptError
from gorkflow.events import Event
from gorkflow.journal import Row, from_row
from gorkflow.listing import feed_cursor, feed_position
from gorkflow.store import LineRow, Loaded, Message, ReportRow, RunRow, Worker
from gorkflow.stores._sql.database import Database
from gorkflow.stores._sql.rows import readable, run_row, worker_of

T = TypeVar("T")


def get_run(db: Database, run_id: str) -> RunRow | None:
    found = db.rows("get_run", run_id=run_id)
    return run_row(found[0]) if found else None


def get_runs(db: Database, run_ids: Iterable[str]) -> dict[str, RunRow]:
    return _readable(get_run, db, run_ids)


def load_many(db: Database, run_ids: Iterable[str]) -> dict[str, Loaded]:
    return _readable(load, db, run_ids)


def _readable(
    read: Callable[[Database, str], T | None], db: Database, run_ids: Iterable[str]
) -> dict[str, T]:
    """Return what is read of each run, by its id; a damaged one must not hide the others."""
    found: dict[str, T] = {}
    for run_id in run_ids:
        with suppress(StoreCorruptError):
            if (each := read(db, run_id)) is not None:
                found[run_id] = each
    return found


def load(db: Database, run_id: str) -> Loaded | None:
    row = get_run(db, run_id)
    if row is None:
        return None
    events = read_events(db, run_id, 0, row.seq)
    return whole(row, get_tree(db, row.fingerprint), events, inbox(db, run_id, 0))


def whole(
    row: RunRow, tree: str | None, events: Sequence[Event], messages: Iterable[Message]
) -> Loaded:
    """Return what is recorded of a run.

    Raises:
        StoreCorruptError: If its definition or an event is missing.
    """
    is_whole = len(events) == row.seq and all(e.seq == n for n, e in enumerate(events, 1))
    if tree is None or not is_whole:
        missing = "its definition" if tree is None else "some of its events"
        raise StoreCorruptError(
            f"run {row.run_id!r} lacks {missing}; restore it from a backup, or delete it: "
            f"gorkflow runs delete {row.run_id}"
        )
    return Loaded(row, tree, tuple(events), tuple(messages))


def get_tree(db: Database, fingerprint: str) -> str | None:
    found = db.rows("get_definition", fingerprint=fingerprint)
    return found[0][0] if found else None


def read_events(db: Database, run_id: str, after: int, limit: int) -> list[Event]:
    found = db.rows("read_events", run_id=run_id, after=after, limit=limit)
    return [from_row(Row._make(values)) for values in found]


def read_all_events(db: Database, after: str, limit: int) -> tuple[list[Event], str]:
    position = feed_position(after)
    events: list[Event] = []
    while len(events) < limit:
        found = db.rows("read_all_events", after=position, limit=limit - len(events))
        if not found:
            break
        position = found[-1][-1]
        events += readable(found, lambda values: from_row(Row._make(values[:-1])), "an event")
    return events, feed_cursor(position) if events else after


def end_of_feed(db: Database) -> str:
    [(position,)] = db.rows("latest_event")
    return feed_cursor(position or 0)


def inbox(db: Database, run_id: str, after: int) -> list[Message]:
    return [Message._make(row) for row in db.rows("list_messages", run_id=run_id, after=after)]


def reports(db: Database, run_id: str) -> list[ReportRow]:
    return [ReportRow._make(values) for values in db.rows("list_reports", run_id=run_id)]


def logs(db: Database, run_id: str, path: str | None, after: int, limit: int) -> list[LineRow]:
    name = "list_lines" if path is None else "list_lines_of_path"
    found = db.rows(name, run_id=run_id, path=path, after=after, limit=limit)
    return [LineRow._make(values) for values in found]


def workers(db: Database, now: float | None) -> list[Worker]:
    times = None if now is None else Moment(now)
    found = [row for row in db.rows("list_workers") if db.alive(row, times)]
    return [worker_of(row[: len(Worker._fields)]) for row in found]


def owned(db: Database) -> dict[str, int]:
    return dict(db.rows("count_owned"))


def owned_by_queue(db: Database) -> dict[str, int]:
    return dict(db.rows("count_owned_by_queue"))


def waiting_queues(db: Database) -> list[str]:
    return [name for (name,) in db.rows("list_waiting_queues")]
