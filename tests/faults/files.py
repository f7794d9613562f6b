"""Damaged rows, damaged pages, and trouble with the file itself."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gorkflow import Engine, GorkflowError, StoreError, Workflow, step
from tests.faults.oracle import Database
from tests.faults.registry import Result, Size, chance, fault
from tests.faults.scene import a_folder

GATE = "open"


@step
async def tells(number: int) -> str:
    return f"number {number}"


@step
async def waits(text: str) -> str:
    while not gates:
        await asyncio.sleep(0.002)
    return text + "!"


@step
async def ends(text: str) -> str:
    return text + "?"


gates: list[str] = []
"""Steps wait until there is something in here."""


def flow(name: str) -> Workflow[int, str]:
    return Workflow(name, input=int).then(tells).then(waits).then(ends)


FINE, BAD = flow("fine"), flow("bad")
EXPECTED = "number 7!?"


@contextmanager
def quiet() -> Any:
    """Keep the log quiet: what is wrong is what is asked for."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def left_runs(db: Path) -> None:
    """Leave runs behind that have recorded one result, and one that has ended."""

    async def main() -> None:
        engine = Engine(f"sqlite:{db}")
        await engine.open()
        for workflow, run_id in ((BAD, "bad"), (FINE, "good"), (FINE, "other")):
            await engine.start(workflow, 7, run_id=run_id)
        while Database(db).count("step_completed") < 3:
            await asyncio.sleep(0.005)
        await engine.aclose(grace=0)

    gates.clear()
    asyncio.run(main())


EVENT = "WHERE run = (SELECT key FROM runs WHERE run_id = 'bad') AND seq = {seq}"
RESULT = 4  # the seq of the first step's result
_EVENTS = {
    "body": ["{", "[]", "{}", "null", "", '{"attempt":"x"}', '{"attempt":1e999}', '"\\ud800"'],
    "kind": ["unheard_of", "", "run_created", "run_finished"],
    "path": ["", "nowhere", "../..", "tells/tells"],
    "at": [float("inf"), -1e300],
    "payload": [None, b"", b"{", b"\xff\xfe", b'"numb', b"[" * 100_000, b"NaN", b"1" * 5_000],
    "seq": [2, 40, 0, -3],
}
_RUN = {
    "status": ["happy", "", "COMPLETED", "completed", "pending"],
    "tags": ["{", "[1]", "{}", ""],
    "fingerprint": ["gone", ""],
    "seq": [0, 1, 400, 2**62],
    "workflow_id": [""],
    "created_at": [float("inf")],
    "token": [-1, 2**62],
    "worker_id": ["ghost", ""],
    "due_at": [float("inf"), -1.0],
}
TREES = ["{", "", "[]", "null", '{"kind":"of the future"}', "{}", '{"v":99}']


def damages() -> dict[str, list[tuple[str, tuple[Any, ...]]]]:
    """Return the kinds of damage to the run called bad: names, and the statements that do it."""
    where = EVENT.format(seq=RESULT)
    found: dict[str, list[tuple[str, tuple[Any, ...]]]] = {}
    for column, values in _EVENTS.items():
        for value in values:
            statement = f"UPDATE OR REPLACE events SET {column} = ? {where}"
            found[f"event {column} = {value!r:.20}"] = [(statement, (value,))]
    for column, values in _RUN.items():
        for value in values:
            statement = f"UPDATE runs SET {column} = ? WHERE run_id = 'bad'"
            found[f"run {column} = {value!r:.20}"] = [(statement, (value,))]
    for seq in (1, 2, RESULT):
        found[f"event {seq} lost"] = [(f"DELETE FROM events {EVENT.format(seq=seq)}", ())]
    for tree in TREES:
        mine = "(SELECT fingerprint FROM runs WHERE run_id = 'bad')"
        statement = f"UPDATE definitions SET tree = ? WHERE fingerprint = {mine}"
        found[f"tree {tree!r}"] = [(statement, (tree,))]
    return found


@fault("D8", "corrupt rows", "rows changed, lost or cut; random bytes over pages of the file")
def corrupt_rows(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("D8", seed)
    kinds = sorted(damages())
    dice.shuffle(kinds)
    with a_folder() as folder, quiet():
        left_runs(folder / "whole.db")
        for kind in kinds[: size.of(6, None, None, None)]:
            db = copied(folder, result.injections)
            damage(db, damages()[kind])
            with result.injection(kind):
                asyncio.run(asyncio.wait_for(others_go_on(db), 30))
        for number in range(size.of(3, 20, 60, 500)):
            db = copied(folder, result.injections)
            scribble(db, dice)
            with result.injection(f"pages {number}"):
                asyncio.run(asyncio.wait_for(nothing_wrong(db), 30))
    return result


def copied(folder: Path, number: int) -> Path:
    db = folder / f"copy-{number}.db"
    shutil.copy(folder / "whole.db", db)
    return db


def damage(db: Path, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement, values in statements:
            assert connection.execute(statement, values).rowcount == 1, statement


def scribble(db: Path, dice: random.Random) -> None:
    """Write nonsense over a place of the file."""
    with db.open("r+b") as file:
        size = file.seek(0, 2)
        for _ in range(dice.choice((1, 1, 3))):
            file.seek(dice.randrange(0 if dice.random() < 0.1 else 100, size))
            file.write(dice.randbytes(dice.choice((1, 16, 512))))
        if dice.random() < 0.1:
            file.truncate(dice.randrange(size))


async def others_go_on(db: Path) -> None:
    """The damaged run harms itself only, and every look at it ends in an error of ours, or none."""
    gates[:] = [GATE]
    async with Engine(f"sqlite:{db}", workflows=[FINE, BAD]) as engine:
        for run_id in ("good", "other"):
            assert await engine.handle(run_id, FINE).result() == EXPECTED
        assert await engine.run(BAD, 7) == EXPECTED  # a new run of the damaged one's workflow
        listed = {run.run_id for run in await engine.list_runs()}
        assert {"good", "other"} <= listed
        await _typed(engine.get_run("bad"))
        await _typed(engine.steps("bad"))
        await _typed(engine.recover("bad"))
        run = await _typed(engine.get_run("bad"))
        if run is not None and run.status.terminal:
            await _typed(engine.handle("bad").outcome())
        await _typed(engine.cancel("bad"))


async def nothing_wrong(db: Path) -> None:
    """What is said of a damaged file is true, or an error of ours."""
    gates[:] = [GATE]
    try:
        async with asyncio.timeout(20), Engine(f"sqlite:{db}", workflows=[FINE, BAD]) as engine:
            await engine.list_runs()
            for run_id in ("good", "other", "bad"):
                await _typed(engine.steps(run_id))
                run = await _typed(engine.get_run(run_id))
                if run is None or run.reason or run.status.terminal or not run.worker_id:
                    continue
                async with asyncio.timeout(3):
                    await _typed(engine.handle(run_id).outcome())
    except StoreError:
        return
    except TimeoutError:
        return  # a run that the store can't carry on waits for the disk to be repaired


async def _typed(question: Awaitable[Any]) -> Any:
    try:
        return await question
    except GorkflowError:
        return None


# Trouble with the file


def _as_folder(db: Path) -> None:
    db.unlink()
    db.mkdir()


def _parent_is_file(db: Path) -> Path:
    return db / "inside.db"


def _linked(db: Path) -> Path:
    link = db.with_name("link.db")
    link.symlink_to(db)
    return link


def _dangling(db: Path) -> Path:
    link = db.with_name("dangling.db")
    link.symlink_to(db.with_name("not there yet.db"))
    return link


def _renamed(name: str) -> Callable[[Path], Path]:
    return lambda db: db.rename(db.with_name(name))


def _filled(suffix: str, content: bytes) -> Callable[[Path], None]:
    return lambda db: [Path(f"{db}{suffix}").write_bytes(content), None][-1]  # type: ignore[func-returns-value]


def _cut(db: Path) -> None:
    content = db.read_bytes()
    db.write_bytes(content[: len(content) // 2])


def _sql(statement: str) -> Callable[[Path], None]:
    return lambda db: damage_loosely(db, statement)


def damage_loosely(db: Path, statement: str) -> None:
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute(statement)


TROUBLES: dict[str, tuple[bool | None, Callable[[Path], Path | None]]] = {
    # name: whether the runs must go on (None: either they do, or an error of ours), what is done
    "untouched": (True, lambda _: None),
    "symbolic link": (True, _linked),
    "dangling link": (True, _dangling),
    "odd name": (True, _renamed("a b%20?#&;ü\U0001f600.db")),
    "no suffix": (True, _renamed("runs")),
    "log is empty": (True, _filled("-wal", b"")),
    "log is nonsense": (True, _filled("-wal", b"nonsense" * 999)),
    "index is nonsense": (True, _filled("-shm", b"nonsense" * 4096)),
    "turn file is nonsense": (True, _filled(".write", b"nonsense")),
    "file is empty": (True, _filled("", b"")),
    "a folder": (False, _as_folder),
    "in a file": (False, _parent_is_file),
    "folder missing": (False, lambda db: db.parent / "missing" / "runs.db"),
    "name too long": (False, lambda db: db.with_name("x" * 300)),
    "NUL in its name": (False, lambda db: db.with_name("a\0b")),
    "no database": (False, _filled("", b"this is no database" * 500)),
    "cut": (None, _cut),
    "newer version": (False, _sql("PRAGMA user_version = 999")),
    "of another program": (False, _sql("PRAGMA application_id = 12345")),
    "tables missing": (None, _sql("DROP TABLE events")),
    "index missing": (None, _sql("DROP INDEX runs_by_age")),
}
WHILE_OPEN: dict[str, Callable[[Path], object]] = {
    "deleted while open": lambda db: db.unlink(),
    "replaced while open": lambda db: db.with_name("whole.db").replace(db),
    "moved while open": lambda db: db.rename(db.with_name("moved.db")),
}


@fault("D9", "file trouble", "odd names, links, folders, nonsense beside it; gone while open")
def file_trouble(size: Size, seed: int) -> Result:
    result = Result()
    names = [*TROUBLES, *WHILE_OPEN]
    chance("D9", seed).shuffle(names)
    for name in names[: size.of(8, None, None, None)]:
        with a_folder() as folder, quiet(), result.injection(name):
            left_runs(folder / "whole.db")
            db = copied(folder, 0)
            if name in WHILE_OPEN:
                asyncio.run(asyncio.wait_for(_trouble_while_open(db, WHILE_OPEN[name]), 90))
            else:
                must, make = TROUBLES[name]
                place = make(db) or db
                asyncio.run(asyncio.wait_for(_trouble(place, must), 30))
    return result


async def _trouble(db: Path, must: bool | None) -> None:
    gates[:] = [GATE]
    try:
        async with Engine(f"sqlite:{db}", workflows=[FINE, BAD]) as engine:
            assert await engine.run(FINE, 7) == EXPECTED
            for run in await engine.list_runs():
                assert await engine.handle(run.run_id).result() == EXPECTED
    except StoreError as error:
        if must is True:
            raise
        told = f"{str(db)!r}"[1:-1]
        assert told in str(error) or "no folder" in str(error), error  # noqa: PT017 - no pytest
    else:
        assert must is not False, "it was taken"


async def _trouble_while_open(db: Path, make: Callable[[Path], object]) -> None:
    """No write goes to a file that nobody will find again; reading ends in an error at worst."""
    gates[:] = []
    engine = Engine(f"sqlite:{db}", workflows=[FINE, BAD])
    await engine.open()
    make(db)
    try:
        await engine.start(FINE, 7)
    except StoreError as error:
        assert "deleted or replaced" in str(error), error  # noqa: PT017 - as above
    else:
        raise AssertionError("a start was acknowledged that nobody will find again")
    finally:
        await _typed(engine.aclose(grace=0))
