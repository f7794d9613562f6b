"""Named limits: one worker at a time may use the books of those that it asks about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gorkflow.clock import Timekeeper
from gorkflow.limits import LimitGrant, LimitRequest
from gorkflow.stores._sql import limits
from gorkflow.stores.postgres._arrays import Ints
from gorkflow.stores.postgres._connections import Db, Lock, hashed


def lock(db: Db, kind: Lock, names: Iterable[str]) -> None:
    """Take locks of one kind until the transaction ends, in one order for all."""
    numbers = sorted({hashed(name) for name in names})
    if numbers:
        db.rows("lock_numbers", lock=db.lock_number(kind), numbers=Ints(numbers))


def take_limits(
    db: Db,
    worker_id: str,
    *,
    times: Timekeeper,
    held: Mapping[str, int],
    requests: Sequence[LimitRequest],
    unbegun: Mapping[str, int],
    began: Mapping[str, float],
) -> LimitGrant:
    """Let steps in, once no other worker is being let in at the same limits."""
    asked = (limit.name for request in requests for limit in request.limits)
    lock(db, Lock.LIMIT, [*_held(db, worker_id), *held, *asked])
    return limits.take_limits(
        db, worker_id, times=times, held=held, requests=requests, unbegun=unbegun, began=began
    )


def forget_limits(db: Db, worker_id: str) -> None:
    """Release the places of a worker."""
    lock(db, Lock.LIMIT, _held(db, worker_id))
    limits.forget_worker(db, worker_id)


def _held(db: Db, worker_id: str) -> list[str]:
    return [name for (name,) in db.rows("list_limits_of_worker", worker_id=worker_id)]
