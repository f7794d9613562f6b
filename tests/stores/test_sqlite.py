"""The SQLite store passes the suite that every store passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gorkflow.store import Store
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing.conformance import StoreConformance


class TestSqliteStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "runs.db"

    def make_store(self) -> Store:
        return SqliteStore(self.path)
