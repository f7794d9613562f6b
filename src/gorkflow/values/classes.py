"""Classes with fields, and enums: rebuilt from what they held, without any code of theirs.

No validator, ``__init__``, ``__post_init__`` or default runs for a field that was recorded. So
what was good when it was made can't fail later, and nothing is changed twice.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import enum
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, cast

from gorkflow.values.kind import (
    EXTRA,
    MARK,
    VALUE,
    Kind,
    Misfit,
    Writing,
    inner_of,
    named,
    tagged,
    type_name,
)
from gorkflow.values.plain import step_of

UNSET = "$unset"
"""Names of fields that hold their default, since nobody set them."""
PRIVATE = "$private"
ORIGIN = "$origin"
"""Set where a generic class was used without its arguments."""
_ABSENT: Any = object()


class Field(NamedTuple):
    """A field of a class."""

    name: str
    kind: Kind
    required: bool
    default: Callable[[], Any] | None = None
    """Makes what a record without the field reads as: it was written by older code."""


class Fields(Kind):
    """What all classes with fields have in common.

    Args:
        cls: the class.
        label: names its records.
    """

    def __init__(self, cls: Any, label: str) -> None:
        self.cls = cls
        self.label = label
        self.classes = frozenset({cls})
        self.labels = frozenset({label})
        self.fields: tuple[Field, ...] = ()
        self._plan: tuple[tuple[str, frozenset[type], Kind], ...] = ()
        self._names: frozenset[str] = frozenset()

    def complete(self, fields: list[Field]) -> None:
        """Set the fields, which may lead back to this kind."""
        self.fields = tuple(fields)
        self._plan = tuple((field.name, field.kind.natives, field.kind) for field in fields)
        self._names = frozenset(field.name for field in fields)

    def _misfit(self, value: Any) -> Misfit:
        given, wanted = type_name(value), self.cls.__qualname__.rpartition("<locals>.")[2]
        if isinstance(value, self.cls):
            return Misfit(
                f"a {given} would come back as a {wanted}, which it is more than; annotate it as "
                f"{given}, or as a union of both"
            )
        return Misfit(f"expected {wanted}, not a value of type {given}")

    def _dump_fields(self, held: dict[str, Any], writing: Writing) -> dict[str, Any]:
        record: dict[str, Any] = {MARK: self.label}
        name = ""
        room = len(held)
        try:
            for name, natives, kind in self._plan:
                item = held[name]
                cls = type(item)
                if cls in natives:
                    record[name] = item
                    if cls is str:
                        room += len(item)
                else:
                    record[name] = kind.dump(item, writing)
        except KeyError:
            raise Misfit(f"its field {name!r} is not set") from None
        except Misfit as misfit:
            raise misfit.under(f".{name}") from None
        writing.take(room)
        return record

    def _load_fields(
        self, record: Any, unset: Collection[str] = ()
    ) -> tuple[dict[str, Any], list[str]]:
        """Return the fields, and the names of those that the record does not have.

        Args:
            record: of the value.
            unset: names of fields that the value had not set.
        """
        if type(record) is not dict or MARK not in record or VALUE in record:
            raise Misfit(f"expected {self.cls.__name__}, not {named(record)}")
        found: dict[str, Any] = cast("dict[str, Any]", record)
        held: dict[str, Any] = {}
        name = ""
        try:
            for name, natives, kind in self._plan:
                item = found.get(name, _ABSENT)
                if type(item) in natives:
                    held[name] = item
                elif item is not _ABSENT:
                    held[name] = kind.load(item)
        except Misfit as misfit:
            raise misfit.under(f".{name}") from None
        absent: list[str] = []
        if len(held) != len(self._plan):
            absent = [name for name in self._names if name not in held and name not in unset]
            for field in self.fields:
                if field.name in absent:
                    self._default(field, held)
        if len(found) > len(held) + 1:
            self._check_known(found)
        return held, absent

    def _check_known(self, record: dict[str, Any]) -> None:
        for name in record:
            if name not in self._names and not name.startswith(MARK):
                raise Misfit("the class has no such field any more").under(f".{name}")

    def _default(self, field: Field, held: dict[str, Any]) -> None:
        """Set a field that was added after the value was recorded."""
        if field.default is not None:
            try:
                held[field.name] = field.default()
            except Exception as error:  # noqa: BLE001 - a factory is anybody's code
                raise Misfit(f"its default raised {type(error).__name__}").under(
                    f".{field.name}"
                ) from None
        elif field.required:
            raise Misfit("the recorded value has no such field").under(f".{field.name}")

    def shape(self, seen: dict[int, int]) -> Any:
        if id(self) in seen:
            return ["again", seen[id(self)]]
        seen = {**seen, id(self): len(seen)}
        fields = {field.name: field.kind.shape(seen) for field in self.fields}
        return [type(self).__name__, dict(sorted(fields.items()))]


def stray(cls: type, held: Iterable[str], names: frozenset[str]) -> list[str]:
    """Return the names of attributes that are neither fields nor cached properties."""
    return [
        name
        for name in held
        if name not in names and not hasattr(getattr(cls, name, None), "__get__")
    ]


def dump_at(step: str, kind: Kind, value: Any, writing: Writing) -> Any:
    """Return the record of a value; a misfit has its place."""
    try:
        return kind.dump(value, writing)
    except Misfit as misfit:
        raise misfit.under(step) from None


def load_all(records: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """Return the values of records, by name."""
    values: dict[str, Any] = {}
    name = ""
    try:
        for name, record in records.items():
            values[name] = kind.load(record)
    except Misfit as misfit:
        raise misfit.under(step_of(name)) from None
    return values


class Private(NamedTuple):
    """A private attribute of a model."""

    kind: Kind
    default: Callable[[], Any] | None
    made: bool
    """Whether a factory makes it: no two instances need have the same."""


class Model(Fields):
    """A pydantic model: its fields, which of them were set, extra fields, private attributes."""

    def prepare(self, origin: type | None, extra: Kind | None, private: dict[str, Private]) -> None:
        """Set what comes beside the fields.

        Args:
            origin: the generic model that this is one of.
            extra: the kind of fields that are not declared; ``None``: there are none.
            private: the private attributes.
        """
        self._origin = origin
        self._extra = extra
        self._private = private
        self._is_root = bool(getattr(self.cls, "__pydantic_root_model__", False))
        if origin is not None:
            self.classes = frozenset({self.cls, origin})

    def dump(self, value: Any, writing: Writing) -> Any:
        cls = type(value)
        if cls is not self.cls and (cls is not self._origin or self._origin is None):
            raise self._misfit(value)
        held = value.__dict__
        record = self._dump_fields(held, writing)
        if len(held) != len(self._plan):
            for name in stray(self.cls, held, self._names):
                raise Misfit(
                    f"its attribute {name!r} is not a field; declare it as one, or return a plain "
                    "model in place of an object of a database"
                )
        extra: dict[str, Any] = value.__pydantic_extra__ or {}
        if extra:
            record[EXTRA] = self._dump_extra(extra, writing)
        given = value.__pydantic_fields_set__
        if given != self._names:
            unset = [name for name in (*held, *extra) if name not in given and name in record]
            if unset:
                record[UNSET] = unset
        if self._private and (private := self._dump_private(value, writing)):
            record[PRIVATE] = private
        if cls is not self.cls:
            record[ORIGIN] = True
        return record

    def _dump_extra(self, extra: dict[str, Any], writing: Writing) -> dict[str, Any]:
        writing.take(len(extra))
        kind = self._extra
        if kind is None:
            raise Misfit(f"its attribute {next(iter(extra))!r} is not a field")
        return {name: dump_at(f".{name}", kind, item, writing) for name, item in extra.items()}

    def _dump_private(self, value: Any, writing: Writing) -> dict[str, Any]:
        held = value.__pydantic_private__ or {}
        found: dict[str, Any] = {}
        for name, item in held.items():
            known = self._private.get(name)
            if known is None or _is_default(item, known):
                continue
            try:
                found[name] = known.kind.dump(item, writing)
            except Misfit as misfit:
                if known.made and known.default is not None:
                    continue  # its factory makes another one, as for a lock
                raise Misfit(
                    f"its private attribute {name!r} can't be kept: {misfit.reason}"
                ).under(f".{name}") from None
        return found

    def load(self, record: Any) -> Any:
        held, absent = self._load_fields(record)
        cls = self._origin if record.get(ORIGIN) and self._origin is not None else self.cls
        value: Any = object.__new__(cls)
        put = object.__setattr__
        put(value, "__dict__", held)
        given = set(held)
        if not self._is_root:
            more = self._load_extra(record.get(EXTRA) or {})
            given.update(more or ())
            put(value, "__pydantic_extra__", more)
            put(value, "__pydantic_private__", self._load_private(record))
        given.difference_update(absent, record.get(UNSET, ()))
        put(value, "__pydantic_fields_set__", given)
        return value

    def _load_extra(self, records: dict[str, Any]) -> dict[str, Any] | None:
        if self._extra is not None:
            return load_all(records, self._extra)
        for name in records:
            raise Misfit("the class has no such field any more").under(f".{name}")
        return None

    def _load_private(self, record: Any) -> dict[str, Any] | None:
        if not self._private:
            return None
        kept = record.get(PRIVATE, {})
        held: dict[str, Any] = {}
        for name, known in self._private.items():
            if name in kept:
                try:
                    held[name] = known.kind.load(kept[name])
                except Misfit as misfit:
                    raise misfit.under(f".{name}") from None
            elif known.default is not None:
                with contextlib.suppress(Exception):  # it is not a part of the value
                    held[name] = known.default()
        return held


def _is_default(item: Any, known: Private) -> bool:
    if known.default is None or known.made:
        return False
    default = known.default()
    try:
        return type(item) is type(default) and bool(item == default)
    except Exception:  # noqa: BLE001 - somebody else's __eq__
        return False


class Dataclass(Fields):
    """A dataclass, of the standard library or of pydantic, with slots or without."""

    def prepare(self, beside: Kind) -> None:
        """Set the kind of attributes that the class is silent about."""
        self._beside = beside

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise self._misfit(value)
        held: dict[str, Any] | None = getattr(value, "__dict__", None)
        if held is None or not self._names <= held.keys():  # with slots, or a default of the class
            more = {name: getattr(value, name) for name in self._names if hasattr(value, name)}
            held = {**(held or {}), **more}
            if len(more) < len(self._names):
                return self._dump_part(value, held, writing)
        record = self._dump_fields(held, writing)
        return self._with_extras(record, held, writing)

    def _dump_part(self, value: Any, held: dict[str, Any], writing: Writing) -> Any:
        """Return the record of an instance some of whose fields were never set."""
        record: dict[str, Any] = {MARK: self.label}
        missing: list[str] = []
        for field in self.fields:
            if field.name in held:
                record[field.name] = dump_at(
                    f".{field.name}", field.kind, held[field.name], writing
                )
            else:
                missing.append(field.name)
        return self._with_extras({**record, UNSET: missing}, held, writing)

    def _with_extras(
        self, record: dict[str, Any], held: dict[str, Any], writing: Writing
    ) -> dict[str, Any]:
        if len(held) != len(self._plan):
            names = stray(self.cls, held, self._names)
            extra = {name: dump_at(f".{name}", self._beside, held[name], writing) for name in names}
            if extra:
                record[EXTRA] = extra
        return record

    def load(self, record: Any) -> Any:
        unset = record.get(UNSET, ()) if type(record) is dict else ()
        held, _ = self._load_fields(record, unset)
        value: Any = object.__new__(self.cls)
        put = object.__setattr__
        for name, item in held.items():
            put(value, name, item)
        for name, item in load_all(record.get(EXTRA, {}), self._beside).items():
            put(value, name, item)
        return value


class Named(Fields):
    """A named tuple."""

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise self._misfit(value)
        return self._dump_fields(dict(zip(self.cls._fields, value, strict=True)), writing)

    def load(self, record: Any) -> Any:
        held, _ = self._load_fields(record)
        return tuple.__new__(self.cls, [held[name] for name in self.cls._fields])


class Typed(Fields):
    """A dict whose keys a TypedDict names. Its record is that of any dict."""

    def __init__(self, cls: Any, label: str) -> None:
        super().__init__(cls, label)
        self.classes = frozenset({dict})
        self.labels = frozenset({"dict"})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not dict:
            raise Misfit(f"expected a dict for {self.cls.__name__}, not {type_name(value)}")
        held: dict[Any, Any] = value
        writing.take(len(held))
        by_name = {field.name: field.kind for field in self.fields}
        for field in self.fields:
            if field.required and field.name not in held:
                raise Misfit(f"its key {field.name!r} is missing")
        for name in held:
            if name not in by_name:
                raise Misfit(f"{self.cls.__name__} declares no key {name!r:.60}; declare it")
        return {
            name: dump_at(f".{name}", by_name[name], item, writing) for name, item in held.items()
        }

    def load(self, record: Any) -> Any:
        if type(record) is not dict or MARK in record:
            raise Misfit(f"expected dict, not {named(record)}")
        found = cast("dict[str, Any]", record)
        held: dict[str, Any] = {}
        by_name = {field.name: field.kind for field in self.fields}
        for name, item in found.items():
            if name not in by_name:
                raise Misfit("the class has no such key any more").under(f".{name}")
            try:
                held[name] = by_name[name].load(item)
            except Misfit as misfit:
                raise misfit.under(f".{name}") from None
        for field in self.fields:
            if field.required and field.name not in held:
                raise Misfit("the recorded value has no such key").under(f".{field.name}")
        return held

    def shape(self, seen: dict[int, int]) -> Any:
        required = sorted(field.name for field in self.fields if field.required)
        return [super().shape(seen), required]


class Enumeration(Kind):
    """An enum: by value where that is a text or a whole number, else by name."""

    def __init__(self, cls: type[enum.Enum], label: str) -> None:
        self.cls = cls
        self.classes = frozenset({cls})
        self.label = label
        self.labels = frozenset({label})
        self._is_flag = issubclass(cls, enum.Flag)
        members = list(cls.__members__.values())
        by_value = all(type(member._value_) in {str, int} for member in members)
        self._members: dict[Any, enum.Enum] = {
            (member._value_ if by_value else name): member
            for name, member in cls.__members__.items()
            if by_value or member.name == name
        }
        self._records = {id(member): inner for inner, member in self._members.items()}

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise Misfit(f"expected {self.cls.__name__}, not {type_name(value)}")
        inner = self._records.get(id(value))
        if inner is None:
            if not self._is_flag:
                raise Misfit(f"{value!r:.60} is not a member that {self.cls.__name__} declares")
            inner = value._value_
        return tagged(self.label, inner)

    def load(self, record: Any) -> Any:
        label = record.get(MARK, "") if type(record) is dict else ""
        inner = inner_of(record, label)
        found = self._members.get(inner) if type(inner) in {str, int} else None
        if found is not None:
            return found
        if self._is_flag and type(inner) is int:
            return self.cls(inner)
        raise Misfit(f"{self.cls.__name__} has no member {inner!r:.60} any more")

    def shape(self, seen: dict[int, int]) -> Any:
        return ["enum", *sorted(map(repr, self._members))]


def default_of(field: Any) -> Callable[[], Any] | None:
    """Return what makes the default of a dataclass's field."""
    default = field.default
    if hasattr(default, "get_default"):  # pydantic's Field(…)
        if default.is_required():
            return None
        return lambda: default.get_default(call_default_factory=True)
    if default is not dataclasses.MISSING:
        return lambda: copy.copy(default)
    if field.default_factory is not dataclasses.MISSING:
        made: Callable[[], Any] = field.default_factory
        return made
    return None
