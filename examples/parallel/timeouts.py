"""A timeout per branch: seconds, fractions allowed, counted from when the handler starts.

An async step is cancelled at its deadline. A thread can't be killed: the sync step has failed at
the deadline, and its late result is ignored.
"""

import asyncio
import time
from datetime import timedelta

from gorkflow import Outcome, Workflow, run, step

SECOND = 0.05  # of the page's: its timeouts are 5 and 60 seconds


@step(timeout=5 * SECOND)
async def quick(seconds: float) -> str:
    await asyncio.sleep(seconds * SECOND)
    return "quick"


@step(timeout=timedelta(seconds=60 * SECOND))
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds * SECOND)
    return "slow"


@step(timeout=5 * SECOND)
def quick_in_a_thread(seconds: float) -> str:
    time.sleep(seconds * SECOND)
    return "quick, in a thread"


@step
async def join(a: str, b: str, c: str) -> str:
    return f"{a}, {b}, {c}"


@step
async def describe(a: Outcome[str], b: Outcome[str], c: Outcome[str]) -> list[str]:
    return [f"{type(it).__name__}: {it.path}" for it in (a, b, c)]


timeouts = Workflow("timeouts", input=float).parallel(quick, slow, quick_in_a_thread).then(join)

which = (
    Workflow("which-timed-out", input=float)
    .parallel(quick, slow, quick_in_a_thread, join="settled")
    .then(describe)
)

if __name__ == "__main__":
    print(run(timeouts, 1.0, store="memory:"))  # all three are in time
    print(run(which, 20.0, store="memory:"))  # the two quick ones time out
