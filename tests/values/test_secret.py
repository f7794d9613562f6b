"""Secrets as values: where they may stand, what is recorded, and what changes of code do."""

import datetime as dt
import json
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pydantic
import pytest
from pydantic import BaseModel, Field, SecretStr
from typing_extensions import TypeAliasType, TypedDict

from gorkflow import Secret, StepValueError
from gorkflow.codec import codec_of, view
from gorkflow.redaction import MASK, Redaction

TEXT = "hunter2"
T = TypeVar("T")
Hidden = Annotated[str, Secret]
Alias = TypeAliasType("Alias", Annotated[str, Secret])


class Login(BaseModel):
    user: str
    token: Annotated[str, Secret]


class Checked(BaseModel):
    token: Annotated[str, Field(min_length=3, alias="Token"), Secret, "a note"]


class Box(BaseModel, Generic[T]):
    item: T


class Node(BaseModel):
    token: Hidden
    inner: "list[Node]" = []


class Other(BaseModel):
    name: str


class WithExtra(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, Hidden]


class WithPrivate(BaseModel):
    _token: Hidden = "a default"


@dataclass
class Point:
    name: str
    token: Hidden
    keys: list[Hidden] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    token: Hidden


class Pair(NamedTuple):
    name: str
    token: Hidden


class Names(TypedDict):
    name: str
    token: Hidden


def with_private(text: str) -> WithPrivate:
    made = WithPrivate()
    made._token = text
    return made


@pytest.mark.parametrize(
    ("annotation", "value", "shown"),
    [
        (Hidden, TEXT, MASK),
        (Annotated[str, Secret()], TEXT, MASK),
        (Alias, TEXT, MASK),
        (Hidden | None, TEXT, MASK),
        (Hidden | None, None, None),
        (str | Hidden, TEXT, MASK),
        (Hidden | Any, TEXT, MASK),
        (Annotated[Any, Secret] | str, TEXT, MASK),
        (Hidden | int, 12345678, 12345678),
        (Annotated[Any, Secret], [TEXT], MASK),
        (Annotated[int, Secret], 12345678, MASK),
        (Annotated[float, Secret], 12345678.5, MASK),
        (Annotated[bool, Secret], True, MASK),
        (Annotated[bytes, Secret], b"hunter2", MASK),
        (Annotated[dt.date, Secret], dt.date(1999, 1, 2), MASK),
        (Annotated[Literal["hunter2"], Secret], TEXT, MASK),
        (Annotated[Login, Secret], Login(user="ann", token=TEXT), MASK),
        (Annotated[list[str], Secret], [TEXT, TEXT], MASK),
        (list[Hidden], [TEXT, TEXT], [MASK, MASK]),
        (Sequence[Hidden], (TEXT,), [MASK]),
        (tuple[str, Hidden], ("ann", TEXT), ["ann", MASK]),
        (tuple[Hidden, ...], (TEXT,), [MASK]),
        (set[Hidden], {TEXT}, [MASK]),
        (deque[Hidden], deque([TEXT], 3), [MASK]),
        (dict[str, Hidden], {"a": TEXT}, {"a": MASK}),
        (dict[int, Hidden], {1: TEXT}, {"1": MASK}),
        (Mapping[str, Hidden], {"$": TEXT}, {"$": MASK}),
        (defaultdict[str, Hidden], defaultdict(str, a=TEXT), {"a": MASK}),
        (Login, Login(user="ann", token=TEXT), {"user": "ann", "token": MASK}),
        (Checked, Checked(Token=TEXT), {"token": MASK}),
        (Box[Hidden], Box[Hidden](item=TEXT), {"item": MASK}),
        (Box[list[Hidden]], Box[list[Hidden]](item=[TEXT]), {"item": [MASK]}),
        (
            Node,
            Node(token=TEXT, inner=[Node(token=TEXT)]),
            {"token": MASK, "inner": [{"token": MASK, "inner": []}]},
        ),
        (Login | Other, Login(user="ann", token=TEXT), {"user": "ann", "token": MASK}),
        (Annotated[Login, Secret] | Other, Login(user="ann", token=TEXT), MASK),
        (Annotated[Login, Secret] | Other, Other(name="ann"), {"name": "ann"}),
        (Annotated[Login | Other, Secret], Other(name=TEXT), MASK),
        (list[Login] | list[Other], [Login(user="a", token=TEXT)], [{"user": "a", "token": MASK}]),
        (WithExtra, WithExtra(extra=TEXT), {"extra": MASK}),
        (WithPrivate, with_private(TEXT), {}),
        (Point, Point("p", TEXT, [TEXT]), {"name": "p", "token": MASK, "keys": [MASK]}),
        (Slotted, Slotted(TEXT), {"token": MASK}),
        (Pair, Pair("p", TEXT), {"name": "p", "token": MASK}),
        (Names, {"name": "n", "token": TEXT}, {"name": "n", "token": MASK}),
    ],
    ids=repr,
)  # fmt: skip
def test_secret_comes_back_and_is_not_shown(annotation: Any, value: Any, shown: Any):
    codec = codec_of(annotation)
    data = codec.accept(value)
    again = codec.decode(data)
    assert again == value
    assert type(again) is type(value)
    redaction = Redaction()
    redaction.learn_record(data)
    assert redaction.view(data) == shown
    assert TEXT.encode() not in redaction.shown(data) or not redaction


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(Login, Login(user="ann", token=TEXT)), (Hidden, TEXT), (dict[str, Hidden], {"a": TEXT})],
    ids=repr,
)  # fmt: skip
def test_views_of_python_have_it(annotation: Any, value: Any):
    data = codec_of(annotation).encode(value)
    assert view(data) == pydantic.TypeAdapter(annotation).dump_python(value)


KEYS: list[Any] = [
    dict[Hidden, int],
    Mapping[Hidden, int],
    Counter[Hidden],
    dict[tuple[Hidden, int], int],
    dict[Pair, int],
]


@pytest.mark.parametrize("annotation", KEYS, ids=repr)
def test_keys_are_no_secrets(annotation: Any):
    with pytest.raises(StepValueError, match="a key can't be a secret"):
        codec_of(annotation).prepare()


def test_secret_of_pydantic_is_refused_with_the_remedy():
    for annotation in (SecretStr, Annotated[SecretStr, Secret], list[SecretStr]):
        with pytest.raises(StepValueError, match=r"Annotated\[str, gorkflow\.Secret\]"):
            codec_of(annotation).prepare()


# ---- changes of code -----------------------------------------------------------------------------


def test_secret_may_be_added_and_taken_away():
    class Before(BaseModel):
        user: str
        token: str
        keys: list[str] = []

    class After(BaseModel):
        user: str
        token: Hidden
        keys: list[Hidden] = []

    before, after = codec_of(Before), codec_of(After)
    assert before.digest() == after.digest()
    old, new = Before(user="a", token=TEXT, keys=["k"]), After(user="a", token=TEXT, keys=["k"])
    assert after.decode(before.encode(old)) == new
    assert before.decode(after.encode(new)) == old
    assert before.understand(after.encode(new)) == old


@pytest.mark.parametrize("annotation", [str, Any, str | int, str | None, Literal["hunter2"]])
def test_record_of_a_secret_reads_under_what_is_none(annotation: Any):
    data = codec_of(Hidden).encode(TEXT)
    assert codec_of(annotation).decode(data) == TEXT


def test_dict_that_looks_like_the_record_of_a_secret_is_none():
    value = {"$": "secret", "$v": "x"}
    data = codec_of(Any).encode(value)
    assert codec_of(Any).decode(data) == value
    redaction = Redaction()
    redaction.learn_record(data)
    assert not redaction


# ---- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Annotated[Literal["hunter3"], Secret], TEXT),
        (Annotated[int, Secret], TEXT),
        (Annotated[dt.date, Secret], TEXT),
        (list[Annotated[Literal["hunter3"], Secret]], [TEXT]),
    ],
    ids=repr,
)  # fmt: skip
def test_refusal_does_not_show_it(annotation: Any, value: Any):
    with pytest.raises(StepValueError) as caught:
        codec_of(annotation).encode(value)
    assert TEXT not in str(caught.value)


def quoting(value: str) -> str:
    raise ValueError(f"{value} is too short")


def test_refusal_of_a_validator_does_not_show_it():
    checked = Annotated[str, pydantic.AfterValidator(quoting), Secret]
    with pytest.raises(StepValueError, match="the secret does not fit"):
        codec_of(checked).encode(TEXT)


class Key(BaseModel):
    token: Annotated[str, Field(alias="Token"), Secret] = "default-hunter2"
    names: Annotated[dict[str, int], Secret] = {}
    choice: Annotated[Literal["choice-hunter2", "other-hunter2"], Secret] = "choice-hunter2"
    is_bad: bool = False

    @pydantic.field_validator("token")
    @classmethod
    def refuse(cls, value: str) -> str:
        return quoting(value) if value.startswith("bad") else value

    @pydantic.model_validator(mode="after")
    def refuse_all(self) -> "Key":
        return self if not self.is_bad else self.model_validate(quoting(self.token))


class Keys(BaseModel):
    keys: list[Key] = []
    key: Key | Other | None = None
    by_name: dict[str, Key] = {}
    texts: list[Annotated[str, Field(pattern="^hunter2"), Secret]] = []
    pair: Pair | None = None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"keys": [{"Token": "bad-hunter2"}]}, "keys[0].Token: the secret does not fit"),
        ({"keys": [{"choice": "my-hunter2"}]}, "keys[0].choice: the secret does not fit"),
        ({"keys": [{"names": {"hunter2": "x"}}]}, "keys[0].names: "),
        ({"keys": [{"Token": 12345678}]}, "keys[0].Token: Input should be a valid string, not int"),
        ({"keys": [{"is_bad": True}]}, f"keys[0]: Value error, {MASK} is too short"),
        ({"by_name": {"Token": {"is_bad": True, "Token": "x-hunter2"}}}, f"error, {MASK} is"),
        ({"key": {"Token": "bad-hunter2"}}, "Key].Token: the secret does not fit"),
        ({"texts": ["my-hunter2"]}, "texts[0]: the secret does not fit"),
        ({"pair": ["n", 12345678]}, "Input should be a valid string"),
    ],
    ids=repr,
)  # fmt: skip
def test_refusal_within_a_model_does_not_show_it(value: Any, problem: str):
    codec = codec_of(Keys)
    for call in (codec.accept, lambda value: codec.decode_lax(json.dumps(value))):
        with pytest.raises(StepValueError) as caught:
            call(value)
        shown = "".join(traceback.format_exception(caught.value))
        assert problem in str(caught.value)
        assert not [word for word in ("hunter2", "12345678") if word in shown]
        assert "hunter2" not in str(caught.value.problems)


def test_schema_says_that_it_is_to_be_hidden():
    schema = pydantic.TypeAdapter(Login).json_schema()
    assert schema["properties"]["token"]["format"] == "password"
    assert schema["properties"]["token"]["writeOnly"] is True


def test_schema_has_no_secret_as_a_default():
    class Login(BaseModel):
        user: str = "ann"
        token: Annotated[str, Secret, Field(examples=["example-hunter2"])] = "hunter2"

    class Job(BaseModel):
        login: Login = Login(token="other-hunter2")
        logins: list[Login] = [Login()]
        key: Annotated[str, Secret] | None = "key-hunter2"
        default: int = 7

    schema = codec_of(Job).schema()
    assert "hunter2" not in json.dumps(schema)
    assert schema["properties"]["default"]["default"] == 7
    assert schema["$defs"]["Login"]["properties"]["user"]["default"] == "ann"
