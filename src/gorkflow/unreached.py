"""Why a run ended without some of its steps, as its events tell.

Such a step has no event of its own. What a verdict withdrew (a branch that waited for its turn,
what comes later in one that is a chain) has the reason that the branch has in its block's outcomes.
All else was not reached: what comes after a failure in its chain, say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gorkflow import events as ev
from gorkflow.flow import (
    BlockSpec,
    NodeSpec,
    WorkflowSpec,
    join_path,
)
from gorkflow.unfolding import Unfolding

NOT_REACHED = "not reached"
"""The reason of a step that its run ended without, for no other reason."""


class _Stop(NamedTuple):
    """What keeps steps from being reached. Of several around a step, the first one did."""

    seq: float
    reason: str


_END = _Stop(float("inf"), NOT_REACHED)


def withdrawn(tree: WorkflowSpec, events: Iterable[ev.Event]) -> dict[str, str]:
    """Return why a run that has ended has no event of some steps, sleeps and waits, by path."""
    unreached = Unreached(tree)
    for event in events:
        unreached.note(event)
    return unreached.withdrawn()


class Unreached:
    """Gathers it event by event."""

    def __init__(self, tree: WorkflowSpec) -> None:
        self._tree = tree
        self._unfolding = Unfolding()
        self._failed: set[str] = set()
        self._verdicts: dict[str, ev.BlockDecided] = {}
        self._timed_out: dict[str, int] = {}
        self._withdrawn: dict[str, str] = {}

    def note(self, event: ev.Event) -> None:
        """Take an event."""
        self._unfolding.note(event)
        if isinstance(event, ev.BlockDecided):
            self._verdicts[event.path] = event
        elif isinstance(event, ev.TimerFired) and event.key == "timeout":
            self._timed_out[event.path] = event.seq
        elif (isinstance(event, ev.StepFailed) and event.retry_at is None) or (
            isinstance(event, ev.StepCancelled) and event.failure is not None
        ):
            self._failed.add(event.path)

    def withdrawn(self) -> dict[str, str]:
        """Return the steps, sleeps and waits that a verdict withdrew, if they have no event.

        Returns:
            The reason, by path. Those that have events may be in it, too.
        """
        self._withdrawn = {}
        self._chain(((node, "") for node in self._tree.nodes), "", _END)
        return self._withdrawn

    def _visit(self, node: NodeSpec, mark: str, prefix: str, stop: _Stop) -> bool:
        """Note what was withdrawn of a node, and return whether it failed.

        Args:
            node: the node.
            mark: what its path ends with, after its id.
            prefix: of the path.
            stop: what keeps it from being reached, if it was not.
        """
        path = join_path(prefix, node.id) + mark
        if node.is_listed:
            if stop.reason != NOT_REACHED:
                self._withdrawn[path] = stop.reason
            return path in self._failed and not getattr(node, "continue_on_error", False)
        marks = self._unfolding(path, node) if node.mark else ("",)
        parts = ((child, each) for each in marks for child in node.children())
        inner = path if node.is_scope else prefix
        stop = min(stop, *self._stops(path, node))
        if not isinstance(node, BlockSpec):
            failed = self._chain(parts, inner, stop)
        else:
            for child, each in parts:
                self._visit(child, each, inner, stop)
            failed = path in self._verdicts and self._verdicts[path].verdict == "failed"
        timed_out = path in self._timed_out and path not in self._verdicts
        return failed or timed_out or path in self._failed

    def _chain(self, parts: Iterable[tuple[NodeSpec, str]], prefix: str, stop: _Stop) -> bool:
        """Visit nodes of which each needs the one before it, and return whether one failed."""
        failed = False
        for node, mark in parts:
            failed = self._visit(node, mark, prefix, _END if failed else stop) or failed
        return failed

    def _stops(self, path: str, node: NodeSpec) -> Iterable[_Stop]:
        """Yield what a node stopped of itself: its time was over, or its verdict was there."""
        yield _END
        if path in self._timed_out:
            yield _Stop(self._timed_out[path], NOT_REACHED)
        verdict = self._verdicts.get(path)
        if verdict is None or not isinstance(node, BlockSpec):
            return
        if verdict.verdict == "completed" or path in self._failed:  # met, but for a conflict
            if node.join.kind in {"first", "at_least"}:  # else nothing was left
                yield _Stop(verdict.seq, ev.was_met(node.join, node.id))
        elif verdict.verdict == "failed":
            yield _Stop(verdict.seq, ev.DRAINED if node.on_failure == "drain" else NOT_REACHED)
