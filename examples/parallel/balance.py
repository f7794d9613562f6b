"""Balanced and unbalanced work: a block takes as long as its slowest branch.

The steps of a finished run show the time that each branch took.
"""

import asyncio

from gorkflow import Engine, StepExecution, Workflow, step

SECOND = 0.01  # of the page's, whose branches take 1 to 30 seconds


@step
async def work(items: int, seconds: float = 0.0) -> int:
    await asyncio.sleep(seconds * SECOND)
    return items


@step
async def total(a: int, b: int, c: int) -> int:
    return a + b + c


balanced = (
    Workflow("balanced", input=int)
    .parallel(
        work.bind("chunk-1", seconds=10),
        work.bind("chunk-2", seconds=10),
        work.bind("chunk-3", seconds=10),
    )
    .then(total)
)

unbalanced = (
    Workflow("unbalanced", input=int)
    .parallel(
        work.bind("quick", seconds=1),
        work.bind("medium", seconds=5),
        work.bind("long", seconds=30),
    )
    .then(total)
)


def took(step: StepExecution) -> float:
    return sum(attempt.ran or 0.0 for attempt in step.attempts)


async def main() -> None:
    async with Engine("memory:") as engine:
        for workflow in (balanced, unbalanced):
            handle = await engine.start(workflow, 100)
            await handle.result()
            branches = (await engine.steps(handle.run_id))[:3]
            block = max(map(took, branches))
            used = sum(map(took, branches)) / (block * len(branches))
            print(f"{workflow.id}: {block:.2f} s, {used:.0%} of it used")
            for branch in branches:
                print(
                    f"    {branch.path:8} {took(branch):.2f} s, waits {block - took(branch):.2f} s"
                )


if __name__ == "__main__":
    asyncio.run(main())
