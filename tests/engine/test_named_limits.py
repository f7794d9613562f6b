"""Named limits: what they hold back, what they don't, over steps, runs, engines and deaths."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gorkflow import (
    Engine,
    Limit,
    RunStatus,
    StepInvalidError,
    Workflow,
    WorkflowInvalidError,
    step,
)
from gorkflow.flow import from_json, to_json
from gorkflow.limits import LimitGrant, LimitRequest
from gorkflow.stores.memory import MemoryStore
from gorkflow.testing import VirtualEngine, in_virtual_time

from .support import Gate, in_loop, step_of, until
from .test_limits import Peak

STORES = ("memory:", "sqlite")


def wide(count: int, made: Any, name: str = "wide") -> Workflow[int, Any]:
    return Workflow(name, input=int).parallel(
        *(made.options(id=f"{made.id}-{number}") for number in range(count))
    )


class Counting(MemoryStore):
    """Counts the questions, and can fail some."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, LimitGrant]] = []
        self.failures = 0

    async def take_limits(
        self,
        worker_id: str,
        *,
        requests: Sequence[LimitRequest] = (),
        **options: Any,
    ) -> LimitGrant:
        grant = await super().take_limits(worker_id, requests=requests, **options)
        if self.failures and requests:
            self.failures -= 1
            raise RuntimeError("nobody knows whether that was recorded")
        self.asked.append((sum(request.steps for request in requests), grant))
        return grant


@pytest.mark.parametrize("store", STORES)
@in_loop
async def test_no_more_run_at_a_time_than_the_limit_allows(store: str, tmp_path: Path):
    peak = Peak()
    two = Limit("two", concurrency=2)

    @step(limits=(two,))
    async def in_the_loop(number: int) -> int:
        with peak:
            await asyncio.sleep(0.001)
        return number

    @step(limits=(two,))
    def in_a_thread(number: int) -> int:
        with peak:
            time.sleep(0.001)
        return number

    url = store if store == "memory:" else f"sqlite:{tmp_path / 'runs.db'}"
    async with Engine(url) as engine:
        await asyncio.gather(
            engine.run(wide(20, in_the_loop), 1), engine.run(wide(20, in_a_thread, "threads"), 1)
        )
    assert peak.total == 40
    assert peak.most == 2


def test_a_rate_holds_over_runs_in_every_window():
    starts: list[float] = []
    fast = Limit("fast", rate=10, per=60)

    @step(limits=(fast,))
    async def fetch(number: int) -> int:
        starts.append(asyncio.get_running_loop().time())
        return number

    async def main() -> None:
        async with VirtualEngine() as engine:
            handles = [await engine.start(wide(15, fetch), 1) for _ in range(2)]
            for handle in handles:
                await handle.result()

    in_virtual_time(main())
    assert len(starts) == 30
    assert all(later - earlier >= 60 for earlier, later in zip(starts, starts[10:], strict=False))
    assert starts[-1] - starts[0] < 121


@in_loop
async def test_a_step_that_waits_keeps_no_other_from_running():
    """Neither through slots, nor through the limit of another step."""
    gate = Gate()
    one, other = Limit("one", concurrency=1), Limit("other", concurrency=1)

    @step(limits=(one,))
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    @step(limits=(one,))
    async def waits(number: int) -> int:
        return number

    @step(limits=(other,))
    async def passes(number: int) -> int:
        return number

    @step
    async def free(number: int) -> int:
        return number

    async with Engine("memory:", max_concurrent_steps=2) as engine:
        first = await engine.start(wide(1, holds, "first"), 1)
        await until(lambda: gate.arrived, "the holder")
        second = await engine.start(wide(50, waits, "second"), 1)
        assert await engine.run(wide(5, passes, "third"), 7) == (7,) * 5
        assert await engine.run(wide(5, free, "fourth"), 7) == (7,) * 5
        assert (await second.info()).status is RunStatus.RUNNING
        gate.open()
        await first.result()
        await second.result()


class Slow(MemoryStore):
    """Takes its time to answer, in virtual time.

    So this is not an ``async def``: for one of a store, virtual time stands still for a second.
    """

    def take_limits(self, *args: Any, **kwargs: Any) -> Any:
        async def late() -> LimitGrant:
            await asyncio.sleep(0.2)
            return await MemoryStore.take_limits(self, *args, **kwargs)

        return late()


def test_who_comes_while_the_store_is_asked_is_let_in_as_soon_as_there_is_room():
    """Not only once the one who asked has ended, which may take an hour."""
    began: dict[int, float] = {}

    @step
    async def busy(number: int) -> int:
        await asyncio.sleep(1)
        return number

    @step(limits=(Limit("wide", concurrency=10),))
    async def limited(number: int) -> int:
        began[number] = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        return number

    flow = Workflow("limited", input=int).then(limited)

    async def main() -> None:
        async with VirtualEngine(Slow(), max_concurrent_steps=2) as engine:
            handles = [await engine.start(wide(2, busy, "busy"), 1)]
            for number in range(2):
                await asyncio.sleep(0.1)
                handles.append(await engine.start(flow, number))
            for handle in handles:
                await handle.result()

    in_virtual_time(main())
    assert abs(began[0] - began[1]) < 1


@pytest.mark.parametrize("seed", range(8))
def test_no_step_waits_where_there_is_a_slot_and_room_at_its_limits(seed: int):
    """Random arrivals, lengths and limits: whoever could run now does, within two seconds."""
    dice = random.Random(seed)
    limits = (Limit("a", concurrency=1), Limit("b", concurrency=9), Limit("c", concurrency=9))
    running: Counter[str] = Counter()
    waiting: dict[str, set[str]] = {}
    idle: list[tuple[float, str]] = []
    slots = 3

    def flow(number: int) -> Workflow[int, int]:
        taken = tuple(dice.sample(limits, dice.randrange(2)))  # of two, one keeps a place
        length = dice.choice((1, 1, 60))

        @step(id=f"s{number}", limits=taken)
        async def work(value: int) -> int:
            del waiting[f"s{number}"]
            names = ["slot", *(limit.name for limit in taken)]
            running.update(names)
            await asyncio.sleep(length)
            running.subtract(names)
            return value

        waiting[f"s{number}"] = {limit.name for limit in taken}
        return Workflow(f"w{number}", input=int).then(work)

    def could_run(names: set[str]) -> bool:
        room = {limit.name: limit.concurrency or 0 for limit in limits}
        return running["slot"] < slots and all(running[name] < room[name] for name in names)

    async def look() -> None:
        before: set[str] = set()
        while True:
            await asyncio.sleep(2)
            now = {name for name, names in waiting.items() if could_run(names)}
            idle.extend((asyncio.get_running_loop().time(), name) for name in now & before)
            before = now

    async def main() -> None:
        async with VirtualEngine(Slow(), max_concurrent_steps=slots) as engine:
            looking = asyncio.create_task(look())
            handles = []
            for number in range(60):
                handles.append(await engine.start(flow(number), number))
                await asyncio.sleep(dice.choice((0, 0.1, 0.1, 4)))
            for handle in handles:
                await handle.result()
            looking.cancel()

    in_virtual_time(main())
    assert idle == []


@in_loop
async def test_nobody_holds_a_limit_while_the_engine_has_no_slot(tmp_path: Path):
    url, gate = f"sqlite:{tmp_path}/runs.db", Gate()

    @step
    async def takes_the_slot(number: int) -> int:
        await gate.wait_async()
        return number

    @step(limits=(Limit("db", concurrency=1),))
    async def limited(number: int) -> int:
        return number

    flow = Workflow("limited", input=int).then(limited)
    async with Engine(url, max_concurrent_steps=1) as busy, Engine(url) as idle:
        long = await busy.start(wide(1, takes_the_slot, "long"), 1)
        await until(lambda: gate.arrived, "the slot to be taken")
        waits = await busy.start(flow, 1)
        async for event in busy.events(waits.run_id):
            if event.kind == "run_started":
                break
        assert await asyncio.wait_for(idle.run(flow, 2), 10) == 2
        gate.open()
        assert await waits.result() == 1
        await long.result()


@in_loop
async def test_first_come_first_served():
    order: list[int] = []
    gate = Gate()
    one = Limit("one", concurrency=1)

    @step(limits=(one,))
    async def take(number: int) -> int:
        order.append(number)
        await gate.wait_async()
        return number

    flow = Workflow("take", input=int).then(take)
    async with Engine("memory:") as engine:
        handles = [await engine.start(flow, number) for number in range(20)]
        gate.open()
        for handle in handles:
            await handle.result()
    assert order == list(range(20))


@in_loop
async def test_a_step_that_needs_two_limits_does_not_starve():
    """Both are busy all the time, with steps that need only one, and new ones keep coming."""
    a, b = Limit("a", concurrency=1), Limit("b", concurrency=1)
    over = False
    done = 0

    def make(name: str, *limits: Limit) -> Workflow[int, int]:
        @step(id=name, limits=limits)
        async def work(number: int) -> int:
            nonlocal done
            done += 1
            await asyncio.sleep(0.001)
            return number

        return Workflow(name, input=int).then(work)

    only_a, only_b, both = make("a", a), make("b", b), make("both", a, b)
    async with Engine("memory:") as engine:

        async def keep_busy(flow: Workflow[int, int]) -> None:
            while not over:
                await engine.run(flow, 1)

        crowd = [asyncio.ensure_future(keep_busy(flow)) for flow in (only_a, only_b) * 5]
        await until(lambda: done > 20, "the crowd")
        before = done
        await asyncio.wait_for(engine.run(both, 1), 20)
        assert done - before < 40
        over = True
        await asyncio.gather(*crowd)


@in_loop
async def test_all_kinds_of_limits_together_end():
    """Slots, threads, blocks, rates and named limits in every combination, and nothing hangs."""
    limits = [
        Limit("a", concurrency=1),
        Limit("b", concurrency=2),
        Limit("c", rate=50, per=0.05, concurrency=3),
    ]

    def branch(number: int) -> Any:
        taken = tuple(limit for bit, limit in enumerate(limits) if number >> bit & 1)

        @step(id=f"loop-{number}", limits=taken)
        async def in_the_loop(value: int) -> int:
            await asyncio.sleep(0)
            return value

        @step(id=f"thread-{number}", limits=taken)
        def in_a_thread(value: int) -> int:
            return value

        return in_the_loop, in_a_thread

    steps = [made for number in range(16) for made in branch(number)]
    flow = Workflow("all", input=int).parallel(*steps, max_concurrency=5)
    async with Engine("memory:", max_concurrent_steps=3, max_threads=1) as engine:
        for result in await asyncio.gather(*(engine.run(flow, 3) for _ in range(10))):
            assert result == (3,) * 32


def holding() -> tuple[Gate, Workflow[int, int]]:
    """Return a workflow that holds a limit of one, until the gate is opened."""
    gate = Gate()

    @step(limits=(Limit("one", concurrency=1),))
    async def hold(number: int) -> int:
        await gate.wait_async()
        return number

    return gate, Workflow("hold", input=int).then(hold)


@in_loop
async def test_waiting_is_queued_time_with_the_name_of_the_limit():
    gate, flow = holding()
    async with Engine("memory:") as engine:
        first = await engine.start(flow, 1)
        await until(lambda: gate.arrived, "the holder")
        second = await engine.start(flow, 2)
        waiting = await step_of(engine, second.run_id, "hold")
        assert waiting.reason == "waits for limit 'one'"
        assert waiting.attempts == ()  # the attempt is not used up by waiting
        await asyncio.sleep(0.05)
        gate.open()
        await first.result()
        await second.result()
        done = await step_of(engine, second.run_id, "hold")
        assert done.reason == ""
        [attempt] = done.attempts
        assert attempt.limits == ("one",)
        assert attempt.queued is not None
        assert attempt.queued >= 0.05


@in_loop
async def test_what_a_cancelled_run_held_or_waited_for_is_free():
    gate, flow = holding()
    async with Engine("memory:") as engine:
        holder = await engine.start(flow, 1)
        await until(lambda: gate.arrived, "the holder")
        waiting = [await engine.start(flow, number) for number in range(5)]
        last = await engine.start(flow, 9)
        for handle in (*waiting, holder):
            await handle.cancel("enough")
        await until(lambda: gate.arrived == 2, "the last one")
        gate.open()
        assert await last.result() == 9


def test_a_failed_attempt_gives_back_and_takes_again():
    tried = 0
    one = Limit("one", concurrency=1)

    @step(limits=(one,), retries=2)
    async def flaky(number: int) -> int:
        nonlocal tried
        tried += 1
        if tried < 3:
            raise ValueError("not yet")
        return number

    async def main() -> None:
        async with VirtualEngine() as engine:
            handle = await engine.start(Workflow("flaky", input=int).then(flaky), 1)
            await handle.result()
            done = await step_of(engine, handle.run_id, "flaky")
            assert [attempt.limits for attempt in done.attempts] == [("one",)] * 3

    in_virtual_time(main())


def test_an_answer_that_was_lost_costs_nothing_for_long(caplog: pytest.LogCaptureFixture):
    store = Counting()
    store.failures = 2

    @step(limits=(Limit("one", concurrency=1),))
    async def work(number: int) -> int:
        return number

    async def main() -> None:
        async with VirtualEngine(store) as engine:
            assert await engine.run(wide(3, work), 1) == (1, 1, 1)

    in_virtual_time(main())
    assert [record.getMessage() for record in caplog.records] == [
        "could not ask for limits; trying again"
    ] * 2


def test_many_that_wait_for_a_rate_ask_seldom():
    store = Counting()

    @step(limits=(Limit("slow", rate=10, per=60.0),))
    async def work(number: int) -> int:
        return number

    async def main() -> None:
        async with VirtualEngine(store) as engine:
            handle = await engine.start(wide(2000, work), 1)
            await asyncio.sleep(600.5)  # ten windows later
            granted = sum(sum(grant.counts) for _, grant in store.asked)
            assert granted == 110
            assert len(store.asked) <= 3 * 11
            await handle.cancel("enough")

    in_virtual_time(main())


@in_loop
async def test_a_question_asks_for_many_at_once():
    store = Counting()

    @step(limits=(Limit("wide", concurrency=1000, rate=100_000),))
    async def work(number: int) -> int:
        return number

    async with Engine(store) as engine:
        await engine.run(wide(1000, work), 1)
    granted = sum(sum(grant.counts) for _, grant in store.asked)
    assert granted == 1000
    assert len(store.asked) < 100


def test_the_newest_definition_holds_for_all_and_that_is_told(caplog: pytest.LogCaptureFixture):
    peak = Peak()

    @step(limits=(Limit("github", concurrency=9),))
    async def old(number: int) -> int:
        with peak:
            await asyncio.sleep(1.0)
        return number

    new = old.options(id="new", limits=(Limit("github", concurrency=1),))
    branches = [old.options(id=f"old-{number}") for number in range(4)]
    later = Workflow("old", input=int).sleep(60, id="nap").parallel(*branches)

    async def main() -> None:
        async with VirtualEngine() as engine:
            first = await engine.start(later, 1)
            await asyncio.sleep(1.0)
            await engine.run(Workflow("new", input=int).then(new), 1)
            await first.result()

    with caplog.at_level(logging.WARNING, "gorkflow"):
        in_virtual_time(main())
    assert peak.most == 1
    [record] = caplog.records
    assert "limit 'github' is 9 at a time for some runs here, but a newer run defines it as 1" in (
        record.getMessage()
    )


@in_loop
async def test_a_rerun_does_not_bring_an_older_definition_back(tmp_path: Path):
    """It was made now, but what it executes is as old as the run that it repeats."""
    peak = Peak()

    async def work(number: int) -> int:
        with peak:
            await asyncio.sleep(0.02)
        return number

    def flow(most: int) -> Workflow[int, Any]:
        return wide(4, step(work, id="work", limits=(Limit("api", concurrency=most),)))

    async with Engine(f"sqlite:{tmp_path}/runs.db") as engine:
        first = await engine.start(flow(4), 1)
        await first.result()
        repeated = await engine.rerun(first.run_id, "work-0")
        await repeated.result()
        await engine.run(flow(1), 1)
        peak.most = 0
        again = await engine.rerun(repeated.run_id, "work-0")  # through both, as old as the first
        assert await again.result() == (1, 1, 1, 1)
        both = [
            await engine.rerun(first.run_id, "work-1"),
            await engine.rerun(first.run_id, "&work-0"),
        ]
        for handle in both:
            await handle.result()
    assert peak.most == 1


# ---- the language -----------------------------------------------------------------------------


@step
async def plain(number: int) -> int:
    return number


def test_limits_are_part_of_the_tree():
    both = plain.options(limits=[Limit("b", concurrency=1), Limit("a", rate=2, per=3)])
    tree = Workflow("w", input=int).then(both).compile().tree
    assert from_json(to_json(tree)) == tree
    [spec] = tree.nodes
    assert spec.limits == (Limit("a", rate=2, per=3), Limit("b", concurrency=1))


def test_limits_are_inherited_and_replaced():
    a, b = Limit("a", concurrency=1), Limit("b", concurrency=1)
    own, none = plain.options(id="own", limits=(b,)), plain.options(id="none", limits=())
    flow = Workflow("w", input=int, defaults={"limits": [a]}).then(plain).then(own).then(none)
    specs: Any = flow.compile().tree.nodes
    assert [spec.limits for spec in specs] == [(a,), (b,), ()]
    specs = Workflow("w", input=int).then(plain).compile({"limits": (a,)}).tree.nodes
    assert [spec.limits for spec in specs] == [(a,)]


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (Limit("a", concurrency=1), "must be a tuple of Limit, such as"),
        (("a",), "must hold Limit, not 'a'"),
        ((Limit("a", concurrency=1), Limit("a", rate=1)), "limit 'a' is given twice"),
    ],
)
def test_limits_that_are_none_are_refused(limits: Any, problem: str):
    with pytest.raises(StepInvalidError, match=problem):
        plain.options(limits=limits)
    with pytest.raises(WorkflowInvalidError, match=problem):
        Workflow("w", input=int, defaults={"limits": limits})


def test_one_name_for_two_limits_is_refused_when_the_workflow_is_built():
    one, two = Limit("x", concurrency=1), Limit("x", concurrency=2)
    flow = Workflow("w", input=int).then(plain.options(limits=(one,)))
    other = plain.options(id="other", limits=(two,))
    with pytest.raises(WorkflowInvalidError, match="knows limit 'x' as 2 at a time"):
        flow.then(other)
    with pytest.raises(WorkflowInvalidError, match="knows limit 'x' as 2 at a time"):
        flow.then(Workflow("inner", input=int).then(other))
    with pytest.raises(WorkflowInvalidError, match="knows limit 'x' as 1 at a time"):
        Workflow("w", input=int).then(other).then(plain).compile({"limits": (one,)})


# ---- several processes ------------------------------------------------------------------------

WORKER = """
import asyncio, os, sys
from gorkflow import Engine, Limit, Workflow, step

two = Limit("two", concurrency=2)
ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def tell(word):
    os.write(ledger, f"{word} {os.getpid()}\\n".encode())

@step(limits=(two,))
async def work(number: int) -> int:
    tell("in")
    await asyncio.sleep(float(sys.argv[3]))
    tell("out")
    return number

flow = Workflow(f"flow-{sys.argv[4]}", input=int).parallel(
    *(work.options(id=f"w{number}") for number in range(int(sys.argv[5])))
)

async def main():
    async with Engine(sys.argv[1], recover=False) as engine:
        await engine.run(flow, 1)

asyncio.run(main())
"""


def worker(folder: Path, name: str, seconds: float, steps: int) -> subprocess.Popen[bytes]:
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    return subprocess.Popen(
        [
            sys.executable,
            str(folder / "worker.py"),
            f"sqlite:{folder / 'runs.db'}",
            str(folder / "ledger"),
            str(seconds),
            name,
            str(steps),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def lines(folder: Path) -> list[list[str]]:
    ledger = folder / "ledger"
    return [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


def some_wait(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as db:
        asked = "SELECT COUNT(*) FROM limit_leases WHERE since IS NOT NULL AND held = 0"
        return bool(db.execute(asked).fetchone()[0])


def test_a_limit_holds_over_processes_and_all_get_on(tmp_path: Path):
    workers = [worker(tmp_path, name, 0.01, 30) for name in "ab"]
    try:
        for each in workers:
            assert each.wait(60) == 0
    finally:
        for each in workers:
            each.kill()
            each.wait()
    inside = most = 0
    for word, _ in lines(tmp_path):
        inside += 1 if word == "in" else -1
        most = max(most, inside)
    assert most == 2
    assert len(lines(tmp_path)) == 120


def test_what_a_killed_process_held_is_free_within_two_seconds(tmp_path: Path):
    dying = worker(tmp_path, "a", 600.0, 2)
    heir = None
    try:
        wait_for(lambda: len(lines(tmp_path)) == 2)
        heir = worker(tmp_path, "b", 0.0, 1)
        wait_for(lambda: some_wait(tmp_path / "runs.db"))
        assert len(lines(tmp_path)) == 2
        dying.send_signal(signal.SIGKILL)
        died = time.monotonic()
        wait_for(lambda: len(lines(tmp_path)) > 2, 10.0)
        assert time.monotonic() - died < 2.0
        assert heir.wait(20) == 0
    finally:
        for each in (dying, heir):
            if each is not None:
                each.kill()
                each.wait()


@in_loop
async def test_two_engines_on_one_store_share_and_wake_each_other(tmp_path: Path):
    peak = Peak()
    three = Limit("three", concurrency=3)

    @step(limits=(three,))
    async def work(number: int) -> int:
        with peak:
            await asyncio.sleep(0.002)
        return number

    url = f"sqlite:{tmp_path / 'runs.db'}"
    async with Engine(url, recover=False) as one, Engine(url, recover=False) as other:
        await asyncio.gather(one.run(wide(40, work, "one"), 1), other.run(wide(40, work, "two"), 1))
    assert peak.total == 80
    assert peak.most <= 3
