"""What is written, each within a transaction that the caller began."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gorkflow.events import Event
from gorkflow.journal import to_row
from gorkflow.store import Append, Claim, Heartbeat, Message, NewRun, RunRow, Worker, Written
from gorkflow.stores.sqlite import _files
from gorkflow.stores.sqlite._errors import UNSTORABLE
from gorkflow.stores.sqlite._locks import WorkerLocks
from gorkflow.stores.sqlite._reads import readable_rows, worker_alive, worker_messages
from gorkflow.stores.sqlite._schema import query

_logger = logging.getLogger("gorkflow.store")
_UNRECORDABLE = (sqlite3.IntegrityError, *UNSTORABLE)


def create(db: sqlite3.Connection, batch: Sequence[NewRun]) -> list[Written]:
    """Create runs."""
    return [_create(db, new) for new in batch]


def _create(db: sqlite3.Connection, new: NewRun) -> Written:
    row = new.row
    if row.resource_id is not None and _occupied(db, row):
        return Written.OCCUPIED
    key = _key(db.execute(query("insert_run"), _summary(row)))
    if key is None:
        return Written.DUPLICATE
    db.execute(query("insert_definition"), (row.fingerprint, new.tree))
    db.executemany(
        query("insert_tag"),
        [(name, value, row.created_at, row.run_id, key) for name, value in row.tags],
    )
    _insert_events(db, key, new.events)
    return Written.OK


def _occupied(db: sqlite3.Connection, row: RunRow) -> bool:
    """Whether a live run keeps this new one from its resource."""
    values = {"resource_id": row.resource_id, "exclusive": row.exclusive}
    if db.execute(query("find_occupant"), values).fetchone() is None:
        return False
    # That it exists already says more.
    return db.execute(query("has_run"), (row.run_id,)).fetchone() is None


def append(db: sqlite3.Connection, batch: Sequence[Append]) -> list[Written]:
    """Record transitions. What can't be stored of one run leaves the others alone."""
    db.execute("SAVEPOINT batch")
    try:
        results = [_append(db, item) for item in batch]
    except _UNRECORDABLE:
        # Seldom, so that a savepoint for each is only worth its while the second time.
        db.execute("ROLLBACK TO batch")
        results = [_append_alone(db, item) for item in batch]
    db.execute("RELEASE batch")
    return results


def _append_alone(db: sqlite3.Connection, item: Append) -> Written:
    db.execute("SAVEPOINT item")
    try:
        written = _append(db, item)
    except _UNRECORDABLE:
        _logger.exception("run %r can't be recorded and is left as it was", item.row.run_id)
        db.execute("ROLLBACK TO item")
        written = Written.FENCED
    db.execute("RELEASE item")
    return written


def _append(db: sqlite3.Connection, item: Append) -> Written:
    summary = _summary(item.row) | {"expected_seq": item.expected_seq}
    ends = item.row.status.terminal
    key = None if ends else _key(db.execute(query("touch_run"), summary))
    if key is None:
        key = _key(db.execute(query("update_run"), summary))
    if key is None:
        return Written.FENCED
    _insert_events(db, key, item.events)
    if item.consumed:
        db.executemany(query("consume_message"), [(number, key) for number in item.consumed])
    return Written.OK


def _insert_events(db: sqlite3.Connection, key: int, events: Sequence[Event]) -> None:
    db.executemany(query("insert_event"), [(key, *to_row(event)[1:]) for event in events])


def _key(cursor: sqlite3.Cursor) -> int | None:
    # Fetched to the end: a statement that is still open would keep the commit from happening.
    found = cursor.fetchall()
    return found[0][0] if found else None


def _summary(row: RunRow) -> dict[str, Any]:
    reason = row.reason
    if not reason.isascii():
        # It may quote an exception; a lone surrogate in there must not keep the run from ending.
        reason = reason.encode("utf-8", "backslashreplace").decode("utf-8")
    return {
        "run_id": row.run_id,
        "workflow_id": row.workflow_id,
        "workflow_version": row.workflow_version,
        "fingerprint": row.fingerprint,
        "status": row.status.value,
        "reason": reason,
        "resource_id": row.resource_id,
        "tags": json.dumps(row.tags) if row.tags else "[]",
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "due_at": row.due_at,
        "seq": row.seq,
        "worker_id": row.worker_id,
        "token": row.token,
        "priority": row.priority,
        "exclusive": row.exclusive,
        "seen": row.seen,
    }


def delete_runs(db: sqlite3.Connection, run_ids: Sequence[str]) -> int:
    """Delete ended runs and all that belongs to them."""
    return sum(_delete_run(db, run_id) for run_id in run_ids)


def _delete_run(db: sqlite3.Connection, run_id: str) -> bool:
    found = db.execute(query("delete_run"), (run_id,)).fetchall()
    for key, created_at, tags in found:
        db.execute(query("delete_events"), (key,))
        db.execute(query("delete_messages"), (key,))
        db.executemany(
            query("delete_tag"),
            [(name, value, created_at, run_id) for name, value in json.loads(tags)],
        )
    return bool(found)


def register(db: sqlite3.Connection, locks: WorkerLocks, machine: str, worker: Worker) -> None:
    """Announce a worker, and clear away what the dead ones left."""
    locks.sweep()
    for row in db.execute(query("list_workers")).fetchall():
        if _files.same_machine(row[-1], machine) and not locks.is_held(row[0]):
            db.execute(query("delete_worker"), (row[0],))
    locks.take(worker.worker_id)
    values = (
        worker.worker_id, worker.started_at, worker.seen_at, worker.lease, worker.host, worker.pid,
        machine,
    )  # fmt: skip
    db.execute(query("upsert_worker"), values)


def unregister(db: sqlite3.Connection, worker_id: str) -> None:
    """Forget a worker and give back its runs."""
    db.execute(query("delete_worker"), (worker_id,))
    db.execute(query("release_runs"), (worker_id,))


def heartbeat(db: sqlite3.Connection, worker_id: str, now: float, after: int) -> Heartbeat:
    """Extend a lease that has not ended."""
    extended = db.execute(query("extend_lease"), {"worker_id": worker_id, "now": now})
    if not extended.rowcount:
        return Heartbeat(alive=False)
    return Heartbeat(alive=True, messages=tuple(worker_messages(db, worker_id, after)))


def claim(
    db: sqlite3.Connection,
    locks: WorkerLocks,
    machine: str,
    worker_id: str,
    *,
    now: float,
    workflow_ids: Sequence[str] | None,
    run_id: str | None,
    limit: int,
) -> list[Claim]:
    """Take over runs that nobody alive owns."""
    _release_the_dead(db, locks, machine, now)
    if run_id is not None:
        found = db.execute(query("get_run"), (run_id,))
    else:
        known = _workflows(db) if workflow_ids is None else sorted(set(workflow_ids))
        found = db.execute(
            query("find_claimable_runs"),
            {"workflow_ids": json.dumps(known), "now": now, "limit": max(limit, 0)},
        )
    claims: list[Claim] = []
    for key, row in readable_rows(found.fetchall()):
        # Those found by id weren't filtered yet.
        if row.worker_id is not None or row.status.terminal or len(claims) >= limit:
            continue
        if workflow_ids is not None and row.workflow_id not in workflow_ids:
            continue
        db.execute(query("claim_run"), {"worker_id": worker_id, "key": key})
        claims.append(Claim(replace(row, worker_id=worker_id, token=row.token + 1)))
    return claims


def _workflows(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute(query("list_workflows"))]


def _release_the_dead(db: sqlite3.Connection, locks: WorkerLocks, machine: str, now: float) -> None:
    workers = {row[0]: row for row in db.execute(query("list_workers")).fetchall()}
    for (owner,) in db.execute(query("list_owners")).fetchall():
        if owner not in workers or not worker_alive(workers[owner], locks, machine, now):
            db.execute(query("release_runs"), (owner,))


def post(db: sqlite3.Connection, message: Message) -> bool:
    """Leave a message for a run that has not ended."""
    inserted = db.execute(query("insert_message"), message._asdict())
    if inserted.rowcount < 1:
        return False
    db.execute(query("mark_mailed"), {"run_id": message.run_id, "id": inserted.lastrowid})
    return True


def acknowledge(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Drop messages."""
    db.executemany(query("delete_message"), [(message_id,) for message_id in ids])
