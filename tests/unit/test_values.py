"""References become values of the right types: what signals and reruns recorded."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow import events as ev
from gorkflow.codec import codec_of
from gorkflow.engine._compatibility import continued_by, misfit_of
from gorkflow.engine._values import Values
from gorkflow.events import Default
from gorkflow.signal import Signal
from gorkflow.step import step
from gorkflow.workflow import Workflow


class Order(BaseModel):
    id: int


class BigOrder(Order):
    lines: int = 0


class Approval(BaseModel):
    by: str


@step
async def prepare(order: Order) -> BigOrder:
    return BigOrder(id=1)


@step
async def ship(order: Order, approval: Approval) -> str:
    return ""


approved = Signal("approved", Approval)
FLOW = (
    Workflow("flow", input=Order)
    .then(prepare)
    .wait_for(approved, timeout=5, default=Approval(by="nobody"))
    .then(ship)
)
SCHEMA = FLOW.compile().tree.nodes[1].schema  # type: ignore[union-attr]
INPUT = codec_of(Order).encode(Order(id=7))
BIG = codec_of(BigOrder).encode(BigOrder(id=7, lines=3))
ANN = codec_of(Approval).encode(Approval(by="ann"))
HISTORY = (
    ev.RunCreated("r", 1, "", 0.0, "f", INPUT),
    ev.RunStarted("r", 2, "", 0.0, None),
    ev.StepScheduled("r", 3, "prepare", 0.0, 1, 1, 0.0),
    ev.StepCompleted("r", 4, "prepare", 0.0, 1, BIG, 0.0),
    ev.WaitOpened("r", 5, "approved", 0.0, "approved", SCHEMA, 5.0),
    ev.SignalReceived("r", 6, "approved", 0.0, 1, ANN),
)
KEPT = (
    ev.RunCreated("r", 1, "", 0.0, "f", INPUT),
    ev.ResultKept("r", 2, "prepare", 0.0, "completed", BIG, None, 3),
    ev.ResultKept("r", 3, "approved", 0.0, "received", ANN, None, 5),
)


def values_of(history, definition=None):
    values = Values("r", definition or FLOW.compile())
    values.note(history)
    return values


@pytest.mark.parametrize(
    ("history", "pair"), [(HISTORY, (4, 6)), (KEPT, (2, 3))], ids=["received", "kept"]
)
def test_the_pair_is_of_the_types_of_the_producer_and_the_signal(history, pair):
    values = values_of(history)
    expected = (BigOrder(id=7, lines=3), Approval(by="ann"))
    assert values.value(pair) == expected
    assert values.arguments((Order, Approval), pair) == expected
    assert values.arguments((tuple[Order, Approval],), pair) == (expected,)
    assert values.arguments((tuple[Order, Approval] | None,), pair) == (expected,)
    assert values.received(pair, Any) == expected
    assert values.value(pair[1]) == Approval(by="ann")


def test_a_pair_is_validated_for_another_type_that_takes_it_whole():
    @step
    async def anything(order: Order) -> Any:
        return {"id": 1}

    flow = Workflow("flow", input=Order).then(anything).wait_for(approved)
    anything_returned = ev.StepCompleted("r", 4, "anything", 0.0, 1, b'{"id":7}', 0.0)
    values = values_of((HISTORY[0], anything_returned, HISTORY[5]), flow.compile())
    wanted = tuple[Order, Approval] | None
    assert values.received((4, 6), wanted) == (Order(id=7), Approval(by="ann"))


def test_the_default_of_a_wait_is_of_the_signals_type():
    values = values_of(HISTORY)
    assert values.value((4, Default("approved")))[1] == Approval(by="nobody")


def test_a_signal_may_carry_nothing():
    ping = Workflow("flow", input=Order).wait_for(Signal("ping", None))
    received = ev.SignalReceived("r", 2, "ping", 0.0, 1, b"null")
    values = values_of((HISTORY[0], received), ping.compile())
    assert values.value((1, 2)) == (Order(id=7), None)
    assert values.received((1, 2), tuple[Order, None] | None) == (Order(id=7), None)


def test_without_the_code_values_are_plain_data():
    values = Values("r", None, FLOW.compile().tree)
    values.note(HISTORY)
    assert values.value((4, 6)) == ({"id": 7, "lines": 3}, {"by": "ann"})
    assert values.value(Default("approved")) == {"by": "nobody"}


# ---- does the code still fit? ---------------------------------------------------------------


def changed(**changes: Any) -> Workflow[Any, Any]:
    """The same workflow with another wait."""
    signal = changes.pop("signal", approved)

    @step(id="ship")
    async def ship_any(pair: Any) -> str:
        return ""

    start = Workflow("flow", input=Order).then(prepare)
    return start.wait_for(signal, **changes).then(ship_any)


def problems(now: Workflow[Any, Any], events: Any) -> list[str]:
    tree, code = FLOW.compile().tree, now.compile()
    found = misfit_of(tree, code, events)
    return [problem for problem in (*found.problems, *found.types) if "'ship'" not in problem]


def test_another_type_of_signal_does_not_fit():
    said = "signal 'approved' can't be read as str: expected str, not Approval"
    now = changed(signal=Signal("approved", str))
    assert problems(now, HISTORY[:5]) == []  # none has come yet
    assert problems(now, HISTORY) == [said]


@pytest.mark.parametrize(("events", "fits"), [(HISTORY[:5], False), (HISTORY, True), (KEPT, True)])
def test_a_wait_that_is_gone_does_not_fit_unless_it_is_over(events, fits):
    gone = ["the wait 'approved' for signal 'approved' is gone"]
    assert problems(changed(id="elsewhere"), events) == ([] if fits else gone)
    another = ["'approved' waits for another signal than 'approved'"]
    now = changed(signal=Signal("other", Approval), id="approved")
    assert problems(now, events) == ([] if fits else another)


def test_other_options_of_a_wait_fit_and_the_recorded_ones_stay():
    now = changed(timeout=60)
    assert problems(now, HISTORY[:5]) == []
    then = FLOW.compile()
    definition = continued_by(now.compile(), then.tree, then.text)
    values = values_of(HISTORY, definition)
    assert values.value(Default("approved")) in (Approval(by="nobody"), {"by": "nobody"})
