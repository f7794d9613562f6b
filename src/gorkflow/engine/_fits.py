"""Whether the types of the code at hand fit a run that was started with others.

They fit if each recorded value that may still be read reads as the new type, and the types of the
steps that may still run fit each other. What does not is named field by field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from gorkflow import events as ev
from gorkflow.annotations import NO_ITEMS, describe, fits, item_of, union_of
from gorkflow.codec import codec_of
from gorkflow.errors import ValueInvalidError
from gorkflow.flow import (
    LoopSpec,
    MapSpec,
    NodeSpec,
    PassthroughSpec,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    join_path,
    template_of,
    walk,
)

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.machine.reach import Reach

_NOTHING: Any = object()
_SHOWN = 3  # values of one step that a message tells of: a map may have 10,000


@dataclass(frozen=True, slots=True)
class _Source:
    """Where recorded values come from."""

    name: str
    annotation: Any
    changed: bool


def unfit_types(
    tree: WorkflowSpec,
    definition: Definition,
    events: Iterable[ev.Event],
    reach: Reach,
    *,
    thorough: bool,
) -> list[str]:
    """Return what does not fit: recorded values, then steps whose input is of another type.

    Args:
        tree: what the run executes.
        definition: the code at hand.
        events: the run's history; of a rerun, what it keeps.
        reach: what of the tree the run can still reach.
        thorough: whether to read every value, whatever has changed.
    """
    here = dict(walk(definition.tree))
    sources = dict(_sources(tree, definition, here, reach))
    return [
        *_unread(sources, events, thorough=thorough),
        *_unfit_inputs(tree, definition, here, reach),
    ]


def can_read(definition: Definition) -> bool:
    """Return whether all that this code records can be read for ever, whatever its types do."""
    outputs = [definition.outputs.get(path, Any) for path in definition.steps]
    annotations = (definition.input, *outputs, *definition.payloads.values())
    return all(codec_of(annotation).is_sure for annotation in annotations)


def _sources(
    tree: WorkflowSpec, definition: Definition, here: dict[str, NodeSpec], reach: Reach
) -> Iterator[tuple[str, _Source]]:
    """Yield what recorded values that may still be read, by the template of their path."""
    changed = tree.input_schema != definition.tree.input_schema
    yield "", _Source("the workflow's input", definition.input, changed)
    for path, then in walk(tree):
        now = here.get(path)
        if isinstance(then, StepSpec) and isinstance(now, StepSpec):
            if reach.matters(path) or reach.undoes(path):
                changed = then.output_schema != now.output_schema
                name = f"the output of step {path!r}"
                yield path, _Source(name, definition.outputs.get(path, Any), changed)
        elif isinstance(then, WaitSpec) and isinstance(now, WaitSpec) and reach.matters(path):
            name = f"signal {then.signal!r}"
            annotation = definition.payloads.get(path, Any)
            yield path, _Source(name, annotation, then.schema != now.schema)


def _unread(
    sources: dict[str, _Source], events: Iterable[ev.Event], *, thorough: bool
) -> list[str]:
    """Return which recorded values can't be read as the new types."""
    wanted = {
        path: source
        for path, source in sources.items()
        if thorough or source.changed or not codec_of(source.annotation).is_sure
    }
    problems: list[str] = []
    shown: dict[str, int] = {}
    for event in events if wanted else ():
        data = _recorded(event)
        source = None if data is None else wanted.get(template_of(event.path))
        if data is None or source is None:
            continue
        try:
            codec_of(source.annotation).decode(data)
        except ValueInvalidError as error:
            shown[source.name] = shown.get(source.name, 0) + 1
            if shown[source.name] <= _SHOWN:
                problems.append(
                    f"{source.name} can't be read as {describe(source.annotation)}: {error}"
                )
    return problems


def _recorded(event: ev.Event) -> bytes | None:
    match event:
        case ev.StepCompleted() | ev.ResultKept():
            return event.output
        case ev.SignalReceived():
            return event.payload
        case ev.RunCreated():
            return event.input
        case _:
            return None


def _unfit_inputs(
    tree: WorkflowSpec, definition: Definition, here: dict[str, NodeSpec], reach: Reach
) -> Iterator[str]:
    """Yield which steps that may still run are given what they don't take."""
    arriving: dict[str, Any] | None = None
    for path, then in walk(tree):
        now, step = here.get(path), definition.steps.get(path)
        if not isinstance(then, StepSpec) or not isinstance(now, StepSpec) or step is None:
            continue
        if then.input_schema == now.input_schema or not reach.begins(path):
            continue
        if arriving is None:
            arriving = _Arrivals(definition).of(tree)
        given, wanted = arriving.get(path, Any), step.wanted
        if not wanted:
            continue
        taken = wanted[0] if len(wanted) == 1 else tuple[tuple(wanted)]  # type: ignore[misc]
        if given is _NOTHING or not fits(given, taken):
            gets = "nothing" if given is _NOTHING else describe(given)
            yield f"step {path!r} takes {describe(taken)} now, and would be given {gets}"


class _Arrivals:
    """Follows the types of the code at hand through the tree that a run executes."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._found: dict[str, Any] = {}

    def of(self, tree: WorkflowSpec) -> dict[str, Any]:
        """Return the annotation that arrives at each node, by path."""
        given = _NOTHING if self._definition.input is None else self._definition.input
        self._chain(tree, "", given)
        return self._found

    def _chain(self, workflow: WorkflowSpec, path: str, value: Any) -> Any:
        for node in workflow.nodes:
            value = self._node(node, path, "", value)
        return value

    def _node(self, node: NodeSpec, prefix: str, mark: str, value: Any) -> Any:
        """Follow a value into a node; return what the node gives."""
        path = join_path(prefix, node.id) + mark
        self._found[path] = value
        outputs = self._definition.outputs
        match node:
            case PassthroughSpec() | SleepSpec():
                return value
            case WorkflowSpec():
                return self._chain(node, path, value if node.takes_input else _NOTHING)
            case StepSpec():
                found = outputs.get(path, Any)
                return union_of([found, None]) if node.continue_on_error else found
            case WaitSpec():
                payload = self._definition.payloads.get(path, Any)
                pair: Any = GenericAlias(tuple, (value, payload))
                return payload if value is _NOTHING else pair
            case MapSpec():
                item = Any if value is _NOTHING else item_of(value)
                self._node(node.body, prefix, node.mark, Any if item is NO_ITEMS else item)
            case LoopSpec():
                self._node(node.body, prefix, node.mark, value)
            case _:
                for child in node.children():
                    self._node(child, prefix, "", value)
        return outputs.get(path, Any)
