"""Runs that wake where they were suspended: nothing is replayed, and nothing stale is used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gorkflow import (
    Cancelled,
    Client,
    Engine,
    RunFailedError,
    RunStatus,
    Signal,
    StoreError,
    Workflow,
    step,
)
from gorkflow.engine import _claims, _driver
from gorkflow.engine._asleep import Asleep, RunState
from gorkflow.engine._values import Values
from gorkflow.events import StepCompleted
from gorkflow.machine import Machine, replay
from gorkflow.store import Append, Written
from gorkflow.stores import open_store
from tests.machine.simulation import snapshot

from .support import calls, in_loop, until

go = Signal("go", int)
other = Signal("other", str)


@step
async def add(total: int, more: int) -> int:
    return total + more


@step
async def double(number: int) -> int:
    return number * 2


@step
async def take_back(total: int, more: int, output: int | None) -> None:
    calls.append(f"took back {more}")


@step
async def fail(total: int, text: str) -> int:
    raise ValueError(f"{total} {text}")


@step
async def write(pair: tuple[str, int], text: str) -> str:
    return f"{pair[0]}{pair[1]}{text}"


def is_read(text: str) -> bool:
    return text.endswith("end")


def is_over(total: int) -> bool:
    return total >= 1_000_000


one = Workflow("one", input=int).wait_for(go).then(add)
summing = Workflow("summing", input=int).loop(one, until=is_over, max_iterations=10**6)
undoing = Workflow("undoing", input=int).wait_for(go).then(add.undo(take_back)).wait_for(other)
one_text = Workflow("one-text", input=str).wait_for(go).wait_for(other).then(write)
reading = Workflow("reading", input=str).loop(one_text, until=is_read, max_iterations=99)
listening = Workflow("listening", input=int).wait_for(go).wait_for(other)


class Counted:
    """A store that counts what is read of runs."""

    def __init__(self, url: str) -> None:
        self._store = open_store(url)
        self.loads = self.events = self.messages = 0
        self.fails = 0
        self.fences = False

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_now") or name == "hints":
            raise AttributeError(name)  # else nothing that is written comes by here, or all at once
        return getattr(self._store, name)

    async def close(self) -> None:
        """Keep everything: several engines share it."""

    async def close_at_last(self) -> None:
        """End the threads of the store, which no engine closed."""
        await self._store.close()

    async def load(self, run_id: str) -> Any:
        loaded = await self._store.load(run_id)
        self.loads += 1
        self.events += 0 if loaded is None else len(loaded.events)
        return loaded

    async def load_many(self, run_ids: Sequence[str]) -> Any:
        found = await self._store.load_many(run_ids)
        self.loads += len(run_ids)
        for loaded in found.values():
            self.events += len(loaded.events)
            self.messages += len(loaded.messages)
        return found

    async def read_events(self, run_id: str, **options: Any) -> Any:
        found = await self._store.read_events(run_id, **options)
        self.events += len(found)
        return found

    async def inbox(self, run_id: str, **options: Any) -> Any:
        found = await self._store.inbox(run_id, **options)
        self.messages += len(found)
        return found

    async def write(self, batch: Any) -> Any:
        if self.fails and isinstance(batch[0], Append):
            self.fails -= 1
            if self.fences:
                return [Written.FENCED] * len(batch)
            raise StoreError("the disk is full")
        return await self._store.write(batch)

    def read(self) -> tuple[int, int, int]:
        """Return what was read since the last call: loads, events, messages."""
        found = self.loads, self.events, self.messages
        self.loads = self.events = self.messages = 0
        return found


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Any]:
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'runs.db'}"
    counted = Counted(url)
    yield counted
    asyncio.run(counted.close_at_last())


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of all events that machines are fed."""
    found: list[str] = []
    feed = Machine.feed

    def noted(self: Machine, event: Any) -> Any:
        found.append(event.kind)
        return feed(self, event)

    monkeypatch.setattr(Machine, "feed", noted)
    return found


@contextlib.asynccontextmanager
async def engine_of(store: Any, **options: Any) -> AsyncGenerator[Engine]:
    workflows = [summing, undoing, listening, reading]
    async with Engine(store, workflows=workflows, **options) as engine:
        yield engine


async def rests(engine: Engine, run_id: str, seq: int = 0) -> int:
    """Wait until a run has events above this ``seq`` and is suspended; return its latest."""
    found: list[Any] = []

    async def look() -> bool:
        row = await engine.store.get_run(run_id)
        found.append(row)
        return row is not None and row.status is RunStatus.SUSPENDED and row.seq > seq

    while not await look():
        await asyncio.sleep(0.002)
    return found[-1].seq


async def send(engine: Engine, run_id: str, number: int, seq: int) -> int:
    await engine.send(run_id, go, number)
    return await rests(engine, run_id, seq)


def asleep(engine: Engine) -> Asleep:
    assert engine._worker is not None
    return engine._worker.runtime.asleep


# ---- what a wake-up costs -----------------------------------------------------------------------


@in_loop
async def test_the_hundredth_wake_up_costs_what_the_second_does(store: Any, fed: Any) -> None:
    async with engine_of(store) as engine:
        run_id = (await engine.start(summing, 0)).run_id
        seq = await rests(engine, run_id)
        costs = []
        for number in range(100):
            fed.clear()
            store.read()
            seq = await send(engine, run_id, number, seq)
            costs.append((store.read(), tuple(fed)))
        assert {cost for cost, _ in costs} == {(0, 0, 1)}  # the message that woke it
        assert {kinds for _, kinds in costs[1:]} == {costs[1][1]}
        waiter = asyncio.create_task(engine.handle(run_id).result())
        await asyncio.sleep(0)
        store.read()
        await engine.send(run_id, go, 10**6)
        assert await waiter == 10**6 + sum(range(100))
        assert store.read()[:2] == (0, 0)  # who waits for it need not load it, either


@in_loop
async def test_waking_from_the_nth_sleep_replays_nothing(
    store: Any, fed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_driver, "NAP", 0)  # it is suspended, however short the sleep
    monkeypatch.setattr(_claims, "AHEAD", 0)
    nap = Workflow("nap", input=int).sleep(0.01).then(double)
    naps = Workflow("naps", input=int).loop(nap, until=lambda n: n >= 2**40, max_iterations=99)
    async with Engine(store) as engine:
        handle = await engine.start(naps, 1)
        while not (row := await engine.store.get_run(handle.run_id)) or not row.status.terminal:
            await engine.recover()
            await asyncio.sleep(0.002)
        assert await handle.result() == 2**40
        recorded = await engine.store.read_events(handle.run_id)
        derived = sum(event.kind in {"timer_set", "run_finished"} for event in recorded)
        assert len(fed) == len(recorded) - derived  # each event once, over 40 wake-ups


@in_loop
async def test_a_run_from_the_store_is_replayed_once(store: Any, fed: Any) -> None:
    async with engine_of(store) as engine:
        run_id = (await engine.start(summing, 0)).run_id
        seq = await rests(engine, run_id)
        for number in range(9):
            seq = await send(engine, run_id, number, seq)
    async with engine_of(store) as engine:
        fed.clear()
        store.read()
        seq = await send(engine, run_id, 10, seq)
        loads, events, messages = store.read()
        assert (loads, messages) == (1, 1)
        replayed = len(fed)
        assert events <= seq
        assert replayed < seq
        fed.clear()
        await send(engine, run_id, 11, seq)
        assert store.read() == (0, 0, 1)
        assert len(fed) < 6


@in_loop
async def test_what_is_kept_is_what_the_history_leads_to(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[RunState] = []
    wake = Asleep.wake

    async def checked(self: Asleep, row: Any) -> Any:
        run = await wake(self, row)
        if run is not None:
            loaded = await store.load(row.run_id)
            values = Values(row.run_id, run.definition)
            values.note(loaded.events)
            assert snapshot(run.machine) == snapshot(
                replay(row.run_id, run.definition.tree, loaded.events)
            )
            assert run.values._bytes == values._bytes
            woken.append(run)
        return run

    monkeypatch.setattr(Asleep, "wake", checked)
    branches = [
        Workflow(f"branch{n}", input=int).wait_for(go).then(add.options(id=f"a{n}"))
        for n in range(4)
    ]
    wide = Workflow("wide", input=int).then(double).parallel(*branches, join="settled")
    async with Engine(store, workflows=[wide]) as engine:
        handle = await engine.start(wide, 3)
        seq = await rests(engine, handle.run_id)
        for number in range(3):
            seq = await send(engine, handle.run_id, number, seq)
        await handle.send(go, 3)
        assert [each.result() for each in await handle.result()] == [6, 7, 8, 9]
    assert len(woken) == 4


# ---- what lies there ----------------------------------------------------------------------------


@in_loop
async def test_unread_signals_cost_neither_a_send_nor_a_wake_up(store: Any) -> None:
    async with engine_of(store) as engine:
        run_id = (await engine.start(listening, 1)).run_id
        await rests(engine, run_id)
        store.read()
        for number in range(50):
            await engine.send(run_id, other, str(number))
            await engine.recover()  # it wakes, and finds nothing to do
        await engine.send(run_id, go, 2)
        assert await engine.handle(run_id, listening).result() == ((1, 2), "0")
        assert store.read()[2] < 60  # about each once, and not all of them each time
        assert len(await store.inbox(run_id)) == 49


@in_loop
async def test_a_send_to_a_run_that_is_busy_reads_its_own_message_alone(store: Any) -> None:
    gate = asyncio.Event()

    @step
    async def busy(number: int) -> int:
        await gate.wait()
        return number

    flow = Workflow("flow", input=int).then(busy).wait_for(other)
    async with Engine(store) as engine:
        handle = await engine.start(flow, 1)
        store.read()
        for number in range(30):
            await handle.send(other, str(number))
        assert store.read()[2] == 30
        gate.set()
        assert await handle.result() == (1, "0")


@in_loop
async def test_a_send_to_unknown_code_reads_no_event(store: Any) -> None:
    async with engine_of(store) as engine:
        run_id = (await engine.start(summing, 0)).run_id
        await rests(engine, run_id)
        async with Client(store) as client:
            store.read()
            await client.send(run_id, "go", 5)
            assert store.read()[:2] == (0, 0)


# ---- what is stale is not used ------------------------------------------------------------------


@in_loop
async def test_what_another_worker_recorded_is_read_and_nothing_else(store: Any, fed: Any) -> None:
    async with engine_of(store) as engine:
        run_id = (await engine.start(summing, 0)).run_id
        seq = await rests(engine, run_id)
        for number in (1, 2, 3):
            seq = await send(engine, run_id, number, seq)
        async with engine_of(store, recover=False) as elsewhere:
            await elsewhere.recover(run_id)
            await elsewhere.send(run_id, go, 10)
            await elsewhere.send(run_id, go, 20)
            while len(await done(store, run_id)) < 5:
                await asyncio.sleep(0.002)
            store.read()
            fed.clear()
        row = await store.get_run(run_id)
        seq = await send(engine, run_id, 100, max(seq, row.seq))
        loads, events, _ = store.read()
        assert loads == 0
        assert 0 < events < 15
        await engine.send(run_id, go, 10**6)
        assert await engine.handle(run_id).result() == 10**6 + 136


async def done(store: Any, run_id: str) -> list[Any]:
    found = await store.read_events(run_id)
    return [event for event in found if isinstance(event, StepCompleted)]


@in_loop
async def test_mail_that_another_worker_took_is_not_taken_again(store: Any) -> None:
    async with engine_of(store) as engine:
        run_id = (await engine.start(reading, "")).run_id
        seq = await rests(engine, run_id)
        await engine.send(run_id, other, "a")
        while (await store.get_run(run_id)).seen == 0:
            await asyncio.sleep(0.002)  # it woke, and knows of the message that nobody took
        async with engine_of(store, recover=False) as elsewhere:
            await elsewhere.recover(run_id)
            await elsewhere.send(run_id, go, 1)
            while not await done(store, run_id):
                await asyncio.sleep(0.002)
        store.read()
        await engine.send(run_id, other, "b")
        await send(engine, run_id, 2, (await store.get_run(run_id)).seq)
        assert seq
        assert store.read()[0] == 0
        await engine.send(run_id, other, "end")
        await engine.send(run_id, go, 3)
        assert await engine.handle(run_id).result() == "1a2b3end"


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"created_at": 1.0}, False),
        ({"fingerprint": "of another tree"}, False),
        ({"seq": 9}, False),
        ({"seq": 9, "token": 9}, False),
        ({"seq": 1, "token": 9}, False),
    ],
)
@in_loop
async def test_only_the_run_that_the_store_has_is_woken(
    changes: dict[str, Any], fits: bool
) -> None:
    async with engine_of("memory:") as engine:
        run_id = (await engine.start(summing, 0)).run_id
        await rests(engine, run_id)
        kept = asleep(engine)
        old, run, _ = kept._runs[run_id]
        row = replace(old, **{"token": old.token + 1, **changes})
        assert await kept.wake(row) is (run if fits else None)
        assert (kept.weight, await kept.wake(row)) == (0, None)


@in_loop
async def test_a_run_that_another_worker_gave_back_untouched_goes_on(store: Any) -> None:
    async with engine_of(store) as engine:
        run_id = (await engine.start(summing, 0)).run_id
        seq = await rests(engine, run_id)
        async with engine_of(store, recover=False) as elsewhere:
            await elsewhere.recover(run_id)
        await send(engine, run_id, 5, seq)
        await engine.send(run_id, go, 10**6)
        assert await engine.handle(run_id).result() == 10**6 + 5


@in_loop
async def test_a_new_run_with_the_id_of_one_that_was_deleted_starts_afresh(store: Any) -> None:
    async with engine_of(store) as engine:
        await engine.start(summing, 0, run_id="r")
        seq = await rests(engine, "r")
        await send(engine, "r", 7, seq)
        async with Engine(store, workflows=[summing], recover=False) as elsewhere:
            await elsewhere.cancel("r")
        assert await store.delete_runs(["r"]) == 1
        await engine.start(summing, 1000, run_id="r")
        seq = await rests(engine, "r")
        await send(engine, "r", 7, seq)
        await engine.send("r", go, 10**6)
        assert await engine.handle("r").result() == 10**6 + 1007


@in_loop
async def test_a_run_that_is_cancelled_while_it_is_kept_ends_and_undoes(store: Any) -> None:
    async with engine_of(store) as engine:
        run_id = (await engine.start(undoing, 1)).run_id
        seq = await rests(engine, run_id)
        await send(engine, run_id, 5, seq)
        store.read()
        await engine.cancel(run_id, reason="enough")
        assert store.read()[:2] == (0, 0)
        assert await engine.wait(run_id) == Cancelled("", "enough; undone: add")
        assert calls == ["took back 5"]
        plain = (await engine.start(summing, 1)).run_id
        await rests(engine, plain)
        await engine.cancel(plain)
        assert (await engine.get_run(plain)).status == "cancelled"


@pytest.mark.parametrize("lease_is_lost", [False, True])
@in_loop
async def test_a_run_whose_machine_is_ahead_of_the_store_is_not_kept(
    store: Any, lease_is_lost: bool
) -> None:
    store.fences = lease_is_lost
    async with engine_of(store) as engine:
        run_id = (await engine.start(summing, 0)).run_id
        seq = await rests(engine, run_id)
        seq = await send(engine, run_id, 1, seq)
        store.read()
        store.fails = 1  # what the signal sets off can't be written
        await send(engine, run_id, 2, seq)
        assert store.read()[0] == 1  # replayed from what is recorded
        await engine.send(run_id, go, 10**6)
        assert await engine.handle(run_id).result() == 10**6 + 3


@in_loop
async def test_a_rerun_keeps_what_the_store_has_not_what_is_kept(store: Any) -> None:
    broken = Workflow("broken", input=int).wait_for(go).then(add).wait_for(other).then(fail)
    async with Engine(store, workflows=[broken]) as engine:
        run_id = (await engine.start(broken, 1)).run_id
        seq = await rests(engine, run_id)
        await send(engine, run_id, 5, seq)
        async with Engine(store, workflows=[broken], recover=False) as elsewhere:
            await elsewhere.recover(run_id)
            await elsewhere.send(run_id, other, "x")
            with pytest.raises(RunFailedError):
                await elsewhere.handle(run_id).result()
        again = await engine.rerun(run_id)
        with pytest.raises(RunFailedError, match="6 x"):
            await again.result()


# ---- how much is kept ---------------------------------------------------------------------------


@in_loop
async def test_those_that_slept_longest_go_when_there_is_no_more_room(store: Any) -> None:
    async with engine_of(store) as engine:
        kept = asleep(engine)
        runs = [(await engine.start(summing, n)).run_id for n in range(5)]
        for run_id in runs:
            await rests(engine, run_id)
        weights = [weight for _, _, weight in kept._runs.values()]
        assert kept.weight == sum(weights) > 0
        kept._limit = sum(weights[2:])
        seq = await send(engine, runs[4], 1, await rests(engine, runs[4]))
        assert kept.weight <= kept._limit
        assert runs[4] in kept._runs
        assert not {runs[0], runs[1]} & set(kept._runs)
        store.read()
        await send(engine, runs[0], 1, await rests(engine, runs[0]))
        assert store.read()[0] == 1  # it has to be loaded
        kept._limit = 0
        await send(engine, runs[4], 1, seq)
        assert (kept.weight, len(kept._runs)) == (0, 0)


@in_loop
async def test_the_weight_grows_with_what_is_recorded_and_with_unread_mail(store: Any) -> None:
    async with engine_of(store) as engine:
        run_id = (await engine.start(listening, 1)).run_id
        await rests(engine, run_id)
        light = asleep(engine).weight
        await engine.send(run_id, other, "x" * 100_000)
        await until(lambda: asleep(engine).weight > light + 100_000)
