"""The options of steps: checked when given, resolved when a workflow is compiled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypedDict, cast

from gorkflow._text import brief
from gorkflow.annotations import describe
from gorkflow.codec import codec_of
from gorkflow.errors import StepInvalidError, ValueInvalidError
from gorkflow.node import Node
from gorkflow.policy import ID_PATTERN, Limit, RetryPolicy, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

INHERITED = ("timeout", "retries", "continue_on_error", "limits")
OWN = ("id", "name", "description", "reads", "executor")
_OF_TYPES = frozenset({"types", "typing", "typing_extensions"})
"""Where the classes of annotations are from that are no classes themselves."""
_NO_RETRIES = RetryPolicy(retries=0)


class StepDefaults(TypedDict, total=False):
    """Options that steps inherit, field by field: from a workflow, or from the engine."""

    timeout: float | timedelta
    """Seconds per attempt; ``math.inf``: none."""
    retries: int | RetryPolicy
    """Attempts after the first, or a whole policy."""
    continue_on_error: bool
    """Whether a final failure becomes the value ``None``."""
    limits: Sequence[Limit]
    """Named limits that its attempts take before they run. ``()``: none."""


class StepOptions(TypedDict, total=False):
    """The options of ``@step``, but for ``continue_on_error``, which changes the type."""

    id: str | None
    """Unique in a workflow; the function's name."""
    name: str | None
    """For people; the id."""
    description: str | None
    """For people; the first line of the docstring."""
    timeout: float | timedelta | None
    """Seconds per attempt, from when the handler begins; none. ``math.inf``: none, though one would
    be inherited."""
    retries: int | RetryPolicy | None
    """Attempts after the first, or a whole policy; none."""
    executor: str | None
    """Where it runs: ``"process"``, or a name given to ``Engine(executors={…})``; unless given,
    ``async def`` on the event loop (``"loop"``) and ``def`` in a thread (``"thread"``)."""
    limits: Sequence[Limit] | None
    """Named limits that its attempts take before they run; none. ``()``: none, though some would be
    inherited."""
    reads: Sequence[Node[Any, Any]] | None
    """Earlier nodes whose outputs it reads through its context."""


def annotation_problems(what: str, annotation: Any) -> list[str]:
    """Return why values of an annotation can't be written as JSON, if so."""
    if isinstance(annotation, FunctionType | MethodType):  # pydantic would call it to validate
        return [f"{what} {describe(annotation)}, which is a function; write a type"]
    is_type = isinstance(annotation, type | str | None)
    if not is_type and type(annotation).__module__ not in _OF_TYPES:
        kind = describe(type(annotation))
        return [f"{what} {brief(annotation, 80)}, a value; give its type: {kind}"]
    try:
        codec_of(annotation).prepare()
    except ValueInvalidError as error:
        return [f"{what} {describe(annotation)}, which can't be written as JSON: {error}"]
    return []


def did_you_mean(name: str, known: Iterable[str], or_else: str | None = None) -> str:
    """Return ``did you mean 'x'?``, or else what there is, unless something else is given."""
    known = list(known)
    import difflib  # only for errors

    close = difflib.get_close_matches(name if isinstance(name, str) else "", known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are: {', '.join(known)}" if or_else is None else or_else


def unknown_options(given: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return a problem for each option that does not exist."""
    known = list(known)
    return [
        f"unknown option {brief(name)}; {did_you_mean(name, known)}"
        for name in given
        if name not in known
    ]


def id_problems(what: str, value: Any) -> list[str]:
    """Return what is wrong with an id."""
    if isinstance(value, str) and ID_PATTERN.fullmatch(value):
        return []
    problem = (
        f"{what} id {brief(value, 200)} must be 1 to 100 letters, digits, '_', '.' or '-', "
        "and begin with a letter or digit"
    )
    return [problem]


def inherited_problems(options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the options that can be inherited."""
    problems: list[str] = []
    timeout = options.get("timeout")
    if timeout is not None:
        try:
            seconds_of(timeout, "timeout")
        except (TypeError, ValueError) as error:
            problems.append(f"{error}; math.inf means no timeout")
    retries = options.get("retries")
    if retries is not None and not isinstance(retries, RetryPolicy):
        try:
            RetryPolicy(retries=retries)
        except (TypeError, ValueError) as error:
            problems.append(str(error))
    optional = options.get("continue_on_error")
    if optional is not None and not isinstance(optional, bool):
        problems.append(f"continue_on_error must be True or False, not {brief(optional)}")
    return problems + _limits_problems(options.get("limits"))


def _limits_problems(limits: Any) -> list[str]:
    if limits is None:
        return []
    if not isinstance(limits, tuple | list):
        return [f"limits must be a tuple of Limit, such as limits=(github,), not {brief(limits)}"]
    items = cast("tuple[Any, ...]", limits)
    problems = [
        f"limits must hold Limit, not {brief(item)}" for item in items if type(item) is not Limit
    ]
    names = [item.name for item in items if type(item) is Limit]
    twice = sorted({name for name in names if names.count(name) > 1})
    return problems + [f"limit {name!r} is given twice; give it once" for name in twice]


def defaults_problems(defaults: Any) -> list[str]:
    """Return what is wrong with a ``defaults=``."""
    if not isinstance(defaults, Mapping):
        return [f"defaults must be a mapping of step options, not {brief(defaults)}"]
    options = cast("Mapping[str, Any]", defaults)
    own = [
        f"option {name!r} can't be inherited; give it to the step"
        for name in options
        if name in OWN
    ]
    unknown = unknown_options((name for name in options if name not in OWN), INHERITED)
    return own + unknown + inherited_problems(options)


def option_problems(options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the options of a step."""
    problems = unknown_options(options, (*OWN, *INHERITED)) + inherited_problems(options)
    for name in ("name", "description"):
        if not isinstance(options.get(name, ""), str):
            problems.append(f"{name} must be a string, not {brief(options[name])}")
    executor = options.get("executor", "loop")
    if not isinstance(executor, str) or not ID_PATTERN.fullmatch(executor):
        problems.append(
            f"executor must be 'process', or a name given to Engine(executors={{…}}), not "
            f"{brief(executor)}"
        )
    reads = options.get("reads", ())
    if not isinstance(reads, tuple | list):
        problems.append(
            f"reads must be a tuple of nodes, such as reads=(prepare,), not {brief(reads)}"
        )
    else:
        problems += [
            f"reads must hold steps or other nodes, not {brief(item)}"
            for item in cast("tuple[Any, ...]", reads)
            if not isinstance(item, Node)
        ]
    return problems


def checked_options(options: Mapping[str, Any], label: str) -> None:
    """Raise unless these can be the options of a step.

    Raises:
        StepInvalidError: one is unknown or out of range; lists all of these.
    """
    problems = id_problems("step", options["id"]) + option_problems(options)
    if problems:
        raise StepInvalidError(f"{label}: {'; '.join(problems)}")


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say something: ``None`` says nothing."""
    return {name: value for name, value in options.items() if value is not None}


def merged(outer: StepDefaults, inner: Mapping[str, Any] | None) -> StepDefaults:
    """Return defaults with those of an inner workflow on top, field by field."""
    if not inner:
        return outer
    given = {name: value for name, value in inner.items() if value is not None}
    if "limits" in given:
        given["limits"] = tuple(given["limits"])  # it may be a list, and has to be hashable
    return cast("StepDefaults", {**outer, **given})


def resolved_timeout(options: Mapping[str, Any]) -> float | None:
    """Return the timeout in seconds; ``None``: none."""
    timeout = options.get("timeout")
    if timeout is None:
        return None
    seconds = seconds_of(timeout, "timeout")
    return None if math.isinf(seconds) else seconds


def resolved_retry(options: Mapping[str, Any]) -> RetryPolicy:
    """Return the retry policy; without one, no retries."""
    retries = options.get("retries")
    if retries is None or retries == 0:
        return _NO_RETRIES
    return retries if isinstance(retries, RetryPolicy) else RetryPolicy(retries=retries)


def resolved_limits(options: Mapping[str, Any]) -> tuple[Limit, ...]:
    """Return the named limits, sorted by name."""
    return tuple(sorted(options.get("limits") or (), key=lambda limit: limit.name))
