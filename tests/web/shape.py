"""The differences between JSON and its schema: the part of draft 2020-12 that we use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

_TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
    "integer": int, "number": (int, float),
}  # fmt: skip
_CHECKED = {
    "$ref", "anyOf", "type", "enum", "const", "required", "properties", "additionalProperties",
    "propertyNames", "items", "prefixItems",
}  # fmt: skip
_UNCHECKED = {
    "title", "description", "default", "minimum", "exclusiveMinimum", "maximum", "minItems",
    "maxItems", "minLength", "format",
}  # fmt: skip


class Shape(NamedTuple):
    """A schema in its document."""

    schema: dict[str, Any]
    document: dict[str, Any]

    def misfits(self, data: Any, at: str = "$") -> Iterator[str]:
        """Yield where data does not fit."""
        schema = self.schema
        unknown = set(schema) - _CHECKED - _UNCHECKED
        assert not unknown, f"this check does not know {unknown}"
        if "$ref" in schema:
            yield from self._referred(schema["$ref"]).misfits(data, at)
        elif "anyOf" in schema:
            if all(any(self._of(each).misfits(data)) for each in schema["anyOf"]):
                yield f"{at}: {data!r} fits no member of {schema['anyOf']}"
        elif "type" in schema and not _is(data, schema["type"]):
            yield f"{at}: {data!r} is not of type {schema['type']}"
        elif "enum" in schema and data not in schema["enum"]:
            yield f"{at}: {data!r} is not in {schema['enum']}"
        elif "const" in schema and data != schema["const"]:
            yield f"{at}: {data!r} is not {schema['const']!r}"
        elif isinstance(data, dict):
            yield from self._in_object(data, at)
        elif isinstance(data, list) and schema.get("items"):
            for number, item in enumerate(data):
                yield from self._of(schema["items"]).misfits(item, f"{at}[{number}]")

    def _of(self, schema: dict[str, Any]) -> Shape:
        return Shape(schema, self.document)

    def _referred(self, reference: str) -> Shape:
        found: Any = self.document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        return self._of(found)

    def _in_object(self, data: dict[str, Any], at: str) -> Iterator[str]:
        required = self.schema.get("required", ())
        yield from (f"{at}: {name} is missing" for name in required if name not in data)
        properties = self.schema.get("properties", {})
        more = self.schema.get("additionalProperties", True)
        for name, value in data.items():
            yield from self._of(self.schema.get("propertyNames", {})).misfits(name, f"{at} key")
            if name in properties:
                yield from self._of(properties[name]).misfits(value, f"{at}.{name}")
            elif more is False:
                yield f"{at}: {name} is unknown"
            elif isinstance(more, dict):
                yield from self._of(more).misfits(value, f"{at}.{name}")


def _is(data: Any, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    if isinstance(data, bool):
        return "boolean" in names
    return any(isinstance(data, _TYPES[name]) for name in names)
