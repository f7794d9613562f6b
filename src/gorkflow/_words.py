"""How messages show what somebody gave. The one place that decides it."""

from __future__ import annotations


def brief(value: object, most: int = 100) -> str:
    """Return a value as a message shows it, whatever its ``__repr__`` does.

    Args:
        value: anything. Python refuses to write an int of more than 4300 digits.
        most: characters that are shown.
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - somebody else's __repr__, or an int that is too long
        if isinstance(value, int):
            return f"{'a negative' if value < 0 else 'an'} int of too many digits"
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}…"
