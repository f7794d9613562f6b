"""The SQLite store: one file, shared by any number of processes of one machine."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from functools import partial
from pathlib import Path

from gorkflow._text import brief
from gorkflow.errors import StoreError, StoreUnavailableError
from gorkflow.store import Examination, Finding, Level
from gorkflow.stores._sql import deleting, reads
from gorkflow.stores._sql.store import LaneStore
from gorkflow.stores.sqlite import _checks, _files, _maintenance
from gorkflow.stores.sqlite._connections import Connections, Settings, prepare
from gorkflow.stores.sqlite._files import WorkerLocks

_logger = logging.getLogger("gorkflow.store")
_WAL_LIMIT = 1000 * 4096
_LONGEST = 86_400.0


class SqliteStore(LaneStore[Connections]):
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
        super().__init__(self.path)
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout

    def __repr__(self) -> str:
        return f"<SqliteStore {self.path!r}>"

    async def _connected(self) -> Connections:
        settings = await asyncio.to_thread(self._settings)
        settings = await asyncio.to_thread(prepare, settings)
        home = Connections(settings)
        try:
            await home.writer.run(lambda _: None)
            others = await home.read(reads.workers, None)
        except BaseException:
            await asyncio.to_thread(home.close)
            raise
        _logger.info("runs are kept in %s", settings.path)
        if others and sqlite3.sqlite_version_info < _checks.SAFE_WAL:
            _logger.info(
                "%s is shared with another process, where SQLite %s has a rare fault. gorkflow "
                "works around it; if other programs write to the file, use 3.51.3 or newer",
                settings.path,
                sqlite3.sqlite_version,
            )
        return home

    def _settings(self) -> Settings:
        path = _files.resolve(self.path)
        return Settings(
            path=path,
            synchronous=self._synchronous,
            busy_timeout=self._busy_timeout,
            wal_limit=_WAL_LIMIT,
            locks=WorkerLocks(Path(f"{path}.workers")),
        )

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

    async def tidy(self) -> int:
        home = self._opened()
        unused = await home.read(deleting.unused_definitions)
        if unused.fingerprints:
            await home.write(deleting.delete_definitions, unused)
        return await home.read(_maintenance.free_bytes)
