"""Runs that wait in line for a resource: one at a time, the oldest first."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import gorkflow
from gorkflow import (
    Client,
    Engine,
    InputInvalidError,
    ResourceBusyError,
    RunCancelledError,
    RunFailedError,
    RunStatus,
    StepContext,
    Workflow,
    step,
)
from gorkflow.engine._json import record

from .support import STORES, Gate, calls, in_loop, until

LINE: Any = {"resource_id": "account", "exclusive": "wait"}


@step
async def alone(number: int) -> int:
    calls.append(f"+{number}")
    await asyncio.sleep(0)
    calls.append(f"-{number}")
    return number


change = Workflow("change", input=int).then(alone)


def held(gate: Gate) -> Workflow[int, int]:
    @step
    def hold(number: int) -> int:
        calls.append(f"+{number}")
        gate.wait()
        calls.append(f"-{number}")
        return number

    return Workflow("holding", input=int).then(hold)


def one_at_a_time(numbers: list[int]) -> list[str]:
    return [f"{sign}{number}" for number in numbers for sign in "+-"]


@STORES
@in_loop
async def test_one_runs_at_a_time_in_the_order_of_the_starts(url: str, tmp_path: Path) -> None:
    async with Engine(url.format(tmp_path), max_concurrent_runs=2) as engine:
        runs = [await engine.start(change, number, **LINE) for number in range(5)]
        others = [await engine.start(change, 9, resource_id="other") for _ in range(2)]
        for number, run in enumerate(runs):
            assert await run.result() == number
        for run in others:
            assert await run.result() == 9
    assert [call for call in calls if "9" not in call] == one_at_a_time([*range(5)])


@pytest.mark.own_store
@in_loop
async def test_it_is_one_run_over_several_workers(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/runs.db"
    sleepy = Workflow("sleepy", input=int).then(alone).sleep(0.01).then(alone.options(id="again"))
    async with Engine(url) as first, Engine(url) as second:
        runs = [
            await engine.start(sleepy, number, **LINE)
            for number in range(3)
            for engine in (first, second)
        ]
        assert [await run.result() for run in runs] == [0, 0, 1, 1, 2, 2]
        spans = [await first.get_run(run.run_id) for run in runs]
    for earlier, later in pairwise(spans):
        assert earlier.finished_at is not None
        assert later.started_at is not None
        assert earlier.finished_at <= later.started_at


@STORES
@in_loop
async def test_a_run_in_line_says_what_it_waits_for_and_can_be_cancelled(
    url: str, tmp_path: Path
) -> None:
    gate = Gate()
    holding = held(gate)
    async with Engine(url.format(tmp_path)) as engine:
        first = await engine.start(holding, 1, run_id="first", resource_id="account")
        await until(lambda: calls)
        second = await engine.start(change, 2, run_id="second", **LINE)
        third = await engine.start(change, 3, run_id="third", **LINE)
        for behind, before in ((second, first), (third, second)):
            reason = f"waits for run {before.run_id!r} of resource 'account'"
            assert (await behind.info()).reason == reason
            assert (await record(engine.store, behind.run_id)).run.reason == reason
        listed = {run.run_id: run.reason for run in await engine.list_runs()}
        assert listed["third"] == "waits for resource 'account'"
        for exclusive in (True, False):
            with pytest.raises(ResourceBusyError):
                await engine.start(change, 4, resource_id="account", exclusive=exclusive)
        await second.cancel("not needed")
        with pytest.raises(RunCancelledError):
            await second.result()
        assert (await third.info()).reason == "waits for run 'first' of resource 'account'"
        gate.open()
        assert await third.result() == 3
        assert (await third.info()).reason == ""
    assert calls == one_at_a_time([1, 3])


@in_loop
async def test_one_that_is_told_to_recover_keeps_its_place(tmp_path: Path) -> None:
    gate = Gate()
    async with Engine(f"sqlite:{tmp_path}/runs.db") as engine:
        await engine.start(held(gate), 1, resource_id="account")
        await until(lambda: calls)
        waiting = await engine.start(change, 2, **LINE)
        assert await engine.recover(waiting.run_id) == []
        assert calls == ["+1"]
        gate.open()
        assert await waiting.result() == 2
    assert calls == one_at_a_time([1, 2])


@in_loop
async def test_a_rerun_waits_in_line_too() -> None:
    gate = Gate()
    async with Engine("memory:") as engine:
        first = await engine.start(change, 1, **LINE)
        await first.result()
        calls.clear()
        holder = await engine.start(held(gate), 2, **LINE)
        await until(lambda: calls)
        again = await engine.rerun(first.run_id, "alone")
        assert (
            await again.info()
        ).reason == f"waits for run {holder.run_id!r} of resource 'account'"
        gate.open()
        assert await again.result() == 1
    assert calls == one_at_a_time([2, 1])


@in_loop
async def test_a_client_leaves_it_to_a_worker(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/runs.db"
    async with Client(url) as client:
        runs = [await client.start(change, number, **LINE) for number in range(2)]
        async with Engine(url, workflows=[change]):
            assert [await run.result() for run in runs] == [0, 1]


def test_an_engine_for_one_run_waits_for_its_turn(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/runs.db"
    assert gorkflow.run(change, 7, store=url, **LINE) == 7
    assert gorkflow.run(change, 8, store=url, **LINE) == 8


@in_loop
async def test_an_engine_that_takes_nothing_up_gives_its_own_run_the_turn(tmp_path: Path) -> None:
    gate = Gate()
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as other, Engine(url, recover=False) as engine:
        await other.start(held(gate), 1, resource_id="account")
        await until(lambda: calls)
        waiting = await engine.start(change, 2, **LINE)
        assert (await waiting.info()).status is RunStatus.PENDING
        gate.open()
        assert await waiting.result() == 2


@pytest.mark.parametrize("how", ["run", "start"])
@in_loop
async def test_a_step_does_not_wait_for_a_run_behind_its_own(how: str) -> None:
    @step
    async def outer(ctx: StepContext[Any], number: int) -> int:
        engine: Engine = ctx.deps["engine"]
        if how == "run":
            return await engine.run(change, number, **LINE)
        return await (await engine.start(change, number, **LINE)).result()

    deps: dict[str, Any] = {}
    async with Engine("memory:", deps=deps) as engine:
        deps["engine"] = engine
        run = await engine.start(Workflow("outer", input=int).then(outer), 1, **LINE)
        with pytest.raises(RunFailedError, match="has freed the resource 'account'"):
            await run.result()


@in_loop
async def test_a_step_may_start_a_run_behind_its_own() -> None:
    @step
    async def outer(ctx: StepContext[Any], number: int) -> str:
        engine: Engine = ctx.deps["engine"]
        return (await engine.start(change, number, **LINE)).run_id

    deps: dict[str, Any] = {}
    async with Engine("memory:", deps=deps) as engine:
        deps["engine"] = engine
        inner = await engine.run(Workflow("outer", input=int).then(outer), 1, **LINE)
        assert await engine.handle(inner, change).result() == 1


@pytest.mark.parametrize("given", ["yes", "", None, 1])
@in_loop
async def test_another_value_names_those_there_are(given: Any) -> None:
    async with Engine("memory:") as engine:
        with pytest.raises(InputInvalidError, match="must be True, False or 'wait', not"):
            await engine.start(change, 1, resource_id="account", exclusive=given)
        with pytest.raises(InputInvalidError, match="exclusive needs a resource_id"):
            await engine.start(change, 1, exclusive="wait")
