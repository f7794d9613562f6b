"""Each row of the table of docs/values.md is as it says."""

import abc
import dataclasses
import datetime as dt
import enum
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path, PurePath, PureWindowsPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, Protocol, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    ByteSize,
    Field,
    PrivateAttr,
    RootModel,
    SecretStr,
)
from pydantic_core import core_schema
from typing_extensions import TypedDict

from gorkflow import Secret
from gorkflow.codec import codec_of
from gorkflow.errors import EncodingError, StepValueError, ValueInvalidError
from tests.project.repository import ROOT
from tests.values.exact import difference

T = TypeVar("T")


class Text(str):
    __slots__ = ()


class Color(enum.Enum):
    RED = "red"


class Order(BaseModel):
    id: int


class Special(Order):
    more: int = 0


class Box(BaseModel, Generic[T]):
    item: T


class Root(RootModel[list[int]]):
    pass


class Hidden(BaseModel):
    shown: int
    hidden: int = Field(exclude=True)


class WithPrivate(BaseModel):
    x: int = 0
    _seen: Any = PrivateAttr(default=None)


def private(seen: Any) -> WithPrivate:
    made = WithPrivate()
    made._seen = seen
    return made


@dataclasses.dataclass
class Point:
    x: float


class Pair(NamedTuple):
    a: int
    b: str


class Names(TypedDict):
    first: str


class Row:
    """As an ORM maps it."""

    id: int = 1
    _sa_instance_state: Any = None


class Table(BaseModel):
    """As SQLModel makes it: the session's state is in the ``__dict__`` of each object."""

    id: int

    def model_post_init(self, context: Any, /) -> None:
        self.__dict__["_sa_instance_state"] = object()


class Shape(BaseModel, abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


class Version:
    def __init__(self, text: str) -> None:
        self.parts = text.split(".")

    def __str__(self) -> str:
        return ".".join(self.parts)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls(value),
            serialization=core_schema.to_string_ser_schema(),
        )


NAMES = {
    **globals(), "Any": Any, "Callable": Callable, "Counter": Counter, "Iterator": Iterator,
}  # fmt: skip
USED = (
    Iterable, Mapping, Sequence, OrderedDict, defaultdict, deque, Decimal, Fraction, IPv4Address,
    PurePath, PureWindowsPath, Path, Literal, Protocol, UUID, ZoneInfo, AnyUrl, ByteSize, SecretStr,
    re, dt, Annotated, Secret,
)  # fmt: skip
REFUSED_WHEN_MADE = "when the step is made"
CODE = re.compile(r"`([^`]+)`")


def rows() -> list[list[str]]:
    text = (ROOT / "docs" / "values.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]


def codes(cell: str) -> list[Any]:
    return [eval(code, NAMES) for code in CODE.findall(cell)]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_row_is_as_it_says(row: list[str]):
    annotations, values, _, refused = row
    kinds = codes(annotations)
    if refused.startswith(REFUSED_WHEN_MADE):
        for kind in kinds:
            with pytest.raises(StepValueError):
                codec_of(kind).prepare()
        return
    keepers = [codec_of(kind) for kind in kinds]
    for value in codes(values):
        assert any(is_kept(codec, value) for codec in keepers), value
    for sentence in re.split(r"\. (?=[A-Z`])", refused):
        before, _, _ = sentence.partition(": ")
        where = re.search(r" under `([^`]+)`", before)
        under = [codec_of(eval(where[1], NAMES))] if where else keepers
        offered = re.sub(r" under `[^`]+`", "", before)
        for value in codes(offered):
            for codec in under:
                assert not is_kept(codec, value), (codec, value)


def is_kept(codec: Any, value: Any) -> bool:
    try:
        data = codec.encode(value)
    except ValueInvalidError:
        return False
    again = codec.decode(data)
    if isinstance(value, Version):
        return vars(again) == vars(value)
    return difference(value, again) is None


def test_the_table_has_what_is_asked_for():
    text = " ".join(row[0] + row[2] + row[3] for row in rows())
    for word in ("numpy", "ORM", "SQLModel", "SecretStr", "exclude=True", "private", "Any"):
        assert word in text
    assert len(rows()) > 20
    assert USED


class float64(float):  # noqa: N801 - a look-alike: numpy need not be installed
    __module__ = "numpy"


def test_a_scalar_of_numpy_becomes_a_plain_number_and_is_rejected_elsewhere():
    assert difference(1.5, codec_of(float).decode(codec_of(float).encode(float64(1.5)))) is None
    assert codec_of(list[float]).encode([float64(1.5)]) == b"[1.5]"
    for kind in (Any, str, int):
        with pytest.raises(ValueInvalidError):
            codec_of(kind).encode(float64(1.5))
    with pytest.raises(StepValueError, match="numpy; convert it"):
        codec_of(Any).encode(float64(1.5))


class int64(int):  # noqa: N801
    __module__ = "numpy"

    def __eq__(self, other: object) -> bool:
        return float(self) == other  # as numpy compares with a float

    __hash__ = int.__hash__


def test_an_integer_of_numpy_that_no_float_holds_is_rejected():
    with pytest.raises(EncodingError, match="as a float, the number 9007199254740993"):
        codec_of(float).encode(int64(2**53 + 1))
    assert (
        difference([5, 5], codec_of(list[int]).decode(codec_of(list[int]).encode([int64(5), 5])))
        is None
    )


def test_the_real_numpy_if_there_is_one():
    np = pytest.importorskip("numpy")
    for kind, given, kept in (
        (int, np.int64(5), 5),
        (int, np.uint8(5), 5),
        (float, np.float64(0.1), 0.1),
        (float, np.float32(0.1), float(np.float32(0.1))),
        (float, np.int64(5), 5.0),
        (float | int, np.int64(5), 5),
        (int | float, np.float64(5), 5.0),
        (dict[int, float], {np.int64(1): np.float64(2)}, {1: 2.0}),
    ):
        assert difference(kept, codec_of(kind).decode(codec_of(kind).encode(given))) is None
    for kind, given in (
        (Any, np.float64(1)), (str, np.str_("x")), (bool, np.bool_(True)), (int, np.float64(1)),
        (float, np.int64(2**53 + 1)), (list[float], np.array([1.0])), (Any, np.array([1])),
    ):  # fmt: skip
        with pytest.raises(ValueInvalidError):
            codec_of(kind).encode(given)
    with pytest.raises(StepValueError):
        codec_of(np.ndarray).prepare()
