"""The upkeep of a database: deletion, in short transactions, and backups."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from gorkflow.clock import Moment
from gorkflow.errors import StoreCorruptError, StoreError
from gorkflow.stores.sqlite import _files
from gorkflow.stores.sqlite._connections import Reader
from gorkflow.stores.sqlite._files import WorkerLocks
from gorkflow.stores.sqlite._reads import run_row, worker_alive
from gorkflow.stores.sqlite._schema import query, rows

_BYTES = 8 * 1024 * 1024
_ROWS = 5000
"""Freed in one transaction: some 50 ms. Each page of a large payload has to be looked at."""
_KINDS = ("line", "event")
"""The kinds of rows of which a run may have very many."""
_PRINT = "SELECT (SELECT COUNT(*) FROM runs), (SELECT TOTAL(id) FROM events)"
"""Two numbers that differ from one moment of the database to another."""


def portions(db: sqlite3.Connection, run_ids: Sequence[str]) -> list[list[str]]:
    """Return the runs, in lists that one transaction may delete."""
    found: list[list[str]] = []
    room = _ROWS, _BYTES
    for run_id in run_ids:
        sizes = [
            size
            for kind in _KINDS
            for _, size in db.execute(query(f"list_{kind}_sizes"), (run_id,))
        ]
        room = room[0] - len(sizes), room[1] - sum(sizes)
        if not found or min(room) < 0:
            found.append([])
            room = _ROWS - len(sizes), _BYTES - sum(sizes)
        found[-1].append(run_id)
    return found


def shorten(db: sqlite3.Connection, run_id: str) -> bool:
    """Delete the first log lines, or events, of an ended run that is too large to go at once.

    Returns:
        Whether it still is. To be interrupted leaves a run that lacks events, and can be deleted.
    """
    for kind in _KINDS:
        found = db.execute(query(f"list_{kind}_sizes"), (run_id,))
        first = list(_within(found))
        more = found.fetchone() is not None
        found.close()
        if more:
            db.executemany(query(f"delete_{kind}"), [(number,) for number in first])
            return True
    return False


def _within(found: Iterator[tuple[int, int]]) -> Iterable[int]:
    """Return the ids of as many rows as may go in one transaction, and at least one."""
    count = size = 0
    for number, length in found:
        yield number
        count, size = count + 1, size + length
        if count >= _ROWS or size >= _BYTES:
            return


def give_up(db: sqlite3.Connection, locks: WorkerLocks, run_id: str, now: float) -> bool:
    """Record a run in any state as cancelled, so that it can be deleted like others.

    Returns:
        Whether it was: not one that a living worker owns.
    """
    found = rows(db, query("get_run"), (run_id,))
    if not found:
        return False
    key, owner = found[0][0], found[0][14]
    for worker in rows(db, query("list_workers")):
        if worker[0] == owner and worker_alive(worker, locks, Moment(now)):
            return False
    try:
        run_row(found[0])
    except StoreCorruptError:
        db.execute(query("forget_names"), {"key": key})
        db.execute(query("delete_tags_of_run"), (key,))
        db.execute(query("delete_waits_of_run"), (key,))
    db.execute(query("give_up_run"), {"key": key, "now": now})
    return True


def delete_runs(db: sqlite3.Connection, run_ids: Sequence[str]) -> int:
    return sum(_delete_run(db, run_id) for run_id in run_ids)


def _delete_run(db: sqlite3.Connection, run_id: str) -> bool:
    found = db.execute(query("delete_run"), (run_id,)).fetchall()
    for key, created_at, tags, waits_for in found:
        db.execute(query("delete_events"), (key,))
        db.execute(query("keep_highest_id"), (key,))
        db.execute(query("delete_messages"), (key,))
        db.execute(query("delete_reports"), (key,))
        db.execute(query("delete_lines"), (key,))
        db.execute(query("delete_hook_calls_of_run"), (key,))
        db.executemany(
            query("delete_tag"),
            [(name, value, created_at, run_id) for name, value in json.loads(tags)],
        )
        db.executemany(
            query("delete_wait"), [(name, created_at, run_id) for name in json.loads(waits_for)]
        )
    return bool(found)


class Unused(NamedTuple):
    """The definitions without a run at one moment."""

    fingerprints: list[str]
    last_event: int
    """The id of the latest event then."""


def unused_definitions(db: sqlite3.Connection) -> Unused:
    """Return the definitions that no run has. Reads all runs: let no caller wait for it."""
    found = [name for (name,) in db.execute(query("find_unused_definitions"))]
    (last_event,) = db.execute("SELECT COALESCE(MAX(id), 0) FROM events").fetchone()
    return Unused(found, last_event)


def delete_definitions(db: sqlite3.Connection, unused: Unused) -> None:
    """Drop those of the definitions that are still unused."""
    for name in unused.fingerprints:
        values = {"fingerprint": name, "last_event": unused.last_event}
        db.execute(query("delete_definition"), values)


def free_bytes(db: sqlite3.Connection) -> int:
    """Return how much room in the file waits for new rows."""
    (pages,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
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
        expected = reader.read(lambda db: _copy(db, partial))
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
