"""The tree of a run as it stands: a line for each node, fed event by event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from gorkflow import events as ev
from gorkflow.cli._output import one_line
from gorkflow.errors import HistoryError
from gorkflow.flow import (
    UNDO,
    NodeSpec,
    PassthroughSpec,
    Place,
    StepSpec,
    WorkflowSpec,
    is_template,
    join_path,
    template_of,
    undo_path,
)
from gorkflow.machine.history import KEPT, History, left_by, limits_of
from gorkflow.model import RunStatus, StepStatus

ACTIVE = frozenset({StepStatus.RUNNING, StepStatus.RETRYING, StepStatus.SUSPENDED})
_FAILS = frozenset({StepStatus.FAILED, StepStatus.RETRYING})


@dataclass(slots=True, eq=False)
class Item:
    """One node of the flow tree. A node inside a map or loop stands for all its repeats."""

    path: str
    """In the tree: that of a repeated node is its template."""
    label: str
    spec: NodeSpec
    parent: Item | None
    children: list[Item] = field(default_factory=list["Item"])
    stands: dict[str, StepStatus] = field(default_factory=dict[str, StepStatus])
    """The status of a step, sleep or wait by its path in the run."""
    ended: StepStatus | None = None
    """The end of another node, if it stands once and has ended."""
    attempt: int = 0
    began_at: float | None = None
    """The time of its first attempt, or of the first one inside, in seconds since the epoch."""
    ended_at: float | None = None
    note: str = ""
    """One line: the failure, or the reason of its status."""
    tally: Counter[StepStatus] = field(default_factory=Counter[StepStatus])
    """The number of steps inside, by status."""
    queued: dict[str, float] = field(default_factory=dict[str, float])
    """The paths that wait for a limit, each with the time since when; the oldest first."""

    @property
    def is_step(self) -> bool:
        """Return whether it is one step, sleep or wait: not repeated, not made of others."""
        return self.spec.is_listed and not is_template(self.path)

    @property
    def remark(self) -> str:
        """Return the line to show beside it: its note, or the limits that it waits for."""
        if not self.queued or not isinstance(self.spec, StepSpec):
            return self.note
        limits = limits_of(self.spec)
        return (
            f"waits for {limits}" if self.is_step else f"{len(self.queued):,} waiting for {limits}"
        )

    @property
    def done(self) -> int:
        """Return the number of steps inside that have ended."""
        return sum(count for status, count in self.tally.items() if status.terminal)

    @property
    def state(self) -> StepStatus:
        """Return its status, or that of a run that stands like the steps inside."""
        if self.is_step:
            return self.stands[self.path]
        if self.ended is not None:
            return self.ended
        size = self.tally.total()
        if size == 0:
            return StepStatus.COMPLETED  # nothing but a passthrough
        if self.tally[StepStatus.PENDING] == size:
            return StepStatus.PENDING
        if any(self.tally[status] for status in (*ACTIVE, StepStatus.PENDING)):
            return StepStatus.RUNNING
        if self.tally[StepStatus.FAILED]:
            return StepStatus.FAILED
        if self.tally[StepStatus.SKIPPED] == size:
            return StepStatus.SKIPPED
        return StepStatus.CANCELLED if self.tally[StepStatus.CANCELLED] else StepStatus.COMPLETED

    def around(self) -> Iterator[Item]:
        """Yield it and the nodes around it, the root last."""
        item: Item | None = self
        while item is not None:
            yield item
            item = item.parent

    def inside(self) -> Iterator[Item]:
        """Yield it and all nodes inside."""
        yield self
        for child in self.children:
            yield from child.inside()


class Board:
    """The tree of a run."""

    def __init__(self, run_id: str, tree: WorkflowSpec) -> None:
        self.run_id = run_id
        self.status = RunStatus.PENDING
        self.by_status: dict[StepStatus, dict[str, Item]] = {status: {} for status in StepStatus}
        """The items that are one step."""
        self.counted: dict[str, Item] = {}
        """The items that stand for many steps, by template."""
        self._history: History | None = History(run_id, tree)
        self.root = Item("", tree.name or tree.id, tree, None)
        self.items: dict[str, Item] = {"": self.root}
        for node in tree.nodes:
            self._add(self.root, "", node)
        self._expect(Place("", tree).walk(self._history.marks))

    def _add(self, parent: Item, prefix: str, node: NodeSpec, mark: str = "") -> None:
        if isinstance(node, PassthroughSpec):
            return  # it does no work to watch
        path = join_path(prefix, node.id) + mark
        item = self._place(path, node.label, node, parent)
        inner = path if node.is_scope else prefix
        for child in node.children():
            self._add(item, inner, child, node.mark)

    def _place(self, path: str, label: str, spec: NodeSpec, parent: Item) -> Item:
        item = self.items[path] = Item(path, label, spec, parent)
        parent.children.append(item)
        if spec.is_listed and not item.is_step:
            self.counted[path] = item
        return item

    def _expect(self, places: Iterable[Place]) -> None:
        """Count what may begin; a rerun may have its result already."""
        assert self._history is not None
        for path, spec in places:
            if spec.is_listed and path not in self.items[template_of(path)].stands:
                status, _ = self._history.stands(path)
                self._stand(self.items[template_of(path)], path, status)

    # ---- feeding it -----------------------------------------------------------------------

    def feed(self, event: ev.Event) -> None:
        """Take the next event of the run."""
        item = self.items.get(template_of(event.path))
        place = Place(event.path, item.spec) if item is not None and item.spec.mark else None
        before = self._history.marks(*place) if place and self._history is not None else ()
        changed = self._changed_by(event)
        if place is not None and self._history is not None:
            self._repeat(place, before)
        if isinstance(event, ev.RunStarted):
            self.status = RunStatus.RUNNING
            self.root.began_at = event.at
        elif isinstance(event, ev.RunFinished):
            self.status = event.status
            self.root.ended = StepStatus(event.status.value)
            self.root.ended_at = event.at
        elif isinstance(event, ev.UndoStarted) and self._history is not None:
            self._add_undo(event)
        for path in changed:
            other = self.items.get(template_of(path))
            if other is not None and other.spec.is_listed:
                self._update(other, path, event)
            elif other is not None:
                self._end(other, path, event.at)
        if item is not None:
            self._describe(item, event)

    def _repeat(self, place: Place, before: Sequence[str]) -> None:
        """Count the items of a map, or the next iteration of a loop, in place of what was known."""
        assert self._history is not None  # it was fed
        marks = self._history.marks
        now = marks(*place)
        latest = self._listed(place, before[-1:])
        if not any(path in self.items[template_of(path)].stands for path, _ in latest):
            return  # kept by a rerun that has not come to the map or loop around it
        if place.spec.mark in before:  # the items were not known
            for path, _ in latest:
                self._stand(self.items[template_of(path)], path, None)
            before = ()
        self._expect(self._listed(place, now[len(before) :]))

    def _listed(self, place: Place, ends: Sequence[str]) -> list[Place]:
        """Return the steps, sleeps and waits of some items or iterations."""
        assert self._history is not None
        bodies = place.inside(lambda _, __: ends)
        found = (each for body in bodies for each in body.walk(self._history.marks))
        return [each for each in found if each.spec.is_listed]

    def _changed_by(self, event: ev.Event) -> Sequence[str]:
        if self._history is None:
            return ()
        try:
            return self._history.feed(event)
        except HistoryError:  # the run can't continue, and its worker says why
            self._history = None
            return ()

    def _update(self, item: Item, path: str, event: ev.Event) -> None:
        """Show how a step, sleep or wait stands now."""
        assert self._history is not None  # it named the path
        if path not in item.stands:
            return  # kept by a rerun that has not come to the map or loop around it
        status, reason = self._history.stands(path)
        self._stand(item, path, status)
        item.queued.pop(path, None)
        queued = self._history.queued(path)
        if queued is not None:
            item.queued[path] = queued.ready_at
        if status in ACTIVE and queued is None:
            for each in item.around():
                each.began_at = event.at if each.began_at is None else each.began_at
        if not item.is_step:
            return
        if status.terminal and item.began_at is not None:
            item.ended_at = event.at
        if status is StepStatus.RUNNING and item.attempt == 0:
            item.note = ""
        elif status not in _FAILS and status is not StepStatus.RUNNING and queued is None:
            item.note = "kept" if reason == KEPT else one_line(reason.partition(" until ")[0])

    def _stand(self, item: Item, path: str, status: StepStatus | None) -> None:
        """Note the status at a path; ``None``: it is not there."""
        old = item.stands.pop(path, None)
        if status is not None:
            item.stands[path] = status
        if item.is_step:
            if old is not None:
                del self.by_status[old][path]
            if status is not None:
                self.by_status[status][path] = item
        for each in item.around():
            if each is item and item.is_step:
                continue  # it is not inside of itself
            if old is not None:
                each.tally[old] -= 1
            if status is not None:
                each.tally[status] += 1

    def _end(self, item: Item, path: str, at: float) -> None:
        """Show that a node has ended, and with it what did not begin inside."""
        assert self._history is not None  # it named the path
        ended = self._history.ended.get(path)
        if ended is None:
            return
        if not is_template(item.path):
            item.ended = ended.status
            item.ended_at = at
        if ended.status is StepStatus.COMPLETED:
            return
        status, reason = left_by(ended)
        for each, _ in Place(path, item.spec).walk(self._history.marks):
            inner = self.items.get(template_of(each))
            if inner is not None and inner.stands.get(each) is StepStatus.PENDING:
                self._stand(inner, each, status)
                if inner.is_step:
                    inner.note = one_line(reason)

    def _describe(self, item: Item, event: ev.Event) -> None:
        """Note what only the event says."""
        if isinstance(event, ev.StepScheduled):
            item.attempt = max(item.attempt, event.attempt)
        elif isinstance(event, ev.StepCompleted) and item.is_step and event.attempt == 1:
            item.began_at = event.began_at
        elif isinstance(event, ev.Expanded) and item.path == event.path:
            item.note = f"{event.count:,} items"
        elif isinstance(event, ev.BlockDecided) and event.verdict == "failed":
            item.note = one_line(event.reason)
        elif isinstance(event, ev.StepFailed):
            failure = event.failure
            name = failure.type.rpartition(".")[2] or failure.code.value
            item.attempt = max(item.attempt, event.attempt)
            item.note = one_line(
                f"{name if item.path == event.path else event.path}: {failure.message}"
            )

    def _add_undo(self, event: ev.UndoStarted) -> None:
        """Show the steps that the run undoes, in a part of its own."""
        group = self._place(UNDO, "undo", self.root.spec, self.root)
        for path in event.paths:
            place = template_of(path)
            spec = self.items[place].spec
            at = undo_path(place)
            if at not in self.items and isinstance(spec, StepSpec) and spec.undo is not None:
                self._place(at, place, spec.undo.step, group)
            self._expect([Place(undo_path(path), self.items[at].spec)])
            self._update(self.items[at], undo_path(path), event)


# ---- a part of it -----------------------------------------------------------------------------

_ORDER = (
    StepStatus.FAILED,
    StepStatus.RUNNING,
    StepStatus.RETRYING,
    StepStatus.SUSPENDED,
    StepStatus.COMPLETED,
    StepStatus.PENDING,
    StepStatus.SKIPPED,
    StepStatus.CANCELLED,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tree."""

    indent: str
    item: Item | None
    more: str = ""
    """Without an item: what is left out."""


def rows(board: Board, room: int) -> list[Row]:
    """Return the lines of the tree: all of them where there is room.

    Else steps that failed or are running come first, and the rest is counted.

    Args:
        board: the run.
        room: how many lines there may be, at least 2.
    """
    if len(board.items) <= room:
        return _tree(board.root, None)
    wanted = room
    while True:
        chosen = _chosen(board, wanted)
        found = _tree(board.root, chosen)
        if len(found) <= room or not wanted:
            return found[: max(room, 2)]
        wanted = min(wanted - 1, wanted * room // len(found))


def _chosen(board: Board, wanted: int) -> set[str]:
    """Return the paths of the steps to show, and of what they are in."""
    by = board.by_status
    first = chain(
        board.counted.values(),
        islice(by[StepStatus.FAILED].values(), (wanted + 1) // 2),
        by[StepStatus.RUNNING].values(),
        by[StepStatus.RETRYING].values(),
        by[StepStatus.SUSPENDED].values(),
        by[StepStatus.FAILED].values(),
        by[StepStatus.PENDING].values(),
        by[StepStatus.COMPLETED].values(),
    )
    paths: set[str] = set()
    for step in islice(first, wanted):
        item: Item | None = step
        while item is not None and item.path not in paths:
            paths.add(item.path)
            item = item.parent
    return paths


def _tree(root: Item, chosen: set[str] | None) -> list[Row]:
    found = [Row("", root)]
    _grow(root, chosen, "", found)
    return found


def _grow(item: Item, chosen: set[str] | None, indent: str, found: list[Row]) -> None:
    shown = item.children
    more = ""
    if chosen is not None:
        shown = [child for child in item.children if child.path in chosen]
        more = _counted(_hidden(item, shown))
    for place, child in enumerate(shown):
        last = place == len(shown) - 1 and not more
        found.append(Row(f"{indent}{'└─' if last else '├─'} ", child))
        _grow(child, chosen, f"{indent}{'   ' if last else '│  '}", found)
    if more:
        found.append(Row(f"{indent}└─ ", None, more))


def _hidden(item: Item, shown: list[Item]) -> Counter[StepStatus]:
    hidden = Counter(item.tally)
    for child in shown:
        if child.is_step:
            hidden[child.state] -= 1
        else:
            hidden.subtract(child.tally)
    return hidden


def _counted(hidden: Counter[StepStatus]) -> str:
    if hidden.total() <= 0:
        return ""
    parts = [f"{hidden[status]:,} {status.value}" for status in _ORDER if hidden[status] > 0]
    return f"… {hidden.total():,} more: {', '.join(parts)}"
