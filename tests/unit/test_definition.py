"""What a workflow compiles to."""

import math
import time
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow import flow
from gorkflow.model import Outcome
from gorkflow.policy import RetryPolicy
from gorkflow.step import step
from gorkflow.workflow import Workflow, passthrough


class Order(BaseModel):
    id: int


class Stock(BaseModel):
    available: bool


@step
async def prepare(order: Order) -> Order:
    return order


@step
async def check(order: Order) -> Stock:
    return Stock(available=True)


@step
def count(order: Order) -> int:
    return 1


@step(reads=(prepare,))
async def join(stock: Stock, count: int) -> Order:
    return Order(id=1)


def big(order: Order) -> bool:
    return order.id > 3


orders = Workflow(
    "orders",
    input=Order,
    name="Orders",
    version="7",
    tags={"team": "a"},
    timeout=60,
    defaults={"timeout": 5},
)
inner = Workflow("inner", input=Order, defaults={"retries": 2}).then(prepare).then(count)


def test_the_tree_is_plain_data_that_survives_json():
    definition = (
        orders.then(prepare)
        .parallel(check, inner)
        .then(join)
        .then_if(big, count, default=0)
        .compile()
    )
    assert flow.from_json(definition.text) == definition.tree
    assert definition.fingerprint == flow.fingerprint(definition.text)
    tree = definition.tree
    assert (tree.id, tree.name, tree.version, tree.timeout) == ("orders", "Orders", "7", 60.0)
    assert definition.tags == {"team": "a"}
    assert (definition.workflow_id, definition.version) == ("orders", "7")
    assert [path for path, _ in flow.walk(tree)] == [
        "prepare",
        "&check",
        "check",
        "inner",
        "inner/prepare",
        "inner/count",
        "join",
        "?count",
        "count",
    ]
    assert definition.outputs.keys() - {""} == {path for path, _ in flow.walk(tree)}


def test_the_code_is_found_by_path():
    definition = orders.then(prepare).then(inner).compile()
    assert definition.steps.keys() == {"prepare", "inner/prepare", "inner/count"}
    assert definition.steps["inner/prepare"] is prepare


def test_options_are_inherited_field_by_field():
    definition = orders.then(inner).compile({"timeout": 9, "retries": RetryPolicy(retries=1)})
    spec: Any = definition.tree.nodes[0]
    assert [(item.timeout, item.retry.retries) for item in spec.nodes] == [(5.0, 2), (5.0, 2)]
    outer: Any = orders.then(prepare).compile({"retries": 1}).tree.nodes[0]
    assert (outer.timeout, outer.retry.retries) == (5.0, 1)
    off: Any = orders.then(prepare.options(timeout=math.inf)).compile().tree.nodes[0]
    assert off.timeout is None


def test_annotations_of_every_node():
    definition = orders.parallel(
        check.options(continue_on_error=True), passthrough(Order), inner
    ).compile()
    assert definition.input is Order
    assert definition.output == tuple[Stock | None, Order, int]
    assert definition.outputs == {
        "": tuple[Stock | None, Order, int],
        "&check": tuple[Stock | None, Order, int],
        "check": Stock,
        "passthrough": Order,
        "inner": int,
        "inner/prepare": Order,
        "inner/count": int,
    }
    settled = orders.parallel(check, count, join="settled").compile()
    assert settled.outputs["&check"] == tuple[Outcome[Stock], Outcome[int]]


def test_conditions_and_defaults_are_found_by_the_choice_path():
    inside = Workflow("nested", input=Order).then_if(big, check, default=Stock(available=False))
    definition = orders.then(inside).compile()
    (condition,) = definition.conditions["nested/?check"]
    assert condition.name == "big"
    assert not condition.is_async
    assert condition(Order(id=4)) is True
    assert definition.defaults_of == {"nested/?check": (b'{"$":"Stock","available":false}', Stock)}
    nested: Any = definition.tree.nodes[0]
    assert nested.nodes[0].default == '{"$":"Stock","available":false}'


async def both(stock: Stock, count: int) -> bool:
    return stock.available and count > 0


def test_conditions_are_called_as_steps_are():
    definition = (
        orders.parallel(check, count)
        .when(both, join.options(reads=()))
        .when(lambda: False, join.options(id="j2", reads=()))
        .otherwise(join.options(id="j3", reads=()))
        .compile()
    )
    first, second = definition.conditions["?join"]
    assert first.is_async
    coroutine = first((Stock(available=True), 1))
    coroutine.close()
    assert second((1, 2)) is False


def test_a_step_may_read_what_its_input_is_made_of_and_what_it_declares():
    definition = (
        orders.then(prepare)
        .parallel(check, count)
        .then(join)
        .then(passthrough(Order))
        .then(check.options(id="last"))
    ).compile()
    assert definition.readable == {
        "prepare": frozenset(),
        "check": {"prepare"},
        "count": {"prepare"},
        "join": {"check", "count", "prepare"},
        "last": {"passthrough", "join"},
    }
    assert definition.readable["check"] is definition.readable["count"]


def test_what_is_inside_a_nested_workflow_stays_there():
    definition = (
        orders.then(check.options(id="c0"))
        .then(Workflow("w", input=Stock).then(step(take, id="t1")))
        .compile()
    )
    assert definition.readable["w/t1"] == {"c0"}
    after = orders.then(inner).then(step(use, id="u")).compile()
    assert after.readable["u"] == {"inner"}
    chosen = orders.then(prepare).then_if(big, prepare.options(id="p2")).then(check).compile()
    assert chosen.readable["check"] == {"prepare", "p2"}
    assert chosen.readable["p2"] == {"prepare"}


@pytest.mark.parametrize("shape", ["beside", "later", "instead", "deeper"])
def test_an_id_of_the_workflow_around_never_stands_for_a_node_outside(shape):
    reader, shadow = check.options(id="reader"), check.options(id="p")
    start = Workflow("n", input=Order)
    inside = {
        "beside": start.parallel(reader, shadow),
        "later": start.parallel(reader, check).then(step(ignore, id="p")),
        "instead": start.when(big, reader).otherwise(shadow),
        "deeper": start.parallel(Workflow("m", input=Order).then(reader), shadow),
    }[shape]
    twice = orders.parallel(prepare.options(id="p"), prepare.options(id="q"), join="first")
    readable = twice.then(inside).compile().readable
    path = "n/m/reader" if shape == "deeper" else "n/reader"
    assert readable[path] == {"q"}


def ignore() -> int:
    return 1


def take(stock: Stock) -> int:
    return 1


def use(value: int) -> int:
    return value


def test_compilation_is_remembered_per_defaults():
    workflow = orders.then(prepare)
    assert workflow.compile() is workflow.compile({})
    assert workflow.compile({"retries": 1}) is workflow.compile({"retries": 1})
    assert workflow.compile({"retries": 1}) is not workflow.compile()
    assert workflow.compile({"retries": 1}).fingerprint != workflow.compile().fingerprint


def test_the_fingerprint_depends_on_the_definition_only():
    again = Workflow(
        "orders",
        input=Order,
        name="Orders",
        version="7",
        timeout=60,
        defaults={"timeout": 5},
    ).then(prepare)
    assert again.compile().fingerprint == orders.then(prepare).compile().fingerprint
    assert orders.then(check).compile().fingerprint != orders.then(prepare).compile().fingerprint


@pytest.mark.parametrize("join_rule", ["all", "settled"])
def test_wide_blocks_compile_in_linear_time(join_rule: Any):
    def seconds(width: int) -> float:
        began = time.process_time()
        orders.parallel(
            *(check.options(id=f"c{number}") for number in range(width)), join=join_rule
        ).parallel(*(prepare_any.options(id=f"d{number}") for number in range(width))).compile()
        return time.process_time() - began

    seconds(10)
    assert seconds(5_000) < 40 * max(seconds(500), 0.005)


@step
async def prepare_any(values: Any) -> int:
    return 1
