"""The explanation of a run: its parts add up, and slack is what it says."""

from __future__ import annotations

import random

import pytest

from gorkflow import Workflow, step, testing
from gorkflow.insight.explain import Explanation, explain
from gorkflow.insight.overview import overview
from tests.machine.generate import random_tree
from tests.machine.simulation import RUN, WEATHERS, Simulation


@pytest.mark.parametrize("seed", range(100))
def test_the_parts_add_up_to_the_duration(seed: int) -> None:
    rng = random.Random(seed)
    tree = random_tree(rng)
    simulation = Simulation(rng, tree, WEATHERS[seed % len(WEATHERS)])
    simulation.run()
    found = explain(RUN, tree, simulation.history, now=0.0)
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


def test_steps_that_took_no_time_count_as_runs() -> None:
    @step
    async def noted(number: int) -> int:
        return number

    workflow = Workflow("quick", input=int).then(noted)

    async def run() -> list[Explanation]:
        async with testing.VirtualEngine() as engine:
            handles = [await engine.start(workflow, number) for number in range(3)]
            for handle in handles:
                await handle.result()
            return [await engine.explain(handle.run_id) for handle in handles]

    runs = testing.in_virtual_time(run())
    assert [row.ran for each in runs for row in each.rows] == [0.0, 0.0, 0.0]
    (usual,) = overview("quick", runs).steps
    assert (usual.path, usual.count, usual.p50) == ("noted", 3, 0.0)
