"""What was recorded is a fact: to read it runs nobody's code, and asks nothing of the world."""

import dataclasses
import datetime as dt
import enum
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    FutureDate,
    FutureDatetime,
    PrivateAttr,
    WrapValidator,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import core_schema
from typing_extensions import TypedDict

from gorkflow.codec import codec_of, view
from gorkflow.errors import UnreadableError
from tests.values.exact import difference

T = TypeVar("T")


class World:
    """Whether the code of all classes here raises."""

    is_broken = False


def strike(value: Any = None, *_: Any) -> Any:
    if World.is_broken:
        raise RuntimeError("this code must not run")
    return value


def strike_if_wrapped(value: Any, handler: Callable[[Any], Any]) -> Any:
    return strike(handler(value))


@pytest.fixture(autouse=True)
def whole():
    World.is_broken = False
    yield
    World.is_broken = False


class Hostile(BaseModel):
    """All of a model that may run code."""

    model_config = ConfigDict(extra="allow", validate_assignment=True, validate_default=True)
    n: Annotated[int, AfterValidator(strike)]
    text: Annotated[str, BeforeValidator(strike), WrapValidator(strike_if_wrapped)] = "t"
    tags: list[str] = Field(default_factory=lambda: strike([]))
    path: FilePath | None = None
    at: FutureDatetime | None = None
    any: Any = None
    _count: int = PrivateAttr(default_factory=lambda: strike(5))
    _note: str | None = PrivateAttr(default=None)

    def __init__(self, **values: Any) -> None:
        strike()
        super().__init__(**values)

    def __setattr__(self, name: str, value: Any) -> None:
        strike()
        super().__setattr__(name, value)

    @field_validator("n")
    @classmethod
    def check(cls, n: int) -> int:
        return strike(n)

    @model_validator(mode="before")
    @classmethod
    def before(cls, data: Any) -> Any:
        return strike(data)

    @model_validator(mode="after")
    def after(self) -> "Hostile":
        return strike(self)

    def model_post_init(self, context: Any, /) -> None:
        strike()
        self._note = "made"

    @field_serializer("n")
    def write(self, n: int) -> int:
        return strike(n)

    @model_serializer(mode="wrap")
    def write_all(self, handler: Any) -> Any:
        return strike(handler(self))


class Generics(BaseModel, Generic[T]):
    item: T
    inner: list[Hostile] = Field(default_factory=lambda: strike([]))

    def model_post_init(self, context: Any, /) -> None:
        strike()


@dataclasses.dataclass
class Post:
    x: int
    made: list[int] = dataclasses.field(default_factory=lambda: strike([1]))

    def __post_init__(self) -> None:
        strike()


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    x: float

    def __post_init__(self) -> None:
        strike()


@pydantic.dataclasses.dataclass
class Checked:
    n: Annotated[int, AfterValidator(strike)]

    def __post_init__(self) -> None:
        strike()


class Pair(NamedTuple):
    a: Annotated[int, AfterValidator(strike)]
    b: Hostile | None = None


class Names(TypedDict):
    first: Annotated[str, AfterValidator(strike)]


class Guess(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return strike()


class Own:
    """A type that only its own schema can read."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and other.text == self.text

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        def read(value: Any) -> Own:
            return strike(value if isinstance(value, Own) else Own(value))

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.to_string_ser_schema()
        )

    def __str__(self) -> str:
        return self.text


class Holder(BaseModel):
    own: Own


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def hostile(draw: Any) -> Hostile:
    values = draw(
        st.fixed_dictionaries(
            {"n": st.integers()},
            optional={
                "text": names,
                "tags": st.lists(names, max_size=2),
                "any": st.sampled_from([None, {1}, (b"x",), {"$": 1}]),
                "at": st.just(dt.datetime(9999, 1, 1)),
                "path": st.just(Path(__file__)),
                "more": st.sampled_from([1, {2: 3}]),
            },
        )
    )
    made = Hostile(**values)
    if draw(st.booleans()):
        made._note = "by hand"
    return made


VALUES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Hostile, hostile()),
    (
        Generics[int],
        st.builds(Generics[int], item=st.integers(), inner=st.lists(hostile(), max_size=2)),
    ),
    (Generics[Hostile], st.builds(Generics[Hostile], item=hostile())),
    (Post, st.builds(Post, st.integers())),
    (Slots, st.builds(Slots, st.floats())),
    (Checked, st.builds(Checked, st.integers())),
    (Pair, st.builds(Pair, st.integers(), st.none() | hostile())),
    (Names, st.fixed_dictionaries({"first": names})),
    (Guess, st.just(Guess.A)),
    (Annotated[int, AfterValidator(strike)], st.integers()),
    (FilePath, st.just(Path(__file__))),
    (FutureDatetime, st.just(dt.datetime(9999, 1, 1))),
]


def wrapped(annotation: Any, values: st.SearchStrategy[Any]) -> list[tuple[Any, Any]]:
    return [
        (annotation, values),
        (list[annotation], st.lists(values, max_size=3)),
        (
            dict[int, annotation | None],
            st.dictionaries(st.integers(), st.none() | values, max_size=2),
        ),
        (tuple[annotation, ...] | int, st.integers() | st.tuples(values)),
    ]


PLACED = [each for annotation, values in VALUES for each in wrapped(annotation, values)]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_what_was_recorded_reads_though_all_code_raises(data: Any):
    World.is_broken = False
    annotation, values = data.draw(st.sampled_from(PLACED))
    value = data.draw(values)
    codec = codec_of(annotation)
    record = codec.encode(value)
    World.is_broken = True
    try:
        again = codec.decode(record)
        shown = view(record)
        once_more = codec.encode(again) if codec_is_free(annotation) else record
    finally:
        World.is_broken = False
    assert same(value, again) is None
    assert shown is not None or value is None
    assert once_more == record


def codec_is_free(annotation: Any) -> bool:
    """Return whether to write a value judges nothing: classes have judged their fields."""
    return not codec_of(annotation)._is_judged


def same(value: Any, again: Any) -> str | None:
    """Compare, though private attributes of the broken world could not be made."""
    for each in (value, again):
        for model in models_in(each):
            model.__pydantic_private__.pop("_count", None)
    return difference(value, again)


def models_in(value: Any) -> list[Any]:
    if isinstance(value, Hostile):
        return [value]
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        return (
            [model for item in vars(value).values() for model in models_in(item)]
            if hasattr(value, "__dict__")
            else []
        )
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return []
    return [model for item in value for model in models_in(item)]


def test_the_world_may_change():
    handle, name = tempfile.mkstemp()
    os.close(handle)
    folder = tempfile.mkdtemp()
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)

    class Doc(BaseModel):
        path: FilePath
        folder: DirectoryPath
        at: FutureDatetime
        day: FutureDate

    doc = Doc(path=name, folder=folder, at=soon, day=dt.date(9999, 1, 1))
    records = [(Doc, doc), (FilePath, Path(name)), (dict[str, FilePath], {"a": Path(name)})]
    data = [codec_of(kind).encode(value) for kind, value in records]
    Path(name).unlink()
    Path(folder).rmdir()
    for (kind, value), record in zip(records, data, strict=True):
        assert codec_of(kind).decode(record) == value
        view(record)
    assert codec_of(Doc).decode(codec_of(Doc).encode(doc)) == doc  # handed on as it is


def test_a_validator_that_was_added_since_is_not_asked():
    class Order(BaseModel):
        id: int

    record = codec_of(Order).encode(Order(id=-1))

    class Order(BaseModel):  # type: ignore[no-redef]
        id: Annotated[int, Field(gt=0)]

        @field_validator("id")
        @classmethod
        def check(cls, id: int) -> int:
            raise RuntimeError

    assert codec_of(Order).decode(record).id == -1
    assert codec_of(list[Order]).decode(b"[" + record + b"]")[0].id == -1


def test_values_do_not_change_though_they_go_through_many_steps():
    @dataclasses.dataclass
    class Price:
        cents: int

        def __post_init__(self) -> None:
            self.cents += 100

    class Net(BaseModel):
        cents: Annotated[int, AfterValidator(lambda n: n - 1)]

    for value in (Price(900), Net(cents=10)):
        again: Any = value
        for _ in range(5):
            again = codec_of(type(value)).decode(codec_of(type(value)).encode(again))
        assert again == value


@pytest.mark.parametrize(
    ("annotation", "value", "plain"),
    [
        (Own, Own("a"), "a"),
        (list[Own], [Own("a")], ["a"]),
        (Holder, Holder(own=Own("a")), {"own": "a"}),
        (Own | None, Own("a"), "a"),
        (tuple[int, Own], (1, Own("a")), [1, "a"]),
    ],
)
def test_only_a_type_that_reads_itself_may_be_unreadable(annotation: Any, value: Any, plain: Any):
    codec = codec_of(annotation)
    record = codec.encode(value)
    assert codec.decode(record) == value
    World.is_broken = True
    with pytest.raises(
        UnreadableError, match="the type Own can't read what it wrote: RuntimeError"
    ):
        codec.decode(record)
    with pytest.raises(UnreadableError):
        codec.understand(record)
    assert view(record) == plain
