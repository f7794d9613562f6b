"""What steps, and runs that end, leave behind: nothing that only the garbage collector could free.

Else the memory of each step, and all that its handler held, stays until the collector comes; and
it comes the more often.
"""

import asyncio
import gc
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gorkflow import Engine, RetryPolicy, StepContext, Workflow, step
from gorkflow.engine._attempt import Attempt
from gorkflow.engine._decision import Evaluation
from gorkflow.engine._driver import Driver
from gorkflow.machine import Machine
from gorkflow.machine.frame import Frame
from tests.engine.support import STORES, in_loop, until

PARTS = (Attempt, Evaluation, Driver, Machine, Frame, asyncio.Task, BaseException)


@step
async def inc(number: int) -> int:
    return number + 1


@step
def inc_in_thread(number: int) -> int:
    return number + 1


@step
async def waits(number: int) -> int:
    await asyncio.sleep(60)
    return number


@step(retries=RetryPolicy(retries=1, initial_interval=0.001))
async def fails_once(ctx: StepContext, number: int) -> int:
    if ctx.attempt == 1:
        raise ValueError(number)
    return number


@step(continue_on_error=True)
async def fails(number: int) -> int:
    raise ValueError(number)


@step(continue_on_error=True)
def fails_in_thread(number: int) -> int:
    raise ValueError(number)


@step(executor="process")
def inc_in_process(number: int) -> int:
    return number + 1


@step(executor="process", continue_on_error=True)
def fails_in_process(number: int) -> int:
    raise ValueError(number)


@step(executor="pool")
def inc_in_pool(number: int) -> int:
    return number + 1


@step(executor="pool", continue_on_error=True)
def fails_in_pool(number: int) -> int:
    raise ValueError(number)


def unsure(number: int) -> bool:
    raise ValueError(number)


@step(timeout=0.01, continue_on_error=True)
async def slow(number: int) -> int:
    await asyncio.sleep(60)
    return number


@step
async def total(numbers: tuple[int, ...]) -> int:
    return sum(numbers)


@step
async def several(number: int) -> list[int]:
    return [number] * 3


@step
async def unbook(number: int, output: int | None) -> None:
    pass


@step
async def booked(number: int) -> int:
    return number


@step
async def refused(number: int) -> int:
    raise ValueError(number)


def flow(id: str) -> Workflow[int, int]:
    return Workflow(id, input=int)


SHAPES: dict[str, Workflow[Any, Any]] = {
    "sequence": flow("sequence").then(inc).then(inc.options(id="again")),
    "threads": flow("threads").then(inc_in_thread),
    "block": flow("block").parallel(inc, inc_in_thread).then(total),
    "first": flow("first").parallel(inc, waits, join="first"),
    "nested": flow("nested").parallel(flow("a").then(inc), flow("b").then(inc)).then(total),
    "condition": flow("condition").then_if(lambda number: number > 0, inc),
    "loop": flow("loop").loop(inc, until=lambda number: number > 5, max_iterations=9),
    "retry": flow("retry").then(fails_once),
    "failure": flow("failure").then(fails),
    "failure in a thread": flow("failure-thread").then(fails_in_thread),
    "process": flow("process").then(inc_in_process).then(fails_in_process),
    "executor": flow("executor").then(inc_in_pool).then(fails_in_pool),
    "condition that fails": flow("unsure").then_if(unsure, inc),
    "timeout": flow("timeout").then(slow),
    "deadline": Workflow("deadline", input=int, timeout=60).then(inc),
    "block's timeout": flow("late").parallel(inc, waits, timeout=0.01),
    "map": Workflow("map", input=int).then(several).map(inc),
    "undo": flow("undo").then(booked.undo(unbook)).parallel(inc, flow("in").then(refused)),
}


async def outcome(engine: Engine, workflow: Workflow[Any, Any]) -> None:
    await (await engine.start(workflow, 1)).outcome()


@pytest.mark.own_store
@STORES
@pytest.mark.parametrize("shape", SHAPES)
@in_loop
async def test_nothing_waits_for_the_collector(
    shape: str, url: str, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    workflow = SHAPES[shape]
    caplog.set_level(logging.CRITICAL, "gorkflow.step")  # pytest keeps all records of failures

    def there() -> Counter[str]:
        kinds = map(type, gc.get_objects())  # to ask the objects themselves may run code of theirs
        return Counter(kind.__name__ for kind in kinds if issubclass(kind, PARTS))

    with ThreadPoolExecutor(1) as pool:
        async with Engine(url.format(tmp_path), executors={"pool": pool}) as engine:
            await outcome(engine, workflow)  # fills the caches
            gc.collect()
            gc.disable()
            gc.freeze()  # what is there already is not looked at each time
            try:
                before = there()
                for _ in range(3):
                    await outcome(engine, workflow)
                await until(lambda: there() <= before, "everything freed")
            finally:
                gc.enable()
