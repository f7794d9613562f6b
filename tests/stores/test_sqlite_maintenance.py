"""Looking after an SQLite file: examining, checking, copying, making room."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from contextlib import closing

import pytest

from gorkflow.errors import StoreError
from gorkflow.model import RunStatus
from gorkflow.store import Append, Copyable, Inspectable, Level, LineRow, ReportRow, Written
from gorkflow.stores._sql import deleting
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite import (
    SqliteStore,
    _connections,
    _files,
    _maintenance,
)
from gorkflow.testing.conformance import (
    T0,
    completed,
    finish,
    new_run,
    run_row,
    signal,
    step_forward,
    worker,
)
from tests.stores.tools import opened, sql, with_store

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


async def fill(store):
    await store.write([new_run("a", tags=(("env", "prod"),)), new_run("b")])
    b = run_row("b", waits_for=("paid",))
    await store.write([step_forward(run_row("a"), 3), step_forward(b, 3)])
    await store.post(signal(run_id="b"))
    await store.note(
        reports=[ReportRow("b", T0, "a", 1, 1.0, None, "", T0)],
        lines=[LineRow("b", T0, "a", 1, 1, T0, 20, "hello")],
    )


async def noted(store):
    found = await store.reports("b"), await store.logs("b")
    assert all(found)
    return found


def test_only_stores_with_a_file_can_be_looked_after(path):
    for part in (Inspectable, Copyable):
        assert isinstance(SqliteStore(path), part)
        assert not isinstance(MemoryStore(), part)


# Checking


def checked(path):
    return with_store(path, lambda store: store.check())


def test_a_sound_store_has_no_damage(path):
    with_store(path, fill)
    assert checked(path) == []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM runs WHERE run_id = 'a'", "event 1, event 3, event 4, event 5"),
        ("DELETE FROM runs WHERE run_id = 'b'", "message 1"),
        ("DELETE FROM runs WHERE run_id = 'b'", "report of a"),
        ("DELETE FROM runs WHERE run_id = 'b'", "log line 1"),
        ("DELETE FROM runs WHERE run_id = 'a'", "a env=prod"),
        ("DELETE FROM run_tags", "a env"),
        ("UPDATE run_tags SET created_at = 7", "a env"),
        ("UPDATE runs SET tags = '[]'", "a env=prod"),
        ("DELETE FROM runs WHERE run_id = 'b'", "b paid"),
        ("DELETE FROM run_waits", "b paid"),
        ("UPDATE run_waits SET created_at = 7", "b paid"),
        ("UPDATE runs SET waits_for = '[]'", "b paid"),
        ("UPDATE runs SET waits_for = '5' WHERE run_id = 'b'", "the summary of run 'b'"),
        ("UPDATE runs SET mailed = 0", "messages would not wake their run: b"),
        ("UPDATE runs SET status = 'happy' WHERE run_id = 'b'", "the summary of run 'b'"),
        ("UPDATE runs SET tags = '{' WHERE run_id = 'b'", "the summary of run 'b'"),
    ],
)
def test_damage_between_rows_is_named(path, damage, says):
    with_store(path, fill)
    sql(path, damage)
    found = checked(path)
    assert {each.level for each in found} == {Level.PROBLEM}
    assert any(says in each.text for each in found), found


def test_damage_in_the_file_is_named(path):
    with_store(path, fill)
    (page_size,) = sql(path, "PRAGMA page_size")[0]
    (root,) = sql(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'runs_by_age'")[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * page_size + 5)
        file.write(b"\xff\xff\xff")
    try:
        found = checked(path)
    except StoreError as error:
        assert "is damaged" in str(error)  # noqa: PT017 - either will do
    else:
        assert found[0].about == "file"


def test_much_damage_is_told_in_short(path):
    async def many(store):
        await store.write([new_run("a")])
        await store.write([step_forward(run_row("a"), 100)])

    with_store(path, many)
    sql(path, "DELETE FROM runs")
    [found] = checked(path)
    assert found.text.endswith("and 81 more")
    assert len(found.text) < 400


# Backing up


def test_a_backup_holds_all_and_is_private(path, tmp_path):
    copy = tmp_path / "copy ?#%41.db"

    async def test(store):
        await fill(store)
        size = await store.backup(str(copy))
        assert size == copy.stat().st_size
        return await store.load("a"), await store.inbox("b"), await noted(store)

    old = os.umask(0)
    try:
        before = with_store(path, test)
    finally:
        os.umask(old)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.glob("copy*")) == [copy.name]

    async def look(store):
        assert (await store.load("a"), await store.inbox("b"), await noted(store)) == before

    with_store(copy, look)
    assert checked(copy) == []


@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing", "the store"])
def test_a_backup_overwrites_nothing(path, tmp_path, kind):
    copy = tmp_path / "copy.db"
    if kind == "file":
        copy.write_text("mine")
    elif kind == "folder":
        copy.mkdir()
    elif kind == "link to nothing":
        copy.symlink_to(tmp_path / "elsewhere")
    else:
        copy = path

    async def test(store):
        await fill(store)
        with pytest.raises(StoreError, match="exists already"):
            await store.backup(str(copy))
        assert await store.get_run("a") is not None

    with_store(path, test)
    assert not (tmp_path / "elsewhere").exists()
    if kind == "file":
        assert copy.read_text() == "mine"


def test_a_file_that_appears_during_a_backup_is_kept(path, tmp_path, monkeypatch):
    copy = tmp_path / "copy.db"
    verify = _maintenance._verify

    def meanwhile(*args):
        verify(*args)
        copy.write_text("mine")

    monkeypatch.setattr(_maintenance, "_verify", meanwhile)

    async def test(store):
        with pytest.raises(StoreError, match="exists already"):
            await store.backup(str(copy))

    with_store(path, test)
    assert copy.read_text() == "mine"
    assert list(tmp_path.glob("*.partial*")) == []


@pytest.mark.parametrize("trouble", ["unsound", "other", "unwritable"])
def test_a_failed_backup_leaves_nothing_behind(path, tmp_path, monkeypatch, trouble):
    copy = tmp_path / "copy.db"
    real = _maintenance._copy

    def broken(db, partial):
        expected = real(db, partial)
        if trouble == "unwritable":
            raise OSError(28, "No space left on device")
        if trouble == "other":
            return (7, 7.0)
        with partial.open("r+b") as file:
            file.seek(4096 + 5)
            file.write(b"\xff" * 50)
        return expected

    monkeypatch.setattr(_maintenance, "_copy", broken)

    async def test(store):
        await fill(store)
        with pytest.raises(
            StoreError, match="No space left" if trouble == "unwritable" else "not sound"
        ):
            await store.backup(str(copy))

    with_store(path, test)
    assert [each.name for each in tmp_path.iterdir() if "copy" in each.name] == []


def test_a_backup_is_of_one_moment_while_others_write(path, tmp_path):
    """Each transaction moves both runs: a copy that caught half of one would show it."""

    def write(stop, wrote):
        async def work():
            async with opened(path, synchronous="normal") as other:
                rows = [run_row("a"), run_row("b")]
                while not stop.is_set():
                    items = [step_forward(row, 5) for row in rows]
                    await other.write(items)
                    rows = [item.row for item in items]
                    wrote.set()

        asyncio.run(work())

    async def test(store):
        big = b"x" * 300_000
        await store.write([new_run("a"), new_run("b"), new_run("big")])
        for seq in range(2, 12):
            await store.write(
                [Append(run_row("big", seq=seq), (completed("big", seq, big),), seq - 1)]
            )
        stop, wrote = threading.Event(), threading.Event()
        thread = threading.Thread(target=write, args=(stop, wrote))
        thread.start()
        try:
            assert await asyncio.to_thread(wrote.wait, 20)
            for number in range(5):
                await store.backup(str(tmp_path / f"copy{number}.db"))
                wrote.clear()
                assert await asyncio.to_thread(wrote.wait, 20), "the writer had to stop"
        finally:
            stop.set()
            thread.join(20)

    with_store(path, test, synchronous="normal")
    moments = set()
    for number in range(5):
        copy = tmp_path / f"copy{number}.db"
        assert checked(copy) == []
        found = sql(copy, "SELECT seq FROM runs WHERE run_id IN ('a', 'b')")
        assert len(set(found)) == 1
        moments.add(found[0])
    assert len(moments) == 5


# Making room


def test_what_is_deleted_makes_room_that_is_used_again(path):
    async def test(store):
        for run_id, mark in (("a", "f1"), ("b", "f2")):
            await store.write([new_run(run_id, fingerprint=mark)])
            big = Append(
                run_row(run_id, fingerprint=mark, seq=2),
                (completed(run_id, 2, b"x" * 1_000_000),),
                1,
            )
            await store.write([big])
            await store.write([finish(big.row)])
        assert await store.tidy() < 20_000
        await store.delete_runs(["a"])
        assert await store.tidy() > 900_000
        assert await store.load("b") is not None
        await store.write([new_run("c")])
        await store.write([Append(run_row("c", seq=2), (completed("c", 2, b"x" * 900_000),), 1)])
        assert await store.tidy() < 100_000

    with_store(path, test)
    assert sql(path, "SELECT fingerprint FROM definitions ORDER BY 1") == [("f1",), ("f2",)]
    assert path.stat().st_size < 2_500_000


async def ended_run(store, run_id, events, size=1):
    await store.write([new_run(run_id)])
    row = run_row(run_id, seq=events)
    each = tuple(completed(run_id, seq, b"x" * size) for seq in range(2, events + 1))
    await store.write([Append(row, each, 1)])
    await store.write([finish(row)])


@pytest.mark.parametrize(
    ("events", "size", "transactions"), [(12_000, 1, 3), (30, 1_000_000, 4), (10, 1, 1)]
)
def test_a_large_run_is_deleted_in_several_transactions(path, events, size, transactions):
    async def test(store):
        await store.write([new_run("live")])
        await store.write([step_forward(run_row("live"), 3)])
        await ended_run(store, "small", 5)
        await ended_run(store, "large", events, size)
        largest, commits = 0, 0
        write = store._home.write

        async def counted(*work):
            nonlocal largest, commits
            before = sql(path, "SELECT COUNT(*), TOTAL(LENGTH(payload)) FROM events")[0]
            result = await write(*work)
            after = sql(path, "SELECT COUNT(*), TOTAL(LENGTH(payload)) FROM events")[0]
            commits += before != after
            assert before[0] - after[0] <= 5010
            assert before[1] - after[1] <= 9_500_000
            return result

        store._home.write = counted
        assert await store.delete_runs(["large", "live", "nobody", "small"]) == 2
        assert transactions <= commits <= transactions + 1
        assert await store.check() == []
        loaded = await store.load("live")
        assert loaded is not None
        assert len(loaded.events) == 4

    with_store(path, test, synchronous="normal")


def test_a_long_log_is_deleted_in_several_transactions(path):
    def count():
        return sql(path, "SELECT COUNT(*) FROM log_lines")[0][0]

    async def test(store):
        await ended_run(store, "chatty", 5)
        await ended_run(store, "other", 5)
        lines = [LineRow("chatty", T0, f"a[{n % 12}]", 1, n, T0, 20, "x") for n in range(12_000)]
        await store.note(lines=[*lines, LineRow("other", T0, "a", 1, 1, T0, 20, "kept")])
        steps: list[int] = []
        write = store._home.write

        async def counted(*work):
            before = count()
            result = await write(*work)
            steps.append(before - count())
            return result

        store._home.write = counted
        assert await store.delete_runs(["chatty"]) == 1
        assert sum(steps) == 12_000
        assert max(steps) <= 5000
        assert await store.check() == []
        assert [line.text for line in await store.logs("other")] == ["kept"]

    with_store(path, test, synchronous="normal")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE runs SET status = 'running'",
        "UPDATE runs SET status = 'happy'",
        "UPDATE runs SET tags = '{'",
        "UPDATE runs SET waits_for = '{'",
        "UPDATE runs SET created_at = 1e300",
        "UPDATE runs SET worker_id = 'ghost'",
        "DELETE FROM events WHERE seq = 2",
        "UPDATE events SET body = '{'",
    ],
)
def test_a_run_in_any_state_can_be_discarded(path, damage):
    with_store(path, fill)
    sql(path, damage)

    async def test(store):
        assert await store.discard("a", T0)
        assert not await store.discard("a", T0)
        assert await store.discard("b", T0)
        assert await store.check() == []
        return await store.read_all_events()

    assert with_store(path, test)[0] == []
    for table in ("runs", "inbox", "run_tags", "run_waits", "reports", "log_lines"):
        assert sql(path, f"SELECT COUNT(*) FROM {table}") == [(0,)]
    # Only the highest id stays, so that it is not given again.
    assert sql(path, "SELECT run, body, payload FROM events") == [(0, "", None)]


def test_a_run_that_a_living_worker_carries_is_not_discarded(path):
    async def test(store):
        await store.register(worker("w", seen_at=T0))
        await store.write([new_run("a", worker_id="w", token=1, status=RunStatus.RUNNING)])
        assert not await store.discard("a", T0)
        sql(path, "UPDATE runs SET tags = '{'")
        assert not await store.discard("a", T0)
        sql(path, "UPDATE runs SET tags = '[]'")
        late = T0 + 1e6  # its lease has ended: it went silent, and what it still does is refused
        assert await store.discard("a", late)
        row = run_row("a", worker_id="w", token=1)
        return await store.write([step_forward(row, 1)])

    assert with_store(path, test) == [Written.FENCED]


def test_a_deletion_that_was_interrupted_can_be_finished(path):
    async def test(store):
        await ended_run(store, "large", 12_000)
        assert await store._home.write(lambda db: deleting.shorten(db, "large"))
        row = await store.get_run("large")
        assert row is not None
        assert row.status is RunStatus.COMPLETED
        with pytest.raises(
            StoreError,
            match=r"lacks some of its events; .* or delete it: gorkflow runs delete large",
        ):
            await store.load("large")
        assert await store.delete_runs(["large"]) == 1
        assert await store.check() == []

    with_store(path, test, synchronous="normal")


def test_runs_are_deleted_together_as_far_as_they_fit(path):
    async def test(store):
        for run_id, events in (("a", 2000), ("b", 2000), ("c", 2000), ("d", 9000), ("e", 5)):
            await ended_run(store, run_id, events)
        portions = await store._home.read(lambda db: deleting.portions(db, list("abcdex")))
        assert portions == [["a", "b"], ["c"], ["d"], ["e", "x"]]

    with_store(path, test, synchronous="normal")


def test_definitions_go_with_their_last_run(path):
    async def test(store):
        await store.write([new_run("a"), new_run("b", fingerprint="f2")])
        await store.write([finish(run_row("b", fingerprint="f2"))])
        await store.delete_runs(["b"])
        await store.tidy()
        assert await store.load("a") is not None

    with_store(path, test)
    assert sql(path, "SELECT fingerprint FROM definitions") == [("f1",)]


def test_a_definition_that_is_used_again_meanwhile_stays(path):
    async def test(store):
        await store.write([new_run("a"), new_run("b", fingerprint="f2")])
        await store.write([finish(run_row("a")), finish(run_row("b", fingerprint="f2"))])
        await store.delete_runs(["a", "b"])
        unused = await store._home.read(deleting.unused_definitions)
        assert sorted(unused.fingerprints) == ["f1", "f2"]
        await store.write([new_run("c")])  # takes the key that `a` had
        await store._home.write(lambda db: deleting.delete_definitions(db, unused))
        assert await store.load("c") is not None

    with_store(path, test)
    assert sql(path, "SELECT fingerprint FROM definitions") == [("f1",)]


# Examining


def examined(path, now=T0, **options):
    return asyncio.run(SqliteStore(path, **options).examine(now))


def of(examination, about):
    return [each for each in examination.findings if each.about == about]


def test_a_healthy_store_has_no_problem_and_is_left_as_it_is(path):
    with_store(path, fill)
    before = {each.name: each.read_bytes() for each in path.parent.iterdir() if each.is_file()}
    found = examined(path)
    assert found.opens
    assert {each.level for each in found.findings} <= {Level.OK, Level.INFO}
    after = {each.name: each.read_bytes() for each in path.parent.iterdir() if each.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(b"no database" * 500), "is not an SQLite database"),
        (lambda path: sql(path, "PRAGMA user_version = 99"), "upgrade gorkflow"),
        (lambda path: sql(path, "PRAGMA user_version = 1"), "from before the first release"),
        (lambda path: path.unlink(), "is gone"),
        (lambda path: (path.unlink(), path.mkdir()), "it is a folder"),
    ],
)
def test_what_keeps_it_from_opening_is_a_problem(path, spoil, says):
    with_store(path, fill)
    spoil(path)
    found = examined(path)
    assert not found.opens
    [problem] = of(found, "store")
    assert problem.level is Level.PROBLEM
    assert says in problem.text


def test_a_network_disk_is_a_problem(path, monkeypatch):
    with_store(path, fill)
    monkeypatch.setattr(_files, "network_disk", lambda _: "nfs4")
    found = examined(path)
    assert not found.opens
    assert "nfs4" in found.findings[0].text


def test_loose_permissions_are_told(path):
    with_store(path, fill)
    path.chmod(0o644)
    [loose] = of(examined(path), "permissions")
    assert loose.level is Level.WARNING
    assert "'runs.db' (mode 644)" in loose.text
    assert loose.advice == f"chmod 600 {str(path)!r}"


def test_what_can_not_be_written_is_told(path, monkeypatch):
    with_store(path, fill)
    access = os.access
    # The tests may run as root, who may write anywhere.
    monkeypatch.setattr(os, "access", lambda at, mode: at != path and access(at, mode))
    [finding] = of(examined(path), "permissions")
    assert finding.level is Level.PROBLEM
    assert finding.text == f"this user can't write to {str(path)!r}"


def test_workers_are_told_with_their_process(path):
    async def test(store):
        await store.register(worker("here", host="box", pid=7))
        await store.register(worker("silent", lease=1.0, seen_at=T0 - 50))
        found = await SqliteStore(path).examine(T0 + 3)
        alive, dead = of(found, "worker")
        assert "'here' (process 7 on box) is alive; last heartbeat 3 s ago" in alive.text
        assert "'silent'" in dead.text
        assert "is dead; last heartbeat 53 s ago" in dead.text
        assert (alive.level, dead.level) == (Level.OK, Level.INFO)

    with_store(path, test)


@pytest.mark.parametrize(
    ("version", "workers", "level"),
    [
        ((3, 40, 1), 1, Level.INFO),
        ((3, 40, 1), 2, Level.WARNING),
        ((3, 51, 2), 2, Level.WARNING),
        ((3, 51, 3), 2, Level.OK),
    ],
)
def test_an_old_sqlite_is_a_warning_where_processes_share(
    path, monkeypatch, version, workers, level
):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)

    async def test(store):
        for number in range(workers):
            await store.register(worker(f"w{number}"))
        [found] = of(await SqliteStore(path).examine(T0), "sqlite")
        assert found.level is level

    with_store(path, test)


def test_a_log_that_grew_is_a_warning(path, monkeypatch):
    monkeypatch.setattr("gorkflow.stores.sqlite.store._WAL_LIMIT", 1000)

    async def test(store):
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM runs").fetchall()
            await fill(store)
            [found] = of(await SqliteStore(path).examine(T0), "log")
            assert found.level is Level.WARNING
            assert "end the program" in found.advice

    with_store(path, test)


def test_durability_and_journal_are_told(path):
    with_store(path, fill)
    assert of(examined(path), "durability")[0].level is Level.OK
    assert of(examined(path, synchronous="normal"), "durability")[0].level is Level.INFO
    sql(path, "PRAGMA journal_mode = DELETE")
    [journal] = of(examined(path), "journal")
    assert journal.level is Level.WARNING


def test_messages_that_nobody_used_are_told(path):
    async def test(store):
        await fill(store)
        [row] = [await store.get_run("b")]
        await store.write([finish(row, RunStatus.FAILED)])

    with_store(path, test)
    [inbox] = of(examined(path), "inbox")
    assert inbox.text == "never used: 1 message of 1 ended run"


def test_messages_that_wake_nobody_are_told(path):
    async def test(store):
        await store.write(
            [
                new_run("asleep", status=RunStatus.SUSPENDED),
                new_run("owned", worker_id="w1", token=1),
                new_run("knows", status=RunStatus.SUSPENDED, seen=3),
            ]
        )
        for run_id in ("asleep", "owned", "knows"):
            await store.post(signal(run_id=run_id))

    with_store(path, test)
    assert of(examined(path, T0 + 5), "messages") == []
    [found] = of(examined(path, T0 + 50), "messages")
    assert found.level is Level.PROBLEM
    assert found.text.endswith(": asleep")


# Checkpoints


def test_checkpoints_happen_only_while_nobody_can_commit(path, monkeypatch):
    """SQLite before 3.51.3 can damage the file where a checkpoint meets a commit."""
    monkeypatch.setattr("gorkflow.stores.sqlite.store._WAL_LIMIT", 50_000)
    spoken: list[tuple[int, str]] = []
    settings: list[tuple[int, int]] = []
    connect = _connections.Settings.connect

    def traced(self):
        db = connect(self)
        settings.append(
            tuple(
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("wal_autocheckpoint", "mmap_size")
            )
        )
        number = len(settings)
        db.set_trace_callback(lambda text: spoken.append((number, text)))
        return db

    monkeypatch.setattr(_connections.Settings, "connect", traced)

    async def test(store):
        await store.write([new_run()])
        row = run_row()
        for seq in range(2, 30):
            item = Append(run_row(seq=seq), (completed("r", seq, b"x" * 20_000),), row.seq)
            await store.write([item])
            row = item.row
        await store.get_run("r")

    with_store(path, test)
    assert set(settings) == {(0, 0)}
    holding = None
    checkpoints = 0
    for number, text in spoken:
        if text == "BEGIN IMMEDIATE":
            holding = number
        elif text in {"COMMIT", "ROLLBACK"} and number == holding:
            holding = None
        elif "checkpoint" in text and "autocheckpoint" not in text:
            checkpoints += 1
            assert text == "PRAGMA wal_checkpoint(PASSIVE)"
            assert holding is not None
            assert holding != number
    assert checkpoints > 3
