"""When the store fails, others interfere, or the program stops at an odd moment."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from gorkflow import (
    Cancelled,
    Client,
    Engine,
    EngineClosedError,
    FailureCode,
    RunFailedError,
    RunStatus,
    StepContext,
    StoreError,
    Workflow,
    step,
)
from gorkflow.store import Loaded, RunRow

from .support import Gate, Moody, in_loop, kinds, until


@step
async def good(number: int) -> int:
    return number


@step
def sync(number: int) -> int:
    return number


ONE = Workflow("one", input=int).then(good)


@pytest.mark.parametrize("chosen", [good, sync])
@in_loop
async def test_store_errors_cost_no_slots(chosen: Any) -> None:
    store = Moody()
    wf = Workflow("w", input=int).then(good.options(id="first")).then(chosen.options(id="last"))
    async with Engine(store, max_concurrent_steps=2, max_threads=2, recover=False) as engine:
        for what in ("create", "append", "append", "create", "append", "append"):
            store.fail[what] = 1
            with pytest.raises(StoreError):
                await engine.run(wf, 1)
        assert await engine.run(wf, 1) == 1


@in_loop
async def test_no_handler_starts_after_the_engine_gave_the_run_up() -> None:
    store = Moody()
    store.gates["append"] = Gate()
    ran: list[int] = []

    @step
    async def second(number: int) -> int:
        ran.append(number)
        return number

    engine = Engine(store)
    await engine.open()
    wf = Workflow("w", input=int).then(good).then(second)
    await engine.start(wf, 1, run_id="r")
    await until(lambda: store.gates["append"].arrived, "the append")
    closing = asyncio.ensure_future(engine.aclose(grace=0))
    await asyncio.sleep(0.05)
    store.gates["append"].open()
    await closing
    assert ran == []
    async with Engine(store, workflows=[wf]) as engine:
        assert await engine.handle("r", wf).result() == 1
    assert ran == [1]


@in_loop
async def test_a_start_that_waits_its_turn_ends_when_the_engine_closes() -> None:
    store = Moody()
    store.gates["create"] = Gate()
    engine = Engine(store)
    await engine.open()
    first = asyncio.ensure_future(engine.start(ONE, 1, run_id="first"))
    await until(lambda: store.gates["create"].arrived, "the first")
    second = asyncio.ensure_future(engine.start(ONE, 1, run_id="second"))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(engine.aclose(grace=0))
    await asyncio.sleep(0.05)
    store.gates["create"].open()
    await closing
    assert (await first).run_id == "first"  # it was recorded, so its start succeeded
    with pytest.raises(EngineClosedError):
        await second
    assert await store.get_run("second") is None
    with pytest.raises(EngineClosedError):
        await engine.start(ONE, 1)


@in_loop
async def test_a_run_goes_on_when_its_store_works_again() -> None:
    store = Moody()
    async with Engine(store) as engine:
        store.fail["append"] = 1
        with pytest.raises(StoreError):
            await engine.run(ONE, 1, run_id="r")
        assert await engine.recover("r") == ["r"]
        assert await engine.handle("r", ONE).result() == 1


@in_loop
async def test_a_cancel_is_kept_until_it_had_its_effect() -> None:
    store = Moody()
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(holds).then(good)
    async with Engine(store) as engine, Client(store) as other:
        await engine.start(wf, 1, run_id="r")
        await until(lambda: gate.arrived, "the step")
        store.fail["append"] = 1
        gate.open()  # its result can't be recorded: the engine gives the run up
        await other.cancel("r", reason="from elsewhere")
        assert await other.handle("r", wf).outcome() == Cancelled("", "from elsewhere")
        await until(lambda: not store._mailed, "the mail to be consumed")


@in_loop
async def test_a_cancel_that_the_store_refused_says_so() -> None:
    store = Moody()
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    async with Engine(store) as engine:
        await engine.start(Workflow("w", input=int).then(holds), 1, run_id="r")
        await until(lambda: gate.arrived, "the step")
        store.fail["append"] = 3
        with pytest.raises(StoreError):
            await engine.cancel("r")
        store.fail.clear()
        await engine.cancel("r")
        assert (await engine.get_run("r")).status == RunStatus.CANCELLED


@in_loop
async def test_a_recovery_that_is_cancelled_or_fails_keeps_no_run_from_going_on() -> None:
    store = Moody()
    async with Client(store) as client:
        for number in range(5):
            await client.start(ONE, number, run_id=f"r{number}")
    store.gates["load"] = Gate()
    async with Engine(store) as engine:
        engine.handle("r0", ONE)  # now the workflow is known
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.recover(), 0.05)
        store.fail.update({"load": 2, "append": 1})
        store.gates["load"].open()
        results = [await engine.handle(f"r{n}", ONE).result() for n in range(5)]
    assert results == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("where", ["step", "condition"])
@in_loop
async def test_a_handler_whose_task_somebody_cancels_fails(where: str) -> None:
    async def cancels_itself(number: int) -> bool:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return True

    as_step = step(cancels_itself, id="cancels", timeout=20)
    wf: Workflow[int, Any] = Workflow("w", input=int)
    wf = wf.then(as_step) if where == "step" else wf.then_if(cancels_itself, good)
    async with Engine("memory:", max_concurrent_steps=1) as engine:
        with pytest.raises(RunFailedError) as caught:
            await engine.run(wf, 1)
        code = FailureCode.CANCELLED if where == "step" else FailureCode.CONDITION
        assert caught.value.failures[0].code == code
        assert await engine.run(ONE, 1) == 1  # the slot is back


@in_loop
async def test_a_close_that_is_interrupted_still_closes() -> None:
    store = Moody()
    gate = Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            await gate.wait_async()
        return ctx.attempt

    wf = Workflow("w", input=int).then(holds)
    engine = Engine(store)
    await engine.open()
    await engine.start(wf, 1, run_id="r")
    await until(lambda: gate.arrived, "the step")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.aclose(), 0.05)
    await engine.aclose()
    async with Engine(store, workflows=[wf]) as engine:
        assert await engine.handle("r", wf).result() == 2


@in_loop
async def test_an_engine_that_could_not_open_can_be_opened_again() -> None:
    store = Moody()
    store.fail["register"] = 1
    engine = Engine(store)
    with pytest.raises(StoreError):
        await engine.open()
    with pytest.raises(EngineClosedError):
        await engine.list_runs()
    async with engine:
        assert await engine.run(ONE, 1) == 1
        assert [w.worker_id for w in await store.workers()] == [engine.worker_id]


def test_an_engine_belongs_to_one_loop() -> None:
    engine = Engine("memory:")
    asyncio.run(engine.open())
    with pytest.raises(EngineClosedError, match="another event loop"):
        asyncio.run(engine.open())


@in_loop
async def test_recovered_runs_keep_the_limit_of_runs(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    gate, again = Gate(), Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        await (gate if ctx.attempt == 1 else again).wait_async()
        return number

    wf = Workflow("w", input=int).then(holds)
    engine = Engine(url)
    await engine.open()
    for number in range(6):
        await engine.start(wf, number, run_id=f"r{number}")
    await until(lambda: gate.arrived == 6, "all")
    await engine.aclose(grace=0)
    async with Engine(url, workflows=[wf], max_concurrent_runs=2) as engine:
        await until(lambda: again.arrived == 2, "two")
        assert (
            sum([(await kinds(engine, f"r{n}")).count("step_interrupted") for n in range(6)]) == 2
        )
        again.open()
        assert [await engine.handle(f"r{n}", wf).result() for n in range(6)] == list(range(6))


@in_loop
async def test_first_come_first_served_whatever_the_kind() -> None:
    gate = Gate()
    order: list[str] = []

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    @step
    async def in_loop_step(ctx: StepContext, number: int) -> int:
        order.append(ctx.path)
        return number

    @step
    def in_thread(ctx: StepContext, number: int) -> int:
        order.append(ctx.path)
        return number

    steps = [(in_thread if i % 2 else in_loop_step).options(id=f"s{i}") for i in range(6)]
    wf = Workflow("w", input=int).parallel(holds, *steps)
    async with Engine("memory:", max_concurrent_steps=1) as engine:
        handle = await engine.start(wf, 1)
        gate.open()
        await handle.result()
    assert order == [f"s{i}" for i in range(6)]


@in_loop
async def test_closing_waits_for_handlers_to_clean_up() -> None:
    cleaned: list[str] = []
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        try:
            await gate.wait_async()
        finally:
            await asyncio.sleep(0.02)
            cleaned.append("yes")
        return number

    engine = Engine("memory:")
    await engine.open()
    await engine.start(Workflow("w", input=int).then(holds), 1)
    await until(lambda: gate.arrived, "the step")
    await engine.aclose(grace=0)
    assert cleaned == ["yes"]


@in_loop
async def test_an_id_whose_first_start_failed_is_free() -> None:
    store = Moody()
    store.fail["create"] = 1
    async with Engine(store) as engine:
        first, second = await asyncio.gather(
            *[engine.run(ONE, 1, run_id="r", if_exists="return") for _ in range(2)],
            return_exceptions=True,
        )
    assert isinstance(first, StoreError)
    assert second == 1


# Values: validated into what receives them where the producer's type does not warrant it.


class Item(BaseModel):
    n: int


Big = Annotated[int, Field(gt=5)]


@dataclass
class Pair:
    left: int
    right: Item


@in_loop
async def test_the_items_of_a_recorded_tuple_are_validated_one_by_one() -> None:
    @step
    async def pair(number: int) -> tuple[int, Any]:
        return number, {"n": 3}

    @step
    async def takes(left: int, right: Item) -> Pair:
        return Pair(left, right)

    @step
    async def picky(left: int, right: Big) -> int:
        return right

    @step
    async def numbers(number: int) -> tuple[int, int]:
        return number, number

    async with Engine("memory:") as engine:
        wf = Workflow("w", input=int).then(pair).then(takes)
        assert await engine.run(wf, 1) == Pair(1, Item(n=3))
        with pytest.raises(RunFailedError) as caught:
            await engine.run(Workflow("p", input=int).then(numbers).then(picky), 2)
        assert caught.value.failures[0].code == FailureCode.VALIDATION


@in_loop
async def test_a_blocks_tuple_is_validated_for_one_parameter_that_takes_it_whole() -> None:
    @step
    async def anything(number: int) -> Any:
        return {"n": number}

    @step
    async def whole(both: tuple[int, Item]) -> int:
        return both[1].n

    block = Workflow("w", input=int).parallel(good, anything)
    async with Engine("memory:") as engine:
        assert await engine.run(block.then(whole), 4) == 4


@in_loop
async def test_a_default_and_a_conditions_input_are_validated() -> None:
    @step
    async def picky(number: Big) -> int:
        return number

    @step
    async def anything(number: int) -> Any:
        return {"n": number}

    @step
    async def big(item: Item) -> int:
        return item.n

    def is_small(item: Item) -> bool:
        return item.n < 5

    async with Engine("memory:") as engine:
        wf = Workflow("w", input=int).then_if(lambda _: False, good, default=2).then(picky)
        with pytest.raises(RunFailedError) as caught:
            await engine.run(wf, 9)
        assert caught.value.failures[0].code == FailureCode.VALIDATION
        asked = Workflow("a", input=int).then(anything).then_if(is_small, big, default=0)
        assert await engine.run(asked, 3) == 3


@in_loop
async def test_the_deadline_is_that_of_the_attempt_or_the_run() -> None:
    @step(timeout=10)
    async def timed(ctx: StepContext, number: int) -> float:
        assert ctx.deadline is not None
        return ctx.deadline.timestamp()

    @step
    async def untimed(ctx: StepContext, before: float) -> bool:
        return ctx.deadline is None

    async with Engine("memory:") as engine:
        wf = Workflow("w", input=int).then(timed)
        handle = await engine.start(wf, 1)
        own = await handle.result()
        (begun,) = [s.started_at for s in await engine.steps(handle.run_id)]
        assert begun is not None
        assert own == pytest.approx((begun + timedelta(seconds=10)).timestamp())
        assert await engine.run(wf.then(untimed), 1)
        assert await engine.run(wf, 1, timeout=5) < own


class Overtaken(Moody):
    """Lets a run be taken over between the post of a message for it and the claim that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = Gate()
        self.began = Gate()

    def _over(self) -> bool:
        return all(run.row.status.terminal for run in self._store._runs.values())

    async def load_many(self, run_ids: Sequence[str]) -> dict[str, Loaded]:
        found = await self._store.load_many(run_ids)
        await self.looked.wait_async()
        return found

    async def claim(self, worker_id: str, **options: Any) -> list[RunRow]:
        if options.get("run_id") is not None:
            self.looked.open()
            await until(lambda: self.began.arrived or self._over(), "the step, or the cancel")
        return await self._store.claim(worker_id, **options)


@in_loop
async def test_a_cancel_is_recorded_on_return_though_the_run_was_just_being_taken_over() -> None:
    store = Overtaken()

    @step
    async def holds(number: int) -> int:
        await store.began.wait_async()
        return number

    wf = Workflow("w", input=int).then(holds)
    async with Client(store) as client:
        await client.start(wf, 1, run_id="r")
    async with Engine(store, recover=True) as engine:
        engine.handle("r", wf)
        recovering = asyncio.ensure_future(engine.recover())
        await until(lambda: store.looked.arrived, "the look for mail")
        await engine.cancel("r")
        assert (await engine.get_run("r")).status == RunStatus.CANCELLED
        await recovering
