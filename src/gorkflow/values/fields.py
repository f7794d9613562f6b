"""The kinds of classes with fields: rebuilt from what they held, without any of their own code.

No validator, ``__init__``, ``__post_init__`` or default runs for a field that was recorded. So
what was good when it was made can't fail later, and nothing is changed twice.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast, get_args, get_origin

from gorkflow.values.judge import NotDefinedYet
from gorkflow.values.kind import (
    EXTRA,
    MADE_AS,
    MARK,
    PRIVATE,
    UNSET,
    VALUE,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    at,
    check_name,
    named,
    type_name,
)
from gorkflow.values.plain import SHORT, count, step_of

MISSING: Final = "$missing"
"""The key for names of fields that the value does not have at all."""
_ABSENT: Any = object()
_METHODS = (types.FunctionType, classmethod, staticmethod)


Bound = dict[Any, Any]
"""The values of type variables."""


class Kinds(Protocol):
    """Gives the kinds of annotations."""

    def kind(self, annotation: Any, bound: Bound | None = None) -> Kind: ...

    def inside(
        self, annotation: Any, bound: Bound, metadata: Any = (), name: str = "", owner: Any = None
    ) -> Kind: ...


class Field(NamedTuple):
    name: str
    kind: Kind
    required: bool
    default: Callable[[dict[str, Any]], Any] | None = None
    """Makes what a record without the field reads as, since older code wrote it.

    It gets the fields that come before.
    """


class Fields(Kind):
    """The common part of all classes with fields."""

    has_fields = True
    is_named = True

    def __init__(self, cls: Any, label: str) -> None:
        self.cls = cls
        self.label = label
        self.classes = frozenset({cls})
        self.labels = frozenset({label})
        self.fields: tuple[Field, ...] = ()
        self._plan: tuple[tuple[str, frozenset[type], Kind], ...] = ()
        self._names: frozenset[str] = frozenset()
        self._hidden: frozenset[str] = frozenset()
        self._size = 0

    def complete(self, bound: Bound, kinds: Kinds) -> None:
        """Find the fields, which may lead back to this kind; ``bound`` is as in ``Kinds``."""
        raise NotImplementedError

    def set_fields(self, fields: list[Field]) -> None:
        self.fields = tuple(fields)
        self._plan = tuple((field.name, field.kind.natives, field.kind) for field in fields)
        self._names = frozenset(field.name for field in fields)
        self._size = sum(len(field.name) + 5 for field in fields) + len(self.label) + 7

    def misfit(self, value: Any) -> Misfit:
        given, wanted = type_name(value), label_of_class(self.cls)
        if isinstance(value, self.cls):
            return Misfit(
                f"a {given} would come back as a {wanted}, which it is more than; annotate it as "
                f"{given}, or as a union of both"
            )
        if given == wanted:
            return Misfit(f"expected {wanted}, not a value of another class of that name")
        return Misfit(f"expected {wanted}, not a value of type {given}")

    def dump_fields(self, held: Mapping[str, Any], writing: Writing) -> dict[str, Any]:
        record: dict[str, Any] = {MARK: self.label}
        name = ""
        room = self._size
        try:
            for name, natives, kind in self._plan:
                item = held[name]
                cls = type(item)
                if cls in natives:
                    record[name] = item
                    if cls is str:
                        room += len(item)
                    elif cls is int and not -SHORT < item < SHORT:
                        count(item, writing)
                else:
                    record[name] = kind.dump(item, writing)
        except KeyError:
            return self._dump_part(held, writing)
        except Misfit as misfit:
            raise misfit.under(f".{name}") from None
        writing.take(room)
        return record

    def _dump_part(self, held: Mapping[str, Any], writing: Writing) -> dict[str, Any]:
        """Return the record of a value some of whose fields were never set."""
        writing.take(self._size)
        record: dict[str, Any] = {MARK: self.label}
        for name, _, kind in self._plan:
            if name in held:
                record[name] = at(f".{name}", kind.dump, held[name], writing)
        record[MISSING] = [name for name, _, _ in self._plan if name not in held]
        return record

    def load_fields(
        self, record: Any, reading: Reading
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the fields, and the records of what the class has no field for.

        ``None``: the record has the fields, and at most says which of them were not set.
        """
        if type(record) is not dict or MARK not in record or VALUE in record:
            raise Misfit(f"expected {label_of_class(self.cls)}, not {named(record)}")
        found = cast("dict[str, Any]", record)
        if found[MARK] not in self.labels:
            check_name(found, self.labels, reading)
        held: dict[str, Any] = {}
        name = ""
        try:
            for name, natives, kind in self._plan:
                item = found.get(name, _ABSENT)
                if type(item) in natives:
                    held[name] = item
                elif item is not _ABSENT:
                    held[name] = kind.load(item, reading)
        except Misfit as misfit:
            raise misfit.under(f".{name}") from None
        if len(held) == len(self._plan) and len(found) == len(held) + 1 + (UNSET in found):
            return held, None
        private = found.get(PRIVATE) or {}
        self.leave_out({each: private[each] for each in private.keys() - self._hidden}, {}, reading)
        names = held.keys()
        beside = {
            name: item
            for name, item in found.items()
            if not name.startswith(MARK) and name not in names
        }
        beside.update(found.get(EXTRA) or {})  # one may be called as a field that has an alias
        if len(held) < len(self._plan):
            held = self._completed(held, beside, found.get(MISSING) or (), reading)
        return held, beside

    def _completed(
        self, held: dict[str, Any], beside: dict[str, Any], missing: Iterable[str], reading: Reading
    ) -> dict[str, Any]:
        """Return the fields in order, with those that were added after the value was recorded.

        Takes what is a field now out of what is beside the fields.
        """
        full: dict[str, Any] = {}
        for field in self.fields:
            name = field.name
            if name in held:
                full[name] = held[name]
            elif name in missing:
                continue
            elif name in beside:  # it was an extra field
                full[name] = at(step_of(name), field.kind.load, beside.pop(name), reading)
            else:
                reading.changes += 1
                if field.default is not None:
                    full[name] = _made(field, full)
                elif field.required:
                    raise Misfit("the recorded value has no such field").under(f".{name}")
        return full

    def leave_out(self, beside: Mapping[str, Any], record: Any, reading: Reading) -> None:
        """Leave out what the class has no field for any more, if that says nothing."""
        extra, unset = record.get(EXTRA) or (), record.get(UNSET) or ()
        for name, item in beside.items():
            if item is not None and (name in extra or name not in unset):
                raise Misfit("the class has no such field any more").under(step_of(name))
            reading.changes += 1

    def shape(self, shapes: Shapes) -> Any:
        return shapes.of(
            self,
            lambda: [
                type(self).__name__,
                {each.name: each.kind.shape(shapes) for each in self.fields},
                self.shape_beside(shapes),
            ],
        )

    def shape_beside(self, shapes: Shapes) -> Any:
        """Return plain data that says what its values may hold besides the fields."""
        return None


def _made(field: Field, before: dict[str, Any]) -> Any:
    assert field.default is not None
    try:
        return field.default(before)
    except Exception as error:  # noqa: BLE001 - a factory is anybody's code
        raise Misfit(
            f"the recorded value has no such field, and its default raised {type(error).__name__}"
        ).under(f".{field.name}") from None


def label_of_class(cls: Any) -> str:
    """Return the name of a class, without the function that it was defined in."""
    name: str = cls.__qualname__
    return name.rpartition("<locals>.")[2]


def slots_beside(cls: type, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of slots that are not fields."""
    known = frozenset(names)
    slots = [
        name
        for base in cls.__mro__
        for name, item in vars(base).items()
        if isinstance(item, types.MemberDescriptorType) and not name.startswith("__")
    ]
    return tuple(name for name in slots if name not in known)


def stray(cls: type, held: Iterable[str], names: frozenset[str]) -> list[str]:
    """Return the names of attributes that are neither fields nor cached properties."""
    found: list[str] = []
    for name in held:
        if name in names or name == MADE_AS or name.startswith("__pydantic_"):
            continue
        made = getattr(cls, name, None)
        if not hasattr(made, "__get__") or isinstance(made, _METHODS):
            found.append(name)
    return found


def hints_of(cls: Any, **more: Any) -> dict[str, Any]:
    """Return the annotations of a class, resolved; ``more`` are names that only they know."""
    around: dict[str, Any] = getattr(cls, "__pydantic_parent_namespace__", None) or {}
    local: dict[str, Any] = {cls.__name__: cls, **around, **more}
    try:
        return typing.get_type_hints(cls, localns=local, include_extras=True)
    except NameError as error:
        raise NotDefinedYet(str(error)) from None


# ---- type variables ---------------------------------------------------------------------------


def binding(cls: Any, args: tuple[Any, ...], bound: Bound) -> Bound:
    """Return what the type variables of a generic class stand for, given its arguments."""
    names = getattr(cls, "__parameters__", ())
    given = [substituted(arg, bound) for arg in args]
    return dict(zip(names, given, strict=False))


def scopes(cls: Any, bound: Bound) -> dict[Any, Bound]:
    """Return what type variables stand for in a class and in each of its bases."""
    found: dict[Any, Bound] = {cls: bound}
    attributes: dict[str, Any] = {**vars(cls)}
    for base in attributes.get("__orig_bases__", cls.__bases__):
        origin: Any = get_origin(base) or base
        if isinstance(origin, type) and origin not in {object, typing.Generic}:
            for each, inner in scopes(origin, binding(origin, get_args(base), bound)).items():
                found.setdefault(each, inner)
    return found


def scope_of(name: str, known: dict[Any, Bound], *, first: bool = True) -> Bound:
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
