"""The reads of a database, each within one snapshot that the caller began.

A page of a list is read along the index that passes by the fewest. Every index that a filter can
use has its runs in the order of the list. If several can, the walk goes stretch by stretch: each
along that which reaches furthest back in time within so many runs, for it is the rarest there. So
one condition that hardly any run meets makes a list cheap.
"""

from __future__ import annotations

import heapq
import json
import logging
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct, convert

from gorkflow._durations import LONGEST
from gorkflow.clock import Moment, Timekeeper
from gorkflow.errors import StoreCorruptError
from gorkflow.events import Event
from gorkflow.journal import Row, from_row
from gorkflow.listing import Page, RunFilter, feed_cursor, feed_position, page_cursor, page_start
from gorkflow.model import RunStatus
from gorkflow.store import LineRow, Loaded, Message, ReportRow, RunRow, Worker
from gorkflow.stores.sqlite._files import WorkerLocks
from gorkflow.stores.sqlite._schema import query, rows, with_filters

S = TypeVar("S", bound=Struct)
_logger = logging.getLogger("gorkflow.store")
UNREADABLE = (ValueError, TypeError, OverflowError, OSError, RecursionError)
"""Raised for a damaged row."""
_ALL = -1
"""As a limit: none."""
_Row = tuple[Any, ...]
_Place = tuple[float, str]
_STRETCH = 100
"""How many runs of each index the first stretch is measured by; the following ones by more."""
_GROWTH = 4
_OLDEST: _Place = (float("-inf"), "")


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
    fields["tags"] = json.loads(fields["tags"]) if fields["tags"] != "[]" else ()
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
    return Loaded(row, tree, tuple(events))


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


class _Condition(NamedTuple):
    """A condition on runs, with an index of those that meet it, in the order of the list."""

    filters: tuple[str, ...] = ()
    """The filters of the table ``runs``."""
    tag: int | None = None
    """Instead: the number of the tag."""


def list_runs(db: sqlite3.Connection, asked: RunFilter) -> Page[RunRow]:
    """Return one page of summaries, newest first.

    Several statuses are as many walks, merged: one walk would have to sort, or to pass by all the
    runs of other statuses.
    """
    each: Sequence[RunStatus | None] = asked.statuses or (None,)
    if asked.statuses is None and asked.workflow_id is not None:
        each = tuple(RunStatus)  # the index of a workflow's runs has them by status
    elif asked.statuses == ():
        return Page([], None)
    walks = [_Walk(db, asked, status).rows() for status in each]
    merged = heapq.merge(*walks, key=lambda row: (row[9], row[1]), reverse=True)
    found = list(islice(merged, asked.limit + 1))
    cursor = page_cursor(found[-2][9], found[-2][1]) if len(found) > asked.limit else None
    return Page([row for _, row in readable_rows(found[: asked.limit])], cursor)


class _Walk:
    """All runs of a filter that have one status, or any."""

    def __init__(self, db: sqlite3.Connection, asked: RunFilter, status: RunStatus | None) -> None:
        self._db = db
        self._size = asked.limit + 1
        self._values: dict[str, Any] = {}
        self._start = min(_starts(asked))
        after = asked.created_after
        self._end: _Place = _OLDEST if after is None else (after.timestamp(), "")
        self._conditions = list(self._by_index(asked, status))
        self._rest: tuple[str, ...] = ()
        if asked.finished_before is not None:
            self._rest = (self._filter("finished_at", "<", asked.finished_before.timestamp()),)

    def _by_index(self, asked: RunFilter, status: RunStatus | None) -> Iterator[_Condition]:
        for number, (name, value) in enumerate(asked.tags.items()):
            self._values |= {f"name{number}": name, f"value{number}": value}
            yield _Condition(tag=number)
        if asked.resource_id is not None:
            yield _Condition((self._filter("resource_id", "=", asked.resource_id),))
        both = {"workflow_id": asked.workflow_id, "status": status and status.value}
        filters = tuple(self._filter(n, "=", v) for n, v in both.items() if v is not None)
        if filters:
            yield _Condition(filters)

    def _filter(self, column: str, relation: str, value: object) -> str:
        self._values[column] = value
        return f"runs.{column} {relation} :{column}"

    def rows(self) -> Iterator[_Row]:
        """Yield what the walk finds, newest first."""
        if len(self._conditions) < 2:
            along = self._conditions[0] if self._conditions else _Condition()
            yield from self._read(along, self._start, self._end)
            return
        before, skip = self._start, _STRETCH
        while before > self._end:
            ends = [(self._nth(each, before, skip), n) for n, each in enumerate(self._conditions)]
            end, rarest = min(ends)
            yield from self._read(self._conditions[rarest], before, end)
            before, skip = end, skip * _GROWTH

    def _nth(self, along: _Condition, before: _Place, skip: int) -> _Place:
        """Return where a walk along a condition stands after so many runs; at its end: the end."""
        table = "runs" if along.tag is None else "run_tags"
        statement = query("nth_run" if along.tag is None else "nth_tagged_run")
        bounds = self._bounds(along, before, self._end)
        found = rows(
            self._db,
            with_filters(statement, [*along.filters, f"{table}.created_at >= :end_at"]),
            {**bounds, "skip": skip},
        )
        return found[0][:2] if found else self._end

    def _read(self, along: _Condition, before: _Place, end: _Place) -> Iterator[_Row]:
        """Yield the runs before one place and not before the other, along an index."""
        table = "runs" if along.tag is None else "run_tags"
        filters = [
            *along.filters,
            # The first of the two ends the walk along the index; ``+``: the other chooses none.
            f"{table}.created_at >= :end_at",
            f"(+{table}.created_at, {table}.run_id) >= (:end_at, :end_id)",
            *self._rest,
        ]
        for each in self._conditions:
            if each == along:
                continue
            if each.tag is None:
                filters += [f"+{condition}" for condition in each.filters]  # by no other index
            else:
                filters.append(re.sub(r":(name|value)", rf":\g<1>{each.tag}", query("has_tag")))
        statement = query("list_runs" if along.tag is None else "list_tagged_runs")
        values = {**self._bounds(along, before, end), "limit": self._size}
        yield from rows(self._db, with_filters(statement, filters), values)

    def _bounds(self, along: _Condition, before: _Place, end: _Place) -> dict[str, Any]:
        values = self._values | {
            "before_at": before[0], "before_id": before[1], "end_at": end[0], "end_id": end[1]
        }  # fmt: skip
        if along.tag is not None:
            values["tag_name"] = self._values[f"name{along.tag}"]
            values["tag_value"] = self._values[f"value{along.tag}"]
        return values


def _starts(asked: RunFilter) -> Iterator[_Place]:
    """Yield the places before which all runs of a filter are."""
    yield page_start(asked)
    # A run is created before it ends.
    for at in (asked.created_before, asked.finished_before):
        if at is not None:
            yield at.timestamp(), ""
