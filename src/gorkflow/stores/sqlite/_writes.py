"""The writes to a database, each within a transaction that the caller began."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

from msgspec.structs import replace

from gorkflow._text import is_utf8
from gorkflow.clock import Timekeeper
from gorkflow.journal import Values, to_values
from gorkflow.listing import mail_cursor, mail_position
from gorkflow.store import (
    Append,
    AttemptId,
    Heartbeat,
    LineRow,
    Message,
    NewRun,
    ReportRow,
    RunRow,
    Transition,
    Worker,
    Written,
)
from gorkflow.stores.sqlite import _hooks, _limits
from gorkflow.stores.sqlite._files import WorkerLocks
from gorkflow.stores.sqlite._reads import (
    get_run,
    readable_rows,
    worker_alive,
    worker_messages,
)
from gorkflow.stores.sqlite._schema import query, repeated, rows

_logger = logging.getLogger("gorkflow.store")
_AT_ONCE = 50  # rows; SQLite takes 32,766 values, and gains little past this
_DAMAGED = 5.0  # seconds until a run that can't be read is looked at again
_NONE = "[]"
_EVERY = {"after": "", "limit": -1}
_UNRECORDABLE = (sqlite3.IntegrityError, ValueError, OverflowError)
"""``ValueError``: of a lone surrogate, or NaN. ``OverflowError``: of an integer past 64 bits."""


def write(db: sqlite3.Connection, batch: Sequence[Transition]) -> list[Written]:
    """Create runs and record transitions. An item that can't be stored leaves the others alone."""
    try:
        return _Batch(db).write(batch)
    except _UNRECORDABLE:
        # So seldom that the savepoint of each costs only what is written the second time.
        db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        return [_write_alone(db, item) for item in batch]


def is_written(
    batch: Sequence[Transition], results: Sequence[Written], db: sqlite3.Connection
) -> bool:
    """Whether a batch is in the database whose commit failed, after these answers."""
    for item, written in reversed(list(zip(batch, results, strict=True))):
        changed = isinstance(item, NewRun) or item.changed
        if written is Written.OK and (item.events or changed):
            found = get_run(db, item.row.run_id)
            if found is None or found.seq != item.seq:
                return False
            return not changed or _state(found) == _state(item.row)
    return True  # there was nothing to write


def _write_alone(db: sqlite3.Connection, item: Transition) -> Written:
    db.execute("SAVEPOINT item")
    try:
        (written,) = _Batch(db).write([item])
    except _UNRECORDABLE:
        _logger.exception("run %r can't be recorded and is left as it was", item.row.run_id)
        db.execute("ROLLBACK TO item")
        written = Written.UNSTORABLE
    db.execute("RELEASE item")
    return written


class _Batch:
    """Transitions that are written together: their events go in last, many by one statement."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._events: list[Values] = []
        self._runs: set[str] = set()
        """The runs whose events are still to be inserted."""

    def write(self, batch: Sequence[Transition]) -> list[Written]:
        results = [
            self._append(item) if isinstance(item, Append) else self._create(item) for item in batch
        ]
        self._insert_events()
        return results

    def _create(self, new: NewRun) -> Written:
        db, row = self._db, new.row
        if row.resource_id is not None and _occupied(db, row):
            return Written.OCCUPIED
        inserted = db.execute(query("insert_run"), (*_origin(row), *_state(row), row.seq))
        if not inserted.rowcount:
            return Written.DUPLICATE
        key = inserted.lastrowid
        assert key is not None  # it was inserted
        if row.tags:
            db.executemany(
                query("insert_tag"),
                [(name, value, row.created_at, row.run_id, key) for name, value in row.tags],
            )
        if row.waits_for:
            _insert_waits(db, key, row.created_at, row)
        db.execute(query("insert_definition"), (row.fingerprint, new.tree))
        if row.hooks:
            _hooks.record(db, key, row)
        self._add(key, new)
        return Written.OK

    def _append(self, item: Append) -> Written:
        db, row = self._db, item.row
        if row.run_id in self._runs:
            self._insert_events()  # they tell how far it is
        # One transaction reads the token and writes: nobody can have claimed the run in between.
        found = db.execute(query("find_live_run"), (row.run_id,)).fetchone()
        if found is None:
            return Written.FENCED
        key, token, seq, created_at, waits_for = found
        if token != row.token or seq != item.expected_seq:
            return Written.FENCED
        if item.changed:
            db.execute(query("update_run"), (*_state(row), item.seq, key))
            if row.waits_for or waits_for != _NONE:
                _replace_waits(db, key, created_at, waits_for, row)
            if row.hooks:
                _hooks.record(db, key, row)
        if item.consumed:
            db.executemany(query("consume_message"), [(number, key) for number in item.consumed])
        self._add(key, item)
        return Written.OK

    def _add(self, key: int, item: Transition) -> None:
        self._runs.add(item.row.run_id)
        self._events += [to_values(key, event) for event in item.events]

    def _insert_events(self) -> None:
        """Insert many rows by one statement: to run one costs about as much as a row does."""
        rows, self._events = self._events, []
        self._runs.clear()
        whole = len(rows) - len(rows) % _AT_ONCE
        for start in range(0, whole, _AT_ONCE):
            values = [*chain.from_iterable(rows[start : start + _AT_ONCE])]
            self._db.execute(repeated("insert_event", _AT_ONCE), values)
        if rows[whole:]:
            self._db.executemany(query("insert_event"), rows[whole:])


def _replace_waits(
    db: sqlite3.Connection, key: int, created_at: float, before: str, row: RunRow
) -> None:
    if before == _names(row.waits_for):
        return
    try:
        waits = [(name, created_at, row.run_id) for name in json.loads(before)]
    except (ValueError, TypeError):  # damaged
        db.execute(query("delete_waits_of_run"), (key,))
    else:
        db.executemany(query("delete_wait"), waits)
    _insert_waits(db, key, created_at, row)


def _insert_waits(db: sqlite3.Connection, key: int, created_at: float, row: RunRow) -> None:
    db.executemany(
        query("insert_wait"), [(name, created_at, row.run_id, key) for name in row.waits_for]
    )


def _occupied(db: sqlite3.Connection, row: RunRow) -> bool:
    """Whether a live run keeps this new one from its resource."""
    values = {"resource_id": row.resource_id, "exclusive": row.exclusive}
    if db.execute(query("find_occupant"), values).fetchone() is None:
        return False
    # That it exists already says more.
    return db.execute(query("has_run"), (row.run_id,)).fetchone() is None


def _origin(row: RunRow) -> list[Any]:
    """Return the columns of a summary that never change, in the order of the statements."""
    return [
        row.run_id,
        row.workflow_id,
        row.workflow_version,
        row.fingerprint,
        row.resource_id,
        _names(row.tags),
        row.created_at,
        row.token,
        row.priority,
        int(row.exclusive),  # of a bool, sqlite3 would ask around for somebody who knows it
    ]


def _state(row: RunRow) -> list[Any]:
    """Return the columns that an append may change, ``seq`` apart, in the same way."""
    reason = row.reason
    if not reason.isascii():
        # It may quote an exception; a lone surrogate in there must not keep the run from ending.
        reason = reason.encode("utf-8", "backslashreplace").decode("utf-8")
    return [
        row.status.value,
        reason,
        row.started_at,
        row.finished_at,
        row.due_at,
        row.worker_id,
        row.seen,
        int(row.orphaned),
        row.trace,
        _names(row.waits_for),
        row.hooks,
    ]


def _names(given: tuple[object, ...]) -> str:
    return json.dumps(given) if given else _NONE


def register(db: sqlite3.Connection, locks: WorkerLocks, worker: Worker) -> None:
    """Announce a worker, and clear away what the dead ones left."""
    locks.sweep()
    for row in rows(db, query("list_workers")):
        if locks.sees(row[-1]) and not locks.is_held(row[0]):
            db.execute(query("delete_worker"), (row[0],))
    if locks.take(worker.worker_id):
        # A dead process of this name may have left runs, which would now look as if carried by us.
        _release(db, worker.worker_id, died=True)
        _limits.forget_worker(db, worker.worker_id)
    db.execute(query("upsert_worker"), (*worker, locks.machine))


def unregister(db: sqlite3.Connection, worker_id: str) -> None:
    db.execute(query("delete_worker"), (worker_id,))
    _release(db, worker_id, died=False)
    _limits.forget_worker(db, worker_id)


def _release(db: sqlite3.Connection, worker_id: str, *, died: bool) -> None:
    db.execute(query("release_runs"), {"worker_id": worker_id, "died": died})


def heartbeat(db: sqlite3.Connection, worker_id: str, times: Timekeeper, after: str) -> Heartbeat:
    position = mail_position(after)
    found = rows(db, query("get_worker"), (worker_id,))
    worker = Worker._make(found[0][:-1]) if found else None
    if worker is None or not times.alive(worker.seen_at, worker.lease):
        return Heartbeat(alive=False)
    db.execute(query("extend_lease"), {"worker_id": worker_id, "now": times.now()})
    ((latest,),) = db.execute(query("latest_message")).fetchall()
    latest = latest or 0
    messages = tuple(worker_messages(db, worker_id, position)) if latest > position else ()
    return Heartbeat(alive=True, messages=messages, cursor=mail_cursor(max(latest, position)))


def claim(
    db: sqlite3.Connection,
    locks: WorkerLocks,
    worker_id: str,
    *,
    times: Timekeeper,
    ahead: float,
    workflow_ids: Sequence[str] | None,
    run_id: str | None,
    limit: int,
) -> list[RunRow]:
    _release_the_dead(db, locks, times, worker_id)
    now = times.now()
    if run_id is not None:
        found = rows(db, query("get_run"), (run_id,))
    else:
        known = _workflows(db) if workflow_ids is None else sorted(set(workflow_ids))
        found = rows(
            db,
            query("find_claimable_runs"),
            {"workflow_ids": json.dumps(known), "due_by": now + ahead, "limit": max(limit, 0)},
        )
    claims: list[RunRow] = []
    readable = dict(readable_rows(found))
    for values in found:
        if values[0] not in readable and run_id is None:
            # Out of the way for a while, or it would keep others from being found.
            db.execute(query("put_off_run"), (now + _DAMAGED, values[0]))
    for key, row in readable.items():
        # Those found by id weren't filtered yet.
        if row.worker_id is not None or row.status.terminal or len(claims) >= limit:
            continue
        if workflow_ids is not None and row.workflow_id not in workflow_ids:
            continue
        db.execute(query("claim_run"), {"worker_id": worker_id, "key": key})
        claims.append(replace(row, worker_id=worker_id, token=row.token + 1))
    return claims


def _workflows(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in rows(db, query("list_workflows"), _EVERY)]


def _release_the_dead(
    db: sqlite3.Connection, locks: WorkerLocks, times: Timekeeper, claimer: str
) -> None:
    workers = {row[0]: row for row in rows(db, query("list_workers"))}
    for (owner,) in rows(db, query("list_owners")):
        if owner == claimer or not is_utf8(owner):
            continue  # the claimer is alive, though its lease may have ended; a check names damage
        if owner not in workers or not worker_alive(workers[owner], locks, times):
            seen = owner in workers and locks.sees(workers[owner][-1])
            _release(db, owner, died=not (seen and locks.is_seen(owner)))


def note(
    db: sqlite3.Connection,
    reports: Sequence[ReportRow],
    lines: Sequence[LineRow],
    ended: Sequence[AttemptId],
) -> None:
    db.executemany(query("upsert_report"), [row._asdict() for row in reports])
    db.executemany(query("upsert_line"), [row._asdict() for row in lines])
    db.executemany(query("delete_report"), [attempt._asdict() for attempt in ended])


def post(db: sqlite3.Connection, message: Message) -> bool:
    inserted = db.execute(query("insert_message"), message._asdict())
    if inserted.rowcount < 1:
        return False
    db.execute(query("mark_mailed"), {"run_id": message.run_id, "id": inserted.lastrowid})
    return True
