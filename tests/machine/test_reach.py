"""What a run can still reach, held to what random runs did reach after all.

Sizes: 300 runs; 10,000 with ``GORKFLOW_TEST_SIZE=full``.
"""

import os
import random

import pytest

from gorkflow import events as ev
from gorkflow.flow import template_of, undone_path
from gorkflow.machine.history import History

from .reference import is_derived
from .simulation import RUN, simulate

FULL = os.environ.get("GORKFLOW_TEST_SIZE") == "full"
CHUNK = 5_000 if FULL else 150


def unforeseen(reach, event):
    """Return whether an event begins something that was not to be reached."""
    path = template_of(event.path)
    if isinstance(event, ev.StepScheduled) and (undone := undone_path(path)) is not None:
        return not reach.undoes(undone)
    if isinstance(event, ev.StepScheduled | ev.WaitOpened):
        return not reach.begins(path)
    if isinstance(event, ev.Decided | ev.Expanded | ev.Timed):
        return not reach.asks(path)
    return False


@pytest.mark.parametrize("chunk", range(2))
def test_nothing_begins_that_could_not_be_reached(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        run = simulate(random.Random(seed))
        history = History(RUN, run.tree)
        for index, event in enumerate(run.history):
            if not is_derived(event):
                reach = history.reach()
                late = [e for e in run.history[index:] if unforeseen(reach, e)]
                assert not late, f"seed {seed}, after {index} events: {late[0]}"
            history.feed(event)
