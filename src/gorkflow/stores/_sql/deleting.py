"""The deletion of runs from a database, in transactions that others need not wait for long."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gorkflow.clock import Moment
from gorkflow.errors import StoreCorruptError
from gorkflow.stores._sql.database import Database, Row
from gorkflow.stores._sql.rows import run_row

_BYTES = 8 * 1024 * 1024
_ROWS = 5000
"""Freed in one transaction: some 50 ms. Each page of a large payload has to be looked at."""
_KINDS = ("line", "event")
"""The kinds of rows of which a run may have very many."""


def portions(db: Database, run_ids: Sequence[str]) -> list[list[str]]:
    """Return the runs, in lists that one transaction may delete."""
    found: list[list[str]] = []
    room = _ROWS, _BYTES
    for run_id in run_ids:
        sizes = [size for kind in _KINDS for _, _, size in _sizes(db, kind, run_id)]
        room = room[0] - len(sizes), room[1] - sum(sizes)
        if not found or min(room) < 0:
            found.append([])
            room = _ROWS - len(sizes), _BYTES - sum(sizes)
        found[-1].append(run_id)
    return found


def shorten(db: Database, run_id: str) -> bool:
    """Delete the first log lines, or events, of an ended run that is too large to go at once.

    Returns:
        Whether it still is. To be interrupted leaves a run that lacks events, and can be deleted.
    """
    for kind in _KINDS:
        found = _sizes(db, kind, run_id)
        first = [*_within(found)]
        if len(first) < len(found):
            key, upto, _ = first[-1]
            db.change(f"delete_first_{kind}s", key=key, upto=upto)
            return True
    return False


def _sizes(db: Database, kind: str, run_id: str) -> list[Row]:
    """Return run, number and size of as many rows as show that they are too many, or of all."""
    return db.rows(f"list_{kind}_sizes", run_id=run_id, limit=_ROWS + 1)


def _within(found: list[Row]) -> Iterator[Row]:
    """Yield as many rows as may go in one transaction, and at least one."""
    size = 0
    for row in found[:_ROWS]:
        yield row
        size += row[-1]
        if size >= _BYTES:
            return


def give_up(db: Database, run_id: str, now: float) -> bool:
    """Record a run in any state as cancelled, so that it can be deleted like others.

    Returns:
        Whether it was: not one that a living worker owns.
    """
    found = db.rows("get_run", run_id=run_id)
    if not found:
        return False
    key, owner = found[0][0], found[0][14]
    for worker in db.rows("list_workers"):
        if worker[0] == owner and db.alive(worker, Moment(now)):
            return False
    try:
        run_row(found[0])
    except StoreCorruptError:
        for name in ("forget_names", "delete_tags_of_run", "delete_waits_of_run"):
            db.change(name, key=key)
    db.change("give_up_run", key=key, now=now)
    return True


def delete_runs(db: Database, run_ids: Sequence[str]) -> int:
    """Delete those that have ended, with all that belongs to them; return how many."""
    return sum(_delete_run(db, run_id) for run_id in run_ids)


_PARTS = (
    "delete_events", "keep_highest_id", "delete_messages", "delete_reports", "delete_lines",
    "delete_hook_calls_of_run",
)  # fmt: skip
"""Statements that delete what belongs to a run; those that a dialect has no use for do nothing."""


def _delete_run(db: Database, run_id: str) -> bool:
    found = db.rows("delete_run", run_id=run_id)
    for key, created_at, tags, waits_for in found:
        for part in _PARTS:
            db.change(part, key=key)
        place = {"created_at": created_at, "run_id": run_id}
        db.change_each(
            "delete_tag", [place | {"name": name, "value": it} for name, it in json.loads(tags)]
        )
        db.change_each("delete_wait", [place | {"signal": name} for name in json.loads(waits_for)])
    return bool(found)


class Unused(NamedTuple):
    """The definitions without a run at one moment."""

    fingerprints: list[str]
    last_event: int
    """The id of the latest event then."""


def unused_definitions(db: Database) -> Unused:
    """Return the definitions that no run has. Reads all runs: let no caller wait for it."""
    found = [name for (name,) in db.rows("find_unused_definitions")]
    [(last_event,)] = db.rows("latest_event")
    return Unused(found, last_event or 0)


def delete_definitions(db: Database, unused: Unused) -> None:
    """Drop those of the definitions that are still unused."""
    for name in unused.fingerprints:
        db.change("delete_definition", fingerprint=name, last_event=unused.last_event)
