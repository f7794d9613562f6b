"""Our loggers: one line for one record, with any text of a user in it."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any, Protocol, cast

from gorkflow._text import cleaned, one_record
from gorkflow.model import Failure

NAMES = (
    "gorkflow.command",
    "gorkflow.engine",
    "gorkflow.run",
    "gorkflow.step",
    "gorkflow.store",
    "gorkflow.web",
)
REDACTION = "_redaction"
"""The field of a record for that which leaves the secrets of its run out of it."""
_HOME = f"{os.path.dirname(__file__)}{os.sep}"  # noqa: PTH120 - pathlib is slow to load
_DEMO = f"{_HOME}demo{os.sep}"
_plain = logging.Formatter()


class Redacts(Protocol):
    """Leaves secrets out of texts."""

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        ...


class _OneLine(logging.Filter):
    """Escapes line ends and control characters in the records of a logger, and leaves secrets out.

    The lines of a traceback or a stack stay, moved to the right: no line of it looks like a record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.levelname = one_record(record.levelname)  # a program may have its own
        redaction: Redacts | None = vars(record).pop(REDACTION, None)
        if redaction is not None:
            _redact(record, redaction)
        if record.stack_info:
            record.stack_info = aside(record.stack_info)
        try:
            if _is_odd(record.getMessage()):
                record.msg = one_record(str(record.msg))
                record.args = _safe(record.args)
        except Exception:  # noqa: BLE001 - of its format: whoever handles it tells about that
            return True
        if record.exc_info and not record.exc_text:
            record.exc_text = aside(_plain.formatException(record.exc_info))
        return True


def is_ours(file: str) -> bool:
    """Return whether a file is gorkflow's own, and no business of users. The demo's are theirs."""
    return file.startswith(_HOME) and not file.startswith(_DEMO)


def _redact(record: logging.LogRecord, redaction: Redacts) -> None:
    """Leave secrets out of a record, with the exception that is logged."""
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - of its format, or a user's __str__
        text = "a record whose arguments do not fit its text"
    record.msg, record.args = redaction.text(text), None
    if record.stack_info:
        record.stack_info = redaction.text(record.stack_info)
    if record.exc_text:
        record.exc_text = redaction.text(record.exc_text)
    elif record.exc_info:
        record.exc_text = aside(redaction.text(_plain.formatException(record.exc_info)))
    if record.exc_info and record.exc_text:
        last = record.exc_text.rpartition("\n")[2].strip()
        record.exc_info = (Exception, Exception(last), None)  # a handler may look for one


def aside(traceback: str) -> str:
    """Return a traceback for a log: safe, and moved to the right, away from the records."""
    return "\n".join(f"    {line}" for line in cleaned(traceback.rstrip()).splitlines())


def guard() -> None:
    for name in NAMES:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _OneLine) for each in logger.filters):
            logger.addFilter(_OneLine())


def _is_odd(text: str) -> bool:
    return one_record(text) != text


def _safe(args: Any) -> Any:
    if isinstance(args, dict):
        return {name: _safe_one(arg) for name, arg in cast("dict[str, Any]", args).items()}
    return tuple(map(_safe_one, cast("tuple[Any, ...]", args))) if args else args


def _safe_one(arg: Any) -> Any:
    if isinstance(arg, Failure):  # handlers look for it
        return replace(arg, message=one_record(arg.message), type=one_record(arg.type))
    text = str(arg)
    return one_record(text) if _is_odd(text) else arg
