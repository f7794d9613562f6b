"""What a workflow holds besides steps: blocks, choices, conditions, passthroughs."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from gorkflow._record import record
from gorkflow._text import brief
from gorkflow.annotations import describe, fits
from gorkflow.errors import WorkflowInvalidError
from gorkflow.language._options import StepDefaults, annotation_problems, did_you_mean, id_problems
from gorkflow.language._signature import defaulted
from gorkflow.language.callables import is_async_function
from gorkflow.node import In_contra, Node, Out_co
from gorkflow.policy import Join, Limit, OnFailure, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

T = TypeVar("T")

UNSET: Any = object()
"""Stands for an option that was not given, where ``None`` is a value."""

_JOINS = {"all": Join("all"), "settled": Join("settled"), "first": Join("first")}
_ON_FAILURE = ("drain", "cancel")


class Passthrough(Node[T, T], Generic[T]):
    """A node that hands its input on. Made by ``passthrough``."""

    __slots__ = ("annotation",)

    id: str

    def __init__(self, annotation: Any, node_id: str) -> None:
        self.id = node_id
        self.annotation = annotation

    def __repr__(self) -> str:
        """Return the id and what it hands on."""
        return f"<passthrough {self.id!r} of {describe(self.annotation)}>"


def passthrough(annotation: type[T], /, *, id: str = "passthrough") -> Passthrough[T]:
    """Return a node that hands its input on, to keep it beside the results of other branches.

    Args:
        annotation: what it takes and gives.
        id: unique in the workflow; needed for a second one.

    Raises:
        WorkflowInvalidError: the id is none, or values of this type can't be written as JSON.
    """
    problems = id_problems("passthrough", id) + annotation_problems("passthrough takes", annotation)
    if problems:
        raise WorkflowInvalidError(str(id), problems)
    return Passthrough(annotation, id)


class Condition:
    """A function that decides, or gives a key or a time, called with the value as a step would be.

    Without a parameter it gets nothing, with one the whole value, with more the items of a tuple.
    """

    __slots__ = ("fn", "is_async", "name", "params", "returns", "unused")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.name: str = getattr(fn, "__name__", None) or type(fn).__name__
        if self.name == "<lambda>":
            self.name = f"<lambda in line {fn.__code__.co_firstlineno}>"  # to tell several apart
        self.is_async = is_async_function(fn)
        hints = _quiet_hints(fn)
        self.params: tuple[tuple[str, Any], ...] = tuple(
            (item.name, hints.get(item.name, Any)) for item in _required(fn)
        )
        self.unused: tuple[str, ...] = () if self.params else defaulted(_parameters(fn))
        """Parameters with a default, where there are no others: what comes would be dropped."""
        self.returns: Any = hints.get("return", Any)

    def __call__(self, value: Any) -> Any:
        """Return what the function decides about a value."""
        if not self.params:
            return self.fn()
        return self.fn(value) if len(self.params) == 1 else self.fn(*value)


def _required(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the positional parameters without a default; of ``*args``, where there is no other."""
    positional = [item for item in _parameters(fn) if item.kind <= inspect.Parameter.VAR_POSITIONAL]
    required = [item for item in positional if item.default is inspect.Parameter.empty]
    named = [item for item in required if item.kind is not inspect.Parameter.VAR_POSITIONAL]
    return named or required


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    value = inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)
    if isinstance(fn, type) and fn.__module__ == "builtins":
        return [value]  # such as bool, which has a default from Python 3.13 on
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return [value]


def _quiet_hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # noqa: BLE001 - a condition's annotations only help to check it
        return {}


def condition_problems(fn: Any) -> list[str]:
    """Return why something can't be a condition."""
    if inspect.iscoroutine(fn):
        fn.close()
        return ["the condition was called; give the function itself, without ()"]
    if isinstance(fn, Node):
        return [f"{fn!r} is no condition; give a function that returns a bool"]
    if not callable(fn):
        return [f"a condition must be a function that returns a bool, not {brief(fn)}"]
    returns = Condition(fn).returns
    if not fits(returns, bool):
        return [f"condition {Condition(fn).name!r} must return bool, not {describe(returns)}"]
    return []


@record
class Block:
    """A parallel block."""

    id: str
    branches: tuple[Node[Any, Any], ...]
    join: Join
    on_failure: OnFailure
    max_concurrency: int | None
    timeout: float | None


@record
class Arm:
    """A condition and the node that runs where it holds."""

    condition: Condition
    node: Node[Any, Any]


@record
class Choice:
    """The first arm whose condition holds; else ``otherwise``; else the node is skipped."""

    id: str
    arms: tuple[Arm, ...]
    otherwise: Node[Any, Any] | None = None
    default: Any = None
    """When skipped, if ``has_default``; else the choice's own input."""
    has_default: bool = False

    @property
    def nodes(self) -> tuple[Node[Any, Any], ...]:
        """Every node that may run."""
        arms = tuple(arm.node for arm in self.arms)
        return arms if self.otherwise is None else (*arms, self.otherwise)


@record
class Map:
    """A body that runs for every item of a list."""

    id: str
    body: Node[Any, Any]
    key: Condition | None
    """The function that gives the items their keys."""
    join: Join
    on_failure: OnFailure
    max_concurrency: int | None
    timeout: float | None


@record
class Loop:
    """A body that runs again with what it gave, until a condition holds."""

    id: str
    body: Node[Any, Any]
    until: Condition
    max_iterations: int


@record
class Time:
    """How long a sleep or wait takes. At most one of these is set; none: for ever."""

    seconds: float | None = None
    until: float | None = None
    """Seconds since the epoch."""
    function: Condition | None = None
    """Says one of the two from the value."""
    is_due: bool = False
    """Whether the function says the second."""


@record
class Sleep:
    """A time to wait; what comes in goes on."""

    id: str
    time: Time


@record
class Wait:
    """A signal to wait for."""

    id: str
    signal: str
    """Its name."""
    annotation: Any
    """Of its payload."""
    time: Time
    default: Any = None
    """When timed out, if ``has_default``; else the wait fails."""
    has_default: bool = False


Element = Node[Any, Any] | Block | Map | Choice | Loop | Sleep | Wait


class Chain(Node[In_contra, Out_co]):
    """What a workflow holds, without the methods that make it grow."""

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
        """Return a copy under another id."""
        raise NotImplementedError


def node_problems(nodes: Sequence[Any]) -> list[str]:
    """Return why some of these can't stand in a workflow, and what to write instead."""
    return [problem for node in nodes if (problem := _node_problem(node))]


def _node_problem(node: Any) -> str:
    if isinstance(node, Node):
        return ""
    if inspect.iscoroutine(node):
        name = node.__name__
        node.close()
        return f"{name!r} was called; give the step itself: {name}, not {name}(…)"
    if inspect.isroutine(node):
        name = node.__name__
        if name == "<lambda>":
            return "a lambda is no step; write a function, with @step above it"
        return f"{name!r} is a plain function; write @step above `def {name}`"
    if isinstance(node, type):
        return f"{node.__name__!r} is a class, not a step"
    if isinstance(node, list | tuple):
        return "got a list; unpack it: parallel(*branches)"
    if hasattr(node, "otherwise"):
        return "a choice is not complete: end it with .otherwise(node)"
    return f"{_brief(node)} is no step or workflow (was a step called instead of given?)"


def _brief(item: Any) -> str:
    try:
        text = repr(item)
    except Exception:  # noqa: BLE001 - somebody else's __repr__
        text = f"a {type(item).__name__}"
    return text if len(text) <= 80 else f"a {type(item).__name__}"


def make_block(
    branches: tuple[Any, ...],
    *,
    join: Any,
    on_failure: Any,
    max_concurrency: Any,
    timeout: float | timedelta | None,
    id: Any,
    problems: list[str],
) -> Block | None:
    """Return a block, or ``None`` where there is too little to go on; add what is wrong with it."""
    if not branches:
        problems.append("a parallel block needs at least one branch")
    bad = node_problems(branches)
    problems += bad
    rule = join_of(join, problems)
    problems += _join_problems(rule, len(branches))
    seconds = block_timeout(on_failure, max_concurrency, timeout, problems)
    if id is not None:
        problems += id_problems("block", id)
    if bad or not branches:
        return None
    block_id = f"&{branches[0].id}" if id is None else id
    return Block(block_id, branches, rule, on_failure, max_concurrency, seconds)


def join_of(join: Any, problems: list[str]) -> Join:
    """Return the rule that a join is written for."""
    rule = _JOINS.get(join) if isinstance(join, str) else join
    if isinstance(rule, Join):
        return rule
    problems.append(f"unknown join {brief(join)}; {_join_hint(join)}")
    return _JOINS["all"]


def block_timeout(
    on_failure: Any,
    max_concurrency: Any,
    timeout: float | timedelta | None,
    problems: list[str],
) -> float | None:
    """Check the options that blocks and maps share, and return the timeout in seconds."""
    if on_failure not in _ON_FAILURE:
        problems.append(f"on_failure must be 'drain' or 'cancel', not {brief(on_failure)}")
    if max_concurrency is not None and not is_count(max_concurrency):
        problems.append(
            f"max_concurrency must be a whole number of 1 or more, not {brief(max_concurrency)}"
        )
    return timeout_of(timeout, problems)


def is_count(number: Any) -> bool:
    """Return whether it is a whole number from 1."""
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1


def timeout_of(timeout: float | timedelta | None, problems: list[str]) -> float | None:
    """Return a timeout in seconds, ``None`` for none or an infinite one."""
    if timeout is None:
        return None
    try:
        seconds = seconds_of(timeout, "timeout")
    except (TypeError, ValueError) as error:
        problems.append(str(error))
        return None
    return None if seconds == float("inf") else seconds


def _join_hint(join: Any) -> str:
    known = [*_JOINS, "at_least(n)", "tolerate(n)"]
    return did_you_mean(join, known) if isinstance(join, str) else f"there are: {', '.join(known)}"


def _join_problems(join: Join, branches: int) -> list[str]:
    if join.kind == "at_least" and (join.count or 0) > branches:
        return [f"join {join} can never be met by {branches} branches"]
    everything = join.count is not None and join.count >= branches
    if join.kind == "tolerate" and branches and (everything or join.percent == 100):
        return [f"join {join} could never fail with {branches} branches; write join='settled'"]
    return []
