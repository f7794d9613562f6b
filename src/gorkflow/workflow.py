"""Workflows: immutable, typed chains of nodes, checked with every call that makes them grow."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar

from gorkflow._elements import (
    Arm,
    Block,
    Chain,
    Choice,
    Condition,
    Element,
    Passthrough,
    annotation_problems,
    condition_problems,
    make_block,
    node_problems,
    passthrough,
    timeout_of,
)
from gorkflow._fit import NOTHING, Value
from gorkflow._options import (
    StepDefaults,
    defaults_problems,
    id_problems,
    merged,
    unknown_options,
)
from gorkflow._replace import replaced
from gorkflow._walk import Place, Walk, ids_of
from gorkflow.definition import Definition, compile_chain
from gorkflow.errors import WorkflowInvalidError
from gorkflow.node import In_contra, Node, Out_co
from gorkflow.policy import Join, OnFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

__all__ = ["Choosing", "Workflow", "passthrough"]

_MAX_DEPTH = 50
_UNSET: Any = type("Unset", (), {"__repr__": lambda _: "…"})()
_BLOCK_OPTIONS = ("join", "on_failure", "max_concurrency", "timeout", "id")


class Workflow(Chain[In_contra, Out_co], Generic[In_contra, Out_co]):
    """An immutable, typed chain of nodes. Each method returns a new, checked workflow.

    A workflow is a node itself: it can be a branch of a block, or a link of another chain.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - as users say it
        *,
        input: Any = None,  # noqa: A002, ANN401 - an annotation
        name: str | None = None,
        description: str = "",
        version: str = "1",
        tags: Mapping[str, str] | None = None,
        defaults: StepDefaults | None = None,
        timeout: float | timedelta | None = None,
    ) -> None:
        """Begin a workflow.

        Args:
            id: unique where the workflow is looked up, and within a workflow that holds it.
            input: the type of what it takes; ``None``: it takes nothing.
            name: for people; the id unless given.
            description: for people.
            version: for people; every run keeps the definition it was started with.
            tags: go onto every run.
            defaults: options that its steps inherit, field by field.
            timeout: seconds (or ``timedelta``) from when it is entered; none.

        Raises:
            WorkflowInvalidError: some of these can't be.
        """
        problems = id_problems("workflow", id)
        if input is not None:
            problems += annotation_problems("input is", input)
        if defaults is not None:
            problems += defaults_problems(defaults)
        seconds = timeout_of(timeout, problems)
        if tags is not None:
            problems += _tag_problems(tags)
        problems += [
            f"{what} must be a string, not {text!r}"
            for what, text in (("name", name or ""), ("description", description), ("version", version))
            if not isinstance(text, str)
        ]
        if problems:
            raise WorkflowInvalidError(str(id), problems)
        object.__setattr__(self, "id", id)
        own: StepDefaults = defaults or {}
        self.__dict__.update(
            name=name or id,
            description=description,
            version=version,
            input=input,
            output=input,
            tags=MappingProxyType(dict(tags or {})),
            defaults=MappingProxyType(merged({}, own)),
            timeout=seconds,
            elements=(),
            unresolved={},
            depth=1,
            _value=Value(NOTHING if input is None else input),
            _ids=frozenset(),
            _compiled={},
        )

    _value: Value
    _ids: frozenset[str]
    _compiled: dict[Any, Definition]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: other workflows and runs share this one.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"workflow {self.id!r} is immutable; its methods return new ones")

    def __repr__(self) -> str:
        """Return the id and the elements."""
        inside = ", ".join(item.id for item in self.elements)
        return f"<workflow {self.id!r}: {inside or 'empty'}>"

    def then(self, node: Any) -> Any:
        """Return the workflow with another node at its end.

        Args:
            node: a step, ``passthrough``, or a whole workflow; it gets what the chain gives so far.

        Raises:
            WorkflowInvalidError: it can't stand there; lists why.
        """
        problems = node_problems((node,))
        return self._grown(None if problems else node, problems)

    def parallel(
        self,
        *branches: Any,
        join: Any = "all",
        on_failure: Any = "drain",
        max_concurrency: int | None = None,
        timeout: float | timedelta | None = None,
        id: str | None = None,  # noqa: A002
        **unknown: Any,
    ) -> Any:
        """Return the workflow with a block of branches at its end."""
        problems = unknown_options(unknown, _BLOCK_OPTIONS)
        block = make_block(
            branches,
            join=join,
            on_failure=on_failure,
            max_concurrency=max_concurrency,
            timeout=timeout,
            id=id,
            problems=problems,
        )
        return self._grown(block, problems)

    def then_if(
        self,
        condition: Any,
        node: Any,
        *,
        default: Any = _UNSET,
        id: str | None = None,  # noqa: A002
    ) -> Any:
        """Return the workflow with a node at its end that only runs where a condition holds.

        Args:
            condition: gets the value, sync or async, and returns a bool; recorded, never retried.
            node: what runs where it does.
            default: the value where it does not; without it the input goes on as it is.
            id: of the choice; ``?`` and the node's id.

        Raises:
            WorkflowInvalidError: it can't stand there; lists why.
        """
        problems = condition_problems(condition) + node_problems((node,))
        if id is not None:
            problems += id_problems("choice", id)
        if problems:
            return self._grown(None, problems)
        choice = Choice(
            f"?{node.id}" if id is None else id,
            (Arm(Condition(condition), node),),
            default=None if default is _UNSET else default,
            has_default=default is not _UNSET,
        )
        return self._grown(choice, problems)

    def when(self, condition: Any, node: Any, *, id: str | None = None) -> Any:  # noqa: A002
        """Begin a choice: the first node whose condition holds runs.

        Go on with ``.when(…)``, and end with ``.otherwise(node)``.

        Args:
            condition: gets the value, sync or async, and returns a bool; recorded, never retried.
            node: what runs where it does.
            id: of the choice; ``?`` and the first node's id.

        Raises:
            WorkflowInvalidError: the condition is no function, or the node no node.
        """
        problems = [] if id is None else id_problems("choice", id)
        return Choosing(self, (), id, problems).when(condition, node)

    def replace(self, old: Node[Any, Any] | str, new: Node[Any, Any]) -> Self:
        """Return the workflow with one node swapped, say for a fake in a test.

        The new node takes over the id of the old one, so whatever reads it still does.

        Args:
            old: the node, or its id; looked up in nested workflows too.
            new: takes what the old one took and gives what the next one takes.

        Raises:
            WorkflowInvalidError: there is no such node, or the new one does not fit.
        """
        problems = node_problems((new,))
        if problems:
            raise WorkflowInvalidError(self.id, problems)
        old_id = old if isinstance(old, str) else old.id
        elements, found = replaced(self.elements, old_id, new)
        if not found:
            raise WorkflowInvalidError(self.id, [f"there is no node {old_id!r} to replace"])
        return self.rebuilt(elements)

    def compile(self, defaults: StepDefaults | None = None) -> Definition:
        """Return the workflow as an engine takes it; remembered.

        Args:
            defaults: the engine's, which steps inherit last.

        Raises:
            WorkflowInvalidError: it is empty, or does not hold under these defaults.
        """
        problems = [] if defaults is None else defaults_problems(defaults)
        if problems:
            raise WorkflowInvalidError(self.id, problems)
        inherited = merged({}, defaults)
        key = tuple(sorted(inherited.items()))
        found = self._compiled.get(key)
        if found is None:
            found, problems = compile_chain(self, inherited)
            if problems:
                raise WorkflowInvalidError(self.id, problems)
            self._compiled[key] = found
        return found

    def _grown(self, element: Element | None, problems: list[str]) -> Self:
        """Return the workflow with another element, checked in its place."""
        if element is None:
            raise WorkflowInvalidError(self.id, problems)
        ids = ids_of(element)
        taken = self._ids.union(ids)
        problems += _duplicates(ids, self._ids)
        depth = max(self.depth, *(1 + inner.depth for inner in _nested(element)), 0)
        if depth > _MAX_DEPTH:
            problems.append(f"workflows are nested {depth} deep; {_MAX_DEPTH} is the limit")
        walk = Walk()
        place = Place("", merged({}, self.defaults), (self._ids,))
        value = walk.element(element, self._value, place)
        problems += walk.problems
        unresolved = {**self.unresolved, **walk.unresolved}
        problems += [
            f"step {unresolved[item]!r} reads {item!r}, which only runs after it"
            for item in ids
            if item in unresolved
        ]
        if problems:
            raise WorkflowInvalidError(self.id, problems)
        return self._copy(
            elements=(*self.elements, element),
            output=value.annotation,
            unresolved=unresolved,
            depth=depth,
            _value=value,
            _ids=taken,
        )

    def rebuilt(self, elements: tuple[Element, ...]) -> Self:
        """Return the workflow with other elements, checked from the start."""
        empty = Value(NOTHING if self.input is None else self.input)
        workflow = self._copy(
            elements=(),
            output=self.input,
            unresolved={},
            depth=1,
            _value=empty,
            _ids=frozenset(),
        )
        for element in elements:
            workflow = workflow._grown(element, [])  # noqa: SLF001 - one of ours
        return workflow

    def renamed(self, node_id: str) -> Self:
        """Return a copy under another id."""
        return self._copy(id=node_id)

    def _copy(self, **changes: Any) -> Self:  # noqa: ANN401 - of any attribute
        copy = object.__new__(type(self))
        object.__setattr__(copy, "id", changes.pop("id", self.id))
        copy.__dict__.update({**self.__dict__, **changes, "_compiled": {}})
        return copy


class Choosing(Generic[In_contra, Out_co]):
    """A choice that is being written: ``.when(…)`` as often as needed, then ``.otherwise(…)``."""

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        arms: tuple[Arm, ...],
        id: str | None,  # noqa: A002
        problems: list[str],
    ) -> None:
        self._workflow = workflow
        self._arms = arms
        self._id = id
        self._problems = problems

    def when(self, condition: Any, node: Any) -> Any:
        """Add a node that runs where this condition is the first to hold.

        Raises:
            WorkflowInvalidError: the condition is no function, or the node no node.
        """
        problems = self._problems + condition_problems(condition) + node_problems((node,))
        if problems:
            raise WorkflowInvalidError(self._workflow.id, problems)
        arms = (*self._arms, Arm(Condition(condition), node))
        return Choosing(self._workflow, arms, self._id, [])

    def otherwise(self, node: Any) -> Any:
        """Return the workflow with the choice at its end; this node runs where nothing holds.

        Raises:
            WorkflowInvalidError: a node of the choice can't stand there; lists why.
        """
        problems = node_problems((node,))
        if problems:
            raise WorkflowInvalidError(self._workflow.id, problems)
        choice_id = f"?{self._arms[0].node.id}" if self._id is None else self._id
        choice = Choice(choice_id, self._arms, otherwise=node)
        return self._workflow._grown(choice, [])  # noqa: SLF001 - two halves of one thing


def _tag_problems(tags: Any) -> list[str]:  # noqa: ANN401 - whatever was given
    try:
        items = dict(tags).items()
    except (TypeError, ValueError):
        return [f"tags must be a mapping of strings, not {tags!r}"]
    return [
        f"tags must be strings, not {key!r}: {value!r}"
        for key, value in items
        if not isinstance(key, str) or not isinstance(value, str)
    ]


def _duplicates(ids: list[str], taken: frozenset[str]) -> list[str]:
    seen = set[str]()
    twice: dict[str, None] = {}
    for item in ids:
        if item in seen or item in taken:
            twice[item] = None
        seen.add(item)
    return [
        f"the id {item!r} is taken; give one of the two another: "
        + ("id=…" if item[0] in "&?" else f"{item}.options(id=…)")
        for item in twice
    ]


def _nested(element: Element) -> list[Chain[Any, Any]]:
    if isinstance(element, Block):
        nodes = element.branches
    elif isinstance(element, Choice):
        nodes = element.nodes
    else:
        nodes = (element,)
    return [node for node in nodes if isinstance(node, Chain)]
