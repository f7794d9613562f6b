"""The kinds that choose between kinds, or stand for one: unions, names that are defined later."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from gorkflow.values.classes import Typed
from gorkflow.values.enums import Enumeration, Literal
from gorkflow.values.fields import Fields, label_of_class
from gorkflow.values.kind import (
    MARK,
    OF,
    VALUE,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    gone,
    label_of,
    named,
    type_name,
)
from gorkflow.values.members import FREE
from gorkflow.values.plain import Dict, Items, Tuple


class Union(Kind):
    """One of several kinds: the first that takes the value as it is, else one that converts it."""

    def __init__(self, members: Sequence[Kind], text: str) -> None:
        self.members = tuple(members)
        self.text = text
        self._alone: dict[int, bool] = {}
        self.natives = frozenset[type]().union(*[member.natives for member in members])
        self.labels = frozenset[str]().union(*[member.labels for member in members])
        known = [member.classes for member in members]
        self.classes = (
            None
            if None in known
            else frozenset[type]().union(*[classes for classes in known if classes is not None])
        )

    @cached_property
    def _several(self) -> frozenset[str]:
        """The names of its classes, if it has several enums or several classes with fields."""
        found = list(_classes_in(self))
        names: frozenset[str] = frozenset()
        for is_enum in (False, True):
            family = [each for each in found if isinstance(each, Enumeration) is is_enum]
            if len({each.cls for each in family}) > 1:
                names = names.union(*[each.labels for each in family])
        return names

    @cached_property
    def _shared(self) -> frozenset[str]:
        """The names that several of its classes may have in records."""
        known: dict[str, set[Any]] = {}
        for each in _classes_in(self):
            for name in each.labels:
                known.setdefault(name, set()).add(each.cls)
        return frozenset(name for name, found in known.items() if len(found) > 1)

    def _marked(self, record: Any) -> Any:
        """Return a record in which each class says that it was one of several."""
        if type(record) is list:
            return [self._marked(item) for item in record]
        if type(record) is not dict:
            return record
        if record.get(MARK) in self._several:
            return {**record, OF: True}
        if MARK in record and not FREE.reads(label_of(record)):
            return record
        return {key: self._marked(item) for key, item in record.items()}

    def _marks(self, member: Kind) -> bool:
        """Return whether records of a member say that their class was one of several."""
        if not self._several:
            return False
        key = id(member)
        if key not in self._alone:
            self._alone[key] = len(_cls_of(member)) == 1
        return self._alone[key]

    @cached_property
    def _looks_inside(self) -> bool:
        """Whether a member is a container of one class; with several, it looks for itself."""
        return any(
            self._marks(each) and not (each.classes and each.classes & _cls_of(each))
            for each in self.members
        )

    def _check_names(self, record: Any) -> None:
        """Check that no class of a record is one that this union does not know.

        It may have been any of those that it knows, or none.
        """
        items: Any = ()
        if type(record) is list:
            items = record if self._looks_inside else ()
        elif type(record) is dict:
            label = label_of(record)
            if label in self._several:
                return
            if MARK not in record or FREE.reads(label):
                items = record.values() if self._looks_inside else ()
            elif not label.endswith("()") and self._has_several_like(record):
                raise Misfit(
                    f"a recorded {named(record)} could be several of {self.text}, or none, as none "
                    "is called so; keep the names of classes in a union"
                )
        for item in items:
            self._check_names(item)

    def _has_several_like(self, record: Any) -> bool:
        is_enum = VALUE in record
        found = [each for each in _classes_in(self) if isinstance(each, Enumeration) is is_enum]
        return len({each.cls for each in found}) > 1

    def _takers(self, cls: type) -> list[Kind]:
        sure = [member for member in self.members if member.classes and cls in member.classes]
        return sure + [member for member in self.members if member.classes is None]

    def dump(self, value: Any, writing: Writing) -> Any:
        cls: type = type(value)
        takers = self._takers(cls) or list(self.members)
        if len(takers) == 1:
            record = takers[0].dump(value, writing)
            return self._marked(record) if self._marks(takers[0]) else record
        best: tuple[Any, int, int] | None = None
        chosen = takers[0]
        first: Misfit | None = None
        for taker in takers:
            try:
                found = writing.attempt(taker, value)
            except Misfit as misfit:
                first = first if first is not None and first.place else misfit
                continue
            if best is None or found[1] < best[1]:
                best, chosen = found, taker
            if best[1] == 0:
                break
        if best is not None:
            record, changes, size = best
            writing.changes += changes
            writing.take(size)
            return self._marked(record) if self._marks(chosen) else record
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
        if self._several and type(record) in {list, dict}:
            self._check_names(record)
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
            if named_so and changes == 0 and label not in self._shared:
                break
        if not found:
            if first is not None and first.place:
                raise first
            raise self._unread(record, is_named=bool(named_so))
        least = min(changes for changes, _ in found)
        best = [value for changes, value in found if changes == least]
        if len(best) > 1 and (not named_so or len(set(map(type, best))) > 1):
            raise Misfit(f"a recorded {named(record)} could be several of {self.text}")
        reading.changes += least
        return best[0]

    def _unread(self, record: Any, *, is_named: bool) -> Misfit:
        if type(record) is dict and OF in record and not is_named:
            return gone(record)
        return Misfit(f"expected {self.text}, not {named(record)}")

    def shape(self, shapes: Shapes) -> Any:
        found: list[Any] = []
        for member in self.members:
            shape = member.shape(shapes)
            if self._marks(member):  # its name counts: no other class may take its place
                shape = [*map(label_of_class, _cls_of(member)), shape]
            if shape not in found:
                found.append(shape)
        return ["one of", *sorted(found, key=repr)]


def _classes_in(kind: Kind | None, known: set[int] | None = None) -> Iterator[Any]:
    """Yield the classes that a kind chooses from, also where it has containers of them."""
    known = set() if known is None else known
    if kind is None or id(kind) in known:
        return
    known.add(id(kind))
    if isinstance(kind, Fields | Enumeration) and not isinstance(kind, Typed):
        yield kind
    for each in _parts_of(kind):
        yield from _classes_in(each, known)


def _parts_of(kind: Kind) -> Iterable[Kind | None]:
    """Return what a kind chooses from, stands for, or holds as its items."""
    if isinstance(kind, Later):
        return (kind.announced,)
    if isinstance(kind, Union):
        return kind.members
    if isinstance(kind, Literal):
        return (kind.kind,)
    if isinstance(kind, Items):
        return (kind.item,)
    if isinstance(kind, Dict):
        return (kind.key, kind.item)
    return (*kind.items, kind.rest) if isinstance(kind, Tuple) else ()


def _cls_of(kind: Kind) -> set[Any]:
    return {each.cls for each in _classes_in(kind)}


class Later(Kind):
    """Stands for a kind that is still being made: a type that holds others of its type."""

    def __init__(self) -> None:
        self.target: Kind | None = None
        self.announced: Kind | None = None

    def announce(self, target: Kind) -> None:
        self.announced = target
        self.labels = target.labels
        self.classes = target.classes

    def complete(self, target: Kind) -> Kind:
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
