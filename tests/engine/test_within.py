"""Steps that start runs and wait for them: limits never make the two wait for each other."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gorkflow import (
    Client,
    DeadlockError,
    Engine,
    Limit,
    RetryPolicy,
    RunFailedError,
    RunHandle,
    Signal,
    StepContext,
    Workflow,
    run,
    step,
)
from gorkflow.engine._within import awaited_inside, calling

from .support import Gate, in_loop, until

Ctx = StepContext[dict[str, Any]]
TIGHT: dict[str, int] = {"max_concurrent_runs": 1, "max_concurrent_steps": 1, "max_threads": 1}


@step
async def inner(number: int) -> int:
    return number + 1


@step
def inner_in_thread(number: int) -> int:
    return number + 1


def flow(name: str, *nodes: Any) -> Workflow[int, Any]:
    workflow: Any = Workflow(name, input=int)
    for node in nodes:
        workflow = workflow.then(node)
    return workflow  # type: ignore[no-any-return]


@step
async def add(pair: tuple[int, int]) -> int:
    return sum(pair)


small = flow("small", inner, inner_in_thread)


async def by_run(engine: Engine, number: int) -> int:
    return await engine.run(small, number)


async def by_result(engine: Engine, number: int) -> int:
    handle = await engine.start(small, number)
    return await asyncio.wait_for(handle.result(), 30)


async def by_outcome(engine: Engine, number: int) -> int:
    outcome = await (await engine.start(small, number)).outcome()
    return outcome.result()


async def by_events(engine: Engine, number: int) -> int:
    handle = await engine.start(small, number)
    async for _ in handle.events():
        pass
    return await handle.result()


async def by_looking(engine: Engine, number: int) -> int:
    handle = await engine.start(small, number, priority=-5)
    while not (found := await handle.info()).status.terminal:
        await asyncio.sleep(0.01)
    return found.output  # type: ignore[no-any-return]


async def several(engine: Engine, number: int) -> int:
    found = await asyncio.gather(*(engine.run(small, number) for _ in range(5)))
    return max(found)


async def deep(engine: Engine, number: int) -> int:
    return number if number >= 5 else await engine.run(flow("deep", calls_deep), number + 1)


Way = Callable[[Engine, int], Awaitable[int]]


@step
async def calls(ctx: Ctx, number: int) -> int:
    way: Way = ctx.deps["way"]
    return await way(ctx.deps["engine"], number)


@step
async def calls_deep(ctx: Ctx, number: int) -> int:
    return await deep(ctx.deps["engine"], number)


@step
def calls_from_a_thread(ctx: Ctx, number: int) -> int:
    way, engine = ctx.deps["way"], ctx.deps["engine"]
    return asyncio.run_coroutine_threadsafe(way(engine, number), ctx.deps["loop"]).result(30)


@pytest.mark.parametrize("url", ["memory:", "sqlite:{}/runs.db"])
@pytest.mark.parametrize("caller", [calls, calls_from_a_thread])
@pytest.mark.parametrize("way", [by_run, by_result, by_outcome, by_events, several, deep])
@in_loop
async def test_a_step_may_wait_for_a_run(way: Way, caller: Any, url: str, tmp_path: Path) -> None:
    deps: dict[str, Any] = {"way": way, "loop": asyncio.get_running_loop()}
    async with Engine(url.format(tmp_path), deps=deps, **TIGHT) as engine:
        deps["engine"] = engine
        expected = 5 if way is deep else 3
        one = await engine.run(flow("outer", caller), 1)
        both = await engine.run(Workflow("block", input=int).parallel(caller, inner), 1)
        assert (one, both) == (expected, (expected, 2))
        found = await asyncio.gather(*(engine.run(flow("outer", caller), 1) for _ in range(6)))
        assert found == [expected] * 6


@in_loop
async def test_a_run_that_a_step_started_needs_no_place_though_nobody_waits_for_it() -> None:
    deps: dict[str, Any] = {"way": by_looking}
    async with Engine("memory:", deps=deps, max_concurrent_runs=1) as engine:
        deps["engine"] = engine
        assert await engine.run(flow("outer", calls), 1) == 3


@pytest.mark.parametrize("url", ["memory:", "sqlite:{}/runs.db"])
@in_loop
async def test_a_condition_may_wait_for_a_run(url: str, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with Engine(url.format(tmp_path), **TIGHT) as engine:

        async def asks(number: int) -> bool:
            return await engine.run(small, number) > number

        def asks_in_a_thread(number: int) -> bool:
            coroutine = engine.run(small, number)
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30) > number

        for condition in (asks, asks_in_a_thread):
            chooses: Any = Workflow("chooses", input=int).then_if(condition, inner, default=0)
            assert await engine.run(chooses, 1) == 2


@in_loop
async def test_slots_are_lent_while_a_step_waits_and_none_is_lost_or_made() -> None:
    running: list[int] = []
    most: list[int] = []

    @step
    async def works(number: int) -> int:
        running.append(number)
        most.append(len(running))
        await asyncio.sleep(0.02)
        running.remove(number)
        return number

    async with Engine("memory:", max_concurrent_steps=2) as engine:

        @step
        async def outer(number: int) -> int:
            return await engine.run(flow("work", works), number)

        await asyncio.gather(*(engine.run(flow("outer", outer), n) for n in range(8)))
        assert max(most) == 2
        most.clear()
        await asyncio.gather(*(engine.run(flow("work", works), n) for n in range(8)))
        assert max(most) == 2  # and nothing was left over


@in_loop
async def test_slots_are_not_lent_while_a_step_works_on_an_event() -> None:
    lent: list[int] = []
    working = False
    both: list[bool] = []

    @step
    async def quick(number: int) -> int:
        both.append(working)
        return number

    async with Engine("memory:", max_concurrent_steps=1) as engine:

        def look() -> None:
            caller = calling()
            assert caller is not None
            lent.append(caller.waits)

        @step
        async def outer(number: int) -> int:
            nonlocal working
            handle = await engine.start(flow("quick", quick), number)
            left = handle.events()
            async for _ in left:
                look()
                break
            look()  # the iterator is still there
            async for _ in handle.events():
                working = True
                look()
                await asyncio.sleep(0.01)
                working = False
            look()
            return number if left else 0

        assert await engine.run(flow("outer", outer), 1) == 1
        assert lent == [0] * len(lent)
        assert len(lent) > 5
        assert both == [False]


@in_loop
async def test_a_run_that_was_left_is_taken_up_for_the_step_that_waits(tmp_path: Path) -> None:
    store, gate = f"sqlite:{tmp_path}/runs.db", Gate()
    first: list[int] = []

    @step
    async def slow(number: int) -> int:
        first.append(number)
        if len(first) == 1:
            await gate.wait_async()
        return number

    @step
    async def outer(ctx: Ctx, number: int) -> int:
        engine: Engine = ctx.deps["engine"]
        return await engine.run(flow("child", slow), number, run_id="c", if_exists="return")

    workflow = flow("outer", outer)
    deps: dict[str, Any] = {}
    known = [workflow, flow("child", slow)]
    async with Engine(store, deps=deps, max_concurrent_runs=1) as engine:
        deps["engine"] = engine
        await engine.start(workflow, 1, run_id="p")
        await until(lambda: gate.arrived)
        await engine.aclose(grace=0)
    async with Engine(store, deps=deps, max_concurrent_runs=1, workflows=known) as engine:
        deps["engine"] = engine
        assert await asyncio.wait_for(engine.handle("p", workflow).result(), 30) == 1


@in_loop
async def test_a_run_that_sleeps_in_the_store_wakes_for_the_step_that_waits(tmp_path: Path) -> None:
    waits: Any = Workflow("waits", input=int).wait_for(GO).then(add)

    @step
    async def outer(ctx: Ctx, number: int) -> int:
        engine: Engine = ctx.deps["engine"]
        return await engine.run(waits, number, run_id="c")

    deps: dict[str, Any] = {}
    store = f"sqlite:{tmp_path}/runs.db"
    async with Engine(store, deps=deps, max_concurrent_runs=1) as engine:
        deps["engine"] = engine
        handle = await engine.start(flow("outer", outer), 1)

        async def suspended() -> bool:
            row = await engine.store.get_run("c")
            return row is not None and row.status == "suspended"

        while not await suspended():
            await asyncio.sleep(0.01)
        await engine.send("c", GO, 4)
        assert await asyncio.wait_for(handle.result(), 30) == 5


DAMAGE = {
    "summary": "UPDATE runs SET tags = 'x' WHERE run_id = 'bad'",
    "events": "UPDATE events SET body = '{' "
    "WHERE run = (SELECT key FROM runs WHERE run_id = 'bad')",
    "code": "",
}


@pytest.mark.own_store
@pytest.mark.parametrize("damaged", DAMAGE)
@in_loop
async def test_a_run_that_can_not_go_on_keeps_no_other_from_the_step_that_waits(
    damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, many = tmp_path / "runs.db", [f"good-{n}" for n in range(20)]
    old = flow("child", inner) if damaged == "code" else flow("child", inner_in_thread)
    child, waits = flow("child", inner_in_thread), Workflow("waits", input=int).wait_for(GO)
    deps: dict[str, Any] = {}

    @step
    async def outer(ctx: Ctx, number: int) -> int:
        engine: Engine = ctx.deps["engine"]
        await ctx.deps["client"].start(old, number, run_id="bad")
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute(DAMAGE[damaged] or "SELECT 1")
        ends = asyncio.ensure_future(engine.handle("bad").result())
        handles = [await engine.start(waits, number, run_id=each) for each in many]
        for each in many:
            await asleep(engine, each)
            await engine.send(each, GO, 1)
        found = len([await handle.result() for handle in handles])
        ends.cancel()
        await asyncio.gather(ends, return_exceptions=True)
        return found

    url = f"sqlite:{path}"
    parent = flow("parent", outer)
    async with (
        Client(url) as client,
        Engine(url, deps=deps, workflows=[child, waits], max_concurrent_runs=1) as engine,
    ):
        deps.update(engine=engine, client=client)
        assert await asyncio.wait_for(engine.run(parent, 1), 60) == len(many)
        await until(lambda: not engine._opened().runs.inside, "nobody to let in")
    assert "could not look for work" not in caplog.text


def test_the_blocking_call_within_a_step(tmp_path: Path):
    store = f"sqlite:{tmp_path}/runs.db"

    @step
    def outer(number: int) -> int:
        return run(small, number, store=store)

    assert run(flow("outer", outer), 1, store=store) == 3


GUARD = Limit("guard", concurrency=1)
WIDE = Limit("wide", concurrency=2)


@pytest.mark.parametrize("how", ["run", "result", "deep", "blocking"])
@in_loop
async def test_a_limit_that_the_waiting_step_holds_is_named(how: str, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/runs.db"
    needs = flow("needs", inner.options(limits=[GUARD]))
    between = flow("between", step(id="mid")(by_engine(needs)))

    @step(limits=[GUARD], retries=RetryPolicy(retries=1, initial_interval=0.01))
    async def holds(ctx: Ctx, number: int) -> int:
        engine: Engine = ctx.deps["engine"]
        if how == "result":
            return await (await engine.start(needs, number)).result()
        if how == "blocking":
            return await asyncio.to_thread(run, needs, number, store=store)
        return await engine.run(between if how == "deep" else needs, number)

    deps: dict[str, Any] = {}
    async with Engine(store, deps=deps) as engine:
        deps["engine"] = engine
        with pytest.raises(RunFailedError) as caught:
            await engine.run(flow("outer", holds), 1)
        (failure,) = caught.value.failures
        assert failure.attempt == (2 if how == "deep" else 1)  # that of a run is any failure
        assert "holds limit 'guard' (1 at a time) while it waits" in failure.message


@in_loop
async def test_of_two_that_wait_the_last_one_finds_the_deadlock(tmp_path: Path) -> None:
    needs = flow("needs", inner.options(limits=[GUARD]))
    between = flow("between", step(id="mid")(by_engine(needs)))

    @step(limits=[GUARD])
    async def holds(ctx: Ctx, number: int) -> int:
        engine: Engine = ctx.deps["engine"]
        handle = await engine.start(between, number)
        await until(lambda: awaited_inside(handle.run_id), "the wait inside")
        return await handle.result()

    deps: dict[str, Any] = {}
    async with Engine(f"sqlite:{tmp_path}/runs.db", deps=deps) as engine:
        deps["engine"] = engine
        with pytest.raises(RunFailedError) as caught:
            await engine.run(flow("outer", holds), 1)
    (failure,) = caught.value.failures
    assert "holds limit 'guard' (1 at a time) while it waits" in failure.message


GO = Signal("go", int)


async def asleep(engine: Engine, run_id: str) -> None:
    """Wait until nobody carries a run: it is suspended in the store."""
    while run_id in engine._opened().runs.drivers or (
        (await engine.handle(run_id).info()).status != "suspended"
    ):
        await asyncio.sleep(0.01)


async def all_events(handle: RunHandle[Any]) -> Any:
    found = [event async for event in handle.events()]
    return len(found) and await handle.result()


HOW: dict[str, Callable[[RunHandle[Any]], Awaitable[Any]]] = {
    "result": lambda handle: handle.result(),
    "events": all_events,
}


@pytest.mark.parametrize("sleeps", [True, False])
@pytest.mark.parametrize("how", HOW)
@in_loop
async def test_a_limit_is_named_though_the_run_sleeps(
    how: str, sleeps: bool, tmp_path: Path
) -> None:
    needs = flow("needs", inner.options(limits=[GUARD]))
    if sleeps:
        needs = Workflow("needs", input=int).wait_for(GO).then(add.options(limits=[GUARD]))

    @step(limits=[GUARD])
    async def holds(ctx: Ctx, number: int) -> int:
        engine: Engine = ctx.deps["engine"]
        handle = await engine.start(needs, number, run_id="c")
        if sleeps:
            await asleep(engine, "c")
        return await HOW[how](handle)  # type: ignore[no-any-return]

    deps: dict[str, Any] = {}
    async with Engine(f"sqlite:{tmp_path}/runs.db", deps=deps) as engine:
        deps["engine"] = engine
        with pytest.raises(RunFailedError) as caught:
            await asyncio.wait_for(engine.run(flow("outer", holds), 1), 30)
        (failure,) = caught.value.failures
        assert "holds limit 'guard' (1 at a time) while it waits for run 'c'" in failure.message


@pytest.mark.parametrize("how", HOW)
@in_loop
async def test_a_limit_that_the_run_needs_no_more_keeps_nobody_from_waiting(
    how: str, tmp_path: Path
) -> None:
    needed: Any = Workflow("needed", input=int).then(inner.options(limits=[GUARD])).wait_for(GO)

    @step(limits=[GUARD])
    async def holds(ctx: Ctx, number: int) -> Any:
        engine: Engine = ctx.deps["engine"]
        waits = asyncio.ensure_future(HOW[how](engine.handle("c", needed)))
        await until(lambda: waits.done() or _is_awaited(engine, "c"), "the step waits")
        await engine.send("c", GO, 5)
        return await waits

    deps: dict[str, Any] = {}
    async with Engine(f"sqlite:{tmp_path}/runs.db", deps=deps) as engine:
        deps["engine"] = engine
        await engine.start(needed, 1, run_id="c")
        await asleep(engine, "c")
        assert await asyncio.wait_for(engine.run(flow("outer", holds), 1), 30) == (2, 5)


def _is_awaited(engine: Engine, run_id: str) -> bool:
    return run_id in engine._reads._waiting


def by_engine(workflow: Workflow[int, int]) -> Any:
    async def runs(ctx: Ctx, number: int) -> int:
        engine: Engine = ctx.deps["engine"]
        return await engine.run(workflow, number)

    return runs


@in_loop
async def test_limits_with_room_and_runs_that_nobody_waits_for_are_left_alone() -> None:
    handles: list[RunHandle[int]] = []

    @step(limits=[GUARD, WIDE])
    async def holds(ctx: Ctx, number: int) -> int:
        engine: Engine = ctx.deps["engine"]
        handles.append(await engine.start(flow("later", inner.options(limits=[GUARD])), number))
        return await engine.run(flow("wide", inner.options(limits=[WIDE])), number)

    deps: dict[str, Any] = {}
    async with Engine("memory:", deps=deps) as engine:
        deps["engine"] = engine
        assert await engine.run(flow("outer", holds), 1) == 2
        assert await handles[0].result() == 2


def test_the_error_is_one_of_ours():
    assert DeadlockError.__mro__[1].__name__ == "GorkflowError"


# ---- a step that waits for its own run -------------------------------------------------------


async def its_own(engine: Engine, number: int) -> Any:
    return await engine.handle("r").result()


async def its_own_outcome(engine: Engine, number: int) -> Any:
    return await engine.wait("r")


async def its_own_by_id(engine: Engine, number: int) -> Any:
    return await engine.run(flow("outer", calls), 1, run_id="r", if_exists="return")


async def its_own_elsewhere(engine: Engine, number: int) -> Any:
    async with Client(engine.store) as client:
        return await client.handle("r").result()


async def by_a_nested_run(engine: Engine, number: int) -> Any:
    @step
    async def waits(number: int) -> Any:
        return await engine.handle("r").result()

    return await engine.run(flow("nested", waits), 1, run_id="n")


@pytest.mark.parametrize("url", ["memory:", "sqlite:{}/runs.db"])
@pytest.mark.parametrize(
    "way", [its_own, its_own_outcome, its_own_by_id, its_own_elsewhere, by_a_nested_run]
)
@in_loop
async def test_a_step_that_waits_for_its_own_run_fails(way: Way, url: str, tmp_path: Path) -> None:
    deps: dict[str, Any] = {"way": way}
    async with Engine(url.format(tmp_path), deps=deps) as engine:
        deps["engine"] = engine
        with pytest.raises(RunFailedError) as caught:
            await asyncio.wait_for(engine.run(flow("outer", calls), 1, run_id="r"), 30)
    (failure,) = caught.value.failures
    nested = way is by_a_nested_run
    what = "step 'calls' of that run waits for run 'n'" if nested else "it is part of that run"
    assert f"waits for the end of run 'r', and {what}: neither would ever end" in failure.message
    assert failure.attempt == 1


@in_loop
async def test_a_condition_that_waits_for_its_own_run_fails() -> None:
    deps: dict[str, Any] = {}

    async def waits(number: int) -> bool:
        return bool(await deps["engine"].handle("r").result())

    flow_of = Workflow("chooses", input=int).when(waits, inner).otherwise(inner_in_thread)
    async with Engine("memory:") as engine:
        deps["engine"] = engine
        with pytest.raises(RunFailedError, match="it is part of that run"):
            await asyncio.wait_for(engine.run(flow_of, 1, run_id="r"), 30)


@in_loop
async def test_a_task_that_a_step_started_may_wait_for_the_run_of_the_step() -> None:
    deps: dict[str, Any] = {}
    tasks: list[asyncio.Task[Any]] = []

    @step
    async def starts(number: int) -> int:
        tasks.append(asyncio.create_task(deps["engine"].handle("r").result()))
        caller: Any = calling()
        await until(lambda: caller.waits or tasks[0].done(), "the task waits")
        return number + 1

    async with Engine("memory:") as engine:
        deps["engine"] = engine
        assert await engine.run(flow("outer", starts, inner), 1, run_id="r") == 3
        assert await tasks[0] == 3


@in_loop
async def test_a_nested_run_may_wait_for_a_run_whose_step_does_not_wait_for_it() -> None:
    deps: dict[str, Any] = {}

    @step
    async def waits(number: int) -> Any:
        return await deps["engine"].handle("r").result()

    @step
    async def starts(number: int) -> Any:
        engine: Engine = deps["engine"]
        deps["nested"] = await engine.start(flow("nested", waits), 1, run_id="n")
        return await engine.run(flow("other", inner), number, run_id="o")

    async with Engine("memory:") as engine:
        deps["engine"] = engine
        assert await engine.run(flow("outer", starts), 1, run_id="r") == 2
        assert await deps["nested"].result() == 2
