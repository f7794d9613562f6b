"""Workflows that a browser starts, watches, answers, cancels and repeats."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from gorkflow import Signal, StepContext, Workflow, step


class Gates:
    """Events by name: a step waits for one, and a test opens it."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def __getitem__(self, name: str) -> asyncio.Event:
        return self._events.setdefault(name, asyncio.Event())

    async def open(self, name: str) -> None:
        self[name].set()

    def clear(self) -> None:
        self._events.clear()


gates = Gates()


@dataclass
class Order:
    """What a customer ordered."""

    id: int
    country: Literal["CH", "DE", "AQ"] = "CH"
    express: bool = False
    note: str = ""


@dataclass
class Approval:
    """The answer of a person."""

    by: str
    ok: bool = True


approved = Signal("approved", Approval)


@step
async def quick(order: Order) -> int:
    return order.id


@step
async def slow(ctx: StepContext, order: Order) -> str:
    for done in range(1, 4):
        ctx.progress(done, 4, f"carrier {done}")
        await gates[f"{ctx.run_id} {done}"].wait()
    return f"sent to {order.country}"


@step
async def carriers(ctx: StepContext, order: Order) -> str:
    ctx.logger.info("asking the carriers of %s", order.country)
    if order.country == "AQ":
        raise LookupError(f"no carrier goes to {order.country}")
    return order.country


@step
async def join(number: int, text: str) -> str:
    return f"{number}: {text}"


@step
async def close(order: Order, answer: Approval) -> str:
    return f"{order.id} approved by {answer.by}: {answer.ok}"


watched = Workflow("watched", input=Order).parallel(quick, slow).then(join)
shipping = Workflow("shipping", input=Order).parallel(quick, carriers).then(join)
review = Workflow("review", input=Order).wait_for(approved).then(close)
WORKFLOWS = (watched, shipping, review)
