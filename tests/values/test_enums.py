"""An enum's members are kept one by one: those that are added change nothing for the others."""

import enum
from typing import Any

import pytest

from gorkflow.codec import codec_of
from gorkflow.errors import StepValueError
from tests.values.exact import shown


def _enum(**members: Any) -> Any:
    return enum.Enum("E", members, module=__name__)


LONG = 10**5000
SAME = [
    ({"one": "two", "two": "x"}, "one", {"one": "two", "two": "x", "three": 3.5}, "one"),
    ({"A": 1, "B": 2}, "A", {"A": 1, "B": 2, "C": 2.5}, "A"),
    ({"A": 1, "B": 2}, "B", {"A": 1, "B": 2, "C": None}, "B"),
    ({"A": 1, "B": 2}, "A", {"B": 1, "A": 2}, "B"),  # a text or whole number is what is meant
    ({"A": 1.5, "B": "A"}, "A", {"A": 1.5, "B": "A"}, "A"),
    ({"A": 1.5, "B": "A"}, "B", {"A": 1.5, "B": "A"}, "B"),
    ({"A": 1.5, "B": 2.5}, "A", {"B": 1.5, "A": 2.5}, "A"),  # else the name is
    ({"A": 1.5}, "A", {"A": "B", "B": "A"}, "A"),
    ({"A": (1,)}, "A", {"NEW": (1,), "A": (1,)}, "NEW"),  # an alias still names it
    ({"A": LONG, "B": 1}, "A", {"B": 1, "A": LONG}, "A"),
    ({"A": "\ud800"}, "A", {"A": "\ud800", "B": 2}, "A"),
]


@pytest.mark.parametrize(("old", "name", "new", "wanted"), SAME, ids=shown)
def test_a_member_stays_the_same_when_others_change(old: Any, name: str, new: Any, wanted: str):
    first, second = _enum(**old), _enum(**new)
    assert codec_of(second).decode(codec_of(first).encode(first[name])) is second[wanted]


@pytest.mark.parametrize(
    ("old", "new"), [({"A": "B"}, {"B": 1.5}), ({"A": 1.5}, {"B": "A"}), ({"A": 1}, {"A": "1"})]
)
def test_a_value_is_never_taken_for_a_name(old: Any, new: Any):
    first, second = _enum(**old), _enum(**new)
    with pytest.raises(StepValueError, match=r"has no member .* any more"):
        codec_of(second).decode(codec_of(first).encode(first["A"]))
    assert codec_of(first).digest() != codec_of(second).digest()


def test_flags_of_many_bits_come_back():
    many = enum.Flag("Many", {"A": 1, "B": 2**20_000})
    for value in (many.A, many.B, many.A | many.B, many(0)):
        assert codec_of(many).decode(codec_of(many).encode(value)) == value
