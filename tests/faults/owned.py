"""Workflows that workers carry, and the children that queue, carry and herd them."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from gorkflow import Client, DuplicateRunError, Engine, StepContext, Workflow, step
from gorkflow.cli._app import cli
from tests.faults import ledger
from tests.faults.ledger import begin, end
from tests.faults.moments import POISON
from tests.faults.session import begin as begin_planned
from tests.faults.session import prompt
from tests.faults.workload import WORKFLOWS as MIXED
from tests.faults.workload import Job, planned


class Held(BaseModel):
    """Waits in its first step until a file is there."""

    number: int
    gate: str


@step
async def reads(ctx: StepContext, held: Held) -> str:
    begin(ctx, held.number)
    return end(ctx, held.gate)


@step
async def holds(ctx: StepContext, gate: str) -> int:
    begin(ctx, gate)
    while not os.path.exists(gate):  # noqa: ASYNC240, PTH110 - quick, and nothing else runs here
        await asyncio.sleep(0.003)
    return end(ctx, 1)


@step
def holds_in_thread(ctx: StepContext, gate: str) -> int:
    begin(ctx, gate)
    while not Path(gate).exists():
        time.sleep(0.003)
    return end(ctx, 2)


@step
async def adds(ctx: StepContext, left: int, right: int) -> int:
    begin(ctx, (left, right))
    return end(ctx, left + right)


poison = POISON
held = Workflow("held-open", input=Held).then(reads).parallel(holds, holds_in_thread).then(adds)
globals().update({f"mixed_{number}": flow for number, flow in enumerate(MIXED.values())})
BEGUN = {"holds", "holds_in_thread"}


def worker(db: str, witness: str, lease: float = 30.0, grace: float = 30.0) -> int:
    """Be ``gorkflow worker``."""
    ledger.open_ledger(witness)
    options = ["--store", f"sqlite:{db}", "--lease", str(lease), "--grace", str(grace)]
    sys.argv = ["gorkflow", "worker", "tests.faults.owned", *options]
    cli(prog_name="gorkflow", standalone_mode=True)
    return 0


def queue(db: str, witness: str, gate: str, first: int = 0, count: int = 1) -> int:
    """Start held runs without carrying them."""
    ledger.open_ledger(witness)

    async def main() -> None:
        async with Client(f"sqlite:{db}") as client:
            for number in range(first, first + count):
                run_id = f"held-{number:04d}"
                ledger.write("starting", run=run_id)
                await client.start(held, Held(number=number, gate=gate), run_id=run_id)
                ledger.write("started", run=run_id)

    asyncio.run(main())
    return 0


def queue_planned(db: str, witness: str, seed: int, count: int) -> int:
    """Start runs of the plan without carrying them."""
    ledger.open_ledger(witness)

    async def main() -> None:
        async with Client(f"sqlite:{db}") as client:
            for number in range(count):
                start = planned(seed, number)
                handle = await begin_planned(client, start)
                await prompt(handle, start)

    asyncio.run(main())
    return 0


def queue_poison(db: str, witness: str) -> int:
    """Start a run that kills whoever carries it."""
    ledger.open_ledger(witness)

    async def main() -> None:
        async with Client(f"sqlite:{db}") as client:
            ledger.write("starting", run="poison")
            await client.start(POISON, Job(base=1), run_id="poison", priority=5)
            ledger.write("started", run="poison")

    asyncio.run(main())
    return 0


def worker_until_done(db: str, witness: str) -> int:
    """Carry runs until all have ended."""
    ledger.open_ledger(witness)

    async def main() -> None:
        async with Engine(f"sqlite:{db}", workflows=[POISON, *MIXED.values()]) as engine:
            while any(not run.status.terminal for run in await engine.list_runs()):
                await asyncio.sleep(0.01)

    asyncio.run(main())
    return 0


def contend(db: str, witness: str, barrier: str, threads: int, ids: list[str], me: int) -> int:
    """Start the same runs from many threads at once; write down how that went."""
    ledger.open_ledger(witness)

    def thread(number: int) -> None:
        asyncio.run(_contend(db, ids, me * 100 + number))

    all_threads = [threading.Thread(target=thread, args=(n,)) for n in range(threads)]
    ledger.write("ready")
    while not Path(barrier).exists():
        time.sleep(0.001)
    for each in all_threads:
        each.start()
    for each in all_threads:
        each.join()
    return 0


async def _contend(db: str, ids: list[str], me: int) -> None:
    async with Client(f"sqlite:{db}") as client:
        for run_id in ids:
            # "same-…": everybody gives the same input. "each-…": everybody gives its own.
            number = 1 if run_id.startswith("same") else me
            ledger.write("starting", run=run_id)
            try:
                value = Held(number=number, gate="/nowhere")
                await client.start(held, value, run_id=run_id, if_exists="return")
            except DuplicateRunError:
                ledger.write("refused", run=run_id, note=str(number))
            else:
                ledger.write("started", run=run_id, note=str(number))


def worker_called(db: str, witness: str, worker_id: str) -> int:
    """Carry runs under a name that is not one's own alone, until all have ended."""
    ledger.open_ledger(witness)

    async def main() -> None:
        engine = Engine(f"sqlite:{db}", workflows=[held])
        engine.worker_id = worker_id
        async with engine:
            while any(not run.status.terminal for run in await engine.list_runs()):
                await asyncio.sleep(0.01)

    asyncio.run(main())
    return 0
