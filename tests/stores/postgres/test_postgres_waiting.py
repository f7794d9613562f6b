"""A transaction that somebody else holds open delays what depends on it, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from gorkflow.clock import SystemClock
from gorkflow.errors import StoreUnavailableError
from gorkflow.store import LineRow, Written
from gorkflow.stores.postgres._arrays import prepare
from gorkflow.stores.postgres._connections import hashed
from gorkflow.testing.conformance import T0, finish, message, new_run, run_row, step_forward, worker
from tests.stores.postgres.tools import NOW, opened

OK, UNDECIDED = Written.OK, Written.UNDECIDED


@pytest.fixture
def somebody(server):
    """Another program's connection, with a transaction that it ends when the test says so."""
    with server.connect() as connection:
        prepare(connection, keeps=True)
        connection.execute("BEGIN")
        yield connection
        if not connection.closed:
            connection.execute("ROLLBACK")


def holding(schema, run_id):
    return f"SELECT 1 FROM {schema}.runs WHERE run_id = '{run_id}' FOR UPDATE"


def creating(schema, run_id):
    return (
        f"INSERT INTO {schema}.runs (run_id, workflow_id, workflow_version, fingerprint, status, "
        "reason, tags, created_at, seq, token, priority, exclusive, seen, orphaned, trace, "
        f"waits_for, hooks, queue, line) VALUES ('{run_id}', 'shop', '1', 'f1', 'pending', '', "
        "'[]', 1, 0, 0, 0, FALSE, 0, FALSE, '', '[]', 0, 'default', 0)"
    )


def test_a_new_run_that_depends_on_another_program_is_undecided(url, schema, somebody):
    async def run():
        async with opened(url) as store:
            somebody.execute(creating(schema, "theirs"))
            both = [new_run("theirs"), new_run("other")]
            first = await store.write(both)
            somebody.execute("COMMIT")
            return first, await store.write(both)

    first, second = asyncio.run(run())
    assert first == [UNDECIDED, OK]
    assert second == [Written.DUPLICATE] * 2


def test_so_is_one_that_needs_a_resource(url, schema, somebody):
    async def run():
        async with opened(url) as store:
            await store.write([new_run("a", resource_id="desk")])
            somebody.execute(
                f"SELECT pg_advisory_xact_lock((SELECT id + 1 FROM {schema}.meta), "
                f"({hashed('cart')})::integer)"
            )
            start = [new_run("b", resource_id="cart"), new_run("c", resource_id="desk")]
            first = await store.write(start)
            somebody.execute("COMMIT")
            return first, await store.write(start)

    first, second = asyncio.run(run())
    assert first == [UNDECIDED, OK]
    assert second == [OK, Written.DUPLICATE]


def test_live_runs_go_on_beside_a_run_that_somebody_holds(url, schema, somebody):
    async def run():
        async with opened(url) as store:
            await store.write([new_run("held"), new_run("free"), new_run("free2")])
            somebody.execute(holding(schema, "held"))
            batch = [step_forward(run_row(run_id)) for run_id in ("free", "held", "free2")]
            first = await store.write(batch)
            alone = store.write([batch[1]])
            began = SystemClock.monotonic()
            assert await store.write([step_forward(run_row("free", seq=2))]) == [OK]
            took = SystemClock.monotonic() - began
            somebody.execute("COMMIT")
            await alone
            return first, await store.write([batch[1]]), took

    first, second, took = asyncio.run(run())
    assert first == [OK, UNDECIDED, OK]
    assert second in ([OK], [Written.FENCED])  # the one that waited may have been in time
    assert took < 5


def test_a_claim_passes_by_what_somebody_holds(url, schema, somebody):
    async def run():
        async with opened(url) as store:
            await store.register(worker())
            await store.write([new_run("held"), new_run("free")])
            await store.write([new_run("owned", worker_id="ghost", token=1)])
            somebody.execute(holding(schema, "held"))
            somebody.execute(holding(schema, "owned"))
            first = await store.claim("w1", times=NOW)
            somebody.execute("COMMIT")
            return first, await store.claim("w1", times=NOW)

    first, second = asyncio.run(run())
    assert [claim.run_id for claim in first] == ["free"]
    assert [claim.run_id for claim in second] == ["held", "owned"]


def test_a_message_to_a_run_that_somebody_holds_says_so(url, schema, somebody):
    async def run():
        async with opened(url) as store:
            await store.write([new_run("held"), new_run("free")])
            somebody.execute(holding(schema, "held"))
            with pytest.raises(StoreUnavailableError, match="another transaction"):
                await store.post(message("held"))
            assert await store.post(message("free"))
            somebody.execute("COMMIT")
            return await store.post(message("held")), await store.inbox("held")

    sent, inbox = asyncio.run(run())
    assert sent
    assert len(inbox) == 1


def test_no_message_is_lost_behind_one_that_commits_late(url, schema, somebody):
    """Its id and its transaction's number are the lower ones."""

    async def run():
        async with opened(url) as store:
            await store.register(worker())
            await store.write([new_run(name, worker_id="w1", token=1) for name in ("a", "b")])
            somebody.execute(
                f"INSERT INTO {schema}.inbox (id, tx, run, kind, body, at) SELECT "
                f"nextval('{schema}.inbox_ids'), pg_current_xact_id(), key, 'cancel', 'late', 1 "
                f"FROM {schema}.runs WHERE run_id = 'a'"
            )
            await store.post(message("b", "early"))
            seen, cursor = [], ""
            for turn in range(4):
                beat = await store.heartbeat("w1", NOW, after=cursor)
                seen += [each.body for each in beat.messages]
                cursor = beat.cursor
                if turn == 1:
                    somebody.execute("COMMIT")
            return seen

    seen = asyncio.run(run())
    assert seen.count("late") == 1
    assert "early" in seen


@pytest.mark.parametrize("database", ["postgres", "elsewhere"])
def test_the_feed_holds_back_what_an_open_transaction_may_come_before(
    server, url, schema, database
):
    async def run(connection):
        async with opened(url) as store:
            await store.write([new_run("before")])
            connection.execute("BEGIN")
            connection.execute("SELECT pg_current_xact_id()")
            await store.write([new_run("after")])
            first, cursor = await store.read_all_events()
            end = await store.end_of_feed()
            connection.execute("COMMIT")
            second, _ = await store.read_all_events(after=cursor)
            later, _ = await store.read_all_events(after=end)
            whole, _ = await store.read_all_events()
            return first, second, later, whole

    with server.connect() as maker:
        if database == "elsewhere":
            maker.execute("DROP DATABASE IF EXISTS elsewhere")
            maker.execute("CREATE DATABASE elsewhere")
    with server.connect(database) as connection:
        first, second, later, whole = asyncio.run(run(connection))
    assert [event.run_id for event in first] == ["before"]
    assert [event.run_id for event in second] == ["after"]
    assert [event.run_id for event in later] == ["after"]
    assert whole == first + second


def test_a_first_start_in_a_long_transaction_keeps_no_other_start_waiting(url, schema, somebody):
    """Another program creates a run of a definition that is new, too."""

    async def run():
        async with opened(url) as store:
            somebody.execute(f"INSERT INTO {schema}.definitions VALUES ('new', '{{}}')")
            new = new_run("mine", fingerprint="new")
            return await store.write([new]), await store.write([new_run("other")])

    assert asyncio.run(run()) == ([UNDECIDED], [OK])


def test_a_deletion_and_a_note_meet(url):
    """Nothing is kept of a run that is gone."""

    async def run():
        async with opened(url) as first, opened(url) as second:
            for number in range(20):
                await first.write([new_run(f"r{number}")])
                await first.write([finish(run_row(f"r{number}"))])
                lines = [LineRow(f"r{number}", T0, "a", 1, n, 1.0, 20, "x") for n in range(1, 20)]
                await asyncio.gather(first.note(lines=lines), second.delete_runs([f"r{number}"]))
            return await first._opened().read(
                lambda db: db.select("SELECT count(*) FROM log_lines")
            )

    assert asyncio.run(run()) == [(0,)]


def test_two_stores_never_deadlock(url):
    """They write to the same runs in opposite orders."""

    async def forward(store, names, rounds):
        answers = []
        for _ in range(rounds):
            rows = [await store.get_run(name) for name in names]
            answers += await store.write([step_forward(row) for row in rows])
        return answers

    async def run():
        async with opened(url) as first, opened(url) as second:
            names = [f"r{number}" for number in range(20)]
            await first.write([new_run(name) for name in names])
            return await asyncio.gather(forward(first, names, 15), forward(second, names[::-1], 15))

    mine, theirs = asyncio.run(run())
    assert {*mine, *theirs} <= {OK, Written.FENCED, UNDECIDED}
    assert OK in mine + theirs
