"""A kind: how the values of one annotation become JSON, and how that JSON becomes them again.

The JSON of a value is a *record*. It says by itself what it stands for: texts, numbers, truth
values, ``None``, lists, and dicts with texts as keys are their own JSON; everything else is an
object whose ``"$"`` names the type. So a record reads the same under ``Path`` as under
``Path | str``, and reading it runs no code of yours.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Final, cast

MARK: Final = "$"
"""The key of a record that names its type."""
VALUE: Final = "$v"
"""The key of what a record of a type holds, where it has no fields."""
EXTRA: Final = "$extra"
"""The key of a record for fields that the class does not declare."""
PRIVATE: Final = "$private"
"""The key of a record for private attributes."""
UNSET: Final = "$unset"
"""The key of a record for names of fields that hold their default, since they were not set."""
MADE_AS: Final = "__orig_class__"
"""The attribute in which Python keeps the arguments that a generic class was made with."""
OF: Final = "$of"
"""The key of a record of a class that was one of several in a union: it can't be renamed."""
MAX_DEPTH: Final = 100
"""Levels of a value that holds others of its type; each takes some frames of Python's stack."""
DEEP: Final = 30
"""Levels from which on a record is read back before it is kept: one may nest several times."""
SECRET: Final = "secret"  # noqa: S105 - it is none
"""The label of records that views leave out."""
MASKED: Final = (
    "a secret would be masked; annotate the plain text as Annotated[str, gorkflow.Secret], which "
    "no view shows, or pass the name that it is stored under"
)
_LARGEST_DIGITS = 14_000  # bits; JSON readers stop at 4,300 digits
_CALM = 2**20  # bytes, from which on shared parts are remembered
_WASTE = 2**22  # bytes that may be written for nothing, for members of unions that don't fit
_ATTEMPT = 2048  # bytes that an attempt counts for, at least: a million would take 6 s
_REFUND = 4 * _ATTEMPT  # for one that fits, so that long lists of short items pass
_TRIES = 2_000_000  # members of unions that may be read; each level of a nested one may double them
_MADE_OF: dict[type, Any] = {  # what a class makes its values of, whatever that holds
    **dict.fromkeys((list, tuple, set, frozenset, deque), (list, tuple, set, frozenset, deque)),
    type(Path()): str,
}
_NAMES: dict[Any, str] = {
    type(None): "None",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "dict",
}


class Misfit(Exception):  # noqa: N818 - not an error of the library: the codec makes one of it
    """A value is not of a kind, or JSON can't say it. If ``unsayable``, no annotation helps."""

    def __init__(self, reason: str, *, unsayable: bool = False) -> None:
        self.reason = reason
        self.unsayable = unsayable
        self.place = ""
        super().__init__(reason)

    def under(self, step: str) -> Misfit:
        """Return it, seen from one level further out."""
        self.place = step + self.place
        return self


def too_deep() -> Misfit:
    """Return what is wrong with a value that has no end."""
    return Misfit("it contains itself, or is nested too deep for JSON", unsayable=True)


class TooLarge(Exception):  # noqa: N818 - as above
    """A value has more parts than its record may have bytes."""


class TooAmbiguous(Exception):  # noqa: N818 - as above
    """To find out which members of unions a value is of takes too long."""

    def __init__(self) -> None:
        super().__init__("its unions are too ambiguous; distinguish their members by class")


class Unreadable(Exception):  # noqa: N818 - as above
    """Only a type's own function can read a record, and that function has failed."""


class Writing:
    """One value being written; its record may have about as many bytes as there is ``room``.

    A value that shares its parts can be small in memory, and endless as JSON.
    """

    __slots__ = ("_calm", "_known", "_waste", "changes", "deepest", "depth", "has_long", "room")

    def __init__(self, room: int) -> None:
        self.room: int = room
        self.depth = 0
        self.deepest = 0
        self.changes = 0
        """How much was converted: an int to a float, a scalar of numpy."""
        self.has_long = False
        """Whether there is an int of more digits than readers of JSON take."""
        self._waste: int = _WASTE + 4 * room
        self._calm = room - _CALM
        self._known: dict[tuple[int, int], tuple[Any, int, Any]] | None = None

    def take(self, size: int) -> None:
        """Count what the record will need at least."""
        self.room -= size
        if self.room < 0:
            raise TooLarge

    def descend(self, kind: Kind, value: Any) -> Any:
        """Return the record of a value one level down."""
        known = self._known
        if self.room < self._calm:  # so large that parts may be shared: each is written once
            if known is None:
                known = self._known = {}
            found = known.get((id(kind), id(value)))
            if found is not None:
                self.deepest = MAX_DEPTH
                self.take(found[1])
                return found[0]
        room = self.room
        self.depth += 1
        if self.depth > self.deepest:
            self.deepest = self.depth
            if self.depth > MAX_DEPTH:
                raise too_deep()
        record = kind.dump(value, self)
        self.depth -= 1
        if known is not None:
            known[id(kind), id(value)] = record, room - self.room, value  # it stays alive
        return record

    def attempt(self, kind: Kind, value: Any) -> tuple[Any, int, int]:
        """Return the record of a value under one kind of several, what it changed, and its size."""
        room, depth, changes, waste = self.room, self.depth, self.changes, self._waste
        try:
            record = kind.dump(value, self)
            self._waste += _REFUND
            return record, self.changes - changes, room - self.room
        except Misfit:
            self._waste = min(self._waste, waste) - _ATTEMPT - room + self.room
            if self._waste < 0:
                raise TooAmbiguous from None
            raise
        finally:
            self.room, self.depth, self.changes = room, depth, changes


class Reading:
    """One record being read."""

    __slots__ = ("_tries", "changes")

    def __init__(self) -> None:
        self.changes = 0
        """How much differs from what the record says: defaults of new fields, ints as floats."""
        self._tries = _TRIES

    def attempt(self, kind: Kind, record: Any) -> tuple[Any, int]:
        """Return the value of a record under one kind of several, and how much it changed."""
        self._tries -= 1
        if self._tries < 0:
            raise TooAmbiguous
        changes = self.changes
        try:
            value = kind.load(record, self)
            return value, self.changes - changes
        finally:
            self.changes = changes


class Shapes:
    """Describes kinds that may hold others of their type, each once."""

    def __init__(self) -> None:
        self._path: dict[int, int] = {}
        self._lowest = math.inf
        self._known: dict[int, str] = {}

    def of(self, kind: Kind, make: Callable[[], Any]) -> Any:
        """Return the shape of a kind; ``make`` is not called where the kind is inside of itself."""
        key, depth = id(kind), len(self._path)
        if key in self._known:
            return self._known[key]
        if key in self._path:
            self._lowest = min(self._lowest, self._path[key])
            return ["again", depth - self._path[key]]  # so many levels further out
        outer, self._lowest = self._lowest, math.inf
        self._path[key] = depth
        shape = make()
        del self._path[key]
        if self._lowest >= depth:  # it leads to nothing around it, and is the same everywhere
            shape = self._known[key] = digest_of(shape)
        self._lowest = min(outer, self._lowest)
        return shape


def digest_of(shape: Any) -> str:
    """Return a short fingerprint of plain data."""
    import hashlib  # slow to load, and only needed once a workflow is compiled

    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]


class Open:
    """Stands for an annotation where the reader of a value names its type: in the state of runs."""


class Kind:
    """How the values of one annotation are kept.

    Attributes:
        cls: the class of its values, or the first of them.
        label: what it is called in records and messages.
        has_fields: whether it is of classes with fields.
        is_named: whether its records name a class, which may be one of several in a union.
        is_hidden: whether its values are secrets.
        is_choice: whether its parts are what a value may be, rather than what it holds.
        natives: the exact types whose values are their own record under this kind.
        labels: what names its records: a type of JSON, or what stands under ``"$"``.
        classes: the exact types that it takes; ``None``: it has to be tried.
    """

    cls: Any = object
    label: str = ""
    has_fields: ClassVar[bool] = False
    is_named: ClassVar[bool] = False
    is_hidden: ClassVar[bool] = False
    is_choice: ClassVar[bool] = False
    natives: frozenset[type] = frozenset()
    labels: frozenset[str] = frozenset()
    classes: frozenset[type] | None = None

    def dump(self, value: Any, writing: Writing) -> Any:
        """Return the record of a value; raise ``Misfit`` if that can't be kept exactly."""
        raise NotImplementedError

    def load(self, record: Any, reading: Reading) -> Any:
        """Return the value that a record stands for. Runs none of the type's own code."""
        raise NotImplementedError

    def shape(self, shapes: Shapes) -> Any:
        """Return plain data that is equal for annotations whose records are read alike."""
        return self.label

    def parts(self) -> Iterable[Kind | None]:
        """Return what it chooses from, stands for, or holds as its items."""
        return ()

    def misfit(self, value: Any) -> Misfit:
        """Return why it does not take a value of another class."""
        given, is_more = type_name(value), isinstance(value, self.cls)
        if is_more and not self.natives:
            return Misfit(
                f"a {given} would come back as a {self.label}; convert it, or annotate it as it is"
            )
        cure = "; convert it" if is_more else ""
        if self.cls in _MADE_OF and isinstance(value, _MADE_OF[self.cls]):
            cure = f"; write {self.label}(x)"
        return Misfit(f"expected {self.label}, not {given}{cure}")


def is_alike_by_identity(value: Any) -> bool:
    """Return whether the type of a value says nothing of what makes two of them equal."""
    equal: Any = type(value).__eq__
    return equal is object.__eq__


def label_of(record: Any) -> str:
    """Return what names a record."""
    if type(record) is dict:
        found = cast("dict[str, Any]", record).get(MARK, "dict")
        return found if isinstance(found, str) else "dict"
    return _NAMES.get(type(record), "")


def tagged(label: str, inner: Any) -> dict[str, Any]:
    """Return the record of a type that has no fields."""
    return {MARK: label, VALUE: inner}


def inner_of(record: Any, label: str) -> Any:
    """Return what the record of a type holds."""
    if type(record) is dict:
        found = cast("dict[str, Any]", record)
        if found.get(MARK) == label and VALUE in found:
            return found[VALUE]
    raise Misfit(f"expected {label}, not {named(record)}")


def check_name(record: dict[str, Any], labels: frozenset[str], reading: Reading) -> None:
    """Check that a record is of a class, or of one that has become it under another name."""
    if record[MARK] in labels:
        return
    if OF in record:
        raise gone(record)
    reading.changes += 1


def gone(record: Any) -> Misfit:
    """Return what is wrong with a record of one of several classes, which is no more among them."""
    return Misfit(
        f"a recorded {named(record)} was one of several in a union, and has gone from here; keep "
        "it in the annotation, by its name"
    )


def named(record: Any) -> str:
    """Return how a message names what a record stands for."""
    label = label_of(record)
    return label.rpartition(".")[2] or "nothing"


def type_name(value: Any) -> str:
    """Return how a message names the type of a value."""
    return "None" if value is None else type(value).__qualname__.rpartition("<locals>.")[2]


def is_long(number: int) -> bool:
    """Return whether an int has more digits than readers of JSON take."""
    return number.bit_length() > _LARGEST_DIGITS


def at(step: str, call: Callable[..., Any], *args: Any) -> Any:
    """Return what a call returns; a misfit has its place."""
    try:
        return call(*args)
    except Misfit as misfit:
        raise misfit.under(step) from None
