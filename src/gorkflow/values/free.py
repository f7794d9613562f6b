"""Values without an annotation that says more: each is judged alone, by its class."""

# pyright: reportUnknownVariableType=false
from __future__ import annotations

import numbers
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, cast

from gorkflow.values.dicts import Dict
from gorkflow.values.kind import (
    MARK,
    MASKED,
    VALUE,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    named,
    type_name,
)
from gorkflow.values.plain import Deque, Float, Items, Native, count, is_numpy
from gorkflow.values.records import plain

_NATIVES = frozenset({type(None), bool, int, float, str})


class Free(Kind):
    """Anything that needs no annotation to be read.

    ``class_kind`` returns the kind of a class, where the reader of a value names its type.
    """

    natives = _NATIVES
    labels = frozenset({"*"})

    def __init__(
        self, known: Mapping[type, Kind], class_kind: Callable[[type], Kind | None] | None = None
    ) -> None:
        self._class_kind = class_kind
        kinds: list[Kind] = [Dict(cls, self, self) for cls in (dict, defaultdict, OrderedDict)]
        kinds += [Items(cls, self) for cls in (list, tuple, set, frozenset)]
        kinds += [Deque(deque, self), Dict(Counter, self, Native(int))]
        self._by_class = {cls: kind for kind in kinds for cls in kind.classes or ()} | dict(known)
        labelled = [*self._by_class.values(), Float(), Native(int)]
        self._by_label = {label: kind for kind in labelled for label in kind.labels}

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

    def shape(self, shapes: Shapes) -> Any:
        return "any"


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
