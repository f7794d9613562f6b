"""The queues of runs: which worker claims from which, and how many at a time."""

from __future__ import annotations

import asyncio

from gorkflow.clock import Moment
from gorkflow.model import RunStatus
from gorkflow.store import Append, Store
from gorkflow.testing.conformance.base import (
    OK,
    T0,
    Conformance,
    finish,
    message,
    names,
    new_run,
    register,
    row_of,
    run_row,
    worker,
)

SUSPENDED = RunStatus.SUSPENDED


class Queues(Conformance):
    async def test_a_run_is_claimed_from_the_queues_that_are_named(self, store: Store) -> None:
        await store.register(worker())
        await store.write(
            [
                new_run("plain"),
                new_run("gpu", queue="gpu"),
                new_run("due", queue="gpu", due_at=T0),
                new_run("mailed", queue="gpu", status=SUSPENDED),
                new_run("mail", queue="mail", priority=1),
                new_run("other", queue="mail", workflow_id="x"),
            ]
        )
        await store.post(message("mailed"))
        now, none = Moment(T0 + 1), dict[str, int | None]()
        assert await store.claim("w1", times=now, queues=none) == []
        assert await store.claim("w1", times=now, queues={"unknown": None}) == []
        taken = await store.claim("w1", times=now, queues={"gpu": None, "unknown": None})
        assert set(names(taken)) == {"gpu", "due", "mailed"}
        assert {claim.queue for claim in taken} == {"gpu"}
        both: dict[str, int | None] = {"default": None, "mail": None}
        taken = await store.claim("w1", times=now, queues=both, workflow_ids=["shop"])
        assert names(taken) == ["mail", "plain"]
        assert names(await store.claim("w1", times=now)) == ["other"]

    async def test_a_run_that_is_named_is_claimed_from_its_queue_alone(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(queue="gpu")])
        times = Moment(T0)
        assert await store.claim("w1", times=times, run_id="r", queues={"default": None}) == []
        assert await store.claim("w1", times=times, run_id="r", queues={"gpu": 0}) == []
        [claim] = await store.claim("w1", times=times, run_id="r", queues={"gpu": None})
        assert (claim.queue, claim.worker_id) == ("gpu", "w1")

    async def test_the_bound_of_a_queue_holds_for_all_workers(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write(
            [
                *(new_run(f"g{n}", queue="gpu", priority=1, created_at=T0 + n) for n in range(5)),
                *(new_run(f"p{n}", created_at=T0 + n) for n in range(2)),
            ]
        )
        times = Moment(T0 + 9)
        queues: dict[str, int | None] = {"gpu": 3, "default": None}
        first = await store.claim("w1", times=times, queues=queues, limit=2)
        assert names(first) == ["g0", "g1"]
        # Runs beyond the bound take up the limit of this call, but not of the next one.
        assert names(await store.claim("w2", times=times, queues=queues, limit=2)) == ["g2"]
        taken = await store.claim("w2", times=times, queues=queues, limit=2)
        assert names(taken) == ["p0", "p1"]
        assert await store.claim("w2", times=times, queues=queues) == []
        assert await store.write([finish(first[0])]) == [OK]
        assert names(await store.claim("w2", times=times, queues=queues)) == ["g3"]
        assert names(await store.claim("w2", times=times, queues={"gpu": None})) == ["g4"]

    async def test_a_bound_holds_for_claims_at_the_same_time(self, stores: list[Store]) -> None:
        for number, store in enumerate(stores):
            await store.register(worker(f"w{number}"))
        await stores[0].write([new_run(f"r{number}", queue="gpu") for number in range(40)])
        found = await asyncio.gather(
            *(
                store.claim(f"w{number}", times=Moment(T0), queues={"gpu": 10}, limit=4)
                for number, store in enumerate(stores)
            )
        )
        assert len({name for claims in found for name in names(claims)}) == 10

    async def test_what_the_dead_own_has_no_place_in_a_queue(self, store: Store) -> None:
        await store.register(worker(seen_at=T0 + 100))
        await store.write([new_run(queue="gpu", worker_id="ghost", token=1)])
        [claim] = await store.claim("w1", times=Moment(T0 + 100), queues={"gpu": 1})
        assert claim.orphaned

    async def test_the_queue_of_a_run_never_changes(self, store: Store) -> None:
        await store.write([new_run(queue="gpu")])
        changed = run_row(queue="mail", reason="why")
        assert await store.write([Append(changed, (), 1)]) == [OK]
        row = await row_of(store, "r")
        assert (row.queue, row.reason) == ("gpu", "why")

    async def test_queues_with_runs_that_wait_are_named(self, store: Store) -> None:
        assert await store.waiting_queues() == []
        await store.register(worker())
        await store.write(
            [
                new_run("a", queue="b"),
                new_run("b", queue="b"),
                new_run("c", queue="c", due_at=T0 + 500),
                new_run("d", queue="a", status=SUSPENDED),
                new_run("e", queue="e", status=SUSPENDED),
                new_run("f", queue="f", worker_id="w1", token=1),
                new_run("g", queue="g", status=RunStatus.FAILED, finished_at=T0),
            ]
        )
        await store.post(message("d"))
        assert await store.waiting_queues() == ["a", "b", "c"]
        await store.claim("w1", times=Moment(T0), queues={"b": None})
        assert await store.waiting_queues() == ["a", "c"]

    async def test_a_worker_says_what_it_serves(self, store: Store) -> None:
        made = worker(concurrency=5, queues=("default", "gpu"))
        await store.register(made)
        await store.register(worker("w2"))
        assert set(await store.workers()) == {made, worker("w2")}
        await store.heartbeat("w1", Moment(T0 + 20))
        [now, _] = sorted(await store.workers())
        assert now == made._replace(seen_at=T0 + 20)
