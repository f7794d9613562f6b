"""The SVG that drawings share: the picture around their parts, and text, which is only text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from gorkflow._text import cleaned

_LETTER, _LINE = 6.2, 20.0
"""Pixels: the width of a small letter, and the height of a line of a legend."""


def plain(text: str) -> str:
    """Return a text of users as it can stand in a picture."""
    return escape(cleaned(text))


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return words at a place.

    Args:
        x: The place, in pixels.
        y: The place of the line that the letters stand on.
        words: The words.
        kind: Their class in the style; empty: none.
        anchor: The part of the words that is at ``x``: ``start``, ``middle`` or ``end``.
    """
    shown = f' class="{kind}"' if kind else ""
    return f'<text{shown} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{plain(words)}</text>'


def legend(
    entries: Iterable[tuple[str, str]], corner: tuple[float, float], width: float
) -> tuple[list[str], float]:
    """Return the elements that say what colours and lines mean, and their height in pixels.

    Args:
        entries: Pairs of a shape, in a box of 18 by 10 pixels, and its meaning.
        corner: The top left corner, in pixels.
        width: The room, in pixels; entries that need more stand in further lines.
    """
    left, top = corner
    x, y = left, top
    parts: list[str] = []
    for shape, meaning in entries:
        room = 24 + _LETTER * len(meaning)
        if x > left and x + room > left + width:
            x, y = left, y + _LINE
        parts.append(f'<g transform="translate({x:.1f} {y:.1f})">{shape}</g>')
        parts.append(text(x + 24, y + 9.5, meaning, "soft"))
        x += room + 18
    return parts, y + _LINE - top if parts else 0.0


_SIZE = re.compile(r'<svg [^>]* width="(\d+)" height="(\d+)"')


def size_of(drawn: str) -> tuple[int, int]:
    """Return the width and the height of a picture that ``picture`` made, in pixels."""
    found = _SIZE.match(drawn)
    assert found is not None
    return int(found[1]), int(found[2])


def picture(
    kind: str, title: str, size: tuple[float, float], parts: Iterable[str], *, style: bool
) -> str:
    """Return a whole picture.

    Args:
        kind: Its class. The file of this name beside this module has its style.
        title: Its words for people who don't see it.
        size: Its width and height, in pixels.
        parts: The elements inside.
        style: ``False``: without its own style, for a page that has one.
    """
    width, height = (f"{length:.0f}" for length in size)
    css = Path(__file__).with_name(f"{kind}.css").read_text() if style else ""
    inside = f"<style>{css}</style>" if css else ""
    return (
        f'<svg class="{kind}" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-label="{plain(title)}" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}">{inside}{"".join(parts)}</svg>'
    )
