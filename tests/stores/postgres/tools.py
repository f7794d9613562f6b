"""Small things that the tests of the PostgreSQL store share."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from gorkflow.clock import Moment
from gorkflow.stores import open_store
from gorkflow.testing.conformance import T0

NOW = Moment(T0)


@asynccontextmanager
async def opened(url):
    store = open_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def with_store(url, test):
    async def run():
        async with opened(url) as store:
            return await test(store)

    return asyncio.run(run())


async def until(condition, seconds=30.0):
    """Wait until an awaitable of the condition is true."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)
