"""`run` and `runs`, within this process."""

import asyncio
import json
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from gorkflow.engine.engine import Engine
from gorkflow.signal import Signal
from gorkflow.step import step
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.workflow import Workflow
from tests.cli.conftest import Invoke

STORE = "sqlite:.gorkflow/runs.db"


def shown(invoke: Invoke, run_id: str, *options: str) -> dict[str, Any]:
    return json.loads(invoke("runs", "show", run_id, "--json", *options).stdout)


def run_checkout(invoke: Invoke, run_id: str, *options: str, order: str = '{"id": 7}'):
    return invoke("run", "flows.py:checkout", "--run-id", run_id, "--input", order, *options)


# ---- run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "workflow 'checkout' takes an input, Order; give it as JSON"),
        ('{"id": "x"}', "--input does not fit Order: id: Input should be a valid integer"),
        ("{", "--input does not fit Order: Invalid JSON"),
        ("hello", "A text needs its own quotes"),
        ("flows.py", "To read it from the file: --input @flows.py"),
        ("@nope.json", "there is no file 'nope.json'"),
        ("@.", "name a file after the @, not a folder"),
        ("[" * 200_000, "--input does not fit Order"),
        ('{"id": NaN}', "--input does not fit Order"),
        ("-", "--input does not fit Order: Invalid JSON"),
    ],
)
def test_bad_input_stores_nothing(invoke: Invoke, folder: Path, given: str | None, says: str):
    options = [] if given is None else ["--input", given]
    result = invoke("run", "flows.py:checkout", *options, stdin=b"\xff\xfe")
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (folder / ".gorkflow").exists()


def test_input_from_a_file_may_begin_with_a_mark(invoke: Invoke, folder: Path):
    (folder / "order.json").write_bytes(b'\xef\xbb\xbf{"id": 1}')
    result = run_checkout(invoke, "r1", order="@order.json")
    assert json.loads(result.stdout)["cents"] == 100


def test_a_workflow_without_input_takes_none(invoke: Invoke):
    result = invoke("run", "flows.py:failing", "--input", "1")
    assert result.exit_code == 2
    assert "takes no input; leave out --input" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--tag", "x"], 2, "'x' is not NAME=VALUE"),
        (["--run-id", ""], 2, "run_id '' is not valid"),
        (["--run-id", "a b"], 2, "run_id 'a b' is not valid"),
        (["--timeout", "-1"], 2, "timeout"),
        (["--if-exists", "ignore"], 2, "ignore"),
        (["--store", "mysql:x"], 3, "names no known store"),
        (["--store", "sqlite:no/such/folder/x.db"], 3, "can't be opened"),
        (["--store", "sqlite:flows.py"], 3, "is not an SQLite database"),
        (["--nonsense"], 2, "No such option"),
    ],
)
def test_bad_options(invoke: Invoke, options: list[str], code: int, says: str):
    result = invoke("run", "flows.py:checkout", "--input", '{"id": 1}', *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr


def test_a_bad_store_from_the_environment_is_said_to_be_from_there(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
):
    for url, says in (("mysql:x", "GORKFLOW_STORE is 'mysql:x'"), ("sqlite:x.db", "x.db', which")):
        monkeypatch.setenv("GORKFLOW_STORE", url)
        result = invoke("runs", "list")
        assert result.exit_code == 3
        assert says in result.stderr
    monkeypatch.setenv("GORKFLOW_STORE", "sqlite:flows.py")
    for command in (["run", "flows.py:failing"], ["runs", "list"]):
        result = invoke(*command)
        assert result.exit_code == 3
        assert "GORKFLOW_STORE is 'sqlite:flows.py'" in result.stderr
    assert "GORKFLOW_STORE" not in invoke("runs", "--store", "mysql:x", "list").stderr


def test_an_id_that_is_taken_is_a_conflict_or_the_run_that_has_it(invoke: Invoke):
    assert run_checkout(invoke, "r1").exit_code == 0
    again = run_checkout(invoke, "r1")
    assert (again.exit_code, again.stdout) == (5, "")
    assert "'r1' exists already; give another --run-id, or follow" in again.stderr
    assert "--if-exists return" in again.stderr
    returned = run_checkout(invoke, "r1", "--if-exists", "return")
    assert (returned.exit_code, json.loads(returned.stdout)["cents"]) == (0, 700)
    assert "started" not in returned.stderr
    other = run_checkout(invoke, "r1", "--if-exists", "return", order='{"id": 8}')
    assert other.exit_code == 5
    assert "with another input; use another --run-id" in other.stderr


def test_a_run_that_was_left_unfinished_goes_on_where_its_id_is_given_again(invoke: Invoke):
    leave_unfinished("r1")
    Path("go").touch()
    result = invoke("run", "flows.py:patient", "--run-id", "r1", "--if-exists", "return")
    assert (result.exit_code, result.stdout) == (0, '"first, second"\n')


def test_an_engine_brings_deps_and_store_and_recovers_nothing(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SHOP_STORE", "sqlite:shop.db")
    leave_unfinished("other", store="sqlite:shop.db", workflow="asking")
    result = invoke("run", "flows.py:make_engine", "--workflow", "asking", "--run-id", "r1")
    assert (result.exit_code, result.stdout) == (0, '"from deps"\n')
    listed = invoke("runs", "--store", "sqlite:shop.db", "list", "--json")
    runs = {run["run_id"]: run["status"] for run in json.loads(listed.stdout)["runs"]}
    assert runs == {"r1": "completed", "other": "running"}
    result = invoke("run", "flows.py:make_engine", "--workflow", "asking", "--store", "memory:")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "leave out --store" in result.stderr


def test_timeout_fails_the_run(invoke: Invoke):
    result = invoke("run", "flows.py:patient", "--timeout", "0.05", "--json")
    assert result.exit_code == 1
    (failure,) = json.loads(result.stdout)["failures"]
    assert failure["code"] == "timeout"


def test_a_store_that_does_not_last_is_not_pointed_to(invoke: Invoke):
    result = invoke("run", "flows.py:failing", "--store", "memory:", "--run-id", "r1")
    assert result.exit_code == 1
    assert "run r1 failed:\n  bad  step_failed" in result.stderr
    assert "gorkflow runs" not in result.stderr


# ---- runs list, show --------------------------------------------------------------------------


def test_list_filters_pages_and_aligns(invoke: Invoke):
    for number in range(3):
        run_checkout(invoke, f"r{number}", "--tag", f"n={number}", "--tag", "all=1")
    invoke("run", "flows.py:failing", "--run-id", "f")
    lines = invoke("runs", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["RUN", "f", "r2", "r1", "r0"]
    words = ["WORKFLOW", "failing", *["checkout"] * 3]
    assert len({line.index(word) for line, word in zip(lines, words, strict=True)}) == 1
    assert "all=1 n=0" in lines[-1]

    def ids(*options: str) -> list[str]:
        body = json.loads(invoke("runs", "list", "--json", *options).stdout)
        return [run["run_id"] for run in body["runs"]]

    assert ids("--status", "failed", "--status", "cancelled") == ["f"]
    assert ids("--workflow", "checkout", "--tag", "n=1", "--tag", "all=1") == ["r1"]
    page = invoke("runs", "list", "--limit", "2")
    cursor = page.stderr.strip().removeprefix("older ones: --cursor ")
    assert ids("--limit", "2", "--cursor", cursor) == ["r1", "r0"]
    wrong = invoke("runs", "list", "--cursor", "zzz")
    assert wrong.exit_code == 2
    assert "--cursor 'zzz' is none" in wrong.stderr
    assert invoke("runs", "list", "--workflow", "none").stderr == "no runs\n"


def test_list_says_when_what_waits_is_due_by_the_clock_of_the_store(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
):
    async def main():
        async with Engine(STORE) as engine:
            await engine.start(as_patient(), run_id="r1", delay=3600)
            return (await engine.get_run("r1")).due_at

    async def two_hours_ahead(_: SqliteStore) -> float:
        return time.time() + 7200

    due = asyncio.run(main()).astimezone()
    assert invoke("runs", "list").stdout.rstrip().endswith(f"due {due:%Y-%m-%d %H:%M:%S}")
    assert "no worker runs it" not in invoke("runs", "show", "r1").stdout
    monkeypatch.setattr(SqliteStore, "clock", two_hours_ahead)
    assert "no worker runs it" in invoke("runs", "list").stdout
    assert "no worker runs it" in invoke("runs", "show", "r1").stdout


def test_show_needs_no_code(invoke: Invoke, folder: Path):
    run_checkout(invoke, "r1", "--tag", "a=b")
    (folder / "flows.py").unlink()
    text = invoke("runs", "show", "r1").stdout
    assert "workflow  checkout (version 1)\nstatus    completed\n" in text
    assert 'input     {"id": 7, "note": ""}\noutput    {"text": "ok", "cents": 700}\n' in text
    assert "\nSTEP     STATUS     ATTEMPT  STARTED" in text
    assert "\nconfirm  completed  1 " in text
    body = shown(invoke, "r1", "--events")
    assert body["output"] == {"text": "ok", "cents": 700}
    assert body["progress"] == {"done": 3, "total": 3}
    assert body["steps"][2]["input"] == [True, 700]
    assert body["events"][0]["input"] == {"id": 7, "note": ""}
    assert [event["seq"] for event in body["events"]] == list(range(1, len(body["events"]) + 1))


def test_runs_are_found_by_their_resource(invoke: Invoke):
    run_checkout(invoke, "r1", "--resource", "order-7")
    run_checkout(invoke, "r2", "--resource", "order-8")
    run_checkout(invoke, "r3")
    found = json.loads(invoke("runs", "list", "--resource", "order-7", "--json").stdout)
    assert [run["run_id"] for run in found["runs"]] == ["r1"]


def test_sleeps_and_waits_are_told_and_shown(invoke: Invoke):
    told = invoke("run", "flows.py:pausing", "--run-id", "p").stderr
    assert re.search(r"nap sleeps for \S+ m?s\n", told)
    assert re.search(r"go waits for signal 'go', for \S+ m?s at most\n", told)
    assert "nap woke up\n" in told
    assert "go got no signal in time\n" in told
    text = invoke("runs", "show", "p", "--events").stdout
    assert "\nnap    completed " in text
    assert re.search(r"\ngo     completed .* timed out; its default stands in\n", text)
    assert "wait_opened" in text
    body = shown(invoke, "p", "--events")
    assert [step["output"] for step in body["steps"]] == [1, None, 2, 3]


def test_show_says_where_a_step_ran_and_why_it_was_not_retried(invoke: Invoke, folder: Path):
    (folder / "places.py").write_text(
        "from gorkflow import RetryAfterError, Workflow, step\n\n"
        "@step(executor='process', retries=3)\n"
        "def busy() -> int:\n    raise RetryAfterError(3600)\n\n"
        "places = Workflow('places', timeout=60).then(busy)\n"
    )
    invoke("run", "places.py", "--run-id", "r")
    text = invoke("runs", "show", "r").stdout
    assert re.search(r"reason .*; busy is not retried: that would be .* after the run's", text)
    (told,) = shown(invoke, "r")["steps"]
    assert told["executor"] == "process"
    assert told["attempt"] == 1
    assert "in a process" in invoke("graph", "places.py").stdout


def test_instants_are_local_and_bytes_are_text(invoke: Invoke, monkeypatch: pytest.MonkeyPatch):
    @step
    async def same(_: None, number: int) -> int:
        return number

    async def main() -> float:
        napping = Workflow("napping").wait_for(Signal("go", int)).then(same).sleep(86_400)
        async with Engine(STORE) as engine:
            handle = await engine.start(napping, run_id="n")
            await handle.send("go", 7)
            while (run := await handle.info()).due_at is None:
                await asyncio.sleep(0.01)
            return run.due_at.timestamp()

    Path(".gorkflow").mkdir()
    due = asyncio.run(main())
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        text = invoke("runs", "show", "n", "--events").stdout
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "payload=7\n" in text
    assert "b'" not in text
    there = datetime.fromtimestamp(due, timezone(timedelta(hours=9)))
    assert f"sleeps until {there:%Y-%m-%d %H:%M:%S}\n" in text
    assert "UTC" not in text


def test_show_tells_failures_apart(invoke: Invoke):
    told = invoke("run", "flows.py:failing", "--run-id", "f").stderr
    assert "\n        raise NonRetryableError" in told[told.index("run f failed:") :]
    text = invoke("runs", "show", "f", "--events").stdout
    assert "\nfailures:\n  bad  step_failed  gorkflow.errors.NonRetryableError: there" in text
    assert re.search(r"\ntotal  cancelled +not reached\n", text)
    assert "run_finished" in text
    assert "unknown=" not in text  # as is every field that has its default
    assert "\n        raise NonRetryableError" in text
    invoke("run", "flows.py:tolerant", "--run-id", "t")
    text = invoke("runs", "show", "t", "--traceback").stdout
    assert "\nfailures that the run handled:\n  bad  step_failed" in text
    assert "\n        raise NonRetryableError" in text
    good, bad = shown(invoke, "t")["output"]
    assert good == {"status": "completed", "path": "good", "value": 1}
    assert (bad["status"], bad["failure"]["code"]) == ("failed", "step_failed")


@pytest.mark.parametrize(
    "command", [["list"], ["show", "x"], ["cancel", "x"], ["resume", "x", "flows.py"]]
)
def test_looking_makes_no_store(invoke: Invoke, folder: Path, command: list[str]):
    result = invoke("runs", *command)
    assert result.exit_code == 3
    assert "there is no store" in result.stderr
    assert not (folder / ".gorkflow").exists()


@pytest.mark.parametrize("command", [["show", "x"], ["cancel", "x"], ["resume", "x", "flows.py"]])
def test_an_unknown_run_is_not_found(invoke: Invoke, command: list[str]):
    run_checkout(invoke, "r1")
    result = invoke("runs", *command)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "there is no run 'x'" in result.stderr


def test_the_store_is_named_by_option_or_environment(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GORKFLOW_STORE", "sqlite:env.db")
    run_checkout(invoke, "r1")
    assert shown(invoke, "r1")["status"] == "completed"
    monkeypatch.delenv("GORKFLOW_STORE")
    assert shown(invoke, "r1", "--store", "sqlite:env.db")["status"] == "completed"


# ---- runs cancel, resume ----------------------------------------------------------------------


@step
async def first() -> str:
    return "first"


@step
async def second(text: str) -> str:
    return await asyncio.Event().wait() and text


@step
async def ask() -> str:
    return str(await asyncio.Event().wait())


def as_patient(workflow: str = "patient") -> Workflow[Any, Any]:
    """Return what `flows.py` has under this id, but never ending."""
    if workflow == "asking":
        return Workflow("asking").then(ask)
    return Workflow("patient").then(first).then(second)


async def started(engine: Engine, run_id: str, workflow: Workflow[Any, Any]) -> None:
    await engine.start(workflow, run_id=run_id)
    waiting = "ask" if workflow.id == "asking" else "second"
    async for event in engine.events(run_id):
        if event.kind == "step_scheduled" and event.path == waiting:
            return


def leave_unfinished(run_id: str, *, store: str = STORE, workflow: str = "patient") -> None:
    async def main():
        engine = Engine(store, recover=False)
        await engine.open()
        await started(engine, run_id, as_patient(workflow))
        await engine.aclose(grace=0)

    asyncio.run(main())


def while_alive(invoke: Invoke, *args: str):
    """Invoke the command while an engine of another worker carries run `r1`."""

    async def main():
        async with Engine(STORE) as engine:
            await started(engine, "r1", as_patient())
            result = await asyncio.to_thread(invoke, *args)
            await engine.cancel("r1")
            return result

    return asyncio.run(main())


def test_a_run_that_nobody_carries_is_marked(invoke: Invoke):
    shown_by = ("runs", "list"), ("runs", "show", "r1")
    for command in shown_by:
        assert "no worker runs it" not in while_alive(invoke, *command).stdout
        Path(".gorkflow/runs.db").unlink()
    leave_unfinished("r1")
    for command in shown_by:
        assert "no worker runs it" in invoke(*command).stdout
    note = "no worker runs it: gorkflow runs resume r1 TARGET --store sqlite:.gorkflow/runs.db"
    assert note in invoke("runs", "show", "r1", "--store", STORE).stdout
    invoke("runs", "cancel", "r1")
    assert "no worker runs it" not in invoke("runs", "show", "r1").stdout


def test_cancel_ends_a_run_that_nobody_carries(invoke: Invoke):
    leave_unfinished("r1")
    done = invoke("runs", "cancel", "r1", "--reason", "not needed")
    assert (done.exit_code, done.stderr) == (0, "run r1 is cancelled\n")
    assert shown(invoke, "r1")["reason"] == "not needed"
    again = invoke("runs", "cancel", "r1")
    assert (again.exit_code, again.stderr) == (0, "run r1 was cancelled before: not needed\n")
    resumed = invoke("runs", "resume", "r1", "flows.py")
    assert resumed.exit_code == 1
    assert "run r1 has already ended: cancelled\n" in resumed.stderr
    assert "run r1 was cancelled: not needed\n" in resumed.stderr


def test_cancel_reaches_the_worker_that_carries_the_run(invoke: Invoke):
    result = while_alive(invoke, "runs", "cancel", "r1")
    assert (result.exit_code, result.stderr) == (0, "run r1 is cancelled\n")


def test_cancel_says_where_a_run_has_ended_otherwise(invoke: Invoke):
    run_checkout(invoke, "r1")
    result = invoke("runs", "cancel", "r1")
    assert result.exit_code == 5
    assert "run 'r1' has ended: completed" in result.stderr


def test_resume_goes_on_and_says_so_where_there_is_nothing_to_do(invoke: Invoke):
    leave_unfinished("r1")
    Path("go").touch()
    done = invoke("runs", "resume", "r1", "flows.py")  # the file has many: the run's id decides
    assert (done.exit_code, done.stdout) == (0, '"first, second"\n')
    assert not Path("marker").exists()
    again = invoke("runs", "resume", "r1", "flows.py", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["output"] == "first, second"
    assert "run r1 has already ended: completed\n" in again.stderr


def test_resume_refuses_other_code_and_says_what_differs(invoke: Invoke, folder: Path):
    leave_unfinished("r1")
    flows = folder / "flows.py"
    text = flows.read_text().replace("def second(", "def last(")
    flows.write_text(text.replace(".then(second)", ".then(last)"))
    result = invoke("runs", "resume", "r1", "flows.py")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "second" in result.stderr
    assert result.stderr.count("Error:") == 1
    assert shown(invoke, "r1")["status"] == "running"
    result = invoke("runs", "resume", "r1", "flows.py:checkout")
    assert result.exit_code == 5
    assert "belongs to workflow 'patient'; 'flows.py:checkout' has checkout" in result.stderr


def test_resume_leaves_a_run_that_another_worker_carries(invoke: Invoke):
    result = while_alive(invoke, "runs", "resume", "r1", "flows.py")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "which is alive" in result.stderr


@pytest.mark.parametrize(
    "command",
    ["", "run", "check", "graph", "runs", "runs list", "runs show", "runs cancel", "runs resume"],
)
def test_each_help_shows_an_example(invoke: Invoke, command: str):
    result = invoke(*command.split(), "--help")
    assert result.exit_code == 0
    assert "\nExample" in result.output
    assert "  gorkflow " in result.output


def test_what_was_undone_is_told_and_shown(invoke: Invoke):
    ran = invoke("run", "flows.py:trip", "--input", "2", "--run-id", "r1")
    assert ran.exit_code == 1
    assert "undoing pay, book" in ran.stderr
    assert "undone: book (1 of 2)" in ran.stderr
    assert "pay~undo  step_failed  ValueError: the bank is closed" in ran.stderr
    shown = invoke("runs", "show", "r1").stdout
    lines = {line.split()[0]: line for line in shown.splitlines() if line}
    assert lines["book"].endswith("undone")
    assert lines["pay"].endswith("could not be undone")
    assert lines["book~undo"].endswith("by unbook")
    assert "undone: book; could not undo pay" in lines["reason"]
    body = json.loads(invoke("runs", "show", "r1", "--json").stdout)
    assert [(step["path"], step["undone"]) for step in body["steps"]] == [
        ("book", "completed"), ("pay", "failed"), ("board", None),
        ("pay~undo", None), ("book~undo", None),
    ]  # fmt: skip
    assert "undone by unbook" in invoke("graph", "flows.py:trip").stdout


# ---- while a run is undone --------------------------------------------------------------------


@step
async def unfirst(first: str | None) -> None:
    await asyncio.Event().wait()


undoing = Workflow("patient").then(first.undo(unfirst)).then(second)


async def until_undoing(engine: Engine, run_id: str) -> None:
    async for event in engine.events(run_id):
        if event.kind == "step_scheduled" and event.path == "first~undo":
            return


def test_a_cancel_of_a_run_that_has_to_undo_says_so(invoke: Invoke):
    async def main():
        engine = Engine(STORE, workflows=[undoing])
        await engine.open()
        await started(engine, "r1", undoing)
        asking = asyncio.create_task(asyncio.to_thread(invoke, "runs", "cancel", "r1"))
        await until_undoing(engine, "r1")
        asked = await asking
        again = await asyncio.to_thread(invoke, "runs", "cancel", "r1", "--reason", "now")
        await engine.aclose(grace=0)
        return asked, again

    asked, again = asyncio.run(main())
    assert asked.stderr == "run r1 is undoing its steps, and ends afterwards\n"
    begins = "run r1 is undoing already, so this has no effect (cancelled from the command line)"
    assert again.stderr == f"{begins}\n"
    left = invoke("runs", "cancel", "r1")
    assert left.stderr == f"{begins}; no worker runs it: gorkflow runs resume r1 TARGET\n"
    kinds = [event["kind"] for event in shown(invoke, "r1", "--events")["events"]]
    assert kinds.count("cancel_requested") == 1
    listed = invoke("runs", "list").stdout
    assert "no worker runs it; undoing: cancelled from" in listed


def test_a_cancelled_run_that_nobody_undoes_needs_somebody(invoke: Invoke):
    async def main():
        engine = Engine(STORE)
        await engine.open()
        await started(engine, "r1", undoing)
        await engine.aclose(grace=0)

    asyncio.run(main())
    result = invoke("runs", "cancel", "r1", "--store", STORE)
    assert result.stderr == (
        "run r1 is undoing its steps, and ends afterwards; no worker runs it: "
        f"gorkflow runs resume r1 TARGET --store {STORE}\n"
    )


def test_undo_steps_that_one_run_had_no_use_for_are_told_apart(invoke: Invoke):
    flows = Path("flows.py")
    invoke("run", "flows.py:trip", "--input", "2", "--run-id", "r1")
    text = flows.read_text().replace('raise ValueError("the bus has left")', "pass")
    flows.write_text(text)
    assert invoke("run", "flows.py:trip", "--input", "2", "--run-id", "r2").exit_code == 0
    told = invoke("runs", "diff", "r1", "r2")
    assert told.exit_code == 1
    assert "\nundo steps:\n  a  pay~undo, book~undo\n  b  nothing to undo\n" in told.stdout
    assert "not in this workflow" not in told.stdout
    assert "\n1 steps differ, 2 are the same" in told.stdout
    body = json.loads(invoke("runs", "diff", "r2", "r1", "--json").stdout)
    assert body["undone"] == {"a": [], "b": ["pay~undo", "book~undo"]}
    same = json.loads(invoke("runs", "diff", "r1", "r1", "--json").stdout)
    assert (same["same"], same["undone"], same["same_steps"]) == (True, None, 5)
