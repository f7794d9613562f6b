"""A store that is away for a moment: nothing that has happened is thrown away, or happens twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gorkflow import (
    Client,
    DuplicateRunError,
    Engine,
    RunFilter,
    RunStatus,
    Signal,
    StoreUnavailableError,
    Workflow,
    step,
)
from gorkflow.engine import _committer, _lease, _patience
from gorkflow.store import NewRun, Written
from gorkflow.stores.memory import MemoryStore

from .support import Gate, calls, in_loop, kinds, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gorkflow.clock import Timekeeper
    from gorkflow.store import Heartbeat, Message, RunRow, Transition

RECORDED = pytest.mark.parametrize("recorded", [False, True], ids=["lost", "recorded"])


class Away(MemoryStore):
    """A memory store whose server restarts when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: dict[str, int] = {}
        """How many of the next calls fail, by method."""
        self.recorded = False
        """Whether a write is recorded before its answer is lost."""
        self.undecided: set[str] = set()
        """New runs that another program may be starting."""
        self.asked = 0
        """How often one of those was sent."""

    def _fail(self, name: str) -> None:
        if self.fails.get(name, 0):
            self.fails[name] -= 1
            raise StoreUnavailableError("the server restarts")

    def write(
        self, batch: Sequence[Transition], *, block: bool = False
    ) -> asyncio.Future[list[Written]]:
        if self.recorded and self.fails.get("write", 0):
            super().write(batch)
        self._fail("write")
        held = [isinstance(item, NewRun) and item.row.run_id in self.undecided for item in batch]
        self.asked += sum(held)
        sent = [item for item, is_held in zip(batch, held, strict=True) if not is_held]
        written = iter(super().write(sent).result())
        answer: asyncio.Future[list[Written]] = asyncio.get_running_loop().create_future()
        answer.set_result([Written.UNDECIDED if each else next(written) for each in held])
        return answer

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        self._fail("heartbeat")
        return await super().heartbeat(worker_id, times, after=after)

    async def get_run(self, run_id: str) -> RunRow | None:
        self._fail("get_run")
        return await super().get_run(run_id)

    async def post(self, message: Message) -> bool:
        self._fail("post")
        return await super().post(message)


@step
async def note(value: int) -> int:
    calls.append(f"note {value}")
    return value + 1


TWO = Workflow("three", input=int).then(note).then(note.options(id="b"))
THREE = TWO.then(note.options(id="c"))


@RECORDED
@in_loop
async def test_a_start_is_recorded_once(recorded: bool) -> None:
    store = Away()
    async with Engine(store) as engine:
        store.fails["write"], store.recorded = 2, recorded
        handle = await engine.start(THREE, 1, run_id="r")
        assert await handle.result() == 4
        with pytest.raises(DuplicateRunError):
            await engine.start(THREE, 1, run_id="r")
    assert calls == ["note 1", "note 2", "note 3"]


@RECORDED
@pytest.mark.parametrize("broken", ["note 1", "note 2", "note 3"])
@in_loop
async def test_what_steps_returned_is_kept(recorded: bool, broken: str) -> None:
    """At any step, the last one included: its result and the end of the run are one write."""
    store = Away()

    @step
    async def breaks(value: int) -> int:
        calls.append(f"note {value}")
        if calls[-1] == broken:
            store.fails["write"], store.recorded = 2, recorded
        return value + 1

    workflow = Workflow("breaking", input=int)
    chain = workflow.then(breaks).then(breaks.options(id="b")).then(breaks.options(id="c"))
    async with Engine(store) as engine:
        handle = await engine.start(chain, 1)
        assert await handle.result() == 4
        assert "step_interrupted" not in await kinds(engine, handle.run_id)
        events = await store.read_events(handle.run_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert calls == ["note 1", "note 2", "note 3"]


@RECORDED
@in_loop
async def test_a_batch_of_many_runs_is_kept(recorded: bool) -> None:
    store, gate = Away(), Gate()

    @step
    async def together(value: int) -> int:
        calls.append("together")
        await gate.wait_async()
        return value

    many = Workflow("many", input=int).then(together).then(note)
    async with Engine(store) as engine:
        handles = [await engine.start(many, number) for number in range(20)]
        await until(lambda: gate.arrived == 20, "all steps")
        store.fails["write"], store.recorded = 1, recorded
        gate.open()
        assert [await handle.result() for handle in handles] == list(range(1, 21))
        for handle in handles:
            assert "step_interrupted" not in await kinds(engine, handle.run_id)
    assert calls.count("together") == 20
    assert len(calls) == 40


@in_loop
async def test_what_others_recorded_is_not_taken_for_ours() -> None:
    """The id was free when we asked the first time, and is another's when we ask again."""
    store = Away()
    async with Client(store) as other, Client(store) as client:
        store.fails["write"] = 1
        late = asyncio.ensure_future(client.start(THREE, 1, run_id="r"))
        await until(lambda: not store.fails["write"], "the first try")
        await other.start(THREE, 2, run_id="r")
        with pytest.raises(DuplicateRunError):
            await late


@in_loop
async def test_runs_stop_when_the_lease_ends_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_patience, "SECONDS", 0.0)
    monkeypatch.setattr(_lease, "BEAT", 0.02)
    store = Away()

    @step
    async def breaks(value: int) -> int:
        calls.append("breaks")
        if len(calls) == 1:
            store.fails.update(write=10**6, heartbeat=10**6)
        return value

    async with Engine(store, lease=1.0) as engine:
        handle = await engine.start(Workflow("w", input=int).then(breaks).then(note), 1)
        worker: Any = engine._worker
        await until(lambda: not worker.runs.drivers, "the end of the lease")
        store.fails.clear()
        assert await handle.result() == 2
        assert "step_interrupted" in await kinds(engine, handle.run_id)


@in_loop
async def test_closing_does_not_wait_for_a_store_that_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_patience, "SECONDS", 0.0)
    store = Away()

    @step
    async def breaks(value: int) -> int:
        store.fails["write"] = 10**6
        return value

    engine = Engine(store)
    await engine.open()
    await engine.start(Workflow("w", input=int).then(breaks), 1)
    await until(lambda: store.fails.get("write"), "the step")
    await engine.aclose(grace=0)  # its lease of 30 s holds


# ---- callers ------------------------------------------------------------------------------------

GO = Signal("go", int)
WAITS = Workflow("waits", input=int).wait_for(GO)


@in_loop
async def test_callers_are_answered_when_the_store_is_back() -> None:
    store = Away()

    async with Engine(store, workflows=[WAITS]), Client(store) as client:
        store.fails["write"] = 1
        handle = await client.start(WAITS, 1, run_id="r")
        waits = asyncio.ensure_future(handle.result())
        await asyncio.sleep(0)
        for name in ("get_run", "post"):
            store.fails[name] = 2
        await client.send("r", GO, 7)
        store.fails["get_run"] = 2
        assert await waits == (1, 7)
        assert (await client.get_run("r")).status is RunStatus.COMPLETED


@in_loop
async def test_the_patience_of_a_caller_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_patience, "SECONDS", 0.0)
    store = Away()
    async with Client(store) as client:
        store.fails.update(get_run=10**6, write=10**6)
        with pytest.raises(StoreUnavailableError, match="the server restarts"):
            await client.handle("r").result()
        with pytest.raises(StoreUnavailableError, match="the server restarts"):
            await client.start(THREE, 1)
        assert "the store does not answer; trying again: the server restarts" in caplog.messages
    store.fails.clear()
    async with Engine(store) as engine:  # its lease holds, but who asks need not know
        store.fails["get_run"] = 10**6
        with pytest.raises(StoreUnavailableError, match="the server restarts"):
            await asyncio.wait_for(engine.handle("r").result(), 10)


@in_loop
async def test_a_worker_says_once_that_its_store_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_lease, "BEAT", 0.01)
    store = Away()
    async with Engine(store, workflows=[WAITS]):
        store.fails["heartbeat"] = 10**6
        await until(lambda: store.fails["heartbeat"] < 10**6 - 9, "ten heartbeats")
        assert [line for line in caplog.messages if "store" in line or "heartbeat" in line] == [
            "the store does not answer; trying again: the server restarts"
        ]
        store.fails.clear()
        await until(lambda: "the store answers again" in caplog.messages, "its answer")


# ---- what is undecided --------------------------------------------------------------------------


@in_loop
async def test_a_start_that_depends_on_another_program_keeps_no_other_run_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_committer, "_UNDECIDED", 0.01)
    store = Away()
    store.undecided.add("r")
    async with Engine(store) as engine:
        start = asyncio.ensure_future(engine.start(THREE, 1, run_id="r"))
        others = [await engine.start(THREE, 1) for _ in range(3)]
        assert [await each.result() for each in others] == [4, 4, 4]
        await until(lambda: store.asked > 2, "it to be asked again")
        assert not start.done()
        store.undecided.clear()
        assert await (await start).result() == 4
    assert calls.count("note 1") == 4


@in_loop
async def test_what_is_undecided_when_the_engine_closes_is_not_started() -> None:
    store = Away()
    store.undecided.add("r")
    async with Client(store) as reader:
        async with Engine(store) as engine:
            start = asyncio.ensure_future(engine.start(THREE, 1, run_id="r"))
            await until(lambda: store.asked, "the first try")
        with pytest.raises(StoreUnavailableError, match="'r' was not started: another program"):
            await start
        found: Any = await reader.list_runs(RunFilter())
        assert list(found) == []
