"""Repeating a run: what is kept does not run again, and the new run says where it comes from."""

import asyncio
from typing import Any

import pytest

from gorkflow import (
    Client,
    DuplicateRunError,
    Engine,
    InputInvalidError,
    ResourceBusyError,
    RunBlockedError,
    RunFailedError,
    RunNotEndedError,
    RunNotFoundError,
    Signal,
    StepContext,
    Workflow,
    step,
)
from gorkflow import events as ev

from .support import STORES, Gate, broken, calls, in_loop, kinds, step_of


def done(name: str) -> None:
    calls.append(name)
    if name in broken:
        raise ValueError(name)


@step
async def first(number: int) -> int:
    done("first")
    return number + 1


@step
async def left(number: int) -> int:
    done("left")
    return number * 10


@step
def right(number: int) -> int:
    done("right")
    return number * 100


@step
async def both(one: int, other: int) -> int:
    done("both")
    return one + other


@step(reads=(first,))
async def last(number: int) -> str:
    done("last")
    return f"got {number}"


flow = Workflow("flow", input=int).then(first).parallel(left, right).then(both).then(last)


async def failed_run(engine: Engine, workflow: Workflow, value: object, **options) -> str:
    handle = await engine.start(workflow, value, **options)
    with pytest.raises(RunFailedError):
        await handle.result()
    return handle.run_id


def wide(count: int) -> Workflow:
    @step
    async def item(number: int, which: int = 0) -> int:
        done(str(which))
        return number + which

    branches = [item.bind(f"i{n}", which=n) for n in range(count)]
    return Workflow("wide", input=int).parallel(*branches, join="settled", max_concurrency=4)


@STORES
@in_loop
async def test_three_failed_of_five_hundred_cost_three(url, tmp_path):
    broken.update({"7", "250", "499"})
    work = wide(500)
    async with Engine(url.format(tmp_path)) as engine:
        handle = await engine.start(work, 1)
        assert sum(o.status == "failed" for o in await handle.result()) == 3
        broken.clear()
        calls.clear()
        again = await engine.rerun(handle.run_id, workflow=work)
        assert [o.result() for o in await again.result()] == [1 + n for n in range(500)]
        assert sorted(calls) == ["250", "499", "7"]
        steps = await engine.steps(again.run_id)
        assert sum(s.attempt for s in steps) == 3


@STORES
@in_loop
async def test_without_a_step_only_what_did_not_complete_runs(url, tmp_path):
    broken.add("both")
    async with Engine(url.format(tmp_path)) as engine:
        run_id = await failed_run(engine, flow, 1)
        broken.clear()
        calls.clear()
        again = await engine.rerun(run_id)
        assert await again.result() == "got 220"
        assert calls == ["both", "last"]
        kept = await step_of(engine, again.run_id, "left")
        assert (kept.status, kept.output, kept.attempt) == ("completed", 20, 0)
        assert (await engine.get_run(run_id)).status == "failed"  # left as it was


@in_loop
async def test_from_a_step_parallel_branches_are_kept():
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 1)
        await handle.result()
        calls.clear()
        again = await engine.rerun(handle.run_id, "left")
        assert await again.result() == "got 220"
        assert calls == ["left", "both", "last"]
        run = await again.info()
        assert (run.origin, run.from_step) == (handle.run_id, "left")
        assert (await handle.info()).origin is None


@in_loop
async def test_the_step_itself_may_be_given():
    flow = Workflow("flow", input=int).then(first).parallel(left, right).then(both).then(last)
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 1)
        await handle.result()
        calls.clear()
        again = await engine.rerun(handle.run_id, both)
        assert await again.result() == "got 220"
        assert calls == ["both", "last"]
        assert (await again.info()).from_step == "both"
        wrong: Any
        for wrong in (5, b"both", ["both"]):
            with pytest.raises(InputInvalidError, match="a step, its id or its path, not "):
                await engine.rerun(handle.run_id, wrong)


@pytest.mark.own_store
@in_loop
async def test_bytes_are_taken_over_as_they_were_recorded():
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 1)
        await handle.result()
        again = await engine.rerun(handle.run_id, "both")
        await again.result()
        before = {e.path: e for e in await engine.store.read_events(handle.run_id)
                  if isinstance(e, ev.StepCompleted)}  # fmt: skip
        events = await engine.store.read_events(again.run_id)
        kept = [event for event in events if isinstance(event, ev.ResultKept)]
        assert [event.path for event in kept] == ["first", "left", "right"]
        for event in kept:
            assert event.output is before[event.path].output
            assert event.source_seq == before[event.path].seq
        assert [event.kind for event in events[:5]] == [
            "run_created", *["result_kept"] * 3, "run_started",
        ]  # fmt: skip


@in_loop
async def test_all_is_recorded_in_one_transaction():
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 1)
        await handle.result()
        batches: list = []
        write = engine.store.write

        def spy(batch):
            batches.append(batch)
            return write(batch)

        engine.store.write = spy
        again = await engine.rerun(handle.run_id, "both")
        ((new,), *_) = batches
        assert [event.kind for event in new.events][:5] == [
            "run_created", *["result_kept"] * 3, "run_started",
        ]  # fmt: skip
        await again.result()


@in_loop
async def test_decisions_are_kept_and_a_choice_can_be_decided_anew():
    asked: list[int] = []

    def is_big(number: int) -> bool:
        asked.append(number)
        return number > 100

    big = left.options(id="big")
    small = left.options(id="small")
    work = Workflow("w", input=int).when(is_big, big).otherwise(small).then(last.options(reads=()))
    choice = work.compile().tree.nodes[0].id
    broken.add("last")
    async with Engine("memory:") as engine:
        run_id = await failed_run(engine, work, 1)
        broken.clear()
        calls.clear()
        assert await (await engine.rerun(run_id)).result() == "got 10"
        assert (asked, calls) == ([1], ["last"])
        again = await engine.rerun(run_id, choice)
        assert await again.result() == "got 10"
        assert (asked, calls) == ([1, 1], ["last", "left", "last"])
        assert (await step_of(engine, again.run_id, "big")).status == "skipped"


@in_loop
async def test_what_is_kept_can_be_read():
    @step(reads=(first, left))
    async def look(ctx: StepContext, number: int) -> str:
        done("look")
        return f"{ctx.outputs[first]} {ctx.outputs.get(left, None)} {ctx.outcome(left).status}"

    def is_never(number: int) -> bool:
        return False

    work = Workflow("w", input=int).then(first).then_if(is_never, left).then(look)
    broken.add("look")
    async with Engine("memory:") as engine:
        run_id = await failed_run(engine, work, 1)
        broken.clear()
        calls.clear()
        assert await (await engine.rerun(run_id)).result() == "2 None skipped"
        assert calls == ["look"]


@in_loop
async def test_signals_and_sleeps_are_kept():
    go = Signal("go", int)
    work = Workflow("w", input=int).sleep(0.01).wait_for(go).then(both)
    work = work.wait_for(go, timeout=0.01, default=5, id="late").then(both.options(id="sum"))
    broken.add("both")
    async with Engine("memory:") as engine:
        handle = await engine.start(work, 1)
        await handle.send(go, 3)
        with pytest.raises(RunFailedError):
            await handle.result()
        broken.clear()
        again = await engine.rerun(handle.run_id)
        assert await again.result() == 9
        started = kinds(engine, again.run_id)
        assert (await started).count("timer_set") == 0
        last_one = await engine.rerun(again.run_id, "sum")
        assert await last_one.result() == 9
        assert "wait_opened" not in await kinds(engine, last_one.run_id)
        assert (await step_of(engine, last_one.run_id, "late")).output == 5


@in_loop
async def test_an_exclusive_run_stays_exclusive():
    gate = Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    work = Workflow("w", input=int).then(hold)
    async with Engine("memory:") as engine:
        gate.open()
        handle = await engine.start(work, 1, resource_id="r", exclusive=True, priority=3)
        await handle.result()
        gate = Gate()
        other = await engine.start(work, 2, resource_id="r")
        with pytest.raises(ResourceBusyError):
            await engine.rerun(handle.run_id, "hold")
        gate.open()
        await other.result()
        again = await engine.rerun(handle.run_id, "hold")
        await again.result()
        row = await engine.store.get_run(again.run_id)
        assert (row.exclusive, row.priority) == (True, 3)


@in_loop
async def test_what_failed_without_harm_runs_again_with_what_follows():
    @step(continue_on_error=True)
    async def shaky(number: int) -> int:
        done("shaky")
        return number

    @step
    async def total(one: int | None, other: int) -> int:
        done("total")
        return (one or 0) + other

    work = Workflow("w", input=int).parallel(shaky, left).then(total)
    broken.add("shaky")
    async with Engine("memory:") as engine:
        handle = await engine.start(work, 1)
        assert await handle.result() == 10
        broken.clear()
        calls.clear()
        assert await (await engine.rerun(handle.run_id)).result() == 11
        assert calls == ["shaky", "total"]


@in_loop
async def test_a_rerun_of_a_rerun():
    broken.update({"left", "both"})
    async with Engine("memory:") as engine:
        first_id = await failed_run(engine, flow, 1)
        broken.remove("left")
        second = await engine.rerun(first_id)
        with pytest.raises(RunFailedError):
            await second.result()
        broken.clear()
        calls.clear()
        third = await engine.rerun(second.run_id)
        assert await third.result() == "got 220"
        assert calls == ["both", "last"]
        assert (await third.info()).origin == second.run_id


@in_loop
async def test_a_cancelled_run_can_be_repeated():
    gate = Gate()

    @step
    async def stuck(number: int) -> int:
        done("stuck")
        await gate.wait_async()
        return number

    work = Workflow("w", input=int).then(first).then(stuck)
    async with Engine("memory:") as engine:
        handle = await engine.start(work, 1)
        while not gate.arrived:
            await asyncio.sleep(0)
        with pytest.raises(RunNotEndedError, match="is running; wait until it has ended"):
            await engine.rerun(handle.run_id)
        await handle.cancel()
        gate.open()
        again = await engine.rerun(handle.run_id)
        assert await again.result() == 2
        assert calls == ["first", "stuck", "stuck"]


@in_loop
async def test_tags_resource_and_timeout_are_taken_over():
    tagged = Workflow("tagged", input=int, tags={"team": "a"}).then(left)
    async with Engine("memory:") as engine:
        handle = await engine.start(
            tagged, 1, tags={"day": "1", "by": "me"}, resource_id="order-7", timeout=60
        )
        await handle.result()
        again = await engine.rerun(handle.run_id, "left", tags={"by": "you"}, run_id="again")
        await again.result()
        run = await again.info()
        assert run.run_id == "again"
        assert run.tags == {"team": "a", "day": "1", "by": "you"}
        assert run.resource_id == "order-7"
        (created, started, *_) = await engine.store.read_events("again")
        assert created.timeout == 60
        assert started.deadline == pytest.approx(started.at + 60)
        other = await engine.rerun("again", timeout=5, resource_id="order-8")
        await other.result()
        assert (await other.info()).resource_id == "order-8"
        assert (await engine.store.read_events(other.run_id))[0].timeout == 5


@in_loop
async def test_an_id_that_is_taken():
    async with Engine("memory:") as engine:
        run_id = (await engine.start(flow, 1, run_id="a")).run_id
        await engine.handle(run_id).result()
        await (await engine.rerun("a", "left", run_id="b")).result()
        with pytest.raises(DuplicateRunError):
            await engine.rerun("a", "left", run_id="b")
        calls.clear()
        same = await engine.rerun("a", "left", run_id="b", if_exists="return")
        assert await same.result() == "got 220"
        assert calls == []
        with pytest.raises(DuplicateRunError, match="as a rerun of another run"):
            await engine.rerun("a", "right", run_id="b", if_exists="return")
        with pytest.raises(DuplicateRunError, match="and not as a rerun"):
            await engine.rerun("b", "left", run_id="a", if_exists="return")


@in_loop
async def test_what_can_not_be_repeated():
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 1)
        await handle.result()
        with pytest.raises(RunNotFoundError):
            await engine.rerun("nowhere")
        with pytest.raises(InputInvalidError, match="no step 'lefty'; did you mean 'left'"):
            await engine.rerun(handle.run_id, "lefty")
        with pytest.raises(TypeError, match="unexpected keyword argument 'tag'"):
            await engine.rerun(handle.run_id, tag={})  # type: ignore[call-overload]
        other = Workflow("other", input=int).then(first)
        with pytest.raises(InputInvalidError, match="belongs to workflow 'flow', not to 'other'"):
            await engine.rerun(handle.run_id, workflow=other)
        assert len(await engine.list_runs()) == 1


@in_loop
async def test_it_keeps_the_definition_of_the_run_that_it_repeats(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    broken.add("both")
    async with Engine(url) as engine:
        run_id = await failed_run(engine, flow, 1)
        row = await engine.store.get_run(run_id)
    broken.clear()
    calls.clear()
    more = Workflow("flow", input=int, version="2", tags={"new": "tag"})
    more = more.then(first).parallel(left, right).then(both).then(last.options(retries=5))
    async with Engine(url, workflows=[more]) as engine:
        again = await engine.rerun(run_id)
        assert await again.result() == "got 220"
        run, stored = await again.info(), await engine.store.get_run(again.run_id)
        assert stored.fingerprint == row.fingerprint
        assert (run.workflow_version, run.tags) == ("1", {})


@in_loop
async def test_code_that_does_not_fit_is_refused(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    broken.add("both")
    async with Engine(url) as engine:
        run_id = await failed_run(engine, flow, 1)
    shorter = Workflow("flow", input=int).then(first).parallel(left, right)
    async with Engine(url) as engine:
        with pytest.raises(RunBlockedError, match="which this engine does not know"):
            await engine.rerun(run_id)
        with pytest.raises(RunBlockedError, match="step 'both' is gone; step 'last' is gone"):
            await engine.rerun(run_id, workflow=shorter)
        assert len(await engine.list_runs()) == 1


@in_loop
async def test_steps_that_are_kept_need_no_code(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    broken.add("last")

    @step
    async def given(number: int) -> int:
        return number

    def work(*steps):
        made = Workflow("w", input=int)
        for item in steps:
            made = made.then(item)
        return made

    async with Engine(url) as engine:
        run_id = await failed_run(engine, work(first, left, last.options(reads=())), 1)
    broken.clear()
    changed = work(given, last.options(reads=()))
    async with Engine(url) as engine:
        again = await engine.rerun(run_id, workflow=changed)
        assert await again.result() == "got 20"
        with pytest.raises(RunBlockedError, match="step 'left' is gone"):
            await engine.rerun(run_id, "left")


@in_loop
async def test_a_client_queues_it_without_any_code(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    broken.add("both")
    async with Engine(url) as engine:
        run_id = await failed_run(engine, flow, 1)
    broken.clear()
    calls.clear()
    async with Client(url) as client:
        queued = await client.rerun(run_id, "right")
        run = await queued.info()
        assert (run.status, run.worker_id, run.origin) == ("pending", None, run_id)
        assert await kinds(client, queued.run_id) == ["run_created", "result_kept", "result_kept"]
        assert calls == []
        async with Engine(url, workflows=[flow]):
            assert await queued.result() == "got 220"
    assert calls == ["right", "both", "last"]


@pytest.mark.parametrize("until_judged", [False, True])
@in_loop
async def test_a_rerun_begins_at_the_first_iteration_of_a_loop(until_judged: bool) -> None:
    fails = 1 if until_judged else 0

    @step
    async def count(number: int) -> int:
        calls.append(f"count {number}")
        if number == fails and broken:
            raise ValueError("not yet")
        return number + 1

    flow = (
        Workflow("counting", input=int)
        .then(first)
        .loop(count, until=lambda number: number > 2, max_iterations=5)
    )
    broken.add("count")
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, -1)
        with pytest.raises(RunFailedError):
            await handle.result()
        failed = [each.path for each in await engine.steps(handle.run_id) if each.failure]
        broken.clear()
        calls.clear()
        again = await engine.rerun(handle.run_id, failed[0])
        assert await again.result() == 3
        assert calls == [f"count {number}" for number in range(fails, 3)]
        with pytest.raises(InputInvalidError, match="fewer items or iterations"):
            await engine.rerun(handle.run_id, "count#4")
