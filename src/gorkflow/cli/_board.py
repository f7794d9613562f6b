"""Where a run stands, kept up to date event by event: what the live tree and the lines show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gorkflow import events as ev
from gorkflow.cli._output import one_line
from gorkflow.errors import HistoryError
from gorkflow.flow import (
    UNDO,
    BlockSpec,
    NodeSpec,
    PassthroughSpec,
    StepSpec,
    WorkflowSpec,
    is_template,
    join_path,
    template_of,
    undo_path,
)
from gorkflow.machine.history import NOT_REACHED, History, left_by, limits_of
from gorkflow.model import RunStatus, StepStatus

ACTIVE = frozenset({StepStatus.RUNNING, StepStatus.RETRYING, StepStatus.SUSPENDED})


@dataclass(slots=True, eq=False)
class Item:
    """One node of the flow tree, and where it stands."""

    path: str
    label: str
    spec: NodeSpec
    parent: Item | None
    children: list[Item] = field(default_factory=list["Item"])
    status: StepStatus = StepStatus.PENDING
    """Of a step; a block has one once it is decided."""
    attempt: int = 0
    began: float | None = None
    """When the first attempt began, or could have, in seconds since the epoch."""
    ended: float | None = None
    note: str = ""
    """One line: the failure, or why it was left out."""
    failed: bool = False
    """Whether something inside failed that this node does not get over."""
    tally: Counter[StepStatus] = field(default_factory=Counter[StepStatus])
    """How many steps inside stand how."""
    queued: dict[str, float] = field(default_factory=dict[str, float])
    """Where it waits for a limit, by path: since when, oldest first."""
    repeats: dict[str, StepStatus] | None = None
    """Of a step inside a map or loop, which is counted, not listed: where each stands, by path."""

    @property
    def is_step(self) -> bool:
        """Whether it is one step, sleep or wait, not something made of them."""
        return self.repeats is None and self.spec.is_listed

    @property
    def remark(self) -> str:
        """One line to show beside it: its note, or what it waits for."""
        if not self.queued or not isinstance(self.spec, StepSpec):
            return self.note
        if self.repeats is None:
            return f"waits for {limits_of(self.spec)}"
        return f"{len(self.queued):,} waiting for {limits_of(self.spec)}"

    @property
    def done(self) -> int:
        """How many steps inside have ended."""
        return sum(count for status, count in self.tally.items() if status.terminal)

    @property
    def state(self) -> StepStatus:
        """Where it stands, judged by the steps inside."""
        if self.status.terminal or self.is_step:
            return self.status
        if self.failed:
            return StepStatus.FAILED
        size = self.tally.total()
        if size == 0:
            return StepStatus.COMPLETED  # nothing but a passthrough
        if self.tally[StepStatus.PENDING] == size:
            return StepStatus.PENDING
        if any(self.tally[s] for s in (*ACTIVE, StepStatus.PENDING)):
            return StepStatus.RUNNING
        if self.repeats is not None and self.tally[StepStatus.FAILED]:
            return StepStatus.FAILED  # as one step that failed, also where its block gets over it
        if self.tally[StepStatus.SKIPPED] == size:
            return StepStatus.SKIPPED
        return StepStatus.CANCELLED if self.tally[StepStatus.CANCELLED] else StepStatus.COMPLETED


class Board:
    """A run as it goes.

    Args:
        run_id: the run.
        tree: what it executes.
    """

    def __init__(self, run_id: str, tree: WorkflowSpec) -> None:
        self.run_id = run_id
        self.items: dict[str, Item] = {}
        self.root = Item("", tree.name or tree.id, tree, None)
        self.status = RunStatus.PENDING
        self.by_status: dict[StepStatus, dict[str, Item]] = {status: {} for status in StepStatus}
        self.steps = 0
        self._history: History | None = History(run_id, tree)
        self.counted: dict[str, Item] = {}
        """The steps inside maps and loops, by template."""
        for node in tree.nodes:
            self._add(self.root, "", node)

    def _add(self, parent: Item, prefix: str, node: NodeSpec, mark: str = "") -> None:
        if isinstance(node, PassthroughSpec):
            return  # it does nothing that could be watched
        path = join_path(prefix, node.id) + mark
        item = self._place(Item(path, node.label, node, parent), parent)
        inner = path if node.is_scope else prefix
        for child in node.children():
            self._add(item, inner, child, node.mark)

    def _place(self, item: Item, parent: Item) -> Item:
        self.items[item.path] = item
        parent.children.append(item)
        if item.is_step and is_template(item.path):
            self.counted[item.path] = item
            item.repeats = {}
            self._repeat(item, "", StepStatus.PENDING)  # in place of all that may come
        elif item.is_step:
            self.steps += 1
            self.by_status[StepStatus.PENDING][item.path] = item
            for outer in _around(item):
                outer.tally[StepStatus.PENDING] += 1
        return item

    def feed(self, event: ev.Event) -> None:
        """Take note of an event."""
        changed = self._hear(event)
        if isinstance(event, ev.RunStarted):
            self.status = RunStatus.RUNNING
            self.root.began = event.at
        elif isinstance(event, ev.UndoStarted):
            self._undo(event)
        elif isinstance(event, ev.RunFinished):
            self._finish(event)
        for path in changed:
            self._set_queued(path)
            self._end_inside(path)
        item = self.items.get(template_of(event.path))
        fold = _FOLDS.get(type(event))
        if item is not None and item.repeats is not None:
            self._count(item, event)
        elif item is not None and fold is not None and item.path == event.path:
            fold(self, item, event)

    def _hear(self, event: ev.Event) -> Sequence[str]:
        """Feed the history; return the paths of the nodes that stand otherwise by it."""
        if self._history is None:
            return ()
        try:
            return self._history.feed(event)
        except HistoryError:  # the run can't go on, and whoever runs it says why
            self._history = None
            return ()

    def _set_queued(self, path: str) -> None:
        """Note whether a step waits for a limit."""
        item = self.items.get(template_of(path))
        if item is None:
            return  # an undo step: the event that it begins with comes next
        queued = item.queued
        command = None if self._history is None else self._history.queued(path)
        queued.pop(path, None)
        if command is not None:
            queued[path] = command.ready_at

    def _end_inside(self, path: str) -> None:
        """Note how steps ended that never began, if the node at a path ended without them."""
        ended = None if self._history is None else self._history.ended.get(path)
        item = self.items.get(path) if path else self.root
        if ended is None or item is None or ended.status is StepStatus.COMPLETED:
            return
        status, reason = left_by(ended)
        for inner in _inside(item):
            if inner.is_step and inner.status is StepStatus.PENDING:
                self._set(inner, status, None, reason)

    def _count(self, item: Item, event: ev.Event) -> None:
        """Take note of an event about one of the steps that an item stands for."""
        _began(item, event.at)
        status = _status(event)
        if status is None:
            return
        self._repeat(item, event.path, status)
        if isinstance(event, ev.StepFailed):
            item.note = one_line(f"{event.path}: {event.failure.message}")
        if status is StepStatus.FAILED:
            _blame(item)

    def _repeat(self, item: Item, path: str, status: StepStatus | None) -> None:
        """Note where one of many stands; the first takes the place that was kept for all."""
        repeats = item.repeats if item.repeats is not None else {}
        old = repeats.pop(path, None) or repeats.pop("", None)
        if status is not None:
            repeats[path] = status
        for outer in (item, *_around(item)):
            if old is not None:
                outer.tally[old] -= 1
            if status is not None:
                outer.tally[status] += 1

    def expand(self, item: Item, event: ev.Expanded) -> None:
        """Note how many items a map has."""
        _began(item, event.at)
        item.note = f"{event.count:,} items"

    def begin(self, item: Item, event: ev.StepScheduled) -> None:
        """Note that an attempt of a step begins."""
        item.attempt = event.attempt
        _began(item, event.at)
        note = item.note if event.attempt > 1 else ""
        self._set(item, StepStatus.RUNNING, None, note)

    def complete(self, item: Item, event: ev.StepCompleted) -> None:
        """Note that a step completed."""
        self._set(item, StepStatus.COMPLETED, event.at, "")
        if event.attempt == 1:
            item.began = event.began_at

    def fail(self, item: Item, event: ev.StepFailed) -> None:
        """Note that an attempt of a step, or a condition, failed."""
        failure = event.failure
        name = failure.type.rpartition(".")[2] or failure.code.value
        note = one_line(f"{name}: {failure.message}")
        item.attempt = max(item.attempt, event.attempt)
        if event.retry_at is not None:
            self._set(item, StepStatus.RETRYING, None, note)
            return
        self._set(item, StepStatus.FAILED, event.at, note)

    def cancel(self, item: Item, event: ev.StepCancelled) -> None:
        """Note that a step was cancelled, or that no attempt follows its failure."""
        if event.failure is not None:
            self._set(item, StepStatus.FAILED, event.at, item.note)
        else:
            self._set(item, StepStatus.CANCELLED, event.at, event.reason)

    def interrupt(self, item: Item, event: ev.StepInterrupted) -> None:
        """Note that an attempt came to nothing; another follows."""
        self._set(item, StepStatus.PENDING, None, event.reason)

    def suspend(self, item: Item, event: ev.TimerSet | ev.WaitOpened) -> None:
        """Note that a sleep or a wait begins."""
        if item.is_step:
            _began(item, event.at)
            note = "sleeps"
            if isinstance(event, ev.WaitOpened):
                note = f"waits for signal {event.signal!r}"
            self._set(item, StepStatus.SUSPENDED, None, note)

    def wake(self, item: Item, event: ev.TimerFired | ev.SignalReceived) -> None:
        """Note that a sleep or a wait is over."""
        if item.status is StepStatus.SUSPENDED:
            self._set(item, StepStatus.COMPLETED, event.at, "")

    def keep(self, item: Item, event: ev.ResultKept) -> None:
        """Note that a rerun has the result already."""
        if item.is_step:
            self._set(item, StepStatus.COMPLETED, event.at, "kept")

    def skip(self, item: Item, event: ev.StepSkipped) -> None:
        """Note that a node, with all inside, is left out."""
        for inner in _inside(item):
            if inner.repeats is not None:
                self._repeat(inner, "", StepStatus.SKIPPED)
            elif inner.status is StepStatus.PENDING:
                self._set(inner, StepStatus.SKIPPED, None, event.reason)

    def decide(self, item: Item, event: ev.BlockDecided) -> None:
        """Note the verdict over a block."""
        self._set(item, StepStatus(event.verdict), event.at, item.note)
        for inner in _inside(item):
            if inner.repeats is not None and "" in inner.repeats:
                self._repeat(inner, "", None)  # there was no item
        if item.status is StepStatus.FAILED:
            item.note = one_line(event.reason)

    def _undo(self, event: ev.UndoStarted) -> None:
        """Show what the run is going to undo, in a part of its own."""
        self._give_up_rest()
        group = self._place(Item(UNDO, "undo", self.root.spec, self.root), self.root)
        for path in event.paths:
            place = template_of(path)
            spec = self.items[place].spec
            at = undo_path(place)
            if at not in self.items and isinstance(spec, StepSpec) and spec.undo is not None:
                self._place(Item(at, place, spec.undo.step, group), group)
            if self.items[at].repeats is not None:
                self._repeat(self.items[at], undo_path(path), StepStatus.PENDING)
            self._set_queued(undo_path(path))

    def _finish(self, event: ev.RunFinished) -> None:
        self.status = event.status
        self.root.status = StepStatus(event.status.value)
        self.root.ended = event.at
        self._give_up_rest()

    def _give_up_rest(self) -> None:
        for item in list(self.by_status[StepStatus.PENDING].values()):
            self._set(item, StepStatus.CANCELLED, None, NOT_REACHED)
        for item in self.counted.values():
            if item.repeats and "" in item.repeats:
                self._repeat(item, "", StepStatus.CANCELLED)

    def _set(self, item: Item, status: StepStatus, ended: float | None, note: str) -> None:
        old, item.status = item.status, status
        item.ended = ended
        item.note = one_line(note)
        if item.is_step:
            del self.by_status[old][item.path]
            self.by_status[status][item.path] = item
            for outer in _around(item):
                outer.tally[old] -= 1
                outer.tally[status] += 1
                outer.ended = ended or outer.ended
        if status is StepStatus.FAILED:
            _blame(item)


_FOLDS: dict[type[ev.Event], Callable[[Board, Item, Any], None]] = {
    ev.StepScheduled: Board.begin,
    ev.StepCompleted: Board.complete,
    ev.StepFailed: Board.fail,
    ev.StepCancelled: Board.cancel,
    ev.StepInterrupted: Board.interrupt,
    ev.StepSkipped: Board.skip,
    ev.TimerSet: Board.suspend,
    ev.WaitOpened: Board.suspend,
    ev.TimerFired: Board.wake,
    ev.SignalReceived: Board.wake,
    ev.ResultKept: Board.keep,
    ev.BlockDecided: Board.decide,
    ev.Expanded: Board.expand,
}
_STATUS: dict[type[ev.Event], StepStatus] = {
    ev.StepScheduled: StepStatus.RUNNING,
    ev.StepCompleted: StepStatus.COMPLETED,
    ev.StepInterrupted: StepStatus.PENDING,
    ev.TimerSet: StepStatus.SUSPENDED,
    ev.WaitOpened: StepStatus.SUSPENDED,
    ev.SignalReceived: StepStatus.COMPLETED,
    ev.ResultKept: StepStatus.COMPLETED,
}


def _status(event: ev.Event) -> StepStatus | None:
    """Return where a step, sleep or wait stands after an event; ``None``: where it stood."""
    if isinstance(event, ev.StepFailed):
        return StepStatus.FAILED if event.retry_at is None else StepStatus.RETRYING
    if isinstance(event, ev.StepCancelled):
        return StepStatus.CANCELLED if event.failure is None else StepStatus.FAILED
    if isinstance(event, ev.TimerFired):
        return None if event.key == "retry" else StepStatus.COMPLETED
    return _STATUS.get(type(event))


def _began(item: Item, at: float) -> None:
    """Note when a step, and what it is in, began."""
    for started in (item, *_around(item)):
        if started.began is None:
            started.began = at


def _blame(item: Item) -> None:
    """Mark what fails because of a node; a block decides for itself."""
    if isinstance(item.spec, StepSpec) and item.spec.continue_on_error:
        return
    for outer in _around(item):
        if isinstance(outer.spec, BlockSpec):
            return
        outer.failed = True


def _around(item: Item) -> Iterator[Item]:
    outer = item.parent
    while outer is not None:
        yield outer
        outer = outer.parent


def _inside(item: Item) -> Iterator[Item]:
    yield item
    for child in item.children:
        yield from _inside(child)
