"""The schema in a database: made once by many, upgraded never backwards, anew after a restore."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from gorkflow.errors import StoreError, StoreUnavailableError, StoreVersionError
from gorkflow.store import Written
from gorkflow.stores import open_store
from gorkflow.stores.postgres import PostgresStore, _schema
from gorkflow.testing.conformance import T0, message, new_run, run_row, step_forward, worker
from tests.stores.postgres.tools import NOW, opened, with_store


def test_stores_that_open_at_once_make_one_schema(url):
    async def run():
        stores = [open_store(url) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        try:
            written = await asyncio.gather(*(store.write([new_run()]) for store in stores))
        finally:
            await asyncio.gather(*(store.close() for store in stores))
        return written

    assert sorted(asyncio.run(run())) == [[Written.DUPLICATE]] * 7 + [[Written.OK]]


def test_its_sql_can_be_run_by_somebody_else(server, url, schema):
    async def create(store):
        return await store.write([new_run()])

    with server.connect() as connection:
        connection.execute(_schema.script(schema))
        connection.execute(f"CREATE ROLE {schema} LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}")
        for what in ("TABLES", "SEQUENCES"):
            connection.execute(f"GRANT ALL ON ALL {what} IN SCHEMA {schema} TO {schema}")
    theirs = url.replace("postgres@", f"{schema}@")
    assert with_store(theirs, create) == [Written.OK]


def test_who_may_not_make_it_is_told_what_to_run(server, url, schema):
    with server.connect() as connection:
        connection.execute(f"CREATE ROLE {schema} LOGIN")
    store = open_store(url.replace("postgres@", f"{schema}@"))
    with pytest.raises(StoreUnavailableError, match="--print-sql"):
        asyncio.run(store.open())


def test_a_newer_schema_is_left_alone(server, url, schema):
    with_store(url, lambda store: store.get_run("r"))
    with server.connect() as connection:
        connection.execute(f"UPDATE {schema}.meta SET version = 999")
    with pytest.raises(StoreVersionError, match="upgrade gorkflow"):
        asyncio.run(open_store(url).open())


def test_every_statement_names_the_schema(server, url, schema):
    """So that the search path of a user, or of a pooler, does not matter."""
    with server.connect() as connection:
        for table in ("runs", "events", "workers", "inbox"):
            connection.execute(f"CREATE TABLE IF NOT EXISTS public.{table} (nothing text)")

    async def use(store):
        await store.register(worker())
        await store.write([new_run()])
        await store.post(message())
        return [claim.run_id for claim in await store.claim("w1", times=NOW)]

    assert with_store(url, use) == ["r"]


def test_after_a_restore_feed_and_mail_go_on(server, url, schema):
    """A dump brings rows of transactions that the new server will only count to in years."""

    async def before(store):
        await store.register(worker())
        await store.write([new_run(worker_id="w1", token=1)])
        await store.post(message())
        beat = await store.heartbeat("w1", NOW)
        return (await store.read_all_events())[1], beat.cursor

    async def after(store):
        await store.write([step_forward(run_row(worker_id="w1", token=1))])
        await store.post(message(body="second"))
        events, _ = await store.read_all_events()
        later, _ = await store.read_all_events(after=feed)
        beat = await store.heartbeat("w1", NOW, after=mail)
        again = await store.heartbeat("w1", NOW, after=beat.cursor)
        return events, later, beat.messages, again.messages

    feed, mail = with_store(url, before)
    with server.connect() as connection:
        ahead = "(pg_current_xact_id()::text::bigint + 1000000000)::text::xid8"
        connection.execute(f"UPDATE {schema}.feed SET tx = {ahead}")
        connection.execute(f"UPDATE {schema}.inbox SET tx = {ahead}")
    events, later, messages, again = with_store(url, after)
    assert [event.seq for event in events] == [1, 2]
    assert [event.seq for event in later if event.seq > 1] == [2]
    assert [each.body for each in messages] == ["enough", "second"]
    assert again == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": "two words"}, "not a name for a schema"),
        ({"schema": ""}, "not a name for a schema"),
        ({"schema": 'a"b'}, "not a name for a schema"),
        ({"pooled": "perhaps"}, "0 or 1"),
        ({"shema": "x"}, "not an address of PostgreSQL"),
    ],
)
def test_an_option_that_is_wrong_is_named(server, changes, says):
    with pytest.raises(StoreError, match=says):
        open_store(server.url(**changes))


_SECRET = "s3cr3t"
_URLS = [
    f"postgresql://ann:{_SECRET}@127.0.0.1:1/runs",
    f"postgres://ann@127.0.0.1:1/runs?password={_SECRET}",
    f"postgresql://ann:{_SECRET}@127.0.0.1:1/runs?nonsense=1",
    f"postgresql://ann:{_SECRET}@127.0.0.1:port/runs",
    f"postgresql:ann:{_SECRET}@127.0.0.1",
    f"postgresql://ann:a/{_SECRET}@b@127.0.0.1:1/x",
    f"postgresql://ann:{_SECRET}@[127.0.0.1/runs",
    f"postgresql://ann:{_SECRET}%zz@127.0.0.1/runs",
    f"postgresql://ann@127.0.0.1:1/runs?session_url=postgresql%3A%2F%2Fann%3A{_SECRET}%40h%2Fx",
]


@pytest.mark.parametrize("url", _URLS, ids=range(len(_URLS)))
def test_no_password_is_shown(url, caplog):
    caplog.set_level("DEBUG")
    with pytest.raises(StoreError) as caught:
        store = open_store(url)
        assert _SECRET not in repr(store)
        asyncio.run(store.open())
    shown: list[object] = [caught.value, *caught.value.args]
    cause = caught.value
    while cause := cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__):
        shown.append(cause)
    assert _SECRET not in " ".join(map(repr, shown)) + caplog.text


def test_an_address_must_be_a_text():
    with pytest.raises(TypeError, match="address"):
        PostgresStore(7)


def test_an_instant_is_exact(url):
    at = T0 + 1 / 3

    async def keep(store):
        await store.write([new_run(created_at=at)])
        return (await store.get_run("r")).created_at

    assert with_store(url, keep) == at


def test_a_store_opens_again_where_it_was(url):
    async def run():
        async with opened(url) as store:
            await store.write([new_run()])
        async with opened(url) as store:
            return await store.get_run("r")

    assert asyncio.run(run()) == run_row()


_WITHOUT = """
import sys
import gorkflow
from gorkflow.stores import open_store

assert "psycopg" not in sys.modules
sys.modules["psycopg"] = None
try:
    open_store("postgresql://ann@127.0.0.1/runs")
except gorkflow.StoreError as error:
    print(error)
"""


def test_without_psycopg_the_extra_is_named():
    told = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, check=True)
    assert b"pip install 'gorkflow[postgres]'" in told.stdout
