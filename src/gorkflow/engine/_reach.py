"""What of its tree a run can still reach: only that has to be there in the code."""

from __future__ import annotations

from collections.abc import Iterable

from gorkflow import events as ev
from gorkflow.flow import (
    ChoiceSpec,
    LoopSpec,
    NodeSpec,
    StepSpec,
    WorkflowSpec,
    join_path,
    template_of,
    undo_path,
)
from gorkflow.history import undone_paths

_ENDS: dict[type, str] = {
    ev.StepCompleted: "completed",
    ev.StepSkipped: "completed",
    ev.SignalReceived: "completed",
    ev.CancelRequested: "cancelled",
    ev.UndoStarted: "cancelled",
}
_KEPT_ANSWERS = {"decided", "expanded"}
_KEPT_IN_PART = _KEPT_ANSWERS | {"looping"}
_HELD = 0  # what a loop's condition answers when it holds


class Reach:
    """What a run can still begin, by the paths of the tree.

    Of what stands in a map or loop nothing counts as over before the map or loop is: other items
    and iterations may follow.

    Args:
        tree: what the run executes.
        events: its history; of a rerun, what it keeps.
    """

    def __init__(self, tree: WorkflowSpec, events: Iterable[ev.Event]) -> None:
        self._ends: dict[str, str] = {}  # how what is at a path ended; last: a block's verdict
        self._answers: dict[str, int] = {}  # of choices and loops; of maps: that there is one
        self._begun: set[str] = set()  # steps and waits, by template
        self._kept: set[str] = set()  # the same, by a rerun
        events = [*events]
        for event in events:
            self._note(event)
        self._undoing = undone_paths(events)
        left = (path for path in self._undoing if undo_path(path) not in self._ends)
        self._to_undo = {template_of(path) for path in left}
        self._over: set[str] = set()
        self._chain(tree, "", over="" in self._ends)

    def begins(self, path: str) -> bool:
        """Return whether the node may begin, or begin again: nothing has ended it for good."""
        return path not in self._over

    def matters(self, path: str) -> bool:
        """Return whether the step or wait may begin, or has: what it gave may be read."""
        return self.begins(path) or path in self._begun or path in self._kept

    def asks(self, path: str, node: NodeSpec) -> bool:
        """Return whether the node may ask its function: all but a loop do so once."""
        return self.begins(path) and (isinstance(node, LoopSpec) or path not in self._answers)

    def undoes(self, path: str) -> bool:
        """Return whether the step may have to be undone; a kept one belongs to another run."""
        if not self._undoing:
            return self.begins(path) or path in self._begun
        return path in self._to_undo

    def _note(self, event: ev.Event) -> None:
        path = event.path
        how = _how_ended(event)
        if how is not None:
            self._ends[path] = how
        if isinstance(event, ev.StepScheduled | ev.WaitOpened):
            self._begun.add(template_of(path))
        elif isinstance(event, ev.ResultKept):
            self._kept.add(template_of(path))
            if event.what in _KEPT_ANSWERS:
                self._answers[path] = event.choice or 0
        elif isinstance(event, ev.Decided):
            self._answers[path] = event.choice
        elif isinstance(event, ev.Expanded):
            self._answers[path] = event.count
        elif isinstance(event, ev.Timed):
            self._answers[path] = 0

    def _chain(self, workflow: WorkflowSpec, path: str, *, over: bool) -> bool:
        """Find what is over in a workflow; return whether it ended before its last node did."""
        stopped = False
        for node in workflow.nodes:
            stopped |= self._node(node, path, over=over or stopped)
        return stopped

    def _node(self, node: NodeSpec, prefix: str, mark: str = "", *, over: bool) -> bool:
        """Find what is over in a node; return whether what follows it will never begin."""
        path = join_path(prefix, node.id) + mark
        how = self._ends.get(path)
        held = isinstance(node, LoopSpec) and self._answers.get(path) == _HELD
        over = over or held or how is not None
        if over:
            self._over.add(path)
        if isinstance(node, WorkflowSpec):
            stopped = self._chain(node, path, over=over)
        else:
            ends = [self._node(child, prefix, node.mark, over=over) for child in node.children()]
            stopped = isinstance(node, ChoiceSpec) and any(ends)  # a block judges by its join
        forgiven = isinstance(node, StepSpec) and node.continue_on_error
        return stopped or how == "cancelled" or (how == "failed" and not forgiven)


def _how_ended(event: ev.Event) -> str | None:
    """Return how that ended which an event is about: once and for all; ``None``: it did not."""
    match event:
        case ev.StepFailed(retry_at=None):
            return "failed"
        case ev.StepCancelled():
            # With a failure it failed: only its next attempt was withdrawn.
            return "cancelled" if event.failure is None else "failed"
        case ev.BlockDecided():
            return event.verdict
        case ev.TimerFired(key="timeout"):
            return "cancelled"  # unless the verdict of a block that follows is another
        case ev.TimerFired(key="sleep" | "wait"):
            return "completed"
        case ev.ResultKept():
            return None if event.what in _KEPT_IN_PART else "completed"
        case _:
            return _ENDS.get(type(event))
