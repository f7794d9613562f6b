"""The history of the demo: a week of runs, made by the engine in virtual time.

The runs take place in memory, where a week takes seconds, and then move into the store.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from operator import itemgetter
from random import Random

from msgspec.structs import replace

from gorkflow.demo.flows import WORKFLOWS
from gorkflow.demo.traffic import Visit, large_order, make_schedules, scheduled, visit
from gorkflow.listing import RunFilter
from gorkflow.schedule import Schedule
from gorkflow.store import NewRun, Store
from gorkflow.stores import open_store
from gorkflow.stores.memory import MemoryStore
from gorkflow.testing import VirtualEngine, in_virtual_time, outside

DAYS = 7
"""The days before now that have runs."""
_DAY = 86_400.0
_QUIET = 150.0  # seconds before the end in which nothing starts, so that nothing is cut off
_ANSWERABLE = (50_000.0, 9_000.0, 1_500.0)  # seconds ago, when orders came that wait for a person
_PAGE = 500
Reporter = Callable[[int], object]
"""Takes the number of runs that have started."""


def make_history(
    url: str, *, now: float, runs: int = 2000, seed: int = 0, report: Reporter | None = None
) -> None:
    """Fill a store with the runs of the days up to now. Blocks for some seconds.

    Args:
        url: The store. It must have no runs of the demo.
        now: The end of the history, in seconds since the epoch.
        runs: How many runs to make.
        seed: Another seed makes other runs.
        report: Called as runs start.

    Raises:
        StoreError: If the store can't be written, or has runs of the demo already.
    """
    main = _take_place(url, now, runs, seed, report or (lambda _: None))
    in_virtual_time(main, start=now - DAYS * _DAY)


async def _take_place(url: str, now: float, runs: int, seed: int, report: Reporter) -> None:
    memory = MemoryStore(keep_ended=2 * runs)
    async with VirtualEngine(memory, workflows=WORKFLOWS, seed=seed) as engine:
        time = asyncio.get_running_loop().time
        visits: list[asyncio.Task[None]] = []
        due = _due(await make_schedules(engine), now)[-runs // 4 :]
        for at, one in sorted([*due, *_free(now, runs - len(due), seed)], key=itemgetter(0)):
            await asyncio.sleep(at - time())
            visits.append(asyncio.create_task(one.make(engine)))
            report(len(visits))
        await asyncio.sleep(now - time())
        for task in visits:
            task.cancel()  # a signal that is yet to come
        await asyncio.gather(*visits, return_exceptions=True)
        await _move(engine, memory, url)


def _free(now: float, runs: int, seed: int) -> list[tuple[float, Visit]]:
    """Return visits by people, and when they come, in seconds since the epoch."""
    chance = Random(f"starts {seed}")
    starts = sorted(_start(chance, now) for _ in range(runs - len(_ANSWERABLE)))
    found = [(at, visit(number, seed)) for number, at in enumerate(starts)]
    late = [(now - ago, large_order(runs + number)) for number, ago in enumerate(_ANSWERABLE)]
    return [*found, *late][:runs]


def _start(chance: Random, now: float) -> float:
    """Return when a run starts: more often by day than by night."""
    while True:
        at = chance.uniform(now - DAYS * _DAY, now - _QUIET)
        if chance.random() < 0.55 - 0.45 * math.cos(at % _DAY / _DAY * 2 * math.pi):
            return at


def _due(schedules: list[Schedule], now: float) -> list[tuple[float, Visit]]:
    """Return the starts by schedules, in the order of their time."""
    found: list[tuple[float, Visit]] = []
    for schedule in schedules:
        for moment in schedule.upcoming(DAYS * 24):
            at = moment.timestamp()
            if at < now - _QUIET:
                found.append((at, scheduled(schedule.id, int(at))))
    return sorted(found, key=itemgetter(0))


async def _move(engine: VirtualEngine, memory: MemoryStore, url: str) -> None:
    """Write the runs and schedules of a store in memory to another one."""
    for schedule in await engine.schedules():  # from now on
        await engine.unschedule(schedule.id)
    await make_schedules(engine)
    store = open_store(url)
    with outside():
        await store.open()
        try:
            await _write(memory, store)
        finally:
            await store.close()


async def _write(memory: MemoryStore, store: Store) -> None:
    for row in await memory.schedules():
        await store.put_schedule(row)
    query = RunFilter(limit=_PAGE)
    while True:
        page = await memory.list_runs(query)
        await store.write([await _whole(memory, row.run_id) for row in page])
        lines = [line for row in page for line in await memory.logs(row.run_id)]
        await store.note(lines=lines)
        if page.next_cursor is None:
            return
        query = dataclasses.replace(query, cursor=page.next_cursor)


async def _whole(memory: MemoryStore, run_id: str) -> NewRun:
    found = await memory.load(run_id)
    assert found is not None  # it was listed
    return NewRun(replace(found.row, worker_id=None), found.tree, found.events)
