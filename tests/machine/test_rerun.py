"""Random runs, repeated: the end is that of an undisturbed run, and nothing kept runs again.

Sizes: 300 runs of each kind; 30,000 with ``GORKFLOW_TEST_SIZE=full``.
"""

import os
import random
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gorkflow import events as ev
from gorkflow.errors import InputInvalidError
from gorkflow.flow import (
    LoopSpec,
    StepSpec,
    UndoSpec,
    WaitSpec,
    WorkflowSpec,
    template_of,
    walk,
)
from gorkflow.machine import AskTime, AwaitSignal, Decide, Expand, RunStep, StartTimer, rerun
from gorkflow.machine.history import marks_of, read
from gorkflow.machine.rerun import kept, locate
from gorkflow.model import FailureCode
from gorkflow.policy import Join, tolerate

from .drive import Drive
from .generate import Trees
from .reference import is_derived
from .simulation import RUN, simulate
from .symbols import symbol

FULL = os.environ.get("GORKFLOW_TEST_SIZE") == "full"
AT_RANDOM = settings(
    max_examples=30_000 if FULL else 300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
seeds = given(st.randoms(use_true_random=False))
FOLLOW_FROM_RESULTS = {"validation", "state_conflict"}
"""How a run can fail in which nothing goes wrong: of too few items, or of what branches wrote."""


def results_of(run):
    """What a run can hand on to one that repeats it."""
    return rerun.results(read(RUN, run.tree, run.history), run.history)


class Orderly(Trees):
    """Trees whose output does not depend on who is first."""

    def join(self, branches: int) -> Join:
        tolerant = tolerate(self.rng.randint(0, branches))
        return self.rng.choice((Join("all"), Join("all"), Join("settled"), tolerant))


def fate(path: str, ways: int) -> int:
    """Return the same way each time, for what a run does not decide by itself."""
    return zlib.crc32(path.encode()) % ways


class Play(Drive):
    """A run that is driven to its end: in any order, with these probabilities of trouble."""

    def __init__(self, rng, tree, *, fails=0.0, cancelled=0.0, keep=None):
        super().__init__(*tree.nodes, kept=keep)
        self.rng = rng
        while not self.machine.status.terminal:
            if rng.random() < cancelled:
                self.cancel()
                return
            self.perform(rng.choice([c for c in self.open() if self.machine.wants(c)]), fails)

    def open(self):
        """Return what can be done. Guards never fire, but the timeouts of some waits."""
        for command in self.machine.open_commands():
            if isinstance(command, AwaitSignal):
                head = self.machine.next_waiter(command.signal)
                if command.path == head and not self.times_out(head):
                    yield command
            elif not isinstance(command, StartTimer) or self.fires(command):
                yield command

    def fires(self, timer):
        return timer.key == "sleep" or (timer.key == "wait" and self.times_out(timer.path))

    def times_out(self, path):
        spec = self.machine.frames[path].spec
        return isinstance(spec, WaitSpec) and spec.default is not None and fate(path, 2) == 1

    def perform(self, command, fails):
        trouble = self.rng.random() < fails
        if isinstance(command, AwaitSignal):
            self.receive(command.path, 1 + sum(e.kind == "signal_received" for e in self.history))
        elif isinstance(command, StartTimer):
            self.fire(command.path, command.key)
        elif isinstance(command, Decide) and trouble:
            self.condition_fails(command.path)
        elif isinstance(command, Decide) and isinstance(command.spec, LoopSpec):
            last = 1 + fate(command.path, command.spec.max_iterations)
            self.decide(command.path, self.machine.frames[command.path].iteration < last)
        elif isinstance(command, Decide):
            self.decide(command.path, fate(command.path, len(command.spec.conditions) + 1))
        elif isinstance(command, Expand):
            count = fate(command.path, 4)
            keys = tuple(f"k{n}" for n in range(count)) if command.spec.keyed else None
            self.feed(ev.Expanded, command.path, count, keys)
        elif isinstance(command, AskTime) and trouble:
            self.condition_fails(command.path)
        elif isinstance(command, AskTime):
            due = self.at + 3 if command.spec.asks.is_due else None
            self.feed(ev.Timed, command.path, None if due else 3.0, due)
        else:
            assert isinstance(command, RunStep)
            self.begin(command.path)
            (self.fail if trouble else self.complete)(command.path)

    @property
    def ran(self):
        return {e.path for e in self.history if isinstance(e, ev.StepScheduled)}

    @property
    def happened(self):
        """What came from outside after the start."""
        start = next(n for n, e in enumerate(self.history) if isinstance(e, ev.RunStarted))
        return [e for e in self.history[start + 1 :] if not is_derived(e)]

    @property
    def conflicts(self):
        """The blocks whose branches conflicted."""
        failed = [e for e in self.history if isinstance(e, ev.StepFailed)]
        return {e.path for e in failed if e.failure.code is FailureCode.STATE_CONFLICT}

    @property
    def result(self):
        nodes = dict(walk(self.tree))

        def plain(item):
            """Return a symbol without what differs between a result and a kept one."""
            if not isinstance(item, tuple):
                return item
            if item[:1] in {("out",), ("kept",)}:
                kind = "payload" if isinstance(nodes[template_of(item[1])], WaitSpec) else "out"
                return (kind, item[1])
            return tuple(map(plain, item))

        return plain(symbol(self.history, self.finish.output))


def blocks(history, verdict):
    decided = [e for e in history if isinstance(e, ev.BlockDecided)]
    return {e.path for e in decided if e.verdict == verdict}


def steps_of(tree, paths):
    nodes = dict(walk(tree))
    return {path for path in paths if isinstance(nodes[template_of(path)], StepSpec)}


@AT_RANDOM
@seeds
def test_a_failed_run_repeated_ends_as_if_nothing_had_happened(rng):
    tree = Orderly(rng).tree()
    undisturbed = Play(rng, tree)
    original = Play(rng, tree, fails=rng.choice((0.1, 0.3, 0.6)), cancelled=rng.choice((0, 0.05)))
    keep = kept(tree, results_of(original))
    again = Play(rng, tree, keep=keep)
    assert again.status == undisturbed.status == "completed"
    assert again.result == undisturbed.result
    assert again.ran == undisturbed.ran - set(keep)
    again.replays()


@AT_RANDOM
@seeds
def test_from_any_node_what_is_kept_and_what_runs_make_up_the_whole(rng):
    tree = Orderly(rng).tree()
    undisturbed = Play(rng, tree)
    original = Play(rng, tree, fails=rng.choice((0, 0, 0.2)))
    done = results_of(original)
    instances = walk(tree, lambda path, _: marks_of(done.get(path)))
    start = rng.choice([path for path, _ in [*walk(tree), *instances]] or [None])
    keep = kept(tree, done, start)
    again = Play(rng, tree, keep=keep)
    assert again.result == undisturbed.result
    assert again.ran.isdisjoint(keep)
    assert again.ran | steps_of(tree, keep) == undisturbed.ran
    assert set(keep) <= set(kept(tree, done))
    for path in undisturbed.ran:
        if start in {path, template_of(path)}:
            assert path in again.ran


@AT_RANDOM
@seeds
def test_no_kept_result_is_made_again_whatever_the_joins(rng):
    simulation = simulate(rng)
    tree = simulation.tree
    done = results_of(simulation)
    start = rng.choice([None, *(path for path, _ in walk(tree))])
    keep = kept(tree, done, start)
    again = Play(rng, tree, keep=keep)
    codes = {code for code, _ in again.failures}
    assert again.status == ("failed" if codes else "completed")
    assert codes <= FOLLOW_FROM_RESULTS
    if not again.happened:  # then no block that was decided has another verdict
        assert again.conflicts.isdisjoint(blocks(simulation.history, "completed"))
    made = {
        e.path for e in again.history if isinstance(e, ev.StepScheduled | ev.Decided | ev.Expanded)
    }
    assert made.isdisjoint(path for path, result in keep.items() if result.what != "looping")
    again.replays()
    twice = kept(tree, results_of(again))
    # What follows a failure is not kept, nor what was undone.
    if not blocks(again.history, "failed"):
        assert not Play(rng, tree, keep=twice).ran  # nothing is left to do


def test_the_random_runs_are_not_trivial():
    rng = random.Random(7)
    partly = 0
    for _ in range(300):
        tree = Orderly(rng).tree()
        original = Play(rng, tree, fails=0.3)
        keep = kept(tree, results_of(original))
        partly += bool(keep) and bool(Play(rng, tree, keep=keep).ran)
    assert partly > 60


@pytest.mark.parametrize("name", ["pay~undo", "refund"])
def test_an_undo_step_is_named_as_one_where_a_rerun_is_asked_to_begin_there(name):
    undo = UndoSpec(step=StepSpec(id="refund", name="refund"), inputs=1)
    tree = WorkflowSpec(id="w", nodes=(StepSpec(id="pay", name="pay", undo=undo),))
    with pytest.raises(InputInvalidError, match="name the step that it undoes: 'pay'"):
        locate(tree, name)
