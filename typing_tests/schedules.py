"""Schedules."""

from datetime import datetime, timedelta
from typing import Any, Literal, assert_type

from models import Order, check

from gorkflow import Engine, Schedule, Workflow

orders = Workflow("orders", input=Order).then(check)
nothing = Workflow("nothing")


async def use(engine: Engine) -> None:
    hourly = timedelta(hours=1)
    made = await engine.schedule(orders, Order(id=1), id="s", cron="0 3 * * *", timezone="UTC")
    assert_type(made, Schedule)
    assert_type(
        await engine.schedule(
            nothing,
            id="s",
            every=hourly,
            catch_up="skip",
            overlap="skip",
            tags={"a": "b"},
            priority=1,
        ),
        Schedule,
    )
    assert_type(await engine.schedules(), list[Schedule])
    assert_type(await engine.pause_schedule("s"), Schedule)
    assert_type(await engine.resume_schedule("s"), Schedule)
    await engine.unschedule("s")
    await engine.schedule(orders, 7, id="s", every=hourly)  # error
    await engine.schedule(orders, id="s", every=hourly)  # error
    await engine.schedule(nothing, every=hourly)  # error
    await engine.schedule(nothing, None, "s", every=hourly)  # error
    assert_type(await engine.schedule(nothing, id="s", every=60), Schedule)
    await engine.schedule(nothing, id="s", every="60")  # error
    await engine.schedule(nothing, id="s", cron=5)  # error
    await engine.schedule(nothing, id="s", every=hourly, catch_up="some")  # error
    await engine.schedule(nothing, id="s", every=hourly, overlap=True)  # error
    await engine.schedule(nothing, id="s", every=hourly, corn="x")  # error

    assert_type(made.id, str)
    assert_type(made.cron, str | None)
    assert_type(made.every, timedelta | None)
    assert_type(made.input, Any)
    assert_type(made.catch_up, Literal["skip", "last", "all"])
    assert_type(made.overlap, Literal["allow", "skip"])
    assert_type(made.next_due, datetime)
    assert_type(made.upcoming(3), list[datetime])
    made.paused = True  # error
    made.tags["a"] = "b"  # error
