"""Sleeps, and waits for signals."""

from datetime import UTC, datetime, timedelta
from typing import assert_type

from models import Order, Quote, Stock, check, confirm, keep_none, prepare

from gorkflow import Engine, RunHandle, Signal, Workflow, passthrough, step

orders = Workflow("orders", input=Order)
nothing = Workflow("nothing")
quoted = Signal("quoted", Quote)

# Signal
assert_type(quoted, Signal[Quote])
assert_type(Signal("numbers", list[int]), Signal[list[int]])
assert_type(Signal("ping", None), Signal[None])
Signal("untyped")  # error
Signal(3, Quote)  # error
quoted.name = "other"  # error

# sleep
assert_type(orders.then(check).sleep(1.5), Workflow[Order, Stock])
assert_type(orders.sleep(timedelta(days=1), id="nap").then(check), Workflow[Order, Stock])
assert_type(nothing.sleep(1), Workflow[object, None])
orders.sleep("1 h")  # error
orders.sleep(1, "nap")  # error
orders.sleep()  # error
nothing.sleep(1).then(check)  # error


# times that a function says
def pause(order: Order) -> float:
    return order.id


async def pause_later(order: Order) -> timedelta:
    return timedelta(seconds=order.id)


def due(order: Order) -> datetime:
    return datetime.now(UTC)


def pause_both(order: Order, stock: Stock) -> timedelta:
    return timedelta(seconds=order.id)


def due_both(order: Order, stock: Stock) -> datetime:
    return datetime.now(UTC)


pairs = orders.parallel(passthrough(Order), check)
Pairs = Workflow[Order, tuple[Order, Stock]]
assert_type(orders.sleep(pause), Workflow[Order, Order])
assert_type(orders.sleep(pause_later).then(check), Workflow[Order, Stock])
assert_type(orders.sleep(lambda order: order.id), Workflow[Order, Order])
assert_type(orders.sleep(lambda: timedelta(1)), Workflow[Order, Order])
assert_type(orders.sleep(until=due, id="nap"), Workflow[Order, Order])
assert_type(orders.sleep(until=lambda order: due(order) + timedelta(1)), Workflow[Order, Order])
assert_type(orders.sleep(until=datetime.now(UTC)), Workflow[Order, Order])
assert_type(pairs.sleep(pause_both), Pairs)
assert_type(pairs.sleep(until=due_both), Pairs)
assert_type(pairs.sleep(lambda pair: pair[0].id), Pairs)
assert_type(nothing.sleep(lambda: 1), Workflow[object, None])
orders.sleep(due)  # error
orders.sleep(until=pause)  # error
orders.sleep(until=60)  # error
orders.sleep(lambda order: order.nothing)  # error
orders.sleep(lambda order: "1 h")  # error
orders.sleep(1, until=datetime.now(UTC))  # error
orders.then(check).sleep(pause)  # error
pairs.sleep(pause)  # error
assert_type(
    orders.wait_for(quoted, timeout=pause, default=Quote(cents=1)),
    Workflow[Order, tuple[Order, Quote]],
)
assert_type(
    orders.wait_for(quoted, until=lambda order: due(order) + timedelta(1), id="q"),
    Workflow[Order, tuple[Order, Quote]],
)
assert_type(orders.wait_for(quoted, until=datetime.now(UTC)), Workflow[Order, tuple[Order, Quote]])
assert_type(
    pairs.wait_for(quoted, timeout=pause_both),
    Workflow[Order, tuple[tuple[Order, Stock], Quote]],
)
orders.wait_for(quoted, timeout=due)  # error
orders.wait_for(quoted, until=pause)  # error
orders.wait_for(quoted, timeout=pause, default=3)  # error
orders.then(check).wait_for(quoted, timeout=pause)  # error

# wait_for
assert_type(orders.wait_for(quoted), Workflow[Order, tuple[Order, Quote]])
assert_type(orders.then(check).wait_for(quoted).then(confirm), Workflow[Order, str])
assert_type(
    orders.wait_for(quoted, timeout=60, default=Quote(cents=1), id="q"),
    Workflow[Order, tuple[Order, Quote]],
)
assert_type(nothing.wait_for(quoted), Workflow[object, tuple[None, Quote]])
assert_type(nothing.wait_for(quoted).then(keep_none), Workflow[object, str])
assert_type(
    orders.wait_for(quoted).wait_for(Signal("n", int)),
    Workflow[Order, tuple[tuple[Order, Quote], int]],
)
orders.wait_for(quoted).then(confirm)  # error
orders.wait_for("quoted")  # error
orders.wait_for(Quote)  # error
orders.wait_for(quoted, timeout="soon")  # error
orders.wait_for(quoted, timeout=5, default=3)  # error
orders.wait_for(quoted, timeout=5, default=None)  # error
orders.then(check).wait_for(Signal("n", int)).then(confirm)  # error


@step
async def either(stock: Stock, quote: Quote | None) -> str:
    return ""


assert_type(orders.then(check).wait_for(quoted).then(either), Workflow[Order, str])


def both(stock: Stock, quote: Quote) -> bool:
    return stock.available


waited = orders.then(check).wait_for(quoted)
assert_type(waited.when(both, confirm).otherwise(either), Workflow[Order, str])
assert_type(waited.parallel(confirm, either), Workflow[Order, tuple[str, str]])
branch = Workflow("branch", input=Order).sleep(1).wait_for(quoted)
assert_type(
    orders.parallel(branch, passthrough(Order)),
    Workflow[Order, tuple[tuple[Order, Quote], Order]],
)
assert_type(orders.then(prepare).then(branch), Workflow[Order, tuple[Order, Quote]])


# send
async def sending(engine: Engine, handle: RunHandle[str]) -> None:
    await engine.send("r", quoted, Quote(cents=1))
    await engine.send("r", "quoted", {"cents": 1})
    await handle.send(quoted, Quote(cents=1))
    await handle.send(Signal("ping", None), None)
    await engine.send("r", quoted, 3)  # error
    await engine.send("r", quoted)  # error
    await handle.send(quoted, None)  # error
