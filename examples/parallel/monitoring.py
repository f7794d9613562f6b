"""Monitoring: log durations in a step, and watch the events of a live run.

`ctx.logger` is a standard logger whose records have the ids of run, step and attempt as fields.
`engine.events` yields each event as it is recorded.
"""

import asyncio
import logging
import time

from gorkflow import Engine, StepContext, Workflow, step
from gorkflow.events import BlockDecided, StepCompleted, StepFailed, StepScheduled

SECOND = 0.02  # of the work that is simulated


@step
async def work(ctx: StepContext, items: int, seconds: float = 1.0) -> int:
    began = time.perf_counter()
    await asyncio.sleep(seconds * SECOND)
    duration = time.perf_counter() - began
    ctx.logger.info("completed in %.3f s", duration, extra={"duration": duration})
    return items


@step
async def total(a: int, b: int, c: int) -> int:
    return a + b + c


monitored = (
    Workflow("monitored", input=int)
    .parallel(
        work.bind("small", seconds=1), work.bind("middle", seconds=2), work.bind("large", seconds=3)
    )
    .then(total)
)


async def watch(engine: Engine, run_id: str) -> list[str]:
    """Follow a run to its end."""
    lines: list[str] = []
    async for event in engine.events(run_id):
        match event:
            case StepScheduled(path=path, attempt=attempt):
                lines.append(f"{path} begins, attempt {attempt}")
            case StepCompleted(path=path):
                lines.append(f"{path} completed")
            case StepFailed(path=path, failure=failure, retry_at=retry_at):
                lines.append(f"{path} failed: {failure}" + (", retrying" if retry_at else ""))
            case BlockDecided(path=path, reason=reason):
                lines.append(f"{path} is decided: {reason}")
            case _:
                continue
        print(lines[-1])
    return lines


async def main() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(monitored, 1)
        await watch(engine, handle.run_id)
        print("total:", await handle.result())


if __name__ == "__main__":
    # Records about a whole run have no path, those of other libraries no run_id either.
    form = "%(run_id)s %(path)s: %(message)s"
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(form, defaults={"run_id": "-", "path": "-"}))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    asyncio.run(main())
