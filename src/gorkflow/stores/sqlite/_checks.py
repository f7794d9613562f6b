"""The checks of a database: its state as seen from outside, and damage in its pages and rows."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gorkflow._text import listed
from gorkflow.clock import Moment
from gorkflow.errors import StoreCorruptError, StoreError
from gorkflow.store import Examination, Finding, Level
from gorkflow.stores.sqlite import _files
from gorkflow.stores.sqlite._connections import Settings, translated
from gorkflow.stores.sqlite._files import WorkerLocks
from gorkflow.stores.sqlite._limits import check as check_limits
from gorkflow.stores.sqlite._maintenance import free_bytes
from gorkflow.stores.sqlite._reads import run_row, worker_alive
from gorkflow.stores.sqlite._schedules import check as check_schedules
from gorkflow.stores.sqlite._schema import SCHEMA, query, rows, version_of

SAFE_WAL = (3, 51, 3)
"""The first SQLite without the fault that two checkpoints at once can damage the file."""
_LATE = 10.0
"""Seconds after which a worker should have looked at a message: workers look every second."""
_FEW = 5
_LARGE_WAL = 16
"""Times the limit at which the write-ahead log is checkpointed."""
_SHOWN = 20
"""Problems of one kind that are named one by one."""
_RESTORE = "restore a backup, or save what is left with `sqlite3 FILE .recover`"

_CROSS_CHECKS = {
    "find_orphaned_events": "events are kept of runs that are gone",
    "find_orphaned_messages": "messages are kept for runs that are gone",
    "find_orphaned_reports": "progress reports are kept of runs that are gone",
    "find_orphaned_lines": "log lines are kept of runs that are gone",
    "find_orphaned_hook_calls": "hook calls are kept of runs that are gone, or have not ended",
    "find_odd_hook_calls": "hook calls contradict their run",
    "find_orphaned_tags": "tags are kept of runs that are gone, or that lack them",
    "find_missing_tags": "tags of a run are missing where runs are found by them",
    "find_orphaned_waits": "waits are kept of runs that are gone, or that lack them",
    "find_missing_waits": "waits of a run are missing where runs are found by them",
    "find_missed_mail": "messages would not wake their run",
    "find_odd_messages": "messages contradict their run",
    "find_odd_workers": "workers contradict themselves",
}
"""Named queries that return one text per thing that is wrong."""


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
            workers = list(_workers(db, path, now))
            alive = sum(each.level is Level.OK for each in workers)
            found += [_library(alive), *_modes(db, settings), *_sizes(db, settings), *workers]
            found += [*_unread(db), *_unheard(db, now), *_unreadable(db)]
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
        f"{name} has a rare fault that can damage a file that several processes write to; gorkflow "
        "works around it, other programs don't",
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


def _sizes(db: sqlite3.Connection, settings: Settings) -> Iterator[Finding]:
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


def _workers(db: sqlite3.Connection, path: Path, now: float) -> Iterator[Finding]:
    locks = WorkerLocks(Path(f"{path}.workers"))
    for row in rows(db, query("list_workers")):
        worker_id, _, seen_at, _, host, pid, _ = row
        alive = worker_alive(row, locks, Moment(now))
        text = (
            f"{worker_id!r} (process {pid} on {host or 'an unnamed host'}) is "
            f"{'alive' if alive else 'dead'}; last heartbeat {max(0.0, now - seen_at):,.0f} s ago"
        )
        if alive:
            yield Finding(Level.OK, "worker", text)
        else:
            yield Finding(
                Level.INFO, "worker", text,
                "nothing to do: its runs go to the next worker that claims, and its entry goes "
                "when one starts",
            )  # fmt: skip


def _unread(db: sqlite3.Connection) -> Iterator[Finding]:
    messages, runs = db.execute(query("count_unread_messages")).fetchone()
    if messages:
        yield Finding(
            Level.INFO, "inbox",
            f"never used: {_counted(messages, 'message')} of {_counted(runs, 'ended run')}",
            "they go with their runs: `gorkflow db prune`",
        )  # fmt: skip


def _unreadable(db: sqlite3.Connection) -> Iterator[Finding]:
    found = list(unreadable(db))
    yield from found[:_FEW]
    if len(found) > _FEW:
        yield Finding(
            Level.PROBLEM, "damage", f"{len(found) - _FEW:,} more runs can't be read",
            "`gorkflow db check` names them",
        )  # fmt: skip


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _unheard(db: sqlite3.Connection, now: float) -> Iterator[Finding]:
    values = {"before": now - _LATE, "limit": _FEW}
    runs = [run_id for (run_id,) in rows(db, query("find_unheard_runs"), values)]
    if runs:
        yield Finding(
            Level.PROBLEM, "messages",
            f"runs got messages that no worker looks at: {', '.join(runs)}",
            "no living worker knows their workflow, or all are full; start one: "
            "`gorkflow worker TARGET`",
        )  # fmt: skip


def check(db: sqlite3.Connection, *, rows_only: bool = False) -> list[Finding]:
    """Return what is damaged, except in single runs' events, which ``load`` checks.

    Args:
        db: the database.
        rows_only: leave out the pages of the file, which all have to be read for that.
    """
    found: list[Finding] = []
    if not rows_only:
        pages = [text for (text,) in db.execute(f"PRAGMA integrity_check({_SHOWN})")]
        found = [Finding(Level.PROBLEM, "file", text, _RESTORE) for text in pages if text != "ok"]
    if found:
        return found  # whatever else there is to see follows from it
    for name, meaning in _CROSS_CHECKS.items():
        try:
            named = [str(text) for (text,) in rows(db, query(name))]
        except sqlite3.OperationalError as error:  # of a function that can't take what is there
            named = [str(error)]
        if named:
            text = f"{meaning}: {listed(named, _SHOWN)}"
            found.append(Finding(Level.PROBLEM, "rows", text, _RESTORE))
    found += unreadable(db)
    advice = "nothing to do: it begins anew with the next step that takes it"
    found += [Finding(Level.PROBLEM, "limit", text, advice) for text in check_limits(db)]
    found += [Finding(Level.PROBLEM, "schedule", str(error)) for error in check_schedules(db)]
    return found


def unreadable(db: sqlite3.Connection) -> Iterator[Finding]:
    """Yield the runs whose summary can't be read: no listing shows them, no worker takes them."""
    for values in rows(db, query("list_all_runs")):
        try:
            run_row(values)
        except StoreCorruptError as error:
            run_id = values[1]
            advice = f"restore a backup, or delete it: gorkflow runs delete {run_id} --force"
            yield Finding(Level.PROBLEM, f"run {run_id}", str(error), advice)
