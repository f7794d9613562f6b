"""The history of the demo: a week of runs, made by the engine in virtual time.

The runs take place in memory, where a week takes seconds, and then move into the store.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Iterator
from operator import itemgetter
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from gorkflow.demo.flows import WORKFLOWS
from gorkflow.demo.traffic import Due, Visit, at_work, large_order, make_schedules, visit
from gorkflow.listing import RunFilter
from gorkflow.schedule import Schedule, ScheduleRow
from gorkflow.store import LineRow, NewRun, ReportRow, RunRow, Store
from gorkflow.stores import open_store
from gorkflow.stores.memory import MemoryStore
from gorkflow.testing import VirtualEngine, in_virtual_time, outside

DAYS = 7
"""The days before now that have runs."""
_DAY = 86_400.0
_LONGEST = 150.0  # seconds within which a run has ended, or waits
_ANSWERABLE = (50_000.0, 9_000.0, 1_500.0)  # seconds ago, when orders came that wait for a person
_PAGE = 500
Reporter = Callable[[int], object]
"""Takes the number of runs that have started."""


def make_history(
    url: str,
    *,
    now: float,
    runs: int = 2000,
    seed: int = 0,
    quiet: float = _LONGEST,
    report: Reporter | None = None,
) -> None:
    """Fill a store with the runs of the days up to now. Blocks for some seconds.

    Args:
        url: The store. It must have no runs of the demo.
        now: The end of the history, in seconds since the epoch.
        runs: How many runs to make.
        seed: Another seed makes other runs.
        quiet: Seconds before the end in which nothing starts, so that no step is cut off; 0 leaves
            runs at work, as a crash does.
        report: Called as runs start.

    Raises:
        StoreError: If the store can't be written, or has runs of the demo already.
    """
    main = _take_place(url, _Plan(now, runs, seed, quiet), report or (lambda _: None))
    in_virtual_time(main, start=now - DAYS * _DAY)


class _Plan(NamedTuple):
    now: float
    runs: int
    seed: int
    quiet: float

    def starts(self, schedules: list[Schedule]) -> list[tuple[float, Visit | Due]]:
        """Return all starts, and when they come, in seconds since the epoch."""
        due = self._due(schedules)[-self.runs // 4 :]
        return sorted([*due, *self._free(self.runs - len(due))], key=itemgetter(0))

    def _due(self, schedules: list[Schedule]) -> list[tuple[float, Visit | Due]]:
        found: list[tuple[float, Visit | Due]] = []
        for schedule in schedules:
            for moment in schedule.upcoming(DAYS * 24):
                at = moment.timestamp() + 0.001  # no rounding takes it before its second
                if at < self.now - self.quiet:
                    found.append((at, Due(schedule.id)))
        return sorted(found, key=itemgetter(0))

    def _free(self, runs: int) -> list[tuple[float, Visit | Due]]:
        chance = Random(f"starts {self.seed}")
        late = [(ago, large_order(runs + number)) for number, ago in enumerate(_ANSWERABLE)]
        if self.quiet == 0:
            late += at_work()
        late = late[:runs]
        starts = sorted(self._start(chance) for _ in range(runs - len(late)))
        return [
            *((at, visit(number, self.seed)) for number, at in enumerate(starts)),
            *((self.now - ago, one) for ago, one in late),
        ]

    def _start(self, chance: Random) -> float:
        """Return when a run starts: more often by day than by night."""
        while True:
            at = chance.uniform(self.now - DAYS * _DAY, self.now - max(self.quiet, _LONGEST))
            if chance.random() < 0.55 - 0.45 * math.cos(at % _DAY / _DAY * 2 * math.pi):
                return at


async def _take_place(url: str, plan: _Plan, report: Reporter) -> None:
    memory = MemoryStore(keep_ended=2 * plan.runs)
    async with VirtualEngine(memory, workflows=WORKFLOWS, seed=plan.seed) as engine:
        time = asyncio.get_running_loop().time
        visits: list[asyncio.Task[None]] = []
        for at, one in plan.starts(await make_schedules(engine)):
            await asyncio.sleep(at - time())
            visits.append(asyncio.create_task(one.make(engine)))
            report(len(visits))
        await asyncio.sleep(plan.now - time())
        for task in visits:
            task.cancel()  # a signal that is yet to come
        await asyncio.gather(*visits, return_exceptions=True)
        for schedule in await engine.schedules():  # from now on
            await engine.unschedule(schedule.id)
        await make_schedules(engine)
        kept = await _Kept.of(memory)  # before the store below takes time
        store = open_store(url)
        with outside():
            await store.open()
            try:
                await kept.write(store)
            finally:
                await store.close()


class _Kept(NamedTuple):
    """All that a store in memory has, of one moment."""

    schedules: list[ScheduleRow]
    runs: list[NewRun]
    reports: list[ReportRow]
    lines: list[LineRow]

    @classmethod
    async def of(cls, memory: MemoryStore) -> _Kept:
        """Read everything; a store in memory never waits."""
        rows: list[RunRow] = []
        query = RunFilter(limit=_PAGE)
        while True:
            page = await memory.list_runs(query)
            rows += page
            if page.next_cursor is None:
                break
            query = dataclasses.replace(query, cursor=page.next_cursor)
        return cls(
            schedules=await memory.schedules(),
            runs=[await _whole(memory, row.run_id) for row in rows],
            reports=[each for row in rows for each in await memory.reports(row.run_id)],
            lines=[each for row in rows for each in await memory.logs(row.run_id)],
        )

    async def write(self, store: Store) -> None:
        """Write it to another store."""
        for row in self.schedules:
            await store.put_schedule(row)
        for batch in _batches(self.runs):
            await store.write(batch)
        await store.note(reports=self.reports, lines=self.lines)


def _batches(runs: list[NewRun]) -> Iterator[list[NewRun]]:
    for first in range(0, len(runs), _PAGE):
        yield runs[first : first + _PAGE]


async def _whole(memory: MemoryStore, run_id: str) -> NewRun:
    found = await memory.load(run_id)
    assert found is not None  # it was listed
    return NewRun(replace(found.row, worker_id=None), found.tree, found.events)
