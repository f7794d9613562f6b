"""The explanation of a run: its parts add up, and slack is what it says."""

from __future__ import annotations

import random

import pytest

from gorkflow.insight.explain import explain
from tests.machine.generate import random_tree
from tests.machine.simulation import RUN, WEATHERS, Simulation


@pytest.mark.parametrize("seed", range(100))
def test_the_parts_add_up_to_the_duration(seed: int) -> None:
    rng = random.Random(seed)
    tree = random_tree(rng)
    simulation = Simulation(rng, tree, WEATHERS[seed % len(WEATHERS)])
    simulation.run()
    found = explain(RUN, tree, simulation.history)
    assert sum(found.time.values()) == pytest.approx(found.seconds, abs=1e-4)
    at = 0.0
    for span in found.critical:
        assert span.began == pytest.approx(at, abs=1e-5)
        assert span.ended >= span.began
        at = span.ended
    assert at == pytest.approx(found.seconds, abs=1e-4)
    for block in found.blocks:
        assert sum(block.time.values()) == pytest.approx(block.seconds, abs=1e-4)
        assert 0 <= block.efficiency <= 1
        for branch in block.branches:
            assert branch.slack is None or branch.slack >= 0
            assert block.began <= branch.began <= branch.ended <= block.ended
