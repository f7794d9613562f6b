"""The life of an engine: closing, recovering, living beside others, code that changed."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gorkflow import (
    Client,
    Engine,
    EngineClosedError,
    RunBlockedError,
    RunFilter,
    RunStatus,
    StepContext,
    StepStatus,
    StoreCorruptError,
    StoreError,
    Workflow,
    step,
)
from gorkflow.engine import _claims
from gorkflow.engine._attempt import Attempt
from gorkflow.events import CancelRequested
from gorkflow.store import Transition, Written
from gorkflow.stores.memory import MemoryStore

from .support import Gate, die, in_loop, kinds, step_of, until


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'runs.db'}"


@in_loop
async def test_closing_lets_running_steps_finish_and_starts_no_more(url: str) -> None:
    gate = Gate()
    ran: list[str] = []

    @step
    async def first(number: int) -> int:
        await gate.wait_async()
        ran.append("first")
        return number

    @step
    async def second(number: int) -> int:
        ran.append("second")
        return number + 1

    wf = Workflow("w", input=int).then(first).then(second)
    async with Engine(url) as engine:
        handle = await engine.start(wf, 1, run_id="r")
        waiter = asyncio.ensure_future(handle.result())
        await asyncio.sleep(0)  # so that it waits before the engine closes
        await until(lambda: gate.arrived, "the step")
        gate.open()
    assert ran == ["first"]
    with pytest.raises(EngineClosedError, match="recover"):
        await waiter
    async with Engine(url, workflows=[wf]) as engine:
        assert await engine.handle("r", wf).result() == 2
    assert ran == ["first", "second"]


@in_loop
async def test_a_step_that_outlasts_the_grace_runs_again_as_the_next_attempt(url: str) -> None:
    gate = Gate()
    attempts: list[int] = []

    @step
    async def slow(ctx: StepContext, number: int) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            await gate.wait_async()
        return ctx.attempt

    wf = Workflow("w", input=int).then(slow)
    engine = Engine(url)
    await engine.open()
    await engine.start(wf, 1, run_id="r")
    await until(lambda: attempts, "the step")
    await engine.aclose(grace=0)
    async with Engine(url, workflows=[wf]) as engine:
        assert await engine.handle("r", wf).result() == 2
        assert "step_interrupted" in await kinds(engine, "r")
        record = await step_of(engine, "r", "slow")
        assert [a.number for a in record.attempts] == [1, 2]
    assert attempts == [1, 2]


@in_loop
async def test_completed_branches_do_not_run_again(url: str) -> None:
    gate = Gate()
    ran: list[str] = []

    @step
    async def quick(ctx: StepContext, number: int) -> int:
        ran.append(ctx.path)
        return number

    @step
    async def slow(ctx: StepContext, number: int) -> int:
        ran.append(f"{ctx.path}#{ctx.attempt}")
        if ctx.attempt == 1:
            await gate.wait_async()
        return number

    wf = Workflow("w", input=int).parallel(quick, slow)
    engine = Engine(url)
    await engine.open()
    await engine.start(wf, 5, run_id="r")
    while "step_completed" not in await kinds(engine, "r"):
        await asyncio.sleep(0)
    await engine.aclose(grace=0)
    async with Engine(url, workflows=[wf]) as engine:
        assert await engine.handle("r", wf).result() == (5, 5)
    assert sorted(ran) == ["quick", "slow#1", "slow#2"]


@in_loop
async def test_a_run_that_waited_to_begin_is_recovered(url: str) -> None:
    gate = Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1 and number == 0:
            await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(holds)
    engine = Engine(url, max_concurrent_runs=1)
    await engine.open()
    for number in range(3):
        await engine.start(wf, number, run_id=f"r{number}", timeout=60)
    await engine.aclose(grace=0)
    async with Engine(url, workflows=[wf]) as engine:
        assert [await engine.handle(f"r{n}", wf).result() for n in range(3)] == [0, 1, 2]


@in_loop
async def test_a_retry_keeps_its_due_time_over_a_restart(url: str) -> None:
    @step(retries=1)
    async def flaky(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            raise ConnectionError
        return ctx.attempt

    wf = Workflow("w", input=int).then(flaky)
    engine = Engine(url)
    await engine.open()
    await engine.start(wf, 1, run_id="r")
    while "step_failed" not in await kinds(engine, "r"):
        await asyncio.sleep(0)
    await engine.aclose(grace=0)
    async with Engine(url, workflows=[wf]) as engine:
        assert await engine.handle("r", wf).result() == 2
        events = await engine.store.read_events("r")
        (failed,) = [e for e in events if e.kind == "step_failed"]
        (fired,) = [e for e in events if e.kind == "timer_fired"]
        assert fired.at >= failed.retry_at  # type: ignore[attr-defined]
        assert "step_interrupted" not in [e.kind for e in events]


@in_loop
async def test_a_client_queues_and_a_worker_runs(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gorkflow")

    @step
    async def double(number: int) -> int:
        return number * 2

    wf = Workflow("w", input=int).then(double)
    async with Client(url) as client:
        handle = await client.start(wf, 4, run_id="r")
        assert (await handle.info()).status == RunStatus.PENDING
        async with Engine(url, workflows=[wf]):
            assert await handle.result() == 8
    assert "run 'r' begins on " in caplog.text
    assert "is continued" not in caplog.text


@in_loop
async def test_an_engine_does_not_take_runs_that_a_live_one_holds(url: str) -> None:
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(holds)
    async with Engine(url) as owner, Engine(url, workflows=[wf]) as other:
        handle = await owner.start(wf, 1, run_id="r")
        assert await other.recover() == []
        assert await other.recover("r") == []
        await until(lambda: gate.arrived, "the step")
        gate.open()
        assert await other.handle("r", wf).result() == 1
        assert await handle.result() == 1
    assert gate.arrived == 1


@in_loop
async def test_a_cancel_reaches_a_run_that_another_engine_carries(url: str) -> None:
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(holds)
    async with Engine(url) as owner, Client(url) as other:
        await owner.start(wf, 1, run_id="r")
        await other.cancel("r", reason="from elsewhere")
        outcome = await owner.handle("r", wf).outcome()
        assert outcome.reason == "from elsewhere"  # type: ignore[union-attr]


@in_loop
async def test_a_cancel_of_a_run_that_nobody_carries_needs_no_code(url: str) -> None:
    @step
    async def double(number: int) -> int:
        return number * 2

    async with Client(url) as client:
        await client.start(Workflow("w", input=int).then(double), 4, run_id="r")
    async with Engine(url) as stranger:
        await stranger.cancel("r", reason="no longer wanted")
        run = await stranger.get_run("r")
        assert (run.status, run.reason) == (RunStatus.CANCELLED, "no longer wanted")
        assert run.input == 4
        (only,) = await stranger.steps("r")
        assert only.status == StepStatus.CANCELLED


@in_loop
async def test_a_run_whose_workflow_is_not_known_is_left_alone(url: str) -> None:
    @step
    async def double(number: int) -> int:
        return number * 2

    async with Client(url) as client:
        await client.start(Workflow("mine", input=int).then(double), 4, run_id="r")
    async with Engine(url, workflows=[Workflow("other", input=int).then(double)]) as engine:
        assert await engine.recover() == []
        with pytest.raises(RunBlockedError, match="does not know"):
            await engine.recover("r")
        assert (await engine.get_run("r")).status == RunStatus.PENDING


@in_loop
async def test_code_that_does_not_fit_leaves_a_run_untouched_and_says_why(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_claims, "_LOOK_AGAIN", 0.2)

    @step
    async def charge(number: int) -> int:
        return number

    @step(id="charge_card")
    async def changed(number: int) -> str:
        return str(number)

    before = Workflow("w", input=int).then(charge)
    async with Client(url) as client:
        await client.start(before, 4, run_id="r")
    caplog.set_level(logging.ERROR)
    async with Engine(url, workflows=[Workflow("w", input=int).then(changed)]) as engine:
        assert "step 'charge' is gone" in caplog.text
        with pytest.raises(RunBlockedError, match="charge"):
            await engine.recover("r")
        run = await engine.get_run("r")
        assert "charge" in run.reason
        assert not run.status.terminal
        assert await kinds(engine, "r") == ["run_created"]
    async with Engine(url, workflows=[before]) as engine:
        await engine.recover("r")
        assert await engine.handle("r", before).result() == 4


@in_loop
async def test_a_started_run_keeps_the_options_it_was_started_with(url: str) -> None:
    attempts: list[int] = []

    @step(continue_on_error=True)
    async def fails(ctx: StepContext, number: int) -> int:
        attempts.append(ctx.attempt)
        raise ValueError

    @step
    async def never(number: int | None) -> str:
        return "never"

    def no(number: int | None) -> bool:
        return False

    then = Workflow("w", input=int).then(fails).then_if(no, never, default="then")
    async with Client(url) as client:
        await client.start(then, 4, run_id="r")
    now = Workflow("w", input=int).then(fails.options(retries=5)).then_if(no, never, default="now")
    async with Engine(url, workflows=[now]) as engine:
        assert await engine.handle("r", now).result() == "then"
    assert attempts == [1]


class Failing(MemoryStore):
    """Fails the next writes."""

    failing = False

    def write(self, batch: Sequence[Transition]) -> asyncio.Future[list[Written]]:
        if self.failing:
            raise StoreError("the disk is full")
        return super().write(batch)


@in_loop
async def test_a_store_that_fails_reaches_whoever_waits_and_the_run_can_be_recovered() -> None:
    gate = Gate()
    store = Failing()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        await gate.wait_async()
        return ctx.attempt

    wf = Workflow("w", input=int).then(holds)
    async with Engine(store) as engine:
        handle = await engine.start(wf, 1, run_id="r")
        store.failing = True
        gate.open()
        with pytest.raises(StoreError, match="disk is full"):
            await handle.result()
        with pytest.raises(StoreError, match="disk is full"):
            await engine.start(wf, 1, run_id="never")
        store.failing = False
        assert [run.run_id for run in await engine.list_runs(RunFilter())] == ["r"]


@pytest.mark.own_store
@in_loop
async def test_a_damaged_run_is_left_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @step
    async def double(number: int) -> int:
        return number * 2

    wf = Workflow("w", input=int).then(double)
    path = tmp_path / "runs.db"
    async with Client(f"sqlite:{path}") as client:
        for name in ("damaged", "sound"):
            await client.start(wf, 4, run_id=name)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "UPDATE events SET body = '{' WHERE run = (SELECT key FROM runs "
            "WHERE run_id = 'damaged')"
        )
    async with Engine(f"sqlite:{path}", workflows=[wf]) as engine:
        assert await engine.handle("sound", wf).result() == 8
        with pytest.raises(StoreCorruptError, match="damaged"):
            await engine.get_run("damaged")
        assert {run.run_id for run in await engine.list_runs()} == {"damaged", "sound"}
    assert "damaged" in caplog.text


@in_loop
async def test_the_end_of_a_run_is_logged_with_its_ids(caplog: pytest.LogCaptureFixture) -> None:
    @step
    async def fails(number: int) -> int:
        raise ValueError("no luck")

    caplog.set_level(logging.INFO, "gorkflow.run")
    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w", input=int).then(fails), 1)
        await handle.outcome()
    (record,) = [r for r in caplog.records if r.name == "gorkflow.run"]
    assert "failed" in record.message
    assert "no luck" in record.message
    assert vars(record)["run_id"] == handle.run_id


@in_loop
async def test_a_process_without_the_code_reads_a_run_in_full(url: str) -> None:
    @step
    async def word(number: int) -> str:
        return str(number)

    wf = Workflow("w", input=int).then_if(lambda number: number > 5, word, default="none")
    async with Engine(url) as engine:
        assert await engine.run(wf, 1, run_id="r") == "none"
    async with Client(url) as stranger:
        run = await stranger.get_run("r")
        assert (run.input, run.output) == (1, "none")
        assert await stranger.handle("r").result() == "none"
        (only,) = await stranger.steps("r")
        assert only.status == StepStatus.SKIPPED


@in_loop
async def test_results_have_their_types_whatever_became_of_the_code(url: str) -> None:
    @step
    async def stamp(number: int) -> date:
        return date(2026, 1, number)

    then = Workflow("w", input=int).then(stamp)
    async with Engine(url) as engine:
        await engine.run(then, 5, run_id="r")
    async with Engine(url) as engine:
        retried = Workflow("w", input=int).then(stamp.options(retries=1))
        assert await engine.handle("r", retried).result() == date(2026, 1, 5)
    async with Engine(url) as engine:
        renamed = Workflow("w", input=int).then(stamp.options(id="other"))
        assert await engine.handle("r", renamed).result() == date(2026, 1, 5)


@in_loop
async def test_the_time_of_a_step_is_its_own_not_that_of_the_record(url: str) -> None:
    @step
    async def quick(number: int) -> int:
        return number

    @step
    async def holds_up_the_record(number: int) -> int:
        threading.Event().wait(0.05)  # blocks the loop, so that nothing can be recorded
        return number

    wf = Workflow("w", input=int).parallel(quick, holds_up_the_record.options(id="slow"))
    async with Engine(url) as engine:
        await engine.run(wf, 1, run_id="r")
        fast, slow = [(await step_of(engine, "r", path)).attempts[0] for path in ("quick", "slow")]
        assert fast.ran is not None
        assert slow.ran is not None
        assert fast.ran < slow.ran / 2
        assert slow.ran >= 0.05


@pytest.mark.own_store
@in_loop
async def test_runs_that_may_kill_their_worker_go_on_one_at_a_time(url: str) -> None:
    gates = [Gate() for _ in range(4)]
    begun: list[str] = []

    @step
    async def long(ctx: StepContext, number: int) -> int:
        begun.append(ctx.run_id)
        if ctx.attempt <= len(gates):
            await gates[ctx.attempt - 1].wait_async()
        return ctx.attempt

    wf = Workflow("w", input=int).then(long)
    for number in range(3):
        engine = Engine(url, workflows=[wf])
        await engine.open()
        if number == 0:
            for run_id in ("a", "b"):
                await engine.start(wf, 1, run_id=run_id)
        await until(lambda n=number: gates[n].arrived == 2, "both")  # type: ignore[misc]
        await die(engine)
    begun.clear()
    async with Engine(url, workflows=[wf]) as engine:
        await until(lambda: gates[3].arrived == 1, "the first")
        first = begun[0]
        second = "b" if first == "a" else "a"
        assert (await engine.get_run(second)).worker_id == engine.worker_id
        assert begun == [first]
        gates[3].open()
        assert await engine.handle(first, wf).result() == 4
        assert await engine.handle(second, wf).result() == 4
        assert begun == [first, second]


@in_loop
async def test_a_handler_that_is_cancelled_before_its_first_turn_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A task that is cancelled then never runs at all: its slot must not wait for it."""

    @step
    async def never(number: int) -> int:
        raise AssertionError

    start = Attempt.start

    def start_and_cancel(attempt: Attempt) -> None:
        start(attempt)
        driver: Any = attempt.owner
        driver.post(CancelRequested, "", None, ("at once",))
        attempt.cancel()

    async with Engine("memory:", max_concurrent_steps=1) as engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Attempt, "start", start_and_cancel)
            handle = await engine.start(Workflow("w", input=int).then(never), 1)
            assert (await handle.outcome()).status == "cancelled"
        await until(
            lambda: engine._opened().runtime.admission._free_steps == 1, "the slot to be free"
        )
    assert "did not stop" not in caplog.text
