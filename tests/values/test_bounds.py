"""No value keeps the loop busy, or eats the memory: what has no end is refused by name."""

import dataclasses
import re
import sys
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from gorkflow.codec import codec_of
from gorkflow.errors import EncodingError, PayloadTooLargeError, ValueInvalidError
from tests.values import classes as c

Lists = TypeAliasType("Lists", "list[Lists] | int")
Branching = TypeAliasType(
    "Branching", "list[Branching] | list[Branching | str] | dict[str, Branching] | int"
)
LIMIT = 4 * 2**20


class Loop(BaseModel):
    next: "Loop | None" = None
    items: list[Any] = []


class Left(BaseModel):
    at: "list[Left] | list[Right] | None" = None


class Right(BaseModel):
    at: "list[Right] | list[Left] | None" = None
    end: int = 1


@dataclasses.dataclass
class Ring:
    next: "Ring | None" = None


def doubled(times: int) -> Any:
    value: Any = [1]
    for _ in range(times):
        value = [value, value]
    return value


def doubled_dict(times: int) -> Any:
    value: Any = {"a": 1}
    for _ in range(times):
        value = {"a": value, "b": value}
    return value


def deep(levels: int, value: Any = 1) -> Any:
    for _ in range(levels):
        value = [value]
    return value


def cycle() -> Any:
    value: list[Any] = []
    value += [value, value]
    return value


def dict_cycle() -> Any:
    value: dict[str, Any] = {}
    value["me"] = (value,)
    return value


def loop() -> Loop:
    made = Loop()
    made.next = made
    return made


def loop_inside() -> Loop:
    made = Loop()
    made.items.append(made.items)
    return made


def ring() -> Ring:
    made = Ring()
    made.next = Ring(made)
    return made


def chain(length: int) -> c.Link:
    made = c.Link(0)
    for index in range(length):
        made = c.Link(index, made)
    return made


def shared_models(times: int) -> c.Node:
    made = c.Node(value=1)
    for _ in range(times):
        made = c.Node.model_construct(value=1, children=[made, made], parent=made)
    return made


def branches(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = [value, value]
    return value


def lefts(levels: int) -> Left:
    made: Any = Right()
    for _ in range(levels):
        made = Left.model_construct(at=[made])
    return made


ROW = [0.5] * 1000
ROWS = [ROW] * 1000
TEXT = "x" * 2**20
HUGE = 1 << 4_000_000

CASES = [
    (Any, doubled(60)),
    (list, doubled(60)),
    (Lists, doubled(60)),
    (Branching, doubled(60)),
    (Any, doubled_dict(60)),
    (Any, [ROWS] * 1000),
    (list[list[list[float]]], [ROWS] * 1000),
    (list[list[list[list[float]]]], [[ROWS] * 1000] * 1000),
    (list[Any], [(ROW, ROW)] * 10**6),
    (list[str], [TEXT] * 10**6),
    (Any, [TEXT] * 10**6),
    (Any, [[TEXT, 1]] * 10**6),
    (dict[int, str], dict.fromkeys(range(10**5), TEXT)),
    (dict[str, int], {f"{TEXT}{n}": n for n in range(200)}),
    (list[bytes], [TEXT.encode()] * 10**5),
    (list[c.Order], [c.Order(id=1, note=TEXT)] * 10**6),
    (list[c.Order], [c.Order(id=HUGE)] * 10**6),
    (list[int], [HUGE, -HUGE] * 10**5),
    (list[int | str], [HUGE, "a"] * 10**5),
    (int, HUGE),
    (Any, {"a": HUGE}),
    (float, HUGE),
    (c.Order, c.Order(id=HUGE)),
    (dict[int, int], {HUGE: 1}),
    (Any, cycle()),
    (Lists, cycle()),
    (Branching, cycle()),
    (Any, dict_cycle()),
    (dict[str, Any], dict_cycle()),
    (Loop, loop()),
    (Loop, loop_inside()),
    (Ring, ring()),
    (c.Stretchy, cycle()),
    (Any, deep(100_000)),
    (Lists, deep(100_000)),
    (c.Link, chain(5_000)),
    (c.Node, shared_models(60)),
    (Branching, branches(14)),
    (Branching, branches(40)),
    (Left, lefts(60)),
    (Annotated[list[Any], Field(min_length=1)], doubled(60)),
]


@pytest.mark.parametrize("limit", [LIMIT, None])
@pytest.mark.parametrize(("annotation", "value"), CASES, ids=range(len(CASES)))
def test_what_has_no_end_is_refused(annotation: Any, value: Any, limit: int | None):
    try:
        data = codec_of(annotation).encode(value, limit)
    except ValueInvalidError as error:
        told = str(error)
    else:  # it had an end
        assert limit is None or len(data) <= limit
        assert codec_of(annotation).decode(data) == value
        return
    assert re.search("too|over the limit|another|expected", told)
    assert len(told) < 500


@pytest.mark.parametrize(
    "give",
    [
        lambda kind, value: codec_of(kind).accept(value, LIMIT),
        lambda kind, value: codec_of(kind).validate(value),
    ],
)
@pytest.mark.parametrize(
    "value", [{"id": doubled(60)}, doubled(60), [ROWS] * 1000, cycle()], ids=range(4)
)
def test_so_it_is_when_somebody_gives_it(give: Any, value: Any):
    with pytest.raises(ValueInvalidError):
        give(c.Order, value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Any, deep(90)),
        (Lists, deep(90)),
        (c.Link, chain(90)),
        (Any, [deep(90), {"a": deep(80, (1,))}]),
        (list[str], ["x" * 1000] * 4000),
        (list[int] | list[float], [*range(400_000), 0.5]),
        (list[c.Cat] | list[c.Dog], [c.Dog()] * 20_000),
    ],
    ids=range(7),
)
def test_what_is_large_and_has_an_end_is_kept(annotation: Any, value: Any):
    codec = codec_of(annotation)
    if isinstance(value, list) and len(value) > 100 and 0.5 in value:
        value = [float(each) for each in value]
    assert codec.decode(codec.encode(value, LIMIT)) == value


def test_depth_is_judged_where_it_is_written_not_where_it_is_read():
    for levels in range(80, 110):
        try:
            data = codec_of(Any).encode(deep(levels, {"a": {1: (2,)}}))
        except EncodingError:
            continue
        at_depth(150, data)


def at_depth(frames: int, data: bytes) -> Any:
    return at_depth(frames - 1, data) if frames else codec_of(Any).decode(data)


def test_limit_is_exact():
    codec = codec_of(list[int])
    data = codec.encode([1, 22, 333])
    assert codec.encode([1, 22, 333], len(data)) == data
    with pytest.raises(PayloadTooLargeError, match=f"over the limit of {len(data) - 1}"):
        codec.encode([1, 22, 333], len(data) - 1)
    assert sys.getrecursionlimit() >= 1000


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[int], [1] * 50),
        (list[str], ["", "a"] * 50),
        (dict[str, int], {"a": 1}),
        (dict[int, int], {1: 1}),
        (c.Order, c.Order(id=1)),
        (c.Order, c.Order(id=1, note="")),
        (c.Open, c.Open(id=1, a=1)),
        (c.Point, c.Point(1.0)),
        (c.Color, c.Color.RED),
        (tuple[int, ...], (1,)),
        (tuple[()], ()),
        (bytes, b""),
        (Any, [[], {}, ()]),
    ],
    ids=range(13),
)
def test_room_is_never_short_for_what_fits(annotation: Any, value: Any):
    codec = codec_of(annotation)
    data = codec.encode(value)
    assert codec.encode(value, len(data)) == data
