"""Paging returns exactly the runs of a filter, each once and in order: random stores and filters.

Whatever a page may read at most: how early pages end must make no difference.
"""

from __future__ import annotations

import asyncio
import json
import random
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gorkflow.listing import RunFilter, feed_place, mail_place, page_start
from gorkflow.model import instant
from gorkflow.stores._sql import lists
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing.conformance.listing import a_filter, a_history, meets


def places(rows):
    return [(row.created_at, row.run_id) for row in rows]


async def pages_of(store, query):
    """Yield the pages of a filter; check what each says of itself."""
    before = float("inf")
    while True:
        page = await store.list_runs(query)
        yield page
        if page.searched_to is not None:
            assert page.next_cursor is not None
            assert page.searched_to.timestamp() <= before
            assert all(instant(row.created_at) >= page.searched_to for row in page)
            before = page.searched_to.timestamp()
        elif page.next_cursor is not None:
            assert len(page) == query.limit
        if page.next_cursor is None:
            return
        query = replace(query, cursor=page.next_cursor)


@pytest.mark.parametrize("most", [1, 2, 9, 50, 10_000])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_paging_returns_each_run_of_a_filter_once(path, monkeypatch, kind, seed, most):
    rng = random.Random(f"{seed} {most}")
    monkeypatch.setattr(lists, "_FEW", rng.choice([0, 5, 1000]))

    async def work():
        store = MemoryStore() if kind == "memory" else SqliteStore(path, synchronous="normal")
        store._most_read = most
        await store.open()
        rows = await a_history(store, rng)
        for _ in range(40):
            asked = a_filter(rng)
            wanted = sorted(
                (row for row in rows if meets(row, asked)),
                key=lambda row: (row.created_at, row.run_id),
            )
            query = RunFilter(**asked)
            found = [row async for page in pages_of(store, query) for row in page]
            assert places(found) == places(wanted)[::-1], asked
        await store.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("start", "parts"),
    [
        (lambda cursor: page_start(RunFilter(cursor=cursor)), ["runs", 1.0, "\ud800"]),
        (feed_place, ["events", 2**63]),
        (feed_place, ["events", -(2**63) - 1]),
        (mail_place, ["mail", 10**400]),
    ],
)
def test_a_cursor_that_no_store_can_take_is_rejected(
    start: Callable[[str], Any], parts: list[Any]
) -> None:
    with pytest.raises(ValueError, match="is not"):
        start(urlsafe_b64encode(json.dumps(parts).encode()).decode())
