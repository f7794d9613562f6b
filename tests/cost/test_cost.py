"""What a step costs, counted in function calls: no clock, so no noise."""

import asyncio
import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from gorkflow import Engine, StepContext, Workflow, step

Small = dict[str, int]


@step
async def nothing(value: Small) -> Small:
    return value


@step
async def count(values: tuple[Small, ...]) -> int:
    return len(values)


def block(width: int) -> Workflow[Small, int]:
    workflow: Any = Workflow(f"block{width}", input=Small)
    return workflow.parallel(*(nothing.options(id=f"b{n}") for n in range(width))).then(count)


def sequence(length: int) -> Workflow[Small, Any]:
    workflow: Any = Workflow(f"sequence{length}", input=Small)
    for number in range(length):
        workflow = workflow.then(nothing.options(id=f"s{number}"))
    return workflow


def mapping(_: int) -> Workflow[list[Small], int]:
    return Workflow("mapping", input=list[Small]).map(nothing).then(number)


@step
async def writes(ctx: StepContext, value: Small) -> Small:
    ctx.state.incr("n")
    ctx.state.append("values", 1)
    return value


def writing(_: int) -> Workflow[list[Small], int]:
    return Workflow("writing", input=list[Small]).map(writes).then(number)


@step
async def number(values: list[Small]) -> int:
    return len(values)


def calls_per_step(url: str, workflow: Workflow[Any, Any], steps: int) -> float:
    """Return how many functions the loop's thread calls per step, those written in C too."""
    calls = 0

    def called(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    value: Any = [{"id": 1}] * steps if workflow.id in {"mapping", "writing"} else {"id": 1}

    async def main() -> None:
        async with Engine(url) as engine:
            await engine.run(workflow, value)  # fills the caches
            gc.collect()
            sys.setprofile(called)
            try:
                await engine.run(workflow, value)
            finally:
                sys.setprofile(None)

    asyncio.run(main())
    return calls / steps


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        (block, (100, 1_000)),
        (sequence, (20, 200)),
        (mapping, (100, 1_000)),
        (writing, (100, 1_000)),
    ],
    ids=["block", "sequence", "map", "state"],
)
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_step_of_a_large_workflow_costs_no_more_than_one_of_a_small(
    shape: Callable[[int], Workflow[Any, Any]], sizes: tuple[int, int], store: str, tmp_path: Any
) -> None:
    url = "memory:" if store == "memory" else f"sqlite:{tmp_path / 'runs.db'}"
    small, large = (calls_per_step(url, shape(size), size) for size in sizes)
    assert large <= small * 1.2, (
        f"{small:.0f} calls per step of {sizes[0]}, {large:.0f} of {sizes[1]}"
    )
