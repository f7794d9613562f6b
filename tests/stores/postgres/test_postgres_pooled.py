"""Behind a pooler, each transaction may be in another session of the server."""

from __future__ import annotations

from collections import deque

import pytest
from psycopg import pq

from gorkflow.store import Store
from gorkflow.stores import open_store
from gorkflow.stores.postgres._connections import Db
from gorkflow.testing.conformance import new_run, worker
from gorkflow.testing.conformance.limits import Limiting
from gorkflow.testing.conformance.mail import Mail
from gorkflow.testing.conformance.owning import Owning
from gorkflow.testing.conformance.writing import Writing
from tests.stores.postgres.tools import NOW, with_store


@pytest.fixture
def pooler(monkeypatch):
    """Change the session of each connection of a store before each transaction."""
    made = Db.__init__

    def make(self, settings, watch, *, keeps=True, session=False):
        made(self, settings, watch, keeps=keeps, session=session)
        self.spare = deque([] if session else [settings.connect(keeps=keeps)])

    def next_session(self):
        status = self.connection.info.transaction_status
        if status is pq.TransactionStatus.IDLE and self.spare:
            left = self.connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
            assert left == (0,)
            self.spare.append(self.connection)
            self.connection = self.spare.popleft()
            self._cursor = self.connection.cursor(binary=True)

    def rotating(method):
        def call(self, *args, **options):
            next_session(self)
            return method(self, *args, **options)

        return call

    def close(self):
        for connection in (self.connection, *self.spare):
            connection.close()

    monkeypatch.setattr(Db, "__init__", make)
    monkeypatch.setattr(Db, "close", close)
    for name in ("_select", "change", "transaction"):
        monkeypatch.setattr(Db, name, rotating(getattr(Db, name)))


@pytest.mark.usefixtures("pooler")
class TestBehindAPooler(Writing, Owning, Mail, Limiting):
    @pytest.fixture(autouse=True)
    def _place(self, server, schema) -> None:
        self.url = server.url(schema=schema, pooled=1)

    def make_store(self) -> Store:
        return open_store(self.url)

    async def test_hints_say_where_it_is_worth_to_look(self, store: Store) -> None:
        """They need a session: without one, each looks once a second."""
        hinted: list[object] = []
        end = store.hints(lambda kind, name: hinted.append((kind, name)))
        await store.write([new_run()])
        end()
        assert hinted == []


@pytest.mark.parametrize("direct", [True, False])
def test_only_a_direct_connection_has_a_lock(server, schema, direct):
    more = {"session_url": server.url().replace("?", "%3F")} if direct else {}

    async def run(store):
        await store.register(worker())
        await store.write([new_run()])
        claims = await store.claim("w1", times=NOW)
        with server.connect() as connection:
            [(slot,)] = connection.execute(f"SELECT slot FROM {schema}.workers").fetchall()
        return len(claims), slot > 0

    assert with_store(server.url(schema=schema, pooled=1, **more), run) == (1, direct)
