"""An independent judgement of whether two values are the same, all the way down."""

import dataclasses
import datetime as dt
import enum
import functools
import math
import re
import types
import zoneinfo
from collections import defaultdict, deque
from decimal import Decimal
from typing import Any

from pydantic import BaseModel


def difference(one: Any, other: Any, place: str = "it") -> str | None:
    """Return where two values differ, and how; None: they are the same."""
    if type(one) is not type(other):
        return f"{place}: {type(one)} became {type(other)}"
    if isinstance(one, enum.Enum):
        same = one is other or (isinstance(one, enum.Flag) and one._value_ == other._value_)
        return None if same else f"{place}: {one!r} became {other!r}"
    for judge in (_scalar, _zoned, _container, _object):
        found = judge(one, other, place)
        if found is not NotImplemented:
            return found
    return None if one == other else f"{place}: {one!r} became {other!r}"


def _told(same: bool, one: Any, other: Any, place: str) -> str | None:
    return None if same else f"{place}: {one!r} became {other!r}"


def _scalar(one: Any, other: Any, place: str) -> Any:
    if isinstance(one, float):
        same = (one != one and other != other) or (  # noqa: PLR0124 - NaN
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
        return _told(same, one, other, place)
    if isinstance(one, complex):
        return difference(one.real, other.real, f"{place}.real") or difference(
            one.imag, other.imag, f"{place}.imag"
        )
    if isinstance(one, Decimal):
        return _told(one.as_tuple() == other.as_tuple(), one, other, place)
    if isinstance(one, re.Pattern):
        same = (one.pattern, one.flags) == (other.pattern, other.flags)
        return difference(one.pattern, other.pattern, place) or _told(same, one, other, place)
    return NotImplemented


def _zoned(one: Any, other: Any, place: str) -> Any:
    if isinstance(one, dt.datetime | dt.time):
        same = one.replace(tzinfo=None) == other.replace(tzinfo=None) and one.fold == other.fold
        told = _told(same, one, other, place)
        return told or difference(one.tzinfo, other.tzinfo, f"{place}.tzinfo")
    if isinstance(one, zoneinfo.ZoneInfo):
        return _told(one.key == other.key, one, other, place)
    if isinstance(one, dt.timezone):
        same = one == other and one.tzname(None) == other.tzname(None)
        return _told(same, one, other, place)
    return NotImplemented


def _set(one: Any, other: Any, place: str) -> str | None:
    left = list(other)
    for item in one:
        found = next((i for i, each in enumerate(left) if not difference(item, each)), None)
        if found is None:
            near = [each for each in left if each == item]
            missing = f"{place}: {item!r} is not in {other!r}"
            return difference(item, near[0], place) if near else missing
        del left[found]
    return f"{place}: {left!r} is new" if left else None


def _container(one: Any, other: Any, place: str) -> Any:
    if isinstance(one, set | frozenset):
        return _set(one, other, place)
    if isinstance(one, dict):
        if isinstance(one, defaultdict) and one.default_factory is not other.default_factory:
            return f"{place}: another default_factory"
        one, other = (
            [each for pair in one.items() for each in pair],
            [each for pair in other.items() for each in pair],
        )
    elif isinstance(one, deque):
        if one.maxlen != other.maxlen:
            return f"{place}: another maxlen"
    elif not isinstance(one, list | tuple):
        return NotImplemented
    if len(one) != len(other):
        return f"{place}: {len(one)} became {len(other)} items"
    pairs = enumerate(zip(one, other, strict=True))
    return next(filter(None, (difference(a, b, f"{place}[{i}]") for i, (a, b) in pairs)), None)


def _object(one: Any, other: Any, place: str) -> Any:
    if isinstance(one, BaseModel):
        if one.model_fields_set != other.model_fields_set:
            return f"{place}: set were {one.model_fields_set}, now {other.model_fields_set}"
        made = {
            name
            for name, attribute in type(one).__private_attributes__.items()
            if attribute.default_factory is not None
            and type((one.__pydantic_private__ or {}).get(name)).__eq__ is object.__eq__
        }
        for names in ("__pydantic_extra__", "__pydantic_private__"):
            left, right = (dict(sorted((getattr(x, names) or {}).items())) for x in (one, other))
            for name in made:
                left.pop(name, None)
                right.pop(name, None)
            found = difference(left, right, f"{place}.{names}")
            if found:
                return found
        return difference(_attributes(one), _attributes(other), place)
    if dataclasses.is_dataclass(one):
        return difference(_attributes(one), _attributes(other), place)
    return NotImplemented


def _attributes(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = dict(getattr(value, "__dict__", {}))
    found.pop("__orig_class__", None)  # Python sets it where a generic class is made
    for field in dataclasses.fields(value) if dataclasses.is_dataclass(value) else ():
        if hasattr(value, field.name):
            found[field.name] = getattr(value, field.name)
    for base in type(value).__mro__:
        for name, item in vars(base).items():
            if name.startswith("__pydantic") or isinstance(item, functools.cached_property):
                found.pop(name, None)
            elif isinstance(item, types.MemberDescriptorType) and hasattr(value, name):
                found[name] = getattr(value, name)
    return dict(sorted(found.items()))


def shown(item: Any) -> str:
    """Return how a case is called in the list of tests: the same in each process."""
    is_type = isinstance(item, type) or hasattr(item, "__origin__") or hasattr(item, "__args__")
    text = item if isinstance(item, str) else repr(item) if is_type else type(item).__name__
    return re.sub(r"0x[0-9a-f]+|tests\.values\.|\w+\.", "", text)[:50]
