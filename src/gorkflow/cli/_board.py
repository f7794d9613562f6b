"""The tree of a run as it stands, fed event by event: how each node stands, and since when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gorkflow import events as ev
from gorkflow.cli._output import one_line
from gorkflow.engine._recorded import reading
from gorkflow.errors import HistoryError
from gorkflow.events import Ended
from gorkflow.flow import (
    UNDO,
    BlockSpec,
    LoopSpec,
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
from gorkflow.model import Failure, Report, RunStatus, StepStatus
from gorkflow.redaction import Redaction

ACTIVE = frozenset({StepStatus.RUNNING, StepStatus.RETRYING, StepStatus.SUSPENDED})
_FAILS = frozenset({StepStatus.FAILED, StepStatus.RETRYING})


class Reported(NamedTuple):
    """The latest progress report of a running attempt."""

    done: float
    total: float | None
    """``None``: unknown."""
    message: str
    """One line."""


@dataclass(slots=True, eq=False)
class Item:
    """One node of the flow tree. A node inside a map or loop stands for all its repeats.

    A map or loop and its body are one item: a line that says "map of fetch" need not say "fetch".
    """

    path: str
    """In the tree: that of a repeated node is its template."""
    label: str
    spec: NodeSpec
    parent: Item | None
    children: list[Item] = field(default_factory=list["Item"])
    stands: dict[str, StepStatus] = field(default_factory=dict[str, StepStatus])
    """The status of a step, sleep or wait, or of each body of a map or loop, by its path."""
    counts: Counter[StepStatus] = field(default_factory=Counter[StepStatus])
    """The number of paths in ``stands``, by status."""
    tally: Counter[StepStatus] = field(default_factory=Counter[StepStatus])
    """The number of steps inside, by status."""
    unknown: set[str] = field(default_factory=set[str])
    """The paths of a map that was not expanded, or of a loop that has not ended."""
    grows: int = 0
    """The number of unknown paths, here and inside: as long as there are any, the tally grows."""
    ended: StepStatus | None = None
    """The end of another node, if it stands once and has ended."""
    is_expanded: bool = False
    """True for a map whose items are known, at least those of one of its repeats."""
    iteration: int = 0
    """The latest iteration of a loop; 0 where there is none."""
    attempt: int = 0
    retried: set[str] = field(default_factory=set[str])
    """The paths that had more than one attempt."""
    began_at: float | None = None
    """The time when its first attempt, or the first one inside, was scheduled. This time and the
    next one are seconds on the clock of ``Board.now``."""
    ended_at: float | None = None
    note: str = ""
    """One line: why it stands as it does."""
    failures: dict[str, str] = field(default_factory=dict[str, str])
    """The failures that stand, or that are tried again, by path; one line each."""
    draining: dict[str, str] = field(default_factory=dict[str, str])
    """The paths of a block that failed and still runs, each with the reason."""
    reports: dict[str, Reported] = field(default_factory=dict[str, Reported])
    """The latest report of each running path; the newest last."""
    queued: dict[str, float] = field(default_factory=dict[str, float])
    """The paths that wait for a limit, each with the time since when; the oldest first."""

    @property
    def is_step(self) -> bool:
        """Return whether it is one step, sleep or wait: not repeated, not made of others."""
        return self.spec.is_listed and not is_template(self.path)

    @property
    def numbers(self) -> Counter[StepStatus]:
        """Return what to count of it: the items of a map, else the steps inside, by status."""
        if not isinstance(self.spec, MapSpec):
            return self.tally
        return self.counts if self.is_expanded else Counter()

    @property
    def may_grow(self) -> bool:
        """Return whether there may be more of it than is known: items, or iterations."""
        return self.grows > 0 or any(each.unknown for each in self.around())

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
        is_live = any(self.tally[status] for status in (*ACTIVE, StepStatus.PENDING))
        if is_live or not (is_template(self.path) or self.path == UNDO):
            works = self.tally[StepStatus.RUNNING] or self.tally[StepStatus.RETRYING]
            waits = self.tally[StepStatus.SUSPENDED] and not works
            # If nothing inside runs or waits, a verdict is to come.
            return StepStatus.SUSPENDED if waits else StepStatus.RUNNING
        if self.tally[StepStatus.FAILED]:
            return StepStatus.FAILED
        if self.tally[StepStatus.SKIPPED] == size:
            return StepStatus.SKIPPED
        return StepStatus.CANCELLED if self.tally[StepStatus.CANCELLED] else StepStatus.COMPLETED

    @property
    def body(self) -> NodeSpec:
        """Return what it repeats, if it is a map or loop; else it itself."""
        return self.spec.body if isinstance(self.spec, MapSpec | LoopSpec) else self.spec

    def spec_at(self, path: str) -> NodeSpec:
        """Return the node at one of the two paths that a map or loop stands for."""
        return self.spec if template_of(path) == self.path else self.body

    @property
    def limits(self) -> str:
        """Return the limits that its steps wait for, in words."""
        return limits_of(self.body) if isinstance(self.body, StepSpec) else ""

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

    def running(self) -> Iterator[str]:
        """Yield the paths of the steps inside that are running."""
        for each in self.inside():
            if each.body.is_listed:
                yield from (p for p, status in each.stands.items() if status is StepStatus.RUNNING)


class Board:
    """The tree of a run.

    Args:
        run_id: the run.
        tree: what it executes.
        usual: the seconds that such a run usually takes, if that is known.
    """

    def __init__(self, run_id: str, tree: WorkflowSpec, usual: float | None = None) -> None:
        self.run_id = run_id
        self.usual = usual
        self.status = RunStatus.PENDING
        self.size = 1
        """The number of items."""
        self.seq = 0
        """That of the latest event."""
        self.note = ""
        """One line about the run as a whole."""
        self.trouble = ""
        """Why no worker runs it, in one line."""
        self.by_status: dict[StepStatus, dict[str, Item]] = {status: {} for status in StepStatus}
        """The items that are one step."""
        self.counted: dict[str, Item] = {}
        """The items that stand for many steps, by template."""
        self.redaction = Redaction()
        """Leaves secrets out of what is shown."""
        self.redaction.learn_tree(tree)
        self._history = History(run_id, tree)
        self._broken = False
        self._draining: dict[str, Item] = {}
        self.root = Item("", tree.name or tree.id, tree, None)
        self.items: dict[str, Item] = {"": self.root}
        """By path in the tree. A map or loop is there by the path of its body, too."""
        for node in tree.nodes:
            self._add(self.root, "", node)
        self._settle("", 0.0)

    def _add(self, parent: Item, prefix: str, node: NodeSpec, mark: str = "") -> None:
        if isinstance(node, PassthroughSpec):
            return  # it does no work to watch
        path = join_path(prefix, node.id) + mark
        if mark:
            self.items[path] = item = parent
        else:
            item = self._place(path, node.label, node, parent)
        inner = path if node.is_scope else prefix
        for child in node.children():
            self._add(item, inner, child, node.mark)

    def _place(self, path: str, label: str, spec: NodeSpec, parent: Item) -> Item:
        item = self.items[path] = Item(path, label, spec, parent)
        parent.children.append(item)
        self.size += 1
        if spec.mark or (spec.is_listed and not item.is_step):
            self.counted[path] = item
        if item.body is not spec and item.body.is_listed:
            item.tally = item.counts  # each item is a step
        return item

    # ---- feeding it -----------------------------------------------------------------------

    def now(self, at: float) -> float:
        """Return an instant on the clock of the run, which never jumps.

        Args:
            at: seconds since the epoch.
        """
        return self._history.machine.passed(at)

    def feed(self, event: ev.Event) -> None:
        """Take the next event of the run."""
        self.seq = event.seq
        with reading(event.run_id, [event]):
            self.redaction.learn(event)
        if self._broken:
            return
        try:
            changed = self._history.feed(event)
        except HistoryError:  # the run can't continue, and its worker says why
            self._broken = True
            return
        at = self.now(event.at)
        if self._history.undoes and UNDO not in self.items:
            self._add_undo(at)
        if isinstance(event, ev.ResultKept):
            return  # shown when the run starts: until then, its map or loop may be unknown
        again = event.path if isinstance(event, ev.Decided) else None
        for path in dict.fromkeys(changed):
            self._settle(path, at, again)
        if isinstance(event, ev.BlockDecided):
            self._judge(event)
        self._watch_drains()
        self._watch_run(event, at)

    def report(self, report: Report) -> None:
        """Take a report of a running step."""
        path = report.path
        item = self.items.get(template_of(path))
        if item is not None and item.stands.get(path) is StepStatus.RUNNING:
            item.reports.pop(path, None)
            item.reports[path] = Reported(report.done, report.total, self.line(report.message))

    def line(self, text: str) -> str:
        """Return a text on one line, without secrets, and safe for terminals."""
        return one_line(self.redaction.text(text))

    def of_failure(self, failure: Failure, path: str = "") -> str:
        """Return a failure in one line.

        Args:
            failure: the failure.
            path: its path, if the line stands for many.
        """
        name = path or failure.type.rpartition(".")[2] or failure.code.value
        return self.line(f"{name}: {failure.message}")

    def _judge(self, event: ev.BlockDecided) -> None:
        """Note why a block failed; it drains while something inside runs."""
        item = self.items[template_of(event.path)]
        if event.verdict == "failed":
            why = self.line(event.reason)
            first = why.partition(";")[0]  # of the join of all there is no more to say
            waits_for_all = isinstance(item.spec, BlockSpec) and item.spec.join.kind == "all"
            item.note = "" if is_template(item.path) else first if waits_for_all else why
            item.draining[event.path] = first
            self._draining[event.path] = item

    def _watch_drains(self) -> None:
        for path in [path for path in self._draining if path in self._history.ended]:
            del self._draining.pop(path).draining[path]

    def _watch_run(self, event: ev.Event, at: float) -> None:
        status, root = self._history.machine.status, self.root
        if status is RunStatus.RUNNING and root.began_at is None:
            root.began_at = at
        if isinstance(event, ev.CancelRequested):
            self.note = self.line(f"asked to cancel: {event.reason}")
        elif isinstance(event, ev.UndoStarted):
            self.note = "undoing"
        if status.terminal and not self.status.terminal:
            root.ended, root.ended_at, self.note = StepStatus(status.value), at, ""
        self.status = status

    def _settle(self, path: str, at: float, again: str | None = None) -> None:
        """Show how a node stands now, and all nodes inside.

        Args:
            path: the node.
            at: the time of the event that changed it.
            again: a loop that was judged. While it is live, only its last iteration is new.
        """
        history = self._history

        def marks(path: str, node: NodeSpec) -> Sequence[str]:
            found = history.marks(path, node)
            return found[-1:] if path == again and path not in history.ended else found

        item = self.items.get(template_of(path))
        if item is None:
            return  # a passthrough
        stack: list[tuple[Place, Ended | None]] = [(Place(path, item.spec_at(path)), None)]
        while stack:
            place, around = stack.pop()
            item = self.items.get(template_of(place.path))
            if item is None:
                continue
            if place.spec.is_listed:
                self._update(item, place.path, around, at)
                continue
            around = history.ended.get(place.path, around)
            if place.spec is item.spec:
                self._show_group(item, place, around, at)
            else:
                self._show_body(item, place.path, around, at)
            stack.extend((inner, around) for inner in place.inside(marks))

    def _show_group(self, item: Item, place: Place, ended: Ended | None, at: float) -> None:
        """Show how a node stands that has others inside."""
        path, spec = place
        done = self._history.done.get(path)
        if isinstance(spec, MapSpec) and done is not None:
            self._expand(item, place, done.choice or 0, at)
        if isinstance(spec, LoopSpec) and done is not None:
            more = ended is None and done.what == "looping"
            item.iteration = max(item.iteration, (done.choice or 0) + more)
        if spec.mark:
            is_known = isinstance(spec, MapSpec) and done is not None
            self._note_unknown(item, path, is_unknown=ended is None and not is_known)
        if is_template(item.path):
            return
        record = self._history.record(path)
        if record.failed is not None:  # its condition, say
            item.note = self.of_failure(record.failed)
        if ended is not None and item.ended is None:
            item.ended = ended.status if ended.path == path else left_by(ended)[0]
            item.ended_at = at

    def _expand(self, item: Item, place: Place, count: int, at: float) -> None:
        """Let the items of a map take the place of its template."""
        item.is_expanded = True
        (template,) = place.inside()
        if not count and not is_template(item.path):
            item.note = "no items"
        self._stand(item, template.path, None, at, is_step=template.spec.is_listed)
        for inner in template.walk(self._history.marks):
            within = self.items.get(template_of(inner.path))
            if within is not None and inner.spec is within.spec:
                if inner.spec.mark:
                    self._note_unknown(within, inner.path, is_unknown=False)
                if inner.spec.is_listed:
                    self._stand(within, inner.path, None, at)
            elif within is not None:
                self._stand(within, inner.path, None, at, is_step=inner.spec.is_listed)

    def _note_unknown(self, item: Item, path: str, *, is_unknown: bool) -> None:
        if is_unknown == (path in item.unknown):
            return
        (item.unknown.add if is_unknown else item.unknown.remove)(path)
        for each in item.around():
            each.grows += 1 if is_unknown else -1

    def _show_body(self, item: Item, path: str, ended: Ended | None, at: float) -> None:
        """Show how a body of a map or loop stands that is not just a step."""
        status = item.stands.get(path, StepStatus.PENDING)
        if ended is not None:
            status = ended.status if ended.path == path else left_by(ended)[0]
        self._stand(item, path, status, at, is_step=False)

    def _update(self, item: Item, path: str, around: Ended | None, at: float) -> None:
        """Show how a step, sleep or wait stands."""
        status, reason = self._history.stands(path, around)
        record, queued = self._history.record(path), self._history.queued(path)
        self._stand(item, path, status, at)
        item.queued.pop(path, None)
        if queued is not None:
            item.queued[path] = queued.ready_at
        elif status in ACTIVE:
            self._begin(item, path, at)
        item.attempt = max(item.attempt, record.attempt)
        if record.attempt > 1:
            item.retried.add(path)
        item.failures.pop(path, None)
        item.reports.pop(path, None)
        if record.failed is not None and (status in _FAILS or status is StepStatus.RUNNING):
            item.failures[path] = self.of_failure(record.failed, "" if item.is_step else path)
        elif item.is_step and status is not StepStatus.RUNNING:
            item.note = "kept" if reason == KEPT else self.line(reason.partition(" until ")[0])
        if item.is_step and status.terminal and item.ended_at is None:
            item.ended_at = at

    def _begin(self, item: Item, path: str, at: float) -> None:
        """Note that a step began, and with it what it is in."""
        for each in item.around():
            each.began_at = at if each.began_at is None else each.began_at
        while path:
            around = self.items.get(template_of(path))
            if around is not None and around.stands.get(path) is StepStatus.PENDING:
                self._stand(around, path, StepStatus.RUNNING, at, is_step=False)
            path = path.rpartition("/")[0]

    def _stand(
        self, item: Item, path: str, status: StepStatus | None, at: float, *, is_step: bool = True
    ) -> None:
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
        _count(item.counts, old, status)
        for each in item.around() if is_step else ():
            if each.is_step:
                continue  # it is not inside of itself
            if each is not item or each.tally is not each.counts:
                _count(each.tally, old, status)
            if status is not None and status.terminal and each.ended is None:
                each.ended_at = at

    def _add_undo(self, at: float) -> None:
        """Show the steps that the run undoes, in a part of its own."""
        group = self._place(UNDO, "undo", self.root.spec, self.root)
        for path in self._history.undoes:
            place = template_of(path)
            spec = self.items[place].spec_at(place)
            if undo_path(place) not in self.items:
                assert isinstance(spec, StepSpec)
                assert spec.undo is not None
                self._place(undo_path(place), place, spec.undo.step, group)
            self._settle(undo_path(path), at)


def _count(numbers: Counter[StepStatus], old: StepStatus | None, new: StepStatus | None) -> None:
    if old is not None:
        numbers[old] -= 1
    if new is not None:
        numbers[new] += 1


def finishing(number: int) -> str:
    """Return in words that so many attempts run on while a block drains."""
    return f"{number:,} running attempt{' finishes' if number == 1 else 's finish'}"
