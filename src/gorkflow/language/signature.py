"""The signature of a step: what its function takes and returns, and why it can't be a step.

In a generic function, the type that arrives takes the place of the type variables.
"""

from __future__ import annotations

import inspect
import sys
import typing
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import Parameter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ForwardRef,
    NamedTuple,
    ParamSpec,
    TypeVar,
    TypeVarTuple,
    get_args,
    get_origin,
)

from gorkflow.annotations import (
    NO_ITEMS,
    Relation,
    describe,
    fits,
    is_union,
    item_of,
    relation,
    tuple_items,
    unconstrained,
    union_of,
)
from gorkflow.codec import canonical, codec_of
from gorkflow.context import StepContext
from gorkflow.errors import StepInvalidError, ValueInvalidError
from gorkflow.language.callables import caller_frames, defaulted, is_async_function, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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
    """Return what a function takes and gives.

    Args:
        fn: the function, or another callable with annotations.
        label: how errors name it.

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
        raise StepInvalidError("a lambda can't say of what type it is; write a function: def …")
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


# ---- generic functions -------------------------------------------------------------------------

Types = dict[TypeVar, list[Any]]
_MAX_DEPTH = 40


def type_variables(annotation: Any, *, of_models: bool = True) -> list[Any]:
    """Return the type variables in an annotation.

    Args:
        annotation: to look into.
        of_models: whether those of a generic pydantic model count where nothing is written for
            them: to pydantic ``Page`` and ``Page[T]`` are one class, if it is the model's own T.
    """
    if isinstance(annotation, TypeVar | TypeVarTuple | ParamSpec):
        return [annotation]
    model = _model(annotation)
    if model.get("parameters") and not model.get("args"):
        return list(model["parameters"]) if of_models else []
    inner = model.get("args") or get_args(annotation)
    return [one for item in inner for one in type_variables(item, of_models=of_models)]


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


def arriving(wanted: Sequence[Any], given: Any) -> dict[Any, Any]:
    """Return what the type variables of a step's inputs stand for where a value arrives.

    One that nothing is found for is left out; so is one that the value does not fit, whose bound
    or constraints then say what would.

    Args:
        wanted: the annotations of the inputs.
        given: that of the value; of a tuple for several inputs.
    """
    found: Types = {}
    if len(wanted) == 1:
        _match(wanted[0], given, found)
    else:
        items = tuple_items(given)
        if items is None:
            items = (Any,) * len(wanted) if given is Any else ()
        for annotation, item in zip(wanted, items, strict=False):
            _match(annotation, item, found)
    variables = dict.fromkeys(item for annotation in wanted for item in type_variables(annotation))
    types: dict[Any, Any] = {}
    for variable in variables:
        allowed = _allowed(variable)
        kind = union_of(found[variable]) if variable in found else None
        if variable in found and (allowed is None or fits(kind, allowed)):
            types[variable] = kind
        elif allowed is not None:
            types[variable] = allowed
    return types


def _allowed(variable: TypeVar) -> Any:
    """Return the bound of a type variable, or the union of its constraints; ``None``: anything."""
    if variable.__constraints__:
        return union_of(list(variable.__constraints__))
    bound: Any = variable.__bound__
    if isinstance(bound, ForwardRef):
        module = sys.modules.get(variable.__module__)
        try:
            bound = eval(bound.__forward_arg__, vars(module) if module else {})  # noqa: S307 - the user's own annotation
        except Exception:  # noqa: BLE001 - whatever it is, the value tells
            return None
    return bound


def substituted(annotation: Any, types: Mapping[Any, Any]) -> Any:
    """Return an annotation with types in the place of its type variables."""
    if isinstance(annotation, TypeVar):
        return types.get(annotation, annotation)
    if not any(item in types for item in type_variables(annotation)):
        return annotation
    origin, args = _parts(annotation)
    items = [substituted(item, types) for item in args]
    if is_union(annotation):
        return union_of(items)
    if origin is Annotated:
        return Annotated[items[0], *annotation.__metadata__]
    return origin[tuple(items)]


def _match(wanted: Any, given: Any, found: Types, depth: int = 0) -> None:
    """Find what the type variables of an annotation stand for, in a value's."""
    kept, wanted, given = given, unconstrained(wanted), unconstrained(given)
    if depth > _MAX_DEPTH or not type_variables(wanted):
        return
    if isinstance(wanted, TypeVar):
        found.setdefault(wanted, []).append(kept)
        return
    if is_union(wanted):
        _match_union(get_args(wanted), given, found, depth + 1)
        return
    pairs = list(_pairs(wanted, given))
    for left, right in pairs:
        _match(left, right, found, depth + 1)
    if not pairs and relation(given, wanted) is not Relation.NO:  # such as a bare list
        for item in type_variables(wanted):
            found.setdefault(item, []).append(Any)


def _match_union(wanted: tuple[Any, ...], given: Any, found: Types, depth: int) -> None:
    """Match the members of a union that look alike; a type variable gets the others."""
    left = list(get_args(given)) if is_union(given) else [given]
    alone = [item for item in wanted if isinstance(item, TypeVar)]
    for member in wanted:
        if isinstance(member, TypeVar):
            continue
        same = [item for item in left if item is not Any and fits(item, member)]
        for item in same:
            _match(member, item, found, depth)
        if alone:
            left = [item for item in left if item not in same]
    for variable in alone:
        if left:
            _match(variable, union_of(left), found, depth)


def _pairs(wanted: Any, given: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the arguments of a generic type, each with what the value has in its place."""
    origin, args = _parts(wanted)
    if is_union(given):
        for member in get_args(given):
            yield from _pairs(wanted, member)
        return
    if origin is tuple and args[1:] != (...,):
        yield from zip(args, tuple_items(given) or (), strict=False)
        return
    if (same := _arguments_of(given, origin)) is not None:
        yield from zip(args, same, strict=False)
    elif len(args) == 1 or origin is tuple:
        item = item_of(given)
        if item is not NO_ITEMS and fits(given, substituted(wanted, {args[0]: Any})):
            yield args[0], item
    elif (given_args := get_args(given)) and len(given_args) == len(args):
        yield from zip(args, given_args, strict=True)  # a dict for a Mapping


def _arguments_of(given: Any, origin: Any) -> tuple[Any, ...] | None:
    """Return the arguments with which an annotation is, or derives from, a generic type."""
    if origin is tuple:
        return None
    cls, args = _parts(given)
    if cls is origin:
        return args
    if not isinstance(cls, type):
        return None
    types = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
    for base in (*cls.__dict__.get("__orig_bases__", ()), *cls.__bases__):
        if base is not object and (found := _arguments_of(substituted(base, types), origin)):
            return found
    return None


def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a generic type and its arguments; of any other annotation, itself and none."""
    model = _model(annotation)
    if model:
        return model["origin"] or annotation, model["args"] or model["parameters"]
    return get_origin(annotation) or annotation, get_args(annotation)


def _model(annotation: Any) -> dict[str, Any]:
    """Return what pydantic keeps of a generic model."""
    return getattr(annotation, "__pydantic_generic_metadata__", None) or {}
