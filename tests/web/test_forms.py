"""Forms: a field for each part of a type, and what it begins with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from gorkflow.codec import codec_of
from gorkflow.web._forms import fields_of


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    zip: int = Field(ge=1000, le=9999)


class Order(BaseModel):
    id: int
    colour: Colour = Colour.BLUE
    items: list[str] = []
    address: Address | None = None
    billing: Address
    note: str | None
    express: bool = False


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list["Node"])


def fields(annotation: Any, *value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting = list(fields_of("input", codec_of(annotation).schema(), *value))
    while waiting:
        each = waiting.pop(0)
        found[each.id] = each
        waiting += each.fields
    return found


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (int, "integer"), (float, "number"), (str, "string"), (bool, "boolean"),
        (Colour, "choice"), (Literal["a", "b"], "choice"), (Literal["a", 1], "json"),
        (list[int], "json"), (dict[str, int], "json"), (int | str, "json"), (int | None, "integer"),
        (datetime, "string"), (Any, "json"), (tuple[int, str], "json"),
    ],
)  # fmt: skip
def test_a_single_value_has_one_field(annotation: Any, kind: str) -> None:
    found = fields(annotation)
    assert [each.type for each in found.values()] == [kind]
    assert list(found) == ["input"]


def test_a_model_has_a_field_for_each_part() -> None:
    found = fields(Order)
    assert {place: each.type for place, each in found.items()} == {
        "input": "whole",
        "input.id": "integer",
        "input.colour": "choice",
        "input.items": "json",
        "input.address": "object",
        "input.billing": "object",
        "input.note": "string",
        "input.express": "boolean",
        "input.address.street": "string",
        "input.address.zip": "integer",
        "input.billing.street": "string",
        "input.billing.zip": "integer",
    }
    assert {place for place, each in found.items() if each.required} == {
        "input.id", "input.billing", "input.billing.street", "input.billing.zip",
    }  # fmt: skip
    assert not found["input.address.street"].optional  # once there is an address
    assert found["input.colour"].value == "blue"
    assert found["input.colour"].options == ("red", "blue")
    assert found["input.items"].value == "[]"
    assert [place for place, each in found.items() if each.is_null] == ["input.note"]
    assert found["input.billing.zip"].help == "At least 1000. At most 9999."


def test_a_form_begins_with_a_given_value() -> None:
    given = {
        "id": 2**70, "colour": "red", "items": ["<b>"], "note": None, "express": True,
        "address": None, "billing": {"street": "x", "zip": 1234},
    }  # fmt: skip
    found = fields(Order, given)
    shown = {place: each.value for place, each in found.items() if each.value}
    assert shown == {
        "input.id": str(2**70),  # each digit
        "input.colour": "red",
        "input.items": json.dumps(["<b>"], indent=2),
        "input.express": "true",
        "input.billing.street": "x",
        "input.billing.zip": "1234",
    }


def test_a_type_that_holds_itself_ends() -> None:
    assert fields(Node)["input.children"].type == "json"


def test_an_unknown_type_is_typed_as_json() -> None:
    [only] = fields_of("payload", None)
    assert (only.type, only.at) == ("json", '["payload"]')
