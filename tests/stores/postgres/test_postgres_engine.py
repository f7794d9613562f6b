"""Engines on PostgreSQL: what a person sees of hints, restarts and deaths."""

from __future__ import annotations

import asyncio
import signal

import pytest

from gorkflow import Client, Engine, Workflow, step
from gorkflow.engine import _lease, _reads
from gorkflow.stores import open_store
from tests.stores.postgres.server import Server


@step
async def increment(number: int) -> int:
    return number + 1


@step
async def linger(number: int) -> int:
    await asyncio.sleep(0.3)
    return number + 1


COUNTING = Workflow("counting", input=int).then(increment).then(increment.options(id="again"))
LINGERING = Workflow("lingering", input=int).then(linger).then(linger.options(id="again"))


def test_a_worker_and_a_client_need_not_wait_for_the_next_look(url, monkeypatch):
    monkeypatch.setattr(_lease, "BEAT", 1000.0)
    monkeypatch.setattr(_reads, "_POLL", (1000.0, 1000.0))

    async def run():
        async with (
            Engine(open_store(url), workflows=[COUNTING], lease=5000),
            Client(open_store(url)) as client,
        ):
            handle = await client.start(COUNTING, 1)
            return await handle.result()

    assert asyncio.run(run()) == 3


@pytest.fixture
def own_server():
    made = Server()
    yield made
    made.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_restart_of_the_server_costs_no_step(own_server, how):
    """Whatever was being done is recorded once the server is there again."""
    url = own_server.url()

    async def run():
        async with (
            Engine(open_store(url), workflows=[LINGERING]) as first,
            Engine(open_store(url), workflows=[LINGERING]) as second,
        ):
            handles = [
                await engine.start(LINGERING, number)
                for number in range(10)
                for engine in (first, second)
            ]
            await asyncio.to_thread(own_server.stop, how)
            await asyncio.sleep(0.6)  # steps end meanwhile
            await asyncio.to_thread(own_server.start)
            results = [await handle.result() for handle in handles]
            kinds = [event.kind for handle in handles async for event in handle.events()]
            return results, kinds

    results, kinds = asyncio.run(run())
    assert results == [number + 2 for number in range(10) for _ in range(2)]
    assert kinds.count("step_scheduled") == 40
    assert "step_interrupted" not in kinds
