"""Forms: a field for each part of a type, and what it begins with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, computed_field

from gorkflow import Secret
from gorkflow.codec import codec_of
from gorkflow.redaction import MASK
from gorkflow.web._forms import fields_of

from .script import sent_by_a_browser


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
        (Colour, "choice"), (Literal["a", "b"], "choice"), (Literal["a", 1], "choice"),
        (bool | None, "choice"),
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
    assert found["input.colour"].value == '"blue"'
    assert found["input.colour"].options == (('"red"', "red"), ('"blue"', "blue"))
    assert found["input.items"].value == "[]"
    assert [place for place, each in found.items() if each.empty] == ["input.note"]
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
        "input.colour": '"red"',
        "input.items": json.dumps(["<b>"], indent=2),
        "input.express": "true",
        "input.billing.street": "x",
        "input.billing.zip": "1234",
    }


def test_a_type_that_holds_itself_ends() -> None:
    assert fields(Node)["input.children"].type == "json"


class Options(BaseModel):
    name: str
    tries: int = 3


class Odd(BaseModel):
    constructor: int
    toString: str = "dflt"  # noqa: N815 - as in an object of JavaScript
    number: int | None = 5
    flag: bool | None = None
    yes: bool = True
    text: str = ""
    level: Literal[1, 2, "a  b", ""] = 1
    floats: list[float] = []
    ratio: float = 0.5
    inner: Options | None = None
    must: Options | None
    around: Options = Options(name="x")
    again: Odd | None = None
    alias: int = Field(0, alias="an-alias.x")


ODD = [
    Odd(constructor=1, must=None),
    Odd(constructor=2, must=Options(name="m"), inner=Options(name="i", tries=0), number=None,
        flag=False, yes=False, toString="", again=Odd(constructor=3, must=None)),
    Odd(constructor=2**70, must=None, text="a\r\nb \u202e\x00", level="", flag=True,
        floats=[float("inf"), 1e300], ratio=float("-inf"), **{"an-alias.x": 7}),
    Odd(constructor=0, must=None, text="\none\n  two\n", level="a  b", around=Options(name=" ")),
]  # fmt: skip


def test_a_form_sent_as_it_began_means_the_same() -> None:
    schema = codec_of(Odd).schema()
    sent = sent_by_a_browser([fields_of("input", schema, typed(each)) for each in ODD])
    assert [codec_of(Odd).decode_lax(given) for given in sent] == ODD


def typed(value: Any) -> Any:
    codec = codec_of(type(value))
    return codec.typed(codec.encode(value))


def test_a_field_says_what_is_typed_into_it() -> None:
    forms = [fields_of("input", codec_of(each).schema()) for each in (int, Odd, Literal[1, 2])]
    typed = """
      document.querySelector("#f0-input").value = " 12, 3 ";
      document.querySelector("[id='f1-input.constructor']").value = "4";
      document.querySelector("[id='f1-input.inner.name']").value = "it";
      document.querySelector("[id='f1-input.number']").value = "";
      document.querySelector("#f2-input").value = "2";
    """
    number, odd, choice = map(json.loads, sent_by_a_browser(forms, typed))
    assert number == "12, 3"  # the server says that it is no number
    assert odd["constructor"] == 4
    assert odd["number"] is None
    assert odd["inner"] == {"name": "it", "tries": 3}
    assert odd["must"] is None
    assert "again" not in odd
    assert choice == 2


class Login(BaseModel):
    user: str
    token: Annotated[str, Secret]
    pin: Annotated[int, Secret] = 1234
    others: list[Login] = []


def test_a_secret_is_typed_anew() -> None:
    begun = {"user": "ann", "token": MASK, "pin": MASK, "others": [{"user": "b", "token": MASK}]}
    found = fields(Login, begun)
    assert {place: each.value for place, each in found.items() if each.value} == {
        "input.user": "ann"
    }
    asked = {place for place, each in found.items() if each.is_secret and each.required}
    assert asked == {"input.token", "input.pin", "input.others"}


def test_a_secret_default_is_not_shown() -> None:
    assert "1234" not in json.dumps(codec_of(Login).schema())
    assert not fields(Login)["input.pin"].required


class Parcel(BaseModel):
    """Read under other names than it is written."""

    user_id: int = Field(default=0, validation_alias="userId", serialization_alias="user")
    weight: float = Field(default=1.0, validation_alias=AliasPath("weights", 0))
    tag: str = Field(default="none", validation_alias=AliasChoices("Tag", "label"))
    plain: str = Field(default="", alias="Plain")


def test_a_value_that_is_shown_under_any_alias_is_the_one_that_is_sent() -> None:
    codec = codec_of(Parcel)
    parcel = Parcel.model_validate({"userId": 7, "weights": [2.5], "label": "x", "Plain": "y"})
    data = codec.encode(parcel)
    shown = fields_of("input", codec.form(), codec.typed(data))
    values = {field.label: field.value for field in shown if field.type != "whole"}
    assert values == {"user_id": "7", "weight": "2.5", "tag": "x", "plain": "y"}
    started = fields_of("input", codec.form())
    sent, by_default = sent_by_a_browser([shown, started])
    assert codec.decode_lax(sent) == parcel
    assert codec.decode_lax(by_default) == Parcel()


def test_a_form_has_the_aliases_that_programs_use() -> None:
    assert list(codec_of(Aliased).form()["properties"]) == ["userId"]


class Aliased(BaseModel):
    user_id: int = Field(alias="userId")

    @computed_field
    def twice(self) -> int:
        return 2 * self.user_id


def test_an_unknown_type_is_typed_as_json() -> None:
    [only] = fields_of("payload", None)
    assert (only.type, only.at) == ("json", '["payload"]')
