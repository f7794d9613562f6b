"""The workflows that are measured. Their steps do nothing, or wait once: the rest is the engine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import BaseModel

from gorkflow import Engine, Workflow, step

Small = dict[str, int]
ONE: Small = {"id": 1}


class Item(BaseModel):
    id: int


@step
async def plain(value: Small) -> Small:
    return {"id": value["id"] + 1}


@step
async def typed(value: Item) -> Item:
    return Item(id=value.id + 1)


@step
async def waiting(value: Item) -> Item:
    await asyncio.sleep(0)
    return Item(id=value.id + 1)


@step
async def count_plain(values: tuple[Small, ...]) -> Small:
    return {"id": len(values)}


@step
async def count_typed(values: tuple[Item, ...]) -> Item:
    return Item(id=len(values))


@step
async def sleep(value: Small) -> Small:
    await asyncio.sleep(value["id"])
    return value


@step
def sleep_in_thread(value: Small) -> Small:
    time.sleep(value["id"])
    return value


KINDS: dict[str, tuple[Any, Any, Any, Any]] = {
    "dict": (plain, count_plain, Small, ONE),
    "model": (typed, count_typed, Item, Item(id=1)),
    "waits": (waiting, count_typed, Item, Item(id=1)),
}


def sequence(length: int, kind: str = "dict") -> Workflow[Any, Any]:
    one, _, input_type, _ = KINDS[kind]
    workflow: Any = Workflow(f"sequence-{length}-{kind}", input=input_type)
    for number in range(length):
        workflow = workflow.then(one.options(id=f"s{number}"))
    return workflow


def block(width: int, kind: str = "dict") -> Workflow[Any, Any]:
    one, count, input_type, _ = KINDS[kind]
    workflow: Any = Workflow(f"block-{width}-{kind}", input=input_type)
    return workflow.parallel(*(one.options(id=f"b{n}") for n in range(width))).then(count)


def small_run(kind: str = "dict") -> Workflow[Any, Any]:
    """Return the workflow of which a thousand run at once: prepare, 3 in parallel, aggregate."""
    one, count, input_type, _ = KINDS[kind]
    workflow: Any = Workflow(f"run-{kind}", input=input_type).then(one.options(id="prepare"))
    return workflow.parallel(*(one.options(id=f"b{n}") for n in range(3))).then(count)


def each(limit: int | None = None, one: Any = plain) -> Workflow[Any, Any]:
    """Return a map over a list; so many of its items are live at a time."""
    workflow: Any = Workflow(f"each-{one.id}-{limit}", input=list[Small])
    return workflow.map(one, max_concurrency=limit)


def items(number: int) -> list[Small]:
    return [ONE] * number


def three(name: str, *branches: Any) -> Workflow[Any, Any]:
    workflow: Any = Workflow(name, input=Small)
    return workflow.parallel(*branches).then(count_plain)


def sleeping_branches() -> dict[str, Workflow[Any, Any]]:
    """Return three branches of one second and an aggregate, in each way they can run."""

    def inner(number: int) -> Any:
        chain: Any = Workflow(f"inner{number}", input=Small)
        return chain.parallel(plain.options(id="p"), sleep.options(id="s")).then(count_plain)

    ids = ("a", "b", "c")
    return {
        "async": three("async", *(sleep.options(id=i) for i in ids)),
        "sync": three("sync", *(sleep_in_thread.options(id=i) for i in ids)),
        "nested": three("nested", *(inner(number) for number in range(3))),
    }


async def many(engine: Engine, workflow: Workflow[Any, Any], value: Any, runs: int) -> None:
    """Run a workflow many times at once."""
    await asyncio.gather(*(engine.run(workflow, value) for _ in range(runs)))
