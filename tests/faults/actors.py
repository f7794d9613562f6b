"""What the children of the faults do."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gorkflow import (
    Client,
    Engine,
    RunEndedError,
    RunHandle,
    RunStatus,
    StepContext,
    Workflow,
    step,
)
from tests.faults import ledger, points
from tests.faults.ledger import begin, end
from tests.faults.moments import RUN
from tests.faults.workload import GO, Job, begun, hangs, same, total
from tests.faults.workload import WORKFLOWS as MIXED

ENDED = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}
HELD = begun("held").then(hangs)


@step
async def exits(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt == 1:
        os._exit(9)
    return end(ctx, value)


@step
def exits_in_thread(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt == 1:
        os._exit(9)
    return end(ctx, value)


@step
def segfaults(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt == 1:
        ctypes.string_at(0)
    return end(ctx, value)


@step
def aborts(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.attempt == 1:
        os.abort()
    return end(ctx, value)


QUIET = Workflow("quiet", input=int).sleep(0.001)  # leaves no line in the ledger
DEADLY = {
    each.id: begun(each.id).parallel(same, each).then(total)
    for each in (exits, exits_in_thread, segfaults, aborts)
}
WORKFLOWS = (HELD, *DEADLY.values())
BY_ID: dict[str, Workflow[Job, Any]] = {**MIXED, **{w.id: w for w in WORKFLOWS}}


async def start(engine: Engine, workflow: str, run_id: str = RUN) -> RunHandle[Any]:
    """Start a run unless it is there, with a witness."""
    ledger.write("starting", run=run_id)
    handle = await engine.start(BY_ID[workflow], Job(base=8), run_id=run_id, if_exists="return")
    ledger.write("started", run=run_id)
    return handle


# Scenarios: each can be begun again after it was killed anywhere, and then ends the same way.


async def carried(db: str, workflow: str, **options: Any) -> None:
    async with Engine(f"sqlite:{db}", workflows=[BY_ID[workflow]], **options) as engine:
        ledger.write("open")
        await (await start(engine, workflow)).outcome()


async def cancelled(db: str) -> None:
    """Carry a run that another engine cancels through the store."""
    async with (
        Engine(f"sqlite:{db}", workflows=[HELD], lease=1.5) as engine,
        Client(f"sqlite:{db}") as client,
    ):
        ledger.write("open")
        handle = await start(engine, "held")
        if (await handle.info()).status not in ENDED:
            ledger.write("cancelling", run=RUN)
            await client.cancel(RUN)
            await handle.outcome()
            while await engine.store.inbox(RUN):
                await asyncio.sleep(0.002)


async def waiting(db: str) -> None:
    """Carry a run that sleeps, is suspended, and is told something through another engine."""
    async with (
        Engine(
            f"sqlite:{db}", workflows=[MIXED["asks"], MIXED["naps"], QUIET], lease=1.5
        ) as engine,
        Client(f"sqlite:{db}") as client,
    ):
        ledger.write("open")
        handle = await start(engine, "asks")
        if (await handle.info()).status not in ENDED:
            with contextlib.suppress(RunEndedError):  # it was told before it was recovered
                await client.send(RUN, GO, 8)
        await handle.outcome()
        await (await start(engine, "naps", "a-nap")).outcome()
        ledger.write("starting", run="gone")  # and never "started": it is deleted in the end
        await engine.run(QUIET, 1, run_id="gone", if_exists="return")
        assert await engine.store.delete_runs(["gone"]) == 1


SCENARIOS: dict[str, Callable[[str], Awaitable[None]]] = {
    "chain": lambda db: carried(db, "chain"),
    "block": lambda db: carried(db, "block"),
    "retries": lambda db: carried(db, "retries"),
    "cancelled": cancelled,
    "waiting": waiting,
}


def play(
    db: str,
    witness: str,
    scenario: str,
    kill_at: tuple[str, int] | None = None,
    report: str = "",
) -> int:
    """Play a scenario, and be killed at a point or report which points were passed."""
    ledger.open_ledger(witness)
    points.install(kill_at)

    async def main() -> None:
        await SCENARIOS[scenario](db)

    asyncio.run(main())
    if report:
        Path(report).write_text(json.dumps(points.reached()))
    return 0


def carry_one(db: str, witness: str, workflow: str, *, wait_for: str = "") -> int:
    """Carry one run to its end, perhaps once a file is there."""
    ledger.open_ledger(witness)
    while wait_for and not Path(wait_for).exists():
        time.sleep(0.002)
    asyncio.run(carried(db, workflow))
    return 0
