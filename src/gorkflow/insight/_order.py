"""Nodes that run one after another though the second needs nothing of the first."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any

from gorkflow.definition import Definition
from gorkflow.flow import (
    LoopSpec,
    MapSpec,
    ParallelSpec,
    PassthroughSpec,
    Place,
    StepSpec,
    WorkflowSpec,
)
from gorkflow.insight._advice import Advice
from gorkflow.insight._tree import named
from gorkflow.language._source import context_uses
from gorkflow.step import Step

_GIVING = (StepSpec, PassthroughSpec, ParallelSpec, MapSpec, LoopSpec, WorkflowSpec)
_READING = frozenset({"outputs", "outcome"})


def advise(root: Place, definition: Definition) -> Iterator[Advice]:
    """Yield the groups of nodes that could be branches of a block."""
    read = {
        item
        for place in root.walk()
        if isinstance(place.spec, StepSpec)
        for item in place.spec.reads
    }
    for place in root.walk():
        if isinstance(place.spec, WorkflowSpec):
            for group in _groups(place.inside(), definition):
                yield _advice(group, read, definition)


def _groups(places: list[Place], definition: Definition) -> Iterator[list[Place]]:
    group: list[Place] = []
    for place in places:
        before = frozenset(inner.spec.id for member in group for inner in member.walk())
        fits = _can_be_branches(place) and _is_free(place, before, definition)
        if not (group and fits and _only_gives(group[-1], definition)):
            if len(group) > 1:
                yield group
            group = []
        group.append(place)
    if len(group) > 1:
        yield group


def _can_be_branches(place: Place) -> bool:
    node = place.spec
    if isinstance(node, ParallelSpec):  # its branches become those of the new block
        return node.join.kind == "all" and node.max_concurrency is None and node.timeout is None
    return isinstance(node, StepSpec | WorkflowSpec)


def _only_gives(place: Place, definition: Definition) -> bool:
    """Return whether a node is there for what it gives: not to wait, nor for what it changes."""
    if not _can_be_branches(place):
        return False
    for inner in place.walk():
        if not isinstance(inner.spec, _GIVING):
            return False
        step = definition.steps.get(inner.path)
        if step is not None and (step.output in {None, NoneType} or "state" in _uses(step)):
            return False
    return True


def _is_free(place: Place, before: frozenset[str], definition: Definition) -> bool:
    """Return whether a node takes nothing, and reads nothing of the nodes before it."""
    node = place.spec
    if isinstance(node, ParallelSpec):
        return all(_is_free(branch, before, definition) for branch in place.inside())
    if isinstance(node, StepSpec):
        step = definition.steps.get(place.path)
        takes_nothing = step is not None and not step.params
    else:
        takes_nothing = isinstance(node, WorkflowSpec) and not node.takes_input
    return takes_nothing and not any(_reads(inner, before, definition) for inner in place.walk())


def _reads(place: Place, before: frozenset[str], definition: Definition) -> bool:
    """Return whether a step may read the output of one of the nodes before, or shared state."""
    step = definition.steps.get(place.path)
    if step is None or not isinstance(place.spec, StepSpec):
        return False
    if not before.isdisjoint(place.spec.reads):
        return True
    uses = _uses(step)
    if "state" in uses:
        return True
    return not _READING.isdisjoint(uses) and not before.isdisjoint(definition.readable[place.path])


def _uses(step: Step[Any, Any]) -> frozenset[str]:
    """Return what a step may use of its context: where that can't be told, all that matters."""
    if not step.takes_context:
        return frozenset()
    uses = context_uses(step.fn)
    return _READING | {"state", "deps"} if uses is None else uses


def _uses_deps(place: Place, definition: Definition) -> bool:
    steps = [definition.steps.get(inner.path) for inner in place.walk()]
    return any(step is not None and "deps" in _uses(step) for step in steps)


def _advice(group: list[Place], read: set[str], definition: Definition) -> Advice:
    names = ", ".join(
        branch.spec.id
        for place in group
        for branch in (place.inside() if isinstance(place.spec, ParallelSpec) else [place])
    )
    # What nobody reads may have been written for its effect, and then the order may matter; and so
    # it may where several use what the engine was given: a session, say, that one of them opens.
    surely = all(any(inner.spec.id in read for inner in place.walk()) for place in group[:-1])
    surely = surely and sum(_uses_deps(place, definition) for place in group) < 2
    condition = "" if surely else "unless their order matters, "
    return Advice(
        "sequential",
        group[1].path,
        f"{named(place.path for place in group)} run one after another, and each waits for the "
        f"one before without taking anything from it: {condition}make them branches, "
        f".parallel({names}); what follows then gets the tuple of what they give",
        "warning" if surely else "info",
    )
