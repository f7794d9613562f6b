"""Sleeps, and waits for signals."""

from datetime import timedelta
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
