"""The hook calls in the database, each within a transaction that the caller began."""

from __future__ import annotations

import heapq
import logging
import sqlite3
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from msgspec import convert
from msgspec.structs import asdict

from gorkflow.errors import StoreCorruptError
from gorkflow.hooks import Hook, HookCall
from gorkflow.store import RunRow, calls_of
from gorkflow.stores.sqlite._reads import UNREADABLE
from gorkflow.stores.sqlite._schema import query, rows

_logger = logging.getLogger("gorkflow.store")
_by_due = attrgetter("due_at", "run_id", "hook")


def record(db: sqlite3.Connection, key: int, row: RunRow) -> None:
    """Make the calls of a run due, if it has ended."""
    if row.status.terminal:
        db.executemany(
            query("insert_hook_call"),
            [
                (key, int(call.hook), call.workflow_id, call.ended_at, call.due_at)
                for call in calls_of(row)
            ],
        )


def calls(
    db: sqlite3.Connection,
    *,
    due_by: float | None,
    of: Iterable[tuple[Hook, str]] | None,
    run_id: str | None,
    limit: int,
) -> list[HookCall]:
    """Return the calls; a damaged one must not hide the others."""
    wanted = {"due_by": float("inf") if due_by is None else due_by, "limit": limit}
    found: list[tuple[Any, ...]] = []
    if run_id is not None:
        found = rows(db, query("list_hook_calls_of_run"), wanted | {"run_id": run_id})
    elif of is None:
        found = rows(db, query("list_hook_calls"), wanted)
    else:
        for hook, workflow_id in of:
            which = {"hook": int(hook), "workflow_id": workflow_id}
            found += rows(db, query("list_hook_calls_of"), wanted | which)
    readable: list[HookCall] = []
    for values in found:
        try:
            readable.append(_call(values))
        except StoreCorruptError:
            _logger.exception("left out a hook call")
    return heapq.nsmallest(limit, readable, key=_by_due)


def put(db: sqlite3.Connection, call: HookCall) -> bool:
    """Change a call, if its revision is the next one."""
    values = asdict(call) | {"error": _storable(call.error)}
    return db.execute(query("update_hook_call"), values).rowcount > 0


def drop(db: sqlite3.Connection, call: HookCall) -> bool:
    return db.execute(query("delete_hook_call"), asdict(call)).rowcount > 0


def _storable(text: str) -> str:
    """Return the text without lone surrogates: an exception may have them in its message."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _call(values: tuple[Any, ...]) -> HookCall:
    fields = dict(zip(HookCall.__struct_fields__, values, strict=True))
    try:
        return convert(fields, HookCall, strict=False)
    except UNREADABLE as error:
        raise StoreCorruptError(
            f"a hook call of run {values[0]!r} can't be read: {error}"
        ) from error
