"""Named points of the product at which a child can be killed, put around its seams from outside.

A point is a moment with a name: before or after a call of the store, a handler, a statement of the
writer, a statement of the schema, a phase of a checkpoint. The product knows nothing of them.
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from gorkflow.stores.sqlite import SqliteStore, _schema
from gorkflow.stores.sqlite import store as _store
from tests.faults import ledger

CALLS = [
    "write",
    "claim",
    "heartbeat",
    "post",
    "register",
    "unregister",
    "load",
    "inbox",
    "get_run",
    "delete_runs",
]
STATEMENTS = {
    "BEGIN IMMEDIATE": ("before begin", "after begin"),
    "COMMIT": ("before commit", "after commit"),
    "PRAGMA wal_checkpoint(PASSIVE)": ("before checkpoint", "after checkpoint"),
    "ROLLBACK": ("before rollback", "after rollback"),
}
SMALL_LOG = 8 * 4096
"""Bytes of write-ahead log after which children with points checkpoint: so that they do."""


def all_points() -> list[str]:
    """Return the names of all points."""
    calls = [f"{when} {call}" for call in CALLS for when in ("before", "after")]
    statements = [name for pair in STATEMENTS.values() for name in pair]
    return [*calls, "before handler", "after handler", *statements, *_schema_points().values()]


@functools.cache
def _schema_points() -> dict[str, str]:
    return {
        statement: f"schema {number}" for number, statement in enumerate(_schema.statements(), 1)
    }


class Connection(sqlite3.Connection):
    """Passes the points of its statements. Readers' transactions are not told from writers'."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        before, after = STATEMENTS.get(sql, (_schema_points().get(sql), None))
        if sql == "COMMIT" and not self._writes():
            before = after = None
        if before:
            reach(before)
        cursor = super().execute(sql, parameters)
        if after:
            reach(after)
        return cursor

    def _writes(self) -> bool:
        (only,) = super().execute("PRAGMA query_only").fetchone()
        return not only


_reached: Counter[str] = Counter()
_at: dict[tuple[str, int], Callable[[], object]] = {}


def reach(name: str) -> None:
    """Be at a point."""
    _reached[name] += 1
    action = _at.get((name, _reached[name]))
    if action is not None:
        action()


def reached() -> dict[str, int]:
    """Return how often each point was passed."""
    return dict(sorted(_reached.items()))


def install(kill_at: tuple[str, int] | None = None) -> None:
    """Put the points around the product, in this process.

    Args:
        kill_at: the point, and the how-manieth time there, at which this process is killed.
    """
    if kill_at is not None:
        name, number = kill_at
        _at[name, number] = lambda: die(name)
    ledger.reach = reach
    _store._WAL_LIMIT = SMALL_LOG
    connect: Any = sqlite3.connect
    sqlite3.connect = functools.partial(connect, factory=Connection)
    for call in CALLS:
        setattr(SqliteStore, call, _around(call, getattr(SqliteStore, call)))


def die(name: str) -> None:
    """End as a killed process ends."""
    ledger.write("dying", note=name)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # where the signal needs a moment, nothing more may happen


def _around(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    async def pointed(*args: Any, **kwargs: Any) -> Any:
        reach(f"before {name}")
        result = await call(*args, **kwargs)
        reach(f"after {name}")
        return result

    return pointed
