"""The OpenAPI document: what each operation takes and answers, for programs and their makers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

import msgspec

from gorkflow.web._operations import Nothing, Operation

_ERROR = {
    "type": "object",
    "description": "A request that was not done.",
    "required": ["status", "error", "problems"],
    "properties": {
        "status": {"type": "integer"},
        "error": {"type": "string", "description": "The reason, for people."},
        "problems": {
            "type": "array",
            "description": "The places in what was sent that are not valid.",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "repeat": {
            "type": "object",
            "description": "Add it to the body after a 503, so that it is done once.",
        },
    },
}
_MEANINGS = {
    400: "The request can't be understood.",
    401: "A token is needed, or this one is not known.",
    403: "It is not allowed.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "It is not possible now.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    421: "The host is not known.",
    422: "A part of it is not valid.",
    429: "Too many streams are open.",
    503: "The store does not answer.",
}
_NO_DATA = {"$comment": "not data"}
"""Stands for a type that has no JSON, as a function: its field is not sent."""
_PART = re.compile(r"\{(\w+)(?::path)?\}")
_STREAMS = (
    ("/runs/{run_id}/events", "stream_run", "Stream the events of a run until it has ended.",
     "Each has its seq as id. Reports of steps have the kind `progress`; the last is `end`."),
    ("/runs/{run_id}/logs/events", "stream_log", "Stream the log of a run until it has ended.",
     "Each line has its id. The event `end` comes last. Last-Event-ID continues after one."),
    ("/events", "stream_all", "Stream the events of all runs, from now on.",
     "Their values are left out. Last-Event-ID continues after an id that was given."),
)  # fmt: skip


def document(operations: Iterable[Operation], root: str) -> dict[str, Any]:
    """Return the document.

    Args:
        operations: all operations.
        root: the path under which the app is mounted; empty: at the root.
    """
    operations = list(operations)
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PART.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _described(operation, schemas)
    for path, name, summary, more in _STREAMS:
        paths[path] = {"get": _stream(path, name, summary, more)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gorkflow",
            "version": version("gorkflow"),
            "description": "Runs, workflows, schedules, limits and workers of one store. "
            "Changes need the token and the header X-Gorkflow: 1.",
        },
        "servers": [{"url": f"{root}/api"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas:
    """The JSON schemas of all types that operations name."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        wanted: list[Any] = [
            type
            for operation in operations
            for type in (operation.answer, operation.query, operation.body)
            if not isinstance(type, str)
        ]
        self._types = list(dict.fromkeys(wanted))
        found, self.components = msgspec.json.schema_components(
            self._types,
            ref_template="#/components/schemas/{name}",
            schema_hook=lambda _: _NO_DATA,
        )
        self._found = dict(zip(self._types, found, strict=True))
        for schema in self.components.values():
            _tidy(schema)
        self.components["Schedule"]["properties"]["every"] = {
            "type": ["number", "null"],
            "description": "Seconds.",
        }

    def of(self, type: Any) -> dict[str, Any]:
        """Return the schema of a type."""
        found: dict[str, Any] = self._found[type]
        return found

    def fields(self, type: Any) -> dict[str, Any]:
        """Return the schemas of the fields of a struct."""
        reference: str = self.of(type)["$ref"]
        found: dict[str, Any] = self.components[reference.rpartition("/")[2]]["properties"]
        return found


def _tidy(schema: dict[str, Any]) -> None:
    """Leave only fields that are data, and the first paragraph of a description."""
    properties = schema.get("properties", {})
    for name in [
        name for name, each in properties.items() if _NO_DATA in each.get("anyOf", [each])
    ]:
        del properties[name]
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split("\n\n")[0].split())


def _described(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_places(operation.path), *_query(operation, schemas)],
        "responses": {str(operation.status): _answer(operation, schemas), **_errors(operation)},
    }
    if operation.method != "GET":
        found["security"] = [{"token": []}]
        found["parameters"].append(
            {
                "name": "X-Gorkflow",
                "in": "header",
                "required": True,
                "schema": {"const": "1"},
                "description": "No other site can send it.",
            }
        )
    if operation.body is not Nothing:
        found["requestBody"] = {
            "content": {"application/json": {"schema": schemas.of(operation.body)}}
        }
    return found


def _places(path: str) -> Iterator[dict[str, Any]]:
    for name in _PART.findall(path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(operation: Operation, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    if operation.query is Nothing:
        return
    for name, schema in schemas.fields(operation.query).items():
        yield {"name": name, "in": "query", "required": False, "schema": schema}


def _answer(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    if isinstance(operation.answer, str):
        content: dict[str, Any] = {operation.answer: {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": schemas.of(operation.answer)}}
    return {"description": operation.summary, "content": content}


def _errors(operation: Operation) -> dict[str, Any]:
    of_gate = {400, 401, 403, 421, 503}
    if operation.method != "GET":
        of_gate |= {408, 413, 415}
    return {str(status): _error(status) for status in sorted({*of_gate, *operation.fails})}


def _error(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": _MEANINGS[status], "content": content}


def _stream(path: str, name: str, summary: str, more: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "description": more,
        "parameters": [
            *_places(path),
            {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}},
            {"name": "after", "in": "query", "schema": {"type": "string"}},
        ],
        "responses": {
            "200": {
                "description": summary,
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **{str(status): _error(status) for status in (400, 401, 403, 404, 421, 429, 503)},
        },
    }
