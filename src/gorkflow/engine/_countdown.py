"""A timeout of one function: seconds of a free event loop, and those that it blocked itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gorkflow.clock import TimerHandle
    from gorkflow.engine._blame import Work

_SHORT = 0.02  # seconds that are not worth another timer


class Countdown:
    """Calls once, when the time is over. Can be cancelled as other timers.

    Args:
        work: what has so much time.
        seconds: how much.
        over: what to call.
    """

    __slots__ = ("_end", "_is_late", "_over", "_timer", "_timer_due", "_work")

    def __init__(self, work: Work, seconds: float, over: Callable[[], object]) -> None:
        self._work = work
        self._over = over
        self._is_late = False
        self._set(seconds)
        self._end = self._timer_due - work.driver.runtime.watchdog.blocked + work.held
        """By the monotonic clock, if the loop was never blocked."""

    def cancel(self) -> None:
        """Call it off."""
        self._timer.cancel()

    def _set(self, seconds: float) -> None:
        clock = self._work.driver.runtime.clock
        self._timer: TimerHandle = clock.call_later(seconds, self._fired)
        self._timer_due = clock.monotonic() + seconds

    def _fired(self) -> None:
        work, runtime = self._work, self._work.driver.runtime
        now = runtime.clock.monotonic()
        due = self._end + runtime.watchdog.blocked - work.held
        if not self._is_late and not work.held:
            due = max(due, now + (now - self._timer_due))  # what has come meanwhile goes first
        self._is_late = True
        if due - now > _SHORT:
            self._set(due - now)
        else:
            self._over()
