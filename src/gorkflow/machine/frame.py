"""The frames of a run: the common part of all node kinds.

Theory of operation
-------------------
A frame is made when its node is entered and is gone when the node has ended; what remains is its
``Ended``, kept by id in the frame of the workflow around it. A frame ends exactly once, by calling
``end``, which informs its parent. So one event touches the leaf that it is about, and then only
those ancestors that it decides: never the whole graph.

Stopping comes from above, in two strengths. ``drain``: what runs may finish, nothing new starts.
``cancel``: everything ends now. A frame with the order ``cancel`` has ended when the call returns.
The driver stops the handler that still runs, and rejects its late answer. A frame with the order
``drain`` ends when the last thing that runs inside it has ended; a later ``cancel`` overrides it.
Nothing starts in a frame that is stopping.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.events import Ended, FailureRef, Ref
from gorkflow.flow import NodeSpec, Place, id_at
from gorkflow.machine.commands import (
    AwaitSignal,
    CancelTimer,
    Command,
    Request,
    RunStep,
    StartTimer,
)
from gorkflow.model import Failure, FailureCode, StepStatus
from gorkflow.state_changes import Overlay, Write, entry_of, lay

E = TypeVar("E", bound=ev.Event)
NEVER = float("inf")
_SLACK = 64  # entries of timers that are gone, before all are looked at to drop them

Strength = Literal["drain", "cancel"]


class Found(Protocol):
    """The facts about a result for a decision whether it is enough."""

    @property
    def what(self) -> str:
        """As in ``ResultKept``."""
        ...

    @property
    def choice(self) -> int | None:
        """As in ``ResultKept``."""
        ...

    @property
    def keys(self) -> tuple[str, ...] | None:
        """As in ``ResultKept``."""
        ...


class Results(Protocol):
    """The results by path, and the nodes that are done as a whole."""

    def find(self, path: str) -> Found | None:
        """Return the result at a path, if there is one."""
        ...

    def enter(self, place: Place) -> bool:
        """Return whether all is done of a node.

        Asked of all branches and items; of what comes in sequence, up to the first that is not.
        """
        ...


class Kept(NamedTuple):
    """A kept result; its value is that of the event with this ``seq``."""

    seq: int
    what: str
    has_output: bool
    choice: int | None
    keys: tuple[str, ...] | None
    state: tuple[Write, ...]


class Timers(dict[tuple[str, str], StartTimer]):
    """By path and key. The earliest is found without a look at all: there may be thousands."""

    __slots__ = ("_by_due",)

    def __init__(self) -> None:
        super().__init__()
        self._by_due: list[tuple[float, str, str]] = []  # a heap; also of some that are gone

    def add(self, timer: StartTimer) -> None:
        """Open a timer."""
        self[timer.path, timer.key] = timer
        heapq.heappush(self._by_due, (timer.due, timer.path, timer.key))
        if len(self._by_due) > 2 * len(self) + _SLACK:
            self._by_due = [(each.due, each.path, each.key) for each in self.values()]
            heapq.heapify(self._by_due)

    def next_due(self) -> float | None:
        """Return when the earliest is due, in seconds since the epoch; ``None``: there is none."""
        while self._by_due:
            due, path, key = self._by_due[0]
            timer = self.get((path, key))
            if timer is not None and timer.due == due:
                return due
            heapq.heappop(self._by_due)
        return None


class Scope(Protocol):
    """A live workflow, as the nodes inside see it."""

    path: str
    results: dict[str, Ended]
    """How its nodes ended, by id."""


class Recorder:
    """The part of the machine that frames know: where they record, ask, and are registered.

    Args:
        run_id: the run.
        frame_types: the frame of each kind of node.
        notes: takes how each node ended, for a history.
    """

    def __init__(
        self,
        run_id: str,
        frame_types: Mapping[type[NodeSpec], type[Frame]],
        notes: list[Ended] | None,
    ) -> None:
        self.run_id = run_id
        self.frame_types = frame_types
        self.seq: int = 0
        """The seq of the latest event, derived ones included."""
        self.at: float = 0.0
        """When it was recorded, in seconds since the epoch."""
        self.moved = 0.0  # seconds by which the clock was set ahead since the run began
        self.scopes: dict[str, Scope] = {}
        """The live workflows, by path."""
        self.frames: dict[str, Frame] = {}
        """The frames that events can be about, by path."""
        self.running: dict[str, int] = {}
        """The attempts that were scheduled and have no result yet, by path."""
        self.timers = Timers()
        """The open timers, by path and key: those of which ``timer_fired`` would be taken."""
        self.kept: dict[str, Kept] = {}
        """The results that the run starts with, by path."""
        self.state: Overlay | None = None
        """The writes outside of all live branches; ``None``: nothing, nor inside of them."""
        self._notes = notes
        self._open: dict[str, RunStep | Request] = {}
        self._waits: dict[str, dict[str, AwaitSignal]] = {}  # by signal, then by path
        self._commands: list[Command] = []
        self._derived: list[ev.Event] = []

    def passed(self, at: float) -> float:
        """Return an instant as it would be, had the clock not been set since the run began."""
        return at - self.moved

    def emit(self, cls: Callable[..., E], path: str, *fields: object) -> E:
        """Record a derived event and return it."""
        self.seq += 1
        event = cls(self.run_id, self.seq, path, self.at, *fields)
        self._derived.append(event)
        return event

    def command(self, command: Command) -> None:
        """Issue a command that needs no answer."""
        self._commands.append(command)

    def ask(self, question: RunStep | Request) -> None:
        """Issue a command that stays open until it is answered, or its frame ends."""
        self._open[question.path] = question
        self._commands.append(question)

    def start_timer(self, timer: StartTimer) -> None:
        """Start a timer; it ends with its frame."""
        self.timers.add(timer)
        self._commands.append(timer)

    def await_signal(self, wait: AwaitSignal) -> None:
        """Wait for a signal, until the frame ends."""
        self._waits.setdefault(wait.signal, {})[wait.path] = wait
        self._commands.append(wait)

    def _end_wait(self, signal: str, path: str) -> None:
        waits = self._waits.get(signal, {})
        waits.pop(path, None)
        if not waits:
            self._waits.pop(signal, None)

    def overlay(self) -> Overlay:
        """Return what is written into outside of all branches."""
        if self.state is None:
            self.state = {}
        return self.state

    def start_timeout(self, frame: Frame, seconds: float) -> None:
        """Start the timeout of a block or nested workflow."""
        due = self.at + seconds
        if self.passed(due) < frame.due:
            frame.due, frame.guard = self.passed(due), frame
        self.enter(frame)
        self.emit(ev.TimerSet, frame.path, "timeout", due)
        self.start_timer(StartTimer(frame.path, "timeout", due))

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
            if frame.signal:
                self._end_wait(frame.signal, path)
            if self.timers:
                self._cancel_timers(path)
        if frame.spec.is_scope:
            self.scopes.pop(path, None)

    def _cancel_timers(self, path: str) -> None:
        for key in ("retry", "timeout", "deadline", "sleep", "wait"):
            if self.timers.pop((path, key), None) is not None:
                self.command(CancelTimer(path, key))

    def is_instant(self, place: Place) -> bool:
        """Return whether a node ends in the moment it is entered: nothing in it does work."""
        raise NotImplementedError

    def note_undo(self, frame: Frame, output: int | None) -> None:
        """Record that a step has to be undone if the run fails.

        Args:
            frame: the step's.
            output: the ``seq`` of the event that has its output; ``None``: its outcome is unknown.
        """
        raise NotImplementedError

    def finish(self, ended: Ended) -> None:
        """Record the end of the run, once all is undone. Called by the root's frame."""
        raise NotImplementedError


class Frame:
    """A live node."""

    __slots__ = ("asking", "due", "guard", "index", "input", "known", "live", "machine", "parent",
                 "path", "scope", "spec", "stopping")  # fmt: skip

    input: Ref
    due: float
    """The earliest deadline around the node, as ``Machine.passed`` has it; its own counts too."""
    guard: Frame | None
    """The frame whose deadline that is."""

    keeps: ClassVar[tuple[str, ...]] = ()
    """The kept results of the kind: ``ResultKept.what``."""
    signal = ""
    """The signal that it waits for."""
    interruptions: int = 0
    """How often in a row it was interrupted so that it counts."""

    def __init__(
        self,
        machine: Recorder,
        parent: Frame | None,
        scope: Scope | None,
        spec: Any,
        index: int = 0,
        mark: str = "",
    ) -> None:
        self.machine = machine
        self.parent = parent
        self.scope = scope
        self.spec = spec
        self.index = index
        """Which child of its parent it is."""
        if parent is None:
            self.input, self.due, self.guard = None, NEVER, None
        else:
            self.input, self.due, self.guard = parent.input, parent.due, parent.guard
        self.stopping: Strength | None = None
        self.live = True
        self.asking = False
        """Whether the node's own question is open. Only some kinds have one: see ``ask``."""
        prefix = scope.path if scope is not None else ""
        self.path: str = f"{prefix}/{spec.id}{mark}" if prefix else f"{spec.id}{mark}"
        self.known = scope is not None and not mark
        """Whether the workflow around knows how it ended: single items are not visible outside."""

    @classmethod
    def fits(cls, spec: Any, result: Kept) -> bool:  # noqa: ARG003 - for other kinds
        """Return whether a node can have a kept result, which is one of ``keeps``."""
        given = result.has_output or result.choice is not None or result.keys is not None
        return not given and not result.state

    @classmethod
    def is_whole(cls, place: Place, results: Results) -> bool:
        """Return whether a node has all that it needs of what is done: nothing in it is to run.

        The rule for what a rerun keeps as a whole, and what the machine ends at once in the rerun.
        """
        return results.find(place.path) is not None

    def start(self) -> None:
        """Enter the node. It may end before this returns."""
        raise NotImplementedError

    def stop(self, strength: Strength, reason: str) -> None:
        """Stop the node from above."""
        raise NotImplementedError

    @property
    def status(self) -> StepStatus:
        """How it stands while it is live."""
        return StepStatus.RUNNING

    @property
    def may_ask(self) -> bool:
        """Whether it may ask its function, now or later."""
        return self.asking

    @property
    def is_lost(self) -> bool:
        """Whether it can't complete any more, though it is live: what comes next is not entered."""
        return any(child.is_lost for child in self.inside())

    def inside(self) -> Iterable[Frame]:
        """Return the live nodes directly inside."""
        return ()

    def left(self) -> Iterable[NodeSpec]:
        """Return the nodes directly inside that it may still enter."""
        return ()

    def expects(self, attempt: int) -> bool:
        """Return whether a result of this attempt would be taken; else it comes too late."""
        return False

    def child_ended(self, child: Frame, ended: Ended) -> None:
        """Record a child's end."""
        raise NotImplementedError

    def receive(self, event: ev.Event) -> None:
        """Take an event about this node. Events without a meaning here are rejected."""
        raise HistoryError(
            self.machine.run_id,
            f"event {event.seq} ({event.kind}) of run {self.machine.run_id!r} can't happen at "
            f"{event.path!r} now",
        )

    def end(
        self,
        status: StepStatus,
        *,
        value: Ref = None,
        failures: tuple[FailureRef, ...] = (),
        reason: str = "",
        optional: bool = False,
    ) -> None:
        """Leave the node: remember the end, and inform the parent."""
        ended = Ended(self.path, status, value, failures, reason, optional)
        self.live = False
        self.guard = None  # which may be the frame itself
        self.machine.leave(self, ended)
        if self.known and self.scope is not None:
            self.scope.results[self.spec.id] = ended
        if self.parent is None:
            self.machine.finish(ended)
        else:
            self.parent.child_ended(self, ended)

    def place_of(self, child: Frame) -> int:
        """Return which child of this node it is, of those that were: they are undone in reverse."""
        return child.index

    @property
    def room(self) -> float:
        """How many of its children may be undone at a time."""
        return 1

    @property
    def outer(self) -> Scope:
        """The workflow around the node."""
        assert self.scope is not None  # only the root has none, and it never asks
        return self.scope

    # ---- state ----------------------------------------------------------------------------

    def write(self, writes: Iterable[Write]) -> None:
        """Take what a step wrote."""
        for each in writes:
            lay(self.overlay(), each.key, entry_of(each, self.path))

    def overlay(self) -> Overlay:
        """Return what the node writes into."""
        return self.machine.overlay() if self.parent is None else self.parent.overlay_for(self)

    def overlay_for(self, child: Frame) -> Overlay:
        """Return what a child writes into."""
        return self.overlay()

    def layers(self) -> tuple[Overlay, ...]:
        """Return what the node sees that was written inside of branches, innermost first."""
        return () if self.parent is None else self.parent.layers_for(self)

    def layers_for(self, child: Frame) -> tuple[Overlay, ...]:
        """Return what a child sees that was written inside of branches, innermost first."""
        return self.layers()

    # ---- helpers --------------------------------------------------------------------------

    def failure(
        self, code: FailureCode, message: str, path: str | None = None, *, attempt: int = 0
    ) -> Failure:
        """Return a failure that no handler is to blame for."""
        path = self.path if path is None else path
        return Failure(
            path=path,
            step_id=id_at(path),
            attempt=attempt,
            code=code,
            type="",
            message=message,
            at=datetime.fromtimestamp(self.machine.at, UTC),
        )

    def make_child(
        self, spec: NodeSpec, index: int, scope: Scope | None = None, mark: str = ""
    ) -> Frame:
        """Return the frame of a node inside this one, with this one's input; not started yet."""
        make = self.machine.frame_types[type(spec)]
        return make(self.machine, self, scope or self.scope, spec, index, mark)


class PassthroughFrame(Frame):
    """Ends as soon as it starts, with what it was given."""

    __slots__ = ()

    @classmethod
    def is_whole(cls, place: Place, results: Results) -> bool:  # noqa: ARG003 - for other kinds
        return True

    def start(self) -> None:
        self.end(StepStatus.COMPLETED, value=self.input)
