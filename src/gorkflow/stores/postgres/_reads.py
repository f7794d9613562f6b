"""The reads that a database answers in its own way: many runs at once, and the feed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from gorkflow.errors import StoreCorruptError
from gorkflow.events import Event
from gorkflow.journal import Row, from_row
from gorkflow.store import LineRow, Loaded, Message, ReportRow, RunRow
from gorkflow.stores._sql import reads
from gorkflow.stores._sql.rows import readable, readable_runs, run_row
from gorkflow.stores.postgres._arrays import Ints, Texts
from gorkflow.stores.postgres._connections import Db


def get_runs(db: Db, run_ids: Sequence[str]) -> dict[str, RunRow]:
    found = db.rows("get_runs", run_ids=Texts(run_ids))
    return {row.run_id: row for _, row in readable_runs(found)}


def load(db: Db, run_id: str) -> Loaded | None:
    for found in _load(db, [run_id]):
        if isinstance(found, StoreCorruptError):
            raise found
        return found
    return None


def load_many(db: Db, run_ids: Sequence[str]) -> dict[str, Loaded]:
    return {found.row.run_id: found for found in _load(db, run_ids) if isinstance(found, Loaded)}


def _load(db: Db, run_ids: Sequence[str]) -> list[Loaded | StoreCorruptError]:
    """Return what is recorded of the runs that are there, or why it can't be read.

    Some statements for all of them together.
    """
    found = {values[0]: values for values in db.rows("get_runs", run_ids=Texts(run_ids))}
    if not found:
        return []
    events = db.rows("read_events_of_runs", runs=Ints(found))
    prints = Texts({values[4] for values in found.values()})
    trees: dict[str, str] = dict(db.rows("get_definitions", fingerprints=prints))
    mail = db.rows("list_messages_of_runs", run_ids=Texts(run_ids))
    histories = {key: [*group] for key, group in groupby(events, itemgetter(0))}
    inboxes: dict[str, list[Message]] = {}
    for values in mail:
        inboxes.setdefault(values[1], []).append(Message._make(values))
    loaded: list[Loaded | StoreCorruptError] = []
    for key, values in found.items():
        try:
            row = run_row(values)
            history = [from_row(Row(row.run_id, *each[1:])) for each in histories.get(key, ())]
            inbox = inboxes.get(row.run_id, ())
            loaded.append(reads.whole(row, trees.get(row.fingerprint), history, inbox))
        except StoreCorruptError as error:
            loaded.append(error)
    return loaded


_Part = tuple[int, int, int]
"""A run, and the ``seq`` of its first and of its last event in a part of the feed."""
Place = tuple[int, ...]
"""A place in the feed: era, transaction, row, and how many events of the row come before it."""
NUMBERS = 4
"""So many are a place."""


def read_all_events(db: Db, place: Place, limit: int) -> tuple[list[Event], Place]:
    """Return events after a place in the feed, and the place after them."""
    events: list[Event] = []
    is_end = False
    while len(events) < limit and not is_end:
        parts, place, is_end = _parts(db, place, limit - len(events))
        columns = {
            name: Ints(part[n] for part in parts)
            for n, name in enumerate(("runs", "firsts", "lasts"))
        }
        found = db.rows("read_parts", **columns) if parts else []
        events += readable(found, lambda values: from_row(Row._make(values)), "an event")
    return events, place


def _parts(db: Db, after: Place, room: int) -> tuple[list[_Part], Place, bool]:
    """Return parts of at most so many events, the place after them, and whether there are no more.

    The events of a run that was deleted count, too.
    """
    era, tx, number, _ = after
    asked = room
    found = db.rows("read_feed", era=era, tx=str(tx), id=number, current=db.state.era, limit=asked)
    parts: list[_Part] = []
    place = after
    for row_era, row_tx, row_number, *columns in found:
        row = row_era, int(row_tx), row_number
        done = after[3] if row == after[:3] else 0
        passed = 0
        for run, first, last in zip(*columns, strict=True):
            begin = first + max(0, done - passed)
            end = min(last, begin + room - 1)
            passed += last - first + 1
            if begin > last:
                continue
            if begin <= end:
                parts.append((run, begin, end))
                room -= end - begin + 1
            if end < last:
                return parts, (*row, passed - (last - end)), False
        place = (row_era, int(row_tx), row_number + 1, 0)
    return parts, place, len(found) < asked


def end_of_feed(db: Db) -> Place:
    [(oldest,)] = db.select("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
    return db.state.era, int(oldest), 0, 0


def reports(db: Db, run_id: str) -> list[ReportRow]:
    return [row._replace(message=_text(row.message)) for row in reads.reports(db, run_id)]


def logs(db: Db, run_id: str, path: str | None, after: int, limit: int) -> list[LineRow]:
    found = reads.logs(db, run_id, path, after, limit)
    return [row._replace(text=_text(row.text)) for row in found]


def _text(data: Any) -> str:
    """Return a text that is kept as bytes."""
    return bytes(data).decode("utf-8", "surrogateescape")


def clock(db: Db) -> float:
    [(now,)] = db.select("SELECT extract(EPOCH FROM clock_timestamp())::float8")
    return float(now)
