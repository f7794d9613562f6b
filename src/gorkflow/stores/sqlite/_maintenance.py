"""Looking for damage, and making room."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from gorkflow.errors import StoreCorruptError
from gorkflow.store import Finding, Level
from gorkflow.stores.sqlite import _limits, _schedules
from gorkflow.stores.sqlite._reads import run_row
from gorkflow.stores.sqlite._schema import query

_SHOWN = 20
"""Problems of one kind that are named one by one."""

_CROSS_CHECKS = {
    "find_orphaned_events": "events are kept of runs that are gone",
    "find_orphaned_messages": "messages are kept for runs that are gone",
    "find_orphaned_tags": "tags are kept of runs that are gone, or that lack them",
    "find_missing_tags": "tags of a run are missing where runs are found by them",
    "find_missed_mail": "messages would not wake their run",
    "find_odd_messages": "messages make no sense",
    "find_odd_workers": "workers make no sense",
}
"""Named queries that return one text per thing that is wrong."""


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
            named = [str(text) for (text,) in db.execute(query(name))]
        except sqlite3.OperationalError as error:  # of a function that can't take what is there
            named = [str(error)]
        if named:
            more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
            text = f"{meaning}: {', '.join(named[:_SHOWN])}{more}"
            found.append(Finding(Level.PROBLEM, "rows", text, _RESTORE))
    found += unreadable(db)
    advice = "nothing to do: it begins anew with the next step that takes it"
    found += [Finding(Level.PROBLEM, "limit", text, advice) for text in _limits.check(db)]
    found += [Finding(Level.PROBLEM, "schedule", str(error)) for error in _schedules.check(db)]
    return found


def unreadable(db: sqlite3.Connection) -> Iterator[Finding]:
    """Yield the runs whose summary can't be read: no listing shows them, and nobody takes them."""
    for values in db.execute(query("list_all_runs")):
        try:
            run_row(values)
        except StoreCorruptError as error:
            run_id = values[1]
            advice = f"restore a backup, or delete it: gorkflow runs delete {run_id} --force"
            yield Finding(Level.PROBLEM, f"run {run_id}", str(error), advice)


_RESTORE = "restore a backup, or save what is left with `sqlite3 FILE .recover`"


class Unused(NamedTuple):
    """What no run had any more at one moment."""

    fingerprints: list[str]
    last_event: int
    """The id of the latest event then."""


def unused_definitions(db: sqlite3.Connection) -> Unused:
    """Return the definitions that no run has. Goes over all runs, so nobody shall wait for it."""
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
