"""Mail and claims at odd moments: nothing is forgotten, no run is ours that we don't carry."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model

from gorkflow import (
    Client,
    Engine,
    EngineClosedError,
    InputInvalidError,
    RunBlockedError,
    RunStatus,
    Signal,
    StoreCorruptError,
    Workflow,
    WorkflowInvalidError,
    run,
    step,
)
from gorkflow.clock import SystemClock, Timekeeper
from gorkflow.engine import _claims
from gorkflow.listing import mail_position
from gorkflow.model import BLOCKED
from gorkflow.store import (
    Append,
    Heartbeat,
    Loaded,
    Message,
    NewRun,
    RunRow,
    Transition,
    Written,
)
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite import SqliteStore

from .support import Gate, in_loop, kinds, until

go = Signal("go", int)


@step
async def add(a: int, b: int) -> int:
    return a + b


@step
async def same(number: int) -> int:
    return number


@step
async def shout(text: str) -> str:
    return text.upper()


ONE = Workflow("one", input=int).then(same)
WAITS = Workflow("waits", input=int).wait_for(go).then(add)


class Slow(MemoryStore):
    """A store whose appends and creates can be held up, and that several engines may use."""

    def __init__(self) -> None:
        super().__init__()
        self.appending: Gate | None = None
        self.creating: Gate | None = None

    def write(self, batch: Sequence[Transition]) -> asyncio.Future[list[Written]]:
        return asyncio.ensure_future(self._late(batch))

    async def _late(self, batch: Sequence[Transition]) -> list[Written]:
        for gate, kind in ((self.creating, NewRun), (self.appending, Append)):
            if gate is not None and any(isinstance(item, kind) for item in batch):
                await gate.wait_async()
        return await super().write(batch)

    async def close(self) -> None:
        """Keep everything."""


async def over(engine: Engine, run_id: str, *wanted: RunStatus) -> RunStatus:
    async with asyncio.timeout(20):
        while (status := (await engine.get_run(run_id)).status) not in wanted:
            await asyncio.sleep(0.005)
    return status


# ---- mail -------------------------------------------------------------------------------------


@in_loop
async def test_mail_that_comes_while_something_is_written_is_read_after_it() -> None:
    store = Slow()
    gate = Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    quick = Workflow("quick", input=int).parallel(same, hold, Workflow("w", input=int).wait_for(go))
    async with Engine(store, recover=False) as engine:
        store.appending = writing = Gate()
        starting = asyncio.ensure_future(engine.start(quick, 1, run_id="r"))
        handle = await starting
        await until(lambda: writing.arrived, "an append")  # of the quick branch's result
        await engine.send("r", go, 5)  # read into a run that is just being written
        store.appending = None
        writing.open()
        async with asyncio.timeout(20):
            while "signal_received" not in await kinds(engine, "r"):
                await asyncio.sleep(0.005)
        gate.open()
        assert await handle.result() == (1, 1, (1, 5))


@in_loop
async def test_a_run_that_waits_for_its_turn_takes_no_signal_yet(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    gate = Gate()
    calls: list[int] = []

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    @step
    async def work(a: int, b: int) -> int:
        calls.append(b)
        return b

    held = Workflow("held", input=int).then(hold)
    waits = Workflow("waits", input=int).wait_for(go).then(work)
    async with Engine(url, workflows=[held, waits], max_concurrent_runs=1) as engine:
        waiting = await engine.start(waits, 1)
        await over(engine, waiting.run_id, RunStatus.SUSPENDED)
        holding = await engine.start(held, 2)
        await until(lambda: gate.arrived, "the run that has the place")
        await waiting.send(go, 7)
        assert await engine.recover(waiting.run_id) == [waiting.run_id]
        queued = asyncio.ensure_future(waiting.result())
        _, running = await asyncio.wait((queued,), timeout=0.1)
        assert running
        assert calls == []
        gate.open()
        assert await queued == 7
        assert calls == [7]
        assert "step_interrupted" not in await kinds(engine, waiting.run_id)
        await holding.result()


@in_loop
async def test_a_signal_of_another_type_is_refused_or_left_to_the_worker() -> None:
    store = Slow()
    async with Engine(store) as engine:
        handle = await engine.start(WAITS, 1)
        with pytest.raises(InputInvalidError, match="of another type than str"):
            await handle.send(Signal("go", str), "5")
    text = Workflow("waits", input=int).wait_for(Signal("go", str))
    async with Client(store, workflows=[text]) as client:
        await client.send(handle.run_id, "go", 5)  # the run was started with other code
    async with Engine(store, workflows=[WAITS]) as engine:
        assert await engine.handle(handle.run_id, WAITS).result() == 6


@in_loop
async def test_a_signal_is_judged_by_what_reads_not_by_its_type() -> None:
    old, new = create_model("V", ok=(bool, ...)), create_model("V", ok=(bool, ...), note=(str, ""))

    def asking(kind: Any) -> Workflow[Any, bool]:
        def told(number: int, verdict: Any) -> bool:
            return bool(verdict.ok)

        told.__annotations__["verdict"] = kind
        return Workflow("asking", input=int).wait_for(Signal("v", kind)).then(step(told))

    store = Slow()
    async with Engine(store) as engine:
        first = await engine.start(asking(old), 1)
        second = await engine.start(asking(old), 1)
    async with Client(store) as client:
        await client.send(first.run_id, Signal("v", new), new(ok=True))
    async with Engine(store, workflows=[asking(new)]) as engine:
        await engine.send(second.run_id, Signal("v", new), new(ok=True, note="fine"))
        for run_id in (first.run_id, second.run_id):
            assert await engine.handle(run_id, asking(new)).result()


@in_loop
async def test_a_heartbeat_passes_by_the_mail_of_others() -> None:
    asked: list[str] = []

    class Beating(Slow):
        async def heartbeat(
            self, worker_id: str, times: Timekeeper, *, after: str = ""
        ) -> Heartbeat:
            asked.append(after)
            return await super().heartbeat(worker_id, times, after=after)

    store = Beating()
    async with Client(store) as client, Engine(store, lease=0.6):
        await client.start(WAITS, 1, run_id="r")  # no worker knows it
        await client.send("r", go, 1)
        (message,) = await store.inbox("r")
        await until(
            lambda: asked and mail_position(asked[-1]) >= message.id, "a heartbeat from after it"
        )


# ---- claims -----------------------------------------------------------------------------------


@in_loop
async def test_a_worker_that_closes_takes_nothing_and_leaves_what_rests(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"
    gate = Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    held = Workflow("held", input=int).then(hold)
    async with Client(url) as client:
        leaving = Engine(url, workflows=[held, ONE, WAITS], max_concurrent_runs=1)
        await leaving.open()
        await leaving.start(held, 1, run_id="held")
        await until(lambda: gate.arrived, "its step")
        await leaving.start(ONE, 2, run_id="roomless")
        closing = asyncio.ensure_future(leaving.aclose(grace=60))
        async with Engine(url, workflows=[ONE]) as other:
            assert await other.handle("roomless", ONE).result() == 2
            await client.start(ONE, 3, run_id="queued")
            assert await other.handle("queued", ONE).result() == 3
            assert not closing.done()
            gate.open()
            await closing


class Jumping(SystemClock):
    """A clock that can be set."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@in_loop
async def test_a_worker_does_not_take_its_own_runs_for_those_of_a_dead_one(tmp_path: Path) -> None:
    clock = Jumping()
    gate = Gate()

    class Frozen(SqliteStore):
        armed = False
        claims = 0

        async def heartbeat(self, *args: Any, **options: Any) -> Heartbeat:
            beat = await super().heartbeat(*args, **options)
            if self.armed:
                self.armed = False
                clock.ahead += 60  # the machine stood still just here
            return beat

        async def claim(self, *args: Any, **options: Any) -> list[RunRow]:
            self.claims += clock.ahead > 0
            return await super().claim(*args, **options)

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    held = Workflow("held", input=int).then(hold)
    store = Frozen(tmp_path / "runs.db")
    async with Engine(store, workflows=[held], clock=clock) as engine:
        handle = await engine.start(held, 1)
        await until(lambda: gate.arrived, "the step")
        store.armed = True
        await until(lambda: store.claims > 1, "claims after the freeze")
        gate.open()
        assert await handle.result() == 1
        assert "step_interrupted" not in await kinds(engine, handle.run_id)


@in_loop
async def test_a_run_that_was_released_but_not_taken_goes_on_here(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    gate = Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    held = Workflow("held", input=int).then(hold)
    clock = Jumping()
    async with (
        Engine(SqliteStore(path), recover=False, clock=clock) as engine,
        Engine(SqliteStore(path), workflows=[ONE], clock=clock),
    ):
        handle = await engine.start(held, 1)
        await until(lambda: gate.arrived, "the step")
        clock.ahead += 60  # as after a sleep of the machine; the other one looks for what is left
        gate.open()
        assert await handle.result() == 1


class Asked(Slow):
    """A store that several engines use and that counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.damaged = ""

    async def load(self, run_id: str) -> Loaded | None:
        self.asked["load"] += 1
        if run_id == self.damaged:
            raise StoreCorruptError(f"run {run_id!r} is damaged")
        return await super().load(run_id)

    async def load_many(self, run_ids: Sequence[str]) -> dict[str, Loaded]:
        self.asked["load_many"] += 1
        found = await super().load_many(run_ids)
        found.pop(self.damaged, None)
        return found

    async def inbox(self, run_id: str, *, after: int = 0) -> list[Message]:
        self.asked["inbox"] += 1
        return await super().inbox(run_id, after=after)

    async def get_run(self, run_id: str) -> RunRow | None:
        self.asked["get_run"] += 1
        return await super().get_run(run_id)

    def write(self, batch: Sequence[Transition]) -> asyncio.Future[list[Written]]:
        self.asked["write"] += 1
        return super().write(batch)


@in_loop
async def test_queued_runs_are_loaded_together() -> None:
    store = Asked()
    async with Client(store) as client:
        for number in range(250):
            await client.start(WAITS, number, run_id=f"r{number}")
            await client.send(f"r{number}", go, 1)
        store.asked.clear()
        async with Engine(store, workflows=[WAITS]):
            assert [store.asked[name] for name in ("load", "inbox", "get_run")] == [0, 0, 0]
            assert store.asked["load_many"] == 3  # of 100 runs, at most
            for number in range(250):
                assert await client.handle(f"r{number}", WAITS).result() == number + 1


@in_loop
async def test_long_histories_are_loaded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_claims, "_EVENTS", 4)
    store = Asked()
    async with Client(store) as client:
        for number in range(10):
            await client.start(ONE, number, run_id=f"r{number}")
        store.asked.clear()
        async with Engine(store, workflows=[ONE]) as engine:
            assert store.asked["load_many"] == 3  # each has one event
            for number in range(10):
                assert await engine.handle(f"r{number}", ONE).result() == number


@in_loop
async def test_a_damaged_run_keeps_none_that_is_loaded_with_it_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Asked()
    store.damaged = "r5"
    async with Client(store) as client:
        for number in range(10):
            await client.start(ONE, number, run_id=f"r{number}")
        async with Engine(store, workflows=[ONE]):
            for number in range(10):
                if number != 5:
                    assert await client.handle(f"r{number}", ONE).result() == number
        row = (await store.get_runs(["r5"]))["r5"]
        assert (row.worker_id, row.reason) == (None, "run 'r5' is damaged")
        assert "run 'r5' is damaged" in caplog.messages


@in_loop
async def test_what_can_not_run_here_is_put_back_by_one_write() -> None:
    store = Asked()
    async with Client(store) as client:
        for number in range(50):
            await client.start(Workflow("one", input=str).then(shout), "a", run_id=f"r{number}")
        store.asked.clear()
        async with Engine(store, workflows=[ONE]):
            assert store.asked["write"] == 1
            rows = (await store.get_runs([f"r{number}" for number in range(50)])).values()
            assert all(row.worker_id is None and row.reason.startswith(BLOCKED) for row in rows)


@in_loop
async def test_runs_that_a_worker_leaves_are_released_by_few_writes() -> None:
    store, gate = Asked(), Gate()

    @step
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    held = Workflow("held", input=int).then(hold)
    engine = Engine(store, max_concurrent_runs=1)
    await engine.open()
    for number in range(150):
        await engine.start(held, number, run_id=f"r{number}")
    await until(lambda: gate.arrived, "the first one")
    store.asked.clear()
    closing = asyncio.ensure_future(engine.aclose(grace=60))
    await until(lambda: sum(run.written.worker_id is None for run in store._runs.values()) == 149)
    assert store.asked["write"] <= 3
    assert store.asked["get_run"] == 0
    gate.open()
    await closing


@in_loop
async def test_what_is_put_back_keeps_its_delay() -> None:
    store = Slow()
    async with Client(store) as client:
        await client.start(ONE, 1, run_id="r", delay=3600)
        before = await store.get_run("r")
        assert before is not None
        async with Engine(store, workflows=[], recover=False) as engine:
            with pytest.raises(RunBlockedError):
                await engine.recover("r")
        after = await store.get_run("r")
        assert after is not None
        assert (after.due_at, after.worker_id) == (before.due_at, None)


@pytest.mark.own_store
@in_loop
async def test_a_run_that_can_not_be_read_keeps_no_other_from_being_claimed(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with Client(f"sqlite:{path}") as client:
        await client.start(ONE, 1, run_id="bad", priority=9)
        with sqlite3.connect(path) as db:
            db.execute("UPDATE runs SET created_at = 9e99 WHERE run_id = 'bad'")
        db.close()
        await client.start(ONE, 2, run_id="good")
        async with Engine(f"sqlite:{path}", workflows=[ONE], max_concurrent_runs=1) as worker:
            assert await worker.handle("good", ONE).result() == 2


# ---- starts and closes ------------------------------------------------------------------------


@in_loop
async def test_a_start_that_is_given_up_leaves_nothing_behind() -> None:
    store = Slow()
    async with Client(store) as client:
        store.creating = gate = Gate()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.start(ONE, 1, run_id="r"), 0.05)
        store.creating = None
        gate.open()
        handle = await client.start(ONE, 1, run_id="r", if_exists="return")
        async with Engine(store, workflows=[ONE]):
            assert await handle.result() == 1


@in_loop
async def test_a_cancel_during_a_close_says_what_happened() -> None:
    store = Slow()
    async with Client(store) as client:
        await client.start(WAITS, 1, run_id="r")
    engine = Engine(store)
    await engine.open()
    store.appending = Gate()
    cancelling = asyncio.ensure_future(engine.cancel("r"))
    await until(lambda: store.appending and store.appending.arrived, "the cancel's append")
    await engine.aclose(grace=0)
    with pytest.raises(EngineClosedError):
        await cancelling


@in_loop
async def test_an_engine_is_entered_once() -> None:
    async with Engine("memory:") as engine:
        with pytest.raises(EngineClosedError, match="enter it once"):
            await engine.__aenter__()
        assert await engine.run(ONE, 1) == 1
    async with engine:
        assert await engine.run(ONE, 1) == 1


@in_loop
async def test_an_engine_says_so_when_it_is_called_from_another_loop() -> None:
    async with Engine("memory:") as engine:
        with pytest.raises(EngineClosedError, match="run_coroutine_threadsafe"):
            await asyncio.to_thread(lambda: asyncio.run(engine.run(ONE, 1)))


def test_the_blocking_run_goes_on_with_what_a_dead_process_left(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'runs.db'}"

    async def queue() -> None:
        async with Client(url) as client:
            await client.start(ONE, 1, run_id="r")

    asyncio.run(queue())
    assert run(ONE, 1, store=url, run_id="r", if_exists="return") == 1


@pytest.mark.parametrize("lease", [0, -1, float("inf")])
def test_a_lease_is_some_seconds(lease: float) -> None:
    with pytest.raises(ValueError, match="lease must be more than 0 seconds"):
        Engine("memory:", lease=lease)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: ONE.sleep(1e15), "a sleep must be at most 100 years"),
        (lambda: ONE.wait_for(go, timeout=1e12), "timeout must be at most 100 years"),
        (lambda: Workflow("w", timeout=1e12), "timeout must be at most 100 years"),
    ],
)
def test_times_that_no_calendar_has_are_refused(make: Any, why: str) -> None:
    with pytest.raises(WorkflowInvalidError, match=why):
        make()


@in_loop
async def test_an_idle_worker_has_one_heartbeat_for_each_look_at_what_is_there() -> None:
    class Counting(Slow):
        heartbeats = claims = 0

        async def heartbeat(self, *args: Any, **options: Any) -> Heartbeat:
            self.heartbeats += 1
            return await super().heartbeat(*args, **options)

        async def claim(self, *args: Any, **options: Any) -> list[RunRow]:
            self.claims += 1
            return await super().claim(*args, **options)

    store = Counting()
    async with Engine(store, workflows=[ONE], lease=0.3):
        await until(lambda: store.claims >= 5, "looks")
        assert store.heartbeats <= store.claims


class Visited(MemoryStore):
    """A memory store, written to by a task, that notes when a worker comes, claims and leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    async def _note(self, what: str) -> None:
        self.seen.append(what)
        for _ in range(3):
            await asyncio.sleep(0)  # so that another task would have its turn

    async def register(self, worker: Any) -> None:
        await self._note("comes")
        await super().register(worker)

    async def claim(self, worker_id: str, **options: Any) -> list[RunRow]:
        await self._note("claims")
        return await super().claim(worker_id, **options)

    async def unregister(self, worker_id: str) -> None:
        await self._note("leaves")
        await super().unregister(worker_id)


@in_loop
async def test_a_client_cancels_several_runs_as_one_worker_after_another() -> None:
    store = Visited()
    async with Client(store) as client:
        handles = [await client.start(ONE, 1) for _ in range(3)]
        await asyncio.gather(*(handle.cancel() for handle in handles))
        assert store.seen == ["comes", "claims", "leaves"] * 3
        assert {(await handle.info()).status for handle in handles} == {RunStatus.CANCELLED}
        assert await store.workers() == []
