"""Pure helpers of the codec: walks over plain data, and wording."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

_MAX_TEXT = 300
_STR = {"type": "str"}
_SURROGATE = (
    "it holds a lone surrogate, which UTF-8 can't say; decode the text with errors='replace'"
)
# Where in a JSON schema a mapping's keys are names that somebody chose, not keywords.
_NAME_MAPS = frozenset({"properties", "$defs", "patternProperties", "dependentSchemas"})
_NOTES = frozenset({"title", "description", "examples", "default"})


def survey(schema: Any) -> tuple[set[str], bool]:
    """Return the kinds of schema in it, and whether a field is written under another name."""
    kinds: set[str] = set()
    renamed = False
    for node in _nodes(schema):
        kinds.add(str(node.get("type")))
        if node.get("keys_schema", _STR).get("type") != "str":
            kinds.add("keys")  # JSON has texts for them: 1.0 and True look like the key 1
        written = node.get("serialization_alias")
        if written is not None and written != node.get("validation_alias"):
            renamed = True
    return kinds, renamed


def union_choices(schema: Any) -> set[object]:
    """Return what the unions in a schema choose between: classes, and names of other kinds."""
    nodes = list(_nodes(schema))
    named = {node["ref"]: node for node in nodes if "ref" in node}
    choices = [each for node in nodes if node.get("type") == "union" for each in node["choices"]]
    found: set[object] = set()
    while choices:
        choice = choices.pop()
        if isinstance(choice, tuple):  # with its label
            choice = cast("tuple[Any, str]", choice)[0]
        if "schema_ref" in choice:
            choices.append(named[choice["schema_ref"]])
        elif "cls" in choice:
            found.add(choice["cls"])
        elif "schema" in choice:  # what a validator or a nullable goes round
            choices.append(choice["schema"])
        else:
            found.add(choice["type"])
    return found


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    stack: list[Any] = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            node = cast("dict[str, Any]", item)
            yield node
            stack.extend(value for key, value in node.items() if key != "metadata")
        elif isinstance(item, list | tuple):
            stack.extend(cast("list[Any]", item))


def is_choice(value: Any, choices: set[object]) -> bool:
    """Return whether a value is of a kind that a union chooses between."""
    kind = cast("type[object]", type(value))
    return kind in choices or kind.__name__.lower() in choices


def mismatches(value: Any, again: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what is of another type in a value that was written and read again, with its place."""
    stack: list[tuple[str, Any, Any]] = [("", value, again)]
    while stack:
        place, old, new = stack.pop()
        if type(old) is not type(new):
            yield place, old, new
        if _are(dict, old, new):
            pairs = _shared(old, new)
        elif _are((list, tuple), old, new):
            items = enumerate(zip(old, new, strict=False))
            pairs = [(f"[{index}]", *pair) for index, pair in items]
        else:
            pairs = _shared(_fields(old), _fields(new))
        stack.extend((place + step, *pair) for step, *pair in reversed(pairs))


def _are(kind: type | tuple[type, ...], *items: Any) -> bool:
    return all(isinstance(item, kind) for item in items)


def _shared(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> list[tuple[str, Any, Any]]:
    return [(f".{text_of(key)}", before[key], after[key]) for key in before if key in after]


def _fields(item: Any) -> Mapping[Any, Any]:
    """Return the fields of a model or dataclass, with slots or without; of all else nothing.

    An enum member, for one, leads to its class, which leads to its members, round and round.
    """
    kind = type(item)
    if hasattr(kind, "__pydantic_fields__"):
        return vars(item)
    slots = getattr(kind, "__dataclass_fields__", ())
    return {name: getattr(item, name) for name in slots if hasattr(item, name)}


def leaves(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and scalar inside plain data, with its place."""
    stack: list[tuple[str, Any]] = [("", root)]
    while stack:
        place, item = stack.pop()
        if isinstance(item, dict):
            mapping = cast("Mapping[Any, Any]", item)
            for key, value in mapping.items():
                where = f"{place}.{text_of(key)}" if place else text_of(key)
                yield f"the key {repr_of(key)}", key
                stack.append((where, value))
        elif isinstance(item, list | tuple | set | frozenset):
            items = cast("list[Any]", item)
            stack.extend((f"{place}[{index}]", value) for index, value in enumerate(items))
        else:
            yield place, item


def unsayable(leaf: Any) -> str:
    """Return why JSON can't say this scalar, or nothing."""
    from decimal import Decimal  # slow to load, and asked for only where something is wrong

    if isinstance(leaf, float) and not math.isfinite(leaf):
        return f"{leaf!r} is no number that JSON knows; return None or a string instead"
    if isinstance(leaf, Decimal) and not leaf.is_finite():
        return f"{leaf!r} is no number that JSON knows; return None or a string instead"
    if isinstance(leaf, str) and any("\ud800" <= char <= "\udfff" for char in leaf):
        return _SURROGATE
    if hasattr(leaf, "get_secret_value"):
        return "a secret would be masked; hand on what it is stored under, not the secret"
    return ""


def problem_at(loc: tuple[int | str, ...], message: str) -> str:
    """Return what is wrong at a place inside a value."""
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{part}" if place else part
    return f"{short(place)}: {short(message)}" if place else short(message)


def dump_message(error: BaseException) -> str:
    """Return why a value could not be written, in our words."""
    text = text_of(error).removeprefix("Error serializing to JSON: ")
    if "surrogates" in text:
        return _SURROGATE
    if "Circular" in text or "depth exceeded" in text or isinstance(error, RecursionError):
        return "it contains itself, or is nested too deep for JSON"
    if "utf-8" in text:
        return f"{text}: set ser_json_bytes='base64' and val_json_bytes='base64' on the model"
    return text


def first_line(error: BaseException) -> str:
    """Return the first line of an error, without pydantic's advice."""
    line = (text_of(error).splitlines() or [type(error).__name__])[0]
    return line.partition(". Set `arbitrary_types_allowed")[0]


def text_of(item: Any) -> str:
    """Return ``str(item)``, whatever that does."""
    try:
        return short(str(item))
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return f"<{type(item).__name__}>"


def repr_of(item: Any) -> str:
    """Return ``repr(item)``, whatever that does."""
    try:
        return short(repr(item))
    except Exception:  # noqa: BLE001 - somebody else's __repr__
        return f"<{type(item).__name__}>"


def short(text: str) -> str:
    """Return a text cut to a length that fits a message."""
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def without_notes(schema: Any) -> Any:
    """Return a JSON schema without its prose, so that better wording is no new schema."""
    if isinstance(schema, list):
        items = cast("Sequence[Any]", schema)
        return [without_notes(item) for item in items]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", schema).items():
        if key in _NAME_MAPS and isinstance(value, dict):
            named = cast("dict[str, Any]", value)
            kept[key] = {name: without_notes(item) for name, item in named.items()}
        elif key not in _NOTES:
            kept[key] = without_notes(value)
    return kept
