"""Whoever follows a run's events sees the last one, however the end falls between two looks."""

import asyncio

from gorkflow.engine.engine import Engine
from gorkflow.events import RunFinished
from gorkflow.step import step
from gorkflow.stores.memory import MemoryStore
from gorkflow.workflow import Workflow


@step
async def one() -> int:
    return 1


class SlowReader(MemoryStore):
    """Answers a look at the events with what there was before the run ended."""

    stale = False

    async def read_events(self, run_id, *, after=0, limit=1000):
        events = await super().read_events(run_id, after=after, limit=limit)
        if self.stale:
            self.stale = False
            return []
        return events


def test_the_last_events_are_seen_though_the_run_ends_between_two_looks():
    async def main():
        store = SlowReader()
        async with Engine(store) as engine:
            await engine.run(Workflow("w").then(one), run_id="r")
            store.stale = True
            seen = [event async for event in engine.events("r")]
            assert isinstance(seen[-1], RunFinished)
            last = seen[-1].seq
            assert [event async for event in engine.events("r", after=last)] == []

    asyncio.run(main())
