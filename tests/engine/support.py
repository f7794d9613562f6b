"""Small things that the engine's tests share."""

import asyncio
import functools
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import gorkflow
from gorkflow import Engine, StepExecution, StoreError
from gorkflow.clock import Timekeeper
from gorkflow.engine._attempt import Attempt
from gorkflow.store import (
    Append,
    Heartbeat,
    Loaded,
    Message,
    NewRun,
    RunRow,
    Transition,
    Worker,
    Written,
)
from gorkflow.stores.memory import MemoryStore

OURS = str(Path(gorkflow.__file__).parent)
"""The folder of the package, which the clone around it may be called like."""
DEADLINE = 20.0  # seconds after which waiting for a condition is a failed test
STORES = pytest.mark.parametrize("url", ["memory:", "sqlite:{}/runs.db"])
calls: list[str] = []
"""What steps say of themselves; empty when a test begins."""
broken: set[str] = set()
"""What is to fail; empty when a test begins."""


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own, in debug mode's spirit: no warning goes unseen."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

    return wrapper


def others() -> set[Any]:
    """Return every task of the loop but the one that asks."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait until a condition holds, and return what it returned."""
    end = time.monotonic() + DEADLINE
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {DEADLINE:g} s")
        await asyncio.sleep(0.002)
    return result


class Gate:
    """Something that steps wait for, in the loop or in threads, and that counts who came."""

    def __init__(self) -> None:
        self.arrived = 0
        self._opened = threading.Event()
        self._lock = threading.Lock()

    def open(self) -> None:
        self._opened.set()

    def wait(self) -> None:
        with self._lock:
            self.arrived += 1
        if not self._opened.wait(DEADLINE):
            raise AssertionError("the gate was never opened")

    async def wait_async(self) -> None:
        with self._lock:
            self.arrived += 1
        await until(self._opened.is_set, "the gate")


async def step_of(engine: Engine, run_id: str, path: str) -> StepExecution:
    """Return one step of a run."""
    return next(s for s in await engine.steps(run_id) if s.path == path)


async def die(engine: Engine) -> None:
    """End an engine as if its process had died: its lock is free, and nothing was given back."""
    store: Any = engine.store  # an ``SqliteStore``
    store._home.locks.drop(engine.worker_id)

    async def nothing(_: str) -> None:
        pass

    store.unregister = nothing
    await engine.aclose(grace=0)


async def kinds(engine: Engine, run_id: str) -> list[str]:
    """Return the kinds of a run's events, in order."""
    return [event.kind for event in await engine.store.read_events(run_id)]


class Moody:
    """A memory store that fails or waits when told to, and is written to by a task."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.fail: dict[str, int] = {}
        self.error: Exception = StoreError("the disk is full")
        self.gates: dict[str, Gate] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def _mood(self, name: str) -> None:
        if name in self.gates:
            await self.gates[name].wait_async()
        if self.fail.get(name, 0):
            self.fail[name] -= 1
            raise self.error

    async def write(self, batch: Sequence[Transition]) -> list[Written]:
        for name, kind in (("create", NewRun), ("append", Append)):
            if any(isinstance(item, kind) for item in batch):
                await self._mood(name)
        return await self._store.write(batch)

    async def inbox(self, run_id: str, *, after: int = 0) -> list[Message]:
        await self._mood("inbox")
        return await self._store.inbox(run_id, after=after)

    async def load(self, run_id: str) -> Loaded | None:
        await self._mood("load")
        return await self._store.load(run_id)

    async def load_many(self, run_ids: Sequence[str]) -> dict[str, Loaded]:
        await self._mood("load")
        return await self._store.load_many(run_ids)

    async def register(self, worker: Worker) -> None:
        await self._mood("register")
        await self._store.register(worker)

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        await self._mood("heartbeat")
        return await self._store.heartbeat(worker_id, times, after=after)

    async def claim(self, worker_id: str, **options: Any) -> list[RunRow]:
        await self._mood("claim")
        return await self._store.claim(worker_id, **options)

    async def close(self) -> None:
        """Keep what is stored, for the next engine."""


class StandsStill:
    """Lets time pass for the loop, as for a process that is stopped and continued."""

    def __init__(self) -> None:
        loop: Any = asyncio.get_running_loop()
        loop_time = loop.time
        self.ahead = 0.0
        loop.time = lambda: loop_time() + self.ahead

    def before(self, patch: pytest.MonkeyPatch, method: str) -> None:
        """Have that happen the first time that this method of ``Attempt`` is called."""
        plain = getattr(Attempt, method)

        def late(*args: Any) -> Any:
            self.ahead = 20.0
            return plain(*args)

        patch.setattr(Attempt, method, late)
