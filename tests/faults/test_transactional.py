"""Steps whose process dies within a transaction write once; a plain step writes twice at times.

The deaths are the same each time: before the work, after its write, after the record of the result
but before the commit, and after the commit. An engine takes seconds to continue after each, so most
attempts are made without one.

Sizes: 15 runs for each kind of database, 50 with ``GORKFLOW_TEST_SIZE=full``.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg_pool", reason="needs psycopg: pip install 'psycopg[binary,pool]'")
pytest.importorskip("aiosqlite", reason="needs aiosqlite: pip install aiosqlite")
pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy: pip install sqlalchemy")
import psycopg
from psycopg_pool import ConnectionPool
from sqlalchemy import create_engine, text

from gorkflow import NonRetryableError, testing
from gorkflow.transaction import prepare
from tests.faults.scene import Scene, a_scene
from tests.faults.transactional import CREATE, POINTS

pytestmark = pytest.mark.slow
ACTORS = "tests.faults.transactional"
BOOKED = "SELECT run, attempt FROM bookings"
COUNT = 50 if os.environ.get("GORKFLOW_TEST_SIZE") == "full" else 15


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    from tests.stores.postgres.server import Server

    server = Server()
    yield server.url()
    server.close()


def deaths_of(scene: Scene, **arguments: object) -> int:
    """Call the step for all runs, whatever dies; return how many processes died."""
    scene.call("attempts", **arguments)
    return sum('"death"' in line for line in scene.witness.read_text().splitlines())


def results(scene: Scene) -> list[tuple[str, int]]:
    """Return the results of the steps, as the process got them that did not die."""
    noted = map(json.loads, scene.witness.read_text().splitlines())
    return sorted({(run, attempt) for what, run, attempt in noted if what == "result"})


def booked_in(path: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(path)) as db:
        return sorted(db.execute(BOOKED).fetchall())


def prepared(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        db.execute(CREATE)
    return str(path)


@pytest.mark.parametrize("kind", ["sqlite3", "engine", "session", "async engine"])
def test_writes_into_sqlite_commit_with_their_result(kind: str):
    with a_scene(ACTORS) as scene:
        path = scene.folder / "shop.db"
        url = prepared(path)
        assert deaths_of(scene, kind=kind, url=url, points=POINTS, count=COUNT) > 5
        assert booked_in(path) == results(scene)
        assert len(results(scene)) == COUNT


@pytest.mark.parametrize("kind", ["psycopg", "async psycopg"])
def test_writes_into_postgresql_commit_with_their_result(kind: str, postgres: str):
    with psycopg.connect(postgres, autocommit=True) as db, a_scene(ACTORS) as scene:
        db.execute("DROP TABLE IF EXISTS bookings, gorkflow_results")
        db.execute(CREATE)
        found = {"kind": kind, "url": postgres, "points": POINTS, "count": COUNT}
        assert deaths_of(scene, **found) > 5
        assert sorted(db.execute(BOOKED).fetchall()) == results(scene)
        assert len(results(scene)) == COUNT


@pytest.mark.parametrize("kind", ["psycopg", "pool", "engine"])
def test_of_two_attempts_at_once_the_second_rolls_back(kind: str, postgres: str):
    """The first one commits while the work of the second one is done."""

    def first(connection: Any) -> str:
        return "first"

    def second(connection: Any) -> str:
        assert testing.context().transaction(postgres, first) == "first"
        sql = "INSERT INTO bookings VALUES ('second', 2)"
        connection.execute(text(sql) if kind == "engine" else sql)
        return "second"

    with psycopg.connect(postgres, autocommit=True) as db, ExitStack() as stack:
        db.execute("DROP TABLE IF EXISTS bookings, gorkflow_results")
        db.execute(CREATE)
        found: Any = postgres
        if kind == "pool":
            found = stack.enter_context(ConnectionPool(postgres, min_size=1))
        elif kind == "engine":
            url = postgres.replace("postgresql:", "postgresql+psycopg:")
            found = create_engine(url)
            stack.callback(found.dispose)
        assert testing.context(attempt=2).transaction(found, second) == "first"
        assert db.execute(BOOKED).fetchall() == []
        assert testing.context(attempt=3).transaction(found, second) == "first"


def test_a_role_without_rights_is_told_of_prepare(postgres: str):
    with psycopg.connect(postgres, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS gorkflow_results; CREATE ROLE guest LOGIN")
        theirs = postgres.replace("postgres@", "guest@")
        with pytest.raises(psycopg.errors.UndefinedTable) as caught:
            testing.context().transaction(theirs, lambda _: 1)
        assert "gorkflow db prepare URL: permission denied" in str(caught.value.__notes__)
        prepare(postgres)
        prepare(postgres)
        db.execute("GRANT SELECT, INSERT ON gorkflow_results TO guest")
    assert testing.context().transaction(theirs, lambda _: 1) == 1


def test_work_on_psycopg_must_not_commit(postgres: str):
    with pytest.raises(psycopg.ProgrammingError, match="commit"):
        testing.context(path="a").transaction(postgres, lambda db: db.commit())
    with pytest.raises(NonRetryableError, match="by itself"):
        testing.context(path="b").transaction(postgres, lambda db: db.execute("COMMIT").rowcount)


def test_writes_of_a_plain_step_double():
    with a_scene(ACTORS) as scene:
        path = scene.folder / "shop.db"
        found = {"kind": "plain", "url": prepared(path), "points": POINTS, "count": COUNT}
        deaths_of(scene, **found)
        runs = Counter(run for run, _ in booked_in(path))
        assert len(runs) == COUNT
        assert max(runs.values()) > 1


def test_an_engine_continues_after_deaths_and_writes_once():
    with a_scene(ACTORS) as scene:
        path = scene.folder / "shop.db"
        scene.call("queue", count=2)
        found = {"kind": "sqlite3", "url": prepared(path), "points": ("kept",), "count": 2}
        codes = [scene.exit_code("carry", **found) for _ in range(3)]
        assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
        assert booked_in(path) == results(scene)
        assert [run for run, _ in results(scene)] == ["run0", "run1"]
