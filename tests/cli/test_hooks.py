"""Hooks on the command line: called before `run` exits, and looked after by the doctor."""

import asyncio
import time
from pathlib import Path

import pytest

from gorkflow.hooks import Hook, HookCall
from gorkflow.model import RunStatus
from gorkflow.store import Finding
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing.conformance import new_run
from tests.cli.conftest import Invoke
from tests.cli.test_db import diagnosed
from tests.stores.tools import sql

STORE = Path(".gorkflow", "runs.db")

CODE = """
from gorkflow import Engine, Run, Workflow, step

@step
def double(number: int) -> int:
    if number < 0:
        raise ValueError("below zero")
    return number * 2

def alert(run: Run) -> None:
    if run.input == 13:
        raise ConnectionError("the pager is down")
    with open("told", "a") as file:
        print("workflow", run.run_id, run.status, file=file)

def count(run: Run) -> None:
    with open("told", "a") as file:
        print("engine", run.run_id, file=file)

doubling = Workflow("doubling", input=int, on_end=alert).then(double)

def make_engine():
    return Engine(workflows=[doubling], on_end=count)
"""


@pytest.fixture
def hooked(invoke: Invoke, folder: Path) -> Invoke:
    (folder / "hooked.py").write_text(CODE)
    return invoke


def told() -> list[str]:
    return sorted(Path("told").read_text().splitlines())


def calls() -> list[HookCall]:
    async def work() -> list[HookCall]:
        store = SqliteStore(STORE)
        await store.open()
        try:
            return await store.hook_calls()
        finally:
            await store.close()

    return asyncio.run(work())


@pytest.mark.parametrize(("number", "status"), [(2, "completed"), (-2, "failed")])
def test_run_calls_the_hook_before_it_exits(hooked: Invoke, number: int, status: str) -> None:
    given = ["--run-id", "r", "--input", str(number)]
    assert hooked("run", "hooked.py:doubling", *given).exit_code == (number < 0)
    assert told() == [f"workflow r {status}"]
    assert calls() == []


def test_run_calls_the_hook_of_the_engine_that_the_target_names(hooked: Invoke) -> None:
    assert hooked("run", "hooked.py:make_engine", "--run-id", "r", "--input", "2").exit_code == 0
    assert told() == ["engine r", "workflow r completed"]


def test_run_says_that_a_hook_failed_and_leaves_its_call_due(hooked: Invoke) -> None:
    result = hooked("run", "hooked.py:doubling", "--run-id", "r", "--input", "13")
    assert result.exit_code == 0
    assert result.stdout == "26\n"
    assert (
        "the on_end hook of the workflow failed (ConnectionError: the pager is down), and a worker "
        "calls it again:\n  gorkflow worker hooked.py:doubling\n"
    ) in result.stderr
    (call,) = calls()
    assert (call.hook, call.tries) == (Hook.WORKFLOW, 1)


# ---- doctor and check ---------------------------------------------------------------------------


def ended(*run_ids: str, ago: float, workflow_id: str = "doubling") -> None:
    """Put runs into the store that ended so long ago, with their calls."""

    async def work() -> None:
        store = SqliteStore(STORE)
        await store.open()
        at = time.time() - ago
        await store.write(
            [
                new_run(
                    run_id,
                    workflow_id=workflow_id,
                    status=RunStatus.COMPLETED,
                    created_at=at,
                    finished_at=at,
                    hooks=1,
                )
                for run_id in run_ids
            ]
        )
        await store.close()

    asyncio.run(work())


def of_hooks(invoke: Invoke) -> list[dict[str, str]]:
    _, found = diagnosed(invoke)
    return [*found.get("hooks", []), *found.get("hook", [])]


def test_doctor_tells_of_calls_that_are_late_or_failed(hooked: Invoke) -> None:
    hooked("run", "hooked.py:doubling", "--input", "2")
    assert of_hooks(hooked) == []
    ended("fresh", ago=1)
    (fine,) = of_hooks(hooked)
    assert (fine["level"], fine["text"]) == ("ok", "1 call due: 0 late, 0 that failed before")
    ended("old", "older", ago=100)
    ended("other", ago=100, workflow_id="shop")
    fine, *late = of_hooks(hooked)
    assert fine["text"] == "4 calls due: 3 late, 0 that failed before"
    assert [each["level"] for each in late] == ["problem", "problem"]
    assert "2 calls late for runs of workflow 'doubling', the first by 1 min 4" in " ".join(
        each["text"] for each in late
    )
    hooked("run", "hooked.py:doubling", "--run-id", "bad", "--input", "13")
    failed = [each for each in of_hooks(hooked) if "failed 1 time," in each["text"]]
    assert [each["level"] for each in failed] == ["warning"]
    assert "the one of run bad failed 1 time," in failed[0]["text"]
    assert "ConnectionError: the pager is down" in failed[0]["text"]


def checked() -> list[Finding]:
    async def work() -> list[Finding]:
        store = SqliteStore(STORE)
        await store.open()
        try:
            return await store.check(rows_only=True)
        finally:
            await store.close()

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE hook_calls SET run = 77", "hook calls are kept of runs that are gone"),
        ("UPDATE runs SET status = 'running'", "or have not ended"),
        ("UPDATE hook_calls SET hook = 7", "hook calls contradict their run"),
        ("UPDATE hook_calls SET workflow_id = 'x'", "hook calls contradict their run"),
    ],
)
def test_check_finds_calls_without_a_run(hooked: Invoke, damage: str, said: str) -> None:
    hooked("run", "hooked.py:doubling", "--run-id", "bad", "--input", "13")
    assert not [each for each in checked() if "hook" in each.text]
    sql(STORE, damage)
    assert [each for each in checked() if said in each.text]
