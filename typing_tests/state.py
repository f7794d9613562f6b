"""The state of a run."""

from typing import Any, assert_type

from models import Order, Stock, check

from gorkflow import Engine, RunHandle, State, StateConflictError, StepContext, Workflow, testing

orders = Workflow("orders", input=Order).then(check)


def writes(ctx: StepContext) -> None:
    assert_type(ctx.state, State)
    ctx.state["order"] = Order(id=1)
    ctx.state["list"] = [1, "two", None]
    ctx.state[7] = 1  # error
    del ctx.state["list"]
    assert_type(ctx.state.incr("n"), int)
    assert_type(ctx.state.incr("n", 2), int)
    assert_type(ctx.state.incr("n", by=0.5), float)
    ctx.state.incr("n", "1")  # error
    ctx.state.append("list", Order(id=1))
    ctx.state.append("list")  # error
    ctx.state.incr(7)  # error
    ctx.state = State((), "", 1)  # error


def counted(ctx: StepContext) -> int:
    number: int = ctx.state.get("n", 0)
    return number


def wrong(ctx: StepContext) -> Stock:
    return ctx.state.read("order", Order)  # error


def reads(ctx: StepContext) -> None:
    assert_type(ctx.state["n"], Any)
    assert_type(ctx.state.read("order", Order), Order)
    assert_type(ctx.state.read("order", Order, None), Order | None)
    assert_type(ctx.state.read("orders", list[Order], ()), list[Order] | tuple[()])
    assert_type("order" in ctx.state, bool)
    assert_type(len(ctx.state), int)
    for key in ctx.state:
        assert_type(key, str)
    assert_type(dict(ctx.state), dict[str, Any])


async def starts(engine: Engine) -> None:
    assert_type(await engine.start(orders, Order(id=1), state={"n": 1}), RunHandle[Stock])
    await engine.start(orders, Order(id=1), state={1: 1})  # error
    await engine.start(orders, Order(id=1), state=[1])  # error
    result = await testing.run(orders, Order(id=1), state={"n": 1})
    assert_type(result.run.state["n"], Any)
    testing.context(state={"n": 1}).state.incr("n")
    testing.context(state=1)  # error
    try:
        await engine.run(orders, Order(id=1))
    except StateConflictError as error:
        assert_type(error.run_id, str)
