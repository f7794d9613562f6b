"""`testing.run`: a workflow with fakes, and how it ended as data."""

import asyncio
import threading
import time
from dataclasses import dataclass
from unittest.mock import AsyncMock, Mock

import pytest

from gorkflow import (
    InputInvalidError,
    RetryPolicy,
    RunCancelledError,
    RunFailedError,
    RunStatus,
    Signal,
    StepContext,
    Workflow,
    WorkflowInvalidError,
    step,
    testing,
)


@dataclass
class Order:
    id: int


@dataclass
class Receipt:
    cents: int


@step(retries=RetryPolicy(retries=2, initial_interval=20, jitter=0))
async def charge(order: Order) -> Receipt:
    raise AssertionError("a test must not charge")


@step
def pack(order: Order) -> str:
    return f"parcel {order.id} in {threading.current_thread().name}"


@step
async def close(receipt: Receipt, parcel: str) -> str:
    return f"{parcel} for {receipt.cents}"


payment = Workflow("payment", input=Order).then(charge)
shop = Workflow("shop", input=Order).parallel(charge, pack).then(close)
nested = Workflow("nested", input=Order).parallel(payment, pack).then(close)


def run(workflow, fakes, **options):
    return testing.run_sync(workflow, Order(7), fakes=fakes, **options)


async def a_function(order: Order) -> Receipt:
    return Receipt(order.id)


@step(id="any-name")
async def a_step(order: Order) -> Receipt:
    return Receipt(order.id)


@step
def with_context(ctx: StepContext, order: Order) -> Receipt:
    return Receipt(order.id + len(ctx.path) - 6)


FAKES = {
    "value": Receipt(7),
    "function": lambda order: Receipt(order.id),
    "async function": a_function,
    "without parameters": lambda: Receipt(7),
    "with context": lambda ctx, order: Receipt(order.id + ctx.attempt - 1),
    "step": a_step,
    "sync step with context": with_context,
    "mock": Mock(return_value=Receipt(7)),
    "async mock": AsyncMock(return_value=Receipt(7)),
}


@pytest.mark.parametrize("fake", FAKES.values(), ids=FAKES)
@pytest.mark.parametrize("key", [charge, "charge"], ids=["step", "id"])
def test_kinds_of_fakes(fake, key):
    result = run(shop, {key: fake, pack: "parcel"})
    assert result.output == "parcel for 7"
    assert result.error is None
    assert result.status is RunStatus.COMPLETED


@pytest.mark.parametrize("key", [charge, "charge", "payment/charge"], ids=["step", "id", "path"])
def test_fakes_reach_into_nested_workflows(key):
    assert run(nested, {key: Receipt(3), "pack": "parcel"}).output == "parcel for 3"


def test_a_path_means_only_that_place():
    twice = Workflow("twice", input=Order).parallel(charge, payment)
    result = run(twice, {"payment/charge": Receipt(1), "charge": Receipt(2)})
    assert result.output == (Receipt(2), Receipt(2))
    result = run(twice, {"charge": Receipt(2), "payment/charge": Receipt(1)})
    assert result.output == (Receipt(2), Receipt(1))


def test_a_nested_workflow_can_be_faked_too():
    assert run(nested, {payment: Receipt(3), pack: "p"}).output == "p for 3"
    other = Workflow("other", input=Order).then(a_step)
    assert run(nested, {payment: other, pack: "p"}).output == "p for 7"


def test_fakes_run_on_the_loop_and_the_rest_where_it_belongs():
    assert "gorkflow-" in run(shop, {charge: Receipt(7)}).steps["pack"].output

    def where(order: Order) -> str:
        asyncio.get_running_loop()
        return "loop"

    assert run(shop, {charge: Receipt(7), pack: where}).steps["pack"].output == "loop"


def test_the_policy_of_the_step_stays_under_test():
    tries = []

    def fails_twice(order: Order) -> Receipt:
        tries.append(order)
        if len(tries) < 3:
            raise ConnectionError("try again")
        return Receipt(1)

    result = run(shop, {charge: fails_twice, pack: "p"})
    assert result.steps["charge"].attempt == 3
    took = result.run.finished_at - result.run.created_at
    assert took.total_seconds() == 20 + 40


def test_a_failed_run_is_looked_at_without_try():
    result = run(shop, {charge: ConnectionError("down"), pack: "p"})
    assert isinstance(result.error, RunFailedError)
    assert result.status is RunStatus.FAILED
    assert result.run.failures[0].message == "down"
    assert result.steps["charge"].attempt == 3
    assert result.events[-1].kind == "run_finished"
    assert [event.seq for event in result.events] == list(range(1, len(result.events) + 1))
    with pytest.raises(RunFailedError, match="down"):
        result.output


def test_a_cancelled_run_is_looked_at_without_try():
    @step
    async def forever(order: Order) -> None:
        await asyncio.sleep(10**6)

    async def main() -> None:
        async with testing.VirtualEngine() as engine:
            handle = await engine.start(Workflow("w", input=Order).then(forever), Order(1))
            await asyncio.sleep(3600)
            await handle.cancel("enough")
            with pytest.raises(RunCancelledError):
                await handle.result()

    testing.in_virtual_time(main())


PROBLEMS = {
    "no such step": ({"chage": 1}, "did you mean 'charge'"),
    "no such path": ({"payment/chage": 1}, "did you mean 'payment/charge'"),
    "other parameters": ({charge: lambda a, b: a}, r"takes \(a, b\), but the step is \(order"),
    "other types": (
        {charge: with_context, pack: a_step},
        "returns .*Receipt, but the step returns str",
    ),
    "other parameter type": ({pack: close}, "takes 2 inputs"),
    "no such value": ({charge: 7}, "is 7, but the step returns"),
    "a class": ({charge: Receipt}, "is the class 'Receipt'"),
    "no key": ({7: 7}, "given by step, id or path, not by 7"),
}


@pytest.mark.parametrize(("fakes", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_does_not_fit_is_an_error_that_says_why(fakes, message):
    with pytest.raises(WorkflowInvalidError, match=message):
        run(nested, fakes)


def test_all_problems_of_the_fakes_are_listed_at_once():
    with pytest.raises(WorkflowInvalidError) as raised:
        run(shop, {"chage": 1, charge: 7, pack: 8})
    assert len(raised.value.problems) == 3


def test_annotated_functions_are_checked_before_anything_runs():
    def wrong(order: int) -> Receipt:
        raise AssertionError("never called")

    with pytest.raises(WorkflowInvalidError, match="takes int, but the step takes order: "):
        run(shop, {charge: wrong})


def test_a_fake_that_returns_something_else_fails_its_step():
    result = run(shop, {charge: lambda: "what", pack: "p"})
    assert result.steps["charge"].failure.code == "validation"


def test_the_workflow_stays_as_it_is():
    before = shop.compile().fingerprint
    run(shop, {charge: Receipt(1)})
    assert shop.compile().fingerprint == before
    assert testing.with_fakes(shop, {}).compile().fingerprint == before


def test_run_id_and_times_are_the_same_each_time():
    def story():
        result = run(shop, {charge: ConnectionError("down"), pack: "p"})
        return [(event.run_id, event.kind, event.path, event.at) for event in result.events]

    assert story() == story()
    assert run(shop, {charge: Receipt(1)}, run_id="mine").run.run_id == "mine"


def test_it_can_be_awaited_in_a_real_loop_which_goes_on_meanwhile():
    seen = []

    @step
    def slow(order: Order) -> None:
        time.sleep(0.2)

    async def main():
        async def tick() -> None:
            while True:
                seen.append(1)
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        result = await testing.run(Workflow("w", input=Order).then(slow), Order(1))
        ticking.cancel()
        return result

    assert asyncio.run(main()).output is None
    assert len(seen) > 3


def test_awaiting_it_in_virtual_time_stays_in_that_loop():
    loops = []

    @step
    async def note(order: Order) -> None:
        loops.append(asyncio.get_running_loop())

    async def main() -> None:
        await testing.run(Workflow("w", input=Order).then(note), Order(1))
        assert loops == [asyncio.get_running_loop()]

    testing.in_virtual_time(main())


def test_who_waits_for_it_can_be_cancelled():
    ended = threading.Event()
    begun = threading.Event()

    @step
    async def waits(order: Order) -> None:
        begun.set()
        try:
            with testing.outside():
                await asyncio.Event().wait()
        finally:
            ended.set()

    async def main() -> None:
        task = asyncio.create_task(testing.run(Workflow("w", input=Order).then(waits), Order(1)))
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, 20)

    asyncio.run(main())


def test_errors_of_the_start_are_raised():
    with pytest.raises(InputInvalidError):
        testing.run_sync(shop, "no order")
    with pytest.raises(TypeError, match="unexpected keyword argument 'resurce_id'"):
        testing.run_sync(shop, Order(1), resurce_id="x")


def test_a_run_that_can_not_end_is_an_error_that_names_the_step():
    @step
    async def waits(order: Order) -> None:
        await asyncio.Event().wait()

    with pytest.raises(testing.StuckError, match=r"Not ended: 'waits' \(running\)"):
        testing.run_sync(Workflow("w", input=Order).then(waits), Order(1))


def test_deps_and_defaults_are_handed_on():
    @step
    async def looks(ctx: StepContext[str], order: Order) -> str:
        raise ConnectionError(ctx.deps)

    result = testing.run_sync(
        Workflow("w", input=Order).then(looks), Order(1), deps="here", defaults={"retries": 4}
    )
    assert result.steps["looks"].attempt == 5
    assert result.run.failures[0].message == "here"


approved = Signal("approved", int)


@step
async def first(order: Order) -> Order:
    return order


@step
async def both_of(order: Order, answer: int) -> int:
    return 100 * order.id + answer


waiting = Workflow("w", input=Order).then(first).sleep(86_400).wait_for(approved).then(both_of)


@pytest.mark.parametrize("signals", [{approved: 3}, {"approved": 3}, [("approved", 3)]], ids=str)
def test_signals_are_sent_and_durable_sleeps_are_virtual(signals):
    result = testing.run_sync(waiting, Order(7), signals=signals)
    assert result.output == 703
    assert (result.run.finished_at - result.run.created_at).total_seconds() == 86_400


def test_signals_of_one_name_are_sent_in_order():
    @step
    async def again(order: Order, answer: int) -> Order:
        return Order(10 * order.id + answer)

    twice = (
        Workflow("w", input=Order)
        .wait_for(approved)
        .then(again)
        .wait_for(approved, id="second")
        .then(both_of)
    )
    result = testing.run_sync(twice, Order(1), signals=[(approved, 2), (approved, 3)])
    assert result.output == 1203


def test_a_signal_that_is_not_sent_is_named():
    with pytest.raises(testing.StuckError, match=r"Not ended: 'approved' \(suspended\)"):
        testing.run_sync(waiting, Order(7))


def test_a_wait_with_a_timeout_goes_on_after_it():
    patient = (
        Workflow("w", input=Order).wait_for(approved, timeout=7 * 86_400, default=1).then(both_of)
    )
    result = testing.run_sync(patient, Order(7))
    assert result.output == 701
    assert (result.run.finished_at - result.run.created_at).total_seconds() == 7 * 86_400


def test_a_virtual_engine_shows_runs_that_wait_as_suspended():
    async def main() -> None:
        async with testing.VirtualEngine() as engine:
            handle = await engine.start(waiting, Order(7))
            await asyncio.sleep(3600)
            assert (await handle.info()).status is RunStatus.SUSPENDED
            await asyncio.sleep(86_400)
            await handle.send(approved, 4)
            assert await handle.result() == 704

    testing.in_virtual_time(main())


@step
def no_number(number: int) -> int:
    raise ValueError(number)


def test_an_error_of_a_step_has_no_context_of_ours() -> None:
    result = testing.run_sync(Workflow("breaking", input=int).then(no_number), 3)
    [failure] = result.run.failures
    assert "During handling" not in failure.traceback
