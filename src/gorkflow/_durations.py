"""Durations and instants as users write them, in seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf

from gorkflow._text import brief

LONGEST = 100 * 365 * 86_400.0
"""Seconds; more is a slip of the unit, and leads to dates that no calendar has."""
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()  # no calendar goes much further


def seconds_of(duration: object, what: str, *, endless: bool = True) -> float:
    """Return a duration in seconds.

    Args:
        duration: Seconds, or a ``timedelta``.
        what: Its name in the error.
        endless: ``True``: it is above 0, and may be infinite; ``False``: it may be 0, and ends.

    Raises:
        ValueError: If it is too short, or ends after more than 100 years.
        TypeError: If it is not a duration.
    """
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise TypeError(f"{what} must be seconds or a timedelta, not {brief(duration)}")
    if endless and not duration > 0:  # also refuses NaN
        raise ValueError(f"{what} must be more than 0 seconds, not {brief(duration)}")
    if not endless and not 0 <= duration < inf:
        raise ValueError(f"{what} must be 0 seconds or more, and end, not {brief(duration)}")
    if LONGEST < duration < inf:
        raise ValueError(f"{what} must be at most 100 years; it is in seconds: {brief(duration)}")
    return float(duration)


def due_of(moment: object, what: str, now: float | None = None) -> float:
    """Return when a sleep or wait is over, in seconds since the epoch.

    Args:
        moment: An aware ``datetime``.
        what: Its name in the error.
        now: Seconds since the epoch; ``None``: it is not known.

    Raises:
        ValueError: If it has no time zone, or is more than 100 years away.
        TypeError: If it is not a ``datetime``.
    """
    if not isinstance(moment, datetime):
        raise TypeError(f"{what} must be a datetime with a time zone, not {brief(moment)}")
    if moment.utcoffset() is None:
        raise ValueError(
            f"{what} is {moment!r}, which has no time zone; say which, as in datetime.now(UTC)"
        )
    due = moment.timestamp()
    latest = _LATEST if now is None else now + LONGEST
    if not due <= latest:  # also refuses NaN
        raise ValueError(f"{what} must be at most 100 years from now, not {brief(moment)}")
    return due
