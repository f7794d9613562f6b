"""When transitions are written: at once for a run that is alone, else together with others."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from gorkflow import Engine, Workflow, step
from gorkflow.stores.memory import MemoryStore
from tests.engine.support import in_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gorkflow.store import Append, NewRun, Written


@step
async def add_one(number: int) -> int:
    return number + 1


@step
async def total(numbers: tuple[int, ...]) -> int:
    return sum(numbers)


def chain(length: int) -> Workflow[int, int]:
    workflow = Workflow("chain", input=int).then(add_one.options(id="s0"))
    for number in range(1, length):
        workflow = workflow.then(add_one.options(id=f"s{number}"))
    return workflow


class Counting(MemoryStore):
    """Notes how many transitions each call brings."""

    def __init__(self) -> None:
        super().__init__()
        self.created: list[int] = []
        self.appended: list[int] = []

    def create_now(self, batch: Sequence[NewRun]) -> list[Written]:
        self.created.append(len(batch))
        return super().create_now(batch)

    def append_now(self, batch: Sequence[Append]) -> list[Written]:
        self.appended.append(len(batch))
        return super().append_now(batch)


@in_loop
async def test_a_run_that_is_alone_is_recorded_before_start_lets_go() -> None:
    store = Counting()
    async with Engine(store) as engine:
        starting = engine.start(chain(1), 0, run_id="alone")
        with pytest.raises(StopIteration) as returned:
            starting.send(None)  # it gives the loop no turn
        assert store.created == [1]
        assert await returned.value.value.result() == 1


@in_loop
async def test_the_steps_of_a_run_that_is_alone_take_one_turn_each() -> None:
    turns = 0
    over = False

    def count() -> None:
        nonlocal turns
        turns += 1
        if not over:
            asyncio.get_running_loop().call_soon(count)

    async with Engine("memory:") as engine:
        await engine.run(chain(40), 0)
        count()
        assert await engine.run(chain(40), 0) == 40
        over = True
    assert 40 <= turns <= 45


@in_loop
async def test_runs_side_by_side_share_their_appends() -> None:
    store = Counting()
    async with Engine(store) as engine:
        runs = [engine.run(chain(5), number) for number in range(20)]
        assert await asyncio.gather(*runs) == [number + 5 for number in range(20)]
    assert sum(store.appended) == 20 * 5
    assert len(store.appended) <= 10


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
