"""Whether the code at hand can carry on a run that was started with another definition."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gorkflow import events as ev
from gorkflow.engine import _conditions
from gorkflow.engine._executors import misplaced
from gorkflow.errors import StoreCorruptError
from gorkflow.flow import (
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    from_json,
    join_path,
    undo_path,
    walk,
)

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.store import Loaded


_ENDS = ev.StepCompleted | ev.StepCancelled | ev.StepSkipped | ev.SignalReceived | ev.ResultKept


def tree_of(loaded: Loaded) -> WorkflowSpec:
    """Return the tree that a run executes.

    Raises:
        StoreCorruptError: it can't be read: it is damaged, or holds what only newer code knows.
    """
    try:
        return from_json(loaded.tree)
    except ValueError as error:
        raise StoreCorruptError(
            f"the definition of run {loaded.row.run_id!r} can't be read: {error}; use the version "
            "of gorkflow that started it, or restore it from a backup"
        ) from error


def differences(
    tree: WorkflowSpec,
    definition: Definition,
    events: Iterable[ev.Event],
    executors: frozenset[str] | None = None,
) -> list[str]:
    """Return what keeps the code from carrying on a run; empty: it can.

    Every function that the run can still reach must exist with the same input and output schema.

    Args:
        tree: what the run executes.
        definition: the code at hand.
        events: the run's history; steps that have ended are not needed any more.
        executors: the names that the engine has executors for; ``None``: it does not matter.
    """
    if definition.tree == tree:
        return []
    ended = _ended(tree, events)
    here = dict(walk(definition.tree))
    problems: list[str] = []
    if tree.input_schema != definition.tree.input_schema:
        problems.append("the type of the workflow's input has changed")
    for path, node in walk(tree):
        if isinstance(node, MapSpec | ChoiceSpec | LoopSpec):
            problems += _function_differences(
                path, node, here.get(path), definition, ended=path in ended
            )
        elif isinstance(node, StepSpec):
            now = here.get(path)
            problems += _step_differences(path, node, now, ended=path in ended)
            problems += _undo_differences(path, node, now, ended=undo_path(path) in ended)
            placed = {path: node.executor}
            if node.undo is not None:
                placed[undo_path(path)] = node.undo.step.executor
            for at, executor in placed.items():
                code = definition.steps.get(at)
                if code is not None and executors is not None and at not in ended:
                    problems += filter(None, [misplaced(code, executor, executors)])
        elif isinstance(node, WaitSpec):
            problems += _wait_differences(path, node, here.get(path), ended=path in ended)
    return problems


def _function_differences(
    path: str,
    then: MapSpec | ChoiceSpec | LoopSpec,
    now: NodeSpec | None,
    definition: Definition,
    *,
    ended: bool,
) -> list[str]:
    if ended:
        return []
    if isinstance(then, MapSpec):
        gone = then.keyed and path not in definition.keys
        return [f"the key function of {path!r} is gone"] if gone else []
    changed = _conditions.problem(path, then, now)
    return [] if changed is None else [changed]


def _ended(tree: WorkflowSpec, events: Iterable[ev.Event]) -> set[str]:
    """Return where in the tree nothing begins any more.

    What is inside a map or loop has ended once the map or loop has: an item may end before others
    begin.
    """
    ended: set[str] = set()
    nodes = dict(walk(tree))
    for event in events:
        over_with = isinstance(event, _ENDS | ev.BlockDecided)
        failed = isinstance(event, ev.StepFailed) and event.retry_at is None
        # A loop whose condition did not hold asks it again; a choice is made once.
        decided = isinstance(event, ev.Decided) and (
            event.choice == 0 or isinstance(nodes.get(event.path), ChoiceSpec)
        )
        if over_with or failed or decided:
            ended.add(event.path)
    over: list[str] = []
    for path, node in nodes.items():
        if isinstance(node, MapSpec | LoopSpec) and path in ended:
            mark = "[]" if isinstance(node, MapSpec) else "#"
            over.append(join_path(path.rpartition("/")[0], node.body.id) + mark)
        elif any(path == inside or path.startswith(f"{inside}/") for inside in over):
            ended.add(path)
    return ended


def _wait_differences(path: str, then: WaitSpec, now: object, *, ended: bool) -> list[str]:
    if not isinstance(now, WaitSpec):
        return [] if ended else [f"the wait {path!r} for signal {then.signal!r} is gone"]
    if then.signal != now.signal:
        return [] if ended else [f"{path!r} waits for another signal than {then.signal!r}"]
    same = then.schema == now.schema
    return [] if same else [f"the type of signal {then.signal!r} has changed"]


def _step_differences(path: str, then: StepSpec, now: object, *, ended: bool) -> list[str]:
    if not isinstance(now, StepSpec):
        return [] if ended else [f"step {path!r} is gone"]
    problems: list[str] = []
    if then.output_schema != now.output_schema:
        problems.append(f"the output type of step {path!r} has changed")
    if not ended and then.input_schema != now.input_schema:
        problems.append(f"the input type of step {path!r} has changed")
    if not ended and (then.executor == "loop") != (now.executor == "loop"):
        problems.append(f"step {path!r} has changed between async and sync")
    return problems


def _undo_differences(path: str, then: StepSpec, now: object, *, ended: bool) -> list[str]:
    """Return what keeps the code from undoing a step: it may have to until the run has ended."""
    if then.undo is None or ended:
        return []
    if not isinstance(now, StepSpec) or now.undo is None:
        return [f"the undo step of {path!r} is gone"]
    problems = _step_differences(undo_path(path), then.undo.step, now.undo.step, ended=False)
    if then.undo.inputs != now.undo.inputs:
        problems.append(f"the undo step of {path!r} is given other inputs")
    return problems


def carried_on(definition: Definition, tree: WorkflowSpec, text: str) -> Definition:
    """Return the code's functions under the tree that a run was started with, options included."""
    if definition.text == text:
        return definition
    defaults = {
        path: (node.default.encode(), definition.defaults_of.get(path, (b"", Any))[1])
        for path, node in walk(tree)
        if isinstance(node, ChoiceSpec | WaitSpec) and node.default is not None
    }
    conditions = _conditions.in_order_of(tree, definition.tree, definition.conditions)
    return replace(definition, tree=tree, text=text, conditions=conditions, defaults_of=defaults)
