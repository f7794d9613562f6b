"""The time that pages take: the list of runs, and a large run, opened and seen again.

python bench/pages.py [RUNS [STEPS]]     builds a store of so many runs, and prints a table

The list has the runs of ``bench/lists.py``, and 50 newer ones that steps have run. The large run is
a map of so many steps. Each page is asked of the app itself, without a network. The times are those
of a processor, over all threads: other work on the machine does not count.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from lists import fill

from gorkflow import Client, Engine, Workflow, step
from gorkflow.web import app

TIMES = 5
TABS = ("timeline", "flow", "steps", "events", "explain", "data")


@step
async def double(number: int) -> int:
    """Do nearly nothing."""
    return 2 * number


@step
async def total(numbers: list[int]) -> int:
    """Do nearly nothing."""
    return sum(numbers)


small = (
    Workflow("small", input=int)
    .then(double)
    .parallel(double.options(id="left"), double.options(id="right"))
)
large = Workflow("large", input=list[int]).map(double).then(total)


async def run(path: Path, steps: int) -> None:
    """Run the runs that the pages show."""
    async with Engine(f"sqlite:{path}") as engine:
        await engine.run(large, list(range(steps)), run_id="large")
        for number in range(50):
            await engine.run(small, number)


async def measure(path: Path, steps: int) -> None:
    """Print a row for each page: the answer to the first who asks, and the best of later ones."""
    addresses = {"list of 50 runs": "/"}
    addresses |= {f"run of {steps:,} steps, {tab}": f"/runs/large?tab={tab}" for tab in TABS}
    async with Client(f"sqlite:{path}") as client:
        for name, address in addresses.items():
            transport = httpx.ASGITransport(app(client), client=("127.0.0.1", 50000))
            base = "http://127.0.0.1:8765"
            async with httpx.AsyncClient(transport=transport, base_url=base) as browser:
                await browser.get("/?q=nothing")  # has the templates compiled
                took: list[float] = []
                for _ in range(TIMES + 1):
                    begun = time.process_time()
                    answer = await browser.get(address)
                    took.append(1000 * (time.process_time() - begun))
                    assert answer.status_code == 200, answer.text
                size = len(answer.content) / 1024
                print(f"| {name} | {took[0]:.0f} | {min(took[1:]):.0f} | {size:,.0f} |", flush=True)


def main() -> None:
    """Build a store, and print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    with TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        asyncio.run(run(path, steps))
        with closing(sqlite3.connect(path)) as db:
            fill(db, runs, first=1_000)
            db.commit()
        print(f"{runs:,} runs; later visits are the best of {TIMES}\n")
        print("| page | first visit, ms | later, ms | kB |")
        print("| --- | ---: | ---: | ---: |")
        asyncio.run(measure(path, steps))


if __name__ == "__main__":
    main()
