"""Runs the faults at a chosen size, two at a time, and writes the table of ``docs/reliability.md``.

One fault is one process of its own, ``--only ID --seed N``, which is also how one is replayed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.registry import Fault, Result, Size, faults

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: written by tests/faults/soak.py -->", "<!-- end of faults -->"


def main() -> int:
    args = _arguments()
    if args.one:
        print(json.dumps(asdict(faults()[args.only[0]].run(Size(args.size), args.seed))))
        return 0
    chosen = [f for id, f in faults().items() if not args.only or id in args.only]
    began = time.monotonic()
    results: dict[str, Result] = {}
    for fault, result, took in _run_all(chosen, args.size, args.seed):
        results[fault.id] = result
        print(_line(fault, result, took), flush=True)
        for violation in result.violations:
            print(f"    {violation[:3_000]}\n    to replay: {_replay(fault, args.size, args.seed)}")
    minutes = (time.monotonic() - began) / 60
    if args.write:
        ordered = [(fault, results[fault.id]) for fault in chosen]
        _write(ordered, _heading(args.size, minutes, ordered), args.seed)
    violations = sum(len(result.violations) for result in results.values())
    injections = sum(result.injections for result in results.values())
    print(f"{injections} injections, {violations} violations, {minutes:.1f} minutes")
    return 1 if violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=[*Size], default=Size.SMALL)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="this fault")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.only) - set(faults()):
        parser.error(
            f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(faults())}"
        )
    if args.write and args.only:
        parser.error("the table is written by a run of all faults; leave out --only or --write")
    return args


def _run_all(chosen: list[Fault], size: str, seed: int) -> Iterator[tuple[Fault, Result, float]]:
    """Run faults in processes of their own: two at a time, and those that measure alone."""

    def run(fault: Fault) -> tuple[Fault, Result, float]:
        began = time.monotonic()
        return fault, _run_one(fault, size, seed), time.monotonic() - began

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(run, [fault for fault in chosen if not fault.alone])
    yield from map(run, [fault for fault in chosen if fault.alone])


def _run_one(fault: Fault, size: str, seed: int) -> Result:
    command = [sys.executable, "-m", "tests.faults.soak", "--one", "--only", fault.id]
    process = subprocess.run(
        [*command, "--size", size, "--seed", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        return Result(violations=[f"ended with {process.returncode}: {process.stderr[-2_000:]}"])
    return Result(**json.loads(process.stdout.splitlines()[-1]))


def _replay(fault: Fault, size: str, seed: int) -> str:
    return f"python -m tests.faults.soak --only {fault.id} --size {size} --seed {seed}"


# The table


def _line(fault: Fault, result: Result, took: float) -> str:
    if result.skipped:
        return f"{fault.id:5} {fault.name:32} skipped: {result.skipped}"
    told = f"{result.injections:6} injections {len(result.violations):3} violations"
    return f"{fault.id:5} {fault.name:32} {told}  recovery {_both(result)}  {took:.0f} s"


def _both(result: Result) -> str:
    return "/".join(_percentile(result.recoveries, percent) for percent in (50, 95)) or "-"


def _percentile(values: list[float], percent: int) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.quantiles(values, n=100, method='inclusive')[percent - 1]:.3f}"


def _heading(size: str, minutes: float, results: Iterable[tuple[Fault, Result]]) -> str:
    results = list(results)
    injections = sum(result.injections for _, result in results)
    violations = sum(len(result.violations) for _, result in results)
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    ).stdout.strip()  # fmt: skip
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}"
    software = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, size {size}, {minutes:.0f} minutes on {machine}, "
        f"{software}, revision {revision or 'unknown'}.\n\n"
        f"**{injections:,} injections, {violations} violations.**"
    )


def _write(results: list[tuple[Fault, Result]], heading: str, seed: int) -> None:
    lines = [
        "| fault | | what is injected | injections | violations | recovery p50 | p95 | seed |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for fault, result in results:
        figures = [
            f"skipped: {result.skipped}" if result.skipped else f"{result.injections:,}",
            str(len(result.violations)),
            _percentile(result.recoveries, 50),
            _percentile(result.recoveries, 95),
        ]
        cells = [fault.id, fault.name, fault.injected, *figures, str(seed)]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n\n{heading}\n\n{table}\n\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
