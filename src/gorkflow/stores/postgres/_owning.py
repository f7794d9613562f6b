"""The owners of runs: workers, their leases, and claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from gorkflow.clock import Timekeeper
from gorkflow.errors import StoreError
from gorkflow.listing import mail_cursor, mail_place
from gorkflow.store import Heartbeat, HintKind, Message, RunRow, Worker
from gorkflow.stores._room import Room
from gorkflow.stores._sql.reads import owned_by_queue, waiting_queues
from gorkflow.stores._sql.rows import readable_runs, worker_columns
from gorkflow.stores.postgres._arrays import Ints, Texts
from gorkflow.stores.postgres._connections import Db, Lock
from gorkflow.stores.postgres._limits import forget_limits, lock
from gorkflow.stores.postgres._liveness import WorkerState
from gorkflow.stores.postgres._session import Slot

_DAY = 86_400.0
_DAMAGED = 5.0  # seconds until a run that can't be read is looked at again
NUMBERS = 2
"""Era and transaction: the place of a cursor of messages."""
_BEATS = 6
"""Heartbeats in the time of a lease that are written down."""


def register(db: Db, worker: Worker, slot: Slot) -> None:
    """Announce a worker, and clear away what the dead ones left.

    Raises:
        StoreError: If a living process has registered a worker of this id.
    """
    name = worker.worker_id
    lock(db, Lock.NAME, [name])
    states = _states(db)
    before = states.get(name)
    if before is not None and before.is_held and before.slot not in slot.own:
        raise StoreError(f"the worker id {name!r} is taken by a living process; give each its own")
    for other, state in states.items():
        rest = _DAY if not state.slot else 0.0  # without a lock, one may only be late
        age = abs(worker.seen_at - state.worker.seen_at)
        if not state.is_held and age > state.worker.lease + rest:
            db.change("delete_worker", worker_id=other)
    if not (before and (before.slot in slot.own or name in db.watch.own)):
        # A dead process of this name may have left runs, which would now look as if carried by us.
        _release_all(db, name, died=True)
        forget_limits(db, name)
    db.change("upsert_worker", **worker_columns(worker), slot=slot.number, server=slot.server)
    db.watch.own.add(name)


def unregister(db: Db, worker_id: str) -> None:
    db.watch.own.discard(worker_id)
    db.change("delete_worker", worker_id=worker_id)
    _release_all(db, worker_id, died=False)
    forget_limits(db, worker_id)


def _release_all(db: Db, worker_id: str, *, died: bool) -> None:
    for (workflow_id,) in db.rows("release_all_runs", worker_id=worker_id, died=died):
        db.hints[HintKind.QUEUED, workflow_id] = None


def heartbeat(db: Db, worker_id: str, times: Timekeeper, after: str) -> Heartbeat:
    """Extend a lease, and fetch what came for the worker since the transaction of the cursor.

    Messages of transactions that were open then, and of later ones, come again.
    """
    era, first = mail_place(after, NUMBERS)
    since = first if era == db.state.era else 0
    found = db.rows("look_for_mail", worker_id=worker_id, after=str(since))
    if not found:
        return Heartbeat(alive=False)
    seen_at, lease, oldest = found[0][:3]
    if not times.alive(seen_at, lease):
        return Heartbeat(alive=False)
    now = times.now()
    if abs(now - seen_at) * _BEATS >= lease:
        # To lose one to the loss of power is harmless.
        with db.transaction(settings="SET LOCAL synchronous_commit = off"):
            db.change("extend_lease", worker_id=worker_id, now=now)
    messages = tuple(Message._make(row[3:]) for row in found if row[3] is not None)
    return Heartbeat(alive=True, messages=messages, cursor=mail_cursor(db.state.era, int(oldest)))


def claim(
    db: Db,
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
    now = times.now()
    [(is_ours,)] = db.rows("lock_turns", lock=db.lock_number(Lock.TURN))
    if is_ours:  # else somebody gives them just now
        db.change("give_turns")
    bounded = [name for name, bound in (queues or {}).items() if bound is not None]
    lock(db, Lock.QUEUE, bounded)  # two claims at the same time would count the same runs
    room = Room(queues, partial(owned_by_queue, db))
    if run_id is not None:
        found = db.rows("find_unowned_run", run_id=run_id)
    else:
        db.change("promote_runs", due_by=now + ahead)
        known = _workflows(db) if workflow_ids is None else sorted(set(workflow_ids))
        found = db.rows(
            "find_claimable_runs",
            workflow_ids=Texts(known),
            queues=Texts(waiting_queues(db) if room.queues is None else room.queues),
            limit=max(limit, 0),
        )
    readable = dict(readable_runs(found))
    for key, *_ in found:
        if key not in readable and run_id is None:
            # Out of the way for a while, or it would keep others from being found.
            db.change("put_off_run", at=now + _DAMAGED, key=key)
    taken = {
        key: replace(row, worker_id=worker_id, token=row.token + 1)
        for key, row in [*readable.items()][: max(limit, 0)]
        if (workflow_ids is None or row.workflow_id in workflow_ids) and room.take(row.queue)
    }
    if taken:
        db.change("claim_runs", worker_id=worker_id, keys=Ints(taken))
    return [*taken.values()]


def _states(db: Db) -> dict[str, WorkerState]:
    found = map(WorkerState.of, db.rows("list_workers"))
    return {state.worker.worker_id: state for state in found}


def _workflows(db: Db) -> list[str]:
    return [name for (name,) in db.rows("list_ready_workflows")]


def _release_the_dead(db: Db, times: Timekeeper, claimer: str) -> None:
    states = _states(db)
    for (owner,) in db.rows("list_owners"):
        if owner == claimer:
            continue  # the claimer is alive, though its lease may have ended
        state = states.get(owner)
        if state is None or not db.watch.is_alive(state, times):
            is_seen = owner in db.watch.own or (state is not None and state.is_held)
            for (workflow_id,) in db.rows("release_runs", worker_id=owner, died=not is_seen):
                db.hints[HintKind.QUEUED, workflow_id] = None
