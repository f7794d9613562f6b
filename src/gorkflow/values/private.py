"""Private attributes of models: which of them say more than a new instance would."""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

import datetime as dt
import functools
import types
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from gorkflow.values.kind import MADE_AS, Kind, Writing, is_alike_by_identity
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
