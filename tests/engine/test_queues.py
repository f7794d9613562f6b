"""Queues: which engine takes which run, how many at a time, and who keeps the queue of whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gorkflow import Client, Engine, RunFilter, Signal, StepContext, Workflow, run, step
from gorkflow.errors import InputInvalidError, WorkflowInvalidError
from gorkflow.stores import MemoryStore, open_store
from tests.engine.support import STORES, Gate, die, in_loop, until

BAD_NAMES = ["", "two words", "-x", "x" * 101, "größe", 7]
gates: dict[str, Gate] = {}
running: set[int] = set()


@step
async def double(number: int) -> int:
    return 2 * number


@step
async def held(number: int) -> int:
    running.add(number)
    assert len(running) <= 2
    await gates["held"].wait_async()
    running.remove(number)
    return number


doubling = Workflow("doubling", input=int).then(double)
on_gpu = Workflow("on-gpu", input=int, queue="gpu").then(double)
holding = Workflow("holding", input=int).then(held)


def store_at(url: str, folder: Any) -> Any:
    return open_store(url.format(folder))


@STORES
@in_loop
async def test_an_engine_takes_the_runs_of_its_queues(url, tmp_path) -> None:
    store = store_at(url, tmp_path)
    known: Any = {"workflows": [doubling]}
    async with Client(store) as client, Engine(store, **known) as plain:
        waits = await client.start(doubling, 1, queue="gpu")
        done = await client.start(doubling, 2)
        assert await done.result() == 4
        assert (await plain.get_run(waits.run_id)).status == "pending"
        assert await plain.recover() == []
        async with Engine(store, **known, queues=["gpu"]) as other:
            assert await waits.result() == 2
            left = await client.start(doubling, 3)
            assert await left.result() == 6
            assert left.run_id not in other._opened().runs.resting
        found = await client.list_runs(RunFilter(queue="gpu"))
        assert [each.run_id for each in found] == [waits.run_id]


@in_loop
async def test_an_engine_leaves_what_it_starts_for_another_queue() -> None:
    store = MemoryStore()
    async with Engine(store) as plain:
        handle = await plain.start(on_gpu, 4)
        info = await handle.info()
        assert (info.queue, info.status, info.worker_id) == ("gpu", "pending", None)
        async with Engine(store, workflows=[on_gpu], queues=["default", "gpu"]) as gpu:
            assert await handle.result() == 8
            assert await gpu.run(on_gpu, 5) == 10


@in_loop
async def test_the_queue_of_the_start_wins() -> None:
    async with Client(MemoryStore()) as client:
        for given, wanted in ((None, "gpu"), ("mail", "mail")):
            handle = await client.start(on_gpu, 1, queue=given)
            assert (await handle.info()).queue == wanted
        plain = await client.start(doubling, 1)
        assert (await plain.info()).queue == "default"


def test_a_queue_is_no_part_of_the_definition() -> None:
    moved = Workflow("on-gpu", input=int).then(double)
    assert moved.compile().fingerprint == on_gpu.compile().fingerprint


@in_loop
async def test_a_workflow_within_another_has_no_say_in_the_queue() -> None:
    flow = Workflow("outer", input=int).then(on_gpu)
    async with Engine("memory:") as engine:
        assert await engine.run(flow, 4) == 8


@in_loop
async def test_a_run_keeps_its_queue_when_the_workflow_moves() -> None:
    store = MemoryStore()
    moved = Workflow("on-gpu", input=int, queue="mail").then(double)
    async with Client(store) as client:
        handle = await client.start(on_gpu, 1)
        async with Engine(store, workflows=[moved], queues=["gpu"]):
            assert await handle.result() == 2


def test_an_engine_that_takes_no_runs_of_others_runs_its_own_of_any_queue() -> None:
    assert run(on_gpu, 3, store="memory:") == 6
    assert run(doubling, 3, store="memory:", queue="mail") == 6


@in_loop
async def test_a_run_that_a_step_starts_has_the_queue_of_its_run() -> None:
    found: list[str] = []

    @step
    async def parent(ctx: StepContext[Engine], number: int) -> int:
        same = await ctx.deps.start(doubling, number)
        own = await ctx.deps.start(on_gpu, number)
        found.extend([(await same.info()).queue, (await own.info()).queue])
        return await same.result()

    flow = Workflow("family", input=int).then(parent)
    engine = Engine("memory:", queues=["mail"])
    engine._settings.deps = engine
    async with engine:
        assert await engine.run(flow, 4, queue="mail") == 8
    assert found == ["mail", "gpu"]


@in_loop
async def test_a_step_may_wait_for_a_run_of_its_full_queue() -> None:
    @step
    async def parent(ctx: StepContext[Engine], number: int) -> int:
        return await ctx.deps.run(doubling, number)

    flow = Workflow("family", input=int).then(parent)
    engine = Engine("memory:", queues={"default": 1})
    engine._settings.deps = engine
    async with engine:
        assert await engine.run(flow, 4) == 8


@STORES
@in_loop
async def test_a_bound_holds_for_all_engines(url, tmp_path) -> None:
    store = store_at(url, tmp_path)
    gates["held"] = gate = Gate()
    options: Any = {"workflows": [holding, doubling], "queues": {"gpu": 2, "default": None}}
    async with Engine(store, **options) as one, Engine(store, **options) as other:
        engines = (one, other)
        handles = [await engines[n % 2].start(holding, n, queue="gpu") for n in range(5)]
        await until(lambda: gate.arrived == 2, "two runs of the queue")
        assert await one.run(doubling, 1) == 2  # another queue has its own room
        owned = sum([worker.runs for worker in await one.workers()])
        assert (owned, gate.arrived) == (2, 2)
        gate.open()
        assert await asyncio.gather(*(each.result() for each in handles)) == [*range(5)]


@in_loop
async def test_what_the_dead_left_stays_in_its_queue(tmp_path) -> None:
    place = f"sqlite:{tmp_path}/runs.db"
    gates["held"] = gate = Gate()
    async with Client(place) as client, Engine(place, workflows=[holding]) as plain:
        gpu = Engine(place, workflows=[holding], queues=["gpu"])
        await gpu.open()
        handle = await client.start(holding, 1, queue="gpu")
        await until(lambda: gate.arrived, "the step")
        await die(gpu)
        running.clear()
        gate.open()
        assert await plain.recover() == []
        async with Engine(place, workflows=[holding], queues=["gpu"]):
            assert await handle.result() == 1
        assert (await handle.info()).queue == "gpu"


@in_loop
async def test_a_run_wakes_in_its_queue() -> None:
    store = MemoryStore()
    flow = Workflow("waiting", input=int).then(double).wait_for(Signal("go", str))
    async with Engine(store, workflows=[flow]) as plain:
        async with Engine(store, workflows=[flow], queues=["gpu"]) as gpu:
            started = await gpu.start(flow, 1, queue="gpu")
            handle = plain.handle(started.run_id, flow)
            while (await handle.info()).status != "suspended":
                await asyncio.sleep(0)
        await handle.send("go", "now")
        assert await plain.recover() == []
        assert (await handle.info()).status == "suspended"
        async with Engine(store, workflows=[flow], queues=["gpu"]):
            assert await handle.result() == (2, "now")


@in_loop
async def test_reruns_and_schedules_keep_the_queue() -> None:
    async with Engine("memory:", queues=["gpu", "mail"]) as engine:
        first = await engine.start(doubling, 1, queue="mail")
        await first.result()
        again = await engine.rerun(first.run_id)
        moved = await engine.rerun(first.run_id, queue="gpu")
        assert [(await each.info()).queue for each in (again, moved)] == ["mail", "gpu"]
        await engine.schedule(on_gpu, 1, id="own", every=3600)
        await engine.schedule(on_gpu, 1, id="other", every=3600, queue="mail")
        runs = [await engine.run_schedule(name) for name in ("own", "other")]
        assert [(await each.info()).queue for each in runs] == ["gpu", "mail"]
        for each in (again, moved, *runs):
            await each.result()


@in_loop
async def test_workers_say_what_they_serve() -> None:
    store = MemoryStore()
    async with (
        Engine(store, queues={"mail": 3, "gpu": None}, max_concurrent_runs=7) as worker,
        Engine(store, recover=False) as own,
    ):
        found = {each.worker_id: each for each in await worker.workers()}
        mine = found[worker.worker_id]
        assert (mine.queues, mine.concurrency) == (("gpu", "mail"), 7)
        assert (found[own.worker_id].queues, found[own.worker_id].concurrency) == ((), None)


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_a_bad_name_is_rejected(name) -> None:
    with pytest.raises(WorkflowInvalidError, match="name of a queue must be 1 to 100 letters"):
        Workflow("w", queue=name)
    with pytest.raises(ValueError, match="name of a queue must be 1 to 100 letters"):
        Engine("memory:", queues=[name])

    @in_loop
    async def start() -> None:
        async with Client("memory:") as client:
            with pytest.raises(InputInvalidError, match="name of a queue must be"):
                await client.start(doubling, 1, queue=name)
            with pytest.raises(InputInvalidError, match="name of a queue must be"):
                await client.schedule(doubling, 1, id="s", every=60, queue=name)

    start()


@pytest.mark.parametrize(
    ("queues", "kind", "says"),
    [
        ("gpu", TypeError, "names in a list"),
        (7, TypeError, "names in a list"),
        ([], ValueError, "names none"),
        ({"gpu": 0}, ValueError, "bound of queue 'gpu' must be at least 1"),
        ({"gpu": True}, TypeError, "must be a whole number"),
        ({"gpu": 1.5}, TypeError, "must be a whole number"),
    ],
    ids=["text", "number", "none", "zero", "bool", "float"],
)
def test_bad_queues_are_rejected(queues, kind, says) -> None:
    with pytest.raises(kind, match=says):
        Engine("memory:", queues=queues)
