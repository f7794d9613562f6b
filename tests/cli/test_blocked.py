"""The command line ends where a run is blocked: it does not wait for code that it does not have."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gorkflow import Client, Engine, Workflow, step
from gorkflow.stores.sqlite import SqliteStore

from .conftest import Invoke

STORE = "sqlite:runs.db"
CODE = """
from gorkflow import Workflow, step

@step
async def renamed(text: str) -> str:
    return text

flow = Workflow("flow", input=str).then(renamed)
"""
ARGS = ("run", "changed.py:flow", "--input", '"tea"', "--run-id", "r1", "--if-exists", "return")


@step
async def waits(text: str) -> str:
    await asyncio.Event().wait()
    return text


@step
async def other(text: str) -> str:
    return text


old = Workflow("flow", input=str).then(waits)
new = Workflow("flow", input=str).then(other)


@pytest.fixture(autouse=True)
def code(folder: Path) -> None:
    (folder / "changed.py").write_text(CODE)


def test_a_run_that_the_code_can_not_go_on_with_is_a_conflict(invoke: Invoke) -> None:
    async def begin() -> None:
        async with Client(STORE) as client:
            await client.start(old, "tea", run_id="r1")

    asyncio.run(begin())
    result = invoke(*ARGS, "--store", STORE)
    assert (result.exit_code, result.stdout) == (5, "")
    assert "step 'waits' is gone" in result.stderr
    listed = invoke("runs", "--store", STORE, "list")
    assert "blocked: run r1" in listed.stdout.replace("'", "")


def test_who_follows_a_run_of_others_learns_that_it_is_blocked(invoke: Invoke) -> None:
    async def main() -> int:
        store = SqliteStore("runs.db")
        async with Client(store):
            first = Engine(STORE, workflows=[old])
            await first.open()
            await first.start(old, "tea", run_id="r1")
            following = asyncio.create_task(asyncio.to_thread(invoke, *ARGS, "--store", STORE))
            while len(await store.workers()) < 2:
                await asyncio.sleep(0.01)
            await first.aclose(grace=0)
            async with Engine(STORE, workflows=[new]):
                result = await following
        assert "is gone" in result.stderr
        return result.exit_code

    assert asyncio.run(asyncio.wait_for(main(), 60)) == 5
