"""Schedules: what callers see of one, what a store keeps of it, and what is due."""

from __future__ import annotations

import itertools
import logging
import math
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import Struct

from gorkflow._durations import seconds_of
from gorkflow._text import brief, similar
from gorkflow.errors import GorkflowError, InputInvalidError
from gorkflow.events import Seconds

_DAY = 86_400
_WINDOW = 3600  # seconds of the first look back for what was missed
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - what clocks on the wall show has no zone
_RANGES = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day-of-month": (1, 31),
    "month": (1, 12),
    "day-of-week": (0, 7),
}
_FIELDS = "five fields: minute hour day-of-month month day-of-week, such as '0 3 * * *'"


class Timetable(Protocol):
    """When something is due."""

    def following(self, at: float) -> Iterator[int]:
        """Yield the due times after an instant, in order."""
        ...

    def latest(self, first: float, until: float, limit: int) -> list[int]:
        """Return the last due times from one that is known up to an instant, in order.

        Args:
            first: a due time; it counts.
            until: the instant; a due time there counts.
            limit: how many at most; costs about as much as these, however long ago ``first`` is.
        """
        ...


class Interval:
    """Due at one instant, and again each time after so many seconds; ``anchor`` is a due time."""

    def __init__(self, every: int, anchor: float) -> None:
        self._every = every
        self._anchor = math.ceil(anchor)

    def following(self, at: float) -> Iterator[int]:
        passed = (math.floor(at) - self._anchor) // self._every
        return itertools.count(self._anchor + (passed + 1) * self._every, self._every)

    def latest(self, first: float, until: float, limit: int) -> list[int]:
        start = math.ceil(first)
        count = (math.floor(until) - start) // self._every + 1
        return [start + index * self._every for index in range(max(0, count - limit), count)]


class CronRule:
    """Due when a cron expression says so, by the clocks of a time zone.

    Args:
        text: five fields, as cron takes them.
        timezone: its name in the IANA database.

    Raises:
        InputInvalidError: If either can't be understood, or the rule is never due.
        ModuleNotFoundError: If the cron library is not installed.
    """

    def __init__(self, text: str, timezone: str) -> None:
        self._zone = zone(timezone)
        self._text = _checked(text)
        minute, hour, *_ = self._text.split()
        self._by_the_wall = minute.startswith("*") or hour.startswith("*")
        # The calendar repeats: what is never due in the years that the library looks at never is.
        if next(self._matches(datetime(2000, 1, 1)), None) is None:  # noqa: DTZ001 - as above
            raise InputInvalidError(f"cron {text!r} is never due: there is no such date")

    def following(self, at: float) -> Iterator[int]:
        return self._each_match(at) if self._by_the_wall else self._each_time(at)

    def latest(self, first: float, until: float, limit: int) -> list[int]:
        span = _WINDOW
        while True:
            begin = max(first, until - span)
            found = [math.ceil(first)] if begin == first <= until else []
            found += itertools.takewhile(lambda due: due <= until, self.following(begin))
            if begin == first or len(found) >= limit:
                return found[-limit:]
            span *= 8

    def _matches(self, after: datetime) -> Iterator[datetime]:
        """Yield what clocks show whenever the rule matches, as if they were never changed."""
        from cronsim import CronSim  # an extra

        return CronSim(self._text, after)

    def _each_time(self, at: float) -> Iterator[int]:
        for shown in self._matches(self._shown(math.floor(at))):
            due = self._instant(shown)
            if due > at:
                yield due
                at = due

    def _each_match(self, at: float) -> Iterator[int]:
        # From one change of the clocks to the next, what they show runs in step with the time.
        known = start = math.floor(at)
        while True:
            offset = self._offset(known)
            change = None
            for shown in self._matches(_EPOCH + timedelta(seconds=start + offset)):
                due = _seconds(shown) - offset
                change = self._change(known, due)
                if change is not None:
                    break
                if due > at:
                    yield due
                known = due
            if change is None:
                return
            known, start = change, change - 1

    def _offset(self, at: int) -> int:
        """Return how many seconds clocks are ahead of UTC at an instant."""
        offset = datetime.fromtimestamp(at, self._zone).utcoffset()
        assert offset is not None  # every zone of the database has one
        return math.floor(offset.total_seconds())

    def _shown(self, at: int) -> datetime:
        return _EPOCH + timedelta(seconds=at + self._offset(at))

    def _instant(self, shown: datetime) -> int:
        """Return when clocks show this for the first time; where they never do, when they jump."""
        first = math.floor(shown.replace(tzinfo=self._zone).timestamp())
        if self._shown(first) == shown:
            return first
        second = math.floor(shown.replace(tzinfo=self._zone, fold=1).timestamp())
        change = self._change(second, first)
        assert change is not None  # the two lie on the two sides of it
        return change

    def _change(self, start: int, end: int) -> int | None:
        """Return the first instant after ``start``, up to ``end``, with another offset."""
        offset = self._offset(start)
        while start < end:
            later = min(start + _DAY, end)
            if self._offset(later) != offset:
                while later - start > 1:
                    middle = (start + later) // 2
                    if self._offset(middle) == offset:
                        start = middle
                    else:
                        later = middle
                return later
            start = later
        return None


def _seconds(shown: datetime) -> int:
    return (shown - _EPOCH) // timedelta(seconds=1)


def seconds_between(every: float | timedelta) -> int:
    """Return an interval in whole seconds."""
    try:
        seconds = seconds_of(every, "every", endless=False)
    except (TypeError, ValueError) as error:
        raise InputInvalidError(str(error)) from error
    if seconds < 1 or not seconds.is_integer():
        raise InputInvalidError(f"every must be whole seconds, 1 or more, not {brief(every)}")
    return int(seconds)


def _checked(text: str) -> str:
    """Return a cron expression that the library understands, in its plain form."""
    if not isinstance(text, str) or len(text) > 200 or len(text.split()) != 5:
        raise InputInvalidError(f"cron {brief(text, 200)} is not valid; it must have {_FIELDS}")
    try:
        from cronsim import CronSim, CronSimError
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "cron rules need the package cronsim; run pip install cronsim, or give an interval",
            name="cronsim",
        ) from error
    try:
        CronSim(text, _EPOCH)
        _check_steps(text)
    except (CronSimError, ValueError) as error:
        what = str(error).lower() if isinstance(error, CronSimError) else "a number is too long"
        name = what.removeprefix("bad ")
        if name in _RANGES:
            low, high = _RANGES[name]
            what += f": it goes from {low} to {high}, in steps of 1 or more"
        if _is_past_its_month(text.split()):
            raise InputInvalidError(f"cron {text!r} is never due: there is no such date") from None
        raise InputInvalidError(
            f"cron {text!r} is not valid ({what}). Its fields are minute hour day-of-month month "
            "day-of-week, such as '0 3 * * *'"
        ) from None
    return " ".join(text.split())


def _is_past_its_month(fields: list[str]) -> bool:
    """Return whether a cron expression is valid but for a day that its months don't have."""
    from cronsim import CronSim, CronSimError

    try:
        CronSim(" ".join((*fields[:3], "*", fields[4])), _EPOCH)
        CronSim(" ".join((*fields[:2], "*", *fields[3:])), _EPOCH)
    except (CronSimError, ValueError):
        return False
    return True


def _check_steps(text: str) -> None:
    """Check that no step is longer than its field: ``*/90`` minutes would be once an hour."""
    for part, (name, (low, high)) in zip(text.split(), _RANGES.items(), strict=True):
        for term in part.split(","):
            _, _, step = term.partition("/")
            if step and int(step) > high:
                raise InputInvalidError(
                    f"cron {text!r} is not valid: {term:.20} has a step of {step:.20}, but "
                    f"{name} goes from {low} to {high}, and a step counts anew in each part; for "
                    "a longer interval give every=timedelta(…)"
                )


@lru_cache(maxsize=100)
def zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name."""
    if name == "UTC":
        return UTC  # needs no database
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (LookupError, ValueError, OSError, TypeError):
        known = zoneinfo.available_timezones()
    if not known:
        raise InputInvalidError(
            f"there is no time zone {name!r}, since this system has no time zone database: "
            "run pip install tzdata"
        )
    by_lower = {each.lower(): each for each in known}
    near = similar(str(name).lower(), by_lower)
    hint = f"did you mean {by_lower[near]!r}?" if near else "use a name like 'Europe/Berlin'"
    raise InputInvalidError(f"there is no time zone {brief(name)}; {hint}")


_logger = logging.getLogger("gorkflow.store")
CatchUp = Literal["skip", "last", "all"]
Overlap = Literal["allow", "skip"]
TAG = "schedule"
"""The tag by which the runs of a schedule are found."""
PATIENCE = 60.0
"""Seconds after its due time for which a start is late, and not missed."""
MOST = 100
"""Missed due times that ``catch_up="all"`` makes up for: the latest so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A rule or interval that starts runs of a workflow. Times are in its time zone.

    Example:
        from datetime import timedelta

        from gorkflow import Engine, Workflow, step

        @step
        def report(region: str) -> str:
            return f"report on {region}"

        async with Engine("memory:") as engine:
            reports = Workflow("reports", input=str).then(report)
            made = await engine.schedule(reports, "north", id="north", every=timedelta(hours=6))
            first, second = made.upcoming(2)
            assert second - first == timedelta(hours=6)
    """

    id: str
    workflow_id: str
    cron: str | None
    """The rule; ``None`` where there is an interval."""
    every: timedelta | None
    """The interval; ``None`` where there is a rule."""
    timezone: str
    """The time zone of the rule, by its name in the IANA database."""
    input: Any
    """The input of each run, as plain JSON data without its secrets."""
    catch_up: CatchUp
    """The rule for due times that passed while no worker ran."""
    overlap: Overlap
    """The rule for a due time while an earlier run of the schedule has not ended."""
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
            ModuleNotFoundError: If the cron library is not installed.
        """
        first = self.next_due.timestamp()
        table = timetable(self.cron, self.every, self.timezone, first)
        times = itertools.islice(table.following(first), max(count - 1, 0))
        later = [datetime.fromtimestamp(each, self.next_due.tzinfo) for each in times]
        return [self.next_due, *later][: max(count, 0)]


class ScheduleRow(Struct, frozen=True, kw_only=True):
    """The row of a schedule."""

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
    queue: str = ""
    """The queue of each run; empty: that of the workflow."""
    created_at: Seconds
    paused: bool = False
    next_due: Seconds
    """The first due time that was not dealt with yet; seconds since the epoch."""
    revision: int = 1
    """The number of writes."""


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
        """Keep a schedule, durable on return, if it was not written meanwhile.

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
    """The work that is due for a schedule now."""

    starts: Sequence[int]
    """The due times to start a run for, in order."""
    following: int
    """The due time after all these."""


def timetable(
    cron: str | None, every: timedelta | int | None, timezone: str, anchor: float
) -> Timetable:
    """Return when a schedule is due; ``anchor`` is a due time of its interval."""
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
    """Return what is to be done about a schedule that is due by ``now + ahead``.

    Due times within ``ahead`` seconds are always started. If several have passed, those before the
    latest were missed.
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
        except (GorkflowError, ValueError, OverflowError, RecursionError) as error:
            _logger.warning("left out schedule %r, which can't be read: %s", row.schedule_id, error)
    return found


def schedule_of(row: ScheduleRow) -> Schedule:
    """Return what callers see of a schedule."""
    from gorkflow.redaction import view_of

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
        input=None if row.input is None else view_of(row.input),
        catch_up=row.catch_up,
        overlap=row.overlap,
        tags=types.MappingProxyType(dict(row.tags)),
        priority=row.priority,
        created_at=datetime.fromtimestamp(row.created_at, where),
        paused=row.paused,
        next_due=datetime.fromtimestamp(row.next_due, where),
    )
