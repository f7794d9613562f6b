"""The watchdog of an event loop: names the step that blocks it, and stops timeouts meanwhile.

Every 0.1 s a thread has the loop answer. If no answer comes, the thread looks up which code holds
the loop. Only code that it finds there each time is named. If the thread itself did not get to run,
no code is to blame: the process was stopped, the machine slept, or the garbage collector ran.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import sysconfig
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gorkflow._logs import is_ours
from gorkflow.engine._within import caller_in
from gorkflow.flow import template_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType, FrameType

    from gorkflow.clock import TimerHandle, Times
    from gorkflow.engine._within import Caller

logger = logging.getLogger("gorkflow.step")

BLOCKED = 1.0
"""Seconds for which a step may hold the event loop before it is named."""
_EVERY = 0.1  # seconds between looks
_AT_WORK = 0.1  # of the time, at least: on a busy machine, a thread that works gets no more
_SHORT = 0.05  # seconds that the loop may take to answer
_STILL = 60.0  # seconds after which a step is named that holds the loop for ever
_NAMED = 1000  # steps that are remembered as named
_NO_TIMER = 0.02  # seconds that are not worth another timer
_HANDLE: CodeType = asyncio.Handle._run.__code__  # noqa: SLF001 - by which a loop calls
_STDLIB = sysconfig.get_path("stdlib") + os.sep
_DEBUGGERS = ("bdb.py", "pdb.py", "pydevd.py")


roots: dict[CodeType, Callable[[Mapping[str, Any]], Caller | None]] = {}
"""Functions that all of some work runs in, and what finds the work among their local variables:
tasks may begin eagerly, within the callback of another one, and not every loop has callbacks in
Python."""


class Holder(NamedTuple):
    """The work that holds the loop."""

    work: Caller
    place: str
    """The line of the program, as ``file:line in function``."""


class _Hold(NamedTuple):
    """A holder that was found at each look since then."""

    by: Holder
    since: float


class Watchdog:
    """Watches one event loop.

    Args:
        loop: the loop.
        clock: the engine's; its monotonic time is read in any thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Times) -> None:
        self.clock = clock
        self._loop = loop
        self._monotonic = clock.monotonic
        self._blocked = 0.0
        self._asked: float | None = None
        self._hold: _Hold | None = None
        self._named: set[tuple[str, str]] = set()
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
        """End, and name the step that holds the loop until now."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        gc.callbacks.remove(self._collects)
        self._answer()

    @property
    def blocked(self) -> float:
        """Seconds for which the loop was blocked so far, by any code."""
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
            # First of all: code that let no other thread run continues right now.
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
        """Remember the holder that was found, and name one that is gone."""
        hold = self._hold
        if hold is not None and (found is None or found.work is not hold.by.work):
            self._end(hold, before)
            hold = None
        if found is not None:
            found.work.held += now - before
            hold = hold or _Hold(found, before)
            if now - hold.since > _STILL:
                self._name(hold, now - hold.since, "has blocked")
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
            self._name(hold, until - hold.since, "blocked")

    def _name(self, hold: _Hold, seconds: float, verb: str) -> None:
        work: Caller = hold.by.work
        run_id, path = work.run_id, work.path
        key = (run_id, template_of(path))
        if key in self._named:
            return
        if len(self._named) >= _NAMED:
            self._named.clear()
        self._named.add(key)
        logger.warning(
            "step %r of run %r %s the event loop for %.1f s, at %s; no other step could continue. "
            "Make it a plain def, which runs in a thread, or put `await asyncio.to_thread(…)` "
            "around the call",
            path,
            run_id,
            verb,
            seconds,
            hold.by.place,
            extra={"run_id": run_id, "path": path},
        )


class Countdown:
    """The timeout of one function: seconds of a free loop, and those that it blocked itself.

    Calls once, when the time is over. Can be cancelled as other timers.

    Args:
        watchdog: counts for how long the loop was blocked.
        work: the work that has so much time.
        seconds: how much.
        over: the function to call.
    """

    __slots__ = ("_end", "_is_late", "_over", "_timer", "_timer_due", "_watchdog", "_work")

    def __init__(
        self, watchdog: Watchdog, work: Caller, seconds: float, over: Callable[[], object]
    ) -> None:
        self._watchdog = watchdog
        self._work = work
        self._over = over
        self._is_late = False
        self._set(seconds)
        self._end = self._timer_due - watchdog.blocked + work.held
        """By the monotonic clock, if the loop was never blocked."""

    def cancel(self) -> None:
        """Call it off."""
        self._timer.cancel()

    def _set(self, seconds: float) -> None:
        clock = self._watchdog.clock
        self._timer: TimerHandle = clock.call_later(seconds, self._fired)
        self._timer_due = clock.monotonic() + seconds

    def _fired(self) -> None:
        work, watchdog = self._work, self._watchdog
        now = watchdog.clock.monotonic()
        due = self._end + watchdog.blocked - work.held
        if not self._is_late and not work.held:
            due = max(due, now + (now - self._timer_due))  # what has come meanwhile goes first
        self._is_late = True
        if due - now > _NO_TIMER:
            self._set(due - now)
        else:
            self._over()


def holder(thread: int) -> Holder | None:
    """Return the step whose code holds an event loop; ``None``: none does, or our own code.

    Args:
        thread: the identifier of the loop's thread.
    """
    frames: list[FrameType] = []
    # All frames together are never kept: this one is among them, which would be a cycle.
    innermost = sys._current_frames().get(thread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    for frame in _outward(innermost):
        if frame.f_code is _HANDLE:
            # The context in which it calls: that of a task, or of who asked for the call.
            work: Caller | None = caller_in(frame.f_locals["self"]._context)  # noqa: SLF001
        elif frame.f_code in roots:
            work = roots[frame.f_code](frame.f_locals)
        else:
            frames.append(frame)
            continue
        place = None if work is None else _place(frames)
        return None if work is None or place is None else Holder(work, place)
    return None


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(frames: list[FrameType]) -> str | None:
    """Return the innermost line of the program, or of the library that all of it is."""
    found = None
    for frame in frames:
        kind = _kind(frame.f_code.co_filename)
        if kind == "debugger":
            return None
        if kind == "ours":
            break
        found = frame
        if kind == "program":
            break
    else:
        kind = "program"
    if found is None or kind != "program":
        return None
    return f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_name}"


@lru_cache(4096)
def _kind(file: str) -> str:
    if Path(file).name in _DEBUGGERS:
        return "debugger"
    if is_ours(file):
        return "ours"
    is_library = file.startswith(("<frozen", _STDLIB)) or "site-packages" in file
    return "library" if is_library else "program"
