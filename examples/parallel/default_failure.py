"""Default behaviour: a failed branch fails the run.

Running branches finish first, and their results are recorded; nothing new begins. The error lists
every failure, and the outcome of each step. `fail_fast` cancels the others at once instead.
"""

import asyncio

from gorkflow import RunFailedError, Workflow, run, step

SECOND = 0.03  # of the work that is simulated


@step
async def step_a(number: int) -> str:
    await asyncio.sleep(2 * SECOND)
    return f"A-{number}"


@step
async def step_b(number: int) -> str:
    await asyncio.sleep(SECOND)
    raise ConnectionError(f"B can't reach number {number}")


@step
async def step_c(number: int) -> str:
    await asyncio.sleep(2 * SECOND)
    raise ValueError(f"C does not like {number}")


@step
async def after(a: str, b: str, c: str) -> str:
    return f"{a}|{b}|{c}"


default = Workflow("default-failure", input=int).parallel(step_a, step_b, step_c).then(after)

fail_fast = (
    Workflow("fail-fast", input=int)
    .parallel(step_a, step_b, step_c, on_failure="cancel")
    .then(after)
)

if __name__ == "__main__":
    for workflow in (default, fail_fast):
        try:
            run(workflow, 7, store="memory:")
        except RunFailedError as error:
            print(error)
            for path, outcome in error.outcomes.items():
                print(f"    {path}: {type(outcome).__name__}")
