"""Help for tests keeps the types of what it runs."""

from typing import assert_type

from models import Order, check, confirm, quote

from gorkflow import Workflow, testing
from gorkflow.testing import CrashReport, Exploration, FakeContext

shop = Workflow("shop", input=Order).parallel(check, quote).then(confirm)
order = Order(id=1)

# run
assert_type(testing.run_sync(shop, order).output, str)
assert_type(testing.run_sync(shop, order, fakes={check: 1, "quote": None}, seed=3).output, str)
testing.run_sync(shop, "no order")  # error
testing.run_sync(shop, order, fake={})  # error
testing.run_sync(shop)  # error


async def awaited() -> None:
    assert_type((await testing.run(shop, order, run_id="mine")).output, str)
    await testing.run(shop, 7)  # error


# explore, crash_at_every_commit
assert_type(testing.explore(shop, order, seeds=range(3)), Exploration)
assert_type(testing.crash_at_every_commit(shop, order, commits=[1]), CrashReport)
testing.explore(shop, 7)  # error
testing.crash_at_every_commit(shop, order, seeds=range(3))  # error

# context
assert_type(testing.context(deps=order), FakeContext[Order])
quote(testing.context(), order)
