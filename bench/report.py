"""The table of docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from measure import Figure

START, END = "<!-- figures: written by bench/run.py -->", "<!-- end of figures -->"
TITLES = {
    "memory": "In memory, per step",
    "sqlite": "On SQLite, `synchronous=FULL`, per step",
    "map": "Maps, per item",
    "overhead": "Time that passes",
    "process": "Processes",
    "values": "Recording values",
}


def write_report(path: Path, figures: list[Figure]) -> None:
    """Put the figures between the marks, and leave the rest of the page as it is."""
    lines = [START, "", f"{datetime.now(UTC):%Y-%m-%d}, {machine()}.", ""]
    for group, title in TITLES.items():
        lines += [f"### {title}", "", *table([f for f in figures if f.group == group]), ""]
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
    assert pattern.search(text), f"{path} lacks the marks {START} and {END}"
    path.write_text(pattern.sub(lambda _: "\n".join([*lines, END]), text), encoding="utf-8")


def table(figures: list[Figure]) -> list[str]:
    rows = [
        "| what | ours, least | median | floor, least | median | ratio | of medians | target | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for figure in figures:
        floor = figure.floor
        cells = [
            figure.name,
            f"{number(figure.ours.least)} {figure.unit}",
            number(figure.ours.median),
            f"{number(floor.least)} ({figure.floor_name})" if floor else "",
            number(floor.median) if floor else "",
            f"{figure.ratio:.2f}" if figure.ratio is not None else "",
            f"{figure.median_ratio:.2f}" if figure.median_ratio is not None else "",
            figure.target,
            {None: "", True: "yes", False: "no"}[figure.met],
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def number(value: float) -> str:
    return (
        f"{value:,.0f}"
        if abs(value) >= 100
        else f"{value:.1f}"
        if abs(value) >= 1
        else f"{value:.2f}"
    )


def machine() -> str:
    """Describe the machine, without naming it."""
    parts = [
        f"{os.cpu_count()} cores ({_cpu()})",
        f"{platform.system()} {platform.release().partition('-')[0]}",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        f"revision {_revision()}",
    ]
    return ", ".join(parts)


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _revision() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
