"""Whether a store can create the runs of a batch."""

from __future__ import annotations

import pytest

from gorkflow.model import RunStatus
from gorkflow.store import Written
from gorkflow.stores._new_runs import judge
from gorkflow.testing.conformance import run_row

OK, DUPLICATE, OCCUPIED = Written.OK, Written.DUPLICATE, Written.OCCUPIED


def rows(*given):
    """Return summaries, of an id, a resource, and ``!`` for an exclusive run."""
    made = []
    for text in given:
        run_id, _, resource = text.partition(" ")
        name = resource.rstrip("!")
        made.append(run_row(run_id, resource_id=name or None, exclusive=resource.endswith("!")))
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a", "b", "a"], [OK, OK, DUPLICATE]),
        (["old", "old held"], [DUPLICATE, DUPLICATE]),
        (["a held", "b shared", "c shared!"], [OCCUPIED, OK, OCCUPIED]),
        (["a x", "b x", "c x!"], [OK, OK, OCCUPIED]),
        (["a x!", "b x", "a x!", "c y"], [OK, OCCUPIED, DUPLICATE, OK]),
    ],
)
def test_the_earlier_ones_count_as_created(given, expected):
    assert judge(rows(*given), {"old"}, {"held": True, "shared": False}) == expected


def test_a_run_that_has_ended_occupies_nothing():
    ended = run_row("a", resource_id="x", exclusive=True, status=RunStatus.COMPLETED)
    assert judge([ended, *rows("b x!")], (), {}) == [OK, OK]
