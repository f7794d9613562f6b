"""One test per promise of the seed page (rows S1 to S21), each against what the original does.

Steps that have to meet do so at barriers and events: where they would not, the test times out. No
test measures how long something took.
"""

import asyncio
import random
import threading
from itertools import pairwise

import pytest
from pydantic import BaseModel

from gorkflow import (
    Completed,
    Engine,
    FailureCode,
    NonRetryableError,
    Outcome,
    RetryPolicy,
    RunFailedError,
    StepContext,
    StepStatus,
    UnavailableError,
    Workflow,
    WorkflowInvalidError,
    run,
    step,
)
from gorkflow.events import BlockDecided
from tests.defects.loops import in_loop, steps_of, until

AT_ONCE = RetryPolicy(retries=2, initial_interval=0, jitter=0)


class DataInput(BaseModel):
    id: int


@step
async def one(value: int) -> int:
    return value + 1


@step
async def two(value: int) -> int:
    return value + 2


@step
async def three(value: int) -> int:
    return value + 3


@step
async def broken(value: int) -> int:
    raise LookupError(f"nothing at {value}")


@step
async def add(a: int, b: int) -> int:
    return a + b


# ---- S1 to S5: what runs when, and what it gets -------------------------------------------------


@in_loop
async def test_s1_async_branches_run_at_the_same_time(url):
    """S1: older versions of the original ran `Parallel` one after the other."""

    @step
    async def meet(ctx: StepContext[asyncio.Barrier], value: int) -> int:
        await ctx.deps.wait()
        return value

    inner = Workflow("inner", input=int).parallel(meet.options(id="c"), meet.options(id="d"))
    block = Workflow("s1", input=int).parallel(meet.options(id="a"), meet.options(id="b"), inner)
    async with Engine(url, deps=asyncio.Barrier(4)) as engine:
        assert await engine.run(block, 7) == (7, 7, (7, 7))


@in_loop
async def test_s1_sync_branches_run_at_the_same_time(url):
    """S1, in threads."""

    @step
    def meet(ctx: StepContext[threading.Barrier], value: int) -> int:
        ctx.deps.wait(timeout=20)
        return value

    branches = [meet.options(id=f"b{number}") for number in range(20)]
    async with Engine(url, deps=threading.Barrier(20)) as engine:
        assert await engine.run(Workflow("s1", input=int).parallel(*branches), 7) == (7,) * 20


@in_loop
async def test_s2_what_follows_a_block_begins_after_every_branch(url):
    """S2: in many orders of arrival."""
    ended: dict[str, set[int]] = {}

    @step
    async def work(ctx: StepContext, value: int, branch: int = 0) -> int:
        for _ in range(random.Random(f"{value} {branch}").randrange(6)):
            await asyncio.sleep(0)
        ended.setdefault(ctx.run_id, set()).add(branch)
        return branch

    @step
    async def after(ctx: StepContext, a: int, b: int, c: int, d: int) -> list[int]:
        assert ended[ctx.run_id] == {0, 1, 2, 3}
        return [a, b, c, d]

    branches = [work.bind(f"b{number}", branch=number) for number in range(4)]
    workflow = Workflow("s2", input=int).parallel(*branches).then(after)
    async with Engine(url) as engine:
        handles = [await engine.start(workflow, number) for number in range(100)]
        for handle in handles:
            assert await handle.result() == [0, 1, 2, 3]
        for handle in handles[:5]:
            *block, last = await engine.steps(handle.run_id)
            assert last.started_at >= max(branch.finished_at for branch in block)


def test_s3_a_workflow_may_begin_and_end_with_a_block():
    """S3; 1C "leading block": the original can't even build it."""
    assert run(Workflow("s3", input=int).parallel(one, two).then(add), 1, store="memory:") == 5
    assert run(Workflow("s3", input=int).parallel(one, two), 1, store="memory:") == (2, 3)
    assert run(Workflow("s3", input=int).then(one).parallel(one.options(id="x"), two), 1,
               store="memory:") == (3, 4)  # fmt: skip


@in_loop
async def test_s4_every_branch_gets_a_copy_of_its_own(url):
    """S4: what one branch does to its input, no other sees; nor do its later attempts."""
    spoiled = asyncio.Event()

    @step(retries=AT_ONCE)
    async def spoil(ctx: StepContext, items: list[int]) -> list[int]:
        items.append(len(items))
        spoiled.set()
        if ctx.attempt == 1:
            raise LookupError("again")
        return items

    @step
    async def look(items: list[int]) -> list[int]:
        await spoiled.wait()
        return items

    workflow = Workflow("s4", input=list[int]).parallel(spoil, look)
    given = [5]
    async with Engine(url) as engine:
        assert await engine.run(workflow, given) == ([5, 1], [5])
    assert given == [5]


def test_s5_the_step_after_a_block_gets_the_block_or_does_not_build():
    """S5: the original decodes the first branch's output into `DataInput`, and gets `ID: 0`."""

    @step
    async def aggregate(ctx: StepContext, a: int, b: int) -> str:
        return f"{ctx.run_input(DataInput).id}: {a}|{b}"

    @step
    async def a(data: DataInput) -> int:
        return data.id

    @step
    async def b(data: DataInput) -> int:
        return -data.id

    @step
    async def as_on_the_page(data: DataInput) -> str:
        return "never"

    block = Workflow("s5", input=DataInput).parallel(a, b)
    assert run(block.then(aggregate), DataInput(id=7), store="memory:") == "7: 7|-7"
    with pytest.raises(WorkflowInvalidError, match="takes data: DataInput, but gets tuple"):
        block.then(as_on_the_page)


# ---- S6 to S10: outputs, and the use cases ------------------------------------------------------


@in_loop
async def test_s6_missing_outputs_are_told_apart(url):
    """S6: in the original a failed step, one that did not run and a typing error look the same."""
    said: dict[str, str] = {}

    @step
    async def look(ctx: StepContext, ok: int, failed: int | None, skipped: int) -> int:
        for wanted in ("broken", "chosen", "late", "mistyped"):
            try:
                ctx.outputs[wanted]
            except UnavailableError as error:
                said[wanted] = str(error)
        assert ctx.outputs[one] == ok
        assert ctx.outputs.get(broken, "default") == "default"
        return ok

    chosen = Workflow("chosen", input=int).then_if(lambda value: value < 0, two)
    workflow = (
        Workflow("s6", input=int)
        .parallel(one, broken.options(continue_on_error=True), chosen)
        .then(look)
        .then(one.options(id="late"))
    )
    async with Engine(url) as engine:
        assert await engine.run(workflow, 1) == 3
    assert said.keys() == {"broken", "late", "mistyped"}  # a nested workflow completed
    assert "it failed: nothing at 1" in said["broken"]
    assert "may not read 'mistyped': declare it, if there is such a step" in said["mistyped"]
    with pytest.raises(WorkflowInvalidError, match="reads 'two', which"):
        Workflow("s6", input=int).then(one.options(reads=(two,))).then(two)


def test_s7_fan_out_fan_in():
    """S7: one function for all regions, each with its own setting."""

    @step
    async def region(rows: dict[str, int], name: str = "") -> int:
        return rows.get(name, 0)

    workflow = (
        Workflow("s7", input=dict[str, int])
        .parallel(region.bind("east", name="e"), region.bind("west", name="w"))
        .then(add)
    )
    assert run(workflow, {"e": 3, "w": 4, "n": 9}, store="memory:") == 7


@in_loop
async def test_s8_an_operation_keeps_its_key_over_attempts_and_restarts(file):
    """S8: without a stable key, a repeated side effect can't be told from a new one."""
    keys: dict[str, list[str]] = {"mail": [], "store": []}
    began = asyncio.Event()

    @step(retries=AT_ONCE)
    async def mail(ctx: StepContext, value: int) -> int:
        keys["mail"].append(ctx.idempotency_key)
        if ctx.attempt < 3:
            raise ConnectionError("again")
        return value

    @step
    async def store(ctx: StepContext, value: int) -> int:
        keys["store"].append(ctx.idempotency_key)
        if ctx.attempt == 1:
            began.set()
            await asyncio.Event().wait()
        return value

    workflow = Workflow("s8", input=int).parallel(mail, store).then(add)
    engine = Engine(file)
    await engine.open()
    handle = await engine.start(workflow, 1, run_id="order-7")
    await began.wait()
    await until(lambda: len(keys["mail"]) == 3)
    await engine.aclose(grace=0)
    async with Engine(file, workflows=[workflow]) as engine:
        assert await engine.handle(handle.run_id, workflow).result() == 2
    assert set(keys["mail"]) == {"order-7:mail"}
    assert keys["store"] == ["order-7:store"] * 2


@in_loop
async def test_s9_all_sources_are_asked_before_any_has_answered(url):
    """S9: a leading block of four sources."""
    asked = asyncio.Barrier(4)

    @step
    async def fetch(source: str, name: str = "") -> str:
        await asked.wait()
        return f"{name}:{source}"

    @step
    async def merge(a: str, b: str, c: str, d: str) -> str:
        return f"{a},{b},{c},{d}"

    branches = [fetch.bind(f"fetch-{name}", name=name) for name in ("api1", "api2", "db", "cache")]
    async with Engine(url) as engine:
        workflow = Workflow("s9", input=str).parallel(*branches).then(merge)
        assert await engine.run(workflow, "x") == "api1:x,api2:x,db:x,cache:x"


def test_s10_a_block_after_a_block_gets_all_of_it():
    """S10; 1C "first-predecessor input": the original hands on the first branch's output only."""

    @step
    async def multiply(a: int, b: int) -> int:
        return a * b

    @step
    async def pair(both: tuple[int, int]) -> list[int]:
        return list(both)

    workflow = Workflow("s10", input=int).parallel(one, two).parallel(add, multiply, pair)
    assert run(workflow, 1, store="memory:") == (5, 6, [2, 3])


# ---- S11 to S13: failures -----------------------------------------------------------------------


@in_loop
async def test_s11_every_failure_is_kept_in_declared_order(url):
    """S11; 1C "only first error kept", "missing error codes/step id", "output on failed run"."""
    failed = asyncio.Event()

    @step
    async def first(value: int) -> int:
        await failed.wait()  # so it fails last
        raise ValueError("first")

    @step(retries=AT_ONCE)
    async def second(value: int) -> int:
        failed.set()
        raise KeyError("second")

    workflow = Workflow("s11", input=int).parallel(first, one, second)
    async with Engine(url) as engine:
        handle = await engine.start(workflow, 1)
        with pytest.raises(RunFailedError) as raised:
            await handle.result()
        run = await handle.info()
    kept = [(it.step_id, it.code, it.type, it.message) for it in raised.value.failures]
    assert kept[0] == ("first", FailureCode.STEP_FAILED, "builtins.ValueError", "first")
    assert kept[1] == ("second", FailureCode.STEP_FAILED, "builtins.KeyError", "'second'")
    assert all("Traceback" in failure.traceback for failure in run.failures)
    assert raised.value.outcomes["one"] == Completed("one", 2)
    assert (run.status, run.output) == ("failed", None)


@in_loop
async def test_s11_siblings_make_no_further_attempt_after_a_fatal_failure(url):
    """S11; 1C "siblings keep retrying": the original waits for all of their attempts."""
    attempts: list[int] = []
    go = asyncio.Event()

    @step(retries=RetryPolicy(retries=50, initial_interval=0, jitter=0))
    async def retrying(ctx: StepContext, value: int) -> int:
        attempts.append(ctx.attempt)
        await go.wait()  # until the block has failed
        raise ConnectionError("again")

    workflow = Workflow("s11b", input=int).parallel(retrying, broken)
    async with Engine(url) as engine:
        handle = await engine.start(workflow, 1)
        async for event in handle.events():
            if isinstance(event, BlockDecided):
                go.set()
        with pytest.raises(RunFailedError) as raised:
            await handle.result()
    assert attempts == [1]
    assert [it.path for it in raised.value.failures] == ["retrying", "broken"]


@in_loop
async def test_s12_an_option_set_leaves_the_others_alone(url):
    """S12; 1C "zeroed config": `ContinueOnError` set the timeout to 0 and the retries to none."""
    attempts: list[int] = []

    @step
    async def flaky(ctx: StepContext, value: int) -> int:
        attempts.append(ctx.attempt)
        assert ctx.deadline is None  # a timeout of zero would have ended it already
        raise LookupError("never works")

    workflow = (
        Workflow("s12", input=int, defaults={"continue_on_error": True})
        .parallel(flaky, one)
    )  # fmt: skip
    async with Engine(url, defaults={"retries": AT_ONCE}) as engine:
        assert await engine.run(workflow, 1) == (None, 2)
    assert attempts == [1, 2, 3]


@in_loop
async def test_s12_an_option_of_its_own_does_not_cut_a_step_off_from_the_defaults(url):
    """S12: a step with any option ignored the workflow's setting."""
    own = broken.options(timeout=60)
    workflow = Workflow("s12", input=int, defaults={"continue_on_error": True}).parallel(own, one)
    async with Engine(url) as engine:
        assert await engine.run(workflow, 1) == (None, 2)


@in_loop
async def test_s12_a_value_that_equals_the_default_still_counts_as_given(url):
    """S12; 1C "equals default means unset"."""
    explicit = broken.options(id="explicit", retries=0, continue_on_error=False)
    workflow = Workflow("s12", input=int, defaults={"retries": AT_ONCE, "continue_on_error": True})
    async with Engine(url) as engine:
        handle = await engine.start(workflow.parallel(broken, explicit), 1)
        with pytest.raises(RunFailedError) as raised:
            await handle.result()
        steps = await steps_of(engine, handle)
    assert [it.path for it in raised.value.failures] == ["explicit"]
    assert steps["explicit"].attempt == 1


@in_loop
async def test_s13_a_completed_run_shows_what_it_went_on_from(url):
    """S13: in the original such a run bears no trace of it, and the next step gets `null`."""
    workflow = Workflow("s13", input=int).parallel(broken.options(continue_on_error=True), one)
    async with Engine(url) as engine:
        handle = await engine.start(workflow, 1)
        assert await handle.result() == (None, 2)
        run = await handle.info()
        steps = await steps_of(engine, handle)
    assert run.status == "completed"
    assert [(it.path, it.handled) for it in run.failures] == [("broken", True)]
    assert steps["broken"].status is StepStatus.FAILED
    with pytest.raises(WorkflowInvalidError, match="may get None from 'broken'"):
        workflow.then(add)


# ---- S14, S15, S18: timeouts, limits, retries ---------------------------------------------------


@in_loop
async def test_s14_a_timeout_of_a_fraction_of_a_second_ends_an_async_step(url):
    """S14; 1C "whole-second timeouts": 500 ms became 0, and had passed before the step began."""
    stopped = asyncio.Event()

    @step(timeout=0.05)
    async def hangs(value: int) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return value

    @step(timeout=0.9)
    async def in_time(ctx: StepContext, value: int) -> int:
        await asyncio.sleep(0)
        return value

    workflow = Workflow("s14", input=int).parallel(hangs, in_time, join="settled")
    async with Engine(url) as engine:
        late, good = await engine.run(workflow, 1)
    assert late.failure.code is FailureCode.TIMEOUT
    assert good == Completed("in_time", 1)
    assert stopped.is_set()


@in_loop
async def test_s14_a_thread_that_ignores_its_timeout_has_no_late_success(url, caplog):
    """S14; 1C "late success after timeout": 1.3 s of work under a timeout of 1 s was COMPLETED."""
    release = threading.Event()
    seen: list[bool] = []

    @step(timeout=0.05)
    def ignores(ctx: StepContext, value: int) -> int:
        release.wait(20)
        seen.append(ctx.cancelled)
        return value

    async with Engine(url) as engine:
        handle = await engine.start(Workflow("s14", input=int).then(ignores), 1)
        with pytest.raises(RunFailedError) as raised:
            await handle.result()
        release.set()
        await until(lambda: "its result is ignored" in caplog.text)
        steps = await steps_of(engine, handle)
        run = await handle.info()
    assert raised.value.failures[0].code is FailureCode.TIMEOUT
    assert seen == [True]
    assert (run.status, steps["ignores"].status, steps["ignores"].output) == (
        "failed",
        "failed",
        None,
    )


class Peak:
    """How many were inside at the same time, at most."""

    def __init__(self) -> None:
        self.now = self.peak = self.total = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.total += 1
            self.peak = max(self.peak, self.now)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self.now -= 1


@step
async def counted(ctx: StepContext[Peak], value: int) -> int:
    with ctx.deps:
        for _ in range(20):
            await asyncio.sleep(0)
    return value


EIGHT = [counted.options(id=f"b{number}") for number in range(8)]


@in_loop
async def test_s15_a_block_keeps_its_limit(url):
    """S15; 1C "unbounded concurrency despite settings": limit 1 gave 20 at a time."""
    peak = Peak()
    async with Engine(url, deps=peak) as engine:
        await engine.run(Workflow("s15", input=int).parallel(*EIGHT, max_concurrency=3), 1)
    assert (peak.peak, peak.total) == (3, 8)


@in_loop
async def test_s15_an_engine_keeps_its_limit_of_steps(url):
    """S15: over all of its runs."""
    peak = Peak()
    async with Engine(url, deps=peak, max_concurrent_steps=3) as engine:
        workflow = Workflow("s15", input=int).parallel(*EIGHT)
        handles = [await engine.start(workflow, number) for number in range(3)]
        for handle in handles:
            await handle.result()
    assert (peak.peak, peak.total) == (3, 24)


@in_loop
async def test_s15_an_engine_keeps_its_limit_of_runs(url):
    """S15: the others wait, recorded as pending."""
    peak = Peak()
    go = asyncio.Event()

    @step
    async def wait(ctx: StepContext[Peak], value: int) -> int:
        with ctx.deps:
            await go.wait()
        return value

    async with Engine(url, deps=peak, max_concurrent_runs=2) as engine:
        handles = [await engine.start(Workflow("s15", input=int).then(wait), it) for it in range(5)]
        await until(lambda: peak.now == 2)
        statuses = [(await handle.info()).status.value for handle in handles]
        assert statuses == ["running"] * 2 + ["pending"] * 3
        go.set()
        assert [await handle.result() for handle in handles] == [0, 1, 2, 3, 4]
    assert peak.peak == 2


@in_loop
async def test_s15_an_engine_keeps_its_limit_of_threads(url):
    """S15: and an async step does not have to wait for a thread."""
    peak = Peak()
    go = threading.Event()

    @step
    def in_thread(ctx: StepContext[Peak], value: int) -> int:
        with ctx.deps:
            go.wait(20)
        return value

    branches = [in_thread.options(id=f"t{number}") for number in range(6)]
    async with Engine(url, deps=peak, max_threads=2) as engine:
        handle = await engine.start(Workflow("s15", input=int).parallel(*branches, one), 1)
        async for event in handle.events():
            if event.kind == "step_completed":
                break
        await until(lambda: peak.now == 2)
        statuses = [execution.status.value for execution in await engine.steps(handle.run_id)]
        assert statuses == ["running"] * 2 + ["pending"] * 4 + ["completed"]
        go.set()
        await handle.result()
    assert (peak.peak, peak.total) == (2, 6)


@in_loop
async def test_s16_the_record_tells_which_branch_held_the_block_back(url):
    """S16: the original records no time per branch that one could tell it by."""
    gates = [asyncio.Event() for _ in range(3)]

    @step
    async def ends_in_turn(value: int, turn: int = 0) -> int:
        await gates[turn].wait()
        return value

    branches = [ends_in_turn.bind(f"turn-{turn}", turn=turn) for turn in (2, 0, 1)]
    async with Engine(url) as engine:
        handle = await engine.start(Workflow("s16", input=int).parallel(*branches), 1)
        events = handle.events()
        for gate in gates:
            gate.set()
            while (await anext(events)).kind != "step_completed":
                pass
        await handle.result()
        steps = await engine.steps(handle.run_id)
    by_end = sorted(steps, key=lambda it: it.attempts[0].finished_at)
    assert [it.path for it in by_end] == ["turn-0", "turn-1", "turn-2"]
    assert max(steps, key=lambda it: it.attempts[0].ran).path == "turn-2"
    assert [it.path for it in steps] == ["turn-2", "turn-0", "turn-1"]  # in declared order
    assert all(it.attempts[0].ran >= 0 and it.attempts[0].queued >= 0 for it in steps)


def test_s17_branches_that_depend_on_each_other_do_not_build():
    """S17: nothing checks it in the original; the lookup fails, or not, as it happens."""
    dependent = two.options(reads=(one,))
    with pytest.raises(WorkflowInvalidError, match="'two' reads 'one', which runs beside it; move"):
        Workflow("s17", input=int).parallel(one, dependent)


@in_loop
async def test_s18_each_attempt_gets_the_whole_timeout(url):
    """S18."""

    @step(timeout=0.05, retries=AT_ONCE)
    async def hangs_twice(ctx: StepContext, value: int) -> int:
        if ctx.attempt < 3:
            await asyncio.Event().wait()
        return ctx.attempt

    async with Engine(url) as engine:
        handle = await engine.start(Workflow("s18", input=int).then(hangs_twice), 1)
        assert await handle.result() == 3
        (execution,) = await engine.steps(handle.run_id)
    codes = [it.failure.code.value if it.failure else None for it in execution.attempts]
    assert codes == ["timeout", "timeout", None]


@in_loop
async def test_s18_what_can_not_help_is_not_tried_again(url):
    """S18; 1C "retrying validation/condition errors"."""
    tried: list[str] = []

    @step
    async def gives_the_wrong_type(value: int) -> int:
        tried.append("type")
        return "text"

    @step
    async def gives_what_json_has_not(value: int) -> str:
        tried.append("lone")
        return "\ud800"

    @step
    async def says_so(value: int) -> int:
        tried.append("says so")
        raise NonRetryableError("hopeless")

    @step(retries=RetryPolicy(retries=3, initial_interval=0, give_up_on=(PermissionError,)))
    async def by_type(value: int) -> int:
        tried.append("by type")
        raise PermissionError("no")

    def condition(value: int) -> bool:
        tried.append("condition")
        raise LookupError("can't decide")

    chosen = Workflow("chosen", input=int).then_if(condition, one)
    workflow = Workflow("s18", input=int, defaults={"retries": AT_ONCE}).parallel(
        gives_the_wrong_type, gives_what_json_has_not, says_so, by_type, chosen, join="settled"
    )
    async with Engine(url) as engine:
        outcomes = await engine.run(workflow, 1)
    assert sorted(tried) == ["by type", "condition", "lone", "says so", "type"]
    codes = [outcome.failure.code.value for outcome in outcomes]
    assert codes == ["validation", "encoding", "step_failed", "step_failed", "condition"]


# ---- S19 to S21 ---------------------------------------------------------------------------------


@in_loop
async def test_s19_partial_results_come_in_declared_order(url):
    """S19: by place and type, not by a name that may be mistyped."""
    last = asyncio.Event()

    @step
    async def slow(value: int) -> int:
        await last.wait()
        return value

    @step
    async def quick(value: int) -> int:
        last.set()
        return value

    @step
    async def collect(a: Outcome[int], b: Outcome[int], c: Outcome[int]) -> list[str]:
        return [f"{type(it).__name__} {it.path}" for it in (a, b, c)]

    workflow = (
        Workflow("s19", input=int).parallel(slow, broken, quick, join="settled").then(collect)
    )
    async with Engine(url) as engine:
        assert await engine.run(workflow, 1) == [
            "Completed slow",
            "Failed broken",
            "Completed quick",
        ]


@in_loop
async def test_s20_progress_moves_with_every_branch(url, caplog):
    """S20; 1C "progress frozen in a block"; a step's logger says who speaks."""
    caplog.set_level("INFO", "gorkflow.step")
    gates = [asyncio.Event() for _ in range(3)]

    @step
    async def wait(ctx: StepContext, value: int, number: int = 0) -> int:
        await gates[number].wait()
        ctx.logger.info("done", extra={"duration": 1.5})
        return value

    branches = [wait.bind(f"b{number}", number=number) for number in range(3)]
    async with Engine(url) as engine:
        handle = await engine.start(Workflow("s20", input=int).parallel(*branches), 1)
        seen = [(await handle.info()).progress.done]
        events = handle.events()
        for gate in gates:
            gate.set()
            while (await anext(events)).kind != "step_completed":
                pass
            seen.append((await handle.info()).progress.done)
        await handle.result()
        rest = [event async for event in handle.events()]
    assert seen == [0, 1, 2, 3]
    (decided,) = [event for event in rest if isinstance(event, BlockDecided)]
    assert decided.verdict == "completed"
    assert "3 of 3 completed (b0, b1, b2)" in decided.reason
    assert all(before.at <= after.at for before, after in pairwise(rest))
    spoke = [(it.run_id, it.path, it.attempt, it.duration) for it in caplog.records]
    assert spoke == [(handle.run_id, f"b{number}", 1, 1.5) for number in range(3)]


@in_loop
async def test_s21_one_step_in_two_workflows_keeps_both_settings(url):
    """S21; 1C "shared mutable step/config": the second workflow inherited the first's config."""
    tried: list[str] = []

    @step
    async def shared(ctx: StepContext, value: int) -> int:
        tried.append(ctx.workflow_id)
        raise LookupError("no")

    careful = Workflow("careful", input=int, defaults={"retries": AT_ONCE}).then(shared)
    hasty = Workflow("hasty", input=int).then(shared)
    own = shared.options(retries=RetryPolicy(retries=1, initial_interval=0))
    third = Workflow("third", input=int).then(own)
    async with Engine(url) as engine:
        for workflow in (careful, hasty, third, careful):
            with pytest.raises(RunFailedError):
                await engine.run(workflow, 1)
    assert [tried.count(name) for name in ("careful", "hasty", "third")] == [6, 1, 2]
    with pytest.raises(AttributeError, match="immutable"):
        shared.name = "other"
    with pytest.raises(AttributeError, match="immutable"):
        careful.version = "2"
