"""The main path: the files that a run passes through, on an engine that ran one before.

python -m tests.project.main_path    writes it into ARCHITECTURE.md


Every Python call inside the package is noted, of the loop's thread and of the store's.
"""

import ast
import asyncio
import re
import sys
import tempfile
import threading
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import gorkflow
from gorkflow import Engine, Workflow, step
from tests.project.repository import ROOT

PACKAGE = Path(gorkflow.__file__).parent
PAGE = ROOT / "ARCHITECTURE.md"
_SECTION = re.compile(r"(<!-- main path -->\n).*?(<!-- end of main path -->)", re.DOTALL)


class Trace(NamedTuple):
    files: list[str]
    """In the order in which the run comes to them."""
    changes: int
    """How often the next call is in another file."""


def trace(store: str, steps: int) -> Trace:
    """Trace the second run of a workflow of so many steps on a warm engine."""
    calls: list[str] = []
    prefix = f"{PACKAGE}/"
    is_on = False

    def note(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        # The watchdog asks the loop now and then, and so is on the path of chance.
        on_the_path = is_on and not name.endswith("/_watchdog.py")
        if on_the_path and event == "call" and name.startswith(prefix):
            calls.append(name.removeprefix(prefix))

    async def run() -> None:
        nonlocal is_on
        flow = _flow(steps)
        async with Engine(store) as engine:
            await engine.run(flow, 1)
            is_on = True
            await engine.run(flow, 1)
            is_on = False

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        asyncio.run(run())
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    changes = sum(one != other for one, other in pairwise(calls))
    return Trace(list(dict.fromkeys(calls)), changes)


def _flow(steps: int) -> Workflow[int, int]:
    async def add_one(number: int) -> int:
        return number + 1

    flow = Workflow("path", input=int)
    for number in range(steps):
        flow = flow.then(step(id=f"add_{number}")(add_one))
    return flow


def page() -> str:
    """Return ARCHITECTURE.md with the main path as it is."""
    with tempfile.TemporaryDirectory() as folder:
        found = trace(f"sqlite:{folder}/runs.db", 2)
    lines = [f"{at}. `{name}`: {_noun(PACKAGE / name)}" for at, name in enumerate(found.files, 1)]
    return _SECTION.sub(lambda m: f"{m[1]}{chr(10).join(lines)}\n{m[2]}", PAGE.read_text())


def _noun(path: Path) -> str:
    """Return how a module names itself: the first words of its docstring."""
    line = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    noun = re.split(r"[:.]", line)[0]
    return noun[0].lower() + noun[1:]


if __name__ == "__main__":
    PAGE.write_text(page())
