"""Maps and loops: a list goes in and comes out, a loop gives what its body gives."""

from typing import assert_type

from models import Order, Quote, Stock, check, optional, tick

from gorkflow.model import Outcome
from gorkflow.policy import at_least, tolerate
from gorkflow.step import step
from gorkflow.workflow import Workflow, passthrough


@step
async def orders(count: int) -> list[Order]:
    return []


@step
async def many(count: int) -> tuple[Order, ...]:
    return ()


@step
async def stocks(found: list[Stock]) -> int:
    return len(found)


@step
async def outcomes(found: list[Outcome[Stock]]) -> int:
    return len(found)


@step
async def poll(quote: Quote) -> Quote:
    return quote


@step
async def first_poll(order: Order | Quote) -> Quote:
    return Quote(cents=1)


@step
async def pair() -> tuple[int, str]:
    return 1, ""


@step
async def again(number: int, text: str) -> tuple[int, str]:
    return number, text


@step
def turn(order: Order) -> Quote:
    return Quote(cents=order.id)


def good(quote: Quote) -> bool:
    return True


async def good_later(quote: Quote) -> bool:
    return True


def both(number: int, text: str) -> bool:
    return True


def number(order: Order) -> int:
    return order.id


listed = Workflow("listed", input=int).then(orders)
checked = Workflow("checked", input=Order).then(check)

# ---- map --------------------------------------------------------------------------------------

assert_type(listed.map(check), Workflow[int, list[Stock]])
assert_type(listed.map(checked), Workflow[int, list[Stock]])
assert_type(listed.map(check, join="settled"), Workflow[int, list[Outcome[Stock]]])
assert_type(listed.map(check, join=at_least(2)), Workflow[int, list[Outcome[Stock]]])
assert_type(listed.map(check, join=tolerate(percent=5)), Workflow[int, list[Outcome[Stock]]])
assert_type(listed.map(check, join="first"), Workflow[int, Stock])
assert_type(listed.map(optional), Workflow[int, list[Stock | None]])
assert_type(listed.map(passthrough(Order)), Workflow[int, list[Order]])
assert_type(listed.map(check, key=number, max_concurrency=2).then(stocks), Workflow[int, int])
assert_type(listed.map(check, key=lambda order: order.id), Workflow[int, list[Stock]])
assert_type(listed.map(check, join="settled").then(outcomes), Workflow[int, int])
assert_type(Workflow("m", input=int).then(many).map(check), Workflow[int, list[Stock]])
assert_type(Workflow("m", input=list[Order]).map(check), Workflow[list[Order], list[Stock]])
assert_type(listed.map(turn).map(poll), Workflow[int, list[Quote]])

listed.map(poll)  # error
listed.map(check, key=good)  # error
listed.map(check, key=lambda order: order.nothing)  # error
listed.map(check, join="most")  # error
listed.map(check, join="settled").then(stocks)  # error
listed.map(check).then(outcomes)  # error
Workflow("m", input=int).map(tick)  # error
Workflow("m", input=Order).map(check)  # error

# ---- loop -------------------------------------------------------------------------------------

quoted = Workflow("quoted", input=Quote)
assert_type(quoted.loop(poll, until=good, max_iterations=3), Workflow[Quote, Quote])
assert_type(quoted.loop(poll, until=good_later, max_iterations=3), Workflow[Quote, Quote])
assert_type(
    quoted.loop(poll, until=lambda quote: quote.cents > 1, max_iterations=3),
    Workflow[Quote, Quote],
)
assert_type(quoted.loop(poll, until=lambda: True, max_iterations=3), Workflow[Quote, Quote])
assert_type(
    Workflow("o", input=Order).loop(first_poll, until=good, max_iterations=3),
    Workflow[Order, Quote],
)
assert_type(
    Workflow("p").then(pair).loop(again, until=both, max_iterations=9),
    Workflow[object, tuple[int, str]],
)

quoted.loop(poll, until=good)  # error
quoted.loop(poll, until=number, max_iterations=3)  # error
Workflow("o", input=Order).loop(turn, until=good, max_iterations=3)  # error
Workflow("o", input=Order).loop(poll, until=good, max_iterations=3)  # error
