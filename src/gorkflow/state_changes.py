"""The state of a run, as its steps change it: overlays, and what becomes of two of them. Pure.

An overlay holds what was written since some point, by key: never a copy of what was there before.
Each parallel branch writes into its own, which is merged into that of the block when the block
completes. So a step reads a key through the overlays around it, innermost first. A branch costs
nothing until it writes, and a join costs what was written.

A write is absolute (``set``, ``delete``) or relative (``incr``, ``append``).
Values are JSON texts. They are not looked into, but for sums, and to compare two that differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

Op = Literal["set", "delete", "incr", "append"]
OPS: tuple[Op, Op, Op, Op] = ("set", "delete", "incr", "append")
SET, DELETE, INCR, APPEND = OPS
_ABSOLUTE = (SET, DELETE)
_SHOWN = 60  # characters of a value in a message


class Write(Struct, frozen=True, gc=False, array_like=True):
    """The write of a step under one key."""

    key: str
    op: Op
    """``set``, ``delete``, ``incr`` or ``append``."""
    text: str = ""
    """JSON: the value, the number to add, or the list of what to append."""


class Entry:
    """The entry of an overlay under one key."""

    __slots__ = ("chunks", "op", "text", "writer")

    def __init__(self, op: Op, text: str, writer: str, chunks: list[str] | None = None) -> None:
        self.op: Op = op
        self.text = text
        """JSON: the value, or the number to add."""
        self.writer = writer
        """The path of the latest step that wrote it."""
        self.chunks = chunks or []
        """JSON lists that follow ``text``, or the value below."""

    def over(self, below: str | None) -> str | None:
        """Return the value that results, given the one below; ``None``: there is none."""
        if self.op == SET:
            return _joined([self.text, *self.chunks]) if self.chunks else self.text
        if self.op == INCR:
            return _sum(below or "0", self.text)
        if self.op == APPEND:
            return _joined([below or "[]", *self.chunks])
        return None

    def shown(self) -> str:
        """Return what was left, for people."""
        if self.op == DELETE:
            return "nothing"
        if self.op == INCR:
            return f"an increment of {self.text}"
        text = self.over(None) or ""
        text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        return f"{text} appended" if self.op == APPEND else text


Overlay = dict[str, Entry]


class Conflict(NamedTuple):
    """Two branches left different values under one key."""

    key: str
    one: Entry
    other: Entry

    def __str__(self) -> str:
        """Return one line: who left what."""
        one, other = self.one, self.other
        return f"{one.writer!r} left {one.shown()}, {other.writer!r} {other.shown()}"


def entry_of(write: Write, writer: str) -> Entry:
    """Return a write as an entry."""
    if write.op == APPEND:
        return Entry(APPEND, "", writer, [write.text])
    return Entry(write.op, write.text, writer)


def write_of(key: str, entry: Entry) -> Write:
    """Return an entry as a write."""
    if entry.op == APPEND:
        return Write(key, APPEND, _joined(entry.chunks))
    return Write(key, entry.op, entry.over(None) or "" if entry.op == SET else entry.text)


def lay(overlay: Overlay, key: str, entry: Entry) -> None:
    """Put an entry over what an overlay has. The entry is the overlay's from then on."""
    below = overlay.get(key)
    if below is None or entry.op in _ABSOLUTE:
        overlay[key] = entry
    elif entry.op == INCR:
        op = INCR if below.op == INCR else SET
        base = below.text if below.op in {SET, INCR} else "0"
        overlay[key] = Entry(op, _sum(base, entry.text), entry.writer)
    elif below.op in {SET, APPEND}:
        below.chunks.extend(entry.chunks)
        below.writer = entry.writer
    else:
        overlay[key] = Entry(SET, "[]", entry.writer, entry.chunks)


def merged(overlays: Iterable[Overlay]) -> tuple[Overlay, list[Conflict]]:
    """Return the overlays of branches as one, in this order, and where they conflict.

    They are used up by it.
    """
    result: Overlay = {}
    conflicts: dict[str, Conflict] = {}
    for overlay in overlays:
        for key, entry in overlay.items():
            first = result.setdefault(key, entry)
            if first is entry or key in conflicts:
                continue
            if first.op == entry.op and entry.op not in _ABSOLUTE:
                lay(result, key, entry)
            elif not _same(first, entry):
                conflicts[key] = Conflict(key, first, entry)
    return result, list(conflicts.values())


def read(layers: Sequence[Overlay], key: str) -> str | None:
    """Return the value of a key as JSON, if there is one, through overlays, innermost first."""
    above: list[Entry] = []
    for layer in layers:
        entry = layer.get(key)
        if entry is not None:
            above.append(entry)
            if entry.op in _ABSOLUTE:
                break
    text: str | None = None
    while above:
        text = above.pop().over(text)
    return text


def keys(layers: Sequence[Overlay]) -> list[str]:
    """Return the keys that have a value, sorted."""
    found: dict[str, str] = {}
    for layer in layers:
        # At one go: undo steps in threads look while others of them write.
        for key, entry in list(layer.items()):
            found.setdefault(key, entry.op)
    return sorted(key for key, op in found.items() if op != DELETE)


def same_writes(some: Iterable[Write], others: Iterable[Write]) -> bool:
    """Return whether writes leave the same values, in any order of keys."""
    one, other = (sorted((w.key, w.op, _canonical(w.text)) for w in ws) for ws in (some, others))
    return one == other


def _same(one: Entry, other: Entry) -> bool:
    if one.op not in _ABSOLUTE or other.op not in _ABSOLUTE:
        return False
    first, second = one.over(None), other.over(None)
    if first is None or second is None or first == second:
        return first == second
    return _canonical(first) == _canonical(second)


def _canonical(text: str) -> str:
    """Return JSON that is the same text for the same value."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text


def _number(text: str) -> int | float:
    try:
        number = json.loads(text)
    except ValueError:
        return 0
    return number if type(number) in {int, float} else 0


def _sum(one: str, other: str) -> str:
    try:
        return json.dumps(_number(one) + _number(other))
    except (OverflowError, ValueError):  # far beyond what may be written
        return other


def _joined(chunks: Iterable[str]) -> str:
    """Return JSON lists as one. Anything but a list counts as an empty list."""
    inner = [chunk[1:-1] for chunk in chunks if chunk.startswith("[")]
    return "[" + ",".join(items for items in inner if items.strip()) + "]"
