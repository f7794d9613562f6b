"""Log records as JSON, one object on one line, with the run, the path and the attempt."""

from __future__ import annotations

import json
import logging
import math
import sys
from datetime import UTC, datetime
from typing import Any, cast

from gorkflow._text import brief

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FIRST = ("time", "level", "logger", "message", "run_id", "workflow_id", "path", "attempt")
_DEEPEST = 5
"""Levels of lists and dicts in a field that are kept as such."""
_LARGEST = 2**53
"""Beyond it, JSON in other languages loses digits."""


class JsonFormatter(logging.Formatter):
    r"""A formatter whose records are JSON, one object on one line.

    The keys are ``time`` (UTC), ``level``, ``logger`` and ``message``. ``run_id``,
    ``workflow_id``, ``path`` and ``attempt`` follow where the record has them, ``trace_id`` and
    ``span_id`` inside a span of OpenTelemetry, ``exception``, and the ``extra=`` fields. The line
    is ASCII and valid JSON for any texts and fields.

    Example:
        >>> import json, logging
        >>> from gorkflow.telemetry import JsonFormatter
        >>> record = logging.makeLogRecord({"name": "gorkflow.step", "msg": "two\nlines"})
        >>> json.loads(JsonFormatter().format(record))["message"]
        'two\nlines'
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        try:
            return json.dumps(_plain(self._fields(record)), allow_nan=False)
        except Exception as error:  # noqa: BLE001 - a field is an object that answers nothing
            said = f"a record that can't be shown: {brief(error)}"
            return json.dumps({"time": _time(record), "level": "ERROR", "message": said})

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        extra = {key: it for key, it in vars(record).items() if key not in _STANDARD}
        for key in _FIRST:
            if key in extra and key not in fields:
                fields[key] = extra.pop(key)
        fields.update(_trace())
        if record.exc_info or record.exc_text:
            fields["exception"] = self._exception(record)
        if record.stack_info:
            fields["stack"] = record.stack_info
        for key, it in extra.items():
            fields.setdefault(key, it)
        return fields

    def _exception(self, record: logging.LogRecord) -> str:
        if record.exc_text or not isinstance(record.exc_info, tuple):
            return str(record.exc_text)
        try:
            return self.formatException(record.exc_info)
        except Exception as error:  # noqa: BLE001 - it asks exceptions of users for their texts
            return f"an exception that can't be shown: {brief(error)}"


def _time(record: logging.LogRecord) -> str:
    try:
        at = datetime.fromtimestamp(record.created, UTC)
    except (OverflowError, OSError, ValueError):
        return str(record.created)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - its format and arguments don't fit, or are code of users
        return f"{brief(record.msg, 1_000)} with {brief(record.args, 1_000)}"


def _trace() -> dict[str, str]:
    """Return the ids of the current span, if the program uses OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _plain(value: object, depth: int = 0) -> Any:
    """Return a value that JSON can hold: most as they are, the rest as texts."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.encode(value, "utf-8", "replace").decode()  # it may hold lone surrogates
    if isinstance(value, int) and abs(value) <= _LARGEST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth <= _DEEPEST and isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {_plain(key if isinstance(key, str) else brief(key)): _plain(it, depth + 1)
                for key, it in items}  # fmt: skip
    if depth <= _DEEPEST and isinstance(value, list | tuple):
        return [_plain(it, depth + 1) for it in cast("list[object]", value)]
    return _plain(brief(value, 1_000))
