"""Workflows: immutable, typed chains of nodes, checked with every call that makes them grow."""

from __future__ import annotations

import inspect
import os
import weakref
from opcode import opmap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, cast, overload

from gorkflow._notebook import Bundle, drawn
from gorkflow._text import brief, suggesting_option
from gorkflow.definition import Definition, compile_chain
from gorkflow.errors import WorkflowInvalidError
from gorkflow.language._overloads import NONE, Arms_co, ChoosingMethods, FluentMethods
from gorkflow.language.decisions import Arm, make_arm, make_choice
from gorkflow.language.elements import (
    duplicates,
    nested,
    node_problems,
    passthrough,
    replaced,
    with_signals,
)
from gorkflow.language.options import (
    StepDefaults,
    annotation_problems,
    chosen_id,
    defaults_problems,
    hook_problems,
    id_problems,
    merged,
    tag_problems,
    text_problems,
    timeout_of,
    unknown_options,
)
from gorkflow.language.signature import is_inside, warn
from gorkflow.language.typecheck import NOTHING, Element, Place, Value, Walk, ids_of, seen_of
from gorkflow.node import In_contra, Node, Out_co
from gorkflow.policy import queue_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from types import FrameType, UnionType

    from gorkflow.hooks import OnEnd

__all__ = ["Choosing", "Workflow", "WorkflowDroppedWarning", "passthrough"]

T = TypeVar("T")

Grown = TypeVar("Grown", bound="Workflow[Any, Any]")

_MAX_DEPTH = 50
_GROWS = frozenset(
    {"then", "parallel", "map", "loop", "then_if", "when", "otherwise", "sleep", "wait_for"}
)
_RUNS = frozenset({"run", "start", "execute", "submit", "delay", "invoke", "kickoff", "serve"})
_HOW_TO_RUN = (
    "write gorkflow.run(workflow, input), or, within asyncio, await engine.run(workflow, input)"
)
_POP, _CACHE = opmap["POP_TOP"], opmap["CACHE"]


class Workflow(FluentMethods[In_contra, Out_co]):
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
        on_end: A function that is called with each ``Run`` of this workflow that has ended, plain
            or async. A worker calls it at least once, and again until it returns.
        queue: The queue of its runs: only workers of that queue run them. ``None``: ``"default"``,
            or that of the run whose step starts them. Inside another workflow it has no effect.

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
        on_end: OnEnd | None = None,
        queue: str | None = None,
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
        on_end: OnEnd | None = None,
        queue: str | None = None,
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
        on_end: OnEnd | None = None,
        queue: str | None = None,
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
        on_end: OnEnd | None = None,
        queue: str | None = None,
    ) -> None:
        problems = id_problems("workflow", id)
        if input is not None:
            problems += annotation_problems("input is", input)
        if defaults is not None:
            problems += defaults_problems(defaults)
        seconds = timeout_of(timeout, problems)
        if tags is not None:
            problems += tag_problems(tags)
        if on_end is not None:
            problems += hook_problems(on_end)
        if queue is not None:
            problems += queue_problems(queue)
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
            tags=MappingProxyType(dict(tags or {})),
            defaults=MappingProxyType(merged({}, own)),
            timeout=seconds,
            on_end=on_end,
            queue=queue,
            _compiled={},
            _growth=Growth(),
            **_without_elements(input),
        )

    _value: Value
    _growth: Growth
    _ids: frozenset[str]
    _seen: frozenset[str]
    """Those of the ids whose outputs later steps may read."""
    _compiled: dict[Any, Definition]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Reject it: other workflows and runs share this one.

        Raises:
            AttributeError: If it is called at all.
        """
        raise AttributeError(f"workflow {self.id!r} is immutable; its methods return new ones")

    def __repr__(self) -> str:
        inside = ", ".join(item.id for item in self.elements)
        return f"<workflow {self.id!r}: {inside or 'empty'}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        """Return its drawing, for a notebook."""
        return drawn("workflow", self)

    def grown(
        self,
        make: Callable[..., Element | None],
        unknown: Mapping[str, Any] = NONE,
        /,
        **options: Any,
    ) -> Workflow[Any, Any]:
        """Return the workflow with another element at its end.

        Args:
            make: Makes the element of the options, ``None`` if they are too wrong to make one. Its
                first argument is a list, to which it adds their problems.
            unknown: Options that do not exist.
            **options: Those of the element.

        Raises:
            WorkflowInvalidError: If there are problems.
        """
        problems = unknown_options(unknown, options)
        return self._with_element(make(problems, **options), problems)

    def _choosing(self, choice_id: Any, /) -> Choosing[Any, Any, Any]:
        """Return a choice without arms. ``when`` is the same with types."""
        return Choosing(self, (), choice_id)

    if not TYPE_CHECKING:  # type checkers know what there is

        def __getattr__(self, name: str) -> NoReturn:
            hint = f"; {_HOW_TO_RUN}" if name in _RUNS else ""
            raise AttributeError(f"a workflow has no {name!r}{hint}", name=name, obj=self)

        def __call__(self, *_: object, **__: object) -> NoReturn:
            """Raise ``TypeError``, which says what to write."""
            raise TypeError(f"a workflow is not called; {_HOW_TO_RUN}")

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

    def _with_element(self, element: Element | None, problems: list[str]) -> Workflow[Any, Any]:
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
        workflow: Workflow[Any, Any] = self._copy(**_without_elements(self.input))
        for element in elements:
            workflow = workflow._with_element(element, [])
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

    def __init__(self, workflow: Workflow[Any, Any], arms: tuple[Arm, ...], id: Any) -> None:
        self._workflow = workflow
        self._arms = arms
        self._id = id

    if not TYPE_CHECKING:  # type checkers know what there is

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"a choice has to end with .otherwise(node) before .{name}")

    def _with_arm(self, condition: Any, node: Any) -> Choosing[Any, Any, Any]:
        """Add an arm. ``when`` is the same with types.

        Raises:
            WorkflowInvalidError: If the arm, or the id of the choice, is not valid.
        """
        problems: list[str] = []
        if not self._arms:
            chosen_id("choice", self._id, "", problems)
        arm = make_arm(problems, condition, node)
        if arm is None or problems:
            raise WorkflowInvalidError(self._workflow.id, problems)
        call_that_drops(self._workflow.id)
        return Choosing(self._workflow, (*self._arms, arm), self._id)

    def otherwise(self, node: Node[Out_co, T]) -> Workflow[In_contra, Arms_co | T]:
        """Return the workflow with the choice at its end; this node runs where nothing holds.

        Raises:
            WorkflowInvalidError: If a node of the choice can't stand there; it lists why.
        """
        return self._workflow.grown(make_choice, arms=self._arms, otherwise=node, id=self._id)


def _without_elements(annotation: Any) -> dict[str, Any]:
    return {
        "elements": (),
        "output": annotation,
        "unresolved": {},
        "signals": {},
        "limits": {},
        "depth": 1,
        "_value": Value(NOTHING if annotation is None else annotation),
        "_ids": frozenset[str](),
        "_seen": frozenset[str](),
    }


# ---- workflows that are dropped ----------------------------------------------------------------


class WorkflowDroppedWarning(UserWarning):
    """A method returned a new workflow that was not kept; a workflow is never changed in place.

    Example:
        import warnings

        from gorkflow import Workflow, WorkflowDroppedWarning, passthrough

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Workflow("nothing", input=int).then(passthrough(int))  # the new workflow is lost
        assert [each.category for each in caught] == [WorkflowDroppedWarning]
    """


class Growth:
    """The workflows that one grew into: when it runs, it warns if all of them were dropped.

    A workflow that was run, grew further, or stands in another one was used, alive or not.
    """

    __slots__ = ("_branched", "_grown", "is_used", "place")

    def __init__(self, place: str = "") -> None:
        self.place = place
        self.is_used = False
        self._branched = False
        """True if one that it grew into was used: then the others may be variants."""
        self._grown: list[tuple[weakref.ref[Workflow[Any, Any]], Growth]] = []

    def add(self, workflow: Grown, growth: Growth) -> Grown:
        """Remember what it grew into, which is returned, and forget what was used."""
        self.is_used = True
        left = [item for item in self._grown if not item[1].is_used]
        self._branched |= len(left) < len(self._grown)
        self._grown = [*left, (weakref.ref(workflow), growth)] if growth.place else left
        return workflow

    def check(self, workflow_id: str) -> None:
        """Warn, as the workflow is run, if all that it grew into was dropped."""
        self.is_used = True
        grown, self._grown = self._grown, []
        kept = self._branched or any(growth.is_used or workflow() for workflow, growth in grown)
        if grown and not kept:
            _warn(workflow_id, grown[-1][1].place)


def call_that_drops(workflow_id: str) -> str:
    """Return which call makes a workflow grow, and warn if its result is dropped right there."""
    inner, frame = None, inspect.currentframe()
    while frame is not None and is_inside(frame):
        inner, frame = frame, frame.f_back
    if inner is None or frame is None or inner.f_code.co_name not in _GROWS:
        return ""
    file = os.path.basename(frame.f_code.co_filename)  # noqa: PTH119 - the quicker one
    place = f".{inner.f_code.co_name}(…) in line {frame.f_lineno} of {file}"
    if _drops_result(frame):
        _warn(workflow_id, place)
        return ""
    return place


def _drops_result(frame: FrameType) -> bool:
    """Return whether the call that a frame is at is a statement of its own."""
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while at < len(code) and code[at] == _CACHE:
        at += 2
    return at < len(code) and code[at] == _POP


def _warn(workflow_id: str, place: str) -> None:
    warn(
        f"workflow {workflow_id!r}: the result of {place} was dropped, and a workflow never "
        "changes in place: write workflow = workflow.then(…)",
        WorkflowDroppedWarning,
    )
