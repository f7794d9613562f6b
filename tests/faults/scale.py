"""Faults of size: long runs, wide blocks, many runs that wait, many that wake at once."""

from __future__ import annotations

import asyncio
import gc
import resource
import sqlite3
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gorkflow import Engine, RunFilter, RunStatus, Signal, StepContext, Workflow, step
from gorkflow.stores.sqlite import SqliteStore
from tests.faults.oracle import Database
from tests.faults.registry import Result, Size, fault
from tests.faults.scene import a_folder

open_now: list[int] = []
"""The last step of a run waits until there is something in here."""


@step
async def passes(number: int) -> int:
    return number


@step
async def last(number: int) -> int:
    while not open_now:
        await asyncio.sleep(0.005)
    return number


@step
async def counts(numbers: tuple[int, ...]) -> int:
    while not open_now:
        await asyncio.sleep(0.005)
    return len(numbers)


def long_run(length: int) -> Workflow[int, int]:
    workflow: Any = Workflow("long", input=int)
    for number in range(length):
        workflow = workflow.then(passes.options(id=f"s{number}"))
    return workflow.then(last)


def wide_run(width: int) -> Workflow[int, int]:
    block: Any = Workflow("wide", input=int)
    return block.parallel(*(passes.options(id=f"b{n}") for n in range(width))).then(counts)


@fault("X8", "scale", "a run of 10,000 steps and a block of 5,000 are recovered", alone=True)
def large_runs(size: Size, seed: int) -> Result:
    result = Result()
    parts = size.of(50, 10, 1, 1)
    for make, whole in ((long_run, 10_000), (wide_run, 5_000)):
        with result.injection(f"{make.__name__} of {whole // parts}"):
            small, large = (
                min(_recovery(make, count, result) for _ in range(size.of(1, 2, 2, 3)))
                for count in (whole // parts // 4, whole // parts)
            )
            # Four times as much takes about four times as long, and not sixteen times.
            assert large < 8 * small or size is Size.SHORT, f"{small:.3f} s, then {large:.3f} s"
    with a_folder() as folder, result.injection("a listing"):
        asyncio.run(_list(folder / "runs.db"))
    return result


def _recovery(make: Callable[[int], Workflow[int, int]], count: int, result: Result) -> float:
    """Return the processor seconds that taking over a run of so many recorded steps takes."""
    workflow = make(count)
    with a_folder() as folder:
        db = folder / "runs.db"

        async def leave() -> None:
            engine = Engine(SqliteStore(db, synchronous="normal"))
            await engine.open()
            await engine.start(workflow, 1, run_id="run")
            while Database(db).count("step_completed") < count:
                await asyncio.sleep(0.01)
            await engine.aclose(grace=0)

        async def recover() -> float:
            async with Engine(SqliteStore(db), workflows=[workflow], recover=False) as engine:
                gc.collect()
                began, worked = time.monotonic(), time.process_time()
                await engine.recover("run")
                worked, took = time.process_time() - worked, time.monotonic() - began
                result.recoveries.append(took)
                open_now.append(1)
                await engine.handle("run").result()
            return worked

        open_now.clear()
        asyncio.run(leave())
        return asyncio.run(recover())


async def _list(db: Path) -> None:
    """A listing never reads events: not even one, of runs with many."""
    open_now.append(1)
    async with Engine(f"sqlite:{db}") as engine:
        for number in range(5):
            await engine.run(long_run(20), number)
        with _statements() as seen:
            async with Engine(f"sqlite:{db}", recover=False) as reader:
                seen.clear()
                assert len(await reader.list_runs(RunFilter(limit=3))) == 3
                assert len(await reader.list_runs(RunFilter(workflow_id="long"))) == 5
    asked = [text for text in seen if "runs" in text]
    assert asked
    assert not [text for text in seen if "events" in text], seen


@contextmanager
def _statements() -> Any:
    seen: list[str] = []
    connect: Any = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> Any:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(seen.append)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]
    try:
        yield seen
    finally:
        sqlite3.connect = connect


# Many that wait

WAKE = Signal("wake", int)
waiting = Workflow("waiting", input=int).wait_for(WAKE)
woken: dict[str, float] = {}


@step
async def notes(ctx: StepContext, number: int) -> int:
    woken[ctx.run_id] = time.time()
    return number


def memory() -> int:
    """Return the bytes that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@fault("S2", "10,000 suspended runs", "runs that wait for a signal; memory and idling", alone=True)
def suspended_runs(size: Size, seed: int) -> Result:
    result = Result()
    count = size.of(100, 2_000, 10_000, 50_000)
    with a_folder() as folder, result.watch("waiting"):
        asyncio.run(_suspended(folder / "runs.db", count, size, result))
    return result


async def _suspended(db: Path, count: int, size: Size, result: Result) -> None:
    store = SqliteStore(db, synchronous="normal")
    async with Engine(store, workflows=[waiting]) as engine:
        for number in range(50):  # what a first use needs is no growth
            await engine.start(waiting, number)
        before = _settled()
        for first in range(0, count, 100):
            await asyncio.gather(*(engine.start(waiting, n) for n in range(first, first + 100)))
        while await _unsuspended(store):
            await asyncio.sleep(0.05)
        result.injections = count
        grown = (_settled() - before) / 1e6
        assert grown < 50 * max(1, count / 10_000), f"{count} runs took {grown:.0f} MB"
        if size is not Size.SHORT:
            await asyncio.sleep(2)
            began, worked = time.monotonic(), time.process_time()
            await asyncio.sleep(size.of(0, 10, 20, 60))
            share = (time.process_time() - worked) / (time.monotonic() - began)
            assert share < 0.02, f"idling takes {share:.1%} of a processor"
        one = (await engine.list_runs(RunFilter(limit=1)))[0]
        await engine.send(one.run_id, WAKE, 7)
        value, sent = await engine.handle(one.run_id, waiting).result()
        assert (value, sent) == ((await engine.get_run(one.run_id)).input, 7)


def _settled() -> int:
    gc.collect()
    return memory()


async def _unsuspended(store: SqliteStore) -> int:
    page = await store.list_runs(RunFilter(status=RunStatus.RUNNING, limit=1))
    return len(page)


@fault("S3", "500 wake at once", "sleeps that are due in the same moment", alone=True)
def many_wake(size: Size, seed: int) -> Result:
    result = Result()
    count = size.of(50, 500, 500, 500)
    for number in range(size.of(1, 2, 5, 20)):
        with a_folder() as folder, result.watch(f"round {number}"):
            woken.clear()
            due = asyncio.run(_wake(folder / "runs.db", count))
            late = sorted(at - due[run_id] for run_id, at in woken.items())
            result.injections += len(late)
            result.recoveries += late
            p95 = late[int(len(late) * 0.95)]
            assert min(late) > -0.002, "woke before its time"
            assert p95 < 0.1 or size is Size.SHORT, f"p95 is {p95:.3f} s"
    return result


async def _wake(db: Path, count: int) -> dict[str, float]:
    """Return when each sleep was due, by what is recorded of it."""
    seconds = 6.0  # more than what a run stays in memory for
    sleeper = Workflow("sleeper", input=int).sleep(seconds).then(notes)
    async with Engine(f"sqlite:{db}", workflows=[sleeper]) as engine:
        began = time.monotonic()
        handles = await asyncio.gather(*(engine.start(sleeper, n) for n in range(count)))
        assert time.monotonic() - began < seconds
        for handle in handles:
            await handle.outcome()
        due = {}
        for handle in handles:
            for event in await engine.store.read_events(handle.run_id):
                if event.kind == "timer_set":
                    due[handle.run_id] = getattr(event, "due", 0.0)
    return due
