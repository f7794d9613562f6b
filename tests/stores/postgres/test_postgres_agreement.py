"""The PostgreSQL store answers like the one in memory, whatever it is asked."""

from __future__ import annotations

import asyncio
import random

import pytest

from gorkflow.store import Heartbeat
from gorkflow.stores import open_store
from gorkflow.stores.memory import MemoryStore
from gorkflow.testing.conformance import T0
from tests.stores.test_agreement import answer, operation, picture


def comparable(found):
    """Return an answer without what each store has its own of."""
    return found._replace(cursor="") if isinstance(found, Heartbeat) else found


def is_own(name, args, options):
    """Whether a call gives what only one of the stores takes: a cursor, or NUL in a text."""
    if name == "heartbeat":
        return options.get("after", "") != ""
    return name == "post" and "\0" in args[0].body


@pytest.mark.parametrize("seed", range(4))
def test_memory_and_postgres_agree(url, seed):
    async def test():
        rng = random.Random(seed)
        stores = [MemoryStore(), open_store(url)]
        for store in stores:
            await store.open()
        now = T0
        for _ in range(200):
            name, args, options = operation(rng, now)
            if is_own(name, args, options):
                continue
            answers = [comparable(await answer(each, name, args, options)) for each in stores]
            assert answers[0] == answers[1], (name, args, options)
            now += rng.choice([0, 0, 1, 1, 10])
            if rng.random() < 0.05:
                memory, postgres = [await picture(each, now) for each in stores]
                assert memory == postgres
        for store in stores:
            await store.close()

    asyncio.run(test())
