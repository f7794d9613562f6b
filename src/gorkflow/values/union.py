"""What chooses between kinds: unions, Literals, and types that stand for several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gorkflow.values.kind import (
    MARK,
    VALUE,
    Kind,
    Misfit,
    Unreadable,
    Writing,
    inner_of,
    label_of,
    named,
    tagged,
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
        return sure or [member for member in self.members if member.classes is None]

    def dump(self, value: Any, writing: Writing) -> Any:
        takers = self._takers(type(value)) or list(self.members)
        if len(takers) == 1:
            return takers[0].dump(value, writing)
        first: Misfit | None = None
        depth = writing.depth
        for taker in takers:
            writing.attempt()
            try:
                return taker.dump(value, writing)
            except Misfit as misfit:
                writing.depth = depth
                first = first if first is not None and first.place else misfit
        assert first is not None
        if first.place:
            raise first
        raise Misfit(f"expected {self.text}, not {type_name(value)}: {first.reason}")

    def load(self, record: Any) -> Any:
        label = label_of(record)
        named_so = [member for member in self.members if label in member.labels]
        readers = named_so or list(self.members)
        found: list[Any] = []
        first: Misfit | None = None
        for reader in readers:
            try:
                value = reader.load(record)
            except Misfit as misfit:
                first = first if first is not None and first.place else misfit
                continue
            if named_so:
                return value
            found.append(value)
        if len(found) == 1:
            return found[0]
        if found:
            raise Misfit(f"a recorded {named(record)} could be several of {self.text}")
        if first is not None and first.place:
            raise first
        raise Misfit(f"expected {self.text}, not {named(record)}")

    def shape(self, seen: dict[int, int]) -> Any:
        shapes: list[Any] = []
        for member in self.members:
            shape = member.shape(seen)
            if shape not in shapes:
                shapes.append(shape)
        return ["one of", *sorted(shapes, key=repr)]


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
            raise Misfit(f"expected one of {', '.join(map(repr, self.values))}, not {value!r:.60}")

    def dump(self, value: Any, writing: Writing) -> Any:
        self._check(value)
        return self.kind.dump(value, writing)

    def load(self, record: Any) -> Any:
        value = self.kind.load(record)
        self._check(value)
        return value

    def shape(self, seen: dict[int, int]) -> Any:
        return ["literal", *sorted(map(repr, self.values))]


class Renamed(Kind):
    """A class in a union with another of its name: its records have its full name.

    Args:
        kind: of the class.
        label: its full name.
    """

    def __init__(self, kind: Kind, label: str) -> None:
        self.kind = kind
        self.label = label
        self.labels = frozenset({label})
        self.classes = kind.classes

    def dump(self, value: Any, writing: Writing) -> Any:
        return tagged(self.label, self.kind.dump(value, writing))

    def load(self, record: Any) -> Any:
        known = label_of(record) == self.label
        return self.kind.load(inner_of(record, self.label) if known else record)

    def shape(self, seen: dict[int, int]) -> Any:
        return self.kind.shape(seen)


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
        writing.enter()
        record = self.target.dump(value, writing)
        writing.depth -= 1
        return record

    def load(self, record: Any) -> Any:
        assert self.target is not None
        return self.target.load(record)

    def shape(self, seen: dict[int, int]) -> Any:
        assert self.target is not None
        if id(self.target) in seen:
            return ["again", seen[id(self.target)]]
        return self.target.shape({**seen, id(self.target): len(seen)})


class Foreign(Kind):
    """A type that brings a schema of its own for pydantic, which alone can read it.

    What needs no such help is kept without it.

    Args:
        name: of the type.
        free: keeps what needs no annotation.
        write: returns plain JSON data.
        read: returns the value of it; strictly, or else laxly.
    """

    def __init__(
        self,
        name: str,
        free: Kind,
        write: Callable[[Any], Any],
        read: Callable[[Any, bool], Any],
    ) -> None:
        self.name = name
        self.labels = frozenset({"*", f"{name}()"})
        self._free = free
        self._write = write
        self._read = read

    def dump(self, value: Any, writing: Writing) -> Any:
        try:
            return self._free.dump(value, writing)
        except Misfit as misfit:
            if misfit.place:
                raise
        try:
            inner = self._write(value)
            lax = not self._same(value, inner, strict=True)
            if lax and not self._same(value, inner, strict=False):
                raise Misfit(f"a {type_name(value)} does not come back as it was; hand on a text")
        except Misfit:
            raise
        except Exception as error:
            raise Misfit(f"a {type_name(value)} can't be written: {error}"[:300]) from error
        record = {MARK: f"{self.name}()", VALUE: self._free.dump(inner, writing)}
        return {**record, "$lax": True} if lax else record

    def _same(self, value: Any, inner: Any, *, strict: bool) -> bool:
        try:
            again = self._read(inner, strict)
            return type(again) is type(value) and bool(again == value)
        except Exception:  # noqa: BLE001 - anybody's code
            return False

    def load(self, record: Any) -> Any:
        if label_of(record) != f"{self.name}()":
            return self._free.load(record)
        inner = self._free.load(record[VALUE])
        try:
            return self._read(inner, not record.get("$lax"))
        except Exception as error:
            raise Unreadable(
                f"the type {self.name} can't read what it wrote: {type(error).__name__}: {error}"[
                    :300
                ]
            ) from error

    def shape(self, seen: dict[int, int]) -> Any:
        return ["foreign", self.name]
