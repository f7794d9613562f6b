"""What a run can still reach, held to what random runs did reach after all.

Sizes: 300 runs; 10,000 with ``GORKFLOW_TEST_SIZE=full``.
"""

import os
import random

import pytest

from gorkflow import events as ev
from gorkflow.engine._reach import Reach
from gorkflow.flow import template_of, undone_path, walk

from .reference import is_derived
from .simulation import simulate

FULL = os.environ.get("GORKFLOW_TEST_SIZE") == "full"
CHUNK = 5_000 if FULL else 150


def unforeseen(reach, nodes, event):
    """Return whether an event begins something that was not to be reached."""
    path = template_of(event.path)
    if isinstance(event, ev.StepScheduled) and (undone := undone_path(path)) is not None:
        return not reach.undoes(undone)
    if isinstance(event, ev.StepScheduled | ev.WaitOpened):
        return not reach.begins(path)
    if isinstance(event, ev.Decided | ev.Expanded):
        return not reach.asks(path, nodes[path])
    return False


def transitions(history):
    """Yield how many events there were before each transition."""
    for index, event in enumerate(history):
        if not is_derived(event):
            yield index


@pytest.mark.parametrize("chunk", range(2))
def test_nothing_begins_that_could_not_be_reached(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        run = simulate(random.Random(seed))
        if any(isinstance(e, ev.ResultKept) and e.what == "looped" for e in run.history):
            continue  # simulated ones lack iterations; what ``kept`` calls so has them all
        nodes = dict(walk(run.tree))
        for length in transitions(run.history):
            reach = Reach(run.tree, run.history[:length])
            late = [e for e in run.history[length:] if unforeseen(reach, nodes, e)]
            assert not late, f"seed {seed}, after {length} events: {late[0]}"
