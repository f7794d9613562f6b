"""What chooses between kinds, or stands for one: unions, names that are defined later."""

# pyright: reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gorkflow.values.kind import (
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    label_of,
    named,
    type_name,
)


class Union(Kind):
    """One of several kinds: the first that takes the value as it is, else one that converts it.

    Args:
        members: the kinds.
        text: how messages name the whole.
    """

    def __init__(self, members: Sequence[Kind], text: str) -> None:
        self.members = tuple(members)
        self.text = text
        self.natives = frozenset[type]().union(*[member.natives for member in members])
        self.labels = frozenset[str]().union(*[member.labels for member in members])
        known = [member.classes for member in members]
        self.classes = (
            None
            if None in known
            else frozenset[type]().union(*[classes for classes in known if classes is not None])
        )

    def _takers(self, cls: type) -> list[Kind]:
        sure = [member for member in self.members if member.classes and cls in member.classes]
        return sure + [member for member in self.members if member.classes is None]

    def dump(self, value: Any, writing: Writing) -> Any:
        cls: type = type(value)
        takers = self._takers(cls) or list(self.members)
        if len(takers) == 1:
            return takers[0].dump(value, writing)
        best: tuple[Any, int, int] | None = None
        first: Misfit | None = None
        for taker in takers:
            try:
                found = writing.attempt(taker, value)
            except Misfit as misfit:
                first = first if first is not None and first.place else misfit
                continue
            best = found if best is None or found[1] < best[1] else best
            if best[1] == 0:
                break
        if best is not None:
            record, changes, size = best
            writing.changes += changes
            writing.take(size)
            return record
        assert first is not None
        if first.place:
            raise first
        raise Misfit(
            f"expected {self.text}, not {type_name(value)}: {first.reason}",
            unsayable=first.unsayable,
        )

    def load(self, record: Any, reading: Reading) -> Any:
        if type(record) in self.natives:
            return record
        label = label_of(record)
        named_so = [member for member in self.members if label in member.labels]
        wild = [member for member in self.members if "*" in member.labels]
        readers = [*named_so, *wild] if named_so else self.members
        if len(readers) == 1:
            return readers[0].load(record, reading)
        found: list[tuple[int, Any]] = []
        first: Misfit | None = None
        for reader in readers:
            try:
                value, changes = reading.attempt(reader, record)
            except Misfit as misfit:
                first = first if first is not None and first.place else misfit
                continue
            found.append((changes, value))
            if named_so and changes == 0:
                break
        if not found:
            if first is not None and first.place:
                raise first
            raise Misfit(f"expected {self.text}, not {named(record)}")
        least = min(changes for changes, _ in found)
        best = [value for changes, value in found if changes == least]
        if len(best) > 1 and not named_so:
            raise Misfit(f"a recorded {named(record)} could be several of {self.text}")
        reading.changes += least
        return best[0]

    def shape(self, shapes: Shapes) -> Any:
        found: list[Any] = []
        for member in self.members:
            shape = member.shape(shapes)
            if shape not in found:
                found.append(shape)
        return ["one of", *sorted(found, key=repr)]


class Later(Kind):
    """Stands for a kind that is still being made: a type that holds others of its type."""

    def __init__(self) -> None:
        self.target: Kind | None = None

    def announce(self, target: Kind) -> None:
        """Say what it will stand for, which still lacks its parts."""
        self.labels = target.labels
        self.classes = target.classes

    def complete(self, target: Kind) -> Kind:
        """Set what it stands for."""
        self.target = target
        self.announce(target)
        return target

    def dump(self, value: Any, writing: Writing) -> Any:
        assert self.target is not None
        return writing.descend(self.target, value)

    def load(self, record: Any, reading: Reading) -> Any:
        assert self.target is not None
        return self.target.load(record, reading)

    def shape(self, shapes: Shapes) -> Any:
        assert self.target is not None
        target = self.target
        if target.has_fields:  # it sees for itself where it stands inside of itself
            return target.shape(shapes)
        return shapes.of(target, lambda: target.shape(shapes))
