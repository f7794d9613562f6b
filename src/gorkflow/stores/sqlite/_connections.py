"""Connections to the database: one that writes, those that read, and the checkpoints between.

SQLite up to 3.51.2 can damage a database when a checkpoint and a commit, or two checkpoints, meet
(https://sqlite.org/wal.html#walreset). That can't happen here: no connection checkpoints by itself.
Ours are done while a sibling holds the write transaction, which keeps others from commits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from gorkflow.clock import Timekeeper
from gorkflow.errors import StoreCorruptError, StoreError, StoreUnavailableError
from gorkflow.store import Heartbeat, Message, RunRow, Transition, Worker, Written
from gorkflow.stores._lane import Lane, WouldWait
from gorkflow.stores.sqlite import _files, _writes
from gorkflow.stores.sqlite._database import SqliteDatabase
from gorkflow.stores.sqlite._files import WorkerLocks, WriteLock
from gorkflow.stores.sqlite._schema import SCHEMA, create, version_of

_logger = logging.getLogger("gorkflow.store")
P = ParamSpec("P")
T = TypeVar("T")
_READERS = 2
_UNSTORABLE = (UnicodeError, OverflowError)
"""Raised by ``sqlite3`` for a lone surrogate, and for an integer of more than 64 bits."""
_OLDEST = (3, 37)
"""The first SQLite with STRICT tables."""
_YOUNG = 20
"""Commits after which the write-ahead log is given its size."""
_CACHE = -2000
"""KiB, as SQLite has it by default."""


_Meaning = tuple[type[StoreError], str]
_UNAVAILABLE: _Meaning = (
    StoreUnavailableError,
    "can't be opened or written; check that its folder exists, and who may write to both",
)
_MEANINGS: dict[str, _Meaning] = {
    "READONLY": _UNAVAILABLE,
    "CANTOPEN": _UNAVAILABLE,
    "PERM": _UNAVAILABLE,
    "AUTH": _UNAVAILABLE,
    "NOTADB": (StoreCorruptError, "is not an SQLite database; name another file, or move it away"),
    "CORRUPT": (
        StoreCorruptError,
        "is damaged; restore a backup, or save what is left with `sqlite3 FILE .recover`",
    ),
    "FULL": (StoreError, "can't grow: the disk is full; make room, it then works again"),
    "IOERR": (StoreError, "could not be read or written: I/O error, or the disk is full"),
    "BUSY": (StoreUnavailableError, "is held by another program; end what keeps it open"),
    "LOCKED": (StoreUnavailableError, "is held by another program; end what keeps it open"),
    "TOOBIG": (StoreError, "can't keep a value this large (SQLite's limit is 1 GB)"),
    "NOMEM": (StoreError, "could not be read or written: out of memory"),
}


@contextmanager
def translated(path: str) -> Generator[None, None, None]:
    """Turn SQLite's errors, and those of values it can't hold, into ours.

    Raises:
        StoreError: If or the subclass that says what is the matter.
    """
    try:
        yield
    except sqlite3.Error as error:
        # SQLITE_IOERR_WRITE and the like: the part after SQLITE_ names the family.
        name = getattr(error, "sqlite_errorname", "")
        family = name.removeprefix("SQLITE_").partition("_")[0]
        cls, text = _MEANINGS.get(family, (StoreError, "rejected the statement"))
        raise cls(f"the store {path!r} {text} ({name or 'SQLite'}: {error})") from error
    except OSError as error:
        raise StoreUnavailableError(
            f"the store {path!r} can't be opened or written: {error}"
        ) from error
    except _UNSTORABLE as error:
        raise StoreError(f"the store {path!r} can't keep a value it was given: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The common settings of the connections of one store."""

    path: Path
    synchronous: str
    busy_timeout: float
    """Seconds."""
    wal_limit: int
    """Bytes above which the write-ahead log is checkpointed."""
    locks: WorkerLocks
    inode: tuple[int, int] | None = None
    """Device and inode of the file that was opened."""

    def check_in_place(self) -> None:
        """Check that the file is still the one that was opened.

        Raises:
            StoreUnavailableError: If it is not.
        """
        if _inode(self.path) != self.inode:
            raise StoreUnavailableError(
                f"the store {str(self.path)!r} was deleted or replaced while it was open; move "
                "it back, and its engines continue; or restore a copy, and open the store again"
            )

    def connect(self) -> sqlite3.Connection:
        """Return a new connection; one thread at a time may use it.

        Raises:
            StoreUnavailableError: If the file is gone; SQLite would silently start an empty one.
        """
        if self.inode is not None:
            self.check_in_place()
        elif not self.path.exists():
            raise StoreUnavailableError(f"the store {str(self.path)!r} is gone; restore it")
        db = sqlite3.connect(
            self.path, timeout=self.busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA wal_autocheckpoint = 0")
            db.execute("PRAGMA mmap_size = 0")
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute(f"PRAGMA synchronous = {self.synchronous}")
            # Cuts the log back when it starts over, so that its size tells what is in it.
            db.execute(f"PRAGMA journal_size_limit = {self.wal_limit}")
        except BaseException:
            db.close()
            raise
        return db


def prepare(settings: Settings) -> Settings:
    """Make the file if there is none, and return the settings for it.

    The lock keeps others from opening it meanwhile.

    Raises:
        StoreUnavailableError: If it can't be made, or belongs to another program.
    """
    write = Path(f"{settings.path}.write")
    with translated(str(settings.path)):
        if settings.path.exists() and not write.exists():
            with closing(settings.connect()) as db:
                version_of(db, str(settings.path))
        lock = WriteLock(write)
        try:
            with lock.held(settings.busy_timeout):
                _files.create(settings.path)
            return replace(settings, inode=_inode(settings.path))
        finally:
            lock.close()


class Reader:
    """A connection that reads, each time from one snapshot."""

    broken = untidy = False

    def __init__(self, settings: Settings) -> None:
        self._path = str(settings.path)
        with translated(self._path):
            self._settings = settings
            self._db = settings.connect()
            self._db.execute("PRAGMA query_only = ON")
        self._database = SqliteDatabase(self._db, settings.locks)

    def read(self, work: Callable[[SqliteDatabase], T]) -> T:
        """Do the work within one snapshot of the database.

        Raises:
            StoreError: If its file can't be read, is another one now, or has another schema.
        """
        with translated(self._path):
            self._settings.check_in_place()
            try:
                self._db.execute("BEGIN")
                _check_version(self._db, self._path)
                result = work(self._database)
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self.broken = True
                raise
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        return result

    def tidy(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


class Writer:
    """The one connection of this store that writes.

    Raises:
        StoreError: If it can't be opened, or its schema can't be used.
    """

    broken = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._path = str(settings.path)
        self._wal = Path(f"{settings.path}-wal")
        self._commits = 0
        self._grown = False
        self._checkpoint_above = settings.wal_limit
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreUnavailableError(
                f"this Python has SQLite {sqlite3.sqlite_version}; gorkflow needs "
                f"{'.'.join(map(str, _OLDEST))} or newer"
            )
        with translated(self._path):
            self._lock = WriteLock(Path(f"{settings.path}.write"))
            try:
                with self._lock.held(settings.busy_timeout):
                    self._open()
            except BaseException:
                self._lock.close()
                raise

    def _open(self) -> None:
        self._db = self._settings.connect()
        self._database = SqliteDatabase(self._db, self._settings.locks)
        try:
            (mode,) = self._db.execute("PRAGMA journal_mode").fetchone()
            if mode != "wal":
                # To change the mode, SQLite waits for no other program: so wait before.
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("ROLLBACK")
                (mode,) = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreUnavailableError(
                    f"the store {self._path!r} is on a disk that can't share memory between "
                    f"processes (journal mode {mode!r}); put it on a local disk"
                )
            create(self._db, self._path)
            self._sibling = self._settings.connect()
            self._db.execute("PRAGMA busy_timeout = 0")  # from here on, ``_begin`` waits
        except BaseException:
            self._db.close()
            raise

    def _begin(self, *, wait: bool = True) -> None:
        """Begin a transaction, as soon as no other program writes.

        Raises:
            WouldWait: If one does, and it is not to ``wait``.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                raise
            if not wait:
                raise WouldWait from error
            milliseconds = int(self._settings.busy_timeout * 1000)
            self._db.execute(f"PRAGMA busy_timeout = {milliseconds}")
            try:
                self._db.execute("BEGIN IMMEDIATE")
            finally:
                self._db.execute("PRAGMA busy_timeout = 0")

    def write(
        self,
        work: Callable[[SqliteDatabase], T],
        is_written: Callable[[T, SqliteDatabase], bool] | None = None,
        *,
        wait: bool = True,
        synced: bool = True,
    ) -> T:
        """Do the work in one transaction, durable on return.

        Args:
            work: what to do.
            is_written: judges by its result, on another connection, whether it was committed.
                Without it, commits are counted, which costs each transaction a little.
            wait: whether to wait for other programs that write.
            synced: whether a power loss must not take it, if the store promises that at all.

        Raises:
            StoreError: If nothing of it was recorded.
            WouldWait: If it would wait.
        """
        timeout = self._settings.busy_timeout if wait else None
        with translated(self._path), self._lock.held(timeout), self._syncing(synced=synced):
            self._settings.check_in_place()
            try:
                self._begin(wait=wait)
                _check_version(self._db, self._path)
                before = None if is_written else self._data_version()
                result = work(self._database)
            except BaseException:
                self._roll_back()
                raise
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                # Not known yet: it may have been written before the error came up. A sibling can
                # see whether it was; this connection isn't trusted any more.
                self.broken = True
                self._roll_back()
                self._db.close()
                if not (
                    is_written(result, SqliteDatabase(self._sibling, self._settings.locks))
                    if is_written
                    else self._data_version() != before
                ):
                    raise
                _logger.warning("a commit to %s failed after it was written", self._path)
        self._commits += 1
        return result

    @contextmanager
    def _syncing(self, *, synced: bool) -> Generator[None]:
        """Leave it to the next commit to bring this one to the disk, if it need not be there."""
        if synced or self._settings.synchronous == "normal":
            yield
            return
        self._db.execute("PRAGMA synchronous = normal")
        try:
            yield
        finally:
            if not self.broken:
                self._db.execute(f"PRAGMA synchronous = {self._settings.synchronous}")

    def _data_version(self) -> int:
        """Return a number that changes with each commit of another connection."""
        (version,) = self._sibling.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            self.broken = True

    @property
    def untidy(self) -> bool:
        """Whether it is time to grow or to checkpoint the write-ahead log."""
        is_small = self._commits >= _YOUNG and not self._grown
        return is_small or self._wal_size() > self._checkpoint_above

    def tidy(self) -> None:
        """Grow the write-ahead log once, and checkpoint it whenever it is past the limit."""
        if self._commits >= _YOUNG and not self._grown:
            self._grown = True
            self._grow()
        size = self._wal_size()
        if size <= self._checkpoint_above:
            return
        with translated(self._path), self._lock.held(self._settings.busy_timeout):
            self._begin()
            try:
                checkpoint = self._sibling.execute("PRAGMA wal_checkpoint(PASSIVE)")
                _, pages, moved = checkpoint.fetchone()
            finally:
                self._roll_back()
        limit = self._settings.wal_limit
        # What a long reader still looks at can't be moved; don't try again for every commit.
        self._checkpoint_above = limit if pages == moved else size + limit // 4

    def _grow(self) -> None:
        """Give the log its size: a synced write that makes a file longer costs twice.

        A transaction that is too large for the cache goes into the log before its end. Rolled back,
        it leaves only the room. A store that is closed after a few commits does not pay for it.
        """
        room = (self._settings.wal_limit - self._wal_size()) * 9 // 10
        if room <= 0:
            return
        with self._lock.held(self._settings.busy_timeout):
            try:
                self._db.execute("PRAGMA cache_size = -256")
                self._begin()
                self._db.execute("CREATE TABLE room (size BLOB)")
                self._db.execute("INSERT INTO room (size) VALUES (zeroblob(?))", (room,))
            except sqlite3.Error as error:  # say, the disk is full; the next commit tells
                _logger.debug("the log of %s keeps its size: %s", self._path, error)
            finally:
                self._roll_back()
                self._db.execute(f"PRAGMA cache_size = {_CACHE}")

    def _wal_size(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    def close(self) -> None:
        """Close the connections and release the lock."""
        self._sibling.close()
        self._db.close()
        self._lock.close()


def _check_version(db: sqlite3.Connection, path: str) -> None:
    """Check that the schema is still the one of this code: a newer one may have changed it.

    Raises:
        StoreVersionError: If it is not.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA:
        version_of(db, path)


class Connections:
    """The connections of an open store: a lane that writes, and one that reads."""

    def __init__(self, settings: Settings) -> None:
        self.pid = os.getpid()
        self.locks = settings.locks
        self.writer = Lane("sqlite-writer", partial(Writer, settings))
        self.reader = Lane("sqlite-reader", partial(Reader, settings), count=_READERS)

    def append(self, batch: Sequence[Transition], *, block: bool) -> asyncio.Future[list[Written]]:
        write = partial(
            Writer.write,
            work=partial(_writes.write, batch=batch),
            is_written=partial(_writes.is_written, batch),
        )
        here = partial(write, wait=False) if block else None
        return self.writer.run(write, here=here)

    def post(self, message: Message) -> asyncio.Future[bool]:
        return self.write(_writes.post, message)

    def register(self, worker: Worker) -> asyncio.Future[None]:
        return self.writer.run(partial(self._register, worker))

    def unregister(self, worker_id: str) -> asyncio.Future[None]:
        return self.writer.run(partial(self._unregister, worker_id))

    def heartbeat(self, worker_id: str, times: Timekeeper, after: str) -> asyncio.Future[Heartbeat]:
        return self.write(_writes.heartbeat, worker_id, times, after)

    def claim(self, worker_id: str, **wanted: Any) -> asyncio.Future[list[RunRow]]:
        return self.write(_writes.claim, worker_id, **wanted)

    def write(
        self,
        work: Callable[Concatenate[SqliteDatabase, P], T],
        /,
        *args: P.args,
        **options: P.kwargs,
    ) -> asyncio.Future[T]:
        return self.writer.run(lambda writer: writer.write(lambda db: work(db, *args, **options)))

    def note(
        self,
        work: Callable[Concatenate[SqliteDatabase, P], T],
        /,
        *args: P.args,
        **options: P.kwargs,
    ) -> asyncio.Future[T]:
        return self.writer.run(
            lambda writer: writer.write(lambda db: work(db, *args, **options), synced=False)
        )

    def read(
        self,
        work: Callable[Concatenate[SqliteDatabase, P], T],
        /,
        *args: P.args,
        **options: P.kwargs,
    ) -> asyncio.Future[T]:
        return self.reader.run(lambda reader: reader.read(lambda db: work(db, *args, **options)))

    def close(self) -> None:
        # The writer last: who closes the last connection also moves the log into the database.
        self.reader.stop()
        self.writer.stop()
        self.locks.close()

    def _register(self, worker: Worker, writer: Writer) -> None:
        try:
            writer.write(partial(_writes.register, worker=worker))
        except BaseException:
            self.locks.drop(worker.worker_id)
            raise

    def _unregister(self, worker_id: str, writer: Writer) -> None:
        writer.write(partial(_writes.unregister, worker_id=worker_id))
        self.locks.drop(worker_id)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
