"""Runs that wait: in which order they are claimed, what wakes them, what keeps them out."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from gorkflow.clock import Moment
from gorkflow.model import RunStatus
from gorkflow.store import Append, Store
from gorkflow.testing.conformance.base import (
    DUPLICATE,
    OCCUPIED,
    OK,
    T0,
    Conformance,
    finish,
    message,
    names,
    new_run,
    run_row,
    signal,
    step_forward,
    with_store,
    worker,
)

SUSPENDED = RunStatus.SUSPENDED


class Waiting(Conformance):
    """Runs that wait: in which order they are claimed, what wakes them, what keeps them out."""

    # Priority

    @with_store
    async def test_a_higher_priority_is_claimed_first(self, store: Store) -> None:
        await store.register(worker())
        await store.write(
            [
                new_run("low", priority=-1),
                new_run("old"),
                new_run("young", created_at=T0 + 1),
                new_run("high", priority=2, created_at=T0 + 2),
                new_run("other", priority=1, workflow_id="x"),
                new_run("due", priority=3, due_at=T0 + 1),
                new_run("mailed", priority=4, status=SUSPENDED),
                new_run("asleep", priority=9, due_at=T0 + 500),
            ]
        )
        await store.post(message("mailed"))
        now = T0 + 5
        assert names(await store.claim("w1", times=Moment(now), limit=2)) == ["mailed", "due"]
        assert names(await store.claim("w1", times=Moment(now), limit=2)) == ["high", "other"]
        assert names(await store.claim("w1", times=Moment(now))) == ["old", "young", "low"]

    @with_store
    async def test_priority_and_exclusiveness_are_kept(self, store: Store) -> None:
        row = run_row(priority=-3, exclusive=True, resource_id="cart", seen=4)
        await store.write([new_run(priority=-3, exclusive=True, resource_id="cart", seen=4)])
        assert await store.get_run("r") == row
        changed = run_row(priority=5, exclusive=False, resource_id="cart", seen=6)
        assert await store.write([Append(changed, (), 1)]) == [OK]
        kept = await store.get_run("r")
        assert kept is not None
        assert (kept.priority, kept.exclusive, kept.seen) == (-3, True, 6)

    # Waking

    @with_store
    async def test_a_suspended_run_without_a_due_time_waits_for_mail(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(status=SUSPENDED), new_run("ready")])
        assert names(await store.claim("w1", times=Moment(T0 + 1e6))) == ["ready"]
        await store.post(signal())
        assert names(await store.claim("w1", times=Moment(T0))) == ["r"]

    @with_store
    async def test_mail_that_was_seen_wakes_nobody(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run("r", worker_id="w1", token=1)])
        await store.post(signal())
        [seen] = await store.inbox("r")
        asleep = run_row(worker_id=None, token=1, status=SUSPENDED, due_at=T0 + 500, seen=seen.id)
        assert await store.write([Append(asleep, (), 1)]) == [OK]
        assert await store.claim("w1", times=Moment(T0)) == []
        await store.post(signal())
        [claim] = await store.claim("w1", times=Moment(T0))
        assert (claim.row.seen, claim.row.status) == (seen.id, SUSPENDED)

    @with_store
    async def test_mail_that_came_while_it_was_suspended_wakes_it(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run("r", worker_id="w1", token=1)])
        await store.post(signal())
        asleep = run_row(worker_id=None, token=1, status=SUSPENDED, seen=0)
        await store.write([Append(asleep, (), 1)])
        assert names(await store.claim("w1", times=Moment(T0))) == ["r"]

    @with_store
    async def test_mail_that_was_consumed_wakes_nobody(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(status=SUSPENDED)])
        await store.post(signal())
        [sent] = await store.inbox("r")
        use = replace(step_forward(run_row(status=SUSPENDED)), consumed=[sent.id])
        assert await store.write([use]) == [OK]
        assert await store.claim("w1", times=Moment(T0)) == []

    @with_store
    async def test_a_run_of_a_dead_owner_is_due_when_it_says(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(worker_id="ghost", token=1, due_at=T0 + 5)])
        assert await store.claim("w1", times=Moment(T0)) == []
        assert names(await store.claim("w1", times=Moment(T0 + 5))) == ["r"]

    # Exclusive starts

    @with_store
    async def test_an_exclusive_start_needs_the_resource_free(self, store: Store) -> None:
        exclusive = {"resource_id": "cart", "exclusive": True}
        assert await store.write([new_run("a", resource_id="cart")]) == [OK]
        assert await store.write([new_run("b", **exclusive)]) == [OCCUPIED]
        assert await store.get_run("b") is None
        assert await store.read_events("b") == []
        assert await store.write([new_run("c", resource_id="bill", exclusive=True)]) == [OK]
        await store.write([finish(run_row("a"))])
        assert await store.write([new_run("b", **exclusive)]) == [OK]

    @with_store
    async def test_an_exclusive_run_keeps_all_others_out(self, store: Store) -> None:
        exclusive = {"resource_id": "cart", "exclusive": True}
        batch = [
            new_run("a", **exclusive),
            new_run("b", **exclusive),
            new_run("c", resource_id="cart", workflow_id="x"),
            new_run("a", **exclusive),
            new_run("free"),
        ]
        assert await store.write(batch) == [OK, OCCUPIED, OCCUPIED, DUPLICATE, OK]
        suspended = step_forward(run_row("a"), status=SUSPENDED)
        await store.write([suspended])
        assert await store.write([new_run("c", resource_id="cart")]) == [OCCUPIED]
        await store.write([finish(suspended.row)])
        assert await store.write([new_run("c", resource_id="cart")]) == [OK]

    @with_store
    async def test_runs_share_a_resource_unless_one_is_exclusive(self, store: Store) -> None:
        batch = [new_run(name, resource_id="cart") for name in "abc"]
        assert await store.write(batch) == [OK, OK, OK]
        await store.write([finish(run_row("a")), finish(run_row("b"))])
        assert await store.write([new_run("d", resource_id="cart", exclusive=True)]) == [OCCUPIED]

    @with_store
    async def test_of_concurrent_exclusive_starts_one_wins(self, store: Store) -> None:
        starts = [new_run(f"r{n}", resource_id="cart", exclusive=True) for n in range(8)]
        results = await asyncio.gather(*(store.write([start]) for start in starts))
        assert sorted(results) == [[OCCUPIED]] * 7 + [[OK]]
