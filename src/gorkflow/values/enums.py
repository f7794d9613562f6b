"""Enums, and Literals."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from gorkflow.values.dicts import shown
from gorkflow.values.fields import label_of_class
from gorkflow.values.kind import (
    MARK,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    inner_of,
    tagged,
    type_name,
)


class Enumeration(Kind):
    """An enum: by value where that is a text or a whole number, else by name.

    Args:
        cls: the enum.
        label: names its records.
    """

    def __init__(self, cls: type[enum.Enum], label: str) -> None:
        self.cls = cls
        self.classes = frozenset({cls})
        self.label = label
        self.labels = frozenset({self.label})
        self._is_flag = issubclass(cls, enum.Flag)
        by_value = all(type(each._value_) in {str, int} for each in cls.__members__.values())
        self._members: dict[Any, enum.Enum] = {
            (member._value_ if by_value else name): member
            for name, member in cls.__members__.items()
            if by_value or member.name == name
        }
        self._records = {id(member): inner for inner, member in self._members.items()}

    def dump(self, value: Any, writing: Writing) -> Any:
        if type(value) is not self.cls:
            raise Misfit(f"expected {label_of_class(self.cls)}, not {type_name(value)}")
        inner = self._records.get(id(value))
        if inner is None:
            if not self._is_flag:
                raise Misfit(f"{shown(value)} is not a member that {self.cls.__name__} declares")
            inner = value._value_
        writing.take(len(self.label) + 12 + (len(inner) if type(inner) is str else 0))
        return tagged(self.label, inner)

    def load(self, record: Any, reading: Reading) -> Any:
        label = record.get(MARK, "") if type(record) is dict else ""
        inner = inner_of(record, label or self.label)
        reading.changes += label != self.label
        found = self._members.get(inner) if type(inner) in {str, int} else None
        if found is not None:
            return found
        if self._is_flag and type(inner) is int:
            try:
                return self.cls(inner)
            except Exception:  # noqa: BLE001, S110 - the flag of a bit is gone, or it is their code
                pass
        raise Misfit(f"{label_of_class(self.cls)} has no member {shown(inner)} any more")

    def shape(self, shapes: Shapes) -> Any:
        return ["enum", *sorted(map(repr, self._members))]


class Literal(Kind):
    """One of some constants.

    Args:
        values: the constants.
        kind: of all of them.
    """

    def __init__(self, values: Sequence[Any], kind: Kind) -> None:
        self.values = tuple(values)
        self.kind = kind
        self.labels = kind.labels
        self.classes = kind.classes

    def _check(self, value: Any) -> None:
        if not any(type(each) is type(value) and each == value for each in self.values):
            known = ", ".join(map(shown, self.values))
            raise Misfit(f"expected one of {known:.200}, not {shown(value)}")

    def dump(self, value: Any, writing: Writing) -> Any:
        self._check(value)
        return self.kind.dump(value, writing)

    def load(self, record: Any, reading: Reading) -> Any:
        value = self.kind.load(record, reading)
        self._check(value)
        return value

    def shape(self, shapes: Shapes) -> Any:
        return ["literal", *sorted(map(repr, self.values))]
