"""The memory store passes the suite that every store passes, and forgets old runs."""

from __future__ import annotations

import asyncio
import gc

import pytest

from gorkflow.errors import StoreError
from gorkflow.events import Event
from gorkflow.listing import RunFilter
from gorkflow.store import Store, Written
from gorkflow.stores import open_store, without_secrets
from gorkflow.stores.memory import MemoryStore
from gorkflow.testing.conformance import (
    StoreConformance,
    finish,
    message,
    new_run,
    run_row,
)


class TestMemoryStore(StoreConformance):
    durable = False

    def make_store(self) -> Store:
        return MemoryStore()


def with_store(keep_ended, test):
    async def run():
        store = MemoryStore(keep_ended=keep_ended)
        await store.open()
        await test(store)

    asyncio.run(run())


def test_the_run_that_ended_first_is_forgotten_first():
    async def test(store):
        for name in ("a", "b", "c", "live"):
            await store.write([new_run(name)])
        await store.post(message("b"))
        for name in ("b", "a", "c"):
            await store.write([finish(run_row(name))])
        kept = [row.run_id for row in await store.list_runs(RunFilter())]
        assert kept == ["live", "c", "a"]
        events, _ = await store.read_all_events()
        assert {event.run_id for event in events} == {"a", "c", "live"}
        assert await store.write([new_run("b")]) == [Written.OK]

    with_store(2, test)


def test_it_does_not_grow_with_the_runs_that_ended():
    async def test(store):
        for number in range(500):
            await store.write([new_run(f"r{number}")])
            await store.write([finish(run_row(f"r{number}"))])
        assert repr(store) == "<MemoryStore: 10 runs>"
        assert len(store._feed.runs) < 60
        events, cursor = await store.read_all_events()
        assert [event.run_id for event in events[::2]] == [f"r{n}" for n in range(490, 500)]
        await store.write([new_run("late")])
        late, _ = await store.read_all_events(after=cursor)
        assert [event.run_id for event in late] == ["late"]

    with_store(10, test)


def test_the_garbage_collector_passes_by_the_events_of_ended_runs():
    def events_held():
        return sum(issubclass(type(item), Event) for item in gc.get_objects())

    async def test(store):
        before = events_held()
        for number in range(20):
            await store.write([new_run(f"r{number}")])
            await store.write([finish(run_row(f"r{number}"))])
        assert events_held() == before

    with_store(50, test)


def test_a_url_names_it():
    assert isinstance(open_store("memory:"), MemoryStore)
    assert open_store("memory:?keep_ended=5").keep_ended == 5


@pytest.mark.parametrize(
    "url",
    [
        "mysql://bob:s3cr3t@db/x",
        "mysql://bob:s3cr3t@db:3306/x?sslmode=require",
        "mysql://bob:a/s3cr3t@b@db/x",
        "mysql://:s3cr3t@db/x",
        "mysql:bob:s3cr3t@db",
        "redis://bob:two\ns3cr3t@db",
        "mysql://db/x?user=bob&password=s3cr3t",
        "sqlite:a.db?password=s3cr3t",
        "memory:?api_token=s3cr3t&keep_ended=few",
        "bob:s3cr3t@db",
    ],
)
def test_no_password_of_a_url_is_shown(url):
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "s3cr3t" not in str(caught.value)
    assert "***" in str(caught.value)
    assert without_secrets("sqlite:///a/b:c@d.db") == "sqlite:///a/b:c@d.db"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory:here", "no path"),
        ("memory:?keep_endd=5", "did you mean 'keep_ended'"),
        ("memory:?keep_ended=few", "'few'"),
        ("redis:x", "write 'memory:', 'sqlite:PATH' or 'postgresql:"),
        ("runs", "write 'sqlite:runs'"),
        ("sqlite::memory:", "write 'memory:'"),
        ("sqlite:", "names no file"),
        ("sqlite:~/runs.db", "write the path in full"),
        ("sqlite://host/db", "names a host"),
        ("sqlite:a.db?synchronos=full", "did you mean 'synchronous'"),
        ("sqlite:a.db?synchronous=off", "'full' or 'normal'"),
        ("sqlite:a.db?busy_timeout=nan", "seconds"),
        ("sqlite:a.db?zzz=1", "it takes busy_timeout, synchronous"),
    ],
)
def test_a_url_that_names_nothing_says_what_to_write(url, says):
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert says in str(caught.value)
