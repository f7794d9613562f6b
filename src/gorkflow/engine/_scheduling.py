"""Schedules, as callers make and see them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, get_args, overload

from gorkflow._text import brief
from gorkflow.engine._part import Part
from gorkflow.engine._start import check_names, checked_input, checked_priority, checked_tags
from gorkflow.errors import InputInvalidError, ScheduleNotFoundError, StoreError
from gorkflow.schedule import (
    TAG,
    CatchUp,
    Overlap,
    Schedule,
    ScheduleRow,
    first_after,
    schedule_of,
    schedules_of,
    seconds_between,
    table_of,
    timetable,
    zone,
)

if TYPE_CHECKING:
    from gorkflow.store import Store
    from gorkflow.workflow import Workflow

In = TypeVar("In")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=+-]{0,149}")  # a run's id without the due time
_TRIES = 20  # writers that may be faster, one after the other


class ScheduleOptions(TypedDict, total=False):
    """Options of ``Engine.schedule``."""

    cron: str | None
    """The rule: minute, hour, day of month, month, day of week. Needs ``gorkflow[schedule]``."""
    every: float | timedelta | None
    """Or the interval, in seconds or as a ``timedelta``; whole seconds, the first start being one
    interval from now."""
    timezone: str
    """By whose clocks the rule goes, a name like ``Europe/Berlin``; ``UTC`` if unset."""
    catch_up: CatchUp
    """What to do about due times that passed while no worker ran: ``skip`` them; start a run for
    the ``last``, as if unset; or for ``all``, up to the latest 100."""
    overlap: Overlap
    """``skip`` a due time at which an earlier run of the schedule has not ended, or ``allow`` both,
    as if unset."""
    tags: Mapping[str, str] | None
    """Of each run; added to the workflow's own."""
    priority: int
    """Of each run; 0 if unset."""


class Scheduling(Part):
    """The part of ``Engine`` that keeps schedules."""

    @overload
    async def schedule(
        self,
        workflow: Workflow[None, Any],
        input: None = None,
        *,
        id: str,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule: ...
    @overload
    async def schedule(
        self,
        workflow: Workflow[In, Any],
        input: In,
        *,
        id: str,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule: ...
    async def schedule(
        self,
        workflow: Workflow[Any, Any],
        input: Any = None,
        *,
        id: str,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """Have runs of a workflow started by the clock. When this returns, that is recorded.

        Workers that know the workflow start the runs: one for each due time, however many workers
        there are. A run's id is ``ID@2026-11-23T03:00:00Z``, and its tag ``schedule`` the id.

        A schedule of this id is changed. With the same rule, zone or interval it goes on where it
        is, and stays paused if it is; so a program may simply call this whenever it starts.

        Args:
            workflow: what to run.
            input: the input of each run.
            id: of the schedule: up to 150 letters, digits and ``_.:=+-``.
            options: see ``ScheduleOptions``; one of ``cron`` and ``every`` must be there.

        Raises:
            InputInvalidError: something is not valid; nothing was stored.
            WorkflowInvalidError: the workflow does not work with the engine's defaults.
            ModuleNotFoundError: the cron library is not installed.
            EngineClosedError: the engine is not open.
            StoreError: the store failed.
            TypeError: an option is not known.
        """
        service, runtime = self._opened()
        check_names("schedule option", options, ScheduleOptions)
        definition = self._registry.add(workflow)
        data = checked_input(definition, input, runtime.max_payload)
        row = _row(_checked_id(id), workflow.id, data, options, runtime.clock.now())
        written = await _write(runtime.store, row.schedule_id, lambda old: _merged(old, row))
        service.watch_for(workflow.id)
        return schedule_of(written)

    async def schedules(self) -> list[Schedule]:
        """Return all schedules of the store, in the order of their ids."""
        _, runtime = self._opened()
        return schedules_of(await runtime.store.schedules())

    async def unschedule(self, id: str) -> None:
        """Remove a schedule. Runs that it started go on.

        Raises:
            ScheduleNotFoundError: there is no such schedule.
        """
        _, runtime = self._opened()
        if not await runtime.store.drop_schedule(_asked_id(id)):
            raise ScheduleNotFoundError(id)

    async def pause_schedule(self, id: str) -> Schedule:
        """Have a schedule start nothing until it is resumed.

        A run that is due within two seconds may be recorded already; it can be cancelled.

        Raises:
            ScheduleNotFoundError: there is no such schedule.
        """
        _, runtime = self._opened()
        return schedule_of(await _write(runtime.store, _asked_id(id), _changed(id, _paused)))

    async def resume_schedule(self, id: str) -> Schedule:
        """Have a paused schedule start runs again, from now on: the pause is not made up for.

        Raises:
            ScheduleNotFoundError: there is no such schedule.
        """
        _, runtime = self._opened()
        clock = runtime.clock
        return schedule_of(
            await _write(
                runtime.store, _asked_id(id), _changed(id, lambda r: _resumed(r, clock.now()))
            )
        )


_Change = Callable[[ScheduleRow | None], ScheduleRow]
"""From what is kept, if anything, to what shall be."""


async def _write(store: Store, schedule_id: str, change: _Change) -> ScheduleRow:
    """Change a schedule, on top of whatever others make of it meanwhile."""
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


def _changed(schedule_id: str, change: Callable[[ScheduleRow], ScheduleRow]) -> _Change:
    def changed(old: ScheduleRow | None) -> ScheduleRow:
        if old is None:
            raise ScheduleNotFoundError(schedule_id)
        return change(old)

    return changed


def _paused(row: ScheduleRow) -> ScheduleRow:
    return replace(row, paused=True)


def _resumed(row: ScheduleRow, now: float) -> ScheduleRow:
    if not row.paused:
        return row
    passed = row.next_due <= now
    next_due = float(first_after(table_of(row), now)) if passed else row.next_due
    return replace(row, paused=False, next_due=next_due)


def _merged(old: ScheduleRow | None, new: ScheduleRow) -> ScheduleRow:
    """Return a schedule as given, in the place that the one before it has reached."""
    if old is None:
        return new
    new = replace(new, created_at=old.created_at, paused=old.paused, revision=old.revision)
    if (old.cron, old.every, old.timezone) == (new.cron, new.every, new.timezone):
        return replace(new, next_due=old.next_due)
    return new


def _row(
    schedule_id: str, workflow_id: str, data: bytes | None, options: ScheduleOptions, now: float
) -> ScheduleRow:
    """Return a new schedule.

    Raises:
        InputInvalidError: an option is not valid.
    """
    every = options.get("every")
    row = ScheduleRow(
        schedule_id=schedule_id,
        workflow_id=workflow_id,
        cron=options.get("cron"),
        every=None if every is None else seconds_between(every),
        timezone=options.get("timezone", "UTC"),
        input=data,
        catch_up=_choice("catch_up", options.get("catch_up", "last"), get_args(CatchUp)),
        overlap=_choice("overlap", options.get("overlap", "allow"), get_args(Overlap)),
        tags=_tags(options.get("tags")),
        priority=checked_priority(options.get("priority", 0)),
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
    """Return when a new schedule is due for the first time.

    Raises:
        InputInvalidError: its rule, interval or time zone is not valid.
    """
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


def _asked_id(given: object) -> str:
    """Return the id of a schedule that somebody asks for.

    Raises:
        TypeError: it is not a text.
        ScheduleNotFoundError: no schedule can have it.
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
