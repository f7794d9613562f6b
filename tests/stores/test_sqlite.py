"""The SQLite store passes the suite that every store passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gorkflow.listing import RunFilter
from gorkflow.store import Store
from gorkflow.stores._sql import lists
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing.conformance import T0, StoreConformance, new_run
from gorkflow.testing.conformance.listing import Listing


class TestSqliteStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "runs.db"

    def make_store(self) -> Store:
        return SqliteStore(self.path)


class TestPagesThatEndEarly(Listing):
    """A page may read next to nothing, and no prefix of ids is rare enough to be read apart."""

    @pytest.fixture(autouse=True, params=[1, 7, 40])
    def _place(self, tmp_path: Path, monkeypatch, request) -> None:
        self.path = tmp_path / "runs.db"
        monkeypatch.setattr(SqliteStore, "_most_read", request.param)
        monkeypatch.setattr(lists, "_FEW", 3)

    def make_store(self) -> Store:
        return SqliteStore(self.path)

    async def test_it_says_how_far_back_it_came(self, store: Store) -> None:
        await store.write(
            [new_run(f"r{n}", created_at=T0 + n, tags=(("t", "x"),)) for n in range(99)]
        )
        page = await store.list_runs(RunFilter(tags={"t": "x", "none": "x"}, workflow_id="shop"))
        while page.next_cursor is not None:
            assert not page
            assert page.searched_to is not None
            before = page.searched_to
            query = RunFilter(tags={"t": "x"}, resource_id="none", cursor=page.next_cursor)
            page = await store.list_runs(query)
            assert page.searched_to is None or page.searched_to < before
