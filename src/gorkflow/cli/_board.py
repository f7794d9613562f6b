"""The tree of a run as it stands: a line for each node, fed event by event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from gorkflow import events as ev
from gorkflow.cli._output import one_line
from gorkflow.errors import HistoryError
from gorkflow.events import Ended
from gorkflow.flow import (
    UNDO,
    MapSpec,
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
from gorkflow.model import Failure, RunStatus, StepStatus

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
        if size == 0:  # nothing but a passthrough, or maps of nothing
            return StepStatus.COMPLETED if is_template(self.path) else StepStatus.PENDING
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
        self._history = History(run_id, tree)
        self._broken = False
        self.root = Item("", tree.name or tree.id, tree, None)
        self.items: dict[str, Item] = {"": self.root}
        for node in tree.nodes:
            self._add(self.root, "", node)
        self._settle("", 0.0)

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

    # ---- feeding it -----------------------------------------------------------------------

    def feed(self, event: ev.Event) -> None:
        """Take the next event of the run."""
        if self._broken:
            return
        try:
            changed = self._history.feed(event)
        except HistoryError:  # the run can't continue, and its worker says why
            self._broken = True
            return
        if self._history.undoes and UNDO not in self.items:
            self._add_undo(event.at)
        if isinstance(event, ev.ResultKept):
            return  # shown when the run starts: until then, its map or loop may be unknown
        again = event.path if isinstance(event, ev.Decided) else None
        for path in dict.fromkeys(changed):
            self._settle(path, event.at, again)
        if isinstance(event, ev.BlockDecided) and event.verdict == "failed":
            self.items[template_of(event.path)].note = one_line(event.reason)
        self._watch_run(event.at)

    def _watch_run(self, at: float) -> None:
        status, root = self._history.machine.status, self.root
        if status is RunStatus.RUNNING and root.began_at is None:
            root.began_at = at
        if status.terminal and not self.status.terminal:
            root.ended, root.ended_at = StepStatus(status.value), at
        self.status = status

    def _settle(self, path: str, at: float, again: str | None = None) -> None:
        """Show how a node stands now, and all nodes inside.

        Args:
            path: the node.
            at: the time of the event that changed it, in seconds since the epoch.
            again: a loop that was judged. While it is live, only its last iteration is new.
        """
        history = self._history

        def marks(path: str, node: NodeSpec) -> Sequence[str]:
            found = history.marks(path, node)
            return found[-1:] if path == again and path not in history.ended else found

        item = self.items.get(template_of(path))
        if item is None:
            return  # a passthrough
        stack: list[tuple[Place, Ended | None]] = [(Place(path, item.spec), None)]
        while stack:
            place, around = stack.pop()
            item = self.items.get(template_of(place.path))
            if item is None:
                continue
            if place.spec.is_listed:
                self._update(item, place.path, around, at)
                continue
            around = history.ended.get(place.path, around)
            self._show_group(item, place, around, at)
            stack.extend((inner, around) for inner in place.inside(marks))

    def _show_group(self, item: Item, place: Place, ended: Ended | None, at: float) -> None:
        """Show how a node stands that has others inside."""
        path, spec = place
        if isinstance(spec, MapSpec) and path in self._history.done:
            (template,) = place.inside()  # its items take the place of that
            for inner in template.walk(self._history.marks):
                if inner.spec.is_listed:
                    self._stand(self.items[template_of(inner.path)], inner.path, None)
        if is_template(item.path):
            return
        done, record = self._history.done.get(path), self._history.record(path)
        if done is not None and done.what == "expanded":
            item.note = f"{done.choice:,} items"
        if record.failed is not None:  # its condition, say
            item.note = _of_failure(record.failed)
        if ended is not None and item.ended is None:
            item.ended = ended.status if ended.path == path else left_by(ended)[0]
            item.ended_at = at

    def _update(self, item: Item, path: str, around: Ended | None, at: float) -> None:
        """Show how a step, sleep or wait stands."""
        status, reason = self._history.stands(path, around)
        record, queued = self._history.record(path), self._history.queued(path)
        self._stand(item, path, status)
        item.queued.pop(path, None)
        if queued is not None:
            item.queued[path] = queued.ready_at
        elif status in ACTIVE:
            for each in item.around():
                each.began_at = at if each.began_at is None else each.began_at
        item.attempt = max(item.attempt, record.attempt)
        if record.failed is not None and (status in _FAILS or status is StepStatus.RUNNING):
            item.note = _of_failure(record.failed, "" if item.is_step else path)
        elif item.is_step and status is not StepStatus.RUNNING:
            item.note = "kept" if reason == KEPT else one_line(reason.partition(" until ")[0])
        if item.is_step and item.began_at is not None:
            if record.attempt == 1 and record.began_at is not None:
                item.began_at = record.began_at
            if status.terminal:
                item.ended_at = record.finished_at or item.ended_at or at

    def _stand(self, item: Item, path: str, status: StepStatus | None) -> None:
        """Put a status in the place of the one before; ``None``: the path is gone."""
        old = item.stands.pop(path, None)
        if status is not None:
            item.stands[path] = status
        if old is status:
            return
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

    def _add_undo(self, at: float) -> None:
        """Show the steps that the run undoes, in a part of its own."""
        group = self._place(UNDO, "undo", self.root.spec, self.root)
        for path in self._history.undoes:
            place = template_of(path)
            spec = self.items[place].spec
            if undo_path(place) not in self.items:
                assert isinstance(spec, StepSpec)
                assert spec.undo is not None
                self._place(undo_path(place), place, spec.undo.step, group)
            self._settle(undo_path(path), at)


def _of_failure(failure: Failure, path: str = "") -> str:
    """Return a failure in one line, with the path where the line stands for many."""
    name = path or failure.type.rpartition(".")[2] or failure.code.value
    return one_line(f"{name}: {failure.message}")


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
