"""What the tests of this folder share: tests that are coroutines, and waiting without sleeping."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from gorkflow import Engine, RunHandle, StepExecution


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own, and stop it if it hangs."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def whole() -> None:
            async with asyncio.timeout(30):
                await test(*args, **kwargs)

        asyncio.run(whole())

    return run


async def until(holds: Callable[[], object]) -> None:
    """Let others run until something holds; the test's own timeout ends it where it never does."""
    while not holds():
        await asyncio.sleep(0)


async def steps_of(engine: Engine, handle: RunHandle[Any]) -> dict[str, StepExecution]:
    return {step.path: step for step in await engine.steps(handle.run_id)}
