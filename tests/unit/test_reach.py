"""What a run can still reach of its tree, after what has happened."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gorkflow import events as ev
from gorkflow.engine._reach import Reach
from gorkflow.flow import ChoiceSpec, LoopSpec, MapSpec, StepSpec, walk
from gorkflow.model import Failure, FailureCode, RunStatus
from gorkflow.signal import Signal
from gorkflow.step import step
from gorkflow.workflow import Workflow


@step
async def one(number: int) -> int:
    return number


@step
async def undo_one(number: int, result: int | None) -> None:
    pass


@step
async def numbers(number: int) -> list[int]:
    return [number]


@step
async def anything(value: Any) -> int:
    return 0


def named(node_id: str, **options: Any) -> Any:
    return one.options(id=node_id, **options)


def chain(workflow_id: str, *steps: Any) -> Any:
    made: Any = Workflow(workflow_id, input=int)
    for each in steps:
        made = made.then(each)
    return made


def reach(workflow: Any, *events: ev.Event) -> list[str]:
    """Return the steps and waits that may begin."""
    tree = workflow.compile().tree
    found = Reach(tree, events)
    inner = [path for path, node in walk(tree) if isinstance(node, StepSpec)]
    return [path for path in inner if found.begins(path)]


def asked(workflow: Any, *events: ev.Event) -> list[str]:
    """Return the choices, loops and maps that may ask their function."""
    tree = workflow.compile().tree
    found = Reach(tree, events)
    asking = [
        (path, node)
        for path, node in walk(tree)
        if isinstance(node, ChoiceSpec | LoopSpec | MapSpec)
    ]
    return [path for path, node in asking if found.asks(path, node)]


def undone(workflow: Any, *events: ev.Event) -> list[str]:
    """Return the steps that may have to be undone."""
    tree = workflow.compile().tree
    found = Reach(tree, events)
    return [
        path
        for path, node in walk(tree)
        if isinstance(node, StepSpec) and node.undo is not None and found.undoes(path)
    ]


def scheduled(path: str) -> ev.Event:
    return ev.StepScheduled("r", 1, path, 0.0, 1, None, 0.0)


def completed(path: str) -> ev.Event:
    return ev.StepCompleted("r", 1, path, 0.0, 1, b"1", 0.0)


def failed(path: str, retry_at: float | None = None) -> ev.Event:
    failure = Failure(
        path=path,
        step_id=path,
        attempt=1,
        code=FailureCode.STEP_FAILED,
        type="",
        message="",
        at=datetime.fromtimestamp(0, UTC),
    )
    return ev.StepFailed("r", 1, path, 0.0, 1, failure, 0.0, retry_at)


def cancelled(path: str, failure: int | None = None) -> ev.Event:
    return ev.StepCancelled("r", 1, path, 0.0, 1, "", failure)


def skipped(path: str) -> ev.Event:
    return ev.StepSkipped("r", 1, path, 0.0, "")


def decided(path: str, verdict: str) -> ev.Event:
    return ev.BlockDecided("r", 1, path, 0.0, verdict, "", None)


def fired(path: str, key: str) -> ev.Event:
    return ev.TimerFired("r", 1, path, 0.0, key)


def kept(path: str, what: str, choice: int | None = None) -> ev.Event:
    return ev.ResultKept("r", 1, path, 0.0, what, None, choice, 1)


def test_what_is_inside_a_skipped_arm_is_over():
    other = chain("n", chain("inner", named("b")), named("d"))
    flow = Workflow("w", input=int).when(bool, named("a"), id="c").otherwise(other)
    made = ev.Decided("r", 1, "c", 0.0, 0)
    assert reach(flow) == ["a", "n/inner/b", "n/d"]
    assert reach(flow, made, skipped("n")) == ["a"]


two = Workflow("w", input=int).parallel(
    chain("p", named("a"), named("b"), chain("n", named("c"))),
    named("q"),
    join="settled",
    id="block",
)


def test_what_comes_after_a_failure_is_over_beside_it_all_goes_on():
    assert reach(two, failed("p/a", 9.0)) == ["p/a", "p/b", "p/n/c", "q"]
    assert reach(two, failed("p/a")) == ["q"]
    assert reach(two, cancelled("p/a")) == ["q"]
    assert reach(two, failed("p/a", 9.0), cancelled("p/a", 3)) == ["q"]
    assert reach(two, completed("p/a"), fired("p/n", "timeout")) == ["p/b", "q"]


def test_a_failure_ends_the_workflows_around_it_up_to_the_block():
    inner = chain("n", named("a"), named("b"))
    flow = (
        Workflow("w", input=int)
        .parallel(chain("p", inner, named("c")), named("q"), join="settled", id="block")
        .then(anything)
    )
    assert reach(flow, failed("n/a")) == ["p/n/a", "p/n/b", "p/c", "q", "anything"]
    assert reach(flow, failed("p/n/a")) == ["q", "anything"]
    assert reach(flow, failed("p/n/a"), completed("q"), decided("block", "completed")) == [
        "anything"
    ]
    assert reach(flow, failed("p/n/a"), decided("block", "failed")) == []


def test_a_failure_that_becomes_none_ends_nothing_but_its_step():
    @step
    async def maybe(number: int | None) -> int:
        return 0

    soft = named("a", continue_on_error=True)
    flow = Workflow("w", input=int).then(chain("p", soft, maybe))
    assert reach(flow, failed("p/a")) == ["p/maybe"]
    assert reach(flow, failed("p/a", 9.0), cancelled("p/a", 3)) == ["p/maybe"]
    assert reach(flow, cancelled("p/a")) == []


def test_the_arm_that_fails_ends_what_comes_after_the_choice():
    flow = Workflow("w", input=int).parallel(
        Workflow("p", input=int).then_if(bool, named("a")).then(named("b")),
        named("q"),
        join="settled",
    )
    made = ev.Decided("r", 1, "p/?a", 0.0, 0)
    assert reach(flow, made, failed("p/a")) == ["q"]
    assert reach(flow, ev.Decided("r", 1, "p/?a", 0.0, 1), skipped("p/a")) == ["p/b", "q"]
    assert reach(flow, failed("p/?a")) == ["q"]  # its condition raised


def test_items_and_iterations_end_with_their_map_or_loop():
    flow = (
        Workflow("w", input=int)
        .then(numbers)
        .map(chain("n", named("a"), named("b")), id="each")
        .then(anything)
        .loop(one, until=bool, max_iterations=3, id="repeat")
    )
    items = ["n[]/a", "n[]/b"]
    assert reach(flow, completed("numbers"), failed("n[0]/a")) == [*items, "anything", "one#"]
    assert reach(flow, decided("each", "completed")) == ["numbers", "anything", "one#"]
    again, held = (ev.Decided("r", 1, "repeat", 0.0, choice) for choice in (1, 0))
    assert "one#" in reach(flow, completed("one#1"), again)
    assert "one#" not in reach(flow, completed("one#1"), again, held)


def test_functions_are_asked_once_but_that_of_a_loop():
    flow = (
        Workflow("w", input=int)
        .then_if(bool, one, id="choose")
        .then(numbers)
        .map(named("item"), id="each", key=str)
        .then(anything)
        .loop(named("again"), until=bool, max_iterations=3, id="repeat")
    )
    assert asked(flow) == ["choose", "each", "repeat"]
    made = ev.Decided("r", 1, "choose", 0.0, 0), ev.Expanded("r", 1, "each", 0.0, 2, ("1", "2"))
    assert asked(flow, *made, ev.Decided("r", 1, "repeat", 0.0, 1)) == ["repeat"]
    assert asked(flow, *made, ev.Decided("r", 1, "repeat", 0.0, 0)) == []
    assert asked(flow, kept("choose", "decided", 0), kept("each", "expanded", 2)) == ["repeat"]
    in_part = kept("each", "expanded", 2), kept("repeat", "looping", 1)
    assert reach(flow, *in_part) == ["one", "numbers", "item[]", "anything", "again#"]
    assert asked(flow, *in_part) == ["choose", "repeat"]
    assert reach(flow, kept("repeat", "looped", 1)) == ["one", "numbers", "item[]", "anything"]


def test_a_wait_is_over_when_its_time_is():
    wait = Workflow("w", input=int).wait_for(Signal("go", int), timeout=1, default=1, id="go")
    tree = wait.then(anything).compile().tree
    opened = ev.WaitOpened("r", 1, "go", 0.0, "go", "", 1.0)
    assert Reach(tree, [opened]).begins("go")
    over = Reach(tree, [opened, fired("go", "wait")])
    assert not over.begins("go")
    assert over.matters("go")
    assert over.begins("anything")


def test_a_step_may_be_undone_once_it_has_begun_until_it_is():
    flow: Any = Workflow("w", input=int)
    for node_id in ("a", "b", "c"):
        flow = flow.then(named(node_id).undo(undo_one.options(id=f"undo_{node_id}")))
    begun = scheduled("a"), completed("a"), scheduled("b")
    assert undone(flow, *begun) == ["a", "b", "c"]
    assert undone(flow, *begun, failed("b")) == ["a", "b"]
    undoing = ev.UndoStarted("r", 1, "", 0.0, RunStatus.FAILED, (), "", ("a",))
    assert undone(flow, *begun, failed("b"), undoing) == ["a"]
    assert undone(flow, *begun, failed("b"), undoing, completed("a~undo")) == []
    assert undone(flow, kept("a", "completed"), kept("b", "completed")) == ["c"]


def test_what_never_began_and_never_will_does_not_matter():
    tree = two.compile().tree
    found = Reach(tree, [scheduled("p/a"), failed("p/a")])
    assert [found.matters(path) for path in ("p/a", "p/b", "q")] == [True, False, True]
    assert Reach(tree, [kept("p/a", "completed")]).matters("p/a")
