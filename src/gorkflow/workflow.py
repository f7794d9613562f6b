"""Workflows: immutable, typed chains of nodes, checked with every call that makes them grow."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, cast, overload

from gorkflow._text import brief, suggesting_option
from gorkflow.definition import Definition, compile_chain
from gorkflow.errors import WorkflowInvalidError
from gorkflow.language._overloads import Arms_co, ChoosingMethods, FluentMethods
from gorkflow.language.blocks import make_block, make_map
from gorkflow.language.callables import Condition, condition_problems
from gorkflow.language.decisions import Arm, Choice, make_loop
from gorkflow.language.elements import (
    UNSET,
    duplicates,
    nested,
    node_problems,
    passthrough,
    replaced,
    with_signals,
)
from gorkflow.language.growth import (
    Growth,
    RunsNothing,
    WorkflowDroppedWarning,
    call_that_drops,
)
from gorkflow.language.options import (
    StepDefaults,
    annotation_problems,
    defaults_problems,
    id_problems,
    merged,
    tag_problems,
    text_problems,
    timeout_of,
    unknown_options,
)
from gorkflow.language.pauses import make_sleep, make_wait
from gorkflow.language.typecheck import NOTHING, Element, Place, Value, Walk, ids_of, seen_of
from gorkflow.node import In_contra, Node, Out_co

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from types import UnionType

__all__ = ["Choosing", "Workflow", "WorkflowDroppedWarning", "passthrough"]

T = TypeVar("T")

_MAX_DEPTH = 50


class Workflow(FluentMethods[In_contra, Out_co], RunsNothing):
    """An immutable, typed chain of nodes. Each method returns a new, checked workflow.

    A workflow is a node itself: it can be a branch of a block, or a link of another chain.

    Example:
        from gorkflow import Workflow, run, step

        @step
        def words(text: str) -> list[str]:
            return text.split()

        @step
        def length(word: str) -> int:
            return len(word)

        @step
        def longest(lengths: list[int]) -> int:
            return max(lengths)

        flow = Workflow("longest", input=str).then(words).map(length).then(longest)
        assert run(flow, "a pot of tea", store="memory:") == 3

    Args:
        id: Unique where the workflow is looked up, and within a workflow that holds it.
        input: The type of its input. ``None``: it takes none.
        name: For people. By default, the id.
        description: For people.
        version: For people. Every run keeps the definition it was started with.
        tags: Strings by name, which every run gets.
        defaults: Options that its steps inherit, field by field.
        timeout: Seconds (or a ``timedelta``) from when it is entered. By default, none.

    Raises:
        WorkflowInvalidError: If one of these is not valid.
    """

    @overload
    def __init__(
        self: Workflow[object, None],
        id: str,
        *,
        input: None = None,
        name: str | None = None,
        description: str = "",
        version: str = "1",
        tags: Mapping[str, str] | None = None,
        defaults: StepDefaults | None = None,
        timeout: float | timedelta | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: Workflow[T, T],
        id: str,
        *,
        input: type[T],
        name: str | None = None,
        description: str = "",
        version: str = "1",
        tags: Mapping[str, str] | None = None,
        defaults: StepDefaults | None = None,
        timeout: float | timedelta | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: Workflow[Any, Any],
        id: str,
        *,
        input: UnionType,
        name: str | None = None,
        description: str = "",
        version: str = "1",
        tags: Mapping[str, str] | None = None,
        defaults: StepDefaults | None = None,
        timeout: float | timedelta | None = None,
    ) -> None: ...
    @suggesting_option
    def __init__(
        self,
        id: str,
        *,
        input: Any = None,
        name: str | None = None,
        description: str = "",
        version: str = "1",
        tags: Mapping[str, str] | None = None,
        defaults: StepDefaults | None = None,
        timeout: float | timedelta | None = None,
    ) -> None:
        problems = id_problems("workflow", id)
        if input is not None:
            problems += annotation_problems("input is", input)
        if defaults is not None:
            problems += defaults_problems(defaults)
        seconds = timeout_of(timeout, problems)
        if tags is not None:
            problems += tag_problems(tags)
        problems += text_problems(name=name or "", description=description, version=version)
        if problems:
            raise WorkflowInvalidError(id if isinstance(id, str) else brief(id), problems)
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
            signals={},
            limits={},
            depth=1,
            _value=Value(NOTHING if input is None else input),
            _ids=frozenset(),
            _seen=frozenset(),
            _compiled={},
            _growth=Growth(),
        )

    _value: Value
    _growth: Growth
    _ids: frozenset[str]
    _seen: frozenset[str]
    """Those of the ids whose outputs later steps may read."""
    _compiled: dict[Any, Definition]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: other workflows and runs share this one.

        Raises:
            AttributeError: If it is called at all.
        """
        raise AttributeError(f"workflow {self.id!r} is immutable; its methods return new ones")

    def __repr__(self) -> str:
        """Return the id and the elements."""
        inside = ", ".join(item.id for item in self.elements)
        return f"<workflow {self.id!r}: {inside or 'empty'}>"

    def _with_node(self, node: Any, /) -> Workflow[Any, Any]:
        problems = node_problems((node,))
        return self.grown(None if problems else node, problems)

    def _with_block(
        self, branches: tuple[Any, ...], unknown: Mapping[str, Any], /, **options: Any
    ) -> Workflow[Any, Any]:
        problems = unknown_options(unknown, options)
        return self.grown(make_block(branches, problems=problems, **options), problems)

    def _with_map(
        self, node: Any, unknown: Mapping[str, Any], /, **options: Any
    ) -> Workflow[Any, Any]:
        problems = unknown_options(unknown, options)
        return self.grown(make_map(node, problems=problems, **options), problems)

    def _with_loop(
        self, node: Any, unknown: Mapping[str, Any], /, **options: Any
    ) -> Workflow[Any, Any]:
        problems = unknown_options(unknown, options)
        return self.grown(make_loop(node, problems=problems, **options), problems)

    def _with_sleep(self, duration: Any, until: Any, sleep_id: str | None) -> Workflow[Any, Any]:
        problems: list[str] = []
        return self.grown(make_sleep(duration, until, sleep_id, problems), problems)

    def _with_wait(
        self, signal: Any, timeout: Any, until: Any, default: Any, wait_id: str | None
    ) -> Workflow[Any, Any]:
        problems: list[str] = []
        wait = make_wait(signal, timeout, until, default, wait_id, problems)
        return self.grown(wait, problems)

    def _with_option(
        self, condition: Any, node: Any, default: Any, choice_id: str | None
    ) -> Workflow[Any, Any]:
        problems = condition_problems(condition) + node_problems((node,))
        if choice_id is not None:
            problems += id_problems("choice", choice_id)
        if problems:
            return self.grown(None, problems)
        choice = Choice(
            f"?{node.id}" if choice_id is None else choice_id,
            (Arm(Condition(condition), node),),
            default=None if default is UNSET else default,
            has_default=default is not UNSET,
        )
        return self.grown(choice, problems)

    def _choosing(
        self, condition: Any, node: Any, choice_id: str | None
    ) -> Choosing[Any, Any, Any]:
        problems = [] if choice_id is None else id_problems("choice", choice_id)
        start: Choosing[Any, Any, Any] = Choosing(self, (), choice_id, problems)
        return start.when(condition, node)

    def replace(self, old: Node[Any, Any] | str, new: Node[Any, Any]) -> Self:
        """Return the workflow with one node swapped, say for a fake in a test.

        The new node takes over the id of the old one, so its readers still find it.

        Args:
            old: The node, or its id; looked up in nested workflows too.
            new: A node whose types fit in the place of the old one.

        Raises:
            WorkflowInvalidError: If there is no such node, or the new one does not fit.
        """
        problems = node_problems((new,))
        if not isinstance(old, str | Node):
            problems.append(f"replace takes a node or its id as old, not {brief(old)}")
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
            defaults: Those of the engine, which steps inherit last.

        Raises:
            WorkflowInvalidError: If it is empty, or not valid under these defaults.
        """
        problems = [] if defaults is None else defaults_problems(defaults)
        if problems:
            raise WorkflowInvalidError(self.id, problems)
        inherited = merged({}, defaults)
        key = tuple(sorted(inherited.items()))
        found = self._compiled.get(key)
        if found is None:
            self._growth.check(self.id)
            found, problems = compile_chain(self, inherited)
            if problems:
                raise WorkflowInvalidError(self.id, problems)
            self._compiled[key] = found
        return found

    def grown(self, element: Element | None, problems: list[str]) -> Workflow[Any, Any]:
        """Return the workflow with another element, checked in its place.

        Args:
            element: ``None`` if its arguments are too wrong to make one.
            problems: The problems that were found so far.

        Raises:
            WorkflowInvalidError: If there are problems.
        """
        if element is None or not isinstance(element.id, str):
            raise WorkflowInvalidError(self.id, problems)
        ids = ids_of(element)
        seen = seen_of(element)
        problems += duplicates(element, ids, self._ids)
        signals = with_signals(self.signals, element, problems)
        depth = max(self.depth, *(1 + inner.depth for inner in nested(element)), 0)
        if depth > _MAX_DEPTH:
            problems.append(f"workflows are nested {depth} deep; {_MAX_DEPTH} is the limit")
        walk = Walk(limits=self.limits)
        place = Place("", merged({}, self.defaults), (self._seen,))
        value = element.typed(walk, self._value, place)
        problems += walk.problems
        unresolved = {**self.unresolved, **walk.unresolved}
        problems += [
            f"step {unresolved[item]!r} reads {item!r}, which only runs after it"
            for item in seen
            if item in unresolved
        ]
        if problems:
            raise WorkflowInvalidError(self.id, problems)
        for inner in nested(element):
            inner.__dict__["_growth"].is_used = True
        growth = Growth(call_that_drops(self.id))
        grown = self._copy(
            elements=(*self.elements, element),
            output=value.annotation,
            unresolved=unresolved,
            signals=signals,
            limits=walk.limits,
            depth=depth,
            _value=value,
            _ids=self._ids.union(ids),
            _seen=self._seen.union(seen),
            _growth=growth,
        )
        return self._growth.add(grown, growth)

    def rebuilt(self, elements: tuple[Element, ...]) -> Self:
        """Return the workflow with other elements, checked from the start."""
        empty = Value(NOTHING if self.input is None else self.input)
        workflow: Workflow[Any, Any] = self._copy(
            elements=(),
            output=self.input,
            unresolved={},
            signals={},
            limits={},
            depth=1,
            _value=empty,
            _ids=frozenset(),
            _seen=frozenset(),
        )
        for element in elements:
            workflow = workflow.grown(element, [])
        return cast("Self", workflow)

    def renamed(self, node_id: str) -> Self:
        """Return a copy under another id."""
        return self._copy(id=node_id)

    def _copy(self, **changes: Any) -> Self:
        copy = object.__new__(type(self))
        object.__setattr__(copy, "id", changes.pop("id", self.id))
        self._growth.is_used = True
        copy.__dict__.update({**self.__dict__, "_growth": Growth(), **changes, "_compiled": {}})
        return copy


class Choosing(ChoosingMethods[In_contra, Out_co, Arms_co]):
    """A choice that is being written: ``.when(…)`` as often as needed, then ``.otherwise(…)``."""

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        arms: tuple[Arm, ...],
        id: str | None,
        problems: list[str],
    ) -> None:
        self._workflow = workflow
        self._arms = arms
        self._id = id
        self._problems = problems

    if not TYPE_CHECKING:  # type checkers know what there is

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"a choice has to end with .otherwise(node) before .{name}")

    def _or_choosing(self, condition: Any, node: Any) -> Choosing[Any, Any, Any]:
        problems = self._problems + condition_problems(condition) + node_problems((node,))
        if problems:
            raise WorkflowInvalidError(self._workflow.id, problems)
        call_that_drops(self._workflow.id)
        arms = (*self._arms, Arm(Condition(condition), node))
        return Choosing(self._workflow, arms, self._id, [])

    def otherwise(self, node: Node[Out_co, T]) -> Workflow[In_contra, Arms_co | T]:
        """Return the workflow with the choice at its end; this node runs where nothing holds.

        Raises:
            WorkflowInvalidError: If a node of the choice can't stand there; it lists why.
        """
        problems = node_problems((node,))
        if problems:
            raise WorkflowInvalidError(self._workflow.id, problems)
        choice_id = f"?{self._arms[0].node.id}" if self._id is None else self._id
        choice = Choice(choice_id, self._arms, otherwise=node)
        return self._workflow.grown(choice, [])
