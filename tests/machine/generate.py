"""Random trees, of what the language can express, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from gorkflow.flow import (
    ArmSpec,
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    ParallelSpec,
    PassthroughSpec,
    SleepSpec,
    StepSpec,
    TimeSpec,
    UndoSpec,
    WaitSpec,
    WorkflowSpec,
)
from gorkflow.policy import Join, RetryPolicy, at_least, tolerate

RETRIES = [RetryPolicy(retries=number) for number in range(3)]
MAX_DEPTH = 4
SIGNALS = ("red", "green")


class Trees:
    """Makes random trees of limited depth and size."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.ids = 0
        self.budget = rng.choice((3, 6, 9, 12, 16))
        self.undoes = self.chance(0.5)

    def tree(self) -> WorkflowSpec:
        return self.workflow(0, root=True)

    def workflow(self, depth: int, *, root: bool = False) -> WorkflowSpec:
        length = self.rng.choice((1, 1, 2, 2, 3) if root else (0, 1, 1, 2, 2, 3))
        nodes = tuple(self.node(depth) for _ in range(length))
        timeout = 9.0 if not root and self.chance(0.25) else None
        takes_input = self.chance(0.8)
        return WorkflowSpec(id=self.id("w"), nodes=nodes, timeout=timeout, takes_input=takes_input)

    def node(self, depth: int) -> NodeSpec:
        """Return a node of a chain."""
        makers: list[Callable[[int], NodeSpec]] = [
            self.step, self.block, self.choice, self.map, self.loop
        ]  # fmt: skip
        weights = (6, 10, 2, 4, 2) if depth < MAX_DEPTH and self.budget > 0 else (1, 0, 0, 0, 0)
        if self.chance(0.15):
            return self.branch(depth)
        if self.chance(0.15):
            return self.pause()
        return self.rng.choices(makers, weights)[0](depth)

    def branch(self, depth: int) -> NodeSpec:
        """Return what may stand in a block or a choice: a step, a passthrough, a workflow."""
        makers: list[Callable[[int], NodeSpec]] = [self.step, self.passthrough, self.workflow]
        if self.chance(0.12):
            nodes = (self.pause(), self.step(depth)) if self.chance(0.5) else (self.pause(),)
            return WorkflowSpec(id=self.id("w"), nodes=nodes)
        if depth < MAX_DEPTH and self.chance(0.08):  # what a drain finds between two iterations
            return WorkflowSpec(id=self.id("w"), nodes=(self.loop(depth + 1),))
        weights = (6, 1, 4) if depth < MAX_DEPTH and self.budget > 0 else (6, 1, 0)
        return self.rng.choices(makers, weights)[0](depth + 1)

    def step(self, _depth: int) -> StepSpec:
        self.budget -= 1
        name = self.id("s")
        return StepSpec(
            id=name, name=name, retry=self.rng.choice(RETRIES), continue_on_error=self.chance(0.2),
            undo=self.undo() if self.undoes and self.chance(0.6) else None,
        )  # fmt: skip

    def undo(self) -> UndoSpec:
        step = StepSpec(id="u", name="u", retry=self.rng.choice(RETRIES))
        return UndoSpec(step=step, inputs=self.rng.choice((0, 1, 1, 2)))

    def pause(self) -> NodeSpec:
        return self.rng.choice((self.sleep, self.wait))()

    def sleep(self) -> SleepSpec:
        name = self.id("z")
        if self.chance(0.4):
            return SleepSpec(id=name, **self.odd_time())
        return SleepSpec(id=name, seconds=self.rng.choice((0.0, 3.0, 8.0)))

    def odd_time(self) -> dict[str, Any]:
        """Return a time that is no number of seconds: a moment, or what a function says."""
        if self.chance(0.2):
            return {"until": self.rng.choice((0.0, 1_010.0))}
        return {"asks": TimeSpec(function="f", is_due=self.chance(0.5))}

    def wait(self) -> WaitSpec:
        timeout = self.rng.choice((None, 4.0, 7.0))
        time = self.odd_time() if self.chance(0.3) else {"timeout": timeout}
        default = None if time == {"timeout": None} else self.rng.choice((None, "7"))
        signal = self.rng.choice(SIGNALS)
        return WaitSpec(id=self.id("!"), signal=signal, schema="s", default=default, **time)

    def passthrough(self, _depth: int) -> PassthroughSpec:
        return PassthroughSpec(id=self.id("p"))

    def block(self, depth: int) -> ParallelSpec:
        branches = tuple(self.branch(depth) for _ in range(self.rng.choice((1, 2, 2, 3, 3, 4))))
        return ParallelSpec(
            id=f"&{branches[0].id}",
            branches=branches,
            join=self.join(len(branches)),
            on_failure=self.rng.choice(("drain", "drain", "cancel")),
            max_concurrency=self.rng.choice((None, None, 1, 2)),
            timeout=5.0 if self.chance(0.25) else None,
        )

    def map(self, depth: int) -> MapSpec:
        body = self.branch(depth)
        return MapSpec(
            id=f"*{body.id}",
            body=body,
            join=self.join(2),
            on_failure=self.rng.choice(("drain", "drain", "cancel")),
            max_concurrency=self.rng.choice((None, None, 1, 2)),
            timeout=5.0 if self.chance(0.25) else None,
            keyed=self.chance(0.3),
        )

    def loop(self, depth: int) -> LoopSpec:
        body = self.branch(depth)
        most = self.rng.choice((1, 2, 3))
        return LoopSpec(id=f"@{body.id}", body=body, condition="c", max_iterations=most)

    def join(self, branches: int) -> Join:
        return self.rng.choice(
            (
                Join("all"),
                Join("all"),
                Join("settled"),
                Join("first"),
                at_least(self.rng.randint(1, branches)),
                tolerate(0),
                tolerate(self.rng.randint(0, branches)),
                tolerate(percent=self.rng.choice((0, 25, 33.4, 50, 100))),
            )
        )

    def choice(self, depth: int) -> ChoiceSpec:
        arms = tuple(
            ArmSpec(condition=f"c{number}", node=self.branch(depth))
            for number in range(self.rng.choice((1, 1, 2, 3)))
        )
        otherwise = self.branch(depth) if self.chance(0.4) else None
        default = "7" if otherwise is None and self.chance(0.5) else None
        return ChoiceSpec(id=self.id("?"), arms=arms, otherwise=otherwise, default=default)

    def id(self, prefix: str) -> str:
        self.ids += 1
        return f"{prefix}{self.ids}"

    def chance(self, share: float) -> bool:
        return self.rng.random() < share


def random_tree(rng: random.Random) -> WorkflowSpec:
    """Return a random tree."""
    return Trees(rng).tree()
