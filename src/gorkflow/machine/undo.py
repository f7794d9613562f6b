"""The steps that a run has to undo if it fails, and its undoing.

While the run is live, a step with an undo step leaves an entry when it completes. It also does when
an attempt ends with an unknown outcome. The entries stand in groups, as the nodes around the steps
do. When the run fails or is cancelled, and nothing runs any more, its verdict is recorded; then the
groups are undone from the end. The children of a sequence or loop follow one after another. Those
of a block or map are undone side by side, as many at a time as ran before.

An undo step runs as any other, at a path of its own. One that fails in the end does not keep the
others from being run. No deadline and no cancel stops them: the run's verdict stands.

A result that a rerun kept is not undone: it belongs to the run that recorded it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from gorkflow import events as ev
from gorkflow._text import listed
from gorkflow.events import Ended, FailureRef, Ref, item_of
from gorkflow.flow import UndoSpec, undo_path
from gorkflow.machine.frame import Frame, Recorder
from gorkflow.machine.step import StepFrame
from gorkflow.model import Failure, FailureCode, RunStatus, StepStatus


class Note(NamedTuple):
    """A step that has to be undone."""

    path: str
    spec: UndoSpec
    input: Ref
    """The input of the step."""
    output: Ref
    """Its output; ``None``: its outcome is unknown."""


class Group:
    """The steps to undo inside a node.

    Args:
        room: how many children may be undone at a time.
    """

    __slots__ = ("children", "outer", "queue", "room", "running")

    def __init__(self, room: float) -> None:
        self.room = room
        self.children: dict[int, Group | Note] = {}
        """By their order in the node."""
        self.queue: list[Group | Note] = []
        """Those left to undo; the next is the last."""
        self.running = 0
        self.outer: Group | None = None

    def inner(self, place: int, room: float) -> Group:
        """Return the group of a child."""
        found = self.children.get(place)
        if found is None:
            found = self.children[place] = Group(room)
        assert isinstance(found, Group)
        return found

    def paths(self) -> Iterator[str]:
        """Yield the paths of the steps inside, the last first."""
        for _, child in sorted(self.children.items(), key=_place, reverse=True):
            if isinstance(child, Group):
                yield from child.paths()
            else:
                yield child.path


def _place(item: tuple[int, Group | Note]) -> int:
    return item[0]


class Undo:
    """The undoing of a run.

    Args:
        machine: the run's.
        conclude: records the end of the run.
    """

    def __init__(self, machine: Recorder, conclude: Callable[[Ended], None]) -> None:
        self.verdict: Ended | None = None
        """How the run ends; ``None`` while that is open, and nothing is undone."""
        self._machine = machine
        self._conclude_run = conclude
        self._root = Group(1)
        self._undone: list[str] = []
        self._failures: dict[str, tuple[FailureRef, ...]] = {}

    def note(self, frame: Frame, output: Ref) -> None:
        """Record a step, or that its outcome is known after all."""
        around: list[tuple[int, float]] = []
        node: Frame = frame
        while (outer := node.parent) is not None:
            around.append((outer.place_of(node), outer.room))
            node = outer
        group = self._root  # of the children of the root, one after another
        for (place, _), (_, room) in zip(around[:0:-1], around[-2::-1], strict=True):
            group = group.inner(place, room)
        group.children[around[0][0]] = Note(frame.path, frame.spec.undo, frame.input, output)

    def begin(self, verdict: Ended, status: RunStatus) -> None:
        """Fix how the run ends, and begin to undo."""
        self.verdict = verdict
        paths = tuple(self._root.paths())
        self._machine.emit(ev.UndoStarted, "", status, verdict.failures, verdict.reason, paths)
        self._enter(self._root)

    def _enter(self, group: Group) -> None:
        in_order = sorted(group.children.items(), key=_place)
        group.queue = [child for _, child in in_order]
        group.children = {}
        self._fill(group)

    def _fill(self, group: Group) -> None:
        while group.queue and group.running < group.room:
            child = group.queue.pop()
            group.running += 1
            if isinstance(child, Group):
                child.outer = group
                self._enter(child)
            else:
                UndoFrame(self._machine, self, group, child).start()

    def ended(self, frame: UndoFrame, status: StepStatus, failures: tuple[FailureRef, ...]) -> None:
        """Record the end of an undo step, and continue."""
        if status is StepStatus.COMPLETED:
            self._undone.append(frame.undoes)
        else:
            self._failures[frame.undoes] = failures
        group: Group | None = frame.group
        while group is not None:
            group.running -= 1
            self._fill(group)
            if group.running:
                return
            group = group.outer
        self._conclude()

    def _conclude(self) -> None:
        verdict = self.verdict
        assert verdict is not None  # it began
        failures = tuple(failure for each in self._failures.values() for failure in each)
        words = [verdict.reason]
        words += [f"undone: {listed(self._undone)}"] if self._undone else []
        words += [f"could not undo {listed([*self._failures])}"] if failures else []
        reason = "; ".join(filter(None, words))
        ended = Ended("", verdict.status, None, verdict.failures + failures, reason)
        self._conclude_run(ended)


class UndoFrame(StepFrame):
    """A live undo step."""

    __slots__ = ("group", "undo", "undoes")

    def __init__(self, machine: Recorder, undo: Undo, group: Group, note: Note) -> None:
        super().__init__(machine, None, None, note.spec.step)
        self.undo = undo
        self.group = group
        self.undoes = note.path
        self.path = undo_path(note.path)
        self.input = _given(note)

    def end(
        self,
        status: StepStatus,
        *,
        value: Ref = None,
        failures: tuple[FailureRef, ...] = (),
        reason: str = "",
        optional: bool = False,
    ) -> None:
        self.live = False
        self.machine.leave(self, Ended(self.path, status, value, failures, reason, optional))
        self.undo.ended(self, status, failures)

    def failure(
        self, code: FailureCode, message: str, path: str | None = None, *, attempt: int = 0
    ) -> Failure:
        made = super().failure(code, message, path, attempt=attempt)
        return replace(made, step_id=self.spec.id)


def _given(note: Note) -> Ref:
    """Return what an undo step gets: the inputs of the step, and its output."""
    if note.spec.inputs == 0:
        return note.output
    if note.spec.inputs == 1:
        return (note.input, note.output)
    return (*(item_of(note.input, index) for index in range(note.spec.inputs)), note.output)
