"""The machine: events in, commands out. No I/O, no clock, no asyncio; values are references.

Rules
-----
1. Everything that can change the state of a run is an event given to ``feed``; everything that the
   machine wants done is a command. It does not know whether it lives or is replayed.
2. It records its own decisions (a verdict, a cancelled step, the end of the run) as *derived*
   events. They have the next ``seq``, and the ``at`` of the event that caused them. ``feed``
   returns them; the driver records them together with the cause. On replay they must come out again
   exactly as they were recorded.
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

from collections.abc import Iterable, Mapping

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.events import Ended
from gorkflow.flow import (
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    ParallelSpec,
    PassthroughSpec,
    Place,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    is_template,
    template_of,
    walk,
)
from gorkflow.machine.ask import ChoiceFrame, LoopFrame
from gorkflow.machine.block import MapFrame, ParallelFrame
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
)
from gorkflow.machine.frame import Frame, Kept, PassthroughFrame, Recorder
from gorkflow.machine.pause import SleepFrame, WaitFrame
from gorkflow.machine.sequence import WorkflowFrame
from gorkflow.machine.step import StepFrame
from gorkflow.machine.undo import Undo
from gorkflow.model import RunStatus, StepStatus
from gorkflow.state_changes import Overlay, entry_of, keys, lay, read

FRAMES: Mapping[type[NodeSpec], type[Frame]] = {
    StepSpec: StepFrame,
    PassthroughSpec: PassthroughFrame,
    ParallelSpec: ParallelFrame,
    MapSpec: MapFrame,
    ChoiceSpec: ChoiceFrame,
    LoopSpec: LoopFrame,
    SleepSpec: SleepFrame,
    WaitSpec: WaitFrame,
    WorkflowSpec: WorkflowFrame,
}
"""The frame of each kind of node: all that the machine knows of the kind."""

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


class Machine(Recorder):
    """The state of one run.

    Args:
        run_id: the run.
        tree: the flow tree that it executes.
        notes: takes how each node ended, for a history.
    """

    def __init__(self, run_id: str, tree: WorkflowSpec, notes: list[Ended] | None = None) -> None:
        super().__init__(run_id, FRAMES, notes)
        self.tree = tree
        self.status = PENDING
        self.result: Ended | None = None
        """How the run ended; ``None`` while it has not."""
        self.undo: Undo | None = None
        """The steps to undo if the run fails, if there are any."""
        self._nodes: dict[str, NodeSpec] = {}  # by template, while results are kept
        self._timeout: float | None = None
        self._received: dict[int, None] = {}  # the messages that brought a signal

    # ---- what the driver calls ------------------------------------------------------------

    def feed(self, event: ev.Event) -> list[ev.Event]:
        """Take an event and return the events that follow from it, in order.

        Raises:
            HistoryError: If the event can't happen now.
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
                kind = type(event)
                if kind in _ANSWERS:  # half of all events
                    question = self._open.get(event.path)
                    if question is None or not question.takes(event):
                        raise self._impossible(event, f"nothing asked for it at {event.path!r}")
                    del self._open[event.path]
                elif kind is ev.TimerFired or kind is ev.SignalReceived:
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
        """Whether nothing is live but timers and waits for signals."""
        return self.status is RUNNING and not self._open and not self.running

    def next_due(self) -> float | None:
        """Return when the earliest open timer is due, in seconds since the epoch."""
        return self.timers.next_due()

    @property
    def undoing(self) -> Ended | None:
        """How the run is going to end, once all is undone; ``None``: it undoes nothing (yet)."""
        return None if self.undo is None else self.undo.verdict

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The names of the signals that are waited for, sorted."""
        return tuple(sorted(self._waits)) if self._waits else ()

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
                frame.interruptions + (died and frame.path in self.running)
                for frame in self.frames.values()
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

    def layers(self, path: str = "") -> tuple[Overlay, ...]:
        """Return what a live step sees of the state, innermost first.

        Args:
            path: of the step. Without it: what is seen from outside of all branches.
        """
        if self.state is None:
            return ()
        frame = self.frames.get(path)
        return (self.state,) if frame is None else (*frame.layers(), self.state)

    def texts(self, path: str = "") -> dict[str, str]:
        """Return the state that a live step sees, or that is seen outside of branches, as JSON."""
        seen = self.layers(path)
        return {key: text for key in keys(seen) if (text := read(seen, key)) is not None}

    def find(self, path: str, node_id: str) -> Ended | None:
        """Return how a node ended, as seen from a step: in the nearest scope that has it.

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
        """Check that a signal or the end of a timer is awaited, and await it no more."""
        if isinstance(event, ev.SignalReceived):
            self._take_signal(event, frame)
        elif (
            isinstance(event, ev.TimerFired)
            and self.timers.pop((event.path, event.key), None) is None
        ):
            raise self._impossible(event, f"nothing asked for it at {event.path!r}")

    def _take_signal(self, event: ev.SignalReceived, frame: Frame) -> None:
        if self.next_waiter(frame.signal) != event.path:
            raise self._impossible(event, f"{event.path!r} is not next to get a signal")
        if event.inbox_id in self._received:
            raise self._impossible(event, f"message {event.inbox_id} was received before")
        self._received[event.inbox_id] = None

    def _feed_run(self, event: ev.Event) -> None:
        live = not self.status.terminal
        if isinstance(event, ev.RunCreated) and event.seq == 1:
            self._timeout = event.timeout
            for each in event.state:
                lay(self.overlay(), each.key, entry_of(each, ""))
        elif isinstance(event, ev.ResultKept) and self.status is PENDING and self.seq > 1:
            self._keep(event)
        elif isinstance(event, ev.RunStarted) and self.status is PENDING and self.seq > 1:
            self.status = RUNNING
            self._nodes = {}
            # Made now, and known by ``frames`` alone: a run that has ended leaves no cycle behind.
            root = WorkflowFrame(self, None, None, self.tree)
            self.frames[""] = root
            root.path, root.input = "", 1
            if event.deadline is not None:
                root.timeout = self._timeout or event.deadline - event.at
                root.due, root.guard = event.deadline, root
                self.start_timer(StartTimer("", "deadline", event.deadline))
            root.start()
        elif isinstance(event, ev.CancelRequested) and live and self.seq > 1:
            self._cancel(event.reason)
        elif isinstance(event, ev.ClockSet) and self.status is RUNNING:
            self._set_clock(event.by)
        elif not isinstance(event, ev.TypesAccepted) or not live or self.seq == 1:
            raise self._impossible(event, f"the run is {self.status.value}")

    def _keep(self, event: ev.ResultKept) -> None:
        self._nodes = self._nodes or dict(walk(self.tree))
        path, what = event.path, event.what
        spec = self._nodes.get(template_of(path))
        result = Kept(
            event.seq, what, event.output is not None, event.choice, event.keys, event.state
        )
        kind = (
            None if spec is None or is_template(path) or path in self.kept else FRAMES[type(spec)]
        )
        if kind is None or what not in kind.keeps or not kind.fits(spec, result):
            raise self._impossible(event, f"{path!r} can't keep such a result")
        self.kept[path] = result

    def _set_clock(self, by: float) -> None:
        """Have each timer keep the seconds it has left; a sleep is due as it was, or sooner.

        A timer that is due at a time of day that was named stays as it is.
        """
        self.moved += by
        for timer in list(self.timers.values()):
            if not timer.named and (timer.key != "sleep" or by < 0):
                self.command(CancelTimer(timer.path, timer.key))
                self.start_timer(timer._replace(due=timer.due + by))

    def _cancel(self, reason: str) -> None:
        if self.status is PENDING:
            ended = Ended("", StepStatus.CANCELLED, reason=reason)
            self.note(ended)
            self.finish(ended)
        elif self.undoing is None:  # else it stands how the run ends, and undoing goes on
            self.frames[""].stop("cancel", reason)

    def finish(self, ended: Ended) -> None:
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

    def is_instant(self, place: Place) -> bool:
        return _Instant(self.kept).enter(place)

    def note_undo(self, frame: Frame, output: int | None) -> None:
        if self.undo is None:
            self.undo = Undo(self, self.conclude)
        self.undo.note(frame, output)

    def _impossible(self, event: ev.Event, why: str) -> HistoryError:
        return HistoryError(
            self.run_id,
            f"event {event.seq} ({event.kind}) of run {self.run_id!r} can't happen: {why}",
        )


class _Instant:
    """The kept results, for those who ask which nodes end at once because of them."""

    def __init__(self, kept: Mapping[str, Kept]) -> None:
        self._kept = kept

    def find(self, path: str) -> Kept | None:
        return self._kept.get(path)

    def enter(self, place: Place) -> bool:
        return FRAMES[type(place.spec)].is_whole(place, self)


def replay(run_id: str, tree: WorkflowSpec, history: Iterable[ev.Event]) -> Machine:
    """Return the machine that a recorded history leads to.

    Raises:
        HistoryError: If the history contradicts the tree or itself.
    """
    machine = Machine(run_id, tree)
    extend(machine, history)
    return machine


def extend(machine: Machine, history: Iterable[ev.Event]) -> None:
    """Feed a machine what was recorded of its run since.

    Raises:
        HistoryError: If that contradicts the tree, itself, or the machine, which is of no use then.
    """
    expected: list[ev.Event] = []
    for event in history:
        if not expected:
            expected = machine.feed(event)[::-1]
        elif expected.pop() != event:
            raise out_of_line(event)
    if expected:
        raise cut_off(expected[-1])
    machine.take_commands()


def out_of_line(event: ev.Event) -> HistoryError:
    """Return the error of an event that is not the one which follows."""
    return HistoryError(
        event.run_id,
        f"event {event.seq} ({event.kind}) of run {event.run_id!r} is not what follows from the "
        "events before it; the history is damaged, restore the store from a backup",
    )


def cut_off(event: ev.Event) -> HistoryError:
    """Return the error of a history that stops before an event."""
    return HistoryError(
        event.run_id,
        f"the history of run {event.run_id!r} stops before event {event.seq}; it is damaged",
    )
