"""What users' texts may do to a terminal or a log: nothing. The one place that decides it."""

from __future__ import annotations

import unicodedata

_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Cc: control characters, with the one that starts escape sequences. Cf: invisible, and able to
turn the reading order around. Cs: lone surrogates. Zl, Zp: line ends that few terminals know."""


def is_shown(char: str) -> bool:
    """Return whether a character is safe to print, line ends and tabs aside."""
    return char == "\u200d" or unicodedata.category(char) not in _UNSAFE  # it joins emoji


def cleaned(text: str) -> str:
    """Return the text without what could steer a terminal; lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or is_shown(char) else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def one_record(text: str) -> str:
    """Return the text on one line, with what is not safe escaped as in Python."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if is_shown(char) else char.encode("unicode_escape").decode("ascii") for char in text
    )
