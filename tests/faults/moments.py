"""What the children do where the test chooses the moment of the end."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gorkflow
from gorkflow import Engine, RunBlockedError, RunHandle, StepContext, Workflow, step
from gorkflow.stores.sqlite import _connections
from tests.faults import ledger
from tests.faults.ledger import begin, end
from tests.faults.workload import WORKFLOWS as MIXED
from tests.faults.workload import Job

T = TypeVar("T")
RUN = "the-run"


@step
async def first(ctx: StepContext, job: Job) -> int:
    begin(ctx, job.base)
    return end(ctx, job.base)


@step
async def stays(ctx: StepContext, value: int) -> int:
    """Never end, until a later attempt."""
    begin(ctx, value)
    if ctx.attempt == 1:
        await asyncio.sleep(60)
    return end(ctx, value + 1)


@step
def stays_in_thread(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt == 1:
        time.sleep(60)
    return end(ctx, value + 1)


@step
async def quick(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    return end(ctx, value + 2)


@step
async def lingers(ctx: StepContext, value: int) -> int:
    """Be at work when the engine closes, and be done soon after."""
    begin(ctx, value)
    await asyncio.sleep(0.1)
    return end(ctx, value + 1)


@step
def lingers_in_thread(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    time.sleep(0.1)
    return end(ctx, value + 1)


@step
async def total(ctx: StepContext, values: tuple[int, ...]) -> int:
    begin(ctx, values)
    return end(ctx, sum(values))


@step
async def dies(ctx: StepContext, value: int) -> int:
    """Kill the process that runs it, every time."""
    begin(ctx, value)
    os.kill(os.getpid(), signal.SIGKILL)
    return value


def stop_with(value: int) -> BaseException:
    return SystemExit(3) if value % 2 else KeyboardInterrupt()


@step
async def stops(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt == 1:
        raise stop_with(value)
    return end(ctx, value)


@step
def stops_in_thread(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt == 1:
        raise stop_with(value)
    return end(ctx, value)


stopping = True


def condition_stops(value: int) -> bool:
    if stopping:
        raise stop_with(value)
    return True


def made(name: str) -> Workflow[Job, int]:
    return Workflow(name, input=Job).then(first)


THREAD = made("thread").parallel(quick, stays_in_thread).then(total)
ASYNC = made("async").parallel(quick, stays).then(total)
LEAVES = made("leaves").parallel(lingers, lingers_in_thread, quick).then(total)
POISON = made("poison").then(dies)
FINE = made("fine").then(quick)
STOPS = made("stops").parallel(quick, stops).then(total)
STOPS_IN_THREAD = made("stops-in-thread").parallel(quick, stops_in_thread).then(total)
STOPS_IN_CONDITION = made("stops-in-condition").then_if(condition_stops, quick)
WORKFLOWS = (
    THREAD,
    ASYNC,
    LEAVES,
    POISON,
    FINE,
    STOPS,
    STOPS_IN_THREAD,
    STOPS_IN_CONDITION,
)
BY_ID: dict[str, Workflow[Job, Any]] = {**MIXED, **{w.id: w for w in WORKFLOWS}}


def carry(
    db: str,
    witness: str,
    workflow: str,
    *,
    base: int = 7,
    crash: tuple[int, str] | None = None,
    runs: tuple[str, ...] = (RUN,),
    wait: bool = True,
    **options: Any,
) -> int:
    """Start runs, or carry on those that are there, and wait until all have ended."""
    ledger.open_ledger(witness)
    if crash is not None:
        _crash_at(*crash)

    async def main() -> None:
        async with Engine(f"sqlite:{db}", workflows=[BY_ID[workflow]], **options) as engine:
            handles = [await _begin(engine, workflow, base, run_id) for run_id in runs]
            if wait:
                for handle in handles:
                    await handle.outcome()
            else:
                await asyncio.sleep(60)  # until killed

    asyncio.run(main())
    return 0


async def _begin(engine: Engine, workflow: str, base: int, run_id: str) -> RunHandle[Any]:
    ledger.write("starting", run=run_id)
    handle = await engine.start(BY_ID[workflow], Job(base=base), run_id=run_id, if_exists="return")
    ledger.write("started", run=run_id)
    return handle


def _crash_at(number: int, where: str) -> None:
    """Kill this process at its nth write: before it, before its commit, or right after it."""
    write: Callable[..., Any] = _connections.Writer.write
    count = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def crashing(self: Any, work: Callable[[Any], T], **options: Any) -> T:
        nonlocal count
        count += 1
        if count != number:
            return write(self, work, **options)
        if where == "before":
            die()

        def then_die(db: Any) -> T:
            result = work(db)
            if where == "inside":
                die()
            return result

        result = write(self, then_die, **options)
        die()
        return result

    _connections.Writer.write = crashing  # type: ignore[method-assign]


def leave(db: str, witness: str, workflow: str, until: list[str]) -> int:
    """Start a run, and leave the engine once these steps have begun."""
    ledger.open_ledger(witness)

    async def main() -> None:
        async with Engine(f"sqlite:{db}") as engine:
            await _begin(engine, workflow, 7, RUN)
            while not set(until) <= {
                line.path for line in ledger.read(Path(witness)) if line.what == "begin"
            }:
                await asyncio.sleep(0.001)
        ledger.write("left")

    asyncio.run(main())
    return 0


def run_blocking(db: str, witness: str, workflow: str, *, base: int) -> int:
    """Run it as scripts do."""
    ledger.open_ledger(witness)
    ledger.write("starting", run=RUN)
    gorkflow.run(BY_ID[workflow], Job(base=base), run_id=RUN, store=f"sqlite:{db}")
    return 0


def recover_one(db: str, witness: str, workflow: str, expect: list[str]) -> int:
    """Recover the run by its id alone, and wait for it."""
    ledger.open_ledger(witness)

    async def main() -> None:
        options = {"workflows": [BY_ID[workflow]], "recover": False}
        async with Engine(f"sqlite:{db}", **options) as engine:
            for run_id in expect:
                taken = await engine.recover(run_id)
                assert taken == [run_id], taken
                assert await engine.recover(run_id) == []  # it has it already
                await engine.handle(run_id).outcome()

    asyncio.run(main())
    return 0


@step(id="leaves")
async def stays_otherwise(ctx: StepContext, value: int) -> str:
    begin(ctx, value)
    return str(end(ctx, value))


@step(id="total")
async def total_otherwise(ctx: StepContext, values: tuple[int | str, ...]) -> int:
    begin(ctx, values)
    return end(ctx, len(values))


def find_blocked(db: str, witness: str) -> int:
    """Look at the run with other code: it must be left as it is, with the reason told."""
    ledger.open_ledger(witness)
    changed = made("async").parallel(quick, stays_otherwise).then(total_otherwise)

    async def main() -> None:
        async with Engine(f"sqlite:{db}", workflows=[changed]) as engine:
            info = await engine.get_run(RUN)
            assert info.status.value == "running"
            assert "'stays'" in info.reason, info.reason
            assert "is gone" in info.reason, info.reason
            assert info.worker_id is None
            try:
                await engine.recover(RUN)
            except RunBlockedError as error:
                assert "'stays'" in str(error), error  # noqa: PT017 - no pytest in here
            else:
                raise AssertionError("it was carried on by code that does not fit")
            # What fits goes on beside it.
            assert await engine.run(FINE, Job(base=1)) == 3

    asyncio.run(main())
    return 0


def find_unknown(db: str, witness: str) -> int:
    """Be an engine that does not know the run's workflow."""
    ledger.open_ledger(witness)

    async def main() -> None:
        async with Engine(f"sqlite:{db}", workflows=[FINE]) as engine:
            assert await engine.recover() == []
            assert await engine.run(FINE, Job(base=1)) == 3
            info = await engine.get_run(RUN)
            assert info.status.value == "running"
            assert info.reason == ""
            try:
                await engine.recover(RUN)
            except RunBlockedError as error:
                assert "does not know" in str(error), error  # noqa: PT017
            else:
                raise AssertionError("it was carried on without its code")

    asyncio.run(main())
    return 0
