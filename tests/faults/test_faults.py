"""The short form of every fault. ``GORKFLOW_TEST_SEED=<seed>`` chooses the moments."""

import os
import random

import pytest

from tests.faults.registry import Fault, Size, faults

SEED = int(os.environ.get("GORKFLOW_TEST_SEED") or random.SystemRandom().randrange(10**6))


@pytest.mark.parametrize("fault", faults().values(), ids=lambda fault: fault.id)
def test_fault(fault: Fault):
    print(f"to replay: python -m tests.faults.soak --only {fault.id} --size short --seed {SEED}")
    result = fault.run(Size.SHORT, SEED)
    if result.skipped:
        pytest.skip(result.skipped)
    assert not result.violations, "\n".join(result.violations)
    assert result.injections, "nothing was injected"
