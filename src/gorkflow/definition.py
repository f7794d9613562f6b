"""The definition of a workflow, as an engine needs it: the flow tree, and the code by path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gorkflow import flow
from gorkflow.codec import canonical
from gorkflow.language.elements import Chain, tree_of
from gorkflow.language.options import StepDefaults, merged
from gorkflow.language.signature import Condition
from gorkflow.language.steps import Step
from gorkflow.language.typecheck import NOTHING, Place, Value, Walk

if TYPE_CHECKING:
    from collections.abc import Mapping


class Definition(Struct, frozen=True, kw_only=True):
    """A compiled workflow. Plain data and functions; every option is resolved.

    A path in a map or loop is the template of the paths of its items or iterations.
    """

    workflow_id: str
    version: str
    tags: Mapping[str, str]
    tree: flow.WorkflowSpec
    text: str
    """The tree as canonical JSON; what a started run keeps."""
    fingerprint: str
    """The fingerprint of the text."""
    input: Any
    """The annotation of what the workflow takes; ``None``: nothing."""
    output: Any
    """The annotation of its output."""
    steps: Mapping[str, Step[Any, Any]]
    """By path."""
    conditions: Mapping[str, tuple[Condition, ...]]
    """The conditions of each choice, in order, and of each loop, by the choice's or loop's path."""
    keys: Mapping[str, Condition]
    """The functions that give the items of maps their keys, by the map's path."""
    times: Mapping[str, Condition]
    """The functions that say how long a sleep or wait takes, by its path."""
    outputs: Mapping[str, Any]
    """The annotation that each node's output is written under, by path: of a step, what its
    function returns, also where ``continue_on_error`` may put ``None`` in its place."""
    readable: Mapping[str, frozenset[str]]
    """Ids of the nodes that each step may read through its context, by the step's path. An id
    stands for the node in the nearest workflow around the step that has it, and for no other
    while that one has not ended."""
    defaults_of: Mapping[str, tuple[bytes, Any]]
    """The ``default=`` of choices and waits that have one, as JSON and its annotation, by path."""
    payloads: Mapping[str, Any]
    """The annotation of the signal that each wait is for, by the wait's path."""
    signals: Mapping[str, Any]
    """The annotation of each signal that is waited for, by its name."""


def without_code(workflow_id: str, tree: flow.WorkflowSpec, text: str) -> Definition:
    """Return what a stored tree alone says of a workflow: enough to record a run of it."""
    return Definition(
        workflow_id=workflow_id,
        version=tree.version,
        tags={},
        tree=tree,
        text=text,
        fingerprint=flow.fingerprint(text),
        input=None,
        output=None,
        steps={},
        conditions={},
        keys={},
        times={},
        outputs={},
        readable={},
        defaults_of={},
        payloads={},
        signals={},
    )


def compile_chain(chain: Chain[Any, Any], defaults: StepDefaults) -> tuple[Definition, list[str]]:
    """Return a workflow compiled under an engine's defaults, and every problem found."""
    walk = Walk(compiles=True)
    record = walk.record
    own: set[str] = set()
    place = Place("", merged(defaults, chain.defaults), (own,))
    start = Value(NOTHING if chain.input is None else chain.input)
    end = walk.sequence(chain.elements, start, place, own)
    if not chain.elements:
        walk.problems.append(
            "it is empty; give it a step and keep what that returns: workflow = workflow.then(step)"
        )
    walk.problems += [
        f"step {reader!r} reads {wanted!r}, which is not part of the workflow before it"
        for wanted, reader in walk.unresolved.items()
    ]
    output = None if end.annotation is NOTHING else end.annotation
    record.outputs[""] = output
    tree = tree_of(chain, record, Place("", defaults))
    text = flow.to_json(tree)
    definition = Definition(
        workflow_id=chain.id,
        version=chain.version,
        tags=chain.tags,
        tree=tree,
        text=text,
        fingerprint=flow.fingerprint(text),
        input=canonical(chain.input),
        output=output,
        steps=record.steps,
        conditions=record.conditions,
        keys=record.keys,
        times=record.times,
        outputs=record.outputs,
        readable=record.readable,
        defaults_of=record.defaults_of,
        payloads=record.payloads,
        signals=chain.signals,
    )
    return definition, walk.problems
