"""What crosses a step boundary unchanged, and how what can't is named."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import enum
import json
import math
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, computed_field, field_serializer, field_validator
from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from gorkflow.codec import Codec, codec_of, view
from gorkflow.errors import EncodingError, StepValueError
from tests.values.exact import difference


class Order(BaseModel):
    id: int
    note: str | None = None


@dataclasses.dataclass
class Point:
    x: float
    y: float | None = None


class Names(TypedDict):
    first: str


class Pair(NamedTuple):
    left: int
    right: str


class Color(enum.Enum):
    RED = "red"


ROUND_TRIPS = [
    (int, 7),
    (int, 10**4000),
    (float, 3.5),
    (bool, True),
    (str, "ä\u2028"),
    (bytes, b"\xff\x00"),
    (None, None),
    (Any, {"a": [1, None]}),
    (Order, Order(id=1)),
    (Point, Point(1.0)),
    (Names, {"first": "Ada"}),
    (Pair, Pair(1, "b")),
    (Color, Color.RED),
    (dt.datetime, dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
    (dt.timedelta, dt.timedelta(seconds=1.5)),
    (Decimal, Decimal("1.20")),
    (uuid.UUID, uuid.UUID(int=5)),
    (Path, Path("a/b")),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2)),
    (list[Order], [Order(id=1)]),
    (dict[int, str], {1: "a"}),
    (set[int], {1, 2}),
    (Order | Point, Point(1.0, 2.0)),
    (Literal["a", "b"], "b"),
    (Annotated[int, Field(gt=0)], 1),
]


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS, ids=lambda item: repr(item)[:40])
def test_value_comes_back_as_it_went(annotation: Any, value: Any):
    codec = codec_of(annotation)
    data = codec.encode(value)
    json.loads(data)
    again = codec.decode(data)
    assert again == value
    assert type(again) is type(value)
    assert codec.encode(again) == data


NAN = float("nan")


class Lenient(BaseModel):
    score: float | None = None


class Constants(BaseModel, ser_json_inf_nan="strings"):
    score: float = 0.0


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class Opaque:
    pass


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (str, "\ud800", "lone surrogate"),
        (dict[str, int], {"\ud800": 1}, "the key .*lone surrogate"),
        (Any, Opaque(), "a value of type Opaque can't be read back without an annotation"),
        (Any, {"a": [1, {"b": Opaque()}]}, r"^a\[1\]\.b: a value of type Opaque"),
        (Any, CYCLE, "contains itself"),
        (Any, deep(1000), "nested too deep"),
    ],
    ids=range(6),
)
def test_what_json_can_not_say_is_an_encoding_error(annotation: Any, value: Any, message: str):
    with pytest.raises(EncodingError, match=message):
        codec_of(annotation).encode(value)


@pytest.mark.parametrize(
    ("annotation", "value", "shown"),
    [
        (float, NAN, "nan"),
        (float | None, float("-inf"), "-inf"),
        (Any, {"a": [1, {"b": NAN}]}, {"a": [1, {"b": "nan"}]}),
        (Lenient, Lenient(score=NAN), {"score": "nan"}),
        (Constants, Constants(score=NAN), {"score": "nan"}),
        (Point, Point(1.0, NAN), {"x": 1.0, "y": "nan"}),
        (Any, [10**5000], [hex(10**5000)]),
        (str, "NaN", "NaN"),
    ],
    ids=range(8),
)
def test_numbers_that_json_has_no_word_for_are_kept_and_shown_as_text(
    annotation: Any, value: Any, shown: Any
):
    codec = codec_of(annotation)
    data = codec.encode(value)
    json.loads(data, parse_constant=pytest.fail)
    assert difference(value, codec.decode(data)) is None
    assert view(data) == shown


def test_a_secret_is_refused_before_there_is_a_value():
    with pytest.raises(StepValueError, match="would be masked"):
        codec_of(SecretStr).prepare()


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "x", "expected int, not str"),
        (Order, {"id": 1}, "expected Order, not a value of type dict"),
        (Order, Order.model_construct(id="x"), "id: expected int"),
        (Annotated[int, Field(gt=3)], 1, "greater than 3"),
        (tuple[int, str], (1,), "(?i)length|at least|required|expected"),
        (None, 3, "None"),
    ],
)
def test_what_does_not_match_its_annotation_is_a_validation_error(
    annotation: Any, value: Any, message: str
):
    with pytest.raises(StepValueError, match=message) as caught:
        codec_of(annotation).encode(value)
    assert "http" not in str(caught.value)


def test_serializers_are_for_others_a_record_keeps_what_there_is():
    class Tamed(BaseModel):
        score: float | None

        @field_serializer("score")
        def tame(self, score: float | None) -> float | None:
            return None if math.isnan(score or 0) else score

    codec = codec_of(Tamed)
    assert math.isnan(codec.decode(codec.encode(Tamed(score=NAN))).score)


@dataclasses.dataclass
class Cat:
    name: str


@dataclasses.dataclass(slots=True)
class Dog:
    name: str


class Kennel(BaseModel):
    animals: list[Cat | Dog] = []
    best: dict[str, "Cat | Dog | None"] = {}


@dataclasses.dataclass(slots=True)
class House:
    kennel: Kennel


class Told(BaseModel):
    kind: Literal["told"] = "told"


class Asked(BaseModel):
    kind: Literal["asked"] = "asked"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[Cat | Dog], [Cat("a"), Dog("a")]),
        (dict[str, Cat | Dog], {"x": Dog("b")}),
        (tuple[int, Cat | Dog | None], (1, Dog("b"))),
        (list[Told | Asked], [Asked(), Told()]),
        (list[Told | Asked | None], [Asked(), None]),
        (list[int | str], [1, "1"]),
        (dict[str, float | str | None], {"a": 1.0, "b": "c", "d": None}),
        (list[Annotated[Told | Asked, Field(discriminator="kind")]], [Asked(), Told()]),
        (Sequence[Told | Asked], (Told(), Asked())),
        (Kennel, Kennel(animals=[Cat("a"), Dog("a")], best={"x": Dog("b"), "y": None})),
    ],
)
def test_members_that_differ_come_back_as_they_were(annotation, value):
    codec = codec_of(annotation)
    assert codec.decode(codec.encode(value)) == value


class Renamed(BaseModel):
    user_id: int = Field(default=0, alias="userId")


class WrittenElsewhere(BaseModel):
    user_id: int = Field(default=0, serialization_alias="userId")


class Computed(BaseModel):
    side: int

    @computed_field
    @property
    def area(self) -> int:
        return self.side**2


@pytest.mark.parametrize(
    "value", [Renamed(userId=5), WrittenElsewhere(user_id=5), Computed(side=2)]
)
def test_aliases_and_computed_fields_survive(value: BaseModel):
    codec = codec_of(type(value))
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("annotation", "data"),
    [
        (int, b'"7"'),
        (int, b"1" * 5000),
        (Order, b'{"id": "1"}'),
        (Any, b"[" * 200_000 + b"]" * 200_000),
        (Order, b"[" * 200_000),
        (Any, b"{"),
        (Any, b"\xff"),
        (Any, b""),
    ],
    ids=["lax", "digits", "field", "brackets", "open", "cut", "bytes", "empty"],
)
def test_bad_json_is_a_validation_error(annotation: Any, data: bytes):
    with pytest.raises(StepValueError) as caught:
        codec_of(annotation).decode(data)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("error", [TypeError("odd"), RuntimeError(), RecursionError()])
def test_an_exception_in_a_validator_is_a_validation_error(error: Exception):
    class Strange(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def fail(cls, x: int) -> int:
            raise error

    for use in (codec_of(Strange).understand, codec_of(Strange).decode_lax):
        with pytest.raises(StepValueError):
            use(b'{"x": 1}')
    with pytest.raises(StepValueError):
        codec_of(Strange).validate({"x": 1})


def test_an_exception_without_a_text_is_survived():
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Strange(BaseModel):
        x: Any

        @field_validator("x")
        @classmethod
        def fail(cls, x: Any) -> Any:
            raise MuteError

    with pytest.raises(StepValueError, match="MuteError"):
        codec_of(Strange).accept({"x": 1})


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_a_wish_to_stop_is_no_validation_error(stop: type[BaseException]):
    class Stopping(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def fail(cls, x: int) -> int:
            raise stop

    with pytest.raises(stop):
        codec_of(Stopping).accept({"x": 1})


def test_input_of_a_run_may_be_an_instance_or_a_dict():
    codec = codec_of(Order)
    order = Order(id=1)
    assert codec.validate(order) is order
    assert codec.validate({"id": 1}) == order
    assert codec_of(list[Order]).validate([{"id": 1}, order]) == [order, order]
    with pytest.raises(StepValueError, match=r"^id: "):
        codec.validate({"id": "1"})
    with pytest.raises(StepValueError):
        codec.validate(deep(200_000))
    with pytest.raises(StepValueError):
        codec.validate({"id": Opaque()})


def test_input_typed_by_a_person_is_read_laxly():
    assert codec_of(Order).decode_lax('{"id": "7"}') == Order(id=7)
    with pytest.raises(StepValueError, match=r"^id: "):
        codec_of(Order).decode_lax('{"id": "x"}')


def test_a_message_lists_a_few_problems_with_their_places():
    with pytest.raises(StepValueError, match=r"^\[0\]\.id: .*; \[1\]\.id: .* and 3 more$"):
        codec_of(list[Order]).validate([{"id": "x"}] * 8)


def test_the_digest_follows_the_shape_not_the_prose():
    class First(BaseModel):
        """Some text."""

        x: int = Field(description="old")

    class Second(BaseModel):
        """Another text."""

        x: int = Field(description="new")

    class Third(BaseModel):
        x: str

    class Fourth(BaseModel):
        title: int

    first, second, third = (codec_of(model).digest() for model in (First, Second, Third))
    assert first == second
    assert first != third
    assert codec_of(Fourth).digest() not in {first, third}
    assert codec_of(int).digest() == "3f2b87a9fe7cc9b1"  # of any pydantic


def test_an_annotation_without_a_schema_is_refused_or_named():
    with pytest.raises(StepValueError):
        codec_of(threading.Lock).prepare()
    for use in (lambda: codec_of(Opaque).encode(Opaque()), codec_of(Opaque).digest):
        with pytest.raises(StepValueError, match="no value of Opaque can be read back"):
            use()


def test_a_model_may_be_finished_after_its_codec_was_asked_for():
    class Later(BaseModel):
        child: "Missing | None" = None  # type: ignore[name-defined]  # noqa: F821

    codec = codec_of(Later)
    assert codec.prepare() is False
    Later.model_rebuild(_types_namespace={"Missing": Order})
    assert codec.decode(codec.encode(Later(child=Order(id=1)))) == Later(child=Order(id=1))


def test_the_codec_of_an_annotation_is_made_once():
    assert codec_of(Order) is codec_of(Order)
    assert codec_of(list[Order]) is codec_of(list[Order])
    unhashable = Annotated[int, Field(gt=0), []]
    assert codec_of(unhashable) is codec_of(unhashable)
    assert codec_of(int | str) is not codec_of(str | int)
    assert isinstance(codec_of(Order), Codec)
    assert "Order" in repr(codec_of(Order))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@settings(deadline=None, max_examples=200)
@given(JSON)
def test_any_plain_data_is_written_exactly_or_refused(value: Any):
    codec = codec_of(Any)
    try:
        data = codec.encode(value)
    except EncodingError:
        return
    assert difference(value, codec.decode(data)) is None
    json.loads(data, parse_constant=pytest.fail)


class Yes(dict[Any, Any]):
    """Is equal to all there is."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (dict[int, str], {1.0: "a"}),
        (dict[bool, int], {1: 1}),
        (dict[str, dict[int, bool]], {"a": {Decimal(1): True}}),
        (dict[str, int], Yes({1: 1})),
    ],
)
def test_what_is_equal_need_not_match(annotation: Any, value: Any):
    codec = codec_of(annotation)
    for _ in range(2):  # the first time it gets ready
        with pytest.raises(StepValueError):
            codec.encode(value)


@settings(deadline=None, max_examples=200)
@given(st.binary())
def test_no_bytes_can_do_worse_than_not_validate(data: bytes):
    for annotation in (Any, Order, list[float], Point | Order):
        with contextlib.suppress(StepValueError):
            codec_of(annotation).decode(data)


def test_importing_the_language_loads_neither_pydantic_nor_beartype():
    code = (
        "import sys, gorkflow.workflow, gorkflow.step\n"
        "assert not {'pydantic', 'beartype', 'pydantic_core'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("annotation", "value", "told"),
    [
        (int, "7", "expected int, not str"),
        (str, None, "expected str, not None"),
        (dict[str, list[int]], {"a": [1, "2"]}, "a[1]: expected int, not str"),
    ],
)
def test_what_is_of_another_type_is_told_with_its_type(annotation: Any, value: object, told: str):
    with pytest.raises(StepValueError) as caught:
        codec_of(annotation).encode(value)
    assert told in str(caught.value)
