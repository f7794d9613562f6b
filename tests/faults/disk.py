"""Faults of the disk and of the database file's other users."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gorkflow.stores.sqlite import SqliteStore
from tests.faults import points
from tests.faults.actors import SCENARIOS
from tests.faults.crashpoints import WORKFLOW, no_strace, traced
from tests.faults.ledger import Line
from tests.faults.oracle import Database
from tests.faults.owners import check_all_ended
from tests.faults.registry import Result, Size, chance, fault
from tests.faults.scene import Scene, a_scene

ACTORS = "tests.faults.loaded"


def ended_as_planned(scene: Scene, seed: int) -> None:
    """Everything is in order, and every run ended as it does when nothing disturbs it."""
    scene.database()
    check_all_ended(scene, seed)


def failures(lines: list[Line]) -> list[str]:
    return [line.note for line in lines if line.what == "store failed"]


@fault("D2", "disk full", "no more pages, no larger files, no room on the disk; then room again")
def full_disks(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("D2", seed)
    kinds = itertools.cycle(["max_page_count", "RLIMIT_FSIZE", "tmpfs"])
    for number in range(size.of(3, 12, 50, 500)):
        kind = next(kinds)
        with a_scene(ACTORS) as scene, result.watch(f"{kind} {number}"), _room(scene, kind) as room:
            if not room:
                continue  # only the administrator can make a small disk
            scene.call(
                "disk_full", kind=kind, seed=seed + number, count=12, delay=dice.uniform(0, 0.05)
            )
            lines = scene.ledger()
            result.injections += bool(failures(lines))
            assert all("full" in text or "SQLITE_" in text for text in failures(lines)), lines
            times = {line.what: line.at for line in lines if line.what in {"healed", "went on"}}
            if times:
                result.recoveries.append(times["went on"] - times["healed"])
            ended_as_planned(scene, seed + number)
    return result


@contextmanager
def _room(scene: Scene, kind: str) -> Iterator[bool]:
    if kind != "tmpfs":
        yield True
        return
    disk = scene.folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "gorkflow-faults", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield False
        return
    scene.db = disk / "runs.db"
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


ERRORS = ("EIO", "ENOSPC")
CALLS = {"pwrite64": 50, "fdatasync": 14, "ftruncate": 3, "pread64": 10}


@fault("D3", "I/O error", "EIO or ENOSPC at the nth write, sync, truncate, read (strace)")
def io_errors(size: Size, seed: int) -> Result:
    result = Result(skipped=no_strace())
    if result.skipped:
        return result
    dice = chance("D3", seed)
    cases = [(call, n, e) for call, most in CALLS.items() for n in range(1, most) for e in ERRORS]
    dice.shuffle(cases)
    with a_scene(ACTORS) as scene:
        scene.call("carry_through", workflow=WORKFLOW)
        expected = scene.end()
        for call, number, error in cases[: size.of(3, 30, 100, 500)]:
            if call == "pread64" and error == "ENOSPC":
                continue
            scene.reset(f"-{call}-{number}-{error}")
            with result.injection(f"{call} {number} {error}"):
                many = f"{number}..{number + dice.choice((0, 0, 2))}"
                code = traced(
                    scene, [f"inject={call}:error={error}:when={many}"],
                    actor="carry_through", calls=(call,),
                )  # fmt: skip
                assert code in {0, 3}, f"exit code {code}\n{scene.server.tail()}"
                if code:
                    scene.call("carry_through", workflow=WORKFLOW)
                assert scene.end() == expected
    return result


@fault("D4", "busy", "another process holds the write lock, for less or more than the patience")
def busy_databases(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("D4", seed)
    kinds = itertools.cycle(["immediate", "turn", "exclusive"])
    for number in range(size.of(2, 12, 50, 500)):
        kind = next(kinds)
        patient = number % 2 == 0
        with a_scene(ACTORS) as scene, result.injection(f"{kind} {number}"):
            patience = 30.0 if patient else 0.05
            pid = scene.fork("busy", seed=seed + number, count=8, patience=patience)
            scene.wait_for_lines("open")
            held = dice.uniform(0.1, 0.3 if size is Size.SHORT else 1.5) + (not patient) * 0.2
            scene.call("hold_lock", kind=kind, seconds=held)
            code = scene.server.wait(pid)
            assert code == 0, scene.server.tail()
            if patient:
                assert not failures(scene.ledger())
            ended_as_planned(scene, seed + number)
    return result


@fault("D5", "read, then write", "every statement of every scenario is traced")
def statements(size: Size, seed: int) -> Result:
    result = Result()
    with a_scene(ACTORS) as scene:
        for scenario in SCENARIOS:
            scene.reset(f"-{scenario}")
            report = scene.folder / f"{scenario}.json"
            with result.watch(scenario):
                scene.call("trace", scenario=scenario, report=str(report))
                writes, found = json.loads(report.read_text())
                result.injections += writes
                assert writes > 10
                assert not found, found
    return result


@fault("D6", "long reader", "a reader keeps looking at one moment while runs are written")
def long_readers(size: Size, seed: int) -> Result:
    result = Result()
    for number in range(size.of(1, 2, 5, 20)):
        with a_scene(ACTORS) as scene, result.injection(f"reader {number}"):
            scene.call("long_reader", seed=seed + number, count=60)
            sizes = {line.what: int(line.note) for line in scene.ledger() if line.note.isdigit()}
            assert sizes["let go"] >= 6 * points.SMALL_LOG
            assert sizes["shrunk"] <= 4 * points.SMALL_LOG, sizes
            ended_as_planned(scene, seed + number)
    return result


@fault("D7", "checkpoint race", "commits and checkpoints of several processes, without a pause")
def checkpoint_races(size: Size, seed: int) -> Result:
    result = Result()
    with a_scene(ACTORS) as scene, result.watch("race"):
        processes, seconds = size.of(2, 4, 4, 4), size.of(0.7, 8.0, 30.0, 1_800.0)
        pids = [scene.fork("hammer", name=f"p{n}", seconds=seconds) for n in range(processes)]
        codes = [scene.server.wait(pid, patience=seconds + 60) for pid in pids]
        assert codes == [0] * processes, scene.server.tail()
        database = Database(scene.db).read()
        assert database.integrity == "ok", database.integrity
        for line in scene.lines("acknowledged"):
            assert database.runs[line.run].row.seq == line.attempt, f"{line} is lost"
        result.injections = sum(line.attempt for line in scene.lines("commits"))
    return result


@fault(
    "D10",
    "backup while running",
    "ours, SQLite's, VACUUM INTO, under load; runs go on from the copy",
)
def backups(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("D10", seed)
    for number in range(size.of(1, 4, 20, 100)):
        with a_scene("tests.faults.session") as scene, result.injection(f"backup {number}"):
            pid = scene.fork("carry", seed=seed + number, first=0, leave_after=None)
            scene.wait_for_lines("begin", 5)
            time.sleep(dice.uniform(0, 0.3))
            started = {line.run for line in scene.lines("started")}
            copy = scene.folder / "copy.db"
            BACKUPS[number % len(BACKUPS)](scene.db, copy)
            os.kill(pid, signal.SIGKILL)
            scene.server.wait(pid)
            _check_copy(scene, copy, started, seed + number)
    return result


def _ours(db: Path, copy: Path) -> None:
    async def main() -> None:
        store = SqliteStore(db)
        await store.open()
        await store.backup(str(copy))
        await store.close()

    asyncio.run(main())


def _vacuumed(db: Path, copy: Path) -> None:
    with closing(sqlite3.connect(db, timeout=30, isolation_level=None)) as source:
        source.execute("VACUUM INTO ?", (str(copy),))


def _of_sqlite(db: Path, copy: Path) -> None:
    with (
        closing(sqlite3.connect(db, timeout=30)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target, pages=5)


BACKUPS = (_ours, _vacuumed, _of_sqlite)


def _check_copy(scene: Scene, copy: Path, started: set[str], seed: int) -> None:
    before = Database(copy).read()
    assert before.integrity == "ok"
    assert started <= set(before.runs), "what was started before the backup is not in it"
    original = Database(scene.db).read()
    for run_id, loaded in before.runs.items():
        events = original.runs[run_id].events
        assert events[: len(loaded.events)] == loaded.events, f"{run_id} differs"
    scene.db, witness = copy, scene.witness
    scene.witness = scene.folder / "ledger-of-the-copy"
    lines = witness.read_text().splitlines()
    kept = [text for text in lines if '"what": "start' in text or '"cancelling"' in text]
    ends = [text for text in lines if '"what": "end"' in text]
    begins = _begins_in(before, witness)
    ordered = [*kept, *begins, *ends]
    scene.witness.write_text("".join(text + "\n" for text in ordered if _run_in(text, before)))
    scene.call("finish")
    check_all_ended(scene, seed)


def _run_in(text: str, database: Database) -> bool:
    return str(json.loads(text).get("run")) in database.runs


def _begins_in(database: Database, witness: Path) -> list[str]:
    """Return the beginnings that the copy knows of; later ones happened to the original."""
    known = {
        (event.run_id, event.path, event.attempt)
        for event in database.events()
        if hasattr(event, "ready_at") and hasattr(event, "attempt")
    }
    found = []
    for text in witness.read_text().splitlines():
        line = json.loads(text)
        place = (line.get("run"), line.get("path"), line.get("attempt"))
        if line["what"] == "begin" and place in known:
            found.append(text)
    return found
