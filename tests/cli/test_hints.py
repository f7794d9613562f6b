"""The commands that answers advise look into the store that was looked into."""

import asyncio
from typing import Any

import pytest

from gorkflow import Engine, Signal, Workflow
from gorkflow.store import Message
from gorkflow.stores.sqlite import SqliteStore
from tests.cli.conftest import Invoke
from tests.cli.test_commands import as_patient, leave_unfinished, started

STORE = "sqlite:my runs.db"
GIVEN = ("--store", STORE)
NAMED = "--store 'sqlite:my runs.db'"


def test_what_has_failed_is_shown_from_the_same_store(invoke: Invoke):
    ran = invoke("run", "flows.py:failing", "--run-id", "r1", *GIVEN)
    again = invoke("runs", "resume", "r1", "flows.py:failing", *GIVEN)
    rerun = invoke("runs", *GIVEN, "rerun", "r1", "flows.py:failing", "--run-id", "r2")
    for result, run_id in ((ran, "r1"), (again, "r1"), (rerun, "r2")):
        assert result.exit_code == 1
        assert result.stderr.endswith(f"\nsee: gorkflow runs show {run_id} --traceback {NAMED}\n")
    queued = invoke("runs", "rerun", "r1", *GIVEN)
    assert queued.stderr.endswith(f": gorkflow worker TARGET {NAMED}\n")


def test_what_was_cancelled_is_shown_from_the_same_store(invoke: Invoke):
    leave_unfinished("r1", store=STORE)
    invoke("runs", "cancel", "r1", *GIVEN)
    result = invoke("runs", "resume", "r1", "flows.py", *GIVEN)
    assert result.stderr.endswith(f"\nsee: gorkflow runs show r1 {NAMED}\n")


def test_what_others_carry_is_watched_in_the_same_store(invoke: Invoke):
    async def refused() -> tuple[str, str]:
        async with Engine(STORE) as engine:
            await started(engine, "r1", as_patient())
            resumed = await asyncio.to_thread(invoke, "runs", "resume", "r1", "flows.py", *GIVEN)
            deleted = await asyncio.to_thread(invoke, "runs", "delete", "r1", *GIVEN)
            await engine.cancel("r1")
            return resumed.stderr, deleted.stderr

    resumed, deleted = asyncio.run(refused())
    assert f"watch it with `gorkflow runs show r1 {NAMED}`" in resumed
    assert f"cancel it first: gorkflow runs cancel r1 {NAMED}\n" in deleted


def test_doctor_advises_commands_about_the_same_store(invoke: Invoke):
    leave_unfinished("r1", store=STORE)

    async def post() -> None:
        store = SqliteStore("my runs.db")
        await store.open()
        await store.post(Message(0, "r1", "signal", "unread", 1.0, b"1"))
        await store.close()

    asyncio.run(post())
    invoke("runs", "cancel", "r1", *GIVEN)
    leave_unfinished("r2", store=STORE)
    result = invoke("doctor", *GIVEN)
    assert f"`gorkflow db check {NAMED}`" in result.stdout
    assert f"`gorkflow worker TARGET {NAMED}`" in result.stdout
    assert f"`gorkflow db prune {NAMED}`" in result.stdout


def test_schedules_are_about_the_same_store(invoke: Invoke):
    added = invoke("schedule", *GIVEN, "add", "flows.py:failing", "--every", "1h")
    assert added.stderr.endswith(f"gorkflow worker flows.py:failing {NAMED}\n")
    invoke("schedule", "pause", "failing", *GIVEN)
    paused = invoke("schedule", "next", "failing", *GIVEN)
    assert f"`gorkflow schedule resume failing {NAMED}`" in paused.stderr


@pytest.mark.parametrize(
    ("command", "advised"),
    [
        (("runs", "show", "x"), "`gorkflow runs list"),
        (("schedule", "next", "x"), "`gorkflow schedule list"),
        (("runs", "list", "--cursor", "x"), "`gorkflow runs list"),
        (("explain", "--workflow", "x"), "`gorkflow runs list"),
    ],
)
def test_errors_advise_the_same_store(invoke: Invoke, command: tuple[str, ...], advised: str):
    invoke("run", "flows.py:failing", *GIVEN)
    group, *rest = command
    if group == "explain":
        return  # it is in no group
    assert f"{advised} {NAMED}`" in invoke(*command, *GIVEN).stderr
    assert f"{advised} {NAMED}`" in invoke(group, *GIVEN, *rest).stderr


async def waiting(signal: Signal[Any], run_id: str) -> None:
    """Leave a run that waits for a signal."""
    workflow = Workflow("waiting", input=int).wait_for(signal)
    async with Engine(STORE) as engine:
        handle = await engine.start(workflow, 1, run_id=run_id)
        while (await engine.steps(handle.run_id))[0].reason == "":
            await asyncio.sleep(0)


def test_a_signal_is_sent_to_the_same_store_with_what_its_type_needs(invoke: Invoke):
    asyncio.run(waiting(Signal("go", bool), "r1"))
    asyncio.run(waiting(Signal("rest", None), "r2"))
    needs = f"  send it: gorkflow runs send r1 go --payload JSON {NAMED}"
    assert needs in invoke("runs", "show", "r1", *GIVEN).stdout.splitlines()
    nothing = f"  send it: gorkflow runs send r2 rest {NAMED}"
    assert nothing in invoke("runs", "show", "r2", *GIVEN).stdout.splitlines()


def test_a_payload_that_was_sent_in_vain_is_shown(invoke: Invoke):
    asyncio.run(waiting(Signal("go", bool), "r"))
    invoke("runs", "send", "r", "go", "--payload", '"perhaps"', *GIVEN)
    said = "1 payload was sent and not taken: "
    assert f"{said}no worker is alive to take it" in invoke("runs", "show", "r", *GIVEN).stdout

    async def shown() -> str:
        workflow = Workflow("waiting", input=int).wait_for(Signal("go", bool))
        async with Engine(STORE, workflows=[workflow]):
            return (await asyncio.to_thread(invoke, "runs", "show", "r", *GIVEN)).stdout

    assert f"{said}its worker rejects what does not fit" in asyncio.run(shown())


def test_nothing_is_named_where_none_was_given(invoke: Invoke):
    result = invoke("run", "flows.py:failing", "--run-id", "r1")
    assert result.stderr.endswith("\nsee: gorkflow runs show r1 --traceback\n")
    assert "`gorkflow runs list` shows them" in invoke("runs", "show", "x").stderr
