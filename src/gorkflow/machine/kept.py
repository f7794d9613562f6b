"""What a rerun keeps of the run that it repeats, and which nodes end at once because of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gorkflow import events as ev
from gorkflow.flow import (
    ChoiceSpec,
    NodeSpec,
    ParallelSpec,
    PassthroughSpec,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    join_path,
    walk,
)
from gorkflow.machine import joins

_WHAT: dict[type, str] = {
    StepSpec: "completed",
    ChoiceSpec: "decided",
    SleepSpec: "slept",
    WaitSpec: "received",
}


class Kept(NamedTuple):
    """One result; its value is that of the event with this ``seq``."""

    seq: int
    has_output: bool
    choice: int | None


class Keeper:
    """Takes in the kept results of a run before it starts.

    Args:
        tree: what the run executes.
    """

    def __init__(self, tree: WorkflowSpec) -> None:
        self._nodes = dict(walk(tree))
        self.kept: dict[str, Kept] = {}

    def keep(self, event: ev.ResultKept) -> bool:
        """Take a result in; return whether the node at its path can have such a one."""
        node = self._nodes.get(event.path)
        if node is None or event.path in self.kept or _WHAT.get(type(node)) != event.what:
            return False
        has_output = event.output is not None
        if not _fits(node, event.choice, has_output=has_output):
            return False
        self.kept[event.path] = Kept(event.seq, has_output, event.choice)
        return True


def _fits(node: NodeSpec, choice: int | None, *, has_output: bool) -> bool:
    if isinstance(node, ChoiceSpec):
        return not has_output and choice is not None and 0 <= choice <= len(node.arms)
    if isinstance(node, WaitSpec):
        return choice is None and (has_output or node.default is not None)
    return choice is None and has_output is isinstance(node, StepSpec)


def is_instant(node: NodeSpec, prefix: str, kept: Mapping[str, Kept]) -> bool:
    """Return whether a node ends in the moment it is entered, because nothing in it does work.

    Args:
        node: the node.
        prefix: the path of the workflow around it.
        kept: the results that the run starts with, by path.
    """
    if isinstance(node, PassthroughSpec):
        return True
    if isinstance(node, WorkflowSpec):
        path = join_path(prefix, node.id)
        return all(is_instant(inner, path, kept) for inner in node.nodes)
    if isinstance(node, ParallelSpec):
        instant = sum(is_instant(branch, prefix, kept) for branch in node.branches)
        tally = joins.Tally(len(node.branches), completed=instant)
        return joins.verdict(node.join, tally) is not None
    found = kept.get(join_path(prefix, node.id)) if kept else None
    if found is None or found.choice is None:
        return found is not None
    assert isinstance(node, ChoiceSpec)
    chosen = node.nodes[found.choice :][:1]  # none: it is skipped
    return all(is_instant(inner, prefix, kept) for inner in chosen)
