"""Signals, and workflows that sleep and wait: what is built, and what can't be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow import flow
from gorkflow.errors import WorkflowInvalidError
from gorkflow.language.elements import renamed
from gorkflow.signal import Signal
from gorkflow.step import step
from gorkflow.workflow import Workflow, passthrough


class Order(BaseModel):
    id: int


class Approval(BaseModel):
    by: str


@step
async def prepare(order: Order) -> Order:
    return order


@step
async def ship(order: Order, approval: Approval) -> str:
    return approval.by


@step
async def ship_swapped(approval: Approval, order: Order) -> str:
    return approval.by


@step
async def ship_maybe(order: Order, approval: Approval | None) -> str:
    return ""


@step
async def ship_pair(pair: tuple[Order, Approval]) -> str:
    return ""


@step
async def ship_alone(order: Order) -> str:
    return ""


@step
async def greet(nothing: None, approval: Approval) -> str:
    return ""


@step(reads=(prepare,))
async def look_back(approval: Approval) -> str:
    return ""


def approves(order: Order, approval: Approval) -> bool:
    return True


def pause(order: Order) -> float:
    return 1.0


async def slow(order: Order) -> timedelta:
    return timedelta(seconds=1)


def said(order: Order) -> str:
    return "soon"


NOON = datetime(1970, 1, 1, 12, tzinfo=UTC)
approved = Signal("approved", Approval)
orders = Workflow("orders", input=Order)
nothing = Workflow("nothing")


def problems(build):
    with pytest.raises(WorkflowInvalidError) as caught:
        build()
    return caught.value.problems


def nodes(workflow):
    return workflow.compile().tree.nodes


# ---- Signal ---------------------------------------------------------------------------------


def test_a_signal_is_known_by_its_name_and_type():
    assert approved == Signal("approved", Approval)
    assert hash(approved) == hash(Signal("approved", Approval))
    assert approved != Signal("approved", Order)
    assert approved != Signal("refused", Approval)
    assert approved != "approved"
    assert repr(approved) == "<signal 'approved' of Approval>"


def test_a_signal_can_not_be_changed():
    with pytest.raises(AttributeError, match="cannot assign to field 'name'"):
        approved.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", "a b", "&a", "x" * 101, 3, None])
def test_the_name_of_a_signal_is_an_id(name):
    (problem,) = problems(lambda: Signal(name, Approval))
    assert problem.startswith(f"signal id {name!r} must be")


def test_a_signal_carries_what_json_can_say():
    (problem,) = problems(lambda: Signal("odd", type(lambda: 0)))
    assert "its payload is function, which can't be written as JSON" in problem


@pytest.mark.parametrize("wrong", [lambda text: text, approves])
def test_a_signal_carries_a_type_not_a_function(wrong: Any):
    (problem,) = problems(lambda: Signal("odd", wrong))
    assert "which is a function; write a type" in problem
    (problem,) = problems(lambda: Workflow("odd", input=wrong))
    assert "which is a function; write a type" in problem


def test_what_is_wrong_with_a_signal_is_said_of_the_signal():
    with pytest.raises(WorkflowInvalidError, match=r"^signal 'a b' can't be built:\n"):
        Signal("a b", int)


# ---- sleep ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "seconds"), [(2, 2.0), (0.5, 0.5), (0, 0.0), (timedelta(minutes=2), 120.0)]
)
def test_a_sleep_is_seconds_or_a_timedelta(duration, seconds):
    assert nodes(orders.then(prepare).sleep(duration))[1] == flow.SleepSpec(
        id="sleep", seconds=seconds
    )


@pytest.mark.parametrize("duration", [-1, -0.5, timedelta(seconds=-1), float("inf"), float("nan")])
def test_a_sleep_must_end_and_not_lie_in_the_past(duration):
    (problem,) = problems(lambda: orders.sleep(duration))
    assert problem.startswith("a sleep must be 0 seconds or more, and end, not ")


@pytest.mark.parametrize("duration", ["1h", None, True])
def test_a_sleep_that_is_no_duration_is_named(duration):
    (problem,) = problems(lambda: orders.sleep(duration))
    assert problem == f"a sleep must be seconds or a timedelta, not {duration!r}"


def test_a_moment_takes_the_place_of_a_duration():
    assert nodes(orders.sleep(until=NOON)) == (flow.SleepSpec(id="sleep", until=43_200.0),)
    wait = nodes(orders.wait_for(approved, until=NOON, default=Approval(by="x")))[0]
    assert (wait.timeout, wait.until) == (None, 43_200.0)


def test_a_function_of_the_value_takes_the_place_of_either():
    definition = orders.sleep(pause).wait_for(approved, until=lambda order: NOON).compile()
    slept, waited = definition.tree.nodes
    assert slept == flow.SleepSpec(id="sleep", asks=flow.TimeSpec(function="pause", is_due=False))
    assert waited.asks.is_due
    assert waited.asks.function.startswith("<lambda in line ")
    assert {path: condition.fn for path, condition in definition.times.items()} == {
        "sleep": pause, "approved": definition.times["approved"].fn
    }  # fmt: skip
    assert definition.output == tuple[Order, Approval]
    assert flow.from_json(definition.text) == definition.tree
    inner = Workflow("inner", input=list[Order]).map(Workflow("one", input=Order).sleep(pause))
    assert [*orders_of(inner).compile().times] == ["inner/one[]/sleep"]


def orders_of(inner):
    return Workflow("outer", input=list[Order]).then(inner)


TOO_LATE = datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (orders.sleep, "a sleep needs to know how long: sleep(seconds) or sleep(until"),
        (lambda: orders.sleep(1, until=NOON), "a sleep takes either a duration or until=, not"),
        (lambda: orders.sleep(until=datetime(2026, 1, 1)), "which has no time zone; say which"),  # noqa: DTZ001
        (lambda: orders.sleep(until=60), "until must be a datetime with a time zone, not 60"),
        (lambda: orders.sleep(until=TOO_LATE), "until must be at most 100 years from now"),
        (lambda: orders.sleep(10**400), "a sleep must be at most 100 years; it is in seconds: 1"),
        (lambda: orders.sleep(10**5000), "in seconds: an int of too many digits"),
        (
            lambda: orders.sleep(prepare),
            "the time of a sleep must be a function that returns seconds or",
        ),
        (lambda: orders.sleep(slow(Order(id=1))), "the time of a sleep was called; give the"),
        (
            lambda: orders.sleep(until=pause),
            "until 'pause' must return a datetime with a time zone, not",
        ),
        (lambda: orders.sleep(lambda a, b: 1), "takes 2 inputs (a: Any, b: Any), but gets one"),
        (lambda: nothing.sleep(pause), "'pause' takes order: Order, but the workflow has no"),
        (
            lambda: Workflow("w", input=int).sleep(pause),
            "the time of 'sleep', 'pause' takes order: Order, but gets int as input",
        ),
        (lambda: orders.wait_for(approved, timeout=1, until=NOON), "either timeout= or until=, no"),
        (lambda: orders.wait_for(approved, timeout=10**400), "timeout must be at most 100 years"),
        (lambda: orders.wait_for(approved, timeout=-(10**5000)), "timeout must be more than 0"),
        (lambda: orders.wait_for(approved, timeout=said), "'said' must return seconds or a timede"),
        (lambda: orders.wait_for(approved, until="soon"), "until must be a datetime with a time"),
    ],
)
def test_what_is_no_time_is_named_where_it_is_written(build, problem):
    (found,) = problems(build)
    assert problem in found


def test_a_second_unnamed_sleep_asks_for_an_id():
    assert problems(lambda: orders.sleep(1).then(prepare).sleep(1)) == (
        "the id 'sleep' is taken; give one of the two another: id=…",
    )
    assert [node.id for node in nodes(orders.sleep(1).sleep(1, id="again"))] == ["sleep", "again"]


def test_every_problem_of_a_sleep_is_listed():
    assert len(problems(lambda: orders.sleep(1).sleep(-1, id="sleep"))) == 2
    (problem,) = problems(lambda: orders.sleep(1, id="&x"))
    assert problem.startswith("sleep id '&x' must be")


def test_a_value_passes_through_a_sleep():
    whole = orders.then(prepare).sleep(1).then(ship_alone)
    assert whole.compile().outputs["sleep"] is Order
    (problem,) = problems(lambda: orders.then(prepare).sleep(1).then(look_back))
    assert "takes approval: Approval, but gets Order from 'prepare'" in problem


def test_a_workflow_may_begin_and_end_with_a_sleep():
    assert nothing.sleep(1).compile().output is None
    assert orders.sleep(1).compile().output is Order
    assert problems(lambda: nothing.sleep(1).then(prepare)) == (
        (
            "step 'prepare' takes order: Order, but the workflow has no input; declare it: "
            "Workflow(…, input=Order)"
        ),
    )


# ---- wait_for -------------------------------------------------------------------------------


def test_a_wait_compiles():
    definition = orders.then(prepare).wait_for(approved).then(ship).compile()
    schema = definition.tree.nodes[1].schema
    assert definition.tree.nodes[1] == flow.WaitSpec(
        id="approved", signal="approved", schema=schema
    )
    assert schema
    assert definition.outputs["approved"] == tuple[Order, Approval]
    assert definition.payloads == {"approved": Approval}
    assert definition.signals == {"approved": Approval}
    assert flow.from_json(definition.text) == definition.tree


def test_the_schema_of_a_wait_follows_the_type():
    other = orders.wait_for(Signal("approved", str))
    same = orders.wait_for(Signal("approved", Approval), id="x")
    assert nodes(orders.wait_for(approved))[0].schema == nodes(same)[0].schema
    assert nodes(orders.wait_for(approved))[0].schema != nodes(other)[0].schema


def test_the_pair_is_spread_taken_whole_or_decided_on():
    waited = orders.wait_for(approved)
    assert waited.then(ship)
    assert waited.then(ship_pair)
    assert waited.when(approves, ship).otherwise(ship_pair)
    assert waited.parallel(ship, ship_pair)


def test_what_does_not_fit_the_pair_is_named():
    waited = orders.then(prepare).wait_for(approved)
    assert problems(lambda: waited.then(ship_swapped)) == (
        (
            "step 'ship_swapped' has its parameters in the wrong order: write "
            "(order: Order, approval: Approval)"
        ),
    )
    assert problems(lambda: waited.then(ship_alone)) == (
        (
            "step 'ship_alone' takes order: Order, but gets tuple[Order, Approval] from "
            "'approved'; a tuple comes apart: write one parameter per item (2)"
        ),
    )


def test_a_default_stands_in_after_the_timeout():
    wait = nodes(orders.wait_for(approved, timeout=timedelta(days=1), default=Approval(by="x")))[0]
    assert (wait.timeout, wait.default) == (86_400.0, '{"$":"Approval","by":"x"}')
    none = orders.wait_for(Signal("note", str | None), timeout=5, default=None)
    assert nodes(none)[0].default == "null"
    assert nodes(orders.wait_for(approved, timeout=5))[0].default is None


def test_a_default_has_to_fit_the_signal():
    (problem,) = problems(lambda: orders.wait_for(approved, timeout=5, default=None))
    assert problem.startswith("the default of signal 'approved' is not of type Approval: ")


def test_a_default_needs_a_timeout():
    (problem,) = problems(lambda: orders.wait_for(approved, default=Approval(by="x")))
    assert problem.endswith("give it a timeout=")
    assert problems(
        lambda: orders.wait_for(approved, timeout=float("inf"), default=Approval(by="x"))
    )


@pytest.mark.parametrize("timeout", [0, -1, "soon"])
def test_a_timeout_is_more_than_nothing(timeout):
    (problem,) = problems(lambda: orders.wait_for(approved, timeout=timeout))
    assert problem.startswith("timeout must be")


@pytest.mark.parametrize("signal", ["approved", Approval, None])
def test_only_signals_are_waited_for(signal):
    (problem,) = problems(lambda: orders.wait_for(signal))
    assert problem == f"wait_for takes a Signal(name, type), not {signal!r}"


def test_a_second_wait_for_a_signal_asks_for_an_id():
    assert problems(lambda: orders.wait_for(approved).wait_for(approved)) == (
        "the id 'approved' is taken; give one of the two another: id=…",
    )
    again = orders.wait_for(approved).wait_for(approved, id="again")
    assert again.compile().payloads == {"approved": Approval, "again": Approval}


def test_one_name_is_one_type():
    other = Signal("approved", str)
    expected = (
        "signal 'approved' is waited for as Approval and as str; give one of the two another name",
    )
    assert problems(lambda: orders.wait_for(approved).wait_for(other, id="x")) == expected
    inside = Workflow("inside", input=Order).wait_for(other)
    assert problems(lambda: orders.parallel(orders_with_wait(), inside)) == expected
    assert inside.wait_for(Signal("other", int)).compile().signals == {
        "approved": str,
        "other": int,
    }


def orders_with_wait():
    return Workflow("with_wait", input=Order).wait_for(approved)


def test_without_input_the_pair_begins_with_none():
    assert nothing.wait_for(approved).then(greet)
    assert nothing.wait_for(approved).compile().output == tuple[None, Approval]
    inner = Workflow("inner").wait_for(approved)
    tree = orders.then(prepare).then(inner).then(greet).compile().tree
    assert [node.takes_input for node in (tree, tree.nodes[1])] == [True, False]


def test_waits_and_sleeps_nest_in_branches_and_arms():
    branch = Workflow("branch", input=Order).sleep(1).wait_for(approved)
    whole = orders.parallel(branch, passthrough(Order))
    assert whole.compile().output == tuple[tuple[Order, Approval], Order]
    assert whole.compile().payloads == {"branch/approved": Approval}
    one = orders.when(lambda _: True, branch).otherwise(Workflow("o", input=Order).sleep(1))
    assert one.compile().output == tuple[Order, Approval] | Order


def test_steps_after_a_wait_may_read_what_came_before():
    definition = orders.then(prepare).wait_for(approved).then(ship).compile()
    assert definition.readable["ship"] == {"prepare", "approved"}


# ---- replace --------------------------------------------------------------------------------


def test_a_sleep_or_wait_can_be_replaced_by_a_step():
    @step
    async def fake(order: Order) -> tuple[Order, Approval]:
        return order, Approval(by="test")

    whole = orders.sleep(60).wait_for(approved).then(ship)
    quick = whole.replace("sleep", passthrough(Order)).replace("approved", fake)
    assert [type(node).__name__ for node in nodes(quick)] == [
        "PassthroughSpec", "StepSpec", "StepSpec"
    ]  # fmt: skip
    assert quick.signals == {}
    assert whole.replace("ship", ship).signals == {"approved": Approval}
    assert renamed(fake, "approved").id == "approved"


def test_what_replaces_a_wait_has_to_fit():
    with pytest.raises(WorkflowInvalidError, match="takes 2 inputs"):
        orders.wait_for(approved).then(ship).replace("approved", prepare)
