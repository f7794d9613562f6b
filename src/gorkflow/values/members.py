"""The members of a value's class: the fields of models, dataclasses, tuples and typed dicts."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, get_args, get_origin

import pydantic
from pydantic_core import PydanticUndefined

from gorkflow.values import classes
from gorkflow.values.classes import Private
from gorkflow.values.fields import Field, Fields
from gorkflow.values.judge import NotDefinedYet
from gorkflow.values.kind import Kind, Misfit
from gorkflow.values.plain import Free
from gorkflow.values.scalars import SCALARS

Bound = dict[Any, Any]
"""The values of type variables."""


class Kinds(Protocol):
    """Gives the kinds of annotations."""

    def kind(self, annotation: Any, bound: Bound | None = None) -> Kind: ...

    def inside(
        self, annotation: Any, bound: Bound, metadata: Any = (), name: str = "", owner: Any = None
    ) -> Kind: ...


Complete = Callable[[Any, Any, Bound, Kinds], None]
FREE = Free(SCALARS)
"""The kind of what says no more than that it is a value."""


def maker(cls: Any) -> tuple[type[Fields], Complete] | None:
    """Return the kind of classes like this one, and what completes it."""
    if typing.is_typeddict(cls) or (issubclass(cls, dict) and hasattr(cls, "__required_keys__")):
        return classes.Typed, _typed
    if cls is pydantic.BaseModel:
        raise Misfit("BaseModel has no fields; name the model, or a union of models")
    if issubclass(cls, pydantic.BaseModel):
        return classes.Model, _model
    if dataclasses.is_dataclass(cls):
        return classes.Dataclass, _dataclass
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return classes.Named, _named
    return None


def _model(kind: classes.Model, cls: Any, bound: Bound, kinds: Kinds) -> None:
    _check_concrete(cls)
    if not cls.__pydantic_complete__ and not cls.model_rebuild(raise_errors=False):
        raise NotDefinedYet(cls.__name__)
    fields: list[Field] = []
    for name, info in cls.__pydantic_fields__.items():
        inner = kinds.inside(info.annotation, bound, info.metadata, name, cls)
        default = None if info.is_required() else _default_of_info(info)
        fields.append(Field(name, inner, default is None, default))
    kind.complete(fields)
    kind.prepare(
        cls.__pydantic_generic_metadata__["origin"],
        _extra(cls, bound, kinds),
        _private(cls, bound, kinds),
    )


def _extra(cls: Any, bound: Bound, kinds: Kinds) -> Kind | None:
    if cls.model_config.get("extra") != "allow":
        return None
    for base in cls.__mro__:
        annotations = inspect.get_annotations(base)
        if "__pydantic_extra__" in annotations and base.__module__ != "pydantic.main":
            args = get_args(hints_of(base).get("__pydantic_extra__"))
            return kinds.inside(args[1], bound) if args else FREE
    return FREE


def _private(cls: Any, bound: Bound, kinds: Kinds) -> dict[str, Private]:
    found: dict[str, Private] = {}
    for name, attribute in cls.__private_attributes__.items():
        kind: Kind = FREE
        with contextlib.suppress(Misfit, NotDefinedYet):
            for base in cls.__mro__:
                if name in inspect.get_annotations(base):
                    kind = kinds.inside(hints_of(base)[name], bound)
                    break
        found[name] = Private(kind, _default_of_private(attribute))
    return found


def _dataclass(kind: classes.Dataclass, cls: Any, bound: Bound, kinds: Kinds) -> None:
    _check_concrete(cls)
    hints, known = hints_of(cls), scopes(cls, bound)
    fields: list[Field] = []
    for field in dataclasses.fields(cls):
        scope = _scope_of(field.name, known)
        inner = kinds.inside(hints.get(field.name, Any), scope, (), field.name, cls)
        default = _default_of_field(field)
        fields.append(Field(field.name, inner, default is None, default))
    kind.complete(fields)
    kind.prepare(FREE)


def _named(kind: classes.Named, cls: Any, bound: Bound, kinds: Kinds) -> None:
    hints, known = hints_of(cls), scopes(cls, bound)
    fields: list[Field] = []
    for name in cls._fields:
        inner = _kind_at(name, kinds, hints.get(name, Any), _scope_of(name, known))
        default = _constant(cls._field_defaults[name]) if name in cls._field_defaults else None
        fields.append(Field(name, inner, default is None, default))
    kind.complete(fields)


def _typed(kind: classes.Typed, cls: Any, bound: Bound, kinds: Kinds) -> None:
    if type(cls).__module__ == "typing" and sys.version_info < (3, 12):
        raise Misfit(
            f"before Python 3.12, {cls.__name__} must be a typing_extensions.TypedDict, "
            "not a typing.TypedDict"
        )
    known = scopes(cls, bound)
    fields: list[Field] = []
    for name, hint in hints_of(cls).items():
        scope = _scope_of(name, known, first=False)  # each declares what its bases do, too
        fields.append(
            Field(name, _kind_at(name, kinds, hint, scope), name in cls.__required_keys__)
        )
    kind.complete(fields)


def _kind_at(name: str, kinds: Kinds, annotation: Any, bound: Bound) -> Kind:
    try:
        return kinds.kind(annotation, bound)
    except Misfit as misfit:
        raise misfit.under(f".{name}") from None


def _check_concrete(cls: Any) -> None:
    if inspect.isabstract(cls):
        raise Misfit(
            f"{cls.__name__} is abstract: none of its values can be made again; name the classes "
            "that it stands for, as a union"
        )
    if not _is_made_of_fields(cls):
        base = next(base for base in cls.__mro__[1:] if not _is_made_of_fields(base))
        raise Misfit(
            f"{cls.__name__} inherits from {base.__name__}, and that part of it can't be kept; "
            f"hold a value of {base.__name__} in a field"
        )


def _is_made_of_fields(cls: type) -> bool:
    """Return whether Python can make an instance without what the class inherits from in C."""
    try:
        object.__new__(cls)
    except TypeError:
        return False
    return True


def hints_of(cls: Any, **more: Any) -> dict[str, Any]:
    """Return the annotations of a class, resolved; ``more`` are names that only they know."""
    around: dict[str, Any] = getattr(cls, "__pydantic_parent_namespace__", None) or {}
    local: dict[str, Any] = {cls.__name__: cls, **around, **more}
    try:
        return typing.get_type_hints(cls, localns=local, include_extras=True)
    except NameError as error:
        raise NotDefinedYet(str(error)) from None


# ---- defaults ---------------------------------------------------------------------------------


def _constant(value: Any) -> Callable[[Bound], Any]:
    return lambda _: copy.copy(value)


def _default_of_info(info: Any) -> Callable[[dict[str, Any]], Any]:
    if getattr(info, "default_factory_takes_validated_data", False):
        made: Callable[[dict[str, Any]], Any] = info.default_factory
        return made
    return lambda _: info.get_default(call_default_factory=True)


def _default_of_private(attribute: Any) -> Callable[[dict[str, Any]], Any] | None:
    factory: Any = attribute.default_factory
    if factory is None:
        has_none = attribute.default is PydanticUndefined
        return None if has_none else lambda _: attribute.get_default()
    if getattr(attribute, "default_factory_takes_validated_data", False):  # not before 2.13
        takes_fields: Callable[[dict[str, Any]], Any] = factory
        return takes_fields
    return lambda _: factory()


def _default_of_field(field: dataclasses.Field[Any]) -> Callable[[dict[str, Any]], Any] | None:
    default: Any = field.default
    if hasattr(default, "get_default"):  # pydantic's Field(…)
        return None if default.is_required() else _default_of_info(default)
    if default is not dataclasses.MISSING:
        return _constant(default)
    factory: Any = field.default_factory
    return None if factory is dataclasses.MISSING else lambda _: factory()


# ---- type variables ---------------------------------------------------------------------------


def binding(cls: Any, args: tuple[Any, ...], bound: Bound) -> Bound:
    """Return what the type variables of a generic class stand for, given its arguments."""
    names = getattr(cls, "__parameters__", ())
    given = [substituted(arg, bound) for arg in args]
    return dict(zip(names, given, strict=False))


def scopes(cls: Any, bound: Bound) -> dict[Any, Bound]:
    """Return what type variables stand for in a class and in each of its bases."""
    found: dict[Any, Bound] = {cls: bound}
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin: Any = get_origin(base) or base
        if isinstance(origin, type) and origin not in {object, typing.Generic}:
            for each, inner in scopes(origin, binding(origin, get_args(base), bound)).items():
                found.setdefault(each, inner)
    return found


def _scope_of(name: str, known: dict[Any, Bound], *, first: bool = True) -> Bound:
    """Return what type variables stand for where an attribute is declared."""
    owners = [inner for cls, inner in known.items() if name in inspect.get_annotations(cls)]
    return (owners[0] if first else owners[-1]) if owners else {}


def substituted(annotation: Any, bound: Bound) -> Any:
    """Return an annotation with what its type variables stand for."""
    if isinstance(annotation, TypeVar):
        return bound.get(annotation, annotation)
    names = getattr(annotation, "__parameters__", ())
    if isinstance(annotation, type) or not any(name in bound for name in names):
        return annotation
    return annotation[tuple(bound.get(name, name) for name in names)]
