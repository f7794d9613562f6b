"""The backups of a database, and its free room."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from gorkflow.errors import StoreError
from gorkflow.stores.sqlite import _files
from gorkflow.stores.sqlite._connections import Reader
from gorkflow.stores.sqlite._database import SqliteDatabase

_PRINT = "SELECT (SELECT COUNT(*) FROM runs), (SELECT TOTAL(id) FROM events)"
"""Two numbers that differ from one moment of the database to another."""


def free_bytes(db: SqliteDatabase) -> int:
    """Return how much room in the file waits for new rows."""
    [(pages,)] = db.select("PRAGMA freelist_count", {})
    [(size,)] = db.select("PRAGMA page_size", {})
    return int(pages) * int(size)


def backup(reader: Reader, path: str) -> int:
    """Copy the database into a new file; return its size in bytes.

    Raises:
        StoreError: If there is such a file already, it can't be written, or isn't sound.
    """
    target = Path(path).absolute()
    if os.path.lexists(target):
        raise StoreError(f"{path!r} exists already; a backup never overwrites: name another file")
    if not target.parent.is_dir():
        raise StoreError(f"{str(target.parent)!r} is not a folder; create it")
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        _files.create(partial)
        expected = reader.read(lambda db: _copy(db.connection, partial))
        _verify(partial, expected)
        _put_in_place(partial, target)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"could not write the backup {path!r}: {error}") from error
    finally:
        for left in (partial, Path(f"{partial}-journal")):
            left.unlink(missing_ok=True)
    return target.stat().st_size


def _copy(db: sqlite3.Connection, partial: Path) -> tuple[int, float]:
    """Copy in one step, within the snapshot: several would start anew with each write of others."""
    expected = db.execute(_PRINT).fetchone()
    with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
        db.backup(copy)
    return expected  # type: ignore[no-any-return]


def _verify(partial: Path, expected: tuple[int, float]) -> None:
    """Check that the copy is sound."""
    # Nobody else knows the file yet, so it needs no locks, and leaves no files beside it.
    with closing(sqlite3.connect(f"{partial.as_uri()}?immutable=1", uri=True)) as copy:
        try:
            found = [text for (text,) in copy.execute("PRAGMA integrity_check(3)")]
            problems = [text for text in found if text != "ok"]
            if not problems and copy.execute(_PRINT).fetchone() != expected:
                problems = ["it does not hold what was copied"]
        except sqlite3.DatabaseError as error:
            problems = [str(error)]
    if problems:
        raise StoreError(
            f"the backup is not sound: {'; '.join(problems)}; nothing was left behind. Run "
            "`gorkflow db check` on the store"
        )


def _put_in_place(partial: Path, target: Path) -> None:
    fd = os.open(partial, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    _claim(target)
    try:
        partial.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    _files.sync_names(target.parent)


def _claim(target: Path) -> None:
    """Make the name ours, so that moving onto it replaces nothing of anybody else."""
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise StoreError(f"{str(target)!r} exists already; name another file") from None
