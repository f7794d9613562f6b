"""The history of a run: how it stands, what failed, what it may still reach.

A ``History`` is fed the recorded events one by one, and asks its own machine what follows from
them. So it knows of each node what the machine knows: how it ended, and why. A node inside one that
ended, and that never began, ended with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from gorkflow import events as ev
from gorkflow.events import Default, Ended, FailureRef, Ref
from gorkflow.flow import (
    LoopSpec,
    NodeSpec,
    Place,
    StepSpec,
    WorkflowSpec,
    item_mark,
    iteration_mark,
    template_of,
    undo_path,
    undone_path,
    walk,
)
from gorkflow.machine.commands import RunStep
from gorkflow.machine.frame import Found
from gorkflow.machine.machine import Machine, cut_off, out_of_line
from gorkflow.machine.reach import Reach
from gorkflow.model import (
    Attempt,
    Failure,
    Outcome,
    Progress,
    StepExecution,
    StepStatus,
    instant,
    instant_if,
)

KEPT = "kept from the run that this one repeats"
"""The reason of a step that a rerun did not run."""
NOT_REACHED = "not reached"
"""The reason of a step that its run, or the workflow around it, ended without."""
COMPLETED, FAILED, CANCELLED = StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.CANCELLED
PENDING, SKIPPED = StepStatus.PENDING, StepStatus.SKIPPED


class Reader(Protocol):
    """Turns references into values."""

    def shown(self, given: Ref, made: Ref) -> tuple[Any, Any, str]:
        """Return an input, an output, and why one is plain data though its type is known."""
        ...

    def failure(self, ref: FailureRef) -> Failure:
        """Return the failure."""
        ...

    def outcome(self, ended: Ended) -> Outcome[Any]:
        """Return the outcome."""
        ...


class Done(Struct, frozen=True):
    """The results of a node: a result, or the answer to its question."""

    what: str
    """As in ``ResultKept``."""
    seq: int
    """The seq of the event that recorded it."""
    choice: int | None = None
    """As in ``ResultKept``."""
    keys: tuple[str, ...] | None = None
    """As in ``ResultKept``."""


class _Attempt(NamedTuple):
    number: int
    began_at: float | None
    ended_at: float
    ready_at: float
    failure: Failure | None
    limits: tuple[str, ...]


class Record(Struct, eq=False):
    """The facts that events recorded about one step, sleep or wait."""

    attempt: int = 0
    input: Ref = None
    output: Ref = None
    failure: FailureRef | None = None
    """The latest."""
    failed: Failure | None = None
    """The latest failure itself."""
    reason: str = ""
    kept: bool = False
    open: bool = False
    """Whether an attempt is under way."""
    scheduled_at: float | None = None
    attempt_at: float | None = None
    """When the latest attempt was scheduled."""
    ready_at: float = 0.0
    began_at: float | None = None
    finished_at: float | None = None
    limits: tuple[str, ...] = ()
    attempts: tuple[_Attempt, ...] = ()

    def take(self, event: ev.Event, ended: Ended | None) -> None:
        """Take the next event of the step.

        Args:
            event: the event.
            ended: how the step ended, if it has.
        """
        match event:
            case ev.StepScheduled():
                self.open = True
                self.attempt = event.attempt
                self.input = event.input
                self.ready_at = event.ready_at
                self.limits = event.limits
                self.attempt_at = event.at
                if self.scheduled_at is None:
                    self.scheduled_at = event.at
            case ev.StepCompleted():
                self.reason = ""
                self.output = event.seq
                self.finished_at = event.ended_at or event.at
                self._close(self.finished_at, event.began_at, None)
            case ev.StepFailed():
                self._fail(event)
            case ev.StepInterrupted():
                self.reason = event.reason
                self._close(event.at, None, None)
            case ev.StepCancelled():
                if self.open:
                    self._close(event.at, None, None)
                self.reason = event.reason
                self.finished_at = event.at
            case _:
                self._wait(event, ended)

    def _fail(self, event: ev.StepFailed) -> None:
        self.attempt = event.attempt
        self.failure = event.seq
        self.failed = event.failure
        ended_at = event.ended_at or event.at
        if self.open:
            self._close(ended_at, event.began_at, event.failure)
        if event.retry_at is None:
            self.finished_at = ended_at

    def _wait(self, event: ev.Event, ended: Ended | None) -> None:
        """Take an event of a sleep or wait, or what a rerun kept."""
        match event:
            case ev.TimerSet(key="sleep"):
                self._begin(event, f"sleeps until {_text(event.due)}")
            case ev.WaitOpened():
                until = "" if event.due is None else f" until {_text(event.due)}"
                self._begin(event, f"waits for signal {event.signal!r}{until}")
            case ev.TimerFired(key="sleep"):
                self._pass(event)
            case ev.TimerFired(key="wait") if _has_default(ended):
                self._pass(event, Default(event.path), "timed out; its default stands in")
            case ev.TimerFired(key="wait"):
                self.reason = ""
            case ev.SignalReceived():
                self._pass(event, event.seq)
            case ev.ResultKept(what="completed" | "slept" | "received"):
                self.kept = True
                default = Default(event.path) if event.what == "received" else self.output
                self._pass(event, default if event.output is None else event.seq, KEPT)
            case _:
                pass

    def _begin(self, event: ev.Event, reason: str) -> None:
        self.scheduled_at = self.began_at = event.at
        self.reason = reason

    def _pass(self, event: ev.Event, output: Ref = None, reason: str = "") -> None:
        self.output = output
        self.reason = reason
        self.finished_at = event.at

    def _close(self, at: float, began_at: float | None, failure: Failure | None) -> None:
        """End the open attempt."""
        self.open = False
        self.began_at = self.began_at or began_at
        ended = _Attempt(self.attempt, began_at, at, self.ready_at, failure, self.limits)
        self.attempts = (*self.attempts, ended)


_NOTHING = Record()


class History:
    """A run, as its events record it.

    Feed it the events in order, those that the machine derived too. It may be asked at any time::

        history = History(run_id, tree)
        for event in events:
            for path in history.feed(event):
                status, reason = history.stands(path)
    """

    def __init__(self, run_id: str, tree: WorkflowSpec) -> None:
        self.tree = tree
        self._notes: list[Ended] = []
        self.machine = Machine(run_id, tree, self._notes)
        """The status of the run."""
        self.ended: dict[str, Ended] = {}
        """How nodes ended, by path: all that began, and those withdrawn or skipped themselves."""
        self.done: dict[str, Done] = {}
        """The results by path, without those that were undone, or should have been."""
        self._loops = frozenset(path for path, node in walk(tree) if isinstance(node, LoopSpec))
        self.undoes: tuple[str, ...] = ()
        """The paths of the steps that the run undoes, in the order in which that begins."""
        self._records: dict[str, Record] = {}
        self._unread: list[ev.Event] = []
        """Events that are in no record yet: most readers don't ask for these."""
        self._expected: list[ev.Event] = []

    # ---- feeding it -----------------------------------------------------------------------

    def feed(self, event: ev.Event) -> Sequence[str]:
        """Take the next event; return the paths of the nodes that stand otherwise by it.

        The consequences of an event are known as soon as it is fed: the derived events that come
        next only confirm it. If a node ended without having begun, the nodes inside are not named.

        Raises:
            HistoryError: If the event can't happen now, or is not the one that follows.
        """
        if not self._follow(event):
            return ()
        changed = [ended.path for ended in self._notes]
        changed += [each.path for each in (event, *self._expected)]
        changed += [each.path for each in self.machine.take_commands() if type(each) is RunStep]
        return changed

    def extend(self, events: Iterable[ev.Event]) -> None:
        """Take the next events, with all that follow from them.

        Raises:
            HistoryError: If one can't happen, is not the one that follows, or is missing.
        """
        for event in events:
            self._follow(event)
        self.complete()

    def complete(self) -> None:
        """Say that these were all events.

        Raises:
            HistoryError: If one that follows from them is missing.
        """
        if self._expected:
            raise cut_off(self._expected[-1])
        self.machine.take_commands()

    def _follow(self, event: ev.Event) -> bool:
        """Take the next event; return whether anything is new, or it only confirms."""
        if self._expected:
            if self._expected.pop() != event:
                raise out_of_line(event)
            return False
        self._notes.clear()
        derived = self.machine.feed(event)
        for ended in self._notes:
            self.ended[ended.path] = ended
        self._take(event)
        if derived:
            for each in derived:
                self._take(each)
            self._expected = derived[::-1]
        return True

    def _take(self, event: ev.Event) -> None:
        self._unread.append(event)
        if type(event) is not ev.StepScheduled:  # half of all
            done = self._done_by(event)
            if done is not None:
                self.done[event.path] = done

    def _done_by(self, event: ev.Event) -> Done | None:
        """Return the result that an event recorded, if it did."""
        match event:
            case ev.StepCompleted():
                return None if self.undoes else Done("completed", event.seq)
            case ev.TimerFired(key="sleep"):
                return Done("slept", event.seq)
            case ev.TimerFired(key="wait") if _has_default(self.ended.get(event.path)):
                return Done("received", event.seq)
            case ev.SignalReceived():
                return Done("received", event.seq)
            case ev.ResultKept():
                return Done(event.what, event.seq, event.choice, event.keys)
            case ev.Decided():
                return self._decided(event)
            case ev.Expanded():
                return Done("expanded", event.seq, event.count, event.keys)
            case ev.UndoStarted():
                self.undoes = event.paths
                for path in event.paths:
                    self.done.pop(path, None)
            case _:
                pass
        return None

    def _decided(self, event: ev.Decided) -> Done:
        if template_of(event.path) not in self._loops:
            return Done("decided", event.seq, event.choice)
        before = self.done.get(event.path)
        number = 1 if before is None or before.choice is None else before.choice + 1
        return Done("looping" if event.choice else "looped", event.seq, number)

    def record(self, path: str) -> Record:
        """Return what was recorded of a step, sleep or wait."""
        self.note_into(self._records, self._unread)
        self._unread.clear()
        return self._records.get(path) or _NOTHING

    def note_into(self, records: dict[str, Record], events: Iterable[ev.Event]) -> None:
        """Note what events say of each step, sleep and wait, in records by path.

        Args:
            records: takes it.
            events: they were fed; their times may be given otherwise.
        """
        for event in events:
            record = records.get(event.path)
            if record is None:
                record = records[event.path] = Record()
            record.take(event, self.ended.get(event.path))

    # ---- its nodes ------------------------------------------------------------------------

    def marks(self, path: str, node: NodeSpec) -> Sequence[str]:
        """Return the ends of the paths of a body, for ``Place.inside``.

        Inside a map or loop there is one for each item or iteration, as far as these are known: a
        map that was not expanded has its template, a loop its first iteration.
        """
        marks = marks_of(self.done.get(path))
        if isinstance(node, LoopSpec):
            return marks[: node.max_iterations] or (iteration_mark(1),)
        return marks if path in self.done else ("[]",)

    def stands(self, path: str, around: Ended | None = None) -> tuple[StepStatus, str]:
        """Return how a step, sleep or wait stands, and why it does.

        Args:
            path: where it is.
            around: how the nearest node around it ended that has; ``None``: all are live.
        """
        record = self.record(path)
        if record.kept:
            return COMPLETED, KEPT
        ended = self.ended.get(path)
        if ended is None:
            frame = self.machine.frames.get(path)
            if frame is None:
                return (PENDING, "") if around is None else left_by(around)
            queued = self.queued(path)
            if queued is not None:
                return frame.status, f"waits for {limits_of(queued.spec)}"
            return frame.status, record.reason
        if ended.status is COMPLETED or (ended.status is FAILED and _by_itself(ended)):
            return ended.status, record.reason
        return left_by(ended)

    def queued(self, path: str) -> RunStep | None:
        """Return the attempt of a step that waits for its named limits, if it does."""
        command = self.machine.asked(path)
        return command if isinstance(command, RunStep) and command.spec.limits else None

    def _steps(self) -> Iterator[tuple[Place, Ended | None]]:
        """Yield each step, sleep and wait, and how the nearest node around it ended that has.

        In declared order; then the undo steps, in the order of the undoing.
        """
        undo: dict[str, StepSpec] = {}
        stack = [(Place("", self.tree), self.ended.get(""))]
        while stack:
            place, around = stack.pop()
            path, spec = place
            if spec.is_listed:
                yield place, around
                if isinstance(spec, StepSpec) and spec.undo is not None:
                    undo[path] = spec.undo.step
            else:
                around = self.ended.get(path, around)
                stack.extend((inner, around) for inner in reversed(place.inside(self.marks)))
        for path in self.undoes:
            yield Place(undo_path(path), undo[path]), None

    # ---- what callers see -----------------------------------------------------------------

    def executions(self, reader: Reader) -> list[StepExecution]:
        """Return every step, sleep and wait of the run, also those that it did not reach.

        In declared order, each item and iteration, then the undo steps.
        """
        return [self._execution(place, around, reader) for place, around in self._steps()]

    def execution(self, path: str, reader: Reader) -> StepExecution | None:
        """Return the step, sleep, wait or undo step at a path; ``None``: there is none."""
        for place, around in self._steps():
            if place.path == path:
                return self._execution(place, around, reader)
        return None

    def _execution(self, place: Place, around: Ended | None, reader: Reader) -> StepExecution:
        path, spec = place
        status, reason = self.stands(path, around)
        record = self.record(path)
        given, made, plain = reader.shown(record.input, record.output)
        step = spec if isinstance(spec, StepSpec) else None
        return StepExecution(
            run_id=self.machine.run_id,
            path=path,
            step_id=spec.id,
            name=spec.id if step is None else step.name,
            status=status,
            attempt=record.attempt,
            input=given,
            output=made,
            plain=plain,
            failure=None if record.failure is None else reader.failure(record.failure),
            reason=reason,
            undone=self.stands(undo_path(path))[0] if path in self.undoes else None,
            executor="" if step is None else step.executor,
            scheduled_at=instant_if(record.scheduled_at),
            started_at=instant_if(record.began_at or record.attempt_at),
            finished_at=instant_if(record.finished_at),
            attempts=(*map(_shown, record.attempts), *_open_attempt(record)),
        )

    def outcomes(self, reader: Reader) -> dict[str, Outcome[object]]:
        """Return how each step that has ended did, by path, in declared order."""
        outcomes: dict[str, Outcome[object]] = {}
        for (path, _), around in self._steps():
            status, reason = self.stands(path, around)
            if status.terminal:
                record = self.record(path)
                failures = () if record.failure is None else (record.failure,)
                ended = Ended(path, status, record.output, failures, reason)
                outcomes[path] = reader.outcome(ended)
        return outcomes

    def progress(self) -> Progress:
        """Return how many steps, sleeps and waits there are, and how many ended or were skipped."""
        done = total = 0
        for (path, _), around in self._steps():
            total += 1
            ended = self.ended.get(path, around)
            if path in self.done or (ended is not None and ended.status is SKIPPED):
                done += 1
            elif path in self.ended:
                done += self.record(path).finished_at is not None
        return Progress(done=done, total=total)

    def failures(self, reader: Reader) -> tuple[Failure, ...]:
        """Return all final failures in declared order; ``handled`` if the run continued after one.

        Those that the machine made are among them, as of a timeout.
        """
        refs = {ref: None for ended in self.ended.values() for ref in ended.failures}
        if not refs:
            return ()
        order = [path for path, _ in walk(self.tree, self.marks)]
        order += map(undo_path, self.undoes)
        places = {path: number for number, path in enumerate(order)}

        def place(ref: FailureRef) -> tuple[int, int]:
            number = ref if isinstance(ref, int) else 0
            return places.get(reader.failure(ref).path, -1), number

        unhandled = self._unhandled
        return tuple(
            replace(failure, handled=ref not in unhandled and undone_path(failure.path) is None)
            for ref in sorted(refs, key=place)
            for failure in (reader.failure(ref),)
        )

    @property
    def _unhandled(self) -> tuple[FailureRef, ...]:
        verdict = self.machine.result or self.machine.undoing
        return () if verdict is None else verdict.failures

    def reach(self) -> Reach:
        """Return what the run may still begin."""
        self.record("")
        begun = [path for path, record in self._records.items() if record.scheduled_at is not None]
        left = [path for path in self.undoes if undo_path(path) not in self.ended]
        return Reach(self.machine, begun, left if self.undoes else None)


def read(run_id: str, tree: WorkflowSpec, events: Iterable[ev.Event]) -> History:
    """Return the history of a run.

    Raises:
        HistoryError: If the events contradict the tree or each other, or stop too early.
    """
    history = History(run_id, tree)
    history.extend(events)
    return history


def _has_default(ended: Ended | None) -> bool:
    """Return whether the default of a wait that timed out stands in for the signal."""
    return ended is not None and ended.status is COMPLETED


def _text(due: float) -> str:
    return f"{instant(due):%Y-%m-%d %H:%M:%S} UTC"


def left_by(ended: Ended) -> tuple[StepStatus, str]:
    """Return how a step stands that has no end of its own, and why."""
    if ended.status in {SKIPPED, CANCELLED}:
        return ended.status, ended.reason
    made = (each for each in ended.failures if isinstance(each, Failure))
    own = (each.message for each in made if each.path == ended.path)  # it took too long, say
    return CANCELLED, next(own, NOT_REACHED)


def _by_itself(ended: Ended) -> bool:
    return isinstance(ended.failures[0], int)


def limits_of(spec: StepSpec) -> str:
    """Return the limits that a step takes, in words."""
    quoted = [repr(limit.name) for limit in spec.limits]
    return f"limit{'s' if len(quoted) > 1 else ''} {' and '.join(quoted)}"


def marks_of(done: Found | None) -> Sequence[str]:
    """Return what the paths of a map's items, or of a loop's iterations so far, end with.

    Args:
        done: of the map or loop; ``None``: there is nothing yet.
    """
    if done is None or done.choice is None:
        return ()
    if done.what == "expanded":
        return [item_mark(index, done.keys) for index in range(done.choice)]
    begun = done.choice + (done.what == "looping")
    return [iteration_mark(number) for number in range(1, begun + 1)]


def _shown(attempt: _Attempt) -> Attempt:
    number, began_at, ended_at, ready_at, failure, limits = attempt
    return Attempt(
        number=number,
        started_at=instant_if(began_at),
        finished_at=instant(ended_at),
        failure=failure,
        queued=None if began_at is None else max(0.0, began_at - ready_at),
        ran=None if began_at is None else max(0.0, ended_at - began_at),
        limits=limits,
    )


def _open_attempt(record: Record) -> Iterable[Attempt]:
    """Yield the attempt that is running, if one is; when it began is known once it has ended."""
    if record.open:
        yield Attempt(
            number=record.attempt,
            started_at=instant_if(record.attempt_at),
            finished_at=None,
            failure=None,
            queued=None,
            ran=None,
            limits=record.limits,
        )
