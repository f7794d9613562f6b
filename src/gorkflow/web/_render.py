"""The rendering of pages: templates, and how times, values and addresses read in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup, escape

from gorkflow._text import cleaned, cut, span_of
from gorkflow.engine._json import to_json
from gorkflow.insight.svg import size_of
from gorkflow.model import Failure, instant

_LONG = 200_000
"""Characters of a value that a page shows."""


_READABLE = 0.72
"""The part of its size to which a drawing may shrink."""


def _shown(value: object) -> object:
    """Return what a template prints: a text of users can't turn the reading order around."""
    return cleaned(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def make_environment() -> jinja2.Environment:
    """Return the environment of the templates. All that they print is text, but our drawings."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gorkflow.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "ago": ago,
        "amount": amount,
        "at": instant,
        "brief": brief_value,
        "clock": clock,
        "cut": cut,
        "fitted": fitted,
        "kind": kind_of,
        "lasting": lasting,
        "moment": moment,
        "per": per,
        "span": span_of,
        "told": told,
        "value": value_text,
    }
    environment.filters.update(filters)
    return environment


def amount(number: float) -> str:
    """Return a number without digits that say nothing."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,g}"


def per(seconds: float | timedelta) -> str:
    """Return a period in words: ``minute``, ``30 s``."""
    length = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    units = {1: "second", 60: "minute", 3_600: "hour", 86_400: "day"}
    return units.get(int(length)) or span_of(length) if length == int(length) else span_of(length)


def told(message: str) -> Markup:
    """Return a message as sentences; what stands between backticks is code."""
    words = cleaned(message[:1].upper() + message[1:])
    words += "" if words.endswith((".", "!", "?")) else "."
    parts = words.split("`")
    code = Markup("<code>{}</code>")
    shown = (code.format(each) if number % 2 else each for number, each in enumerate(parts))
    return Markup().join(shown) if len(parts) % 2 else escape(words)


def value_text(value: object) -> str:
    """Return a value as JSON on several lines."""
    return cut(json.dumps(to_json(value), ensure_ascii=False, indent=2, default=str), _LONG)


def brief_value(value: object, most: int = 90) -> str:
    """Return a value as JSON on one line."""
    return cut(json.dumps(to_json(value), ensure_ascii=False, default=str), most)


def kind_of(failure: Failure) -> str:
    """Return the kind of a failure in one word: the class of the exception, or the code."""
    return failure.type.rpartition(".")[2] or failure.code.value


def moment(at: datetime) -> Markup:
    """Return a time with its date. The script turns it into that of the reader's zone."""
    return _time(at, f"{at:%Y-%m-%d %H:%M:%S} UTC", "moment")


def clock(at: datetime) -> Markup:
    """Return a time of a day."""
    return _time(at, f"{at:%H:%M:%S}", "clock")


def ago(at: datetime, now: float) -> Markup:
    """Return how long ago a time was, or how soon it comes."""
    seconds = now - at.timestamp()
    words = f"in {_rough(-seconds)}" if seconds < -0.5 else f"{_rough(seconds)} ago"
    return _time(at, words, "")


def fitted(drawn: str) -> Markup:
    """Return one of our drawings so that it shrinks to fit, as long as it can be read.

    An empty picture beside it has the least width; a box around both takes what the page has.
    """
    least = round(_READABLE * size_of(drawn)[0])
    strut = f'<svg class="strut" aria-hidden="true" width="{least}" height="0"></svg>'
    return Markup(f'<div class="fit">{strut}{drawn}</div>')  # noqa: S704 - its text is escaped


def lasting(since: datetime, now: float) -> Markup:
    """Return how long something lasts that began at a time."""
    return _time(since, _rough(now - since.timestamp()), "")


def _rough(seconds: float) -> str:
    """Return a duration in one unit."""
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    unit, size = next((each for each in units if seconds >= 0.995 * each[1]), ("s", 1))
    return f"{max(seconds, 0) / size:.0f} {unit}"


def _time(at: datetime, words: str, show: str) -> Markup:
    return Markup('<time datetime="{}" data-show="{}" title="{}">{}</time>').format(
        at.isoformat(), show, f"{at:%Y-%m-%d %H:%M:%S} UTC", words
    )


class Addresses:
    """The addresses within the page, wherever it is mounted.

    Args:
        root: the path at which it is mounted.
    """

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")

    def __call__(self, *parts: str, **query: object) -> str:
        """Return an address.

        Args:
            *parts: the parts of its path.
            **query: its parameters; those that are empty or ``None`` are left out.
        """
        path = "".join(f"/{quote(part, safe='')}" for part in parts) or "/"
        left = {name: value for name, value in query.items() if value not in (None, "", False)}
        return f"{self._root}{path}" + (f"?{urlencode(left)}" if left else "")

    def again(self, path: str, query: Mapping[str, str], **changes: object) -> str:
        """Return the address of a page with some of its parameters changed."""
        left = {
            name: value for name, value in {**query, **changes}.items() if value not in (None, "")
        }
        return path + (f"?{urlencode(cast('dict[str, Any]', left))}" if left else "")
