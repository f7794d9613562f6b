"""From an annotation to the kind that keeps its values."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import functools
import inspect
import sys
import types
import typing
from collections import abc
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args, get_origin

from gorkflow.values import classes, plain, union
from gorkflow.values.kind import Kind, Misfit
from gorkflow.values.scalars import SCALARS

ForeignKind = Callable[[Any, Kind], Kind]
"""Makes the kind of a type that only pydantic knows, or raises ``Misfit``."""


class _UnknownType(Misfit):
    """Nobody knows how to keep a type."""


class NotDefinedYet(Exception):  # noqa: N818 - the codec asks again later
    """An annotation names a class that is still to be defined."""


def _natives() -> dict[Any, Kind]:
    kinds: dict[Any, Kind] = {cls: plain.Native(cls) for cls in (bool, int, str, type(None))}
    return {**kinds, float: plain.Float(), None: kinds[type(None)]}


_NATIVES = _natives()
FREE = plain.Free(SCALARS)
_ABSTRACT: dict[Any, tuple[type, ...]] = {
    abc.Sequence: (list, tuple, collections.deque),
    abc.MutableSequence: (list, collections.deque),
    abc.Collection: (list, tuple, collections.deque, set, frozenset),
    abc.Iterable: (list, tuple, collections.deque, set, frozenset),
    abc.Container: (list, tuple, collections.deque, set, frozenset),
    abc.Reversible: (list, tuple, collections.deque),
    abc.Sized: (list, tuple, collections.deque, set, frozenset),
    abc.Set: (set, frozenset),
    abc.MutableSet: (set,),
    abc.Mapping: (dict, collections.OrderedDict, collections.defaultdict),
    abc.MutableMapping: (dict, collections.OrderedDict, collections.defaultdict),
}
_CONTAINERS = frozenset(
    {list, set, frozenset, tuple, dict, collections.deque, collections.defaultdict}
    | {collections.OrderedDict, collections.Counter}
)


class Compiler:
    """Makes the kind of one annotation.

    Args:
        foreign: makes the kinds of types that only pydantic knows.
    """

    def __init__(self, foreign: ForeignKind) -> None:
        self._foreign = foreign
        self._begun: dict[Any, union.Later] = {}
        self.judged = False
        """Whether the annotation has constraints or validators outside of classes."""

    def kind(self, annotation: Any, bound: dict[Any, Any] | None = None) -> Kind:
        """Return the kind of an annotation.

        Args:
            annotation: the annotation.
            bound: what the type variables in it stand for.

        Raises:
            Misfit: no value of it can be read back.
            NotDefinedYet: it names a class that is still to be defined.
        """
        bound = bound or {}
        try:
            native = _NATIVES.get(annotation)
        except TypeError:  # unhashable
            native = None
        if native is not None:
            return native
        if annotation is Any or annotation is object:
            return FREE
        if isinstance(annotation, str | typing.ForwardRef):
            raise NotDefinedYet(str(annotation))
        if isinstance(annotation, TypeVar):
            return self._variable(annotation, bound)
        if hasattr(annotation, "__supertype__"):  # a NewType
            return self.kind(annotation.__supertype__, bound)
        origin, args = get_origin(annotation), get_args(annotation)
        if _is_alias(annotation) or _is_alias(origin):
            return self._alias(origin or annotation, args)
        if origin is None or not (args or origin is tuple):  # List, of typing, without its items
            return self._class(origin or annotation, bound)
        return self._generic(annotation, origin, args, bound)

    # ---- what has arguments ---------------------------------------------------------------

    def _generic(
        self, annotation: Any, origin: Any, args: tuple[Any, ...], bound: dict[Any, Any]
    ) -> Kind:
        if origin is Annotated:
            return self._annotated(annotation, args, bound)
        if origin is typing.Union or origin is types.UnionType:
            return self._union([self.kind(arg, bound) for arg in args], annotation)
        if origin is typing.Literal:
            return self._literal(args)
        if origin in _QUALIFIERS:
            return self.kind(args[0], bound)
        if origin is type or origin is abc.Callable:
            raise Misfit("a class or function can't be kept; hand on its name")
        found = self._container(origin, args, bound) or SCALARS.get(origin)
        if found is not None or not isinstance(origin, type):
            return found or self._unknown(annotation)
        names = getattr(origin, "__parameters__", ())
        given = [bound.get(arg, arg) if isinstance(arg, TypeVar) else arg for arg in args]
        return self._fields(origin, annotation, dict(zip(names, given, strict=False)))

    def _annotated(self, annotation: Any, args: tuple[Any, ...], bound: dict[Any, Any]) -> Kind:
        self.judged = True
        try:
            found = self.kind(args[0], bound)
        except _UnknownType as unknown:
            try:
                return self._foreign(annotation, FREE)  # the notes may say how to keep it
            except Misfit:
                raise unknown from None
        return self._foreign(annotation, FREE) if isinstance(found, union.Foreign) else found

    def _unknown(self, annotation: Any) -> Kind:
        try:
            return self._foreign(annotation, FREE)
        except Misfit as misfit:
            raise _UnknownType(misfit.reason) from None

    def _container(self, origin: Any, args: tuple[Any, ...], bound: dict[Any, Any]) -> Kind | None:
        if origin is tuple:
            if args[1:] == (...,):
                return plain.Items(tuple, self.kind(args[0], bound))
            return plain.Tuple([self.kind(arg, bound) for arg in args])
        if origin in _ABSTRACT:
            found = [
                self._container(cls, (args[0], ...) if cls is tuple else args, bound)
                for cls in _ABSTRACT[origin]
            ]
            return self._union([kind for kind in found if kind is not None], origin)
        if origin not in _CONTAINERS:
            return None
        kinds = [self.kind(arg, bound) for arg in args]
        if origin is collections.deque:
            return plain.Deque(origin, kinds[0])
        if origin is collections.Counter:
            return plain.Dict(origin, kinds[0], _NATIVES[int])
        if issubclass(origin, dict):
            return plain.Dict(origin, kinds[0], kinds[1])
        return plain.Items(origin, kinds[0])

    def _union(self, kinds: list[Kind], annotation: Any) -> Kind:
        members: list[Kind] = []
        for kind in kinds:
            for member in kind.members if isinstance(kind, union.Union) else (kind,):
                if member not in members:
                    members.append(member)
        if len(members) == 1:
            return members[0]
        return union.Union(_told_apart(members), _text(annotation))

    def _literal(self, values: tuple[Any, ...]) -> Kind:
        members = [self.kind(cls) for cls in dict.fromkeys(map(type, values))]
        return union.Literal(values, self._union(members, "Literal"))

    def _alias(self, alias: Any, args: tuple[Any, ...]) -> Kind:
        if alias.__module__ == "pydantic.types" and alias.__name__ == "JsonValue":
            return FREE
        try:
            value = alias.__value__
        except NameError as error:
            raise NotDefinedYet(str(error)) from None
        bound = dict(zip(getattr(alias, "__type_params__", ()), args, strict=False))
        return self._once((alias, args), lambda _: self.kind(value, bound))

    def _once(self, key: Any, make: Callable[[union.Later], Kind]) -> Kind:
        """Return the kind of what may hold others of its type, made once."""
        found = self._begun.get(key)
        if found is not None:
            return found.target or found
        later = self._begun[key] = union.Later()
        try:
            return later.complete(make(later))
        except BaseException:
            del self._begun[key]
            raise

    def _variable(self, variable: Any, bound: dict[Any, Any]) -> Kind:
        if variable in bound and bound[variable] is not variable:
            return self.kind(bound[variable])
        limit = getattr(variable, "__bound__", None)
        if limit is not None:
            return self.kind(limit)
        choices = variable.__constraints__
        return self._union([self.kind(each) for each in choices], variable) if choices else FREE

    # ---- classes --------------------------------------------------------------------------

    def _class(self, cls: Any, bound: dict[Any, Any]) -> Kind:
        if not isinstance(cls, type):
            return self._unknown(cls)
        scalar = SCALARS.get(cls)
        if scalar is not None:
            return scalar
        if cls in _CONTAINERS or cls in _ABSTRACT:
            count = 2 if issubclass(cls, abc.Mapping) and cls is not collections.Counter else 1
            args = (Any, ...) if cls is tuple else (Any,) * count
            return self._container(cls, args, bound) or FREE
        if cls.__module__.startswith("pathlib"):
            return self._union([SCALARS[each] for each in SCALARS if issubclass(each, cls)], cls)
        if issubclass(cls, enum.Enum):
            return _enum(cls)
        return self._fields(cls, cls, bound)

    def _fields(self, cls: Any, annotation: Any, bound: dict[Any, Any]) -> Kind:
        made, complete = self._maker(cls)
        if made is None:
            return self._unknown(annotation)

        def make(later: union.Later) -> Kind:
            kind: classes.Fields = made(cls, _label(cls))
            later.announce(kind)
            complete(kind, cls, {**_inherited(cls), **bound})
            return kind

        try:
            return self._once((annotation, tuple(bound.items())), make)
        except TypeError as error:  # an argument of a generic class can't be hashed
            raise Misfit(f"{annotation!r}: {error}") from None

    def _maker(self, cls: Any) -> tuple[Any, Callable[[Any, Any, dict[Any, Any]], None]]:
        """Return the kind of classes like this one, and what completes it."""
        if typing.is_typeddict(cls) or _is_typed(cls):
            return classes.Typed, self._typed
        if hasattr(cls, "__pydantic_fields__") and hasattr(cls, "model_config"):
            return classes.Model, self._model
        if dataclasses.is_dataclass(cls):
            return classes.Dataclass, self._dataclass
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            return classes.Named, self._named
        return None, self._typed

    def _model(self, kind: classes.Model, cls: Any, bound: dict[Any, Any]) -> None:
        if cls.__name__ == "BaseModel" and cls.__module__ == "pydantic.main":
            raise Misfit("BaseModel has no fields; name the model, or a union of models")
        _check_concrete(cls)
        if not cls.__pydantic_complete__ and not cls.model_rebuild(raise_errors=False):
            raise NotDefinedYet(cls.__name__)
        fields: list[classes.Field] = []
        for name, info in cls.__pydantic_fields__.items():
            inner = self._inside(info.annotation, bound, info.metadata, name)
            default = None if info.is_required() else _default_of_model(info)
            fields.append(classes.Field(name, inner, info.is_required(), default))
        kind.complete(fields)
        metadata = cls.__pydantic_generic_metadata__
        kind.prepare(metadata["origin"], self._extra(cls, bound), self._private(cls, bound))

    def _inside(
        self, annotation: Any, bound: dict[Any, Any], metadata: Any = (), name: str = ""
    ) -> Kind:
        """Return the kind of a field; what the class says of it was judged when it was made."""
        if name.startswith("$"):
            raise Misfit(f"a field can't be named {name!r}; begin it with a letter")
        inner = Compiler(self._foreign)
        inner._begun = self._begun
        if metadata:
            annotation = Annotated[(annotation, *metadata)]
        try:
            return inner.kind(annotation, bound)
        except Misfit as misfit:
            raise (misfit.under(f".{name}") if name else misfit) from None

    def _extra(self, cls: Any, bound: dict[Any, Any]) -> Kind | None:
        if cls.model_config.get("extra") != "allow":
            return None
        for base in cls.__mro__:
            found = inspect.get_annotations(base).get("__pydantic_extra__")
            if found is not None and base.__module__ != "pydantic.main":
                hints = _hints(base)
                args = get_args(hints.get("__pydantic_extra__"))
                return self._inside(args[1], bound) if args else FREE
        return FREE

    def _private(self, cls: Any, bound: dict[Any, Any]) -> dict[str, classes.Private]:
        found: dict[str, classes.Private] = {}
        for name, attribute in cls.__private_attributes__.items():
            kind: Kind = FREE
            with contextlib.suppress(Misfit, NotDefinedYet):
                for base in cls.__mro__:
                    if name in inspect.get_annotations(base):
                        kind = self._inside(_hints(base)[name], bound)
                        break
            made = attribute.default_factory is not None
            has_default = made or repr(attribute.default) != "PydanticUndefined"
            default = attribute.get_default if has_default else None
            found[name] = classes.Private(kind, default, made)
        return found

    def _dataclass(self, kind: classes.Dataclass, cls: Any, bound: dict[Any, Any]) -> None:
        _check_concrete(cls)
        hints = _hints(cls)
        fields: list[classes.Field] = []
        for field in dataclasses.fields(cls):
            inner = self._inside(hints.get(field.name, Any), bound, (), field.name)
            default = classes.default_of(field)
            fields.append(classes.Field(field.name, inner, default is None, default))
        kind.complete(fields)
        kind.prepare(FREE)

    def _named(self, kind: classes.Named, cls: Any, bound: dict[Any, Any]) -> None:
        hints = _hints(cls)
        defaults: dict[str, Any] = cls._field_defaults
        fields: list[classes.Field] = []
        for name in cls._fields:
            inner = self.kind(hints.get(name, Any), bound)
            default = functools.partial(defaults.get, name) if name in defaults else None
            fields.append(classes.Field(name, inner, default is None, default))
        kind.complete(fields)

    def _typed(self, kind: classes.Typed, cls: Any, bound: dict[Any, Any]) -> None:
        if type(cls).__module__ == "typing" and sys.version_info < (3, 12):
            raise Misfit(
                f"before Python 3.12, {cls.__name__} must be a typing_extensions.TypedDict, "
                "not a typing.TypedDict"
            )
        kind.complete(
            [
                classes.Field(name, self.kind(hint, bound), name in cls.__required_keys__)
                for name, hint in _hints(cls).items()
            ]
        )


def _enum(cls: type[enum.Enum]) -> Kind:
    if not cls.__members__ and not issubclass(cls, enum.Flag):
        raise Misfit(f"{cls.__name__} has no members; name the enum that has them")
    return classes.Enumeration(cls, _label(cls))


def _is_alias(annotation: Any) -> bool:
    return type(annotation).__name__ == "TypeAliasType"


def _is_typed(cls: Any) -> bool:
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")


_QUALIFIERS = {
    getattr(module, name)
    for module in (typing, __import__("typing_extensions"))
    for name in ("ClassVar", "Final", "Required", "NotRequired", "ReadOnly")
    if hasattr(module, name)
}


def _hints(cls: Any) -> dict[str, Any]:
    """Return the annotations of a class, resolved."""
    local = {cls.__name__: cls, **getattr(cls, "__pydantic_parent_namespace__", None or {})}
    try:
        return typing.get_type_hints(cls, localns=local, include_extras=True)
    except NameError as error:
        raise NotDefinedYet(str(error)) from None


def _inherited(cls: Any) -> dict[Any, Any]:
    """Return what the type variables of generic bases stand for in a class."""
    found: dict[Any, Any] = {}
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type):
            names = getattr(origin, "__parameters__", ())
            found.update(zip(names, get_args(base), strict=False))
            found.update(_inherited(origin))
    return {name: item for name, item in found.items() if name is not item}


def _default_of_model(info: Any) -> Callable[[], Any]:
    def default() -> Any:
        if getattr(info, "default_factory_takes_validated_data", False):
            return info.default_factory({})
        return info.get_default(call_default_factory=True)

    return default


def _check_concrete(cls: Any) -> None:
    if inspect.isabstract(cls):
        raise Misfit(
            f"{cls.__name__} is abstract: none of its values can be made again; name the classes "
            "that it stands for, as a union"
        )


def _label(cls: Any) -> str:
    name: str = cls.__qualname__
    return name.rpartition("<locals>.")[2]


def _text(annotation: Any) -> str:
    from gorkflow.annotations import describe

    return annotation if isinstance(annotation, str) else describe(annotation)


def _told_apart(members: list[Kind]) -> list[Kind]:
    """Return members of a union, those of one name under their full names.

    Raises:
        Misfit: two have the same full name, too.
    """
    by_label: dict[str, dict[Any, str]] = {}
    for member in members:
        if isinstance(member, classes.Fields | classes.Enumeration):
            full = f"{member.cls.__module__}.{member.cls.__qualname__}"
            by_label.setdefault(member.label, {})[member.cls] = full
    found: list[Kind] = []
    for member in members:
        if not isinstance(member, classes.Fields | classes.Enumeration):
            found.append(member)
            continue
        same = by_label[member.label]
        if len(set(same.values())) < len(same):
            raise Misfit(f"two members of the union are called {member.label}; rename one")
        found.append(union.Renamed(member, same[member.cls]) if len(same) > 1 else member)
    return found
