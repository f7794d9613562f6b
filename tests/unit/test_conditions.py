"""The conditions of a run and those of newer code: which one stands for which."""

from __future__ import annotations

import pytest

from gorkflow.engine._compatibility import condition_problems, continued_by, places
from gorkflow.flow import ArmSpec, ChoiceSpec, LoopSpec, PassthroughSpec
from gorkflow.step import step
from gorkflow.workflow import Workflow


def choice(*arms: str) -> ChoiceSpec:
    """A choice of arms that are written ``condition:node``."""
    pairs = [arm.split(":") for arm in arms]
    made = tuple(ArmSpec(condition=name, node=PassthroughSpec(id=node)) for name, node in pairs)
    return ChoiceSpec(id="c", arms=made)


def loop(condition: str) -> LoopSpec:
    return LoopSpec(id="c", body=PassthroughSpec(id="A"), condition=condition, max_iterations=3)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (["big:A", "small:B"], [0, 1]),
        (["small:B", "big:A"], [1, 0]),
        (["small:A", "big:B"], [1, 0]),
        (["odd:C", "small:B", "big:A"], [2, 1]),
        (["small:B", "huge:A"], [1, 0]),
        (["huge:A", "tiny:B"], [None, None]),
        (["big:A"], [0, None]),
        (["big:A", "odd:C", "even:B"], [0, None]),
        (["big:C", "big:D", "small:B"], [None, 2]),
    ],
)
def test_conditions_go_by_their_names_and_one_that_is_left_by_itself(
    now: list[str], expected: list[int | None]
) -> None:
    assert places(choice("big:A", "small:B"), choice(*now)) == expected


@pytest.mark.parametrize("name", ["check", "<lambda in line {}>"])
def test_those_of_one_name_go_by_what_they_lead_to_or_their_order(name: str) -> None:
    def arms(line: int, *nodes: str) -> ChoiceSpec:
        return choice(*(f"{name.format(line + i)}:{node}" for i, node in enumerate(nodes)))

    then = arms(7, "A", "B")
    assert places(then, arms(7, "A", "B")) == [0, 1]
    assert places(then, arms(8, "A", "B")) == [0, 1]  # a line above moves one to the other's line
    assert places(then, arms(7, "B", "A")) == [1, 0]
    assert places(then, arms(7, "C", "A", "B")) == [1, 2]
    assert places(then, arms(7, "C", "D")) == [0, 1]
    assert places(then, arms(7, "C", "D", "E")) == [None, None]


def test_a_single_condition_may_have_any_name() -> None:
    assert places(loop("done"), loop("finished")) == [0]
    assert places(choice("big:A"), choice("<lambda in line 3>:A")) == [0]
    assert places(loop("done"), None) == [None]
    assert not [*condition_problems("c", loop("done"), loop("finished"))]


def test_the_problem_names_the_choice_and_what_is_gone() -> None:
    start = "the conditions of 'n/c' have changed:"
    then = choice("big:A", "small:B")
    assert [*condition_problems("n/c", then, choice("huge:A", "tiny:B"))] == [
        f"{start} 'big' and 'small' are missing or ambiguous"
    ]
    assert [*condition_problems("n/c", then, choice("big:A"))] == [
        f"{start} 'small' is missing or ambiguous"
    ]


def test_functions_come_in_the_order_of_the_run_and_unclear_ones_not_at_all() -> None:
    def big(number: int) -> bool:
        return number > 10

    def small(number: int) -> bool:
        return number < 5

    def odd(number: int) -> bool:
        return bool(number % 2)

    @step
    async def one(number: int) -> int:
        return number

    def flow(first, second):
        two, three = one.options(id="two"), one.options(id="three")
        start = Workflow("w", input=int)
        return start.when(first, one, id="c").when(second, two).otherwise(three).compile()

    def order(then, now):
        found = continued_by(now, then.tree, then.text).conditions
        return [condition.fn for condition in found.get("c", ())]

    assert order(flow(big, small), flow(small, big)) == [big, small]
    assert order(flow(big, small), flow(small, odd)) == [odd, small]
    assert order(flow(big, small), flow(odd, lambda number: True)) == []
