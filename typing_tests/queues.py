"""Queues: names, at the start, with the workflow, and of an engine, which may give them bounds."""

from typing import assert_type

from gorkflow import Client, Engine, RunHandle, Workflow, run, step


@step
async def double(number: int) -> int:
    return 2 * number


doubling = Workflow("doubling", input=int, queue="gpu").then(double)
assert_type(doubling, Workflow[int, int])
Workflow("w", queue=3)  # error
Workflow("w", input=int, queue=["gpu"])  # error

Engine(queues=["gpu", "default"])
Engine(queues={"gpu": 2, "default": None})
Engine(queues=7)  # error


async def start(engine: Engine, client: Client) -> None:
    assert_type(await client.start(doubling, 1, queue="gpu"), RunHandle[int])
    assert_type(await engine.run(doubling, 1, queue=None), int)
    assert_type(run(doubling, 1, queue="mail"), int)
    await client.start(doubling, 1, queue=3)  # error
    await client.rerun("id", queue=3)  # error
    await client.schedule(doubling, 1, id="s", every=60, queue="gpu")
