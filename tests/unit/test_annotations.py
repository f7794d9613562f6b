"""Which annotation fits where, and what has to be validated on arrival."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NewType, Optional, TypedDict, TypeVar

import pytest
from pydantic import BaseModel, Field

from gorkflow.annotations import (
    Relation,
    describe,
    fits,
    is_optional,
    needs_validation,
    relation,
    tuple_items,
    union_of,
    without_none,
)
from gorkflow.model import Completed, Failed, Outcome

T = TypeVar("T")


class Base(BaseModel):
    pass


class Derived(Base):
    pass


class Box(BaseModel, Generic[T]):
    x: T


class Row(TypedDict):
    a: int


UserId = NewType("UserId", int)
Positive = Annotated[int, Field(gt=0)]
SURE, MAYBE, NO = Relation.SURE, Relation.MAYBE, Relation.NO


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (Derived, Base, SURE),
        (Base, Derived, NO),
        (int, float, MAYBE),
        (bool, int, SURE),
        (float, int, NO),
        (Any, int, MAYBE),
        (int, Any, SURE),
        (int, object, SURE),
        (None, None, SURE),
        (None, type(None), SURE),
        (None, int, NO),
        (int, None, NO),
        (Optional[int], int, NO),  # noqa: UP045 - both spellings
        (int, int | None, SURE),
        (int | str, str | int | None, SURE),
        (list[int], list[int], SURE),
        (list[int], list[float], MAYBE),
        (list[Derived], Sequence[Base], SURE),
        (list[int], Sequence[str], NO),
        (list[int], set[int], NO),
        (list[Any], list[int], MAYBE),
        (list, list[int], MAYBE),
        (list[int], list, SURE),
        (dict[str, int], Mapping[str, float], MAYBE),
        (Row, dict[str, Any], SURE),
        (Row, Mapping[str, object], SURE),
        (Row, dict[str, int], MAYBE),
        (dict[str, Any], Row, MAYBE),
        (Row, dict, SURE),
        (UserId, int, SURE),
        (UserId, UserId, SURE),
        (int, UserId, NO),
        (Literal["a"], str, SURE),
        (Literal["a"], Literal["a", "b"], SURE),
        (str, Literal["a"], NO),
        (int, Positive, MAYBE),
        (Positive, Positive, SURE),
        (Positive, int, SURE),
        (str, Positive, NO),
        (list[int], list[Positive], MAYBE),
        (tuple[int, str], tuple[int, str], SURE),
        (tuple[int, str], tuple[str, int], NO),
        (tuple[int, str], tuple[int], NO),
        (tuple[int, int], tuple[float, ...], MAYBE),
        (tuple[int, str], tuple[int, ...], NO),
        (tuple[int, ...], tuple[int, int], NO),
        (tuple[int, int], Sequence[int], SURE),
        (tuple[int, int], list[int], NO),
        (Box[int], Box, SURE),
        (Box, Box[int], MAYBE),
        (Box[int], Box[str], NO),
        (Box[Derived], Box[Base], SURE),
        (int, T, MAYBE),
        ("Later", int, MAYBE),
        (Outcome[Derived], Outcome[Base], SURE),
        (Outcome[Derived], Outcome[int], NO),
        (Outcome[Derived], Completed[Derived] | Failed, NO),
        (Derived, Outcome[Derived], NO),
        (tuple[Outcome[int], Outcome[int]], tuple[Outcome[int], ...], SURE),
    ],
)
def test_relation(given: Any, wanted: Any, expected: Relation):
    assert relation(given, wanted) is expected
    assert relation(given, wanted) is expected, "remembered"
    assert fits(given, wanted) is (expected is not NO)
    assert needs_validation(given, wanted) is (expected is not SURE)


def test_unhashable_metadata_is_no_obstacle():
    odd = Annotated[int, [1]]
    assert fits(odd, odd)
    assert fits(int, odd)
    assert not fits(str, odd)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (None, "None"),
        (Derived, "Derived"),
        (int | None, "int | None"),
        (list[Derived], "list[Derived]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Positive, "int"),
        (Literal["a"], "Literal['a']"),
        (Outcome[int], "Outcome[int]"),
        (Any, "Any"),
        (Callable[[int], str], "Callable[[int], str]"),
        (T, "T"),
        (tuple[tuple([int] * 9)], "tuple[int, int, int, int, int, int, …]"),
    ],
)
def test_annotations_are_written_as_people_do(annotation: Any, text: str):
    assert describe(annotation) == text


def test_parts_of_annotations():
    assert is_optional(int | None)
    assert is_optional(None)
    assert not is_optional(int)
    assert without_none(int | None) is int
    assert tuple_items(tuple[int, str]) == (int, str)
    assert tuple_items(tuple[int, ...]) is None
    assert tuple_items(int) is None
    assert union_of([int]) is int
    assert union_of([int, str, int]) == int | str
