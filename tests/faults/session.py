"""What the children of the fork server do: the driver that gets killed, and its like."""

import asyncio
import contextlib
import json
import logging
import random
from pathlib import Path
from typing import Any

from gorkflow import Engine, Run, RunEndedError, RunFilter, RunHandle, RunStatus
from gorkflow.codec import codec_of
from gorkflow.engine import _driver
from tests.faults import ledger
from tests.faults.workload import GO, WAIT_FOR_GO, WORKFLOWS, Start, planned, planned_index

LIVE = 6  # runs that one session has in flight, besides those that it took over
ENDED = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}


def warm_up() -> None:
    """Do once, in the parent, what every child would do again."""
    import tests.faults.actors
    import tests.faults.loaded
    import tests.faults.moments
    import tests.faults.owned

    _driver.NAP = 0.01  # so that runs are suspended, though nothing here takes long
    logging.basicConfig(level=logging.ERROR, format="%(process)d %(message)s")
    for workflow in (*tests.faults.actors.BY_ID.values(), *tests.faults.moments.WORKFLOWS):
        definition = workflow.compile()
        for annotation in (definition.input, *definition.outputs.values()):
            codec_of(annotation).prepare()


def carry(seed: int, db: str, witness: str, first: int, leave_after: float | None) -> int:
    """Recover what is there, start runs from number ``first`` on, until killed or time to leave."""
    ledger.open_ledger(witness)
    asyncio.run(_carry(seed, db, first, leave_after))
    return 0


async def _carry(seed: int, db: str, first: int, leave_after: float | None) -> None:
    chance = random.Random(f"{seed} {first} options")
    engine = Engine(
        f"sqlite:{db}",
        workflows=WORKFLOWS.values(),
        max_concurrent_runs=chance.choice((None, None, 5)),
        max_concurrent_steps=chance.choice((None, None, 4)),
        max_threads=chance.choice((2, 64)),
    )
    async with engine:
        ledger.write("open")
        try:
            async with asyncio.timeout(leave_after):
                await asyncio.gather(*(_keep_busy(engine, seed, first + n) for n in range(LIVE)))
        except TimeoutError:
            ledger.write("leave")
    ledger.write("left")


async def _keep_busy(engine: Engine, seed: int, index: int) -> None:
    while True:
        start = planned(seed, index)
        handle = await begin(engine, start)
        await prompt(handle, start)
        await handle.outcome()
        index += LIVE


async def begin(engine: Engine, start: Start) -> RunHandle[Any]:
    ledger.write("starting", run=start.run_id)
    handle = await engine.start(start.workflow, start.job, run_id=start.run_id)
    ledger.write("started", run=start.run_id)
    return handle


async def prompt(handle: RunHandle[Any], start: Start) -> None:
    """Do what the plan wants to be done from outside."""
    await tell(handle, start)
    if start.cancel:
        await cancel(handle)


async def tell(handle: RunHandle[Any], start: Start) -> None:
    if start.workflow.id in WAIT_FOR_GO:
        await handle.send(GO, start.job.base)


async def cancel(handle: RunHandle[Any]) -> None:
    ledger.write("cancelling", run=handle.run_id)
    await handle.cancel()
    ledger.write("cancelled", run=handle.run_id)


def finish(db: str, witness: str) -> int:
    """Recover what is there, and carry it to its end."""
    ledger.open_ledger(witness)
    asyncio.run(_finish(db))
    return 0


async def _finish(db: str) -> None:
    async with Engine(f"sqlite:{db}", workflows=WORKFLOWS.values()) as engine:
        for run in await all_runs(engine):
            if run.status not in ENDED:
                if run.workflow_id in WAIT_FOR_GO:  # it may have been killed before it was told
                    with contextlib.suppress(RunEndedError):
                        base = (await engine.get_run(run.run_id)).input.base
                        await engine.send(run.run_id, GO, base)
                await engine.handle(run.run_id).outcome()


async def all_runs(engine: Engine) -> list[Run]:
    found: list[Run] = []
    cursor = None
    while True:
        page = await engine.list_runs(RunFilter(limit=500, cursor=cursor))
        found += page
        cursor = page.next_cursor
        if cursor is None:
            return found


def reference(seed: int, runs: list[str], into: str) -> int:
    """Write how these runs of the plan end when nothing disturbs them."""
    Path(into).write_text(json.dumps(asyncio.run(_reference(seed, runs))))
    return 0


async def _reference(seed: int, runs: list[str]) -> dict[str, Any]:
    ends: dict[str, Any] = {}
    async with Engine("memory:", max_concurrent_runs=20) as engine:
        starts = [planned(seed, planned_index(run_id)) for run_id in runs]
        handles = [await engine.start(s.workflow, s.job, run_id=s.run_id) for s in starts]
        for handle, start in zip(handles, starts, strict=True):
            await tell(handle, start)
            await handle.outcome()
            run = await handle.info()
            failures = sorted([f.path, f.code.value, f.type] for f in run.failures if not f.handled)
            ends[run.run_id] = [run.status.value, run.output, failures]
    return ends
