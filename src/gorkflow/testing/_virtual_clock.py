"""The clock of virtual time: it stands still, unless a ``VirtualLoop`` moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime

from gorkflow._text import brief
from gorkflow.clock import TimerHandle

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The default start of virtual time."""
_LATEST = 221_845_392_000.0  # the year 9000


def _seconds(start: datetime | float) -> float:
    """Return the instant at which a clock begins, in seconds since the epoch.

    Raises:
        TypeError: If it is not an instant.
        ValueError: If it is before 1970, or after the year 9000, where some calendars end.
    """
    if isinstance(start, bool) or not isinstance(start, datetime | int | float):
        raise TypeError(f"start must be a datetime or seconds since the epoch, not {brief(start)}")
    try:
        seconds = start.timestamp() if isinstance(start, datetime) else start
        if 0 <= seconds <= _LATEST:
            return float(seconds)
    except (OverflowError, ValueError, OSError):
        pass  # beyond what the system's calendar has
    raise ValueError(f"start must be from 1970 to 9000, not {brief(start)}")


class VirtualClock:
    """A clock that only moves when a ``VirtualLoop`` moves it.

    You can set its time of day. That changes no duration.

    Args:
        start: The first time of day; seconds since the epoch, or a ``datetime``.

    Example:
        >>> from gorkflow.testing import VirtualClock
        >>> clock = VirtualClock(start=1_000)
        >>> clock.set_ahead(60)
        >>> clock.now(), clock.monotonic()
        (1060.0, 1000.0)
    """

    is_virtual = True
    """True: no real time passes, so a step can't block the loop."""

    def __init__(self, start: datetime | float = START) -> None:
        self._passed = _seconds(start)
        self._ahead = 0.0
        self.alarms: set[_Alarm] = set()
        """The alarms that are set, by the time of day."""

    def __repr__(self) -> str:
        """Return the time it shows."""
        return f"<VirtualClock {datetime.fromtimestamp(self.now(), UTC).isoformat()}>"

    def now(self) -> float:
        """Return the virtual time of day, in seconds since the epoch."""
        return self._passed + self._ahead

    def monotonic(self) -> float:
        """Return the virtual time that has passed. ``set_ahead`` does not change it."""
        return self._passed

    def set_ahead(self, seconds: float) -> None:
        """Set the time of day, as if a clock were corrected. Nothing else moves.

        Args:
            seconds: Seconds to add to the time of day; less than 0 sets it back.
        """
        self._ahead += seconds
        for alarm in list(self.alarms):
            alarm.set()

    def call_at(self, due: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop when the virtual time of day ``due`` has come.

        Raises:
            RuntimeError: If the running loop is not the one that moves this clock.
        """
        return _Alarm(self, self._loop(), due, callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop after ``delay`` seconds of virtual time.

        Raises:
            RuntimeError: If the running loop is not the one that moves this clock.
        """
        return self._loop().call_at(self._passed + max(0.0, delay), callback)

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if getattr(loop, "clock", None) is not self:
            raise RuntimeError(
                "a VirtualClock is moved by its own VirtualLoop, and another loop runs here; use "
                "testing.run(…), or run the test with testing.in_virtual_time(…)"
            )
        return loop

    def advance(self, to: float) -> None:
        """Move on to a time of ``monotonic``; never back."""
        self._passed = max(self._passed, to)


class _Alarm:
    """A timer that goes by the time of day, and is set anew when that is."""

    def __init__(
        self,
        clock: VirtualClock,
        loop: asyncio.AbstractEventLoop,
        due: float,
        callback: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._loop = loop
        self._due = due
        self._callback = callback
        self._context = copy_context()
        self._handle: asyncio.TimerHandle | None = None
        self.set()

    def set(self) -> None:
        """Set it by the time of day as it is now."""
        if self._handle is not None:
            self._handle.cancel()
        clock = self._clock
        clock.alarms.add(self)
        due = clock.monotonic() + self._due - clock.now()
        self._handle = self._context.run(self._loop.call_at, due, self._fire)

    def _fire(self) -> None:
        self._clock.alarms.discard(self)
        self._callback()

    def cancel(self) -> None:
        """Call it off."""
        self._clock.alarms.discard(self)
        if self._handle is not None:
            self._handle.cancel()
