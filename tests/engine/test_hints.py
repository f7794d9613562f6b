"""Hints of a store: who waits for the next look is woken before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gorkflow import Client, Engine, RunCancelledError, Signal, Workflow, step
from gorkflow.engine import _lease, _reads
from gorkflow.stores.memory import MemoryStore

from .support import Gate, in_loop, until

if TYPE_CHECKING:
    from gorkflow.store import RunRow


class Shared(MemoryStore):
    """A memory store that several use, and that counts the looks for runs."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = 0

    async def claim(self, *args: Any, **options: Any) -> list[RunRow]:
        self.claims += 1
        return await super().claim(*args, **options)

    async def close(self) -> None:
        """Keep everything."""


@pytest.fixture(autouse=True)
def _nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but a hint wakes a look within the time of a test."""
    monkeypatch.setattr(_lease, "BEAT", 1000.0)
    monkeypatch.setattr(_reads, "_POLL", (1000.0, 1000.0))


GO = Signal("go", int)


@step
async def same(number: int) -> int:
    return number


ONE = Workflow("one", input=int).then(same)
WAITS = Workflow("waits", input=int).wait_for(GO)


def held_by(gate: Gate) -> Workflow[int, int]:
    """Return a workflow whose step waits at a gate."""

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    return Workflow("held", input=int).then(holds)


@in_loop
async def test_a_start_a_signal_and_an_end_are_seen_at_once() -> None:
    store = Shared()
    async with Engine(store, workflows=[WAITS], lease=5000), Client(store) as client:
        handle = await client.start(WAITS, 1)
        result = asyncio.ensure_future(handle.result())
        await until(lambda: store._runs[handle.run_id].row.waits_for, "the run to wait")
        await handle.send(GO, 2)  # it is suspended by now
        assert await result == (1, 2)


@in_loop
async def test_so_is_a_cancel_by_the_owner_of_the_run() -> None:
    store, gate = Shared(), Gate()
    held = held_by(gate)
    async with Engine(store, lease=5000) as engine, Client(store) as client:
        handle = await engine.start(held, 1)
        await until(lambda: gate.arrived, "the step")
        await client.cancel(handle.run_id)
        with pytest.raises(RunCancelledError):
            await handle.result()


@in_loop
async def test_what_a_worker_leaves_another_one_takes_at_once() -> None:
    store, gate = Shared(), Gate()
    held = held_by(gate)
    leaving = Engine(store, lease=5000)
    await leaving.open()
    handle = await leaving.start(held, 1)
    await until(lambda: gate.arrived, "the step")
    async with Engine(store, workflows=[held], lease=5000) as other:
        await leaving.aclose(grace=0)
        await until(lambda: gate.arrived == 2, "the other worker")
        gate.open()
        assert await other.handle(handle.run_id).result() == 1


@in_loop
async def test_hints_about_others_wake_no_look() -> None:
    store = Shared()
    async with Engine(store, workflows=[ONE], lease=5000), Client(store) as client:
        looks = store.claims
        await client.start(WAITS, 1)  # no worker knows it
        await asyncio.sleep(0)
        handle = await client.start(ONE, 1)
        assert await handle.result() == 1
        assert store.claims <= looks + 2  # one that found it, and the end of that claim


@in_loop
async def test_without_room_a_hint_waits_until_there_is_some() -> None:
    store, gate = Shared(), Gate()
    held = held_by(gate)
    async with (
        Engine(store, workflows=[held], max_concurrent_runs=1, lease=5000),
        Client(store) as client,
    ):
        handles = [await client.start(held, number) for number in range(3)]
        await until(lambda: gate.arrived, "the first one")
        looks = store.claims
        handles += [await client.start(held, number) for number in range(3, 6)]
        await asyncio.sleep(0)
        assert store.claims == looks
        gate.open()
        assert [await handle.result() for handle in handles] == [*range(6)]


@in_loop
async def test_a_closed_client_takes_no_hints() -> None:
    store = Shared()
    for _ in range(3):
        async with Engine(store), Client(store):
            assert len(store._hints.asked) == 2
    assert store._hints.asked == ()
