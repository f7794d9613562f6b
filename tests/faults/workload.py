"""Workflows of every shape, whose outcome follows from their input alone, whatever gets killed."""

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from gorkflow import (
    Completed,
    Failed,
    Outcome,
    RetryPolicy,
    Signal,
    StepContext,
    Workflow,
    at_least,
    passthrough,
    step,
    tolerate,
)
from tests.faults.ledger import begin, end

SOON = RetryPolicy(retries=6, initial_interval=0.004, backoff="constant")
GO, NEVER = Signal("go", int), Signal("never", int)
WAIT_FOR_GO = {"asks", "waits-aside"}
LONG = 60.0  # seconds that no run ever waits: what sleeps as long is cancelled or times out


class Job(BaseModel):
    base: int


class TriedError(Exception):
    pass


def pause(ctx: StepContext[Any], value: object) -> float:
    """Return the seconds that a handler takes: mostly short, often none."""
    return random.Random(f"{ctx.run_id} {ctx.path} {value}").choice((0, 0, 0.001, 0.004, 0.012))


@step
async def draw(ctx: StepContext, job: Job) -> int:
    begin(ctx, job.base)
    await asyncio.sleep(pause(ctx, job.base))
    return end(ctx, job.base)


@step
async def add(ctx: StepContext, value: int, *, more: int = 1) -> int:
    begin(ctx, value)
    await asyncio.sleep(pause(ctx, value))
    return end(ctx, value + more)


@step
def double(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    time.sleep(pause(ctx, value))
    return end(ctx, value * 2)


@step(retries=SOON)
async def flaky(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt <= 1 + value % 3:
        raise TriedError(ctx.attempt)
    return end(ctx, value + 5)


@step(retries=SOON)
def flaky_sync(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    time.sleep(pause(ctx, value))
    if ctx.attempt <= 1 + value % 2:
        raise TriedError(ctx.attempt)
    return end(ctx, value + 7)


@step(timeout=0.05, retries=SOON)
async def hangs_once(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt == 1:
        await asyncio.sleep(LONG)
    return end(ctx, value + 11)


@step(timeout=0.05, retries=SOON)
def blocks_once(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt == 1:
        time.sleep(0.15)  # past its timeout; returns late, unheard
    return end(ctx, value + 13)


@step
async def breaks(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    await asyncio.sleep(pause(ctx, value))
    raise TriedError("always")


@step
async def hangs(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    await asyncio.sleep(LONG)
    return end(ctx, value)


@step
async def same(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    await asyncio.sleep(pause(ctx, value))
    return end(ctx, value)


@step
async def total(ctx: StepContext, values: tuple[int, ...]) -> int:
    begin(ctx, values)
    return end(ctx, sum(values))


@step
def total_of_known(ctx: StepContext, values: tuple[int | None, ...]) -> int:
    begin(ctx, values)
    return end(ctx, sum(value for value in values if value is not None))


@step
async def codes(ctx: StepContext, outcomes: tuple[Outcome[int], ...]) -> str:
    begin(ctx, len(outcomes))
    told = ["ok" if isinstance(o, Completed) else _code(o) for o in outcomes]
    return end(ctx, " ".join(told))


def _code(outcome: Outcome[int]) -> str:
    return outcome.failure.code.value if isinstance(outcome, Failed) else type(outcome).__name__


@step
async def enough(ctx: StepContext, outcomes: tuple[Outcome[int], ...]) -> bool:
    begin(ctx, len(outcomes))
    return end(ctx, sum(isinstance(o, Completed) for o in outcomes) >= 2)


@step
async def several(ctx: StepContext, value: int) -> list[int]:
    begin(ctx, value)
    return end(ctx, [value + number for number in range(value % 7)])


@step
async def breaks_at_times(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    await asyncio.sleep(pause(ctx, value))
    if value % 5 == 0:
        raise TriedError("at times")
    return end(ctx, value)


@step
async def total_of_list(ctx: StepContext, values: list[int]) -> int:
    begin(ctx, values)
    return end(ctx, sum(values))


@step
async def codes_of_list(ctx: StepContext, outcomes: list[Outcome[int]]) -> str:
    begin(ctx, len(outcomes))
    told = ["ok" if isinstance(o, Completed) else _code(o) for o in outcomes]
    return end(ctx, " ".join(told))


@step
async def told_both(ctx: StepContext, value: int, words: str) -> str:
    begin(ctx, (value, words))
    return end(ctx, f"{value} {words}")


@step
async def plus(ctx: StepContext, value: int, more: int) -> int:
    begin(ctx, (value, more))
    return end(ctx, value + more)


def adds(count: int, prefix: str) -> list[Any]:
    return [(double if n % 3 == 0 else add).options(id=f"{prefix}{n}") for n in range(count)]


def sames(count: int) -> list[Any]:
    return [same.options(id=f"s{n}") for n in range(count)]


def is_even(value: int) -> bool:
    return value % 2 == 0


def never(_: int) -> bool:
    return False


def number_of(value: int) -> str:
    return f"no {value}/7"


async def is_large(value: int) -> bool:
    await asyncio.sleep(0)
    return value > 500


def begun(name: str) -> Workflow[Job, int]:
    return Workflow(name, input=Job).then(draw)


def inner(name: str) -> Workflow[int, int]:
    """Return a workflow for use as a branch."""
    return Workflow(name, input=int)


def whole() -> list[Workflow[Job, Any]]:
    return [
        begun("chain").then(add).then(double).then(flaky).then(add.options(id="last")),
        begun("block").parallel(*adds(4, "b")).then(total),
        begun("wide").parallel(*adds(24, "w"), max_concurrency=6).then(total),
        begun("settled")
        .parallel(
            add,
            breaks,
            hangs.options(timeout=0.04),
            Workflow("late", input=int, timeout=0.06).then(same).then(hangs.options(id="ever")),
            join="settled",
        )
        .then(codes),
        begun("timed")
        .parallel(hangs, hangs.options(id="hangs-too"), join="settled", timeout=0.05)
        .then(codes),
        begun("first").parallel(*sames(4), hangs, join="first").then(add),
        begun("at-least").parallel(*sames(3), hangs, join=at_least(2)).then(enough),
        begun("tolerate").parallel(*adds(3, "t"), breaks, join=tolerate(1)).then(codes),
        begun("nested").parallel(left(), right(), passthrough(int)).then(total),
        begun("retries").then(flaky).then(hangs_once).then(flaky_sync).then(blocks_once),
        begun("choices")
        .then_if(is_even, double)
        .when(is_large, inner("large").then(add).then(flaky))
        .otherwise(same)
        .then(add.options(id="last")),
        begun("lenient")
        .parallel(*adds(2, "l"), breaks.options(continue_on_error=True), flaky)
        .then(total_of_known),
        begun("drained").parallel(inner("on").then(add).then(double), breaks).then(total),
        begun("naps").sleep(0.02).then(add).sleep(0.05, id="again").then(double),
        begun("asks").then(add).wait_for(GO).then(plus).then(flaky),
        begun("asks-in-time").wait_for(NEVER, timeout=0.03, default=5).then(plus),
        begun("waits-aside")
        .parallel(inner("told").wait_for(GO).then(plus), inner("rests").sleep(0.03).then(same))
        .then(total),
        begun("cut").parallel(add, hangs, breaks, on_failure="cancel").then(total),
        begun("mapped")
        .then(several)
        .map(inner("item").then(add).then(flaky), key=number_of, max_concurrency=3)
        .then(total_of_list),
        begun("map-tolerates")
        .then(several)
        .map(breaks_at_times, join=tolerate(percent=50))
        .then(codes_of_list),
        begun("looped").loop(grows(), until=is_large, max_iterations=20).then(add),
        begun("loop-ends").loop(grows(), until=never, max_iterations=2).then(add),
        begun("rounds")
        .then(several)
        .map(inner("each").loop(grows(), until=is_large, max_iterations=20), max_concurrency=2)
        .parallel(total_of_list, inner_list("other").map(same, join="settled").then(codes_of_list))
        .then(told_both),
    ]


def grows() -> Workflow[int, int]:
    return inner("round").then(add).then(double)


def inner_list(name: str) -> Workflow[list[int], list[int]]:
    return Workflow(name, input=list[int])


def left() -> Workflow[int, int]:
    return inner("left").then(add).then(flaky_sync).then(double)


def right() -> Workflow[int, int]:
    deep = inner("deep").parallel(*adds(2, "d")).then(total)
    return inner("right").then(same).parallel(*adds(3, "r"), deep).then(total.options(id="sum"))


WORKFLOWS: dict[str, Workflow[Job, Any]] = {workflow.id: workflow for workflow in whole()}


@dataclass(frozen=True)
class Start:
    """One run of the plan."""

    run_id: str
    workflow: Workflow[Job, Any]
    job: Job
    cancel: bool
    """Whether it is cancelled soon after it was started."""


def planned(seed: int, index: int) -> Start:
    """Return run number ``index`` of a plan: the same for the same seed."""
    chance = random.Random(f"{seed} {index}")
    workflow = WORKFLOWS[chance.choice(sorted(WORKFLOWS))]
    cancel = chance.random() < 0.06
    run_id = f"{index:04d}-{workflow.id}"
    return Start(run_id, workflow, Job(base=chance.randrange(1000)), cancel)


def planned_index(run_id: str) -> int:
    return int(run_id[:4])
