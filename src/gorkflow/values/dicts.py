"""Dicts and their relatives. One whose keys are texts is its own record; others are pairs."""

from __future__ import annotations

import builtins
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

from gorkflow.values.kind import (
    MADE_AS,
    MARK,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    inner_of,
    named,
    tagged,
)
from gorkflow.values.plain import dump_items, other_class

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
            raise other_class(self.cls, value)
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
                    f"type, not {shown(factory)}; return a dict"
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
                raise misfit.under(f"[the key {shown(each)}]") from None
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


def step_of(key: Any) -> str:
    """Return how a place inside a dict is shown."""
    return f".{key}"[:80] if type(key) is str else f"[{shown(key)}]"


def shown(key: Any) -> str:
    """Return the repr of what may be anything, cut to fit a message."""
    try:
        return repr(key)[:60]
    except Exception:  # noqa: BLE001 - somebody else's __repr__
        return f"<{type(key).__name__}>"
