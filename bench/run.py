"""Measure gorkflow against the floor, in one run, and write the table of docs/benchmarks.md.

usage: run.py [--quick] [--only GROUP] [--no-write]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import floor
import ours
import values
from measure import Figure, Series, in_turns
from report import write_report

from gorkflow import Engine

BENCH = Path(__file__).parent
DOCS = BENCH.parent / "docs" / "benchmarks.md"
RESULTS = BENCH / "results.json"
IN_MEMORY = 30.0  # µs: twice the 11 to 15 of the prototype without features
DURABLE_RATIO = 3.9  # twice the prototype's 420 µs for a step where a commit took 217
GROUPED = 70.0  # µs: twice the prototype's 22 to 35, for durable blocks and for 1,000 runs at once
GROWTH = 1.5
WIDE = {"dict": 1.2, "waits": 1.7}  # a step of a block of 10,000, in steps of a block of 100
WAITING = 2_000.0  # bytes
IMPORT = 120.0  # ms
OVERHEAD = 20.0  # ms


class Bench:
    """All measurements.

    Args:
        folder: for databases, on the disk that is measured.
        quick: fewer repetitions.
    """

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self._databases = 0

    def repeat(self, often: int) -> int:
        return max(3, often // 5) if self.quick else often

    def url(self) -> str:
        self._databases += 1
        return f"sqlite:{self.folder / f'runs{self._databases}.db'}"

    # ---- in memory ------------------------------------------------------------------------

    async def in_memory(self) -> AsyncIterator[Figure]:
        async with Engine("memory:") as engine:
            for length in (10, 100):
                yield await self._sequence(engine, length, "dict")
            for kind in ("model", "waits"):
                yield await self._sequence(engine, 100, kind)
            for width in (4, 16):
                yield await self._block(engine, width, "dict")
            for kind, most in WIDE.items():
                widths: dict[int, Figure] = {}
                for width in (100, 1_000, 10_000):
                    figure = widths[width] = await self._block(engine, width, kind)
                    yield figure
                wide, narrow = widths[10_000].ours, widths[100].ours
                name = f"block of 10,000 against block of 100{_of(kind)}"
                figure = Figure("memory", name, "µs/step", wide, narrow, "block of 100")
                yield figure.judged(f"≤ {most} times", met=(figure.ratio or 0) <= most)
            yield await self._block(engine, 1_000, "model")
            mine, theirs = await in_turns(
                lambda: ours.many(engine, ours.small_run(), ours.ONE, 1_000),
                lambda: floor.many(1_000),
                per=5_000,
                repeat=self.repeat(8),
            )
            name = "1,000 runs of 5 steps at once"
            yield self._per_step("memory", name, mine, theirs, limit=GROUPED)

    async def _sequence(self, engine: Engine, length: int, kind: str) -> Figure:
        workflow, value = ours.sequence(length, kind), ours.KINDS[kind][3]
        rounds = 2_000 // length

        async def mine() -> None:
            for _ in range(rounds):
                await engine.run(workflow, value)

        async def theirs() -> None:
            for _ in range(rounds):
                await floor.sequence(length)

        series = await in_turns(mine, theirs, per=length * rounds, repeat=self.repeat(15))
        figure = self._per_step("memory", f"{length} steps in sequence{_of(kind)}", *series)
        figure.floor_name = "an asyncio task each, in turn"
        return figure

    async def _block(self, engine: Engine, width: int, kind: str) -> Figure:
        workflow, value = ours.block(width, kind), ours.KINDS[kind][3]
        rounds = max(1, 1_000 // width)

        async def mine() -> None:
            for _ in range(rounds):
                await engine.run(workflow, value)

        async def theirs() -> None:
            for _ in range(rounds):
                await floor.block(width)

        series = await in_turns(mine, theirs, per=(width + 1) * rounds, repeat=self.repeat(15))
        return self._per_step("memory", f"block of {width:,}{_of(kind)}", *series)

    @staticmethod
    def _per_step(
        group: str, name: str, mine: Series, theirs: Series | None, *, limit: float = IN_MEMORY
    ) -> Figure:
        figure = Figure(group, name, "µs/step", mine, theirs, "asyncio tasks, gathered")
        return figure.judged(f"≤ {limit:g} µs", met=mine.least <= limit)

    # ---- on SQLite ------------------------------------------------------------------------

    async def durable(self) -> AsyncIterator[Figure]:
        disk = floor.Disk(self.folder / "floor.db")
        async with Engine(self.url()) as engine:
            workflow = ours.sequence(50)
            mine, theirs = await in_turns(
                lambda: engine.run(workflow, ours.ONE),
                lambda: disk.single(50),
                per=50,
                repeat=self.repeat(20),
            )
            figure = Figure("sqlite", "50 steps in sequence", "µs/step", mine, theirs)
            figure.floor_name = "one row per synced commit"
            yield figure.judged(
                f"≤ {DURABLE_RATIO} times floor", met=(figure.ratio or 0) <= DURABLE_RATIO
            )
            for width in (100, 1_000):
                mine, theirs = await in_turns(
                    partial(engine.run, ours.block(width), ours.ONE),
                    partial(disk.batched, width),
                    per=width,
                    repeat=self.repeat(15),
                )
                yield self._batched(f"block of {width:,}", mine, theirs)
            mine, theirs = await in_turns(
                lambda: ours.many(engine, ours.small_run(), ours.ONE, 1_000),
                lambda: disk.batched(5_000),
                per=5_000,
                repeat=self.repeat(6),
            )
            yield self._batched("1,000 runs of 5 steps at once", mine, theirs)
        disk.close()

    @staticmethod
    def _batched(name: str, mine: Series, theirs: Series | None) -> Figure:
        figure = Figure("sqlite", name, "µs/step", mine, theirs, "rows, 100 per synced commit")
        return figure.judged(f"≤ {GROUPED:g} µs", met=mine.least <= GROUPED)

    # ---- maps -----------------------------------------------------------------------------

    async def maps(self) -> AsyncIterator[Figure]:
        few, many = 100, 10_000
        for where, url in (("memory", "memory:"), ("SQLite", self.url())):
            async with Engine(url) as engine:
                for limit in (None, 8):

                    async def short(engine: Engine = engine, limit: int | None = limit) -> None:
                        for _ in range(10):
                            await engine.run(ours.each(limit), ours.items(few))

                    async def long(engine: Engine = engine, limit: int | None = limit) -> None:
                        await engine.run(ours.each(limit), ours.items(many))

                    small, _ = await in_turns(short, None, per=10 * few, repeat=self.repeat(15))
                    large, _ = await in_turns(long, None, per=many, repeat=self.repeat(15))
                    how = "all at once" if limit is None else f"{limit} at a time"
                    figure = Figure(
                        "map", f"{many:,} items, {how}, {where}", "µs/item", large, small,
                        f"one of {few} items",
                    )  # fmt: skip
                    ratio = figure.ratio or 0
                    yield figure.judged(f"≤ {GROWTH} times", met=ratio <= GROWTH)
        for figure in self._waiting():
            yield figure

    def _waiting(self) -> Iterator[Figure]:
        if not Path("/proc/self/statm").exists():
            return
        fresh = str(BENCH / "fresh.py")
        for where, url in (("memory", "memory:"), ("SQLite", self.url())):
            for limit, why in ((4, "its turn in the map"), (0, "room in the engine")):
                taken = Series([_printed(fresh, "waiting", url, str(limit)) for _ in range(3)])
                yield Figure(
                    "map", f"resident, per item that waits for {why}, {where}", "bytes", taken
                ).judged(f"< {WAITING:,.0f} bytes", met=taken.median < WAITING)

    # ---- time that passes -----------------------------------------------------------------

    async def overhead(self) -> AsyncIterator[Figure]:
        for store in ("memory:", self.url()):
            async with Engine(store) as engine:
                for how, workflow in ours.sleeping_branches().items():
                    series = Series()
                    for _ in range(self.repeat(5)):
                        began = time.perf_counter()
                        await engine.run(workflow, ours.ONE)
                        series.values.append((time.perf_counter() - began - 1) * 1e3)
                    where = store.partition(":")[0]
                    name = f"three branches of 1 s and an aggregate, {how}, {where}"
                    yield Figure("overhead", name, "ms over 1 s", series).judged(
                        f"< {OVERHEAD:g} ms", met=series.least < OVERHEAD
                    )

    # ---- processes of their own -----------------------------------------------------------

    async def processes(self) -> AsyncIterator[Figure]:
        for figure in self._processes():
            yield figure

    def _import(self, statement: str) -> Figure:
        bare, imported, asyncio_alone = Series(), Series(), Series()
        _wall(lambda: ["-c", statement])  # compiles it
        for _ in range(self.repeat(15)):
            bare.values.append(_wall(lambda: ["-c", "pass"]))
            imported.values.append(_wall(lambda: ["-c", statement]))
            asyncio_alone.values.append(_wall(lambda: ["-c", "import asyncio"]))
        over, floor = (
            Series([value - bare.median for value in each.values])
            for each in (imported, asyncio_alone)
        )
        name = f"{statement}, over a bare interpreter"
        return Figure("process", name, "ms", over, floor, "import asyncio")

    def _processes(self) -> Iterator[Figure]:
        plain = self._import("import gorkflow")
        yield plain.judged(f"≤ {IMPORT:g} ms", met=plain.ours.median <= IMPORT)
        yield self._import("from gorkflow import Engine")
        fresh = str(BENCH / "fresh.py")
        for where, url in (("memory", lambda: "memory:"), ("SQLite", self.url)):
            mine, theirs = Series(), Series()
            for _ in range(self.repeat(10)):
                theirs.values.append(_wall(lambda: [fresh, "floor"]))
                mine.values.append(_wall(lambda make=url: [fresh, "cold", make()]))
            yield Figure(
                "process", f"first run of 3 steps, start to exit, {where}", "ms", mine, theirs,
                "the same with asyncio alone",
            )  # fmt: skip
        if not Path("/proc/self/statm").exists():
            return
        theirs = Series([_printed(fresh, "memory-floor") for _ in range(3)])
        for where, url in (("memory", "memory:"), ("SQLite", self.url())):
            mine = Series([_printed(fresh, "memory", url)])
            yield Figure(
                "process", f"resident, per run in flight with 3 steps asleep, {where}", "kB",
                Series([value / 1000 for value in mine.values]),
                Series([value / 1000 for value in theirs.values]), "4 tasks asleep",
            )  # fmt: skip


def _of(kind: str) -> str:
    """Name the kind of steps. The floor of steps that wait once does not wait itself."""
    return {"dict": "", "model": ", pydantic model", "waits": ", model, each waits once"}[kind]


def _wall(command: Callable[[], list[str]]) -> float:
    arguments = command()
    # As users have it: compiled once, whatever this shell says of byte code.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment
    )
    return (time.perf_counter() - began) * 1e3


def _printed(*arguments: str) -> float:
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    return float(done.stdout)


async def measure(bench: Bench, only: str | None) -> list[Figure]:
    figures: list[Figure] = []
    groups: dict[str, Callable[[], AsyncIterator[Figure]]] = {
        "memory": bench.in_memory,
        "sqlite": bench.durable,
        "map": bench.maps,
        "overhead": bench.overhead,
        "process": bench.processes,
        "values": lambda: values.figures(bench.repeat),
    }
    for name, group in groups.items():
        if only in (None, name):
            async for figure in group():
                figures.append(figure)
                print(_line(figure), flush=True)
    return figures


def _line(figure: Figure) -> str:
    ratio = f"{figure.ratio:7.2f} times floor" if figure.ratio is not None else " " * 15
    verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
    return (
        f"{figure.group:9} {figure.name:60} {figure.ours.least:9.1f} / {figure.ours.median:9.1f} "
        f"{figure.unit:12} {ratio}  {figure.target} {verdict}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--only", help="memory, sqlite, map, overhead, process or values")
    parser.add_argument("--no-write", action="store_true", help="don't write the report")
    arguments: Any = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gorkflow-bench-", dir=BENCH) as folder:
        figures = asyncio.run(measure(Bench(Path(folder), quick=arguments.quick), arguments.only))
    if not arguments.no_write and arguments.only is None:
        results = [figure.to_json() for figure in figures]
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        write_report(DOCS, figures)


if __name__ == "__main__":
    main()
