"""A recorded class of a union reads as itself, or is refused: never as another of the union."""

import dataclasses
import enum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel, create_model
from typing_extensions import TypeAliasType

from gorkflow.codec import codec_of
from gorkflow.errors import StepValueError
from gorkflow.values.kind import Kind, TooAmbiguous, Writing
from tests.values import classes as c
from tests.values.exact import difference, shown


class Cat(BaseModel):
    n: str


class Dog(BaseModel):
    n: str


class Kitty(BaseModel):
    n: str
    age: int = 0


@dataclasses.dataclass
class Bird:
    n: str


class Fish(NamedTuple):
    n: str


class Color(enum.Enum):
    RED = "r"


class Size(enum.Enum):
    R = "r"


class Weight(enum.Enum):
    RED = "r"


class Owner(BaseModel):
    pet: Cat | Dog
    friend: Dog | None = None


class Keeper(BaseModel):
    pet: Cat | Dog
    friend: Cat | None = None


TOM = Cat(n="tom")
V2 = create_model("Cat", n=(str, ...), __module__="v2")

READS = [
    (Cat | Dog | None, TOM, Dog | Cat, TOM),
    (Cat | Dog | None, TOM, Cat, TOM),
    (Cat | Dog, TOM, Cat | Bird | Kitty, TOM),
    (Cat | None, TOM, Dog | None, Dog(n="tom")),  # a lone class may get another name
    (Cat, TOM, Dog | Color | None, Dog(n="tom")),
    (Cat | Color, TOM, Dog | Size, Dog(n="tom")),
    (Cat | Color, Color.RED, Dog | Size, Size.R),
    (Color | None, Color.RED, Size | None, Size.R),
    (Cat | V2, TOM, Cat, TOM),
    (Cat | V2, TOM, Cat | Dog, TOM),
    (list[Cat] | list[Dog], [TOM], list[Dog] | list[Cat], [TOM]),
    (Owner, Owner(pet=TOM, friend=Dog(n="x")), Keeper, Keeper(pet=TOM, friend=Cat(n="x"))),
]


@pytest.mark.parametrize(("old", "value", "new", "wanted"), READS, ids=shown)
def test_a_member_of_a_union_reads_as_itself(old: Any, value: Any, new: Any, wanted: Any):
    assert difference(wanted, codec_of(new).decode(codec_of(old).encode(value))) is None


GONE = [
    (Cat | Dog | None, TOM, Dog | None),
    (Cat | Dog, TOM, Dog),
    (Cat | Dog, TOM, Dog | Kitty),
    (Cat | Dog, TOM, Kitty | Dog),
    (Cat, TOM, Dog | Kitty),
    (Cat, TOM, Dog | Bird),
    (Cat | Bird, Bird("tom"), Cat | None),
    (Cat | Fish, Fish("tom"), Cat | Bird),
    (Color | Size, Color.RED, Size),
    (Color | Size | None, Color.RED, Size | None),
    (Color, Color.RED, Size | Weight),
    (Literal[Color.RED] | Size, Color.RED, Size),
    (Literal[Color.RED, Size.R], Color.RED, Weight),
    (list[Cat | Dog], [TOM], list[Dog]),
    (list[Cat] | list[Dog], [TOM], list[Dog]),
    (list[Cat] | list[Dog], [TOM], list[Dog] | list[Kitty]),
    (list[Cat] | Dog, [TOM], list[Dog] | Dog),
    (dict[str, Cat] | Dog, {"a": TOM}, dict[str, Dog] | Kitty),
    (dict[int, Cat] | Dog, {1: TOM}, dict[int, Dog]),
    (tuple[Cat, int] | Dog, (TOM, 1), tuple[Dog, int]),
    (set[Color] | Size, {Color.RED}, set[Size]),
    (Cat, TOM, Cat | V2),
]


@pytest.mark.parametrize(("old", "value", "new"), GONE, ids=shown)
def test_a_member_that_has_gone_never_reads_as_another(old: Any, value: Any, new: Any):
    with pytest.raises(StepValueError, match=r"one of several in a union|could be several of"):
        codec_of(new).decode(codec_of(old).encode(value))


@pytest.mark.parametrize(("old", "value", "new"), GONE, ids=shown)
def test_a_union_that_lost_a_member_has_another_digest(old: Any, value: Any, new: Any):
    assert codec_of(old).digest() != codec_of(new).digest()


def test_the_record_of_a_lone_class_says_no_more_than_its_name():
    assert codec_of(Cat).encode(TOM) == codec_of(Cat | Color | None).encode(TOM)
    assert codec_of(Cat).encode(TOM) != codec_of(Cat | Dog).encode(TOM)


@pytest.mark.parametrize("value", [Path("r"), b"r", {"r"}], ids=shown)
def test_what_is_not_an_enum_never_reads_as_one(value: Any):
    with pytest.raises(StepValueError, match="expected Color, not "):
        codec_of(Color).decode(codec_of(Any).encode(value))


JW = TypeAliasType("JW", "list[JW] | list[int] | list[str] | list[float | JW] | int")


def test_a_small_value_that_fits_nothing_is_refused_after_some_tries():
    value: Any = ["x", object()]
    for _ in range(30):
        value = [value]
    writing = Writing(2**27)
    tries = 0

    def counted(kind: Kind, value: Any) -> Any:
        nonlocal tries
        tries += 1
        return attempt(writing, kind, value)

    attempt = Writing.attempt
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TooAmbiguous):
        patch.setattr(Writing, "attempt", lambda _, kind, value: counted(kind, value))
        codec_of(JW).kind.dump(value, writing)
    assert tries < 500_000


def test_a_long_list_of_items_that_fit_a_later_member_passes():
    annotation = list[list[int] | list[float] | list[bytes] | list[str]]
    value = [["a"] for _ in range(60_000)]
    assert codec_of(annotation).decode(codec_of(annotation).encode(value)) == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (tuple[c.Color, ...] | tuple[None, int], (None, 0)),
        (tuple[c.Color, ...] | tuple[bool, int], (True, 0)),
        (c.Names | None | dict[bytes, None], {b"": None}),
        (c.Names | None | dict[tuple[int], None], {(1,): None}),
    ],
    ids=str,
)
def test_a_record_of_another_member_is_not_a_damaged_one(annotation: Any, value: Any):
    codec = codec_of(annotation)
    assert codec.decode(codec.encode(value)) == value
