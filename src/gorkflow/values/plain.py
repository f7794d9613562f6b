"""The kinds that JSON has words for, and containers: lists, tuples, sets, deques."""

# pyright: reportUnknownVariableType=false
from __future__ import annotations

import numbers
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from gorkflow.values.kind import (
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    inner_of,
    is_long,
    named,
    tagged,
    type_name,
)

SHORT: Final = 2**63  # an int below it needs no more room than other numbers
_MANY = 100_000  # ints of up to 300 digits are not counted one by one in lists up to this


class Native(Kind):
    """A type that JSON has a word for."""

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.natives = self.classes = frozenset({cls})
        self.word = "None" if cls is type(None) else cls.__name__
        self.labels = frozenset({self.word})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is self.cls:
            count(value, writing)
            return value
        if self.cls is int and is_numpy(value, numbers.Integral):
            writing.changes += 1
            return int(value)
        if self.cls is bool and type(value).__module__ == "numpy":
            raise Misfit("expected bool, not a scalar of numpy; convert it: bool(x)")
        raise Misfit(f"expected {self.word}, not {type_name(value)}")

    def load(self, record: Any, reading: Reading) -> Any:
        if type(record) is self.cls:
            return record
        if self.cls is int and type(record) is dict:
            return int(_text(record, "int"), 16)
        raise Misfit(f"expected {self.word}, not {named(record)}")

    def shape(self, shapes: Shapes) -> Any:
        return self.word


class Float(Native):
    """A float. An int becomes one, and so does a scalar of numpy, where that changes no digit."""

    def __init__(self) -> None:
        super().__init__(float)
        self.labels = frozenset({"float", "int"})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is float:
            return value
        if type(value) is int or is_numpy(value, numbers.Real):
            if isinstance(value, numbers.Integral):
                writing.changes += 2
                return _as_float(int(value))  # numpy would compare it as a float
            writing.changes += 1
            return _as_float(value)
        raise Misfit(f"expected float, not {type_name(value)}")

    def load(self, record: Any, reading: Reading) -> Any:
        if type(record) is float:
            return record
        if type(record) is int:
            reading.changes += 1
            return _as_float(record)
        return float(_text(record, "float"))


def _as_float(value: Any) -> float:
    try:
        found = float(value)
    except OverflowError:
        found = 0.0
    if found != value and value == value:  # noqa: PLR0124 - a NaN is unlike itself
        shown = f"of {value.bit_length()} bits" if type(value) is int and is_long(value) else value
        raise Misfit(
            f"as a float, the number {shown!s:.60} would be another; annotate it as int",
            unsayable=True,
        )
    return found


def _as_floats(values: Any, writing: Writing) -> list[float] | None:
    """Return ints as floats all at once, where that changes no digit."""
    if set(map(type, values)) != {int}:
        return None
    try:
        found = list(map(float, values))
    except OverflowError:
        return None
    if found != list(values):
        return None
    writing.changes += 2 * len(found)
    return found


def is_numpy(value: Any, number: type) -> bool:
    """Return whether a value is a scalar of numpy, of a type of number."""
    return type(value).__module__ == "numpy" and isinstance(value, number)


def count(value: Any, writing: Writing) -> None:
    """Count the room of a value that is its own record, if it may be long."""
    if type(value) is str:
        writing.take(len(value))
    elif type(value) is int and not -SHORT < value < SHORT:
        writing.take(value.bit_length() // 4)
        writing.has_long = writing.has_long or is_long(value)


def _text(record: Any, label: str) -> str:
    inner = inner_of(record, label)
    if type(inner) is not str:
        raise Misfit(f"the record of this {label} is damaged")
    return inner


# ---- items ------------------------------------------------------------------------------------


def dump_items(values: Any, item: Kind, writing: Writing) -> list[Any]:
    length = len(values)
    writing.take(2 * length)
    natives = item.natives
    if natives and length and _are_native(values, natives, writing):
        items: list[Any] = values if type(values) is list else list(values)
        return items
    if type(item) is Float and (floats := _as_floats(values, writing)) is not None:
        return floats
    records: list[Any] = []
    last: Any = None
    record: Any = None
    room = used = writing.room
    try:
        for each in values:
            if each is not last or not records:
                room = writing.room
                record = item.dump(each, writing)
                last, used = each, room - writing.room
            else:  # the same again and again is written once
                writing.take(used)
            records.append(record)
    except Misfit as misfit:
        raise misfit.under(f"[{len(records)}]") from None
    return records


def _are_native(values: Any, natives: frozenset[type], writing: Writing) -> bool:
    """Return whether values are their own records, and count what may be long.

    Most lists hold one type: to count that one is quicker than to gather all.
    """
    first = type(next(iter(values)))
    if first not in natives:
        return False
    types = list(map(type, values))
    found = {first} if types.count(first) == len(types) else set(types)
    if not found <= natives:
        return False
    if str in found:
        texts = values if len(found) == 1 else [each for each in values if type(each) is str]
        writing.take(sum(map(len, texts)))
    if int in found and _may_be_long(values):
        for each in values:
            if type(each) is int:
                count(each, writing)
    return True


def _may_be_long(values: Any) -> bool:
    """Return whether ints among the values may need more room than other numbers."""
    try:
        sum(values, 0.0)  # the quickest way to meet an int of over 300 digits: it is no float
    except (OverflowError, TypeError):
        return True
    return len(values) > _MANY


def load_items(records: Any, item: Kind, reading: Reading) -> list[Any]:
    found: list[Any] = records
    natives = item.natives
    if natives and set(map(type, found)) <= natives:
        return found
    load = item.load
    values: list[Any] = []
    try:
        for each in found:
            values.append(load(each, reading))  # noqa: PERF401 - its length is the place
    except Misfit as misfit:
        raise misfit.under(f"[{len(values)}]") from None
    return values


def other_class(cls: type[Any], value: Any) -> Misfit:
    given = type_name(value)
    if isinstance(value, cls):
        return Misfit(
            f"a {given} would come back as a {cls.__name__}; convert it, or annotate it as it is"
        )
    return Misfit(f"expected {cls.__name__}, not {given}")


class Items(Kind):
    """A container of items of one kind."""

    def __init__(self, cls: type[Any], item: Kind) -> None:
        self.cls = cls
        self.item = item
        self.classes = frozenset({cls})
        self.label = cls.__name__
        self.labels = frozenset({self.label})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise other_class(self.cls, value)
        items = dump_items(value, self.item, writing)
        return items if self.cls is list else tagged(self.label, items)

    def load(self, record: Any, reading: Reading) -> Any:
        items = record if self.cls is list else inner_of(record, self.label)
        if type(items) is not list:
            raise Misfit(f"expected {self.label}, not {named(record)}")
        found = load_items(items, self.item, reading)
        whole: Any = found if self.cls is list else self.cls(found)
        return whole

    def shape(self, shapes: Shapes) -> Any:
        return [self.label, self.item.shape(shapes)]


class Deque(Items):
    def dump(self, value: Any, writing: Writing) -> Any:
        record = super().dump(value, writing)
        return record if value.maxlen is None else {**record, "$maxlen": value.maxlen}

    def load(self, record: Any, reading: Reading) -> Any:
        return deque(super().load(record, reading), record.get("$maxlen"))


class Tuple(Kind):
    """A tuple whose items are named one by one; in between, there may be any number of one kind.

    ``at`` items stand before those of the kind ``rest``.
    """

    classes = frozenset({tuple})
    labels = frozenset({"tuple"})

    def __init__(self, items: Sequence[Kind], rest: Kind | None = None, at: int = 0) -> None:
        self.items = items
        self.rest = rest
        self.at = at

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not tuple:
            raise other_class(tuple, value)
        found: tuple[Any, ...] = value
        kinds = self._kinds(len(found))
        writing.take(2 * len(found))
        return tagged("tuple", _each(found, [item.dump for item in kinds], writing))

    def load(self, record: Any, reading: Reading) -> Any:
        found = inner_of(record, "tuple")
        if type(found) is not list:
            raise Misfit("the record of this tuple is damaged")
        items: list[Any] = found
        kinds = self._kinds(len(items))
        return tuple(_each(items, [item.load for item in kinds], reading))

    def _kinds(self, length: int) -> Sequence[Kind]:
        between = length - len(self.items)
        if self.rest is None and between:
            raise Misfit(f"expected a tuple of {len(self.items)} items, not of {length}")
        if self.rest is None:
            return self.items
        if between < 0:
            raise Misfit(f"expected a tuple of at least {len(self.items)} items, not of {length}")
        return [*self.items[: self.at], *[self.rest] * between, *self.items[self.at :]]

    def shape(self, shapes: Shapes) -> Any:
        found = [item.shape(shapes) for item in self.items]
        if self.rest is not None:
            found.insert(self.at, ["any number of", self.rest.shape(shapes)])
        return ["tuple of", *found]


def _each(values: Sequence[Any], functions: Sequence[Callable[..., Any]], how: Any) -> list[Any]:
    done: list[Any] = []
    try:
        for each, function in zip(values, functions, strict=True):
            done.append(function(each, how))
    except Misfit as misfit:
        raise misfit.under(f"[{len(done)}]") from None
    return done
