"""The PostgreSQL server of the tests: one per test process, a schema per test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

_numbers = count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[object]:
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'gorkflow[postgres]'")
    from tests.stores.postgres.server import Server

    made = Server()
    yield made
    made.close()


@pytest.fixture
def schema() -> str:
    return f"test{next(_numbers)}"


@pytest.fixture
def url(server, schema) -> str:
    return server.url(schema=schema)
