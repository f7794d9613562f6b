"""Maps and loops as they are written: what is refused, replaced, drawn; which code still fits."""

from collections.abc import Callable
from typing import Any

import pytest

from gorkflow import Workflow, WorkflowInvalidError, at_least, passthrough, step, tolerate
from gorkflow.engine._compatibility import misfit_of
from gorkflow.insight.diagram import mermaid, text
from tests.machine.drive import Drive


@step
async def inc(number: int) -> int:
    return number + 1


@step
async def name(number: int) -> str:
    return str(number)


@step
async def find(number: int) -> list[int]:
    return [number]


@step
async def maybe(number: int) -> int | None:
    return number


@step
async def total(numbers: list[int]) -> int:
    return sum(numbers)


def done(number: int) -> bool:
    return number > 9


start = Workflow("w", input=int)
listed = Workflow("w", input=list[int])


# ---- what is refused --------------------------------------------------------------------------


def key_of_text(word: str) -> str:
    return word


def key_of_bytes(number: int) -> bytes:
    return bytes(number)


def is_word(word: str) -> bool:
    return bool(word)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: start.map(inc), "map of 'inc' takes a list, but gets int"),
        (lambda: Workflow("w", input=str).map(name), "takes a list, but gets str"),
        (lambda: Workflow("w", input=set[int]).map(inc), r"takes a list, but gets set\[int\]"),
        (lambda: Workflow("w", input=list[int] | None).map(inc), r"gets list\[int\] \| None"),
        (lambda: Workflow("w", input=list[str]).map(inc), "takes number: int, but gets str"),
        (lambda: Workflow("w", input=list[int | str]).map(inc), r"but gets int \| str"),
        (lambda: listed.map(maybe).map(inc, id="again"), "may get None from 'maybe'"),
        (lambda: listed.map(inc.options(continue_on_error=True)).then(total), "None"),
        (lambda: listed.map(inc, join="settled").then(total), "takes numbers"),
        (lambda: listed.map(inc).map(inc), "the id 'inc' is taken"),
        (lambda: listed.map(inc, concurrency=2), "did you mean 'max_concurrency'"),
        (lambda: listed.map(inc, max_concurrency=0), "max_concurrency must be"),
        (lambda: listed.map(inc, max_concurrency=2.5), "whole number of 1 or more, not 2.5"),
        (lambda: listed.map(inc, timeout=-1), "timeout must be more than 0"),
        (lambda: listed.map(inc, join="most"), "unknown join 'most'"),
        (lambda: listed.map(inc, on_failure="stop"), "'drain' or 'cancel', not 'stop'"),
        (lambda: listed.map(inc, id="a/b"), "map id 'a/b' must be"),
        (lambda: listed.map(inc, key="number"), "key must be a function"),
        (lambda: listed.map(inc, key=key_of_text), "takes word: str, but gets int"),
        (lambda: listed.map(inc, key=key_of_bytes), "must return a str or int"),
        (
            lambda: listed.map(lambda number: number),
            "a lambda is not a step; write a function, with @step",
        ),
        (lambda: listed.map(3), "is not a step or workflow"),
        (lambda: listed.map(Workflow("empty", input=int)), "workflow 'empty' is empty"),
        (lambda: start.loop(name, until=done, max_iterations=3), "in a loop, a node gets its own"),
        (lambda: start.loop(maybe, until=done, max_iterations=3), "may get None from 'maybe'"),
        (lambda: start.loop(inc, until=is_word, max_iterations=3), "takes word: str"),
        (lambda: start.loop(inc, until=key_of_bytes, max_iterations=3), "must return a bool"),
        (lambda: start.loop(inc, until=lambda: 1, max_iterations=0), "max_iterations must be"),
        (lambda: start.loop(inc, until=done, max_iterations=2.5), "whole number of 1 or more"),
        (lambda: start.loop(inc, until=True, max_iterations=3), "must be a function that returns"),
        (lambda: start.loop(find, until=done, max_iterations=3), "takes number: int"),
    ],
)
def test_what_can_not_be_built_says_why(make: Callable[[], object], problem: str):
    with pytest.raises(WorkflowInvalidError, match=problem):
        make()


def test_an_option_of_a_loop_that_is_misspelled_is_named():
    loop: Any = start.loop
    with pytest.raises(WorkflowInvalidError) as error:
        loop(inc, untill=done, max_iteration=3)
    assert list(error.value.problems) == [
        "unknown option 'untill'; did you mean 'until'?",
        "unknown option 'max_iteration'; did you mean 'max_iterations'?",
        "the condition must be a function that returns a bool, not None",
        "max_iterations must be a whole number of 1 or more, not None",
    ]


def test_lists_may_have_any_annotation_that_is_one():
    for kind in (list[int], tuple[int, ...], tuple[int, int], list, list[Any]):
        assert Workflow("w", input=kind).map(inc).compile().tree.nodes[0].kind == "map"


# ---- what is replaced -------------------------------------------------------------------------


@step
async def triple(number: int) -> int:
    return number * 3


page = Workflow("page", input=int).then(inc).loop(triple, until=done, max_iterations=5)
flow = start.then(find).map(page, join=tolerate(1), max_concurrency=2, timeout=60)


def bodies(workflow: Workflow[Any, Any]) -> list[str]:
    return [*workflow.compile().steps]


def test_bodies_are_replaced_wherever_they_are():
    @step
    async def other(number: int) -> int:
        return -number

    assert bodies(flow) == ["find", "page[]/inc", "page[]/triple#"]
    assert flow.replace(triple, other).compile().steps["page[]/triple#"].fn is other.fn
    assert flow.replace("page", other).compile().steps["page[]"].fn is other.fn
    assert bodies(flow) == ["find", "page[]/inc", "page[]/triple#"]


def test_what_replaces_a_body_must_fit():
    with pytest.raises(WorkflowInvalidError, match="in a loop, a node gets"):
        flow.replace(triple, name)


# ---- what is drawn ----------------------------------------------------------------------------


def test_text_shows_what_is_repeated_and_how():
    assert text(flow.then(passthrough(object)).compile().tree) == (
        """\
w
├─ find
├─ map of page, join tolerate(1)  (2 at a time, timeout 60 s)
│  └─ workflow page
│     ├─ inc
│     └─ loop of triple until done  (at most 5 times)
│        └─ triple
└─ passthrough
"""
    )


def test_mermaid_leads_back_to_the_beginning_of_a_loop():
    assert mermaid(flow.compile().tree) == (
        """\
flowchart TD
    n1(["w"])
    n2["find"]
    n1 --> n2
    subgraph b3["map (2 at a time, timeout 60 s)"]
        n4{{"for each item"}}
        n2 --> n4
        subgraph b5["workflow page"]
            n6["inc"]
            n4 --> n6
            subgraph b7["loop (at most 5 times)"]
                n8{{"again"}}
                n6 --> n8
                n9["triple"]
                n8 --> n9
                n10{"done"}
                n9 --> n10
                n10 -->|"no"| n8
            end
        end
        n11{{"join: tolerate(1)"}}
        n10 -->|"yes"| n11
    end
    n12(["end"])
    n11 --> n12
"""
    )


# ---- what code still fits ---------------------------------------------------------------------


def fits(
    then: Workflow[Any, Any], now: Workflow[Any, Any], *happened: tuple[Any, ...]
) -> list[str]:
    drive = Drive(tree=then.compile().tree)
    for what, path, *fields in happened:
        if what == "complete":
            drive.begin(path)
        getattr(drive, what)(path, *fields)
    tree, code = drive.tree, now.compile()
    found = misfit_of(tree, code, drive.history)
    return [*found.problems, *found.types]


def no_longer(path: str, which: str) -> str:
    return f"the conditions of {path!r} have changed: {which} missing or ambiguous"


def test_other_options_of_a_map_fit():
    now = listed.map(inc, max_concurrency=5, timeout=3, join="all", on_failure="cancel")
    assert fits(listed.map(inc), now) == []
    assert fits(listed.map(inc), listed.map(inc, key=lambda number: number)) == []
    assert fits(listed.map(inc), listed.map(inc, join=at_least(1))) == []


def test_a_key_function_must_stay_until_the_map_is_over():
    then, now = listed.map(inc, key=lambda number: number), listed.map(inc)
    assert fits(then, now) == ["the key function of '*inc' is gone"]
    assert fits(then, now, ("expand", "*inc", 1, "k")) == []


def test_the_body_of_a_map_must_stay_until_all_items_are_over():
    then, now = listed.map(page).then(total), listed.then(total)
    gone = ["step 'page[]/inc' is gone", "step 'page[]/triple#' is gone"]
    looped = [no_longer("page[]/@triple", "'done' is")]
    assert sorted(fits(then, now)) == sorted(gone + looped)
    begun = ("expand", "*page", 1), ("complete", "page[0]/inc")
    assert fits(then, now, *begun) == [looped[0], gone[1]]
    assert fits(then, now, ("expand", "*page", 0)) == []


def test_a_loop_must_stay_until_its_condition_held():
    then, now = start.loop(inc, until=done, max_iterations=5).then(name), start.then(name)
    gone = [no_longer("@inc", "'done' is"), "step 'inc#' is gone"]
    assert fits(then, now) == gone
    assert fits(then, now, ("complete", "inc#1"), ("decide", "@inc", 1)) == gone
    assert fits(then, now, ("complete", "inc#1"), ("decide", "@inc", 0)) == []


def test_a_choice_must_stay_until_it_is_made():
    then, now = start.then_if(done, inc).then(name), start.then(name)
    gone = [no_longer("?inc", "'done' is"), "step 'inc' is gone"]
    assert fits(then, now) == gone
    assert fits(then, now, ("decide", "?inc", 1)) == []


def test_a_body_of_another_type_does_not_fit():
    @step(id="inc")
    async def text_of(number: int) -> str:
        return str(number)

    problem = ["the output of step 'inc[]' can't be read as str: expected str, not int"]
    assert fits(listed.map(inc), listed.map(text_of)) == []
    done = ("expand", "*inc", 2), ("complete", "inc[0]")
    assert fits(listed.map(inc), listed.map(text_of), *done) == problem
    over = (*done, ("complete", "inc[1]"))
    assert fits(listed.map(inc), listed.map(text_of), *over) == problem * 2
    assert (
        fits(listed.map(inc), listed.map(text_of), ("expand", "*inc", 0)) == []
    )  # there was no item
