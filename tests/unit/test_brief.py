"""Messages show what somebody gave, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest

from gorkflow._text import brief


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        ("a\nb", r"'a\nb'"),
        (10**5000, "an int of too many digits"),
        (-(10**5000), "a negative int of too many digits"),
        ([10**5000], "a value of type list"),
        (Mute(), "a value of type Mute"),
        ("x" * 101, f"'{'x' * 99}…"),
    ],
    ids=["number", "text", "long int", "negative", "within a list", "no repr", "long text"],
)
def test_any_value_can_be_shown(value: Any, text: str) -> None:
    assert brief(value) == text
