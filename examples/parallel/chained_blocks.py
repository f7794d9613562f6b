"""Chained blocks: two branches, a step between, three branches, a step at the end.

    prepare
      ├─→ group1_a ─┐
      └─→ group1_b ─┴─→ intermediate
                          ├─→ group2_a ─┐
                          ├─→ group2_b ─┼─→ finalize
                          └─→ group2_c ─┘

`without_between` omits the step between: each branch of the second block then gets both outputs of
the first one.
"""

import asyncio

from gorkflow import Workflow, run, step

SECOND = 0.02  # of the work that is simulated


@step
async def prepare(text: str) -> str:
    return text.strip()


@step
async def group1_a(text: str) -> str:
    await asyncio.sleep(SECOND)
    return text.upper()


@step
async def group1_b(text: str) -> int:
    await asyncio.sleep(SECOND)
    return len(text)


@step
async def intermediate(upper: str, length: int) -> str:
    return f"{upper}{length}"


@step
async def group2_a(text: str) -> str:
    await asyncio.sleep(SECOND)
    return text[::-1]


@step
async def group2_b(text: str) -> int:
    await asyncio.sleep(SECOND)
    return sum(char.isdigit() for char in text)


@step
async def group2_c(text: str) -> bool:
    await asyncio.sleep(SECOND)
    return text.isalnum()


@step
async def finalize(backwards: str, digits: int, plain: bool) -> str:  # noqa: FBT001 - a value
    return f"{backwards}, {digits} digits, {'plain' if plain else 'not plain'}"


chained = (
    Workflow("multi-parallel", input=str, name="Multi-Parallel")
    .then(prepare)
    .parallel(group1_a, group1_b)  # the first block
    .then(intermediate)
    .parallel(group2_a, group2_b, group2_c)  # the second
    .then(finalize)
)


@step
async def repeat(upper: str, length: int) -> str:
    return upper * length


@step
async def pad(upper: str, length: int) -> str:
    return upper.center(length + 4, "*")


@step
async def both(repeated: str, padded: str) -> str:
    return f"{repeated} {padded}"


without_between = (
    Workflow("block-after-block", input=str)
    .parallel(group1_a, group1_b)
    .parallel(repeat, pad)
    .then(both)
)

if __name__ == "__main__":
    print(run(chained, " abc ", store="memory:"))
    print(run(without_between, "ab", store="memory:"))
