"""What is measured in a process of its own.

usage: fresh.py cold|memory URL | floor | memory-floor | waiting URL LIMIT
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

RUNS = 2_000
ITEMS = 20_000
SECONDS = 4


def resident() -> int:
    """Return the resident bytes of this process; Linux."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def one(value: dict[str, int]) -> dict[str, int]:
    return {"id": value["id"] + 1}


def cold(url: str) -> None:
    """Define, and run for the first time, three steps."""
    import gorkflow

    step = gorkflow.step(one)
    workflow = gorkflow.Workflow("cold", input=dict[str, int]).then(step)
    workflow = workflow.then(step.options(id="two")).then(step.options(id="three"))
    assert gorkflow.run(workflow, {"id": 1}, store=url) == {"id": 4}


def floor() -> None:
    async def main() -> None:
        value = {"id": 1}
        for _ in range(3):
            value = await one(value)
        assert value == {"id": 4}

    asyncio.run(main())


async def memory(url: str) -> None:
    """Print the bytes that a run in flight takes: a prepared run with three steps asleep."""
    from ours import sleep, small_run, three

    from gorkflow import Engine

    workflow = three("asleep", *(sleep.options(id=i) for i in "abc"))
    async with Engine(url) as engine:
        await engine.run(small_run(), {"id": 1})
        await engine.run(workflow, {"id": 0})
        before = resident()
        handles = [await engine.start(workflow, {"id": SECONDS * 10}) for _ in range(RUNS)]
        await asyncio.sleep(0.5)
        print((resident() - before) / RUNS)
        await asyncio.gather(*(handle.cancel() for handle in handles))


async def waiting(url: str, limit: int | None) -> None:
    """Print the bytes that an item takes while it waits: in the map, or for room in the engine."""
    from ours import each, items, sleep

    from gorkflow import Engine

    workflow = each(limit, sleep)
    async with Engine(url, max_concurrent_steps=4) as engine:
        await engine.run(workflow, [{"id": 0}] * 10)
        before = resident()
        handle = await engine.start(workflow, [{"id": SECONDS * 10}, *items(ITEMS)])
        await asyncio.sleep(1.0)
        print((resident() - before) / ITEMS)
        await handle.cancel()


async def memory_floor() -> None:
    async def whole() -> None:
        await asyncio.gather(*(asyncio.sleep(SECONDS) for _ in range(3)))

    before = resident()
    tasks = [asyncio.create_task(whole()) for _ in range(RUNS)]
    await asyncio.sleep(0.5)
    print((resident() - before) / RUNS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["cold", store]:
            cold(store)
        case ["floor"]:
            floor()
        case ["memory", store]:
            asyncio.run(memory(store))
        case ["waiting", store, limit]:
            asyncio.run(waiting(store, int(limit) or None))
        case ["memory-floor"]:
            asyncio.run(memory_floor())
        case _:
            sys.exit(__doc__)
