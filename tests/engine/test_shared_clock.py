"""The clock of a store that hosts share: all that is recorded and judged goes by it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gorkflow import Client, Engine, StepContext, StoreUnavailableError, Workflow, clock, step
from gorkflow.clock import SystemClock, Times
from gorkflow.engine import _lease
from gorkflow.stores.memory import MemoryStore

from .support import Gate, in_loop, until

AHEAD = 7200.0


class Hosted(MemoryStore):
    """A memory store with a clock of its own, which several engines use."""

    def __init__(self, ahead: float = AHEAD) -> None:
        super().__init__()
        self.ahead = ahead
        self.asked = 0
        self.fails = False

    async def clock(self) -> float | None:
        self.asked += 1
        if self.fails:
            raise StoreUnavailableError("the server restarts")
        return SystemClock.now() + self.ahead

    async def close(self) -> None:
        """Keep everything."""


@step
async def same(number: int) -> int:
    return number


NAPS = Workflow("naps", input=int).then(same).sleep(0.05).then(same.options(id="later"))


def by_the_store(at: float) -> bool:
    return abs(at - SystemClock.now() - AHEAD) < 60


@in_loop
async def test_what_is_recorded_goes_by_the_clock_of_the_store() -> None:
    store = Hosted()
    async with Engine(store) as engine:
        handle = await engine.start(NAPS, 1, run_id="r", delay=0.05)
        assert await handle.result() == 1
        assert all(by_the_store(event.at) for event in await store.read_events("r"))
        run = await handle.info()
        assert by_the_store(run.created_at.timestamp())
        (worker,) = await engine.workers()
        assert by_the_store(worker.seen_at.timestamp())
        assert by_the_store(worker.started_at.timestamp())


@in_loop
async def test_hosts_whose_clocks_differ_leave_each_other_their_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, each would take the lease of the other for one that has ended."""
    store, gate = Hosted(), Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        await gate.wait_async()
        return ctx.attempt

    held = Workflow("held", input=int).then(holds)
    engines = []
    for wrong in (-300.0, 300.0):
        monkeypatch.setattr(SystemClock, "now", staticmethod(lambda by=wrong: REAL() + by))
        store.ahead = AHEAD - wrong
        engines.append(Engine(store, workflows=[held], lease=0.6))
        await engines[-1].open()
    handle = await engines[0].start(held, 1)
    await until(lambda: gate.arrived, "the step")
    worker: Any = engines[1]._worker
    looks = store.asked
    await until(lambda: store.asked > looks + 8, "several heartbeats of both")
    assert not worker.runs.drivers
    gate.open()
    assert await handle.result() == 1
    for engine in engines:
        await engine.aclose()


REAL = SystemClock.now


@in_loop
async def test_each_heartbeat_looks_at_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lease, "BEAT", 0.02)
    store = Hosted()
    async with Engine(store) as engine:
        store.ahead += 0.5  # too little to be said
        worker: Any = engine._worker
        times: Times = worker.runtime.clock
        await until(lambda: times.now() - SystemClock.now() > AHEAD + 0.4, "another look")
        store.fails = True
        looks = store.asked
        await until(lambda: store.asked > looks, "a look that fails")
        store.fails = False
        assert await engine.run(NAPS, 1) == 1


@in_loop
async def test_a_client_looks_at_it_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gorkflow.engine.client.ASK", 0.01)
    store = Hosted()
    async with Client(store) as client:
        handle = await client.start(NAPS, 1)
        row = await store.get_run(handle.run_id)
        assert row is not None
        assert by_the_store(row.created_at)
        store.fails = True
        await until(lambda: store.asked > 4, "looks that fail")
        store.fails, store.ahead = False, AHEAD + 0.5
        await until(lambda: client._clock.now() - SystemClock.now() > AHEAD + 0.4, "another look")


@in_loop
async def test_a_clock_that_was_given_wins() -> None:
    store = Hosted()
    async with Engine(store, clock=SystemClock()) as engine:
        handle = await engine.start(NAPS, 1)
        assert await handle.result() == 1
        assert not by_the_store((await handle.info()).created_at.timestamp())
    assert store.asked == 0


@in_loop
async def test_an_engine_does_not_open_without_it() -> None:
    store = Hosted()
    store.fails = True
    engine = Engine(store)
    with pytest.raises(StoreUnavailableError, match="the server restarts"):
        await engine.open()
    store.fails = False
    async with engine:
        assert await engine.run(NAPS, 1) == 1


def test_what_an_answer_took_is_not_taken_for_time(monkeypatch: pytest.MonkeyPatch) -> None:
    running = [1000.0]
    monkeypatch.setattr(clock, "_running", lambda: running[0])

    class Slow:
        took, at = 2.0, 5000.0

        async def clock(self) -> float:
            running[0] += self.took
            return self.at

    async def test() -> None:
        times, store = clock.StoreClock(), Slow()
        assert not times.is_shared
        await times.ask(store)
        assert times.is_shared
        assert times.now() == 5001.0  # asked in the middle, as far as we know
        store.at = 5002.9  # may be right, too
        await times.ask(store)
        assert times.now() == 5003.0
        store.took, store.at = 0.5, 5010.0  # is not
        await times.ask(store)
        assert times.now() == 5010.25
        running[0] += 60  # as in a sleep of the machine
        assert times.now() == 5070.25

    asyncio.run(test())


def test_a_store_without_a_clock_leaves_it_to_the_system() -> None:
    async def test() -> None:
        times = clock.StoreClock()
        await times.ask(MemoryStore())
        assert not times.is_shared
        assert times.now is SystemClock.now
        assert abs(await clock.time_of(MemoryStore()) - SystemClock.now()) < 60
        assert by_the_store(await clock.time_of(Hosted()))

    asyncio.run(test())
