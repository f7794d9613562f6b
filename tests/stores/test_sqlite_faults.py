"""What the SQLite store does when the disk, the file or another process misbehaves."""

# The files are the subject here, and nothing else runs on the loop.
# ruff: noqa: ASYNC222, ASYNC240

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sqlite3
import stat
import threading
import time
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest
from msgspec.structs import replace

from gorkflow.clock import Moment
from gorkflow.errors import (
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
    StoreVersionError,
)
from gorkflow.hooks import Hook
from gorkflow.listing import RunFilter
from gorkflow.model import RunStatus, instant
from gorkflow.store import Append, LineRow, Written
from gorkflow.stores import open_store
from gorkflow.stores._sql import lists
from gorkflow.stores.sqlite import SqliteStore, _connections, _files, _schema
from gorkflow.stores.sqlite._files import WorkerLocks, WriteLock
from gorkflow.testing.conformance import (
    LEASE,
    T0,
    completed,
    finish,
    message,
    new_run,
    run_row,
    step_forward,
    worker,
)
from tests.stores.tools import opened, sql, with_store

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
NEWEST = _schema.SCHEMA
OK, DUPLICATE, FENCED = Written.OK, Written.DUPLICATE, Written.FENCED
UNSTORABLE = Written.UNSTORABLE


async def nothing(_):
    return None


@contextmanager
def child(work):
    """Run ``work`` in a forked process; yields its id, and kills it in the end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    try:
        yield pid
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def run_child(work):
    with child(work) as pid:
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


# Files


def test_files_are_readable_by_their_owner_alone(path):
    async def test(store):
        await store.register(worker())
        await store.write([new_run()])
        modes = {
            p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.rglob("*") if p.is_file()
        }
        assert set(modes) == {
            "runs.db", "runs.db-wal", "runs.db-shm", "runs.db.write", "w1.lock"
        }  # fmt: skip
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(Path(f"{path}.workers").stat().st_mode) == 0o700

    old = os.umask(0)
    try:
        with_store(path, test)
    finally:
        os.umask(old)


def test_a_closed_store_leaves_no_log_and_no_locks(path):
    async def test(store):
        await store.register(worker())
        await store.write([new_run()])

    with_store(path, test)
    left = sorted(p.name for p in path.parent.rglob("*") if p.is_file())
    assert left == ["runs.db", "runs.db.write"]


def test_the_default_folder_is_made_private_and_ignored_by_git(tmp_path):
    home = tmp_path / ".gorkflow"
    with_store(home / "runs.db", nothing)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert (home / ".gitignore").read_text() == "*\n"


def test_the_default_folder_outlasts_a_loss_of_power(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def noted(fd):
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    with_store(tmp_path / ".gorkflow" / "runs.db", nothing)
    assert tmp_path in synced  # SQLite itself sees to the folder of its file, but not to that one


def test_a_folder_of_the_user_is_left_as_it_is(tmp_path):
    home = tmp_path / ".gorkflow"
    home.mkdir(mode=0o755)
    with_store(home / "runs.db", nothing)
    assert not (home / ".gitignore").exists()


def test_any_other_missing_folder_is_an_error(tmp_path):
    with pytest.raises(StoreUnavailableError, match="is not a folder; create it"):
        with_store(tmp_path / "not there" / "runs.db", nothing)
    assert not (tmp_path / "not there").exists()


@pytest.mark.parametrize(
    "name", ["with space.db", "50%41.db", "what?.db", "a?b=c.db", "#x;y.db", "\u00fc\U0001f600.db"]
)
def test_any_file_name_will_do(tmp_path, name):
    async def test(store):
        await store.write([new_run()])

    with_store(tmp_path / name, test)
    assert (tmp_path / name).is_file()


def test_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("sqlite:a b?.db").path == str(tmp_path / "a b?.db")
    assert open_store(f"sqlite://{tmp_path}/x.db").path == str(tmp_path / "x.db")
    assert open_store(f"sqlite:{tmp_path}/x.db").path == str(tmp_path / "x.db")
    store = open_store("sqlite:x.db?synchronous=normal&busy_timeout=2")
    assert (store.path, store._synchronous, store._busy_timeout) == (
        str(tmp_path / "x.db"), "normal", 2.0
    )  # fmt: skip


@pytest.mark.parametrize("place", ["file/runs.db", "folder", "/proc/nonexistent", "nul\0.db"])
def test_a_place_that_can_not_be_written_is_named(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailableError) as caught:
        with_store(tmp_path / place, nothing)
    assert repr(str(tmp_path / place)) in str(caught.value) or "no folder" in str(caught.value)


def test_two_names_of_one_file_share_its_locks(tmp_path, path):
    async def test(store):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "link.db").symlink_to(path)
        async with opened(tmp_path / "elsewhere" / "link.db") as other:
            await store.write([new_run()])
            assert await other.write([new_run()]) == [DUPLICATE]
        assert list((tmp_path / "elsewhere").iterdir()) == [tmp_path / "elsewhere" / "link.db"]

    with_store(path, test)


def test_a_file_that_was_removed_while_open_takes_no_more(path):
    async def test(store):
        await store.write([new_run("a")])
        path.unlink()
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="deleted or replaced"):
                await store.write([new_run("b")])
        assert not path.exists()

    with_store(path, test)


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("/dev/a / ext4 rw\nhost:/x /data nfs4 rw", "nfs4"),
        ("/dev/a / ext4 rw\nhost:/x /data fuse.sshfs rw", "fuse.sshfs"),
        ("/dev/a / ext4 rw\n//host/x /data cifs rw", "cifs"),
        ("host:/x / nfs rw\n/dev/a /data ext4 rw", None),
        ("host:/x /dat nfs rw\n/dev/a / ext4 rw", None),
        ("/dev/a / ext4 rw\n/dev/b /data ext4 rw\nh:/x /data nfs rw", "nfs"),
        ("/dev/a / ext4 rw\nh:/x /data/my\\040dir nfs rw", "nfs"),
        ("/dev/a / ext4 rw\nx /data made-up rw", None),
        ("broken", None),
    ],
)
def test_network_disks_are_known(mounts, kind):
    assert _files.network_disk(Path("/data/my dir/runs.db"), mounts) == kind


def test_network_disks_are_refused(path, monkeypatch):
    monkeypatch.setattr(_files, "network_disk", lambda _: "nfs4")
    with pytest.raises(StoreUnavailableError, match=r"network file system \(nfs4\)"):
        with_store(path, nothing)


# What is in the file


def test_a_newer_schema_is_refused(path):
    with_store(path, nothing)
    sql(path, "PRAGMA user_version = 99")
    with pytest.raises(StoreVersionError, match=rf"version 99.* has {NEWEST}: upgrade"):
        with_store(path, nothing)


def test_the_database_of_another_program_is_left_alone(path):
    sql(path, "CREATE TABLE theirs (x)")
    with pytest.raises(StoreUnavailableError, match="another program"):
        with_store(path, nothing)
    assert sql(path, "SELECT name FROM sqlite_schema") == [("theirs",)]
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # nothing is left beside it


def test_a_file_that_is_no_database(path):
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreCorruptError, match="not an SQLite database"):
        with_store(path, nothing)
    assert path.read_bytes().startswith(b"this is no database")
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET body = '{' WHERE run = 1 AND seq = 2",
        "UPDATE events SET body = '[]' WHERE run = 1 AND seq = 2",
        "UPDATE events SET body = '{}' WHERE run = 1 AND seq = 2",
        """UPDATE events SET body = '{"attempt":"x","began_at":1.0}' WHERE run = 1 AND seq = 2""",
        "UPDATE events SET payload = NULL WHERE run = 1 AND seq = 2",
        "UPDATE events SET kind = 'unheard_of' WHERE run = 1 AND seq = 2",
        "UPDATE events SET kind = 'later' WHERE run = 1 AND seq = 2",
        "DELETE FROM events WHERE run = 1 AND seq = 2",
        "DELETE FROM events WHERE run = 1 AND seq = 3",
        "DELETE FROM events WHERE run = 1",
        "UPDATE runs SET status = 'happy' WHERE key = 1",
        "UPDATE runs SET tags = '{' WHERE key = 1",
        "UPDATE runs SET fingerprint = 'gone' WHERE key = 1",
        "UPDATE runs SET seq = 1 << 62 WHERE key = 1",
        "UPDATE runs SET created_at = 9e999 WHERE key = 1",
        "UPDATE runs SET due_at = -9e999 WHERE key = 1",
    ],
)
def test_a_damaged_row_harms_its_run_only(path, damage):
    async def fill(store):
        await store.write([new_run("bad"), new_run("good")])
        await store.write([step_forward(run_row("bad"), 2), step_forward(run_row("good"), 2)])

    async def look(store):
        with pytest.raises(StoreCorruptError, match="'bad'"):
            await store.load("bad")
        assert await store.load("good") is not None
        assert [*await store.load_many(["bad", "good"])] == ["good"]
        assert "good" in await store.get_runs(["bad", "good"])
        assert "good" in [row.run_id for row in await store.list_runs(RunFilter())]
        await store.register(worker())
        assert "good" in [claim.run_id for claim in await store.claim("w1", times=Moment(T0))]
        events, cursor = await store.read_all_events()
        assert [event.seq for event in events if event.run_id == "good"] == [1, 2, 3]
        assert await store.read_all_events(after=cursor) == ([], cursor)

    with_store(path, fill)
    sql(path, damage)
    with_store(path, look)


def test_an_error_about_a_damaged_row_holds_no_old_view_of_the_others(path):
    """What a reader had begun to read for it must not stay open for as long as the error lives."""

    async def fill(store):
        await store.write([new_run("bad"), new_run("good")])
        await store.write([step_forward(run_row("bad"), 2)])

    async def look(store):
        errors = await asyncio.gather(
            *(store.load("bad") for _ in range(8)), return_exceptions=True
        )
        assert all(isinstance(error, StoreCorruptError) for error in errors)
        await store.write([step_forward(run_row("good"), 2)])
        for _ in range(8):  # whichever of the readers is asked
            assert len(await store.read_events("good")) == 3

    with_store(path, fill)
    sql(path, "UPDATE events SET kind = 'later' WHERE run = 1 AND seq = 2")
    with_store(path, look)


def test_what_can_not_be_stored_of_one_run_leaves_the_others(path):
    async def test(store):
        await store.write([new_run("a"), new_run("b"), new_run("c")])
        odd = completed("b", 2)
        odd = type(odd)("b", 2, "lone \udc80", T0, 1, b"1", T0)
        batch = [
            step_forward(run_row("a")),
            Append(run_row("b", seq=2), (odd,), 1),
            step_forward(run_row("c")),
        ]
        assert await store.write(batch) == [OK, UNSTORABLE, OK]
        assert await store.get_run("b") == run_row("b")
        assert await store.write([new_run("d"), new_run("\udc80")]) == [OK, UNSTORABLE]
        assert await store.get_run("d") is not None

    with_store(path, test)


# Migration


def kill_at_statement(path, number):
    """Migrate, and be killed at this statement."""
    seen = 0

    def trace(_):
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL").fetchone()

        def version(*args, original=_schema.version_of):
            db.set_trace_callback(None)
            found = original(*args)
            db.set_trace_callback(trace)
            return found

        _schema.version_of = version
        _schema.create(db, str(path))


def test_a_kill_at_any_statement_of_the_schema_leaves_all_or_nothing(tmp_path):
    around = len(["BEGIN", "id", "version", "COMMIT"])
    outcomes = set()
    for number in range(1, len(_schema.statements()) + around + 2):
        path = tmp_path / f"{number}.db"
        code = run_child(lambda path=path, number=number: kill_at_statement(path, number))
        reached = sql(path, "PRAGMA user_version")[0][0]
        tables = sql(path, "SELECT COUNT(*) FROM sqlite_schema")[0][0]
        assert (reached == 0) == (tables == 0)
        outcomes.add((code, reached))

        async def test(store):
            assert await store.write([new_run()]) == [OK]

        with_store(path, test)
        assert sql(path, "PRAGMA user_version") == [(NEWEST,)]
    assert (-signal.SIGKILL, 0) in outcomes
    assert (0, NEWEST) in outcomes


@pytest.mark.parametrize("version", range(1, NEWEST))
def test_a_file_from_before_the_first_release_is_refused_in_one_line(path, version):
    with_store(path, nothing)
    sql(path, f"PRAGMA user_version = {version}")
    with pytest.raises(StoreVersionError, match=r"from before the first release.*another file$"):
        with_store(path, nothing)


def test_a_failing_schema_changes_nothing(path, monkeypatch):
    monkeypatch.setattr(_schema, "statements", lambda: ("CREATE TABLE a (x)", "CREATE TABLE a (x)"))
    with pytest.raises(StoreError, match="rejected the statement"):
        with_store(path, nothing)
    assert sql(path, "SELECT name FROM sqlite_schema") == []


def test_many_open_a_new_file_at_once(path):
    async def test():
        stores = [SqliteStore(path) for _ in range(6)]
        await asyncio.gather(*(store.open() for store in stores))
        assert await stores[0].write([new_run()]) == [OK]
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(test())


# Disk trouble


def test_a_full_disk_is_an_error_that_passes(path):
    async def test(store):
        await store.write([new_run()])

        def limit(writer, pages):
            writer._db.execute(f"PRAGMA max_page_count = {pages}")

        await store._home.writer.run(lambda writer: limit(writer, 1))
        big = Append(run_row(seq=2), (completed("r", 2, b"x" * 500_000),), 1)
        with pytest.raises(StoreError, match="disk is full"):
            await store.write([big])
        assert len(await store.read_events("r")) == 1
        await store._home.writer.run(lambda writer: limit(writer, 1_000_000))
        assert await store.write([big]) == [OK]

    with_store(path, test)


def test_a_write_error_of_the_system_is_an_error_that_passes(path):
    async def test(store):
        await store.write([new_run()])
        big = Append(run_row(seq=2), (completed("r", 2, b"x" * 2_000_000),), 1)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        try:
            with pytest.raises(StoreError, match=r"SQLITE_(IOERR|FULL)"):
                await store.write([big])
            assert await store.read_events("r") == [new_run().events[0]]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, old)
        assert await store.write([big]) == [OK]

    with_store(path, test)
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]


class Shaky:
    """A connection whose next commit fails, before or after it was written."""

    def __init__(self, db, *, written):
        self._db, self._written, self.failed = db, written, False

    def __getattr__(self, name):
        return getattr(self._db, name)

    def execute(self, statement, *values):
        if statement == "COMMIT" and not self.failed:
            self.failed = True
            if self._written:
                self._db.execute("COMMIT")
            raise sqlite3.OperationalError("made up")
        return self._db.execute(statement, *values)


@pytest.mark.parametrize("written", [True, False])
def test_an_unknown_commit_is_looked_up(path, written):
    async def test(store):
        await store.write([new_run()])

        def shake(writer):
            writer._db = Shaky(writer._db, written=written)

        await store._home.writer.run(shake)
        item = step_forward(run_row())
        if written:
            assert await store.write([item]) == [OK]
        else:
            with pytest.raises(StoreError):
                await store.write([item])
        assert len(await store.read_events("r")) == (2 if written else 1)
        assert await store.write([item]) == [FENCED if written else OK]

    with_store(path, test)


def test_an_unknown_commit_without_events_is_looked_up(path):
    async def test(store):
        await store.write([new_run()])

        def shake(writer):
            writer._db = Shaky(writer._db, written=True)

        await store._home.writer.run(shake)
        asleep = run_row(status=RunStatus.SUSPENDED, due_at=T0 + 5)
        assert await store.write([Append(asleep, (), 1)]) == [OK]
        assert await store.get_run("r") == asleep

    with_store(path, test)


def test_the_log_grows_once_in_a_store_that_is_used(path):
    wal = Path(f"{path}-wal")

    async def test(store):
        for number in range(19):
            await store.write([new_run(f"r{number}")])
        await store._home.writer.run(lambda writer: None)  # it has tidied up
        assert wal.stat().st_size < 1_000_000
        await store.write([new_run("another")])
        await store._home.writer.run(lambda writer: None)
        size = wal.stat().st_size
        assert 3_000_000 < size < 5_000_000
        for number in range(30):
            await store.write([new_run(f"s{number}")])
        assert wal.stat().st_size == size

    with_store(path, test)


async def has_tidied_up(store):
    await store._home.writer.run(lambda writer: None)
    (thread,) = store._home.writer._threads
    with thread._using:
        pass


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_lone_writer_may_write_in_its_own_thread(path, is_busy):
    async def test(store):
        other = sqlite3.connect(path)
        await store.write([new_run("first")])
        await has_tidied_up(store)
        if is_busy:
            store._home.writer.run(lambda writer: time.sleep(0.05))
        answer = store.write([new_run()], block=True)
        assert answer.done() is not is_busy
        assert await answer == [OK]
        assert other.execute("SELECT COUNT(*) FROM runs").fetchall() == [(2,)]
        other.close()

    with_store(path, test)


@pytest.mark.parametrize("holder", ["gorkflow", "another program"])
def test_a_lone_writer_does_not_keep_its_loop_waiting_for_other_processes(path, holder):
    async def test(store):
        await has_tidied_up(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            lock = WriteLock(Path(f"{path}.write"))
            turn = lock.held(1) if holder == "gorkflow" else nullcontext()
            with turn:
                if holder != "gorkflow":
                    other.execute("BEGIN IMMEDIATE")
                answer = store.write([new_run()], block=True)
                for _ in range(3):  # the loop goes on
                    await asyncio.sleep(0)
                assert not answer.done()
                if holder != "gorkflow":
                    other.execute("ROLLBACK")
            lock.close()
        assert await answer == [OK]
        await has_tidied_up(store)
        answer = store.write([new_run("next")], block=True)
        assert answer.done()
        assert await answer == [OK]

    with_store(path, test)


def test_a_lone_writer_leaves_the_log_to_the_thread(path):
    async def test(store):
        await has_tidied_up(store)
        elsewhere = []
        for number in range(40):
            answer = store.write([new_run(f"r{number}")], block=True)
            if not answer.done():
                elsewhere.append(number)
            assert await answer == [OK]
            if elsewhere == [number]:
                await has_tidied_up(store)
        assert elsewhere == [20]
        assert Path(f"{path}-wal").stat().st_size > 3_000_000

    with_store(path, test)


def test_a_lone_writer_whose_connection_broke_gets_another(path):
    async def test(store):
        await has_tidied_up(store)
        (thread,) = store._home.writer._threads
        thread._resource._db = Shaky(thread._resource._db, written=False)
        with pytest.raises(StoreError, match="made up"):
            await store.write([new_run()], block=True)
        assert thread._resource is None
        assert await store.write([new_run()], block=True) == [OK]

    with_store(path, test)


@pytest.mark.parametrize("error", [SystemExit(143), TimeoutError("143")])
def test_what_interrupts_a_lone_writer_is_raised_and_leaves_the_file_free(path, error):
    async def test(store):
        await has_tidied_up(store)

        def interrupted(writer):
            store._home.writer.run(lambda writer: None)  # as a signal handler might
            writer._begin()
            raise error

        with pytest.raises(type(error), match="143"):
            await store._home.writer.run(nothing, here=interrupted)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        assert await store.write([new_run()], block=True) == [OK]

    with_store(path, test)


def test_the_highest_id_of_an_event_is_not_given_again(path):
    async def test(store):
        await store.write([new_run("a"), new_run("b")])
        await store.write([finish(run_row("a")), finish(run_row("b"))])
        _, cursor = await store.read_all_events()
        assert await store.delete_runs(["a", "b"]) == 2
        assert await store.read_all_events() == ([], "")
        await store.write([new_run("c")])
        found, later = await store.read_all_events(after=cursor)
        assert [event.run_id for event in found] == ["c"]
        assert await store.delete_runs(["c"]) == 0
        await store.write([finish(run_row("c"))])
        assert await store.delete_runs(["c"]) == 1
        assert await store.read_all_events(after=later) == ([], later)
        assert await store.check() == []

    with_store(path, test)


def test_the_lost_end_of_a_run_is_noticed(path):
    async def fill(store):
        await store.write([new_run(), new_run("other")])
        await store.write([finish(run_row())])

    async def look(store):
        with pytest.raises(StoreCorruptError, match="lacks some of its events"):
            await store.load("r")

    with_store(path, fill)
    sql(path, "DELETE FROM events WHERE run = 1 AND seq = 2")
    with_store(path, look)


def test_the_log_stays_bounded(path, monkeypatch):
    monkeypatch.setattr("gorkflow.stores.sqlite.store._WAL_LIMIT", 200_000)
    wal = Path(f"{path}-wal")

    async def test(store):
        await store.write([new_run()])
        row, largest = run_row(), 0
        for _ in range(60):
            item = Append(
                run_row(seq=row.seq + 1), (completed("r", row.seq + 1, b"x" * 20_000),), row.seq
            )
            await store.write([item])
            row = item.row
            largest = max(largest, wal.stat().st_size)
        assert largest < 400_000

    with_store(path, test)


def test_a_long_reader_does_not_block_the_writer_nor_keep_the_log_large(path, monkeypatch):
    monkeypatch.setattr("gorkflow.stores.sqlite.store._WAL_LIMIT", 200_000)
    wal = Path(f"{path}-wal")

    async def test(store):
        await store.write([new_run()])
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT seq FROM runs").fetchall() == [(1,)]
        row = run_row()
        for _ in range(30):
            row = await grow(store, row)
        assert wal.stat().st_size > 400_000
        assert reader.execute("SELECT seq FROM runs").fetchall() == [(1,)]
        reader.execute("COMMIT")
        reader.close()
        for _ in range(30):
            row = await grow(store, row)
        assert wal.stat().st_size < 400_000

    async def grow(store, row):
        after = run_row(seq=row.seq + 1)
        event = completed("r", after.seq, b"x" * 20_000)
        assert await store.write([Append(after, (event,), row.seq)]) == [OK]
        return after

    with_store(path, test)


def test_reads_do_not_wait_for_a_writer(path):
    async def test(store):
        await store.write([new_run()])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await asyncio.wait_for(store.get_run("r"), 2) == run_row()
            assert await asyncio.wait_for(store.load("r"), 2) is not None
            other.execute("ROLLBACK")

    with_store(path, test)


# Other processes


def test_a_program_that_keeps_the_file_locked_is_a_typed_error(path):
    async def test(store):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="held by another program"):
                await store.write([new_run()])
            other.execute("ROLLBACK")
        assert await store.write([new_run()]) == [OK]

    with_store(path, test, busy_timeout=0.1)


def test_a_new_file_waits_for_a_program_that_keeps_it_locked(path):
    async def test():
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            release = threading.Timer(0.2, other.execute, ("ROLLBACK",))
            release.start()
            async with opened(path) as store:
                assert await store.write([new_run()]) == [OK]
            release.join()

    asyncio.run(test())


def test_a_process_that_keeps_the_turn_is_a_typed_error(path):
    async def test(store):
        lock = WriteLock(Path(f"{path}.write"))
        with lock.held(1), pytest.raises(StoreUnavailableError, match=r"has held .* for 0\.1 s"):
            await store.write([new_run()])
        lock.close()
        assert await store.write([new_run()]) == [OK]

    with_store(path, test, busy_timeout=0.1)


def test_waiting_for_the_turn_ends_when_it_is_free(path):
    async def test(store):
        lock = WriteLock(Path(f"{path}.write"))
        with lock.held(1):
            waiting = asyncio.ensure_future(store.write([new_run()]))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert await waiting == [OK]
        lock.close()

    with_store(path, test)


def test_processes_append_at_the_same_time(path):
    runs, rounds = 3, 25
    with_store(path, nothing)

    def work(name):
        async def test(store):
            await store.write([new_run(f"{name}{n}") for n in range(runs)])
            rows = [run_row(f"{name}{n}") for n in range(runs)]
            for _ in range(rounds):
                batch = [step_forward(row) for row in rows]
                assert await store.write(batch) == [OK] * runs
                rows = [item.row for item in batch]

        with_store(path, test)

    with child(lambda: work("a")) as a, child(lambda: work("b")) as b:
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (a, b)]
    assert codes == [0, 0]

    async def look(store):
        events, _ = await store.read_all_events()
        assert len(events) == 2 * runs * (rounds + 1)
        for name in "ab":
            for n in range(runs):
                own = [event.seq for event in events if event.run_id == f"{name}{n}"]
                assert own == list(range(1, rounds + 2))

    with_store(path, look)


def test_of_starts_in_several_processes_one_makes_the_run(path):
    with_store(path, nothing)
    reads, writes = os.pipe()

    def work():
        async def test(store):
            return await store.write([new_run("same")])

        os.write(writes, str(with_store(path, test)[0])[:1].encode())

    with child(work) as a, child(work) as b, child(work) as c:
        for pid in (a, b, c):
            os.waitpid(pid, 0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        assert sorted(pipe.read()) == sorted(b"odd")


def claimer(path, ready):
    """Register, claim, say so, and hang."""

    async def test(store):
        await store.register(worker("dead", pid=os.getpid()))
        assert len(await store.claim("dead", times=Moment(T0))) == 1
        os.write(ready, b"x")
        signal.pause()

    with_store(path, test)


def test_runs_of_a_killed_process_are_claimable_at_once(path):
    reads, ready = os.pipe()

    async def fill(store):
        await store.write([new_run()])

    with_store(path, fill)
    with child(lambda: claimer(path, ready)) as pid:
        os.read(reads, 1)

        async def test(store):
            await store.register(worker("heir"))
            assert [each.worker_id for each in await store.workers()] == ["dead", "heir"]
            assert await store.claim("heir", times=Moment(T0)) == []
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            assert [each.worker_id for each in await store.workers()] == ["heir"]
            [claim] = await store.claim("heir", times=Moment(T0))
            assert (claim.worker_id, claim.token) == ("heir", 2)
            assert claim.orphaned
            assert Path(f"{path}.workers/dead.lock").exists()
            await store.register(worker("third"))
            assert not Path(f"{path}.workers/dead.lock").exists()
            assert len(sql(path, "SELECT * FROM workers")) == 2

        with_store(path, test)
    os.close(reads)
    os.close(ready)


def test_a_frozen_process_loses_its_runs_when_its_lease_ends(path):
    reads, ready = os.pipe()

    async def fill(store):
        await store.write([new_run()])

    with_store(path, fill)
    with child(lambda: claimer(path, ready)) as pid:
        os.read(reads, 1)
        os.kill(pid, signal.SIGSTOP)

        async def test(store):
            await store.register(worker("heir", seen_at=T0 + LEASE))
            assert await store.claim("heir", times=Moment(T0 + LEASE)) == []
            [claim] = await store.claim("heir", times=Moment(T0 + LEASE + 1))
            assert not claim.orphaned  # its lock is still held
            assert not (await store.heartbeat("dead", Moment(T0 + LEASE + 1))).alive

        with_store(path, test)
    os.close(reads)
    os.close(ready)


def test_a_forked_child_does_not_keep_its_parent_alive(path):
    reads, ready = os.pipe()
    gone, go = os.pipe()

    def parent():
        async def test(store):
            await store.register(worker("dead"))
            await store.write([new_run()])
            await store.claim("dead", times=Moment(T0))
            if os.fork() == 0:
                os.write(ready, b"x")
                os.read(gone, 1)
                os._exit(0)
            signal.pause()

        with_store(path, test)

    with child(parent) as pid:
        os.read(reads, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

        async def test(store):
            await store.register(worker("heir"))
            assert len(await store.claim("heir", times=Moment(T0))) == 1

        with_store(path, test)
        os.write(go, b"x")
    for fd in (reads, ready, gone, go):
        os.close(fd)


def test_a_forked_child_is_told_to_open_its_own(path):
    async def test(store):
        await store.write([new_run()])

        def work():
            async def inside():
                with pytest.raises(StoreError, match="before this process was forked"):
                    await store.get_run("r")
                await store.close()

            # The parent's loop is running here too, as far as asyncio can see.
            asyncio._set_running_loop(None)
            asyncio.run(inside())

        assert run_child(work) == 0
        assert await store.get_run("r") == run_row()

    with_store(path, test)


def test_a_worker_of_another_machine_is_judged_by_its_lease(path):
    async def test(store):
        await store.register(worker("far"))
        await store.register(worker("w1", seen_at=T0 + 40))
        await store.write([new_run()])
        await store.claim("far", times=Moment(T0))
        sql(path, "UPDATE workers SET machine = 'elsewhere' WHERE worker_id = 'far'")
        Path(f"{path}.workers/far.lock").unlink()
        assert await store.claim("w1", times=Moment(T0 + LEASE)) == []
        [claim] = await store.claim("w1", times=Moment(T0 + LEASE + 1))
        assert claim.orphaned  # nobody here can see that it lives

    with_store(path, test)


def test_without_locks_an_ended_lease_is_taken_for_a_death(path, monkeypatch):
    monkeypatch.setattr(_files, "fcntl", None)

    async def test(store):
        await store.register(worker("w1", seen_at=T0 + 40))
        await store.write([new_run("ours"), new_run("others")])
        async with opened(path) as other:
            await other.register(worker("w2"))
            await other.claim("w2", times=Moment(T0), run_id="others")
            await store.register(worker("w3"))
            await store.claim("w3", times=Moment(T0), run_id="ours")
            claims = await store.claim("w1", times=Moment(T0 + LEASE + 1))
        assert {claim.run_id: claim.orphaned for claim in claims} == {
            "ours": False,  # of this very process
            "others": True,
        }

    with_store(path, test)


def test_machines_are_told_apart_by_name_and_boot():
    assert _files.same_machine("host boot1", "host boot2")
    assert _files.same_machine("container1 boot1", "container2 boot1")
    assert not _files.same_machine("host1 boot1", "host2 boot2")


def test_a_worker_id_belongs_to_one_living_process(path):
    async def test(store):
        await store.register(worker())
        async with opened(path) as other:
            with pytest.raises(StoreError, match="is taken by a living process"):
                await other.register(worker())
            await store.unregister("w1")
            await other.register(worker())

    with_store(path, test)


def test_a_worker_id_may_hold_any_character(tmp_path):
    locks = WorkerLocks(tmp_path / "locks")
    locks.take("../a b/\u00fc")
    assert locks.is_held("../a b/\u00fc")
    assert [p.parent for p in tmp_path.rglob("*.lock")] == [tmp_path / "locks"]
    locks.close()


def test_an_old_sqlite_warns_only_when_the_file_is_shared(path, caplog, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))

    async def test(store):
        assert [record.levelname for record in caplog.records] == ["INFO"]
        assert str(path) in caplog.text
        await store.register(worker())
        caplog.clear()
        async with opened(path):
            assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]

    with caplog.at_level(logging.INFO, logger="gorkflow.store"):
        with_store(path, test)


def test_a_sqlite_that_is_too_old_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreUnavailableError, match=r"needs 3\.37"):
        with_store(path, nothing)


# How it works


def plan(path, statement, values):
    with closing(sqlite3.connect(path)) as db:
        return " | ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", values))


def test_claim_and_list_walk_along_an_index(path):
    with_store(path, nothing)
    claim = plan(
        path,
        _schema.query("find_claimable_runs"),
        {"queues": '["default"]', "workflow_ids": '["a"]', "due_by": T0, "limit": 5},
    )
    for index in ("runs_ready", "runs_asleep", "runs_mailed"):
        assert f"INDEX {index} (queue=? AND workflow_id=?" in claim
    assert "SCAN runs" not in claim
    for name, index, values in (
        ("list_owners", "runs_owned", {}),
        ("release_runs", "runs_owned", {"worker_id": "w1", "died": 1}),
        ("list_workflows", "runs_by_workflow", {"after": "", "limit": 9}),
        ("count_owned", "INDEX runs_owned", {}),
        ("count_ids", "(run_id>? AND run_id<?)", {"id_from": "a", "id_to": "b", "limit": 9}),
        ("find_occupants", "runs_occupying", {"resource_id": "x"}),
        ("list_worker_messages", "INTEGER PRIMARY KEY (rowid>?)", {"worker_id": "w", "after": 3}),
        ("list_event_sizes", "(run=?)", {"run_id": "r", "limit": 9}),
        ("list_messages", "(run=? AND rowid>?)", {"run_id": "r", "after": 3}),
    ):
        steps = plan(path, _schema.query(name), values)
        assert index in steps, name
        assert "SCAN runs" not in steps, name
        assert "SCAN inbox" not in steps, name
        assert "TEMP B-TREE" not in steps, name


def test_every_write_takes_the_lock_before_it_reads(path, monkeypatch):
    statements: list[str] = []
    connect = _connections.Settings.connect

    def traced(self):
        db = connect(self)
        db.set_trace_callback(statements.append)
        return db

    monkeypatch.setattr(_connections.Settings, "connect", traced)

    async def test(store):
        await store.register(worker())
        await store.write([new_run()])
        [claim] = await store.claim("w1", times=Moment(T0))
        await store.heartbeat("w1", Moment(T0))
        await store.post(message())
        await store.write([replace(step_forward(claim), consumed=[1])])
        await store.unregister("w1")
        row = await store.get_run("r")
        await store.write([finish(row, RunStatus.FAILED)])
        await store.delete_runs(["r"])

    with_store(path, test)
    begins = [text for text in statements if text.startswith("BEGIN")]
    assert begins.count("BEGIN IMMEDIATE") > 10
    inside = None
    for text in statements:
        if text.startswith("BEGIN"):
            inside = text
        elif text.split()[0] in {"INSERT", "UPDATE", "DELETE", "CREATE"}:
            assert inside == "BEGIN IMMEDIATE"
        elif text in {"COMMIT", "ROLLBACK"}:
            inside = None


def test_synchronous_is_what_was_asked_for(path):
    async def look(store):
        return await store._home.writer.run(
            lambda writer: [
                writer._db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("synchronous", "wal_autocheckpoint", "journal_mode")
            ]
        )

    assert with_store(path, look) == [2, 0, "wal"]
    assert with_store(path, look, synchronous="normal") == [1, 0, "wal"]


def test_a_cancelled_caller_does_not_stop_the_store(path):
    async def test(store):
        task = asyncio.ensure_future(store.write([new_run("a")]))
        await asyncio.sleep(0)
        task.cancel()
        assert await store.write([new_run("b")]) == [OK]

    with_store(path, test)


def test_what_goes_on_while_the_store_is_closed_is_told_so(path):
    """Nobody serves what queues up behind the end, so it must not wait there for ever."""

    async def test(store):
        home = store._opened()
        await store.close()
        with pytest.raises(StoreError, match="closed meanwhile"):
            await asyncio.wait_for(home.read(lambda db: None), 5)

    with_store(path, test)


def test_threads_end_with_the_store(path):
    import threading

    before = set(threading.enumerate())

    async def test(_):
        names = {thread.name for thread in set(threading.enumerate()) - before}
        assert any("sqlite-writer" in name for name in names)

    with_store(path, test)
    left = [t for t in set(threading.enumerate()) - before if "sqlite" in t.name]
    assert left == []


def test_a_log_is_read_and_deleted_along_an_index(path):
    with_store(path, nothing)
    values = LineRow("r", T0, "a", 1, 1, T0, 20, "")._asdict() | {"after": 0, "limit": 5}
    values |= {"key": 1, "upto": 5}
    names = ("list_lines", "list_lines_of_path", "upsert_line", "list_reports", "list_line_sizes")
    names += ("delete_lines", "delete_first_lines", "delete_first_events")
    found = {name: plan(path, _schema.query(name), values) for name in names}
    assert not [name for name, text in found.items() if "SCAN" in text]
    assert "log_lines_by_run (run=? AND rowid>?)" in found["list_lines"]
    assert "TEMP B-TREE" not in found["list_lines"]
    assert "log_lines_by_attempt (run=? AND path=?)" in found["list_lines_of_path"]


def cost(path, name, values):
    """Return the hundreds of instructions of SQLite's machine that a query takes."""
    steps = 0

    def count():
        nonlocal steps
        steps += 1
        return 0

    with closing(sqlite3.connect(path)) as db:
        db.execute("SELECT 1 FROM runs LIMIT 0")  # reads the schema, which is no part of the query
        db.set_progress_handler(count, 100)
        db.execute(lists.with_filters(_schema.query(name), []), values).fetchall()
    return steps


def test_a_page_costs_what_the_page_costs(path):
    async def fill(store):
        await store.write([new_run(f"r{n}", created_at=T0 + n) for n in range(2000)])

    with_store(path, fill)
    values = {"before_at": float("inf"), "before_id": "", "limit": 20}
    assert cost(path, "list_runs", values) < 20
    served = {"queues": '["default"]', "workflow_ids": '["shop"]'}
    claimable = served | {"due_by": T0, "limit": 20}
    assert cost(path, "find_claimable_runs", claimable) < 40


def test_hook_calls_of_others_cost_nothing(path):
    async def fill(store):
        ended = {"status": RunStatus.COMPLETED, "finished_at": T0, "hooks": 1}
        await store.write([new_run(f"x{n}", workflow_id="x", **ended) for n in range(2000)])
        await store.write([new_run(f"r{n}", **ended) for n in range(2000)])
        (later,) = await store.hook_calls(run_id="r7")
        await store.put_hook_call(replace(later, due_at=T0 + 60, revision=1))
        of = [(Hook.ENGINE, "shop"), (Hook.WORKFLOW, "shop")]
        assert len(await store.hook_calls(due_by=T0, of=of, limit=5000)) == 1999

    with_store(path, fill, synchronous="normal")
    values = {"hook": 1, "workflow_id": "shop", "due_by": T0, "limit": 10}
    assert cost(path, "list_hook_calls_of", values) < 10
    assert cost(path, "list_hook_calls_of", values | {"due_by": T0 - 1}) < 2
    assert cost(path, "list_hook_calls_of_run", values | {"run_id": "r7"}) < 3


def test_runs_that_wait_cost_nothing(path):
    """10,000 that sleep, 10,000 that only a signal wakes, each with mail that was seen already."""

    async def fill(store):
        asleep = {"status": RunStatus.SUSPENDED, "seen": 10**6}
        for first in range(0, 10_000, 2_000):
            numbers = range(first, first + 2_000)
            await store.write(
                [new_run(f"s{n}", due_at=T0 + 1000 + n, **asleep) for n in numbers]
                + [new_run(f"m{n}", **asleep) for n in numbers]
                + [new_run(f"x{n}", workflow_id="unknown here") for n in numbers]
            )
        await store.write([new_run("due", due_at=T0), new_run("ready")])

    with_store(path, fill, synchronous="normal")
    sql(path, "INSERT INTO inbox (run, kind, body, at) SELECT key, 'signal', 'x', 0 FROM runs")
    sql(path, "UPDATE runs SET mailed = (SELECT MAX(id) FROM inbox WHERE run = key) WHERE seen > 0")
    known = {"queues": '["default"]', "workflow_ids": '["shop"]'}
    assert cost(path, "find_claimable_runs", known | {"due_by": T0 + 1, "limit": 100}) < 10
    assert cost(path, "list_owners", {}) < 3
    assert cost(path, "list_workflows", {"after": "", "limit": -1}) < 4
    assert cost(path, "list_worker_messages", {"worker_id": "w", "after": 30_000}) < 3


def test_runs_that_ended_long_ago_are_found_without_passing_by_the_others(path):
    ended = {"status": RunStatus.COMPLETED}

    async def test(store):
        rows = [
            new_run(f"r{n}", created_at=T0 + n, finished_at=T0 + n + 1, **ended)
            for n in range(2000)
        ]
        await store.write(rows)
        query = RunFilter(status=RunStatus.COMPLETED, finished_before=instant(T0 + 10))
        steps = 0

        def count():
            nonlocal steps
            steps += 1
            return 0

        def counted(db):
            db.connection.set_progress_handler(count, 100)
            found = lists.list_runs(db, query)
            db.connection.set_progress_handler(None, 0)
            return found

        page = await store._home.read(counted)
        assert [row.run_id for row in page] == [f"r{n}" for n in range(8, -1, -1)]
        assert steps < 10

    with_store(path, test)
