"""Forms: the fields that ask for a value, made of the JSON schema of its type.

Texts, numbers, choices and nested objects have fields of their own. The rest is typed as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

Schema = Mapping[str, Any]
_DEEPEST = 4
"""Objects within objects that have fields; those deeper are typed as JSON."""
_PLAIN = ("string", "integer", "number", "boolean")


class Field(NamedTuple):
    """A field of a form."""

    at: str
    """The place of its value: the keys to it, as JSON."""
    label: str
    type: str
    """``string``, ``integer``, ``number``, ``boolean``, ``choice``, ``json`` or ``object``;
    ``whole``: it only says that the value is an object, whose fields follow."""
    required: bool = False
    """Whether the form can't be sent without it."""
    optional: bool = False
    """Whether the value can do without it."""
    help: str = ""
    value: str = ""
    """The text that it begins with."""
    options: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    """Those inside an object."""
    is_null: bool = False
    """Whether ``null`` is sent where nothing is typed."""

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
        schema, nullable = self._resolved(schema)
        default = schema.get("default", ...)
        value = default if value is ... else value
        kind = schema.get("type")
        place = json.dumps(at)
        about = str(schema.get("description", ""))
        optional = nullable or not wanted or default is not ...
        required = must and not optional
        is_null = nullable and wanted
        if value is None:
            value = ...
        made = Field(place, label, "json", required, optional, about, is_null=is_null)
        choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if choices is not None and all(isinstance(each, str) for each in choices):
            return made._replace(type="choice", value=_text(value), options=tuple(choices))
        if kind == "object" and schema.get("properties") and len(at) <= _DEEPEST:
            inside = tuple(self._inside(at, schema, value, must=required))
            return made._replace(type="object", fields=inside)
        if kind in _PLAIN:
            return made._replace(type=kind, help=about or _hint(schema), value=_text(value))
        shape = _shape(schema)
        hint = about or f"Type JSON{': ' + shape if shape else ''}."
        return made._replace(help=hint, value=_json(value))

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

    def _resolved(self, schema: Schema) -> tuple[Schema, bool]:
        """Return a schema without references, and whether ``null`` will do, too."""
        optional = False
        for _ in range(20):  # a type may hold itself
            if "$ref" in schema:
                name = str(schema["$ref"]).rpartition("/")[2]
                schema = {**self._known.get(name, {}), **_without(schema, "$ref")}
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
        return schema, optional


def _without(schema: Schema, name: str) -> Schema:
    return {key: value for key, value in schema.items() if key != name}


def _text(value: object) -> str:
    if value is ... or value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json(value: object) -> str:
    if value is ...:
        return ""
    return json.dumps(value, ensure_ascii=False, indent=2)


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
