"""Continue on error with partial results, in three ways.

* `per_step`: `@step(continue_on_error=True)` turns the failure of one step into `None`.
* `by_default`: the `defaults` of a workflow do so for all of its steps.
* `settled`: the next step gets the outcome of every branch, failures included.

Such a run is completed, and its `failures` list the failures that it continued after.
"""

import asyncio

from gorkflow import Completed, Engine, Failed, Outcome, StepContext, Workflow, step


@step
async def step_a(fails: list[str]) -> int:
    if "a" in fails:
        raise ConnectionError("source A is down")
    return 1


@step
async def step_b(fails: list[str]) -> int:
    if "b" in fails:
        raise TimeoutError("source B is slow")
    return 2


@step
async def step_c(fails: list[str]) -> int:
    if "c" in fails:
        raise ValueError("source C is odd")
    return 4


# `b: int` would be an error here, since the step may give None. Type checkers say so, and so does
# `.then(…)`.
@step
async def some(a: int, b: int | None, c: int) -> int:
    return a + (b or 0) + c


per_step = (
    Workflow("per-step", input=list[str])
    .parallel(step_a, step_b.options(continue_on_error=True), step_c)
    .then(some)
)


@step(continue_on_error=False)
async def any_of(ctx: StepContext, a: int | None, b: int | None, c: int | None) -> int:
    if a is None and b is None and c is None:
        ended = [ctx.outcome(it) for it in (step_a, step_b, step_c)]
        reasons = [it.failure.message for it in ended if isinstance(it, Failed)]
        raise RuntimeError(f"all parallel steps failed: {'; '.join(reasons)}")
    return sum(value for value in (a, b, c) if value is not None)


by_default = (
    Workflow("by-default", input=list[str], defaults={"continue_on_error": True})
    .parallel(step_a, step_b, step_c)
    .then(any_of)
)


@step
async def collect(a: Outcome[int], b: Outcome[int], c: Outcome[int]) -> str:
    found: list[str] = []
    for outcome in (a, b, c):
        match outcome:
            case Completed(path=path, value=value):
                found.append(f"{path}={value}")
            case Failed(path=path, failure=failure):
                found.append(f"{path}: {failure.message}")
            case _:
                found.append(f"{outcome.path}: {outcome.reason}")
    return ", ".join(found)


settled = (
    Workflow("settled", input=list[str])
    .parallel(step_a, step_b, step_c, join="settled")
    .then(collect)
)


async def main() -> None:
    async with Engine("memory:") as engine:
        for workflow in (per_step, by_default, settled):
            handle = await engine.start(workflow, ["b"])
            print(f"{workflow.id}: {await handle.result()}")
            for failure in (await handle.info()).failures:
                print(f"    continued after {failure}")


if __name__ == "__main__":
    asyncio.run(main())
