"""The owner of a run: which runs are claimed, in which order, what wakes them, and workers."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from gorkflow.clock import Moment
from gorkflow.model import RunStatus
from gorkflow.store import Append, Hinting, HintKind, Store
from gorkflow.testing.conformance.base import (
    DUPLICATE,
    FENCED,
    LEASE,
    OCCUPIED,
    OK,
    T0,
    Conformance,
    Turning,
    decided,
    finish,
    message,
    names,
    new_run,
    register,
    row_of,
    run_row,
    signal,
    step_forward,
    worker,
)

SUSPENDED = RunStatus.SUSPENDED


class Owning(Conformance):
    # Claiming

    async def test_claim_gives_owner_and_fresh_token(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(token=4)])
        [claim] = await store.claim("w1", times=Moment(T0))
        assert claim == run_row(token=5, worker_id="w1")
        assert await store.get_run("r") == claim

    async def test_a_run_is_claimed_once(self, stores: list[Store]) -> None:
        for number, store in enumerate(stores):
            await store.register(worker(f"w{number}"))
        wanted = {f"r{number}" for number in range(100)}
        await stores[0].write([new_run(run_id) for run_id in sorted(wanted)])
        taken: list[str] = []

        async def take(store: Store, worker_id: str) -> None:
            while claims := await store.claim(worker_id, times=Moment(T0), limit=7):
                taken.extend(names(claims))
                answers = await store.write([step_forward(claim) for claim in claims])
                assert answers == [OK] * len(claims)

        # Those that find nothing may have been passed by others, which hold the runs.
        for _ in range(20):
            await asyncio.gather(*(take(store, f"w{n}") for n, store in enumerate(stores)))
            if len(taken) >= len(wanted):
                break
        assert sorted(taken) == sorted(wanted)

    async def test_claim_takes_the_oldest_first(self, store: Store) -> None:
        await store.register(worker())
        for run_id, age in (("young", 2), ("b", 1), ("old", 0), ("a", 1)):
            await store.write([new_run(run_id, created_at=T0 + age)])
        assert names(await store.claim("w1", times=Moment(T0), limit=3)) == ["old", "a", "b"]
        assert names(await store.claim("w1", times=Moment(T0))) == ["young"]

    async def test_claim_orders_due_and_waiting_runs_by_age(self, store: Store) -> None:
        await store.register(worker())
        await store.write(
            [
                new_run("a", created_at=T0 + 1),
                new_run("b", created_at=T0, due_at=T0 + 5),
                new_run("c", created_at=T0 + 2, due_at=T0 + 1),
            ]
        )
        assert names(await store.claim("w1", times=Moment(T0 + 9))) == ["b", "a", "c"]

    async def test_claim_respects_the_limit(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(f"r{number}") for number in range(5)])
        assert len(await store.claim("w1", times=Moment(T0), limit=2)) == 2
        assert await store.claim("w1", times=Moment(T0), limit=0) == []
        assert len(await store.claim("w1", times=Moment(T0))) == 3

    async def test_claim_of_several_workflows(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(name, workflow_id=name) for name in ("a", "b", "c")])
        assert names(await store.claim("w1", times=Moment(T0), workflow_ids=[])) == []
        assert names(await store.claim("w1", times=Moment(T0), workflow_ids=["c", "a", "x"])) == [
            "a",
            "c",
        ]
        assert names(await store.claim("w1", times=Moment(T0))) == ["b"]

    async def test_a_run_is_claimable_when_it_is_due(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(due_at=T0 + 5, status=SUSPENDED)])
        assert await store.claim("w1", times=Moment(T0 + 4.9)) == []
        assert names(await store.claim("w1", times=Moment(T0 + 5))) == ["r"]

    async def test_what_is_due_is_judged_once_the_lock_is_held(self, store: Store) -> None:
        await register(store, "w1", "other")
        await store.write([new_run(due_at=T0 + 5, status=SUSPENDED)])
        turning = Turning(T0, T0 + 6)
        assert names(await turning.after_another(store, store.claim("w1", times=turning))) == ["r"]

    async def test_a_lease_is_judged_once_the_lock_is_held(self, store: Store) -> None:
        await register(store, "w1", "other")
        turning = Turning(T0 + LEASE, T0 + LEASE + 1)
        assert not (await turning.after_another(store, store.heartbeat("w1", turning))).alive

    async def test_a_lease_from_far_ahead_was_written_by_a_wrong_clock(self, store: Store) -> None:
        await store.register(worker("w1", seen_at=T0 + 3600))
        await store.register(worker("w2"))
        await store.write([new_run()])
        await store.claim("w1", times=Moment(T0 + 3600))
        assert names(await store.claim("w2", times=Moment(T0))) == ["r"]

    async def test_a_run_can_be_claimed_ahead_of_time(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(due_at=T0 + 5, status=SUSPENDED)])
        assert await store.claim("w1", times=Moment(T0 + 2), ahead=2.9) == []
        assert names(await store.claim("w1", times=Moment(T0 + 2), ahead=3)) == ["r"]

    async def test_claim_by_id_takes_that_run_and_no_other(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run("a"), new_run("b", due_at=T0 + 500)])
        assert names(await store.claim("w1", times=Moment(T0), run_id="b")) == ["b"]
        assert await store.claim("w1", times=Moment(T0), run_id="nobody") == []
        assert names(await store.claim("w1", times=Moment(T0))) == ["a"]

    async def test_claim_by_id_respects_owner_workflow_and_end(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run("owned"), new_run("ended"), new_run("other", workflow_id="x")])
        await store.claim("w2", times=Moment(T0), run_id="owned")
        await store.write([finish(run_row("ended"))])
        assert await store.claim("w1", times=Moment(T0), run_id="owned") == []
        assert await store.claim("w1", times=Moment(T0), run_id="ended") == []
        assert (
            await store.claim("w1", times=Moment(T0), run_id="other", workflow_ids=["shop"]) == []
        )

    async def test_ended_runs_are_not_claimed(self, store: Store) -> None:
        await store.register(worker())
        for status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED):
            await store.write([new_run(status.value)])
            await store.write([finish(run_row(status.value), status)])
        assert await store.claim("w1", times=Moment(T0)) == []

    async def test_a_living_owner_keeps_its_runs(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run()])
        await store.claim("w1", times=Moment(T0))
        assert await store.claim("w2", times=Moment(T0 + LEASE)) == []
        assert await store.claim("w1", times=Moment(T0)) == []

    async def test_runs_of_an_ended_lease_are_claimable(self, store: Store) -> None:
        await store.register(worker())
        await store.register(worker("w2", seen_at=T0 + LEASE))
        await store.write([new_run()])
        [first] = await store.claim("w1", times=Moment(T0))
        [second] = await store.claim("w2", times=Moment(T0 + LEASE + 0.5))
        assert (second.worker_id, second.token) == ("w2", first.token + 1)
        assert await store.write([step_forward(first)]) == [FENCED]
        assert await store.write([step_forward(second)]) == [OK]

    async def test_runs_of_a_worker_that_never_registered_are_claimable(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(worker_id="ghost", token=1)])
        [claim] = await store.claim("w1", times=Moment(T0))
        assert (claim.worker_id, claim.token) == ("w1", 2)

    # Owners that died

    async def test_what_an_owner_gives_back_is_not_orphaned(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run()])
        await store.claim("w1", times=Moment(T0))
        await store.unregister("w1")
        [claim] = await store.claim("w2", times=Moment(T0))
        assert not claim.orphaned
        released = replace(claim, worker_id=None)
        assert await store.write([Append(released, (), released.seq)]) == [OK]
        [claim] = await store.claim("w2", times=Moment(T0))
        assert not claim.orphaned

    async def test_the_run_of_an_owner_that_died_is_orphaned(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(worker_id="ghost", token=1)])
        [claim] = await store.claim("w1", times=Moment(T0))
        assert claim.orphaned
        assert await store.get_run("r") == claim

    async def test_so_is_that_of_an_earlier_worker_of_the_id(self, store: Store) -> None:
        await store.write([new_run(worker_id="w1", token=1)])
        await store.register(worker())
        [claim] = await store.claim("w1", times=Moment(T0))
        assert claim.orphaned

    async def test_the_run_of_an_owner_that_only_lapsed_is_not(self, store: Store) -> None:
        """The owner is of this process, so the store can see that it lives."""
        await store.register(worker())
        await store.register(worker("w2", seen_at=T0 + LEASE))
        await store.write([new_run("a"), new_run("b")])
        await store.claim("w1", times=Moment(T0))
        [claim] = await store.claim("w2", times=Moment(T0 + LEASE + 1), limit=1)
        assert not claim.orphaned
        assert not (await store.heartbeat("w1", Moment(T0 + LEASE + 1))).alive
        await store.register(worker(seen_at=T0 + LEASE + 1))
        [claim] = await store.claim("w1", times=Moment(T0 + LEASE + 1))
        assert not claim.orphaned

    async def test_an_orphan_stays_one_until_an_append_says_otherwise(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run("a", worker_id="ghost", token=1), new_run("b")])
        await store.claim("w1", times=Moment(T0))
        await store.unregister("w1")
        first, second = await store.claim("w2", times=Moment(T0))
        assert (first.orphaned, second.orphaned) == (True, False)
        kept = replace(first, worker_id=None)  # as whoever can't carry it on puts it back
        assert await store.write([Append(kept, (), kept.seq)]) == [OK]
        [again] = await store.claim("w2", times=Moment(T0))
        assert again.orphaned
        assert await store.write([step_forward(again, orphaned=False)]) == [OK]
        row = await row_of(store, "a")
        assert not row.orphaned

    async def test_a_mailed_run_is_claimable_though_it_sleeps(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(due_at=T0 + 500), new_run("other", due_at=T0 + 500)])
        await store.post(message())
        assert await store.claim("w1", times=Moment(T0), workflow_ids=["x"]) == []
        assert names(await store.claim("w1", times=Moment(T0))) == ["r"]

    # Workers

    async def test_unregister_gives_the_runs_back(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run("a"), new_run("b"), new_run("c")])
        await store.claim("w1", times=Moment(T0), limit=2)
        await store.claim("w2", times=Moment(T0))
        await store.unregister("w1")
        for run_id, owner in (("a", None), ("b", None), ("c", "w2")):
            row = await row_of(store, run_id)
            assert row.worker_id == owner
        assert names(await store.claim("w2", times=Moment(T0))) == ["a", "b"]

    async def test_the_clock_of_a_store_runs(self, store: Store) -> None:
        first, second = await store.clock(), await store.clock()
        assert (first is None) == (second is None)  # it has one, or not
        assert first is None or second is None or first <= second

    async def test_unregister_of_nobody_is_harmless(self, store: Store) -> None:
        await store.unregister("nobody")

    async def test_workers_are_those_alive(self, store: Store) -> None:
        await store.register(worker(host="here", pid=7))
        await store.register(worker("w2", started_at=T0 + 1, lease=5.0))
        assert await store.workers() == [
            worker(host="here", pid=7),
            worker("w2", started_at=T0 + 1, lease=5.0),
        ]
        assert [each.worker_id for each in await store.workers(now=T0 + 6)] == ["w1"]
        await store.unregister("w1")
        assert [each.worker_id for each in await store.workers()] == ["w2"]

    async def test_live_runs_are_counted_by_their_owner(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run("a"), new_run("b"), new_run("c"), new_run("d")])
        await store.claim("w1", times=Moment(T0), limit=2)
        await store.claim("w2", times=Moment(T0), limit=1)
        assert await store.owned() == {"w1": 2, "w2": 1}
        await store.write([finish(run_row("a", token=1))])
        await store.unregister("w2")
        assert await store.owned() == {"w1": 1}

    async def test_register_again_renews(self, store: Store) -> None:
        await store.register(worker())
        await store.register(worker(seen_at=T0 + 100))
        assert await store.workers() == [worker(seen_at=T0 + 100)]
        assert (await store.heartbeat("w1", Moment(T0 + 100 + LEASE))).alive

    async def test_register_gives_back_what_an_earlier_worker_of_the_id_left(
        self, store: Store
    ) -> None:
        await store.register(worker("w2"))
        await store.write([new_run("a"), new_run("b", worker_id="w1", token=1)])
        await store.register(worker())
        assert names(await store.claim("w2", times=Moment(T0))) == ["a", "b"]
        await store.write([new_run("c", worker_id="w1", token=1)])
        await store.register(worker(seen_at=T0 + 1))  # the same worker, after a lapse
        assert await store.claim("w2", times=Moment(T0)) == []

    async def test_a_heartbeat_extends_the_lease(self, store: Store) -> None:
        await store.register(worker())
        await store.register(worker("w2", seen_at=T0 + 100))
        await store.write([new_run()])
        await store.claim("w1", times=Moment(T0))
        assert (await store.heartbeat("w1", Moment(T0 + 20))).alive
        assert (await store.heartbeat("w1", Moment(T0 + 45))).alive
        assert await store.claim("w2", times=Moment(T0 + 45 + LEASE)) == []
        assert names(await store.claim("w2", times=Moment(T0 + 45.5 + LEASE))) == ["r"]

    async def test_a_late_heartbeat_does_not_raise_the_dead(self, store: Store) -> None:
        await store.register(worker())
        await store.register(worker("w2", seen_at=T0 + 40))
        await store.write([new_run()])
        await store.claim("w1", times=Moment(T0))
        assert not (await store.heartbeat("w1", Moment(T0 + LEASE + 1))).alive
        assert names(await store.claim("w2", times=Moment(T0 + LEASE + 1))) == ["r"]

    async def test_a_stranger_has_no_heartbeat(self, store: Store) -> None:
        beat = await store.heartbeat("nobody", Moment(T0))
        assert not beat.alive
        assert beat.messages == ()

    # Hints

    async def test_hints_say_where_it_is_worth_to_look(self, store: Store) -> None:
        if not isinstance(store, Hinting):
            return
        hinted: set[tuple[HintKind, str]] = set()

        async def hints(*wanted: tuple[HintKind, str]) -> None:
            async with asyncio.timeout(20):
                while not hinted.issuperset(wanted):  # noqa: ASYNC110 - from any thread
                    await asyncio.sleep(0.001)
            hinted.clear()

        end = store.hints(lambda kind, name: hinted.add((kind, name)))
        await register(store, "w1")
        await store.write([new_run("a"), new_run("b")])
        await hints((HintKind.QUEUED, "shop"))
        [claim, other] = await store.claim("w1", times=Moment(T0))
        await store.post(message("a"))
        await hints((HintKind.MAIL, "w1"))
        rests = step_forward(claim, status=SUSPENDED, worker_id=None)
        assert await store.write([rests]) == [OK]
        await store.post(message("a"))
        await hints((HintKind.QUEUED, "shop"))
        assert await store.write([step_forward(other, worker_id=None)]) == [OK]
        await hints((HintKind.QUEUED, "shop"))
        await store.write([finish(rests.row)])
        await hints((HintKind.ENDED, "a"))
        end()
        await store.write([new_run("c")])
        assert not hinted

    # Priority

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

    async def test_priority_and_exclusiveness_are_kept(self, store: Store) -> None:
        row = run_row(priority=-3, exclusive=True, resource_id="cart", seen=4)
        await store.write([new_run(priority=-3, exclusive=True, resource_id="cart", seen=4)])
        assert await store.get_run("r") == row
        changed = run_row(priority=5, exclusive=False, resource_id="cart", seen=6)
        assert await store.write([Append(changed, (), 1)]) == [OK]
        kept = await row_of(store, "r")
        assert (kept.priority, kept.exclusive, kept.seen) == (-3, True, 6)

    # Waking

    async def test_a_suspended_run_without_a_due_time_waits_for_mail(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(status=SUSPENDED), new_run("ready")])
        assert names(await store.claim("w1", times=Moment(T0 + 1e6))) == ["ready"]
        await store.post(signal())
        assert names(await store.claim("w1", times=Moment(T0))) == ["r"]

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
        assert (claim.seen, claim.status) == (seen.id, SUSPENDED)

    async def test_mail_that_came_while_it_was_suspended_wakes_it(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run("r", worker_id="w1", token=1)])
        await store.post(signal())
        asleep = run_row(worker_id=None, token=1, status=SUSPENDED, seen=0)
        await store.write([Append(asleep, (), 1)])
        assert names(await store.claim("w1", times=Moment(T0))) == ["r"]

    async def test_mail_that_was_consumed_wakes_nobody(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(status=SUSPENDED)])
        await store.post(signal())
        [sent] = await store.inbox("r")
        use = replace(step_forward(run_row(status=SUSPENDED)), consumed=[sent.id])
        assert await store.write([use]) == [OK]
        assert await store.claim("w1", times=Moment(T0)) == []

    async def test_a_run_of_a_dead_owner_is_due_when_it_says(self, store: Store) -> None:
        await store.register(worker())
        await store.write([new_run(worker_id="ghost", token=1, due_at=T0 + 5)])
        assert await store.claim("w1", times=Moment(T0)) == []
        assert names(await store.claim("w1", times=Moment(T0 + 5))) == ["r"]

    # Exclusive starts

    async def test_an_exclusive_start_needs_the_resource_free(self, store: Store) -> None:
        exclusive = {"resource_id": "cart", "exclusive": True}
        assert await store.write([new_run("a", resource_id="cart")]) == [OK]
        assert await store.write([new_run("b", **exclusive)]) == [OCCUPIED]
        assert await store.get_run("b") is None
        assert await store.read_events("b") == []
        assert await store.write([new_run("c", resource_id="bill", exclusive=True)]) == [OK]
        await store.write([finish(run_row("a"))])
        assert await store.write([new_run("b", **exclusive)]) == [OK]

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

    async def test_runs_share_a_resource_unless_one_is_exclusive(self, store: Store) -> None:
        batch = [new_run(name, resource_id="cart") for name in "abc"]
        assert await store.write(batch) == [OK, OK, OK]
        await store.write([finish(run_row("a")), finish(run_row("b"))])
        assert await store.write([new_run("d", resource_id="cart", exclusive=True)]) == [OCCUPIED]

    async def test_of_concurrent_exclusive_starts_one_wins(self, stores: list[Store]) -> None:
        for turn in range(5):
            starts = [
                new_run(f"{turn}-{n}", resource_id=f"cart {turn}", exclusive=True)
                for n in range(len(stores))
            ]
            results = await asyncio.gather(*map(decided, stores, starts))
            assert sorted(results) == [OCCUPIED] * 7 + [OK]

    async def test_a_zombie_and_a_release_at_the_same_time(self, stores: list[Store]) -> None:
        """A worker that is thought dead writes while others take its runs: one of them has each."""
        first, *others = stores
        await first.register(worker("w0"))
        await first.write([new_run(f"r{number}") for number in range(20)])
        claims = await first.claim("w0", times=Moment(T0))
        late = T0 + LEASE + 1
        for number, store in enumerate(others, 1):
            await store.register(worker(f"w{number}", seen_at=late))
        wrote, taken = await asyncio.gather(
            first.write([step_forward(claim) for claim in claims]),
            asyncio.gather(
                *(store.claim(f"w{n}", times=Moment(late)) for n, store in enumerate(others, 1))
            ),
        )
        rows = [row for each in taken for row in each]
        assert len({row.run_id for row in rows}) == len(rows)
        for claim, written in zip(claims, wrote, strict=True):
            row = await row_of(first, claim.run_id)
            events = await first.read_events(claim.run_id)
            assert len(events) == row.seq == (2 if written is OK else 1)
        answers = [await first.write([step_forward(row)]) for row in rows]
        assert answers == [[OK]] * len(rows)
