"""The resources of new runs: only one that is free lets an exclusive run start."""

from __future__ import annotations

from collections.abc import Sequence

from gorkflow.store import RunRow, Written
from gorkflow.stores._new_runs import judge
from gorkflow.stores.postgres._arrays import Bools, Ints, Texts
from gorkflow.stores.postgres._connections import Db, Lock, hashed


def decide(db: Db, rows: Sequence[RunRow]) -> list[Written]:
    """Return the answer for each new run. Within a transaction, which keeps it true."""
    _lock(db, rows)
    found = db.rows("find_existing_runs", run_ids=Texts({row.run_id for row in rows}))
    resources = Texts({row.resource_id for row in rows if row.resource_id is not None})
    occupants: dict[str, bool] = dict(db.rows("find_occupants", resource_ids=resources))
    return judge(rows, {run_id for (run_id,) in found}, occupants)


def _lock(db: Db, rows: Sequence[RunRow]) -> None:
    """Keep others from deciding about the same resources, in one order for all."""
    wanted: dict[int, bool] = {}
    for row in rows:
        if row.resource_id is not None:
            number = hashed(row.resource_id)
            wanted[number] = wanted.get(number, False) or row.exclusive
    numbers = sorted(wanted)
    db.rows(
        "lock_resources",
        lock=db.lock_number(Lock.RESOURCE),
        numbers=Ints(numbers),
        exclusive=Bools(wanted[number] for number in numbers),
    )
