"""Children that carry runs of the plan while something happens to the disk or the file."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gorkflow import Engine, StoreError
from gorkflow.clock import Moment
from gorkflow.store import RunRow, Transition, Written
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.stores.sqlite import store as _store
from gorkflow.testing.conformance import new_run, run_row, step_forward
from tests.faults import ledger, points
from tests.faults.actors import BY_ID, Job
from tests.faults.moments import RUN
from tests.faults.session import all_runs, tell
from tests.faults.workload import WORKFLOWS, planned


class Counting(SqliteStore):
    """Counts the writes that failed, and says when the first one succeeded after that."""

    failures = 0
    went_on = 0.0

    async def write(self, batch: Sequence[Transition]) -> list[Written]:
        try:
            result = await super().write(batch)
        except StoreError as error:
            self.failures += 1
            ledger.write("store failed", note=str(error))
            raise
        if self.failures:
            self.went_on = time.monotonic()
        return result


Disturbance = Callable[[Counting], Awaitable[None]]


async def under_load(db: str, seed: int, count: int, disturb: Disturbance, **options: Any) -> None:
    """Carry runs of the plan to their ends, with a disturbance meanwhile."""
    store = Counting(db, **options)
    async with Engine(store, workflows=WORKFLOWS.values()) as engine:
        disturbing = asyncio.ensure_future(disturb(store))
        for number in range(count):
            await _start(engine, seed, number)
        await disturbing
        while not all(run.status.terminal for run in await all_runs(engine)):
            await asyncio.sleep(0.01)


async def _start(engine: Engine, seed: int, number: int) -> None:
    start = planned(seed, number)
    ledger.write("starting", run=start.run_id)
    while True:
        try:
            handle = await engine.start(
                start.workflow, start.job, run_id=start.run_id, if_exists="return"
            )
            await tell(handle, start)
        except StoreError:
            await asyncio.sleep(0.01)
        else:
            ledger.write("started", run=start.run_id)
            return


# D2, a full disk


@contextmanager
def _few_pages(store: Counting) -> Any:
    def limit(pages: int) -> Callable[[Any], Any]:
        return lambda writer: writer._db.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    home: Any = store._home
    tasks = [asyncio.ensure_future(home.writer.run(limit(1)))]
    yield
    tasks.append(asyncio.ensure_future(home.writer.run(limit(1_000_000))))


@contextmanager
def _short_files(store: Counting) -> Any:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{store.path}-wal").stat().st_size, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, old)


@contextmanager
def _filled_up(store: Counting) -> Any:
    """Fill the small disk that the file is on."""
    ballast = Path(store.path).with_name("ballast")
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\1" * 4096):
                pass
        except OSError:
            yield
    ballast.unlink()


FULL = {"max_page_count": _few_pages, "RLIMIT_FSIZE": _short_files, "tmpfs": _filled_up}


def disk_full(db: str, witness: str, kind: str, seed: int, count: int, delay: float) -> int:
    ledger.open_ledger(witness)

    async def disturb(store: Counting) -> None:
        while not any(line.what == "begin" for line in ledger.read(Path(witness))):
            await asyncio.sleep(0.005)
        await asyncio.sleep(delay)
        with FULL[kind](store):
            ledger.write("full")
            deadline = time.monotonic() + 1.5  # by then all may have ended before the disk was full
            while not store.failures and time.monotonic() < deadline:
                await asyncio.sleep(0.002)
            await asyncio.sleep(delay)
        if store.failures:
            ledger.write("healed")
            store.went_on = 0.0
            while not store.went_on:
                await asyncio.sleep(0.005)
            ledger.write("went on")

    asyncio.run(under_load(db, seed, count, disturb))
    return 0


# D4, somebody else holds the lock


@contextmanager
def _held_by_sqlite(path: str, statement: str) -> Any:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as db:
        db.execute(statement)
        yield
        db.execute("ROLLBACK")


@contextmanager
def _held_turn(path: str) -> Any:
    fd = os.open(f"{path}.write", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield
    os.close(fd)


HOLDS: dict[str, Callable[[str], Any]] = {
    "immediate": lambda path: _held_by_sqlite(path, "BEGIN IMMEDIATE"),
    "exclusive": lambda path: _held_by_sqlite(path, "BEGIN EXCLUSIVE"),
    "turn": _held_turn,
}


def hold_lock(db: str, witness: str, kind: str, seconds: float) -> int:
    """Hold the lock of a database, as another program would."""
    ledger.open_ledger(witness)
    with HOLDS[kind](db):
        ledger.write("held")
        time.sleep(seconds)
    ledger.write("let go")
    return 0


def busy(db: str, witness: str, seed: int, count: int, *, patience: float) -> int:
    """Carry runs while another process holds the lock; say how often writing failed."""
    ledger.open_ledger(witness)

    async def disturb(store: Counting) -> None:
        ledger.write("open")
        seen = [line.what for line in ledger.read(Path(witness))]
        while "let go" not in seen:
            await asyncio.sleep(0.01)
            seen = [line.what for line in ledger.read(Path(witness))]

    asyncio.run(under_load(db, seed, count, disturb, busy_timeout=patience))
    return 0


# D3, system calls that fail


def carry_through(db: str, witness: str, workflow: str, *, wait_for: str = "") -> int:
    """Carry one run to its end, whatever the store says meanwhile, in a way that has a type."""
    ledger.open_ledger(witness)
    while wait_for and not Path(wait_for).exists():
        time.sleep(0.002)
    for _ in range(20):
        try:
            asyncio.run(_carry_through(db, workflow))
        except StoreError as error:
            ledger.write("store failed", note=f"{type(error).__name__}: {error}")
            time.sleep(0.02)
        else:
            return 0
    return 3


async def _carry_through(db: str, workflow: str) -> None:
    async with Engine(f"sqlite:{db}", workflows=[BY_ID[workflow]]) as engine:
        ledger.write("open")
        ledger.write("starting", run=RUN)
        await engine.start(BY_ID[workflow], Job(base=8), run_id=RUN, if_exists="return")
        ledger.write("started", run=RUN)
        while not (await engine.get_run(RUN)).status.terminal:
            await asyncio.sleep(0.01)


# D5, statements


def trace(db: str, witness: str, scenario: str, report: str) -> int:
    """Play a scenario, and report the writing statements outside of BEGIN IMMEDIATE."""
    ledger.open_ledger(witness)
    found: list[str] = []
    writes = 0
    connect: Any = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> Any:
        connection = connect(*args, **kwargs)
        inside = ""

        def note(statement: str) -> None:
            nonlocal inside, writes
            verb = statement.split(maxsplit=1)[0].upper()
            if verb == "BEGIN":
                inside = statement
            elif verb in {"COMMIT", "ROLLBACK"} and "TO" not in statement.split():
                inside = ""
            elif verb in {"INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "REPLACE"}:
                writes += 1
                if inside != "BEGIN IMMEDIATE":
                    found.append(f"{inside!r}: {statement}")

        connection.set_trace_callback(note)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]
    from tests.faults.actors import SCENARIOS

    async def main() -> None:
        await SCENARIOS[scenario](db)

    asyncio.run(main())
    Path(report).write_text(json.dumps([writes, found]))
    return 0


# D6 and D7, readers and checkpoints


def long_reader(db: str, witness: str, seed: int, count: int) -> int:
    """Carry runs while a reader looks at one moment; say how large the log got, and became."""
    ledger.open_ledger(witness)
    _store._WAL_LIMIT = points.SMALL_LOG

    def size() -> int:
        return Path(f"{db}-wal").stat().st_size

    async def disturb(store: Counting) -> None:
        with closing(sqlite3.connect(db, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            before = reader.execute("SELECT COUNT(*) FROM events").fetchone()
            while size() < 6 * points.SMALL_LOG:
                await asyncio.sleep(0.01)
                assert reader.execute("SELECT COUNT(*) FROM events").fetchone() == before
        ledger.write("let go", note=str(size()))
        deadline = time.monotonic() + 30
        while size() > 4 * points.SMALL_LOG and time.monotonic() < deadline:
            await _some_write(store)
        ledger.write("shrunk", note=str(size()))

    asyncio.run(under_load(db, seed, count, disturb))
    return 0


async def _some_write(store: Counting) -> None:
    await store.heartbeat("nobody", Moment(time.time()))
    await asyncio.sleep(0.002)


def hammer(db: str, witness: str, name: str, seconds: float) -> int:
    """Write and checkpoint as fast as it goes; witness what was acknowledged."""
    ledger.open_ledger(witness)
    _store._WAL_LIMIT = 2 * 4096

    async def main() -> None:
        store = SqliteStore(db)
        await store.open()
        rows: dict[str, RunRow] = {}
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            run_id = f"{name}-{number % 7}"
            if run_id not in rows:
                await store.write([new_run(run_id)])
                rows[run_id] = run_row(run_id)
            item = step_forward(rows[run_id])
            assert await store.write([item]) == [Written.OK]
            rows[run_id] = item.row
            number += 1
        for run_id, row in rows.items():
            ledger.write("acknowledged", run=run_id, attempt=row.seq)
        ledger.write("commits", attempt=number)
        await store.close()

    asyncio.run(main())
    return 0
