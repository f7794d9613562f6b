"""The kinds that choose: unions, Literals and enums; and names that are defined later."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from gorkflow._text import brief
from gorkflow.values.fields import label_of_class
from gorkflow.values.kind import (
    MARK,
    OF,
    VALUE,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Writing,
    check_name,
    gone,
    is_long,
    label_of,
    named,
    tagged,
    type_name,
)
from gorkflow.values.plain import FREE, Native
from gorkflow.values.records import surrogate_in

_BY_NAME = "$name"  # the key of a record that says the name of a member, not its value
_INT = Native(int)


class Enumeration(Kind):
    """An enum. A member is kept by value where that is a text or a whole number, else by name.

    Each member is judged alone: one that is added changes nothing for the others.
    """

    is_named = True

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
            name = label_of_class(self.cls)
            cure = "" if isinstance(value, enum.Enum) else f"; write {name}(x)"
            raise Misfit(f"expected {name}, not {type_name(value)}{cure}")
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
        is_class = type(record) is dict and VALUE in record
        if not is_class or FREE.reads(label) or label.endswith("()"):
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

    def parts(self) -> Iterable[Kind | None]:
        return (self.kind,)


class Union(Kind):
    """One of several kinds: the first that takes the value as it is, else one that converts it."""

    is_choice = True

    def __init__(self, members: Sequence[Kind], text: str) -> None:
        self.members = tuple(members)
        self.text = text
        self._alone: dict[int, bool] = {}
        self.natives = frozenset[type]().union(*[member.natives for member in members])
        self.labels = frozenset[str]().union(*[member.labels for member in members])
        self.classes = _classes_of(self.members)
        hidden = [member for member in members if member.is_hidden]
        self._has_hidden = bool(hidden)
        if hidden:
            self.natives -= _classes_of(hidden) or self.natives

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
        found = sure + [member for member in self.members if member.classes is None]
        if self._has_hidden:  # what could be a secret is one
            found.sort(key=lambda member: not member.is_hidden)
        return found

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

    def parts(self) -> Iterable[Kind | None]:
        return self.members


def _classes_of(kinds: Sequence[Kind]) -> frozenset[type] | None:
    """Return the exact types that some of several kinds take; ``None``: one has to be tried."""
    known = [kind.classes for kind in kinds if kind.classes is not None]
    return frozenset[type]().union(*known) if len(known) == len(kinds) else None


def _classes_in(kind: Kind | None, known: set[int] | None = None) -> Iterator[Any]:
    """Yield the classes that a kind chooses from, also where it has containers of them."""
    known = set() if known is None else known
    if kind is None or id(kind) in known:
        return
    known.add(id(kind))
    if kind.is_named:
        yield kind
    for each in kind.parts():
        yield from _classes_in(each, known)


def _cls_of(kind: Kind) -> set[Any]:
    return {each.cls for each in _classes_in(kind)}


class Later(Kind):
    """Stands for a kind that is still being made: a type that holds others of its type."""

    is_choice = True

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

    def parts(self) -> Iterable[Kind | None]:
        return (self.announced,)
