"""Runs that wait: durable sleeps, signals, delayed and exclusive starts, priorities."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow import (
    Client,
    Engine,
    InputInvalidError,
    ResourceBusyError,
    RunEndedError,
    RunFilter,
    RunNotFoundError,
    RunStatus,
    Signal,
    StepContext,
    Workflow,
    step,
    tolerate,
)
from gorkflow.engine._json import record
from gorkflow.store import Message
from gorkflow.stores.memory import MemoryStore

from .support import Gate, in_loop, kinds, until


class Verdict(BaseModel):
    by: str
    ok: bool = True


approved = Signal("approved", Verdict)
count = Signal("count", int)


@step
async def tell(number: int, verdict: Verdict) -> str:
    return f"{number} by {verdict.by}"


@step
async def double(number: int) -> int:
    return number * 2


@step
async def total(pair: tuple[tuple[int, int], int]) -> int:
    (start, first), second = pair
    return start * 100 + first * 10 + second


@step
async def flat(start: tuple[int, int], second: int) -> int:
    return start[0] * 100 + start[1] * 10 + second


asked = Workflow("asked", input=int).then(double).wait_for(approved).then(tell)
slept = Workflow("slept", input=int).sleep(3600).then(double)
counted = Workflow("counted", input=int).wait_for(count, id="a").wait_for(count, id="b").then(flat)


class ManualClock:
    """A clock whose time of day is moved by hand; timers fire when it passes them."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self._timers: list[tuple[float, Any, list[bool]]] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, callback: Any) -> Any:
        return self.call_at(self.time + delay, callback)

    def call_at(self, due: float, callback: Any) -> Any:
        cancelled: list[bool] = []
        self._timers.append((due, callback, cancelled))
        self.advance(0)

        class Handle:
            def cancel(self) -> None:
                cancelled.append(True)

        return Handle()

    def advance(self, seconds: float) -> None:
        self.time += seconds
        due = [item for item in self._timers if item[0] <= self.time]
        self._timers = [item for item in self._timers if item[0] > self.time]
        for _, callback, cancelled in sorted(due, key=lambda item: item[0]):
            if not cancelled:
                asyncio.get_running_loop().call_soon(callback)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'runs.db'}"
    return Lasting()


class Lasting(MemoryStore):
    """One that several engines may open and close in turn."""

    async def close(self) -> None:
        """Keep everything."""


async def status(engine: Engine, run_id: str) -> RunStatus:
    return (await engine.get_run(run_id)).status


async def reaches_waits(engine: Engine, run_id: str, *names: str) -> None:
    async with asyncio.timeout(20):
        while (await engine.get_run(run_id)).waits_for != names:
            await asyncio.sleep(0.01)


async def reaches(engine: Engine, run_id: str, wanted: RunStatus) -> None:
    async with asyncio.timeout(20):
        while await status(engine, run_id) != wanted:
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def two(store: Any, *workflows: Workflow[Any, Any]) -> AsyncGenerator[tuple[Engine, Engine]]:
    async with (
        Engine(store, workflows=workflows) as one,
        Engine(store, workflows=workflows) as other,
    ):
        yield one, other


# ---- suspension ---------------------------------------------------------------------------------


@in_loop
async def test_a_run_that_only_waits_leaves_the_process_and_wakes_when_due(store: Any) -> None:
    clock = ManualClock()
    async with Engine(store, clock=clock) as engine:
        handle = await engine.start(slept, 21)
        await reaches(engine, handle.run_id, RunStatus.SUSPENDED)
        row = await engine.store.get_run(handle.run_id)
        assert row is not None
        assert (row.worker_id, row.due_at) == (None, clock.time + 3600)
        assert engine._worker is not None
        assert engine._worker.runs.drivers == {}
        result = asyncio.ensure_future(handle.result())
        clock.advance(3599)
        await until(lambda: handle.run_id in engine._worker.runs.drivers, "it to be fetched")  # type: ignore[union-attr]
        assert "timer_fired" not in await kinds(engine, handle.run_id)
        clock.advance(1)
        assert await result == 42
    # It slept once, to the moment.


@in_loop
async def test_a_sleep_keeps_its_due_time_over_a_restart(store: Any) -> None:
    clock = ManualClock()
    async with Engine(store, clock=clock) as engine:
        await engine.start(slept, 21, run_id="r")
        await reaches(engine, "r", RunStatus.SUSPENDED)
        due = (await engine.get_run("r")).due_at
    clock.advance(5000)  # it falls due while nobody is there
    async with Engine(store, clock=clock, workflows=[slept]) as engine:
        assert await engine.handle("r", slept).result() == 42
        fired = [e for e in await engine.store.read_events("r") if e.kind == "timer_fired"]
        assert [event.at for event in fired] == [clock.time]
        assert due is not None
        assert due.timestamp() < clock.time


@in_loop
async def test_a_short_wait_stays_in_the_process() -> None:
    nap = Workflow("nap", input=int).sleep(0.01).then(double)
    async with Engine(MemoryStore()) as engine:
        handle = await engine.start(nap, 4)
        assert await handle.result() == 8
        rows = [event.kind for event in await engine.store.read_events(handle.run_id)]
        assert rows.count("timer_fired") == 1


@in_loop
async def test_an_engine_that_takes_nothing_up_keeps_its_sleepers(store: Any) -> None:
    clock = ManualClock()
    async with Engine(store, clock=clock, recover=False) as engine:
        handle = await engine.start(slept, 21)
        await reaches(engine, handle.run_id, RunStatus.SUSPENDED)
        row = await engine.store.get_run(handle.run_id)
        assert row is not None
        assert row.worker_id == engine.worker_id
        clock.advance(3600)
        assert await handle.result() == 42


@in_loop
async def test_a_back_off_that_is_long_suspends_the_run(store: Any) -> None:
    clock = ManualClock()

    @step(retries=1)
    async def flaky(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            from gorkflow import RetryAfterError

            raise RetryAfterError(600)
        return number

    wf = Workflow("w", input=int).then(flaky)
    async with Engine(store, clock=clock) as engine:
        handle = await engine.start(wf, 7)
        await reaches(engine, handle.run_id, RunStatus.SUSPENDED)
        clock.advance(600)
        assert await handle.result() == 7


@in_loop
async def test_a_suspended_run_is_cancelled_from_anywhere(store: Any) -> None:
    if isinstance(store, str):
        async with two(store, slept) as (one, other):
            await one.start(slept, 1, run_id="r")
            await reaches(one, "r", RunStatus.SUSPENDED)
            await other.cancel("r", reason="not needed")
            run = await one.get_run("r")
    else:
        async with Engine(store) as one:
            await one.start(slept, 1, run_id="r")
            await reaches(one, "r", RunStatus.SUSPENDED)
            await one.cancel("r", reason="not needed")
            run = await one.get_run("r")
    assert (run.status, run.reason) == (RunStatus.CANCELLED, "not needed")


@in_loop
async def test_a_deadline_wakes_a_run_that_waits_for_a_signal(store: Any) -> None:
    clock = ManualClock()
    async with Engine(store, clock=clock) as engine:
        handle = await engine.start(asked, 1, timeout=timedelta(hours=1))
        await reaches(engine, handle.run_id, RunStatus.SUSPENDED)
        clock.advance(3600)
        await reaches(engine, handle.run_id, RunStatus.FAILED)
        assert [f.code for f in (await handle.info()).failures] == ["timeout"]


# ---- signals ------------------------------------------------------------------------------------


@in_loop
async def test_a_signal_wakes_the_run_that_waits_for_it(store: Any) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(asked, 4)
        await reaches(engine, handle.run_id, RunStatus.SUSPENDED)
        await handle.send(approved, Verdict(by="ann"))
        assert await handle.result() == "8 by ann"
        assert await engine.store.inbox(handle.run_id) == []


@in_loop
async def test_a_run_says_at_once_what_it_waits_for(store: Any) -> None:
    """Also while it runs on beside the wait, and naps that are too short to suspend it."""
    gate = Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    wait = Workflow("wait", input=int).wait_for(count)
    nap = Workflow("nap", input=int).wait_for(approved, timeout=1.0, default=Verdict(by="nobody"))
    wf = Workflow("w", input=int).parallel(hold, wait, nap)
    async with Engine(store) as engine:
        handle = await engine.start(wf, 4)
        await until(lambda: gate.arrived, "the step")
        run = await handle.info()
        assert run.status is RunStatus.RUNNING
        assert run.waits_for == ("approved", "count")
        for name in run.waits_for:
            assert [each.run_id for each in await engine.list_runs(RunFilter(waiting_for=name))]
        await handle.send("approved", {"by": "bob"})
        await reaches_waits(engine, handle.run_id, "count")
        assert not await engine.list_runs(RunFilter(waiting_for="approved"))
        gate.open()
        await reaches(engine, handle.run_id, RunStatus.SUSPENDED)
        [listed] = await engine.list_runs(RunFilter(waiting_for="count"))
        assert listed.waits_for == ("count",)
        await handle.send(count, 2)
        await handle.result()
        assert (await handle.info()).waits_for == ()
        assert not await engine.list_runs(RunFilter(waiting_for="count"))


@in_loop
async def test_a_run_that_begins_with_a_wait_is_listed_by_it(store: Any) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(counted, 1)
        await reaches_waits(engine, handle.run_id, "count")
        await engine.cancel(handle.run_id)
        await reaches(engine, handle.run_id, RunStatus.CANCELLED)
        assert not await engine.list_runs(RunFilter(waiting_for="count"))


@in_loop
async def test_a_signal_sent_before_the_wait_is_kept(store: Any) -> None:
    gate = Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(hold).wait_for(approved).then(tell)
    async with Engine(store) as engine:
        handle = await engine.start(wf, 4)
        await until(lambda: gate.arrived, "the step")
        await handle.send("approved", {"by": "bob"})
        gate.open()
        assert await handle.result() == "4 by bob"


@in_loop
async def test_signals_are_taken_in_the_order_they_were_sent(store: Any) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(counted, 1)
        for number in (2, 3, 4):
            await handle.send(count, number)
        assert await handle.result() == 123
        left = await engine.store.inbox(handle.run_id)
        assert [message.payload for message in left] == [b"4"]  # one each, and nothing more


@in_loop
async def test_a_signal_comes_from_another_process(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    async with Engine(url) as engine, Client(url) as client:
        handle = await engine.start(counted, 1, run_id="r")
        await client.send("r", "count", 2)  # the client does not know the workflow
        await reaches(engine, "r", RunStatus.SUSPENDED)
        await client.handle("r", counted).send(count, 3)
        assert await handle.result() == 123


@in_loop
async def test_a_payload_that_is_not_valid_is_refused_at_the_sender(store: Any) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(asked, 4)
        with pytest.raises(InputInvalidError, match="payload of signal 'approved' is not valid"):
            await handle.send("approved", {"nobody": 1})
        with pytest.raises(InputInvalidError, match="did you mean 'approved'"):
            await handle.send("aproved", {"by": "ann"})
        with pytest.raises(InputInvalidError, match="it waits for none"):
            await (await engine.start(slept, 1)).send("approved")
        assert await engine.store.inbox(handle.run_id) == []
        with pytest.raises(RunNotFoundError):
            await engine.send("nobody", "approved", {})
        await handle.send(approved, Verdict(by="ann"))
        await handle.result()
        with pytest.raises(RunEndedError, match="has ended"):
            await handle.send(approved, Verdict(by="bob"))


@in_loop
async def test_a_payload_that_does_not_fit_leaves_the_run_waiting(
    store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(asked, 4)
        await reaches(engine, handle.run_id, RunStatus.SUSPENDED)
        bad = Message(0, handle.run_id, "signal", "approved", 0.0, b'{"wrong":1}')
        with caplog.at_level(logging.ERROR):
            await engine.store.post(bad)  # by somebody who did not know the type
            await until(lambda: "is rejected" in caplog.text, "the refusal")
        await reaches(engine, handle.run_id, RunStatus.SUSPENDED)
        await handle.send(approved, Verdict(by="ann"))
        assert await handle.result() == "8 by ann"
        (kept,) = await engine.store.inbox(handle.run_id)
        assert kept.payload == b'{"wrong":1}'


@in_loop
async def test_a_wait_that_times_out_goes_on_with_its_default(store: Any) -> None:
    clock = ManualClock()
    wf = (
        Workflow("w", input=int)
        .wait_for(approved, timeout=timedelta(days=1), default=Verdict(by="nobody", ok=False))
        .then(tell)
    )
    strict = Workflow("strict", input=int).wait_for(approved, timeout=86_400.0).then(tell)
    async with Engine(store, clock=clock) as engine:
        handle, failing = await engine.start(wf, 3), await engine.start(strict, 3)
        for run in (handle, failing):
            await reaches(engine, run.run_id, RunStatus.SUSPENDED)
        clock.advance(86_400)
        assert await handle.result() == "3 by nobody"
        await reaches(engine, failing.run_id, RunStatus.FAILED)
        (failure,) = (await failing.info()).failures
        assert (failure.code, failure.path) == ("timeout", "approved")


@step
async def quiet(branches: Any) -> int:
    return len(branches)


@in_loop
async def test_every_view_shows_a_wait_that_timed_out_without_default(store: Any) -> None:
    clock = ManualClock()
    each = Workflow("each", input=int).wait_for(approved, timeout=1000.0)
    items = Workflow("items", input=list[int]).map(each, join=tolerate(9), id="all")
    late = Workflow("late", input=list[int]).wait_for(count, timeout=9000.0)
    wf = Workflow("w", input=list[int]).parallel(items, late, join=tolerate(1)).then(quiet)
    paths = ["items/each[0]/approved", "items/each[1]/approved"]

    async def look(run_id: str, of_late: tuple[str, bool]) -> None:
        shown = {row.path: row for row in await engine.steps(run_id)}
        cli = {row.path: row for row in (await record(engine.store, run_id)).steps}
        for found in (shown, cli):
            for path in paths:
                row = found[path]
                assert (row.status, row.output, row.reason) == ("failed", None, "")
                assert row.failure is not None
                assert row.failure.code == "timeout"
            assert (found["late/count"].status, bool(found["late/count"].reason)) == of_late
        assert [f.path for f in (await engine.get_run(run_id)).failures if f.handled][:2] == paths

    async with Engine(store, clock=clock) as engine:
        handle = await engine.start(wf, [1, 2])
        await reaches(engine, handle.run_id, RunStatus.SUSPENDED)
        clock.advance(1001)
        while len((await engine.get_run(handle.run_id)).failures) < 2:
            await asyncio.sleep(0.005)
        await look(handle.run_id, ("suspended", True))
        clock.advance(8000)
        assert await handle.result() == 2
        await look(handle.run_id, ("failed", False))
        again = await engine.rerun(handle.run_id, from_step="late/count")
        assert "late/count" in {row.path for row in await engine.steps(again.run_id)}


@in_loop
async def test_mail_for_a_run_that_can_not_be_carried_on_wakes_it_once(store: Any) -> None:
    @step(id="tell_all")
    async def other(number: int, verdict: Verdict) -> int:
        return number

    changed = Workflow("asked", input=int).then(double).wait_for(approved).then(other)
    async with Engine(store) as engine:
        await engine.start(asked, 4, run_id="r")
        await reaches(engine, "r", RunStatus.SUSPENDED)
    async with Client(store) as client:
        await client.send("r", "approved", {"by": "ann"})
        (message,) = await client.store.inbox("r")
        async with Engine(store, workflows=[changed]):
            async with asyncio.timeout(20):
                while (row := await client.store.get_run("r")) is None or row.seen < message.id:
                    await asyncio.sleep(0.005)
            assert "started with other code" in row.reason
    async with Engine(store, workflows=[asked]) as engine:
        assert await engine.handle("r", asked).result() == "8 by ann"


# ---- starts -------------------------------------------------------------------------------------


@in_loop
async def test_a_delayed_start_is_recorded_at_once_and_begins_later(store: Any) -> None:
    doubled = Workflow("doubled", input=int).then(double)
    clock = ManualClock()
    async with Engine(store, clock=clock) as engine:
        handle = await engine.start(doubled, 4, delay=timedelta(minutes=10))
        run = await handle.info()
        assert (run.status, run.started_at, run.worker_id) == (RunStatus.PENDING, None, None)
        short = await engine.start(doubled, 5, delay=2)
        assert (await short.info()).worker_id == engine.worker_id
        clock.advance(2)
        assert await short.result() == 10
        assert await status(engine, handle.run_id) is RunStatus.PENDING
        clock.advance(598)
        assert await handle.result() == 8
        begun = (await handle.info()).started_at
        assert begun is not None
        assert begun.timestamp() == clock.time


@in_loop
async def test_runs_of_a_higher_priority_begin_first(store: Any) -> None:
    order: list[int] = []
    gate = Gate()

    @step
    async def note(number: int) -> int:
        order.append(number)
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(note)
    async with Engine(store, max_concurrent_runs=1) as engine:
        first = await engine.start(wf, 0)
        await until(lambda: gate.arrived, "the first")
        runs = [await engine.start(wf, n, priority=n % 3) for n in range(1, 6)]
        gate.open()
        for run in (first, *runs):
            await run.result()
    assert order == [0, 2, 5, 1, 4, 3]


@in_loop
async def test_what_a_worker_has_no_room_for_stays_in_the_store(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    gate = Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(hold)
    async with Client(url) as client:
        for number in range(5):
            await client.start(wf, number, run_id=f"r{number}", priority=number)
        async with Engine(url, workflows=[wf], max_concurrent_runs=2) as worker:
            await until(lambda: gate.arrived == 2, "two")
            owners = [(await client.get_run(f"r{n}")).worker_id for n in range(5)]
            assert owners == [None, None, None, worker.worker_id, worker.worker_id]
            gate.open()
            for number in range(5):
                assert await client.handle(f"r{number}", wf).result() == number


@in_loop
async def test_one_live_run_has_an_exclusive_resource(store: Any) -> None:
    async with Engine(store) as engine:
        first = await engine.start(asked, 1, resource_id="order-7", exclusive=True)
        for exclusive in (True, False):
            with pytest.raises(ResourceBusyError, match="'order-7'"):
                await engine.start(asked, 2, resource_id="order-7", exclusive=exclusive)
        other = await engine.start(asked, 2, resource_id="order-8", exclusive=True)
        await first.cancel()
        with contextlib.suppress(Exception):
            await first.result()
        again = await engine.start(asked, 3, resource_id="order-7", exclusive=True)
        for run in (other, again):
            await run.send(approved, Verdict(by="ann"))
            await run.result()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"delay": -1}, "delay must be 0 seconds or more"),
        ({"delay": float("nan")}, "delay must be 0 seconds or more"),
        ({"delay": "soon"}, "delay must be seconds or a timedelta"),
        ({"priority": 1.5}, "priority must be a whole number"),
        ({"priority": True}, "priority must be a whole number"),
        ({"exclusive": True}, "exclusive needs a resource_id"),
        ({"exclusive": 1, "resource_id": "x"}, "exclusive must be True, False or 'wait', not 1"),
    ],
)
@in_loop
async def test_start_options_that_make_no_sense(options: Any, why: str) -> None:
    async with Engine(MemoryStore()) as engine:
        with pytest.raises(InputInvalidError, match=why):
            await engine.start(slept, 1, **options)
        assert list(await engine.list_runs()) == []
