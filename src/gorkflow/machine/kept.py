"""What a rerun keeps of the run that it repeats, and which nodes end at once because of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

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
from gorkflow.state_changes import Write

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


class Found(Protocol):
    """What is known of a result to those who ask whether it is enough."""

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

    def enter(inner: NodeSpec, prefix: str, mark: str) -> bool:
        return is_whole(inner, prefix, mark, kept.get, enter)

    if not kept and isinstance(node, StepSpec):
        return False  # as nearly always
    return is_whole(node, prefix, mark, kept.get, enter)


def is_whole(
    node: NodeSpec,
    prefix: str,
    mark: str,
    find: Callable[[str], Found | None],
    enter: Callable[[NodeSpec, str, str], bool],
) -> bool:
    """Return whether a node has all that it needs of what is done: nothing in it is to run.

    The rule for what a rerun keeps as a whole, and for what the machine ends at once in the rerun.

    Args:
        node: the node.
        prefix: the path of the workflow around it.
        mark: of the item or iteration that the node is the body of.
        find: returns the result at a path, if there is one.
        enter: the same question about a node inside, with its prefix and mark. Asked of all
            branches and items; of what comes in sequence, up to the first that is not whole.
    """
    if isinstance(node, PassthroughSpec):
        return True
    path = join_path(prefix, node.id) + mark
    if isinstance(node, WorkflowSpec):
        return all(enter(inner, path, "") for inner in node.nodes)
    if isinstance(node, ParallelSpec):
        whole = sum([enter(branch, prefix, "") for branch in node.branches])
        return joins.met(node.join, len(node.branches), whole)
    found = find(path)
    if found is None or found.choice is None:
        return found is not None
    if isinstance(node, MapSpec):
        marks = [item_mark(index, found.keys) for index in range(found.choice)]
        whole = sum([enter(node.body, prefix, mark) for mark in marks])
        return joins.met(node.join, len(marks), whole)
    if isinstance(node, LoopSpec):
        marks = [iteration_mark(number) for number in range(1, found.choice + 1)]
        return found.what == "looped" and all(enter(node.body, prefix, mark) for mark in marks)
    if isinstance(node, ChoiceSpec):
        chosen = node.children()[found.choice :][:1]  # none: it is skipped
        return all(enter(inner, prefix, "") for inner in chosen)
    return True
