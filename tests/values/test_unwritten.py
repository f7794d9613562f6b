"""An annotation that leaves something out: what stands for it."""

import dataclasses
import enum
import typing
from pathlib import Path
from typing import Any, Generic

import pytest
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict, TypeVar

from gorkflow.codec import codec_of
from gorkflow.errors import StepValueError


class Order(BaseModel):
    id: int


T = TypeVar("T", default=Order)


class Box(BaseModel, Generic[T]):
    item: T


class Color(enum.Enum):
    RED = "r"


class Cfg(TypedDict):
    k: Color


@dataclasses.dataclass
class Paint:
    k: Color


class Painted(BaseModel):
    model_config = ConfigDict(use_enum_values=True)
    c: Paint


class Values(BaseModel):
    model_config = ConfigDict(use_enum_values=True)
    c: Cfg


@pytest.mark.parametrize("value", [(), (1, "a", (2,))])
def test_a_bare_tuple_holds_any_items(value: Any):
    assert codec_of(typing.Tuple).decode(codec_of(typing.Tuple).encode(value)) == value  # noqa: UP006


def test_a_type_variable_stands_for_its_default():
    codec = codec_of(Box)
    again = codec.decode(codec.encode(Box(item=Order(id=1))))
    assert type(again.item) is Order


@pytest.mark.parametrize("first", [True, False])
def test_a_class_may_hold_members_here_and_their_values_there(first: bool):
    value: Any = ({"k": Color.RED}, Values.model_validate({"c": {"k": "r"}}))
    annotation: Any = tuple[Cfg, Values]
    if not first:
        value, annotation = value[::-1], tuple[Values, Cfg]
    assert codec_of(annotation).decode(codec_of(annotation).encode(value)) == value


def test_a_dataclass_has_the_configuration_of_the_model_around_it():
    codec = codec_of(Painted)
    for value in (Painted.model_validate({"c": {"k": "r"}}), Painted(c=Paint(Color.RED))):
        again = codec.decode(codec.encode(value))
        assert again == value
        assert type(again.c.k) is type(value.c.k)
    with pytest.raises(StepValueError, match="expected Color"):
        codec_of(Paint).encode(Paint("r"))  # type: ignore[arg-type]


def test_a_text_in_place_of_a_path_is_told_what_to_write():
    with pytest.raises(StepValueError, match=r"expected Path, not str; write Path\(x\)"):
        codec_of(Path).encode("a/b")
