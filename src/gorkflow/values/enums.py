"""The kinds of enums and literals."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from gorkflow._text import brief
from gorkflow.values.fields import label_of_class
from gorkflow.values.kind import (
    VALUE,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    check_name,
    is_long,
    label_of,
    named,
    tagged,
    type_name,
)
from gorkflow.values.members import FREE
from gorkflow.values.plain import Native
from gorkflow.values.records import surrogate_in

_BY_NAME = "$name"  # the key of a record that says the name of a member, not its value
_INT = Native(int)


class Enumeration(Kind):
    """An enum. A member is kept by value where that is a text or a whole number, else by name.

    Each member is judged alone: one that is added changes nothing for the others.
    """

    def __init__(self, cls: type[enum.Enum], label: str) -> None:
        self.cls = cls
        self.classes = frozenset({cls})
        self.label = label
        self.labels = frozenset({label})
        self._is_flag = issubclass(cls, enum.Flag)
        self._by_value: dict[Any, enum.Enum] = {}
        self._by_name: dict[Any, enum.Enum] = dict(cls.__members__)
        self._records: dict[int, dict[str, Any]] = {}
        for member in cls.__members__.values():
            if _is_plain(member._value_):
                self._by_value[member._value_] = member
                self._records[id(member)] = tagged(label, member._value_)
            else:
                self._records[id(member)] = {**tagged(label, member.name), _BY_NAME: True}

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise Misfit(f"expected {label_of_class(self.cls)}, not {type_name(value)}")
        record = self._records.get(id(value))
        if record is None:
            if not self._is_flag:
                raise Misfit(
                    f"{brief(value, 60)} is not a member that {self.cls.__name__} declares"
                )
            record = tagged(self.label, _INT.dump(value._value_, writing))
        inner = record[VALUE]
        writing.take(len(self.label) + 12 + (len(inner) if type(inner) is str else 0))
        return record

    def load(self, record: Any, reading: Reading) -> Any:
        label = label_of(record)
        if FREE.reads(label) or label.endswith("()") or VALUE not in record:
            raise Misfit(f"expected {label_of_class(self.cls)}, not {named(record)}")
        inner = record[VALUE]
        check_name(record, self.labels, reading)
        if type(inner) is dict:
            inner = _INT.load(inner, reading)
        known = self._by_name if _BY_NAME in record else self._by_value
        found = known.get(inner) if type(inner) in {str, int} else None
        if found is not None:
            return found
        if self._is_flag and type(inner) is int:
            try:
                return self.cls(inner)
            except Exception:  # noqa: BLE001, S110 - the flag of a bit is gone, or it is their code
                pass
        raise Misfit(f"{label_of_class(self.cls)} has no member {brief(inner, 60)} any more")

    def shape(self, shapes: Shapes) -> Any:
        names = [name for name, each in self._by_name.items() if not _is_plain(each._value_)]
        return ["enum", *sorted(map(repr, self._by_value)), "by name", *sorted(names)]


def _is_plain(value: Any) -> bool:
    """Return whether JSON says a value as it is."""
    if type(value) is int:
        return not is_long(value)
    return type(value) is str and surrogate_in(value) is None


def _sign(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return f"{label_of_class(type(value))}.{value.name}"
    return hex(value) if type(value) is int and is_long(value) else repr(value)


class Literal(Kind):
    """One of some constants, which are all of one ``kind``."""

    def __init__(self, values: Sequence[Any], kind: Kind) -> None:
        self.values = tuple(values)
        self.kind = kind
        self.labels = kind.labels
        self.classes = kind.classes

    def _check(self, value: Any) -> None:
        if not any(type(each) is type(value) and each == value for each in self.values):
            known = ", ".join(brief(each, 60) for each in self.values)
            raise Misfit(f"expected one of {known:.200}, not {brief(value, 60)}")

    def dump(self, value: Any, writing: Writing) -> Any:
        self._check(value)
        return self.kind.dump(value, writing)

    def load(self, record: Any, reading: Reading) -> Any:
        value = self.kind.load(record, reading)
        self._check(value)
        return value

    def shape(self, shapes: Shapes) -> Any:
        return ["literal", *sorted(map(_sign, self.values))]
