"""Generic steps keep the type that arrives; decorated functions are steps like others."""

import functools
import ipaddress
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, ParamSpec, TypeVar, assert_type

from models import BigOrder, Order, Quote, Stock, check, confirm, quote
from pydantic import BaseModel

from gorkflow.context import StepContext
from gorkflow.model import Outcome
from gorkflow.node import Node
from gorkflow.step import AsyncStep, SyncStep, step
from gorkflow.workflow import Workflow

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")
R = TypeVar("R")
Some = TypeVar("Some", bound=Order)
Either = TypeVar("Either", int, str)


@dataclass
class Box(Generic[T]):
    inside: T


class Page(BaseModel, Generic[T]):
    items: list[T]


@step
def log(x: T) -> T:
    return x


@step(retries=2)
async def log_later(ctx: StepContext, x: T) -> T:
    return x


@step
def first(items: list[T]) -> T:
    return items[0]


@step
async def listed(x: T) -> list[T]:
    return [x]


@step
def named(x: T) -> dict[str, T]:
    return {"x": x}


@step
def swapped(ctx: StepContext, a: T, b: U) -> tuple[U, T]:
    return b, a


@step
def boxed(x: T) -> Box[T]:
    return Box(x)


@step
async def opened(box: Box[T]) -> T:
    return box.inside


@step
def page(items: list[T]) -> Page[T]:
    return Page(items=items)


@step
def bounded(order: Some) -> Some:
    return order


@step
def constrained(x: Either) -> Either:
    return x


@step
async def constrained_later(xs: list[Either]) -> dict[str, Either]:
    return {"x": xs[0]}


@step
def constrained_first(xs: list[Either]) -> Either:
    return xs[0]


@step
def forget(x: T, kept: list[T]) -> None: ...


def is_big(order: Order) -> bool:
    return order.id > 3


@step
def either(a: T, b: T) -> T:
    return a


@step
def repeated(x: T, times: int = 2) -> list[T]:
    return [x] * times


@step
async def maybe(x: T) -> T | None:
    return x


@step
def values(outcomes: tuple[Outcome[T], ...]) -> list[T]:
    return []


@step(continue_on_error=True)
def optional(x: T) -> T:
    return x


@step
def total(numbers: list[int]) -> int:
    return 0


orders = Workflow("orders", input=Order)
numbers = Workflow("numbers", input=list[int])

assert_type(orders.then(log), Workflow[Order, Order])
assert_type(orders.then(log_later).then(check), Workflow[Order, Stock])
assert_type(numbers.then(first), Workflow[list[int], int])
assert_type(orders.then(listed).then(first).then(check), Workflow[Order, Stock])
assert_type(orders.then(named), Workflow[Order, dict[str, Order]])
assert_type(orders.parallel(check, quote).then(swapped), Workflow[Order, tuple[Quote, Stock]])
assert_type(orders.then(boxed).then(opened), Workflow[Order, Order])
assert_type(numbers.then(page), Workflow[list[int], Page[int]])
assert_type(orders.parallel(log, listed).then(forget), Workflow[Order, None])
assert_type(orders.then(repeated), Workflow[Order, list[Order]])
assert_type(orders.then(repeated.bind("thrice", times=3)), Workflow[Order, list[Order]])
assert_type(orders.then(log.options(id="again", timeout=3)), Workflow[Order, Order])
assert_type(orders.then(maybe), Workflow[Order, Order | None])
assert_type(orders.then(optional), Workflow[Order, Order | None])
assert_type(orders.then(log.options(continue_on_error=True)), Workflow[Order, Order | None])
assert_type(Workflow("big", input=BigOrder).then(bounded), Workflow[BigOrder, BigOrder])
assert_type(Workflow("number", input=int).then(constrained), Workflow[int, int])
assert_type(numbers.then(constrained_first), Workflow[list[int], int])
assert_type(numbers.then(constrained_later), Workflow[list[int], dict[str, int]])

# In blocks, maps, loops, choices, nested workflows.
assert_type(orders.parallel(log, check), Workflow[Order, tuple[Order, Stock]])
assert_type(orders.parallel(log, log.options(id="b")).then(either), Workflow[Order, Order])
assert_type(numbers.map(log), Workflow[list[int], list[int]])
assert_type(numbers.map(boxed).map(opened), Workflow[list[int], list[int]])
assert_type(numbers.map(log, join="settled"), Workflow[list[int], list[Outcome[int]]])
assert_type(
    orders.parallel(check, check.options(id="b"), join="settled").then(values),
    Workflow[Order, list[Stock]],
)
assert_type(orders.loop(log, until=is_big, max_iterations=3), Workflow[Order, Order])
assert_type(orders.then_if(lambda order: order.id > 3, log), Workflow[Order, Order])
assert_type(
    orders.when(lambda order: order.id > 3, log).otherwise(check), Workflow[Order, Order | Stock]
)
assert_type(orders.parallel(Workflow("in", input=Order).then(log), quote).then(swapped),
            Workflow[Order, tuple[Quote, Order]])  # fmt: skip
as_node: Node[Order, Order] = log

orders.then(first)  # error
orders.then(log).then(quote).then(check)  # error
numbers.then(first).then(check)  # error
numbers.then(bounded)  # error
orders.then(constrained)  # error
orders.then(opened)  # error
numbers.map(boxed).then(total)  # error
wrong: Node[Order, Stock] = log  # error


# Decorators, as people write them.
def traced(fn: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    @functools.wraps(fn)
    async def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        return await fn(*args, **kwargs)

    return inner


def timed(fn: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(fn)
    async def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        return await fn(*args, **kwargs)

    return inner


def counted(fn: Callable[P, R]) -> Callable[P, R]:
    return fn


@step
@traced
async def fetch(order: Order) -> Stock:
    return Stock(available=True)


@step(timeout=3)
@timed
async def fetch_pair(ctx: StepContext, stock: Stock, quote: Quote) -> str:
    return ""


@step
@counted
def count(order: Order) -> int:
    return 1


@step
@traced
async def log_traced(x: T) -> T:
    return x


assert_type(fetch, AsyncStep[[Order], Stock, Stock])
assert_type(fetch_pair, AsyncStep[[tuple[Stock, Quote]], str, str])
assert_type(count, SyncStep[[Order], int, int])
assert_type(orders.then(log_traced), Workflow[Order, Order])
assert_type(orders.parallel(fetch, quote).then(fetch_pair), Workflow[Order, str])
assert_type(orders.parallel(check, quote).then(confirm).then(listed), Workflow[Order, list[str]])


# Types of all kinds, as output and as input of sync steps.
@step
def pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


@step
def address(pattern: re.Pattern[str]) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address("127.0.0.1")


@step
def share(address: ipaddress.IPv4Address) -> Fraction:
    return Fraction(1)


@step
def everything(thing: object) -> Any:
    return thing


orders.then(everything).then(check)


assert_type(pattern, SyncStep[[str], re.Pattern[str], re.Pattern[str]])
assert_type(
    Workflow("text", input=str).then(pattern).then(address),
    Workflow[str, ipaddress.IPv4Address],
)
assert_type(share, SyncStep[[ipaddress.IPv4Address], Fraction, Fraction])
