"""Steps of generic functions: the type that arrives takes the place of their type variables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, TypeVarTuple

import pytest
from pydantic import BaseModel, Field

from gorkflow import (
    Completed,
    Outcome,
    RunFailedError,
    StepInvalidError,
    Workflow,
    WorkflowInvalidError,
    run,
    step,
)

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
Some = TypeVar("Some", bound="Order")
Either = TypeVar("Either", int, str)
Ts = TypeVarTuple("Ts")


class Order(BaseModel):
    id: int


class BigOrder(Order):
    lines: int = 2


@dataclass
class Box(Generic[T]):
    inside: T


@dataclass
class IntBox(Box[int]):
    pass


class Page(BaseModel, Generic[T]):
    items: list[T]


class OrderPage(Page[Order]):
    pass


class TitledPage(Page[U], Generic[V, U]):
    title: V


Short = Annotated[list[T], Field(max_length=3)]
seen: list[Any] = []


@step
def log(x: T) -> T:
    seen.append(x)
    return x


@step
async def log_later(x: T) -> T:
    return x


@step
def first(items: list[T]) -> T:
    return items[0]


@step
def listed(x: T) -> list[T]:
    return [x]


@step
def named(x: T) -> dict[str, T]:
    return {"a": x}


@step
def value_of(items: Mapping[str, T]) -> T:
    return items["a"]


@step
def swapped(a: T, b: U) -> tuple[U, T]:
    return b, a


@step
def together(a: T, b: T) -> list[T]:
    return [a, b]


@step
def boxed(x: T) -> Box[T]:
    return Box(x)


@step
def opened(box: Box[T]) -> T:
    return box.inside


@step
def titled(x: T) -> TitledPage[str, T]:
    return TitledPage(items=[x], title="all")


@step
def paged(items: list[T]) -> Page[T]:
    return Page(items=items)


@step
def page_of(items: list[U]) -> Page[U]:
    return Page(items=items)


@step
def first_of_page(page: Page[U]) -> U:
    return page.items[0]


@step
def bounded(order: Some) -> Some:
    return order


@step
def constrained(x: Either) -> Either:
    return x


@step
def maybe(x: T) -> T | None:
    return x


@step
def sure(x: T | None) -> T:
    assert x is not None
    return x


@step
def first_of_many(items: tuple[T, ...]) -> T:
    return items[0]


@step
def first_of_sequence(items: Sequence[T]) -> T:
    return items[0]


@step
def short(x: T) -> Short[T]:
    return [x]


@step
def values(a: Outcome[T], b: Outcome[T]) -> list[T]:
    return [item.value for item in (a, b) if isinstance(item, Completed)]


@step
def number(order: Order) -> int:
    return 3


@step
def int_box(x: int) -> IntBox:
    return IntBox(x)


@step
def order_page(order: Order) -> OrderPage:
    return OrderPage(items=[order])


@step
def fails(order: Order) -> int:
    raise ValueError("so that what came before is undone")


def orders() -> Workflow[Order, Order]:
    return Workflow("orders", input=Order)


def numbers() -> Workflow[int, int]:
    return Workflow("numbers", input=int)


def many() -> Workflow[list[Order], list[Order]]:
    return Workflow("many", input=list[Order])


inner = orders().then(boxed).then(opened)
second = log.options(id="second")
ONE = Order(id=1)

CASES: dict[str, tuple[Any, Any, Any, Any]] = {
    "T": (orders().then(log), ONE, Order, ONE),
    "async": (orders().then(log_later), ONE, Order, ONE),
    "list": (orders().then(listed), ONE, list[Order], [ONE]),
    "item of a list": (many().then(first), [ONE], Order, ONE),
    "list of lists": (
        many().then(listed).then(first).then(first.options(id="again")), [ONE], Order, ONE,
    ),
    "dict": (orders().then(named), ONE, dict[str, Order], {"a": ONE}),
    "dict for a mapping": (orders().then(named).then(value_of), ONE, Order, ONE),
    "two of two": (
        orders().parallel(number, log).then(swapped), ONE, tuple[Order, int], (ONE, 3),
    ),
    "one of two": (
        orders().parallel(number, log).then(together), ONE, list[int | Order], [3, ONE],
    ),
    "generic dataclass": (orders().then(boxed), ONE, Box[Order], Box(ONE)),
    "of a generic dataclass": (orders().then(boxed).then(opened), ONE, Order, ONE),
    "of its subclass": (numbers().then(int_box).then(opened), 3, int, 3),
    "of its generic subclass": (orders().then(titled).then(first_of_page), ONE, Order, ONE),
    "generic model": (many().then(paged), [ONE], Page[Order], Page[Order](items=[ONE])),
    "of a generic model": (many().then(page_of).then(first_of_page), [ONE], Order, ONE),
    "of a subclass of it": (orders().then(order_page).then(first_of_page), ONE, Order, ONE),
    "bound": (
        Workflow("big", input=BigOrder).then(bounded), BigOrder(id=1), BigOrder, BigOrder(id=1),
    ),
    "constraints": (numbers().then(constrained), 3, int, 3),
    "optional, and back": (orders().then(maybe).then(sure), ONE, Order, ONE),
    "annotated": (orders().then(short).then(first), ONE, Order, ONE),
    "sequence": (orders().then(listed).then(first_of_sequence), ONE, Order, ONE),
    "tuple of any length": (orders().parallel(log, second).then(first_of_many), ONE, Order, ONE),
    "list of a block": (orders().parallel(log, second).then(first), ONE, Order, ONE),
    "outcomes": (
        orders().parallel(log, second, join="settled").then(values), ONE, list[Order], [ONE, ONE],
    ),
    "map": (many().map(boxed).map(opened), [ONE, ONE], list[Order], [ONE, ONE]),
    "map of a workflow": (many().map(inner), [ONE], list[Order], [ONE]),
    "loop": (
        orders().loop(log, until=lambda _: True, max_iterations=2), ONE, Order, ONE,
    ),
    "choice": (orders().when(lambda _: True, log).otherwise(number), ONE, Order | int, ONE),
    "then_if": (orders().then_if(lambda _: True, log), ONE, Order, ONE),
    "nested": (orders().then(inner), ONE, Order, ONE),
    "optional step": (
        orders().then(log.options(continue_on_error=True)), ONE, Order | None, ONE,
    ),
    "Any": (Workflow("any", input=Any).then(log), 3, Any, 3),
}  # fmt: skip


@pytest.mark.parametrize(
    ("workflow", "value", "annotation", "result"), CASES.values(), ids=CASES.keys()
)
def test_the_type_that_arrives_is_kept(workflow, value, annotation, result):
    assert workflow.output == annotation
    assert workflow.compile().output == annotation
    assert run(workflow, value, store="memory:") == result


def test_each_place_has_its_own_type():
    workflow = orders().then(log).then(number).then(log.options(id="again"))
    steps = workflow.compile().steps
    assert steps["log"].wanted == (Order,)
    assert steps["again"].wanted == (int,)
    assert log.wanted == (T,)
    seen.clear()
    assert run(workflow, ONE, store="memory:") == 3
    assert seen == [ONE, 3]


def test_the_tree_says_which_type_arrives():
    by_hand = step(lambda_like, id="log")
    generic = orders().then(log).compile().tree.nodes[0]
    assert generic.input_schema == orders().then(by_hand).compile().tree.nodes[0].input_schema
    assert generic.input_schema != numbers().then(log).compile().tree.nodes[0].input_schema


def lambda_like(x: Order) -> Order:
    return x


def test_an_undo_gets_the_types_of_its_step():
    undone: list[Any] = []

    @step
    def unlog(x: T, output: T | None) -> None:
        undone.extend((x, output))

    with pytest.raises(RunFailedError):
        run(orders().then(log.undo(unlog)).then(fails), ONE, store="memory:")
    assert undone == [ONE, ONE]


REFUSED: dict[str, tuple[Any, str]] = {
    "bound": (lambda: numbers().then(bounded), "'bounded' takes order: Order, but gets int"),
    "constraints": (
        lambda: Workflow("w", input=float).then(constrained),
        "'constrained' takes x: int | str, but gets float",
    ),
    "another shape": (
        lambda: orders().then(first), r"'first' takes items: list\[T\], but gets Order",
    ),
    "what it gives": (
        lambda: numbers().then(listed).then(number),
        r"'number' takes order: Order, but gets list\[int\] from 'listed'",
    ),
    "a loop that grows": (
        lambda: orders().loop(listed, until=lambda _: True, max_iterations=2),
        r"'listed' takes x: Order, but gets list\[Order\]",
    ),
    "a list where a tuple is": (
        lambda: orders().then(listed).then(first_of_many),
        r"takes items: tuple\[T, ...\], but gets list\[Order\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_where_the_workflow_is_written(build, message):
    with pytest.raises(WorkflowInvalidError, match=message):
        build()


def test_an_undo_that_does_not_fit_the_type_that_arrives_is_refused():
    @step
    def unlog(x: Order, output: Order | None) -> None: ...

    undoable = log.undo(unlog)
    assert orders().then(undoable).output is Order
    with pytest.raises(
        WorkflowInvalidError, match=r"'unlog' takes \(x: Order.*write unlog\(x: int"
    ):
        numbers().then(undoable)


def test_a_type_that_nothing_tells_is_refused_where_the_step_is_made():
    def from_nothing() -> T: ...

    def another(x: T) -> list[U]: ...

    def by_setting(x: int, y: T | None = None) -> T: ...

    def many_at_once(x: tuple[*Ts]) -> tuple[*Ts]: ...

    for fn in (from_nothing, by_setting):
        with pytest.raises(StepInvalidError, match="it returns T, which none of its inputs has"):
            step(fn)
    with pytest.raises(StepInvalidError, match="it returns U"):
        step(another)
    with pytest.raises(StepInvalidError, match="Ts, which stands for any number of types"):
        step(many_at_once)


def module_level(x: T) -> T:
    return x


def test_a_generic_step_stays_in_its_process():
    with pytest.raises(StepInvalidError, match="type variables don't say of what type"):
        step(module_level, executor="process")

    with pytest.raises(WorkflowInvalidError, match="'far' runs elsewhere and reads 'log'"):
        orders().then(log).then(number).then(step(far, executor="process", reads=(log,)))


def far(x: int) -> int:
    return x


def test_a_bare_generic_model_is_one_of_anything():
    @step
    def read(page: Page) -> int:  # type: ignore[type-arg] # pyright: ignore[reportMissingTypeArgument]
        return len(page.items)

    @step
    def give(x: int) -> Page:  # type: ignore[type-arg] # pyright: ignore[reportMissingTypeArgument]
        return Page(items=[x])

    assert run(numbers().then(give).then(read), 3, store="memory:") == 1


def test_a_block_gives_its_tuple_as_a_list_to_a_step_that_takes_one():
    @step
    def total(items: list[int]) -> int:
        assert type(items) is list
        return sum(items)

    branches = [number.options(id=f"number{i}") for i in range(3)]
    assert run(orders().parallel(*branches).then(total), ONE, store="memory:") == 9
    assert run(orders().parallel(*branches).sleep(0).then(total), ONE, store="memory:") == 9

    @step
    def pair(order: Order) -> tuple[int, int]:
        return 1, 2

    with pytest.raises(WorkflowInvalidError, match=r"takes items: list\[int\], but gets tuple"):
        orders().then(pair).then(total)


def test_a_generic_step_keeps_its_settings():
    @step
    def repeated(item: T, times: int = 1) -> list[T]:
        return [item] * times

    twice = repeated.bind("twice", times=2)
    assert run(Workflow("w", input=str).then(twice), "a", store="memory:") == ["a", "a"]
