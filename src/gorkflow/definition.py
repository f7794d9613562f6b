"""The definition of a workflow, as an engine needs it: the flow tree, and the code by path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import field
from msgspec.structs import asdict, force_setattr

from gorkflow import flow
from gorkflow.codec import canonical
from gorkflow.language.elements import Chain, tree_of
from gorkflow.language.options import StepDefaults, merged
from gorkflow.language.steps import Step
from gorkflow.language.typecheck import NOTHING, Place, Record, Value, Walk
from gorkflow.values.secret import has_mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gorkflow.hooks import OnEnd


class Definition(Record, eq=True, frozen=True, kw_only=True):
    """A compiled workflow. Plain data and functions; every option is resolved.

    A path in a map or loop is the template of the paths of its items or iterations.
    """

    workflow_id: str
    version: str
    tags: Mapping[str, str] = {}
    tree: flow.WorkflowSpec
    text: str
    """The tree as canonical JSON; what a started run keeps."""
    fingerprint: str
    """The fingerprint of the text."""
    steps: dict[str, Step[Any, Any]] = field(default_factory=dict)
    input: Any = None
    """The annotation of what the workflow takes; ``None``: nothing."""
    output: Any = None
    """The annotation of its output."""
    signals: Mapping[str, Any] = {}
    """The annotation of each signal that is waited for, by its name."""
    has_secrets: bool = False
    """Whether a setting or a default is a secret."""
    on_end: OnEnd | None = None
    """The hook of the workflow."""
    queue: str | None = None
    """The queue of its runs; ``None``: it names none."""

    def __post_init__(self) -> None:
        """Look for secrets once, not for each run."""
        found = has_mark(self.text.replace('\\"', '"'))
        force_setattr(self, "has_secrets", found)


def without_code(workflow_id: str, tree: flow.WorkflowSpec, text: str) -> Definition:
    """Return what a stored tree alone says of a workflow: enough to record a run of it."""
    return Definition(
        workflow_id=workflow_id,
        version=tree.version,
        tree=tree,
        text=text,
        fingerprint=flow.fingerprint(text),
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
        signals=chain.signals,
        on_end=chain.on_end,
        queue=chain.queue,
        **asdict(record),
    )
    return definition, walk.problems
