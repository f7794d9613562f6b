"""Runs that wait in line for a resource: one at a time, the oldest first."""

from __future__ import annotations

import asyncio

from gorkflow.clock import Moment
from gorkflow.model import RunStatus
from gorkflow.store import Line, NewRun, RunRow, Store
from gorkflow.testing.conformance.base import (
    DUPLICATE,
    OCCUPIED,
    OK,
    T0,
    Conformance,
    decided,
    finish,
    message,
    names,
    new_run,
    register,
    row_of,
    signal,
    step_forward,
)

_NOW = Moment(T0)


def _waiting(run_id: str, resource_id: str = "cart", **changes: object) -> NewRun:
    line = {"exclusive": True, "line": Line.WAITS}
    return new_run(run_id, resource_id=resource_id, **line, **changes)


async def _end(store: Store, claims: list[RunRow]) -> None:
    assert await store.write([finish(claim) for claim in claims]) == [OK] * len(claims)


class Lines(Conformance):
    async def test_a_run_in_line_is_created_and_has_its_turn_last(self, store: Store) -> None:
        await register(store, "w1")
        holder = new_run("a", resource_id="cart")
        assert await store.write([holder, _waiting("b"), _waiting("b")]) == [OK, OK, DUPLICATE]
        assert (await row_of(store, "b")).line is Line.WAITS
        [claim] = await store.claim("w1", times=_NOW)
        assert claim.run_id == "a"
        assert await store.claim("w1", times=_NOW) == []
        rests = step_forward(claim, status=RunStatus.SUSPENDED, worker_id=None, due_at=T0 + 50)
        await store.write([rests])
        assert await store.claim("w1", times=_NOW) == []
        await _end(store, await store.claim("w1", times=Moment(T0 + 50)))
        [claim] = await store.claim("w1", times=_NOW)
        assert (claim.run_id, claim.line, claim.exclusive) == ("b", Line.TURN, True)
        assert await row_of(store, "b") == claim

    async def test_the_oldest_has_its_turn_first(self, store: Store) -> None:
        await register(store, "w1")
        order = {"d": 3, "b": 1, "c": 1, "a": 2}
        batch = [_waiting(name, created_at=T0 + at, priority=at) for name, at in order.items()]
        assert await store.write(batch) == [OK] * 4
        served: list[str] = []
        while claims := await store.claim("w1", times=_NOW):
            served += names(claims)
            await _end(store, claims)
        assert served == ["b", "c", "a", "d"]

    async def test_an_older_run_that_comes_late_waits_for_its_turn(self, store: Store) -> None:
        await register(store, "w1")
        await store.write([_waiting("b")])
        [claim] = await store.claim("w1", times=_NOW)
        await store.write([_waiting("a", created_at=T0 - 9)])
        assert await store.claim("w1", times=_NOW) == []
        await _end(store, [claim])
        assert names(await store.claim("w1", times=_NOW)) == ["a"]

    async def test_a_line_keeps_those_out_that_would_not_wait(self, store: Store) -> None:
        await register(store, "w1")
        plain, exclusive = ({"resource_id": "cart", "exclusive": each} for each in (False, True))
        assert await store.write([new_run("a", **plain), _waiting("b")]) == [OK, OK]
        tries = [new_run("c", **plain), new_run("d", **exclusive)]
        assert await store.write(tries) == [OCCUPIED] * 2
        await _end(store, await store.claim("w1", times=_NOW))
        assert await store.write(tries) == [OCCUPIED] * 2
        await _end(store, await store.claim("w1", times=_NOW))
        assert await store.write(tries) == [OK, OCCUPIED]

    async def test_resources_have_lines_of_their_own(self, store: Store) -> None:
        await register(store, "w1")
        batch = [_waiting(f"{n}-{kind}", kind) for kind in ("x", "y", "z") for n in range(3)]
        await store.write(batch)
        for n in range(3):
            claims = await store.claim("w1", times=_NOW)
            assert names(claims) == [f"{n}-x", f"{n}-y", f"{n}-z"]
            await _end(store, claims)

    async def test_nothing_but_its_id_finds_a_run_in_line(self, store: Store) -> None:
        await register(store, "w1")
        await store.write([new_run("a", resource_id="cart", due_at=T0 + 90)])
        await store.write([_waiting("b"), _waiting("c", due_at=T0 + 5)])
        assert await store.post(signal(run_id="b"))
        assert await store.post(message("c"))
        assert await store.claim("w1", times=Moment(T0 + 9)) == []
        [claim] = await store.claim("w1", times=_NOW, run_id="b")
        assert (claim.worker_id, claim.line) == ("w1", Line.WAITS)
        ended = finish(claim)
        assert await store.write([ended]) == [OK]
        await _end(store, await store.claim("w1", times=_NOW, run_id="a"))
        assert names(await store.claim("w1", times=Moment(T0 + 9))) == ["c"]

    async def test_it_begins_no_sooner_than_it_is_due(self, store: Store) -> None:
        await register(store, "w1")
        await store.write([_waiting("a", due_at=T0 + 60), _waiting("b")])
        assert await store.claim("w1", times=_NOW) == []
        assert names(await store.claim("w1", times=Moment(T0 + 60))) == ["a"]

    async def test_a_turn_that_comes_while_it_is_owned_is_not_lost(self, store: Store) -> None:
        await register(store, "w1", "w2")
        await store.write([new_run("a", resource_id="cart"), _waiting("b")])
        [holder] = await store.claim("w1", times=_NOW)
        [held] = await store.claim("w1", times=_NOW, run_id="b")
        await _end(store, [holder])
        assert await store.claim("w2", times=_NOW) == []
        assert await store.write([step_forward(held, 0, worker_id=None)]) == [OK]
        [claim] = await store.claim("w2", times=_NOW)
        assert (claim.run_id, claim.line) == ("b", Line.TURN)

    async def test_a_dead_owner_keeps_the_turn_of_its_run(self, store: Store) -> None:
        await register(store, "w1")
        await store.write([_waiting("a"), _waiting("b", created_at=T0 + 1)])
        await store.claim("w1", times=_NOW)
        await store.unregister("w1")
        await register(store, "w2")
        assert names(await store.claim("w2", times=_NOW)) == ["a"]

    async def test_there_are_never_two_at_once_whoever_claims(self, stores: list[Store]) -> None:
        """Workers claim, end and start at the same time, each over a store of its own."""
        running: set[str] = set()
        served: list[str] = []
        each = 6

        async def work(number: int, store: Store) -> None:
            worker_id = f"w{number}"
            await register(store, worker_id)
            for n in range(each):
                run = _waiting(f"{number}-{n}", created_at=T0 + n)
                assert await decided(store, run) is OK
                await one_look(worker_id, store)
            while len(served) < each * len(stores):
                await one_look(worker_id, store)
                await asyncio.sleep(0)  # a store in memory never does

        async def one_look(worker_id: str, store: Store) -> None:
            for claim in await store.claim(worker_id, times=_NOW):
                assert not running
                running.add(claim.run_id)
                await asyncio.sleep(0)
                running.remove(claim.run_id)
                await _end(store, [claim])
                served.append(claim.run_id)

        await asyncio.gather(*(work(number, store) for number, store in enumerate(stores)))
        assert len(set(served)) == len(served) == each * len(stores)
