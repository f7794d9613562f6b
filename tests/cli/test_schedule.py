"""`gorkflow schedule`, within this process; and a worker that starts what is due."""

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from gorkflow.codec import view
from gorkflow.schedule import ScheduleRow
from gorkflow.stores.sqlite import SqliteStore
from tests.cli.conftest import Invoke
from tests.cli.tools import COMMAND, environment, gorkflow_in

STORE = Path(".gorkflow", "runs.db")
NIGHTLY = ("--cron", "0 3 * * *", "--timezone", "Europe/Berlin")


def add(invoke: Invoke, *args: str) -> None:
    result = invoke("schedule", "add", "flows.py:checkout", "--input", '{"id": 7}', *NIGHTLY, *args)
    assert result.exit_code == 0, result.stderr


def make_overdue(name: str = "checkout", seconds: float = 7200.0) -> None:
    async def work() -> None:
        store = SqliteStore(STORE)
        await store.open()
        row = next(row for row in await store.schedules() if row.schedule_id == name)
        late = replace(row, next_due=float(int(time.time() - seconds)), revision=row.revision + 1)
        assert await store.put_schedule(late)
        await store.close()

    asyncio.run(work())


def rows() -> list[ScheduleRow]:
    async def work() -> list[ScheduleRow]:
        store = SqliteStore(STORE)
        await store.open()
        try:
            return await store.schedules()
        finally:
            await store.close()

    return asyncio.run(work())


def test_a_schedule_is_added_under_the_id_of_its_workflow(invoke: Invoke) -> None:
    result = invoke("schedule", "add", "flows.py:checkout", "--input", '{"id": 7}', *NIGHTLY)
    assert (result.exit_code, result.stdout) == (0, "checkout\n")
    assert "schedule 'checkout' is due next at 2" in result.stderr
    assert "gorkflow worker flows.py:checkout" in result.stderr
    (row,) = rows()
    assert (row.workflow_id, row.cron, row.timezone) == ("checkout", "0 3 * * *", "Europe/Berlin")
    assert (row.catch_up, row.overlap) == ("last", "allow")
    assert view(row.input or b"") == {"id": 7, "note": ""}


def test_all_options_are_kept(invoke: Invoke) -> None:
    result = invoke(
        "schedule", "add", "flows.py", "--workflow", "retried", "--every", "15m", "--id", "often",
        "--catch-up", "skip", "--overlap", "skip", "--tag", "team=a", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    made = json.loads(result.stdout)
    due = datetime.fromisoformat(made.pop("next_due")).timestamp()
    assert due - datetime.fromisoformat(made.pop("created_at")).timestamp() == pytest.approx(900, 2)
    assert made == {
        "id": "often",
        "workflow_id": "retried",
        "cron": None,
        "every": 900.0,
        "timezone": "UTC",
        "input": None,
        "catch_up": "skip",
        "overlap": "skip",
        "tags": {"team": "a"},
        "priority": 0,
        "paused": False,
    }


def test_the_same_id_changes_the_schedule(invoke: Invoke) -> None:
    add(invoke)
    add(invoke, "--catch-up", "all")
    (row,) = rows()
    assert (row.catch_up, row.revision) == ("all", 2)


def test_schedules_are_listed(invoke: Invoke) -> None:
    invoke("runs", "list")
    add(invoke)
    add(invoke, "--id", "other")
    invoke("schedule", "pause", "other")
    make_overdue()
    lines = invoke("schedule", "list").stdout.splitlines()
    assert lines[0].split() == ["SCHEDULE", "WORKFLOW", "WHEN", "ZONE", "NEXT", "NOTE"]
    assert "0 3 * * *" in lines[1]
    assert lines[1].endswith("overdue: no worker that knows the workflow looks")
    assert lines[2].endswith("Europe/Berlin  paused")  # where the others have the time
    body = json.loads(invoke("schedule", "list", "--json").stdout)
    assert [(s["id"], s["paused"]) for s in body["schedules"]] == [
        ("checkout", False),
        ("other", True),
    ]


def test_where_there_is_none_the_list_says_so(invoke: Invoke) -> None:
    add(invoke)
    assert invoke("schedule", "remove", "checkout").exit_code == 0
    result = invoke("schedule", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no schedules" in result.stderr


def test_the_next_due_times_are_shown_in_its_zone(invoke: Invoke) -> None:
    add(invoke)
    lines = invoke("schedule", "next", "checkout", "--count", "3").stdout.splitlines()
    assert len(lines) == 3
    assert all(" 03:00:00+0" in line for line in lines)
    body = json.loads(invoke("schedule", "next", "checkout", "--json").stdout)
    assert [due.replace("T", " ") for due in body["due"][:3]] == lines
    assert len(body["due"]) == 5


def test_a_schedule_is_paused_resumed_and_removed(invoke: Invoke) -> None:
    add(invoke)
    result = invoke("schedule", "pause", "checkout")
    assert (result.exit_code, result.stderr) == (0, "schedule 'checkout' is paused\n")
    assert rows()[0].paused
    assert "it is paused" in invoke("schedule", "next", "checkout").stderr
    make_overdue()
    result = invoke("schedule", "resume", "checkout")
    assert "schedule 'checkout' is due next at 2" in result.stderr
    assert rows()[0].next_due > time.time()
    result = invoke("schedule", "remove", "checkout")
    assert (result.exit_code, rows()) == (0, [])


@pytest.mark.parametrize("command", ["next", "pause", "resume", "remove"])
def test_what_is_not_there_is_not_found(invoke: Invoke, command: str) -> None:
    add(invoke)
    result = invoke("schedule", command, "nope")
    assert result.exit_code == 4
    assert "there is no schedule 'nope' in this store; `gorkflow schedule list`" in result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "but was given neither"),
        (("--cron", "0 3 * *"), "it must have five fields"),
        (("--cron", "0 3 * * *", "--timezone", "Europe/Berln"), "did you mean 'Europe/Berlin'?"),
        (("--cron", "0 0 31 2 *"), "is never due: there is no such date"),
        (("--every", "often"), "write a number and s, m, h, d or w"),
        (("--every", "0s"), "every must be whole seconds"),
        (("--every", "1h", "--id", "a b"), "schedule id 'a b' is not valid"),
        (("--every", "1h", "--catch-up", "all", "--overlap", "skip"), "change one of the two"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    invoke: Invoke, args: tuple[str, ...], says: str
) -> None:
    result = invoke("schedule", "add", "flows.py:retried", *args)
    assert result.exit_code == 2
    assert says in result.stderr


def test_an_input_that_does_not_fit_is_refused(invoke: Invoke) -> None:
    result = invoke("schedule", "add", "flows.py:checkout", "--every", "1h", "--input", "3")
    assert result.exit_code == 2
    assert "--input does not fit" in result.stderr
    assert not STORE.exists()


def test_without_the_library_the_error_says_how_to_get_it(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    result = invoke("schedule", "add", "flows.py:retried", "--cron", "0 3 * * *")
    assert result.exit_code == 2
    assert "pip install cronsim" in result.stderr
    assert invoke("schedule", "add", "flows.py:retried", "--every", "1h").exit_code == 0


def test_doctor_tells_of_overdue_schedules(invoke: Invoke) -> None:
    add(invoke)
    assert "schedules: 1 kept, 0 paused" in invoke("doctor").stdout
    make_overdue()
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "'checkout' should have started a run of workflow 'checkout' 2 h" in result.stdout
    assert "no living worker knows that workflow" in result.stdout
    invoke("schedule", "pause", "checkout")
    assert "schedules: 1 kept, 1 paused" in invoke("doctor").stdout


def test_doctor_tells_of_schedules_that_a_wrong_clock_moved(invoke: Invoke) -> None:
    add(invoke)
    make_overdue(seconds=-20 * 365 * 86_400.0)
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "'checkout' is next due at 20" in result.stdout
    assert "a clock was wrong once" in result.stdout


def test_a_worker_starts_what_is_due(folder: Path) -> None:
    added = gorkflow_in(
        folder, "schedule", "add", "flows.py:checkout", "--every", "1s", "--input", '{"id": 7}'
    )
    assert added.returncode == 0, added.stderr
    worker = subprocess.Popen(
        [*COMMAND, "worker", "flows.py:checkout"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 40
        done = []
        while len(done) < 2:
            assert time.monotonic() < end, "the worker started nothing"
            listed = gorkflow_in(
                folder, "runs", "list", "--tag", "schedule=checkout", "--status", "completed",
                "--json",
            )  # fmt: skip
            done = json.loads(listed.stdout)["runs"]
    finally:
        worker.terminate()
        worker.wait(30)
    for run in done:
        due = datetime.fromisoformat(run["run_id"].removeprefix("checkout@"))
        assert due.tzinfo == UTC
        assert datetime.fromisoformat(run["started_at"]) >= due


def test_an_interval_reads_as_people_say_it(invoke: Invoke) -> None:
    invoke("schedule", "add", "flows.py:failing", "--every", "15m")
    assert "  every 15 min  " in invoke("schedule", "list").stdout
