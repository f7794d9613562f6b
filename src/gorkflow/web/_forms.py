"""Forms: the fields that ask for a value, made of the JSON schema of its type.

Texts, numbers, choices and nested objects have fields of their own. The rest is typed as JSON.

A form that is sent as it began means the value that it began with. A secret has to be typed anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

from gorkflow._text import cleaned, is_shown
from gorkflow.redaction import MASK

Schema = Mapping[str, Any]
_DEEPEST = 4
"""Objects within objects that have fields; those deeper are typed as JSON."""
_PLAIN = ("string", "integer", "number", "boolean")


class Option(NamedTuple):
    """One of the values of a choice."""

    value: str
    """As JSON."""
    label: str


class Field(NamedTuple):
    """A field of a form."""

    at: str
    """The place of its value: the keys to it, as JSON."""
    label: str
    type: str
    """``string``, ``text`` (of several lines), ``integer``, ``number``, ``boolean``, ``choice``,
    ``json`` or ``object``; ``whole``: it only says that the value is an object, whose fields
    follow."""
    required: bool = False
    """Whether the form can't be sent without it."""
    optional: bool = False
    """Whether the value can do without it."""
    help: str = ""
    value: str = ""
    """The text that it begins with."""
    options: tuple[Option, ...] = ()
    fields: tuple[Field, ...] = ()
    """Those inside an object."""
    empty: str = ""
    """The value that is sent where nothing is typed, as JSON; empty: none."""
    is_given: bool = False
    """Whether it begins with a value that is not its default."""
    is_secret: bool = False
    """Whether the page hides what is typed."""

    @property
    def id(self) -> str:
        """The same place, as a part of an id."""
        return ".".join(json.loads(self.at))


def fields_of(name: str, schema: Schema | None, value: object = ...) -> tuple[Field, ...]:
    """Return the fields of a form.

    Args:
        name: the key of the whole value in what is sent.
        schema: the JSON schema; ``None``: the type is not known.
        value: the value to begin with, as JSON data; by default, what the schema says.
    """
    if schema is None:
        return (Field(json.dumps([name]), name, "json", help="Type JSON.", value=_json(value)),)
    made = _Form(schema).field((name,), name, schema, value)
    if made.type != "object":
        return (made,)
    return (Field(made.at, name, "whole"), *made.fields)


class _Form:
    def __init__(self, schema: Schema) -> None:
        self._known: Schema = schema.get("$defs", {})
        self._around: list[str] = []
        """The names of the types around a field."""

    def field(
        self,
        at: tuple[str, ...],
        label: str,
        schema: Schema,
        value: object,
        *,
        wanted: bool = True,
        must: bool = True,
    ) -> Field:
        """Return a field.

        Args:
            at: the keys to its value.
            label: its name.
            schema: its type.
            value: the value to begin with; ``...``: none.
            wanted: whether the object around it needs it.
            must: whether the object around it can't be left out.
        """
        schema, nullable, names = self._resolved(schema)
        nullable = nullable or schema.get("type") == "null"
        default = schema.get("default", ...)
        is_given = value is not ...
        value = value if is_given else default
        is_open = self._is_open(schema, at, names)
        is_secret = not is_open and (bool(schema.get("writeOnly")) or MASK in _json(value))
        if is_secret:  # it has to be typed anew
            wanted = (is_given and value is not None) or (wanted and not nullable)
            nullable, is_given = False, is_given and value is not None
            value = default = ...
        optional = nullable or not wanted or default is not ...
        empty = "null" if nullable and (wanted or default not in (..., None)) else ""
        made = Field(
            json.dumps(at), label, "json", must and not optional, optional,
            str(schema.get("description", "")), empty=empty,
            is_given=is_given and value is not None,
            is_secret=is_secret,
        )  # fmt: skip
        if is_open:
            self._around += names
            inside = tuple(self._inside(at, schema, value, must=made.required))
            del self._around[len(self._around) - len(names) :]
            return made._replace(type="object", fields=inside)
        choices = _choices(schema)
        is_check = schema.get("type") == "boolean" and not nullable and not is_secret
        if choices is not None and not (is_check and (wanted or default is not ...)):
            begun = _json(... if value is None and nullable else value)
            return made._replace(type="choice", value=begun, options=tuple(map(_option, choices)))
        return _typed(made, schema, ... if value is None else value, default)

    def _is_open(self, schema: Schema, at: tuple[str, ...], names: Iterable[str]) -> bool:
        """Return whether an object has fields: a type that holds itself has them once."""
        return (
            schema.get("type") == "object"
            and bool(schema.get("properties"))
            and len(at) <= _DEEPEST
            and not any(name in self._around for name in names)
        )

    def _inside(
        self, at: tuple[str, ...], schema: Schema, value: object, *, must: bool
    ) -> Iterable[Field]:
        wanted: Iterable[str] = schema.get("required", ())
        given: Mapping[str, object] = (
            cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
        )
        for name, inner in schema["properties"].items():
            begins = given.get(name, ...)
            is_wanted = name in wanted
            yield self.field((*at, name), name, inner, begins, wanted=is_wanted, must=must)

    def _resolved(self, schema: Schema) -> tuple[Schema, bool, list[str]]:
        """Return a schema without references, whether ``null`` will do, too, and its names."""
        optional = False
        names: list[str] = []
        for _ in range(20):  # a type may hold itself
            if "$ref" in schema:
                names.append(str(schema["$ref"]).rpartition("/")[2])
                schema = {**self._known.get(names[-1], {}), **_without(schema, "$ref")}
            elif len(schema.get("allOf", ())) == 1:
                schema = {**schema["allOf"][0], **_without(schema, "allOf")}
            elif "anyOf" in schema:
                others = [each for each in schema["anyOf"] if each.get("type") != "null"]
                optional = optional or len(others) < len(schema["anyOf"])
                if len(others) != 1:
                    break
                schema = {**others[0], **_without(schema, "anyOf")}
            else:
                break
        return schema, optional, names


def _typed(made: Field, schema: Schema, value: object, default: object) -> Field:
    """Return a field whose value is typed: as a text or a number, else as JSON."""
    kind = str(schema.get("type"))
    begun = _text(value)
    if kind == "boolean":
        return made._replace(type=kind, value=begun)
    if kind in _PLAIN and not (kind == "string" and _is_odd(value, made.empty)):
        hint = made.help or _hint(schema)
        if kind == "string" and (value == "" or default not in (..., None, "")):
            made = made._replace(empty=made.empty or '""', required=made.required and value != "")
        kind = "text" if kind == "string" and "\n" in begun else kind
        return made._replace(type=kind, help=hint, value=begun)
    shape = _shape(schema)
    hint = made.help or f"Type JSON{': ' + shape if shape else ''}."
    return made._replace(help=hint, value=_json(value))


def _is_odd(value: object, empty: str) -> bool:
    """Return whether a field of a page would change a text, or make another value of it."""
    if not isinstance(value, str):
        return False
    return cleaned(value) != value or "\r" in value or bool(empty and not value.strip())


def _choices(schema: Schema) -> list[Any] | None:
    if schema.get("type") == "boolean" and "enum" not in schema and "const" not in schema:
        return [True, False]
    found = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if found is None or any(isinstance(each, list | dict) for each in found):
        return None
    return list(found)


def _option(value: object) -> Option:
    text = _json(value)
    is_plain = isinstance(value, str) and value.strip() and cleaned(value) == value
    return Option(text, cast("str", value) if is_plain else text)


def _without(schema: Schema, name: str) -> Schema:
    return {key: value for key, value in schema.items() if key != name}


def _text(value: object) -> str:
    if value is ...:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json(value: object) -> str:
    """Return JSON that a page can't change: it shows each character as it is."""
    if value is ...:
        return ""
    text = json.dumps(_finite(value), ensure_ascii=False, indent=2)
    if text.isascii() and "\x7f" not in text:  # JSON itself writes the others as escapes
        return text
    return "".join(
        char if char == "\n" or is_shown(char) else json.dumps(char)[1:-1] for char in text
    )


def _finite(value: object) -> object:
    """Return a value with texts for the numbers that JSON has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        found = cast("Mapping[str, object]", value)
        return {key: _finite(each) for key, each in found.items()}
    if isinstance(value, list):
        return [_finite(each) for each in cast("list[object]", value)]
    return value


def _shape(schema: Schema) -> str:
    kind = schema.get("type")
    if kind == "array":
        inner = schema.get("items", {}).get("type", "")
        return f"a list of {inner}s" if inner in _PLAIN else "a list"
    return "an object" if kind == "object" else ""


_HINTS = {
    "date-time": "A time, as 2026-11-30T08:00:00Z.",
    "date": "A date, as 2026-11-30.",
    "duration": "A duration, as PT1H30M.",
    "uuid": "A UUID.",
}


def _hint(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None or high is not None:
        return " ".join(
            part
            for part in (
                "" if low is None else f"At least {low}.",
                "" if high is None else f"At most {high}.",
            )
            if part
        )
    return _HINTS.get(str(schema.get("format")), "")
