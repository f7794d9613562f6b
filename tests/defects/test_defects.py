"""The checklist "never again": one test per defect of the original that no other test here covers.

Those that a promise of the seed page is about are in `test_seed_page.py`, which names them too.
The deadline that branches share when they write state is in `tests/engine/test_state.py`.
"""

import asyncio
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gorkflow import (
    Engine,
    RetryPolicy,
    RunCancelledError,
    RunFailedError,
    RunFilter,
    RunStatus,
    Skipped,
    StepContext,
    StepStatus,
    StoreError,
    Workflow,
    WorkflowInvalidError,
    run,
    step,
)
from gorkflow.events import RunFinished, StepCompleted, StepScheduled
from gorkflow.store import Append
from gorkflow.stores.memory import MemoryStore
from tests.defects.loops import in_loop, steps_of, until


@step
async def one(value: int) -> int:
    return value + 1


@step
async def two(value: int) -> int:
    return value + 2


@step
async def text(value: str) -> str:
    return value


# ---- blocks -------------------------------------------------------------------------------------


@in_loop
async def test_the_output_of_a_last_block_does_not_depend_on_who_ends_first(url):
    """Random terminal output: 89 to 111 over 200 runs."""

    @step
    async def branch(value: int, number: int = 0) -> str:
        for _ in range(random.Random(f"{value} {number}").randrange(5)):
            await asyncio.sleep(0)
        return f"branch {number}"

    workflow = Workflow("last", input=int).parallel(
        *(branch.bind(f"b{it}", number=it) for it in (0, 1))
    )
    async with Engine(url) as engine:
        handles = [await engine.start(workflow, number) for number in range(100)]
        for handle in handles:
            assert await handle.result() == ("branch 0", "branch 1")


@in_loop
async def test_a_branch_goes_on_without_waiting_for_its_siblings(url):
    """Level barrier: a step that needed a 20 ms branch started after the 400 ms one."""
    second_began = asyncio.Event()

    @step
    async def waits_for_the_other_branchs_second_step(value: int) -> int:
        await second_began.wait()
        return value

    @step
    async def second(value: int) -> int:
        second_began.set()
        return value

    chain = Workflow("chain", input=int).then(one).then(second)
    workflow = Workflow("levels", input=int).parallel(
        waits_for_the_other_branchs_second_step, chain
    )
    async with Engine(url) as engine:
        assert await engine.run(workflow, 1) == (1, 2)


def test_ids_that_are_taken_do_not_build():
    """Duplicate ids swallowed: the first handler stood for both."""
    other = text.options(id="one")
    with pytest.raises(WorkflowInvalidError, match="the id 'one' is taken"):
        Workflow("twice", input=int).then(one).then(two.options(id="one"))
    with pytest.raises(WorkflowInvalidError, match="the id 'one' is taken"):
        Workflow("twice", input=int).parallel(one, one)
    with pytest.raises(WorkflowInvalidError, match="the id 'one' is taken"):
        Workflow("twice", input=str).parallel(other, other)


def test_an_empty_block_does_not_build():
    """Empty block: it cut the graph in two."""
    with pytest.raises(WorkflowInvalidError, match="at least one branch"):
        Workflow("empty", input=int).then(one).parallel()
    with pytest.raises(WorkflowInvalidError, match="is empty"):
        Workflow("empty", input=int).compile()


def test_types_that_do_not_fit_do_not_build():
    """Silent type mismatch: it showed at run time, after three retries."""
    with pytest.raises(WorkflowInvalidError, match="takes value: str, but gets int from 'one'"):
        Workflow("types", input=int).then(one).then(text)
    with pytest.raises(WorkflowInvalidError, match="takes value: str, but gets int"):
        Workflow("types", input=int).parallel(one, text)


# ---- cancelling ---------------------------------------------------------------------------------


@in_loop
async def test_a_cancelled_run_is_cancelled_on_record(file):
    """Cancel write on a cancelled context: the run stayed RUNNING for ever, in the database."""
    began = asyncio.Event()

    @step
    async def hangs(value: int) -> int:
        began.set()
        await asyncio.Event().wait()
        return value

    workflow = Workflow("cancel", input=int).then(hangs).then(one)
    async with Engine(file) as engine:
        handle = await engine.start(workflow, 1)
        await began.wait()
        await handle.cancel("enough")
        with pytest.raises(RunCancelledError, match="enough"):
            await handle.result()
    async with Engine(file, workflows=[workflow]) as engine:
        found = await engine.get_run(handle.run_id)
        assert await engine.recover() == []
        steps = {it.path: it.status for it in await engine.steps(handle.run_id)}
    assert (found.status, found.reason) == (RunStatus.CANCELLED, "enough")
    assert found.finished_at is not None
    assert found.output is None
    assert steps == {"hangs": StepStatus.CANCELLED, "one": StepStatus.CANCELLED}


@in_loop
async def test_a_step_that_ignores_a_cancel_does_not_undo_it(url, caplog):
    """Sync cancel overwritten; cancel reported as FAILED or COMPLETED."""
    began, release = threading.Event(), threading.Event()

    @step
    def ignores(value: int) -> int:
        began.set()
        release.wait(20)
        return value

    async with Engine(url) as engine:
        handle = await engine.start(Workflow("ignored", input=int).then(ignores), 1)
        await until(began.is_set)
        await handle.cancel()
        assert (await handle.info()).status is RunStatus.CANCELLED
        release.set()
        await until(lambda: "its result is ignored" in caplog.text)
        await engine.cancel(handle.run_id)
        assert (await handle.info()).status is RunStatus.CANCELLED
        assert (await steps_of(engine, handle))["ignores"].status is StepStatus.CANCELLED
        with pytest.raises(RunCancelledError):
            await handle.result()


@in_loop
async def test_an_async_step_that_swallows_its_cancel_does_not_undo_it(url):
    """Cancel in the last step, ignored by it: the run was COMPLETED."""
    began, ended = asyncio.Event(), asyncio.Event()

    @step
    async def swallows(value: int) -> int:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
        return value

    async with Engine(url) as engine:
        handle = await engine.start(Workflow("swallowed", input=int).then(swallows), 1)
        await began.wait()
        await handle.cancel()
        await ended.wait()
        with pytest.raises(RunCancelledError):
            await handle.result()
    assert (handle.run_id) != ""


# ---- the record ---------------------------------------------------------------------------------


class Spy(MemoryStore):
    """A memory store that remembers what it was given, and can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.items = []
        self.fails = False

    def write(self, batch):
        if self.fails and any(isinstance(item, Append) for item in batch):
            raise StoreError("the disk is full")
        self.items += batch
        return super().write(batch)


@in_loop
async def test_status_and_output_are_one_write():
    """Non-atomic status/output: two writes, between which a crash left one without the other."""
    store = Spy()
    async with Engine(store) as engine:
        await engine.run(Workflow("atomic", input=int).parallel(one, two), 1)
    assert len(store.items) > 1
    for item in store.items:
        ended = any(isinstance(event, RunFinished) for event in item.events)
        assert ended == (item.row.status is RunStatus.COMPLETED)
        assert item.seq == item.events[-1].seq
    events = [event for item in store.items for event in item.events]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


@in_loop
async def test_what_follows_a_result_is_in_the_same_write():
    """Non-atomic status/output, for steps: a result without what it sets off can't be recovered."""
    store = Spy()
    async with Engine(store) as engine:
        await engine.run(Workflow("atomic", input=int).then(one).then(two), 1)
    (item,) = [
        item
        for item in store.items
        if any(isinstance(it, StepCompleted) and it.path == "one" for it in item.events)
    ]
    assert any(isinstance(it, StepScheduled) and it.path == "two" for it in item.events)


@step
async def break_the_disk(ctx: StepContext[Spy], value: int) -> int:
    ctx.deps.fails = ctx.attempt == 1
    return value


@in_loop
async def test_a_store_that_fails_is_an_error_of_the_caller():
    """Persistence errors ignored: they were logged, and the run went on as if recorded."""
    ran: list[int] = []

    @step
    async def next_one(value: int) -> int:
        ran.append(value)
        return value

    workflow = Workflow("disk", input=int).then(break_the_disk).then(next_one)
    store = Spy()
    async with Engine(store, deps=store, recover=False) as engine:
        handle = await engine.start(workflow, 1)
        with pytest.raises(StoreError, match="the disk is full"):
            await handle.result()
        store.fails = False
        assert (await engine.get_run(handle.run_id)).status is RunStatus.RUNNING
        assert ran == []


@in_loop
async def test_a_run_goes_on_when_its_store_works_again():
    """RUNNING for ever: a store that fails once must not leave a run that nobody carries."""
    workflow = Workflow("disk", input=int).then(break_the_disk).then(one)
    store = Spy()
    async with Engine(store, deps=store, recover=False) as engine:
        handle = await engine.start(workflow, 1)
        with pytest.raises(StoreError):
            await handle.result()
        store.fails = False
        assert await engine.recover() == [handle.run_id]
        assert await engine.handle(handle.run_id).result() == 2


@in_loop
async def test_many_writers_do_not_lock_each_other_out(file):
    """One-connection pragmas: nine of ten connections had no busy timeout: "database is locked"."""
    branches = [one.options(id=f"b{number}") for number in range(16)]
    workflow = Workflow("writers", input=int).parallel(*branches)
    async with Engine(file) as first, Engine(file) as second, Engine(file) as third:
        engines = (first, second, third)
        handles = [await engines[it % 3].start(workflow, it) for it in range(30)]
        for number, handle in enumerate(handles):
            assert await handle.result() == (number + 1,) * 16


@in_loop
async def test_a_step_that_completed_has_no_error(url):
    """Phantom error objects: every successful step came back with an empty error."""
    async with Engine(url) as engine:
        handle = await engine.start(Workflow("fine", input=int).then(one), 1)
        await handle.result()
        run = await handle.info()
        (execution,) = await engine.steps(handle.run_id)
    assert run.failures == ()
    assert run.reason == ""
    assert execution.failure is None
    assert execution.attempts[0].failure is None


@in_loop
async def test_dependencies_are_handed_over_and_never_stored(file, tmp_path):
    """Context serialised: a database handle would have become JSON, and its password a row."""

    class Connection:
        def __init__(self) -> None:
            self.password = "swordfish"
            self.lock = threading.Lock()  # can't be written as JSON, nor pickled

    @step
    async def use(ctx: StepContext[Connection], value: int) -> int:
        return value + len(ctx.deps.password)

    async with Engine(file, deps=Connection()) as engine:
        assert await engine.run(Workflow("deps", input=int).then(use), 1) == 10
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b'"deps"' in stored  # the workflow's id
    assert b"swordfish" not in stored


@in_loop
async def test_tags_reach_the_run(url):
    """Tags dropped: those of the builder never did."""
    workflow = Workflow("tags", input=int, tags={"team": "blue", "tier": "1"}).then(one)
    async with Engine(url) as engine:
        handle = await engine.start(workflow, 1, tags={"tier": "2", "order": "7"})
        await handle.result()
        await engine.run(workflow, 1)
        found = await engine.list_runs(RunFilter(tags={"team": "blue", "order": "7"}))
    assert [run.run_id for run in found] == [handle.run_id]
    assert found[0].tags == {"team": "blue", "tier": "2", "order": "7"}


# ---- skipping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("default", [{}, {"default": 40}], ids=["input", "default"])
@in_loop
async def test_a_skipped_step_is_skipped_whatever_stands_in_for_it(url, default):
    """Skip is not skip: with a default the step said COMPLETED, without one SKIPPED."""
    asked: list[int] = []

    def condition(value: int) -> bool:
        asked.append(value)
        return False

    @step
    async def look(ctx: StepContext, value: int) -> int:
        assert isinstance(ctx.outcome(one), Skipped)
        return value + 2

    workflow = Workflow("skip", input=int).then_if(condition, one, **default).then(look)
    async with Engine(url) as engine:
        handle = await engine.start(workflow, 1)
        assert await handle.result() == default.get("default", 1) + 2
        skipped, _ = await engine.steps(handle.run_id)
    assert skipped.status is StepStatus.SKIPPED
    assert (skipped.attempt, skipped.output, skipped.failure) == (0, None, None)
    assert "condition" in skipped.reason
    assert asked == [1]


@in_loop
async def test_a_condition_that_raises_is_asked_once(url):
    """Retrying condition errors: it was evaluated four times, though the FAQ says once."""
    asked: list[int] = []

    async def condition(value: int) -> bool:
        asked.append(value)
        raise LookupError("can't say")

    workflow = Workflow("ask", input=int, defaults={"retries": RetryPolicy(initial_interval=0)})
    async with Engine(url) as engine:
        with pytest.raises(RunFailedError) as raised:
            await engine.run(workflow.then_if(condition, one), 1)
    assert asked == [1]
    assert [it.code.value for it in raised.value.failures] == ["condition"]


# ---- running for ever ---------------------------------------------------------------------------

CRASHING = """
import os, sys
from gorkflow import StepContext, Workflow, run, step

def note(text: str) -> None:
    with open("ledger", "a") as file:
        file.write(text + "\\n")

@step
def safe(value: int) -> int:
    note("safe")
    return value + 1

@step
def crashes(ctx: StepContext, value: int) -> int:
    note(f"crashes {ctx.attempt} {ctx.idempotency_key}")
    if ctx.attempt == 1:
        os.kill(os.getpid(), 9)
    return value * 10

workflow = Workflow("crash", input=int).then(safe).then(crashes)

if __name__ == "__main__":
    run(workflow, 1, run_id="r", store="sqlite:runs.db")
"""


def test_a_run_whose_process_was_killed_goes_on(tmp_path, monkeypatch):
    """RUNNING for ever: the FAQ says "implement recovery yourself"."""
    (tmp_path / "crashing.py").write_text(CRASHING)
    monkeypatch.chdir(tmp_path)
    killed = subprocess.run([sys.executable, "crashing.py"], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    monkeypatch.syspath_prepend(tmp_path)
    import crashing  # made above

    async def whole() -> None:
        async with Engine("sqlite:runs.db", workflows=[crashing.workflow]) as engine:
            assert await engine.handle("r", crashing.workflow).result() == 20
            steps = {it.path: it.attempt for it in await engine.steps("r")}
            assert steps == {"safe": 1, "crashes": 2}

    asyncio.run(whole())
    ledger = Path("ledger").read_text().splitlines()
    assert ledger == ["safe", "crashes 1 r:crashes", "crashes 2 r:crashes"]


@in_loop
async def test_a_run_whose_engine_was_closed_goes_on(file):
    """RUNNING for ever: closing is no end either."""
    began = asyncio.Event()

    @step
    async def first_time_slow(ctx: StepContext, value: int) -> int:
        if ctx.attempt == 1:
            began.set()
            await asyncio.Event().wait()
        return value

    workflow = Workflow("closed", input=int).parallel(one, first_time_slow)
    engine = Engine(file)
    await engine.open()
    handle = await engine.start(workflow, 1)
    await began.wait()
    await engine.aclose(grace=0)
    async with Engine(file, workflows=[workflow]) as engine:
        assert await engine.handle(handle.run_id, workflow).result() == (2, 1)


# ---- the same twice -----------------------------------------------------------------------------


def test_the_same_definition_gives_the_same_plan():
    """Levels built from map iteration: another order inside a level each time."""
    code = (
        "from gorkflow import Workflow, step\n"
        "@step\n"
        "async def f(v: int) -> int: return v\n"
        "w = Workflow('plan', input=int).parallel(*(f.options(id=f's{i}') for i in range(20)))\n"
        "print(w.compile().text)"
    )
    plans = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(plans) == 1


def test_branches_are_listed_in_declared_order():
    """Block execution indexes equal: two branches had index 1."""

    async def whole() -> list[str]:
        async with Engine("memory:") as engine:
            branches = [one.options(id=f"b{number}") for number in (3, 1, 2)]
            handle = await engine.start(Workflow("order", input=int).parallel(*branches), 1)
            await handle.result()
            return [it.path for it in await engine.steps(handle.run_id)]

    assert asyncio.run(whole()) == ["b3", "b1", "b2"]


def test_a_step_sees_the_deadline_of_its_own_attempt():
    """Shared deadline: one accessor for all branches was re-pointed at the last starter's."""
    seen: dict[str, float | None] = {}

    @step
    async def look(ctx: StepContext, value: int) -> int:
        seen[ctx.step_id] = None if ctx.deadline is None else ctx.deadline.timestamp()
        return value

    branches = (look.options(id="short", timeout=10), look.options(id="long", timeout=1000),
                look.options(id="never"))  # fmt: skip
    run(Workflow("deadlines", input=int).parallel(*branches), 1, store="memory:")
    assert seen["never"] is None
    assert seen["short"] is not None
    assert seen["long"] is not None
    assert 900 < seen["long"] - seen["short"] < 1000
