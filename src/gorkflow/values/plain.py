"""What JSON has words for, and containers: lists, dicts, tuples, sets and their relatives."""

from __future__ import annotations

import builtins
import numbers
from collections import Counter, OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any, cast

from gorkflow.values.kind import (
    MARK,
    VALUE,
    Kind,
    Misfit,
    Writing,
    inner_of,
    named,
    plain,
    tagged,
    too_deep,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_FREE_NATIVES = frozenset({type(None), bool, int, float, str})


class Native(Kind):
    """A type that JSON has a word for."""

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.natives = self.classes = frozenset({cls})
        self.labels = frozenset({"None" if cls is type(None) else cls.__name__})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is self.cls:
            if self.cls is str:
                writing.take(len(value))
            return value
        if self.cls is int and _is_numpy(value, numbers.Integral):
            return int(value)
        raise Misfit(f"expected {_word(self.cls)}, not {type_name(value)}")

    def load(self, record: Any) -> Any:
        if type(record) is self.cls:
            return record
        if self.cls is int and type(record) is dict:
            return int(_text(record, "int"), 16)
        raise Misfit(f"expected {_word(self.cls)}, not {named(record)}")

    def shape(self, seen: dict[int, int]) -> Any:
        return _word(self.cls)


class Float(Native):
    """A float. An int becomes one, and so does a scalar of numpy, where that changes no digit."""

    def __init__(self) -> None:
        super().__init__(float)
        self.labels = frozenset({"float", "int"})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is float:
            return value
        if type(value) is int or _is_numpy(value, numbers.Real):
            return _as_float(value)
        raise Misfit(f"expected float, not {type_name(value)}")

    def load(self, record: Any) -> Any:
        if type(record) is float:
            return record
        if type(record) is int:
            return _as_float(record)
        return float(_text(record, "float"))


def _as_float(value: Any) -> float:
    try:
        found = float(value)
    except OverflowError:
        found = 0.0
    if found != value and value == value:  # noqa: PLR0124 - a NaN is unlike itself
        raise Misfit(f"as a float, {value!r:.60} would be another number; annotate it as int")
    return found


def _is_numpy(value: Any, number: type) -> bool:
    return type(value).__module__ == "numpy" and isinstance(value, number)


def _word(cls: type) -> str:
    return "None" if cls is type(None) else cls.__name__


def _text(record: Any, label: str) -> str:
    """Return the text that a record of a scalar holds.

    Raises:
        Misfit: it holds something else.
    """
    inner = inner_of(record, label)
    if type(inner) is not str:
        raise Misfit(f"the record of this {label} is damaged")
    return inner


class Items(Kind):
    """A container of items of one kind.

    Args:
        cls: of the container.
        item: the kind of its items.
    """

    def __init__(self, cls: type[Any], item: Kind) -> None:
        self.cls = cls
        self.item = item
        self.classes = frozenset({cls})
        self.label = cls.__name__
        self.labels = frozenset({self.label})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise Misfit(_other_class(self.cls, value))
        items = dump_items(value, self.item, writing)
        return items if self.cls is list else tagged(self.label, items)

    def load(self, record: Any) -> Any:
        items = record if self.cls is list else inner_of(record, self.label)
        if type(items) is not list:
            raise Misfit(f"expected {self.label}, not {named(record)}")
        found = load_items(items, self.item)
        return found if self.cls is list else self.cls(found)

    def shape(self, seen: dict[int, int]) -> Any:
        return [self.label, self.item.shape(seen)]


class Deque(Items):
    """A deque, with its bound."""

    def dump(self, value: Any, writing: Writing) -> Any:
        record = super().dump(value, writing)
        return record if value.maxlen is None else {**record, "$maxlen": value.maxlen}

    def load(self, record: Any) -> Any:
        return deque(super().load(record), record.get("$maxlen"))


def _other_class(cls: type[Any], value: Any) -> str:
    given = type_name(value)
    if isinstance(value, cls):
        return f"a {given} would come back as a {cls.__name__}; convert it, or annotate it as it is"
    return f"expected {cls.__name__}, not {given}"


def dump_items(values: Any, item: Kind, writing: Writing) -> list[Any]:
    """Return the records of items.

    Raises:
        Misfit: one is not of the kind; it has its place.
    """
    writing.take(len(values))
    natives = item.natives
    if natives:
        found = set(map(type, values))
        if found <= natives:
            _count_long(values, found, writing)
            return values if type(values) is list else list(values)
    dump = item.dump
    records: list[Any] = []
    add = records.append
    try:
        for each in values:
            add(each if type(each) in natives and type(each) is not str else dump(each, writing))
    except Misfit as misfit:
        raise misfit.under(f"[{len(records)}]") from None
    return records


def _count_long(values: Any, found: set[type], writing: Writing) -> None:
    """Count what may be longer than one part, so that a list of one long text stays bounded."""
    if str in found:
        texts = values if len(found) == 1 else [each for each in values if type(each) is str]
        writing.take(sum(map(len, texts)))
    if int in found and len(values) * 4_300 > writing.room:
        writing.take(sum([each.bit_length() // 4 for each in values if type(each) is int]))


def load_items(records: list[Any], item: Kind) -> list[Any]:
    """Return the items of records.

    Raises:
        Misfit: one is not of the kind; it has its place.
    """
    natives = item.natives
    if natives and set(map(type, records)) <= natives:
        return records
    load = item.load
    values: list[Any] = []
    try:
        for each in records:
            values.append(each if type(each) in natives else load(each))  # noqa: PERF401 - the place
    except Misfit as misfit:
        raise misfit.under(f"[{len(values)}]") from None
    return values


class Tuple(Kind):
    """A tuple of known length."""

    classes = frozenset({tuple})
    labels = frozenset({"tuple"})

    def __init__(self, items: Sequence[Kind]) -> None:
        self.items = items

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not tuple:
            raise Misfit(_other_class(tuple, value))
        found: tuple[Any, ...] = value
        self._check(len(found))
        writing.take(len(found))
        return tagged("tuple", _each(found, [item.dump for item in self.items], writing))

    def load(self, record: Any) -> Any:
        found = inner_of(record, "tuple")
        self._check(len(found))
        return tuple(_each(found, [item.load for item in self.items]))

    def _check(self, length: int) -> None:
        if length != len(self.items):
            raise Misfit(f"expected a tuple of {len(self.items)} items, not of {length}")

    def shape(self, seen: dict[int, int]) -> Any:
        return ["tuple of", *[item.shape(seen) for item in self.items]]


def _each(values: Sequence[Any], functions: Sequence[Callable[..., Any]], *more: Any) -> list[Any]:
    done: list[Any] = []
    try:
        for each, function in zip(values, functions, strict=True):
            done.append(function(each, *more))
    except Misfit as misfit:
        raise misfit.under(f"[{len(done)}]") from None
    return done


# Types that a defaultdict may make its values with: those that are found by name anywhere.
_FACTORIES = {
    name: item for name, item in vars(builtins).items() if isinstance(item, type) and name.islower()
}


class Dict(Kind):
    """A dict, or one of its relatives.

    Args:
        cls: of the dict.
        key: the kind of its keys.
        item: the kind of its values.
    """

    def __init__(self, cls: type[Any], key: Kind, item: Kind) -> None:
        self.cls = cls
        self.key = key
        self.item = item
        self.classes = frozenset({cls})
        self.label = cls.__name__
        self.labels = frozenset({self.label})

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise Misfit(_other_class(self.cls, value))
        record = _dump_dict(value, self.key, self.item, writing)
        if self.cls is dict:
            return record
        record = tagged(self.label, record)
        factory = getattr(value, "default_factory", None)
        if factory is not None:
            name = getattr(factory, "__name__", "")
            if _FACTORIES.get(name) is not factory:
                raise Misfit(
                    "the default_factory of a defaultdict can be kept only if it is a builtin "
                    f"type, not {factory!r:.60}; return a dict"
                )
            record["$factory"] = name
        return record

    def load(self, record: Any) -> Any:
        found = _load_dict(
            record if self.cls is dict else inner_of(record, self.label), self.key, self.item
        )
        if self.cls is dict:
            return found
        if self.cls is defaultdict:
            return defaultdict(_FACTORIES.get(record.get("$factory")), found)
        return self.cls(found)

    def shape(self, seen: dict[int, int]) -> Any:
        return [self.label, self.key.shape(seen), self.item.shape(seen)]


def _dump_dict(value: dict[Any, Any], key: Kind, item: Kind, writing: Writing) -> dict[str, Any]:
    writing.take(len(value))
    items = _dump_values(value, item, writing)
    keys = set(map(type, value))
    if keys <= {str} and str in (key.natives or ()) and MARK not in value:
        writing.take(sum(map(len, value)))
        return items
    pairs: list[list[Any]] = []
    for each, dumped in items.items():
        try:
            pairs.append([key.dump(each, writing), dumped])
        except Misfit as misfit:
            raise misfit.under(f"[the key {_shown(each)}]") from None
    if MARK not in items and all(type(pair[0]) is str for pair in pairs):
        return dict(cast("Iterable[tuple[str, Any]]", pairs))
    return tagged("dict", pairs)


def _dump_values(value: dict[Any, Any], item: Kind, writing: Writing) -> dict[Any, Any]:
    natives = item.natives
    if natives:
        found = set(map(type, value.values()))
        if found <= natives:
            _count_long(value.values(), found, writing)
            return dict(value)
    dump = item.dump
    records: dict[Any, Any] = {}
    each: Any = None
    try:
        for each, inner in value.items():
            records[each] = dump(inner, writing)
    except Misfit as misfit:
        raise misfit.under(step_of(each)) from None
    return records


def _load_dict(record: Any, key: Kind, item: Kind) -> dict[Any, Any]:
    if type(record) is not dict:
        raise Misfit(f"expected dict, not {named(record)}")
    found = cast("dict[str, Any]", record)
    if MARK in found:
        pairs = inner_of(found, "dict")
        return {key.load(each): _at(step_of(each), item, inner) for each, inner in pairs}
    free = str in key.natives
    natives = item.natives
    if free and natives and set(map(type, found.values())) <= natives:
        return found
    return {
        each if free else key.load(each): _at(step_of(each), item, inner)
        for each, inner in found.items()
    }


def _at(step: str, kind: Kind, record: Any) -> Any:
    try:
        return kind.load(record)
    except Misfit as misfit:
        raise misfit.under(step) from None


def step_of(key: Any) -> str:
    """Return how a place inside a dict is shown."""
    return f".{key}"[:80] if type(key) is str else f"[{_shown(key)}]"


def _shown(key: Any) -> str:
    try:
        return repr(key)[:60]
    except Exception:  # noqa: BLE001 - somebody else's __repr__
        return f"<{type(key).__name__}>"


class Free(Kind):
    """Anything that needs no annotation to be read: each value is judged alone.

    Args:
        known: the kinds of scalars, by their class.
        class_kind: returns the kind of a class, where whoever reads a value names its type. Read
            without one, it is plain data.
    """

    labels = frozenset({"*"})

    def __init__(
        self, known: dict[type, Kind], class_kind: Callable[[type], Kind | None] | None = None
    ) -> None:
        self._known = known
        scalars = (*known.values(), Native(int), Float())
        self._by_label = {label: kind for kind in scalars for label in kind.labels}
        self._class_kind = class_kind
        for kind in (Items(tuple, self), Items(set, self), Items(frozenset, self)):
            self._add(kind)
        for kind in (Dict(defaultdict, self, self), Dict(OrderedDict, self, self)):
            self._add(kind)
        self._add(Dict(Counter, self, Native(int)))
        self._add(Deque(deque, self))
        self._list = Items(list, self)
        self._dict = Dict(dict, self, self)

    def _add(self, kind: Kind) -> None:
        self._known = {**self._known, **dict.fromkeys(kind.classes or (), kind)}
        self._by_label = {**self._by_label, **dict.fromkeys(kind.labels, kind)}

    def dump(self, value: Any, writing: Writing) -> Any:
        cls = type(value)
        if cls is str:
            writing.take(len(value))
            return value
        if cls in _FREE_NATIVES:
            return value
        kind = self._kind_of(cls)
        if kind is None:
            if isinstance(value, float | int) and _is_numpy(value, numbers.Real):
                raise Misfit(f"a {type_name(value)} of numpy; convert it: float(x) or int(x)")
            raise Misfit(self._refusal(value), unsayable=True)
        writing.enter()
        try:
            record = kind.dump(value, writing)
        except RecursionError:
            raise too_deep() from None
        writing.depth -= 1
        return record

    def _kind_of(self, cls: type) -> Kind | None:
        if cls is list:
            return self._list
        if cls is dict:
            return self._dict
        found = self._known.get(cls)
        return found if found is not None or self._class_kind is None else self._class_kind(cls)

    @staticmethod
    def _refusal(value: Any) -> str:
        if hasattr(value, "get_secret_value"):
            return "a secret would be masked; hand on what it is stored under, not the secret"
        return (
            f"a value of type {type_name(value)} can't be read back without an annotation that "
            "names its type; annotate it, in place of Any, object, dict or list"
        )

    def load(self, record: Any) -> Any:
        cls = type(record)
        if cls in _FREE_NATIVES:
            return record
        if cls is list:
            return self._list.load(record)
        if cls is dict:
            found = cast("dict[str, Any]", record)
            if MARK not in found:
                return self._dict.load(found)
            label = found[MARK]
            if label == "dict":
                return self._dict.load(found)
            kind = self._by_label.get(label) if isinstance(label, str) else None
            if kind is not None and VALUE in found:
                return kind.load(found)
            if self._class_kind is not None:
                return plain(found)
            raise Misfit(f"a {named(record)} can't be read without its type")
        raise Misfit(f"expected JSON, not {cls.__name__}")

    def shape(self, seen: dict[int, int]) -> Any:
        return "any"
