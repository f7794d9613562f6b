"""Steps that run elsewhere, in tests."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from gorkflow import StepContext, Workflow, testing
from tests.engine import placed


def test_a_test_needs_no_executors():
    workflow = Workflow("w", input=int).then(placed.far).then(placed.pid)
    assert testing.run_sync(workflow, 1).output == os.getpid()
    assert testing.run_sync(workflow, 1, seed=3).output == os.getpid()
    parcels = Workflow("p", input=int).then(placed.prepare).then(placed.heavier)
    assert testing.run_sync(parcels, 2).output.weight == 6.0  # what bind fixed is there


def test_a_fake_stands_in_for_a_process():
    async def fake(ctx: StepContext, number: int) -> int:
        await asyncio.sleep(3600)
        return -number

    workflow = Workflow("w", input=int).then(placed.far)
    assert testing.run_sync(workflow, 1, fakes={"far": fake}).output == -1


def test_virtual_time_waits_for_executors_and_processes():
    workflow = Workflow("w", input=int).then(placed.far.options(timeout=5)).then(placed.pid)

    async def main() -> int:
        with ThreadPoolExecutor() as pool:
            async with testing.VirtualEngine(executors={"elsewhere": pool}) as engine:
                return await engine.run(workflow, 1)

    assert testing.in_virtual_time(main()) != os.getpid()
