"""Runs that newer code carries on: they do what they were started to do, or are left alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gorkflow import (
    Client,
    Engine,
    Outcome,
    RunBlockedError,
    RunFailedError,
    Signal,
    Workflow,
    step,
)

from .support import broken, in_loop

go = Signal("go", int)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'runs.db'}"


def big(number: int) -> bool:
    if "big" in broken:
        raise ValueError("big")
    return number > 10


def positive(number: int) -> bool:
    return number > 0


def negative(number: int) -> bool:
    return number < 0


def even(number: int) -> bool:
    return number % 2 == 0


@step
async def taken(number: int, _: int) -> int:
    return number


@step
async def is_big(number: int) -> str:
    return "big"


@step
async def is_positive(number: int) -> str:
    return "positive"


@step
async def is_other(number: int) -> str:
    return "other"


def sizes(*arms: tuple[Any, Any]) -> Workflow[int, str]:
    """Wait, then choose between two arms."""
    (first, one), (second, two) = arms
    waiting = Workflow("sizes", input=int).wait_for(go).then(taken)
    return waiting.when(first, one, id="size").when(second, two).otherwise(is_other)


old = sizes((big, is_big), (positive, is_positive))
reordered = sizes((positive, is_positive), (big, is_big))


async def started(url: str, workflow: Workflow[int, Any], number: int) -> str:
    """Start a run that another engine will carry on."""
    async with Client(url) as client:
        return (await client.start(workflow, number)).run_id


@in_loop
async def test_a_run_asks_its_conditions_in_the_order_it_was_started_with(url: str) -> None:
    runs = {number: await started(url, old, number) for number in (50, 5, -5)}
    expected = {50: "big", 5: "positive", -5: "other"}
    async with Engine(url, workflows=[reordered]) as engine:
        for number, run_id in runs.items():
            await engine.send(run_id, go, 1)
            assert await engine.handle(run_id, reordered).result() == expected[number]
        new = await engine.start(reordered, 50)
        await new.send(go, 1)
        assert await new.result() == "positive"


@in_loop
async def test_a_rerun_asks_them_in_the_order_of_the_run_that_it_repeats(url: str) -> None:
    broken.add("big")
    async with Engine(url) as engine:
        handle = await engine.start(old, 5)
        await handle.send(go, 1)
        with pytest.raises(RunFailedError):
            await handle.result()
    broken.clear()
    async with Engine(url, workflows=[reordered]) as engine:
        assert await (await engine.rerun(handle.run_id)).result() == "positive"


@in_loop
async def test_a_renamed_condition_is_the_one_that_is_left(url: str) -> None:
    run_id = await started(url, old, 5)
    renamed = sizes((positive, is_positive), (even, is_big))
    async with Engine(url, workflows=[renamed]) as engine:
        await engine.send(run_id, go, 1)
        assert await engine.handle(run_id, renamed).result() == "positive"


@in_loop
async def test_a_run_whose_conditions_are_gone_is_blocked(url: str) -> None:
    run_id = await started(url, old, 50)
    others = sizes((even, is_big), (negative, is_positive))
    async with Engine(url, workflows=[others], recover=False) as engine:
        match = "the conditions of 'size' have changed: 'big' and 'positive' are missing"
        with pytest.raises(RunBlockedError, match=match):
            await engine.recover(run_id)


# ---- what a run can't reach any more need not be there ------------------------------------------


@step
async def last(text: str, _: int) -> str:
    return text


@step
async def fails(number: int) -> int:
    raise ValueError


@step
async def same(number: int) -> int:
    return number


@step
async def counted(outcomes: tuple[Outcome[int], ...]) -> str:
    return str(len(outcomes))


async def suspended(url: str, workflow: Workflow[int, str], number: int) -> str:
    """Start a run, and let it go when it waits."""
    async with Engine(url) as engine:
        handle = await engine.start(workflow, number)
        while (await handle.info()).status != "suspended":
            await asyncio.sleep(0.002)
        return handle.run_id


@in_loop
async def test_an_arm_that_was_not_taken_may_change(url: str) -> None:
    def flow(*inside: Any) -> Workflow[int, str]:
        other: Any = Workflow("negative", input=int)
        for each in inside:
            other = other.then(each)
        choice = Workflow("w", input=int).when(positive, is_positive).otherwise(other)
        return choice.wait_for(go).then(last)

    now = flow(is_big)
    run_id = await suspended(url, flow(same, is_other), 5)
    async with Engine(url, workflows=[now]) as engine:
        await engine.send(run_id, go, 1)
        assert await engine.handle(run_id, now).result() == "positive"


@in_loop
async def test_what_comes_after_a_failed_step_of_a_branch_may_change(url: str) -> None:
    def flow(*after: Any) -> Workflow[int, str]:
        branch: Any = Workflow("branch", input=int).then(fails)
        for each in after:
            branch = branch.then(each)
        other = Workflow("other", input=int).wait_for(go).then(taken)
        block = Workflow("w", input=int).parallel(branch, other, join="settled")
        return block.then(counted)

    run_id = await suspended(url, flow(same), 5)
    now = flow()
    async with Engine(url, workflows=[now]) as engine:
        await engine.send(run_id, go, 1)
        assert await engine.handle(run_id, now).result() == "2"
