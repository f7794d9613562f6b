"""Steps: what ``@step`` makes of a function."""

from collections.abc import Coroutine
from typing import Any, assert_type

from models import (
    Deps,
    Note,
    Order,
    Quote,
    Stock,
    check,
    confirm,
    done,
    maybe,
    note,
    optional,
    plain,
    quote,
    tick,
)

from gorkflow.context import StepContext
from gorkflow.model import Outcome
from gorkflow.node import Node
from gorkflow.step import AsyncStep, Step, SyncStep, step

assert_type(check, AsyncStep[[Order], Stock, Stock])
assert_type(quote, SyncStep[[Order], Quote, Quote])
assert_type(note, AsyncStep[[Order], Note, Note])
assert_type(plain, SyncStep[[Order], dict[str, Any], dict[str, Any]])
assert_type(confirm, AsyncStep[[tuple[Stock, Quote]], str, str])
assert_type(maybe, AsyncStep[[Order], int | None, int | None])
assert_type(optional, AsyncStep[[Order], Stock | None, Stock])
assert_type(tick, SyncStep[[object], int, int])
assert_type(done, SyncStep[[object], None, None])


@step
async def three(a: int, b: str, c: list[Order]) -> bool:
    return True


assert_type(three, AsyncStep[[tuple[int, str, list[Order]]], bool, bool])


@step(reads=(check,))
def seven(  # noqa: PLR0917 - that is the point
    ctx: StepContext[Deps], a: int, b: str, c: int, d: str, e: int, f: str, g: Quote
) -> int:
    return 1


assert_type(seven, SyncStep[[tuple[int, str, int, str, int, str, Quote]], int, int])


@step(executor="process", timeout=5)
def heavy(order: Order, rounds: int = 3) -> Quote:
    return Quote(cents=rounds)


assert_type(heavy, SyncStep[[Order], Quote, Quote])
assert_type(heavy.options(executor="cluster"), SyncStep[[Order], Quote, Quote])
heavy.options(executor=3)  # error


@step
def outcomes(results: tuple[Outcome[Stock], ...]) -> list[str]:
    return []


@step
async def agent(prompt: str, *, model: str = "small", heat: float = 0.5) -> str:
    return model


@step
def with_default(prompt: str, model: str = "small") -> str:
    return model


assert_type(agent, AsyncStep[[str], str, str])
assert_type(with_default, SyncStep[[str], str, str])
assert_type(agent.bind("other", model="large"), AsyncStep[[str], str, str])

# Calling a step calls the function.
coroutine: Coroutine[Any, Any, Stock] = check(Order(id=1))
assert_type(quote(Order(id=1)), Quote)

# Options.
assert_type(check.options(id="other"), AsyncStep[[Order], Stock, Stock])
assert_type(check.options(continue_on_error=True), AsyncStep[[Order], Stock | None, Stock])
assert_type(optional.options(continue_on_error=False), AsyncStep[[Order], Stock, Stock])
assert_type(optional.options(timeout=3), AsyncStep[[Order], Stock | None, Stock])
assert_type(quote.options(continue_on_error=True), SyncStep[[Order], Quote | None, Quote])


class Service:
    def look(self, order: Order) -> Stock:
        return Stock(available=True)


assert_type(step(Service().look, id="look"), SyncStep[[Order], Stock, Stock])

as_step: Step[[Order], Stock] = check
as_node: Node[Order, Stock] = check
wrong_output: Node[Order, Quote] = check  # error
wrong_input: Node[Stock, Stock] = check  # error

step(5)  # error
step(id=5)  # error
step(timeot=5)  # error
check.options(retires=3)  # error


def reads(ctx: StepContext) -> None:
    assert_type(ctx.outputs[check], Stock)
    assert_type(ctx.outputs[optional], Stock | None)
    assert_type(ctx.outputs.get(check), Stock | None)
    assert_type(ctx.outputs.get(check, 5), Stock | int)
    assert_type(ctx.outcome(check), Outcome[Stock])
    assert_type(ctx.run_input(Order), Order)
    assert_type(ctx.deps, object)
    ctx.outputs[5]  # error


def typed_deps(ctx: StepContext[Deps]) -> None:
    assert_type(ctx.deps, Deps)
    ctx.deps.nothing  # error
