"""Clocks that jump, and machines that sleep."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

from gorkflow import Engine, StepContext, Workflow, step
from gorkflow.clock import SystemClock, TimerHandle
from tests.faults import ledger
from tests.faults.ledger import begin, end
from tests.faults.owners import Crowd, a_crowd, check_all_ended, check_left_behind
from tests.faults.registry import Result, Size, chance, fault
from tests.faults.scene import a_scene
from tests.faults.session import prompt
from tests.faults.workload import WORKFLOWS, planned

HOUR, YEAR = 3_600.0, 31_557_600.0
JUMPS = {"an hour ahead": HOUR, "ten years ahead": 10 * YEAR, "a leap second back": -1.0}


class JumpingClock(SystemClock):
    """The system's, moved."""

    offset = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def call_at(self, due: float, callback: Callable[[], object]) -> TimerHandle:
        return super().call_at(due - self.offset, callback)


@fault("C1", "wall clock jumps", "an hour or ten years ahead, a second back, while runs go on")
def clock_jumps(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("C1", seed)
    for number in range(size.of(1, 10, 50, 500)):
        jump = list(JUMPS)[(seed + number) % len(JUMPS)]
        with a_scene("tests.faults.clocks") as scene, result.injection(f"{jump}, {number}"):
            options = {"seed": seed + number, "jump": JUMPS[jump], "after": dice.uniform(0, 0.3)}
            scene.call("under_jump", count=14, **options)
            check_all_ended(scene, seed + number, set_back=max(0.0, -JUMPS[jump]))
    return result


def under_jump(db: str, witness: str, seed: int, count: int, jump: float, after: float) -> int:
    """Carry runs of the plan; somewhere in between the clock jumps, for this engine."""
    ledger.open_ledger(witness)

    async def main() -> None:
        clock = JumpingClock()
        async with Engine(f"sqlite:{db}", workflows=WORKFLOWS.values(), clock=clock) as engine:
            handles = []
            for number in range(count):
                start = planned(seed, number)
                ledger.write("starting", run=start.run_id)
                handle = await engine.start(start.workflow, start.job, run_id=start.run_id)
                ledger.write("started", run=start.run_id)
                handles.append((handle, start))
                if number == count // 2:
                    await asyncio.sleep(after)
                    clock.offset = jump
            for handle, start in handles:
                await prompt(handle, start)
            for handle, _ in handles:
                await handle.outcome()

    asyncio.run(main())
    return 0


@step
async def wakes(ctx: StepContext, number: int) -> int:
    begin(ctx, number)
    return end(ctx, number)


SLEEPER = Workflow("sleeper", input=int).sleep(8 * HOUR).then(wakes)


def sleepers(db: str, witness: str, count: int, offset: float) -> int:
    """Carry runs that sleep for eight hours, under a clock of one's own, until told to stop."""
    ledger.open_ledger(witness)
    clock = JumpingClock()
    clock.offset = offset

    async def main() -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        async with Engine(f"sqlite:{db}", workflows=[SLEEPER], clock=clock) as engine:
            for number in range(count):
                await engine.start(SLEEPER, number, run_id=f"sleeper-{number}", if_exists="return")
            ledger.write("started all")
            await told.wait()

    asyncio.run(main())
    return 0


@fault("C3", "suspend", "everything stops for eight hours; sleeps are due when it goes on")
def suspends(size: Size, seed: int) -> Result:
    result = Result()
    for number in range(size.of(1, 5, 20, 50)):
        with a_crowd() as crowd, result.injection(f"suspend {number}"):
            _sleep_for_hours(crowd, 5)
    return result


def _sleep_for_hours(crowd: Crowd, count: int) -> None:
    """Nothing fires before its time, and everything fires once after it, in one of two workers."""
    scene = crowd.scene
    actor = "tests.faults.clocks:sleepers"
    pids = [crowd.worker(actor, count=count, offset=0.0) for _ in range(2)]
    scene.wait_for_lines("started all", 2)
    assert not scene.lines(), "a step began before its time"
    for pid in pids:  # the machine sleeps, and its clock goes on
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
        crowd.stop(pid)
    heirs = [crowd.worker(actor, count=count, offset=8 * HOUR + 1) for _ in range(2)]
    scene.wait_for_lines("started all", 4)  # before that, they don't hear what they are told
    crowd.all_end()
    begun = [(line.run, line.attempt) for line in scene.lines()]
    assert sorted(begun) == [(f"sleeper-{n}", 1) for n in range(count)], begun
    assert [crowd.stop(pid) for pid in heirs] == [0, 0]
    check_left_behind(scene)
