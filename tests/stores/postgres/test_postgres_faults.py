"""Connections that break, servers that restart, and commits of which nobody heard."""

from __future__ import annotations

import asyncio

import pytest

from gorkflow.errors import StoreUnavailableError
from gorkflow.schedule import ScheduleRow
from gorkflow.store import Written
from gorkflow.testing.conformance import T0, message, new_run, run_row, step_forward, worker
from tests.stores.postgres.proxy import Proxy
from tests.stores.postgres.tools import NOW, opened, with_store

OK = Written.OK


@pytest.fixture
def proxy(server):
    made = Proxy(server.socket)
    yield made
    made.close()


def disconnect_all(server):
    """End all connections of others, as a server that restarts does."""
    with server.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


_CALLS = {
    "get_run": lambda store: store.get_run("r"),
    "load_many": lambda store: store.load_many(["r"]),
    "read_all_events": lambda store: store.read_all_events(),
    "post": lambda store: store.post(message()),
    "claim": lambda store: store.claim("w1", times=NOW),
    "heartbeat": lambda store: store.heartbeat("w1", NOW),
    "note": lambda store: store.note(),
    "delete_runs": lambda store: store.delete_runs(["r"]),
    "take_limits": lambda store: store.take_limits("w1", times=NOW, held={}),
    "register": lambda store: store.register(worker("w2")),
    "unregister": lambda store: store.unregister("w1"),
}


@pytest.mark.parametrize("call", _CALLS)
def test_a_call_does_not_mind_that_a_connection_broke_meanwhile(server, url, call):
    async def run(store):
        await store.register(worker())
        await store.write([new_run()])
        await _CALLS[call](store)
        disconnect_all(server)
        await _CALLS[call](store)

    with_store(url, run)


def test_a_write_says_that_it_can_be_sent_again(server, url):
    async def run(store):
        await store.write([new_run()])
        disconnect_all(server)
        for item in (new_run("other"), step_forward(run_row())):
            for _ in range(2):
                try:
                    return_value = await store.write([item])
                except StoreUnavailableError:
                    continue
                assert return_value == [OK]
                break
        return [len(await store.read_events(run_id)) for run_id in ("r", "other")]

    assert with_store(url, run) == [2, 1]


def test_while_the_server_is_away_that_is_what_is_said():
    from tests.stores.postgres.server import Server

    server = Server()

    async def run(store):
        await store.write([new_run()])
        await asyncio.to_thread(server.stop)
        for call in (
            store.get_run("r"),
            store.write([step_forward(run_row())]),
            store.post(message()),
            store.claim("w1", times=NOW),
        ):
            with pytest.raises(StoreUnavailableError, match="can't be reached"):
                await call
        await asyncio.to_thread(server.start)
        return await store.write([step_forward(run_row())]), await store.post(message())

    try:
        assert with_store(server.url(), run) == ([OK], True)
    finally:
        server.close()


# ---- commits of which nobody heard

_SCHEDULE = ScheduleRow(
    schedule_id="s", workflow_id="shop", cron=None, every=60, timezone="UTC", input=None,
    created_at=T0, next_due=T0, revision=1,
)  # fmt: skip


@pytest.mark.parametrize("arrives", [True, False])
def test_a_message_is_kept_once(proxy, schema, arrives):
    async def run(store):
        await store.write([new_run()])
        for number in range(5):
            proxy.cut(b"COMMIT", arrives=arrives)
            assert await store.post(message(body=str(number)))
        return [each.body for each in await store.inbox("r")]

    assert with_store(proxy.url(schema=schema), run) == list("01234")
    assert proxy.cuts == 5


@pytest.mark.parametrize("arrives", [True, False])
def test_a_claim_is_known_to_who_made_it(proxy, schema, arrives):
    async def run(store):
        await store.register(worker())
        await store.write([new_run("a"), new_run("b")])
        proxy.cut(b"COMMIT", arrives=arrives)
        claims = await store.claim("w1", times=NOW)
        return [claim == await store.get_run(claim.run_id) for claim in claims]

    assert with_store(proxy.url(schema=schema), run) == [True, True]


@pytest.mark.parametrize("arrives", [True, False])
def test_a_schedule_is_put_once(proxy, schema, arrives):
    async def run(store):
        proxy.cut(b"COMMIT", arrives=arrives)
        return await store.put_schedule(_SCHEDULE), await store.put_schedule(_SCHEDULE)

    assert with_store(proxy.url(schema=schema), run) == (True, False)


@pytest.mark.parametrize("arrives", [True, False])
def test_an_append_of_which_nobody_heard_can_be_sent_again(proxy, schema, arrives):
    async def run(store):
        await store.write([new_run()])
        item = step_forward(run_row())
        proxy.cut(b"step_completed", arrives=arrives)
        with pytest.raises(StoreUnavailableError):
            await store.write([item])
        again = await store.write([item])
        row = await store.get_run("r")
        return again, row, item.row, len(await store.read_events("r"))

    again, row, meant, events = with_store(proxy.url(schema=schema), run)
    assert again == ([Written.FENCED] if arrives else [OK])
    assert (row, events) == (meant, 2)


def test_a_store_that_was_opened_while_the_server_was_away_opens_later():
    from tests.stores.postgres.server import Server

    server = Server()

    async def run():
        server.stop()
        with pytest.raises(StoreUnavailableError):
            async with opened(server.url()):
                pass
        server.start()
        async with opened(server.url()) as store:
            return await store.write([new_run()])

    try:
        assert asyncio.run(run()) == [OK]
    finally:
        server.close()
