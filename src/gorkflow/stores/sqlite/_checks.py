"""The checks of a database: its state as seen from outside, and damage in its pages and rows."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gorkflow.errors import StoreError
from gorkflow.store import Examination, Finding, Level
from gorkflow.stores._sql import checks
from gorkflow.stores.sqlite import _files
from gorkflow.stores.sqlite._connections import Settings, translated
from gorkflow.stores.sqlite._database import SqliteDatabase
from gorkflow.stores.sqlite._maintenance import free_bytes
from gorkflow.stores.sqlite._schema import SCHEMA, version_of

SAFE_WAL = (3, 51, 3)
"""The first SQLite without the fault that two checkpoints at once can damage the file."""
_LARGE_WAL = 16
"""Times the limit at which the write-ahead log is checkpointed."""
_RESTORE = "restore a backup, or save what is left with `sqlite3 FILE .recover`"


def examine(settings: Settings, now: float) -> Examination:
    """Return the state of the file, of what is beside it, and of the workers in it."""
    path = settings.path
    found = list(_files_around(path))
    try:
        with translated(str(path)), closing(settings.connect()) as db:
            db.execute("PRAGMA query_only = ON")
            if not version_of(db, str(path)):
                found.append(Finding(Level.WARNING, "schema", "the file is empty"))
                return Examination(tuple(found), opens=False)
            found.append(Finding(Level.OK, "schema", f"version {SCHEMA}"))
            database = SqliteDatabase(db, settings.locks)
            about_rows = checks.examine(database, now)
            alive = sum(each.level is Level.OK for each in about_rows)
            found += [_library(alive), *_modes(db, settings), *_sizes(database, settings)]
            found += about_rows
    except StoreError as error:
        found.append(Finding(Level.PROBLEM, "store", str(error)))
        return Examination(tuple(found), opens=False)
    found.insert(0, Finding(Level.OK, "store", f"{str(path)!r} can be read"))
    return Examination(tuple(found), opens=True)


def _files_around(path: Path) -> Iterator[Finding]:
    kind = _files.network_disk(path)
    if kind:
        yield Finding(
            Level.PROBLEM, "disk", f"it is on a network file system ({kind})",
            "move the file to a local disk: locks don't protect it there",
        )  # fmt: skip
    for each in (path, path.parent):
        if not os.access(each, os.W_OK):
            yield Finding(
                Level.PROBLEM, "permissions", f"this user can't write to {str(each)!r}",
                "run as the user who owns it, or give this one the right to write",
            )  # fmt: skip
    for each in (path, *(Path(f"{path}{end}") for end in ("-wal", "-shm", ".write", ".workers"))):
        try:
            mode = stat.S_IMODE(each.stat().st_mode)
        except OSError:
            continue
        if mode & 0o077:
            right = "700" if each.is_dir() else "600"
            yield Finding(
                Level.WARNING, "permissions",
                f"others may look into {each.name!r} (mode {mode:o}); it holds inputs and outputs",
                f"chmod {right} {str(each)!r}",
            )  # fmt: skip


def _library(alive: int) -> Finding:
    name = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info >= SAFE_WAL:
        return Finding(Level.OK, "sqlite", name)
    return Finding(
        Level.WARNING if alive > 1 else Level.INFO, "sqlite",
        f"{name} has a rare fault that can damage a file of several writers. "
        "gorkflow works around it; other programs don't",
        "use a Python with SQLite 3.51.3 or newer, or let no other program write to the file",
    )  # fmt: skip


def _modes(db: sqlite3.Connection, settings: Settings) -> Iterator[Finding]:
    (journal,) = db.execute("PRAGMA journal_mode").fetchone()
    if journal != "wal":
        yield Finding(
            Level.WARNING, "journal", f"its mode is {journal!r}, so readers and writers wait",
            "any command that opens the store sets it to 'wal'; see that no other program changes "
            "it back",
        )  # fmt: skip
    if settings.synchronous == "full":
        yield Finding(Level.OK, "durability", f"journal {journal}, synchronous full")
    else:
        yield Finding(
            Level.INFO, "durability",
            f"journal {journal}, synchronous {settings.synchronous}: a power loss may take the "
            "latest transitions",
            "leave out ?synchronous= to have each on the disk first",
        )  # fmt: skip


def _sizes(db: SqliteDatabase, settings: Settings) -> Iterator[Finding]:
    size = settings.path.stat().st_size
    yield Finding(
        Level.OK, "size", f"{size / 1e6:,.1f} MB, of which {free_bytes(db) / 1e6:,.1f} MB are free"
    )
    try:
        wal = Path(f"{settings.path}-wal").stat().st_size
    except FileNotFoundError:
        return
    if wal <= settings.wal_limit * _LARGE_WAL:
        yield Finding(Level.OK, "log", f"{wal / 1e6:,.1f} MB")
    else:
        yield Finding(
            Level.WARNING, "log",
            f"the write-ahead log has grown to {wal / 1e6:,.1f} MB: some program has been reading "
            "for long, or no program writes any more",
            "end the program that keeps a transaction open; the log shrinks with the next writes",
        )  # fmt: skip


def check(db: SqliteDatabase, *, rows_only: bool = False) -> list[Finding]:
    """Return what is damaged.

    Args:
        db: the database.
        rows_only: leave out the pages of the file, which all have to be read for that.
    """
    if not rows_only:
        pages = db.select(f"PRAGMA integrity_check({checks.SHOWN})", {})
        damage = [text for (text,) in pages if text != "ok"]
        if damage:  # whatever else there is to see follows from it
            return [Finding(Level.PROBLEM, "file", text, _RESTORE) for text in damage]
    return [*checks.check(db, sqlite3.OperationalError, _RESTORE)]
