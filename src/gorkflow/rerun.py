"""What a rerun keeps of the run that it repeats. Pure functions over the tree and the events.

A completed result is kept, unless it is *downstream* of something that runs again: of the step that
the rerun starts from, or of one that did not complete. Downstream of a node is

* what is inside it;
* what comes after it in every sequence around it;
* every join around it, and what comes after that. Its parallel branches are not.

Who reads a node with ``reads`` comes after it in a sequence around it (a workflow that reads
otherwise can't be built), so readers need no rule of their own.

So the tree is entered as the machine enters it, as far as what is done reaches: what is not reached
has to wait for something that runs again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gorkflow import events as ev
from gorkflow.errors import InputInvalidError
from gorkflow.flow import (
    ChoiceSpec,
    NodeSpec,
    ParallelSpec,
    PassthroughSpec,
    WaitSpec,
    WorkflowSpec,
    children,
    join_path,
    walk,
)
from gorkflow.machine import joins

_LISTED = 10  # more names than this don't help


class Result(NamedTuple):
    """A result that may be kept: what a ``ResultKept`` event says of it."""

    what: str
    output: bytes | None
    choice: int | None
    source_seq: int


def results(tree: WorkflowSpec, events: Iterable[ev.Event]) -> dict[str, Result]:
    """Return what a run completed, by path: the exact bytes, never re-encoded.

    A failure that ``continue_on_error`` made into ``None`` is no result, nor is one that a join got
    over: what failed runs again.
    """
    # Undo: a result that was undone is none; its path is to be taken out here.
    nodes = dict(walk(tree))
    found: dict[str, Result] = {}
    for event in events:
        path, seq = event.path, event.seq
        if isinstance(event, ev.StepCompleted):
            found[path] = Result("completed", event.output, None, seq)
        elif isinstance(event, ev.Decided):
            found[path] = Result("decided", None, event.choice, seq)
        elif isinstance(event, ev.SignalReceived):
            found[path] = Result("received", event.payload, None, seq)
        elif isinstance(event, ev.ResultKept):
            found[path] = Result(event.what, event.output, event.choice, seq)
        elif isinstance(event, ev.TimerFired) and event.key == "sleep":
            found[path] = Result("slept", None, None, seq)
        elif isinstance(event, ev.TimerFired) and event.key == "wait":
            node = nodes.get(path)
            if isinstance(node, WaitSpec) and node.default is not None:
                found[path] = Result("received", None, None, seq)
    return found


def kept(
    tree: WorkflowSpec, done: Mapping[str, Result], start: str | None = None
) -> dict[str, Result]:
    """Return the results that a rerun keeps, by path, in declared order.

    Args:
        tree: what both runs execute.
        done: the results of the run that is repeated.
        start: the path of the node from which to run again; ``None``: from what did not complete.
    """
    keeping = _Keeping(done, start, _around(tree, start))
    for node in tree.nodes:
        if not keeping.enter(node, ""):
            break
    return keeping.kept


class _Keeping:
    """Enters the nodes of a tree as far as what is done reaches.

    Args:
        done: the results that there are.
        start: the path of the node that is to run again.
        around: the paths of the nodes around that one.
    """

    def __init__(self, done: Mapping[str, Result], start: str | None, around: set[str]) -> None:
        self.kept: dict[str, Result] = {}
        self._done = done
        self._start = start
        self._around = around

    def enter(self, node: NodeSpec, prefix: str) -> bool:
        """Keep what is done of a node; return whether that is all of it."""
        path = join_path(prefix, node.id)
        if path == self._start:
            return False
        return self._inside(node, prefix, path) and path not in self._around

    def _inside(self, node: NodeSpec, prefix: str, path: str) -> bool:
        if isinstance(node, PassthroughSpec):
            return True
        if isinstance(node, WorkflowSpec):
            return all(self.enter(inner, path) for inner in node.nodes)
        if isinstance(node, ParallelSpec):
            complete = sum([self.enter(branch, prefix) for branch in node.branches])
            tally = joins.Tally(len(node.branches), completed=complete)
            return joins.verdict(node.join, tally) is not None
        result = self._done.get(path)
        if result is None:
            return False
        self.kept[path] = result
        if not isinstance(node, ChoiceSpec) or result.choice is None:
            return True
        chosen = node.nodes[result.choice :][:1]  # none: it was skipped
        return all(self.enter(inner, prefix) for inner in chosen)


def _around(tree: WorkflowSpec, start: str | None) -> set[str]:
    """Return the paths of the nodes that the node at ``start`` is inside of."""
    around: dict[str, str] = {}  # of each node, the one around it
    stack: list[tuple[str, str, NodeSpec]] = [("", "", node) for node in tree.nodes]
    while stack:
        prefix, outer, node = stack.pop()
        path = join_path(prefix, node.id)
        around[path] = outer
        inner = path if isinstance(node, WorkflowSpec) else prefix
        stack.extend((inner, path, child) for child in children(node))
    found: set[str] = set()
    path = around.get(start, "") if start is not None else ""
    while path:
        found.add(path)
        path = around[path]
    return found


def locate(tree: WorkflowSpec, name: str) -> str:
    """Return the path of the node that a name stands for: a path, or an id that only one has.

    Raises:
        InputInvalidError: there is none, or there are several.
    """
    paths = [path for path, _ in walk(tree)]
    if name in paths:
        return name
    ids = [path.rpartition("/")[2] for path in paths]
    same = [path for path, node_id in zip(paths, ids, strict=True) if node_id == name]
    if len(same) == 1:
        return same[0]
    if same:
        listed = ", ".join(map(repr, same))
        raise InputInvalidError(
            f"{name!r} stands at several places of workflow {tree.id!r}; give the path: {listed}"
        )
    import difflib  # only needed here

    close = difflib.get_close_matches(name, {*paths, *ids}, 3)
    shown = " or ".join(map(repr, close))
    more = ", …" if len(paths) > _LISTED else ""
    hint = f"did you mean {shown}?" if close else f"it has {', '.join(paths[:_LISTED])}{more}"
    raise InputInvalidError(f"workflow {tree.id!r} has no step {name!r}; {hint}")
