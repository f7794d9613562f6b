"""What a rerun keeps of the run that it repeats, and which nodes end at once because of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gorkflow import events as ev
from gorkflow.flow import (
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    ParallelSpec,
    PassthroughSpec,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    is_template,
    item_mark,
    iteration_mark,
    join_path,
    template_of,
    walk,
)
from gorkflow.machine import joins
from gorkflow.machine.commands import is_expansion
from gorkflow.overlay import Write

_WHAT: dict[type, tuple[str, ...]] = {
    StepSpec: ("completed",),
    ChoiceSpec: ("decided",),
    SleepSpec: ("slept",),
    WaitSpec: ("received",),
    MapSpec: ("expanded",),
    LoopSpec: ("looped", "looping"),
}


class Kept(NamedTuple):
    """One result; its value is that of the event with this ``seq``."""

    seq: int
    what: str
    has_output: bool
    choice: int | None
    keys: tuple[str, ...] | None
    state: tuple[Write, ...]


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
        node = self._nodes.get(template_of(event.path))
        if node is None or event.path in self.kept or is_template(event.path):
            return False
        if event.what not in _WHAT.get(type(node), ()):
            return False
        has_output = event.output is not None
        result = Kept(event.seq, event.what, has_output, event.choice, event.keys, event.state)
        if not _fits(node, result) or (event.state and not isinstance(node, StepSpec)):
            return False
        self.kept[event.path] = result
        return True


def _fits(node: NodeSpec, result: Kept) -> bool:
    choice, has_output = result.choice, result.has_output
    if isinstance(node, MapSpec):
        count = -1 if choice is None else choice
        return not has_output and is_expansion(count, result.keys, keyed=node.keyed)
    if result.keys is not None:
        return False
    if isinstance(node, ChoiceSpec):
        return not has_output and choice is not None and 0 <= choice <= len(node.arms)
    if isinstance(node, LoopSpec):
        most = node.max_iterations - (result.what == "looping")  # else it would fail at once
        return not has_output and choice is not None and 1 <= choice <= most
    if isinstance(node, WaitSpec):
        return choice is None and (has_output or node.default is not None)
    return choice is None and has_output is isinstance(node, StepSpec)


def is_instant(node: NodeSpec, prefix: str, kept: Mapping[str, Kept], mark: str = "") -> bool:
    """Return whether a node ends in the moment it is entered, because nothing in it does work.

    Args:
        node: the node.
        prefix: the path of the workflow around it.
        kept: the results that the run starts with, by path.
        mark: of the item or iteration that the node is the body of.
    """
    if isinstance(node, PassthroughSpec):
        return True
    if isinstance(node, WorkflowSpec):
        path = join_path(prefix, node.id) + mark
        return all(is_instant(inner, path, kept) for inner in node.nodes)
    if isinstance(node, ParallelSpec):
        instant = sum(is_instant(branch, prefix, kept) for branch in node.branches)
        tally = joins.Tally(len(node.branches), completed=instant)
        return joins.verdict(node.join, tally) is not None
    found = kept.get(join_path(prefix, node.id) + mark) if kept else None
    if found is None or found.choice is None:
        return found is not None
    if isinstance(node, MapSpec | LoopSpec):
        return _body_is_instant(node, prefix, kept, found)
    assert isinstance(node, ChoiceSpec)
    chosen = node.nodes[found.choice :][:1]  # none: it is skipped
    return all(is_instant(inner, prefix, kept) for inner in chosen)


def _body_is_instant(
    node: MapSpec | LoopSpec, prefix: str, kept: Mapping[str, Kept], found: Kept
) -> bool:
    """Return whether every item of a map, or enough of them, or every iteration is instant."""
    count = found.choice or 0
    if isinstance(node, LoopSpec):
        marks = [iteration_mark(number) for number in range(1, count + 1)]
        instant = all(is_instant(node.body, prefix, kept, mark) for mark in marks)
        return instant and found.what == "looped"
    marks = [item_mark(index, found.keys) for index in range(count)]
    completed = sum(is_instant(node.body, prefix, kept, mark) for mark in marks)
    return joins.verdict(node.join, joins.Tally(count, completed=completed)) is not None
