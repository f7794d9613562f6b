"""Runs that an engine had to give up though it lives on: they must not stay running for ever."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gorkflow import (
    Engine,
    RunFailedError,
    StoreCorruptError,
    StoreError,
    Workflow,
    step,
)
from gorkflow.clock import Timekeeper
from gorkflow.engine import _lease, _worker
from gorkflow.store import Append, Heartbeat, Transition, Written
from gorkflow.stores.sqlite import SqliteStore


class FailingStore(SqliteStore):
    """Fails on demand."""

    appends = 0
    """How many of the next appends fail."""
    beats = 0
    """How many of the next heartbeats find that the lease has ended."""

    async def write(self, batch: Sequence[Transition]) -> list[Written]:
        if self.appends and any(isinstance(item, Append) for item in batch):
            self.appends -= 1
            raise StoreError("the disk is full")
        return await super().write(batch)

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        if self.beats:
            self.beats -= 1
            return Heartbeat(alive=False)
        return await super().heartbeat(worker_id, times, after=after)


@step
async def wait_a_little(value: int) -> int:
    await asyncio.sleep(0.05)
    return value + 1


WORKFLOW = Workflow("waits", input=int).then(wait_a_little).then(wait_a_little.options(id="again"))


def with_store(
    test: Callable[[FailingStore], Awaitable[None]],
) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def wrapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_lease, "BEAT", 0.02)
        monkeypatch.setattr(_worker, "RETRY", 0.01)
        asyncio.run(asyncio.wait_for(test(FailingStore(tmp_path / "runs.db")), 30))  # type: ignore[arg-type]

    wrapper.__name__ = test.__name__
    return wrapper


async def outcome_in_the_end(engine: Engine, run_id: str) -> Any:
    async for _ in engine.events(run_id):
        pass  # until it has ended
    return await engine.handle(run_id).result()


@with_store
async def test_a_run_goes_on_once_the_store_works_again(store: FailingStore) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(WORKFLOW, 1)
        store.appends = 1
        with pytest.raises(StoreError, match="disk is full"):
            await handle.result()
        assert await outcome_in_the_end(engine, handle.run_id) == 3


@with_store
async def test_a_run_can_be_recovered_by_hand_once_the_store_works_again(
    store: FailingStore,
) -> None:
    async with Engine(store, recover=False) as engine:
        handle = await engine.start(WORKFLOW, 1)
        store.appends = 1
        with pytest.raises(StoreError, match="disk is full"):
            await handle.result()
        taken = await engine.recover(handle.run_id)
        assert taken in ([handle.run_id], [])  # a heartbeat may have been faster
        assert await handle.result() == 3


@with_store
async def test_a_run_goes_on_after_the_lease_had_ended(store: FailingStore) -> None:
    async with Engine(store) as engine:
        handle = await engine.start(WORKFLOW, 1)
        store.beats = 1
        assert await handle.result() == 3


@pytest.mark.parametrize("error", [StopIteration, GeneratorExit, asyncio.CancelledError])
def test_a_condition_may_raise_what_a_future_refuses(error: type[BaseException]) -> None:
    def holds(value: int) -> bool:
        raise error

    async def main() -> None:
        workflow = Workflow("conditional", input=int).then_if(holds, wait_a_little)
        async with Engine("memory:") as engine:
            with pytest.raises(RunFailedError, match="condition"):
                await asyncio.wait_for(engine.run(workflow, 1), 5)

    asyncio.run(main())


def test_a_run_whose_definition_is_damaged_does_not_keep_others_waiting(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    other = Workflow("other", input=int).then(wait_a_little)

    async def main() -> None:
        async with Engine(f"sqlite:{path}") as engine:
            damaged = await engine.start(WORKFLOW, 1)
            fine = await engine.start(other, 1)
            await engine.aclose(grace=0)
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("""UPDATE definitions SET tree = '{"kind": "of the future"}'
                WHERE fingerprint = (SELECT fingerprint FROM runs WHERE workflow_id = 'waits')""")
        async with Engine(f"sqlite:{path}", workflows=[WORKFLOW, other]) as engine:
            assert await engine.handle(fine.run_id).result() == 2
            row = await engine.store.get_run(damaged.run_id)
            assert row is not None
            assert row.status == "running"
            assert "is not the one that it was started with" in row.reason
            with pytest.raises(StoreCorruptError, match="is not the one"):
                await engine.recover(damaged.run_id)

    asyncio.run(main())
