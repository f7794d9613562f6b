"""Workflows for the tests of the command line; a copy of this file is what they run."""

import asyncio
import logging
import os
import sys
from pathlib import Path

from pydantic import BaseModel

from gorkflow.context import StepContext
from gorkflow.engine.engine import Engine
from gorkflow.errors import NonRetryableError
from gorkflow.policy import RetryPolicy
from gorkflow.signal import Signal
from gorkflow.step import step
from gorkflow.workflow import Workflow

print("imported")


class Order(BaseModel):
    id: int
    note: str = ""


class Receipt(BaseModel):
    text: str
    cents: int


@step
async def check(order: Order) -> bool:
    print("checking")
    return order.id > 0


@step
def price(order: Order) -> int:
    return order.id * 100


@step
async def confirm(ok: bool, cents: int) -> Receipt:
    return Receipt(text="ok" if ok else "no", cents=cents)


checkout = Workflow("checkout", input=Order).parallel(check, price).then(confirm)


@step(retries=RetryPolicy(retries=1, initial_interval=0.01))
async def flaky(ctx: StepContext) -> str:
    if ctx.attempt == 1:
        raise ValueError("not \x1b[31myet\nplease wait")
    return "at last"


retried = Workflow("retried").then(flaky)


@step
async def good() -> int:
    return 1


@step
async def bad() -> int:
    raise NonRetryableError("there is a very long story behind it, " * 5)


@step
async def total(a: int, b: int) -> int:
    return a + b


pausing = (
    Workflow("pausing")
    .then(good)
    .sleep(0.01, id="nap")
    .wait_for(Signal("go", int), timeout=0.01, default=2)
    .then(total)
)
failing = Workflow("failing").parallel(good, bad).then(total)
tolerant = Workflow("tolerant").parallel(good, bad, join="settled")


def leave_marker() -> None:
    Path("marker").touch()


def may_go() -> bool:
    return Path("go").exists()


@step
async def first() -> str:
    leave_marker()
    return "first"


@step
async def second(text: str) -> str:
    if not may_go():
        await asyncio.Event().wait()
    return f"{text}, second"


patient = Workflow("patient").then(first).then(second)


@step
async def collect(order: Order) -> int:
    print("collecting")
    return order.id


def is_mended() -> bool:
    return Path("mended").exists()


@step
async def deliver(order: Order) -> str:
    if not is_mended():
        raise ValueError("the van is broken")
    return "delivered"


@step
async def close(number: int, how: str) -> str:
    return f"{number} {how}"


delivery = Workflow("delivery", input=Order).parallel(collect, deliver).then(close)


@step
async def leave() -> str:
    sys.exit(3)


leaving = Workflow("leaving").then(leave)


@step
async def warn(ctx: StepContext) -> str:
    ctx.logger.warning("careful: %s", "hot")
    logging.getLogger("gorkflow.engine").warning("mind the gap")
    return "warned"


warning = Workflow("warning").then(warn)


@step
async def ask(ctx: StepContext) -> str:
    return str(ctx.deps)


asking = Workflow("asking").then(ask)


def make_engine() -> Engine:
    return Engine(os.environ.get("SHOP_STORE"), workflows=[asking, checkout], deps="from deps")


@step
async def number(value: int) -> int:
    await asyncio.sleep(0)
    return value


wide = Workflow("wide", input=int).parallel(*[number.options(id=f"n{i}") for i in range(200)])


@step
async def tally(ctx: StepContext, number: int) -> int:
    ctx.state["last"] = number
    return ctx.state.incr("count", number)


tallied = Workflow("tallied", input=int).then(tally)


@step
async def book(seats: int) -> str:
    return f"{seats} seats"


@step
async def unbook(seats: int, booking: str | None) -> None: ...


@step
async def unpay(booking: str, receipt: int | None) -> None:
    raise ValueError("the bank is closed")


@step
async def pay(booking: str) -> int:
    return 7


@step
async def board(receipt: int) -> None:
    raise ValueError("the bus has left")


trip = Workflow("trip", input=int).then(book.undo(unbook)).then(pay.undo(unpay)).then(board)
