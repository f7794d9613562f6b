"""The cost of lists in a store with a million runs: rows and time, for each set of filters.

python bench/lists.py [RUNS]     builds a store of so many runs, and prints a table

The runs are written by bulk SQL: four workflows, six statuses, a tag that all have, one that half
of the runs have in turns, one of each tenth, and one of five runs. One in a thousand waits.
"""

# ruff: noqa: SLF001 - it counts what a search does

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gorkflow.listing import MOST_READ, RunFilter
from gorkflow.model import RunStatus, instant
from gorkflow.stores._sql import lists
from gorkflow.stores._sql.database import Database
from gorkflow.stores.sqlite import _schema
from gorkflow.stores.sqlite._database import SqliteDatabase
from gorkflow.stores.sqlite._files import WorkerLocks

START = 1_700_000_000.0
TIMES = 5
STATUSES = tuple(RunStatus)
RARE = 5
"""The number of runs that have the rare tag."""


class Counted(lists._Search):
    """A search that counts the rows that it passes by."""

    def __init__(self, db: Database, asked: RunFilter) -> None:
        super().__init__(db, asked)
        self.passed = 0

    def _nth(self, along: Any, before: Any, skip: int) -> Any:
        self.passed += len(along.parts) * (skip + 1)
        return super()._nth(along, before, skip)

    def read(self, stretch: Any, most: int) -> Any:
        alone = lists._Search(self._db, RunFilter())
        alone._values = self._values
        for part in stretch.along.parts:
            along = stretch.along._replace(parts=[part])
            found = super().read(stretch._replace(along=along), most)
            end = stretch.end if len(found) < most else lists._place(found[-1])
            passed = alone.count(stretch._replace(along=along, end=end), sys.maxsize)
            self.passed += passed * (1 + self._tests(stretch.along))
        return super().read(stretch, most)


def rows_passed(db: Database, asked: RunFilter, most: int = MOST_READ) -> int:
    """Return how many rows of tables and indexes a page passes by, at most."""
    search = Counted(db, asked)
    found = 0
    for stretch in search.stretches(most):
        found += len(search.read(stretch, asked.limit + 1 - found))
        if found > asked.limit:
            break
    return search.passed


def build(path: Path, runs: int) -> None:
    """Write a store."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        for statement in _schema.statements():
            db.execute(statement)
        fill(db, runs)
        db.execute("COMMIT")


def fill(db: sqlite3.Connection, runs: int, first: int = 0) -> None:
    """Write the runs into a store, whose keys begin with this one."""
    db.executemany(
        "INSERT INTO runs (key, run_id, workflow_id, status, created_at, finished_at, "
        "resource_id, tags, waits_for, workflow_version, fingerprint, reason, token, seq) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, '[]', ?, '1', 'f', '', 0, 1)",
        ((first + key, *rest) for key, *rest in _runs(runs)),
    )
    tags = ((*rest, first + key) for *rest, key in _tags(runs))
    db.executemany("INSERT INTO run_tags VALUES (?, ?, ?, ?, ?)", tags)
    waits = ((*rest, first + key) for *rest, key in _waits(runs))
    db.executemany("INSERT INTO run_waits VALUES (?, ?, ?, ?)", waits)


def _runs(runs: int) -> Iterator[tuple[Any, ...]]:
    for n in range(runs):
        at = START + n
        status = STATUSES[n % 6]
        yield (
            n, _id(n), f"workflow-{n % 4}", status, at, at + 1 if status.terminal else None,
            f"resource-{n % 3}", '["paid"]' if n % 1000 == 0 else "[]",
        )  # fmt: skip


def _tags(runs: int) -> Iterator[tuple[Any, ...]]:
    for n in range(runs):
        where = (START + n, _id(n), n)
        yield ("all", "yes", *where)
        yield ("half", "new" if n >= runs // 2 else "old", *where)
        if n % 10 == 0:
            yield ("tenth", "yes", *where)
        if n % (runs // RARE) == 0:
            yield ("rare", "yes", *where)


def _waits(runs: int) -> Iterator[tuple[Any, ...]]:
    for n in range(0, runs, 1000):
        yield "paid", START + n, _id(n), n


def _id(n: int) -> str:
    return f"01a2{n:08x}"


def filters(runs: int) -> dict[str, dict[str, Any]]:
    """Return the sets of filters that are measured, by what a page would call them."""
    last = START + runs
    return {
        "all runs": {},
        "the oldest page": {"created_before": instant(START + 50)},
        "status": {"status": "failed"},
        "three statuses": {"status": ["failed", "cancelled", "pending"]},
        "workflow": {"workflow_id": "workflow-1"},
        "workflow and status": {"workflow_id": "workflow-1", "status": "running"},
        "workflow and status, none": {"workflow_id": "workflow-1", "status": "pending"},
        "resource": {"resource_id": "resource-1"},
        "resource and status": {"resource_id": "resource-1", "status": "running"},
        "resource and status, none": {"resource_id": "resource-0", "status": "running"},
        "tag": {"tags": {"half": "old"}},
        "two tags": {"tags": {"all": "yes", "tenth": "yes"}},
        "two tags, one rare": {"tags": {"all": "yes", "rare": "yes"}},
        "two tags, none in the newest half": {"tags": {"all": "yes", "half": "old"}},
        "two tags, never together": {"tags": {"half": "new", "tenth": "no"}},
        "tag and status": {"tags": {"all": "yes"}, "status": "failed"},
        "tag and status, none": {"tags": {"tenth": "yes"}, "status": "running"},
        "tag, workflow and status, none": {
            "tags": {"tenth": "yes"}, "workflow_id": "workflow-1", "status": ["running", "failed"]
        },
        "tag, workflow and resource": {
            "tags": {"tenth": "yes"}, "workflow_id": "workflow-0", "resource_id": "resource-1"
        },
        "waiting for a signal": {"waiting_for": "paid"},
        "waiting for a signal, and workflow, none": {
            "waiting_for": "paid", "workflow_id": "workflow-1"
        },
        "first letters of one id": {"id_prefix": _id(runs // 2)},
        "first letters of many ids": {"id_prefix": "01a20"},
        "first letters of many ids, and status": {"id_prefix": "01a20000", "status": "failed"},
        "ended in the last hour": {"finished_after": instant(last - 3600)},
        "ended in the last hour, and tag": {
            "finished_after": instant(last - 3600), "tags": {"half": "old"}
        },
        "ended in the first hour": {"finished_before": instant(START + 3600)},
        "ended in the first hour, and workflow": {
            "finished_before": instant(START + 3600), "workflow_id": "workflow-3"
        },
        "created in one hour, and tag": {
            "created_after": instant(START + runs // 2), "created_before":
            instant(START + runs // 2 + 3600), "tags": {"tenth": "yes"}
        },
    }  # fmt: skip


def main() -> None:
    """Build a store, and print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        build(path, runs)
        print(f"{runs:,} runs; a page has 50; the best of {TIMES} is shown\n")
        print("| filter | runs | rows read | page, ms | count | count, ms |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            db = SqliteDatabase(connection, WorkerLocks(path))
            for name, given in filters(runs).items():
                _report(db, name, RunFilter(**given))


def _report(db: Database, name: str, asked: RunFilter) -> None:
    page, page_ms = _timed(lambda: lists.list_runs(db, asked))
    count, count_ms = _timed(lambda: lists.count_runs(db, asked, 10_000))
    early = "" if page.searched_to is None else ", ended early"
    print(
        f"| {name} | {len(page)}{early} | {rows_passed(db, asked):,} | {page_ms:.1f} | {count} "
        f"| {count_ms:.1f} |",
        flush=True,
    )


def _timed(work: Any) -> tuple[Any, float]:
    best = float("inf")
    for _ in range(TIMES):
        begun = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - begun)
    return result, best * 1000


if __name__ == "__main__":
    main()
