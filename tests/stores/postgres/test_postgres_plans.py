"""Plans and sizes: what a store costs does not grow with what it holds."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from gorkflow.store import LineRow
from gorkflow.testing.conformance import (
    T0,
    message,
    new_run,
    run_row,
    step_forward,
    worker,
)
from tests.stores.postgres.tools import NOW, with_store

_SMALL = 20
_LARGE = 5000


def pages_read(server, schema):
    """Return how many pages of the schema's tables and indexes were looked at."""
    with server.connect() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        [(count,)] = connection.execute(
            "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint "
            "FROM pg_statio_user_tables WHERE schemaname = %s",
            [schema],
        ).fetchall()
    return count


async def grow(store, count, first=0):
    for start in range(first, first + count, 500):
        numbers = range(start, min(start + 500, first + count))
        await store.write([new_run(f"old{n}", due_at=T0 + 1e6) for n in numbers])


_CALLS = {
    "append": lambda store, n: store.write(
        [replace(step_forward(run_row(f"r{n}")), changed=False)]
    ),
    "appends": lambda store, n: store.write(
        [replace(step_forward(run_row(f"{x}{n}")), changed=False) for x in "rs"]
    ),
    "change": lambda store, n: store.write([step_forward(run_row(f"r{n}"))]),
    "create": lambda store, n: store.write([new_run(f"new{n}", due_at=T0 + 1e6)]),
    "claim": lambda store, n: store.claim("w1", times=NOW, limit=1),
    "claim of known": lambda store, n: store.claim("w1", times=NOW, workflow_ids=["shop"], limit=1),
    "post": lambda store, n: store.post(message(f"r{n}")),
    "heartbeat": lambda store, n: store.heartbeat("w1", NOW),
    "load": lambda store, n: store.load_many([f"r{n}", f"s{n}"]),
    "note": lambda store, n: store.note(lines=[LineRow(f"r{n}", T0, "a", 1, 1, T0, 20, "x")]),
}
_ROUNDS = 8


@pytest.mark.parametrize("name", _CALLS)
def test_a_plan_of_small_tables_is_no_trap_once_they_grow(server, url, schema, name):
    call = _CALLS[name]

    async def read(store):
        """Return the pages that were read up to now: a connection tells of them when it is idle."""
        for lane in (store._opened().appends, store._opened().changes, store._opened().reads):
            for statement in ("SELECT pg_stat_force_next_flush()", "SELECT 1"):
                await lane.run(lambda link, text=statement: link._db.connection.execute(text))
        return await asyncio.to_thread(pages_read, server, schema)

    async def cost(store, rounds):
        before = await read(store)
        for number in rounds:
            await call(store, number)
        return await read(store) - before

    async def run(store):
        await store.register(worker())
        runs = [new_run(f"{x}{n}", created_at=T0) for n in range(3 * _ROUNDS) for x in "rs"]
        await store.write(runs)
        await grow(store, _SMALL)
        with server.connect() as connection:
            connection.execute(f"ANALYZE {schema}.runs, {schema}.events, {schema}.workers")
        await cost(store, range(_ROUNDS))  # plans are made
        small = await cost(store, range(_ROUNDS, 2 * _ROUNDS))
        await grow(store, _LARGE, first=_SMALL)
        large = await cost(store, range(2 * _ROUNDS, 3 * _ROUNDS))
        return small, large

    small, large = with_store(url, run)
    assert large <= 3 * small + 60, f"{small} pages before, {large} after"
