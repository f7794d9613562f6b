"""The lease: what is stopped before it can end, what is not, and who carries on."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gorkflow import (
    Client,
    Engine,
    RunStatus,
    StepContext,
    StoreCorruptError,
    StoreError,
    Workflow,
    step,
)
from gorkflow.clock import Moment, SystemClock, Timekeeper
from gorkflow.engine._attempt import Attempt
from gorkflow.engine._runtime import Runtime
from gorkflow.store import Heartbeat, Loaded, Message, RunRow, Transition, Worker, Written
from gorkflow.stores.memory import MemoryStore

from .support import Gate, Moody, StandsStill, in_loop, until


@step
async def good(number: int) -> int:
    return number


ONE = Workflow("one", input=int).then(good)


@pytest.mark.parametrize(("how", "recover"), [("hangs", True), ("raises", False)])
@in_loop
async def test_steps_stop_before_a_lease_that_is_not_renewed_can_end(
    how: str, recover: bool
) -> None:
    store = Moody()
    stopped: list[float] = []
    loop = asyncio.get_running_loop()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                stopped.append(loop.time())
                raise
        return ctx.attempt

    lease = 3.0
    async with Engine(store, lease=lease, recover=recover) as engine:
        latest = loop.time()  # nothing renews it after this
        if how == "hangs":
            store.gates["heartbeat"] = Gate()
        else:
            store.fail["heartbeat"] = 1_000
        handle = await engine.start(Workflow("w", input=int).then(holds), 1)
        await until(lambda: stopped, "the step to be stopped")
        assert stopped[0] < latest + lease
        store.fail.clear()
        if how == "hangs":
            store.gates.pop("heartbeat").open()
        assert await handle.result() == 2  # the run goes on, here, now that the store answers


@in_loop
async def test_a_lapse_stops_what_others_have_taken_over() -> None:
    store = Moody()
    gate = Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            await gate.wait_async()
        return ctx.attempt

    wf = Workflow("w", input=int).then(holds)
    store.gates["heartbeat"] = Gate()
    async with Engine(store, lease=0.2, recover=False) as frozen:
        mine = await frozen.start(wf, 1, run_id="r")
        lease = asyncio.get_running_loop().time() + 0.3
        await until(lambda: asyncio.get_running_loop().time() > lease, "the lease to end")
        other = Engine(store, workflows=[wf])
        other_store = store.gates.pop("heartbeat")
        async with other:
            assert await other.handle("r", wf).result() == 2
            other_store.open()
            assert await mine.result() == 2  # what the other one recorded
    assert (await kinds_of(store, "r")).count("step_completed") == 1


async def kinds_of(store: Moody, run_id: str) -> list[str]:
    return [event.kind for event in await store.read_events(run_id)]


@in_loop
async def test_the_heartbeat_outlives_any_error() -> None:
    store = Moody()
    store.error = RuntimeError("what is this")
    store.fail["heartbeat"] = 2
    async with Engine(store, lease=0.3) as engine:
        await until(lambda: store.fail["heartbeat"] == 0, "the failing heartbeats")
        (worker,) = await store.workers()
        seen = worker.seen_at
        while (await store.workers())[0].seen_at == seen:
            await asyncio.sleep(0.01)
        assert await engine.run(ONE, 1) == 1


class SlowToAnswer(Moody):
    """Registers at once, and says so late."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.gate: Gate | None = None

    async def register(self, worker: Worker) -> None:
        self.told.append("register")
        await self._store.register(worker)
        if self.gate is not None:
            await self.gate.wait_async()

    async def unregister(self, worker_id: str) -> None:
        self.told.append("unregister")
        await self._store.unregister(worker_id)

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        return Heartbeat(alive=self.gate is None)


@in_loop
async def test_closing_while_it_comes_back_after_a_lapse_leaves_no_worker_behind() -> None:
    store = SlowToAnswer()
    engine = Engine(store, lease=1.0)
    await engine.open()
    store.gate = Gate()  # the next heartbeat finds that the lease has ended
    await until(lambda: store.gate is not None and store.gate.arrived, "the second registration")
    await engine.aclose(grace=0)
    assert store.told == ["register", "register", "unregister"]


def computed(seconds: float) -> None:
    """Keep the loop busy, as a computation without an await does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@in_loop
async def test_a_step_that_blocks_the_loop_beyond_the_lease_costs_nobody_an_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun: list[tuple[str, int]] = []
    gate = Gate()
    lease = 0.4

    @step
    async def waits(ctx: StepContext, number: int) -> int:
        begun.append((ctx.run_id, ctx.attempt))
        await gate.wait_async()
        return number

    @step
    async def blocks(ctx: StepContext, number: int) -> int:
        begun.append((ctx.run_id, ctx.attempt))
        computed(1.5 * lease)
        return number

    innocent = Workflow("innocent", input=int).then(waits)
    guilty = Workflow("guilty", input=int).then(blocks)
    async with Engine("memory:", lease=lease) as engine:
        waiting = await engine.start(innocent, 1, run_id="innocent")
        await until(lambda: gate.arrived, "the innocent step")
        for number in range(3):
            assert await engine.run(guilty, number, run_id=f"guilty{number}") == number
        gate.open()
        assert await waiting.result() == 1
    assert begun == [("innocent", 1), *((f"guilty{number}", 1) for number in range(3))]
    assert "could not renew" not in caplog.text


class Beats(MemoryStore):
    """Counts heartbeats; and has another worker take over the run ``r`` when told to."""

    beats = 0
    is_taken: bool | None = False
    fails = 0
    """How many of the next looks at a run fail."""
    is_corrupt = False
    """Whether the run ``r`` can't be read."""
    has_lapsed = False
    """Whether the next heartbeat finds that the lease is over, though nobody took anything."""

    async def get_run(self, run_id: str) -> RunRow | None:
        if self.is_corrupt and run_id == "r":
            raise StoreCorruptError("no row of ours")
        if self.fails:
            self.fails -= 1
            raise StoreError("not now")
        return await super().get_run(run_id)

    async def get_runs(self, run_ids: Sequence[str]) -> dict[str, RunRow]:
        if self.fails:
            self.fails -= 1
            raise StoreError("not now")
        found = await super().get_runs(run_ids)
        if self.is_corrupt:
            found.pop("r", None)
        return found

    async def heartbeat(self, worker_id: str, times: Any, *, after: str = "") -> Heartbeat:
        self.beats += 1
        if self.has_lapsed:
            self.has_lapsed = False
            return Heartbeat(alive=False)
        if not self.is_taken:
            return await super().heartbeat(worker_id, times, after=after)
        await self.unregister(worker_id)
        now = times.now()
        await self.register(
            Worker(worker_id="other", started_at=now, seen_at=now, lease=60.0, host="", pid=1)
        )
        assert await self.claim("other", times=times, run_id="r")
        self.is_taken = False
        return Heartbeat(alive=False)


def in_a_thread_or_process(ctx: StepContext, path: str) -> int:
    Path(path).touch()
    return ctx.attempt


async def in_the_loop(ctx: StepContext, path: str) -> int:
    return in_a_thread_or_process(ctx, path)


def pool() -> dict[str, Executor]:
    return {"pool": ThreadPoolExecutor(1)}


def placed(where: str) -> Workflow[str, int]:
    if where == "loop":
        return Workflow("w", input=str).then(step(in_the_loop))
    return Workflow("w", input=str).then(step(in_a_thread_or_process, executor=where))


# What an executor that was given does with its time, nobody knows: it is asked only before.
PLACES = pytest.mark.parametrize(
    ("where", "method"),
    [
        *((where, "start") for where in ("loop", "thread", "process", "pool")),
        *((where, "may_begin") for where in ("loop", "thread", "process")),
    ],
)


@PLACES
@in_loop
async def test_what_stood_still_beyond_its_lease_begins_once_that_is_renewed(
    where: str, method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not before: others may have the run by then. And the attempt is not lost by it."""
    store = Beats()
    async with Engine(store, lease=5.0, executors=pool()) as engine:
        stood = StandsStill()
        stood.before(monkeypatch, method)
        before = store.beats
        assert await engine.run(placed(where), str(tmp_path / "begun")) == 1
        assert (tmp_path / "begun").exists()
        assert stood.ahead
        assert store.beats > before
        assert engine.stray_threads == 0


@in_loop
async def test_a_late_start_that_fails_keeps_no_other_from_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = Attempt._start_handler
    failed: list[str] = []

    def start(attempt: Attempt, runtime: Runtime) -> Any:
        if attempt.run_id == "a" and not failed:
            failed.append("a")
            raise RuntimeError("can't start new thread")
        return starts(attempt, runtime)

    async with Engine(Beats(), lease=5.0) as engine:
        StandsStill().before(monkeypatch, "start")
        monkeypatch.setattr(Attempt, "_start_handler", start)
        wf = placed("loop")
        handles = [await engine.start(wf, str(tmp_path / each), run_id=each) for each in "ab"]
        assert await handles[1].result() == 1
        assert await handles[0].result() == 2  # it is given back, and taken up again
    assert failed == ["a"]


@pytest.mark.parametrize("fails", [0, 2])
@PLACES
@in_loop
async def test_what_others_took_over_meanwhile_never_begins(
    where: str, method: str, fails: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = Beats()
    store.fails = fails
    async with Engine(store, lease=5.0, executors=pool()) as engine:
        store.is_taken = True
        StandsStill().before(monkeypatch, method)
        await engine.start(placed(where), str(tmp_path / "begun"), run_id="r")
        service = engine._worker
        assert service is not None
        await until(lambda: "r" not in service.runs.drivers, "the run to be let go")
        assert (
            await store.claim("third", times=Moment(time.time()), run_id="r") == []
        )  # the other has it
    assert not (tmp_path / "begun").exists()


class Ahead(SystemClock):
    """A time of day that goes on while the loop's stands still, as when the machine sleeps."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@in_loop
async def test_a_lease_that_is_over_by_the_time_of_day_does_not_hold(tmp_path: Path) -> None:
    """For others judge by that: nothing begins before a renewal, which is sound again at once."""
    store, clock = Beats(), Ahead()
    async with Engine(store, lease=5.0, clock=clock) as engine:
        assert engine._worker is not None
        lease = engine._worker.lease
        await until(lambda: store.beats, "a renewal")
        handle = await engine.start(placed("loop"), str(tmp_path / "begun"))
        clock.ahead = 20.0
        before = store.beats
        assert not lease.holds()
        assert await handle.result() == 1
        assert store.beats > before
        assert lease.holds()


@in_loop
async def test_a_renewal_that_is_over_by_the_time_of_day_renews_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, clock = Beats(), Ahead()
    async with Engine(store, lease=5.0, clock=clock) as engine:
        assert engine._worker is not None
        lease = engine._worker.lease
        plain = store.heartbeat

        async def sleeps(worker_id: str, times: Timekeeper, *, after: int = 0) -> Heartbeat:
            beat = await plain(worker_id, times, after=after)
            clock.ahead = 20.0
            return beat

        monkeypatch.setattr(store, "heartbeat", sleeps)
        await lease.renew()
        assert clock.ahead
        assert lease.holds()


@in_loop
async def test_a_run_that_cant_be_read_after_a_lapse_is_lost_alone() -> None:
    store = Beats()
    gate = Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        await gate.wait_async()
        return ctx.attempt

    wf = Workflow("w", input=int).then(holds)
    async with Engine(store, lease=5.0, recover=False) as engine:
        lost, kept = [await engine.start(wf, 1, run_id=run_id) for run_id in "rs"]
        await until(lambda: gate.arrived == 2, "the steps")
        assert engine._worker is not None
        store.has_lapsed = True
        store.is_corrupt = True
        await engine._worker.lease.renew()
        with pytest.raises(StoreCorruptError, match="no row of ours"):
            await lost.result()
        gate.open()
        assert await kept.result() == 1


@pytest.mark.parametrize("again", [False, True])
@in_loop
async def test_nothing_is_stopped_before_a_heartbeat_had_its_turn(
    again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late it is because of who blocked the loop, and though that happens again."""
    store = Beats()
    gate = Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        await gate.wait_async()
        return ctx.attempt

    async with Engine(store, lease=12.0) as engine:
        stood = StandsStill()
        plain = store.heartbeat
        blocks = False

        async def blocked(worker_id: str, times: Timekeeper, *, after: int = 0) -> Heartbeat:
            nonlocal blocks
            if blocks:
                blocks = False
                stood.ahead += 3.0
                for _ in range(10):
                    await asyncio.sleep(0)
            return await plain(worker_id, times, after=after)

        monkeypatch.setattr(store, "heartbeat", blocked)
        handle = await engine.start(Workflow("w", input=int).then(holds), 1)
        await until(lambda: gate.arrived, "the step")
        assert engine._worker is not None
        lease = engine._worker.lease
        monkeypatch.setattr(lease, "_failed", True)  # one has failed, long ago
        await lease.renew()
        for _ in range(2):
            blocks = again
            stood.ahead = lease._holds_until.loop + 0.1 - time.monotonic()
            await until(lease.holds, "the renewal")
            assert not engine._worker.runs.stopped
        gate.open()
        assert await handle.result() == 1


@in_loop
async def test_blocks_of_the_loop_are_no_excuse_where_heartbeats_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Beats()
    gate = Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            await gate.wait_async()
        return ctx.attempt

    async with Engine(store, lease=6.0) as engine:
        stood = StandsStill()
        plain = store.heartbeat

        async def fails(worker_id: str, times: Timekeeper, *, after: int = 0) -> Heartbeat:
            stood.ahead += 1.0  # and whoever blocks the loop goes on blocking it
            if stood.ahead < 40.0:
                raise StoreError("not now")
            return await plain(worker_id, times, after=after)

        handle = await engine.start(Workflow("w", input=int).then(holds), 1)
        await until(lambda: gate.arrived, "the step")
        monkeypatch.setattr(store, "heartbeat", fails)
        assert engine._worker is not None
        await until(lambda: engine._worker.runs.stopped, "the end of patience")
        assert stood.ahead < 10.0
        stood.ahead = 40.0
        assert await handle.result() == 2


@in_loop
async def test_blocks_of_the_loop_are_no_excuse_where_a_heartbeat_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Beats()
    gate = Gate()
    answer = asyncio.Event()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            await gate.wait_async()
        return ctx.attempt

    async with Engine(store, lease=6.0) as engine:
        stood = StandsStill()
        plain = store.heartbeat

        async def hangs(worker_id: str, times: Timekeeper, *, after: int = 0) -> Heartbeat:
            await answer.wait()
            return await plain(worker_id, times, after=after)

        handle = await engine.start(Workflow("w", input=int).then(holds), 1)
        await until(lambda: gate.arrived, "the step")
        monkeypatch.setattr(store, "heartbeat", hangs)
        assert engine._worker is not None
        while not engine._worker.runs.stopped and stood.ahead < 60.0:
            stood.ahead += 1.0  # handlers block the loop, which is late for everything
            for _ in range(10):
                await asyncio.sleep(0)
        assert engine._worker.runs.stopped
        answer.set()
        assert await handle.result() == 2


@in_loop
async def test_a_heartbeat_that_is_answered_too_late_renews_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Beats()
    async with Engine(store, lease=5.0) as engine:
        assert engine._worker is not None
        lease = engine._worker.lease
        stood = StandsStill()
        plain = store.heartbeat

        async def slow(worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
            beat = await plain(worker_id, times, after=after)
            stood.ahead += 20.0 if not stood.ahead else 0.0
            return beat

        monkeypatch.setattr(store, "heartbeat", slow)
        await lease.renew()
        assert stood.ahead
        assert lease.holds()


@in_loop
async def test_a_long_takeover_does_not_keep_the_lease_from_being_renewed() -> None:
    store = Moody()
    loading = store.gates["load"] = Gate()
    beats = 0

    async def counted(worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        nonlocal beats
        beats += 1
        return await store._store.heartbeat(worker_id, times, after=after)

    store.heartbeat = counted  # type: ignore[method-assign]
    async with (
        Engine(store, lease=0.3, workflows=[ONE]),
        Client(store) as client,
    ):
        handle = await client.start(ONE, 1, run_id="r")
        await until(lambda: loading.arrived, "the takeover")
        latest = beats
        await until(lambda: beats > latest + 5, "heartbeats beside it")
        loading.open()
        assert await handle.result() == 1


@in_loop
async def test_what_was_stopped_in_time_goes_on_here_though_the_store_stumbles_once_more() -> None:
    store = Moody()
    gate = Gate()

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        if ctx.attempt == 1:
            await gate.wait_async()
        return ctx.attempt

    async with Engine(store, lease=0.3, recover=False) as engine:  # nobody else takes it up
        handle = await engine.start(Workflow("w", input=int).then(holds), 1)
        await until(lambda: gate.arrived, "the step")
        store.fail["claim"] = 2
        stuck = store.gates["heartbeat"] = Gate()
        assert engine._worker is not None
        await until(lambda: engine._worker.runs.stopped, "the end of the lease")
        del store.gates["heartbeat"]
        stuck.open()
        assert await handle.result() == 2
        assert store.fail["claim"] == 0


@in_loop
async def test_a_run_taken_over_by_who_still_carries_it_is_carried_once() -> None:
    store = MemoryStore()
    gate = Gate()
    ended: list[int] = []

    @step
    async def holds(ctx: StepContext, number: int) -> int:
        try:
            if ctx.attempt == 1:
                await gate.wait_async()
            return ctx.attempt
        finally:
            ended.append(ctx.attempt)

    async with Engine(store, recover=False) as engine:
        handle = await engine.start(Workflow("w", input=int).then(holds), 1, run_id="r")
        await until(lambda: gate.arrived, "the step")
        store._release(engine.worker_id, died=False)  # as others do who think that it is dead
        assert await engine.recover("r") == ["r"]
        assert await handle.result() == 2
        assert ended == [1, 2]


class LateMail(MemoryStore):
    """Has a message come for a run after it was loaded, long before it is taken over."""

    def __init__(self) -> None:
        super().__init__()
        self.beats = 0
        self.waits = True

    async def heartbeat(self, worker_id: str, times: Any, *, after: str = "") -> Heartbeat:
        self.beats += 1
        return await super().heartbeat(worker_id, times, after=after)

    async def load_many(self, run_ids: Sequence[str]) -> dict[str, Loaded]:
        found = await super().load_many(run_ids)
        if self.waits:
            self.waits = False
            assert await self.post(Message(id=0, run_id="r", kind="cancel", body="why", at=0.0))
            latest = self.beats
            await until(lambda: self.beats > latest + 3, "the heartbeat that brings it, and more")
        return found


@in_loop
async def test_a_message_that_comes_while_its_run_is_taken_over_reaches_it() -> None:
    store = LateMail()
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(holds)
    async with Engine(store, lease=0.9, workflows=[wf]) as engine:
        async with Client(store) as client:
            await client.start(wf, 1, run_id="r")
            store.close = nothing  # type: ignore[method-assign]
        while not (await engine.get_run("r")).status.terminal:
            await asyncio.sleep(0.01)
        assert (await engine.get_run("r")).status == RunStatus.CANCELLED


async def nothing() -> None:
    """Leave the store open, for the other engine."""


# ---- clients -------------------------------------------------------------------------------------


@in_loop
async def test_a_client_is_no_worker_before_or_after_it_cancelled() -> None:
    store = Moody()
    registered: list[str] = []

    async def register(worker: Worker) -> None:
        registered.append(worker.worker_id)
        await store._store.register(worker)

    async def post(message: Message) -> bool:
        for _ in range(5 * int(message.run_id)):
            await asyncio.sleep(0)
        return await store._store.post(message)

    async def claim(worker_id: str, **options: Any) -> list[RunRow]:
        assert [worker.worker_id for worker in await store.workers()] == [worker_id]
        return await store._store.claim(worker_id, **options)

    store.register = register  # type: ignore[method-assign]
    store.post = post  # type: ignore[method-assign]
    store.claim = claim  # type: ignore[method-assign]
    async with Client(store) as client:
        handles = [await client.start(ONE, n, run_id=str(n)) for n in range(3)]
        await asyncio.gather(*(handle.cancel() for handle in handles))
        assert [(await handle.info()).status for handle in handles] == [RunStatus.CANCELLED] * 3
        assert registered == [client.worker_id] * 3
        assert await store.workers() == []


@in_loop
async def test_a_client_takes_over_no_runs() -> None:
    async with Client("memory:") as client:
        await client.start(ONE, 1, run_id="r")
        assert (await client.get_run("r")).status == RunStatus.PENDING


class TakenAtTheEnd(MemoryStore):
    """Has others take over a run just before its end is recorded, once."""

    def write(self, batch: Sequence[Transition]) -> asyncio.Future[list[Written]]:
        for item in batch:
            if any(event.kind == "run_finished" for event in item.events) and item.row.token == 1:
                run = self._runs[item.row.run_id]
                self._release(run.row.worker_id or "", died=False)
                self._set_row(run, replace(run.row, token=2))
        return super().write(batch)


@in_loop
async def test_an_end_that_was_refused_is_not_what_the_run_returns() -> None:
    @step
    async def attempt(ctx: StepContext, number: int) -> int:
        return ctx.attempt

    async with Engine(TakenAtTheEnd()) as engine:
        assert await engine.run(Workflow("w", input=int).then(attempt), 1) == 2
