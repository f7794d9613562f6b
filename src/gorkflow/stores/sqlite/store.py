"""The SQLite store: one file, shared by any number of processes of one machine."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from gorkflow._text import brief
from gorkflow.clock import Timekeeper
from gorkflow.errors import StoreError, StoreUnavailableError
from gorkflow.events import Event
from gorkflow.hooks import Hook, HookCall
from gorkflow.limits import NONE, LimitGrant, LimitRequest, LimitUse
from gorkflow.listing import (
    MOST_COUNTED,
    MOST_READ,
    Page,
    RunCount,
    RunFilter,
    feed_position,
    mail_position,
    page_start,
)
from gorkflow.schedule import ScheduleRow
from gorkflow.store import (
    AttemptId,
    Examination,
    Finding,
    Heartbeat,
    Level,
    LineRow,
    Loaded,
    Message,
    ReportRow,
    RunRow,
    Transition,
    Worker,
    Written,
)
from gorkflow.stores._lane import Lane
from gorkflow.stores.sqlite import (
    _checks,
    _files,
    _hooks,
    _limits,
    _lists,
    _maintenance,
    _reads,
    _schedules,
    _writes,
)
from gorkflow.stores.sqlite._connections import Reader, Settings, Writer, prepare
from gorkflow.stores.sqlite._files import WorkerLocks

_logger = logging.getLogger("gorkflow.store")
_READERS = 2
_WAL_LIMIT = 1000 * 4096
_LONGEST = 86_400.0
P = ParamSpec("P")
T = TypeVar("T")


class SqliteStore:
    """Keeps runs in an SQLite file, made on first use and readable by its owner alone.

    One thread writes, others read, so that reading never waits for writing. Beside the file live
    SQLite's own ``-wal`` and ``-shm``, and the turn to write (``.write``). A folder has one lock
    per worker (``.workers``), by which others see at once that a process died. Its methods are
    those of ``Store``, ``Inspectable`` and ``Copyable``.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from gorkflow import Workflow, run, step, stores
        >>> @step
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> doubling = Workflow("doubling", input=int).then(double)
        >>> with TemporaryDirectory() as folder:
        ...     run(doubling, 21, store=stores.SqliteStore(Path(folder) / "runs.db"))
        42

    Args:
        path: the file. A relative one is taken from the folder of now.
        synchronous: ``full``: what was recorded survives a power loss. ``normal``: only the end of
            the process; faster.
        busy_timeout: seconds to wait while another process writes, before that is an error.

    Raises:
        StoreError: If an argument is invalid.
        TypeError: If it is not a path.
    """

    durable = True
    _most_read = MOST_READ

    def __init__(
        self, path: str | Path, *, synchronous: str = "full", busy_timeout: float = 30.0
    ) -> None:
        if synchronous not in ("full", "normal"):  # it may be unhashable
            raise StoreError(f"synchronous is 'full' or 'normal', not {brief(synchronous)}")
        is_number = isinstance(busy_timeout, int | float) and not isinstance(busy_timeout, bool)
        if not is_number or not 0 <= busy_timeout <= _LONGEST:
            raise StoreError(f"busy_timeout is 0 to {_LONGEST} seconds, not {brief(busy_timeout)}")
        if not isinstance(path, str | Path):
            raise TypeError(f"path must be that of a file, not {brief(path)}")
        self.path = str(Path(path).absolute())
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._home: _Home | None = None

    def __repr__(self) -> str:
        return f"<SqliteStore {self.path!r}>"

    async def open(self) -> None:
        """Open the file, making it if need be, and bring its schema up to date.

        Opening twice is harmless.

        Raises:
            StoreUnavailableError: If it can't be opened or written, or is on a network file system.
            StoreVersionError: If its schema is newer than this code.
            StoreCorruptError: If it is damaged, or no database.
        """
        if self._home is not None:
            return
        settings = await asyncio.to_thread(self._settings)
        settings = await asyncio.to_thread(prepare, settings)
        home = _Home(settings)
        try:
            await home.writer.run(lambda _: None)
            others = await home.read(_reads.workers, home.locks, None)
        except BaseException:
            await asyncio.to_thread(home.close)
            raise
        if self._home is not None:  # another task was quicker
            await asyncio.to_thread(home.close)
            return
        self._home = home
        _logger.info("runs are kept in %s", settings.path)
        if others and sqlite3.sqlite_version_info < _checks.SAFE_WAL:
            _logger.info(
                "%s is shared with another process; SQLite %s has a rare fault there that gorkflow "
                "works around, other programs that write to the file don't: use 3.51.3 or newer",
                settings.path,
                sqlite3.sqlite_version,
            )

    def _settings(self) -> Settings:
        return Settings(
            path=_files.resolve(self.path),
            synchronous=self._synchronous,
            busy_timeout=self._busy_timeout,
            wal_limit=_WAL_LIMIT,
        )

    async def close(self) -> None:
        """Finish what was begun, end the threads and close the file. Twice is harmless."""
        home, self._home = self._home, None
        # The threads and connections of a forked process stayed with its parent.
        if home is not None and home.pid == os.getpid():
            await asyncio.to_thread(home.close)

    def _opened(self) -> _Home:
        home = self._home
        if home is None:
            raise StoreError(f"the store {self.path!r} is not open; call open() first")
        if home.pid != os.getpid():
            raise StoreError(
                f"the store {self.path!r} was opened before this process was forked; open another "
                "one in here"
            )
        return home

    # Writing

    def write(
        self, batch: Sequence[Transition], *, block: bool = False
    ) -> asyncio.Future[list[Written]]:
        write = partial(
            Writer.write,
            work=partial(_writes.write, batch=batch),
            is_written=partial(_writes.is_written, batch),
        )
        here = partial(write, wait=False) if block else None
        return self._opened().writer.run(write, here=here)

    async def note(
        self,
        *,
        reports: Sequence[ReportRow] = (),
        lines: Sequence[LineRow] = (),
        ended: Sequence[AttemptId] = (),
    ) -> None:
        work = partial(_writes.note, reports=reports, lines=lines, ended=ended)
        await self._opened().writer.run(partial(Writer.write, work=work, synced=False))

    async def post(self, message: Message) -> bool:
        return await self._opened().write(_writes.post, message)

    async def delete_runs(self, run_ids: Sequence[str]) -> int:
        """Delete ended runs with all that belongs to them; return how many.

        Large runs go in several transactions, so that others don't wait for long.
        """
        home = self._opened()
        deleted = 0
        for portion in await home.read(_maintenance.portions, run_ids):
            while await home.write(_maintenance.shorten, portion[0]):
                pass
            deleted += await home.write(_maintenance.delete_runs, portion)
        return deleted

    # Owning

    async def register(self, worker: Worker) -> None:
        """Announce a worker, alive until ``unregister`` or the death of this process.

        Raises:
            StoreError: If a living process has registered a worker of this id.
        """
        home = self._opened()
        await home.writer.run(partial(_register, home=home, worker=worker))

    async def unregister(self, worker_id: str) -> None:
        home = self._opened()
        await home.writer.run(partial(_unregister, home=home, worker_id=worker_id))

    async def clock(self) -> float | None:
        return None

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        mail_position(after)
        return await self._opened().write(_writes.heartbeat, worker_id, times, after)

    async def claim(
        self,
        worker_id: str,
        *,
        times: Timekeeper,
        ahead: float = 0.0,
        workflow_ids: Sequence[str] | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[RunRow]:
        home = self._opened()
        return await home.write(
            _writes.claim,
            locks=home.locks,
            worker_id=worker_id,
            times=times,
            ahead=ahead,
            workflow_ids=workflow_ids,
            run_id=run_id,
            limit=limit,
        )

    async def take_limits(
        self,
        worker_id: str,
        *,
        times: Timekeeper,
        held: Mapping[str, int],
        requests: Sequence[LimitRequest] = (),
        unbegun: Mapping[str, int] = NONE,
        began: Mapping[str, float] = NONE,
    ) -> LimitGrant:
        home = self._opened()
        return await home.write(
            _limits.take_limits,
            locks=home.locks,
            worker_id=worker_id,
            times=times,
            held=held,
            requests=requests,
            unbegun=unbegun,
            began=began,
        )

    # Reading

    async def get_run(self, run_id: str) -> RunRow | None:
        return await self._opened().read(_reads.get_run, run_id)

    async def get_runs(self, run_ids: Sequence[str]) -> dict[str, RunRow]:
        return await self._opened().read(_reads.get_runs, run_ids)

    async def list_runs(self, query: RunFilter) -> Page[RunRow]:
        page_start(query)
        return await self._opened().read(_lists.list_runs, query, self._most_read)

    async def count_runs(self, query: RunFilter, *, most: int = MOST_COUNTED) -> RunCount:
        return await self._opened().read(_lists.count_runs, query, most)

    async def latest_runs(self, *, after: str = "", limit: int = 100) -> list[RunRow]:
        return await self._opened().read(_lists.latest_runs, after, max(limit, 0))

    async def load(self, run_id: str) -> Loaded | None:
        return await self._opened().read(_reads.load, run_id)

    async def load_many(self, run_ids: Sequence[str]) -> dict[str, Loaded]:
        return await self._opened().read(_reads.load_many, run_ids)

    async def get_tree(self, fingerprint: str) -> str | None:
        return await self._opened().read(_reads.get_tree, fingerprint)

    async def read_events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        return await self._opened().read(_reads.read_events, run_id, after, max(limit, 0))

    async def read_all_events(
        self, *, after: str = "", limit: int = 1000
    ) -> tuple[list[Event], str]:
        feed_position(after)
        return await self._opened().read(_reads.read_all_events, after, limit)

    async def end_of_feed(self) -> str:
        return await self._opened().read(_reads.end_of_feed)

    async def reports(self, run_id: str) -> list[ReportRow]:
        return await self._opened().read(_reads.reports, run_id)

    async def logs(
        self, run_id: str, *, path: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[LineRow]:
        return await self._opened().read(_reads.logs, run_id, path, after, max(limit, 0))

    async def inbox(self, run_id: str, *, after: int = 0) -> list[Message]:
        return await self._opened().read(_reads.inbox, run_id, after)

    async def workers(self, *, now: float | None = None) -> list[Worker]:
        home = self._opened()
        return await home.read(_reads.workers, home.locks, now)

    async def owned(self) -> dict[str, int]:
        return await self._opened().read(_reads.owned)

    async def limits(self, *, now: float) -> list[LimitUse]:
        home = self._opened()
        return await home.read(_limits.uses, home.locks, now)

    # Schedules

    async def schedules(self, *, due_by: float | None = None) -> list[ScheduleRow]:
        return await self._opened().read(_schedules.schedules, due_by)

    async def put_schedule(self, row: ScheduleRow) -> bool:
        return await self._opened().write(_schedules.put, row)

    async def drop_schedule(self, schedule_id: str) -> bool:
        return await self._opened().write(_schedules.drop, schedule_id)

    # Hook calls

    async def hook_calls(
        self,
        *,
        due_by: float | None = None,
        of: Iterable[tuple[Hook, str]] | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[HookCall]:
        return await self._opened().read(
            _hooks.calls, due_by=due_by, of=of, run_id=run_id, limit=max(limit, 0)
        )

    async def put_hook_call(self, call: HookCall) -> bool:
        return await self._opened().write(_hooks.put, call)

    async def drop_hook_call(self, call: HookCall) -> bool:
        return await self._opened().write(_hooks.drop, call)

    # Looking after it

    async def examine(self, now: float) -> Examination:
        try:
            settings = await asyncio.to_thread(self._settings)
        except StoreUnavailableError as error:
            return Examination((Finding(Level.PROBLEM, "store", str(error)),), opens=False)
        return await asyncio.to_thread(_checks.examine, settings, now)

    async def check(self, *, rows_only: bool = False) -> list[Finding]:
        return await self._opened().read(_checks.check, rows_only=rows_only)

    async def backup(self, path: str) -> int:
        return await self._opened().reader.run(partial(_maintenance.backup, path=path))

    async def discard(self, run_id: str, now: float) -> bool:
        home = self._opened()
        if not await home.write(_maintenance.give_up, home.locks, run_id, now):
            return False
        return await self.delete_runs([run_id]) > 0

    async def tidy(self) -> int:
        home = self._opened()
        unused = await home.read(_maintenance.unused_definitions)
        if unused.fingerprints:
            await home.write(_maintenance.delete_definitions, unused)
        return await home.read(_maintenance.free_bytes)


class _Home:
    """All that an open store holds."""

    def __init__(self, settings: Settings) -> None:
        self.pid = os.getpid()
        self.locks = WorkerLocks(Path(f"{settings.path}.workers"))
        self.writer = Lane("sqlite-writer", partial(Writer, settings))
        self.reader = Lane("sqlite-reader", partial(Reader, settings), count=_READERS)

    def write(
        self,
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **options: P.kwargs,
    ) -> asyncio.Future[T]:
        return self.writer.run(lambda writer: writer.write(lambda db: work(db, *args, **options)))

    def read(
        self,
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **options: P.kwargs,
    ) -> asyncio.Future[T]:
        return self.reader.run(lambda reader: reader.read(lambda db: work(db, *args, **options)))

    def close(self) -> None:
        # The writer last: who closes the last connection also moves the log into the database.
        self.reader.stop()
        self.writer.stop()
        self.locks.close()


def _register(writer: Writer, home: _Home, worker: Worker) -> None:
    try:
        writer.write(partial(_writes.register, locks=home.locks, worker=worker))
    except BaseException:
        home.locks.drop(worker.worker_id)
        raise


def _unregister(writer: Writer, home: _Home, worker_id: str) -> None:
    writer.write(partial(_writes.unregister, worker_id=worker_id))
    home.locks.drop(worker_id)
