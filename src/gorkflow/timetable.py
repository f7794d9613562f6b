"""From a rule and a time zone to the instants at which something is due.

A cron library tells which dates and times of a calendar match a rule. Which instants these are,
when clocks are put forward and back, is decided here, as Debian's cron decides it:

- Rules at given times (neither the minute nor the hour begins with ``*``) are due once for each
  time: one that is skipped when clocks go forward, at the first instant after the gap; one that
  comes twice when they go back, the first time.
- The other rules go by the clock on the wall: due whenever it shows a time that matches, so
  never in the gap, and again when an hour comes again.

Instants are seconds since the epoch, always whole ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Protocol

from gorkflow._words import brief
from gorkflow.errors import InputInvalidError

_DAY = 86_400
_WINDOW = 3600  # seconds of the first look back for what was missed
_LONGEST = timedelta(days=36_500)
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
    """Due at one instant, and again each time after so many seconds.

    Args:
        every: seconds.
        anchor: one of the due times.
    """

    def __init__(self, every: int, anchor: float) -> None:
        self._every = every
        self._anchor = math.ceil(anchor)

    def following(self, at: float) -> Iterator[int]:
        """Yield the due times after an instant, in order."""
        passed = (math.floor(at) - self._anchor) // self._every
        return itertools.count(self._anchor + (passed + 1) * self._every, self._every)

    def latest(self, first: float, until: float, limit: int) -> list[int]:
        """Return the last due times from one that is known up to an instant, in order."""
        start = math.ceil(first)
        count = (math.floor(until) - start) // self._every + 1
        return [start + index * self._every for index in range(max(0, count - limit), count)]


class CronRule:
    """Due when a cron expression says so, by the clocks of a time zone.

    Args:
        text: five fields, as cron takes them.
        timezone: its name in the IANA database.

    Raises:
        InputInvalidError: either can't be understood, or the rule is never due.
        ModuleNotFoundError: the cron library is not installed.
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
        """Yield the due times after an instant, in order."""
        return self._each_match(at) if self._by_the_wall else self._each_time(at)

    def latest(self, first: float, until: float, limit: int) -> list[int]:
        """Return the last due times from one that is known up to an instant, in order."""
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
    """Return an interval in seconds.

    Raises:
        InputInvalidError: it is not a whole number of them, or none, or more than 100 years.
    """
    seconds = every.total_seconds() if isinstance(every, timedelta) else every
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InputInvalidError(f"every must be seconds or a timedelta, not {brief(every)}")
    if not 1 <= seconds <= _LONGEST.total_seconds() or seconds != int(seconds):
        raise InputInvalidError(
            f"every must be whole seconds, from 1 second to 100 years, not {brief(every)}"
        )
    return int(seconds)


def _checked(text: str) -> str:
    """Return a cron expression that the library understands, in its plain form."""
    if not isinstance(text, str) or len(text) > 200 or len(text.split()) != 5:
        raise InputInvalidError(f"cron {brief(text, 200)} is not valid; it must have {_FIELDS}")
    try:
        from cronsim import CronSim, CronSimError
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "cron rules need the package cronsim: pip install 'gorkflow[schedule]', or give "
            "every=timedelta(…) instead",
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
        raise InputInvalidError(
            f"cron {text!r} is not valid, or names a day that never comes ({what}); the fields are "
            "minute hour day-of-month month day-of-week, such as '0 3 * * *'"
        ) from None
    return " ".join(text.split())


def _check_steps(text: str) -> None:
    """Check that no step is longer than its field: ``*/90`` minutes would be once an hour.

    Raises:
        InputInvalidError: one is.
    """
    for field, (name, (low, high)) in zip(text.split(), _RANGES.items(), strict=True):
        for term in field.split(","):
            _, _, step = term.partition("/")
            if step and int(step) > high:
                raise InputInvalidError(
                    f"cron {text!r} is not valid: {term:.20} has a step of {step:.20}, but "
                    f"{name} goes from {low} to {high}, and a step counts anew in each field; for "
                    "a longer interval give every=timedelta(…)"
                )


@lru_cache(maxsize=100)
def zone(name: str) -> tzinfo:
    """Return a time zone.

    Raises:
        InputInvalidError: there is none of this name.
    """
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
            "pip install 'gorkflow[schedule]' brings one"
        )
    import difflib

    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, 1)
    hint = f"did you mean {by_lower[close[0]]!r}?" if close else "use a name like 'Europe/Berlin'"
    raise InputInvalidError(f"there is no time zone {brief(name)}; {hint}")
