"""Limits that all workers share: admission, release and order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gorkflow.clock import Moment
from gorkflow.limits import NONE, LimitGrant, LimitRequest
from gorkflow.model import instant
from gorkflow.policy import Limit
from gorkflow.store import Store
from gorkflow.testing.conformance.base import LEASE, T0, Conformance, Turning, register, worker

TWO = Limit("two", concurrency=2)
ONE = Limit("one", concurrency=1)
FAST = Limit("fast", rate=3, per=10.0)


def want(count: int, *limits: Limit, defined_at: float = 0.0) -> LimitRequest:
    """Return a request of so many steps."""
    return LimitRequest(limits, count, defined_at)


async def take(
    store: Store,
    worker_id: str,
    *requests: LimitRequest,
    at: float = T0,
    held: Mapping[str, int] = NONE,
    **told: Mapping[str, Any],
) -> LimitGrant:
    """Ask for places at limits."""
    return await store.take_limits(
        worker_id, times=Moment(at), held=held, requests=requests, **told
    )


class Limiting(Conformance):
    async def test_no_more_are_let_in_than_the_limit_allows(self, store: Store) -> None:
        await store.register(worker())
        first = await take(store, "w1", want(1, TWO))
        assert first.counts == (1,)
        assert first.in_force == (TWO,)
        more = await take(store, "w1", want(5, TWO), held={"two": 1})
        assert more.counts == (1,)
        assert (more.ask_at, more.contended) == (None, False)

    async def test_what_is_no_longer_held_is_given_back(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await take(store, "w1", want(2, TWO))
        other = await take(store, "w2", want(1, TWO))
        assert (other.counts, other.contended) == ((0,), True)
        await take(store, "w1", held={"two": 1})
        other = await take(store, "w2", want(2, TWO))
        assert other.counts == (1,)
        await take(store, "w1")
        other = await take(store, "w2", want(2, TWO), held={"two": 1})
        assert other.counts == (1,)

    async def test_workers_that_ask_at_once_share_what_there_is(self, stores: list[Store]) -> None:
        for number, store in enumerate(stores):
            await store.register(worker(f"w{number}"))
        for turn in range(3):
            wide = Limit(f"wide{turn}", concurrency=12)
            grants = await asyncio.gather(
                *(take(each, f"w{number}", want(5, wide)) for number, each in enumerate(stores))
            )
            assert sum(grant.counts[0] for grant in grants) == 12

    async def test_so_they_do_with_a_rate(self, stores: list[Store]) -> None:
        for number, store in enumerate(stores):
            await store.register(worker(f"w{number}"))
        fast = Limit("fast", rate=12, per=60.0)
        grants = await asyncio.gather(
            *(take(each, f"w{number}", want(5, fast)) for number, each in enumerate(stores))
        )
        assert sum(grant.counts[0] for grant in grants) == 12

    async def test_all_limits_or_none(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await take(store, "w1", want(1, ONE))
        both = await take(store, "w2", want(1, ONE, TWO))
        assert both.counts == (0,)
        left = await take(store, "w1", want(2, TWO), held={"one": 1})
        assert left.counts == (2,)

    async def test_a_rate_lets_so_many_start_in_any_window(self, store: Store) -> None:
        await register(store, "w1", "w2")
        first = await take(store, "w1", want(2, FAST))
        assert first.counts == (2,)
        second = await take(store, "w2", want(2, FAST), at=T0 + 4)
        assert (second.counts, second.ask_at) == ((1,), T0 + 10)
        third = await take(store, "w1", want(9, FAST), at=T0 + 10)
        assert (third.counts, third.ask_at) == ((2,), T0 + 14)

    async def test_a_start_counts_from_when_it_began(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await take(store, "w1", want(2, FAST))
        # The window in which they were let in has passed, but they may begin any moment.
        waits = await take(store, "w2", want(3, FAST), at=T0 + 12)
        assert (waits.counts, waits.contended) == ((1,), True)
        await take(store, "w2", at=T0 + 13, began={"fast": T0 + 12.5})
        told = await take(
            store,
            "w1",
            want(3, FAST),
            at=T0 + 14,
            held={"fast": 2},
            unbegun={"fast": 1},
            began={"fast": T0 + 13.5},
        )
        assert told.counts == (0,)
        late = await take(store, "w2", want(3, FAST), at=T0 + 22.5)
        assert (late.counts, late.contended) == ((1,), True)

    async def test_what_the_dead_did_not_tell_has_just_begun(self, store: Store) -> None:
        await store.register(worker())
        await store.register(worker("w2", seen_at=T0 + LEASE))
        await take(store, "w1", want(2, FAST))
        now = T0 + LEASE + 1
        after = await take(store, "w2", want(3, FAST), at=now)
        assert (after.counts, after.ask_at) == ((1,), now + 10)

    async def test_a_clock_that_was_set_back_delays_by_one_window(self, store: Store) -> None:
        await store.register(worker(seen_at=T0 - 3600))
        ahead = worker(seen_at=T0)
        await store.register(ahead)
        await take(store, "w1", want(3, FAST))
        await store.register(worker(seen_at=T0 - 3600))
        for passed, counts in ((0, (0,)), (9, (0,)), (10, (1,))):
            grant = await take(store, "w1", want(1, FAST), at=T0 - 3600 + passed)
            assert grant.counts == counts

    async def test_the_time_is_asked_once_the_lock_is_held(self, store: Store) -> None:
        await register(store, "w1", "other")
        await take(store, "w1", want(3, FAST))
        turning = Turning(T0, T0 + 10)
        call = store.take_limits("w1", times=turning, held={}, requests=[want(1, FAST)])
        assert (await turning.after_another(store, call)).counts == (1,)

    async def test_the_dead_hold_nothing(self, store: Store) -> None:
        await store.register(worker())
        await store.register(worker("w2", seen_at=T0 + LEASE))
        await take(store, "w1", want(2, TWO))
        during = await take(store, "w2", want(2, TWO), at=T0 + LEASE)
        assert during.counts == (0,)
        after = await take(store, "w2", want(2, TWO), at=T0 + LEASE + 1)
        assert after.counts == (2,)

    async def test_a_worker_that_leaves_holds_nothing(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await take(store, "w1", want(2, TWO))
        await store.unregister("w1")
        after = await take(store, "w2", want(2, TWO))
        assert after.counts == (2,)

    async def test_who_is_not_alive_is_let_in_nowhere(self, store: Store) -> None:
        stranger = await take(store, "nobody", want(1, TWO))
        assert (stranger.counts, stranger.contended) == ((0,), True)
        await store.register(worker())
        late = await take(
            store, "w1", want(1, FAST), want(1, TWO), at=T0 + LEASE + 1, held={"two": 2}
        )
        assert (late.counts, late.contended) == ((0, 0), True)
        await store.register(worker("w2", seen_at=T0 + LEASE))
        other = await take(store, "w2", want(2, TWO), at=T0 + LEASE)
        assert other.counts == (2,)

    async def test_the_newest_definition_holds_for_all(self, store: Store) -> None:
        await store.register(worker())
        old, new = Limit("x", concurrency=1), Limit("x", concurrency=3)
        held = {"x": 1}
        await take(store, "w1", want(1, old, defined_at=T0))
        await take(store, "w1", want(1, new, defined_at=T0 + 1), held=held)
        held = {"x": 2}
        grant = await take(store, "w1", want(5, old, defined_at=T0), held=held)
        assert grant.counts == (1,)
        assert grant.in_force == (new,)

    async def test_who_waited_too_long_has_a_place_kept(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await take(store, "w1", want(1, ONE))
        for later in (0.0, 1.0, 2.0):
            waits = await take(store, "w2", want(1, ONE), at=T0 + later)
            assert waits.counts == (0,)
        greedy = await take(store, "w1", want(9, ONE), at=T0 + 2.1)
        assert (greedy.counts, greedy.contended) == ((0,), True)
        patient = await take(store, "w2", want(1, ONE), at=T0 + 2.2)
        assert patient.counts == (1,)

    async def test_no_place_is_kept_for_who_asks_no_more(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await take(store, "w1", want(1, ONE))
        await take(store, "w2", want(1, ONE))
        greedy = await take(store, "w1", want(9, ONE), at=T0 + 5)
        assert greedy.counts == (1,)

    def test_what_is_let_in_is_durable(self) -> None:
        if not self.durable:
            return

        async def first(store: Store) -> None:
            await store.register(worker())
            await take(store, "w1", want(3, FAST))
            await store.unregister("w1")

        async def second(store: Store) -> None:
            await store.register(worker("w2"))
            grant = await take(store, "w2", want(1, FAST), at=T0 + 9)
            assert (grant.counts, grant.ask_at) == ((0,), T0 + 10)

        self.check(first)
        self.check(second)

    # Looking at them

    async def test_there_is_no_use_of_a_limit_that_nobody_asked_for(self, store: Store) -> None:
        assert await store.limits(now=T0) == []

    async def test_the_use_of_a_limit_says_who_runs_and_who_waits(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await take(store, "w1", want(3, TWO), want(1, ONE))
        await take(store, "w2", want(1, TWO), at=T0 + 1)
        one, two = await store.limits(now=T0 + 2)
        assert (one.limit, dict(one.running), dict(one.waiting)) == (ONE, {"w1": 1}, {})
        assert (two.limit, dict(two.running)) == (TWO, {"w1": 2})
        assert dict(two.waiting) == {"w1": instant(T0), "w2": instant(T0 + 1)}
        assert (two.started, two.next_start) == (0, None)

    async def test_the_use_of_a_rate_says_when_the_next_may_start(self, store: Store) -> None:
        await store.register(worker())
        await take(store, "w1", want(2, FAST))
        [fast] = await store.limits(now=T0 + 1)
        assert (fast.started, fast.next_start) == (2, None)
        await take(store, "w1", want(1, FAST), at=T0 + 1, held={"fast": 2})
        [fast] = await store.limits(now=T0 + 1)
        assert (fast.started, fast.next_start) == (3, instant(T0 + 10))

    async def test_the_dead_use_no_limit(self, store: Store) -> None:
        await store.register(worker())
        await store.register(worker("w2", lease=1000.0))
        await take(store, "w1", want(1, TWO))
        await take(store, "w2", want(1, TWO))
        [two] = await store.limits(now=T0 + LEASE + 1)
        assert dict(two.running) == {"w2": 1}
        [two] = await store.limits(now=T0)  # looking changed nothing
        assert dict(two.running) == {"w1": 1, "w2": 1}
