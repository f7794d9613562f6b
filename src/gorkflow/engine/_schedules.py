"""The schedules of a store: written by callers, and started by workers when they are due."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, get_args

from msgspec.structs import replace

from gorkflow._text import brief
from gorkflow.engine._claims import AHEAD
from gorkflow.engine._start import (
    StartOptions,
    checked_input,
    checked_priority,
    checked_queue,
    checked_tags,
    driver_for,
)
from gorkflow.errors import (
    DuplicateRunError,
    InputInvalidError,
    ResourceBusyError,
    ScheduleNotFoundError,
    StoreError,
)
from gorkflow.model import instant
from gorkflow.schedule import (
    TAG,
    CatchUp,
    Overlap,
    ScheduleRow,
    due,
    first_after,
    mended,
    run_id_of,
    seconds_between,
    table_of,
    timetable,
    zone,
)

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.engine._driver import Driver
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runs import Runs
    from gorkflow.engine._runtime import Runtime
    from gorkflow.store import Store

logger = logging.getLogger("gorkflow.engine")

_MEND_EVERY = 60.0  # seconds between looks for schedules that a wrong clock has moved
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=+-]{0,149}")  # a run's id without the due time
_MOST_FILLED = 1000  # runs that one backfill starts
_TRIES = 20  # writers that may be faster, one after the other


async def _write(
    store: Store, schedule_id: str, change: Callable[[ScheduleRow | None], ScheduleRow]
) -> ScheduleRow:
    """Change a schedule; again, if another process changed it meanwhile."""
    for _ in range(_TRIES):
        kept = {row.schedule_id: row for row in await store.schedules()}
        old = kept.get(schedule_id)
        new = change(old)
        if new == old:
            return new
        new = replace(new, revision=old.revision + 1 if old else 1)
        if await store.put_schedule(new):
            return new
    raise StoreError(
        f"schedule {schedule_id!r} was changed by others all the time; try again when they are done"
    )


async def put(store: Store, row: ScheduleRow) -> ScheduleRow:
    """Record a schedule, in place of the one with its id; return what was recorded."""
    return await _write(store, row.schedule_id, lambda old: _merged(old, row))


async def pause(store: Store, schedule_id: str) -> ScheduleRow:
    """Pause a schedule.

    Raises:
        ScheduleNotFoundError: If there is no such schedule.
    """

    def paused(old: ScheduleRow | None) -> ScheduleRow:
        return replace(_there(schedule_id, old), paused=True)

    return await _write(store, id_of(schedule_id), paused)


async def resume(store: Store, schedule_id: str, now: float) -> ScheduleRow:
    """Resume a schedule; due times that passed while it was paused are left out.

    Raises:
        ScheduleNotFoundError: If there is no such schedule.
    """

    def resumed(old: ScheduleRow | None) -> ScheduleRow:
        row = _there(schedule_id, old)
        if not row.paused:
            return row
        passed = row.next_due <= now
        next_due = float(first_after(table_of(row), now)) if passed else row.next_due
        return replace(row, paused=False, next_due=next_due)

    return await _write(store, id_of(schedule_id), resumed)


def _there(schedule_id: str, row: ScheduleRow | None) -> ScheduleRow:
    if row is None:
        raise ScheduleNotFoundError(schedule_id)
    return row


def _merged(old: ScheduleRow | None, new: ScheduleRow) -> ScheduleRow:
    """Return a schedule as given, in the place that the one before it has reached."""
    if old is None:
        return new
    new = replace(new, created_at=old.created_at, paused=old.paused, revision=old.revision)
    if (old.cron, old.every, old.timezone) == (new.cron, new.every, new.timezone):
        return replace(new, next_due=old.next_due)
    return new


def row_of(
    definition: Definition,
    value: object,
    runtime: Runtime,
    *,
    schedule_id: str,
    cron: str | None,
    every: float | timedelta | None,
    timezone: str,
    catch_up: CatchUp,
    overlap: Overlap,
    tags: Mapping[str, str] | None,
    priority: int,
    queue: str | None,
) -> ScheduleRow:
    """Return a new schedule; the arguments are those of ``Client.schedule``.

    Raises:
        InputInvalidError: If something is not valid.
    """
    now = runtime.clock.now()
    row = ScheduleRow(
        schedule_id=_checked_id(schedule_id),
        workflow_id=definition.workflow_id,
        cron=cron,
        every=None if every is None else seconds_between(every),
        timezone=timezone,
        input=checked_input(definition, value, runtime.max_payload),
        catch_up=_choice("catch_up", catch_up, get_args(CatchUp)),
        overlap=_choice("overlap", overlap, get_args(Overlap)),
        tags=_tags(tags),
        priority=checked_priority(priority),
        queue="" if queue is None else checked_queue(queue),
        created_at=now,
        next_due=0.0,
    )
    if row.overlap == "skip" and row.catch_up == "all":
        raise InputInvalidError(
            "catch_up='all' starts several runs at once, of which overlap='skip' allows only one; "
            "change one of the two"
        )
    return replace(row, next_due=_first(row, now))


def _first(row: ScheduleRow, now: float) -> float:
    """Return when a new schedule is due for the first time."""
    if (row.cron is None) is (row.every is None):
        given = "both" if row.cron is not None else "neither"
        raise InputInvalidError(
            "a schedule takes either cron, such as '0 3 * * *', or every, an interval, but was "
            f"given {given}"
        )
    if not isinstance(row.timezone, str):
        raise InputInvalidError(f"timezone must be a name, not {brief(row.timezone)}")
    zone(row.timezone)
    # Due times are whole seconds. An interval counts from the first that is not before now.
    start = now if row.every is None else float(math.ceil(now))
    return float(first_after(timetable(row.cron, row.every, row.timezone, start), start))


def _checked_id(given: str) -> str:
    if not isinstance(given, str) or not _ID.fullmatch(given):
        raise InputInvalidError(
            f"schedule id {brief(given, 200)} is not valid; use up to 150 letters, digits and "
            "_.:=+- , beginning with a letter or digit"
        )
    return given


def id_of(given: object) -> str:
    """Return the id of a schedule that a caller asks for.

    Raises:
        TypeError: If it is not a text.
        ScheduleNotFoundError: If no schedule can have it.
    """
    if not isinstance(given, str):
        raise TypeError(f"id must be a text, not {brief(given)}")
    if not _ID.fullmatch(given):
        raise ScheduleNotFoundError(given)
    return given


def _choice(name: str, given: Any, allowed: tuple[str, ...]) -> Any:
    if given not in allowed:
        choices = ", ".join(map(repr, allowed))
        raise InputInvalidError(f"{name} must be one of {choices}, not {brief(given)}")
    return given


def _tags(given: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    tags = () if given is None else checked_tags(given)
    if TAG in dict(tags):
        raise InputInvalidError(
            f"the tag {TAG!r} is the schedule's own, by which its runs are found; use another name"
        )
    return tags


async def drivers(
    runtime: Runtime,
    registry: Registry,
    schedule_id: str,
    times: Callable[[ScheduleRow], list[int]],
    *,
    claimed: bool,
) -> list[Driver]:
    """Return the drivers of runs of a schedule that a person asks for.

    Args:
        runtime: the engine's.
        registry: the known workflows.
        schedule_id: the schedule.
        times: returns the times to start a run for, in seconds since the epoch.
        claimed: whether this engine will run them.

    Raises:
        ScheduleNotFoundError: If there is no such schedule.
        InputInvalidError: If its workflow is not known here.
    """
    kept = {row.schedule_id: row for row in await runtime.asked.schedules()}
    row = _there(schedule_id, kept.get(id_of(schedule_id)))
    definition = registry.get(row.workflow_id)
    if definition is None:
        raise InputInvalidError(
            f"the code of workflow {row.workflow_id!r} is not known here, so no run of schedule "
            f"{schedule_id!r} can be started; give it to the engine: workflows=[…]"
        )
    return [_driver(runtime, definition, row, at, claimed=claimed) for at in times(row)]


def passed(row: ScheduleRow, start: datetime, end: datetime, now: float) -> list[int]:
    """Return the due times of a schedule from an instant until before another one.

    Raises:
        InputInvalidError: If an instant is not valid, or there are too many due times.
    """
    for name, given in (("start", start), ("end", end)):
        if not isinstance(given, datetime) or given.utcoffset() is None:
            raise InputInvalidError(f"{name} must be a datetime with its zone, not {brief(given)}")
    first, last = math.ceil(start.timestamp()), end.timestamp()
    if last > now:
        raise InputInvalidError("a backfill ends in the past; the schedule itself does the rest")
    following = table_of(row).following(first - 1)
    found = list(islice(takewhile(lambda at: at < last, following), _MOST_FILLED + 1))
    if len(found) > _MOST_FILLED:
        raise InputInvalidError(
            f"there are more than {_MOST_FILLED:,} due times in that time; fill a part of it"
        )
    if row.overlap == "skip" and len(found) > 1:
        raise InputInvalidError(
            f"runs of schedule {row.schedule_id!r} must not overlap, and these are {len(found):,}; "
            "fill one due time, wait for its run, and fill the next one"
        )
    return found


def _driver(
    runtime: Runtime, definition: Definition, row: ScheduleRow, at: int, *, claimed: bool
) -> Driver:
    """Return the driver of the run for one due time, which begins then."""
    options: StartOptions = {
        "run_id": run_id_of(row.schedule_id, at),
        "tags": {**dict(row.tags), TAG: row.schedule_id},
        "priority": row.priority,
        "queue": row.queue or None,
        "delay": max(0.0, at - runtime.clock.now()),
    }
    if row.overlap == "skip":
        options["resource_id"] = f"{TAG}:{row.schedule_id}"
        options["exclusive"] = True
    return driver_for(
        runtime, definition, row.input, options, claimed=claimed, scheduled_for=float(at)
    )


class Scheduler:
    """Starts the runs of schedules, one for each due time over all workers.

    First it records the runs, under ids made of the schedule's id and the due time. Then it moves
    the schedule to its next due time, unless another worker was faster. If a worker dies in
    between, or is second, the store says of each run that it exists already.
    """

    def __init__(self, runtime: Runtime, registry: Registry, runs: Runs) -> None:
        self._runtime = runtime
        self._registry = registry
        self._runs = runs
        self._reported: dict[str, str] = {}
        self._moved = runtime.clock.moved
        self._mend_at = float("-inf")

    async def start_due(self, workflow_ids: Container[str]) -> None:
        """Start runs that are due soon, or that were missed."""
        if self._runtime.closing:
            return
        clock = self._runtime.clock
        await self._mend(workflow_ids)
        for row in await self._runtime.store.schedules(due_by=clock.now() + AHEAD):
            definition = self._registry.get(row.workflow_id)
            if definition is None or row.workflow_id not in workflow_ids:
                continue
            try:
                await self._start(row, definition, clock.now())
            except Exception as error:  # noqa: BLE001 - one that breaks must not stop the others
                self._report(row, error)

    async def _mend(self, workflow_ids: Container[str]) -> None:
        """Correct what is due far later than its rule says: the clock was wrong once.

        It looks for that every minute, and as soon as the clock was set.
        """
        clock = self._runtime.clock
        if clock.moved == self._moved and clock.monotonic() < self._mend_at:
            return
        self._moved, self._mend_at = clock.moved, clock.monotonic() + _MEND_EVERY
        for row in await self._runtime.store.schedules():
            if row.paused or row.workflow_id not in workflow_ids:
                continue
            try:
                next_due = mended(row, clock.now(), AHEAD)
                if next_due is None:
                    continue
                moved = replace(row, next_due=next_due, revision=row.revision + 1)
                if await self._runtime.store.put_schedule(moved):
                    logger.warning(
                        "schedule %r was next due at %s, since a clock was wrong once; by its rule "
                        "it is due at %s, and starts then",
                        row.schedule_id,
                        instant(row.next_due),
                        instant(next_due),
                    )
            except Exception as error:  # noqa: BLE001 - one that breaks must not stop the others
                self._report(row, error)

    async def _start(self, row: ScheduleRow, definition: Definition, now: float) -> None:
        starts, following = due(row, now, AHEAD)
        room = self._runs.room()  # what doesn't fit here is left to workers that have room
        started = await asyncio.gather(
            *(
                self._start_one(row, definition, at, claimed=index < room)
                for index, at in enumerate(starts)
            ),
            return_exceptions=True,
        )
        for at, error in zip(starts, started, strict=True):
            if isinstance(error, ResourceBusyError):
                if at > now:  # the earlier run may end before that
                    following = at
                    break
                logger.info(
                    "schedule %r starts no run for %s: an earlier one has not ended",
                    row.schedule_id,
                    instant(at),
                )
            elif error is not None:
                raise error
        if row.next_due not in starts and following != row.next_due:
            logger.warning(
                "schedule %r was due at %s and no worker looked; catch_up=%r starts %d late",
                row.schedule_id,
                instant(row.next_due),
                row.catch_up,
                sum(at <= now for at in starts),
            )
        if following != row.next_due:
            moved = replace(row, next_due=float(following), revision=row.revision + 1)
            await self._runtime.store.put_schedule(moved)

    async def _start_one(
        self, row: ScheduleRow, definition: Definition, at: int, *, claimed: bool
    ) -> None:
        """Record the run for one due time, which begins then; it may be there already."""
        driver = _driver(self._runtime, definition, row, at, claimed=claimed)
        with suppress(DuplicateRunError):
            await self._runs.start(driver)

    def _report(self, row: ScheduleRow, error: Exception) -> None:
        """Log once why a schedule starts nothing; each heartbeat tries again."""
        text = f"{type(error).__name__}: {error}"
        if self._reported.get(row.schedule_id) != text:
            self._reported[row.schedule_id] = text
            logger.error("schedule %r can't start its run: %s", row.schedule_id, text)
