"""The lists and counts of runs in a database, each within one snapshot that the caller began.

Each index that a filter can use has its runs in the order of the list. If one has just the runs of
the filter, a page is read along it. Else the search goes back in time stretch by stretch: along
the index that reaches furthest back within so many runs, for it is the rarest there. So one
condition that hardly any run meets makes a list cheap. If none is rare, the page ends after some
10,000 runs, and its cursor continues there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from gorkflow.limits import NONE
from gorkflow.listing import MOST_READ, Page, RunCount, RunFilter, page_bounds, page_cursor
from gorkflow.model import RunStatus, instant
from gorkflow.store import RunRow
from gorkflow.stores._sql.database import Database, Row
from gorkflow.stores._sql.rows import readable_runs

_STRETCH = 100
"""How many runs of each index the first stretch is measured by; the following ones by more."""
_GROWTH = 4
_FEW = 1000
"""So many ids with a prefix are read together; they are in no order that a list could use."""
_Place = tuple[float, str]
"""The place of a run in the list: when it was created, and its id."""
_place = itemgetter(9, 1)


def list_runs(db: Database, asked: RunFilter, most: int = MOST_READ) -> Page[RunRow]:
    """Return one page of summaries, newest first, after reading so many rows at most."""
    search = _Search(db, asked)
    found: list[Row] = []
    reached = search.start
    for stretch in search.stretches(most):
        found += search.read(stretch, asked.limit + 1 - len(found))
        reached = stretch.end
        if len(found) > asked.limit:
            break
    runs = [row for _, row in readable_runs(found[: asked.limit])]
    if len(found) > asked.limit:
        return Page(runs, page_cursor(*_place(found[-2])))
    if reached > search.end:
        return Page(runs, page_cursor(*reached), instant(reached[0]))
    return Page(runs)


def count_runs(db: Database, asked: RunFilter, most: int) -> RunCount:
    """Count the runs of a filter, no further than that."""
    search = _Search(db, asked)
    found, reached = 0, search.start
    for stretch in search.stretches(most):
        found += search.count(stretch, most - found)
        reached = stretch.end
        if found >= most:
            break
    return RunCount(found, more=found >= most or reached > search.end)


def latest_runs(db: Database, after: str, limit: int) -> list[RunRow]:
    """Return the newest run of each workflow."""
    names = db.rows("list_workflows", after=after, limit=limit)
    pages = (list_runs(db, RunFilter(workflow_id=name, limit=1)) for (name,) in names)
    return [*chain.from_iterable(pages)]


class _Table(NamedTuple):
    """One of the tables that have runs in the order of the list, and its statements."""

    name: str
    read: str
    skip: str
    """Finds where a walk along it stands after so many runs."""


_RUNS = _Table("runs", "list_runs", "nth_run")
_TAGS = _Table("run_tags", "list_tagged_runs", "nth_tagged_run")
_WAITS = _Table("run_waits", "list_waiting_runs", "nth_waiting_run")
_IDS = _Table("runs", "list_runs_by_id", "")
"""Not in the order of the list."""


class _Condition(NamedTuple):
    """A condition on runs, and the parts of an index that have those that meet it."""

    table: _Table = _RUNS
    parts: Sequence[Sequence[str]] = ((),)
    """The filters of each part."""
    values: Mapping[str, Any] = NONE
    """By which the parts are found in their table."""
    test: str = ""
    """The same condition as a filter of runs that another index brings."""


class _Stretch(NamedTuple):
    """The runs along the index of a condition, before one place and not before another."""

    along: _Condition
    before: _Place
    end: _Place


class _Search:
    """The search for the runs of a filter."""

    def __init__(self, db: Database, asked: RunFilter) -> None:
        self._db = db
        self._values: dict[str, Any] = {}
        self.start, self.end = page_bounds(asked)
        self._rest = [*self._without_an_index(asked)]
        self._few: _Condition | None = None
        self._looked_at = 0
        if asked.id_prefix is not None:
            self._look_at_ids(asked.id_prefix)
        self._conditions = [
            *self._tagged(asked), *self._waiting(asked), *self._about(asked), *self._kept_as(asked)
        ]  # fmt: skip

    # ---- the conditions

    def _without_an_index(self, asked: RunFilter) -> Iterator[str]:
        if asked.finished_after is not None:
            yield self._filter("finished_at", ">=", asked.finished_after.timestamp(), "_after")
        if asked.finished_before is not None:
            yield self._filter("finished_at", "<", asked.finished_before.timestamp(), "_before")
        if asked.queue is not None:
            yield f"+{self._filter('queue', '=', asked.queue)}"

    def _look_at_ids(self, prefix: str) -> None:
        ids = {"id_from": prefix, "id_to": f"{prefix}\U0010ffff"}
        ((count,),) = self._db.rows("count_ids", **ids, limit=_FEW + 1)
        self._looked_at = count
        if count > _FEW:
            self._values |= ids
            self._rest += ["+runs.run_id >= :id_from", "+runs.run_id < :id_to"]
        else:
            self._few = _Condition(_IDS, values=ids)

    def _tagged(self, asked: RunFilter) -> Iterator[_Condition]:
        for number, (name, value) in enumerate(asked.tags.items()):
            self._values |= {f"name{number}": name, f"value{number}": value}
            test = re.sub(r":(name|value)", rf":\g<1>{number}", self._db.text("has_tag"))
            yield _Condition(_TAGS, values={"tag_name": name, "tag_value": value}, test=test)

    def _waiting(self, asked: RunFilter) -> Iterator[_Condition]:
        if asked.waiting_for is not None:
            self._values["signal"] = asked.waiting_for
            yield _Condition(_WAITS, test=self._db.text("has_wait"))

    def _about(self, asked: RunFilter) -> Iterator[_Condition]:
        if asked.resource_id is not None:
            found = self._filter("resource_id", "=", asked.resource_id)
            yield _Condition(parts=[[found]], test=f"+{found}")

    def _kept_as(self, asked: RunFilter) -> Iterator[_Condition]:
        """Yield the condition on workflow and status: an index has its runs by each status."""
        statuses = asked.statuses
        if statuses is None and asked.workflow_id is None:
            return
        each = RunStatus if statuses is None else statuses
        if asked.wants_ended:
            each = tuple(status for status in each if status.terminal)
        texts = [
            self._filter("status", "=", status.value, str(number))
            for number, status in enumerate(each)
        ]
        found = [] if asked.workflow_id is None else [
            self._filter("workflow_id", "=", asked.workflow_id)
        ]  # fmt: skip
        tests = [f"+{each}" for each in found]
        if statuses is not None:
            tests.append(f"({' OR '.join(f'+{text}' for text in texts) or 'FALSE'})")
        yield _Condition(parts=[[*found, text] for text in texts], test=" AND ".join(tests))

    def _filter(self, column: str, relation: str, value: object, mark: str = "") -> str:
        self._values[f"{column}{mark}"] = value
        return f"runs.{column} {relation} :{column}{mark}"

    # ---- the walk

    def stretches(self, most: int) -> Iterator[_Stretch]:
        """Yield where to search next, until all was searched or so many rows were read."""
        conditions = self._conditions or [_Condition()]
        alone = self._few or next((each for each in conditions if not each.parts), None)
        if alone is None and len(conditions) == 1 and not self._rest:
            alone = conditions[0]
        if alone is not None:
            yield _Stretch(alone, self.start, self.end)
            return
        measured = sum(len(each.parts) for each in conditions)
        costs = [len(each.parts) * (1 + self._tests(each)) for each in conditions]
        before, skip, most = self.start, _STRETCH, most - self._looked_at
        while before > self.end:
            skip = min(skip, most // (measured + max(costs)) - 1)
            if skip < 1 and before < self.start:
                return
            ends = [(self._nth(each, before, max(skip, 0)), n) for n, each in enumerate(conditions)]
            end, rarest = min(ends)
            yield _Stretch(conditions[rarest], before, end)
            most -= (skip + 1) * (measured + costs[rarest])
            before, skip = end, skip * _GROWTH

    def _tests(self, along: _Condition) -> int:
        """Return how many other rows each run of a walk along a condition is looked up in."""
        tables = sum(each.table is not _RUNS for each in self._conditions if each is not along)
        return tables + (along.table is not _RUNS)

    def _nth(self, along: _Condition, before: _Place, skip: int) -> _Place:
        """Return where a walk along a condition stands after so many runs; at its end: the end."""
        places = [self.end]
        for part in along.parts:
            filters = [*part, f"{along.table.name}.created_at >= :end_at"]
            statement = with_filters(self._db.text(along.table.skip), filters)
            bounds = self._bounds(_Stretch(along, before, self.end))
            places += self._db.select(statement, {**bounds, "skip": skip})
        return max(places)

    def read(self, stretch: _Stretch, most: int) -> list[Row]:
        """Return the runs of a stretch, newest first, at most so many."""
        found: list[Row] = []
        for statement, values in self._statements(stretch, most):
            found += self._db.select(statement, values)
        found.sort(key=_place, reverse=True)
        return found[:most]

    def count(self, stretch: _Stretch, most: int) -> int:
        """Return how many runs a stretch has, at most so many."""
        count = 0
        for statement, values in self._statements(stretch, most):
            values["limit"] = most - count
            count += self._db.select(counting(statement), values)[0][0]
        return min(count, most)

    def _statements(self, stretch: _Stretch, most: int) -> Iterator[tuple[str, dict[str, Any]]]:
        along = stretch.along
        name = along.table.name
        filters = [
            # The first of the two ends the walk along the index; ``+``: the other chooses none.
            f"{name}.created_at >= :end_at",
            f"(+{name}.created_at, {name}.run_id) >= (:end_at, :end_id)",
            *self._rest,
            *(each.test for each in self._conditions if each is not along),
        ]
        if along.table is _IDS:
            filters[:2] = ["(+runs.created_at, +runs.run_id) >= (:end_at, :end_id)"]
        for part in along.parts:
            statement = with_filters(self._db.text(along.table.read), [*part, *filters])
            yield statement, {**self._bounds(stretch), "limit": most}

    def _bounds(self, stretch: _Stretch) -> dict[str, Any]:
        bounds = dict(zip(("before_at", "before_id"), stretch.before, strict=True))
        bounds |= dict(zip(("end_at", "end_id"), stretch.end, strict=True))
        return {**self._values, **stretch.along.values, **bounds}


def with_filters(statement: str, filters: Iterable[str]) -> str:
    """Return a listing statement with more conditions at its mark."""
    return re.sub(r"/\* and: the filters \*/", "".join(f"AND {f} " for f in filters), statement)


def counting(statement: str) -> str:
    """Return the statement that counts what a listing statement would read."""
    text = statement.replace("SELECT runs.*", "SELECT 1")
    return f"SELECT COUNT(*) FROM ({text}) AS found"  # noqa: S608
