"""When a run fails or is cancelled, its steps are undone: durably, in reverse, for all to see."""

import asyncio
import time

import pytest

from gorkflow import (
    Client,
    Engine,
    RetryPolicy,
    RunBlockedError,
    RunCancelledError,
    RunFailedError,
    RunStatus,
    StepContext,
    StepStatus,
    Workflow,
    step,
)

from .placed import killed, killed_undone
from .support import STORES, Gate, in_loop, kinds, step_of, until

said: list[tuple[object, ...]] = []
broken: set[str] = set()
gates: dict[str, Gate] = {}


@pytest.fixture(autouse=True)
def _fresh():
    said.clear()
    broken.clear()
    gates.clear()


async def did(*words: object) -> None:
    said.append(words)
    if words[0] in gates:
        await gates[str(words[0])].wait_async()
    if words[0] in broken:
        raise ValueError(words[0])


@step
async def reserve(order: int) -> str:
    await did("reserve", order)
    return f"shelf {order}"


@step
async def release(ctx: StepContext, order: int, shelf: str | None) -> None:
    await did("release", order, shelf, ctx.run_input(int), ctx.undone_key)


@step
async def charge(shelf: str) -> float:
    await did("charge", shelf)
    return 9.5


@step
async def refund(shelf: str, cents: float | None) -> str:
    await did("refund", shelf, cents)
    return "refunded"


@step
async def ship(cents: float) -> None:
    await did("ship", cents)


order = (
    Workflow("order", input=int).then(reserve.undo(release)).then(charge.undo(refund)).then(ship)
)


def names() -> list[object]:
    return [words[0] for words in said]


async def failed(engine: Engine, workflow: Workflow, value: object = None, **options) -> str:
    handle = await engine.start(workflow, value, **options)
    with pytest.raises(RunFailedError):
        await handle.result()
    return handle.run_id


async def until_kind(engine: Engine, run_id: str, kind: str) -> None:
    async for event in engine.events(run_id):
        if event.kind == kind:
            return


@STORES
@in_loop
async def test_what_was_done_is_undone_and_the_run_tells(url, tmp_path):
    broken.add("ship")
    async with Engine(url.format(tmp_path)) as engine:
        run_id = await failed(engine, order, 7)
        run, steps = await engine.get_run(run_id), await engine.steps(run_id)
    assert said[3:] == [
        ("refund", "shelf 7", 9.5), ("release", 7, "shelf 7", 7, f"{run_id}:reserve")
    ]  # fmt: skip
    assert run.reason == "ship: ValueError: ship; undone: charge, reserve"
    assert run.progress is not None
    assert run.progress.done == run.progress.total == 5
    told = [(s.path, s.step_id, s.status.value, s.undone) for s in steps]
    assert told == [
        ("reserve", "reserve", "completed", StepStatus.COMPLETED),
        ("charge", "charge", "completed", StepStatus.COMPLETED),
        ("ship", "ship", "failed", None),
        ("charge~undo", "refund", "completed", None),
        ("reserve~undo", "release", "completed", None),
    ]
    assert (steps[3].input, steps[3].output) == (("shelf 7", 9.5), "refunded")


@STORES
@in_loop
async def test_a_run_that_completes_undoes_nothing(url, tmp_path):
    async with Engine(url.format(tmp_path)) as engine:
        await engine.run(order, 7, run_id="r")
        assert "undo_started" not in await kinds(engine, "r")
        assert {s.undone for s in await engine.steps("r")} == {None}
    assert names() == ["reserve", "charge", "ship"]


@in_loop
async def test_what_can_not_be_undone_is_told_and_the_others_are_undone():
    broken.update(("ship", "refund"))
    async with Engine("memory:") as engine:
        handle = await engine.start(order, 7)
        with pytest.raises(RunFailedError) as error:
            await handle.result()
        run = await handle.info()
        assert (await step_of(engine, handle.run_id, "charge")).undone is StepStatus.FAILED
    assert names()[-2:] == ["refund", "release"]
    assert [failure.path for failure in error.value.failures] == ["ship", "charge~undo"]
    assert [failure.step_id for failure in error.value.failures] == ["ship", "refund"]
    assert [(f.path, f.handled) for f in run.failures] == [("ship", False), ("charge~undo", False)]
    assert run.reason == (
        "ship: ValueError: ship (and 1 more); undone: reserve; could not undo charge"
    )


@in_loop
async def test_undo_steps_have_their_own_options():
    calls = []

    @step(retries=2, timeout=5)
    async def moody(shelf: str, cents: float | None) -> None:
        calls.append(cents)
        if len(calls) < 3:
            raise ValueError("not now")

    broken.add("ship")
    flow = Workflow("flow", input=int).then(reserve).then(charge.undo(moody)).then(ship)
    async with Engine("memory:", defaults={"continue_on_error": False}) as engine:
        run_id = await failed(engine, flow, 7)
        undone = await step_of(engine, run_id, "charge~undo")
    assert calls == [9.5] * 3
    assert [attempt.number for attempt in undone.attempts] == [1, 2, 3]


@STORES
@in_loop
async def test_a_cancelled_run_is_undone_and_what_was_running_too(url, tmp_path):
    gates["charge"] = Gate()
    async with Engine(url.format(tmp_path)) as engine:
        handle = await engine.start(order, 7)
        await until(lambda: gates["charge"].arrived)
        await handle.cancel("changed my mind")
        with pytest.raises(RunCancelledError):
            await handle.result()
        run = await handle.info()
    assert names() == ["reserve", "charge", "refund", "release"]
    assert said[2] == ("refund", "shelf 7", None)
    assert run.status is RunStatus.CANCELLED
    assert run.reason == "changed my mind; undone: charge, reserve"


@pytest.mark.parametrize("live", [True, False])
@in_loop
async def test_a_cancel_returns_when_it_is_recorded_not_when_all_is_undone(live):
    gates["release"] = Gate()
    if live:
        gates["charge"] = Gate()
        rest = Workflow("rest", input=str).then(charge)
    else:
        rest = Workflow("rest", input=str).sleep(3600)
    flow = Workflow("flow", input=int).then(reserve.undo(release)).then(rest)
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 7)
        if live:
            await until(lambda: gates["charge"].arrived)
        else:
            while (await handle.info()).status is not RunStatus.SUSPENDED:
                await asyncio.sleep(0)
        await handle.cancel("enough")
        run = await handle.info()
        assert (run.status, run.finished_at) == (RunStatus.RUNNING, None)
        assert run.reason == "undoing: enough"
        await handle.cancel("again")  # no more than noted
        gates["release"].open()
        with pytest.raises(RunCancelledError, match="enough; undone: reserve"):
            await handle.result()


@in_loop
async def test_a_cancel_while_undoing_changes_nothing():
    broken.add("ship")
    gates["refund"] = Gate()
    async with Engine("memory:") as engine:
        handle = await engine.start(order, 7)
        await until(lambda: gates["refund"].arrived)
        undoing = await handle.info()
        assert undoing.status is RunStatus.RUNNING
        assert undoing.reason == "undoing: ship: ValueError: ship"
        assert (await step_of(engine, handle.run_id, "reserve")).undone is StepStatus.PENDING
        cancelling = asyncio.ensure_future(handle.cancel())
        await until_kind(engine, handle.run_id, "cancel_requested")
        gates["refund"].open()
        await cancelling
        with pytest.raises(RunFailedError):
            await handle.result()
    assert names()[-2:] == ["refund", "release"]


@in_loop
async def test_an_undo_step_waits_for_the_handler_that_was_told_to_stop():
    cleaning, cleaned = Gate(), []

    @step
    async def slow(number: int) -> int:
        try:
            await gates["never"].wait_async()
        except asyncio.CancelledError:
            await cleaning.wait_async()
            cleaned.append(number)
            raise
        return number

    @step
    async def unslow(number: int, result: int | None) -> None:
        cleaned.append("undone")

    gates["never"] = Gate()
    async with Engine("memory:") as engine:
        flow = Workflow("flow", input=int).then(slow.undo(unslow))
        handle = await engine.start(flow, 7)
        await until(lambda: gates["never"].arrived)
        cancelling = asyncio.ensure_future(handle.cancel())
        await until(lambda: cleaning.arrived)
        assert not cleaned
        cleaning.open()
        await cancelling
        with pytest.raises(RunCancelledError):
            await handle.result()
    assert cleaned == [7, "undone"]


@in_loop
async def test_a_handler_that_cleans_up_is_not_told_to_stop_twice():
    cleaning, cleaned = Gate(), []

    @step(timeout=0.05)
    async def slow(number: int) -> int:
        try:
            await gates["never"].wait_async()
        finally:
            await cleaning.wait_async()
            cleaned.append(number)
        return number

    @step
    async def unslow(number: int, result: int | None) -> None:
        cleaned.append("undone")

    gates["never"] = Gate()
    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("flow", input=int).then(slow.undo(unslow)), 7)
        await until(lambda: cleaning.arrived)
        cancelling = asyncio.ensure_future(handle.cancel())
        await until_kind(engine, handle.run_id, "undo_started")
        cleaning.open()
        await cancelling
        with pytest.raises(RunCancelledError):
            await handle.result()
    assert cleaned == [7, "undone"]


@in_loop
async def test_what_timed_out_is_undone_without_its_output():
    gates["charge"] = Gate()
    slow = charge.options(timeout=0.02).undo(refund)
    async with Engine("memory:") as engine:
        await failed(engine, Workflow("flow", input=str).then(slow), "s")
    assert said == [("charge", "s"), ("refund", "s", None)]


@in_loop
async def test_what_raised_is_not_undone():
    broken.add("charge")
    async with Engine("memory:") as engine:
        await failed(engine, order, 7)
    assert names() == ["reserve", "charge", "release"]


@in_loop
async def test_what_returned_something_that_could_not_be_recorded_is_undone():
    @step
    async def boast(shelf: str) -> str:
        return shelf * 1_000

    @step
    async def repent(shelf: str, claim: str | None) -> None:
        said.append(("repent", claim))

    async with Engine("memory:", max_payload=100) as engine:
        await failed(engine, Workflow("flow", input=str).then(boast.undo(repent)), "s")
    assert said == [("repent", None)]


@in_loop
async def test_what_killed_its_process_is_undone():
    async with Engine("memory:") as engine:
        flow = Workflow("flow", input=int).then(killed.undo(killed_undone))
        run_id = await failed(engine, flow, 7)
        undone = await step_of(engine, run_id, "killed~undo")
    assert undone.executor == "process"
    assert (undone.input, undone.output) == ((7, None), "7 None")


@STORES
@in_loop
async def test_the_deadline_of_the_run_does_not_stop_undoing(url, tmp_path):
    gates.update(ship=Gate(), refund=Gate())
    async with Engine(url.format(tmp_path)) as engine:
        handle = await engine.start(order, 7, timeout=0.2)
        await until(lambda: gates["refund"].arrived)
        assert "timer_fired" in await kinds(engine, handle.run_id)
        gates["refund"].open()
        with pytest.raises(RunFailedError) as error:
            await handle.result()
    assert [failure.code for failure in error.value.failures] == ["timeout"]
    assert names()[-1] == "release"


@in_loop
async def test_a_crash_while_undoing_goes_on_with_it(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    broken.add("ship")
    gates["release"] = Gate()
    engine = await Engine(url).__aenter__()
    handle = await engine.start(order, 7)
    await until(lambda: gates["release"].arrived)
    await engine.aclose(grace=0)
    gates["release"].open()
    async with Engine(url, workflows=[order]) as engine:
        again = engine.handle(handle.run_id, order)
        with pytest.raises(RunFailedError):
            await again.result()
        run = await engine.get_run(handle.run_id)
    assert names() == ["reserve", "charge", "ship", "refund", "release", "release"]
    assert run.reason == "ship: ValueError: ship; undone: charge, reserve"


@STORES
@in_loop
async def test_branches_and_items_are_undone_side_by_side(url, tmp_path):
    @step
    async def numbers(count: int) -> list[int]:
        return [*range(count)]

    @step
    async def work(number: int) -> int:
        return number * 10

    @step
    def unwork(number: int, result: int | None) -> None:
        gates["unwork"].wait()
        said.append((number, result))

    @step
    async def fail(results: list[int]) -> None:
        raise ValueError("no")

    gates["unwork"] = Gate()
    flow = Workflow("flow", input=int).then(numbers).map(work.undo(unwork)).then(fail)
    async with Engine(url.format(tmp_path)) as engine:
        handle = await engine.start(flow, 3)
        await until(lambda: gates["unwork"].arrived == 3)
        gates["unwork"].open()
        with pytest.raises(RunFailedError):
            await handle.result()
        steps = await engine.steps(handle.run_id)
    assert sorted(said) == [(0, 0), (1, 10), (2, 20)]
    assert [s.path for s in steps[-3:]] == ["work[2]~undo", "work[1]~undo", "work[0]~undo"]


@in_loop
async def test_several_inputs_are_handed_on_as_they_were():
    @step
    async def pair(number: int) -> tuple[int, str]:
        return number, "one"

    @step
    async def take(number: int, name: str) -> None:
        said.append((number, name))

    @step
    async def give_back(number: int, name: str, _: None) -> None:
        said.append(("back", number, name))

    @step
    async def none() -> int:
        return 3

    @step
    async def unnone(result: int | None) -> None:
        said.append(("none", result))

    broken.add("ship")
    flow = (
        Workflow("flow", input=int)
        .then(none.undo(unnone))
        .then(pair)
        .then(take.undo(give_back))
        .parallel(none.options(id="a"), none.options(id="b"))
        .then(step(lambda_of_two, id="two").undo(step(undo_of_two, id="undo_two")))
        .then(ship)
    )
    async with Engine("memory:") as engine:
        await failed(engine, flow, 1)
    assert said == [
        (3, "one"), ("ship", 6.0), ("two", 3, 3, 6.0), ("back", 3, "one"), ("none", 3)
    ]  # fmt: skip


def lambda_of_two(one: int, other: int) -> float:
    return float(one + other)


def undo_of_two(one: int, other: int, result: float | None) -> None:
    said.append(("two", one, other, result))


class TestReruns:
    @in_loop
    async def test_nothing_that_was_undone_is_kept(self):
        broken.update(("ship", "refund"))
        async with Engine("memory:") as engine:
            run_id = await failed(engine, order, 7)
            broken.clear()
            said.clear()
            again = await engine.rerun(run_id)
            await again.result()
        assert names() == ["reserve", "charge", "ship"]

    @in_loop
    async def test_what_has_no_undo_step_is_kept_up_to_what_was_undone(self):
        broken.add("ship")
        flow = Workflow("flow", input=int).then(reserve).then(charge.undo(refund)).then(ship)
        async with Engine("memory:") as engine:
            run_id = await failed(engine, flow, 7)
            broken.clear()
            said.clear()
            await (await engine.rerun(run_id)).result()
        assert names() == ["charge", "ship"]

    @in_loop
    async def test_what_it_kept_of_a_completed_run_is_left_to_that_run(self):
        async with Engine("memory:") as engine:
            await engine.run(order, 7, run_id="r")
            said.clear()
            broken.add("ship")
            again = await engine.rerun("r", "ship")
            with pytest.raises(RunFailedError):
                await again.result()
        assert names() == ["ship"]


@in_loop
async def test_a_run_that_nobody_carries_is_left_for_a_worker_to_undo(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    gates["ship"] = Gate()
    engine = await Engine(url).__aenter__()
    handle = await engine.start(order, 7)
    await until(lambda: gates["ship"].arrived)
    await engine.aclose(grace=0)
    async with Client(url) as client:
        await client.cancel(handle.run_id, reason="enough")
        run = await client.get_run(handle.run_id)
        assert (run.status, run.reason, run.finished_at) == ("running", "undoing: enough", None)
    async with Engine(url, workflows=[order]) as engine:
        with pytest.raises(RunCancelledError):
            await engine.handle(handle.run_id, order).result()
    assert names() == ["reserve", "charge", "ship", "refund", "release"]


@in_loop
async def test_a_cancel_of_a_run_that_waits_to_undo_changes_nothing(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    broken.update({"ship", "refund"})
    later = refund.options(retries=RetryPolicy(retries=1, initial_interval=60, jitter=0))
    flow = Workflow("order", input=int).then(reserve).then(charge.undo(later)).then(ship)
    async with Engine(url) as engine:
        handle = await engine.start(flow, 7)
        await until_kind(engine, handle.run_id, "undo_started")
        while (before := await handle.info()).status is not RunStatus.SUSPENDED:
            await asyncio.sleep(0.01)
    async with Client(url) as client:
        await client.cancel(handle.run_id, reason="enough")
        run = await client.get_run(handle.run_id)
        assert run.reason == "undoing: ship: ValueError: ship"
        assert (run.status, run.due_at) == (before.status, before.due_at)


@in_loop
async def test_a_run_that_is_cancelled_before_its_turn_is_undone_when_that_comes(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    gates["ship"], gates["busy"] = Gate(), Gate()
    engine = await Engine(url).__aenter__()
    handle = await engine.start(order, 7)
    await until(lambda: gates["ship"].arrived)
    await engine.aclose(grace=0)

    @step
    async def busy() -> None:
        await did("busy")

    async with Engine(url, max_concurrent_runs=1) as engine:
        other = await engine.start(Workflow("other").then(busy))
        await until(lambda: gates["busy"].arrived)
        same = engine.handle(handle.run_id, order)
        assert await engine.recover(handle.run_id) == [handle.run_id]
        cancelling = asyncio.ensure_future(same.cancel())
        await until_kind(engine, handle.run_id, "undo_started")
        gates["refund"] = Gate()
        gates["busy"].open()
        await other.result()
        await until(lambda: gates["refund"].arrived)
        gates["refund"].open()
        await cancelling
        with pytest.raises(RunCancelledError):
            await same.result()
        assert (await step_of(engine, handle.run_id, "charge~undo")).attempt == 1
    assert names() == ["reserve", "charge", "ship", "busy", "refund", "release"]


@in_loop
async def test_a_run_is_blocked_where_the_code_could_not_undo_it(tmp_path):
    url = f"sqlite:{tmp_path}/runs.db"
    gates["ship"] = Gate()
    engine = await Engine(url).__aenter__()
    handle = await engine.start(order, 7)
    await until(lambda: gates["ship"].arrived)
    await engine.aclose(grace=0)
    less = Workflow("order", input=int).then(reserve.undo(release)).then(charge).then(ship)
    async with Engine(url, workflows=[less], recover=False) as engine:
        with pytest.raises(RunBlockedError, match="the undo step of 'charge' is gone"):
            await engine.recover(handle.run_id)


@pytest.mark.parametrize("items", [200, 2_000])
def test_the_cost_of_undoing_an_item_is_flat(items):
    @step
    async def numbers(count: int) -> list[int]:
        return [*range(count)]

    @step
    async def work(number: int) -> int:
        return number

    @step
    async def unwork(number: int, result: int | None) -> None:
        said.append((number,))

    @step
    async def fail(results: list[int]) -> None:
        raise ValueError("no")

    async def main() -> float:
        flow = Workflow("flow", input=int).then(numbers).map(work.undo(unwork)).then(fail)
        async with Engine("memory:") as engine:
            began = time.perf_counter()
            await failed(engine, flow, items)
            return time.perf_counter() - began

    took = asyncio.run(main())
    assert len(said) == items
    assert took / items < 0.01
