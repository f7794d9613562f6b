"""A list costs what its page costs, whatever its filters. Counted in steps of SQLite, and rows."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from itertools import combinations

import pytest

from bench.lists import build, filters, rows_passed
from gorkflow.listing import RunFilter
from gorkflow.model import instant
from gorkflow.stores._sql import lists
from gorkflow.stores.sqlite._database import SqliteDatabase
from gorkflow.testing.conformance import T0
from tests.stores.tools import database, with_store

RUNS = 20_000


async def nothing(_):
    return None


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Runs of two workflows in turn, one of which always fails; all have one tag, some another."""
    path = tmp_path_factory.mktemp("listing") / "runs.db"
    with_store(path, nothing)
    runs, tags = [], []
    for number in range(RUNS):
        kind, run_id, at = number % 2, f"r{number:06}", T0 + number
        runs.append(("ab"[kind], ("completed", "failed")[kind], at, at + 1, number + 1, run_id))
        tags.append(("all", "x", at, run_id, number + 1))
        tags.append(("half", "12"[number >= RUNS // 2], at, run_id, number + 1))
        if number % 4000 == 0:
            tags.append(("rare", "x", at, run_id, number + 1))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO runs (workflow_id, status, created_at, finished_at, key, run_id, token, "
            "workflow_version, fingerprint, reason, resource_id, tags, seq) "
            "VALUES (?, ?, ?, ?, ?, ?, 0, '1', 'f', '', 'cart', '[]', 1)",
            runs,
        )
        db.executemany("INSERT INTO run_tags VALUES (?, ?, ?, ?, ?)", tags)
        db.execute("COMMIT")
    return path


def cost(path, **filters):
    """Return how many hundreds of steps of its machine SQLite needs for a page, and its runs."""
    ticks = []
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.set_progress_handler(lambda: ticks.append(1), 100)
        found = lists.list_runs(database(db), RunFilter(**filters))
    return len(ticks), len(found)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"tags": {"all": "x", "none": "x"}}, 0),
        ({"tags": {"all": "x", "rare": "x"}}, 5),
        ({"tags": {"half": "1", "all": "x"}}, 50),
        ({"tags": {"all": "x"}, "workflow_id": "c"}, 0),
        ({"tags": {"all": "x"}, "status": "cancelled"}, 0),
        ({"tags": {"all": "x"}, "resource_id": "desk"}, 0),
        ({"workflow_id": "a", "status": "failed"}, 0),
        ({"workflow_id": "a", "status": ["completed", "failed"]}, 50),
        ({"workflow_id": "a", "status": "failed", "resource_id": "cart"}, 0),
        ({"workflow_id": "a"}, 50),
        ({"workflow_id": "c"}, 0),
        ({"created_before": instant(T0 + 3)}, 3),
        ({"created_before": instant(T0 + 3), "tags": {"all": "x"}}, 3),
        ({"created_after": instant(T0 + 10), "created_before": instant(T0 + 13)}, 3),
        ({"created_after": instant(T0 + RUNS), "workflow_id": "a", "tags": {"all": "x"}}, 0),
        ({"finished_before": instant(T0 + 3), "workflow_id": "a", "tags": {"all": "x"}}, 1),
    ],
)
def test_a_page_costs_no_more_than_a_plain_one_does(path, filters, count):
    plain, _ = cost(path)
    ticks, found = cost(path, **filters)
    assert found == count
    assert ticks <= plain * 6


@pytest.mark.parametrize("filters", [{}, {"resource_id": "cart"}, {"status": "failed"}])
def test_a_page_along_one_index_costs_the_same_among_more_runs(path, filters):
    ticks, _ = cost(path, **filters)
    assert ticks <= 60


# ---- at most so many rows, for each set of filters

LARGE = 30_000
BOUNDS = ("created_at>? AND (created_at,run_id)<(?,?)", "(rowid=?)", "(run_id>? AND run_id<?)")
"""How a plan says that a table is read in a stretch of the list, by its key, or by its ids."""
FIELDS = {
    "workflow_id": "workflow-1",
    "status": ["running", "failed"],
    "resource_id": "resource-1",
    "tags": {"all": "yes", "half": "old"},
    "waiting_for": "paid",
    "id_prefix": "01a2",
    "created_after": instant(1_700_000_000.0 + 9),
    "finished_after": instant(1_700_000_000.0 + 99),
    "finished_before": instant(1_700_000_000.0 + 9_999),
}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "runs.db"
    build(path, LARGE)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield database(db)


@pytest.mark.parametrize("asked", filters(LARGE).values(), ids=filters(LARGE))
def test_a_page_reads_at_most_ten_thousand_rows(large, asked):
    assert rows_passed(large, RunFilter(**asked)) <= 10_000
    page = lists.list_runs(large, RunFilter(**asked))
    assert len(page) == 50 or page.searched_to is not None or page.next_cursor is None


def chosen():
    for size in range(len(FIELDS) + 1):
        for names in combinations(FIELDS, size):
            yield RunFilter(**{name: FIELDS[name] for name in names})


def test_no_set_of_filters_reads_more_than_ten_thousand_rows(large):
    assert max(rows_passed(large, asked) for asked in chosen()) <= 10_000


def test_every_statement_of_a_list_walks_along_an_index(large, monkeypatch):
    """None sorts, and none passes by runs that an index could leave out."""
    seen = {}
    select = SqliteDatabase.select

    def noted(db, statement, values):
        if "runs" in statement:
            seen[statement] = values
        return select(db, statement, values)

    monkeypatch.setattr(SqliteDatabase, "select", noted)
    for asked in chosen():
        lists.list_runs(large, asked)
        lists.count_runs(large, asked, 500)
    assert len(seen) > 100
    for statement, values in seen.items():
        steps = [
            row[3] for row in large.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
        plan = " | ".join(steps)
        assert "TEMP B-TREE" not in plan, (statement, plan)
        walked = [step for step in steps if re.match(r"\w+ (runs|run_tags|run_waits)\b", step)]
        assert walked, plan
        for step in walked:
            assert any(bound in step for bound in BOUNDS), (statement, plan)
        looked_up = [step for step in steps if re.match(r"\w+ (tag|wait|events)\b", step)]
        assert all(step.startswith("SEARCH") for step in looked_up), (statement, plan)
