"""How much runs at a time."""

import asyncio
import threading

import pytest

from gorkflow import Engine, RunStatus, Workflow, step

from .support import Gate, in_loop, kinds, until


class Peak:
    """Counts how many are inside at a time."""

    def __init__(self) -> None:
        self.now = self.most = self.total = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


def wide(
    peak: Peak, branches: int, *, sync: bool, limit: int | None = None
) -> Workflow[int, object]:
    @step
    async def in_the_loop(number: int) -> int:
        with peak:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return number

    @step
    def in_a_thread(number: int) -> int:
        with peak:
            return number

    chosen = in_a_thread if sync else in_the_loop
    steps = [chosen.options(id=f"s{i}") for i in range(branches)]
    return Workflow("wide", input=int).parallel(*steps, max_concurrency=limit)


@pytest.mark.parametrize("sync", [False, True])
@in_loop
async def test_a_block_keeps_its_limit(sync: bool) -> None:
    peak = Peak()
    async with Engine("memory:") as engine:
        await engine.run(wide(peak, 20, sync=sync, limit=3), 1)
    assert (peak.total, peak.most <= 3) == (20, True)


@pytest.mark.parametrize("sync", [False, True])
@in_loop
async def test_the_engine_keeps_its_limit_over_all_runs(sync: bool) -> None:
    peak = Peak()
    async with Engine("memory:", max_concurrent_steps=4) as engine:
        wf = wide(peak, 10, sync=sync)
        await asyncio.gather(*[engine.run(wf, n) for n in range(5)])
    assert (peak.total, peak.most <= 4) == (50, True)


@in_loop
async def test_threads_keep_their_limit_and_async_steps_pass_them() -> None:
    gate = Gate()

    @step
    def blocks(number: int) -> int:
        gate.wait()
        return number

    @step
    async def quick(number: int) -> int:
        return number

    sync = Workflow("sync", input=int).parallel(*[blocks.options(id=f"s{i}") for i in range(5)])
    async with Engine("memory:", max_threads=2) as engine:
        held = await engine.start(sync, 1)
        await until(lambda: gate.arrived == 2, "two threads")
        assert await engine.run(Workflow("a", input=int).then(quick), 7) == 7
        assert (await kinds(engine, held.run_id)).count("step_scheduled") == 2
        gate.open()
        await held.result()
        assert gate.arrived == 5


@in_loop
async def test_waiting_costs_no_attempt_and_shows_as_queued_time() -> None:
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(holds)
    async with Engine("memory:", max_concurrent_steps=1) as engine:
        first = await engine.start(wf, 1)
        second = await engine.start(wf, 2)
        await until(lambda: gate.arrived == 1, "the first")
        assert (await engine.steps(second.run_id))[0].attempt == 0
        gate.open()
        await second.result()
        (attempt,) = (await engine.steps(second.run_id))[0].attempts
        (ahead,) = (await engine.steps(first.run_id))[0].attempts
        assert attempt.queued is not None
        assert ahead.ran is not None
        assert attempt.queued > 0
        assert attempt.number == 1


@in_loop
async def test_runs_over_the_limit_wait_as_pending() -> None:
    gate = Gate()

    @step
    async def holds(number: int) -> int:
        await gate.wait_async()
        return number

    wf = Workflow("w", input=int).then(holds)
    async with Engine("memory:", max_concurrent_runs=2) as engine:
        handles = [await engine.start(wf, n) for n in range(4)]
        await until(lambda: gate.arrived == 2, "two runs")
        statuses = [(await handle.info()).status for handle in handles]
        assert statuses == [RunStatus.RUNNING] * 2 + [RunStatus.PENDING] * 2
        await handles[3].cancel("not needed")
        gate.open()
        assert [await handle.result() for handle in handles[:3]] == [0, 1, 2]
        assert gate.arrived == 3


@pytest.mark.parametrize("name", ["max_concurrent_runs", "max_concurrent_steps", "max_threads"])
def test_a_limit_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Engine("memory:", **{name: 0})
