"""When transitions are written: at once for a run that is alone, else together with others."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from gorkflow import (
    Client,
    DuplicateRunError,
    Engine,
    ResourceBusyError,
    Workflow,
    passthrough,
    step,
)
from gorkflow.engine import _handlers
from gorkflow.machine import joins
from gorkflow.store import Append, NewRun
from gorkflow.stores.memory import MemoryStore

from .support import Gate, Moody, in_loop, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gorkflow.model import StepStatus
    from gorkflow.policy import Join
    from gorkflow.store import Transition, Written


@step
async def add_one(number: int) -> int:
    return number + 1


@step
async def naps(number: int) -> int:
    await asyncio.sleep(0)
    return number + 1


@step
async def total(numbers: tuple[int, ...]) -> int:
    return sum(numbers)


@step
async def fails(number: int | None) -> int:
    raise ValueError(number)


def chain(length: int, link: Any = add_one) -> Workflow[int, Any]:
    workflow: Any = Workflow("chain", input=int)
    for number in range(length):
        workflow = workflow.then(link.options(id=f"s{number}"))
    return workflow


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._handle = self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._count += 1
        self._handle = self._loop.call_soon(self._next)

    def stop(self) -> int:
        self._handle.cancel()
        return self._count


class Counting(MemoryStore):
    """Notes how many transitions each call brings."""

    def __init__(self) -> None:
        super().__init__()
        self.created: list[int] = []
        self.appended: list[int] = []

    def write(self, batch: Sequence[Transition]) -> asyncio.Future[list[Written]]:
        for sizes, kind in ((self.created, NewRun), (self.appended, Append)):
            if size := sum(isinstance(item, kind) for item in batch):
                sizes.append(size)
        return super().write(batch)


@in_loop
async def test_a_run_that_is_alone_is_recorded_before_start_lets_go() -> None:
    store = Counting()
    async with Engine(store) as engine:
        starting = engine.start(chain(1), 0, run_id="alone")
        with pytest.raises(StopIteration) as returned:
            starting.send(None)  # it gives the loop no turn
        assert store.created == [1]
        assert await returned.value.value.result() == 1


@pytest.mark.own_store
@in_loop
async def test_steps_that_never_suspend_take_a_turn_for_64_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_handlers, "LONGEST", 1_000.0)
    async with Engine("memory:") as engine:
        await engine.run(chain(40), 0)
        turns = Turns()
        assert await engine.run(chain(640), 0) == 640
        assert 10 <= turns.stop() <= 15


@in_loop
async def test_steps_that_take_long_and_never_suspend_take_a_turn_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_handlers, "LONGEST", 0.0)
    async with Engine("memory:") as engine:
        turns = Turns()
        assert await engine.run(chain(40), 0) == 40
        assert turns.stop() >= 40


@pytest.mark.own_store
@in_loop
async def test_steps_that_suspend_take_a_turn_more_each() -> None:
    async with Engine("memory:") as engine:
        turns = Turns()
        assert await engine.run(chain(40, naps), 0) == 40
        assert 80 <= turns.stop() <= 90


@pytest.mark.parametrize("runs", [2, 20])
@in_loop
async def test_runs_side_by_side_share_their_appends(runs: int) -> None:
    store = Counting()
    async with Engine(store) as engine:
        running = [engine.run(chain(5), number) for number in range(runs)]
        assert await asyncio.gather(*running) == [number + 5 for number in range(runs)]
    assert sum(store.appended) == runs * 5
    assert len(store.appended) <= 7


@in_loop
async def test_branches_share_an_append() -> None:
    store = Counting()
    workflow = Workflow("wide", input=int).parallel(
        *(add_one.options(id=f"b{number}") for number in range(20))
    )
    async with Engine(store) as engine:
        assert await engine.run(workflow.then(total), 0) == 20
    assert len(store.appended) == 2  # all branches; then the last step


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before 3.12")
@in_loop
async def test_eager_tasks_do_not_pile_up_on_the_stack() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
    length = 2_000
    async with Engine("memory:") as engine:
        assert await engine.run(chain(length), 0) == length


@pytest.mark.own_store
@in_loop
async def test_so_do_steps_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_handlers, "LONGEST", 1_000.0)
    async with Engine("memory:") as engine:
        turns = Turns()
        assert await engine.run(chain(640, fails.options(continue_on_error=True)), 0) is None
        assert 10 <= turns.stop() <= 15


@in_loop
async def test_a_branch_that_decides_nothing_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    verdict = joins.verdict

    def noted(join: Join, tally: joins.Tally) -> StepStatus | None:
        judged.append(tally.completed)
        return verdict(join, tally)

    monkeypatch.setattr(joins, "verdict", noted)
    workflow = Workflow("wide", input=int).parallel(
        *(add_one.options(id=f"b{number}") for number in range(50))
    )
    async with Engine("memory:") as engine:
        assert await engine.run(workflow.then(total), 0) == 50
    assert judged == [0, 50]  # could it be met at all; and at the end


LOOPS = ("client", "delayed", "refused", "taken", "empty", "kept")


@pytest.mark.parametrize("kind", LOOPS)
@in_loop
async def test_starting_runs_in_a_loop_keeps_nobody_from_having_a_turn(kind: str) -> None:
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    holding = Workflow("holding", input=int).then(holds)
    empty = Workflow("empty", input=int).then(passthrough(int))
    store = MemoryStore()
    async with Engine(store) as engine, Client(store) as client:
        done = await engine.start(chain(2), 1)
        await done.result()
        if kind in {"refused", "taken"}:
            await engine.start(holding, 1, run_id="r", resource_id="it", exclusive=True)

        async def start() -> None:
            match kind:
                case "client":
                    await client.start(holding, 1)
                case "delayed":
                    await engine.start(holding, 1, delay=3600.0)
                case "refused":
                    with suppress(ResourceBusyError):
                        await client.start(holding, 1, resource_id="it", exclusive=True)
                case "taken":
                    with suppress(DuplicateRunError):
                        await engine.start(holding, 1, run_id="r")
                case "empty":
                    await engine.run(empty, 1)
                case _:
                    await engine.rerun(done.run_id)

        turned = asyncio.Event()
        asyncio.get_running_loop().call_soon(turned.set)
        for _ in range(20):
            await start()
        assert turned.is_set()
        gate.open()


@in_loop
async def test_a_cancel_that_is_written_with_the_last_result_comes_too_late() -> None:
    store = Moody()
    first, last = Gate(), Gate()

    @step
    async def early(number: int) -> int:
        await first.wait_async()
        return number

    @step
    async def late(number: int) -> int:
        await last.wait_async()
        return number

    workflow = Workflow("w", input=int).parallel(early, late)
    async with Engine(store) as engine:
        handle = await engine.start(workflow, 1)
        await until(lambda: first.arrived and last.arrived, "the steps")
        writing = store.gates["append"] = Gate()
        first.open()
        await until(lambda: writing.arrived, "the result of the other")
        last.open()
        driver = engine._worker.runs.drivers[handle.run_id]
        await until(lambda: driver._inbox, "the last result")
        cancelling = asyncio.ensure_future(handle.cancel())
        await until(lambda: len(driver._inbox) == 2, "the cancel")
        writing.open()
        await cancelling
        assert await handle.result() == (1, 1)
