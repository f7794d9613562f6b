"""What it costs to record values exactly, against a step, and against plain JSON."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import ours
from measure import Figure, in_turns
from pydantic import BaseModel, TypeAdapter

from gorkflow import Engine
from gorkflow.codec import codec_of

OF_A_STEP = 0.1
OF_JSON = 2.0
_TIMES = 2_000
_STEPS = 100


class Flat(BaseModel):
    id: int
    name: str
    price: float
    paid: bool
    note: str | None
    count: int
    city: str
    weight: float
    year: int
    mail: str


class Leaf(BaseModel):
    id: int
    name: str


class Middle(BaseModel):
    leaf: Leaf
    count: int


class Nested(BaseModel):
    middle: Middle
    name: str


FLAT = Flat(
    id=1, name="Ada", price=9.5, paid=True, note=None,
    count=7, city="Berlin", weight=2.5, year=2026, mail="ada@example.org",
)  # fmt: skip
NESTED = Nested(middle=Middle(leaf=Leaf(id=1, name="Ada"), count=2), name="n")


async def figures(repeat: Callable[[int], int]) -> AsyncIterator[Figure]:
    """Measure encoding.

    Args:
        repeat: returns how often, given how often at most.
    """
    workflow = ours.sequence(_STEPS, "model")
    async with Engine("memory:") as engine:

        async def steps() -> None:
            for _ in range(_TIMES // _STEPS):
                await engine.run(workflow, ours.KINDS["model"][3])

        for name, value in (
            ("flat model of ten fields", FLAT),
            ("model nested three levels", NESTED),
        ):
            mine, theirs = await in_turns(
                _encoding(value), steps, per=_TIMES, repeat=repeat(15), warm=2
            )
            figure = Figure("values", f"record of a {name}", "µs", mine, theirs)
            figure.floor_name = "a step of a sequence"
            yield figure.judged(f"≤ {OF_A_STEP:g} times", met=(figure.ratio or 0) <= OF_A_STEP)
    for name, numbers in (
        ("ints", list(range(100_000))),
        ("floats", [random.random() for _ in range(100_000)]),
    ):
        kind: Any = list[type(numbers[0])]
        encode = codec_of(kind).encode

        async def mine_too(numbers: list[Any] = numbers, encode: Any = encode) -> None:
            encode(numbers)

        by_pydantic = TypeAdapter(kind).dump_json

        async def json_alone(numbers: list[Any] = numbers, dump: Any = by_pydantic) -> None:
            dump(numbers)

        mine, theirs = await in_turns(mine_too, json_alone, per=1_000, repeat=repeat(50), warm=3)
        figure = Figure("values", f"list of 100,000 {name}", "ms", mine, theirs)
        figure.floor_name = "its JSON by pydantic, unchecked"
        yield figure.judged(f"≤ {OF_JSON:g} times", met=(figure.ratio or 0) <= OF_JSON)


def _encoding(value: BaseModel) -> Callable[[], Any]:
    encode = codec_of(type(value)).encode

    async def work() -> None:
        for _ in range(_TIMES):
            encode(value)

    return work
