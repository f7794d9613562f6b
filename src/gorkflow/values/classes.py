"""The kinds of pydantic's models, dataclasses, named tuples and typed dicts."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, get_args

import pydantic
from pydantic_core import PydanticUndefined

from gorkflow.values.fields import (
    Bound,
    Field,
    Fields,
    Kinds,
    hints_of,
    label_of_class,
    scope_of,
    scopes,
    slots_beside,
    stray,
)
from gorkflow.values.foreign import is_alike
from gorkflow.values.judge import NotDefinedYet
from gorkflow.values.kind import (
    EXTRA,
    MADE_AS,
    MARK,
    PRIVATE,
    UNSET,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    at,
    inner_of,
    named,
    tagged,
    type_name,
)
from gorkflow.values.plain import FREE, step_of


def class_of(cls: Any) -> type[Fields] | None:
    """Return the class of kinds that keep a class like this one."""
    if typing.is_typeddict(cls) or (issubclass(cls, dict) and hasattr(cls, "__required_keys__")):
        return Typed
    if cls is pydantic.BaseModel:
        raise Misfit("BaseModel has no fields; name the model, or a union of models")
    if issubclass(cls, pydantic.BaseModel):
        return Model
    if dataclasses.is_dataclass(cls):
        return Dataclass
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return Named
    return None


class Private(NamedTuple):
    kind: Kind
    default: Callable[[dict[str, Any]], Any] | None

    def is_default(self, item: Any, fields: dict[str, Any]) -> bool:
        """Return whether it is what any new instance would have, as far as that is known."""
        default = self.default
        if default is None:
            return False
        try:
            return is_alike(item, lambda: default(fields))
        except Exception:  # noqa: BLE001 - somebody else's factory, or __eq__
            return False


_ORIGIN: Final = "$origin"
"""The key that is there if a generic class was used without its arguments."""
_ABSENT: Any = object()


class Model(Fields):
    """A pydantic model: its fields, which of them were set, extra fields, private attributes."""

    def complete(self, bound: Bound, kinds: Kinds) -> None:
        cls = self.cls
        _check_concrete(cls)
        if not cls.__pydantic_complete__ and not cls.model_rebuild(raise_errors=False):
            raise NotDefinedYet(cls.__name__)
        fields: list[Field] = []
        for name, info in cls.__pydantic_fields__.items():
            inner = kinds.inside(info.annotation, bound, info.metadata, name, cls)
            default = None if info.is_required() else _default_of_info(info)
            fields.append(Field(name, inner, default is None, default))
        self.set_fields(fields)
        self._origin: type | None = cls.__pydantic_generic_metadata__["origin"]
        self._extra = _extra(cls, bound, kinds)  # None: every field is declared
        self._private = _private(cls, bound, kinds)
        self._hidden = frozenset(self._private)
        self._is_root = bool(getattr(cls, "__pydantic_root_model__", False))
        self._slots = slots_beside(cls, self._names)
        if self._origin is not None:
            self.classes = frozenset({cls, self._origin})

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
        return {name: at(f".{name}", kind.dump, item, writing) for name, item in extra.items()}

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
            return {
                name: at(step_of(name), kind.load, item, reading) for name, item in beside.items()
            }
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
                held[name] = at(step_of(name), known.kind.load, kept[name], reading)
            elif known.default is not None:
                with contextlib.suppress(Exception):  # it is not a part of the value
                    held[name] = known.default({**fields, **held})
        return held

    def shape_beside(self, shapes: Shapes) -> Any:
        extra = None if self._extra is None else self._extra.shape(shapes)
        return [extra, {name: each.kind.shape(shapes) for name, each in self._private.items()}]


class Dataclass(Fields):
    """A dataclass, of the standard library or of pydantic, with slots or without."""

    def complete(self, bound: Bound, kinds: Kinds) -> None:
        _check_concrete(self.cls)
        hints, known = hints_of(self.cls), scopes(self.cls, bound)
        fields: list[Field] = []
        for field in dataclasses.fields(self.cls):
            name, hint = field.name, hints.get(field.name, Any)
            inner = kinds.inside(hint, scope_of(name, known), (), name, self.cls)
            default = _default_of_field(field)
            fields.append(Field(name, inner, default is None, default))
        self.set_fields(fields)
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
                name: at(f".{name}", FREE.dump, held[name], writing)
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
                held[name] = at(step_of(name), FREE.load, beside[name], reading)
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
    """A named tuple."""

    def complete(self, bound: Bound, kinds: Kinds) -> None:
        hints, known = hints_of(self.cls), scopes(self.cls, bound)
        fields: list[Field] = []
        defaults = self.cls._field_defaults
        for name in self.cls._fields:
            scope = scope_of(name, known)
            inner = at(f".{name}", kinds.kind, hints.get(name, Any), scope)
            default = _constant(defaults[name]) if name in defaults else None
            fields.append(Field(name, inner, default is None, default))
        self.set_fields(fields)

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

    is_named = False

    def __init__(self, cls: Any, label: str) -> None:
        super().__init__(cls, label)
        self.classes = frozenset({dict})
        self.labels = frozenset({"dict"})

    def complete(self, bound: Bound, kinds: Kinds) -> None:
        cls = self.cls
        if type(cls).__module__ == "typing" and sys.version_info < (3, 12):
            raise Misfit(
                f"before Python 3.12, {cls.__name__} must be a typing_extensions.TypedDict, "
                "not a typing.TypedDict"
            )
        known = scopes(cls, bound)
        fields: list[Field] = []
        for name, hint in hints_of(cls).items():
            scope = scope_of(name, known, first=False)  # each declares what its bases do, too
            inner = at(f".{name}", kinds.kind, hint, scope)
            fields.append(Field(name, inner, name in cls.__required_keys__))
        self.set_fields(fields)
        self._kinds = {field.name: field.kind for field in fields}

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not dict:
            raise Misfit(f"expected a dict for {label_of_class(self.cls)}, not {type_name(value)}")
        held: dict[Any, Any] = value
        for field in self.fields:
            if field.required and field.name not in held:
                raise Misfit(f"its key {field.name!r} is missing")
        for name in held:
            if type(name) is not str or name not in self._kinds:
                raise Misfit(  # pydantic would leave it out, and say nothing
                    f"{label_of_class(self.cls)} declares no key {name!r:.60}; declare it",
                    unsayable=True,
                )
        writing.take(sum(map(len, held)) + 2 * len(held))
        record = {
            name: at(f".{name}", self._kinds[name].dump, item, writing)
            for name, item in held.items()
        }
        return tagged("dict", list(map(list, record.items()))) if MARK in record else record

    def load(self, record: Any, reading: Reading) -> Any:
        if type(record) is not dict:
            raise Misfit(f"expected dict, not {named(record)}")
        pairs: Any = inner_of(record, "dict") if MARK in record else record.items()
        held: dict[str, Any] = {}
        for name, item in pairs:
            if type(name) is not str:
                raise Misfit(f"expected str, not {named(name)}").under(step_of(name))
            if name in self._kinds:
                held[name] = at(step_of(name), self._kinds[name].load, item, reading)
            else:
                self.leave_out({name: item}, {}, reading)
        for field in self.fields:
            if field.required and field.name not in held:
                raise Misfit("the recorded value has no such key").under(f".{field.name}")
        return held

    def shape(self, shapes: Shapes) -> Any:
        required = sorted(field.name for field in self.fields if field.required)
        return [super().shape(shapes), required]


# ---- what a class declares --------------------------------------------------------------------


def _extra(cls: Any, bound: Bound, kinds: Kinds) -> Kind | None:
    if cls.model_config.get("extra") != "allow":
        return None
    for base in cls.__mro__:
        annotations = inspect.get_annotations(base)
        if "__pydantic_extra__" in annotations and base.__module__ != "pydantic.main":
            args = get_args(hints_of(base).get("__pydantic_extra__"))
            return kinds.inside(args[1], bound, owner=cls) if args else FREE
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
