"""Watches the event loop from a thread: names the step that blocks it, and counts for how long.

Every 0.1 s it has the loop answer. Where no answer comes, it looks who holds the loop, and only
the one that it finds there each time is named. If this thread itself did not get to run, there is
nobody to blame: the process was stopped, the machine slept, or the garbage collector was at work.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gorkflow.engine._blame import holder
from gorkflow.flow import template_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gorkflow.engine._blame import Holder, Work

logger = logging.getLogger("gorkflow.step")

BLOCKED = 1.0
"""Seconds for which a step may hold the event loop before it is named."""
_EVERY = 0.1  # seconds between looks
_AT_WORK = 0.1  # of the time, at least: on a busy machine, a thread that works gets no more
_SHORT = 0.05  # seconds that the loop may take to answer
_STILL = 60.0  # seconds after which a step is named that holds the loop for ever
_TOLD = 1000  # steps that are remembered as named


class _Hold(NamedTuple):
    """Somebody was found to hold the loop, at each look since then."""

    by: Holder
    since: float


class Watchdog:
    """Watches one event loop.

    Args:
        loop: the loop.
        monotonic: returns seconds since some moment, in any thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float]) -> None:
        self._loop = loop
        self._monotonic = monotonic
        self._blocked = 0.0
        self._asked: float | None = None
        self._hold: _Hold | None = None
        self._told: set[tuple[str, str]] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._of_loop = threading.get_ident()
        self._collects_since = 0.0
        self._collected = 0.0

    # ---- in the loop ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin. In the loop's thread."""
        self._of_loop = threading.get_ident()
        gc.callbacks.append(self._collects)
        self._thread = threading.Thread(target=self._watch, name="gorkflow-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and name who holds the loop until now."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        gc.callbacks.remove(self._collects)
        self._answer()

    @property
    def blocked(self) -> float:
        """Seconds for which the loop was blocked so far, by whomever."""
        asked = self._asked
        waits = 0.0 if asked is None else self._monotonic() - asked
        return self._blocked + (waits if waits > _SHORT else 0.0)

    def _answer(self) -> None:
        self._blocked = self.blocked
        hold, self._hold, self._asked = self._hold, None, None
        if hold is not None:
            self._end(hold, self._monotonic())

    # ---- in the thread --------------------------------------------------------------------

    def _watch(self) -> None:
        before, spent = self._monotonic(), self._spent()
        while not self._stop.wait(_EVERY):
            now = self._monotonic()
            missed = now - before > 2 * _EVERY + _SHORT
            late = self._asked is not None and now - self._asked > _SHORT
            # First of all: whoever let no other thread run goes on right now.
            found = holder(self._of_loop) if missed or late else None
            worked, spent = spent, self._spent()
            if missed and spent - worked < (now - before) * _AT_WORK:
                found = None  # the process did not run
            self._note(found, before, now)
            try:
                self._ask(before + _EVERY if missed else now)
            except RuntimeError:
                return  # the loop is closed
            before = now

    def _note(self, found: Holder | None, before: float, now: float) -> None:
        """Take note of who was found, and name a holder that has let go."""
        hold = self._hold
        if hold is not None and (found is None or found.work is not hold.by.work):
            self._end(hold, before)
            hold = None
        if found is not None:
            found.work.held += now - before
            hold = hold or _Hold(found, before)
            if now - hold.since > _STILL:
                self._tell(hold, now - hold.since, "has blocked")
        self._hold = hold

    def _ask(self, at: float) -> None:
        """Have the loop answer, as if asked at an instant, unless it still owes an answer."""
        if self._asked is None:
            self._asked = at
            self._loop.call_soon_threadsafe(self._answer)

    def _spent(self) -> float:
        """Return the seconds of work of the loop's thread, less those of the garbage collector."""
        try:
            clock = time.pthread_getcpuclockid(self._of_loop)
        except (AttributeError, OSError):  # Windows; or the thread has ended
            return time.process_time() - self._collected
        return time.clock_gettime(clock) - self._collected

    def _collects(self, phase: str, _: Any) -> None:
        if phase == "start":
            self._collects_since = self._monotonic()
        else:
            self._collected += self._monotonic() - self._collects_since

    # ---- naming it ------------------------------------------------------------------------

    def _end(self, hold: _Hold, until: float) -> None:
        if until - hold.since >= BLOCKED:
            self._tell(hold, until - hold.since, "blocked")

    def _tell(self, hold: _Hold, seconds: float, verb: str) -> None:
        work: Work = hold.by.work
        run_id, path = work.driver.run_id, work.command.path
        key = (run_id, template_of(path))
        if key in self._told:
            return
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told.add(key)
        logger.warning(
            "step %r of run %r %s the event loop for %.1f s, at %s; no other step could go on. "
            "Make it a plain def, which runs in a thread, or put `await asyncio.to_thread(…)` "
            "around the call",
            path,
            run_id,
            verb,
            seconds,
            hold.by.place,
            extra={"run_id": run_id, "path": path},
        )
