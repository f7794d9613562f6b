"""What can be known before a run is an error where the workflow is built."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow.context import StepContext
from gorkflow.errors import StepInvalidError, WorkflowInvalidError
from gorkflow.model import Outcome
from gorkflow.policy import Join, at_least, tolerate
from gorkflow.step import Step, step
from gorkflow.workflow import Workflow, passthrough


class Order(BaseModel):
    id: int


class BigOrder(Order):
    lines: int = 0


class Stock(BaseModel):
    available: bool


class Quote(BaseModel):
    cents: int


@step
async def prepare(order: Order) -> Order:
    return order


@step
async def check(order: Order) -> Stock:
    return Stock(available=True)


@step
def quote(order: Order) -> Quote:
    return Quote(cents=1)


@step
async def confirm(stock: Stock, quote: Quote) -> str:
    return ""


@step
async def confirm_some(stock: Stock | None, quote: Quote) -> str:
    return ""


@step
async def judge(stock: Outcome[Stock], quote: Outcome[Quote]) -> str:
    return ""


@step
async def collect(stocks: tuple[Stock, ...]) -> int:
    return 1


@step
async def tick() -> int:
    return 1


orders = Workflow("orders", input=Order)
block = orders.parallel(check, quote)


def problems_of(make: Any) -> list[str]:
    with pytest.raises(WorkflowInvalidError) as caught:
        make()
    return list(caught.value.problems)


def problem_of(make: Any) -> str:
    problems = problems_of(make)
    assert len(problems) == 1, problems
    return problems[0]


# ---- the shapes that work -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workflow", "output"),
    [
        (orders.then(prepare).then(check), Stock),
        (block, tuple[Stock, Quote]),
        (block.then(confirm), str),
        (orders.parallel(check), tuple[Stock]),
        (orders.parallel(check, quote, join="settled"), tuple[Outcome[Stock], Outcome[Quote]]),
        (orders.parallel(check, quote, join=at_least(1)), tuple[Outcome[Stock], Outcome[Quote]]),
        (orders.parallel(check, quote, join=tolerate(1)), tuple[Outcome[Stock], Outcome[Quote]]),
        (orders.parallel(check, quote, join="settled").then(judge), str),
        (orders.parallel(check, quote, join="first"), Stock | Quote),
        (orders.parallel(passthrough(Order), check), tuple[Order, Stock]),
        (orders.parallel(check.options(continue_on_error=True), quote), tuple[Stock | None, Quote]),
        (orders.parallel(check.options(continue_on_error=True), quote).then(confirm_some), str),
        (orders.parallel(check, check.options(id="again")).then(collect), int),
        (orders.parallel(block.then(confirm), quote.options(id="q")), tuple[str, Quote]),
        (block.parallel(confirm, confirm.options(id="c2")), tuple[str, str]),
        (orders.then_if(lambda order: True, prepare), Order),
        (orders.then_if(lambda order: True, check, default=Stock(available=False)), Stock),
        (orders.then_if(lambda order: True, check, default={"available": False}), Stock),
        (orders.when(lambda order: True, check).otherwise(quote), Stock | Quote),
        (block.then_if(lambda stock, quote: True, confirm, default=""), str),
        (orders.then_if(lambda: True, prepare), Order),
        (orders.then(tick), int),
        (Workflow("w").then(tick), int),
        (Workflow("big", input=BigOrder).then(check), Stock),
        (orders.then(Workflow("inner").then(tick)), int),
    ],
)
def test_values_flow(workflow: Workflow[Any, Any], output: Any):
    assert workflow.output == output
    assert workflow.compile().output == output


def test_a_workflow_is_immutable_and_grows_by_copies():
    assert orders.elements == ()
    assert [item.id for item in block.then(confirm).elements] == ["&check", "confirm"]
    assert len(block.elements) == 1
    with pytest.raises(AttributeError, match="immutable"):
        orders.id = "x"
    assert repr(block) == "<workflow 'orders': &check>"


def test_the_error_points_at_the_users_line():
    with pytest.raises(WorkflowInvalidError) as caught:
        orders.then(confirm)
    assert caught.traceback[0].path.name == "test_workflow.py"
    assert str(caught.value).startswith("workflow 'orders' can't be built:\n  - step 'confirm'")


# ---- what does not fit --------------------------------------------------------------------------


def test_inputs_in_another_order_are_recognised():
    @step
    async def swapped(quote: Quote, stock: Stock) -> str:
        return ""

    problem = problem_of(lambda: block.then(swapped))
    assert problem == (
        "step 'swapped' has its parameters in the wrong order: write (stock: Stock, quote: Quote)"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: orders.then(confirm),
            (
                "step 'confirm' takes 2 inputs (stock: Stock, quote: Quote), but gets one value, "
                "Order as input; several inputs take a tuple, such as a block gives"
            ),
        ),
        (
            lambda: orders.then(check).then(quote),
            "step 'quote' takes order: Order, but gets Stock from 'check'",
        ),
        (
            lambda: block.then(check.options(id="c")),
            (
                "step 'c' takes order: Order, but gets tuple[Stock, Quote] from the block of "
                "'check'; a tuple comes apart: write one parameter per item (2)"
            ),
        ),
        (
            lambda: orders.parallel(check, quote, tick).then(confirm),
            (
                "step 'confirm' takes 2 inputs (stock: Stock, quote: Quote), but gets 3: "
                "Stock from 'check', Quote from 'quote', int from 'tick'"
            ),
        ),
        (
            lambda: orders.parallel(check, tick).then(confirm),
            "step 'confirm' takes quote: Quote, but gets int from 'tick'",
        ),
        (
            lambda: orders.parallel(check.options(continue_on_error=True), quote).then(confirm),
            (
                "step 'confirm' may get None from 'check' (continue_on_error, or what it returns): "
                "write `stock: Stock | None`"
            ),
        ),
        (
            lambda: Workflow("w").then(check),
            (
                "step 'check' takes order: Order, but the workflow has no input; declare it: "
                "Workflow(…, input=Order)"
            ),
        ),
        (
            lambda: orders.then(check).then(block.then(confirm)),
            "workflow 'orders' takes input: Order, but gets Stock from 'check'",
        ),
        (
            lambda: orders.then(passthrough(Stock)),
            "step 'passthrough' takes value: Stock, but gets Order as input",
        ),
        (
            lambda: orders.then_if(lambda order: True, check),
            (
                "'check' returns Stock, but its input (Order) passes unchanged "
                "if the condition does not hold: give then_if a default="
            ),
        ),
        (
            lambda: Workflow("w").then_if(lambda: True, tick),
            (
                "'tick' returns int, but its input (nothing) passes unchanged "
                "if the condition does not hold: give then_if a default="
            ),
        ),
        (
            lambda: orders.then_if(lambda order: True, check, default=3),
            None,
        ),
        (
            lambda: orders.then_if(lambda left, right: True, prepare),
            None,
        ),
        (
            lambda: block.then_if(lambda a, b, c: True, confirm, default=""),
            (
                "condition '<lambda>' takes 3 inputs (a: Any, b: Any, c: Any), but gets 2: "
                "Stock from 'check', Quote from 'quote'"
            ),
        ),
    ],
)
def test_what_does_not_fit_is_named(make: Any, message: str | None):
    problems = problems_of(make)
    if message is not None:
        assert [re.sub(r" in line \d+", "", problem) for problem in problems] == [message]


def test_outcomes_do_not_fit_where_values_are_wanted():
    settled = orders.parallel(check, quote, join="settled")
    assert problems_of(lambda: settled.then(confirm)) == [
        "step 'confirm' takes stock: Stock, but gets Outcome[Stock] from 'check'",
        "step 'confirm' takes quote: Quote, but gets Outcome[Quote] from 'quote'",
    ]


def test_a_condition_is_checked_by_its_annotations():
    def of_stock(stock: Stock) -> bool:
        return True

    def says_text(order: Order) -> str:
        return ""

    assert "takes stock: Stock" in problem_of(lambda: orders.when(of_stock, check).otherwise(quote))
    assert "must return a bool, not str" in problem_of(lambda: orders.then_if(says_text, prepare))
    assert "must be a function" in problem_of(lambda: orders.then_if(True, prepare))
    assert "the condition must be a function that returns a bool" in problem_of(
        lambda: orders.then_if(check, prepare)
    )


def test_wide_blocks_have_short_messages():
    wide = orders.parallel(*(check.options(id=f"c{i}") for i in range(100)))

    @step
    async def numbers(found: list[int]) -> int:
        return 1

    for node in (confirm, numbers, judge):
        assert len(problem_of(lambda node=node: wide.then(node))) < 400
    assert wide.then(collect).output is int


# ---- what is no node ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (check.fn, "'check' is a plain function; write @step above `def check`"),
        (Order, "'Order' is a class, not a step"),
        ([check, quote], "got a list; unpack it: parallel(*branches)"),
        (
            Order(id=1),
            "Order(id=1) is not a step or workflow (was a step called instead of given?)",
        ),
        (None, "None is not a step or workflow (was a step called instead of given?)"),
        (
            orders.when(lambda order: True, check),
            "a choice is not complete: end it with .otherwise(node)",
        ),
    ],
)
def test_what_is_no_node_says_what_to_write(node: Any, message: str):
    assert problem_of(lambda: orders.then(node)) == message
    assert problem_of(lambda: orders.parallel(node)) == message
    assert problem_of(lambda: orders.then_if(lambda order: True, node)) == message
    assert problem_of(lambda: orders.when(lambda order: True, node)) == message


def test_a_step_that_was_called_is_named_and_its_coroutine_closed():
    problem = problem_of(lambda: orders.then(check(Order(id=1))))
    assert problem == "'check' was called; give the step itself: check, not check(…)"


# ---- ids ----------------------------------------------------------------------------------------


def test_ids_are_unique_within_a_workflow():
    assert "the id 'check' is taken" in problem_of(lambda: orders.parallel(check, check))
    assert "the id 'prepare' is taken" in problem_of(lambda: orders.then(prepare).then(prepare))
    assert "'prepare' is taken" in problem_of(
        lambda: orders.then(prepare).when(lambda o: True, prepare).otherwise(check)
    )
    assert orders.then(prepare).then(block.then(confirm)).then(Workflow("x", input=str).then(tick))
    again = orders.then(prepare.options(id="other")).then(prepare)
    assert [item.id for item in again.elements] == ["other", "prepare"]


def test_a_second_block_of_the_same_branch_asks_for_an_id():
    first = orders.parallel(passthrough(Order, id="p"), prepare, join="first", id="mine")
    assert first.elements[0].id == "mine"
    with pytest.raises(WorkflowInvalidError, match="block id 'a b'"):
        orders.parallel(check, id="a b")
    with pytest.raises(WorkflowInvalidError, match="choice id"):
        orders.when(lambda o: True, check, id="a b")
    with pytest.raises(WorkflowInvalidError, match="choice id"):
        orders.then_if(lambda o: True, prepare, id="")
    with pytest.raises(WorkflowInvalidError, match="passthrough id"):
        passthrough(Order, id="")
    with pytest.raises(WorkflowInvalidError, match="can't be written as JSON"):
        passthrough(type(time))


# ---- blocks -------------------------------------------------------------------------------------


def test_every_problem_of_a_call_is_listed_at_once():
    make: Any = orders.parallel
    problems = problems_of(
        lambda: make(
            check, check, join="setled", on_failure="x", max_concurrency=0, timeout=-1, max_conc=4
        )
    )
    assert problems == [
        "unknown option 'max_conc'; did you mean 'max_concurrency'?",
        "unknown join 'setled'; did you mean 'settled'?",
        "on_failure must be 'drain' or 'cancel', not 'x'",
        "max_concurrency must be a whole number of 1 or more, not 0",
        "timeout must be more than 0 seconds, not -1; math.inf means no timeout",
        "the id 'check' is taken; give one of the two another: check.options(id=…)",
    ]


@pytest.mark.parametrize(
    ("join", "message"),
    [
        (at_least(3), r"at_least\(3\) can never be met by 2 branches"),
        (tolerate(2), r"tolerate\(2\) could never fail with 2 branches; write join='settled'"),
        (tolerate(percent=100), "could never fail"),
        (3, "unknown join 3"),
    ],
)
def test_joins_that_make_no_sense(join: Any, message: str):
    with pytest.raises(WorkflowInvalidError, match=message):
        orders.parallel(check, quote, join=join)


def test_an_empty_block_is_refused():
    assert problem_of(orders.parallel) == "a parallel block needs at least one branch"
    assert "needs at least one branch" in problem_of(lambda: orders.parallel(join="first"))


def test_options_of_a_block():
    made = orders.parallel(
        check, quote, join="first", on_failure="cancel", max_concurrency=1, timeout=2
    )
    spec: Any = made.compile().tree.nodes[0]
    assert (spec.join, spec.on_failure) == (Join("first"), "cancel")
    assert (spec.max_concurrency, spec.timeout, spec.id) == (1, 2.0, "&check")
    assert orders.parallel(check, timeout=float("inf")).compile().tree.nodes[0].timeout is None


# ---- continue_on_error --------------------------------------------------------------------------


def test_inherited_continue_on_error_is_checked_wherever_it_comes_from():
    tolerant = Workflow("tolerant", input=Order, defaults={"continue_on_error": True})
    assert len(problems_of(lambda: tolerant.parallel(check, quote).then(confirm))) == 2
    strict = block.then(confirm)
    assert len(problems_of(lambda: tolerant.then(strict))) == 2
    assert len(problems_of(lambda: strict.compile({"continue_on_error": True}))) == 2
    own = Workflow("own", input=Order, defaults={"continue_on_error": False})
    assert tolerant.then(own.parallel(check, quote).then(confirm)).output is str


def test_only_all_puts_none_in_the_place_of_a_failure():
    weak = check.options(continue_on_error=True)
    assert orders.parallel(weak, quote, join="settled").then(judge).output is str
    assert orders.parallel(weak, quote, join="first").output == Stock | Quote
    assert orders.then(weak).output == Stock | None


# ---- reads --------------------------------------------------------------------------------------


def reader(*nodes: Any, id: str = "reader") -> Step[Any, Any]:
    @step(id=id, reads=nodes)
    async def read(value: Any) -> Order:
        return Order(id=1)

    return read


def test_reads_of_what_came_before_are_fine():
    assert orders.then(prepare).parallel(check, quote).then(confirm).then(reader(prepare, check))
    inner = Workflow("inner", input=Order).then(reader(prepare))
    assert "not part of the workflow" in problem_of(inner.compile)
    assert orders.then(prepare).then(inner).compile()
    assert orders.then(prepare).parallel(inner, check).compile()


def test_reads_of_what_can_not_have_run_are_refused():
    beside = problem_of(lambda: orders.parallel(check, reader(check)))
    assert beside.startswith(
        "step 'reader' reads 'check', which runs beside it; move 'check' before"
    )
    inner = Workflow("inner", input=Order).then(reader(check))
    assert "runs beside it" in problem_of(lambda: orders.parallel(check, inner))
    later = problem_of(lambda: orders.then(reader(check)).then(check))
    assert later == "step 'reader' reads 'check', which only runs after it"
    assert problem_of(orders.then(reader(check)).compile) == (
        "step 'reader' reads 'check', which is not part of the workflow before it"
    )
    inside = orders.then(Workflow("inner", input=Order).then(prepare)).then(reader(prepare))
    assert "not part of the workflow before it" in problem_of(inside.compile)


# ---- the rest -----------------------------------------------------------------------------------


def test_a_workflow_says_what_is_wrong_with_its_own_options():
    make: Any = Workflow
    problems = problems_of(
        lambda: make(
            "a b",
            input=time.sleep,
            name=3,
            version=2,
            tags={"a": 1},
            timeout=0,
            defaults={"timeot": 3, "id": "x", "retries": -1},
        )
    )
    assert len(problems) == 9, problems
    assert problems[0].startswith("workflow id 'a b' must be")
    assert any("unknown option 'timeot'; did you mean 'timeout'" in item for item in problems)
    assert any("option 'id' can't be inherited" in item for item in problems)
    assert "tags must be a mapping" in problem_of(lambda: make("w", tags=3))
    assert "defaults must be a mapping" in problem_of(lambda: make("w", defaults=3))


def test_an_empty_workflow_can_not_run_or_be_nested():
    assert problem_of(orders.compile) == (
        "it is empty; give it a step and keep what that returns: workflow = workflow.then(step)"
    )
    assert "workflow 'e' is empty" in problem_of(lambda: orders.then(Workflow("e", input=Order)))


def test_nesting_has_a_limit():
    workflow = orders.then(prepare)
    for level in range(49):
        workflow = Workflow(f"w{level}", input=Order).then(workflow)
    assert workflow.compile()
    assert "51 deep" in problem_of(lambda: Workflow("last", input=Order).then(workflow))


def test_replace_swaps_a_node_wherever_it_is():
    @step
    async def fake(order: Order) -> Stock:
        return Stock(available=False)

    changed = block.then(confirm).then(reader(check)).replace(check, fake)
    assert changed.compile().steps["check"].fn is fake.fn
    assert block.then(confirm).compile().steps["check"].fn is check.fn
    nested = orders.then(prepare).then(Workflow("inner", input=Order).then(check))
    assert nested.replace("check", fake).compile().steps["inner/check"].fn is fake.fn
    chosen = orders.when(lambda o: True, check).otherwise(quote)
    assert chosen.replace(quote, fake).compile().steps["quote"].fn is fake.fn
    whole = orders.then(prepare).replace(prepare, Workflow("fake", input=Order).then(prepare))
    assert whole.elements[0].id == "prepare"
    through = orders.then(prepare).replace(prepare, passthrough(Order))
    assert through.compile().steps == {}


def test_replace_checks_the_new_node_on_both_sides():
    assert "there is no node 'tick'" in problem_of(lambda: block.replace(tick, check))
    assert "takes stock: Stock, but gets Quote" in problem_of(
        lambda: block.then(confirm).replace(check, quote.options(id="fake"))
    )
    assert "takes 2 inputs" in problem_of(lambda: block.replace(check, confirm))
    assert "plain function" in problem_of(lambda: block.replace(check, check.fn))


@step
def with_default(number: int | None = None) -> str:
    return f"got {number}"


@step
def with_defaults(ctx: StepContext, number: int = 1, name: str = "") -> str:
    return f"got {number}"


@step
def with_setting(*, number: int | None = None) -> str:
    return f"got {number}"


@step
def many() -> list[int]:
    return [1]


@step
def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda w: w.then(with_default), "int as input: 'number' has a default"),
        (lambda w: w.then(with_defaults), "'number', 'name' have defaults"),
        (lambda w: w.then(many).then(with_default), "from 'many': 'number' has"),
        (lambda w: w.parallel(with_default, with_setting), "'number' has"),
        (lambda w: w.then(many).map(with_default), "int from 'many': 'number' has"),
        (lambda w: w.loop(with_default, until=lambda: True, max_iterations=2), "'number' has"),
        (lambda w: w.then_if(lambda: True, with_default, default=""), "'number' has"),
        (lambda w: w.then_if(lambda n=3: n > 2, with_setting, default=""), "'n' has a default"),
        (lambda w: w.then(many).map(with_setting, key=lambda key="": key), "'key' has a default"),
    ],
)
def test_a_value_is_not_dropped_for_a_default(
    build: Callable[[Workflow[Any, Any]], Any], names: str
):
    with pytest.raises(WorkflowInvalidError, match=names) as caught:
        build(Workflow("w", input=int))
    assert "would drop what it gets" in str(caught.value)
    assert "write `*, n" in str(caught.value) or "write `*, key" in str(caught.value)


def test_a_default_is_fine_where_nothing_comes_or_it_was_meant():
    for node in (with_default, with_defaults):
        Workflow("w").then(node).compile()
        Workflow("w").then(nothing).then(node).compile()
        Workflow("w", input=int).then(node.bind("bound", number=3)).compile()
    Workflow("w", input=int).then(with_setting).compile()


def test_an_undo_step_does_not_drop_what_it_gets_for_a_default():
    with pytest.raises(StepInvalidError, match=r"would drop .*: 'number' has a default"):
        many.undo(with_default)
    many.undo(with_setting)
