"""The lease from close up: when it is renewed, how long that holds, and who waits for it."""

import asyncio
import time
from typing import Any

import pytest

from gorkflow import (
    Client,
    Engine,
    Limit,
    RunCancelledError,
    RunFailedError,
    StepContext,
    Workflow,
    step,
)
from gorkflow.clock import Timekeeper
from gorkflow.engine import _attempt
from gorkflow.engine._attempt import Attempt
from gorkflow.engine._lease import _NEVER, Lease
from gorkflow.engine._values import Values
from gorkflow.events import StepFailed
from gorkflow.limits import LimitGrant
from gorkflow.store import Heartbeat, RunRow, Worker
from gorkflow.stores.memory import MemoryStore

from .support import Gate, Moody, StandsStill, in_loop, until


@step
async def good(number: int) -> int:
    return number


ONE = Workflow("one", input=int).then(good)


def lease_of(engine: Engine) -> Lease:
    assert engine._worker is not None
    return engine._worker.lease


class Told(MemoryStore):
    """Notes what it is asked; takes its time for it, if told to, by the clock of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.stood: StandsStill | None = None
        self.has_lapsed = False

    def _note(self, name: str) -> None:
        self.told.append(name)
        if self.stood is not None:
            self.stood.ahead += 3.0

    async def register(self, worker: Worker) -> None:
        self._note("register")
        await super().register(worker)

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        self._note("heartbeat")
        if self.has_lapsed:
            self.has_lapsed = False
            return Heartbeat(alive=False)
        return await super().heartbeat(worker_id, times, after=after)

    async def claim(self, worker_id: str, **options: Any) -> list[RunRow]:
        self.told.append("claim")
        return await super().claim(worker_id, **options)


@pytest.fixture
def no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what wakes the heartbeat brings one."""
    monkeypatch.setattr(Lease, "period", 3600.0)


# ---- how long it holds ---------------------------------------------------------------------------


@pytest.mark.usefixtures("no_beat")
@pytest.mark.parametrize("asked", ["register", "heartbeat"])
@in_loop
async def test_a_renewal_holds_from_when_it_was_asked_for(asked: str) -> None:
    """Not from its answer: others count from what the store was told."""
    store = Told()
    stood = StandsStill()
    if asked == "register":
        store.stood = stood
    async with Engine(store, lease=6.0) as engine:
        lease = lease_of(engine)
        if asked == "heartbeat":
            store.stood = stood
            await lease.renew()
        assert store.told[-1] in {asked, "claim"}
        assert stood.ahead == 3.0
        assert lease.holds()
        stood.ahead += 2.5
        assert not lease.holds()


@pytest.mark.usefixtures("no_beat")
@in_loop
async def test_the_last_chance_is_one() -> None:
    store, gate = Told(), Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        await gate.wait_async()
        return ctx.attempt

    async with Engine(store, lease=0.6) as engine:
        handle = await engine.start(Workflow("w", input=int).then(holds), 1)
        await until(
            lambda: engine._worker.runs.stopped or store.told.count("heartbeat") > 1, "heartbeats"
        )
        assert not engine._worker.runs.stopped
        gate.open()
        assert await handle.result() == 1


# ---- who waits for it ----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_beat")
@in_loop
async def test_what_is_to_begin_has_the_lease_renewed_at_once() -> None:
    store = Told()
    async with Engine(store, lease=7200.0, recover=False) as engine:
        lease_of(engine)._holds_until = _NEVER
        assert await asyncio.wait_for(engine.run(ONE, 1), 20)
        assert store.told == ["register", "heartbeat"]


@pytest.mark.usefixtures("no_beat")
@pytest.mark.parametrize("how", ["all", "one", "cancel", "known"])
@in_loop
async def test_nothing_is_claimed_before_the_lease_holds(how: str) -> None:
    """Others would take at once what a worker claims that seems dead."""
    store = Told()
    async with Engine(store, lease=60.0, recover=how == "known") as engine:
        async with Client(store) as client:
            await client.start(ONE, 1, run_id="r")
        lease = lease_of(engine)
        if how == "all":
            engine.handle("r", ONE)
        store.told.clear()
        lease._holds_until = _NEVER
        match how:
            case "all":
                assert await engine.recover() == ["r"]
            case "one":
                with pytest.raises(Exception, match="does not know"):
                    await engine.recover("r")
            case "cancel":
                await engine.handle("r").cancel()
            case _:
                await engine.start(ONE, 2)
                await until(lambda: "claim" in store.told, "the look for others")
        assert store.told[:2] == ["heartbeat", "claim"]


# ---- after a lapse -------------------------------------------------------------------------------


@in_loop
async def test_what_others_released_in_a_lapse_and_did_not_take_goes_on_here() -> None:
    store, gate = Told(), Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            await gate.wait_async()
        return ctx.attempt

    async with Engine(store, lease=60.0, recover=False) as engine:  # it takes up nothing else
        handle = await engine.start(Workflow("w", input=int).then(holds), 1)
        await until(lambda: gate.arrived, "the step")
        store._release(engine.worker_id, died=True)
        store.has_lapsed = True
        await lease_of(engine).renew()
        assert await handle.result() == 2
        assert not lease_of(engine)._lapsed  # or every renewal would look at every run


# ---- an attempt that begins anew -----------------------------------------------------------------


def quick(number: int) -> int:
    return number


async def quick_in_the_loop(number: int) -> int:
    return number


def placed(where: str, **options: Any) -> Workflow[int, int]:
    if where == "loop":
        return Workflow("w", input=int).then(step(quick_in_the_loop, id="quick", **options))
    return Workflow("w", input=int).then(step(quick, executor=where, **options))


@pytest.fixture
def lapses(monkeypatch: pytest.MonkeyPatch) -> list[Attempt]:
    """The first attempt finds, when all is ready, that the lease is over."""
    lapsed: list[Attempt] = []
    plain = Attempt.may_begin

    def may_begin(attempt: Attempt) -> bool:
        if not lapsed:
            lapsed.append(attempt)
            attempt.owner.runtime.lease._holds_until = _NEVER
        return plain(attempt)

    monkeypatch.setattr(Attempt, "may_begin", may_begin)
    return lapsed


PLACES = pytest.mark.parametrize("where", ["loop", "thread", "process"])


@PLACES
@in_loop
async def test_the_timeout_of_what_waits_for_the_lease_does_not_run(
    where: str, lapses: list[Attempt]
) -> None:
    store = Moody()
    async with Engine(store, lease=60.0, recover=False) as engine:
        stuck = store.gates["heartbeat"] = Gate()
        handle = await engine.start(placed(where, timeout=5.0), 1)
        await until(lambda: lease_of(engine)._waiting, "the vain beginning")
        (attempt,) = lapses
        assert not attempt._timers
        del store.gates["heartbeat"]
        stuck.open()
        assert await handle.result() == 1


@PLACES
@in_loop
async def test_what_waits_for_the_lease_is_cancelled_at_once(
    where: str, lapses: list[Attempt], caplog: pytest.LogCaptureFixture
) -> None:
    store = Moody()
    async with Engine(store, lease=60.0, recover=False, max_concurrent_steps=1) as engine:
        stuck = store.gates["heartbeat"] = Gate()
        handle = await engine.start(placed(where), 1)
        await until(lambda: lease_of(engine)._waiting, "the vain beginning")
        await handle.cancel()
        with pytest.raises(RunCancelledError):
            await handle.result()
        assert engine.stray_threads == 0
        del store.gates["heartbeat"]
        stuck.open()
        assert await engine.run(placed(where), 2) == 2
    assert lapses
    assert "did not stop" not in caplog.text


@PLACES
@in_loop
async def test_a_rate_counts_from_when_the_handler_begins_after_a_lapse(
    where: str, lapses: list[Attempt]
) -> None:
    store, told = Moody(), list[float]()
    take_limits = store.take_limits

    async def noted(*args: Any, **options: Any) -> LimitGrant:
        told.extend(options["began"].values())
        return await take_limits(*args, **options)

    store.take_limits = noted
    paced = placed(where, limits=(Limit("paced", rate=1, per=3600.0),))
    async with Engine(store, lease=60.0, recover=False) as engine:
        stuck = store.gates["heartbeat"] = Gate()
        handle = await engine.start(paced, 1)
        await until(lambda: lease_of(engine)._waiting, "the vain beginning")
        renewed_at = time.time()
        del store.gates["heartbeat"]
        stuck.open()
        assert await handle.result() == 1
        await until(lambda: told, "the store to be told")
        (began_at,) = told
        assert began_at >= renewed_at
    assert lapses


@PLACES
@in_loop
async def test_a_vain_beginning_leaves_no_trace(
    where: str, lapses: list[Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one fails before its handler begins; nothing is known of one that did."""
    failed: list[float] = []
    name = "job_of" if where == "process" else "arguments"
    owner: Any = _attempt if where == "process" else Values
    plain = getattr(owner, name)

    def fails(*args: Any, **options: Any) -> Any:
        if lapses and not failed:
            failed.append(time.time())
            raise ValueError("not today")
        return plain(*args, **options)

    monkeypatch.setattr(owner, name, fails)
    store = MemoryStore()
    async with Engine(store, lease=60.0) as engine:
        with pytest.raises(RunFailedError, match="not today"):
            await engine.run(placed(where), 1, run_id="r")
        (event,) = [e for e in await store.read_events("r") if isinstance(e, StepFailed)]
    assert event.began_at is None
    assert event.ended_at is not None
    assert event.ended_at >= failed[0]
    assert not event.unknown
