"""The writes to a database, each within a transaction that the caller began."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain

from msgspec.structs import replace

from gorkflow._text import is_utf8
from gorkflow.clock import Timekeeper
from gorkflow.journal import Values, to_values
from gorkflow.listing import mail_cursor, mail_position
from gorkflow.store import (
    Append,
    Heartbeat,
    Message,
    NewRun,
    RunRow,
    Transition,
    Worker,
    Written,
)
from gorkflow.stores._new_runs import judge
from gorkflow.stores._room import Room
from gorkflow.stores._sql import hooks, limits
from gorkflow.stores._sql.reads import get_run, owned_by_queue, waiting_queues
from gorkflow.stores._sql.rows import (
    NO_NAMES,
    names,
    origin,
    readable_runs,
    state,
    worker_columns,
    worker_of,
)
from gorkflow.stores.sqlite._database import SqliteDatabase
from gorkflow.stores.sqlite._schema import query, repeated

_logger = logging.getLogger("gorkflow.store")
_AT_ONCE = 50  # rows; SQLite takes 32,766 values, and gains little past this
_DAMAGED = 5.0  # seconds until a run that can't be read is looked at again
_UNRECORDABLE = (sqlite3.IntegrityError, ValueError, OverflowError)
"""``ValueError``: of a lone surrogate, or NaN. ``OverflowError``: of an integer past 64 bits."""


def write(db: SqliteDatabase, batch: Sequence[Transition]) -> list[Written]:
    """Create runs and record transitions. An item that can't be stored leaves the others alone."""
    try:
        return _Batch(db).write(batch)
    except _UNRECORDABLE:
        # So seldom that the savepoint of each costs only what is written the second time.
        db.connection.execute("ROLLBACK")
        db.connection.execute("BEGIN IMMEDIATE")
        return [_write_alone(db, item) for item in batch]


def is_written(batch: Sequence[Transition], results: Sequence[Written], db: SqliteDatabase) -> bool:
    """Whether a batch is in the database whose commit failed, after these answers."""
    for item, written in reversed(list(zip(batch, results, strict=True))):
        changed = isinstance(item, NewRun) or item.changed
        if written is Written.OK and (item.events or changed):
            found = get_run(db, item.row.run_id)
            if found is None or found.seq != item.seq:
                return False
            return not changed or state(found) == state(item.row)
    return True  # there was nothing to write


def _write_alone(db: SqliteDatabase, item: Transition) -> Written:
    db.connection.execute("SAVEPOINT item")
    try:
        (written,) = _Batch(db).write([item])
    except _UNRECORDABLE:
        _logger.exception("run %r can't be recorded and is left as it was", item.row.run_id)
        db.connection.execute("ROLLBACK TO item")
        written = Written.UNSTORABLE
    db.connection.execute("RELEASE item")
    return written


class _Batch:
    """Transitions that are written together: their events go in last, many by one statement."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._db = database.connection
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
        if row.resource_id is not None:
            (answer,) = self._judge(row, row.resource_id)
            if answer is not Written.OK:
                return answer
        inserted = db.execute(query("insert_run"), (*origin(row), *state(row), row.seq))
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
            _insert_waits(self._database, key, row.created_at, row)
        db.execute(query("insert_definition"), (row.fingerprint, new.tree))
        if row.hooks:
            hooks.record(self._database, key, row)
        self._add(key, new)
        return Written.OK

    def _judge(self, row: RunRow, resource_id: str) -> list[Written]:
        occupants: dict[str, bool] = dict(
            self._database.rows("find_occupants", resource_id=resource_id)
        )
        exists = occupants and self._database.rows("has_run", run_id=row.run_id)
        return judge([row], {row.run_id} if exists else (), occupants)

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
            db.execute(query("update_run"), (*state(row), item.seq, key))
            if row.waits_for or waits_for != NO_NAMES:
                _replace_waits(self._database, key, created_at, waits_for, row)
            if row.hooks:
                hooks.record(self._database, key, row)
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
    db: SqliteDatabase, key: int, created_at: float, before: str, row: RunRow
) -> None:
    if before == names(row.waits_for):
        return
    place = {"created_at": created_at, "run_id": row.run_id}
    try:
        waits = [place | {"signal": name} for name in json.loads(before)]
    except (ValueError, TypeError):  # damaged
        db.change("delete_waits_of_run", key=key)
    else:
        db.change_each("delete_wait", waits)
    _insert_waits(db, key, created_at, row)


def _insert_waits(db: SqliteDatabase, key: int, created_at: float, row: RunRow) -> None:
    place = {"created_at": created_at, "run_id": row.run_id, "key": key}
    db.change_each("insert_wait", [place | {"signal": name} for name in row.waits_for])


def register(db: SqliteDatabase, worker: Worker) -> None:
    """Announce a worker, and clear away what the dead ones left."""
    locks = db.locks
    locks.sweep()
    for row in db.rows("list_workers"):
        if locks.sees(row[-1]) and not locks.is_held(row[0]):
            db.change("delete_worker", worker_id=row[0])
    if locks.take(worker.worker_id):
        # A dead process of this name may have left runs, which would now look as if carried by us.
        _release(db, worker.worker_id, died=True)
        limits.forget_worker(db, worker.worker_id)
    db.change("upsert_worker", **worker_columns(worker), machine=locks.machine)


def unregister(db: SqliteDatabase, worker_id: str) -> None:
    db.change("delete_worker", worker_id=worker_id)
    _release(db, worker_id, died=False)
    limits.forget_worker(db, worker_id)


def _release(db: SqliteDatabase, worker_id: str, *, died: bool) -> None:
    db.change("release_runs", worker_id=worker_id, died=died)


def heartbeat(db: SqliteDatabase, worker_id: str, times: Timekeeper, after: str) -> Heartbeat:
    position = mail_position(after)
    found = db.rows("get_worker", worker_id=worker_id)
    worker = worker_of(found[0][:-1]) if found else None
    if worker is None or not times.alive(worker.seen_at, worker.lease):
        return Heartbeat(alive=False)
    db.change("extend_lease", worker_id=worker_id, now=times.now())
    [(latest,)] = db.rows("latest_message")
    latest, found = latest or 0, []
    if latest > position:
        found = db.rows("list_worker_messages", worker_id=worker_id, after=position)
    messages = tuple(Message._make(values) for values in found)
    return Heartbeat(alive=True, messages=messages, cursor=mail_cursor(max(latest, position)))


def claim(
    db: SqliteDatabase,
    worker_id: str,
    *,
    times: Timekeeper,
    ahead: float,
    workflow_ids: Sequence[str] | None,
    queues: Mapping[str, int | None] | None,
    run_id: str | None,
    limit: int,
) -> list[RunRow]:
    _release_the_dead(db, times, worker_id)
    db.change("give_turns")
    now = times.now()
    room = Room(queues, partial(owned_by_queue, db))
    if run_id is not None:
        found = db.rows("get_run", run_id=run_id)
    else:
        known = _workflows(db) if workflow_ids is None else sorted(set(workflow_ids))
        found = db.rows(
            "find_claimable_runs",
            workflow_ids=json.dumps(known),
            queues=json.dumps(waiting_queues(db) if room.queues is None else room.queues),
            due_by=now + ahead,
            limit=max(limit, 0),
        )
    claims: list[RunRow] = []
    readable = dict(readable_runs(found))
    for values in found:
        if values[0] not in readable and run_id is None:
            # Out of the way for a while, or it would keep others from being found.
            db.change("put_off_run", due_at=now + _DAMAGED, key=values[0])
    for key, row in readable.items():
        # Those found by id weren't filtered yet.
        if row.worker_id is not None or row.status.terminal or len(claims) >= limit:
            continue
        if workflow_ids is not None and row.workflow_id not in workflow_ids:
            continue
        if not room.take(row.queue):
            continue
        db.change("claim_run", worker_id=worker_id, key=key)
        claims.append(replace(row, worker_id=worker_id, token=row.token + 1))
    return claims


def _workflows(db: SqliteDatabase) -> list[str]:
    return [name for (name,) in db.rows("list_workflows", after="", limit=-1)]


def _release_the_dead(db: SqliteDatabase, times: Timekeeper, claimer: str) -> None:
    workers = {row[0]: row for row in db.rows("list_workers")}
    for (owner,) in db.rows("list_owners"):
        if owner == claimer or not is_utf8(owner):
            continue  # the claimer is alive, though its lease may have ended; a check names damage
        if owner not in workers or not db.alive(workers[owner], times):
            seen = owner in workers and db.locks.sees(workers[owner][-1])
            _release(db, owner, died=not (seen and db.locks.is_seen(owner)))


def post(db: SqliteDatabase, message: Message) -> bool:
    inserted = db.connection.execute(query("insert_message"), message._asdict())
    if inserted.rowcount < 1:
        return False
    db.change("mark_mailed", run_id=message.run_id, id=inserted.lastrowid)
    return True
