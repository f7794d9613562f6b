"""What comes back as it went: one row for each sort of value."""

import datetime as dt
import enum
import ipaddress
import re
import sys
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import (
    Collection,
    Container,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Reversible,
    Sequence,
)
from collections.abc import (
    Set as AbstractSet,
)
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Final, List, Literal, Optional, TypeVar, Union  # noqa: UP035

import pytest
from pydantic import (
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ByteSize,
    Field,
    FilePath,
    FutureDatetime,
    HttpUrl,
    Json,
    JsonValue,
    PositiveInt,
    StrictInt,
)
from pydantic_core import TzInfo

from gorkflow.codec import codec_of, view
from tests.values import classes as c
from tests.values.exact import difference, shown

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
APIA = zoneinfo.ZoneInfo("Pacific/Apia")
NAN = float("nan")
INF = float("inf")
HOUR = dt.timedelta(hours=1)
EAST = dt.timezone(dt.timedelta(hours=2, seconds=7), "East & co[1]")


class Elsewhere:
    class Order(BaseModel):
        id: int


class Shade(enum.Enum):
    RED = "red"


OrderV2 = type("Order", (BaseModel,), {"__annotations__": {"id": int}, "__module__": "v2"})


def with_private(**names: Any) -> c.Private:
    made = c.Private()
    for name, value in names.items():
        setattr(made, name, value)
    return made


def changed(value: Any, **names: Any) -> Any:
    for name, item in names.items():
        setattr(value, name, item)
    return value


def seen(value: Any, *names: str) -> Any:
    for name in names:
        getattr(value, name)
    return value


def at(year: int, *more: int, zone: Any = None, fold: int = 0) -> dt.datetime:
    return dt.datetime(year, *more, tzinfo=zone, fold=fold)


PLAIN = [
    (None, None),
    (bool, True),
    (int, 0),
    (int, -(2**63) - 1),
    (int, 10**5000),
    (int, -(10**5000)),
    (list[int], [10**5000, 1]),
    (Any, [10**5000, {"a": -(10**4400)}]),
    (c.Order, c.Order(id=10**5000)),
    (float, -0.0),
    (float, NAN),
    (float, INF),
    (float, -INF),
    (float, 5e-324),
    (float, sys.float_info.max),
    (float, 0.1 + 0.2),
    (float, 1e22),
    (list[float], [NAN, -0.0, INF, 1.0]),
    (Any, [NAN, -0.0, {"x": -INF}]),
    (dict[str, float | None], {"a": NAN, "b": None}),
    (str, ""),
    (str, "NaN, Infinity \x00 \u2028 \U0001f600"),
    (str, '\n"\\$'),
    (bytes, b""),
    (bytes, bytes(range(256))),
    (bytearray, bytearray(b"\xff")),
    (complex, complex(-0.0, NAN)),
    (complex, 1e300 + 5e-324j),
    (Decimal, Decimal("0.1234567890123456789012345678901234567890")),
    (Decimal, Decimal("-0")),
    (Decimal, Decimal("1E+5000")),
    (Decimal, Decimal("sNaN")),
    (Decimal, Decimal("-NaN123")),
    (Decimal, Decimal("-Infinity")),
    (Decimal, Decimal("1.000")),
    (Fraction, Fraction(-7, 3)),
    (uuid.UUID, uuid.UUID(int=5)),
    (re.Pattern, re.compile("a+", re.IGNORECASE | re.VERBOSE)),
    (re.Pattern[str], re.compile("(?i)ä", re.ASCII)),
    (re.Pattern[bytes], re.compile(rb"\xff", re.DOTALL)),
    (Path, Path("a/../b")),
    (Path, Path()),
    (PurePath, PureWindowsPath("C:\\x")),
    (PurePath, PurePosixPath("/x")),
    (PurePath, Path("x")),
    (ipaddress.IPv4Address, ipaddress.IPv4Address("1.2.3.4")),
    (ipaddress.IPv6Address, ipaddress.IPv6Address("fe80::1%eth0")),
    (ipaddress.IPv4Network, ipaddress.IPv4Network("10.0.0.0/8")),
    (ipaddress.IPv6Interface, ipaddress.IPv6Interface("::1/64")),
]

TIMES = [
    (dt.date, dt.date.min),
    (dt.date, dt.date.max),
    (dt.timedelta, dt.timedelta.min),
    (dt.timedelta, dt.timedelta.max),
    (dt.timedelta, -dt.timedelta(microseconds=1)),
    (dt.time, dt.time(23, 59, 59, 999999, fold=1)),
    (dt.time, dt.time(9, tzinfo=BERLIN)),
    (dt.time, dt.time(9, tzinfo=EAST)),
    (dt.time, dt.time(9, tzinfo=dt.UTC)),
    (dt.datetime, dt.datetime.min),
    (dt.datetime, dt.datetime.max),
    (dt.datetime, at(2026, 1, 1, zone=dt.UTC)),
    (dt.datetime, dt.datetime.min.replace(tzinfo=dt.UTC)),
    (dt.datetime, dt.datetime.max.replace(tzinfo=BERLIN)),
    (dt.datetime, dt.datetime.min.replace(tzinfo=BERLIN)),
    (dt.datetime, at(1890, 1, 1, zone=BERLIN)),  # 53 minutes, 28 seconds
    (dt.datetime, at(1890, 1, 1, zone=dt.timezone(dt.timedelta(seconds=3208, microseconds=5)))),
    (dt.datetime, at(2024, 3, 31, 2, 30, zone=BERLIN)),  # never was
    (dt.datetime, at(2024, 3, 31, 2, 30, zone=BERLIN, fold=1)),
    (dt.datetime, at(2024, 10, 27, 2, 30, zone=BERLIN)),  # was twice
    (dt.datetime, at(2024, 10, 27, 2, 30, zone=BERLIN, fold=1)),
    (dt.datetime, at(2011, 12, 30, zone=APIA)),  # a day that was left out
    (dt.datetime, at(2026, 1, 1, zone=zoneinfo.ZoneInfo("UTC"))),
    (dt.datetime, at(2026, 1, 1, zone=zoneinfo.ZoneInfo.no_cache("Europe/Berlin"))),
    (dt.datetime, at(2026, 1, 1, zone=EAST)),
    (dt.datetime, at(2026, 1, 1, zone=dt.timezone(HOUR))),
    (dt.datetime, at(2026, 1, 1, zone=dt.timezone(dt.timedelta(0), "UTC"))),
    (dt.datetime, at(2026, 1, 1, zone=TzInfo(3600))),
    (dt.datetime, at(2026, 1, 1, zone=TzInfo(0))),
    (zoneinfo.ZoneInfo, BERLIN),
    (AwareDatetime, at(2026, 1, 1, zone=BERLIN)),
    (FutureDatetime, at(9999, 1, 1)),
    (Any, at(2026, 1, 1, zone=BERLIN)),
    (list[dt.datetime | dt.date | dt.time], [dt.date(2026, 1, 1), at(2026, 1, 1), dt.time(1)]),
]

CONTAINERS = [
    (list, [1, (2,), {3}, b"4", {5: 6}]),
    (dict, {1: (2,), "1": {3}, None: b"4"}),
    (tuple, (1, (2, [3]))),
    (set, {1, "1", (1,), frozenset({2})}),
    (frozenset, frozenset()),
    (Any, {"a": [1, None, True, 1.0]}),
    (object, (1, {2})),
    (List, [1]),  # noqa: UP006
    (list[int], []),
    (tuple[()], ()),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2)),
    (tuple[int, *tuple[str, ...]], (1,)),
    (tuple[int, *tuple[str, ...]], (1, "a", "b")),
    (tuple[int, *tuple[str, ...], float], (1, "a", "b", 2.0)),
    (tuple[int, *tuple[str, int]], (1, "a", 2)),
    (tuple[list[int], ...], ([1], [])),
    (set[int], {1, -1}),
    (frozenset[tuple[int, str]], frozenset({(1, "a")})),
    (deque[int], deque([1, 2], 5)),
    (deque, deque([1, (2,)], 0)),
    (defaultdict[str, list[int]], defaultdict(list, {"a": [1]})),
    (defaultdict[str, int], defaultdict(None, {"a": 1})),
    (OrderedDict[str, int], OrderedDict(b=1, a=2)),
    (Counter[str], Counter("abca")),
    (Counter, Counter({1: 2, "a": -1})),
    (dict[int, str], {1: "a", -1: "b"}),
    (dict[int | str, str], {1: "a", "1": "b"}),
    (dict[str | None, int], {None: 1, "None": 2}),
    (dict[dt.date, int], {dt.date(2026, 1, 1): 1}),
    (dict[c.Color, int], {c.Color.RED: 1}),
    (dict[uuid.UUID, int], {uuid.UUID(int=1): 1}),
    (dict[tuple[int, str], int], {(1, "a"): 1}),
    (dict[Any, int], {True: 1, 2: 2, 2.5: 3, None: 4, (1,): 5, b"x": 6}),
    (dict[float, int], {NAN: 1, -0.0: 2, INF: 3}),
    (dict[bool, int], {True: 1, False: 2}),
    (dict[Decimal | Path, int], {Decimal("1.0"): 1, Path("a"): 2}),
    (dict[frozenset[int], int], {frozenset({1}): 2}),
    (dict[str, int], {"$": 1, "$v": 2, "$unset": 3}),
    (dict[str, Any], {"$": "Path", "$v": "x"}),
    (Any, {"$": "Path", "$v": {"$": 1}}),
    (Any, {"$extra": {"a": 1}, "": 0}),
    (dict[str, int], dict.fromkeys("zyx", 0)),
    (Sequence[int], (1, 2)),
    (Sequence[int], [1, 2]),
    (Sequence[int], deque([1])),
    (Sequence, (1, "a")),
    (MutableSequence[int], [1]),
    (Reversible[int], (1,)),
    (Iterable[int], {1, 2}),
    (Iterable[int], [1]),
    (Collection[str], frozenset({"a"})),
    (Container[int], (1,)),
    (AbstractSet[int], frozenset({1})),
    (MutableSet[int], {1}),
    (Mapping[str, int], {"a": 1}),
    (Mapping[int, int], OrderedDict({1: 2})),
    (MutableMapping[str, int], defaultdict(int, a=1)),
    (Mapping, {1: 2}),
    (JsonValue, {"a": [1, None, {"b": 1.5}]}),
    (c.Stretchy, [1, {"a": [None, 2]}]),
    (c.Pairs[int], [(1, 2)]),
    (c.Pairs[dt.date], [(dt.date(2026, 1, 1), dt.date(2026, 1, 2))]),
    (type(None) | list[None], [None, None]),
]

ENUMS = [
    (c.Color, c.Color.RED),
    (c.Color, c.Color.CRIMSON),
    (c.Level, c.Level.HIGH),
    (c.Mode, c.Mode.ON),
    (c.Rate, c.Rate.LOW),
    (c.Rate, c.Rate.PAIR),
    (list[c.Rate], list(c.Rate)),
    (list[c.Mixed], list(c.Mixed)),
    (c.Access, c.Access.READ | c.Access.WRITE),
    (c.Access, c.Access(0)),
    (c.Access, ~c.Access.READ),
    (c.Bits, c.Bits.A | c.Bits.B),
    (c.Bits, c.Bits(9)),
    (c.Planet, c.Planet.EARTH),
    (c.Guessing, c.Guessing.A),
    (Literal["a", 1, True, None, b"x"], True),
    (Literal["a", 1, True, None, b"x"], 1),
    (Literal["a", 1, True, None, b"x"], b"x"),
    (Literal["a", 1, True, None, b"x"], None),
    (Literal[c.Color.RED, c.Level.LOW, 1], c.Level.LOW),
    (Literal[c.Color.RED, c.Level.LOW, 1], 1),
    (Literal["a"] | Path, Path("a")),
    (int | c.Level, c.Level.LOW),
    (int | c.Level, 1),
    (str | c.Mode, "on"),
    (c.Color | c.Mode | None, c.Mode.ON),
    (enum.Enum("Path", {"A": "a"}) | Path, Path("a")),
]

UNIONS = [
    (bool | int, 1),
    (bool | int, True),
    (int | bool, True),
    (int | float, 1),
    (float | int, 1),
    (float | int, 1.0),
    (list[float | int], [1, 1.0, 2]),
    (float | str, "1"),
    (float | Decimal, Decimal(1)),
    (Path | str, "s3://bucket/x"),
    (Union[Any, list[float]], [None]),
    (Union[list[float], Any], [(1,)]),
    (Union[list[int], object], ["a", {1}]),
    (Union[c.Order, Any], {"a": 1}),
    (Union[c.Order, Any], c.Order(id=1)),
    (list[int] | AnyUrl, [1]),
    (str | Path, Path("a")),
    (set[Path | str], {Path("a"), "a"}),
    (
        list[str | bytes | Path | uuid.UUID | Decimal | dt.datetime],
        ["a", b"a", Path("a"), uuid.UUID(int=1), Decimal(1), at(2026, 1, 1)],
    ),
    (dt.date | dt.datetime, at(2026, 1, 1)),
    (dt.datetime | dt.date, dt.date(2026, 1, 1)),
    (list[int] | list[float], [1.0, 2.0]),
    (list[float] | list[int], [1, 2]),
    (list[float] | list[int], [1.0, 2.0]),
    (tuple[float, int] | tuple[int, int], (1, 2)),
    (tuple[float, int] | tuple[int, float], (1, 2.5)),
    (dict[str, float] | dict[str, int], {"a": 1}),
    (list[c.Order] | list[c.Cat], [c.Cat()]),
    (list[c.Order] | list[c.Cat], []),
    (dict[int, c.Order] | dict[str, c.Cat], {"a": c.Cat()}),
    (dict[int, c.Order] | dict[str, c.Cat], {1: c.Order(id=1)}),
    (list[int] | tuple[int, ...] | set[int] | None, (1,)),
    (list[int] | tuple[int, ...] | set[int] | None, {1}),
    (tuple[int, str] | tuple[int, ...], (1, 2)),
    (c.Order | Elsewhere.Order, Elsewhere.Order(id=1)),
    (list[c.Order | OrderV2], [OrderV2(id=1), c.Order(id=1)]),  # type: ignore[valid-type]
    (list[c.Order] | list[c.Twin], [c.Twin(id=1)]),
    (list[c.Order] | list[c.Twin], [c.Order(id=1)]),
    (dict[str, c.Order] | dict[str, c.Twin], {"a": c.Twin(id=1)}),
    (tuple[c.Order, int] | tuple[c.Twin, int], (c.Twin(id=1), 2)),
    (list[c.Order] | list[Elsewhere.Order], [Elsewhere.Order(id=1)]),
    (list[Elsewhere.Order] | list[OrderV2], [OrderV2(id=1)]),  # type: ignore[valid-type]
    (c.Box[c.Order] | c.Box[OrderV2], c.Box[OrderV2](item=OrderV2(id=1))),  # type: ignore[valid-type]
    (c.Pack[int] | c.Pack[str], c.Pack("a")),
    (list[c.Pack[c.Order]] | list[c.Pack[c.Twin]], [c.Pack(c.Twin(id=1))]),
    (list[c.Color] | list[Shade], [Shade.RED]),
    (c.Cat | c.Dog, c.Dog(lives=9)),
    (c.Pet, c.Dog()),
    (c.Tagged, c.Dog()),
    (c.Home, c.Home(pet=c.Dog(), other=c.Cat())),
    (c.Point | c.Order | c.Pair | c.Names, {"first": "a"}),
    (list[c.Point | c.Order | c.Pair], [c.Pair(1), c.Order(id=1), c.Point(1.0)]),
    (Optional[c.Node], None),  # noqa: UP045
    (int | list[c.Node], [c.Node(value=1)]),
    (AnyUrl | str, "not a url"),
    (AnyUrl | str, AnyUrl("http://x/")),
    (AnyUrl | None, AnyUrl("http://x/")),
    (c.Names | c.Loose, {"at": dt.date(2026, 1, 1)}),
    (object, {1}),
]

MODELS = [
    (c.Order, c.Order(id=1)),
    (c.Order, c.Order(id=1, note=None)),
    (c.Order, c.Order.model_construct(id=1)),
    (c.Order, c.Order.model_construct(note="only")),
    (c.Order, c.Order(id=1).model_copy(update={"note": "x"})),
    (c.Defaulted, c.Defaulted()),
    (c.Defaulted, c.Defaulted(tags=["a"])),
    (c.Aliased, c.Aliased(userId=1, theName="a", mail="b", a={"b": 5}, y=3)),
    (c.Frozen, c.Frozen(x=1, y=frozenset({1}))),
    (set[c.Frozen], {c.Frozen(x=1), c.Frozen(x=2)}),
    (dict[c.Frozen, int], {c.Frozen(x=1): 1}),
    (c.Assigned, c.Assigned(x=5)),
    (c.Assigned, c.Assigned()),
    (c.Open, c.Open(id=1)),
    (c.Open, c.Open(id=1, a={2}, **{"$": 1, "$v": 2, "b c": None})),
    (c.Open, c.Open.model_construct(_fields_set={"id"}, id=1, a=2)),
    (c.Open, changed(c.Open(id=1), a=2)),
    (c.OpenAliased, c.OpenAliased.model_validate({"b": 1, "a": 5})),
    (c.OpenAliased, c.OpenAliased.model_construct(_fields_set={"z"}, z=1)),
    (c.TypedOpen, c.TypedOpen(id=1, day=dt.date(2026, 1, 1))),
    (c.Root, c.Root([1, 2])),
    (c.RootWithPrivate, changed(c.RootWithPrivate(1), _seen=5)),
    (c.RootWithPrivate, c.RootWithPrivate(1)),
    (c.Box[int], c.Box[int](item=1)),
    (c.Box[int], c.Box(item=1, more=[2])),
    (c.Box, c.Box(item={1, 2})),
    (c.Box[c.Order], c.Box[c.Order](item=c.Order(id=1), more=[c.Order(id=2)])),
    (c.Box[c.Box[dt.date]], c.Box[c.Box[dt.date]](item=c.Box[dt.date](item=dt.date.min))),
    (c.Box[c.Box[int]], c.Box(item=c.Box(item=1))),
    (c.IntBox, c.IntBox(item=1)),
    (c.Shelf[int, str], c.Shelf[int, str](boxes={"a": c.Box[int](item=1)}, key="k")),
    (c.Shelf[int, str], c.Shelf[int, str](boxes={"a": c.Box(item=1)}, key="k")),
    (c.Box[int] | c.Box[str], c.Box[str](item="a")),
    (c.Square, seen(c.Square(side=2), "half", "area")),
    (c.Private, c.Private()),
    (c.Private, with_private(_count=3, _made=[1], _late=dt.date.min, _plain="q")),
    (c.Exact, c.Exact()),
    (c.Exact, changed(c.Exact(), _zero=-0.0)),
    (c.Exact, changed(c.Exact(), _zero=NAN)),
    (c.Exact, changed(c.Exact(), _items=[True])),
    (c.Exact, changed(c.Exact(), _items=[1.0])),
    (c.Exact, changed(c.Exact(), _amount=Decimal("1.00"))),
    (c.Exact, changed(c.Exact(), _at=at(2026, 1, 1, 1, zone=BERLIN))),
    (c.Exact, changed(c.Exact(), _order={"b": 2, "a": 1})),
    (c.Exact, changed(c.Exact(), _point=c.Point(-0.0))),
    (c.AfterInit, c.AfterInit(x=2)),
    (c.AfterInit, changed(c.AfterInit(x=2), _double=7)),
    (c.Blob, c.Blob(data=b"abc\xff")),
    (c.HexBlob, c.HexBlob(data=b"abc")),
    (c.Wait, c.Wait(for_=HOUR, score=NAN)),
    (c.Serialized, c.Serialized(id=2**60, amount=Decimal("0.1234567890123456789"), secret="x")),
    (c.Folded, c.Folded(x=5)),
    (c.Excluded, c.Excluded(shown=1, hidden=2)),
    (c.Constrained, c.Constrained(n=1, size=ByteSize(7), raw="[1, 2]")),
    (c.Order, c.Order(id=2)),
    (c.Stringy, c.Stringy(name="a", color=c.Color.BLUE)),
    (c.Stringy, c.Stringy(name="a")),
    (c.Stringy, c.Stringy.model_construct(name="a", color=c.Color.RED, levels=[c.Level.LOW, 2])),
    (c.Node, c.Node(value=1, children=[c.Node(value=2, parent=c.Node(value=3))])),
    (c.Tree[int], c.Tree[int](item=1, left=c.Tree[int](item=2))),
    (c.Tree[c.Order], c.Tree[c.Order](item=c.Order(id=1), left=None)),
    (list[c.Order], [c.Order(id=1), c.Order(id=2, note="x")]),
    (c.Point, c.Point(1.0)),
    (c.Slotted, c.Slotted(1, ("a",))),
    (dict[c.Slotted, int], {c.Slotted(1): 1}),
    (c.Job, changed(c.Job("a"), tries=5)),
    (c.Job, changed(c.Job("a"), beside={1})),
    (c.Price, c.Price(900)),
    (c.Keyed, c.Keyed(a=1)),
    (c.Pack[int], c.Pack(1, (2,))),
    (c.Pack[int], c.Pack[int](1)),
    (c.SlimPack[int], c.SlimPack[int](1)),
    (c.CheckedPack[int], c.CheckedPack[int](1)),
    (c.PackHolder, c.PackHolder(pack=c.Pack[int](1))),
    (c.GenericPair[int], c.GenericPair[int](1, 2)),
    (OrderedDict[str, int], OrderedDict[str, int](a=1)),
    (c.Pack[c.Order], c.Pack(c.Order(id=1))),
    (c.Wrapped[c.Order], c.Wrapped([c.Order(id=1)], (), c.Order(id=2))),
    (c.Dates, c.Dates([dt.date.min], ([],), dt.date.max)),
    (c.Link, c.Link(1, c.Link(2))),
    (c.SlotBase, c.SlotBase(1)),
    (c.WithCache, seen(c.WithCache(1), "y")),
    (c.Checked, c.Checked(1)),
    (c.CheckedOpen, c.CheckedOpen(1, more="x")),  # type: ignore[call-arg]
    (c.Pair, c.Pair(1)),
    (c.GenericPair[c.Order], c.GenericPair(c.Order(id=1), 2)),
    (c.Names, {"first": "a"}),
    (c.Names, {"last": "b", "first": "a"}),
    (c.Loose, {}),
    (c.Nested, {"pair": c.Pair(1), "at": dt.date.min, "fixed": 1}),
    (c.Strange, {"$": 1, "$v": "x", "a b": 2}),
]

OTHERS = [
    (c.UserId, c.UserId(5)),
    (list[c.UserId], [c.UserId(5)]),
    (Final[int], 1),
    (TypeVar("Free"), (1, 2)),
    (TypeVar("Bound", bound=c.Order), c.Order(id=1)),
    (TypeVar("Choice", int, str), "a"),
    (PositiveInt, 5),
    (StrictInt, 5),
    (Annotated[list[int], Field(min_length=1)], [1]),
    (Annotated[int, "a note"], 5),
    (Annotated[Annotated[str, "x"], Field(pattern="^a")], "a"),
    (list[Annotated[int, Field(gt=0)]], [1]),
    (AnyUrl, AnyUrl("http://ex.am/ple?x=1")),
    (HttpUrl, HttpUrl("http://ex.am/")),
    (ByteSize, ByteSize(1000)),
    (FilePath, Path(__file__)),
    (Json[list[int]], [1, 2]),
    (Base64Bytes, b"abc!"),
]

TABLE = [*PLAIN, *TIMES, *CONTAINERS, *ENUMS, *UNIONS, *MODELS, *OTHERS]


@pytest.mark.parametrize(("annotation", "value"), TABLE, ids=shown)
def test_value_comes_back_as_it_was(annotation: Any, value: Any):
    codec = codec_of(annotation)
    data = codec.encode(value)
    again = codec.decode(data)
    assert difference(value, again) is None
    assert (
        codec.encode(again) == data or "set" in repr(annotation).lower() or isinstance(value, set)
    )
    view(data)


def test_what_a_factory_made_is_made_again():
    again = codec_of(c.Connected).decode(codec_of(c.Connected).encode(c.Connected()))
    assert again._connection.address.host == again._all[0].host == again._fixed.host == "a"
    assert again._kind is c.Slim
