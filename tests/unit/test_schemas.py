"""The JSON schema of an annotation, from which pages make forms."""

from collections import namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NamedTuple

import pydantic
import pytest
from typing_extensions import TypedDict

from gorkflow.codec import codec_of
from gorkflow.errors import StepValueError


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Item:
    name: str
    colour: Colour = Colour.RED
    tags: list[str] = field(default_factory=list[str])
    price: Decimal = Decimal(1)


class Pair(NamedTuple):
    first: int
    second: str = "x"


class Options(TypedDict):
    limit: int


class Order(pydantic.BaseModel):
    count: int = pydantic.Field(gt=3, description="how many")
    what: Item | Pair | None = None
    odd: Any = pydantic.Field(default_factory=object)


Untyped = namedtuple("Untyped", "a b")  # noqa: PYI024


def test_a_dataclass_has_fields_and_defaults():
    found = codec_of(Item).schema()
    assert found["required"] == ["name"]
    assert found["properties"]["colour"] == {"$ref": "#/$defs/Colour", "default": "red"}
    assert found["$defs"]["Colour"]["enum"] == ["red", "blue"]


@pytest.mark.parametrize(
    ("annotation", "type"),
    [
        (int, "integer"),
        (Pair, "array"),
        (Untyped, "array"),
        (Options, "object"),
        (list[Order], "array"),
        (dict[str, Item], "object"),
        (Colour, "string"),
        (Annotated[int, pydantic.Field(gt=1)], "integer"),
    ],
)
def test_each_kind_has_its_type(annotation: Any, type: str):
    assert codec_of(annotation).schema()["type"] == type


def test_a_union_has_its_members():
    assert codec_of(int | str).schema() == {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def test_constraints_and_descriptions_are_there():
    count = codec_of(Order).schema()["properties"]["count"]
    assert (count["exclusiveMinimum"], count["description"]) == (3, "how many")


def test_what_no_schema_describes_may_be_anything():
    assert codec_of(Any).schema() == {}


def test_an_error_names_each_place():
    with pytest.raises(StepValueError) as raised:
        codec_of(list[Item]).decode_lax('[{"name": "tea"}, {"tags": [1], "price": "much"}]')
    assert [place for place, _ in raised.value.problems] == [
        "[1].name",
        "[1].tags[0]",
        "[1].price",
    ]
    assert all(said for _, said in raised.value.problems)


def test_an_error_about_the_whole_has_an_empty_place():
    with pytest.raises(StepValueError) as raised:
        codec_of(int).decode_lax("[]")
    assert [place for place, _ in raised.value.problems] == [""]
