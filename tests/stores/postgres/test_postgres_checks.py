"""The checks of a database: damage is named, and so is who keeps the server from its work."""

from __future__ import annotations

import asyncio

import pytest

from gorkflow.clock import SystemClock
from gorkflow.store import Level
from gorkflow.stores import open_store
from gorkflow.stores.postgres import _checks
from gorkflow.testing.conformance import message, new_run, run_row, signal, step_forward, worker
from tests.stores.postgres.tools import with_store

_PERSON = "app"


async def fill(store):
    await store.register(worker())
    await store.write(
        [
            new_run("a", tags=(("x", "1"),), waits_for=("paid",)),
            new_run("b", worker_id="w1", token=1),
        ]
    )
    await store.post(message("a"))
    await store.post(signal(b'"\\u0000"', "b"))
    await store.write([step_forward(run_row("b", worker_id="w1", token=1))])


def examined(url):
    found, opens = asyncio.run(open_store(url).examine(SystemClock.now()))
    return {(each.about, each.level): each.text for each in found}, opens


def test_a_sound_store_has_nothing_to_report(url):
    async def run(store):
        await fill(store)
        return await store.check()

    assert with_store(url, run) == []
    found, opens = examined(url)
    assert opens
    assert "version" in found["schema", Level.OK]
    # Nobody has looked at the message, which is years old.
    assert [about for about, level in found if level is Level.PROBLEM] == ["messages"]


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        ("DELETE FROM {}.run_tags", "tags of a run are missing"),
        ("DELETE FROM {}.run_waits", "waits of a run are missing"),
        ("UPDATE {}.run_tags SET value = '2'", "or that lack them"),
        ("UPDATE {}.runs SET mailed = 0", "would not wake their run"),
        ("UPDATE {}.runs SET tags = 'nonsense' WHERE run_id = 'a'", "can't be read"),
        ("UPDATE {}.runs SET status = 'odd' WHERE run_id = 'a'", "can't be read"),
        ("UPDATE {}.inbox SET kind = 'odd'", "messages contradict their run"),
        ("DELETE FROM {}.runs WHERE run_id = 'a'", "events are kept of runs that are gone"),
    ],
)
def test_damage_is_named(server, url, schema, damage, names):
    with_store(url, fill)
    with server.connect() as connection:
        connection.execute(damage.format(schema))
    found = with_store(url, lambda store: store.check())
    assert names in " ".join(each.text for each in found)


def test_a_run_that_cannot_be_read_hides_no_other_and_can_be_deleted(server, url, schema):
    async def run(store):
        listed = [row.run_id for row in await store.latest_runs()]
        return listed, await store.get_runs(["a", "b"]), await store.discard("a", 1e10)

    with_store(url, fill)
    with server.connect() as connection:
        connection.execute(f"UPDATE {schema}.runs SET tags = 'nonsense' WHERE run_id = 'a'")
    _, rows, gone = with_store(url, run)
    assert [*rows] == ["b"]
    assert gone
    assert with_store(url, lambda store: store.check()) == []


def test_who_keeps_old_rows_alive_is_named(server, url, monkeypatch):
    monkeypatch.setattr(_checks, "_LONG", 0.0)
    with_store(url, fill)
    with server.connect(application_name=_PERSON) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1 FROM pg_class LIMIT 1")
        found, _ = examined(url)
    assert _PERSON in found["server", Level.WARNING]


def test_a_transaction_that_was_prepared_and_left_is_named(server, url, monkeypatch):
    monkeypatch.setattr(_checks, "_LONG", 0.0)
    with_store(url, fill)
    with server.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE left_behind (nothing text)")
        connection.execute("PREPARE TRANSACTION 'forgotten'")
        found, _ = examined(url)
        connection.execute("ROLLBACK PREPARED 'forgotten'")
    assert "forgotten" in found["server", Level.WARNING]


def test_to_look_makes_nothing(server, url, schema):
    found, opens = examined(url)
    assert not opens
    assert schema in found["schema", Level.WARNING]
    with server.connect() as connection:
        made = connection.execute(
            "SELECT count(*) FROM pg_namespace WHERE nspname = %s", [schema]
        ).fetchone()
    assert made == (0,)


def test_a_server_that_is_away_is_a_problem():
    found, opens = examined("postgresql://ann@127.0.0.1:1/runs")
    assert not opens
    assert "can't be reached" in found["store", Level.PROBLEM]
