"""Named limits, wherever options are given."""

from datetime import timedelta
from typing import assert_type

from models import Order, Quote, Stock, check, quote

from gorkflow import Engine, Limit, Workflow
from gorkflow.step import AsyncStep, SyncStep, step

github = Limit("github", concurrency=5, rate=100, per=60.0)
assert_type(github, Limit)
assert_type(github.concurrency, int | None)
assert_type(github.rate, float | None)
assert_type(Limit("database", concurrency=2), Limit)
assert_type(Limit("mail", rate=0.5, per=timedelta(minutes=1)), Limit)


@step(limits=(github,), timeout=5)
async def fetch(order: Order) -> int:
    return 1


assert_type(fetch, AsyncStep[[Order], int, int])
assert_type(check.options(limits=(github,)), AsyncStep[[Order], Stock, Stock])
assert_type(quote.options(limits=[github]), SyncStep[[Order], Quote, Quote])
assert_type(check.options(limits=()), AsyncStep[[Order], Stock, Stock])
assert_type(
    check.options(limits=(github,), continue_on_error=True), AsyncStep[[Order], Stock | None, Stock]
)

Workflow("orders", input=Order, defaults={"limits": (github,)})
Engine(defaults={"limits": (github,)})

Limit("github", 5)  # error
Limit("github", concurrency="5")  # error
Limit("github", concurrency=5, burst=3)  # error
check.options(limits=github)  # error
check.options(limits=("github",))  # error
check.options(limit=(github,))  # error
Workflow("orders", input=Order, defaults={"limits": github})  # error
