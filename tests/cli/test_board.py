"""The tree of a run agrees with its history at every event."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from gorkflow.cli._board import Board
from gorkflow.machine.history import History
from tests.machine.generate import random_tree
from tests.machine.simulation import RUN, WEATHERS, Simulation


class NoValues:
    """A reader of a history that shows no values."""

    def shown(self, given: object, made: object) -> tuple[None, None, str]:
        """Return nothing."""
        return None, None, ""

    def failure(self, ref: object) -> Any:
        """Return nothing."""
        return None


@pytest.mark.parametrize("seed", range(200))
def test_its_tallies_are_those_of_the_history(seed: int) -> None:
    rng = random.Random(seed)
    simulation = Simulation(rng, random_tree(rng), WEATHERS[seed % len(WEATHERS)])
    simulation.run()
    reader: Any = NoValues()
    board, history = Board(RUN, simulation.tree), History(RUN, simulation.tree)
    for event in simulation.history:
        board.feed(event)
        history.feed(event)
        if not history._expected:  # else it knows already what follows from the event
            wanted = Counter(step.status for step in history.executions(reader))
            assert +board.root.tally == wanted, event
    rows = {step.path: step.status for step in history.executions(reader)}
    items = [item for item in board.items.values() if item.spec.is_listed]
    assert {path: status for item in items for path, status in item.stands.items()} == rows
