"""The SVG that drawings share: the picture around their parts, and text, which is only text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from gorkflow._text import cleaned


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
