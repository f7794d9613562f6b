"""The options of steps, and their settings.

Options are checked when given, and resolved when a workflow is compiled. Settings are the
parameters that ``bind`` fixes: data, recorded with every run like its input.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from datetime import timedelta
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, cast

from gorkflow._durations import seconds_of
from gorkflow._text import brief, did_you_mean, is_utf8
from gorkflow.annotations import describe
from gorkflow.codec import codec_of
from gorkflow.errors import StepInvalidError, ValueInvalidError
from gorkflow.node import Node
from gorkflow.policy import ID_PATTERN, Limit, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

INHERITED = ("timeout", "retries", "continue_on_error", "limits")
OWN = ("id", "name", "description", "reads", "executor")
_OF_TYPES = frozenset({"types", "typing", "typing_extensions"})
"""The modules of the classes of annotations that are not classes themselves."""
_NO_RETRIES = RetryPolicy(retries=0)


class StepDefaults(TypedDict, total=False):
    """Options that steps inherit, field by field: from a workflow, or from the engine.

    Example:
        >>> from gorkflow import StepDefaults, Workflow
        >>> careful: StepDefaults = {"retries": 2, "timeout": 30}
        >>> Workflow("careful", input=int, defaults=careful).defaults["retries"]
        2
    """

    timeout: float | timedelta
    """Seconds per attempt; ``math.inf``: none."""
    retries: int | RetryPolicy
    """Attempts after the first, or a whole policy."""
    continue_on_error: bool
    """True: a final failure becomes the value ``None``."""
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
    """Runs it elsewhere: ``"process"``, or a name given to ``Engine(executors={…})``; unless given,
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


def chosen_id(what: str, given: Any, default: str, problems: list[str]) -> Any:
    """Return the id of a node: the default unless one is given; add what is wrong with it."""
    if given is None:
        return default
    problems += id_problems(what, given)
    return given


def text_problems(**texts: Any) -> list[str]:
    """Return which of these are not strings that can be written down."""
    return [
        f"{what} must be a string, and one that UTF-8 can hold, not {brief(text)}"
        if isinstance(text, str)
        else f"{what} must be a string, not {brief(text)}"
        for what, text in texts.items()
        if not isinstance(text, str) or (not text.isascii() and not is_utf8(text))
    ]


def tag_problems(tags: Any) -> list[str]:
    """Return why these can't be the tags of a run."""
    try:
        items = dict(tags).items()
    except (TypeError, ValueError):
        return [f"tags must be a mapping of strings, not {brief(tags)}"]
    return [
        f"tags must be strings, not {brief(key)}: {brief(value)}"
        for key, value in items
        if not isinstance(key, str) or not isinstance(value, str)
    ]


def hook_problems(hook: Any) -> list[str]:
    """Return why this can't be called with a run that has ended."""
    if inspect.iscoroutine(hook):
        name = hook.__name__
        hook.close()
        return [f"on_end takes a function, and {name!r} was called; write on_end={name}"]
    if isinstance(hook, Node):
        return [f"on_end takes a plain function, not a step; leave out @step above {hook.id!r}"]
    if not callable(hook):
        return [f"on_end takes a function of a run, not {brief(hook)}"]
    inner = (inspect.unwrap(hook), type(hook).__call__)
    if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in inner):
        name = getattr(hook, "__name__", None) or type(hook).__name__
        return [f"on_end calls its function, but {name} is a generator; leave out its yield"]
    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):
        return []  # a built-in function does not say
    try:
        signature.bind(None)
    except TypeError:
        name = getattr(hook, "__name__", None) or type(hook).__name__
        return [
            f"on_end calls its function with one argument, the run, but {name} takes {signature}"
        ]
    return []


def function_problem(item: Any) -> str:
    """Return why a function, or the coroutine of a call, is not a node; empty: it is neither."""
    if inspect.iscoroutine(item):
        name = item.__name__
        item.close()
        return f"{name!r} was called; give the step itself: {name}, not {name}(…)"
    if not inspect.isroutine(item):
        return ""
    name = item.__name__
    if name == "<lambda>":
        return "a lambda is not a step; write a function, with @step above it"
    return f"{name!r} is a plain function; write @step above `def {name}`"


def timeout_of(timeout: float | timedelta | None, problems: list[str]) -> float | None:
    """Return a timeout in seconds, ``None`` for none or an infinite one."""
    if timeout is None:
        return None
    try:
        seconds = seconds_of(timeout, "timeout")
    except (TypeError, ValueError) as error:
        problems.append(f"{error}; math.inf means no timeout")
        return None
    return None if math.isinf(seconds) else seconds


def inherited_problems(options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the options that can be inherited."""
    problems: list[str] = []
    timeout_of(options.get("timeout"), problems)
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
        StepInvalidError: If one is unknown or out of range; it lists all of these.
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


def resolved_retry(options: Mapping[str, Any]) -> RetryPolicy:
    """Return the retry policy; without one, no retries."""
    retries = options.get("retries")
    if retries is None or retries == 0:
        return _NO_RETRIES
    return retries if isinstance(retries, RetryPolicy) else RetryPolicy(retries=retries)


def resolved_limits(options: Mapping[str, Any]) -> tuple[Limit, ...]:
    """Return the named limits, sorted by name."""
    return tuple(sorted(options.get("limits") or (), key=lambda limit: limit.name))


# ---- settings ----------------------------------------------------------------------------------

Recorded: TypeAlias = "tuple[tuple[str, str], ...]"
"""Settings as a flow tree has them: JSON by parameter, sorted by name."""


def recorded(
    label: str, inputs: Container[str], known: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, str]:
    """Return settings as they are recorded: as JSON, by parameter.

    Args:
        label: The name of the step in errors.
        inputs: The parameters that are inputs.
        known: The annotations of the others.
        given: The values.

    Raises:
        StepInvalidError: If there is no such parameter, or a value can't be recorded.
    """
    texts: dict[str, str] = {}
    for name, value in given.items():
        if name not in known:
            raise StepInvalidError(f"{label}: {name!r} {_why_not(name, inputs, known)}")
        annotation = known[name]
        try:
            texts[name] = codec_of(annotation).accept(value).decode()
        except ValueInvalidError as error:
            of_type = "which has no annotation" if annotation is Any else describe(annotation)
            raise StepInvalidError(
                f"{label}: the setting {name!r} ({of_type}) can't be recorded with a run: {error}; "
                "bind data of the parameter's type, and hand clients, functions and other live "
                "objects in through deps: Engine(deps=…), and ctx.deps in the step"
            ) from None
    return texts


def _why_not(name: str, inputs: Container[str], known: Mapping[str, Any]) -> str:
    if name in inputs:
        return "is an input; only parameters with a default can be fixed"
    if known:
        return f"is not a parameter; {did_you_mean(name, sorted(known))}"
    return "is not a parameter, and no parameter has a default"


def decoded(known: Mapping[str, Any], texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return recorded settings as a function takes them: fresh objects, which no other call sees.

    Raises:
        StepValueError: If one does not match its parameter, whose annotation is in ``known``.
    """
    return {name: codec_of(known[name]).decode(text.encode()) for name, text in texts}


def misfits(known: Mapping[str, Any], texts: Iterable[tuple[str, str]]) -> list[str]:
    """Return why a function can't take settings that were recorded for it."""
    problems: list[str] = []
    for name, text in texts:
        if name not in known:
            problems.append(f"has no parameter {name!r} any more, which the run has a setting for")
            continue
        try:
            decoded(known, [(name, text)])
        except ValueInvalidError as error:
            from gorkflow.redaction import view_of  # only for errors

            given = f"{name}={brief(view_of(text))}"
            problems.append(f"can't take the run's setting {given} any more: {error}")
    return problems
