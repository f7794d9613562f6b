"""Workflows: types flow through the chain."""

from collections.abc import Sequence
from typing import assert_type

from models import (
    BigOrder,
    Note,
    Order,
    Quote,
    Stock,
    check,
    confirm,
    maybe,
    note,
    optional,
    prepare,
    quote,
    tick,
)

from gorkflow.model import Outcome
from gorkflow.node import Node
from gorkflow.policy import at_least, tolerate
from gorkflow.step import step
from gorkflow.workflow import Workflow, passthrough


@step
async def confirm_swapped(quote: Quote, stock: Stock) -> str:
    return ""


@step
async def confirm_some(stock: Stock | None, quote: Quote) -> str:
    return ""


@step
async def judge(stock: Outcome[Stock], quote: Outcome[Quote]) -> str:
    return ""


@step
async def either(found: Stock | Quote) -> str:
    return ""


@step
async def total(stocks: tuple[Stock, ...]) -> int:
    return 0


@step
async def listed(stocks: list[Stock]) -> int:
    return 0


@step
async def sequence(stocks: Sequence[Stock]) -> int:
    return 0


@step
async def three(a: Stock, b: Stock, c: Stock) -> int:
    return 0


@step
async def outcomes(found: list[Outcome[Stock]]) -> int:
    return 0


@step
async def numbers(found: list[int]) -> int:
    return 0


@step
async def keep(order: Order, stock: Stock) -> str:
    return ""


@step
async def shrink(order: Order) -> BigOrder:
    return BigOrder(id=1, lines=1)


orders = Workflow("orders", input=Order)
nothing = Workflow("nothing")

assert_type(orders, Workflow[Order, Order])
assert_type(nothing, Workflow[object, None])
assert_type(Workflow("many", input=list[int]), Workflow[list[int], list[int]])
assert_type(nothing.then(tick), Workflow[object, int])
nothing.then(check)  # error

# then
assert_type(orders.then(prepare).then(check), Workflow[Order, Stock])
assert_type(Workflow("big", input=BigOrder).then(check), Workflow[BigOrder, Stock])
orders.then(check).then(check)  # error
orders.then(confirm)  # error
orders.then(check.fn)  # error
orders.then(lambda order: order)  # error
orders.then(check(Order(id=1)))  # error

# parallel, all
block = orders.parallel(check, quote)
assert_type(block, Workflow[Order, tuple[Stock, Quote]])
assert_type(block.then(confirm), Workflow[Order, str])
block.then(confirm_swapped)  # error
block.then(check)  # error
orders.parallel(check, quote, note).then(confirm)  # error
assert_type(orders.parallel(check, block.then(confirm)), Workflow[Order, tuple[Stock, str]])
assert_type(
    orders.parallel(check, quote, note, check, quote, note, check, quote, note, maybe),
    Workflow[Order, tuple[Stock, Quote, Note, Stock, Quote, Note, Stock, Quote, Note, int | None]],
)
branches = [check.options(id=f"check{i}") for i in range(20)]
as_tuples: Workflow[Order, tuple[Stock, ...]] = orders.parallel(*branches)
assert_type(orders.parallel(*branches).then(total), Workflow[Order, int])
assert_type(orders.parallel(*branches).then(listed), Workflow[Order, int])
assert_type(orders.parallel(*branches).then(sequence), Workflow[Order, int])
assert_type(orders.parallel(*branches).then(three), Workflow[Order, int])
assert_type(orders.parallel(*branches, join="settled").then(outcomes), Workflow[Order, int])
settled_tuples: Workflow[Order, tuple[Outcome[Stock], ...]] = orders.parallel(
    *branches, join="settled"
)
orders.parallel(*branches).then(confirm)  # error
orders.parallel(*branches).then(outcomes)  # error
orders.parallel(*branches).then(numbers)  # error
orders.parallel(*branches).then(check)  # error
orders.parallel(check, check.options(id="b")).then(three)  # error
assert_type(orders.parallel(*branches, join="first"), Workflow[Order, Stock])
orders.parallel(check, confirm)  # error
orders.parallel(check, quote, join="sttled")  # error
orders.parallel(check, quote, on_failure="stop")  # error
orders.parallel(check, quote, max_concurency=3)  # error
orders.parallel(check, quote.fn)  # error

# A step that may fail.
assert_type(orders.parallel(optional, quote), Workflow[Order, tuple[Stock | None, Quote]])
orders.parallel(optional, quote).then(confirm)  # error
assert_type(orders.parallel(optional, quote).then(confirm_some), Workflow[Order, str])
assert_type(
    orders.parallel(check.options(continue_on_error=True), quote).then(confirm_some),
    Workflow[Order, str],
)

# joins
settled = orders.parallel(check, quote, join="settled")
assert_type(settled, Workflow[Order, tuple[Outcome[Stock], Outcome[Quote]]])
assert_type(settled.then(judge), Workflow[Order, str])
settled.then(confirm)  # error
assert_type(orders.parallel(check, quote, join=at_least(1)).then(judge), Workflow[Order, str])
assert_type(
    orders.parallel(check, quote, join=tolerate(percent=50)).then(judge), Workflow[Order, str]
)
first = orders.parallel(check, quote, join="first", on_failure="cancel", timeout=3)
assert_type(first, Workflow[Order, Stock | Quote])
assert_type(first.then(either), Workflow[Order, str])
first.then(confirm)  # error

# passthrough
assert_type(orders.parallel(passthrough(Order), check), Workflow[Order, tuple[Order, Stock]])
assert_type(orders.parallel(passthrough(Order), check).then(keep), Workflow[Order, str])
orders.parallel(passthrough(Stock), check)  # error

# then_if
assert_type(orders.then_if(lambda order: order.id > 3, prepare), Workflow[Order, Order])
assert_type(orders.then_if(lambda order: order.id > 3, shrink), Workflow[Order, Order])
assert_type(
    orders.then_if(lambda order: order.id > 3, check, default=Stock(available=False)),
    Workflow[Order, Stock],
)
orders.then_if(lambda order: order.id > 3, check)  # error
orders.then_if(5, prepare)  # error
orders.then_if(lambda order: order.nothing, prepare)  # error


async def is_big(order: Order) -> bool:
    return order.id > 3


def says_no() -> bool:
    return False


def of_stock(stock: Stock) -> bool:
    return stock.available


# when
chosen = orders.when(is_big, check).when(lambda order: order.id > 1, quote).otherwise(note)
assert_type(chosen, Workflow[Order, Stock | Quote | Note])
assert_type(orders.when(says_no, check).otherwise(quote).then(either), Workflow[Order, str])


def of_both(stock: Stock, quote: Quote) -> bool:
    return stock.available


assert_type(block.when(of_both, confirm).otherwise(confirm), Workflow[Order, str])
assert_type(block.then_if(of_both, confirm, default=""), Workflow[Order, str])
assert_type(orders.then_if(says_no, prepare), Workflow[Order, Order])
orders.when(of_both, check)  # error
orders.when(is_big, confirm)  # error
orders.when(of_stock, check)  # error
orders.when(lambda order: order.nothing, check)  # error
orders.when(is_big, check).otherwise(confirm)  # error
orders.then(orders.when(is_big, check))  # error

# replace, nested
assert_type(block.then(confirm).replace(check, optional), Workflow[Order, str])
as_node: Node[Order, str] = block.then(confirm)
assert_type(orders.then(prepare).then(block.then(confirm)), Workflow[Order, str])
