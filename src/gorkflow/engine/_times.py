"""The time, as one engine sees it: notices when the time of day is set, and keeps count.

The monotonic clock measures how long something took, and the time of day says when something is
due, for other processes, too. Between two looks both go on by the same; where they differ by more
than a little, somebody set the clock, or the machine slept.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from gorkflow.clock import Clock, Moment, TimerHandle

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("gorkflow.engine")

JUMP = 1.0
"""Seconds by which the time of day may be off between two looks: it is slewed, not set."""
_STOPPED = 0.1  # seconds between two readings from which on they don't belong together


class Times:
    """A clock that notices when the time of day is set, and a ``Timekeeper`` for stores.

    Args:
        clock: what it reads.
        lease: seconds for which leases are judged by the time before it was set, as well: until
            then, those who live have all renewed theirs.
    """

    def __init__(self, clock: Clock, lease: float) -> None:
        self._clock = clock
        self._lease = lease
        self._lock = threading.Lock()
        self._before: tuple[tuple[float, float], ...] = ()  # how far it was ahead, and until when
        self.moved = 0.0
        """Seconds by which the time of day was set ahead so far, over all; below 0: back."""
        self.when_moved: Callable[[], object] | None = None
        """Called when that was noticed, in whichever thread did."""
        self.is_virtual: bool = getattr(clock, "is_virtual", False)
        self._ahead = self._read()[0] - clock.monotonic()

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch. May be called from any thread."""
        clock = self._clock
        day = clock.now()
        ahead = day - clock.monotonic()
        if abs(ahead - self._ahead) <= JUMP:
            self._ahead = ahead
            return day
        day, passed = self._read()
        self._note(day - passed, passed)
        return day

    def monotonic(self) -> float:
        """Return seconds since some moment. Never goes back."""
        return self._clock.monotonic()

    def call_at(self, due: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back when the time of day ``due`` has come."""
        return self._clock.call_at(due, callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back after ``delay`` seconds, however the time of day is set."""
        return self._clock.call_later(delay, callback)

    def alive(self, seen_at: float, lease: float) -> bool:
        """Return whether a lease holds, by the time of day, or by that before it was set."""
        now = self.now()
        passed = self._clock.monotonic()
        times = [now, *(passed + ahead for ahead, until in self._before if passed < until)]
        return any(Moment(at).alive(seen_at, lease) for at in times)

    def _read(self) -> tuple[float, float]:
        """Return both times, of one moment: a process may be stopped at any point."""
        clock = self._clock
        while True:
            before = clock.monotonic()
            day = clock.now()
            after = clock.monotonic()
            if after - before < _STOPPED:
                return day, after

    def _note(self, ahead: float, passed: float) -> None:
        with self._lock:
            by = ahead - self._ahead
            if abs(by) <= JUMP:
                return  # another thread was quicker; or it had been stopped between two readings
            kept = [each for each in self._before if each[1] > passed]
            self._before = (*kept, (self._ahead, passed + self._lease))
            self._ahead = ahead
            self.moved += by
        logger.warning(
            "the time of day went %s by %s: the clock was set, or the machine slept. Timeouts and "
            "retries of what runs go on as before; what sleeps is due by the new time",
            "ahead" if by > 0 else "back",
            _in_words(abs(by)),
        )
        if self.when_moved is not None:
            self.when_moved()


def _in_words(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"
