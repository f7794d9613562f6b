"""A store that answers late: the time is judged where its lock is held, never before the wait."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from gorkflow import Engine, Limit, Workflow, step
from gorkflow.stores.memory import MemoryStore
from gorkflow.testing import in_virtual_time


class Late:
    """A memory store behind a lock that others hold at times, and whose answers take long.

    Args:
        store: has the rows.
        rng: draws how long.
    """

    def __init__(self, store: MemoryStore, rng: random.Random) -> None:
        self._store = store
        self._rng = rng
        self._lock = asyncio.Lock()

    def _delay(self) -> float:
        return self._rng.choice([*[0.0] * 12, 0.01, 0.1, 0.3, 2.6])

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in {"take_limits", "write", "claim", "heartbeat", "post"}:
            return method

        async def late(*args: Any, **options: Any) -> Any:
            async with self._lock:
                await asyncio.sleep(self._delay())  # the lock is another program's
                answer = await method(*args, **options)
                await asyncio.sleep(self._delay())  # and the disk is slow
            return answer

        return late


@pytest.mark.parametrize("seed", range(8))
def test_a_rate_holds_in_every_window_however_slow_the_store_is(seed: int) -> None:
    rng = random.Random(seed)
    rate, per = rng.choice([1, 3, 5]), rng.choice([0.5, 1.0, 2.0])
    paced = Limit("paced", rate=rate, per=per)
    begins: list[float] = []

    @step(limits=(paced,))
    async def call(number: int) -> int:
        begins.append(asyncio.get_running_loop().time())
        await asyncio.sleep(rng.choice([0.0, 0.05, 1.0]))
        return number

    workflow = Workflow("w", input=int).then(call)

    async def main() -> None:
        store: Any = Late(MemoryStore(), rng)
        loop: Any = asyncio.get_running_loop()
        engines = [Engine(store, lease=1e9, recover=False, clock=loop.clock) for _ in range(3)]
        for engine in engines:
            await engine.open()
        handles = [await rng.choice(engines).start(workflow, each) for each in range(20)]
        await asyncio.gather(*(handle.result() for handle in handles))
        for engine in engines:
            await engine.aclose()

    in_virtual_time(main())
    assert len(begins) == 20
    for first in begins:
        window = [at for at in begins if first <= at < first + per - 1e-6]
        assert len(window) <= rate, f"{len(window)} began within {per} s, from {first}"
