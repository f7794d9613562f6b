"""What the children do that repeat a run and are killed at it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from gorkflow import Engine, StepContext, step
from tests.faults import ledger, points
from tests.faults.ledger import begin, end
from tests.faults.moments import RUN
from tests.faults.workload import Job, TriedError, add, begun, codes

AGAIN = "again"
SHAKY = ("x1", "x5", "x8")
COUNT = 12


@step
async def shaky(ctx: StepContext, value: int) -> int:
    begin(ctx, value)
    if ctx.run_id == RUN:
        raise TriedError("the first time")
    return end(ctx, value)


BRANCHES = [(shaky if f"x{n}" in SHAKY else add).options(id=f"x{n}") for n in range(COUNT)]
WORKFLOW = begun("shaky").parallel(*BRANCHES, join="settled", max_concurrency=4).then(codes)


def carry_original(db: str, witness: str) -> int:
    """Carry the run that is to be repeated."""
    ledger.open_ledger(witness)

    async def main() -> None:
        async with Engine(f"sqlite:{db}") as engine:
            ledger.write("starting", run=RUN)
            handle = await engine.start(WORKFLOW, Job(base=8), run_id=RUN)
            ledger.write("started", run=RUN)
            await handle.result()

    asyncio.run(main())
    return 0


def repeat(db: str, witness: str, kill_at: tuple[str, int] | None = None, report: str = "") -> int:
    """Repeat it, unless that was begun already, and carry that to its end."""
    ledger.open_ledger(witness)
    points.install(kill_at)

    async def main() -> None:
        async with Engine(f"sqlite:{db}", workflows=[WORKFLOW]) as engine:
            ledger.write("open")
            ledger.write("starting", run=AGAIN)
            handle = await engine.rerun(RUN, run_id=AGAIN, if_exists="return")
            ledger.write("started", run=AGAIN)
            await handle.result()

    asyncio.run(main())
    if report:
        Path(report).write_text(json.dumps(points.reached()))
    return 0
