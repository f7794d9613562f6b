"""Sleeps and waits, live: due times are kept, and nothing runs meanwhile."""

import asyncio

import pytest

from gorkflow import Engine, RunFailedError, Signal, Workflow, step
from gorkflow import events as ev

from .support import in_loop, kinds, step_of

go = Signal("go", int)


@step
async def double(number: int) -> int:
    return 2 * number


@step
async def add(number: int, other: int) -> int:
    return number + other


def store_at(tmp_path, kind):
    return "memory:" if kind == "memory" else f"sqlite:{tmp_path}/runs.db"


async def recorded(engine, run_id, kind):
    return [event for event in await engine.store.read_events(run_id) if isinstance(event, kind)]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@in_loop
async def test_a_sleep_hands_its_input_on(tmp_path, kind):
    nap = Workflow("nap", input=int).then(double).sleep(0.05).then(double.options(id="again"))
    async with Engine(store_at(tmp_path, kind)) as engine:
        handle = await engine.start(nap, 3)
        assert await handle.result() == 12
        (begun,) = await recorded(engine, handle.run_id, ev.TimerSet)
        (woken,) = await recorded(engine, handle.run_id, ev.TimerFired)
        assert (begun.key, woken.key) == ("sleep", "sleep")
        assert woken.at >= begun.due == pytest.approx(begun.at + 0.05)


@in_loop
async def test_a_sleeping_branch_holds_up_nobody_else(tmp_path):
    branch = Workflow("branch", input=int).sleep(30).then(double.options(id="late"))
    flow = Workflow("first", input=int).parallel(branch, double, join="first")
    async with Engine("memory:") as engine:
        assert await engine.run(flow, 3) == 6


@in_loop
async def test_a_sleep_keeps_its_due_time_when_its_process_goes(tmp_path):
    nap = Workflow("nap", input=int).sleep(0.3).then(double)
    url = store_at(tmp_path, "sqlite")
    async with Engine(url) as engine:
        handle = await engine.start(nap, 3)
        run_id = handle.run_id
        await wait_for_status(engine, run_id, "sleep", "suspended")
        assert (await step_of(engine, run_id, "sleep")).reason.startswith("sleeps until ")
    async with Engine(url, workflows=[nap]) as engine:
        assert await engine.handle(run_id, nap).result() == 6
        (begun,) = await recorded(engine, run_id, ev.TimerSet)
        (woken,) = await recorded(engine, run_id, ev.TimerFired)
        assert woken.at >= begun.due
        assert (await kinds(engine, run_id)).count("timer_set") == 1


@in_loop
async def test_a_run_that_sleeps_can_be_cancelled():
    nap = Workflow("nap", input=int).sleep(30).then(double)
    async with Engine("memory:") as engine:
        handle = await engine.start(nap, 3)
        await wait_for_status(engine, handle.run_id, "sleep", "suspended")
        await handle.cancel("enough")
        await until_ended(engine, handle.run_id)
        slept = await step_of(engine, handle.run_id, "sleep")
        assert (slept.status, slept.reason) == ("cancelled", "enough")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@in_loop
async def test_a_wait_that_times_out_goes_on_with_its_default(tmp_path, kind):
    flow = Workflow("flow", input=int).wait_for(go, timeout=0.02, default=5).then(add)
    async with Engine(store_at(tmp_path, kind)) as engine:
        handle = await engine.start(flow, 3)
        assert await handle.result() == 8
        waited = await step_of(engine, handle.run_id, "go")
        assert (waited.status, waited.output) == ("completed", 5)


@in_loop
async def test_a_wait_that_times_out_without_one_fails():
    flow = Workflow("flow", input=int).wait_for(go, timeout=0.02).then(add)
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match="did not arrive within") as caught:
            await engine.run(flow, 3)
        (failure,) = caught.value.failures
        assert (failure.path, failure.code) == ("go", "timeout")
        run = await engine.get_run(caught.value.run_id)
        assert [(f.path, f.handled) for f in run.failures] == [("go", False)]


@in_loop
async def test_a_workflow_without_input_gets_none_also_inside_another():
    @step
    async def shown(pair: tuple[None, int]) -> str:
        return repr(pair)

    inner = Workflow("inner").wait_for(go, timeout=0.02, default=1).then(shown)
    async with Engine("memory:") as engine:
        assert await engine.run(inner) == "(None, 1)"
        assert await engine.run(Workflow("outer", input=int).then(double).then(inner), 3) == (
            "(None, 1)"
        )


async def wait_for_status(engine, run_id, path, status):
    async def look():
        while (await step_of(engine, run_id, path)).status != status:
            await asyncio.sleep(0.002)

    await asyncio.wait_for(look(), 20)


async def until_ended(engine, run_id):
    async def look():
        while not (await engine.get_run(run_id)).status.terminal:
            await asyncio.sleep(0.002)

    await asyncio.wait_for(look(), 20)
