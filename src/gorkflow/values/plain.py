"""The kinds of plain data: what JSON has a word for, and containers of items of one kind."""

# pyright: reportUnknownVariableType=false
from __future__ import annotations

import builtins
import numbers
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

from gorkflow._text import brief
from gorkflow.values.kind import (
    MADE_AS,
    MARK,
    MASKED,
    SECRET,
    VALUE,
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
from gorkflow.values.records import plain
from gorkflow.values.scalars import SCALARS
from gorkflow.values.secret import Hidden

SHORT: Final = 2**63  # an int below it needs no more room than other numbers
_MANY = 100_000  # ints of up to 300 digits are not counted one by one in lists up to this


class Native(Kind):
    """A type that JSON has a word for."""

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.natives = self.classes = frozenset({cls})
        self.label = "None" if cls is type(None) else cls.__name__
        self.labels = frozenset({self.label})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is self.cls:
            count(value, writing)
            return value
        if self.cls is int and is_numpy(value, numbers.Integral):
            writing.changes += 1
            return int(value)
        if self.cls is bool and type(value).__module__ == "numpy":
            raise Misfit("expected bool, not a scalar of numpy; convert it: bool(x)")
        raise self.misfit(value)

    def load(self, record: Any, reading: Reading) -> Any:
        if type(record) is self.cls:
            return record
        if self.cls is int and type(record) is dict:
            return int(_text(record, "int"), 16)
        raise Misfit(f"expected {self.label}, not {named(record)}")


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
        raise self.misfit(value)

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
            raise self.misfit(value)
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

    def parts(self) -> Iterable[Kind | None]:
        return (self.item,)


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

    cls = tuple
    label = "tuple"
    classes = frozenset({cls})
    labels = frozenset({label})

    def __init__(self, items: Sequence[Kind], rest: Kind | None = None, at: int = 0) -> None:
        self.items = items
        self.rest = rest
        self.at = at

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not tuple:
            raise self.misfit(value)
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

    def parts(self) -> Iterable[Kind | None]:
        return (*self.items, self.rest)


def _each(values: Sequence[Any], functions: Sequence[Callable[..., Any]], how: Any) -> list[Any]:
    done: list[Any] = []
    try:
        for each, function in zip(values, functions, strict=True):
            done.append(function(each, how))
    except Misfit as misfit:
        raise misfit.under(f"[{len(done)}]") from None
    return done


# Types that a defaultdict may make its values with: those that are found by name anywhere.
_FACTORIES = {
    name: item for name, item in vars(builtins).items() if isinstance(item, type) and name.islower()
}


class Dict(Kind):
    """A dict, or one of its relatives."""

    def __init__(self, cls: type[Any], key: Kind, item: Kind) -> None:
        self.cls = cls
        self.key = key
        self.item = item
        self.classes = frozenset({cls})
        self.label = cls.__name__
        self.labels = frozenset({self.label})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise self.misfit(value)
        record = self._dump(value, writing)
        if self.cls is dict:
            return record
        for name in getattr(value, "__dict__", ()):
            if name != MADE_AS:
                raise Misfit(f"its attribute {name!r} can't be kept; hold it in a field of a class")
        record = tagged(self.label, record)
        factory = getattr(value, "default_factory", None)
        if factory is not None:
            name = getattr(factory, "__name__", "")
            if _FACTORIES.get(name) is not factory:
                raise Misfit(
                    "the default_factory of a defaultdict can be kept only if it is a builtin "
                    f"type, not {brief(factory, 60)}; return a dict"
                )
            record["$factory"] = name
        return record

    def _dump(self, value: dict[Any, Any], writing: Writing) -> dict[str, Any]:
        items = self._dump_values(value, writing)
        if set(map(type, value)) <= {str} and str in self.key.natives and MARK not in value:
            writing.take(sum(map(len, value)))
            return items
        pairs: list[list[Any]] = []
        for each, dumped in items.items():
            try:
                pairs.append([self.key.dump(each, writing), dumped])
            except Misfit as misfit:
                raise misfit.under(f"[the key {brief(each, 60)}]") from None
        if MARK not in items and all(type(pair[0]) is str for pair in pairs):
            return dict(cast("Iterable[tuple[str, Any]]", pairs))
        return tagged("dict", pairs)

    def _dump_values(self, value: dict[Any, Any], writing: Writing) -> dict[Any, Any]:
        keys = list(value)
        try:
            records = dump_items(value.values(), self.item, writing)
        except Misfit as misfit:
            index, _, rest = misfit.place[1:].partition("]")
            misfit.place = step_of(keys[int(index)]) + rest
            raise
        return dict(zip(keys, records, strict=True))

    def load(self, record: Any, reading: Reading) -> Any:
        if self.cls is dict:
            return self._load(record, reading)
        found = self._load(inner_of(record, self.label), reading)
        if self.cls is defaultdict:
            return defaultdict(_FACTORIES.get(record.get("$factory")), found)
        return self.cls(found)

    def _load(self, record: Any, reading: Reading) -> dict[Any, Any]:
        if type(record) is not dict:
            raise Misfit(f"expected dict, not {named(record)}")
        found = cast("dict[str, Any]", record)
        pairs: Iterable[tuple[Any, Any]]
        if MARK in found:
            pairs = inner_of(found, "dict")
        else:
            natives = self.item.natives
            if str in self.key.natives and natives and set(map(type, found.values())) <= natives:
                return found
            pairs = found.items()
        key, item = self.key.load, self.item.load
        loaded: dict[Any, Any] = {}
        each: Any = None
        try:
            for each, inner in pairs:
                loaded[key(each, reading)] = item(inner, reading)
        except Misfit as misfit:
            raise misfit.under(step_of(each)) from None
        return loaded

    def shape(self, shapes: Shapes) -> Any:
        return [self.label, self.key.shape(shapes), self.item.shape(shapes)]

    def parts(self) -> Iterable[Kind | None]:
        return (self.key, self.item)


def step_of(key: Any) -> str:
    """Return how a place inside a dict is shown."""
    return f".{key}"[:80] if type(key) is str else f"[{brief(key, 60)}]"


_NATIVES = frozenset({type(None), bool, int, float, str})


class Free(Kind):
    """Anything that needs no annotation to be read.

    ``class_kind`` returns the kind of a class, where the reader of a value names its type.
    """

    natives = _NATIVES
    labels = frozenset({"*"})

    label = "any"

    def __init__(self, class_kind: Callable[[type], Kind | None] | None = None) -> None:
        self._class_kind = class_kind
        kinds: list[Kind] = [Dict(cls, self, self) for cls in (dict, defaultdict, OrderedDict)]
        kinds += [Items(cls, self) for cls in (list, tuple, set, frozenset)]
        kinds += [Deque(deque, self), Dict(Counter, self, Native(int))]
        self._by_class = {cls: kind for kind in kinds for cls in kind.classes or ()} | SCALARS
        labelled = [*self._by_class.values(), Float(), Native(int)]
        self._by_label = {label: kind for kind in labelled for label in kind.labels}
        self._by_label[SECRET] = Hidden(self)

    def reads(self, label: str) -> bool:
        """Return whether records of a name stand for what needs no annotation."""
        return label in self._by_label

    def dump(self, value: Any, writing: Writing) -> Any:
        cls: type = type(value)
        if cls in _NATIVES:
            count(value, writing)
            return value
        kind = self._by_class.get(cls)
        if kind is None and self._class_kind is not None:
            kind = self._class_kind(cls)
        if kind is None:
            raise _refusal(value)
        return writing.descend(kind, value)

    def load(self, record: Any, reading: Reading) -> Any:
        cls: type = type(record)
        if cls in _NATIVES:
            return record
        if cls is not dict:
            return self._by_label["list"].load(record, reading)
        found = cast("dict[str, Any]", record)
        label = found.get(MARK, "dict")
        kind = self._by_label.get(label) if isinstance(label, str) else None
        if kind is not None and (VALUE in found or MARK not in found):
            return kind.load(found, reading)
        if self._class_kind is not None:
            return plain(found)
        raise Misfit(f"a {named(record)} can't be read without its type")


def _refusal(value: Any) -> Misfit:
    name = type_name(value)
    if is_numpy(value, numbers.Number):
        return Misfit(f"a {name} of numpy; convert it: int(x), float(x), or annotate it so")
    if hasattr(value, "get_secret_value"):
        return Misfit(MASKED, unsayable=True)
    return Misfit(
        f"a value of type {name} can't be read back without an annotation that names its type; "
        "annotate it, in place of Any, object, dict or list",
        unsayable=True,
    )


FREE: Final = Free()
"""The kind of what says no more than that it is a value."""
