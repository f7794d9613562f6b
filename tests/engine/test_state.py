"""State in runs: recorded with results, merged at joins, there after a crash."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow import (
    Completed,
    DuplicateRunError,
    Engine,
    Failed,
    InputInvalidError,
    RunFailedError,
    StateConflictError,
    StepContext,
    UnavailableError,
    Workflow,
    step,
    testing,
)
from gorkflow import events as ev
from gorkflow.testing.virtual_time import START

from .placed_state import elsewhere, there, writes_and_fails
from .support import STORES, Gate, in_loop, until


class Note(BaseModel):
    text: str


@step
async def begin(ctx: StepContext, number: int) -> int:
    ctx.state["begun"] = Note(text="yes")
    ctx.state.incr("n", number)
    return number


@step
async def left(ctx: StepContext, number: int) -> int:
    assert ctx.state.read("begun", Note) == Note(text="yes")
    ctx.state.append("log", "left")
    return ctx.state.incr("n", 10)


@step
def right(ctx: StepContext, number: int) -> int:
    assert ctx.state["begun"] == {"text": "yes"}
    ctx.state.append("log", "right")
    return ctx.state.incr("n", 100)


@step
async def finish(ctx: StepContext, both: tuple[int, int]) -> list[int]:
    del ctx.state["begun"]
    return [*both, ctx.state["n"]]


counting = Workflow("counting", input=int).then(begin).parallel(left, right).then(finish)


@STORES
@in_loop
async def test_state_goes_through_a_run(url, tmp_path):
    async with Engine(url.format(tmp_path)) as engine:
        handle = await engine.start(counting, 1, state={"given": [1]})
        assert await handle.result() == [11, 101, 111]
        run = await handle.info()
    assert run.state == {"given": [1], "log": ["left", "right"], "n": 111}


@STORES
@in_loop
async def test_state_is_there_after_a_crash(url, tmp_path):
    """Whatever process goes on with the run: what was recorded is all that there is."""
    gate = Gate()

    @step
    async def waits(ctx: StepContext, number: int) -> int:
        ctx.state["waited"] = ctx.state["n"]
        await gate.wait_async()
        return number

    flow = Workflow("crashing", input=int).then(begin).parallel(left, waits).then(finish)
    engine = Engine(url.format(tmp_path))
    await engine.open()
    store = engine.store
    handle = await engine.start(flow, 1, run_id="r")

    async def left_has_ended():
        return any(e.kind == "step_completed" and e.path == "left"
                   for e in await store.read_events("r"))  # fmt: skip

    while not await left_has_ended():
        await asyncio.sleep(0.001)
    assert gate.arrived == 1
    assert (await handle.info()).state == {"begun": {"text": "yes"}, "n": 1}
    if url == "memory:":
        await engine._worker.close(0)  # the store lives on
        engine._worker = None
    else:
        await engine.aclose(grace=0)
    gate.open()
    async with Engine(store, workflows=[flow]) as other:
        await other.recover("r")
        assert await other.handle("r", flow).result() == [11, 1, 11]
        run = await other.get_run("r")
    assert run.state == {"log": ["left"], "n": 11, "waited": 1}


def test_it_survives_a_crash_at_every_commit():
    report = testing.crash_at_every_commit(counting, 1)
    assert not report.differences, str(report)
    assert report.undisturbed.run.state == {"log": ["left", "right"], "n": 111}


def test_the_order_makes_no_difference():
    report = testing.explore(counting, 1, seeds=range(30))
    assert not report.differences, str(report)


def test_an_order_that_makes_a_difference_is_told():
    @step
    async def winner(ctx: StepContext, number: int) -> str:
        ctx.state["who"] = "winner"
        return "same"

    @step
    async def loser(ctx: StepContext, number: int) -> str:
        ctx.state["who"] = "loser"
        return "same"

    race = Workflow("race", input=int).parallel(winner, loser, join="first")
    report = testing.explore(race, 1, seeds=range(30))
    assert "state" in {difference.what for difference in report.by_design}


@in_loop
async def test_a_failed_attempt_leaves_nothing_and_a_retry_begins_clean():
    @step(retries=2)
    async def tries(ctx: StepContext, number: int) -> int:
        assert ctx.state == {"n": 1, "begun": {"text": "yes"}}
        ctx.state.incr("n", 5)
        ctx.state["attempt"] = ctx.attempt
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return number

    flow = Workflow("tries", input=int).then(begin).then(tries)
    result = await testing.run(flow, 1)
    assert result.run.state == {"attempt": 3, "begun": {"text": "yes"}, "n": 6}
    writes = [e.state for e in result.events if isinstance(e, ev.StepCompleted)]
    assert [len(each) for each in writes] == [2, 2]


@in_loop
async def test_an_output_that_cant_be_recorded_takes_the_state_with_it():
    @step(continue_on_error=True)
    async def encodes_nothing(ctx: StepContext, number: int) -> str:
        ctx.state["lost"] = 1
        return "\ud800"

    result = await testing.run(Workflow("lone", input=int).then(encodes_nothing), 1)
    assert result.run.state == {}
    assert result.output is None


@in_loop
async def test_a_write_that_json_cant_say_fails_the_step_at_once():
    @step(retries=3)
    async def writes_half(ctx: StepContext, number: int) -> int:
        ctx.state["k"] = "\ud800"
        return number

    @step(retries=3)
    async def writes_much(ctx: StepContext, number: int) -> int:
        ctx.state["k"] = "x" * 5_000_000
        return number

    @step(retries=3)
    async def writes_nowhere(ctx: StepContext, number: int) -> int:
        ctx.state[""] = 1
        return number

    for bad, code in (
        (writes_half, "encoding"),
        (writes_much, "payload_too_large"),
        (writes_nowhere, "validation"),
    ):
        result = await testing.run(Workflow("bad", input=int).then(bad), 1)
        assert result.steps[bad.id].attempt == 1
        assert [f.code for f in result.run.failures] == [code]
        assert "state key" in result.run.failures[0].message


@in_loop
async def test_branches_that_differ_fail_their_block_by_both_their_names():
    @step
    async def one(ctx: StepContext, number: int) -> int:
        ctx.state["total"] = 1
        return number

    @step
    def other(ctx: StepContext, number: int) -> int:
        ctx.state["total"] = 2
        return number

    inner = Workflow("inner", input=int).then(other)
    flow = Workflow("conflict", input=int).parallel(one, inner)
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 1)
        with pytest.raises(StateConflictError) as caught:
            await handle.result()
        run = await handle.info()
    assert isinstance(caught.value, RunFailedError)
    (failure,) = caught.value.failures
    assert failure.code == "state_conflict"
    assert failure.path == "&one"
    assert "state key 'total': 'one' left 1, 'inner/other' 2; use ctx.state.incr" in failure.message
    assert run.state == {}
    assert not run.failures[0].handled


@in_loop
async def test_a_conflict_that_a_join_gets_over_is_handled():
    @step
    async def one(ctx: StepContext, number: int) -> int:
        ctx.state["k"] = "one"
        return number

    @step
    async def other(ctx: StepContext, number: int) -> int:
        ctx.state["k"] = "other"
        return number

    inner = Workflow("inner", input=int).parallel(one, other)
    flow = Workflow("outer", input=int).parallel(inner, begin, join="settled")
    result = await testing.run(flow, 1)
    assert result.status == "completed"
    assert [(f.code, f.handled) for f in result.run.failures] == [("state_conflict", True)]
    assert result.run.state == {"begun": {"text": "yes"}, "n": 1}


@in_loop
async def test_branches_that_write_state_keep_deadlines_of_their_own():
    """One that runs out of time takes its writes with it, and nobody else's time or writes."""

    @step
    async def writes(ctx: StepContext, number: int) -> float:
        assert ctx.deadline is not None
        ctx.state.append("log", ctx.path)
        ctx.state.incr("n", number)
        return ctx.deadline.timestamp()

    @step
    async def lasts(ctx: StepContext, deadline: float) -> float:
        ctx.state["slept"] = ctx.path
        await asyncio.sleep(60)
        return deadline

    def branch(name: str, timeout: float) -> Workflow[int, float]:
        return Workflow(name, input=int, timeout=timeout).then(writes).then(lasts)

    flow = Workflow("outer", input=int).then(begin)
    flow = flow.parallel(branch("short", 30), branch("long", 600), join="settled")
    result = await testing.run(flow, 1)
    short, long = result.output
    assert isinstance(short, Failed)
    assert isinstance(long, Completed)
    assert long.value == START.timestamp() + 600
    assert result.run.state == {
        "begun": {"text": "yes"},
        "log": ["long/writes"],
        "n": 2,
        "slept": "long/lasts",
    }


@in_loop
async def test_a_timeout_of_a_thread_leaves_nothing():
    gate = Gate()
    ended = Gate()

    @step(timeout=0.05, continue_on_error=True)
    def outlives(ctx: StepContext, number: int) -> int:
        gate.wait()
        with pytest.raises(UnavailableError, match="has ended"):
            ctx.state["late"] = True
        ended.open()
        return number

    flow = Workflow("late", input=int).then(begin).then(outlives)
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 1)
        assert await handle.result() is None
        gate.open()
        ended.wait()
        await until(lambda: engine.stray_threads == 0)
        assert (await handle.info()).state == {"begun": {"text": "yes"}, "n": 1}


@in_loop
async def test_items_and_iterations():
    @step
    async def item(ctx: StepContext, number: int) -> int:
        assert "n" not in ctx.state
        ctx.state.append("items", number)
        ctx.state[f"item {number}"] = number
        return ctx.state.incr("n")

    @step
    async def again(ctx: StepContext, counts: list[int]) -> list[int]:
        ctx.state.incr("rounds")
        return counts

    async def twice(counts: list[int]) -> bool:
        counts.clear()
        return False

    flow = Workflow("items", input=list[int]).map(item)
    result = await testing.run(flow, [3, 1, 2], seed=5)
    assert result.output == [1, 1, 1]
    assert result.run.state["items"] == [3, 1, 2]
    assert result.run.state["n"] == 3
    assert len(result.run.state) == 5
    looped = Workflow("rounds", input=list[int]).loop(again, until=twice, max_iterations=3)
    result = await testing.run(looped, [1])
    assert result.run.state == {"rounds": 3}


@in_loop
async def test_state_reaches_processes_and_comes_back_with_the_result():
    @step
    async def before(ctx: StepContext, number: int) -> int:
        ctx.state["before"] = 7
        return number

    flow = (
        Workflow("placed", input=int)
        .then(before)
        .parallel(there, elsewhere)
        .then(Workflow("last", input=tuple[int, int]).then(last))
        .then(writes_and_fails)
    )
    with ThreadPoolExecutor(1) as pool:
        async with Engine("memory:", executors={"pool": pool}, max_processes=1) as engine:
            handle = await engine.start(flow, 2)
            assert await handle.result() == 4
            run = await handle.info()
    assert run.state == {
        "before": 7,
        "seen": 7,
        "log": ["there", "elsewhere"],
        "n": 4,
        "attempt": [2, False],
    }


@step
async def last(ctx: StepContext, both: tuple[int, int]) -> int:
    assert both == (2, 2)
    n: int = ctx.state["n"]
    return n


@STORES
@in_loop
async def test_a_rerun_keeps_what_kept_steps_wrote_and_what_the_run_began_with(url, tmp_path):
    async with Engine(url.format(tmp_path)) as engine:
        handle = await engine.start(counting, 1, state={"given": 5})
        await handle.result()
        again = await engine.rerun(handle.run_id, "left")
        assert await again.result() == [11, 101, 111]
        assert (await again.info()).state == (await handle.info()).state
        steps = {s.path: s.reason for s in await engine.steps(again.run_id)}
        assert steps["begin"].startswith("kept")
        assert steps["right"].startswith("kept")
        other = await engine.rerun(handle.run_id, "finish", state={"given": 6, "n": 1000})
        assert await other.result() == [11, 101, 1111]
        assert (await other.info()).state["given"] == 6


@in_loop
async def test_undo_steps_see_the_state_and_write_into_it():
    @step
    async def refund(ctx: StepContext, number: int, done: int | None) -> None:
        ctx.state.append("undone", [number, ctx.state["n"]])

    @step
    async def fails(ctx: StepContext, number: int) -> int:
        ctx.state["lost"] = True
        raise ValueError("no")

    flow = Workflow("saga", input=int).then(begin.undo(refund)).then(fails)
    result = await testing.run(flow, 5)
    assert result.status == "failed"
    assert result.run.state == {"begun": {"text": "yes"}, "n": 5, "undone": [[5, 5]]}


@in_loop
async def test_what_a_run_may_begin_with():
    async with Engine("memory:") as engine:
        for state, said in (
            ({"": 1}, "state key '' must be a text"),
            ({"k": object()}, "state key 'k': .*type object"),
            ([1], "state must map keys to values"),
            ([], "state must map keys to values"),
        ):
            with pytest.raises(InputInvalidError, match=said):
                await engine.start(counting, 1, state=state)
        await engine.run(counting, 1, run_id="r", state={"n": 1, "m": 0})
        begin = {"m": 0, "n": 1}  # in whichever order
        same = await engine.start(counting, 1, run_id="r", state=begin, if_exists="return")
        assert same.run_id == "r"
        with pytest.raises(DuplicateRunError, match="with another state"):
            await engine.start(counting, 1, run_id="r", state={"n": 2}, if_exists="return")


@in_loop
async def test_a_run_without_state_records_none():
    @step
    async def looks(ctx: StepContext, number: int) -> int:
        assert not ctx.state
        return number

    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("none", input=int).then(looks), 1)
        await handle.result()
        assert (await handle.info()).state == {}
        events = await engine.store.read_events(handle.run_id)
    from gorkflow.journal import to_row

    assert not [e for e in events if "state" in json.loads(to_row(e).body)]


def test_a_context_for_tests_has_state():
    ctx = testing.context(state={"n": 1, "log": ["a"]})
    assert asyncio.run(left.fn(testing.context(state={"begun": {"text": "yes"}}), 1)) == 10
    ctx.state.incr("n")
    ctx.state.append("log", "b")
    assert ctx.state == {"n": 2, "log": ["a", "b"]}
    assert testing.context().state == {}


def late_writes(ctx: StepContext) -> list[object]:
    """Write in every way; return what came of each."""
    found: list[object] = []
    for write in (
        lambda: ctx.state.update(late=1),
        lambda: ctx.state.incr("late"),
        lambda: ctx.state.append("late", 1),
        lambda: ctx.state.pop("begun"),
    ):
        try:
            found.append(write())
        except Exception as error:
            found.append(error)
    return found


@pytest.mark.parametrize("end", ["returns", "raises", "times out", "is cancelled"])
@pytest.mark.parametrize("touched", [True, False])
@pytest.mark.parametrize("kind", ["async", "thread"])
@in_loop
async def test_what_a_step_left_behind_can_not_write(end: str, touched: bool, kind: str):
    began, over, tried = Gate(), Gate(), list[object]()
    stops = end in {"times out", "is cancelled"}

    def write_late(ctx: StepContext) -> None:
        over.wait()
        tried.extend(late_writes(ctx))

    def leave_behind(ctx: StepContext) -> threading.Thread:
        if touched:
            ctx.state["own"] = 1
        thread = threading.Thread(target=write_late, args=(ctx,))
        thread.start()
        began.open()
        if end == "raises":
            raise ValueError("no")
        return thread

    @step(id="leaves", timeout=0.05 if end == "times out" else None, continue_on_error=True)
    async def leaves(ctx: StepContext, number: int) -> int:
        leave_behind(ctx)
        await asyncio.sleep(60 if stops else 0)
        return number

    @step(id="leaves", timeout=0.05 if end == "times out" else None, continue_on_error=True)
    def leaves_in_thread(ctx: StepContext, number: int) -> int:
        leave_behind(ctx)
        if stops:
            over.wait()
        return number

    chosen = leaves if kind == "async" else leaves_in_thread
    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w", input=int).then(begin).then(chosen), 1)
        await began.wait_async()
        if end == "is cancelled":
            await handle.cancel()
        await handle.outcome()
        over.open()
        await until(lambda: len(tried) == 4, "the late writes")
        assert [type(error) for error in tried] == [UnavailableError] * 4
        state = (await handle.info()).state
        assert ("own" in state, "late" in state) == (touched and end == "returns", False)
        await until(lambda: engine.stray_threads == 0)


@in_loop
async def test_a_task_that_outlives_its_step_can_not_write():
    tasks = list[asyncio.Task[None]]()
    over = asyncio.Event()

    async def late(ctx: StepContext) -> None:
        await over.wait()
        ctx.state["late"] = 1

    @step
    async def leaves(ctx: StepContext, number: int) -> int:
        tasks.append(asyncio.ensure_future(late(ctx)))
        return number

    async with Engine("memory:") as engine:
        await engine.run(Workflow("w", input=int).then(leaves), 1)
        over.set()
        with pytest.raises(UnavailableError, match="wait for the tasks"):
            await tasks[0]


def test_threads_that_ask_for_the_state_at_once_get_the_same_one():
    @step
    def fans_out(ctx: StepContext, number: int) -> int:
        with ThreadPoolExecutor(16) as pool:
            together = threading.Barrier(16)
            list(pool.map(lambda _: (together.wait(), ctx.state.incr("n")), range(16)))
        return number

    for _ in range(20):
        flow = Workflow("w", input=int).then(fans_out)
        assert testing.run_sync(flow, 1).run.state == {"n": 16}


@STORES
@in_loop
async def test_the_same_start_has_the_same_state_in_whatever_order(url: str, tmp_path: Path):
    flow = Workflow("w", input=int).then(begin)
    state = {"m": {"p": 1, "q": [{"x": 1, "y": 2}, 3]}, "n": 1}
    same = {"n": 1, "m": {"q": [{"y": 2, "x": 1}, 3], "p": 1}}
    others: list[dict[str, Any]] = [
        {},
        {"m": state["m"]},
        {**state, "n": True},
        {**state, "n": 1.0},
        {**state, "more": None},
        {"n": 1, "m": {"p": 1, "q": [3, {"x": 1, "y": 2}]}},
        {"n": 1, "m": {"p": 1, "q": [{"x": 1, "y": 2}]}},
    ]
    async with Engine(url.format(tmp_path)) as engine:
        await engine.run(flow, 1, run_id="r", state=state)
        handle = await engine.start(flow, 1, run_id="r", if_exists="return", state=same)
        assert (await handle.info()).status == "completed"
        for other in others:
            with pytest.raises(DuplicateRunError, match="another state"):
                await engine.start(flow, 1, run_id="r", if_exists="return", state=other)
