"""The feed of events: in the order of the transactions' numbers, and tidied with its runs."""

from __future__ import annotations

import pytest

from gorkflow.store import Written
from gorkflow.stores.postgres import _tidying
from gorkflow.testing.conformance import finish, new_run, run_row, step_forward
from tests.stores.postgres.tools import with_store


def renumber(server, schema, numbers):
    """Let the rows of the feed be of other transactions, in their order."""
    with server.connect() as connection:
        rows = connection.execute(f"SELECT id FROM {schema}.feed ORDER BY id").fetchall()
        for (number,), tx in zip(rows, numbers, strict=True):
            connection.execute(f"UPDATE {schema}.feed SET tx = '{tx}' WHERE id = %s", [number])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_transactions_are_counted_as_numbers(server, url, schema, limit):
    async def run(store):
        await store.write([new_run()])
        await store.write([step_forward(run_row(), 2)])
        await store.write([new_run("other")])
        await store.write([step_forward(run_row(seq=3))])
        await store.write([step_forward(run_row(seq=4))])
        renumber(server, schema, [8, 9, 10, 11, 100])
        found, cursor = [], ""
        while True:
            events, cursor = await store.read_all_events(after=cursor, limit=limit)
            if not events:
                return found
            assert len(events) <= limit
            found += [(event.run_id, event.seq) for event in events]

    found = with_store(url, run)
    assert found == [("r", 1), ("r", 2), ("r", 3), ("other", 1), ("r", 4), ("r", 5)]


def test_what_no_run_has_any_more_is_dropped(server, url, schema, monkeypatch):
    monkeypatch.setattr(_tidying, "_PORTION", 4)

    async def run(store):
        names = [f"r{number}" for number in range(12)]
        for number, name in enumerate(names):
            await store.write([new_run(name, fingerprint="old" if number < 5 else "f1")])
        await store.write([finish(run_row(name)) for name in names[:9]])
        assert await store.delete_runs(names[:9]) == 9
        _, cursor = await store.read_all_events()
        await store.tidy()
        events, _ = await store.read_all_events()
        trees = await store.get_tree("old"), await store.get_tree("f1")
        assert await store.write([new_run("late", fingerprint="old")]) == [Written.OK]
        later, _ = await store.read_all_events(after=cursor)
        return events, trees, await store.get_tree("old"), later

    events, trees, again, later = with_store(url, run)
    assert {event.run_id for event in events} == {"r9", "r10", "r11"}
    assert trees == (None, '{"tree":1}')
    assert again == '{"tree":1}'
    assert [event.run_id for event in later] == ["late"]
    with server.connect() as connection:
        [(rows,)] = connection.execute(f"SELECT count(*) FROM {schema}.feed").fetchall()
    assert rows == 5  # the tidying stops where most rows are of runs that are there


def test_definitions_stay_while_another_program_creates_a_run(server, url, schema):
    async def run(store):
        await store.write([new_run()])
        await store.write([finish(run_row())])
        await store.delete_runs(["r"])
        with server.connect() as connection:
            connection.execute("BEGIN")
            connection.execute(
                f"SELECT pg_advisory_xact_lock_shared((SELECT id FROM {schema}.meta), 1)"
            )
            await store.tidy()
            kept = await store.get_tree("f1")
            connection.execute("COMMIT")
        await store.tidy()
        return kept, await store.get_tree("f1")

    assert with_store(url, run) == ('{"tree":1}', None)
