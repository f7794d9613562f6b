"""Opening and closing, by several tasks or engines at once."""

import asyncio
import gc
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gorkflow import Client, Engine, EngineClosedError, RunStatus, StoreError, Workflow, step
from gorkflow.clock import Timekeeper
from gorkflow.engine import _claims
from gorkflow.engine._sync import _known
from gorkflow.store import Heartbeat, Loaded, Worker
from gorkflow.stores import open_store
from gorkflow.stores.memory import MemoryStore

from .support import STORES, Gate, Moody, in_loop, others, until


@step
async def good(number: int) -> int:
    return number


ONE = Workflow("one", input=int).then(good)


class Slow(MemoryStore):
    """Takes its time to register, and counts; fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.registered = 0
        self.fails = 0
        self.gate = Gate()

    async def register(self, worker: Worker) -> None:
        await self.gate.wait_async()
        self.registered += 1
        if self.fails:
            self.fails -= 1
            raise StoreError("not now")
        await super().register(worker)


class SlowToOpen(MemoryStore):
    gate: Gate | None = None

    async def open(self) -> None:
        await super().open()
        if self.gate is not None:
            await self.gate.wait_async()


@in_loop
async def test_opening_twice_at_once_opens_once() -> None:
    store, before = Slow(), others()
    engine = Engine(store)
    both = [asyncio.ensure_future(engine.open()) for _ in range(2)]
    await until(lambda: store.gate.arrived, "the first")
    assert not any(each.done() for each in both)
    store.gate.open()
    await asyncio.gather(*both)
    assert store.registered == 1
    assert await engine.run(ONE, 1) == 1
    await engine.aclose()
    assert others() == before


@in_loop
async def test_whoever_waits_for_an_open_that_fails_opens_it() -> None:
    store = Slow()
    store.fails = 1
    engine = Engine(store)
    both = [asyncio.ensure_future(engine.open()) for _ in range(2)]
    await until(lambda: store.gate.arrived, "the first")
    store.gate.open()
    first, second = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(first, StoreError)
    assert second is None
    assert await engine.run(ONE, 1) == 1
    await engine.aclose()


@pytest.mark.parametrize("kind", [Engine, Client])
@pytest.mark.parametrize("is_cut_off", [False, True])
@in_loop
async def test_closing_what_is_being_opened_closes_it(is_cut_off: bool, kind: type[Client]) -> None:
    """Though nobody waits for it any more; then it can be opened again."""
    store, before = SlowToOpen(), others()
    store.gate = Gate()
    engine = kind(store)
    opening = asyncio.ensure_future(engine.open())
    await until(lambda: store.gate is not None and store.gate.arrived, "the opening")
    closing = asyncio.ensure_future(engine.aclose())
    await asyncio.sleep(0)  # it has begun
    if is_cut_off:
        closing.cancel()
    store.gate.open()
    with pytest.raises(EngineClosedError, match="while it was being opened"):
        await opening
    await asyncio.wait([closing])
    assert not store._open
    assert others() == before
    async with engine:
        assert (await engine.start(ONE, 1)).run_id
    assert not store._open


@in_loop
async def test_closing_what_takes_up_runs_already_closes_it() -> None:
    store, before = Slow(), others()
    engine = Engine(store)
    opening = asyncio.ensure_future(engine.open())
    await until(lambda: store.gate.arrived, "the opening")
    closing = asyncio.ensure_future(engine.aclose())
    await asyncio.sleep(0)  # it has begun
    with pytest.raises(EngineClosedError, match="is being closed"):
        await engine.start(ONE, 1)
    store.gate.open()
    with pytest.raises(EngineClosedError, match="while it was being opened"):
        await opening
    await closing
    assert not store._open
    assert others() == before


@in_loop
async def test_what_was_taken_up_before_that_has_its_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_claims, "_EVENTS", 1)  # one run at a time
    store, gate, loaded = Moody(), Gate(), Gate()

    async def load(run_ids: Sequence[str]) -> dict[str, Loaded]:
        if "late" in run_ids:
            await loaded.wait_async()
        return await store._store.load_many(run_ids)

    store.load_many = load  # type: ignore[method-assign]

    @step
    async def slow(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(slow)
    async with Client(store) as client:
        early = await client.start(wf, 1, run_id="early")
        await client.start(wf, 1, run_id="late")
        engine = Engine(store, workflows=[wf])
        opening = asyncio.ensure_future(engine.open())
        await until(lambda: gate.arrived and loaded.arrived, "the takeover")
        closing = asyncio.ensure_future(engine.aclose())
        await asyncio.sleep(0)  # it has begun
        closing.cancel()
        loaded.open()
        runs = store._store._runs
        await until(lambda: runs["late"].row.worker_id is None, "what begins no more to be left")
        gate.open()
        with pytest.raises(EngineClosedError, match="while it was being opened"):
            await opening
        assert (await early.info()).status == RunStatus.COMPLETED


@pytest.mark.parametrize("grace", [0.0, 30.0])
@in_loop
async def test_every_close_returns_when_the_engine_is_closed(grace: float) -> None:
    gate = Gate()
    cleaned: list[bool] = []

    @step
    async def slow(number: int) -> int:
        try:
            await gate.wait_async()
        finally:
            await asyncio.sleep(0.01)  # it cleans up
            cleaned.append(True)
        return number

    store = MemoryStore()
    engine = Engine(store)
    await engine.open()
    await engine.start(Workflow("w", input=int).then(slow), 1)
    await until(lambda: gate.arrived, "the step")
    first = asyncio.ensure_future(engine.aclose())
    service = engine._worker
    assert service is not None
    await until(lambda: service.runtime.closing, "the close")
    if grace:
        gate.open()
    await engine.aclose(grace=grace)
    assert cleaned
    assert not store._open
    await first


@STORES
@in_loop
async def test_engines_share_a_store_that_the_last_one_closes(url: str, tmp_path: Path) -> None:
    store: Any = open_store(url.format(tmp_path))
    gate = Gate()

    @step
    async def slow(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(slow)
    async with Engine(store) as engine:
        handle = await engine.start(wf, 1)
        async with Client(store) as client:
            assert (await client.get_run(handle.run_id)).status == RunStatus.RUNNING
        gate.open()
        assert await handle.result() == 1
    with pytest.raises(StoreError, match="not open"):
        await store.get_run(handle.run_id)


def test_what_is_no_store_and_what_are_no_defaults_is_told_at_once() -> None:
    given: Any = 5
    with pytest.raises(TypeError, match="must be a Store, a URL such as 'memory:', or the path of"):
        Engine(given)
    defaults: Any = {"retry": 3}
    with pytest.raises(ValueError, match="defaults: unknown option 'retry'; did you mean"):
        Engine("memory:", defaults=defaults)


class Unwilling(Slow):
    async def unregister(self, worker_id: str) -> None:
        raise StoreError("the disk is full")


@in_loop
async def test_a_store_error_in_the_background_is_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Unwilling()
    store.gate.open()
    async with Engine(store):
        pass
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "others take them over later: the disk is full" in record.getMessage()
    assert record.exc_info is None


@in_loop
async def test_a_store_that_is_opened_twice_at_once_is_opened_once(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # another test may have left some
    store = open_store(f"sqlite:{tmp_path / 'runs.db'}")
    await asyncio.gather(*(store.open() for _ in range(3)))
    await store.close()
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if "sqlite" in thread.name]


@in_loop
async def test_entering_twice_at_once_is_refused() -> None:
    store = Slow()
    engine = Engine(store)
    first = asyncio.ensure_future(engine.__aenter__())
    await until(lambda: store.gate.arrived, "the first")
    with pytest.raises(EngineClosedError, match="another `async with`"):
        await engine.__aenter__()
    store.gate.open()
    assert await first is engine
    await engine.aclose()


@in_loop
async def test_a_store_is_not_closed_under_an_engine_that_opens_it() -> None:
    store = SlowToOpen()
    first = Engine(store)
    await first.open()
    store.gate = Gate()
    second = Engine(store)
    opening = asyncio.ensure_future(second.open())
    await until(lambda: store.gate is not None and store.gate.arrived, "the second")
    await first.aclose()
    store.gate.open()
    await opening
    assert await second.run(ONE, 1) == 1
    await second.aclose()
    assert not store._open


class SlowToClose(MemoryStore):
    """Takes its time to close, and can't be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.closing = Gate()

    def __eq__(self, other: object) -> bool:
        return True

    async def close(self) -> None:
        await self.closing.wait_async()
        await super().close()


@in_loop
async def test_a_store_is_not_opened_while_it_is_being_closed() -> None:
    store = SlowToClose()
    first, second, third = (Engine(store) for _ in range(3))
    await first.open()
    closing = asyncio.ensure_future(first.aclose())
    await until(lambda: store.closing.arrived, "the close")
    opening = [asyncio.ensure_future(each.open()) for each in (second, third)]
    for _ in range(3):
        await asyncio.sleep(0)  # they have begun to wait
    opening[1].cancel()  # which is nothing to the others
    with pytest.raises(asyncio.CancelledError):
        await opening[1]
    assert not opening[0].done()
    store.closing.open()
    await asyncio.gather(closing, opening[0])
    assert await second.run(ONE, 1) == 1
    await second.aclose()
    assert not store._open


@in_loop
async def test_of_a_store_that_is_gone_nothing_is_known() -> None:
    """Or another one might take its place in memory, and would never be closed."""
    store = MemoryStore()
    place = id(store)
    engine = Client(store)
    await engine.open()  # and nobody closes it
    assert place in _known
    del engine, store
    gc.collect()
    assert place not in _known


class SlowToLeave(MemoryStore):
    """Takes its time to unregister; counts heartbeats."""

    def __init__(self) -> None:
        super().__init__()
        self.leaving = Gate()
        self.beats = 0

    async def unregister(self, worker_id: str) -> None:
        await super().unregister(worker_id)
        await self.leaving.wait_async()

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        self.beats += 1
        return await super().heartbeat(worker_id, times, after=after)


@in_loop
async def test_what_is_asked_of_an_engine_that_leaves_does_not_register_it_again() -> None:
    store = SlowToLeave()
    async with Client(store) as other:
        engine = Engine(store)
        await engine.open()
        await other.start(ONE, 1, run_id="r")
        closing = asyncio.ensure_future(engine.aclose())
        await until(lambda: store.leaving.arrived, "the end")
        with pytest.raises(EngineClosedError):
            await engine.recover()
        assert await store.workers() == []
        store.leaving.open()
        await closing
        assert await store.workers() == []


@in_loop
async def test_the_lease_is_renewed_while_handlers_clean_up() -> None:
    store = SlowToLeave()
    store.leaving.open()
    gate = Gate()
    renewed: list[int] = []

    @step
    async def cleans_up(number: int) -> int:
        try:
            await gate.wait_async()
        finally:
            before = store.beats
            await until(lambda: store.beats > before + 1, "heartbeats")
            renewed.append(store.beats)
        return number

    engine = Engine(store, lease=0.6)
    await engine.open()
    await engine.start(Workflow("w", input=int).then(cleans_up), 1)
    await until(lambda: gate.arrived, "the step")
    await engine.aclose(grace=0)
    assert renewed


class Hesitant(MemoryStore):
    """Can't be opened the first time."""

    async def open(self) -> None:
        if not vars(self).setdefault("asked", False):
            self.asked = True
            raise StoreError("not yet")
        await super().open()


@in_loop
async def test_an_engine_that_could_not_open_the_store_does_not_count() -> None:
    store = Hesitant()
    engine = Engine(store)
    with pytest.raises(StoreError, match="not yet"):
        await engine.open()
    async with engine:
        assert store._open
    assert not store._open


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("max_threads", "5", "max_threads must be a whole number, not '5'"),
        ("max_threads", 1.5, "max_threads must be a whole number, not 1.5"),
        ("max_concurrent_runs", True, "max_concurrent_runs must be a whole number, not True"),
        ("lease", "30", "lease must be a number of seconds, not '30'"),
        ("recover", 0, "recover must be True or False, not 0"),
    ],
)
def test_options_of_the_wrong_kind_are_named(option: str, value: object, says: str) -> None:
    with pytest.raises(TypeError, match=re.escape(says)):
        Engine("memory:", **{option: value})  # type: ignore[arg-type]
