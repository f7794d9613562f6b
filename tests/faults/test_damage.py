"""A damaged row harms its own run only, ends in an error with a type, and is named by the checks.

Each case writes nonsense into one column of one row: valid SQL, of the column's type, and often
valid JSON. Then everything looks at it, and a worker runs other work beside it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

import gorkflow as g
from gorkflow.cli._app import cli
from gorkflow.store import Message

RUNS = ("done", "failed", "mixed", "waits", "sleeps", "later")
red = g.Signal("red", int)
shared = g.Limit("api", concurrency=3, rate=50, per=1.0)


@g.step(limits=(shared,))
async def one(ctx: g.StepContext, value: int) -> int:
    ctx.state.incr("n")
    return value


@g.step
async def bad(value: int) -> int:
    raise ValueError("no")


@g.step
async def undo_one(value: int, output: int | None) -> None:
    del value, output


@g.step
async def total(outcomes: list[g.Outcome[int]]) -> int:
    return len(outcomes)


def large(value: int) -> bool:
    return value > 1


plain = g.Workflow("plain", input=int).then(one)
failing = g.Workflow("failing", input=int).then(one.undo(undo_one)).then(bad)
waiting = g.Workflow("waiting", input=int).then(one).wait_for(red, timeout=5000.0, default=3)
sleeping = g.Workflow("sleeping", input=int).sleep(4000).then(one)
each = (
    g.Workflow("each", input=int)
    .when(large, one.options(id="a"))
    .otherwise(one.options(id="b"))
    .loop(one.options(id="c"), until=lambda value: value > 0, max_iterations=2)
)
mixed = g.Workflow("mixed", input=list[int]).map(each, join=g.tolerate(1)).then(total)
FLOWS = [plain, failing, waiting, sleeping, mixed]

TEXTS = (
    "", "x", "5", "null", "[]", "{}", "[1]", '{"a":1}', '[["a","b"]]', "[[1,2]]", "[null]", '"x"',
    "NaN", "1e999", "-1", "\x1b[2J\nx", "completed", "running", "suspended", "[" * 5000, "a/b[3]#2",
    "signal", "cancel", "run_finished", "step_failed", '{"kind":"workflow","id":5,"nodes":["x"]}',
)  # fmt: skip
INTEGERS = (-1, 0, 1, 2, 7, 999, 2**62, -(2**62))
REALS = (-1.0, 0.0, 1e308, -1e308, float("inf"), float("-inf"), 1e18, 2e10)
BLOBS = (b"", b"x", b"null", b"\xff\xfe", b"[1,2]", b'"t"', b"{", b"[" * 3000, b"1e999")
JUNK: dict[str, tuple[Any, ...]] = {
    "TEXT": TEXTS, "INTEGER": INTEGERS, "REAL": REALS, "BLOB": BLOBS
}  # fmt: skip
INSIDE = (None, True, 5, -1, 1e308, "x", "\udc80", [], {}, [1], {"a": 1}, 10**30)
NOT_UTF8 = "CAST(? AS TEXT)"
LISTS = {
    "all": g.RunFilter(),
    "tag": g.RunFilter(tags={"a": "b"}),
    "signal": g.RunFilter(waiting_for="red"),
}
IDENTITY = {"key", "run", "run_id"}
"""What says whose a row is: another value makes it another run's, and both are harmed."""


class Case(NamedTuple):
    table: str
    column: str
    where: str
    key: tuple[Any, ...]
    value: Any
    sql: str = "?"


async def prepare(path: Path) -> None:
    async with g.Engine(f"sqlite:{path}?synchronous=normal") as engine:
        await engine.run(plain, 1, run_id="done", tags={"a": "b"}, state={"k": [1]})
        await (await engine.start(failing, 1, run_id="failed")).outcome()
        await engine.run(mixed, [1, 2], run_id="mixed")
        for flow, run_id in ((waiting, "waits"), (sleeping, "sleeps")):
            handle = await engine.start(flow, 1, run_id=run_id)
            while (await handle.info()).status != "suspended":
                await asyncio.sleep(0.005)
        await engine.start(plain, 1, run_id="later", delay=3000)
        await engine.schedule(plain, 1, id="s", every=3600, tags={"x": "y"})
    async with g.Client(f"sqlite:{path}") as client:
        await client.store.post(Message(0, "sleeps", "signal", "unknown", 1e9, b"5"))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "INSERT INTO workers "
            "(worker_id, started_at, seen_at, lease, host, pid, queues, machine) "
            "VALUES ('dead', 1e9, 1e9, 30.0, 'h', 5, '[]', 'elsewhere')"
        )
        db.execute("INSERT INTO limit_leases VALUES ('api', 'dead', 1, NULL, 1e9, 0, 0.0)")


def cases(db: sqlite3.Connection) -> Iterator[Case]:
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    for (table,) in db.execute(tables).fetchall():
        columns = db.execute(f"PRAGMA table_info({table})").fetchall()
        keys = [column[1] for column in columns if column[5]]
        where = " AND ".join(f"{key} = ?" for key in keys)
        for _, name, kind, _, _, _ in columns:
            if name not in IDENTITY:
                query = f"SELECT {name}, {', '.join(keys)} FROM {table}"
                for old, *key in db.execute(query).fetchall():
                    for value in (*JUNK[kind], *_changed_inside(old)):
                        yield Case(table, name, where, tuple(key), value)
                    if kind == "TEXT":
                        yield Case(table, name, where, tuple(key), b"a\xff", NOT_UTF8)


def _changed_inside(old: Any) -> Iterator[str]:
    """Yield JSON objects that differ from one in a field."""
    try:
        body = json.loads(old)
    except (ValueError, TypeError):
        return
    if isinstance(body, dict):
        for name in body:
            yield from (json.dumps({**body, name: junk}) for junk in INSIDE)
            yield json.dumps({key: item for key, item in body.items() if key != name})
        yield json.dumps({**body, "extra": 1})


def victims(db: sqlite3.Connection, case: Case) -> set[str]:
    """Return the runs that the row belongs to."""
    of_runs = {
        "runs": "runs.key = t.key",
        "events": "runs.key = t.run",
        "inbox": "runs.key = t.run",
        "run_tags": "runs.key = t.run",
        "run_waits": "runs.key = t.run",
        "definitions": "runs.fingerprint = t.fingerprint",
    }
    if case.table not in of_runs:
        return set()
    query = f"""
        SELECT runs.run_id
        FROM (SELECT * FROM {case.table} WHERE {case.where}) AS t
            JOIN runs ON {of_runs[case.table]}
    """
    return {run_id for (run_id,) in db.execute(query, case.key)}


async def pictures(path: Path) -> dict[tuple[str, str], Any]:
    """Return what each view shows of each run, or the error that it raises instead."""
    shown: dict[tuple[str, str], Any] = {}
    async with g.Client(f"sqlite:{path}", workflows=FLOWS) as client:
        for run_id in RUNS:
            for view in (client.get_run, client.steps, client.store.read_events):
                try:
                    shown[view.__name__, run_id] = str(await view(run_id))
                except g.GorkflowError as error:
                    shown[view.__name__, run_id] = error
        for name, query in LISTS.items():
            listed = {run.run_id for run in await client.list_runs(query)}
            shown |= {(f"list {name}", run_id): run_id in listed for run_id in RUNS}
        await client.schedules()
    return shown


async def work_beside(path: Path, harmed: set[str]) -> None:
    """Run other work, and ask for what is harmed; whatever it raises has a type."""
    async with g.Engine(f"sqlite:{path}?synchronous=normal", workflows=FLOWS) as engine:
        async with asyncio.timeout(20):
            assert await engine.run(plain, 5) == 5
            if "waits" not in harmed:
                await engine.send("waits", red, 9)
                assert (await engine.wait("waits")).result() == (1, 9)
            for run_id in harmed:
                for ask in (engine.recover, engine.cancel, engine.rerun):
                    with suppress(g.GorkflowError):
                        await ask(run_id)
        await engine.aclose(grace=0)


def told(path: Path, *command: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*command, "--store", f"sqlite:{path}"])
    assert result.exit_code != 70, result.output
    assert "\x1b" not in result.output
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "sound.db"
    asyncio.run(prepare(path))
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def check(sound: Path, path: Path, case: Case, before: dict[tuple[str, str], Any]) -> None:
    shutil.copy(sound, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        harmed = victims(db, case)
        try:
            db.execute(
                f"UPDATE {case.table} SET {case.column} = {case.sql} WHERE {case.where}",
                (case.value, *case.key),
            )
        except sqlite3.IntegrityError:
            return  # the database itself refuses it
    after = asyncio.run(pictures(path))
    for (view, run_id), shown in before.items():
        assert run_id in harmed or after[view, run_id] == shown, (view, run_id)
    broken = {run_id for (_, run_id), shown in after.items() if isinstance(shown, Exception)}
    for command in (("db", "check"), ("doctor",)):
        code, output = told(path, *command)
        assert all(f"run {run_id}" in output for run_id in broken), output
        assert code == 1 or not broken
    told(path, "runs", "list")
    told(path, "schedule", "list")
    for run_id in harmed:
        told(path, "runs", "show", run_id, "--events")
    asyncio.run(work_beside(path, harmed))


def chosen(sound: Path, seed: int, count: int) -> list[Case]:
    """Return cases of all columns in turn, each with a value drawn by chance."""
    by_column: dict[tuple[str, str], list[Case]] = {}
    with closing(sqlite3.connect(sound)) as db:
        for case in cases(db):
            by_column.setdefault((case.table, case.column), []).append(case)
    rng = random.Random(seed)
    columns = list(by_column)
    return [rng.choice(by_column[columns[n % len(columns)]]) for n in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_row_harms_its_own_run_only(
    sound: Path, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    before = asyncio.run(pictures(sound))
    for number, case in enumerate(chosen(sound, seed, 80)[seed::4]):
        try:
            check(sound, tmp_path / f"{number}.db", case, before)
        except BaseException as error:
            error.add_note(f"{case}"[:300])
            raise


def test_a_text_that_is_not_utf8_harms_its_own_run_only(
    sound: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    before = asyncio.run(pictures(sound))
    with closing(sqlite3.connect(sound)) as db:
        found = [case for case in cases(db) if case.sql == NOT_UTF8]
    one_each = {(case.table, case.column): case for case in found}
    assert len(one_each) > 20
    for number, case in enumerate(one_each.values()):
        try:
            check(sound, tmp_path / f"{number}.db", case, before)
        except BaseException as error:
            error.add_note(f"{case}"[:300])
            raise


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_damaged_rows_harm_their_own_runs_only(
    sound: Path, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    before = asyncio.run(pictures(sound))
    for number, case in enumerate(chosen(sound, seed, 100)):
        try:
            check(sound, tmp_path / f"{number}.db", case, before)
        except BaseException as error:
            error.add_note(f"{case}"[:300])
            raise
