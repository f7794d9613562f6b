"""Events that meet in one moment, in all orders; and the same seed twice."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from gorkflow import HistoryError, RetryPolicy, RunStatus, StepContext, Workflow, step
from gorkflow import events as ev
from gorkflow.machine import replay
from gorkflow.testing import VirtualEngine, in_virtual_time
from tests.faults.files import quiet
from tests.faults.registry import Result, Size, fault
from tests.faults.workload import WORKFLOWS, Job
from tests.machine import drive as dr
from tests.machine.simulation import RUN, simulate, snapshot

Action = Callable[[dr.Drive], object]
A, B = dr.step("a"), dr.step("b")


def act(name: str, *args: Any, **kwargs: Any) -> Action:
    return lambda drive: getattr(drive, name)(*args, **kwargs)


COMPLETE_A, FAIL_A, RETRY_A = act("complete", "a"), act("fail", "a"), act("fail", "a", retry=True)
COMPLETE_B, FAIL_B = act("complete", "b"), act("fail", "b")
LOSE_A, LOSE_B = act("interrupt", "a"), act("interrupt", "b")
CANCEL, DEADLINE = act("cancel"), act("fire", "", "deadline")
BLOCK_TIMES_OUT = act("fire", "&a", "timeout")
CHAIN_TIMES_OUT = act("fire", "w", "timeout")
SIGNAL, WAIT_TIMES_OUT = act("receive", "s"), act("fire", "s", "wait")
SLEPT = act("fire", "z", "sleep")

SCENES: dict[str, tuple[Callable[[], dr.Drive], tuple[Action, ...]]] = {
    "a step": (lambda: dr.Drive(A, deadline=9), (COMPLETE_A, FAIL_A, LOSE_A, CANCEL, DEADLINE)),
    "a retry": (
        lambda: dr.Drive(A, deadline=9),
        (RETRY_A, COMPLETE_A, act("fire", "a", "retry"), CANCEL, DEADLINE),
    ),
    "a block": (
        lambda: dr.Drive(dr.block(A, B, timeout=5.0), deadline=9),
        (COMPLETE_A, COMPLETE_B, FAIL_B, BLOCK_TIMES_OUT, CANCEL, DEADLINE),
    ),
    "a race": (
        lambda: dr.Drive(dr.block(A, B, join="first", timeout=5.0), deadline=9),
        (COMPLETE_A, FAIL_A, COMPLETE_B, LOSE_B, BLOCK_TIMES_OUT, CANCEL),
    ),
    "a block that settles": (
        lambda: dr.Drive(dr.block(A, B, join="settled", on_failure="cancel"), deadline=9),
        (FAIL_A, COMPLETE_A, FAIL_B, COMPLETE_B, CANCEL, DEADLINE),
    ),
    "a chain": (
        lambda: dr.Drive(dr.chain("w", A, timeout=5.0), deadline=9),
        (act("complete", "w/a"), act("fail", "w/a"), CHAIN_TIMES_OUT, CANCEL, DEADLINE),
    ),
    "a wait": (
        lambda: dr.Drive(dr.wait("s", timeout=5.0), deadline=9),
        (SIGNAL, WAIT_TIMES_OUT, CANCEL, DEADLINE),
    ),
    "a wait beside a sleep": (
        lambda: dr.Drive(dr.block(dr.wait("s", timeout=5.0), dr.sleep("z"), join="first")),
        (SIGNAL, WAIT_TIMES_OUT, SLEPT, CANCEL),
    ),
}


@fault("C4", "one moment", "results, timeouts, cancels and losses of one moment, in all orders")
def all_orders(size: Size, seed: int) -> Result:
    result = Result()
    for name, (make, actions) in SCENES.items():
        for order in itertools.permutations(range(len(actions))):
            with result.injection(f"{name} {order}"):
                _in_order(make(), [actions[number] for number in order])
    for order in itertools.permutations(("step", "timeout", "cancel")):
        for retries in (0, 1):
            with result.injection(f"engine, {order}, {retries} retries"), quiet():
                in_virtual_time(_meet(order, retries))
    return result


def _in_order(drive: dr.Drive, actions: list[Action]) -> None:
    """Whatever comes first decides; whatever comes too late is refused, and leaves no trace."""
    drive.begin()
    for action in actions:
        drive.at += 0.001 * (drive.machine.seq % 2)  # some at the same time to the bit
        before = snapshot(drive.machine)
        try:
            action(drive)
        except (HistoryError, KeyError):
            assert snapshot(drive.machine) == before, "a late event left a trace"
    decided = Counter(event.path for event in drive.history if _ends_a_step(event))
    assert all(count == 1 for count in decided.values()), decided
    verdicts = Counter(e.path for e in drive.history if isinstance(e, ev.BlockDecided))
    assert all(count == 1 for count in verdicts.values()), verdicts
    finishes = [event for event in drive.history if isinstance(event, ev.RunFinished)]
    assert len(finishes) == drive.machine.status.terminal
    again = replay(RUN, drive.tree, drive.history)
    assert snapshot(again) == snapshot(drive.machine), "replay leads elsewhere"


def _ends_a_step(event: ev.Event) -> bool:
    ends = isinstance(event, ev.StepCompleted | ev.StepCancelled | ev.SignalReceived)
    return ends or (isinstance(event, ev.StepFailed) and event.retry_at is None)


@step
async def takes_a_second(ctx: StepContext, number: int) -> int:
    await asyncio.sleep(1)
    return ctx.attempt


async def _meet(order: tuple[str, ...], retries: int) -> None:
    """A step ends in the very moment in which it times out and its run is cancelled."""
    policy = RetryPolicy(retries=retries, initial_interval=1.0, backoff="constant")
    timeout = {"step": 1.0, "timeout": 1.0, "cancel": 1.0}
    timed = takes_a_second.options(timeout=timeout["timeout"], retries=policy)
    async with VirtualEngine() as engine:
        wf = Workflow("meets", input=int).then(timed)
        cancels = partial(asyncio.get_running_loop().call_later, 1.0)
        handle = await engine.start(wf, 1, run_id="run") if order[0] == "step" else None
        tasks: list[Any] = []
        cancels(lambda: tasks.append(asyncio.ensure_future(engine.cancel("run"))))
        handle = handle or await engine.start(wf, 1, run_id="run")
        await handle.outcome()
        run = await handle.info()
        await asyncio.gather(*tasks)
        events = await engine.store.read_events("run")
    assert run.status in {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}
    assert sum(isinstance(event, ev.RunFinished) for event in events) == 1
    assert sum(_ends_a_step(event) for event in events) == 1, events


@fault("X10", "determinism", "the same seed twice, through the machine and in virtual time")
def determinism(size: Size, seed: int) -> Result:
    result = Result()
    for number in range(size.of(20, 200, 200, 10_000)):
        with result.injection(f"seed {seed + number}"):
            once, again = (simulate(random.Random(seed + number)) for _ in range(2))
            assert once.history == again.history
            assert snapshot(once.machine) == snapshot(again.machine)
    for number in range(size.of(2, 10, 30, 300)):
        with result.injection(f"virtual, seed {seed + number}"):
            assert _trace(seed + number) == _trace(seed + number)
    return result


WITHOUT_THREADS = ("settled", "timed", "first", "at-least", "cut")


def _trace(seed: int) -> list[Any]:
    """Return all that is recorded of runs without threads, which take turns as the system likes."""

    async def main() -> list[Any]:
        async with VirtualEngine(seed=seed) as engine:
            flows = {name: WORKFLOWS[name] for name in WITHOUT_THREADS}
            job = Job(base=random.Random(seed).randrange(1_000))
            handles = [await engine.start(flow, job, run_id=name) for name, flow in flows.items()]
            for handle in handles:
                await handle.outcome()
            return [await engine.store.read_events(name) for name in flows]

    with quiet():
        return [_plain(event) for events in in_virtual_time(main()) for event in events]


def _plain(event: ev.Event) -> Any:
    """Leave out the text of tracebacks, which has addresses in it."""
    if isinstance(event, ev.StepFailed):
        return (event.path, event.attempt, event.failure.code, event.at, event.retry_at)
    return event
