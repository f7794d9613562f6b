"""A record under another annotation: it reads right, or what does not fit is named."""

import dataclasses
import datetime as dt
import enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired

import pytest
from pydantic import BaseModel, Field, PrivateAttr, RootModel, create_model
from typing_extensions import TypedDict

from gorkflow.annotations import fits
from gorkflow.codec import codec_of
from gorkflow.errors import StepValueError, ValueInvalidError
from tests.values.exact import difference, shown


class Order(BaseModel):
    id: int
    note: str | None = None


class Renamed(BaseModel):
    id: int
    note: str | None = None


class Other(BaseModel):
    id: int
    name: str = "n"


class Wider(BaseModel):
    id: int
    note: str | None = None
    tags: list[str] = Field(default_factory=list)
    count: int = Field(default_factory=lambda data: data["id"] + 1)


class Needy(Order):
    must: str


class Failing(Order):
    made: int = Field(default_factory=lambda: 1 // 0)


class Shorter(BaseModel):
    id: int


class Closed(BaseModel, extra="forbid"):
    id: int


class Allowing(BaseModel, extra="allow"):
    id: int


class Hidden(BaseModel):
    id: int
    _p: int | None = PrivateAttr(default=0)


class HiddenText(BaseModel):
    id: int
    _p: str = PrivateAttr(default="")


class Aliasing(BaseModel, extra="allow"):
    a: int = Field(alias="b")


class Plainly(BaseModel):
    a: int


@dataclasses.dataclass
class PlainlyData:
    a: int


class OnlyId(TypedDict):
    id: int


class Optional(BaseModel):
    id: int | None
    note: str | None = None


class Strict(BaseModel):
    id: int
    note: str


class Texts(BaseModel):
    id: str
    note: str | None = None


class Floats(BaseModel):
    id: float
    note: str | None = None


class Old(enum.Enum):
    A = "a"
    B = "b"


class New(enum.Enum):
    A = "a"
    C = "c"


class ByName(enum.Enum):
    A = (1,)
    B = (2,)


class ByNameMoved(enum.Enum):
    A = (9,)


@dataclasses.dataclass
class Point:
    x: float


@dataclasses.dataclass
class Point3:
    x: float
    y: int = 7
    z: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Point3N:
    x: float
    y: int | None


@dataclasses.dataclass(slots=True)
class Slots:
    x: float


class Pair(NamedTuple):
    a: int
    b: str


class Triple(NamedTuple):
    b: str
    a: int
    c: int | None = 5


class Names(TypedDict):
    first: str


class More(TypedDict):
    first: str
    last: NotRequired[str | None]


class Must(TypedDict):
    first: str
    last: str


class Nest(BaseModel):
    order: Order
    all: list[Order] = []


class NestWider(BaseModel):
    order: Wider
    all: list[Renamed] = []


V2 = type("Order", (BaseModel,), {"__annotations__": {"id": int}, "__module__": "v2"})
ORDER = Order(id=1, note="x")


def changed(value: Any, **names: Any) -> Any:
    for name, item in names.items():
        setattr(value, name, item)
    return value


UNSET_EXTRA = Allowing.model_construct(_fields_set={"id"}, id=1, extra="x")
TWICE = Aliasing.model_validate({"b": 1, "a": 5})
DAY = dt.date(2026, 1, 1)

FITS = [
    (Order, ORDER, Renamed, Renamed(id=1, note="x")),
    (Order, Order(id=1), Renamed, Renamed(id=1)),
    (Order, Order(id=1), Wider, Wider(id=1)),
    (Order, Order(id=1), Shorter, Shorter(id=1)),
    (Order, Order(id=1, note=None), Shorter, Shorter(id=1)),
    (Other, Other(id=1), Shorter, Shorter(id=1)),
    (Other, Other(id=1), Closed, Closed(id=1)),
    (Order, ORDER, Allowing, Allowing(id=1, note="x")),
    (Allowing, Allowing(id=1, note="x"), Order, ORDER),
    (Allowing, Allowing(id=1, extra=None), Order, Order(id=1)),
    (Hidden, Hidden(id=1), Shorter, Shorter(id=1)),
    (Hidden, changed(Hidden(id=1), _p=None), Shorter, Shorter(id=1)),
    (Shorter, Shorter(id=1), Hidden, Hidden(id=1)),
    (Point, changed(Point(1.0), stray=5), Point3, changed(Point3(1.0), stray=5)),
    (Point, changed(Point(1.0), stray=None), Slots, Slots(1.0)),
    (Order, ORDER, Optional, Optional(id=1, note="x")),
    (Order, ORDER, Strict, Strict(id=1, note="x")),
    (Order, ORDER, Floats, Floats(id=1.0, note="x")),
    (Order, ORDER, Order | Other, ORDER),
    (Order, ORDER, Other | Order, ORDER),
    (Order, ORDER, Order | None, ORDER),
    (Order | Other, ORDER, Order, ORDER),
    (Order | V2, ORDER, Order, ORDER),
    (Order | V2, ORDER, Order | Other, ORDER),
    (Order, ORDER, Renamed | None, Renamed(id=1, note="x")),
    (Order, ORDER, Renamed | Old | int, Renamed(id=1, note="x")),
    (list[Order], [ORDER], list[Renamed], [Renamed(id=1, note="x")]),
    (
        Nest,
        Nest(order=Order(id=1), all=[ORDER]),
        NestWider,
        NestWider(order=Wider(id=1), all=[Renamed(id=1, note="x")]),
    ),
    (int, 1, int | None, 1),
    (int, 1, str | int, 1),
    (int, 1, float, 1.0),
    (list[int], [1], list[float], [1.0]),
    (int | None, None, int | None, None),
    (int | None, 1, int, 1),
    (str, "a", Literal["a", "b"], "a"),
    (Literal["a"], "a", str, "a"),
    (Path, Path("a"), Path | str, Path("a")),
    (Path | str, "a", str, "a"),
    (dt.date, DAY, dt.date | dt.datetime, DAY),
    (Old, Old.A, New, New.A),
    (Old, Old.A, Old | New, Old.A),
    (ByName, ByName.A, ByNameMoved, ByNameMoved.A),
    (Point, Point(1.0), Point3, Point3(1.0)),
    (Point3N, Point3N(1.0, None), Point, Point(1.0)),
    (Point, Point(1.0), Slots, Slots(1.0)),
    (Pair, Pair(1, "b"), Triple, Triple("b", 1)),
    (Triple, Triple("b", 1, None), Pair, Pair(1, "b")),
    (Names, {"first": "a"}, More, {"first": "a"}),
    (More, {"first": "a", "last": None}, Names, {"first": "a"}),
    (More, {"first": "a", "last": "b"}, Must, {"first": "a", "last": "b"}),
    (dict[str, int], {"a": 1}, dict[str, float], {"a": 1.0}),
    (dict[str, str], {"first": "a"}, Names, {"first": "a"}),
    (tuple[int, int], (1, 2), tuple[int, ...], (1, 2)),
    (tuple[int, ...], (1, 2), tuple[int, int], (1, 2)),
    (set[int], {1}, set[int | str], {1}),
    (Any, {1, 2}, set[int], {1, 2}),
    (list[int], [1], Any, [1]),
    (set[int], {1}, object, {1}),
    (RootModel[int], RootModel[int](1), RootModel[int | str], RootModel[int | str](1)),
]


@pytest.mark.parametrize(("old", "value", "new", "wanted"), FITS, ids=shown)
def test_what_fits_reads_as_the_new_type(old: Any, value: Any, new: Any, wanted: Any):
    assert difference(wanted, codec_of(new).decode(codec_of(old).encode(value))) is None


MISFITS = [
    (Order, ORDER, Needy, "^must: the recorded value has no such field"),
    (Order, ORDER, Failing, "^made: the recorded value has no such field, and its default raised"),
    (Order, ORDER, Closed, "^note: the class has no such field any more"),
    (Order, ORDER, Shorter, "^note: the class has no such field any more"),
    (Other, Other(id=1, name="n"), Shorter, "^name: the class has no such field any more"),
    (Allowing, Allowing(id=1, extra="x"), Order, "^extra: the class has no such field any more"),
    (Allowing, UNSET_EXTRA, Order, "^extra: the class has no such field any more"),
    (Aliasing, TWICE, Plainly, "^a: the class has no such field any more"),
    (Aliasing, TWICE, PlainlyData, "^a: the class has no such field any more"),
    (Hidden, changed(Hidden(id=1), _p=5), Shorter, "^_p: the class has no such field any more"),
    (Hidden, changed(Hidden(id=1), _p=5), Allowing, "^_p: the class has no such field any more"),
    (Hidden, changed(Hidden(id=1), _p=5), HiddenText, "^_p: expected str, not int"),
    (Point, changed(Point(1.0), stray=5), Slots, "^stray: the class has no such field any more"),
    (Point3, Point3(1.0, 2), Point, "^y: the class has no such field any more"),
    (Triple, Triple("b", 1), Pair, "^c: the class has no such field any more"),
    (More, {"first": "a", "last": "b"}, Names, "^last: the class has no such field any more"),
    (Order, Order(id=1, note=None), Strict, "^note: expected str, not None"),
    (Order, ORDER, Texts, "^id: expected str, not int"),
    (Order, Order(id=2**60 + 1), Floats, "^id: as a float"),
    (Order, ORDER, Point, "^x: the recorded value has no such field"),
    (Order, ORDER, int, "expected int, not Order"),
    (Order, ORDER, list[Order], "expected list, not Order"),
    (Order, ORDER, dict[str, Any], "expected dict, not Order"),
    (Order, ORDER, Any, "an? Order can't be read without its type"),
    (Order, ORDER, Renamed | create_model("Copy", __base__=Renamed), "could be several of"),
    (Order, ORDER, Other | Point | int, "expected|could be|no such"),
    (Other, Other(id=1, name="x"), Needy | Closed, "could be several of"),
    (list[Order], [ORDER], list[Needy], r"^\[0\]\.must: "),
    (Nest, Nest(order=ORDER), create_model("N", order=(Texts, ...)), r"^order\.id: expected str"),
    (int, 1, str, "expected str, not int"),
    (int, 1, bool, "expected bool, not int"),
    (float, 1.5, int, "expected int, not float"),
    (float, 1.0, int, "expected int, not float"),
    (str, "a", Literal["b"], "expected one of 'b', not 'a'"),
    (str, "a", Path, "expected Path, not str"),
    (str, "a", Old, "expected Old, not str"),
    (str, "2026-01-01", dt.date, "expected date, not str"),
    (Path, Path("a"), str, "expected str, not Path"),
    (dt.datetime, dt.datetime(2026, 1, 1), dt.date, "expected date, not datetime"),
    (Old, Old.B, New, "New has no member 'b' any more"),
    (ByName, ByName.B, ByNameMoved, "has no member 'B' any more"),
    (int | None, None, int, "expected int, not None"),
    (Point, Point(1.0), Pair, "^a: the recorded value has no such field"),
    (Names, {"first": "a"}, Must, "^last: the recorded value has no such key"),
    (dict[int, int], {1: 1}, dict[str, int], r"^\[1\]: expected str, not int"),
    (list[int], [1], tuple[int, ...], "expected tuple, not list"),
    (list[int], [1], set[int], "expected set, not list"),
    (tuple[int, ...], (1, 2, 3), tuple[int, int], "expected a tuple of 2 items, not of 3"),
    (list[int | str], [1, "a"], list[int], r"^\[1\]: expected int, not str"),
    (dict[str, Any], {"a": (1,)}, dict[str, list[int]], "^a: expected list, not tuple"),
]


@pytest.mark.parametrize(("old", "value", "new", "told"), MISFITS, ids=shown)
def test_what_does_not_fit_is_named(old: Any, value: Any, new: Any, told: str):
    with pytest.raises(StepValueError, match=told):
        codec_of(new).decode(codec_of(old).encode(value))


def test_a_field_that_was_added_was_not_set():
    again = codec_of(Wider).decode(codec_of(Order).encode(Order(id=1)))
    assert again.model_fields_set == {"id"}
    assert (again.tags, again.count) == ([], 2)


def test_the_same_shape_has_the_same_digest_whatever_it_is_called():
    assert codec_of(Order).digest() == codec_of(Renamed).digest()
    assert codec_of(list[Order | int]).digest() == codec_of(list[int | Renamed]).digest()
    assert codec_of(Order).digest() != codec_of(Wider).digest()
    assert codec_of(Old).digest() != codec_of(New).digest()


class Ring(BaseModel):
    link: "Link | None" = None


class Link(BaseModel):
    ring: Ring | None = None
    size: int = 0


Ring.model_rebuild()


def test_shapes_of_classes_that_lead_to_each_other_tell_all_of_them():
    first = create_model("Link", size=(int, 0), ring=(Ring | None, None))
    assert codec_of(first).digest() != codec_of(Link).digest()  # its ring leads to the other link
    assert codec_of(tuple[Ring, Link]).digest() != codec_of(tuple[Ring, Shorter]).digest()
    before = codec_of(tuple[Link, Ring]).digest()
    longer = create_model("Link", ring=(Ring | None, None), size=(str, ""))
    assert codec_of(tuple[longer, Ring]).digest() != before


def test_the_shape_of_classes_that_share_parts_takes_no_longer_for_each_use():
    shared = create_model("Leaf", x=(int, 1))
    for _ in range(60):
        shared = create_model("Level", a=(shared, ...), b=(shared, ...), c=(list[shared], ...))
    assert len(codec_of(shared).digest()) == 16


UNLIKE = [Shorter, Allowing, Hidden, HiddenText, Point, Slots]


def test_the_shape_tells_what_a_class_holds_besides_its_fields():
    digests = [codec_of(cls).digest() for cls in UNLIKE]
    assert len(set(digests)) == len(UNLIKE)


LOST = [
    (Allowing, Allowing(id=1, z=5), Shorter, "^z: the class has no such field"),
    (
        list[Allowing],
        [Allowing(id=1, z=5)],
        list[Shorter],
        r"^\[0\]\.z: the class has no such field",
    ),
    (tuple[Allowing, ...], (Allowing(id=1, z=5),), list[Shorter], r"^\[0\]\.z: it would be lost"),
    (Hidden, changed(Hidden(id=1), _p=5), Shorter, "^_p: the class has no such field"),
    (Hidden, changed(Hidden(id=1), _p=5), HiddenText, "^_p: expected str"),
    (Aliasing, TWICE, Plainly, "^a: the class has no such field"),
    (Order, ORDER, OnlyId, "^note: it would be lost"),
    (dict[str, Order], {"x": ORDER}, dict[str, Shorter], r"^x\.note: the class has no such field"),
    (dict, {"id": 1, "note": "x"}, OnlyId, "^note: the class has no such field"),
]


@pytest.mark.parametrize(("old", "value", "new", "told"), LOST, ids=shown)
def test_no_part_of_a_payload_is_lost_under_another_type(old: Any, value: Any, new: Any, told: str):
    data = codec_of(old).encode(value)
    with pytest.raises(StepValueError, match=told):
        codec_of(new).understand(data)


UNDERSTOOD = [
    (Order, Order(id=1), OnlyId, {"id": 1}),
    (Order, Order(id=1), dict[str, int | None], {"id": 1, "note": None}),
    (tuple[Order, ...], (ORDER,), list[Renamed], [Renamed(id=1, note="x")]),
    (dict, {"id": 1, "z": 5}, Shorter, Shorter(id=1)),
    (dict, {"id": "x"}, Texts, Texts(id="x")),
]


@pytest.mark.parametrize(("old", "value", "new", "wanted"), UNDERSTOOD, ids=shown)
def test_a_payload_of_which_nothing_is_lost_is_understood(
    old: Any, value: Any, new: Any, wanted: Any
):
    assert difference(wanted, codec_of(new).understand(codec_of(old).encode(value))) is None


@pytest.mark.parametrize("made", [{"id": 1, "more": 2}, [{"id": 1, "more": 2}]], ids=shown)
def test_a_key_that_a_typed_dict_does_not_declare_is_refused_not_dropped(made: Any):
    codec = codec_of(OnlyId if isinstance(made, dict) else list[OnlyId])
    for judge in (codec.encode, codec.convert, codec.accept):
        with pytest.raises(ValueInvalidError, match="OnlyId declares no key 'more'; declare it"):
            judge(made)


def test_a_typed_dict_with_more_keys_does_not_fit_where_they_would_be_lost():
    assert fits(Must, Must)
    assert fits(Names, More)
    assert fits(More, Names)  # the key need not be there; the value tells
    assert not fits(Must, Names)
    assert not fits(list[Must], list[Names])
