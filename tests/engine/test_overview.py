"""What an engine or a client says of the whole store: counts, latest runs, limits, workers."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from gorkflow import Client, Engine, Limit, RunCount, RunFilter, Workflow, step
from gorkflow.insight import Changes, explain, whatif

from .support import Gate, in_loop, until

two = Limit("two", concurrency=2)
often = Limit("often", rate=100, per=60.0)


@step
async def double(number: int) -> int:
    return number * 2


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'runs.db'}"


doubling = Workflow("doubling", input=int).then(double)


@in_loop
async def test_runs_are_counted_up_to_a_bound(store: Any) -> None:
    async with Engine(store) as engine:
        for number in range(5):
            await engine.run(doubling, number)
        assert await engine.count_runs() == RunCount(5)
        assert await engine.count_runs(RunFilter(status="failed")) == RunCount(0)
        assert str(await engine.count_runs(RunFilter(status="completed"), most=3)) == "3+"
        first = await engine.list_runs(RunFilter(limit=2))
        rest = RunFilter(cursor=first.next_cursor, limit=1)
        assert await engine.count_runs(rest) == RunCount(5)
        for most in (0, -1):
            with pytest.raises(ValueError, match="a count goes to 1 or more"):
                await engine.count_runs(most=most)
        for most in (True, 1.0, "1"):
            with pytest.raises(TypeError, match="most must be a whole number"):
                await engine.count_runs(most=most)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="the query of count_runs is a RunFilter"):
            await engine.count_runs({"status": "failed"})  # type: ignore[arg-type]


@in_loop
async def test_each_workflow_has_its_latest_run(store: Any) -> None:
    async with Engine(store) as engine:
        assert await engine.latest_runs() == []
        for name in ("b", "a", "b"):
            handle = await engine.start(Workflow(name, input=int).then(double), 1)
            await handle.result()
        found = await engine.latest_runs()
        assert [run.workflow_id for run in found] == ["a", "b"]
        assert found[1].run_id == handle.run_id
        assert await engine.latest_runs(after="a") == found[1:]
        assert await engine.latest_runs(limit=1) == found[:1]


@in_loop
async def test_limits_say_who_runs_and_who_waits(store: Any) -> None:
    gate = Gate()

    @step(limits=(two, often))
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    many = Workflow("many", input=list[int]).map(hold)
    async with Engine(store) as engine:
        assert await engine.limits() == []
        handle = await engine.start(many, [1, 2, 3])
        await until(lambda: gate.arrived == 2, "two steps")
        async with asyncio.timeout(20):
            while not (uses := {use.limit.name: use for use in await engine.limits()}) or (
                not uses["two"].waiting
            ):
                await asyncio.sleep(0.01)
        assert uses["two"].limit == two
        assert dict(uses["two"].running) == {engine.worker_id: 2}
        assert list(uses["two"].waiting) == [engine.worker_id]
        assert uses["two"].started == 0
        assert dict(uses["often"].running) == {engine.worker_id: 2}
        assert uses["often"].started == 2
        gate.open()
        await handle.result()
        async with asyncio.timeout(20):
            while any(use.running for use in await engine.limits()):
                await asyncio.sleep(0.01)


@in_loop
async def test_workers_are_those_that_live_with_the_runs_that_they_own(store: Any) -> None:
    gate = Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    holding = Workflow("holding", input=int).then(hold)
    async with Engine(store) as engine:
        [worker] = await engine.workers()
        assert worker.worker_id == engine.worker_id
        assert worker.runs == 0
        assert worker.started_at <= worker.seen_at
        async with Client(engine.store) as client:
            handle = await engine.start(holding, 1)
            assert [each.runs for each in await client.workers()] == [1]
            gate.open()
            await handle.result()
            assert [each.runs for each in await client.workers()] == [0]
    async with Client(store) as client:
        assert await client.workers() == []


@in_loop
async def test_an_explanation_leaves_the_event_loop_free(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()

    def watched(function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            threads.add(threading.current_thread().name)
            return function(*args, **options)

        return call

    monkeypatch.setattr(explain, "explain", watched(explain.explain))
    monkeypatch.setattr(whatif, "whatif", watched(whatif.whatif))
    async with Engine(store) as engine:
        await engine.run(doubling, 1, run_id="one")
        assert (await engine.explain("one")).status == "completed"
        assert (await engine.explain("one", Changes(without_retries=True))).status == "completed"
    assert threads
    assert threading.current_thread().name not in threads
