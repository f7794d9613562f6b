"""Text for people: values, lists and hints in messages, and what is safe to print."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import pairwise
from typing import Any, TypeVar, cast

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., None]")


def brief(value: object, most: int = 100) -> str:
    """Return the first ``most`` characters of a value's ``repr``; this never fails."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__, or an int that is too long
        if isinstance(value, int):
            return f"{'a negative' if value < 0 else 'an'} int of too many digits"
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}…"


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters; if it was longer, ``…`` ends it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def span_of(seconds: float) -> str:
    """Return a duration for people: in milliseconds, in seconds, or in its largest two units.

    The number of digits does not jump about while a duration grows: 1.20 s, not 1.2 s.
    """
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0005 else "0 s"
    if seconds < 59.95:
        digits = 0 if seconds == int(seconds) else 2 if seconds < 9.995 else 1
        return f"{seconds:.{digits}f} s"
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    whole = round(seconds)
    for (unit, size), (smaller, part) in pairwise(units):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    raise AssertionError(seconds)


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number of things: ``1 run``, ``1,000 runs``; ``many`` if an ``s`` is not enough."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def listed(items: Sequence[str], most: int = 5, total: int | None = None) -> str:
    """Return ``a, b and 3 more``; the ``total`` may exceed the items given."""
    shown = items[:most]
    more = (len(items) if total is None else total) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def similar(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like this one, if any; ``cutoff`` is as in ``difflib``."""
    import difflib  # only for errors

    close = difflib.get_close_matches(name if isinstance(name, str) else "", list(known), 1, cutoff)
    return close[0] if close else None


def did_you_mean(name: object, known: Iterable[str], or_else: str | None = None) -> str:
    """Return ``did you mean 'x'?``, else ``or_else``, else the known names."""
    known = list(known)
    near = similar(name, known)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"there are: {', '.join(known)}" if or_else is None else or_else


def suggesting(cls: type[T]) -> type[T]:
    """Make a class suggest the option that was probably meant by an unknown one."""
    made: Any = cls
    made.__init__ = suggesting_option(made.__init__)
    return cls


def suggesting_option(init: F) -> F:
    code = init.__code__
    known = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]

    @wraps(init)
    def checked(self: Any, *args: Any, **options: Any) -> None:
        for name in options:
            if name not in known:
                hint = did_you_mean(name, known)
                raise TypeError(f"{type(self).__name__} has no option {name!r}; {hint}")
        init(self, *args, **options)

    return cast("F", checked)


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can hold a text: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Cc: control characters, with the one that starts escape sequences. Cf: invisible, and able to
turn the reading order around. Cs: lone surrogates. Zl, Zp: line ends that few terminals know."""


def is_shown(char: str) -> bool:
    """Return whether a character is safe to print, line ends and tabs aside."""
    return char == "\u200d" or unicodedata.category(char) not in _UNSAFE  # it joins emoji


def cleaned(text: str) -> str:
    """Return the text without characters that could steer a terminal; lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or is_shown(char) else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def one_record(text: str) -> str:
    """Return the text on one line, with unsafe characters escaped as in Python."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if is_shown(char) else char.encode("unicode_escape").decode("ascii") for char in text
    )
