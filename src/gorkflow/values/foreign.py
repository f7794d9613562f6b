"""The kinds of types that bring a schema of their own for pydantic, which alone can read them.

Such a value is kept if it comes back as it was, which is looked at here.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

import datetime as dt
import functools
import types
from collections import deque
from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from gorkflow.errors import StepValueError
from gorkflow.values.judge import Judge, is_verdict, text_of
from gorkflow.values.kind import (
    MADE_AS,
    MARK,
    MASKED,
    VALUE,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Unreadable,
    Writing,
    is_alike_by_identity,
    label_of,
    type_name,
)
from gorkflow.values.plain import FREE
from gorkflow.values.scalars import SCALARS

_LAX = "$lax"
_UNKNOWN = ("Unable to generate", "Error building")
_MAX_TAKEN = 1_000
_ROOM = 2**27
_BY_IDENTITY = (type, types.ModuleType, types.FunctionType, types.MethodType)
_BESIDE = ("maxlen", "default_factory", "args")  # of a deque, a defaultdict, an exception
_NO_VALUES = frozenset({"callable", "is-subclass", "is-instance", "generator", "never"})


class Foreign(Kind):
    """A type that only its own schema can read."""

    def __init__(self, annotation: Any, name: str) -> None:
        if hasattr(annotation, "get_secret_value"):
            raise Misfit(MASKED)
        none = Misfit(
            f"no value of {name} can be read back; keep it elsewhere and pass its place, or its "
            "fields in a model or dataclass"
        )
        try:
            self._judge = Judge(annotation, arbitrary=True)
        except StepValueError as error:
            said = str(error)  # that something is not installed, for example
            raise none if said.startswith(_UNKNOWN) else Misfit(said) from None
        if _kernel(self._judge.adapter.core_schema) in _NO_VALUES:
            raise none
        self.name = name
        self.labels = frozenset({"*", f"{name}()"})
        self._taken: dict[type, bool] = {}

    def dump(self, value: Any, writing: Writing) -> Any:
        room = writing.room
        try:
            record, _, size = writing.attempt(FREE, value)
        except Misfit as misfit:
            refused = misfit
        else:
            if not self._takes(value):
                raise Misfit(f"expected {self.name}, not {type_name(value)}")
            writing.room = room - size
            return record
        try:
            inner = self._judge.adapter.dump_python(
                value, mode="json", round_trip=True, warnings="error"
            )
            is_strict = self._is_same(value, inner, strict=True)
            is_same = is_strict or self._is_same(value, inner, strict=False)
        except Exception as error:  # noqa: BLE001 - anybody's code
            if refused.place:
                raise refused from None
            raise Misfit(f"a {type_name(value)} can't be written: {text_of(error)}") from None
        if not is_same:
            raise Misfit(f"a {type_name(value)} does not come back as it was; pass a text")
        record = {MARK: f"{self.name}()", VALUE: FREE.dump(inner, writing)}
        return record if is_strict else {**record, _LAX: True}

    def _takes(self, value: Any) -> bool:
        """Return whether the type leaves values of this class what they are, or says nothing."""
        cls: type = type(value)
        if cls not in self._taken:
            if len(self._taken) >= _MAX_TAKEN:
                self._taken.clear()
            try:
                self._taken[cls] = type(self._judge.python(value)) is cls
            except Exception:  # noqa: BLE001 - whoever made the value has judged it, or will
                return True
        return self._taken[cls]

    def _is_same(self, value: Any, inner: Any, *, strict: bool) -> bool:
        try:
            again = self._judge.json(to_json(inner), strict=strict)
            if type(again) is not type(value):
                return False
            if is_alike_by_identity(value):
                return bool(vars(again) == vars(value))
            return bool(again == value) and is_same(value, again)
        except Exception:  # noqa: BLE001 - anybody's code
            return False

    def load(self, record: Any, reading: Reading) -> Any:
        if label_of(record) != f"{self.name}()":
            return FREE.load(record, reading)
        inner = FREE.load(record.get(VALUE), reading)
        try:
            return self._judge.json(to_json(inner), strict=not record.get(_LAX))
        except BaseException as error:
            if not is_verdict(error):
                raise
            raise Unreadable(
                f"the type {self.name} can't read what it wrote: {type(error).__name__}: "
                f"{text_of(error)}"
            ) from error

    def shape(self, shapes: Shapes) -> Any:
        return ["foreign", self.name]


def _kernel(schema: Any) -> str:
    """Return the type of a schema inside of functions around it."""
    wraps = ("function-", "custom-error")
    while str(schema.get("type")).startswith(wraps) and "schema" in schema:
        if "serialization" in schema and schema["type"] != "function-after":
            break  # it makes such values from what it writes
        schema = schema["schema"]
    return str(schema.get("type"))


# ---- whether two values are alike -------------------------------------------------------------


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are alike all the way down: ``==`` may leave something out."""
    return _same(one, other, other, set())


def is_alike(item: Any, make: Callable[[], Any]) -> bool:
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
