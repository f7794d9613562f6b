"""A kind: how the values of one annotation become JSON, and how that JSON becomes them again.

The JSON of a value is a *record*. It says by itself what it stands for: texts, numbers, truth
values, ``None``, lists, and dicts with texts as keys are their own JSON; everything else is an
object whose ``"$"`` names the type. So a record reads the same under ``Path`` as under
``Path | str``, and to read it runs nobody's code.
"""

from __future__ import annotations

import math
from typing import Any, Final, cast

MARK: Final = "$"
"""The key of a record that names its type."""
VALUE: Final = "$v"
"""The key of what a record of a type holds, where it has no fields."""
EXTRA: Final = "$extra"
"""The key of a record for fields that the class does not declare."""
MAX_DEPTH: Final = 190
"""Levels of a value that holds others of its type; what reads JSON gives up at 200."""
DEEP: Final = 30
"""Levels from which on a record is read back before it is kept: one may nest several times."""
_LARGEST_DIGITS = 14_000  # bits; JSON readers stop at 4,300 digits
_NAMES: dict[type, str] = {
    type(None): "None",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "dict",
}


class Misfit(Exception):  # noqa: N818 - not an error of the library: the codec makes one of it
    """A value is not of a kind, or JSON can't say it.

    Args:
        reason: why, for a person.
        unsayable: whether no annotation would help.
    """

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


class Unreadable(Exception):  # noqa: N818 - as above
    """Only a type's own function can read a record, and that function has failed."""


class Writing:
    """One value being written.

    Args:
        room: how many parts and characters it may have. A value that shares its parts can be small
            in memory, and endless as JSON.
    """

    __slots__ = ("deepest", "depth", "room", "tries")

    def __init__(self, room: int) -> None:
        self.room = room
        self.depth = 0
        self.deepest = 0
        self.tries = 100_000  # members of unions; each level of a nested one may double them

    def take(self, parts: int) -> None:
        """Count parts.

        Raises:
            TooLarge: there are too many.
        """
        self.room -= parts
        if self.room < 0:
            raise TooLarge

    def enter(self) -> None:
        """Go one level down.

        Raises:
            Misfit: there are too many levels.
        """
        self.depth += 1
        self.deepest = max(self.depth, self.deepest)
        if self.depth > MAX_DEPTH:
            raise too_deep()

    def attempt(self) -> None:
        """Count a try of one member of a union out of several that may fit.

        Raises:
            Misfit: there were too many.
        """
        self.tries -= 1
        if self.tries < 0:
            raise Misfit("its unions are too ambiguous; tell their members apart by class")


class Open:
    """Stands for an annotation where whoever reads a value names its type: in the state of runs."""


class Kind:
    """How the values of one annotation are kept.

    Attributes:
        natives: the exact types whose values are their own record under this kind.
        labels: what names its records: a type of JSON, or what stands under ``"$"``.
        classes: the exact types that it takes; ``None``: it has to be tried.
    """

    natives: frozenset[type] = frozenset()
    labels: frozenset[str] = frozenset()
    classes: frozenset[type] | None = None

    def dump(self, value: Any, writing: Writing) -> Any:
        """Return the record of a value.

        Raises:
            Misfit: it is not of this kind, or can't be kept exactly.
        """
        raise NotImplementedError

    def load(self, record: Any) -> Any:
        """Return the value that a record stands for. Runs none of the type's own code.

        Raises:
            Misfit: it is not the record of such a value.
            Unreadable: only the type's own function can read it, and that has failed.
        """
        raise NotImplementedError

    def shape(self, seen: dict[int, int]) -> Any:
        """Return plain data that is equal for annotations whose records are read alike.

        Args:
            seen: the number of each recursive kind on the way here, by identity.
        """
        raise NotImplementedError


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
    """Return what the record of a type holds.

    Raises:
        Misfit: it is a record of another type.
    """
    if type(record) is dict:
        found = cast("dict[str, Any]", record)
        if found.get(MARK) == label and VALUE in found:
            return found[VALUE]
    raise Misfit(f"expected {label}, not {named(record)}")


def named(record: Any) -> str:
    """Return how a message names what a record stands for."""
    label = label_of(record)
    return label.rpartition(".")[2] or "nothing"


def type_name(value: Any) -> str:
    """Return how a message names the type of a value."""
    return "None" if value is None else type(value).__qualname__.rpartition("<locals>.")[2]


def tame(record: Any) -> Any:
    """Return a record in which numbers that JSON has no word for are tagged."""
    if type(record) is float:
        return record if math.isfinite(record) else tagged("float", repr(record))
    if type(record) is int:
        huge = record.bit_length() > _LARGEST_DIGITS
        return tagged("int", hex(record)) if huge else record
    if type(record) is list:
        return [tame(item) for item in record]
    if type(record) is dict:
        return {key: tame(item) for key, item in cast("dict[str, Any]", record).items()}
    return record


def plain(record: Any) -> Any:
    """Return a record as plain data for views: what it says, without the names of types."""
    if type(record) is list:
        return [plain(item) for item in record]
    if type(record) is not dict:
        return record
    found = cast("dict[str, Any]", record)
    if MARK not in found:
        return {key: plain(item) for key, item in found.items()}
    if VALUE in found:
        inner = found[VALUE]
        return _plain_dict(inner) if found[MARK] == "dict" else plain(inner)
    fields = {key: plain(item) for key, item in found.items() if not key.startswith(MARK)}
    return {**fields, **(plain(found[EXTRA]) if EXTRA in found else {})}


def _plain_dict(pairs: Any) -> Any:
    """Return a dict whose keys are not all texts, as plain data."""
    keys = [plain(key) for key, _ in pairs]
    texts = [key if isinstance(key, str) else str(key) for key in keys]
    if len(set(texts)) < len(texts):
        return [[key, plain(item)] for key, (_, item) in zip(keys, pairs, strict=True)]
    return {text: plain(item) for text, (_, item) in zip(texts, pairs, strict=True)}
