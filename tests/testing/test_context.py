"""`testing.context`: a step is called like a function, with a context that tells what it did."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from gorkflow import (
    Completed,
    Failed,
    Failure,
    FailureCode,
    Skipped,
    StepCancelledError,
    StepContext,
    StepValueError,
    UnavailableError,
    step,
    testing,
)


@dataclass
class Order:
    id: int


@step
async def prepare(order: Order) -> str:
    return "ready"


@step(reads=(prepare,))
async def ship(ctx: StepContext[dict[str, int]], order: Order) -> str:
    ctx.progress(1, 2, "packed")
    ctx.logger.info("order %d", order.id)
    return f"{ctx.outputs[prepare]} {ctx.deps['van']} {ctx.idempotency_key}"


def test_a_step_runs_without_an_engine_and_its_reports_can_be_looked_at():
    ctx = testing.context(
        run_id="r1", path="child/ship", deps={"van": 3}, outputs={prepare: "packed"}
    )
    assert asyncio.run(ship(ctx, Order(7))) == "packed 3 r1:child/ship"
    assert ctx.reports == [(1, 2, "packed")]
    assert ctx.messages == ["order 7"]


def test_its_log_goes_on_to_the_logger_of_steps(caplog):
    caplog.set_level(logging.DEBUG, "gorkflow.step")
    ctx = testing.context(path="a/b[3]", attempt=4)
    ctx.logger.debug("here")
    assert caplog.messages == ["here"]
    record = caplog.records[0]
    assert (record.path, record.step_id, record.attempt) == ("a/b[3]", "b", 4)
    assert ctx.records == caplog.records


def test_what_it_logs_is_kept_at_any_level():
    ctx = testing.context()
    ctx.logger.debug("fine print")
    assert ctx.messages == ["fine print"]
    assert testing.context().messages == []


def test_outcomes_of_all_kinds():
    failure = Failure(
        path="prepare",
        step_id="prepare",
        attempt=1,
        code=FailureCode.TIMEOUT,
        type="",
        message="late",
        at=datetime.now(UTC),
    )
    ctx = testing.context(
        outputs={"plain": 1},
        outcomes={prepare: Failed("prepare", failure), "other": Skipped("other", "no")},
    )
    assert ctx.outcome("plain") == Completed("plain", 1)
    assert isinstance(ctx.outcome("other"), Skipped)
    with pytest.raises(UnavailableError, match="late"):
        ctx.outputs[prepare]
    assert ctx.outputs.get(prepare, "none") == "none"


def test_an_output_that_the_test_does_not_give_is_named():
    with pytest.raises(UnavailableError, match=r"outputs=\{'prepare': …\}"):
        testing.context().outputs[prepare]


def test_run_input_is_a_copy_of_the_annotated_type():
    order = Order(7)
    ctx = testing.context(run_input=order)
    copy = ctx.run_input(Order)
    assert copy == order
    assert copy is not order
    with pytest.raises(StepValueError):
        ctx.run_input(int)
    with pytest.raises(UnavailableError, match="run_input="):
        testing.context().run_input(Order)
    assert testing.context(run_input=None).run_input(type(None)) is None


def test_cancelled_and_deadline():
    due = datetime(2026, 1, 1, tzinfo=UTC)
    ctx = testing.context(deadline=due)
    assert ctx.deadline == due
    ctx.raise_if_cancelled()
    ctx.cancel()
    assert ctx.cancelled
    with pytest.raises(StepCancelledError):
        testing.context(cancelled=True).raise_if_cancelled()


def test_tags_and_the_due_time_of_a_scheduled_run_are_given():
    due = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
    ctx = testing.context(tags={"team": "a"}, scheduled_for=due)
    assert ctx.tags == {"team": "a"}
    assert ctx.scheduled_for == due
    with pytest.raises(TypeError):
        ctx.tags["team"] = "b"  # type: ignore[index]
    assert testing.context().tags == {}
    assert testing.context().scheduled_for is None
    with pytest.raises(ValueError, match="no time zone"):
        testing.context(scheduled_for=due.replace(tzinfo=None))
    with pytest.raises(TypeError, match="tags is of another kind"):
        testing.context(tags=["team"])  # type: ignore[arg-type]
