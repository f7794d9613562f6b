"""Deadlines reach the branches, and nothing starts after them."""

import math
from typing import Any

import pytest

from gorkflow import (
    Engine,
    RetryAfterError,
    RunFailedError,
    Signal,
    StepContext,
    Workflow,
    step,
)
from gorkflow.clock import SystemClock
from gorkflow.events import RunStarted

from .support import Gate, in_loop, step_of, until


@step
async def when_due(ctx: StepContext) -> float:
    assert ctx.deadline is not None
    return ctx.deadline.timestamp()


@in_loop
async def test_the_earliest_deadline_around_a_step_is_the_one_it_sees() -> None:
    inner = Workflow("inner", timeout=50).parallel(
        when_due,
        when_due.options(id="own", timeout=10),
        timeout=30,
    )
    workflow = Workflow("w").then(inner)
    async with Engine("memory:") as engine:
        for timeout, seconds in ((20, 20), (40, 30)):
            handle = await engine.start(workflow, timeout=timeout)
            block, own = await handle.result()
            run = await handle.info()
            assert run.started_at is not None
            began = run.started_at.timestamp()
            assert block == pytest.approx(began + seconds, abs=0.5)
            assert own == pytest.approx(began + 10, abs=0.5)


@in_loop
async def test_a_retry_past_the_deadline_is_not_waited_for(caplog: Any) -> None:
    @step(retries=5)
    async def busy() -> int:
        raise RetryAfterError(3600)

    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w").then(busy), timeout=60)
        with pytest.raises(RunFailedError):
            await handle.result()
        found = await step_of(engine, handle.run_id, "busy")
        assert found.status == "failed"
        assert found.attempt == 1
        assert found.reason.startswith("busy is not retried: that would be 3.54e+03 s after the")
    assert "a next attempt, in 3.6e+03 s, would start after the deadline" in caplog.text


@in_loop
async def test_after_a_long_absence_nothing_starts_past_the_deadline() -> None:
    ran: list[str] = []
    gate = Gate()

    @step
    async def first() -> int:
        await gate.wait_async()
        return 1

    @step
    async def second(x: int) -> int:
        ran.append("second")
        return x

    workflow = Workflow("w").then(first).then(second)
    clock = Stopped()
    async with Engine("memory:", clock=clock) as engine:
        handle = await engine.start(workflow, timeout=600)
        await until(lambda: gate.arrived)
        clock.ahead = 3600  # the process was stopped: the time has passed, no timer has fired yet
        gate.open()
        with pytest.raises(RunFailedError) as caught:
            await handle.result()
        assert [failure.code for failure in caught.value.failures] == ["timeout"]
    assert ran == []


class Stopped(SystemClock):
    """The clocks of a process that was stopped for a while, and whose timers come late."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def call_later(self, delay: float, callback: Any) -> Any:
        return super().call_later(delay + 60, callback)


@pytest.mark.parametrize(("own", "given", "holds"), [
    (None, math.inf, None),
    (60, math.inf, 60),
    (60, 90, 60),
    (60, 30, 30),
    (None, 30, 30),
])  # fmt: skip
@in_loop
async def test_the_shorter_timeout_of_a_run_holds(
    own: float | None, given: float, holds: float | None
) -> None:
    wf = Workflow("w", input=int, timeout=own).wait_for(Signal("go", int))
    async with Engine("memory:") as engine:
        handle = await engine.start(wf, 1, timeout=given)
        started = (await engine.store.read_events(handle.run_id))[1]
        assert isinstance(started, RunStarted)
        deadline = None if holds is None else pytest.approx(started.at + holds)
        assert started.deadline == deadline
        page = await engine.list_runs()
        assert [run.run_id for run in page] == [handle.run_id]
        await handle.cancel()


@in_loop
async def test_a_delayed_run_begins_where_nobody_else_would_take_it() -> None:
    async with Engine("memory:", recover=False) as engine:
        handle = await engine.start(Workflow("w").then(when_due), delay=60)
        assert (await handle.info()).worker_id == engine.worker_id
        await handle.cancel()
