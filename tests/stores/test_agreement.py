"""The stores agree with each other on whatever they are asked, in whatever order."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest
from msgspec.structs import replace

from gorkflow.clock import Moment
from gorkflow.limits import LimitRequest
from gorkflow.listing import RunFilter, mail_cursor
from gorkflow.model import RunStatus, instant
from gorkflow.policy import Limit
from gorkflow.schedule import ScheduleRow
from gorkflow.store import AttemptId, Line, LineRow, ReportRow
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
        trace=rng.choice(["", "00-1", "00-1 00-2"]),
        finished_at=now,
    )
    consuming = replace(step_forward(row), consumed=[rng.randint(1, 60) for _ in range(5)])
    line = rng.choice([Line.NONE, Line.NONE, Line.WAITS])
    new = new_run(
        run_id,
        created_at=rng.choice([T0, now]),
        workflow_id=rng.choice("xy"),
        tags=(("t", rng.choice("12")),),
        due_at=rng.choice([None, now + 5]),
        priority=rng.randint(-1, 1),
        resource_id=rng.choice([None, "cart"]) if line is Line.NONE else "cart",
        exclusive=bool(line) or rng.random() < 0.3,
        line=line,
        status=rng.choice([RunStatus.PENDING, RunStatus.SUSPENDED]),
    )
    workflows = rng.choice([None, ["x"], ["x", "y"]])
    return rng.choice(
        [
            ("write", [[new]], {}),
            ("write", [[step_forward(row, rng.randint(0, 2))]], {}),
            ("write", [[step_forward(row), step_forward(run_row("a", token=1))]], {}),
            ("write", [[consuming]], {}),
            ("register", [worker(worker_id, seen_at=now, lease=rng.choice([5.0, 60.0]))], {}),
            ("unregister", [worker_id], {}),
            (
                "heartbeat",
                [worker_id, Moment(now)],
                {"after": rng.choice(["", "", mail_cursor(rng.randint(1, 60))])},
            ),
            ("claim", [worker_id], {"times": Moment(now), "workflow_ids": workflows, "limit": 2}),
            ("claim", [worker_id], {"times": Moment(now), "run_id": run_id}),
            ("post", [message(run_id, str(now))], {}),
            ("post", [signal(str(now).encode(), run_id)], {}),
            ("delete_runs", [[run_id]], {}),
            ("note", [], notes(rng, now)),
            *others(rng, now, new, row),
        ]
    )


def notes(rng, now):
    """Return reports and lines of odd attempts, runs and numbers."""
    ids = [*RUNS, "none"]
    paths = ["a", "b[\u00fc]", ""]
    created = partial(rng.choice, [T0, T0, now])
    return {
        "reports": [
            ReportRow(rng.choice(ids), created(), rng.choice(paths), rng.randint(1, 3), 1.5,
                      rng.choice([None, 2.0]), "m\x00", now)
            for _ in range(rng.randint(0, 3))
        ],
        "lines": [
            LineRow(rng.choice(ids), created(), rng.choice(paths), rng.randint(1, 3),
                    rng.randint(1, 9), now, rng.choice([20, 40]),
                    rng.choice(["", "\x1b", "two\nlines"]))
            for _ in range(rng.randint(0, 5))
        ],
        "ended": [
            AttemptId(rng.choice(ids), created(), rng.choice(paths), rng.randint(1, 3))
            for _ in range(rng.randint(0, 2))
        ],
    }  # fmt: skip


def others(rng, now, new, row):
    """Return calls that hardly matter to what comes after them, and odd arguments."""
    worker_id, run_id = rng.choice(WORKERS), rng.choice([*RUNS, "none", "", "\x00", "é"])
    odd = rng.choice([-1, 0, 1, 2, 1000, 2**62])
    limits = (Limit("a", concurrency=rng.choice([1, 2])), Limit("b", rate=2, per=5.0))
    wanted = [LimitRequest((rng.choice(limits),), rng.randint(0, 3), now)]
    schedule = ScheduleRow(
        schedule_id=rng.choice("pq"), workflow_id="x", every=rng.choice([5, 60]),
        created_at=T0, next_due=now + rng.choice([-5.0, 5.0]), revision=rng.randint(1, 4),
        paused=rng.random() < 0.3, input=rng.choice([None, b"1"]),
    )  # fmt: skip
    twice = replace(new, row=replace(new.row, run_id=new.row.run_id))
    return [
        ("write", [[new, twice]], {}),
        ("write", [[]], {}),
        ("write", [[]], {}),
        ("write", [[step_forward(row, 2), step_forward(row, 1)]], {}),
        ("read_events", [run_id], {"after": odd, "limit": rng.choice([0, 1, 3, 2**62])}),
        ("inbox", [run_id], {}),
        ("get_run", [run_id], {}),
        ("load", [run_id], {}),
        ("post", [message(run_id, "odd \x00")], {}),
        ("delete_runs", [[run_id, run_id, "none"]], {}),
        ("heartbeat", ["stranger", Moment(now)], {"after": rng.choice(["", "7", run_id])}),
        ("heartbeat", [worker_id, Moment(now)], {"after": mail_cursor(odd)}),
        ("get_runs", [[run_id, *RUNS]], {}),
        ("load_many", [[run_id, *RUNS]], {}),
        ("unregister", ["stranger"], {}),
        ("claim", [worker_id], {"times": Moment(now), "ahead": 30.0, "limit": 0}),
        ("claim", [worker_id], {"times": Moment(now), "workflow_ids": []}),
        ("claim", ["stranger"], {"times": Moment(now), "run_id": run_id}),
        ("take_limits", [worker_id], {"times": Moment(now), "held": {}, "requests": wanted}),
        ("take_limits", ["stranger"], {"times": Moment(now), "held": {"a": 1}, "requests": wanted}),
        ("put_schedule", [schedule], {}),
        ("drop_schedule", [rng.choice("pqr")], {}),
        ("schedules", [], {"due_by": rng.choice([None, now, now + 5.0])}),
    ]


async def answer(store, name, args, options):
    """Return what a store answers, an error included."""
    try:
        return await getattr(store, name)(*args, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def lines(store, run_id, path):
    """Return the log of a run; the ids are each store's own."""
    return [line._replace(id=0) for line in await store.logs(run_id, path=path, limit=7)]


async def picture(store, now):
    """Return all that can be read."""
    filters = [
        RunFilter(),
        RunFilter(limit=2, status=[RunStatus.RUNNING, RunStatus.PENDING]),
        RunFilter(tags={"t": "1"}),
        RunFilter(workflow_id="x"),
        RunFilter(workflow_id="y", status=("suspended", "running"), tags=None),
        RunFilter(resource_id="cart", tags={"t": "2"}, limit=None),
        RunFilter(finished_before=instant(now - 20)),
    ]
    feed: list[object] = []
    cursor = ""
    while page := await store.read_all_events(after=cursor, limit=7):
        if not page[0]:
            break
        feed += page[0]
        cursor = page[1]
    return (
        feed,
        await store.schedules(),
        [list(await store.list_runs(each)) for each in filters],
        [await store.load(run_id) for run_id in RUNS],
        [await store.inbox(run_id) for run_id in RUNS],
        [await store.reports(run_id) for run_id in RUNS],
        [await lines(store, run_id, path) for run_id in RUNS for path in (None, "a", "b")],
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
            answers = [await answer(store, name, args, options) for store in stores]
            assert answers[0] == answers[1], (name, args, options)
            now += rng.choice([0, 0, 1, 1, 10])
            if rng.random() < 0.1:
                memory, sqlite = [await picture(store, now) for store in stores]
                assert memory == sqlite
        for store in stores:
            await store.close()

    asyncio.run(test())
