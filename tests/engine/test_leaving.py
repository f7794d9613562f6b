"""Leaving an engine while runs have not ended: it says how many, where they are, and what next."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gorkflow import Engine, Signal, Workflow, run, step
from gorkflow.stores.memory import MemoryStore

from .support import Gate, in_loop, until

go = Signal("go", int)


@step
async def quick(number: int) -> int:
    return number


@step
async def stuck(number: int) -> int:
    await asyncio.Event().wait()
    return number


holding = Workflow("holding", input=int).then(stuck)
waiting = Workflow("waiting", input=int).then(quick).wait_for(go)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said of runs that are left; each in one line, as a warning."""
    found = [record for record in caplog.records if hasattr(record, "left_runs")]
    assert all(record.levelno == logging.WARNING for record in found)
    assert all("\n" not in record.getMessage() for record in found)
    return [record.getMessage() for record in found]


@pytest.mark.own_store
@in_loop
async def test_runs_that_are_left_in_a_file_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    async with Engine("sqlite:runs.db") as engine:
        await engine.run(Workflow("w", input=int).then(quick), 1)
    assert told(caplog) == []
    async with Engine("sqlite:runs.db", workflows=[holding, waiting]) as engine:
        await engine.start(holding, 1, run_id="r1")
        await engine.aclose(grace=0)
    (text,) = told(caplog)
    assert text.startswith("1 run has not ended: r1. It is kept in sqlite:runs.db and continues")
    assert "`gorkflow runs resume r1 TARGET --store sqlite:runs.db`" in text
    caplog.clear()
    async with Engine("sqlite:runs.db") as engine:  # it has nothing to do with them
        pass
    assert told(caplog) == []


@in_loop
async def test_runs_that_wait_in_the_store_count_until_they_have_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = f"sqlite:{tmp_path}/runs.db"

    async def status(engine: Engine, run_id: str) -> Any:
        row = await engine.store.get_run(run_id)
        return None if row is None else row.status

    async with Engine(store) as engine, Engine(store, workflows=[waiting]) as other:
        for run_id in ("a", "b", "c"):
            await engine.start(waiting, 1, run_id=run_id)
            while await status(engine, run_id) != "suspended":
                await asyncio.sleep(0.01)
        await other.send("b", go, 2)
        await other.handle("b").result()
        await other.cancel("c")
        await other.handle("c").outcome()
        await engine.aclose()
        (text,) = told(caplog)
        assert text.startswith("1 run has not ended: a.")
        caplog.clear()
    assert len(told(caplog)) <= 1


@in_loop
async def test_runs_in_memory_are_lost_and_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    async with Engine(store) as engine:
        async with Engine(store) as other:
            await other.start(holding, 1)
            await other.aclose(grace=0)
        assert told(caplog) == []  # the store lives on, and the other engine takes it
        for number in range(3):
            await engine.start(holding, number)
        await engine.aclose(grace=0)
    (text,) = told(caplog)
    assert text.startswith("4 runs have not ended: ")
    assert "They were lost with the store in memory" in text


@in_loop
async def test_a_run_that_ends_in_its_grace_is_not_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate()

    @step
    async def waits(number: int) -> int:
        await gate.wait_async()
        return number

    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w", input=int).then(waits), 1)
        await until(lambda: gate.arrived)
        gate.open()
        closing = asyncio.ensure_future(engine.aclose())
        await handle.outcome()
        await closing
    assert told(caplog) == []


PROGRAM = """
import asyncio, os, signal, sys
from gorkflow import Engine, Workflow, run, step

@step
async def stops(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()
    return number

flow = Workflow("flow", input=int).then(stops)

async def main():
    async with Engine("sqlite:runs.db") as engine:
        await engine.run(flow, 1, run_id="r1")

if sys.argv[1] == "blocking":
    run(flow, 1, store="sqlite:runs.db", run_id="r1")
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["blocking", "asyncio"])
def test_ctrl_c_says_what_is_left(how: str, tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py", how],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (line,) = [line for line in done.stderr.splitlines() if "not ended" in line]
    assert line.startswith("1 run has not ended: r1. It is kept in sqlite:runs.db and continues")
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_the_blocking_call_leaves_nothing(caplog: pytest.LogCaptureFixture):
    assert run(Workflow("w", input=int).then(quick), 1, store="memory:") == 1
    assert told(caplog) == []
