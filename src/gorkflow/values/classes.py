"""The kinds of pydantic's models, dataclasses, named tuples and typed dicts."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import contextlib
import datetime as dt
import functools
import types
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from gorkflow.values.fields import (
    Field,
    Fields,
    dump_at,
    label_of_class,
    load_at,
    slots_beside,
    stray,
)
from gorkflow.values.kind import (
    EXTRA,
    MADE_AS,
    PRIVATE,
    UNSET,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    is_alike_by_identity,
    type_name,
)
from gorkflow.values.plain import Dict, Native
from gorkflow.values.scalars import SCALARS

_ROOM = 2**27
_BY_IDENTITY = (type, types.ModuleType, types.FunctionType, types.MethodType)
_BESIDE = ("maxlen", "default_factory", "args")  # of a deque, a defaultdict, an exception


class Private(NamedTuple):
    kind: Kind
    default: Callable[[dict[str, Any]], Any] | None

    def is_default(self, item: Any, fields: dict[str, Any]) -> bool:
        """Return whether it is what any new instance would have, as far as that is known."""
        default = self.default
        if default is None:
            return False
        try:
            return _is_alike(item, lambda: default(fields))
        except Exception:  # noqa: BLE001 - somebody else's factory, or __eq__
            return False


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are alike all the way down: ``==`` may leave something out."""
    return _same(one, other, other, set())


def _is_alike(item: Any, make: Callable[[], Any]) -> bool:
    default = make()
    if _same(item, default, default, set()):
        return True
    # What differs between two defaults, such as an id, was not set by hand.
    return type(item) is type(default) and _same(item, default, make(), set())


def _same(item: Any, default: Any, other: Any, seen: set[tuple[int, int]]) -> bool:
    """Return whether a value is like a default, where two defaults are alike."""
    if item is default or (id(item), id(default)) in seen:
        return True
    if type(item) is not type(default):
        return type(default) is not type(other)
    seen.add((id(item), id(default)))
    mine = _parts(item)
    if not mine and not _parts(default):
        return _equal(item, default) or not _equal(default, other)
    theirs, others = _parts(default), _parts(other)
    if mine.keys() != theirs.keys():
        return theirs.keys() != others.keys()
    return all(_same(mine[key], theirs[key], others.get(key), seen) for key in mine)


def _equal(one: Any, other: Any) -> bool:
    """Return whether two values without parts are alike."""
    if one is other:
        return True
    if type(one) is not type(other) or isinstance(one, _BY_IDENTITY):
        return False
    known = SCALARS.get(type(one))
    if known is not None:
        first, second = (known.dump(each, Writing(_ROOM)) for each in (one, other))
        return repr(first) == repr(second)
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, dt.datetime | dt.time):  # a class of somebody else's, over one of these
        zones = [(type(each.tzinfo), repr(each.tzinfo), each.fold) for each in (one, other)]
        return zones[0] == zones[1] and one.isoformat() == other.isoformat()
    return is_alike_by_identity(one) or bool(one == other)  # two locks are alike


def _parts(value: Any) -> dict[Any, Any]:
    """Return what a value holds: its items and its attributes."""
    cls: type = type(value)
    if cls in SCALARS or isinstance(value, _BY_IDENTITY):
        return {}
    found: dict[Any, Any] = {}
    if isinstance(value, list | tuple | deque):
        found.update(enumerate(value))
    elif isinstance(value, dict):
        found.update(enumerate(value.items()))
    elif isinstance(value, set | frozenset):
        found.update((("item", each), each) for each in value)
    if isinstance(value, deque | dict | BaseException):
        found.update((name, getattr(value, name)) for name in _BESIDE if hasattr(value, name))
    found.update(_attributes(value, cls))
    return found


def _attributes(value: Any, cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in getattr(value, "__dict__", {}).items():
        if name != MADE_AS and not isinstance(getattr(cls, name, None), functools.cached_property):
            found["." + name] = item
    slots = [pair for base in cls.__mro__ for pair in vars(base).items()]
    for name, slot in slots:
        if isinstance(slot, types.MemberDescriptorType) and hasattr(value, name):
            found["." + name] = getattr(value, name)
    return found


_ORIGIN: Final = "$origin"
"""The key that is there if a generic class was used without its arguments."""
_ABSENT: Any = object()


class Model(Fields):
    """A pydantic model: its fields, which of them were set, extra fields, private attributes."""

    def prepare(
        self,
        origin: type | None,
        extra: Kind | None,
        private: Mapping[str, Private],
    ) -> None:
        """Set what comes beside the fields; no ``extra``: every field is declared."""
        self._origin = origin
        self._extra = extra
        self._private = private
        self._hidden = frozenset(private)
        self._is_root = bool(getattr(self.cls, "__pydantic_root_model__", False))
        self._slots = slots_beside(self.cls, self._names)
        if origin is not None:
            self.classes = frozenset({self.cls, origin})

    def dump(self, value: Any, writing: Writing) -> Any:
        cls = type(value)
        if cls is not self.cls and (cls is not self._origin or self._origin is None):
            raise self.misfit(value)
        held = value.__dict__
        record = self.dump_fields(held, writing)
        if len(held) != len(self._plan) or self._slots:
            self._check_stray(value, held)
        extra: dict[str, Any] = value.__pydantic_extra__ or {}
        if extra:
            record[EXTRA] = self._dump_extra(extra, writing)
        given = value.__pydantic_fields_set__
        if extra or given != self._names:
            self._add_unset(record, given, (*held, *extra) if extra else held)
        if self._private and (private := self._dump_private(value, writing)):
            record[PRIVATE] = private
        if cls is not self.cls:
            record[_ORIGIN] = True
        return record

    def _check_stray(self, value: Any, held: dict[str, Any]) -> None:
        slots = [name for name in self._slots if hasattr(value, name)]
        for name in (*stray(self.cls, held, self._names), *slots):
            raise Misfit(
                f"its attribute {name!r} is not a field; declare it as one, or return a plain "
                "model in place of an object of a database"
            )

    def _dump_extra(self, extra: dict[str, Any], writing: Writing) -> dict[str, Any]:
        kind = self._extra
        if kind is None:
            raise Misfit(f"its attribute {next(iter(extra))!r} is not a field")
        writing.take(sum(map(len, extra)) + 5 * len(extra))
        return {name: dump_at(f".{name}", kind, item, writing) for name, item in extra.items()}

    def _add_unset(self, record: dict[str, Any], given: set[str], held: Collection[str]) -> None:
        unset = [name for name in held if name not in given and not name.startswith("__")]
        unset = [name for name in unset if name in record or name in record.get(EXTRA, ())]
        if unset:
            record[UNSET] = unset
        if not given.issubset(held):
            name = next(iter(given.difference(held)))
            raise Misfit(f"its model_fields_set names {name!r}, which it does not have")

    def _dump_private(self, value: Any, writing: Writing) -> dict[str, Any]:
        held: dict[str, Any] = value.__pydantic_private__ or {}
        found: dict[str, Any] = {}
        for name, known in self._private.items():
            item = held.get(name, _ABSENT)
            if item is _ABSENT or known.is_default(item, {**value.__dict__, **held}):
                continue
            try:
                found[name] = known.kind.dump(item, writing)
            except Misfit as misfit:
                misfit.reason = f"its private attribute {name!r} can't be kept: {misfit.reason}"
                raise misfit.under(f".{name}") from None
        return found

    def load(self, record: Any, reading: Reading) -> Any:
        held, beside = self.load_fields(record, reading)
        cls = self._origin if self._origin is not None and record.get(_ORIGIN) else self.cls
        value: Any = object.__new__(cls)
        put = object.__setattr__
        put(value, "__dict__", held)
        given = set(held)
        extra: dict[str, Any] | None = None if self._extra is None else {}
        if beside is not None:
            extra = self._load_extra(beside, record, reading)
            # Of two of one name, a field and an extra one, either may be there.
            given.intersection_update((*record, *record.get(EXTRA, ())))
            given.update(extra or ())
        if not self._is_root:
            put(value, "__pydantic_extra__", extra)
            put(value, "__pydantic_private__", None)
        if self._private:
            put(value, "__pydantic_private__", self._load_private(record, held, reading))
        if UNSET in record:
            given.difference_update(record[UNSET])
        put(value, "__pydantic_fields_set__", given)
        return value

    def _load_extra(
        self, beside: dict[str, Any], record: Any, reading: Reading
    ) -> dict[str, Any] | None:
        kind = self._extra
        if kind is not None:
            return {name: load_at(name, kind, item, reading) for name, item in beside.items()}
        if not self._is_root:
            self.leave_out(beside, record, reading)
        return None

    def _load_private(
        self, record: Any, fields: dict[str, Any], reading: Reading
    ) -> dict[str, Any]:
        kept = record.get(PRIVATE) or {}
        held: dict[str, Any] = {}
        for name, known in self._private.items():
            if name in kept:
                held[name] = load_at(name, known.kind, kept[name], reading)
            elif known.default is not None:
                with contextlib.suppress(Exception):  # it is not a part of the value
                    held[name] = known.default({**fields, **held})
        return held

    def shape_beside(self, shapes: Shapes) -> Any:
        extra = None if self._extra is None else self._extra.shape(shapes)
        return [extra, {name: each.kind.shape(shapes) for name, each in self._private.items()}]


class Dataclass(Fields):
    """A dataclass, of the standard library or of pydantic, with slots or without."""

    def prepare(self, beside: Kind) -> None:
        """Set the kind of attributes that the class is silent about."""
        self._beside = beside
        self._slots = slots_beside(self.cls, self._names)
        self._has_dict = self.cls.__dictoffset__ != 0
        self._is_dict = self._has_dict and not slots_beside(self.cls, ())

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise self.misfit(value)
        held: dict[str, Any] = value.__dict__ if self._is_dict else {}
        if not self._is_dict or not self._names <= held.keys():  # or it is a default of the class
            names = (*self._names, *self._slots)
            more = {name: getattr(value, name) for name in names if hasattr(value, name)}
            held = {**getattr(value, "__dict__", {}), **more}
        record = self.dump_fields(held, writing)
        if len(held) != len(self._plan):
            extra = {
                name: dump_at(f".{name}", self._beside, held[name], writing)
                for name in (*stray(self.cls, held, self._names), *self._slots)
                if name in held
            }
            if extra:
                record[EXTRA] = extra
        return record

    def load(self, record: Any, reading: Reading) -> Any:
        held, beside = self.load_fields(record, reading)
        if beside:
            kept = {name for name in record.get(EXTRA) or () if self._may_hold(name, held)}
            gone = {name: item for name, item in beside.items() if name not in kept}
            self.leave_out(gone, record, reading)
            for name in beside.keys() & kept:
                held[name] = load_at(name, self._beside, beside[name], reading)
        value: Any = object.__new__(self.cls)
        if self._is_dict:
            object.__setattr__(value, "__dict__", held)
            return value
        for name, item in held.items():
            object.__setattr__(value, name, item)
        return value

    def _may_hold(self, name: str, held: Mapping[str, Any]) -> bool:
        """Return whether an instance has room for an attribute that is not a field."""
        return name not in held and (self._has_dict or name in self._slots)

    def shape_beside(self, shapes: Shapes) -> Any:
        return "anything" if self._has_dict else sorted(self._slots)


class Named(Fields):
    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise self.misfit(value)
        for name in getattr(value, "__dict__", ()):
            if name != MADE_AS:
                raise Misfit(f"its attribute {name!r} is not a field; declare it as one")
        return self.dump_fields(dict(zip(self.cls._fields, value, strict=True)), writing)

    def load(self, record: Any, reading: Reading) -> Any:
        held, beside = self.load_fields(record, reading)
        if beside:
            self.leave_out(beside, record, reading)
        return tuple.__new__(self.cls, [held[name] for name in self.cls._fields])


class Typed(Fields):
    """A dict whose keys a TypedDict names. Its record is that of any dict."""

    def __init__(self, cls: Any, label: str) -> None:
        super().__init__(cls, label)
        self.classes = frozenset({dict})
        self.labels = frozenset({"dict"})

    def complete(self, fields: list[Field]) -> None:
        super().complete(fields)
        self._by_name = {field.name: field for field in fields}
        self._as_dict = Dict(dict, Native(str), _Ready())

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not dict:
            raise Misfit(f"expected a dict for {label_of_class(self.cls)}, not {type_name(value)}")
        held: dict[Any, Any] = value
        for field in self.fields:
            if field.required and field.name not in held:
                raise Misfit(f"its key {field.name!r} is missing")
        for name in held:
            if type(name) is not str or name not in self._by_name:
                raise Misfit(  # pydantic would leave it out, and say nothing
                    f"{label_of_class(self.cls)} declares no key {name!r:.60}; declare it",
                    unsayable=True,
                )
        records = {
            name: dump_at(f".{name}", self._by_name[name].kind, item, writing)
            for name, item in held.items()
        }
        return self._as_dict.dump(records, writing)

    def load(self, record: Any, reading: Reading) -> Any:
        found = self._as_dict.load(record, reading)
        held: dict[str, Any] = {}
        for name, item in found.items():
            if name in self._by_name:
                held[name] = load_at(name, self._by_name[name].kind, item, reading)
            else:
                self.leave_out({name: item}, {}, reading)
        for field in self.fields:
            if field.required and field.name not in held:
                raise Misfit("the recorded value has no such key").under(f".{field.name}")
        return held

    def shape(self, shapes: Shapes) -> Any:
        required = sorted(field.name for field in self.fields if field.required)
        return [super().shape(shapes), required]


class _Ready(Kind):
    """A value that is a record already."""

    def dump(self, value: Any, writing: Writing) -> Any:
        return value

    def load(self, record: Any, reading: Reading) -> Any:
        return record
