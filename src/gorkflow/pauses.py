"""How long a sleep or wait takes, as it was written or as a function said: checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gorkflow._words import brief
from gorkflow.policy import LONGEST

_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()  # no calendar goes much further


def pause_of(duration: object, what: str, *, waits: bool = False) -> float | None:
    """Return the seconds that a sleep takes, or a wait at most.

    Args:
        duration: seconds, or a ``timedelta``.
        what: what it is for, to name it in the error.
        waits: whether it is for a wait: that takes more than 0 seconds, and may be infinite.

    Returns:
        ``None``: it is infinite.

    Raises:
        ValueError: it is too short, too long, or no number.
        TypeError: it is no duration.
    """
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise TypeError(f"{what} must be seconds or a timedelta, not {brief(duration)}")
    if waits and not duration > 0:  # also refuses NaN
        raise ValueError(f"{what} must be more than 0 seconds, not {brief(duration)}")
    if waits and duration == float("inf"):
        return None
    if not duration >= 0 or duration == float("inf"):
        raise ValueError(f"{what} must be 0 seconds or more, and end, not {brief(duration)}")
    if duration > LONGEST:
        raise ValueError(f"{what} must be at most 100 years; it is in seconds: {brief(duration)}")
    return float(duration)


def due_of(moment: object, what: str, now: float | None = None) -> float:
    """Return when a sleep or wait is over, in seconds since the epoch.

    Args:
        moment: an aware ``datetime``.
        what: what it is for, to name it in the error.
        now: seconds since the epoch; ``None``: it is not known.

    Raises:
        ValueError: it has no time zone, or is more than 100 years away.
        TypeError: it is no ``datetime``.
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
