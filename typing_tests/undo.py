"""Undo steps: they get the inputs as they are, and the output or None."""

from typing import assert_type

from models import BigOrder, Order, Quote, Stock, check, confirm, quote

from gorkflow.context import StepContext
from gorkflow.step import AsyncStep, SyncStep, step
from gorkflow.workflow import Workflow


@step
async def uncheck(order: Order, stock: Stock | None) -> None: ...


@step(retries=3)
def unquote(ctx: StepContext, order: Order, quote: Quote | None) -> str:
    return ""


@step
async def unconfirm(stock: Stock, quote: Quote, text: str | None) -> None: ...


@step
async def unconfirm_pair(given: tuple[Stock, Quote, str | None]) -> None: ...


@step
async def certain(order: Order, stock: Stock) -> None: ...


@step
async def picky(order: BigOrder, stock: Stock | None) -> None: ...


@step
async def generous(order: object, stock: object) -> None: ...


@step
async def silent() -> None: ...


@step
async def lone(stock: Stock | None) -> None: ...


@step
async def tick() -> Stock:
    return Stock(available=True)


@step
async def untick(stock: Stock | None) -> None: ...


def plain(order: Order, stock: Stock | None) -> None: ...


assert_type(check.undo(uncheck), AsyncStep[[Order], Stock, Stock])
assert_type(quote.undo(unquote), SyncStep[[Order], Quote, Quote])
assert_type(
    check.options(continue_on_error=True).undo(uncheck), AsyncStep[[Order], Stock | None, Stock]
)
assert_type(confirm.undo(unconfirm), AsyncStep[[tuple[Stock, Quote]], str, str])
assert_type(tick.undo(untick), AsyncStep[[object], Stock, Stock])
assert_type(Workflow("w", input=Order).then(check.undo(uncheck)), Workflow[Order, Stock])
confirm.undo(unconfirm_pair)
check.undo(generous)
check.undo(silent)
confirm.undo(silent)
tick.undo(silent)

check.undo(unquote)  # error
check.undo(certain)  # error
check.undo(picky)  # error
check.undo(lone)  # error
check.undo(unconfirm)  # error
check.undo(plain)  # error
confirm.undo(uncheck)  # error
confirm.undo(lone)  # error
tick.undo(certain)  # error
Workflow("w", input=Order).then(check.undo(certain))  # error
