"""Schedules: what callers see of one, what a store keeps of it, and what is due."""

from __future__ import annotations

import itertools
import logging
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta, tzinfo
from typing import Any, Literal, NamedTuple, Protocol

from gorkflow._record import guarded, named_record
from gorkflow.errors import GorkflowError
from gorkflow.timetable import CronRule, Interval, Timetable, zone

_logger = logging.getLogger("gorkflow.store")
CatchUp = Literal["skip", "last", "all"]
Overlap = Literal["allow", "skip"]
TAG = "schedule"
"""The tag by which the runs of a schedule are found."""
PATIENCE = 60.0
"""Seconds after its due time for which a start is late, and not missed."""
MOST = 100
"""Missed due times that ``catch_up="all"`` makes up for: the latest so many."""


@guarded(kw_only=True)
class Schedule:
    """When runs of a workflow are started, and how. Times are in its time zone."""

    id: str
    workflow_id: str
    cron: str | None
    """The rule; ``None`` where there is an interval."""
    every: timedelta | None
    """The interval; ``None`` where there is a rule."""
    timezone: str
    """By whose clocks the rule goes; the name in the IANA database."""
    input: Any
    """The input of each run, as plain JSON data."""
    catch_up: CatchUp
    """What is done about due times that passed while no worker ran."""
    overlap: Overlap
    """Whether a run may be started while an earlier one of the schedule has not ended."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """Those of each run, beside its ``schedule`` tag."""
    priority: int
    """That of each run."""
    created_at: datetime
    paused: bool
    next_due: datetime
    """The first due time that was not dealt with yet. In the past: no worker that knows the
    workflow is running; or the schedule is paused."""

    def upcoming(self, count: int = 5) -> list[datetime]:
        """Return the next due times, the first of which is ``next_due``.

        Raises:
            ModuleNotFoundError: the cron library is not installed.
        """
        first = self.next_due.timestamp()
        table = timetable(self.cron, self.every, self.timezone, first)
        times = itertools.islice(table.following(first), max(count - 1, 0))
        later = [datetime.fromtimestamp(each, self.next_due.tzinfo) for each in times]
        return [self.next_due, *later][: max(count, 0)]


@named_record
class ScheduleRow:
    """What a store keeps of a schedule."""

    schedule_id: str
    workflow_id: str
    cron: str | None = None
    every: int | None = None
    """Seconds."""
    timezone: str = "UTC"
    input: bytes | None = None
    """As JSON, kept byte for byte; ``None``: the workflow takes none."""
    catch_up: CatchUp = "last"
    overlap: Overlap = "allow"
    tags: tuple[tuple[str, str], ...] = ()
    """Sorted by name."""
    priority: int = 0
    created_at: float
    paused: bool = False
    next_due: float
    """The first due time that was not dealt with yet; seconds since the epoch."""
    revision: int = 1
    """How often it was written."""


class ScheduleStore(Protocol):
    """The part of a store that keeps schedules. They are few: nothing here comes in pages."""

    async def schedules(self, *, due_by: float | None = None) -> list[ScheduleRow]:
        """Return the schedules, in the order of their ids.

        Args:
            due_by: seconds since the epoch: only those that are due by then and not paused. Costs
                what is due.
        """
        ...

    async def put_schedule(self, row: ScheduleRow) -> bool:
        """Keep a schedule, durable on return, if nobody else has written it meanwhile.

        That is, if the one of this id has the revision before ``row.revision``; for revision 1, if
        there is none. Else nothing is written.

        Returns:
            Whether it was written.
        """
        ...

    async def drop_schedule(self, schedule_id: str) -> bool:
        """Forget a schedule; return whether there was one. Its runs are left as they are."""
        ...


class Due(NamedTuple):
    """What is to be done about a schedule now."""

    starts: Sequence[int]
    """The due times to start a run for, in order."""
    following: int
    """The due time after all these."""


def timetable(
    cron: str | None, every: timedelta | int | None, timezone: str, anchor: float
) -> Timetable:
    """Return when a schedule is due.

    Args:
        cron: its rule.
        every: or its interval, in seconds or as a ``timedelta``.
        timezone: for the rule.
        anchor: a due time of the interval.

    Raises:
        InputInvalidError: the rule or the time zone can't be understood.
        ModuleNotFoundError: the cron library is not installed.
    """
    if cron is not None:
        return CronRule(cron, timezone)
    assert every is not None  # a schedule has one of the two
    seconds = every if isinstance(every, int) else every // timedelta(seconds=1)
    return Interval(seconds, anchor)


def table_of(row: ScheduleRow) -> Timetable:
    """Return when a schedule is due."""
    return timetable(row.cron, row.every, row.timezone, row.next_due)


def first_after(table: Timetable, at: float) -> int:
    """Return the first due time after an instant."""
    return next(iter(table.following(at)))


def due(row: ScheduleRow, now: float, ahead: float) -> Due:
    """Return what is to be done about a schedule whose next due time has come.

    What is due in the future, within ``ahead``, is always started. Of several due times that have
    passed, the one before the latest was missed, since nobody looked in between.

    Args:
        row: the schedule; due by ``now + ahead``.
        now: seconds since the epoch.
        ahead: seconds.
    """
    table = table_of(row)
    horizon = now + ahead
    soon = math.ceil(ahead) + 1  # due times that may lie in the future: one each second
    found = table.latest(row.next_due, horizon, soon + (MOST if row.catch_up == "all" else 1))
    passed = [each for each in found if each <= now]
    future = [each for each in found if each > now]
    wanted = passed[-MOST:] if row.catch_up == "all" else passed[-1:]
    if row.catch_up == "skip":
        wanted = [each for each in wanted if each >= now - PATIENCE]
    return Due([*wanted, *future], first_after(table, horizon))


def mended(row: ScheduleRow, now: float, ahead: float) -> float | None:
    """Return when a schedule is due in fact, if it waits for a time that is later by its rule.

    A worker whose clock was ahead moves it there, and nothing would be started for as long.

    Args:
        row: the schedule.
        now: seconds since the epoch.
        ahead: seconds for which it is started in advance.
    """
    table = table_of(row)
    if row.next_due <= first_after(table, now + ahead + PATIENCE):
        return None
    return float(first_after(table, now))


def run_id_of(schedule_id: str, at: int) -> str:
    """Return the id of the run for one due time: that it can be given once makes the start one."""
    return f"{schedule_id}@{datetime.fromtimestamp(at, zone('UTC')):%Y-%m-%dT%H:%M:%SZ}"


def schedules_of(rows: Iterable[ScheduleRow]) -> list[Schedule]:
    """Return what callers see of schedules; one that can't be read must not hide the others."""
    found: list[Schedule] = []
    for row in rows:
        try:
            found.append(schedule_of(row))
        except (GorkflowError, ValueError, OverflowError) as error:
            _logger.warning("left out schedule %r, which can't be read: %s", row.schedule_id, error)
    return found


def schedule_of(row: ScheduleRow) -> Schedule:
    """Return what callers see of a schedule."""
    from gorkflow.codec import view

    try:
        where: tzinfo = zone(row.timezone)
    except Exception:  # noqa: BLE001 - known where it was made: better shown in UTC than not at all
        where = zone("UTC")
    return Schedule(
        id=row.schedule_id,
        workflow_id=row.workflow_id,
        cron=row.cron,
        every=None if row.every is None else timedelta(seconds=row.every),
        timezone=row.timezone,
        input=None if row.input is None else view(row.input),
        catch_up=row.catch_up,
        overlap=row.overlap,
        tags=types.MappingProxyType(dict(row.tags)),
        priority=row.priority,
        created_at=datetime.fromtimestamp(row.created_at, where),
        paused=row.paused,
        next_due=datetime.fromtimestamp(row.next_due, where),
    )
