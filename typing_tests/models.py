"""What the typing tests share. Python only reads them; type checkers judge them."""

from dataclasses import dataclass
from typing import Any, TypedDict

from pydantic import BaseModel

from gorkflow.context import StepContext
from gorkflow.step import step


class Order(BaseModel):
    id: int


class BigOrder(Order):
    lines: int


class Stock(BaseModel):
    available: bool


@dataclass
class Quote:
    cents: int


class Note(TypedDict):
    text: str


class Deps:
    url: str


@step
async def check(order: Order) -> Stock:
    return Stock(available=True)


@step(timeout=60)
def quote(ctx: StepContext, order: Order) -> Quote:
    return Quote(order.id)


@step(id="annotate", retries=3)
async def note(ctx: StepContext[Deps], order: Order) -> Note:
    return {"text": ctx.deps.url}


@step
def plain(order: Order) -> dict[str, Any]:
    return {}


@step
async def confirm(stock: Stock, quote: Quote) -> str:
    return ""


@step
async def maybe(order: Order) -> int | None:
    return None


@step(continue_on_error=True)
async def optional(order: Order) -> Stock:
    return Stock(available=True)


@step
async def prepare(order: Order) -> Order:
    return order


@step
def tick() -> int:
    return 1


@step
def done(ctx: StepContext) -> None:
    return None


@step
async def keep_none(nothing: None, quote: Quote) -> str:
    return ""
