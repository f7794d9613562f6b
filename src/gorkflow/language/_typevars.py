"""Generic functions as steps: the type that arrives takes the place of their type variables."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    ForwardRef,
    ParamSpec,
    TypeVar,
    TypeVarTuple,
    get_args,
    get_origin,
)

from gorkflow.annotations import (
    NO_ITEMS,
    Relation,
    fits,
    is_union,
    item_of,
    relation,
    tuple_items,
    unconstrained,
    union_of,
)

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
