"""A forecast: without changes it is the run itself, and slack is what the explanation says."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gorkflow import events as ev
from gorkflow.flow import BlockSpec, MapSpec, StepSpec, WaitSpec, WorkflowSpec, template_of, walk
from gorkflow.insight.explain import Explanation, Phase, explain
from gorkflow.insight.whatif import Changes, Forecast, Try, whatif
from tests.machine.generate import random_tree
from tests.machine.simulation import RUN, a_failure


class Known(dict[str, Any]):
    """Answers that are made when they are asked for."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, path: str) -> Any:
        """Return the answer at a path."""
        made = self[path] = self._make(path)
        return made

    def get(self, path: str, default: object = None) -> Any:
        """Return the answer at a path."""
        return self[path]


class Dice:
    """Durations and answers at random, as a recorded history would have them."""

    cancelled = None

    def __init__(self, rng: random.Random, tree: WorkflowSpec, fails: float) -> None:
        self.rng = rng
        self.nodes = dict(walk(tree))
        self.fails = fails
        self.opening = [ev.RunCreated(RUN, 1, "", 0.0, "f", b"1")]
        self.started = ev.RunStarted(RUN, 2, "", 0.0, None)
        self._answers = Known(lambda path: [self._answer(path) for _ in range(9)])
        self.signals = Known(lambda _: self._seconds())

    def answer(self, path: str, number: int) -> ev.Event:
        """Return an answer of the function at a path."""
        found: ev.Event = self._answers[path][number]
        return found

    def _answer(self, path: str) -> ev.Event:
        node: Any = self.nodes[template_of(path)]
        if isinstance(node, MapSpec):
            count = self.rng.randint(0, 4)
            keys = tuple(f"k{n}" for n in range(count)) if node.keyed else None
            return ev.Expanded(RUN, 1, path, 0.0, count, keys)
        if getattr(node, "asks", None) is not None:
            due = (None, self._seconds()) if node.asks.is_due else (self._seconds(), None)
            return ev.Timed(RUN, 1, path, 0.0, *due)
        return ev.Decided(RUN, 1, path, 0.0, self.rng.randint(0, len(node.conditions)))

    def _seconds(self) -> float:
        return self.rng.uniform(0.5, 9)

    def attempt(self, path: str, number: int, *, last: bool) -> Try:
        """Return how an attempt goes."""
        if self.rng.random() >= self.fails:
            return Try(0.0, self._seconds(), 0.0, None)
        back_off = self._seconds() if number < 3 else None
        end = ev.StepFailed(RUN, 1, path, 0.0, number, a_failure(path, number), None, None)
        return Try(0.0, self._seconds(), 0.0, end, back_off)


def a_run(seed: int, tree: Callable[[WorkflowSpec], bool] = lambda _: True) -> Any:
    """Return the tree and the history of a run in which the engine takes no time."""
    rng = random.Random(seed)
    made = random_tree(rng)
    while not tree(made):
        made = random_tree(rng)
    dice: Any = Dice(rng, made, rng.choice((0.0, 0.1, 0.3)))
    return made, Forecast(RUN, made, dice, Changes()).run()


@pytest.mark.parametrize("seed", range(100))
def test_without_changes_it_is_the_run_itself(seed: int) -> None:
    tree, events = a_run(seed)
    was = explain(RUN, tree, events, now=0.0)
    found = whatif(RUN, tree, events, Changes())
    assert was.time.get(Phase.ENGINE, 0.0) == pytest.approx(0.0, abs=1e-6)
    assert found.status == was.status
    assert found.seconds == pytest.approx(was.seconds, abs=1e-6)


def is_unbounded(tree: WorkflowSpec) -> bool:
    """Return whether no two branches share a limit."""
    if any(isinstance(node, WaitSpec) for _, node in walk(tree)):
        return False  # they share the signals
    blocks = [node for _, node in walk(tree) if isinstance(node, BlockSpec)]
    return bool(blocks) and all(node.max_concurrency is None for node in blocks)


def loose(found: Explanation, tree: WorkflowSpec) -> Iterator[tuple[str, float, float]]:
    """Yield the branches with slack that are single steps: path, work, slack."""
    nodes = dict(walk(tree))
    for block in found.blocks:
        for branch in block.branches:
            is_step = isinstance(nodes[template_of(branch.path)], StepSpec)
            if is_step and branch.slack and branch.work:
                yield branch.path, branch.work, branch.slack


def test_slack_may_be_saved_for_nothing() -> None:
    tried = 0
    for seed in range(600):
        tree, events = a_run(seed, is_unbounded)
        was = explain(RUN, tree, events, now=0.0)
        for path, work, slack in loose(was, tree):
            saved = min(slack, work) * 0.9
            changes = Changes(scale={path: 1 - saved / work})
            found = whatif(RUN, tree, events, changes)
            assert found.seconds == pytest.approx(was.seconds, abs=1e-6), (seed, path)
            tried += 1
    assert tried > 200
