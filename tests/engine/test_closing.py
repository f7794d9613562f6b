"""Closing that is cut off, and what must not outlive it."""

import asyncio
import gc
import itertools
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest

from gorkflow import Client, Engine, Limit, StepContext, Workflow, step
from gorkflow.stores import open_store
from gorkflow.stores.memory import MemoryStore

from .support import STORES, Gate, Moody, in_loop, others, until


@types.coroutine
def cut_off(work: Coroutine[Any, Any, None], at: int, *, again: bool) -> Generator[Any, Any, int]:
    """Do some work, and cancel it when it waits for the ``at``-th time, from 1; later ``again``.

    Returns how often it waited.
    """
    task = asyncio.current_task()
    assert task is not None
    inner: Any = work.__await__()
    waited = 0
    error: BaseException | None = None
    while True:
        try:
            waits_for = inner.send(None) if error is None else inner.throw(error)
        except (StopIteration, asyncio.CancelledError):
            return waited
        waited += 1
        if waited == at or (again and waited > at):
            asyncio.get_running_loop().call_soon(task.cancel)
        error = None
        try:
            yield waits_for
        except asyncio.CancelledError as caught:
            error = caught


@pytest.mark.parametrize("again", [False, True])
@STORES
@in_loop
async def test_a_close_that_is_cut_off_anywhere_leaves_nothing_behind(
    url: str, again: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No task of ours, which would renew the lease for ever; so that others get the runs."""
    gate = Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            try:
                await gate.wait_async()
            finally:
                await asyncio.sleep(0.005)  # it cleans up
        return ctx.attempt

    wf = Workflow("w", input=int).then(holds)
    store: Any = open_store(url.format(tmp_path))
    async with Client(store):  # keeps the store open
        for at in itertools.count(1):
            before, arrived = others(), gate.arrived
            engine = Engine(store, lease=0.3)
            await engine.open()
            handle = await engine.start(wf, 1)
            await until(lambda arrived=arrived: gate.arrived > arrived, "the step")
            closing = cut_off(engine.aclose(grace=0.01), at, again=again)
            waited = await asyncio.ensure_future(closing)
            await until(lambda before=before: others() <= before, "the end of every task")
            async with Engine(store, workflows=[wf], lease=0.3) as other:
                assert await other.handle(handle.run_id, wf).result() == 2
            if waited < at:
                break
    assert at > 4
    assert "could not renew" not in caplog.text  # which its timer would say


@STORES
def test_a_loop_that_ends_in_the_middle_of_a_close_leaves_no_task_pending(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        try:
            await gate.wait_async()
        finally:
            await asyncio.sleep(60)  # it cleans up
        return number

    async def main() -> None:
        engine = Engine(url.format(tmp_path))
        await engine.open()
        await engine.start(Workflow("w", input=int).then(holds), 1)
        await until(lambda: gate.arrived, "the step")
        closing = asyncio.ensure_future(engine.aclose(grace=0))
        handler = next(task for task in asyncio.all_tasks() if task.get_name() == "holds")
        await until(handler.cancelling, "the close")
        assert not closing.done()

    asyncio.run(main())  # cancels every task that is left
    gc.collect()
    assert "destroyed" not in caplog.text


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@in_loop
async def test_what_waits_for_the_lease_does_not_hold_up_the_close(when: str) -> None:
    """It has not begun; and the renewal may never come."""
    store, begun = Moody(), Gate()

    @step
    async def good(number: int) -> int:
        return number

    @step
    async def ends_late(ctx: StepContext, number: int) -> int:
        await begun.wait_async()
        return number

    async with Engine(store, lease=60.0, recover=False) as engine:
        assert engine._worker is not None
        service = engine._worker
        handle = await engine.start(Workflow("w", input=int).then(ends_late).then(good), 1)
        await until(lambda: begun.arrived, "the first step")
        store.gates["heartbeat"] = Gate()
        service.lease._holds_until = service.lease._holds_until.after(-60.0)
        if when == "meanwhile":
            store.gates["append"] = Gate()  # the second step is just being scheduled
        begun.open()
        if when == "meanwhile":
            await until(lambda: store.gates["append"].arrived, "the second step")
        else:
            await until(lambda: service.lease._waiting, "the second step")
        closing = asyncio.ensure_future(engine.aclose(grace=3600.0))
        await asyncio.sleep(0)  # it has begun
        if when == "meanwhile":
            store.gates["append"].open()
        await asyncio.wait_for(closing, 30.0)
        events = await store.read_events(handle.run_id)
        assert [event.kind for event in events][-1] == "step_scheduled"


@in_loop
async def test_a_close_does_not_wait_for_limits_that_were_asked_for() -> None:
    store, asked, before = MemoryStore(), asyncio.Event(), others()

    async def hangs(*_: Any, **__: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    store.take_limits = hangs  # type: ignore[assignment, method-assign]

    @step(limits=(Limit("api", concurrency=1),))
    async def good(number: int) -> int:
        return number

    engine = Engine(store)
    await engine.open()
    await engine.start(Workflow("w", input=int).then(good), 1)
    await asked.wait()
    await engine.aclose()
    assert others() == before


@in_loop
async def test_a_close_waits_for_what_is_being_written() -> None:
    gate = Gate()

    @step
    async def waits(number: int) -> int:
        await gate.wait_async()
        return number

    store = Moody()
    engine = Engine(store)
    await engine.open()
    await engine.start(Workflow("w", input=int).then(waits), 1, run_id="r")
    await until(lambda: gate.arrived, "the step")
    writing = store.gates["append"] = Gate()
    gate.open()
    await until(lambda: writing.arrived, "the result")
    closing = asyncio.ensure_future(engine.aclose(grace=0))
    await until(lambda: not engine._worker.runs.drivers, "the run to be given up")
    assert not closing.done()
    writing.open()
    await closing
    assert (await store._store.read_events("r"))[-1].kind == "run_finished"


@pytest.mark.parametrize("how", ["first", "timeout", "cancel"])
@in_loop
async def test_handlers_that_their_run_left_behind_may_clean_up(how: str) -> None:
    said: list[str] = []

    @step
    async def quick(number: int) -> int:
        return number

    @step
    async def loser(number: int) -> int:
        said.append("begins")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            said.append("cleaned up")
        return number

    both: Any = Workflow("both", input=int)
    if how == "first":
        both = both.parallel(quick, loser, join="first")
    else:
        both = both.parallel(loser, timeout=0.02 if how == "timeout" else None)
    async with Engine("memory:") as engine:
        handle = await engine.start(both, 1)
        await until(lambda: said, "the step")
        if how == "cancel":
            await handle.cancel()
        await handle.outcome()
        assert said == ["begins"]
    assert said == ["begins", "cleaned up"]
