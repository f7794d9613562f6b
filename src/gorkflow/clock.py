"""The clock: the time that an engine is given. No other module asks the system for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

logger = logging.getLogger("gorkflow.engine")

JUMP = 1.0
"""Seconds by which the time of day may be off between two looks: it is slewed, not set."""
_STOPPED = 0.1  # seconds between two readings from which on they don't belong together
_LOOK = 10.0  # seconds between looks at the time of day
ASK = 10.0
"""Seconds after which who has no heartbeat asks a store again for its time."""
_background: ContextVar[bool] = ContextVar("gorkflow_background", default=False)


class TimerHandle(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Call it off. Harmless after it ran."""
        ...


class Clock(Protocol):
    """The source of the engine's time. The first two may be called from any thread."""

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch. May jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some moment. Never goes back, and is never set."""
        ...

    def call_at(self, due: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop when the time of day ``due`` has come; at once if past."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop after ``delay`` seconds, however the time of day is set."""
        ...


class Timekeeper(Protocol):
    """The time for a store. It asks where the answer counts: after every wait for its lock."""

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch. May be called from any thread."""
        ...

    def alive(self, seen_at: float, lease: float) -> bool:
        """Return whether a lease has not ended. May be called from any thread.

        Args:
            seen_at: when the worker was last heard of, in seconds since the epoch.
            lease: seconds for which the others believe it alive.
        """
        ...


class Moment:
    """A ``Timekeeper`` for which it is always the same time, as for who reads once.

    Args:
        at: seconds since the epoch.
    """

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> float:
        """Return the instant."""
        return self._at

    def alive(self, seen_at: float, lease: float) -> bool:
        """Return whether a lease holds. One from far ahead was written by a wrong clock."""
        return abs(self._at - seen_at) <= lease


class SystemClock:
    """The system's clocks."""

    # The functions themselves: each step asks several times.
    now = staticmethod(time.time)
    """Return the time of day, in seconds since the epoch."""
    monotonic = staticmethod(time.monotonic)
    """Return the system's monotonic time, in seconds."""

    def call_at(self, due: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop when ``due`` has come."""
        return _Alarm(due, callback, _time_of_day)

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop after ``delay`` seconds."""
        import asyncio  # as below

        return asyncio.get_running_loop().call_later(max(0.0, delay), callback)


def _time_of_day() -> float:
    return time.time()


class _Alarm:
    """A timer that follows the time of day.

    The loop's own timers stand still while the machine sleeps, and know nothing of a clock that is
    set; so a long wait is cut into short ones, and the time looked at in between.
    """

    __slots__ = ("_callback", "_due", "_handle", "_loop", "_now")

    def __init__(
        self, due: float, callback: Callable[[], object], now: Callable[[], float]
    ) -> None:
        import asyncio  # slow to load, and processes for steps have no timers

        self._due = due
        self._callback = callback
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._look()

    def _look(self) -> None:
        delay = self._due - self._now()
        if delay <= _LOOK:
            self._handle = self._loop.call_later(max(0.0, delay), self._callback)
        else:
            self._handle = self._loop.call_later(_LOOK, self._look)

    def cancel(self) -> None:
        self._handle.cancel()


class HasClock(Protocol):
    """A store that may have a clock."""

    async def clock(self) -> float | None:
        """Return the time by it, in seconds since the epoch; ``None``: it has none."""
        ...


class StoreClock:
    """The clock of a store that hosts share; the system's, while the store has none.

    The clocks of hosts differ, so the store is asked now and then. In between, its time runs like
    that clock of this machine that is never set. It runs also while the machine sleeps.
    """

    monotonic = staticmethod(time.monotonic)
    """Return the system's monotonic time, in seconds."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        """How far the store's time is ahead of ``_running``."""
        self.now: Callable[[], float] = SystemClock.now
        """Returns the time of day, in seconds since the epoch."""

    @property
    def is_shared(self) -> bool:
        """Whether it is the store's."""
        return self._ahead is not None

    async def ask(self, store: HasClock) -> None:
        """Ask the store for its time.

        Raises:
            StoreError: If the store failed.
        """
        before = _running()
        at = await store.clock()
        if at is None:
            return
        after = _running()
        ahead = at - (before + after) / 2
        # The answer may have taken all of that time, or none: what it can't tell is left as it is.
        if self._ahead is None or abs(ahead - self._ahead) > (after - before) / 2:
            self._ahead = ahead
            self.now = self._now

    def _now(self) -> float:
        assert self._ahead is not None  # it was asked for
        return _running() + self._ahead

    def call_at(self, due: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop when ``due`` has come."""
        return _Alarm(due, callback, self.now)

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop after ``delay`` seconds."""
        return SystemClock().call_later(delay, callback)


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_running = _boot_time if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


async def time_of(store: HasClock) -> float:
    """Return the time by the clock of a store; by the system's, if it has none.

    Returns:
        Seconds since the epoch.

    Raises:
        StoreError: If the store failed.
    """
    at = await store.clock()
    return SystemClock.now() if at is None else at


@contextmanager
def background() -> Generator[None]:
    """Mark the timers set in here as of no consequence by themselves: they only wake who looks.

    A virtual clock does not jump to them, or a day without events would be 86,400 heartbeats.
    """
    before = _background.get()
    token = _background.set(True)
    try:
        yield
    finally:
        try:
            _background.reset(token)
        except ValueError:  # a task that is thrown away ends in another context
            _background.set(before)


def in_background() -> bool:
    """Return whether a timer set now is one of those."""
    return _background.get()


class Times:
    """The time as one engine sees it: notices when the time of day is set; a ``Timekeeper``.

    The monotonic clock measures how long something took. The time of day says when something is
    due, for other processes, too. Between two looks both advance by the same; if they differ by
    more than a little, the clock was set, or the machine slept.

    Args:
        clock: what it reads.
        lease: seconds for which leases are judged by the time before it was set, as well: until
            then, those who live have all renewed theirs.
    """

    def __init__(self, clock: Clock, lease: float) -> None:
        self._clock = clock
        self._day = clock.now
        self.monotonic = clock.monotonic
        """Returns seconds since some moment, and never goes back."""
        self._lease = lease
        self._lock = threading.Lock()
        self._before: tuple[tuple[float, float], ...] = ()  # how far it was ahead, and until when
        self.moved = 0.0
        """Seconds by which the time of day was set ahead so far, over all; below 0: back."""
        self.when_moved: Callable[[], object] | None = None
        """Called when that was noticed, in the thread that noticed it."""
        self.is_virtual: bool = getattr(clock, "is_virtual", False)
        self._ahead = self._read()[0] - clock.monotonic()

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch. May be called from any thread."""
        day = self._day()
        ahead = day - self.monotonic()
        if -JUMP <= ahead - self._ahead <= JUMP:
            self._ahead = ahead
            return day
        day, passed = self._read()
        self._note(day - passed, passed)
        return day

    async def ask(self, store: HasClock) -> None:
        """Ask a store for its time, if that is what is read.

        Raises:
            StoreError: If the store failed.
        """
        clock = self._clock
        if isinstance(clock, StoreClock) and clock.is_shared:
            await clock.ask(store)

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
            "retries under way stay as they were; sleeps are due by the new time",
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
