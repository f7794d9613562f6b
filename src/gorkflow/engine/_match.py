"""Whether the code at hand can carry on a run that was started with another definition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gorkflow import events as ev
from gorkflow.engine import _conditions
from gorkflow.engine._executors import misplaced
from gorkflow.engine._fits import can_read, unfit_types
from gorkflow.engine._recorded import read_by
from gorkflow.flow import (
    DecisionSpec,
    MapSpec,
    NodeSpec,
    PauseSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    undo_path,
    walk,
)
from gorkflow.language.options import misfits
from gorkflow.machine.history import read

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.machine.reach import Reach


def differences(
    tree: WorkflowSpec,
    definition: Definition,
    events: Sequence[ev.Event],
    executors: frozenset[str] | None = None,
) -> list[str]:
    """Return what keeps the code from running a run on, types aside; empty: nothing does.

    Every function that the run can still reach must exist.

    Args:
        tree: what the run executes.
        definition: the code at hand.
        events: the run's history; of a rerun, what it keeps.
        executors: the names that the engine has executors for; ``None``: it does not matter.
    """
    if definition.tree == tree:
        return []
    reach = read(events[0].run_id, tree, events).reach()
    here = dict(walk(definition.tree))
    problems: list[str] = []
    for path, node in walk(tree):
        now = here.get(path)
        if isinstance(node, MapSpec | DecisionSpec):
            if reach.asks(path):
                problems += _function_differences(path, node, now, definition)
        elif isinstance(node, StepSpec):
            problems += _reached_differences(path, node, now, reach)
            problems += _setting_differences(path, node, definition, reach)
            if executors is not None:
                problems += _misplaced(path, node, definition, reach, executors)
        elif isinstance(node, WaitSpec) and reach.matters(path):
            problems += _wait_differences(path, node, now, ended=not reach.begins(path))
        if isinstance(node, PauseSpec) and node.asks and reach.asks(path):
            problems += _time_differences(path, node, now)
    return problems


def _function_differences(
    path: str,
    then: MapSpec | DecisionSpec,
    now: NodeSpec | None,
    definition: Definition,
) -> list[str]:
    if isinstance(then, MapSpec):
        gone = then.keyed and path not in definition.keys
        return [f"the key function of {path!r} is gone"] if gone else []
    changed = _conditions.problem(path, then, now)
    return [] if changed is None else [changed]


def _time_differences(path: str, then: PauseSpec, now: NodeSpec | None) -> list[str]:
    asks = now.asks if isinstance(now, PauseSpec) else None
    if asks is None:
        return [f"the function that says the time of {path!r} is gone"]
    if then.asks is not None and then.asks.is_due != asks.is_due:
        said, now_said = "how long {} takes", "when it is over"
        if then.asks.is_due:
            said, now_said = "when {} is over", "how long it takes"
        return [f"the function that says {said.format(repr(path))} now says {now_said}"]
    return []


def _wait_differences(path: str, then: WaitSpec, now: object, *, ended: bool) -> list[str]:
    if not isinstance(now, WaitSpec):
        return [] if ended else [f"the wait {path!r} for signal {then.signal!r} is gone"]
    if then.signal != now.signal:
        return [] if ended else [f"{path!r} waits for another signal than {then.signal!r}"]
    return []


def _reached_differences(path: str, then: StepSpec, now: object, reach: Reach) -> list[str]:
    problems: list[str] = []
    if reach.matters(path):
        problems += _step_differences(path, then, now, ended=not reach.begins(path))
    if reach.undoes(path):
        problems += _undo_differences(path, then, now)
    return problems


def _setting_differences(
    path: str, then: StepSpec, definition: Definition, reach: Reach
) -> Iterator[str]:
    """Yield what keeps a step, and the one that undoes it, from taking the run's own settings.

    What the code at hand binds does not matter.
    """
    taken = {path: then.settings} if reach.begins(path) else {}
    if then.undo is not None and reach.undoes(path):
        taken[undo_path(path)] = then.undo.step.settings
    for at, settings in taken.items():
        step = definition.steps.get(at)
        for problem in () if step is None else misfits(step.parameters, settings):
            yield f"step {at!r} {problem}"


def _step_differences(path: str, then: StepSpec, now: object, *, ended: bool) -> list[str]:
    if not isinstance(now, StepSpec):
        return [] if ended else [f"step {path!r} is gone"]
    if not ended and (then.executor == "loop") != (now.executor == "loop"):
        return [f"step {path!r} has changed between async and sync"]
    return []


def _undo_differences(path: str, then: StepSpec, now: object) -> list[str]:
    """Return what keeps the code from undoing a step."""
    if then.undo is None:
        return []
    if not isinstance(now, StepSpec) or now.undo is None:
        return [f"the undo step of {path!r} is gone"]
    problems = _step_differences(undo_path(path), then.undo.step, now.undo.step, ended=False)
    if then.undo.inputs != now.undo.inputs:
        problems.append(f"the undo step of {path!r} is given other inputs")
    return problems


def _misplaced(
    path: str, then: StepSpec, definition: Definition, reach: Reach, executors: frozenset[str]
) -> Iterator[str]:
    """Yield what keeps a step, and the one that undoes it, from running where it should."""
    placed = {path: then.executor} if reach.begins(path) else {}
    if then.undo is not None and reach.undoes(path):
        placed[undo_path(path)] = then.undo.step.executor
    for at, executor in placed.items():
        code = definition.steps.get(at)
        problem = "" if code is None else misplaced(code, executor, executors)
        if problem:
            yield problem


def type_differences(
    tree: WorkflowSpec, definition: Definition, events: Sequence[ev.Event], *, thorough: bool
) -> list[str]:
    """Return what of the types does not fit; empty: all does.

    Args:
        tree: what the run executes.
        definition: the code at hand.
        events: the run's history; of a rerun, what it keeps.
        thorough: whether to read every value, since one could not be read before.
    """
    accepted = [event for event in events if isinstance(event, ev.TypesAccepted)]
    if accepted and accepted[-1].fingerprint == definition.fingerprint:
        return []
    if definition.tree == tree and not thorough and can_read(definition):
        return []  # as nearly always: the code is that of the run
    return unfit_types(
        tree, definition, events, read(events[0].run_id, tree, events).reach(), thorough=thorough
    )


def carried_on(definition: Definition, tree: WorkflowSpec, text: str) -> Definition:
    """Return the code's functions under the tree that a run was started with, options included."""
    if definition.text == text:
        return definition
    conditions = _conditions.in_order_of(tree, definition.tree, definition.conditions)
    return replace(read_by(definition, tree, text), conditions=conditions)
