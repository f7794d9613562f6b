"""Steps whose functions are wrapped: they run as what the outermost function is."""

import asyncio
import functools
import threading
from typing import Any

import pytest

from gorkflow import Engine, FailureCode, RunCancelledError, RunFailedError, Workflow, step
from gorkflow.testing import run_sync

from .support import Gate, in_loop, until

places: list[str] = []
"""The threads in which functions ran."""
home: list[threading.Thread] = []
"""The thread of the loop: where tests run side by side, it need not be the main one."""


def note() -> None:
    places.append("loop" if threading.current_thread() in home else "thread")


def to_sync(fn: Any) -> Any:
    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        note()
        return asyncio.run(fn(*args))

    return call


def handing_on(fn: Any) -> Any:
    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        note()
        return fn(*args)

    return call


def to_async(fn: Any) -> Any:
    @functools.wraps(fn)
    async def call(*args: Any) -> Any:
        note()
        return await asyncio.to_thread(fn, *args)

    return call


async def fetch(number: int) -> int:
    await asyncio.sleep(0)
    note()
    return number + 1


def compute(number: int) -> int:
    note()
    return number + 1


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (to_sync(fetch), ["thread", "thread"]),
        (handing_on(fetch), ["thread", "loop"]),
        (to_async(compute), ["loop", "thread"]),
        (handing_on(compute), ["thread", "thread"]),
        (functools.partial(to_sync(fetch)), ["thread", "thread"]),
    ],
)
def test_a_wrapped_function_runs_where_the_outermost_one_belongs(fn: Any, expected: list[str]):
    workflow = Workflow("w", input=int).then(step(fn, id="wrapped"))

    @in_loop
    async def here() -> None:
        places.clear()
        home[:] = [threading.current_thread()]
        async with Engine("memory:", max_threads=1) as engine:
            assert await engine.run(workflow, 1) == 2

    here()
    assert places == expected
    assert run_sync(workflow, 1).output == 2


@in_loop
async def test_what_a_wrapper_hands_on_is_cancelled_and_timed_out_as_any_async_step() -> None:
    gate, left = Gate(), []

    @handing_on
    async def waits(number: int) -> int:
        try:
            await gate.wait_async()
        finally:
            left.append(number)
        return number

    async with Engine("memory:") as engine:
        quick = Workflow("quick", input=int).then(step(waits, timeout=0.05))
        with pytest.raises(RunFailedError) as caught:
            await engine.run(quick, 1)
        assert caught.value.failures[0].code == FailureCode.TIMEOUT
        assert left == [1]
        handle = await engine.start(Workflow("w", input=int).then(step(waits)), 2)
        await until(lambda: gate.arrived == 2)
        await handle.cancel()
        with pytest.raises(RunCancelledError):
            await handle.result()
        await until(lambda: left == [1, 2])
        assert engine.stray_threads == 0


@in_loop
async def test_a_plain_function_that_forgot_to_await_is_still_told() -> None:
    coroutine = fetch(1)

    @step
    def forgot(number: int) -> int:
        return coroutine  # type: ignore[return-value]

    async with Engine("memory:") as engine:
        with pytest.raises(RunFailedError, match="not coroutine"):
            await engine.run(Workflow("w", input=int).then(forgot), 1)
    coroutine.close()
