"""`testing.explore`: many orders, each drawn from a seed, the same each time."""

import asyncio
import itertools
import threading
from collections import Counter
from typing import Any

import pytest

from gorkflow import StepContext, Workflow, at_least, step, testing


class World:
    """What steps share behind the engine's back."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.working = 0
        self.most = 0


Deps = StepContext[World]


@step
async def quick(ctx: Deps, number: int) -> int:
    ctx.deps.seen.append("quick")
    return number


@step
async def sleepy(ctx: Deps, number: int) -> int:
    await asyncio.sleep(5)
    ctx.deps.seen.append("sleepy")
    return number


@step
def threaded(ctx: Deps, number: int) -> int:
    ctx.deps.working += 1
    ctx.deps.most = max(ctx.deps.most, ctx.deps.working)
    ctx.deps.seen.append("threaded")
    ctx.deps.working -= 1
    return number


@step(id="threaded-too")
def threaded_too(ctx: Deps, number: int) -> int:
    return threaded(ctx, number)


@step
async def add(ctx: Deps, a: int, b: int, c: int, d: int) -> int:
    return a + b + c + d


@step
async def last(ctx: Deps, a: int, b: int, c: int, d: int) -> str:
    return ctx.deps.seen[-1]


block = Workflow("w", input=int).parallel(quick, sleepy, threaded, threaded_too)
SEEDS = range(40)


def test_a_workflow_that_does_not_care_has_no_differences():
    report = testing.explore(block.then(add), 1, make_deps=World, seeds=SEEDS)
    assert report.differences == report.by_design == ()
    assert report.runs == 41
    assert report.orders > 10
    assert "0 ended otherwise" in str(report)
    assert "0 ended otherwise" in repr(report)


def test_a_workflow_that_depends_on_the_order_is_found_out_and_replayed():
    workflow = block.then(last)
    report = testing.explore(workflow, 1, make_deps=World, seeds=SEEDS)
    outputs = [item for item in report.differences if item.what == "output"]
    assert outputs
    assert report.by_design == ()
    found = outputs[0]
    assert f"seed={report.differences[0].number}" in str(report)
    assert len(repr(report)) < 200  # pytest cuts a longer one out of the message of an assert
    for _ in range(3):
        again = testing.run_sync(workflow, 1, deps=World(), seed=found.number)
        assert again.output == found.got


@pytest.mark.parametrize("seed", [0, 3, 8])
def test_everything_follows_from_the_seed(seed):
    def story() -> Any:
        world = World()
        result = testing.run_sync(block.then(add), 1, deps=world, seed=seed)
        return result.order, world.seen, [(e.kind, e.path) for e in result.events]

    assert story() == story()


def test_all_orders_of_three_steps_come_up():
    three = Workflow("w", input=int).parallel(quick, sleepy, threaded)
    orders = Counter(
        testing.run_sync(three, 1, deps=World(), seed=seed).order for seed in range(120)
    )
    assert len(orders) == 6


def test_several_results_come_in_one_turn_too():
    @step
    async def one(number: int) -> int:
        return 1

    branches = [one.options(id=f"s{n}") for n in range(5)]
    workflow = Workflow("w", input=int).parallel(*branches)
    together = 0
    for seed in range(20):
        events = testing.run_sync(workflow, 1, seed=seed).events
        done = [e for e in events if e.kind == "step_completed"]
        together += any(b.seq == a.seq + 1 for a, b in itertools.pairwise(done))
    assert together > 0


def test_threads_work_one_at_a_time():
    world = World()
    testing.explore(block.then(add), 1, deps=world, seeds=SEEDS)
    assert world.most == 1


def test_threads_that_need_each_other_are_not_left_waiting():
    both = threading.Barrier(2)

    @step
    def one(number: int) -> int:
        both.wait(20)
        return 1

    workflow = Workflow("w", input=int).parallel(one, one.options(id="two"))
    assert testing.explore(workflow, 1, seeds=[1]).differences == ()


def test_no_thread_is_left_behind():
    first = Workflow("w", input=int).parallel(quick, sleepy, threaded, threaded_too, join="first")
    testing.explore(first, 1, deps=World(), seeds=SEEDS)
    before = threading.active_count()
    testing.explore(first, 1, deps=World(), seeds=SEEDS)
    assert threading.active_count() <= before + 2  # those that are just ending


@pytest.mark.parametrize("join", ["first", at_least(2)], ids=str)
def test_joins_that_let_the_order_decide_are_told_apart(join):
    workflow = Workflow("w", input=int).parallel(quick, sleepy, threaded, join=join)
    report = testing.explore(workflow, 1, deps=World(), seeds=SEEDS)
    assert report.differences == ()
    assert report.by_design
    assert f"join '{join}' of block '&quick'" in str(report)


def test_what_a_failed_block_leaves_undone_is_told_apart():
    @step
    async def fails(number: int) -> int:
        raise ValueError("no")

    chain = Workflow("chain", input=int).then(quick).then(quick.options(id="after"))
    workflow = Workflow("w", input=int).parallel(fails, chain)
    report = testing.explore(workflow, 1, deps=World(), seeds=SEEDS)
    assert report.differences == ()
    assert {item.what for item in report.by_design} <= {"step 'chain/after'", "step 'chain/quick'"}
    assert report.by_design


def test_failing_in_some_orders_only_is_a_difference():
    @step
    async def needs_quick(ctx: Deps, number: int) -> int:
        if "quick" not in ctx.deps.seen:
            raise LookupError("quick was not there yet")
        return 1

    workflow = Workflow("w", input=int).parallel(needs_quick, quick)
    report = testing.explore(workflow, 1, make_deps=World, seeds=SEEDS)
    assert {"status"} <= {item.what for item in report.differences}


def test_a_run_that_gets_stuck_in_some_orders_only_is_a_difference():
    class Turn:
        def __init__(self) -> None:
            self.taken = asyncio.Event()
            self.first = ""

    @step
    async def one(ctx: StepContext[Turn], number: int) -> int:
        ctx.deps.first = ctx.deps.first or "one"
        ctx.deps.taken.set()
        return 1

    @step
    async def two(ctx: StepContext[Turn], number: int) -> int:
        if not ctx.deps.first:
            ctx.deps.first = "two"
            await asyncio.Event().wait()
        return 1

    workflow = Workflow("w", input=int).parallel(one, two)
    report = testing.explore(workflow, 1, make_deps=Turn, seeds=SEEDS)
    assert {item.what for item in report.differences} == {"end"}
    assert "'two' (running)" in str(report)


def test_it_works_where_a_loop_runs():
    async def main() -> int:
        return testing.explore(block.then(add), 1, deps=World(), seeds=[1, 2]).runs

    assert asyncio.run(main()) == 3


def test_fakes_and_other_options_hold_in_every_run():
    report = testing.explore(
        block.then(last), 1, deps=World(), fakes={last: "same"}, tags={"a": "b"}, seeds=SEEDS
    )
    assert report.differences == ()
