"""What interrupts a step says something about the step only where its process vanished with it."""

import asyncio
import logging
from collections.abc import Sequence
from operator import gt
from pathlib import Path
from typing import Any

import pytest

from gorkflow import Client, Engine, StepContext, StoreCorruptError, Workflow, step
from gorkflow.clock import Timekeeper
from gorkflow.engine.engine import LEFT_RUNS
from gorkflow.events import StepInterrupted
from gorkflow.store import Heartbeat
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite import SqliteStore

from .support import Gate, die, in_loop, until

TIMES = 12
"""Interruptions in a row: from the third on that counts, a run waits its turn; the eleventh such
fails it."""


def long_workflow(began: list[tuple[str, int]], times: int = TIMES) -> Workflow[int, int]:
    """Return a workflow whose step does not end in so many attempts."""

    @step(retries=1)
    async def long(ctx: StepContext, number: int, attempts: int = 0) -> int:
        began.append((ctx.run_id, ctx.attempt))
        if ctx.attempt <= attempts:
            await asyncio.sleep(3600)
        return number

    return Workflow("w", input=int).then(long.bind("long", attempts=times))


async def counted(store: Any, run_id: str) -> list[bool]:
    """Return of each interruption of a run whether it counts."""
    events = await store.read_events(run_id)
    return [event.counts for event in events if isinstance(event, StepInterrupted)]


@in_loop
async def test_closing_again_and_again_neither_suspects_nor_fails_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    began: list[tuple[str, int]] = []
    wf = long_workflow(began)
    async with Client(url) as client:
        for run_id in ("a", "b"):
            await client.start(wf, 1, run_id=run_id)
        for attempt in range(1, TIMES + 1):
            worker = Engine(url, workflows=[wf])
            await worker.open()
            both = {("a", attempt), ("b", attempt)}
            await until(lambda both=both: both <= {*began}, f"attempt {attempt} of both")
            await worker.aclose(grace=0)
        async with Engine(url, workflows=[wf]):
            assert [await client.handle(run_id, wf).result() for run_id in "ab"] == [1, 1]
        for run_id in ("a", "b"):
            assert await counted(client.store, run_id) == [False] * TIMES
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [record for record in warned if not hasattr(record, LEFT_RUNS)]


def attempts(began: list[tuple[str, int]]) -> list[int]:
    """Return the latest attempts of both runs."""
    return [max((n for run_id, n in began if run_id == each), default=0) for each in "ab"]


class Stuck(MemoryStore):
    """A store whose heartbeats are stuck now and then."""

    stuck = False

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        while self.stuck:
            await asyncio.sleep(0.001)
        return await super().heartbeat(worker_id, times, after=after)


@in_loop
async def test_lapsing_again_and_again_neither_suspects_nor_fails_a_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Stuck()
    began: list[tuple[str, int]] = []
    wf = long_workflow(began)
    async with Engine(store, lease=0.15) as engine:
        handles = [await engine.start(wf, 1, run_id=run_id) for run_id in ("a", "b")]
        latest = [0, 0]
        while min(latest) < TIMES:  # not one by one: what lapses before it begins never does
            seen = [min(each, TIMES) for each in latest]  # the one after that ends
            await until(lambda seen=seen: all(map(gt, attempts(began), seen)), "the next ones")
            latest = attempts(began)
            store.stuck = True
            lapses = caplog.text.count("could not renew")
            await until(lambda n=lapses: caplog.text.count("could not renew") > n, "the lapse")
            store.stuck = False
        assert [await handle.result() for handle in handles] == [1, 1]
        for run_id in ("a", "b"):
            interruptions = await counted(store, run_id)
            assert len(interruptions) >= TIMES
            assert not any(interruptions)
    assert "lost its worker" not in caplog.text


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@in_loop
async def test_being_taken_over_while_frozen_does_not_count(kind: str, tmp_path: Path) -> None:
    began: list[tuple[str, int]] = []
    wf = long_workflow(began, 1)
    home: type[Any] = MemoryStore if kind == "memory" else SqliteStore
    where = () if kind == "memory" else (tmp_path / "runs.db",)

    class Frozen(home):  # type: ignore[misc]
        frozen = ""

        async def heartbeat(
            self, worker_id: str, times: Timekeeper, *, after: str = ""
        ) -> Heartbeat:
            while self.frozen == worker_id:
                await asyncio.sleep(0.001)
            beat: Heartbeat = await super().heartbeat(worker_id, times, after=after)
            return beat

        async def close(self) -> None:
            """Stay open for the other engine."""

    store = Frozen(*where)
    async with Engine(store, lease=0.3, recover=False) as frozen:
        await frozen.start(wf, 1, run_id="r")
        await until(lambda: began == [("r", 1)], "the step")
        store.frozen = frozen.worker_id
        async with Engine(store, workflows=[wf]):
            await until(lambda: began[-1:] == [("r", 2)], "the heir's attempt")
            assert await counted(store, "r") == [False]
        store.frozen = ""
    await home.close(store)


@in_loop
async def test_a_death_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Three in a row make a run a suspect, and closes in between change nothing about that."""
    path = tmp_path / "runs.db"
    began: list[tuple[str, int]] = []
    wf = long_workflow(began, 5)
    for attempt, dies in enumerate((True, False, True, False, True), 1):
        engine = Engine(SqliteStore(path), workflows=[wf])
        await engine.open()
        if attempt == 1:
            await engine.start(wf, 1, run_id="r")
        await until(lambda attempt=attempt: began[-1:] == [("r", attempt)], "its attempt")
        assert "lost its worker" not in caplog.text
        if dies:
            await die(engine)
        else:
            await engine.aclose(grace=0)
    async with Engine(SqliteStore(path), workflows=[wf]) as engine:
        await until(lambda: began[-1:] == [("r", 6)], "its attempt")
        assert "'r' lost its worker 3 times in a row" in caplog.text
        assert await counted(engine.store, "r") == [True, False, True, False, True]


@pytest.mark.own_store
@pytest.mark.parametrize("when", ["made", "opened"])
@in_loop
async def test_who_follows_a_run_takes_it_over_when_its_worker_dies(
    when: str, tmp_path: Path
) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    gate = Gate()

    @step
    async def waits(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            await gate.wait_async()
        return ctx.attempt

    wf = Workflow("w", input=int).then(waits)
    carrier = Engine(url)
    await carrier.open()
    await carrier.start(wf, 1, run_id="r")
    await until(lambda: gate.arrived, "the step")
    follower = Engine(url, recover=when == "opened", lease=3)
    follower.recovers = False  # as commands about one run do
    await follower.open()
    handle = await follower.start(wf, 1, run_id="r", if_exists="return")
    assert (await handle.info()).worker_id == carrier.worker_id
    await die(carrier)
    assert await handle.result() == 2
    await until(lambda: not follower._worker.runs.followed, "nothing to follow any more")
    await follower.aclose()


@in_loop
async def test_a_followed_run_that_can_not_be_read_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, gate = MemoryStore(), Gate()

    @step
    async def waits(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            await gate.wait_async()
        return ctx.attempt

    async def damaged(run_id: str) -> Any:
        if run_id == "a":
            raise StoreCorruptError("damaged: a")
        return await load(run_id)

    async def damaged_among(run_ids: Sequence[str]) -> Any:
        return await load_many([run_id for run_id in run_ids if run_id != "a"])

    wf, load, load_many = Workflow("w", input=int).then(waits), store.load, store.load_many
    carrier = Engine(store, recover=False)
    await carrier.open()
    async with Engine(store, recover=False, lease=1) as follower:
        for run_id in ("a", "b"):
            await carrier.start(wf, 1, run_id=run_id)
            await follower.start(wf, 1, run_id=run_id, if_exists="return")
        monkeypatch.setattr(store, "load", damaged)
        monkeypatch.setattr(store, "load_many", damaged_among)
        await carrier.aclose(grace=0)
        assert await follower.handle("b").result() == 2
        await until(lambda: not follower._worker.runs.followed, "nothing to follow any more")
