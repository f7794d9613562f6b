"""Text for terminals: safe, aligned, short."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from gorkflow._text import cleaned as clean
from gorkflow._text import is_shown

__all__ = [
    "clean",
    "clock",
    "indented",
    "json_text",
    "moment",
    "one_line",
    "seconds",
    "table",
    "width",
]

_SHORT_JSON = 80


def one_line(text: str) -> str:
    """Return the text on one line, safe for terminals."""
    return clean(" ".join(text.split()))


def width(text: str) -> int:
    """Return how many columns the text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of an aligned table."""
    cells = [list(head), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(head))]
    return ["  ".join(_padded(row, widths)).rstrip() for row in cells]


def _padded(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    return (cell + " " * (columns - width(cell)) for cell, columns in zip(row, widths, strict=True))


def seconds(value: float) -> str:
    """Return a duration, given in seconds, for people."""
    if value < 60:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def clock(at: float) -> str:
    """Return an instant, in seconds since the epoch, as the local time of day."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def moment(at: datetime | None) -> str:
    """Return an instant as local date and time; empty: there is none."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def json_text(value: Any, *, short: int | None = _SHORT_JSON) -> str:
    """Return JSON data for people and programs: what is not safe to print is escaped.

    Args:
        value: the data.
        short: on more than one line if longer than that; ``None``: never.
    """
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=ascii_only)
    if short is not None and len(text) > short:
        text = json.dumps(value, ensure_ascii=ascii_only, indent=2)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or is_shown(char) else json.dumps(char)[1:-1] for char in text
    )


def indented(text: str, by: str = "    ") -> str:
    """Return the text with each line moved to the right."""
    return "\n".join(f"{by}{line}" for line in text.rstrip().splitlines())
