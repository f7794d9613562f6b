"""Classes of every sort, for the tables of cases."""

import dataclasses
import datetime as dt
import enum
import functools
import re
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypeVar,
)

import pydantic
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    Json,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    Tag,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from typing_extensions import TypeAliasType, TypedDict

T = TypeVar("T")
K = TypeVar("K")
UserId = NewType("UserId", int)


# ---- enums ------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"
    CRIMSON = "red"  # noqa: PIE796 - an alias
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    ON = "on"


class Rate(enum.Enum):
    LOW = Decimal("0.07")
    DAY = dt.date(2026, 1, 1)
    HERE = Path("here")
    PAIR = (1, "a")
    ONE = 1


class Mixed(enum.Enum):
    ONE = 1
    TEXT = "1"
    YES = True  # an alias of ONE, since True == 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    BOTH = 3


class Bits(enum.IntFlag):
    A = 1
    B = 4


class Planet(enum.Enum):
    EARTH = (5.97, 6.37)

    def __init__(self, mass: float, radius: float) -> None:
        self.mass = mass
        self.radius = radius


class Guessing(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> "Guessing":
        return cls.A


# ---- models -----------------------------------------------------------------------------------


class Order(BaseModel):
    id: int
    note: str | None = None


class Defaulted(BaseModel):
    tags: list[str] = Field(default_factory=list)
    made: dict[str, int] = Field(default_factory=lambda data: {"n": len(data)})
    at: dt.date = dt.date(2026, 1, 1)


class Aliased(BaseModel):
    user: int = Field(alias="userId")
    name: str = Field(validation_alias="theName", default="n")
    mail: str = Field(serialization_alias="eMail", default="m")
    deep: int = Field(validation_alias=AliasPath("a", "b"), default=1)
    either: int = Field(validation_alias=AliasChoices("x", "y"), default=2)


class Frozen(BaseModel, frozen=True):
    x: int
    y: frozenset[int] = frozenset()


class Assigned(BaseModel, validate_assignment=True):
    x: int = 0

    @field_validator("x")
    @classmethod
    def more(cls, x: int) -> int:
        return x + 1


class Open(BaseModel, extra="allow"):
    id: int


class OpenAliased(BaseModel, extra="allow"):
    a: int = Field(alias="b")


class TypedOpen(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dt.date] = Field(init=False)
    id: int


class Root(RootModel[list[int]]):
    pass


class RootWithPrivate(RootModel[int]):
    _seen: int = PrivateAttr(default=0)


class Box(BaseModel, Generic[T]):
    item: T
    more: list[T] = []


class IntBox(Box[int]):
    pass


class Shelf(BaseModel, Generic[T, K]):
    boxes: dict[str, Box[T]]
    key: K


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int = 1


class Twin(BaseModel):
    id: int
    note: str | None = None


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


def _kind_of(value: Any) -> str:
    return value["kind"] if isinstance(value, dict) else value.kind


Tagged = Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(_kind_of)]


class Home(BaseModel):
    pet: Pet
    other: Tagged | None = None


class Square(BaseModel):
    side: int

    @computed_field
    @property
    def area(self) -> int:
        return self.side**2

    @functools.cached_property
    def half(self) -> float:
        return self.side / 2


class Private(BaseModel):
    x: int = 1
    _count: int = PrivateAttr(default=0)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _made: list[int] = PrivateAttr(default_factory=list)
    _late: dt.date = PrivateAttr()
    _plain: str = "p"


class Exact(BaseModel):
    _zero: float = PrivateAttr(default=0.0)
    _items: list[Any] = PrivateAttr(default=[1])
    _amount: Any = PrivateAttr(default_factory=lambda: Decimal("1.0"))
    _at: dt.datetime = PrivateAttr(default=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    _order: Any = PrivateAttr(default_factory=lambda: {"a": 1, "b": 2})
    _point: "Point" = PrivateAttr(default_factory=lambda: Point(0.0))


class Address:
    def __init__(self, host: str) -> None:
        self.host = host


class Connection:
    """No two are equal, and each has a number of its own."""

    made = 0

    def __init__(self, host: str = "a") -> None:
        Connection.made += 1
        self.number = Connection.made
        self.address = Address(host)
        self.lock = threading.Lock()


class Slim:
    __slots__ = ("host",)

    def __init__(self, host: str) -> None:
        self.host = host


class Connected(BaseModel):
    _connection: Any = PrivateAttr(default_factory=Connection)
    _all: list[Any] = PrivateAttr(default_factory=lambda: [Slim("a")])
    _kind: Any = PrivateAttr(default_factory=lambda: Slim)
    _fixed: Any = PrivateAttr(default=Address("a"))


class AfterInit(BaseModel):
    x: int
    _double: int = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        self._double = self.x * 2


class Blob(BaseModel, ser_json_bytes="base64"):
    data: bytes


class HexBlob(BaseModel, ser_json_bytes="hex", val_json_bytes="base64"):
    data: bytes


class Wait(BaseModel, ser_json_timedelta="float", ser_json_inf_nan="null"):
    for_: dt.timedelta
    score: float = 0.0


class Serialized(BaseModel):
    id: int
    amount: Annotated[Decimal, PlainSerializer(float, return_type=float)]
    secret: str = Field(exclude=True, default="s")

    @field_serializer("id", when_used="json")
    def text(self, id: int) -> str:
        return str(id)


class Folded(BaseModel):
    x: int

    @model_serializer
    def fold(self) -> str:
        return "folded"

    @model_validator(mode="before")
    @classmethod
    def unfold(cls, data: Any) -> Any:
        return {"x": 0} if data == "folded" else data


class Excluded(BaseModel):
    shown: int
    hidden: int = Field(exclude=True)


class Constrained(BaseModel):
    n: Annotated[int, Field(gt=0)]
    size: ByteSize = ByteSize(5)
    raw: Json[list[int]] = [1]
    Version: ClassVar[int] = 1


class Stringy(BaseModel, str_to_upper=True, coerce_numbers_to_str=True, use_enum_values=True):
    name: str
    color: Color = Color.RED
    levels: list[Level] = []


class Node(BaseModel):
    value: int
    children: list["Node"] = []
    parent: "Node | None" = None


class Tree(BaseModel, Generic[T]):
    item: T
    left: "Tree[T] | None" = None


Stretchy = TypeAliasType("Stretchy", "list[Stretchy] | dict[str, Stretchy] | int | None")
Pairs = TypeAliasType("Pairs", list[tuple[T, T]], type_params=(T,))


# ---- dataclasses ------------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: float
    y: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Slotted:
    x: int
    names: tuple[str, ...] = ()


@dataclasses.dataclass
class Job:
    name: str
    tries: int = dataclasses.field(init=False, default=0)
    log: list[str] = dataclasses.field(default_factory=list, repr=False, compare=False)


@dataclasses.dataclass
class Price:
    cents: int
    raised: dataclasses.InitVar[int] = 100

    def __post_init__(self, raised: int) -> None:
        self.cents += raised


@dataclasses.dataclass
class Keyed:
    _: dataclasses.KW_ONLY
    a: int
    b: str = "b"


@dataclasses.dataclass
class Pack(Generic[T]):
    item: T
    items: Sequence[T] = ()


@dataclasses.dataclass(slots=True)
class SlimPack(Generic[T]):
    item: T


@pydantic.dataclasses.dataclass
class CheckedPack(Generic[T]):
    item: T


class PackHolder(BaseModel):
    pack: Pack[int]


@dataclasses.dataclass
class Wrapped(Pack[list[T]], Generic[T]):
    """Its type variable is called as that of its base."""

    more: T | None = None


@dataclasses.dataclass
class Dates(Wrapped[dt.date]):
    pass


@dataclasses.dataclass
class Link:
    value: int
    next: "Link | None" = None


@dataclasses.dataclass
class SlotBase:
    __slots__ = ("a",)
    a: int


@dataclasses.dataclass
class WithCache:
    x: int

    @functools.cached_property
    def y(self) -> int:
        return self.x + 1


@pydantic.dataclasses.dataclass
class Checked:
    n: Annotated[int, Field(gt=0)]
    tags: list[str] = Field(default_factory=list)


@pydantic.dataclasses.dataclass(config=ConfigDict(extra="allow"))
class CheckedOpen:
    n: int


# ---- tuples and typed dicts -------------------------------------------------------------------


class Pair(NamedTuple):
    left: int
    right: str = "r"


class GenericPair(NamedTuple, Generic[T]):
    one: T
    two: int


class Names(TypedDict):
    first: str
    last: NotRequired[str]


class Loose(TypedDict, total=False):
    at: dt.date
    fixed: int


class Nested(Loose):
    pair: Pair


Strange = TypedDict("Strange", {"$": int, "$v": str, "a b": int})


def deque_of(*items: Any, bound: int | None = None) -> deque[Any]:
    return deque(items, bound)


def counting(*keys: str) -> defaultdict[str, int]:
    return defaultdict(int, dict.fromkeys(keys, 1))


def pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(text, flags)
