"""The elements of a workflow: what all share, the passthrough, and the workflow as a node."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from gorkflow._text import brief
from gorkflow.annotations import describe
from gorkflow.codec import codec_of
from gorkflow.errors import WorkflowInvalidError
from gorkflow.flow import PassthroughSpec, StepSpec, WorkflowSpec
from gorkflow.language.options import (
    StepDefaults,
    annotation_problems,
    function_problem,
    id_problems,
    merged,
)
from gorkflow.language.steps import is_step
from gorkflow.language.typecheck import NOTHING, Element, Place, Record, Value, Walk, seen_of
from gorkflow.node import In_contra, Node, Out_co

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gorkflow.hooks import OnEnd
    from gorkflow.policy import Limit

T = TypeVar("T")

UNSET: Any = object()
"""Stands for an option that was not given, where ``None`` is a value."""


class Passthrough(Node[T, T], Element, Generic[T]):
    """A node that passes its input on. Made by ``passthrough``."""

    __slots__ = ("annotation",)

    id: str

    def __init__(self, annotation: Any, node_id: str) -> None:
        self.id = node_id
        self.annotation = annotation

    @property
    def inputs(self) -> tuple[tuple[str, Any], ...]:
        return (("value", self.annotation),)

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Check that it takes a value, which it passes on."""
        walk.fit(self.id, self.inputs, value)
        walk.record.outputs[place.at(self.id)] = self.annotation
        return Value(self.annotation, sources=(self.id,), ids=value.ids | {self.id})

    def compiled(self, record: Record, place: Place) -> PassthroughSpec:
        return PassthroughSpec(id=self.id)

    def renamed(self, node_id: str) -> Passthrough[T]:
        return Passthrough(self.annotation, node_id)

    def __repr__(self) -> str:
        return f"<passthrough {self.id!r} of {describe(self.annotation)}>"


def passthrough(annotation: type[T], /, *, id: str = "passthrough") -> Passthrough[T]:
    """Return a node that passes its input on, to keep it beside the results of other branches.

    Example:
        from gorkflow import Workflow, passthrough, run, step

        @step
        def length(text: str) -> int:
            return len(text)

        flow = Workflow("sized", input=str).parallel(passthrough(str), length)
        assert run(flow, "tea", store="memory:") == ("tea", 3)

    Args:
        annotation: The type of its value.
        id: Unique in the workflow; needed for a second one.

    Raises:
        WorkflowInvalidError: If the id is not valid, or values of this type can't be written as
            JSON.
    """
    problems = id_problems("passthrough", id) + annotation_problems("passthrough takes", annotation)
    if problems:
        raise WorkflowInvalidError(str(id), problems)
    return Passthrough(annotation, id)


class Chain(Node[In_contra, Out_co], Element):
    """A workflow without the methods that make it grow."""

    id: str
    name: str
    description: str
    version: str
    input: Any
    """The annotation of what it takes; ``None``: it takes nothing."""
    output: Any
    """The annotation of what it gives, as far as its own defaults decide."""
    tags: Mapping[str, str]
    defaults: StepDefaults
    timeout: float | None
    on_end: OnEnd | None
    """The function that is called when a run of it has ended."""
    queue: str | None
    """The queue of its runs; ``None``: it names none."""
    elements: tuple[Element, ...]
    unresolved: Mapping[str, str]
    """Reads of nodes that are not inside: the id, and the step that reads it."""
    signals: Mapping[str, Any]
    """The signals that are waited for inside: the annotations of their payloads, by name."""
    limits: Mapping[str, Limit]
    """The named limits that steps inside take, by name, as far as its own defaults decide."""
    depth: int
    """Levels of workflows, itself included."""

    def rebuilt(self, elements: tuple[Element, ...]) -> Self:
        """Return the workflow with other elements, checked from the start."""
        raise NotImplementedError

    def renamed(self, node_id: str) -> Self:
        raise NotImplementedError

    @property
    def inputs(self) -> tuple[tuple[str, Any], ...]:
        return () if self.input is None else (("input", self.input),)

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Check that it takes a value; compiling, look into it again."""
        if not self.elements:
            walk.problems.append(f"workflow {self.id!r} is empty; give it a step with .then(…)")
        # What it calls by an id is its own node, also while that has not ended: a reader must not
        # get the one outside first, and that one later.
        ids = value.ids.difference(*map(seen_of, self.elements))
        walk.fit(self.id, self.inputs, value, what="workflow")
        inner = Value(NOTHING if self.input is None else self.input, ids=ids)
        output = self.output
        if walk.compiles or place.defaults.get("continue_on_error"):
            own: set[str] = set()
            inside = Place(
                place.at(self.id),
                merged(place.defaults, self.defaults),
                (own, *place.before),
                place.siblings,
            )
            output = walk.sequence(self.elements, inner, inside, own).annotation
            walk.record.outputs[inside.prefix] = output
        else:
            # It was walked when it was made; only inherited options or the scope around could
            # change what was found.
            for limit in self.limits.values():
                walk.limit(limit, f"workflow {self.id!r}")
            for wanted, reader in self.unresolved.items():
                walk.read(wanted, reader, value, place)
        # What is inside stays unseen.
        return Value(output, sources=(self.id,), ids=frozenset((self.id,)))

    def compiled(self, record: Record, place: Place) -> WorkflowSpec:
        return tree_of(self, record, Place(place.at(self.id), place.defaults))


def tree_of(chain: Chain[Any, Any], record: Record, place: Place) -> WorkflowSpec:
    """Return a workflow as data; the place has the options that it inherits from outside."""
    inside = place._replace(defaults=merged(place.defaults, chain.defaults))
    nodes = tuple([item.compiled(record, inside) for item in chain.elements])
    last = nodes[-1] if nodes else None
    return WorkflowSpec(
        id=chain.id,
        nodes=nodes,
        name=chain.name,
        description=chain.description,
        version=chain.version,
        timeout=chain.timeout,
        takes_input=chain.input is not None,
        input_schema="" if chain.input is None else codec_of(chain.input).digest(),
        # Where it ends in a step, that says what comes out.
        output_schema=last.output_schema if isinstance(last, StepSpec) else "",
    )


# ---- what a workflow grows by ------------------------------------------------------------------


def make_node(problems: list[str], *, node: Any) -> Any:
    """Return a node as an element, or ``None`` if it can't be one; add its problems."""
    problems += node_problems((node,))
    return None if problems else node


def duplicates(element: Element, ids: list[str], taken: frozenset[str]) -> list[str]:
    """Return which ids of an element are taken, also by itself, and how to give others."""
    twice = [item for item, count in Counter(ids).items() if count > 1 or item in taken]
    return [
        f"the id {item!r} is taken; give one of the two another: "
        # An id that none was given for begins with a sign, such as `&`.
        + (f"{item}.options(id=…)" if element.named_by_options and item[0].isalnum() else "id=…")
        for item in twice
    ]


def nested(element: Element) -> list[Chain[Any, Any]]:
    """Return the workflows directly inside an element, or the element if it is one."""
    return [node for node in (element.inside() or (element,)) if isinstance(node, Chain)]


def with_signals(
    known: Mapping[str, Any], element: Element, problems: list[str]
) -> Mapping[str, Any]:
    """Return the signals that a workflow waits for, with those of an element.

    A sender names a run and a signal, so one name can't stand for two types.
    """
    new = [*element.awaited()]
    for chain in nested(element):
        new += chain.signals.items()
    if not new:
        return known
    found = dict(known)
    for name, annotation in new:
        if found.setdefault(name, annotation) != annotation:
            problems.append(
                f"signal {name!r} is waited for as {describe(found[name])} and as "
                f"{describe(annotation)}; give one of the two another name"
            )
    return found


def node_problems(nodes: Sequence[Any]) -> list[str]:
    """Return why some of these can't stand in a workflow, and what to write instead."""
    return [problem for node in nodes if (problem := _node_problem(node))]


def _node_problem(node: Any) -> str:
    if isinstance(node, Node):
        return ""
    if problem := function_problem(node):
        return problem
    if isinstance(node, type):
        return f"{node.__name__!r} is a class, not a step"
    if isinstance(node, list | tuple):
        return "got a list; unpack it: parallel(*branches)"
    if hasattr(node, "otherwise"):
        return "a choice is not complete: end it with .otherwise(node)"
    return f"{brief(node, 80)} is not a step or workflow (was a step called instead of given?)"


# ---- swapping a node ---------------------------------------------------------------------------


def replaced(
    elements: tuple[Element, ...], old_id: str, new: Any
) -> tuple[tuple[Element, ...], bool]:
    """Return elements with the node of an id swapped, and whether there was one.

    The new node takes over the id. The nearest scope wins: nested workflows are searched where
    this one has no such node.
    """
    for nested_too in (False, True):
        swap = _Swap(old_id, renamed(new, old_id), nested=nested_too)
        result = tuple(map(swap.element, elements))
        if swap.found:
            return result, True
    return elements, False


def renamed(node: Any, node_id: str) -> Any:
    """Return a copy of a node under another id."""
    return node if node.id == node_id else node.renamed(node_id)


class _Swap:
    def __init__(self, old_id: str, new: Node[Any, Any], *, nested: bool) -> None:
        self._old_id = old_id
        self._new = new
        self._nested = nested
        self.found = False

    def element(self, element: Element) -> Element:
        if element.inside():
            return element.with_inside(self.node)
        node: Any = element
        changed: Any = self.node(node)
        return cast("Element", changed)

    def node(self, node: Node[Any, Any]) -> Node[Any, Any]:
        if node.id == self._old_id:
            self.found = True
            return self._new
        if is_step(node) and node.undone_by is not None and node.undone_by.id == self._old_id:
            self.found = True
            return node.with_undo(self._new)
        if self._nested and isinstance(node, Chain):
            elements, found = replaced(node.elements, self._old_id, self._new)
            if found:
                self.found = True
                return node.rebuilt(elements)
        return node
