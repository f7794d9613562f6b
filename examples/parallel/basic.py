"""Basic parallel execution: one step first, three side by side, one after all of them.

prepare
   ├─→ process_a ─┐
   ├─→ process_b ─┼─→ aggregate
   └─→ process_c ─┘
"""

import asyncio

from pydantic import BaseModel

from gorkflow import Workflow, run, step

SECOND = 0.05  # of the work that is simulated


class Text(BaseModel):
    text: str


class Words(BaseModel):
    words: list[str]


@step
async def prepare(text: Text) -> Words:
    return Words(words=text.text.lower().split())


@step
async def process_a(prepared: Words) -> int:
    await asyncio.sleep(SECOND)
    return len(prepared.words)


@step
async def process_b(prepared: Words) -> list[str]:
    await asyncio.sleep(SECOND)
    return sorted(set(prepared.words))


@step
async def process_c(prepared: Words) -> str:
    await asyncio.sleep(SECOND)
    return max(prepared.words, key=len)


@step
async def aggregate(count: int, distinct: list[str], longest: str) -> str:
    return f"{count} words, {len(distinct)} of them distinct, the longest is {longest!r}"


basic = (
    Workflow("parallel-example", input=Text)
    .then(prepare)  # runs first
    .parallel(process_a, process_b, process_c)  # these run at the same time
    .then(aggregate)  # runs when all three have ended
)

if __name__ == "__main__":
    print(run(basic, Text(text="The quick brown fox and the lazy dog"), store="memory:"))
