"""Handlers share a task only as long as none suspends, and none leaves anything in it."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from typing import Any

import pytest

from gorkflow import Engine, Workflow, step

from .support import in_loop

setting: contextvars.ContextVar[int] = contextvars.ContextVar("setting", default=0)


def chain(*links: Any) -> Workflow[int, Any]:
    workflow: Any = Workflow("chain", input=int)
    for number, link in enumerate(links):
        workflow = workflow.then(link.options(id=f"s{number}"))
    return workflow


def here() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def add(number: int) -> int:
    return number + 1


@step
async def adds(number: int) -> int:
    return number + 1


@pytest.mark.own_store
@in_loop
async def test_steps_that_never_suspend_share_a_task_which_has_the_name_of_each() -> None:
    seen: list[tuple[int, str]] = []

    @step
    async def looks(number: int) -> int:
        seen.append((id(here()), here().get_name()))
        return number + 1

    async with Engine("memory:") as engine:
        assert await engine.run(chain(looks, looks, looks), 0) == 3
    assert len({task for task, _ in seen}) == 1
    assert [name for _, name in seen] == ["s0", "s1", "s2"]


@pytest.mark.parametrize("store", ["memory:", "sqlite"])
@in_loop
async def test_a_session_for_each_task_is_one_for_each_step(store: str, tmp_path: Any) -> None:
    """As SQLAlchemy's scoped session has it, with ``current_task``."""
    sessions: dict[asyncio.Task[Any], list[int]] = {}

    @step
    async def uses(number: int) -> int:
        sessions.setdefault(here(), []).append(number)
        return number + 1

    wide = Workflow("wide", input=int).parallel(*[uses.options(id=f"b{n}") for n in range(5)])
    async with Engine(store if store == "memory:" else f"sqlite:{tmp_path / 'runs.db'}") as engine:
        assert await engine.run(chain(uses, uses, uses), 0) == 3
        assert await engine.run(wide, 7) == (8,) * 5
    assert sorted(sessions.values()) == [[0], [1], [2], *[[7]] * 5]


@in_loop
async def test_a_session_that_is_kept_weakly_is_one_for_each_step() -> None:
    sessions: weakref.WeakKeyDictionary[asyncio.Task[Any], list[int]]
    sessions = weakref.WeakKeyDictionary()
    found: list[int] = []

    @step
    async def uses(number: int) -> int:
        found.append(len(sessions.setdefault(here(), [])))
        sessions[here()].append(number)
        return number + 1

    async with Engine("memory:") as engine:
        assert await engine.run(chain(uses, uses, uses), 0) == 3
    assert found == [0, 0, 0]


@in_loop
async def test_a_cancel_that_was_kept_hits_no_other_step() -> None:
    kept: list[Any] = []

    @step
    async def keeps(number: int) -> int:
        kept.append(here().cancel)
        return number + 1

    @step
    async def calls_it(number: int) -> int:
        for cancel in kept:
            cancel()
        await asyncio.sleep(0)
        return number + 1

    async with Engine("memory:") as engine:
        assert await engine.run(chain(keeps, keeps, calls_it, adds), 0) == 4


@pytest.mark.parametrize("takes_back", [False, True])
@in_loop
async def test_a_step_that_cancels_its_own_task_and_returns_cancels_no_other(
    takes_back: bool,
) -> None:
    """Python 3.11 cancels at the next await, even if the cancel was taken back."""

    @step
    async def cancels(number: int) -> int:
        here().cancel()
        if takes_back:
            here().uncancel()
        return number + 1

    @step
    async def waits(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    async with Engine("memory:") as engine:
        assert await engine.run(chain(cancels, waits, waits), 0) == 3


@in_loop
async def test_a_context_variable_is_seen_by_no_other_step() -> None:
    seen: list[int] = []

    @step
    async def sets(number: int) -> int:
        seen.append(setting.get())
        setting.set(number + 1)
        return number + 1

    async with Engine("memory:") as engine:
        setting.set(-1)
        assert await engine.run(chain(sets, sets, sets), 0) == 3
    assert seen == [-1, -1, -1]


@in_loop
async def test_a_callback_for_the_end_of_the_task_is_called_at_the_end_of_the_step() -> None:
    order: list[str] = []

    @step
    async def asks(number: int) -> int:
        here().add_done_callback(lambda _: order.append("done"))
        return number + 1

    @step
    async def notes(number: int) -> int:
        await asyncio.sleep(0)
        order.append("next")
        return number + 1

    async with Engine("memory:") as engine:
        assert await engine.run(chain(asks, notes), 0) == 2
    assert order == ["done", "next"]


@in_loop
async def test_timeouts_and_task_groups_work_in_a_shared_task() -> None:
    @step
    async def in_time(number: int) -> int:
        async with asyncio.timeout(60):
            return await add(number)

    @step
    async def too_late(number: int) -> int:
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(60)
        except TimeoutError:
            return number + 1
        return -1

    @step
    async def grouped(number: int) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, 1)) for _ in range(3)]
        return number + sum(task.result() for task in tasks)

    @step
    async def group_of_none(number: int) -> int:
        async with asyncio.TaskGroup():
            return number + 1

    links = (in_time, too_late, in_time, grouped, group_of_none, in_time, too_late)
    async with Engine("memory:") as engine:
        assert await engine.run(chain(*links), 0) == 9


@in_loop
async def test_one_that_suspends_keeps_no_other_waiting() -> None:
    gate = asyncio.Event()
    begun: list[str] = []

    @step
    async def waits(number: int) -> int:
        begun.append("waits")
        await gate.wait()
        return number

    @step
    async def opens(number: int) -> int:
        begun.append("opens")
        if len(begun) == 6:
            gate.set()
        return number

    branches = [waits, *[opens.options(id=f"o{number}") for number in range(5)]]
    async with Engine("memory:") as engine:
        assert await engine.run(Workflow("wide", input=int).parallel(*branches), 1) == (1,) * 6
    assert begun[0] == "waits"


class Odd:
    """Equal to nothing and to everything, as an array of numpy: its ``==`` has no truth value."""

    def __eq__(self, other: object) -> Any:
        return self

    def __hash__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


@pytest.mark.parametrize("make", [dict, list, Odd, lambda: 1.0, lambda: "x" * 2])
@in_loop
async def test_a_context_variable_of_a_step_is_its_own_also_if_it_equals_the_one_before(
    make: Any,
) -> None:
    var: contextvars.ContextVar[Any] = contextvars.ContextVar("var")
    outer = [make()][0]
    var.set(outer)
    seen: list[Any] = []
    fresh: list[Any] = []

    @step
    async def sets(number: int) -> int:
        seen.append(var.get())
        fresh.append(make())
        var.set(fresh[-1])
        return number + 1

    async with Engine("memory:") as engine:
        assert await engine.run(chain(sets, sets, sets), 0) == 3
    assert [each is outer for each in seen] == [True, True, True]
