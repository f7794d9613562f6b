"""Records as plain data: shown to people, or made fit for JSON."""

from __future__ import annotations

import math
from typing import Any

from gorkflow._text import is_utf8
from gorkflow.values.kind import EXTRA, MARK, PRIVATE, UNSET, VALUE, is_long, tagged


def tame(record: Any) -> Any:
    """Return a record in which numbers that JSON has no word for are tagged."""
    if type(record) is float:
        return record if math.isfinite(record) else tagged("float", repr(record))
    if type(record) is int:
        return tagged("int", hex(record)) if is_long(record) else record
    if isinstance(record, list):
        return [tame(item) for item in _items(record)]
    if isinstance(record, dict):
        return {key: tame(item) for key, item in _fields(record).items()}
    return record


def _items(record: Any) -> list[Any]:
    return record  # type: ignore[no-any-return]


def _fields(record: Any) -> dict[str, Any]:
    return record  # type: ignore[no-any-return]


def surrogate_in(record: Any) -> str | None:
    """Return the place of a text that UTF-8 can't say, if there is one."""
    if isinstance(record, str):
        return None if is_utf8(record) else ""
    if isinstance(record, list):
        for index, item in enumerate(_items(record)):
            place = surrogate_in(item)
            if place is not None:
                return f"[{index}]{place}"
    if isinstance(record, dict):
        for key, item in _fields(record).items():
            place = surrogate_in(item)
            if not is_utf8(key):
                return f"[the key {key!a:.60}]"
            if place is not None:
                return place if key in {VALUE, EXTRA, PRIVATE} else f".{key[:80]}{place}"
    return None


def plain(record: Any) -> Any:
    """Return a record as plain data for views: what it says, without the names of types."""
    if isinstance(record, list):
        return [plain(item) for item in _items(record)]
    if not isinstance(record, dict):
        return record
    found = _fields(record)
    if MARK not in found:
        return {key: plain(item) for key, item in found.items()}
    if VALUE in found:
        inner = found[VALUE]
        return _plain_dict(inner) if found[MARK] == "dict" else plain(inner)
    fields, extra = _parts(found)
    fields |= {key: item for key, item in extra.items() if key not in fields}
    return {key: plain(item) for key, item in fields.items()}


def _parts(record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a record of a class, and its extra fields; of a dict, its items."""
    if MARK not in record:
        return record, {}
    fields = {key: item for key, item in record.items() if not key.startswith(MARK)}
    extra = record.get(EXTRA)
    return fields, _fields(extra) if isinstance(extra, dict) else {}


def lost(record: Any, kept: Any) -> str | None:
    """Return the place of what a record says, and the record that was made from it does not.

    A field without a value, or that was not set, counts as nothing. Plain data for a class may say
    more.
    """
    if isinstance(record, dict) and VALUE in record:
        return lost(_fields(record)[VALUE], kept)
    if isinstance(kept, dict) and VALUE in kept:
        return lost(record, _fields(kept)[VALUE])
    if isinstance(record, list) and isinstance(kept, list):
        for index, (item, other) in enumerate(zip(_items(record), _items(kept), strict=False)):
            place = lost(item, other)
            if place is not None:
                return f"[{index}]{place}"
    if isinstance(record, dict) and isinstance(kept, dict):
        return _lost_key(_fields(record), _fields(kept))
    return None


def _lost_key(record: dict[str, Any], kept: dict[str, Any]) -> str | None:
    is_of_class = MARK in record
    if is_of_class and record.get(PRIVATE):
        return f".{next(iter(record[PRIVATE]))}"
    (fields, extra), (kept_fields, kept_extra) = _parts(record), _parts(kept)
    unset = record.get(UNSET) or () if is_of_class else ()
    whole = kept_extra | kept_fields
    pairs = [(name, item, whole) for name, item in fields.items() if name not in unset]
    pairs += [(name, item, kept_extra if name in fields else whole) for name, item in extra.items()]
    for name, item, there in pairs:
        if name in there:
            place = lost(item, there[name])
            if place is not None:
                return f".{name}{place}"
        elif item is not None and (is_of_class or MARK not in kept):
            return f".{name}"
    return None


def _plain_dict(pairs: Any) -> Any:
    """Return a dict whose keys are not all texts, as plain data."""
    if not isinstance(pairs, list) or not all(map(_is_pair, _items(pairs))):
        return plain(pairs)  # no record of ours
    found = [(plain(key), plain(item)) for key, item in _items(pairs)]
    texts = [key if isinstance(key, str) else str(key) for key, _ in found]
    if len(set(texts)) < len(texts):
        return [[key, item] for key, item in found]
    return {text: item for text, (_, item) in zip(texts, found, strict=True)}


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(_items(item)) == 2
