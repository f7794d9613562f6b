"""The time of day is set while runs go on: what counts seconds takes no notice, the log says so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gorkflow import Engine, RetryPolicy, RunFailedError, Signal, StepContext, Workflow, step
from gorkflow.events import ClockSet
from gorkflow.insight import Changes, Explanation, Phase
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing import VirtualEngine, VirtualLoop, in_virtual_time

HOUR, YEARS = 3_600.0, 20 * 365 * 86_400.0
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR, YEARS, -YEARS])


def loop_of() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


async def passed(work: Awaitable[Any]) -> tuple[Any, float]:
    """Return what it gives, or raises, and how long that took."""
    began = loop_of().time()
    try:
        result = await work
    except RunFailedError as error:
        result = [(failure.path, failure.code.value) for failure in error.failures]
    return result, loop_of().time() - began


def set_after(seconds: float, jump: float) -> None:
    """Have the time of day set after so long."""
    loop = loop_of()
    loop.call_later(seconds, loop.clock.set_ahead, jump)


@step(timeout=60)
async def half_a_minute(x: int) -> int:
    await asyncio.sleep(30)
    return x


@step(timeout=60)
async def for_ever(x: int) -> int:
    await asyncio.sleep(10 * HOUR)
    return x


def flaky(times: int, retry: RetryPolicy) -> Any:
    @step(retries=retry)
    async def fails(ctx: StepContext, x: int) -> int:
        if ctx.attempt <= times:
            raise ValueError("not yet")
        return x

    return fails


BACK_OFF = RetryPolicy(retries=3, initial_interval=20.0, factor=1.0, jitter=0.0)
go = Signal("go", int)
slow = Workflow("slow", input=int)
CASES: dict[str, tuple[Workflow[int, Any], Any, float]] = {
    "an attempt": (slow.then(half_a_minute), 1, 30.0),
    "an attempt that times out": (slow.then(for_ever), [("for_ever", "timeout")], 60.0),
    "back-off": (slow.then(flaky(2, BACK_OFF)), 1, 40.0),
    "back-off in a run with a deadline": (
        Workflow("slow", input=int, timeout=100).then(flaky(2, BACK_OFF)),
        1,
        40.0,
    ),
    "a run's timeout": (
        Workflow("slow", input=int, timeout=40)
        .then(half_a_minute)
        .then(flaky(0, BACK_OFF))
        .then(for_ever),
        [("", "timeout")],
        40.0,
    ),
    "a block's timeout": (
        slow.parallel(half_a_minute, for_ever, timeout=45),
        [("", "timeout")],
        45.0,
    ),
    "a wait's timeout": (slow.wait_for(go, timeout=50, default=7), (1, 7), 50.0),
}


@JUMPS
@pytest.mark.parametrize("after", [0.0, 10.0, 25.0])
@pytest.mark.parametrize("case", CASES)
def test_what_is_timed_in_a_process_takes_as_long_as_ever(
    case: str, after: float, jump: float
) -> None:
    workflow, expected, seconds = CASES[case]

    async def main() -> tuple[Any, float]:
        async with VirtualEngine() as engine:
            set_after(after, jump)
            return await passed(engine.run(workflow, 1))

    result, took = in_virtual_time(main())
    if isinstance(expected, list):
        assert [code for _, code in result] == [code for _, code in expected]
    else:
        assert result == expected
    assert took == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize("jump", [-HOUR, -YEARS])
def test_a_sleep_gets_no_longer_where_the_clock_is_set_back(jump: float) -> None:
    async def main() -> list[float]:
        async with VirtualEngine() as engine:
            set_after(10, jump)
            before = await passed(engine.run(slow.sleep(60), 1))
            after = await passed(engine.run(slow.sleep(60), 1))
            again = await passed(engine.run(slow.then(half_a_minute).sleep(60), 1))
            return [before[1], after[1], again[1]]

    assert in_virtual_time(main()) == pytest.approx([60, 60, 90], abs=0.01)


@JUMPS
def test_a_sleep_that_begins_afterwards_in_the_same_run_is_as_long_as_it_says(jump: float) -> None:
    async def main() -> float:
        async with VirtualEngine() as engine:
            set_after(10, jump)
            return (await passed(engine.run(slow.then(half_a_minute).sleep(60), 1)))[1]

    assert in_virtual_time(main()) == pytest.approx(90, abs=0.01)


def test_a_sleep_is_over_when_its_time_of_day_has_come() -> None:
    """As when the machine sleeps meanwhile: its clock goes on, and nothing else does."""

    async def main() -> float:
        async with VirtualEngine() as engine:
            set_after(10, 8 * HOUR)
            return (await passed(engine.run(slow.sleep(8 * HOUR), 1)))[1]

    assert in_virtual_time(main()) == pytest.approx(10, abs=1.1)


@pytest.mark.parametrize("jump", [-HOUR, -YEARS])
def test_a_delayed_start_comes_no_later_where_the_clock_is_set_back(jump: float) -> None:
    async def main() -> float:
        async with VirtualEngine() as engine:
            set_after(10, jump)
            handle = await engine.start(slow.then(flaky(0, BACK_OFF)), 1, delay=60)
            return (await passed(handle.result()))[1]

    assert in_virtual_time(main()) == pytest.approx(60, abs=0.01)


@JUMPS
def test_it_is_noticed_and_logged_once(jump: float, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with VirtualEngine() as engine:
            set_after(10, jump)
            await asyncio.gather(*(engine.run(slow.then(half_a_minute), 1) for _ in range(5)))

    in_virtual_time(main())
    (told,) = [text for text in caplog.messages if "the time of day went" in text]
    assert ("went ahead by" if jump > 0 else "went back by") in told
    assert ("1.0 h" in told or "60.0 min" in told) is (abs(jump) == HOUR)


def test_a_clock_that_is_slewed_is_not_a_clock_that_is_set(caplog: Any) -> None:
    async def main() -> None:
        async with VirtualEngine() as engine:
            for second in range(1, 30):
                set_after(second, 0.4)
            await engine.run(slow.then(half_a_minute), 1)

    in_virtual_time(main())
    assert not [text for text in caplog.messages if "time of day" in text]


@JUMPS
def test_a_run_goes_on_elsewhere_by_the_time_that_was_set(jump: float) -> None:
    """The history has the jump: whoever takes the run over has the same seconds left."""

    async def main() -> tuple[list[float], float]:
        store: Any = MemoryStore()
        store.close = _nothing
        workflow = (
            Workflow("w", input=int, timeout=100)
            .then(half_a_minute)
            .wait_for(go, timeout=60, default=7)
        )
        began = loop_of().time()
        async with VirtualEngine(store) as first:
            set_after(10, jump)
            await first.start(workflow, 1, run_id="r")
            await asyncio.sleep(45)
            events = await store.read_events("r")
        moves = [event.by for event in events if isinstance(event, ClockSet)]
        async with VirtualEngine(store, workflows=[workflow]) as second:
            await second.recover("r")
            assert await second.handle("r", workflow).result() == (1, 7)
        return moves, loop_of().time() - began

    moves, took = in_virtual_time(main())
    assert moves == [pytest.approx(jump)]
    assert took == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("after", [10.0, 40.0, 80.0, 120.0])
def test_an_explanation_and_a_forecast_take_no_notice(after: float, jump: float) -> None:
    """The clock is set in an attempt, a back-off, a sleep, or the attempt behind these."""
    workflow = (
        slow.then(half_a_minute)
        .then(flaky(1, BACK_OFF))
        .sleep(60, id="nap")
        .then(half_a_minute.bind("again"))
    )

    async def main() -> tuple[Explanation, Explanation, float]:
        async with VirtualEngine() as engine:
            set_after(after, jump)
            handle = await engine.start(workflow, 1)
            _, took = await passed(handle.result())
            run_id = handle.run_id
            return await engine.explain(run_id), await engine.explain(run_id, Changes()), took

    found, forecast, took = in_virtual_time(main())
    cut_short = after == 80.0 and jump > 0
    slept = took - 80 if cut_short else 60
    assert 29 < slept < 32 if cut_short else took == pytest.approx(140, abs=0.01)
    for each, nap in ((found, slept), (forecast, 60)):
        parts = {Phase.RUNNING: 60, Phase.BACK_OFF: 20, Phase.WAITING: nap}
        assert {phase: each.time.get(phase) for phase in parts} == pytest.approx(parts, abs=0.01)
        assert each.seconds == pytest.approx(80 + nap, abs=0.01)
        assert sum(each.time.values()) == pytest.approx(each.seconds)
        assert {row.path: row.ran for row in each.rows} == pytest.approx(
            {"half_a_minute": 30, "fails": 0, "nap": 0, "again": 30}, abs=0.01
        )


async def _nothing() -> None:
    """Keep what is stored."""


def test_what_was_recorded_by_a_clock_far_ahead_lengthens_nothing(tmp_path: Any) -> None:
    """The process that wrote it is gone, and the clock was put right meanwhile."""
    path = tmp_path / "runs.db"
    workflow = slow.wait_for(go).sleep(60)

    async def ahead() -> None:
        loop_of().clock.set_ahead(YEARS)
        async with VirtualEngine(SqliteStore(path)) as engine:
            await engine.start(workflow, 1, run_id="r")

    async def right() -> float:
        async with VirtualEngine(SqliteStore(path), workflows=[workflow]) as engine:
            await engine.send("r", go, 5)
            await engine.recover("r")
            return (await passed(engine.handle("r", workflow).result()))[1]

    in_virtual_time(ahead())
    assert in_virtual_time(right()) == pytest.approx(60, abs=1.0)


@JUMPS
def test_a_lease_that_is_healthy_is_lost_by_no_jump(jump: float) -> None:
    """Several workers share a store; none takes another one's runs."""

    async def main() -> list[str]:
        store: Any = MemoryStore()
        loop = loop_of()
        workflow = slow.then(half_a_minute)
        engines = [
            Engine(store, workflows=[workflow], lease=9.0, clock=loop.clock) for _ in range(3)
        ]
        for engine in engines:
            await engine.open()
        set_after(random.Random(jump).uniform(4, 6), jump)
        handles = [await engine.start(workflow, 1) for engine in engines for _ in range(3)]
        await asyncio.gather(*(handle.result() for handle in handles))
        events = [await store.read_events(handle.run_id) for handle in handles]
        for engine in engines:
            await engine.aclose()
        return [event.kind for each in events for event in each]

    kinds = in_virtual_time(main())
    assert "step_interrupted" not in kinds
    assert kinds.count("step_scheduled") == 9


@JUMPS
def test_a_lease_that_is_dead_is_kept_by_no_jump(jump: float) -> None:
    """Its runs are taken over about as soon as they would have been."""

    async def main() -> float:
        store: Any = MemoryStore()
        loop = loop_of()
        dead = Engine(store, lease=9.0, clock=loop.clock, recover=False)
        await dead.open()
        hang = slow.then(for_ever)
        await dead.start(hang, 1, run_id="r")
        service: Any = dead._worker
        service._beat.cancel()  # as if its process had been stopped for good
        service.lease.end()
        async with Engine(store, workflows=[hang], lease=9.0, clock=loop.clock):
            began = loop.time()
            set_after(2, jump)
            while (await store.get_run("r")).worker_id == dead.worker_id:
                await asyncio.sleep(0.5)
            taken = loop.time() - began
        service.runs.drivers.clear()
        await dead.aclose(grace=0)
        return taken

    assert in_virtual_time(main()) <= 13.0


@pytest.mark.parametrize("every", [timedelta(minutes=1), timedelta(hours=1)])
def test_a_schedule_that_a_wrong_clock_moved_far_ahead_mends_itself(
    every: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> tuple[float, int]:
        store, loop = MemoryStore(), loop_of()
        workflow = slow.then(flaky(0, BACK_OFF))
        engine = Engine(store, workflows=[workflow], clock=loop.clock)
        await engine.open()
        await engine.schedule(workflow, 1, id="s", every=every)
        loop.clock.set_ahead(YEARS)
        while (await engine.schedules())[0].next_due.timestamp() < loop.clock.now():
            await asyncio.sleep(0.5)
        loop.clock.set_ahead(-YEARS)
        await asyncio.sleep(3)
        away = (await engine.schedules())[0].next_due.timestamp() - loop.clock.now()
        before = len(await engine.list_runs())
        for _ in range(int(every.total_seconds()) + 3):
            await asyncio.sleep(1)  # time does not jump to heartbeats
        started = len(await engine.list_runs()) - before
        await engine.aclose()
        return away, started

    away, started = in_virtual_time(main())
    assert 0 < away <= every.total_seconds()
    assert started >= 1
    assert len([text for text in caplog.messages if "by its rule it is due" in text]) == 1


class SetWhileWriting:
    """A memory store during whose writes the clock is set, once."""

    def __init__(self, kind: str, jump: float) -> None:
        self._store = MemoryStore()
        self._kind = kind
        self._jump = jump

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, batch: Any) -> Any:
        written = await self._store.write(batch)
        if self._jump and any(e.kind == self._kind for each in batch for e in each.events):
            loop_of().clock.set_ahead(self._jump)
            self._jump = 0.0
            for _ in range(6):  # a heartbeat notices
                await asyncio.sleep(0.25)
        return written


@pytest.mark.parametrize(
    ("kind", "workflow"),
    [
        ("timer_set", slow.sleep(60)),
        ("wait_opened", slow.wait_for(go, timeout=60, default=1)),
        ("step_failed", slow.then(flaky(3, RetryPolicy(initial_interval=20, factor=1, jitter=0)))),
    ],
)
def test_set_while_it_is_written_lengthens_nothing(kind: str, workflow: Any) -> None:
    async def main() -> float:
        store: Any = SetWhileWriting(kind, -HOUR)
        clock = loop_of().clock
        async with Engine(store, recover=False, lease=1e9, clock=clock) as engine:
            return (await passed(engine.run(workflow, 1)))[1]

    assert in_virtual_time(main()) == pytest.approx(60, abs=3)


@pytest.mark.parametrize(("jump", "seconds"), [(-HOUR, 3660), (HOUR, 10), (20, 40)])
def test_a_moment_that_was_named_stays_that_moment(jump: float, seconds: float) -> None:
    async def main() -> float:
        clock = loop_of().clock
        due = datetime.fromtimestamp(clock.now() + 60, UTC)
        async with VirtualEngine() as engine:
            set_after(10, jump)
            return (await passed(engine.run(slow.sleep(until=due), 1)))[1]

    assert in_virtual_time(main()) == pytest.approx(seconds, abs=1.5)
