"""Words for people: lists of paths, and durations."""

from __future__ import annotations

from collections.abc import Iterable


def named(paths: Iterable[str]) -> str:
    """Return paths as a list in words, the first few of many."""
    every = list(dict.fromkeys(paths))
    shown = ", ".join(repr(path) for path in every[:5])
    return f"{shown} and {len(every) - 5} more" if len(every) > 5 else shown


def in_words(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 120:
        return f"{seconds:.4g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"
