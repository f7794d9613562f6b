"""Small things that the tests of the SQLite store share."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path

from gorkflow.stores.sqlite import SqliteStore
from gorkflow.stores.sqlite._database import SqliteDatabase
from gorkflow.stores.sqlite._files import WorkerLocks


@asynccontextmanager
async def opened(path, **options):
    store = SqliteStore(path, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def with_store(path, test, **options):
    async def run():
        async with opened(path, **options) as store:
            return await test(store)

    return asyncio.run(run())


def sql(path, statement, *values):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement, values).fetchall()


def database(connection):
    """Return what the code of all dialects sees of a connection, without any worker."""
    return SqliteDatabase(connection, WorkerLocks(Path("none.workers")))
