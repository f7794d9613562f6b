"""The progress of a run on standard error: a live tree on terminals, else lines, or nothing."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from statistics import median
from typing import Any, Protocol

from gorkflow import events as ev
from gorkflow._text import listed, span_of
from gorkflow.cli._board import Board, finishing
from gorkflow.cli._output import clean, clock, one_line, say
from gorkflow.engine._recorded import load
from gorkflow.engine._runs import FAILED_HOOK, LEFT_RUNS
from gorkflow.flow import template_of
from gorkflow.listing import RunFilter
from gorkflow.model import Failure, Report, RunStatus, StepStatus
from gorkflow.store import RunReader, RunRow

_LONG_WAIT = 1.0  # seconds that a step was queued


class View(Protocol):
    """Shows a run."""

    looks_ahead: bool
    """Whether it shows how long the run may take yet."""

    def showing(self, board: Board) -> AbstractContextManager[object]:
        """Show it until the context is left."""
        ...

    def fed(self, board: Board, event: ev.Event) -> None:
        """Note that the board took in an event."""
        ...

    def say(self, line: str) -> None:
        """Show a line."""
        ...

    def say_of(self, path: str, line: str) -> None:
        """Show a line that a step of the run wrote."""
        ...


def view_for(*, quiet: bool) -> View:
    """Return what suits where standard error goes."""
    if quiet:
        return Quiet()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from gorkflow.cli._live import LiveTree

        return LiveTree()
    return Lines()


class Quiet:
    """Shows nothing of the run, so that a machine need not read it."""

    looks_ahead = False

    def showing(self, board: Board) -> AbstractContextManager[object]:
        """Show nothing."""
        return nullcontext()

    def fed(self, board: Board, event: ev.Event) -> None:
        """Show nothing."""

    def say(self, line: str) -> None:
        """Show a line."""
        say(clean(line))

    def say_of(self, path: str, line: str) -> None:
        """Show a line that a step of the run wrote."""
        self.say(line)


class Lines(Quiet):
    """Shows a line for each thing that happens."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        """The paths of steps whose begin was shown."""
        self._early: dict[str, list[str]] = {}
        """The lines of steps whose begin was not, by path: a step may be quicker than the news."""

    @contextmanager
    def showing(self, board: Board) -> Generator[None]:
        """Show nothing but what happens, and at the end the lines that were left."""
        try:
            yield
        finally:
            for path in [*self._early]:
                self._begin(path)

    def fed(self, board: Board, event: ev.Event) -> None:
        """Show the event, unless it is one that only the engine cares about."""
        happened = in_words(board, event)
        if happened:
            self.say(f"{clock(event.at)} {happened}")
        if isinstance(event, ev.StepScheduled):
            self._begin(event.path)

    def say_of(self, path: str, line: str) -> None:
        """Show a line of a step, once it was shown that the step began."""
        if path in self._begun:
            self.say(line)
        else:
            self._early.setdefault(path, []).append(line)

    def _begin(self, path: str) -> None:
        self._begun.add(path)
        for line in self._early.pop(path, ()):
            self.say(line)


_PAST = 20  # runs that say how long such a run usually takes


async def show_events(found: AsyncIterator[ev.Event | Report], board: Board, view: View) -> None:
    """Show what happens to a run, to the last event."""
    async for each in found:
        if isinstance(each, Report):
            board.report(each)
        else:
            board.feed(each)
            view.fed(board, each)


async def board_of(reader: RunReader, run_id: str, view: View, seen: int | None = None) -> Board:
    """Return the tree of a run as it is recorded, for a view to show.

    Args:
        reader: the store.
        run_id: the run.
        view: what shows it.
        seen: the ``seq`` of the last event to take; ``None``: all that are recorded.

    Raises:
        RunNotFoundError: If there is no such run.
        StoreCorruptError: If its record can't be read.
    """
    found = await load(reader, run_id)
    board = Board(run_id, found.tree)
    for event in found.events:
        if seen is None or event.seq <= seen:
            board.feed(event)
    if view.looks_ahead and not found.row.status.terminal:
        board.usual = await _usual(reader, found.row)
    return board


async def _usual(reader: RunReader, row: RunRow) -> float | None:
    """Return the median duration of the latest completed runs like this one, in seconds."""
    query = RunFilter(workflow_id=row.workflow_id, status=[RunStatus.COMPLETED], limit=_PAST)
    past = await reader.list_runs(query)
    alike = [each for each in past if each.fingerprint == row.fingerprint]
    took = [
        each.finished_at - each.started_at
        for each in alike or past
        if each.finished_at is not None and each.started_at is not None
    ]
    return max(0.0, median(took)) if took else None


def in_words(board: Board, event: ev.Event) -> str:
    """Return an event in words, once the board has taken it in; empty: not worth it."""
    words = _WORDS.get(type(event))
    return "" if words is None else board.line(words(board, event))


def _failed(board: Board, event: ev.StepFailed) -> str:
    note = board.of_failure(event.failure)
    ended = event.at if event.ended_at is None else event.ended_at  # ``at`` is when it was recorded
    then = "" if event.retry_at is None else f"; next try in {span_of(event.retry_at - ended)}"
    took = _took(event.began_at, event.at)
    return f"{event.path} failed{_attempt(event.attempt)}{took}: {note}{then}"


def _decided(board: Board, event: ev.BlockDecided) -> str:
    item = board.items[template_of(event.path)]
    inside = event.path.rpartition("/")[0]
    name = f"{item.label} in {inside}" if inside else item.label
    left = item.tally[StepStatus.RUNNING] if event.path in item.draining else 0
    drains = f"; {finishing(left)}" if left else ""
    return f"{name} {event.verdict}: {event.reason}{drains}"


def _timer_set(_: Board, event: ev.TimerSet) -> str:
    return (
        f"{event.path} sleeps for {span_of(event.due - event.at)}" if event.key == "sleep" else ""
    )


def _timer_fired(_: Board, event: ev.TimerFired) -> str:
    words = {"sleep": "woke up", "wait": "got no signal in time"}
    return f"{event.path} {words[event.key]}" if event.key in words else ""


def _wait_opened(_: Board, event: ev.WaitOpened) -> str:
    limit = "" if event.due is None else f", for {span_of(event.due - event.at)} at most"
    return f"{event.path} waits for signal {event.signal!r}{limit}"


_WORDS: dict[type[ev.Event], Callable[[Board, Any], str]] = {
    ev.RunStarted: lambda board, e: f"run {e.run_id} of {board.root.label} started",
    ev.RunFinished: lambda board, e: f"run {e.status.value}{_took(board.root.began_at, e.at)}",
    ev.StepScheduled: lambda _, e: f"{e.path} started{_attempt(e.attempt)}{_queued(e)}",
    ev.StepCompleted: lambda _, e: f"{e.path} completed{_took(e.began_at, e.at)}",
    ev.StepFailed: _failed,
    ev.StepInterrupted: lambda _, e: f"{e.path} was interrupted: {e.reason}",
    ev.StepCancelled: lambda _, e: f"{e.path} cancelled: {e.reason}",
    ev.TimerSet: _timer_set,
    ev.TimerFired: _timer_fired,
    ev.WaitOpened: _wait_opened,
    ev.SignalReceived: lambda _, e: f"{e.path} got its signal",
    ev.ResultKept: lambda _, e: f"{e.path} has its result already",
    ev.StepSkipped: lambda _, e: f"{e.path} skipped: {e.reason}",
    ev.BlockDecided: _decided,
    ev.TypesAccepted: lambda _, e: f"types accepted: {'; '.join(e.problems)}",
    ev.CancelRequested: lambda _, e: f"asked to cancel: {e.reason}",
    ev.ClockSet: lambda _, e: f"the clock was set {'ahead' if e.by > 0 else 'back'}",
    ev.UndoStarted: lambda _, e: f"undoing {listed([*e.paths])}",
}


def _took(began: float | None, ended: float) -> str:
    return "" if began is None else f" in {span_of(max(0.0, ended - began))}"


def _queued(event: ev.StepScheduled) -> str:
    waited = event.at - event.ready_at
    if waited < _LONG_WAIT:
        return ""
    names = " and ".join(repr(name) for name in event.limits)
    whose = f" for limit{'s' if len(event.limits) > 1 else ''} {names}" if names else ""
    return f" after {span_of(waited)} queued{whose}"


def _attempt(number: int) -> str:
    return f" (attempt {number})" if number > 1 else ""


class LogLines(logging.Handler):
    """Shows warnings, and what steps log, as lines.

    Args:
        view: where they are shown.
    """

    def __init__(self, view: View) -> None:
        super().__init__(logging.INFO)
        self._view = view
        self._run_id = ""
        self.muted = False

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, unless the view shows the same by itself."""
        args = record.args if isinstance(record.args, tuple) else ()
        if self.muted or any(isinstance(item, Failure) for item in args):
            return
        if hasattr(record, LEFT_RUNS):  # the command says how to go on
            return
        if record.levelno < logging.WARNING and step_of(record) is None:
            return
        if hasattr(record, FAILED_HOOK):  # so it does here: nothing calls it again in this process
            if record.exc_info:
                self._view.say(logging.Formatter().formatException(record.exc_info))
            return
        try:
            level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
            where, text = self._where(record), self.format(record)
            line = f"{clock(record.created)} {level}{where}{text}"
            found = step_of(record)
            if found is None or found[0] != self._run_id:
                self._view.say(line)
            else:
                self._view.say_of(found[1], line)
        except Exception:  # noqa: BLE001 - as logging wants it
            self.handleError(record)

    def _where(self, record: logging.LogRecord) -> str:
        found = step_of(record)
        if found is None:
            return ""
        run_id, path = found
        self._run_id = self._run_id or run_id  # the first one is the run of the command
        return f"{path}: " if run_id == self._run_id else f"run {run_id} {path}: "


def step_of(record: logging.LogRecord) -> tuple[str, str] | None:
    """Return the run and path of the step that logged a record; ``None``: it was not a step."""
    fields = vars(record)
    return (fields["run_id"], one_line(fields["path"])) if "step_id" in fields else None


@contextmanager
def logging_to(view: View) -> Generator[LogLines]:
    """Show warnings, and what steps log, unless the program has its own logging."""
    handler = LogLines(view)
    logger, of_steps = logging.getLogger("gorkflow"), logging.getLogger("gorkflow.step")
    if logger.hasHandlers():
        yield handler
        return
    level = of_steps.level
    logger.addHandler(handler)
    if not level:
        of_steps.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        of_steps.setLevel(level)
