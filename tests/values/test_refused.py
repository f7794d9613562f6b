"""What can't come back as it was is refused: by name, with its place, as early as can be."""

import abc
import array
import collections
import dataclasses
import datetime as dt
import enum
import io
import threading
import types
import uuid
import zoneinfo
from collections import ChainMap, OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import pydantic
import pytest
from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    Field,
    FilePath,
    FutureDatetime,
    PastDate,
    PositiveInt,
    PrivateAttr,
    Secret,
    SecretBytes,
    SecretStr,
)
from pydantic_core import core_schema

from gorkflow.codec import codec_of
from gorkflow.errors import StepValueError, ValueInvalidError
from tests.values import classes as c
from tests.values.exact import shown


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Things(list[int]):
    pass


class Table(dict[str, int]):
    pass


class Moment(dt.datetime):
    pass


class Stamp(uuid.UUID):
    pass


class Coin(Decimal):
    pass


class BigOrder(c.Order):
    more: int = 0


class SameFields(c.Order):
    pass


@dataclasses.dataclass
class Point3(c.Point):
    z: float = 0.0


class PairPlus(c.Pair):
    """Has a ``__dict__``, as named tuples have not."""


class Zone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)

    def tzname(self, when: dt.datetime | None) -> str:
        return "Z"

    def dst(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


class Opaque:
    pass


class Orm:
    """As a row of an ORM: its attributes are not fields."""

    id = 1

    def __init__(self) -> None:
        self._sa_instance_state = object()


class Tabled(BaseModel):
    """As a model of SQLModel: what the ORM needs is in its ``__dict__``."""

    id: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.__dict__["_sa_instance_state"] = Opaque()


class Scratch(BaseModel):
    x: int = 0
    _client: Any = PrivateAttr(default=None)
    _cache: dict[str, Any] = PrivateAttr(default_factory=dict)


class WithSlot(BaseModel):
    __slots__ = ("beside",)
    x: int = 0


class Shape(BaseModel, abc.ABC):
    size: int

    @abc.abstractmethod
    def area(self) -> int: ...


@dataclasses.dataclass
class Abstract(abc.ABC):
    x: int

    @abc.abstractmethod
    def area(self) -> int: ...


class Proto(Protocol):
    x: int


@dataclasses.dataclass
class Broken(Exception):  # noqa: N818 - as users call them
    code: int


class Empty(enum.Enum):
    pass


class Lossy:
    """Brings its own schema, and forgets what it held."""

    def __init__(self, held: int) -> None:
        self.held = held

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls(0),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: 0),
        )


def scratch(**names: Any) -> Scratch:
    made = Scratch()
    for name, value in names.items():
        setattr(made, name, value)
    return made


def with_private(**names: Any) -> c.Connected:
    made = c.Connected()
    for name, value in names.items():
        setattr(made, name, value)
    return made


def with_slot() -> WithSlot:
    made = WithSlot()
    object.__setattr__(made, "beside", 1)
    return made


def with_attribute(value: Any, **names: Any) -> Any:
    vars(value).update(names)
    return value


def with_fields_set(*names: str) -> c.Order:
    made = c.Order(id=1)
    made.__pydantic_fields_set__.update(names)
    return made


def from_file(key: str | None = None) -> zoneinfo.ZoneInfo:
    import importlib.resources

    data = importlib.resources.files("tzdata").joinpath("zoneinfo/Europe/Berlin").read_bytes()
    return zoneinfo.ZoneInfo.from_file(io.BytesIO(data), key=key)


def at(zone: Any) -> dt.datetime:
    return dt.datetime(2026, 1, 1, tzinfo=zone)


STRAY = Text("x")
VALUES = [
    (int, "7", "expected int, not str"),
    (int, True, "expected int, not bool"),
    (int, 1.0, "expected int, not float"),
    (bool, 1, "expected bool, not int"),
    (float, True, "expected float, not bool"),
    (float, "1", "expected float, not str"),
    (float, 2**53 + 1, "as a float, the number 9007199254740993 would be another"),
    (float, 10**400, "would be another; annotate it as int"),
    (float, 10**5000, "of 16610 bits"),
    (list[float], [1.0, 2**60 + 1], r"^\[1\]: as a float"),
    (c.Point, c.Point(2**60 + 1), "^x: as a float"),
    (str, None, "expected str, not None"),
    (str, b"x", "expected str, not bytes"),
    (str, Text("x"), "expected str, not Text"),
    (int, Number(1), "expected int, not Number; convert it"),
    (int, c.Level.LOW, "expected int, not Level"),
    (str, c.Mode.ON, "expected str, not Mode"),
    (float, Real(1), "expected float, not Real"),
    (list[int], Things([1]), "a Things would come back as a list"),
    (dict[str, int], Table(a=1), "a Table would come back as a dict"),
    (dict[str, int], OrderedDict(a=1), "a OrderedDict would come back as a dict"),
    (dict, defaultdict(int), "a defaultdict would come back as a dict"),
    (Any, Text("x"), "type Text can't be read back"),
    (Any, {"a": [Things()]}, r"^a\[0\]: a value of type Things"),
    (Any, c.Order(id=1), "type Order can't be read back without an annotation"),
    (dict, {"a": c.Color.RED}, "^a: a value of type Color"),
    (list, [Opaque()], r"^\[0\]: a value of type Opaque"),
    (object, threading.Lock(), "type lock"),
    (Any, {c.Order: 1}, "the key "),
    (dict[str, int], {1: 1}, r"^\[the key 1\]: expected str, not int"),
    (dict[int, str], {1.0: "a"}, "the key 1.0.: expected int, not float"),
    (dict[bool, int], {1: 1}, "expected bool"),
    (dict[str, dict[int, int]], {"a": {1: "x"}}, r"^a\[1\]: expected int, not str"),
    (dt.date, dt.datetime(2026, 1, 1), "a datetime would come back as a date"),
    (dt.datetime, dt.date(2026, 1, 1), "expected datetime, not date"),
    (dt.datetime, Moment(2026, 1, 1), "a Moment would come back as a datetime; convert it"),
    (dt.datetime, at(Zone()), r"Zone, which can't be kept; use zoneinfo.ZoneInfo"),
    (dt.time, dt.time(1, tzinfo=Zone()), "use zoneinfo.ZoneInfo"),
    (dt.datetime, at(from_file()), "made from a file has no name"),
    (dt.datetime, at(from_file("Europe/Berlin")), "made from a file has no name"),
    (Any, {"a": (at(Zone()),)}, r"^a\[0\]: its time zone"),
    (zoneinfo.ZoneInfo, from_file(), "made from a file"),
    (uuid.UUID, Stamp(int=1), "a Stamp would come back as a UUID"),
    (Decimal, Coin(1), "a Coin would come back as a Decimal"),
    (Decimal, 1, "expected Decimal, not int"),
    (Path, "x", "expected"),
    (tuple[int, str], (1,), "expected a tuple of 2 items, not of 1"),
    (tuple[int, ...], [1], r"expected tuple, not list; write tuple\(x\)"),
    (tuple, c.Pair(1), "a Pair would come back as a tuple"),
    (set[int], frozenset({1}), "expected set, not frozenset"),
    (list[int], (1,), r"expected list, not tuple; write list\(x\)"),
    (Sequence[int], range(3), "expected .*Sequence.*, not range"),
    (Sequence[str], "abc", "not str"),
    (Iterable[int], (x for x in [1]), "not generator"),
    (Mapping[str, int], ChainMap({"a": 1}), "not ChainMap"),
    (Mapping[str, int], types.MappingProxyType({"a": 1}), "not mappingproxy"),
    (Any, range(3), "type range can't"),
    (Any, slice(1), "type slice can't"),
    (Any, memoryview(b"x"), "type memoryview can't"),
    (Any, array.array("i", [1]), "type array can't"),
    (Any, ValueError("x"), "type ValueError can't"),
    (Any, UserDict({"a": 1}), "type UserDict can't"),
    (Any, ..., "type ellipsis can't"),
    (Any, int, "type type can't"),
    (Any, len, "type builtin_function_or_method can't"),
    (defaultdict[str, c.Order], defaultdict(lambda: c.Order(id=1)), "return a dict"),
    (defaultdict, defaultdict(c.Order), "only if it is a builtin type"),
    (collections.Counter[str], collections.Counter({"a": 1.5}), "^a: expected int, not float"),
    (c.Order, {"id": 1}, "expected Order, not a value of type dict"),
    (c.Order, BigOrder(id=1), "a BigOrder would come back as a Order, which it is more than"),
    (c.Order, SameFields(id=1), "a SameFields would come back as a Order"),
    (list[c.Order], [c.Order(id=1), BigOrder(id=1)], r"^\[1\]: a BigOrder would"),
    (c.Point, Point3(1.0), "a Point3 would come back as a Point"),
    (c.Pair, PairPlus(1), "a PairPlus would come back as a Pair"),
    (PairPlus, with_attribute(PairPlus(1), z=1), "its attribute 'z' is not a field"),
    (c.Pair, (1, "a"), "expected Pair, not a value of type tuple"),
    (c.Order, type("Order", (BaseModel,), {})(), "of another class of that name"),
    (c.Order, c.Order.model_construct(id="x"), "^id: expected int, not str"),
    (c.Order, with_attribute(c.Order(id=1), extra=1), "its attribute 'extra' is not a field"),
    (c.Order, with_fields_set("zzz"), "model_fields_set names 'zzz'"),
    (c.Box[int], c.Box[str](item="a"), r"expected Box\[int\], not a value of type Box\[str\]"),
    (c.Box[int], c.Box(item="a"), "^item: expected int, not str"),
    (c.Box, c.Box[int](item=1), "annotate it as"),
    (Tabled, Tabled(id=1), "'_sa_instance_state' is not a field"),
    (Scratch, scratch(_client=Opaque()), "^_client: its private attribute '_client' can't be kept"),
    (Scratch, scratch(_cache={"a": Opaque()}), "private attribute '_cache' can't be kept"),
    (Scratch, scratch(_cache=Opaque()), "private attribute '_cache' can't be kept"),
    *[
        (
            c.Connected,
            with_private(**{name: value}),
            f"^{name}.*: its private attribute '{name}' can",
        )
        for name, value in [
            ("_connection", c.Connection("b")),
            ("_all", [c.Slim("b")]),
            ("_all", [c.Slim("a"), c.Slim("a")]),
            ("_kind", c.Address),
            ("_fixed", c.Address("b")),
        ]
    ],
    (OrderedDict[str, int], with_attribute(OrderedDict(a=1), z=1), "its attribute 'z' can't be"),
    (collections.Counter[str], with_attribute(collections.Counter("a"), z=1), "its attribute 'z'"),
    (Any, [with_attribute(OrderedDict(a=1), z=1)], r"^\[0\]: its attribute 'z' can't be kept"),
    (WithSlot, with_slot(), "its attribute 'beside' is not a field"),
    (c.Open, c.Open(id=1, a=Opaque()), "^a: a value of type Opaque"),
    (c.TypedOpen, with_attribute(c.TypedOpen(id=1), z=1), "'z' is not a field"),
    (c.Job, with_attribute(c.Job("a"), beside=Opaque()), "^beside: "),
    (c.Job, with_attribute(c.Job("a"), name=1), "^name: expected str, not int"),
    (c.Names, {}, "its key 'first' is missing"),
    (c.Names, {"first": "a", "x": 1}, "Names declares no key 'x'"),
    (c.Names, {"first": 1}, "^first: expected str, not int"),
    (c.Names, OrderedDict(first="a"), "expected a dict for Names, not OrderedDict"),
    (c.Color, "red", r"expected Color, not str; write Color\(x\)"),
    (c.Color, c.Mode.ON, "expected Color, not Mode"),
    (Literal["a"], "b", "expected one of 'a', not 'b'"),
    (Literal[1], True, "expected one of 1, not True"),
    (Literal[True], 1, "expected one of True, not 1"),
    (Literal["on"], c.Mode.ON, "expected one of 'on'"),
    (int | str, 1.5, r"expected int \| str, not float"),
    (c.Cat | c.Dog, c.Order(id=1), r"expected Cat \| Dog, not Order"),
    (list[c.Cat | c.Dog], [c.Cat(), BigOrder(id=1)], r"^\[1\]: expected Cat \| Dog"),
    (str, "\ud800", "lone surrogate"),
    (c.Order, c.Order.model_construct(id=1, note="\udcff"), "^note: it holds a lone surrogate"),
    (dict[str, int], {"\ud800": 1}, r"the key '\\ud800'.: it holds a lone surrogate"),
    (Any, {"a": ["x", "\ud800"]}, r"^a\[1\]: it holds a lone surrogate"),
    (Path, Path("\udcff"), "lone surrogate"),
    (PositiveInt, -1, "greater than 0"),
    (Annotated[list[int], Field(min_length=2)], [1], "at least 2"),
    (list[Annotated[int, Field(gt=0)]], [1, 0], r"^\[1\]: .*greater than 0"),
    (Annotated[int, AfterValidator(lambda n: 1 // n)], 0, "ZeroDivisionError"),
    (FutureDatetime, dt.datetime(2000, 1, 1), "in the future"),
    (PastDate, dt.date(9999, 1, 1), "in the past"),
    (FilePath, Path("/no/such/file"), "not point to a file"),
    (AnyUrl, "http://x/", "(?i)url"),
    (Lossy, Lossy(5), "does not come back as it was"),
    (list[Lossy], [Lossy(5)], r"^\[0\]: a Lossy does not come back"),
]


@pytest.mark.parametrize(("annotation", "value", "told"), VALUES, ids=shown)
def test_value_is_refused_by_name_at_its_place(annotation: Any, value: Any, told: str):
    with pytest.raises(ValueInvalidError, match=told) as caught:
        codec_of(annotation).encode(value)
    assert "http" not in str(caught.value).replace("http://x", "")


T = TypeVar("T")

ANNOTATIONS = [
    (SecretStr, "a secret would be masked"),
    (SecretBytes, "a secret would be masked"),
    (Secret[int], "a secret would be masked"),
    (SecretStr | None, "a secret would be masked"),
    (Annotated[SecretStr, Field(min_length=1)], "a secret would be masked"),
    (list[SecretStr], "a secret would be masked"),
    (pydantic.create_model("Login", key=(SecretStr, ...)), "^key: a secret would be masked"),
    (BaseModel, "BaseModel has no fields; name the model"),
    (list[BaseModel], "BaseModel has no fields"),
    (Shape, "Shape is abstract"),
    (Abstract, "Abstract is abstract"),
    (dict[str, Shape | None], "Shape is abstract"),
    (TypeVar("Bound", bound=Shape), "Shape is abstract"),
    *[
        (
            dataclasses.make_dataclass("Held", [("x", int)], bases=(base,)),
            f"inherits from {name}, and that",
        )
        for base, name in [
            (Exception, "Exception"),
            (KeyError, "KeyError"),
            (list, "list"),
            (dict, "dict"),
            (set, "set"),
            (str, "str"),
            (int, "int"),
            (tuple, "tuple"),
            (Things, "Things"),
            (OrderedDict, "OrderedDict"),
        ]
    ],
    (list[Broken | None], "Broken inherits from Exception"),
    (pydantic.create_model("Outer", it=(Broken, ...)), "^it: Broken inherits from Exception"),
    (Proto, "no value of Proto can be read back"),
    (Empty, "Empty has no members"),
    (enum.Enum, "Enum has no members"),
    (enum.IntEnum, "IntEnum has no members"),
    (Callable, "can't be|can be read back"),
    (Callable[[int], int], "a class or function can't be kept"),
    (type[int], "a class or function can't be kept"),
    (type, "can be read back"),
    (Iterator[int], "can be read back"),
    (Generator[int, None, None], "can be read back"),
    (Opaque, "no value of Opaque can be read back"),
    (Orm, "no value of Orm can be read back"),
    (list[Opaque], "no value of Opaque"),
    (dict[str, tuple[Opaque, ...]], "no value of Opaque"),
    (Text, "no value of Text"),
    (Moment, "no value of Moment"),
    (Things, "no value of Things"),
    (range, "no value of range"),
    (slice, "no value of slice"),
    (memoryview, "no value of memoryview"),
    (array.array, "no value of array"),
    (ValueError, "no value of ValueError"),
    (Exception, "no value of Exception"),
    (threading.Lock, "(?i)lock"),
    (types.SimpleNamespace, "no value of SimpleNamespace"),
    (types.ModuleType, "no value of module|ModuleType"),
    (io.StringIO, "no value of StringIO"),
    (
        pydantic.create_model(
            "Holder", __config__={"arbitrary_types_allowed": True}, it=(Opaque, ...)
        ),
        "^it: no value of Opaque",
    ),
    (dataclasses.make_dataclass("Held", [("it", Opaque)]), "^it: no value of Opaque"),
    (pydantic.create_model("Odd", **{"$x": (int, 1)}), r"^\$x: a field can't be named so"),
    (
        list[dict[str, Callable[[], int]]],
        "class or function",
    ),
]


@pytest.mark.parametrize(("annotation", "told"), ANNOTATIONS, ids=shown)
def test_type_without_values_is_refused_when_it_is_named(annotation: Any, told: str):
    with pytest.raises(StepValueError, match=told):
        codec_of(annotation).prepare()
