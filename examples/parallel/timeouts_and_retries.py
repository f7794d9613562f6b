"""Timeouts with retries, per branch: each attempt gets the whole timeout anew.

`retries=3` means up to three more attempts after the first. A `RetryPolicy` also sets the delays
and the errors to retry. Nothing is retried by default.
"""

import asyncio

from gorkflow import Engine, RetryPolicy, StepContext, Workflow, step

SECOND = 0.01  # of the page's, whose timeouts are 10 and 30 seconds


class DiskFullError(Exception):
    """Trying again won't help."""


@step(timeout=30 * SECOND, retries=RetryPolicy(retries=3, initial_interval=SECOND, jitter=0))
async def api_call(ctx: StepContext, hangs: int) -> str:
    if ctx.attempt <= hangs:
        await asyncio.sleep(3600)  # does not answer; the timeout ends it
    return f"answered in attempt {ctx.attempt}"


@step(
    timeout=10 * SECOND,
    retries=RetryPolicy(
        retries=2,
        initial_interval=SECOND,
        backoff="linear",
        retry_on=(OSError,),
        give_up_on=(DiskFullError,),
    ),
)
async def db_write(ctx: StepContext, hangs: int) -> str:
    if ctx.attempt == 1:
        raise ConnectionResetError("the database closed the connection")
    if hangs > 3:
        raise DiskFullError("no space left")
    return f"written in attempt {ctx.attempt}"


@step
async def report(api: str, database: str) -> str:
    return f"API {api}; row {database}"


reliable = Workflow("reliable", input=int).parallel(api_call, db_write).then(report)


async def main() -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(reliable, 1)
        print(await handle.result())
        for execution in await engine.steps(handle.run_id):
            for attempt in execution.attempts:
                how = attempt.failure.code.value if attempt.failure else "completed"
                print(f"    {execution.path}, attempt {attempt.number}: {how}")


if __name__ == "__main__":
    asyncio.run(main())
