"""The PostgreSQL store passes the suite that every store passes."""

from __future__ import annotations

import pytest

from gorkflow.store import Store
from gorkflow.stores import open_store
from gorkflow.testing.conformance import StoreConformance


class TestPostgresStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def _place(self, url) -> None:
        self.url = url

    def make_store(self) -> Store:
        return open_store(self.url)
