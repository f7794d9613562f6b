"""Code that changes between a crash and the recovery, and schemas that change under live runs."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from gorkflow import Engine, RetryPolicy, RunBlockedError, Workflow, step
from tests.faults import files, points
from tests.faults.oracle import Database, events_of
from tests.faults.registry import Result, Size, fault
from tests.faults.scene import a_folder, a_scene


@step
async def one(number: int) -> int:
    return number + 1


@step
async def two(number: int) -> int:
    while not files.gates:
        await asyncio.sleep(0.002)
    return number * 10


@step
async def three(number: int) -> int:
    return number + 3


@step
async def more(number: int) -> int:
    return number + 1_000


@step(id="one")
async def one_text(number: int) -> str:
    return str(number)


@step(id="one")
async def one_of_text(text: str) -> int:
    return int(text) + 3


@step(id="two")
async def two_text(number: int) -> str:
    return str(number * 10)


@step(id="two")
def two_in_thread(number: int) -> int:
    return number * 10


@step(id="three")
async def three_of_text(text: str) -> int:
    return int(text) + 3


@step(id="two")
async def two_of_float(number: float) -> int:
    return int(number * 10)


def is_even(number: int) -> bool:
    return number % 2 == 0


def flow(**options: Any) -> Workflow[int, int]:
    return Workflow("changing", input=int, **options)


BEFORE = flow().then(one).then(two).then(three).then_if(is_even, more)
OUTPUT = 83  # (7 + 1) * 10 + 3, odd, so that the last step is left out

GOES_ON, BLOCKED = True, False
CHANGES: dict[str, tuple[bool, Callable[[], Workflow[int, Any]]]] = {
    "nothing": (GOES_ON, lambda: BEFORE),
    "version": (
        GOES_ON,
        lambda: flow(version="2").then(one).then(two).then(three).then_if(is_even, more),
    ),
    "timeout": (
        GOES_ON,
        lambda: flow(timeout=50).then(one).then(two).then(three).then_if(is_even, more),
    ),
    "retries of a step": (
        GOES_ON,
        lambda: (
            flow()
            .then(one)
            .then(two.options(retries=RetryPolicy(retries=3)))
            .then(three)
            .then_if(is_even, more)
        ),
    ),
    "timeout of a step": (
        GOES_ON,
        lambda: flow().then(one).then(two.options(timeout=9)).then(three).then_if(is_even, more),
    ),
    "step added at the end": (GOES_ON, lambda: BEFORE.then(more.options(id="new"))),
    "step added in between": (
        GOES_ON,
        lambda: (
            flow()
            .then(one)
            .then(more.options(id="new"))
            .then(two)
            .then(three)
            .then_if(is_even, more)
        ),
    ),
    "reordered": (
        GOES_ON,
        lambda: flow().then(three).then(two).then(one).then_if(is_even, more),
    ),
    "ended step removed": (
        GOES_ON,
        lambda: flow().then(two).then(three).then_if(is_even, more),
    ),
    "ended step renamed": (
        GOES_ON,
        lambda: flow().then(one.options(id="uno")).then(two).then(three).then_if(is_even, more),
    ),
    "input takes another type": (
        BLOCKED,
        lambda: (
            Workflow("changing", input=str)
            .then(one_of_text)
            .then(two)
            .then(three)
            .then_if(is_even, more)
        ),
    ),
    "ended step gives another type": (
        BLOCKED,
        lambda: (
            flow()
            .then(one_text)
            .then(one_of_text.options(id="between"))
            .then(two)
            .then(three)
            .then_if(is_even, more)
        ),
    ),
    "running step removed": (BLOCKED, lambda: flow().then(one).then(three).then_if(is_even, more)),
    "running step renamed": (
        BLOCKED,
        lambda: flow().then(one).then(two.options(id="zwei")).then(three).then_if(is_even, more),
    ),
    "running step gives another type": (
        GOES_ON,
        lambda: flow().then(one).then(two_text).then(three_of_text).then_if(is_even, more),
    ),
    "running step takes another type": (
        GOES_ON,
        lambda: flow().then(one).then(two_of_float).then(three).then_if(is_even, more),
    ),
    "running step is sync now": (
        BLOCKED,
        lambda: flow().then(one).then(two_in_thread).then(three).then_if(is_even, more),
    ),
    "coming step removed": (BLOCKED, lambda: flow().then(one).then(two).then_if(is_even, more)),
    "coming condition removed": (BLOCKED, lambda: flow().then(one).then(two).then(three)),
    "coming steps in a block": (
        BLOCKED,
        lambda: flow().then(one).then(two).parallel(three, more),
    ),
}


@fault("X4", "changed code", "steps renamed, removed, added, retyped between crash and recovery")
def changed_code(size: Size, seed: int) -> Result:
    result = Result()
    for name, (goes_on, change) in CHANGES.items():
        with a_folder() as folder, files.quiet(), result.injection(name):
            asyncio.run(asyncio.wait_for(_change(folder / "runs.db", change(), goes_on), 60))
    return result


async def _change(db: Path, changed: Workflow[int, Any], goes_on: bool) -> None:
    files.gates.clear()
    engine = Engine(f"sqlite:{db}")
    await engine.open()
    await engine.start(BEFORE, 7, run_id="run")
    while Database(db).count("step_scheduled") < 2:
        await asyncio.sleep(0.002)
    await engine.aclose(grace=0)
    before = events_of(db, "run")
    files.gates[:] = ["open"]
    async with Engine(f"sqlite:{db}", workflows=[changed]) as engine:
        if goes_on:
            assert await engine.handle("run").result() == OUTPUT
            return
        run = await engine.get_run("run")
        assert not run.status.terminal
        assert run.worker_id is None
        assert run.reason
        try:
            await engine.recover("run")
        except RunBlockedError as error:
            assert "'run'" in str(error)  # noqa: PT017 - no pytest in here
        else:
            raise AssertionError("it was carried on by code that does not fit")
    assert events_of(db, "run") == before, "something was recorded"
    async with Engine(f"sqlite:{db}", workflows=[BEFORE]) as engine:
        await engine.recover("run")  # at once: it would be looked at again within seconds
        assert await engine.handle("run").result() == OUTPUT


@fault("X6", "new file", "SIGKILL at every statement of the schema; many make it at once")
def new_files(size: Size, seed: int) -> Result:
    result = Result()
    with a_scene() as scene:
        steps = [name for name in points.all_points() if name.startswith("schema ")]
        for point in steps[:: size.of(5, 1, 1, 1)]:
            scene.reset(f"-{point}".replace(" ", "-"))
            with result.injection(point):
                code = scene.exit_code("play", scenario="chain", kill_at=(point, 1))
                assert code == -signal.SIGKILL, f"exit code {code}"
                assert version_of(scene.db) == 0, "half of a schema is there"
                scene.call("play", scenario="chain")
                whole(scene.db)
        for number in range(size.of(1, 3, 10, 100)):
            scene.reset(f"-many-{number}")
            with result.injection(f"many at once, {number}"):
                pids = [scene.fork("play", scenario="chain") for _ in range(size.of(2, 4, 6, 6))]
                codes = {scene.server.wait(pid) for pid in pids}
                assert codes == {0}, scene.server.tail()
                whole(scene.db)
    return result


def version_of(db: Path) -> int:
    with closing(sqlite3.connect(db)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def whole(db: Path) -> None:
    """The file has the schema of any new one."""
    with closing(sqlite3.connect(db)) as connection:
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
        assert integrity == "ok", integrity
        schema = shape(connection)
    with a_folder() as folder, closing(sqlite3.connect(folder / "new.db")) as fresh:
        from gorkflow.stores.sqlite import _schema

        fresh.isolation_level = None
        _schema.create(fresh, "new")
        assert schema == shape(fresh), "the schema differs from that of a new file"


def shape(connection: sqlite3.Connection) -> list[Any]:
    asked = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
    rows = connection.execute(asked).fetchall()
    return list(itertools.chain(rows, connection.execute("PRAGMA user_version").fetchall()))
