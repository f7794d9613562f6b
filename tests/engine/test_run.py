"""Runs from start to end: values, threads, conditions, nesting, what callers see."""

import asyncio
import contextvars
import logging
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow import (
    Cancelled,
    Completed,
    DuplicateRunError,
    Engine,
    EngineClosedError,
    Failed,
    InputInvalidError,
    Outcome,
    RunCancelledError,
    RunError,
    RunFailedError,
    RunFilter,
    RunNotFoundError,
    RunStatus,
    StepContext,
    StepStatus,
    UnavailableError,
    Workflow,
    WorkflowInvalidError,
    at_least,
    passthrough,
    step,
    tolerate,
)
from gorkflow.engine._start import new_id

from .support import OURS, Gate, in_loop, kinds, step_of, until


class Order(BaseModel):
    id: int
    items: list[str] = []


class Quote(BaseModel):
    cents: int


@step
async def one(order: Order) -> int:
    return order.id


@step
def two(order: Order) -> str:
    return f"{order.id}@{threading.current_thread().name}"


@step
async def both(left: int, right: str) -> str:
    return f"{left}/{right.split('@', maxsplit=1)[0]}"


@pytest.fixture(params=["memory:", "sqlite:"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.param + (str(tmp_path / "runs.db") if request.param == "sqlite:" else "")


@in_loop
async def test_a_block_hands_every_branch_output_to_the_next_step(store: str) -> None:
    wf = Workflow("w", input=Order).parallel(one, two).then(both)
    async with Engine(store) as engine:
        assert await engine.run(wf, Order(id=7)) == "7/7"


@in_loop
async def test_sync_steps_run_in_daemon_threads(store: str) -> None:
    @step
    def where(order: Order) -> tuple[str, bool]:
        thread = threading.current_thread()
        return thread.name, thread.daemon

    async with Engine(store) as engine:
        name, daemon = await engine.run(Workflow("w", input=Order).then(where), Order(id=1))
    assert name.startswith("gorkflow-")
    assert daemon


@in_loop
async def test_branches_never_share_an_object() -> None:
    @step
    async def spoil(order: Order) -> int:
        order.items.append("spoiled")
        return len(order.items)

    wf = Workflow("w", input=Order).parallel(*[spoil.options(id=f"s{i}") for i in range(5)])
    async with Engine("memory:") as engine:
        assert await engine.run(wf, Order(id=1, items=["a"])) == (2,) * 5


@in_loop
async def test_branches_overlap_async_and_sync() -> None:
    gate = Gate()

    @step
    async def in_the_loop(order: Order) -> int:
        await gate.wait_async()
        return 1

    @step
    def in_a_thread(order: Order) -> int:
        gate.wait()
        return 2

    wf = Workflow("w", input=Order).parallel(
        in_the_loop,
        in_a_thread,
        Workflow("inner", input=Order).parallel(
            in_the_loop.options(id="a"), in_a_thread.options(id="b")
        ),
    )
    async with Engine("memory:") as engine:
        handle = await engine.start(wf, Order(id=1))
        await until(lambda: gate.arrived == 4, "all four branches at once")
        gate.open()
        assert await handle.result() == (1, 2, (1, 2))


@in_loop
async def test_a_branch_that_is_a_chain_runs_ahead_on_its_own() -> None:
    gate = Gate()
    done: list[str] = []

    @step
    async def slow(order: Order) -> int:
        await gate.wait_async()
        return 1

    @step
    async def quick(order: Order) -> int:
        return 2

    @step
    async def after_quick(value: int) -> int:
        done.append("after_quick")
        gate.open()
        return value + 1

    chain = Workflow("chain", input=Order).then(quick).then(after_quick)
    async with Engine("memory:") as engine:
        assert await engine.run(Workflow("w", input=Order).parallel(slow, chain), Order(id=1)) == (
            1,
            3,
        )


@in_loop
async def test_conditions_decide_once_and_skip_with_a_reason(store: str) -> None:
    @step
    async def bigger(value: int) -> int:
        return value * 10

    @step
    async def words(value: int) -> str:
        return f"{value} words"

    def is_big(value: int) -> bool:
        return value > 5

    async def is_odd(value: int) -> bool:
        return value % 2 == 1

    wf = (
        Workflow("w", input=Order)
        .then(one)
        .then_if(is_big, bigger)
        .when(is_odd, words)
        .otherwise(passthrough(int))
    )
    async with Engine(store) as engine:
        assert await engine.run(wf, Order(id=3), run_id="small") == "3 words"
        assert await engine.run(wf, Order(id=8), run_id="big") == 80
        skipped = await step_of(engine, "small", "bigger")
        assert (skipped.status, skipped.reason) == (StepStatus.SKIPPED, "is_big did not hold")
        unused = await step_of(engine, "big", "words")
        assert unused.status == StepStatus.SKIPPED


@in_loop
async def test_a_condition_that_raises_fails_the_run_and_is_not_retried() -> None:
    asked: list[int] = []

    def broken(value: int) -> bool:
        asked.append(value)
        raise RuntimeError("no idea")

    @step
    async def never(value: int) -> int:
        return value

    wf = Workflow("w", input=Order, defaults={"retries": 3}).then(one).then_if(broken, never)
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError) as caught:
            await engine.run(wf, Order(id=1), run_id="r")
        progress = (await engine.get_run("r")).progress
        assert progress is not None
        assert (progress.done, progress.total) == (1, 2)  # a choice is no step
    assert [f.code for f in caught.value.failures] == ["condition"]
    assert "no idea" in str(caught.value)
    assert asked == [1]


@in_loop
async def test_a_condition_must_return_a_bool() -> None:
    @step
    async def never(value: int) -> int:
        return value

    wf = Workflow("w", input=Order).then(one).then_if(lambda value: "yes", never)  # type: ignore[arg-type,return-value]
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match="must return True or False"):
            await engine.run(wf, Order(id=1))


@in_loop
async def test_the_joins_give_what_they_promise() -> None:
    gate = Gate()

    @step
    async def good(order: Order) -> int:
        return 1

    @step
    async def bad(order: Order) -> int:
        raise ValueError("bad branch")

    @step
    async def stuck(order: Order) -> int:
        await gate.wait_async()
        return 3

    async with Engine("memory:") as engine:
        settled = await engine.run(
            Workflow("s", input=Order).parallel(good, bad, join="settled"), Order(id=1)
        )
        assert isinstance(settled[0], Completed)
        assert settled[0].value == 1
        assert isinstance(settled[1], Failed)
        assert settled[1].failure.message == "bad branch"
        first = Workflow("f", input=Order).parallel(stuck, bad, good, join="first")
        assert await engine.run(first, Order(id=1), run_id="first") == 1
        assert (await step_of(engine, "first", "stuck")).status == StepStatus.CANCELLED
        quorum = await engine.run(
            Workflow("q", input=Order).parallel(good, stuck, join=at_least(1)), Order(id=1)
        )
        assert isinstance(quorum[1], Cancelled)
        tolerated = await engine.run(
            Workflow("t", input=Order).parallel(good, bad, join=tolerate(1)), Order(id=1)
        )
        assert [type(outcome) for outcome in tolerated] == [Completed, Failed]


@in_loop
async def test_outcomes_reach_a_step_that_asks_for_them() -> None:
    @step
    async def good(order: Order) -> int:
        return 1

    @step
    async def bad(order: Order) -> str:
        raise ValueError("bad branch")

    @step
    async def count(results: tuple[Outcome[int], Outcome[str]]) -> list[str]:
        return [type(result).__name__ for result in results]

    wf = Workflow("w", input=Order).parallel(good, bad, join="settled").then(count)
    async with Engine("memory:") as engine:
        assert await engine.run(wf, Order(id=1)) == ["Completed", "Failed"]


@in_loop
async def test_the_context_reaches_outputs_ids_and_deps() -> None:
    @step
    async def prepare(order: Order) -> Quote:
        return Quote(cents=order.id)

    @step
    async def left(quote: Quote) -> int:
        return quote.cents + 1

    @step
    async def right(quote: Quote) -> int:
        return quote.cents + 2

    @step(reads=(prepare,))
    async def total(ctx: StepContext[dict[str, int]]) -> dict[str, int]:
        assert ctx.idempotency_key == f"{ctx.run_id}:total"
        assert (ctx.step_id, ctx.path, ctx.attempt, ctx.workflow_id) == ("total", "total", 1, "w")
        assert ctx.run_input(Order) == Order(id=5)
        return {
            "prepare": ctx.outputs[prepare].cents,
            "left": ctx.outputs[left],
            "right": ctx.outputs.get(right, 0),
            "deps": ctx.deps["x"],
        }

    wf = Workflow("w", input=Order).then(prepare).parallel(left, right).then(total)
    async with Engine("memory:", deps={"x": 9}) as engine:
        assert await engine.run(wf, Order(id=5)) == {
            "prepare": 5,
            "left": 6,
            "right": 7,
            "deps": 9,
        }


@in_loop
async def test_reading_what_was_not_declared_says_what_to_write() -> None:
    @step
    async def nosy(ctx: StepContext, value: str) -> int:
        return ctx.outputs[one]

    @step
    async def between(value: int) -> str:
        return str(value)

    wf = Workflow("w", input=Order).then(one).then(between).then(nosy)
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match=r"reads=\(one,\)") as caught:
            await engine.run(wf, Order(id=5))
    assert caught.value.failures[0].type.endswith(UnavailableError.__name__)


@in_loop
async def test_an_id_never_means_a_step_outside_and_then_a_sibling() -> None:
    @step
    async def nosy(ctx: StepContext, value: int) -> int:
        return int(ctx.outputs["one"])

    @step(id="one")
    async def sibling(value: int) -> int:
        return 77

    inner = Workflow("inner", input=int).parallel(nosy, sibling)
    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match="may not read 'one'"):
            await engine.run(Workflow("w", input=Order).then(one).then(inner), Order(id=5))


@in_loop
async def test_context_variables_are_those_of_the_start() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    @step
    async def in_the_loop() -> str:
        value = variable.get()
        variable.set("changed by a step")
        return value

    @step
    def in_a_thread() -> str:
        return variable.get()

    async with Engine("memory:") as engine:
        variable.set("of the caller")
        wf = Workflow("w").then(in_the_loop).then(in_a_thread)
        assert await engine.run(wf) == "of the caller"


@in_loop
async def test_a_workflow_that_ends_in_a_block_gives_the_tuple_every_time() -> None:
    wf = Workflow("w", input=Order).parallel(two, one)
    async with Engine("memory:") as engine:
        for _ in range(50):
            right, left = await engine.run(wf, Order(id=2))
            assert (right.split("@")[0], left) == ("2", 2)


@in_loop
async def test_ids_tags_and_listing(store: str) -> None:
    wf = Workflow("w", input=Order, tags={"team": "a"}).then(one)
    async with Engine(store) as engine:
        for number in range(5):
            await engine.run(wf, Order(id=number), run_id=f"r{number}", tags={"n": str(number)})
        page = await engine.list_runs(RunFilter(limit=2))
        assert [run.run_id for run in page] == ["r4", "r3"]
        rest = await engine.list_runs(RunFilter(limit=9, cursor=page.next_cursor))
        assert [run.run_id for run in rest] == ["r2", "r1", "r0"]
        (only,) = await engine.list_runs(RunFilter(tags={"n": "3", "team": "a"}))
        assert only.run_id == "r3"
        assert only.input is None
        run = await engine.get_run("r3")
        assert (run.input, run.output, run.status) == (Order(id=3), 3, RunStatus.COMPLETED)
        assert run.progress is not None
        assert (run.progress.done, run.progress.total) == (1, 1)


@in_loop
async def test_an_id_is_taken_once(store: str) -> None:
    wf = Workflow("w", input=Order).then(one)
    async with Engine(store) as engine:
        await engine.run(wf, Order(id=1), run_id="same")
        with pytest.raises(DuplicateRunError):
            await engine.start(wf, Order(id=1), run_id="same")
        again = await engine.start(wf, Order(id=1), run_id="same", if_exists="return")
        assert await again.result() == 1
        with pytest.raises(DuplicateRunError, match="another input"):
            await engine.start(wf, Order(id=2), run_id="same", if_exists="return")
        other = Workflow("other", input=Order).then(one)
        with pytest.raises(DuplicateRunError, match="another workflow"):
            await engine.start(other, Order(id=1), run_id="same", if_exists="return")


@in_loop
async def test_many_starts_of_one_id_make_one_run(store: str) -> None:
    wf = Workflow("w", input=Order).then(one)
    async with Engine(store) as engine:
        results = await asyncio.gather(
            *[engine.run(wf, Order(id=1), run_id="x", if_exists="return") for _ in range(50)]
        )
        assert results == [1] * 50
        assert len(await engine.list_runs()) == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"id": "seven"}, "id"),
        (None, "takes an input of type Order, and was given none"),
        (object(), "valid"),
        ({"id": 1, "items": ["\ud800"]}, "surrogate"),
    ],
)
@in_loop
async def test_input_that_does_not_validate_stores_nothing(value: object, says: str) -> None:
    wf = Workflow("w", input=Order).then(one)
    async with Engine("memory:") as engine:
        with pytest.raises(InputInvalidError, match=says):
            await engine.start(wf, value)  # type: ignore[arg-type]
        assert len(await engine.list_runs()) == 0


@pytest.mark.parametrize("run_id", ["", "a b", "../x", "x" * 201, "ä", 7])
@in_loop
async def test_a_bad_run_id_is_refused(run_id: str) -> None:
    wf = Workflow("w", input=Order).then(one)
    async with Engine("memory:") as engine:
        with pytest.raises(InputInvalidError, match="run_id"):
            await engine.start(wf, Order(id=1), run_id=run_id)


@step
async def echo(number: int) -> int:
    return number


OTHER = Workflow("other", input=int).then(echo)


@in_loop
async def test_an_empty_resource_is_refused() -> None:
    async with Engine("memory:") as engine:
        for exclusive in (False, True):
            with pytest.raises(InputInvalidError, match="resource_id is empty; name what"):
                await engine.start(OTHER, 1, resource_id="", exclusive=exclusive)


@in_loop
async def test_a_handle_of_another_workflow_says_so_and_does_not_wait() -> None:
    gate = Gate()

    @step
    async def holds(text: str) -> str:
        await gate.wait_async()
        return text

    async with Engine("memory:") as engine:
        held = Workflow("held", input=str).then(holds)
        await engine.start(held, "x", run_id="r1")
        for wait in (engine.handle("r1", OTHER).result, engine.handle("r1", OTHER).outcome):
            with pytest.raises(RunError, match="run 'r1' is of workflow 'held', not of 'other'"):
                await wait()
        gate.open()
        assert await engine.handle("r1", held).result() == "x"
        assert await engine.handle("r1").result() == "x"


@in_loop
async def test_an_unknown_start_option_is_named() -> None:
    wf = Workflow("w", input=Order).then(one)
    async with Engine("memory:") as engine:
        with pytest.raises(TypeError, match="unexpected keyword argument 'runid'"):
            await engine.start(wf, Order(id=1), runid="x")  # type: ignore[call-arg]


@in_loop
async def test_asking_for_a_run_that_is_not_there() -> None:
    async with Engine("memory:") as engine:
        for ask in (engine.get_run, engine.steps, engine.cancel, engine.wait):
            with pytest.raises(RunNotFoundError):
                await ask("nothing")  # type: ignore[operator]
        with pytest.raises(RunNotFoundError):
            async for _ in engine.events("nothing"):
                pass


@in_loop
async def test_a_closed_engine_says_so() -> None:
    engine = Engine("memory:")
    with pytest.raises(EngineClosedError, match="async with"):
        await engine.list_runs()
    async with engine:
        assert len(await engine.list_runs()) == 0
    with pytest.raises(EngineClosedError):
        await engine.run(Workflow("w", input=Order).then(one), Order(id=1))


@in_loop
async def test_events_come_live_and_can_be_resumed(store: str) -> None:
    gate = Gate()

    @step
    async def wait(order: Order) -> int:
        await gate.wait_async()
        return 1

    async with Engine(store) as engine:
        handle = await engine.start(Workflow("w", input=Order).then(wait), Order(id=1))
        seen: list[str] = []
        async for event in handle.events():
            seen.append(event.kind)
            if event.kind == "step_scheduled":
                gate.open()
        assert seen == [
            "run_created",
            "run_started",
            "step_scheduled",
            "step_completed",
            "run_finished",
        ]
        assert [e.kind async for e in handle.events(after=3)] == seen[3:]
        assert [e.kind async for e in handle.events(after=5)] == []


@in_loop
async def test_cancel_ends_the_run_and_says_why(store: str) -> None:
    gate = Gate()
    cleaned: list[str] = []

    @step
    async def waits(order: Order) -> int:
        try:
            await gate.wait_async()
        finally:
            cleaned.append("yes")
        return 1

    async with Engine(store) as engine:
        handle = await engine.start(Workflow("w", input=Order).parallel(waits, one), Order(id=1))
        await until(lambda: gate.arrived, "the step")
        await handle.cancel("nobody wants it")
        with pytest.raises(RunCancelledError, match="nobody wants it"):
            await handle.result()
        assert await handle.outcome() == Cancelled("", "nobody wants it")
        info = await handle.info()
        assert (info.status, info.reason) == (RunStatus.CANCELLED, "nobody wants it")
        waiting = await step_of(engine, handle.run_id, "waits")
        assert (waiting.status, waiting.reason) == (StepStatus.CANCELLED, "nobody wants it")
        await until(lambda: cleaned, "the handler's clean-up")
        await handle.cancel("again")  # a terminal status never changes
        assert (await handle.info()).reason == "nobody wants it"


@in_loop
async def test_the_reason_of_a_cancel_is_a_text() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w", input=Order).sleep(60).then(one), Order(id=1))
        with pytest.raises(InputInvalidError, match="reason must be a string, not 5"):
            await handle.cancel(5)  # type: ignore[arg-type]
        await handle.cancel("a text")


@in_loop
async def test_a_cancelled_thread_is_told_and_its_result_is_ignored() -> None:
    gate, told = Gate(), threading.Event()

    @step
    def stubborn(ctx: StepContext, order: Order) -> int:
        gate.wait()
        if ctx.cancelled:
            told.set()
        return 1

    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w", input=Order).then(stubborn), Order(id=1))
        await until(lambda: gate.arrived, "the thread")
        await handle.cancel()
        gate.open()
        await until(told.is_set, "the thread to notice")
        assert (await kinds(engine, handle.run_id))[-1] == "run_finished"
        assert (await handle.info()).status == RunStatus.CANCELLED


@in_loop
async def test_ten_thousand_branches_and_a_long_chain() -> None:
    wide = Workflow("wide", input=Order).parallel(*[one.options(id=f"s{i}") for i in range(10_000)])
    async with Engine("memory:") as engine:
        assert sum(await engine.run(wide, Order(id=1))) == 10_000


@in_loop
async def test_the_engine_logs_with_the_ids_as_fields(caplog: pytest.LogCaptureFixture) -> None:
    @step
    async def talks(ctx: StepContext, order: Order) -> int:
        ctx.logger.info("working")
        return 1

    caplog.set_level(logging.INFO, "gorkflow")
    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w", input=Order).then(talks), Order(id=1))
        await handle.result()
    (record,) = [r for r in caplog.records if r.message == "working"]
    assert vars(record)["run_id"] == handle.run_id
    assert vars(record)["step_id"] == "talks"


@in_loop
async def test_what_is_no_workflow_says_what_to_write() -> None:
    async with Engine("memory:") as engine:
        choosing = Workflow("w", input=Order).when(lambda order: order.id > 1, one)
        with pytest.raises(WorkflowInvalidError, match="otherwise"):
            await engine.run(choosing, Order(id=1))  # type: ignore[call-overload]
        with pytest.raises(WorkflowInvalidError, match="single step"):
            await engine.run(one, Order(id=1))  # type: ignore[call-overload]
    with pytest.raises(AttributeError, match="otherwise"):
        choosing.then(one)  # type: ignore[attr-defined]
    twins = [Workflow("same", input=Order).then(node) for node in (one, two)]
    with pytest.raises(WorkflowInvalidError, match="have this id"):
        Engine("memory:", workflows=twins)
    with pytest.raises(TypeError, match=r"workflows=\[workflow\]"):
        Engine("memory:", workflows=twins[0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="context manager"), Engine("memory:"):
        pass


@in_loop
async def test_failures_say_where_they_come_from_and_show_the_users_code_only() -> None:
    @step
    async def liar(order: Order) -> int:
        return "x"  # type: ignore[return-value]

    @step
    async def fails(order: Order) -> int:
        raise ValueError("no")

    def divides(order: Order) -> bool:
        return bool(1 / 0)

    async with Engine("memory:") as engine:
        messages = []
        for wf in (
            Workflow("a", input=Order).then(liar),
            Workflow("b", input=Order).then(fails),
            Workflow("c", input=Order).then_if(divides, fails, default=0),
        ):
            with pytest.raises(RunFailedError) as caught:
                await engine.run(wf, Order(id=1))
            messages.append(caught.value.failures[0])
        assert messages[0].message.startswith("its output:")
        assert OURS not in messages[1].traceback
        assert "raise ValueError" in messages[1].traceback
        assert messages[2].message.startswith("condition 'divides' raised ZeroDivisionError")
        with pytest.raises(InputInvalidError, match="tags"):
            await engine.start(wf, Order(id=1), tags=["x"])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="there are: pending"):
            RunFilter(status="done")  # type: ignore[arg-type]


@in_loop
async def test_a_running_step_shows_its_open_attempt() -> None:
    gate = Gate()

    @step
    async def holds(order: Order) -> int:
        await gate.wait_async()
        return 1

    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w", input=Order).then(holds), Order(id=1))
        await until(lambda: gate.arrived, "the step")
        running = await step_of(engine, handle.run_id, "holds")
        assert (running.status, running.attempts[0].number) == (StepStatus.RUNNING, 1)
        assert running.started_at is not None
        gate.open()
        await handle.result()


def test_a_fresh_id_is_a_uuid_that_sorts_by_time():
    now = 1_795_762_376.094
    ids = [new_id(now + later) for later in (0, 0.001, 3600)]
    assert ids == sorted(ids)
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert {uuid.UUID(each).variant for each in ids} == {uuid.RFC_4122}
    assert [uuid.UUID(ids[0]).int >> 80, str(uuid.UUID(ids[0]))] == [int(now * 1000), ids[0]]
    assert len({new_id(now) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("annotation", "one", "other", "same"),
    [
        (dict[str, int], {"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (set[str], ["x", "y"], ["y", "x"], True),
        (list[str], ["x", "y"], ["y", "x"], False),
        (dict[str, object], {"a": 1}, {"a": True}, False),
        (dict[str, object], {"a": 1, "b": True}, {"a": True, "b": 1}, False),
        (Any, {"a": 12}, {"a": 21}, False),
    ],
)
@in_loop
async def test_the_order_of_keys_and_sets_makes_no_other_input(annotation, one, other, same):
    @step
    async def noted(value: annotation) -> int:
        return 1

    wf = Workflow("w", input=annotation).then(noted)
    async with Engine("memory:") as engine:
        await engine.run(wf, one, run_id="r")
        again = engine.run(wf, other, run_id="r", if_exists="return")
        if same:
            assert await again == 1
        else:
            with pytest.raises(DuplicateRunError, match="another input"):
                await again
