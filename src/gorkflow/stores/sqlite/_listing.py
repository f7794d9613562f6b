"""One page of a list of runs, newest first, read along the index that passes by the fewest.

Every index that a filter can use has its runs in the order of the list. If several can, the walk
goes stretch by stretch: each along that which reaches furthest back in time within so many runs,
for it is the rarest there. So one condition that hardly any run meets makes a list cheap.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from gorkflow.listing import RunFilter
from gorkflow.model import RunStatus
from gorkflow.stores._common import page_start
from gorkflow.stores.sqlite._schema import query, rows, with_filters

_Row = tuple[Any, ...]
_Place = tuple[float, str]
_STRETCH = 100
"""How many runs of each index the first stretch is measured by; the following ones by more."""
_GROWTH = 4
_OLDEST: _Place = (float("-inf"), "")


class _Condition(NamedTuple):
    """A condition on runs, with an index of those that meet it, in the order of the list."""

    filters: tuple[str, ...] = ()
    """The filters of the table ``runs``."""
    tag: int | None = None
    """Instead: the number of the tag."""


def page(db: sqlite3.Connection, asked: RunFilter) -> list[_Row]:
    """Return the rows of a page, newest first, and one more if there is one.

    Several statuses are as many walks, merged: one walk would have to sort, or to pass by all the
    runs of other statuses.
    """
    each: Sequence[RunStatus | None] = asked.statuses or (None,)
    if asked.statuses is None and asked.workflow_id is not None:
        each = tuple(RunStatus)  # the index of a workflow's runs has them by status
    elif asked.statuses == ():
        return []
    walks = [_Walk(db, asked, status).rows() for status in each]
    merged = heapq.merge(*walks, key=lambda row: (row[9], row[1]), reverse=True)
    return list(islice(merged, asked.limit + 1))


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
    for instant in (asked.created_before, asked.finished_before):
        if instant is not None:
            yield instant.timestamp(), ""
