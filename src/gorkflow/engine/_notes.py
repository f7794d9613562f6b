"""The notes of an engine: progress reports and log lines of its attempts, on their way to a store.

Nothing waits for them, and no step fails for them. Handlers add to the notes of their attempt, from
any thread; the engine writes what has gathered, in the background. The first note of an attempt is
written at once. Later ones are written once a second, and the last ones when it has ended.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple

from gorkflow.clock import background
from gorkflow.store import AttemptId, LineRow, ReportRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from gorkflow.clock import TimerHandle, Times
    from gorkflow.store import Store

logger = logging.getLogger("gorkflow.engine")

MOST_LINES = 1_000
"""Lines that are kept of one attempt; then one line says how many more there were."""
EVERY = 1.0
"""Seconds between two writes for one attempt, and between two tries of a store that fails."""
_PAUSE = 0.05  # seconds between two writes: so that many short attempts share one
_BATCH = 2_000  # lines of one write
_HIGHEST = 2**31 - 1
"""The highest level of a line."""
_MOST_HELD = 20_000  # lines that wait while the store fails; then the oldest are lost


class _Batch(NamedTuple):
    """One write."""

    reports: list[ReportRow]
    lines: list[LineRow]
    ended: list[AttemptId]


class AttemptNotes:
    """The notes of one attempt. Its handler may add to them from any thread."""

    __slots__ = ("_lost", "_notes", "_numbers", "_said", "due", "has_ended", "id", "is_awaited",
                 "left_out", "lines", "report", "reported")  # fmt: skip

    def __init__(self, notes: Notes, attempt: AttemptId) -> None:
        self._notes = notes
        self.id = attempt
        self._numbers = itertools.count(1)
        self.left_out = 0
        """Lines that were too many."""
        self._lost = 0
        """Lines that had no room while the store failed."""
        self._said = 0
        """How many of both the store knows of."""
        self.report: ReportRow | None = None
        """The latest, if it is not written."""
        self.lines: deque[LineRow] = deque()
        """Those that are not written."""
        self.due = 0.0
        """When the next write may come, by the monotonic clock."""
        self.reported = False
        """Whether the store may have a report of it."""
        self.has_ended = False
        self.is_awaited = False
        """Whether the engine knows that there is something to write."""

    def add_report(self, done: float, total: float | None, message: str) -> None:
        """Keep a report, instead of the one before."""
        if not self.has_ended:
            self.report = ReportRow(*self.id, done, total, message, self._notes.now())
            self._wake()

    def add_line(self, level: int, text: str, at: float | None = None) -> None:
        """Keep a line, unless there are too many; ``None``: it is of now."""
        number = next(self._numbers)
        if number > MOST_LINES:
            self.left_out = max(self.left_out, number - MOST_LINES)
        else:
            at = self._notes.now() if at is None else at
            known = max(0, min(level, _HIGHEST))
            self.lines.append(LineRow(*self.id, number, at, known, text))
        self._wake()

    def leave_out(self, count: int) -> None:
        """Note that there were so many more lines."""
        if count:
            self.left_out += count
            self._wake()

    def end(self) -> None:
        """Write what is left soon: the attempt has ended."""
        self.has_ended = True
        self.due = 0.0
        if self.reported or self.lines or self._missing > self._said:
            self._notes.wake(self)
        else:
            self._notes.forget(self)

    def take(self, batch: _Batch) -> None:
        """Put what is to be written into a batch."""
        # First of all: what comes from a thread from here on says so again.
        self.is_awaited = False
        while self.lines:
            batch.lines.append(self.lines.popleft())
        if self._missing > self._said:
            self._said = self._missing
            row = LineRow(
                *self.id, MOST_LINES + 1, self._notes.now(), logging.INFO, f"… {self._said:,} more"
            )
            batch.lines.append(row)
        report, self.report = self.report, None
        if self.has_ended:
            if self.reported:
                batch.ended.append(self.id)
        elif report is not None:
            self.reported = True
            batch.reports.append(report)

    def lose_lines(self) -> int:
        """Drop the lines that are not written; return how many these were."""
        count = 0
        while self.lines:
            self.lines.popleft()
            count += 1
        self._lost += count
        return count

    @property
    def _missing(self) -> int:
        return self.left_out + self._lost

    def _wake(self) -> None:
        if not self.is_awaited:
            self.is_awaited = True
            self._notes.wake_from_anywhere(self)


class Notes:
    """The notes of all attempts of an engine.

    Args:
        loop: the engine's.
        clock: the engine's.
        store: keeps the notes.
        changed: called with the id of each run of which something was kept.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Times,
        store: Store,
        changed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._store = store
        self._changed = changed
        self._context = copy_context()
        self.now = clock.now
        """Returns the time of day, in seconds since the epoch."""
        self._waiting: dict[AttemptNotes, None] = {}
        self._timer: TimerHandle | None = None
        self._timer_due = 0.0
        self._next = 0.0
        """When the next write may come, by the monotonic clock."""
        self._writing: asyncio.Task[None] | None = None
        self._failed: _Batch | None = None
        """The write that failed, to be tried again."""
        self._has_complained = False
        self._lost = 0
        """Lines that had no room since the store began to fail."""
        self._closed = False

    def of(self, attempt: AttemptId) -> AttemptNotes:
        """Return notes for an attempt."""
        return AttemptNotes(self, attempt)

    def wake_from_anywhere(self, notes: AttemptNotes) -> None:
        """Have notes written when they are due. From any thread."""
        try:
            self._loop.call_soon_threadsafe(self.wake, notes, context=self._context)
        except RuntimeError:
            return  # the loop is closed, and a thread outlived it

    def wake(self, notes: AttemptNotes) -> None:
        """Have notes written when they are due."""
        if self._closed:
            return
        notes.is_awaited = True
        self._waiting[notes] = None
        self._arrange(notes.due)

    def forget(self, notes: AttemptNotes) -> None:
        """Write nothing: a report that the store does not have is of no use any more."""
        self._waiting.pop(notes, None)

    async def flush(self, run_id: str | None = None) -> None:
        """Write what there is by now. Returns when that is done, or the store has failed.

        Args:
            run_id: only what there is of this run, and what is due; ``None``: of all runs.
        """
        await asyncio.sleep(0)  # what was noted before this is waiting then
        if self._writing is not None:
            await asyncio.wait([self._writing])
        wanted = {each for each in self._waiting if run_id is None or each.id.run_id == run_id}
        for notes in wanted:
            notes.due = 0.0
        while self._failed is not None or wanted:
            self._begin()
            assert self._writing is not None  # there is something to write
            await asyncio.wait([self._writing])
            if self._failed is not None:
                return
            # It need not see notes that steps add meanwhile: those are due later.
            wanted = {each for each in wanted if each in self._waiting and not each.due}

    async def close(self) -> None:
        """Write everything, and keep nothing any more."""
        try:
            await self.flush()
        finally:
            self._closed = True
            self._stop_timer()
            if self._writing is not None:
                self._writing.cancel()

    def _arrange(self, due: float) -> None:
        """Have the next write come at this time, if it would come later."""
        due = max(due, self._next)
        if self._writing is not None or (self._timer is not None and self._timer_due <= due):
            return
        self._stop_timer()
        delay = due - self._clock.monotonic()
        self._timer_due = due
        with background():  # nothing waits for it: virtual time need not
            self._timer = self._clock.call_later(max(0.0, delay), self._begin)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._stop_timer()
        if self._writing is None and (self._waiting or self._failed is not None):
            self._writing = self._loop.create_task(self._write(), context=self._context)

    async def _write(self) -> None:
        batch = self._failed or self._taken()
        try:
            if any(batch):
                await self._store.note(reports=batch.reports, lines=batch.lines, ended=batch.ended)
        except Exception as error:  # noqa: BLE001 - whatever it is, the steps are not to blame
            self._complain(error)
            self._failed = batch
            self._forget_oldest()
            pause = EVERY
        else:
            self._failed = None
            self._recover()
            pause = _PAUSE
            written = {row.run_id for row in batch.reports} | {row.run_id for row in batch.lines}
            for run_id in written:
                self._changed(run_id)
        finally:
            self._writing = None
        self._next = self._clock.monotonic() + pause
        if self._failed is not None:
            self._arrange(self._next)
        elif self._waiting and not self._closed:
            self._arrange(min(notes.due for notes in self._waiting))

    def _taken(self) -> _Batch:
        """Take what is due, as much as may go in one write."""
        now = self._clock.monotonic()
        batch = _Batch([], [], [])
        for notes in [notes for notes in self._waiting if notes.due <= now]:
            if len(batch.lines) >= _BATCH:
                break
            del self._waiting[notes]
            notes.due = now + EVERY
            notes.take(batch)
        return batch

    def _complain(self, error: Exception) -> None:
        if not self._has_complained:
            self._has_complained = True
            logger.warning(
                "could not keep progress and logs of steps: %s. The runs continue; it will be "
                "tried again, and this is not said again until it has worked",
                error,
            )

    def _recover(self) -> None:
        """Say what was lost while the store failed."""
        self._has_complained = False
        lost, self._lost = self._lost, 0
        if lost:
            logger.warning(
                "lost %d line%s of the logs of steps while the store failed",
                lost,
                "" if lost == 1 else "s",
            )

    def _forget_oldest(self) -> None:
        held = sum(1 + len(notes.lines) for notes in self._waiting)
        for notes in list(self._waiting):
            if held <= _MOST_HELD:
                return
            lost = notes.lose_lines()
            self._lost += lost
            held -= lost
        for notes in [notes for notes in self._waiting if notes.has_ended]:
            if held <= _MOST_HELD:
                return
            del self._waiting[notes]
            held -= 1
