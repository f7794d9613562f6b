"""The suite catches every known mistake: a machine that has it does not get through."""

import os
import random

import pytest

from .mutants import MUTANTS
from .simulation import simulate

SEEDS = 4_000
"""Twice as many as the random test tries by default, on the machine as it is."""


def first_seed_that_fails() -> int | None:
    for seed in range(SEEDS):
        try:
            simulate(random.Random(seed))
        except Exception:
            return seed
    return None


FULL = os.environ.get("GORKFLOW_TEST_SIZE") == "full"
RARE = {
    "a_cancelled_block_forgets_what_failed_in_it",
    "a_kept_choice_counts_as_work",
    "a_timeout_before_the_items_cancels_the_map",
    "drain_forgets_it_only_once_the_retry_is_due",
}
"""One case in a thousand or more shows them: half of the time went into these."""
SOME = [name for name in [*MUTANTS][:20] + [*MUTANTS][20::3] if name not in RARE]
CHOSEN = [*MUTANTS] if FULL else SOME
"""By default the first twenty and a third of the others: to catch them all takes a minute."""


@pytest.mark.parametrize("name", CHOSEN)
def test_mutant_is_caught(name, monkeypatch):
    MUTANTS[name](monkeypatch)
    assert first_seed_that_fails() is not None


def test_there_are_enough_mutants():
    assert len(SOME) >= 40
    assert MUTANTS.keys() >= RARE
