"""Sleeps and timeouts whose time a function says: asked once, recorded, checked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow import (
    Client,
    Engine,
    RunBlockedError,
    RunFailedError,
    Signal,
    Workflow,
    step,
    testing,
)
from gorkflow import events as ev
from gorkflow.testing import VirtualEngine, in_virtual_time

from .support import broken, calls, in_loop, step_of

DAY = 86_400.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)  # when virtual time begins


class Order(BaseModel):
    pause: float = 0.01
    due: datetime = NOW


@step
async def ship(order: Order) -> str:
    return "shipped"


@step
async def same(order: Order) -> Order:
    return order


@step
async def by(order: Order, who: str) -> str:
    return who


@step
def soon_again(order: Order) -> Order:
    return order.model_copy(update={"pause": order.pause + 1})


async def later(order: Order) -> timedelta:
    calls.append("later")
    if "later" in broken:
        raise ValueError("not today")
    return timedelta(seconds=order.pause)


def pause(order: Order) -> float:
    calls.append("pause")
    return order.pause


def due(order: Order) -> datetime:
    calls.append("due")
    return order.due


approved = Signal("approved", str)
orders = Workflow("orders", input=Order)


def virtually(workflow: Workflow[Any, Any], value: Any) -> tuple[Any, float]:
    """Run a workflow in virtual time; return what it gives, and how many seconds it took."""

    async def main() -> tuple[Any, float]:
        async with VirtualEngine() as engine:
            clock = asyncio.get_running_loop().time
            before = clock()
            return await engine.run(workflow, value), clock() - before

    return in_virtual_time(main())


async def said(engine: Engine, run_id: str) -> list[ev.Timed]:
    return [e for e in await engine.store.read_events(run_id) if isinstance(e, ev.Timed)]


# ---- how long ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workflow", "seconds"),
    [
        (orders.sleep(lambda order: order.pause), DAY),
        (orders.sleep(lambda order: int(order.pause)), DAY),
        (orders.then(same).sleep(later), DAY),
        (orders.sleep(lambda: timedelta(hours=1)), 3600),
        (orders.sleep(lambda order: 0), 0),
        (orders.sleep(until=lambda order: order.due), 2 * DAY),
        (orders.sleep(until=lambda: NOW - timedelta(days=9000)), 0),
        (orders.sleep(until=lambda: datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))), 0),
        (orders.sleep(until=datetime(2026, 1, 1, 6, tzinfo=timezone(timedelta(hours=5)))), 3600),
        (orders.sleep(until=datetime(1970, 1, 1, tzinfo=UTC)), 0),
        (Workflow("whole", input=Order).then(orders.sleep(pause)), DAY),
    ],
)
def test_a_sleep_takes_as_long_as_the_data_says(workflow: Any, seconds: float) -> None:
    order = Order(pause=DAY, due=NOW + timedelta(days=2))
    assert virtually(workflow.then(ship), order) == ("shipped", pytest.approx(seconds, abs=0.01))


def test_a_block_spreads_its_values_for_the_function() -> None:
    @step
    async def text(order: Order) -> str:
        return "7"

    def both(order: Order, text: str) -> float:
        return order.pause + float(text)

    blocks = orders.parallel(same, text)
    assert virtually(blocks.sleep(both).then(by), Order(pause=3)) == ("7", pytest.approx(10))
    waited = blocks.wait_for(approved, timeout=both, default="nobody")
    assert virtually(waited, Order(pause=3))[1] == pytest.approx(10)


def test_each_item_and_each_iteration_is_asked() -> None:
    napping = Workflow("napping", input=Order).sleep(pause).then(ship)
    mapped = Workflow("mapped", input=list[Order]).map(napping)
    items = [Order(pause=seconds) for seconds in (5, 60, 7)]
    assert virtually(mapped, items) == (["shipped"] * 3, pytest.approx(60))
    body = Workflow("body", input=Order).sleep(pause).then(soon_again)
    looped = orders.loop(body, until=lambda order: order.pause >= 4, max_iterations=9)
    assert virtually(looped, Order(pause=1))[1] == pytest.approx(1 + 2 + 3)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"timeout": pause}, DAY),
        ({"timeout": later}, DAY),
        ({"until": due}, 2 * DAY),
        ({"until": NOW + timedelta(hours=1)}, 3600),
        ({"until": lambda: NOW - timedelta(days=1)}, 0),
    ],
)
def test_a_wait_times_out_when_the_data_says(options: Any, seconds: float) -> None:
    order = Order(pause=DAY, due=NOW + timedelta(days=2))
    waited = orders.wait_for(approved, default="nobody", **options).then(by)
    assert virtually(waited, order) == ("nobody", pytest.approx(seconds, abs=0.01))
    limit = "by 2" if "until" in options else "within 86400 s"
    with pytest.raises(RunFailedError, match=f"signal 'approved' did not arrive {limit}"):
        virtually(orders.wait_for(approved, **options).then(by), order)


@pytest.mark.parametrize("options", [{"timeout": pause}, {"timeout": lambda: float("inf")}])
def test_a_signal_that_comes_in_time_withdraws_the_timeout(options: Any) -> None:
    waited = orders.wait_for(approved, **options).then(by)

    async def main() -> None:
        async with VirtualEngine() as engine:
            began = asyncio.get_running_loop().time()
            handle = await engine.start(waited, Order(pause=DAY))
            await handle.send(approved, "ann")
            assert await handle.result() == "ann"
            assert asyncio.get_running_loop().time() - began < 1

    in_virtual_time(main())


# ---- what is wrong ----------------------------------------------------------------------------

WRONG_PAUSES = [
    (-1, "must be 0 seconds or more, and end, not -1"),
    (float("nan"), "not nan"),
    (float("inf"), "must be 0 seconds or more, and end, not inf"),
    (timedelta(seconds=-1), "not -1.0"),
    ("1h", "must be seconds or a timedelta, not '1h'"),
    (None, "must be seconds or a timedelta, not None"),
    (True, "must be seconds or a timedelta, not True"),
    (NOW, "must be seconds or a timedelta, not datetime.datetime"),
    (200 * 365 * DAY, "must be at most 100 years; it is in seconds"),
    (timedelta(days=200 * 365), "must be at most 100 years"),
    (10**400, "must be at most 100 years"),
    (10**5000, "must be at most 100 years; it is in seconds: an int of too many digits"),
]
WRONG_DUES = [
    (datetime(2026, 1, 2), "which has no time zone; say which, as in datetime.now"),  # noqa: DTZ001
    (NOW.date(), "must be a datetime with a time zone, not datetime.date"),
    ("tomorrow", "must be a datetime with a time zone, not 'tomorrow'"),
    (None, "must be a datetime with a time zone, not None"),
    (60, "must be a datetime with a time zone, not 60"),
    (True, "must be a datetime with a time zone, not True"),
    (NOW + timedelta(days=200 * 365), "must be at most 100 years from now"),
    (datetime.max.replace(tzinfo=UTC), "must be at most 100 years from now"),
]


def failure_of(workflow: Workflow[Any, Any]) -> tuple[str, str, str]:
    with pytest.raises(RunFailedError) as caught:
        virtually(workflow, Order())
    (failure,) = caught.value.failures
    return failure.path, failure.code, failure.message


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("result", "why"), WRONG_PAUSES, ids=range(len(WRONG_PAUSES)))
def test_what_is_no_duration_fails_the_run(result: Any, why: str, is_async: bool) -> None:
    async def nobody_knows(order: Order) -> Any:
        return result

    function = nobody_knows if is_async else lambda order: result
    path, code, message = failure_of(orders.sleep(function, id="nap"))
    assert (path, code) == ("nap", "condition")
    assert message.startswith("the time of sleep 'nap', ")
    assert why in message
    if result != float("inf"):
        why = why.replace("be 0 seconds or more, and end,", "be more than 0 seconds,")
        path, code, message = failure_of(orders.wait_for(approved, timeout=function, id="w"))
        assert (path, code) == ("w", "condition")
        assert message.startswith("the time of wait 'w', ")
        assert why in message


@pytest.mark.parametrize(("result", "why"), WRONG_DUES, ids=range(len(WRONG_DUES)))
def test_what_is_no_moment_fails_the_run(result: Any, why: str) -> None:
    for workflow in (
        orders.sleep(until=lambda order: result, id="nap"),
        orders.wait_for(approved, until=lambda order: result, id="nap"),
    ):
        path, code, message = failure_of(workflow)
        assert (path, code) == ("nap", "condition")
        assert "'nap', '<lambda in line" in message
        assert why in message


@in_loop
async def test_a_function_that_raises_fails_the_run_and_a_rerun_asks_again() -> None:
    broken.add("later")
    nap = orders.then(same).sleep(later).then(ship)
    async with Engine("memory:") as engine:
        handle = await engine.start(nap, Order())
        wrong = "the time of sleep 'sleep', 'later', raised ValueError: not today"
        with pytest.raises(RunFailedError, match=wrong):
            await handle.result()
        assert (await step_of(engine, handle.run_id, "sleep")).status == "failed"
        broken.clear()
        again = await engine.rerun(handle.run_id)
        assert await again.result() == "shipped"
        assert calls == ["later", "later"]


# ---- asked once -------------------------------------------------------------------------------


@in_loop
async def test_it_is_asked_once_whatever_becomes_of_the_process(tmp_path: Path) -> None:
    nap = orders.sleep(pause).wait_for(approved, until=due, default="x").then(by)
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        run_id = (await engine.start(nap, Order(pause=0.05, due=datetime.now(UTC)))).run_id
        while not await said(engine, run_id):
            await asyncio.sleep(0.002)
    async with Engine(url, workflows=[nap]) as engine:
        assert await engine.handle(run_id, nap).result() == "x"
        assert calls == ["pause", "due"]
        slept, waited = await said(engine, run_id)
        assert (slept.path, slept.seconds, slept.due) == ("sleep", 0.05, None)
        assert (waited.path, waited.seconds) == ("approved", None)
        again = await engine.rerun(run_id, from_step="by")
        assert await again.result() == "x"
        assert calls == ["pause", "due"]  # both are kept
        assert not await said(engine, again.run_id)
        again = await engine.rerun(run_id, from_step="sleep")
        assert await again.result() == "x"
        assert calls == ["pause", "due", "pause", "due"]


def test_a_crash_at_every_commit_changes_nothing() -> None:
    flow = (
        orders.then(same)
        .sleep(lambda order: order.pause)
        .wait_for(approved, timeout=lambda order: order.pause, default="nobody")
        .then(by)
    )
    report = testing.crash_at_every_commit(flow, Order(pause=30))
    assert report.differences == ()
    assert report.undisturbed.output == "nobody"


@in_loop
async def test_a_run_that_is_cancelled_while_it_asks_says_so() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(order: Order) -> float:
        asked.set()
        await go_on.wait()
        return 1

    async with Engine("memory:") as engine:
        handle = await engine.start(orders.sleep(slow).then(ship), Order())
        await asked.wait()
        await handle.cancel("enough")
        nap = await step_of(engine, handle.run_id, "sleep")
        assert (nap.status, nap.reason) == ("cancelled", "enough")
        assert (await engine.get_run(handle.run_id)).status == "cancelled"


@in_loop
async def test_each_live_run_asks_its_own_function() -> None:
    def paused(seconds: float) -> Workflow[Any, Any]:
        return orders.wait_for(approved).sleep(lambda order, who: seconds, id="nap")

    async with Engine("memory:") as engine:
        runs = [await engine.start(paused(seconds), Order()) for seconds in (0.01, 0.02)]
        for run in runs:
            await run.send(approved, "ann")
            await run.result()
        times = [(await said(engine, run.run_id))[0].seconds for run in runs]
    assert times == [0.01, 0.02]


# ---- other code -------------------------------------------------------------------------------


def half(order: Order) -> float:
    return order.pause / 2


def flow(**options: Any) -> Workflow[Any, Any]:
    return orders.then(same).sleep(**options).then(ship)


@pytest.mark.parametrize(
    ("now", "problem"),
    [
        (flow(duration=half), ""),
        (flow(duration=lambda order: order.pause), ""),
        (flow(duration=5), "the function that says the time of 'sleep' is gone"),
        (orders.then(same).then(ship), "the function that says the time of 'sleep' is gone"),
        (flow(until=due), "the function that says how long 'sleep' takes now says when it is over"),
    ],
)
@in_loop
async def test_a_run_needs_its_function_or_is_blocked(
    tmp_path: Path, now: Workflow[Any, Any], problem: str
) -> None:
    url = f"sqlite:{tmp_path}/runs.db"
    async with Client(url) as client:
        run_id = (await client.start(flow(duration=pause), Order())).run_id
    async with Engine(url, workflows=[now], recover=False) as engine:
        if problem:
            with pytest.raises(RunBlockedError, match=problem):
                await engine.recover(run_id)
        else:
            await engine.recover(run_id)
            assert await engine.handle(run_id, now).result() == "shipped"


@in_loop
async def test_once_asked_the_function_may_go(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/runs.db"
    async with Engine(url) as engine:
        run_id = (await engine.start(flow(duration=pause), Order(pause=0.3))).run_id
        while not await said(engine, run_id):
            await asyncio.sleep(0.002)
    async with Engine(url, workflows=[flow(duration=5)]) as engine:
        assert await engine.handle(run_id).result() == "shipped"
