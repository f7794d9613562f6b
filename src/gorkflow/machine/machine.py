"""The machine: events in, commands out. No I/O, no clock, no asyncio; values are references.

Rules
-----
1. Everything that can change the state of a run is an event given to ``feed``; everything that the
   machine wants done is a command. It does not know whether it lives or is replayed.
2. What it decides by itself (a verdict, a cancelled step, the end of the run) it records as
   *derived* events, stamped with the next ``seq`` and the ``at`` of the event that caused them.
   ``feed`` returns them; whoever drives records them together with the cause. On replay they must
   come out again exactly as they were recorded.
3. One event costs time in proportion to what it unblocks, never to the size of the run.
4. It is total: an event that can't happen raises ``HistoryError``, says so and leaves no trace; all
   others are taken.

Driving it::

    machine = Machine(run_id, tree)
    derived = machine.feed(RunCreated(...))     # record: the event, then the derived ones
    ...
    for command in machine.take_commands():     # perform those that machine.wants(command)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.events import Ended
from gorkflow.flow import WorkflowSpec
from gorkflow.machine.commands import (
    AskTime,
    AwaitSignal,
    CancelTimer,
    Command,
    Decide,
    Expand,
    FinishRun,
    Question,
    Request,
    RunStep,
    StartTimer,
    answers,
)
from gorkflow.machine.frame import Frame
from gorkflow.machine.kept import Keeper, Kept
from gorkflow.machine.kinds import FRAME_TYPES
from gorkflow.machine.sequence import WorkflowFrame
from gorkflow.machine.state import write
from gorkflow.machine.step import StepFrame
from gorkflow.machine.timers import Timers
from gorkflow.machine.timing import set_clock
from gorkflow.machine.undo import Undo
from gorkflow.machine.waiting import WaitFrame
from gorkflow.model import RunStatus, StepStatus
from gorkflow.state_changes import Overlay

E = TypeVar("E", bound=ev.Event)
# To ask an enum for a member takes longer than all else in a line, so it is done once.
PENDING, RUNNING = RunStatus.PENDING, RunStatus.RUNNING
_IN_THE_RUN = {ev.CancelRequested, ev.TypesAccepted, ev.ClockSet}
_ABOUT_THE_RUN = {ev.RunCreated, ev.ResultKept, ev.RunStarted} | _IN_THE_RUN
_ANSWERS = frozenset({ev.StepScheduled, ev.Decided, ev.Expanded, ev.Timed})
_RUN_STATUS = {
    StepStatus.COMPLETED: RunStatus.COMPLETED,
    StepStatus.FAILED: RunStatus.FAILED,
    StepStatus.CANCELLED: RunStatus.CANCELLED,
}


class Machine:
    """The state of one run.

    Args:
        run_id: the run.
        tree: the flow tree that it executes.
        notes: takes how each node ended, for a history.
    """

    def __init__(self, run_id: str, tree: WorkflowSpec, notes: list[Ended] | None = None) -> None:
        self.run_id = run_id
        self.tree = tree
        self.seq: int = 0
        """Of the latest event, derived ones included."""
        self.at: float = 0.0
        """When it was recorded, in seconds since the epoch."""
        self.moved = 0.0  # seconds by which the clock was set ahead since the run began
        self.status = PENDING
        self.result: Ended | None = None
        """How the run ended; ``None`` while it has not."""
        self.scopes: dict[str, WorkflowFrame] = {}
        self.frames: dict[str, Frame] = {}
        """The frames that events can be about, by path."""
        self.running: dict[str, int] = {}
        """The attempts that were scheduled and have no result yet, by path."""
        self.timers = Timers()
        """The open timers, by path and key: those of which ``timer_fired`` would be taken."""
        self.kept: Mapping[str, Kept] = {}
        """The results that the run starts with, by path."""
        self.state: Overlay | None = None
        """What was written outside of all live branches; ``None``: nothing, nor inside of them."""
        self.frame_types = FRAME_TYPES
        self.undo: Undo | None = None
        """What is undone should the run fail, as far as there is such a thing."""
        self._notes = notes
        self._keeper: Keeper | None = None
        self._timeout: float | None = None
        self._open: dict[str, RunStep | Request] = {}
        self._waits: dict[str, dict[str, AwaitSignal]] = {}  # by signal, then by path
        self._received: dict[int, None] = {}  # the messages that brought a signal
        self._commands: list[Command] = []
        self._derived: list[ev.Event] = []

    # ---- what the driver calls ------------------------------------------------------------

    def feed(self, event: ev.Event) -> list[ev.Event]:
        """Take an event and return the events that follow from it, in order.

        Raises:
            HistoryError: the event can't happen now.
        """
        is_back = event.at < self.at and type(event) is not ev.ClockSet
        if event.seq != self.seq + 1 or is_back or event.run_id != self.run_id:
            raise self._impossible(event, f"expected seq {self.seq + 1} not before {self.at!r}")
        self._derived = []
        before = self.at
        self.seq, self.at = event.seq, event.at
        try:
            if type(event) in _ABOUT_THE_RUN:
                self._feed_run(event)
            else:
                frame = self.frames.get(event.path)
                if frame is None:
                    raise self._impossible(event, f"nothing is live at {event.path!r}")
                if type(event) is not ev.StepCompleted:  # else the frame alone knows
                    self._take_answer(event, frame)
                frame.receive(event)
        except HistoryError:
            self.seq, self.at = event.seq - 1, before
            raise
        return self._derived

    def take_commands(self) -> list[Command]:
        """Return the commands issued since the last call, in order."""
        taken, self._commands = self._commands, []
        return taken

    def wants(self, command: Command) -> bool:
        """Return whether a command still stands; a later event may have withdrawn it."""
        if isinstance(command, (RunStep, Decide, Expand, AskTime)):
            return self._open.get(command.path) is command
        if isinstance(command, StartTimer):
            return self.timers.get((command.path, command.key)) is command
        if isinstance(command, AwaitSignal):
            return self._waits.get(command.signal, {}).get(command.path) is command
        return True

    def open_commands(self) -> list[Question]:
        """Return what remains to be done: commands not answered yet. Used after a replay."""
        waits = [wait for same in self._waits.values() for wait in same.values()]
        return [*self._open.values(), *waits, *self.timers.values()]

    def asked(self, path: str) -> RunStep | Request | None:
        """Return what is asked at a path, and not answered yet."""
        return self._open.get(path)

    def running_attempts(self) -> list[tuple[str, int]]:
        """Return path and number of the attempts that were scheduled and have no result yet."""
        return [*self.running.items()]

    @property
    def is_waiting(self) -> bool:
        """Whether nothing goes on but timers and waits for signals."""
        return self.status is RUNNING and not self._open and not self.running

    def next_due(self) -> float | None:
        """Return when the earliest open timer is due, in seconds since the epoch."""
        return self.timers.next_due()

    @property
    def undoing(self) -> Ended | None:
        """How the run is going to end, once all is undone; ``None``: it undoes nothing (yet)."""
        return None if self.undo is None else self.undo.verdict

    def next_waiter(self, signal: str) -> str | None:
        """Return the path that gets the next signal of a name."""
        return next(iter(self._waits.get(signal, ())), None)

    def interruptions(self, *, died: bool) -> int:
        """Return how often in a row a step was interrupted so that it counts, at most.

        Args:
            died: whether the worker died that had the run, so that open attempts count, too.
        """
        return max(
            (
                frame.interruptions + (died and frame.state == "running")
                for frame in self.frames.values()
                if isinstance(frame, StepFrame)
            ),
            default=0,
        )

    def expects(self, path: str, attempt: int) -> bool:
        """Return whether a result of this attempt would be taken; else it comes too late."""
        if self.running.get(path) == attempt:
            return True
        frame = self.frames.get(path)
        return frame is not None and frame.expects(attempt)

    def deadline(self, path: str) -> StartTimer | None:
        """Return the timer of the earliest deadline around a live step. Nothing starts after it."""
        frame = self.frames.get(path) if self.timers else None
        if frame is None or frame.guard is None:
            return None
        return self.timers.get((frame.guard.path, "timeout" if frame.guard.parent else "deadline"))

    def find(self, path: str, node_id: str) -> Ended | None:
        """Return how a node ended, as seen from a step: in the nearest scope that has it.

        Args:
            path: of the step that asks.
            node_id: what it asks for.

        Returns:
            ``None`` while the node has not ended.
        """
        prefix = path
        while prefix:
            prefix = prefix.rpartition("/")[0]
            scope = self.scopes.get(prefix)
            if scope is not None and node_id in scope.results:
                return scope.results[node_id]
        return None

    # ---- events ---------------------------------------------------------------------------

    def _take_answer(self, event: ev.Event, frame: Frame) -> None:
        """Make sure that an event is of those that were asked for, and ask for it no more."""
        if type(event) in _ANSWERS:
            if not answers(event, self._open.get(event.path)):
                raise self._impossible(event, f"nothing asked for it at {event.path!r}")
            del self._open[event.path]
        elif isinstance(event, ev.SignalReceived):
            self._take_signal(event, frame)
        elif (
            isinstance(event, ev.TimerFired)
            and self.timers.pop((event.path, event.key), None) is None
        ):
            raise self._impossible(event, f"nothing asked for it at {event.path!r}")

    def _take_signal(self, event: ev.SignalReceived, frame: Frame) -> None:
        signal = frame.spec.signal if isinstance(frame, WaitFrame) else ""
        if self.next_waiter(signal) != event.path:
            raise self._impossible(event, f"{event.path!r} is not next to get a signal")
        if event.inbox_id in self._received:
            raise self._impossible(event, f"message {event.inbox_id} was received before")
        self._received[event.inbox_id] = None

    def _feed_run(self, event: ev.Event) -> None:
        live = not self.status.terminal
        if isinstance(event, ev.RunCreated) and event.seq == 1:
            self._timeout = event.timeout
            write(self, None, event.state)
        elif isinstance(event, ev.ResultKept) and self.status is PENDING and self.seq > 1:
            self._keep(event)
        elif isinstance(event, ev.RunStarted) and self.status is PENDING and self.seq > 1:
            self.status = RUNNING
            self._keeper = None
            # Made now, and known by ``frames`` alone: a run that has ended leaves no cycle behind.
            root = self.frames[""] = WorkflowFrame(self, None, None, self.tree)
            root.path, root.input = "", 1
            if event.deadline is not None:
                root.timeout = self._timeout or event.deadline - event.at
                root.due, root.guard = event.deadline, root
                self.ask(StartTimer("", "deadline", event.deadline))
            root.start()
        elif isinstance(event, ev.CancelRequested) and live and self.seq > 1:
            self._cancel(event.reason)
        elif isinstance(event, ev.ClockSet) and self.status is RUNNING:
            set_clock(self, event.by)
        elif not isinstance(event, ev.TypesAccepted) or not live or self.seq == 1:
            raise self._impossible(event, f"the run is {self.status.value}")

    def _keep(self, event: ev.ResultKept) -> None:
        if self._keeper is None:
            self._keeper = Keeper(self.tree)
            self.kept = self._keeper.kept
        if not self._keeper.keep(event):
            raise self._impossible(event, f"{event.path!r} can't keep such a result")

    def passed(self, at: float) -> float:
        """Return an instant as it would be, had the clock not been set since the run began."""
        return at - self.moved

    def _cancel(self, reason: str) -> None:
        if self.status is PENDING:
            ended = Ended("", StepStatus.CANCELLED, reason=reason)
            self.note(ended)
            self.finish(ended)
        elif self.undoing is None:  # else it stands how the run ends, and undoing goes on
            self.frames[""].stop("cancel", reason)

    def finish(self, ended: Ended) -> None:
        """Record the end of the run, once all is undone. Called by the root's frame."""
        self.frames.clear()
        self.running.clear()
        self._open.clear()
        self._waits.clear()
        self.timers.clear()
        if self.undo is not None and ended.status is not StepStatus.COMPLETED:
            self.undo.begin(ended, _RUN_STATUS[ended.status])
        else:
            self.conclude(ended)

    def conclude(self, ended: Ended) -> None:
        """Record the end of the run."""
        self.undo = None
        self.result = ended
        self.status = _RUN_STATUS[ended.status]
        reason = ended.reason
        self.emit(ev.RunFinished, "", self.status, ended.value, ended.failures, reason)
        self.command(FinishRun())

    # ---- what the frames call -------------------------------------------------------------

    def emit(self, cls: Callable[..., E], path: str, *fields: object) -> E:
        """Record a derived event and return it."""
        self.seq += 1
        event = cls(self.run_id, self.seq, path, self.at, *fields)
        self._derived.append(event)
        return event

    def command(self, command: Command) -> None:
        """Issue a command that needs no answer."""
        self._commands.append(command)

    def ask(self, command: Question) -> None:
        """Issue a command that stays open until it is answered, or its frame ends."""
        if isinstance(command, (RunStep, Decide, Expand, AskTime)):
            self._open[command.path] = command
        elif isinstance(command, StartTimer):
            self.timers.add(command)
        else:
            self._waits.setdefault(command.signal, {})[command.path] = command
        self._commands.append(command)

    def note_undo(self, frame: StepFrame, output: int | None) -> None:
        """Take note that a step has to be undone, should the run fail.

        Args:
            frame: the step's.
            output: the ``seq`` of the event that has its output; ``None``: its outcome is unknown.
        """
        if self.undo is None:
            self.undo = Undo(self)
        self.undo.note(frame, output)

    def start_timeout(self, frame: Frame, seconds: float) -> None:
        """Start the timeout of a block or nested workflow."""
        due = self.at + seconds
        if self.passed(due) < frame.due:
            frame.due, frame.guard = self.passed(due), frame
        self.enter(frame)
        self.emit(ev.TimerSet, frame.path, "timeout", due)
        self.ask(StartTimer(frame.path, "timeout", due))

    def enter(self, frame: Frame) -> None:
        """Let events about the frame's path reach it."""
        self.frames[frame.path] = frame

    def note(self, ended: Ended) -> None:
        """Note how a node ended, for a history."""
        if self._notes is not None:
            self._notes.append(ended)

    def leave(self, frame: Frame, ended: Ended) -> None:
        """Forget a frame that ended, and withdraw what it still asked for."""
        if self._notes is not None:
            self._notes.append(ended)
        path = frame.path
        if self.frames.pop(path, None) is not None:
            self._open.pop(path, None)
            self.running.pop(path, None)
            if isinstance(frame, WaitFrame):
                self._waits.get(frame.spec.signal, {}).pop(path, None)
            if self.timers:
                self._cancel_timers(path)
        if isinstance(frame, WorkflowFrame):
            self.scopes.pop(path, None)

    def _cancel_timers(self, path: str) -> None:
        for key in ("retry", "timeout", "deadline", "sleep", "wait"):
            if self.timers.pop((path, key), None) is not None:
                self.command(CancelTimer(path, key))

    def _impossible(self, event: ev.Event, why: str) -> HistoryError:
        return HistoryError(
            self.run_id,
            f"event {event.seq} ({event.kind}) of run {self.run_id!r} can't happen: {why}",
        )
