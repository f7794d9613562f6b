"""From an annotation to the kind that keeps its values."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

import collections
import enum
import types
import typing
from collections import abc
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

from gorkflow.values import choices, plain
from gorkflow.values.classes import class_of
from gorkflow.values.fields import Bound, binding, hints_of, label_of_class, substituted
from gorkflow.values.foreign import Foreign
from gorkflow.values.judge import NotDefinedYet
from gorkflow.values.kind import SECRET, Kind, Misfit, at
from gorkflow.values.plain import FREE, Dict
from gorkflow.values.scalars import SCALARS
from gorkflow.values.secret import Hidden, holds_secret, is_secret


class _UnknownType(Misfit):
    """No kind knows how to keep a type."""


def _natives() -> dict[Any, Kind]:
    kinds: dict[Any, Kind] = {cls: plain.Native(cls) for cls in (bool, int, str, type(None))}
    return {**kinds, float: plain.Float(), None: kinds[type(None)]}


_NATIVES = _natives()
_ORDERED = (list, tuple, collections.deque)
_ANY_ITEMS = (*_ORDERED, set, frozenset)
_DICTS = (dict, collections.OrderedDict, collections.defaultdict)
_ABSTRACT: dict[Any, tuple[type, ...]] = {
    abc.Sequence: _ORDERED,
    abc.MutableSequence: (list, collections.deque),
    abc.Reversible: _ORDERED,
    abc.Collection: _ANY_ITEMS,
    abc.Iterable: _ANY_ITEMS,
    abc.Container: _ANY_ITEMS,
    abc.Sized: _ANY_ITEMS,
    abc.Set: (set, frozenset),
    abc.MutableSet: (set,),
    abc.Mapping: _DICTS,
    abc.MutableMapping: _DICTS,
}
_CONTAINERS = frozenset({*_ANY_ITEMS, *_DICTS, collections.Counter})
_OURS = frozenset(
    {
        *(label for kind in (*SCALARS.values(), FREE) for label in kind.labels),
        *(each.__name__ for each in (*_CONTAINERS, int, float)),
        SECRET,
    }
)
_BARE_TUPLE: Any = getattr(typing, "Tuple")  # noqa: B009 - tuple itself is another
_UNPACKS = {typing.Unpack, __import__("typing_extensions").Unpack}
_QUALIFIERS = {
    getattr(module, name)
    for module in (typing, __import__("typing_extensions"))
    for name in ("ClassVar", "Final", "Required", "NotRequired", "ReadOnly")
    if hasattr(module, name)
}


def compiled(annotation: Any, describe: Callable[[Any], str]) -> tuple[Kind, Compiler]:
    """Return the kind of an annotation, and what the compiler knows of it."""
    compiler = Compiler(describe)
    kind = compiler.kind(annotation)
    if compiler.shared:
        compiler = Compiler(describe, compiler.shared)
        kind = compiler.kind(annotation)
    return kind, compiler


class Compiler:
    """Makes the kind of one annotation. Records name classes in full whose name is ``shared``."""

    def __init__(
        self, describe: Callable[[Any], str], shared: frozenset[str] = frozenset()
    ) -> None:
        self._describe = describe
        self._shared = shared
        self._begun: dict[Any, choices.Later] = {}
        self._named: dict[str, set[Any]] = {}
        self._has_values = False  # the class holds the values of enums, in place of members
        self.judged = False
        """Whether the annotation has constraints or validators outside of classes."""
        self.foreign: list[Foreign] = []
        """The kinds, at any depth, that need a function of their type to read a value."""

    def kind(self, annotation: Any, bound: Bound | None = None) -> Kind:
        """Return the kind of an annotation; ``bound`` says what its type variables stand for."""
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
        return self._special(annotation, bound)

    def _special(self, annotation: Any, bound: Bound) -> Kind:
        if isinstance(annotation, TypeVar):
            return self._variable(annotation, bound)
        if type(annotation).__name__ == "PydanticRecursiveRef":
            return self._recursive(annotation.type_ref)
        if hasattr(annotation, "__supertype__"):  # a NewType
            return self.kind(annotation.__supertype__, bound)
        origin, args = get_origin(annotation), get_args(annotation)
        if _is_alias(annotation) or _is_alias(origin):
            return self._alias(origin or annotation, args, bound)
        is_bare = annotation is _BARE_TUPLE or not (args or origin is tuple)  # List, of typing
        if origin is None or is_bare:
            return self._class(origin or annotation, bound)
        return self._generic(annotation, origin, args, bound)

    # ---- what has arguments ---------------------------------------------------------------

    def _generic(self, annotation: Any, origin: Any, args: tuple[Any, ...], bound: Bound) -> Kind:
        if origin is Annotated:
            return self._annotated(annotation, args, bound)
        if origin is typing.Union or origin is types.UnionType:
            return self._union([self.kind(arg, bound) for arg in args], annotation)
        if origin is typing.Literal:
            members = [self.kind(cls) for cls in dict.fromkeys(map(type, args))]
            return choices.Literal(args, self._union(members, annotation))
        if origin in _QUALIFIERS:
            return self.kind(args[0], bound)
        if origin is type or origin is abc.Callable:
            raise Misfit("a class or function can't be kept; pass its name")
        found = self._container(origin, args, bound) or SCALARS.get(origin)
        if found is not None or not isinstance(origin, type):
            return found or self._unknown(annotation)
        return self._fields(origin, annotation, binding(origin, args, bound))

    def _annotated(self, annotation: Any, args: tuple[Any, ...], bound: Bound) -> Kind:
        notes = [note for note in args[1:] if not is_secret(note)]
        if len(notes) < len(args) - 1:
            inner = Annotated[(args[0], *notes)] if notes else args[0]
            return Hidden(self.kind(inner, bound))
        self.judged = True
        try:
            found = self.kind(args[0], bound)
        except _UnknownType as unknown:
            try:
                return self._made_foreign(annotation)  # the notes may say how to keep it
            except Misfit:
                raise unknown from None
        if isinstance(found, Foreign):
            return self._made_foreign(annotation)
        return found

    def _unknown(self, annotation: Any) -> Kind:
        self.judged = True
        try:
            return self._made_foreign(annotation)
        except Misfit as misfit:
            raise _UnknownType(misfit.reason) from None

    def _made_foreign(self, annotation: Any) -> Foreign:
        made = Foreign(annotation, self._describe(annotation))
        self.foreign.append(made)
        return made

    def _tuple(self, args: tuple[Any, ...], bound: Bound) -> Kind:
        """Return the kind of a tuple; ``*tuple[X, ...]`` stands for any number of items."""
        items: list[Kind] = []
        rest: Kind | None = None
        at = 0
        for arg in args:
            inner = _unpacked(arg)
            if inner is None:
                items.append(self.kind(arg, bound))
            elif inner[1:] == (...,):
                rest, at = self.kind(inner[0], bound), len(items)
            else:
                items += [self.kind(each, bound) for each in inner]
        return plain.Tuple(items, rest, at)

    def _container(self, origin: Any, args: tuple[Any, ...], bound: Bound) -> Kind | None:
        if origin is tuple:
            if args[1:] == (...,):
                return plain.Items(tuple, self.kind(args[0], bound))
            return self._tuple(args, bound)
        if origin in _ABSTRACT:
            found = [
                self._container(cls, (args[0], ...) if cls is tuple else args, bound)
                for cls in _ABSTRACT[origin]
            ]
            return self._union([kind for kind in found if kind is not None], origin)
        if origin not in _CONTAINERS:
            return None
        kinds = [self.kind(arg, bound) for arg in args]
        if issubclass(origin, dict) and holds_secret(kinds[0]):
            raise Misfit("a key can't be a secret, since views show keys; hold it in a value")
        if origin is collections.deque:
            return plain.Deque(origin, kinds[0])
        if origin is collections.Counter:
            return Dict(origin, kinds[0], _NATIVES[int])
        if issubclass(origin, dict):
            return Dict(origin, kinds[0], kinds[1])
        return plain.Items(origin, kinds[0])

    def _union(self, kinds: Sequence[Kind], annotation: Any) -> Kind:
        members: list[Kind] = []
        for kind in kinds:
            for member in kind.members if isinstance(kind, choices.Union) else (kind,):
                if member not in members:
                    members.append(member)
        if len(members) == 1:
            return members[0]
        if self._shared:
            _check_names(members)
        return choices.Union(members, self._describe(annotation))

    def _alias(self, alias: Any, args: tuple[Any, ...], bound: Bound) -> Kind:
        if alias.__module__ == "pydantic.types" and alias.__name__ == "JsonValue":
            return FREE
        names = getattr(alias, "__type_params__", ())
        given = tuple(substituted(arg, bound) for arg in args)
        inner = dict(zip(names, given, strict=False))
        return self._once(
            (alias, given, self._has_values), lambda _: self.kind(_value_of(alias), inner)
        )

    def _once(self, key: Any, make: Callable[[choices.Later], Kind]) -> Kind:
        """Return the kind of what may hold others of its type, made once."""
        found = self._begun.get(key)
        if found is not None:
            return found.target or found
        later = self._begun[key] = choices.Later()
        try:
            return later.complete(make(later))
        except RecursionError:
            raise Misfit("its type arguments grow without end") from None
        except BaseException:
            del self._begun[key]
            raise

    def _variable(self, variable: Any, bound: Bound) -> Kind:
        if variable in bound and bound[variable] is not variable:
            return self.kind(bound[variable])
        if getattr(variable, "has_default", bool)():
            return self.kind(variable.__default__, bound)
        limit = getattr(variable, "__bound__", None)
        if limit is not None:
            return self.kind(limit)
        choices = variable.__constraints__
        return self._union([self.kind(each) for each in choices], variable) if choices else FREE

    def _recursive(self, ref: str) -> Kind:
        """Return the kind of a generic model that holds others of its type.

        Pydantic names it by a ``ref`` with the identities of its origin and its arguments.
        """
        for (cls, *_), later in self._begun.items():
            made: Any = getattr(cls, "__pydantic_generic_metadata__", None)
            if made and made["origin"] is not None:
                known = (made["origin"], *made["args"])
                if all(f":{id(each)}" in ref or isinstance(each, TypeVar) for each in known):
                    return later.target or later
        raise NotDefinedYet(ref)

    # ---- classes --------------------------------------------------------------------------

    def _class(self, cls: Any, bound: Bound) -> Kind:
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
            if not cls.__members__ and not issubclass(cls, enum.Flag):
                raise Misfit(f"{cls.__name__} has no members; name the enum that has them")
            found = choices.Enumeration(cls, self._label(cls))
            found.labels = _labels(cls)
            if not self._has_values:
                return found
            values = [member.value for member in cls]
            return self._union([found, choices.Literal(values, FREE)], cls)
        return self._fields(cls, cls, {})

    def _fields(self, cls: Any, annotation: Any, bound: Bound) -> Kind:
        made = class_of(cls)
        if made is None:
            return self._unknown(annotation)

        def make(later: choices.Later) -> Kind:
            kind = made(cls, self._label(cls))
            if kind.is_named:
                kind.labels = _labels(cls)
            later.announce(kind)
            kind.complete(bound, self)
            return kind

        try:
            return self._once((annotation, tuple(bound.items()), self._has_values), make)
        except TypeError as error:  # an argument of a generic class can't be hashed
            raise Misfit(f"{annotation!r}: {error}") from None

    def _label(self, cls: Any) -> str:
        name = label_of_class(cls)
        self._named.setdefault(name, set()).add(cls)
        is_taken = name in self._shared or name in _OURS
        return _full_name(cls) if is_taken else name

    @property
    def shared(self) -> frozenset[str]:
        return frozenset(name for name, classes in self._named.items() if len(classes) > 1)

    def inside(
        self, annotation: Any, bound: Bound, metadata: Any = (), name: str = "", owner: Any = None
    ) -> Kind:
        """Return the kind of a field, whose annotation was judged with its class."""
        step = f".{name}" if name else ""
        if name.startswith("$"):
            raise Misfit("a field can't be named so; begin it with a letter").under(step)
        if metadata:
            annotation = Annotated[(annotation, *metadata)]
        before = self.judged, self._has_values
        config: Any = getattr(owner, "model_config", getattr(owner, "__pydantic_config__", None))
        if config is not None:  # else that of the class around it holds
            self._has_values = bool(config.get("use_enum_values"))
        try:
            return at(step, self.kind, annotation, bound)  # type: ignore[no-any-return]
        finally:
            self.judged, self._has_values = before


def _unpacked(annotation: Any) -> tuple[Any, ...] | None:
    """Return the items of a tuple that is unpacked into another one; ``None``: it is not."""
    if getattr(annotation, "__unpacked__", False):
        return get_args(annotation)
    if get_origin(annotation) in _UNPACKS:
        return get_args(get_args(annotation)[0])
    return None


def _is_alias(annotation: Any) -> bool:
    return type(annotation).__name__ == "TypeAliasType"


def _value_of(alias: Any) -> Any:
    """Return what an alias stands for."""
    try:
        body = {"__annotations__": {"value": alias.__value__}, "__module__": alias.__module__}
    except NameError as error:
        raise NotDefinedYet(str(error)) from None
    return hints_of(type("Alias", (), body), **{alias.__name__: alias})["value"]


def _full_name(cls: Any) -> str:
    """Return the name of a class with its module, and those of its arguments."""
    if not isinstance(cls, type):
        return repr(cls)
    made: Any = getattr(cls, "__pydantic_generic_metadata__", None)
    if made and made["origin"] is not None:
        return f"{_full_name(made['origin'])}[{', '.join(map(_full_name, made['args']))}]"
    return f"{cls.__module__}.{cls.__qualname__}"


def _labels(cls: Any) -> frozenset[str]:
    """Return the names that a class may have in records: in full if others are called so, too."""
    return frozenset({label_of_class(cls), _full_name(cls)}) - _OURS


def _check_names(members: Sequence[Kind]) -> None:
    """Check that records of a union's classes differ."""
    named: dict[str, Any] = {}
    for member in members:
        if member.is_named and named.setdefault(member.label, member.cls) is not member.cls:
            raise Misfit(f"two members of the union are called {member.label}; rename one")
