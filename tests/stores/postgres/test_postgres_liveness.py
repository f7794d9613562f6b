"""Who is believed dead: a process that died, soon; one that lives, never before its lease ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from gorkflow.clock import Moment, SystemClock
from gorkflow.store import Worker
from gorkflow.stores.postgres._liveness import GRACE, Watch, WorkerState
from gorkflow.testing.conformance import T0, new_run, worker
from tests.stores.postgres.tools import NOW, opened, until

_CLOCK = SystemClock()


class Wide:
    """A ``Timekeeper`` for which each lease holds."""

    def now(self):
        return _CLOCK.now()

    def alive(self, seen_at, lease):
        return True


def state(at, *, held=False, slot=7, same=True, seen_at=T0):
    return WorkerState(worker(seen_at=seen_at), slot, held, same, at)


class TestWatch:
    def test_a_lock_that_stays_free_is_a_death(self):
        watch = Watch()
        assert watch.is_alive(state(0.0), NOW)
        assert watch.is_alive(state(GRACE - 0.1), NOW)
        assert not watch.is_alive(state(GRACE), NOW)

    @pytest.mark.parametrize("sign", [{"slot": 8}, {"seen_at": T0 + 1}, {"held": True}])
    def test_a_sign_of_life_begins_the_grace_anew(self, sign):
        watch = Watch()
        watch.is_alive(state(0.0), NOW)
        assert watch.is_alive(state(GRACE, **sign), NOW)
        sign.pop("held", None)
        assert watch.is_alive(state(GRACE + 0.1, **sign), NOW)
        assert not watch.is_alive(state(2 * GRACE + 0.1, **sign), NOW)

    @pytest.mark.parametrize("doubt", [{"slot": 0}, {"same": False}])
    def test_where_no_lock_can_tell_the_lease_decides(self, doubt):
        watch = Watch()
        for at in (0.0, GRACE, 100.0):
            assert watch.is_alive(state(at, **doubt), NOW)
            assert not watch.is_alive(state(at, **doubt), Moment(T0 + 31))

    def test_a_lease_that_ended_is_a_death(self):
        assert not Watch().is_alive(state(0.0, held=True), Moment(T0 + 31))

    @pytest.mark.parametrize("lease", [-1.0, float("nan"), 1e12])
    def test_a_lease_that_nobody_has_is_none(self, lease):
        odd = WorkerState(worker(lease=lease), 0, False, True, 0.0)
        assert not Watch().is_alive(odd, None)


_OWNER = """
import asyncio, sys
from gorkflow.clock import SystemClock
from gorkflow.store import Worker
from gorkflow.stores import open_store

async def main():
    store = open_store(sys.argv[1])
    await store.open()
    now = SystemClock().now()
    await store.register(Worker("first", now, now, 3600.0))
    await store.claim("first", times=SystemTimes())
    print("owns", flush=True)
    await asyncio.sleep(3600)

class SystemTimes:
    def now(self):
        return SystemClock().now()
    def alive(self, seen_at, lease):
        return True

asyncio.run(main())
"""


def owner_of(url):
    return subprocess.Popen([sys.executable, "-c", _OWNER, url], stdout=subprocess.PIPE)


def test_the_runs_of_a_process_that_died_go_on_soon(url):
    async def run():
        async with opened(url) as store:
            await store.write([new_run()])
            with owner_of(url) as owner:
                assert owner.stdout.readline() == b"owns\n"
                now = _CLOCK.now()
                await store.register(Worker("second", now, now, 3600.0))
                assert await store.claim("second", times=Wide()) == []
                owner.kill()
            began = _CLOCK.monotonic()
            claims = []

            async def claimed():
                claims.extend(await store.claim("second", times=Wide()))
                return claims

            await until(claimed)
            return claims, _CLOCK.monotonic() - began

    [claim], took = asyncio.run(run())
    assert claim.orphaned
    assert took > GRACE  # of a lease of an hour


@pytest.fixture
def own_server():
    from tests.stores.postgres.server import Server

    made = Server()
    yield made
    made.close()


def test_nobody_steals_from_the_living_after_a_restart(own_server):
    """All locks are free then, until each worker has taken its own again."""
    url = own_server.url()

    async def run():
        async with opened(url) as first, opened(url) as second:
            now = _CLOCK.now()
            await first.register(Worker("first", now, now, 3600.0))
            await second.register(Worker("second", now, now, 3600.0))
            await first.write([new_run()])
            [claim] = await first.claim("first", times=Wide())
            await asyncio.to_thread(own_server.stop)
            await asyncio.to_thread(own_server.start)
            stolen = []
            began = _CLOCK.monotonic()
            while _CLOCK.monotonic() - began < 2 * GRACE:
                stolen += await second.claim("second", times=Wide())
                await asyncio.sleep(0.1)
            return claim, await first.get_run("r"), stolen

    claim, row, stolen = asyncio.run(run())
    assert (row, stolen) == (claim, [])


def test_a_session_that_broke_is_taken_up_again(server, url, schema):
    async def run():
        async with opened(url) as first, opened(url) as second:
            now = _CLOCK.now()
            await first.register(Worker("first", now, now, 3600.0))
            await second.register(Worker("second", now, now, 3600.0))
            await first.write([new_run()])
            await first.claim("first", times=Wide())
            slots = []
            with server.connect() as connection:

                async def moved():
                    found = connection.execute(
                        f"SELECT slot FROM {schema}.workers WHERE worker_id = 'first'"
                    ).fetchone()
                    slots.append(found[0])
                    return len(set(slots)) > 1

                await moved()
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                    "AND objid = %s",
                    [slots[0]],
                )
                await until(moved)
            stolen = []
            began = _CLOCK.monotonic()
            while _CLOCK.monotonic() - began < GRACE + 0.5:
                stolen += await second.claim("second", times=Wide())
                await asyncio.sleep(0.1)
            return stolen

    assert asyncio.run(run()) == []


def test_an_id_that_a_living_process_has_is_not_given_twice(url):
    async def run():
        async with opened(url) as first, opened(url) as second:
            await first.register(worker())
            await first.register(worker(seen_at=T0 + 1))  # after a lapse, say
            with pytest.raises(Exception, match="taken by a living process"):
                await second.register(worker())
            await first.unregister("w1")
            await second.register(worker())

    asyncio.run(run())
