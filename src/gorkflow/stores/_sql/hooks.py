"""The hook calls in a database, each within a transaction that the caller began."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from operator import attrgetter

from msgspec.structs import asdict

from gorkflow.hooks import Hook, HookCall
from gorkflow.store import RunRow, calls_of
from gorkflow.stores._sql.database import Database, Row
from gorkflow.stores._sql.rows import hook_call, readable, storable

_by_due = attrgetter("due_at", "run_id", "hook")


def record(db: Database, key: int, row: RunRow) -> None:
    """Make the calls of a run due, if it has ended."""
    if row.status.terminal:
        db.change_each("insert_hook_call", [asdict(call) | {"key": key} for call in calls_of(row)])


def calls(
    db: Database,
    *,
    due_by: float | None,
    of: Iterable[tuple[Hook, str]] | None,
    run_id: str | None,
    limit: int,
) -> list[HookCall]:
    """Return the calls; a damaged one must not hide the others."""
    wanted = {"due_by": float("inf") if due_by is None else due_by, "limit": limit}
    found: list[Row] = []
    if run_id is not None:
        found = db.rows("list_hook_calls_of_run", run_id=run_id, **wanted)
    elif of is None:
        found = db.rows("list_hook_calls", **wanted)
    else:
        for hook, workflow_id in of:
            which = {"hook": int(hook), "workflow_id": workflow_id}
            found += db.rows("list_hook_calls_of", **which, **wanted)
    return heapq.nsmallest(limit, readable(found, hook_call, "a hook call"), key=_by_due)


def put(db: Database, call: HookCall) -> bool:
    """Change a call, if its revision is the next one."""
    return db.change("update_hook_call", **asdict(call) | {"error": storable(call.error)}) > 0


def drop(db: Database, call: HookCall) -> bool:
    return db.change("delete_hook_call", **asdict(call)) > 0
