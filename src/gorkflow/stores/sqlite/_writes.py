"""What is written, each within a transaction that the caller began."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from gorkflow.clock import Timekeeper
from gorkflow.journal import Values, to_values
from gorkflow.store import (
    Append,
    Claim,
    Heartbeat,
    Message,
    NewRun,
    RunRow,
    Transition,
    Worker,
    Written,
)
from gorkflow.stores.sqlite import _files, _limits
from gorkflow.stores.sqlite._errors import UNSTORABLE
from gorkflow.stores.sqlite._locks import WorkerLocks
from gorkflow.stores.sqlite._reads import lease_of, readable_rows, worker_alive, worker_messages
from gorkflow.stores.sqlite._schema import query, repeated

_logger = logging.getLogger("gorkflow.store")
_MAX_KEYS = 100_000
_AT_ONCE = 50  # rows; SQLite takes 32,766 values, and gains little past this
_DAMAGED = 5.0  # seconds until a run that can't be read is looked at again
_UNRECORDABLE = (sqlite3.IntegrityError, *UNSTORABLE)


class Keys:
    """The keys of runs that were written lately, which spares looking for them again.

    What is in here is a guess: a transaction may have been rolled back, and a run deleted by
    another process. A statement that goes by a key looks at the run's id, too.
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def find(self, db: sqlite3.Connection, run_id: str) -> int | None:
        """Return the key of a run; ``None``: there is no such run."""
        found = db.execute(query("find_key"), (run_id,)).fetchall()
        if not found:
            return None
        key: int = found[0][0]
        self.note(run_id, key)
        return key

    def guess(self, run_id: str) -> int | None:
        """Return the key as it is remembered."""
        return self._known.get(run_id)

    def note(self, run_id: str, key: int) -> None:
        """Remember a key."""
        if len(self._known) >= _MAX_KEYS:
            self._known.clear()
        self._known[run_id] = key

    def forget(self, run_id: str) -> None:
        """Remember a key no more."""
        self._known.pop(run_id, None)


def write(db: sqlite3.Connection, keys: Keys, batch: Sequence[Transition]) -> list[Written]:
    """Create runs and record transitions. What can't be stored of one leaves the others alone."""
    db.execute("SAVEPOINT batch")
    try:
        results = _write_all(db, keys, batch)
    except _UNRECORDABLE:
        # Seldom, so that a savepoint for each is only worth its while the second time.
        db.execute("ROLLBACK TO batch")
        results = [_write_alone(db, keys, item) for item in batch]
    db.execute("RELEASE batch")
    return results


def _write_alone(db: sqlite3.Connection, keys: Keys, item: Transition) -> Written:
    db.execute("SAVEPOINT item")
    try:
        (written,) = _write_all(db, keys, [item])
    except _UNRECORDABLE:
        _logger.exception("run %r can't be recorded and is left as it was", item.row.run_id)
        db.execute("ROLLBACK TO item")
        written = Written.UNSTORABLE
    db.execute("RELEASE item")
    return written


def _write_all(db: sqlite3.Connection, keys: Keys, batch: Sequence[Transition]) -> list[Written]:
    events: list[Values] = []
    results = [
        _append(db, keys, item, events)
        if isinstance(item, Append)
        else _create(db, keys, item, events)
        for item in batch
    ]
    _insert_events(db, events)
    return results


def _create(db: sqlite3.Connection, keys: Keys, new: NewRun, events: list[Values]) -> Written:
    row = new.row
    if row.resource_id is not None and _occupied(db, row):
        return Written.OCCUPIED
    inserted = db.execute(query("insert_run"), (*_origin(row), *_state(row), row.seq))
    if not inserted.rowcount:
        return Written.DUPLICATE
    key = inserted.lastrowid
    assert key is not None  # it was inserted
    keys.note(row.run_id, key)
    if row.tags:
        db.executemany(
            query("insert_tag"),
            [(name, value, row.created_at, row.run_id, key) for name, value in row.tags],
        )
    db.execute(query("insert_definition"), (row.fingerprint, new.tree))
    events += [to_values(key, event) for event in new.events]
    return Written.OK


def _occupied(db: sqlite3.Connection, row: RunRow) -> bool:
    """Whether a live run keeps this new one from its resource."""
    values = {"resource_id": row.resource_id, "exclusive": row.exclusive}
    if db.execute(query("find_occupant"), values).fetchone() is None:
        return False
    # That it exists already says more.
    return db.execute(query("has_run"), (row.run_id,)).fetchone() is None


def _append(db: sqlite3.Connection, keys: Keys, item: Append, events: list[Values]) -> Written:
    row = item.row
    key = keys.guess(row.run_id)
    if key is None or not _move(db, key, item):
        key = keys.find(db, row.run_id)
        if key is None or not _move(db, key, item):
            return Written.FENCED
    if row.worker_id is None:
        keys.forget(row.run_id)
    events += [to_values(key, event) for event in item.events]
    if item.consumed:
        db.executemany(query("consume_message"), [(number, key) for number in item.consumed])
    return Written.OK


def _move(db: sqlite3.Connection, key: int, item: Append) -> bool:
    """Bring a run's summary up to date, if it is where the append expects it."""
    row = item.row
    place = (item.seq, key, row.run_id, item.expected_seq, row.token)
    if item.changed:
        return db.execute(query("update_run"), (*_state(row), *place)).rowcount > 0
    return db.execute(query("touch_run"), place).rowcount > 0


def _insert_events(db: sqlite3.Connection, rows: list[Values]) -> None:
    """Insert rows, many by one statement: to run one costs about as much as a row does."""
    whole = len(rows) - len(rows) % _AT_ONCE
    for start in range(0, whole, _AT_ONCE):
        values = [*chain.from_iterable(rows[start : start + _AT_ONCE])]
        db.execute(repeated("insert_event", _AT_ONCE), values)
    db.executemany(query("insert_event"), rows[whole:])


def _origin(row: RunRow) -> list[Any]:
    """Return the columns of a summary that never change, in the order of the statements."""
    return [
        row.run_id,
        row.workflow_id,
        row.workflow_version,
        row.fingerprint,
        row.resource_id,
        json.dumps(row.tags) if row.tags else "[]",
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
    ]


def register(db: sqlite3.Connection, locks: WorkerLocks, machine: str, worker: Worker) -> None:
    """Announce a worker, and clear away what the dead ones left."""
    locks.sweep()
    for row in db.execute(query("list_workers")).fetchall():
        if _files.same_machine(row[-1], machine) and not locks.is_held(row[0]):
            db.execute(query("delete_worker"), (row[0],))
    if locks.take(worker.worker_id):
        # A dead process of this name may have left runs, which would now look as if carried by us.
        _release(db, worker.worker_id, died=True)
        _limits.forget_worker(db, worker.worker_id)
    values = (
        worker.worker_id, worker.started_at, worker.seen_at, worker.lease, worker.host, worker.pid,
        machine,
    )  # fmt: skip
    db.execute(query("upsert_worker"), values)


def unregister(db: sqlite3.Connection, worker_id: str) -> None:
    """Forget a worker and give back its runs."""
    db.execute(query("delete_worker"), (worker_id,))
    _release(db, worker_id, died=False)
    _limits.forget_worker(db, worker_id)


def _release(db: sqlite3.Connection, worker_id: str, *, died: bool) -> None:
    db.execute(query("release_runs"), {"worker_id": worker_id, "died": died})


def heartbeat(db: sqlite3.Connection, worker_id: str, times: Timekeeper, after: int) -> Heartbeat:
    """Extend a lease that has not ended."""
    row = db.execute(query("get_worker"), (worker_id,)).fetchone()
    if row is None or not times.alive(*lease_of(row)):
        return Heartbeat(alive=False)
    db.execute(query("extend_lease"), {"worker_id": worker_id, "now": times.now()})
    ((latest,),) = db.execute(query("latest_message")).fetchall()
    found = tuple(worker_messages(db, worker_id, after)) if latest and latest > after else ()
    return Heartbeat(alive=True, messages=found, upto=max(latest or 0, after))


def claim(
    db: sqlite3.Connection,
    locks: WorkerLocks,
    machine: str,
    worker_id: str,
    *,
    times: Timekeeper,
    ahead: float,
    workflow_ids: Sequence[str] | None,
    run_id: str | None,
    limit: int,
) -> list[Claim]:
    """Take over runs that nobody alive owns."""
    _release_the_dead(db, locks, machine, times, worker_id)
    now = times.now()
    if run_id is not None:
        found = db.execute(query("get_run"), (run_id,))
    else:
        known = _workflows(db) if workflow_ids is None else sorted(set(workflow_ids))
        found = db.execute(
            query("find_claimable_runs"),
            {"workflow_ids": json.dumps(known), "due_by": now + ahead, "limit": max(limit, 0)},
        )
    claims: list[Claim] = []
    rows = found.fetchall()
    readable = dict(readable_rows(rows))
    for values in rows:
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
        claims.append(Claim(replace(row, worker_id=worker_id, token=row.token + 1)))
    return claims


def _workflows(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute(query("list_workflows"))]


def _release_the_dead(
    db: sqlite3.Connection, locks: WorkerLocks, machine: str, times: Timekeeper, claimer: str
) -> None:
    workers = {row[0]: row for row in db.execute(query("list_workers")).fetchall()}
    for (owner,) in db.execute(query("list_owners")).fetchall():
        if owner == claimer:
            continue  # whoever claims is alive, though its lease may have ended
        if owner not in workers or not worker_alive(workers[owner], locks, machine, times):
            seen = owner in workers and _files.same_machine(workers[owner][-1], machine)
            _release(db, owner, died=not (seen and locks.is_seen(owner)))


def post(db: sqlite3.Connection, message: Message) -> bool:
    """Leave a message for a run that has not ended."""
    inserted = db.execute(query("insert_message"), message._asdict())
    if inserted.rowcount < 1:
        return False
    db.execute(query("mark_mailed"), {"run_id": message.run_id, "id": inserted.lastrowid})
    return True
