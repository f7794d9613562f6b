"""The stores agree with each other on whatever they are asked, in whatever order."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from gorkflow.clock import Moment
from gorkflow.model import RunFilter, RunStatus, instant
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing.conformance import (
    T0,
    message,
    new_run,
    run_row,
    signal,
    step_forward,
    worker,
)

RUNS = ["a", "b", "c", "d"]
WORKERS = ["w1", "w2"]


def operation(rng, now):
    """Return the name and arguments of a random call, often one that must be refused."""
    run_id, worker_id = rng.choice(RUNS), rng.choice(WORKERS)
    row = run_row(
        run_id,
        seq=rng.randint(1, 4),
        token=rng.randint(0, 3),
        status=rng.choice([*RunStatus, RunStatus.RUNNING, RunStatus.SUSPENDED]),
        worker_id=rng.choice([None, *WORKERS]),
        due_at=rng.choice([None, now - 1, now + 20]),
        seen=rng.choice([0, 0, rng.randint(0, 60)]),
        orphaned=rng.random() < 0.3,
        finished_at=now,
    )
    consuming = replace(step_forward(row), consumed=[rng.randint(1, 60) for _ in range(5)])
    new = new_run(
        run_id,
        created_at=now,
        workflow_id=rng.choice("xy"),
        tags=(("t", rng.choice("12")),),
        due_at=rng.choice([None, now + 5]),
        priority=rng.randint(-1, 1),
        resource_id=rng.choice([None, "cart"]),
        exclusive=rng.random() < 0.3,
        status=rng.choice([RunStatus.PENDING, RunStatus.SUSPENDED]),
    )
    workflows = rng.choice([None, ["x"], ["x", "y"]])
    return rng.choice(
        [
            ("create", [[new]], {}),
            ("append", [[step_forward(row, rng.randint(0, 2))]], {}),
            ("append", [[step_forward(row), step_forward(run_row("a", token=1))]], {}),
            ("append", [[consuming]], {}),
            ("register", [worker(worker_id, seen_at=now, lease=rng.choice([5.0, 60.0]))], {}),
            ("unregister", [worker_id], {}),
            (
                "heartbeat",
                [worker_id, Moment(now)],
                {"after": rng.choice([0, 0, rng.randint(1, 60)])},
            ),
            ("claim", [worker_id], {"times": Moment(now), "workflow_ids": workflows, "limit": 2}),
            ("claim", [worker_id], {"times": Moment(now), "run_id": run_id}),
            ("post", [message(run_id, str(now))], {}),
            ("post", [signal(str(now).encode(), run_id)], {}),
            ("delete_runs", [[run_id]], {}),
        ]
    )


async def picture(store, now):
    """Return all that can be read."""
    filters = [
        RunFilter(),
        RunFilter(limit=2, status=[RunStatus.RUNNING, RunStatus.PENDING]),
        RunFilter(tags={"t": "1"}),
        RunFilter(workflow_id="x"),
        RunFilter(finished_before=instant(now - 20)),
    ]
    return (
        [list(await store.list_runs(each)) for each in filters],
        [await store.load(run_id) for run_id in RUNS],
        [await store.inbox(run_id) for run_id in RUNS],
        (await store.read_all_events())[0],
        sorted(each.worker_id for each in await store.workers(now=now)),
    )


@pytest.mark.parametrize("seed", range(6))
def test_memory_and_sqlite_agree(tmp_path, seed):
    async def test():
        rng = random.Random(seed)
        stores = [MemoryStore(), SqliteStore(tmp_path / "runs.db", synchronous="normal")]
        for store in stores:
            await store.open()
        now = T0
        for _ in range(250):
            name, args, options = operation(rng, now)
            answers = [await getattr(store, name)(*args, **options) for store in stores]
            assert answers[0] == answers[1], (name, args, options)
            now += rng.choice([0, 0, 1, 1, 10])
            if rng.random() < 0.1:
                memory, sqlite = [await picture(store, now) for store in stores]
                assert memory == sqlite
        for store in stores:
            await store.close()

    asyncio.run(test())
