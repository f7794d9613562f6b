"""The signature of a function: of a step, of a condition, and of what else the engine asks."""

from __future__ import annotations

import functools
import inspect
import typing
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import Parameter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args, get_origin

from gorkflow._text import brief
from gorkflow.annotations import describe, fits, is_union, substituted, type_variables
from gorkflow.codec import canonical, codec_of
from gorkflow.context import StepContext
from gorkflow.errors import StepInvalidError, ValueInvalidError
from gorkflow.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import FrameType

PACKAGE = __name__.partition(".")[0]
_EMPTY = Parameter.empty
_CONTEXT_NAMES = frozenset({"ctx", "context", "step_context"})


class Param(NamedTuple):
    """An input of a step."""

    name: str
    annotation: Any


@dataclass(frozen=True)
class StepSignature:
    """The inputs and the output of a function, as a step."""

    is_async: bool
    takes_context: bool
    params: tuple[Param, ...]
    output: Any
    settings: Mapping[str, Any]
    """The annotations of the parameters that are never inputs; ``bind`` can fix them."""
    defaulted: tuple[str, ...] = ()
    """Those of them that stand where inputs do: one may have meant them to be inputs."""
    deps: Any = None
    """The class that its context says ``ctx.deps`` is of; ``None``: it may be anything."""

    def of_stand_in(self, *, is_async: bool, takes_context: bool) -> StepSignature:
        """Return that of a function with the same types and no settings."""
        return replace(
            self, is_async=is_async, takes_context=takes_context, settings={}, defaulted=()
        )

    @cached_property
    def wanted(self) -> tuple[Any, ...]:
        """The annotations of the inputs."""
        return tuple(param.annotation for param in self.params)

    @cached_property
    def is_generic(self) -> bool:
        """True if it has type variables, whose place the type that arrives takes."""
        return any(map(type_variables, (*self.wanted, self.output)))

    @property
    def leaves_open(self) -> bool:
        """True if type variables are written in it."""
        written = (type_variables(item, of_models=False) for item in (*self.wanted, self.output))
        return any(written)

    def with_types(self, types: Mapping[Any, Any]) -> StepSignature:
        """Return it with types in the place of type variables."""
        params = [Param(name, substituted(item, types)) for name, item in self.params]
        return replace(self, params=tuple(params), output=substituted(self.output, types))

    @cached_property
    def input_digest(self) -> str:
        """The fingerprint of the JSON schemas of the inputs; empty without inputs."""
        return ",".join(codec_of(param.annotation).digest() for param in self.params)

    @cached_property
    def output_digest(self) -> str:
        """The fingerprint of the JSON schema of the output."""
        return codec_of(self.output).digest()


def read_signature(fn: Callable[..., Any], label: str) -> StepSignature:
    """Return the inputs and the output of a function, which errors call by its label.

    Raises:
        StepInvalidError: If it can't be a step; the message says what to write.
    """
    _check_kind(fn, label)
    inner = unwrapped(fn)
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        raise StepInvalidError(f"{label} has no signature that Python can read") from None
    _check_parameters(signature, fn, label)
    hints = _hints(inner, signature, label)
    parameters = list(signature.parameters.values())
    takes_context = bool(parameters) and _is_context(hints.get(parameters[0].name))
    inputs = _inputs(parameters[1:] if takes_context else parameters, hints, label)
    settings = {
        item.name: hints.get(item.name, Any)
        for item in parameters[takes_context:]
        if item.default is not _EMPTY and item.kind is not Parameter.POSITIONAL_ONLY
    }
    result = StepSignature(
        is_async=is_async_function(fn),
        takes_context=takes_context,
        params=inputs,
        output=canonical(hints["return"]),
        settings=settings,
        defaulted=defaulted(parameters[takes_context:]),
        deps=_deps_of(hints[parameters[0].name]) if takes_context else None,
    )
    _check_values(result, label)
    return result


def dropped(who: str, names: Sequence[str], gets: str) -> str:
    """Return that a node would drop its value, since all its parameters have defaults."""
    shown = ", ".join(map(repr, names[:5]))
    kept = "has a default, so it is a setting and no input"
    if len(names) > 1:
        kept = "have defaults, so they are settings and no inputs"
    return (
        f"{who} would drop what it gets, {gets}: {shown} {kept}. To take the value, remove the "
        f"default; to keep a setting, write `*, {names[0]}` with its default"
    )


def _check_kind(fn: Any, label: str) -> None:
    if inspect.iscoroutine(fn):
        fn.close()
        raise StepInvalidError(f"{label} was called; give the function itself, without ()")
    if isinstance(fn, staticmethod | classmethod | property):
        raise StepInvalidError(
            f"{label} is a method of a class that has no instance yet; "
            "write step(obj.method, id=…) where there is one"
        )
    if isinstance(fn, type):
        raise StepInvalidError(
            f"{label} is a class; a step is a function, or step(obj.method, id=…)"
        )
    if not callable(fn):
        raise StepInvalidError(f"@step needs a function, not {label}")
    inner = unwrapped(fn)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise StepInvalidError(f"{label} is a generator; a step returns one value: return a list")


def _check_parameters(signature: inspect.Signature, fn: Any, label: str) -> None:
    parameters = list(signature.parameters.values())
    first = parameters[0] if parameters else None
    if (
        first is not None
        and first.name in {"self", "cls"}
        and first.annotation is _EMPTY
        and not inspect.ismethod(fn)
    ):
        raise StepInvalidError(
            f"{label} is a method; write step(obj.method, id=…) where there is an object"
        )
    for item in parameters:
        if item.kind in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}:
            raise StepInvalidError(
                f"{label} takes {item}; write one parameter per input, or one parameter "
                "annotated as a tuple or list"
            )
        if item.kind is Parameter.KEYWORD_ONLY and item.default is _EMPTY:
            raise StepInvalidError(
                f"{label}: keyword-only parameter {item.name!r} is not an input and has no "
                "default; give it one (bind can change it later), or move it before the *"
            )


def _hints(inner: Callable[..., Any], signature: inspect.Signature, label: str) -> dict[str, Any]:
    """Return the resolved annotations, also of classes that are local to the enclosing function."""
    if getattr(inner, "__name__", "") == "<lambda>":
        raise StepInvalidError("a lambda has no annotations; write a function: def …")
    if signature.return_annotation is _EMPTY:
        raise StepInvalidError(
            f"{label} does not say what it returns; annotate it: `-> Report`, or `-> None`"
        )
    scope = _enclosing_names(inner)
    try:
        return typing.get_type_hints(inner, localns=scope, include_extras=True)
    except NameError as error:
        raise StepInvalidError(
            f"{label}: the annotation {error.name!r} can't be found when the step is made; "
            "import it for real (not under TYPE_CHECKING), and define it above the step"
        ) from None
    except Exception as error:
        raise StepInvalidError(f"{label}: its annotations can't be read: {error}") from error


def _enclosing_names(inner: Callable[..., Any]) -> dict[str, Any] | None:
    """Return the local names that the function's text can see, if it stands inside another."""
    qualname: str = getattr(inner, "__qualname__", "")
    if "<locals>" not in qualname:
        return None
    names: dict[str, Any] = {}
    module = getattr(inner, "__globals__", None)
    for frame in reversed(caller_frames()):
        encloses = qualname.startswith(f"{frame.f_code.co_qualname}.<locals>.")
        if encloses and frame.f_globals is module:
            names.update(frame.f_locals)
    code = getattr(inner, "__code__", None)
    for name, cell in zip(
        getattr(code, "co_freevars", ()), getattr(inner, "__closure__", None) or (), strict=False
    ):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return names


def _inputs(parameters: list[Parameter], hints: dict[str, Any], label: str) -> tuple[Param, ...]:
    inputs: list[Param] = []
    for item in parameters:
        annotation = hints.get(item.name, _EMPTY)
        if _mentions_context(annotation):
            raise StepInvalidError(
                f"{label}: {item.name!r} is annotated {describe(annotation)}; the context is the "
                "first parameter, annotated StepContext or StepContext[Deps], without a default"
            )
        if item.kind is Parameter.KEYWORD_ONLY or item.default is not _EMPTY:
            continue
        if annotation is _EMPTY:
            wanted = "StepContext" if item.name in _CONTEXT_NAMES else "Order"
            raise StepInvalidError(
                f"{label}: parameter {item.name!r} has no annotation; write what it takes: "
                f"`{item.name}: {wanted}`"
            )
        inputs.append(Param(item.name, canonical(annotation)))
    return tuple(inputs)


def _is_context(annotation: Any) -> bool:
    cls = get_origin(annotation) or annotation
    return isinstance(cls, type) and issubclass(cls, StepContext)


def _deps_of(annotation: Any) -> Any:
    """Return the class that a context is annotated with; ``None``: nothing that has to be there."""
    args = get_args(annotation)
    wanted = args[0] if args else None
    return wanted if isinstance(wanted, type) and wanted not in {object, type(None)} else None


def _mentions_context(annotation: Any) -> bool:
    if is_union(annotation):
        return any(map(_is_context, get_args(annotation)))
    return _is_context(annotation)


def _check_values(signature: StepSignature, label: str) -> None:
    """Raise unless every value can be written as JSON, as far as the annotations say."""
    if problem := generic_problem(signature.params, signature.output):
        raise StepInvalidError(f"{label}: {problem}")
    places = [(f"parameter {param.name!r}", param.annotation) for param in signature.params]
    for place, annotation in [*places, ("what it returns", signature.output)]:
        try:
            codec_of(annotation).prepare()
        except ValueInvalidError as error:
            raise StepInvalidError(
                f"{label}: {place} is annotated {describe(annotation)}, which can't be written as "
                f"JSON ({error}); use a model, a dataclass, a TypedDict or plain values, and hand "
                "live objects in through deps"
            ) from None


def summary_of(fn: Any) -> str:
    """Return the first line of a function's docstring; empty where it has none."""
    text = inspect.getdoc(fn) if inspect.isroutine(fn) else None
    return text.strip().split("\n", 1)[0] if text else ""


def generic_problem(params: Sequence[tuple[str, Any]], output: Any) -> str:
    """Return why a function's type variables can't be known from what arrives, if so."""
    inputs = {item for _, annotation in params for item in type_variables(annotation)}
    outputs = type_variables(output, of_models=False)
    for item in [*inputs, *outputs]:
        if not isinstance(item, TypeVar):
            return (
                f"it has {item.__name__}, which stands for any number of types; write one type for "
                "all of them, such as tuple[T, ...]"
            )
    for item in outputs:
        if item not in inputs:
            return (
                f"it returns {item.__name__}, which none of its inputs has, so nothing says what "
                "it is; write the type, or take an input of it"
            )
    return ""


# ---- what a function really is, and who called this package -------------------------------------


def caller_frames() -> list[FrameType]:
    """Return the frames of the caller outside this package, innermost first."""
    frame = inspect.currentframe()
    while frame is not None and is_inside(frame):
        frame = frame.f_back
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def is_inside(frame: FrameType) -> bool:
    """Return whether a frame is of this package."""
    name = str(frame.f_globals.get("__name__", ""))
    return name == PACKAGE or name.startswith(PACKAGE + ".")


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the user's line."""
    frame = inspect.currentframe()
    level = 1
    while frame is not None and is_inside(frame):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def unwrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that decorators and partials are wrapped around."""
    while True:
        inner = getattr(fn, "func", None) if hasattr(fn, "keywords") else None
        if inner is None:
            inner = getattr(fn, "__wrapped__", None)
        if inner is None:
            return fn if inspect.isroutine(fn) or isinstance(fn, type) else _call_of(fn)
        fn = inner


def is_async_function(fn: Callable[..., Any]) -> bool:
    """Return whether a call gives a coroutine; only the outermost function counts.

    A plain function around an async one may run that to its end, so it is a plain function.
    """
    while True:
        if inspect.ismethod(fn):
            fn = fn.__func__
        elif isinstance(fn, functools.partial):
            fn = fn.func
        else:
            break
    if inspect.iscoroutinefunction(fn):
        return True
    return not isinstance(fn, type) and inspect.iscoroutinefunction(type(fn).__call__)


def _call_of(fn: Callable[..., Any]) -> Callable[..., Any]:
    call = getattr(fn, "__call__", fn)  # noqa: B004 - the bound method itself is wanted
    return call if inspect.ismethod(call) else fn


def defaulted(parameters: Iterable[Parameter]) -> tuple[str, ...]:
    """Return the parameters that could be given by their place, but have a default."""
    placed = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(
        item.name
        for item in parameters
        if item.kind in placed and item.default is not Parameter.empty
    )


# ---- functions that are not steps --------------------------------------------------------------


class Condition:
    """A function that is not a step: it decides, or returns a key or a time.

    It is called with the value as a step is: without a parameter it gets nothing, with one the
    whole value, with more the items of a tuple.
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
        """Parameters with a default, where there are no others: the value would be dropped."""
        self.returns: Any = hints.get("return", Any)

    def __call__(self, value: Any) -> Any:
        """Return what the function decides about a value."""
        if not self.params:
            return self.fn()
        return self.fn(value) if len(self.params) == 1 else self.fn(*value)


def _required(fn: Callable[..., Any]) -> list[Parameter]:
    """Return the positional parameters without a default; of ``*args``, where there is no other."""
    positional = [item for item in _parameters(fn) if item.kind <= Parameter.VAR_POSITIONAL]
    required = [item for item in positional if item.default is Parameter.empty]
    named = [item for item in required if item.kind is not Parameter.VAR_POSITIONAL]
    return named or required


def _parameters(fn: Callable[..., Any]) -> list[Parameter]:
    value = Parameter("value", Parameter.POSITIONAL_ONLY)
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


def asked_function(
    problems: list[str], fn: Any, what: str, wanted: Any, words: str
) -> Condition | None:
    """Return a function that the engine asks, or ``None`` if it can't be one; add its problems.

    Messages call it ``what``, such as "the condition", and the annotation of its output ``words``.
    """
    if inspect.iscoroutine(fn):
        fn.close()
        problems.append(f"{what} was called; give the function itself, without ()")
        return None
    if isinstance(fn, Node) or not callable(fn):
        given = brief(fn)  # pyright: ignore[reportUnknownArgumentType]
        problems.append(f"{what} must be a function that returns {words}, not {given}")
        return None
    function = Condition(fn)
    if fits(function.returns, wanted):
        return function
    gives = describe(function.returns)
    problems.append(f"{what} {function.name!r} must return {words}, not {gives}")
    return None
