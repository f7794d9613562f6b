"""`db prune|check|backup` and `doctor`, within this process."""

import asyncio
import json
import os
import sqlite3
import stat
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gorkflow.cli import _db
from gorkflow.flow import PassthroughSpec, WorkflowSpec, fingerprint, to_json
from gorkflow.model import RunStatus
from gorkflow.store import Finding, Level, Message, NewRun, RunRow
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing.conformance import new_run, worker
from tests.cli.conftest import Invoke
from tests.cli.tools import CONTROL

STORE = Path(".gorkflow", "runs.db")


@pytest.fixture
def checkout(invoke: Invoke) -> None:
    """Have a store with one run that completed and one that failed."""
    assert (
        invoke("run", "flows.py:checkout", "--run-id", "r1", "--input", '{"id": 7}').exit_code == 0
    )
    assert invoke("run", "flows.py:failing", "--run-id", "r2").exit_code == 1


def sql(statement: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(STORE, isolation_level=None)) as db:
        return db.execute(statement, values).fetchall()


def in_store(*runs: dict[str, Any]) -> None:
    """Put runs into the store, an hour old unless they say otherwise."""

    async def work() -> None:
        store = SqliteStore(STORE)
        await store.open()
        await store.write([_sound(run) for run in runs])
        await store.close()

    asyncio.run(work())


def _sound(run: dict[str, Any]) -> NewRun:
    fields: dict[str, Any] = {"created_at": time.time() - 3600.0, "workflow_id": "shop"} | run
    nodes = (PassthroughSpec(id="x"),)
    tree = to_json(WorkflowSpec(id=fields["workflow_id"], nodes=nodes))
    return replace(new_run(**fields, fingerprint=fingerprint(tree)), tree=tree)


def listed(invoke: Invoke) -> list[str]:
    found = json.loads(invoke("runs", "list", "--json").stdout)
    return sorted(run["run_id"] for run in found["runs"])


# ---- prune ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("checkout")
def test_prune_deletes_what_is_old_enough(invoke: Invoke):
    kept = invoke("db", "prune", "--older-than", "1h")
    assert (kept.exit_code, kept.stdout) == (0, "")
    assert kept.stderr.startswith("0 runs deleted")
    dry = invoke("db", "prune", "--older-than", "0s", "--dry-run")
    assert dry.stderr == "2 runs would be deleted\n"
    assert listed(invoke) == ["r1", "r2"]
    some = invoke("db", "prune", "--older-than", "0s", "--status", "failed")
    assert some.stderr.startswith("1 run deleted; ")
    assert listed(invoke) == ["r1"]
    assert invoke("db", "prune", "--older-than", "0s", "--workflow", "x").stderr.startswith("0 ")
    rest = invoke("db", "prune", "--older-than", "0s", "--workflow", "checkout")
    assert "1 run deleted" in rest.stderr
    assert listed(invoke) == []


@pytest.mark.parametrize("age", ["", "7", "d", "1y", "-1d", "1.5d"])
def test_an_age_needs_a_number_and_a_unit(invoke: Invoke, age: str):
    result = invoke("db", "prune", "--older-than", age)
    assert result.exit_code == 2
    assert "is not a length of time; write a number and s, m, h, d or w" in result.stderr


def test_prune_needs_an_age(invoke: Invoke):
    assert invoke("db", "prune").exit_code == 2


@pytest.mark.parametrize(
    "command",
    [["db", "prune", "--older-than", "1d"], ["db", "check"], ["db", "backup", "x.db"], ["doctor"]],
)
def test_a_store_must_exist_and_keep_a_file(invoke: Invoke, folder: Path, command: list[str]):
    none = invoke(*command)
    assert none.exit_code == 3
    assert "there is no store" in none.stderr
    assert not (folder / ".gorkflow").exists()
    memory = invoke(*command, "--store", "memory:")
    assert memory.exit_code == 2
    assert "keeps no file" in memory.stderr
    assert "--store sqlite:PATH" in memory.stderr


# ---- check ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("checkout")
def test_check_finds_nothing_in_a_sound_store(invoke: Invoke):
    result = invoke("db", "check")
    assert result.exit_code == 0
    assert result.stdout == "ok       store: 2 runs checked, nothing is damaged\n"
    found = json.loads(invoke("db", "check", "--json").stdout)
    assert (found["healthy"], found["runs"]) == (True, 2)


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM events WHERE run = 1 AND seq = 3", "lacks some of its events"),
        ("UPDATE events SET payload = NULL WHERE run = 1 AND kind = 'step_completed'", "r1"),
        ("UPDATE events SET path = 'nobody' WHERE run = 1 AND seq = 3", "r1"),
        ("UPDATE events SET at = 0 WHERE run = 1 AND seq = 3", "r1"),
        ("UPDATE runs SET status = 'failed' WHERE key = 1", "its summary says failed, its history"),
        ("UPDATE runs SET status = 'happy' WHERE key = 1", "'r1' can't be read"),
        ("UPDATE runs SET workflow_id = 'x' WHERE key = 1", "its summary says workflow 'x'"),
        ("UPDATE runs SET tags = '[[1, 2]]' WHERE key = 1", "'r1' can't be read"),
        ("UPDATE runs SET fingerprint = 'x' WHERE key = 1", "lacks its definition"),
        ("UPDATE events SET at = 1e308 WHERE run = 1 AND seq = 3", "its time is 1e+308"),
        ("UPDATE events SET payload = X'78' WHERE run = 1 AND seq = 1", "JSON"),
        ("UPDATE definitions SET tree = '{}'", "the definition of run 'r1' is not the one"),
    ],
)  # fmt: skip
def test_check_says_which_run_is_damaged(invoke: Invoke, damage: str, says: str):
    sql(damage)
    result = invoke("db", "check")
    assert result.exit_code == 1
    assert says in result.stdout
    assert "run r1" in result.stdout
    assert ("run r2" in result.stdout) == ("definitions" in damage)
    found = json.loads(invoke("db", "check", "--json").stdout)
    assert not found["healthy"]
    assert found["findings"][0]["level"] == "problem"


def overwritten() -> None:
    data = bytearray(STORE.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 512] = b"\xa5" * 512
    STORE.write_bytes(data)


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    "damage",
    [
        overwritten,
        lambda: os.truncate(STORE, 3 * 4096),
        lambda: os.truncate(STORE, 5000),
        lambda: STORE.write_bytes(b"no database at all" * 300),
    ],
    ids=["pages", "truncated", "cut short", "no database"],
)
@pytest.mark.parametrize("command", [["db", "check"], ["doctor"]])
@pytest.mark.parametrize("named", ["option", "environment"])
def test_a_damaged_file_is_a_finding(
    invoke: Invoke,
    damage: Callable[[], object],
    command: list[str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
):
    damage()
    if named == "environment":
        monkeypatch.setenv("GORKFLOW_STORE", f"sqlite:{STORE}")
    result = invoke(*command)
    assert result.exit_code == 1
    assert "problem  " in result.stdout
    assert not json.loads(invoke(*command, "--json").stdout)["healthy"]


# ---- delete -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("checkout")
def test_ended_runs_are_deleted_by_id(invoke: Invoke):
    nothing = invoke("runs", "delete", "r1", "nowhere")
    assert nothing.exit_code == 4
    assert listed(invoke) == ["r1", "r2"]
    result = invoke("runs", "delete", "r1", "r1")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "1 run deleted\n")
    assert listed(invoke) == ["r2"]
    assert invoke("db", "check").exit_code == 0
    assert invoke("runs", "delete").exit_code == 2


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("UPDATE runs SET status = 'happy' WHERE key = 1", "run 'r1' can't be read"),
        ("UPDATE runs SET tags = '{' WHERE key = 1", "run 'r1' can't be read"),
        (
            "UPDATE runs SET status = 'running' WHERE key = 1",
            "run 'r1' has not ended (running), though no living worker runs it",
        ),
    ],
)
def test_others_are_deleted_by_force(invoke: Invoke, damage: str, says: str):
    sql(damage)
    refused = invoke("runs", "delete", "r2", "r1")
    assert refused.exit_code == 5
    assert f"{says}; nothing was deleted. --force" in refused.stderr
    assert sql("SELECT COUNT(*) FROM runs") == [(2,)]
    done = invoke("runs", "delete", "r2", "r1", "--force")
    assert done.exit_code == 0
    assert done.stderr == f"{says}; it is deleted all the same\n2 runs deleted\n"
    assert sql("SELECT COUNT(*) FROM runs") == [(0,)]
    assert invoke("db", "check").exit_code == 0


@pytest.mark.usefixtures("checkout")
def test_a_run_that_is_carried_is_never_deleted(invoke: Invoke):
    async def work() -> None:
        store = SqliteStore(STORE)
        await store.open()
        await store.register(worker("me", seen_at=time.time()))
        await store.write([new_run("mine", worker_id="me", token=1, status=RunStatus.RUNNING)])
        for break_it in ("", "UPDATE runs SET tags = '{' WHERE run_id = 'mine'"):
            if break_it:
                sql(break_it)
            result = await asyncio.to_thread(invoke, "runs", "delete", "mine", "--force")
            assert result.exit_code == 5
            assert "which is alive, and was not deleted; cancel it first" in result.stderr
        assert sql("SELECT COUNT(*) FROM runs") == [(3,)]
        await store.close()

    asyncio.run(work())


# ---- backup -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("checkout")
def test_a_backup_can_be_used_as_a_store(invoke: Invoke, folder: Path):
    result = invoke("db", "backup", "copy.db")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("backed up to copy.db: ")
    assert stat.S_IMODE(Path("copy.db").stat().st_mode) == 0o600
    shown = json.loads(invoke("runs", "show", "r1", "--json", "--store", "sqlite:copy.db").stdout)
    assert shown["output"] == {"text": "ok", "cents": 700}
    assert invoke("db", "check", "--store", "sqlite:copy.db").exit_code == 0
    again = invoke("db", "backup", "copy.db")
    assert again.exit_code == 3
    assert "exists already" in again.stderr
    nowhere = invoke("db", "backup", "no/such/folder/copy.db")
    assert nowhere.exit_code == 3
    assert "create it" in nowhere.stderr
    assert sorted(each.name for each in folder.glob("*copy*")) == [
        "copy.db", "copy.db.write"
    ]  # fmt: skip


# ---- doctor -----------------------------------------------------------------------------------


def diagnosed(invoke: Invoke) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Return the exit code, and the findings by what they are about."""
    result = invoke("doctor", "--json")
    body = json.loads(result.stdout)
    assert body["healthy"] == (result.exit_code == 0)
    found: dict[str, list[dict[str, str]]] = {}
    for each in body["findings"]:
        found.setdefault(each["about"], []).append(each)
        # That of the store itself says in its text what to do.
        assert each["advice"] or each["level"] in {"ok", "info"} or each["about"] == "store"
    return result.exit_code, found


@pytest.mark.usefixtures("checkout")
def test_a_healthy_store(invoke: Invoke):
    code, found = diagnosed(invoke)
    assert code == 0
    assert found["runs"][0]["text"] == "none is unfinished"
    assert {"store", "schema", "sqlite", "durability", "size"} <= set(found)
    plain = invoke("doctor")
    assert plain.exit_code == 0
    assert plain.stdout.startswith("ok       store: ")
    assert "\x1b" not in plain.stdout


@pytest.mark.usefixtures("checkout")
def test_fresh_runs_and_sleeping_ones_are_no_trouble(invoke: Invoke):
    now = time.time()
    in_store(
        {"run_id": "fresh", "created_at": now},
        {"run_id": "delayed", "due_at": now + 900},
        {"run_id": "asleep", "status": RunStatus.SUSPENDED, "due_at": now + 900},
        {"run_id": "signalled", "status": RunStatus.SUSPENDED},
    )
    code, found = diagnosed(invoke)
    assert code == 0
    texts = [each["text"] for each in found["runs"]]
    assert any(text.startswith("2 pending, the oldest 1 h old") for text in texts)
    assert any(text.startswith("2 suspended") for text in texts)


@pytest.mark.usefixtures("checkout")
def test_runs_that_were_begun_and_that_no_worker_is_left_for_are_told_at_once(invoke: Invoke):
    now = time.time()
    in_store(
        {"run_id": "begun", "created_at": now - 1, "status": RunStatus.RUNNING},
        {"run_id": "retries", "due_at": now + 900, "status": RunStatus.RUNNING},
        {
            "run_id": "slept",
            "created_at": now - 5,
            "due_at": now - 1,
            "status": RunStatus.SUSPENDED,
        },
    )
    code, found = diagnosed(invoke)
    assert code == 1
    (waiting,), (overdue,) = found["waiting"], found["overdue"]
    assert waiting["text"].startswith("1 of workflow ")
    assert waiting["text"].endswith("begun")
    assert "no worker is alive" in waiting["advice"]
    assert overdue["text"].endswith("slept")


@pytest.mark.usefixtures("checkout")
def test_runs_that_can_not_be_read_are_told_and_how_many_histories_were_looked_at(invoke: Invoke):
    code, found = diagnosed(invoke)
    assert code == 0
    assert found["histories"][0]["text"].startswith("the newest 2 were looked at; ")
    sql("UPDATE runs SET status = 'happy' WHERE run_id = 'r1'")
    code, found = diagnosed(invoke)
    assert code == 1
    assert "can't be read" in found["run r1"][0]["text"]
    assert found["run r1"][0]["advice"].endswith("gorkflow runs delete r1 --force")
    in_store(*({"run_id": f"n{n}"} for n in range(9)))
    sql("UPDATE runs SET status = 'happy'")
    code, found = diagnosed(invoke)
    assert found["damage"][0]["text"] == "6 more runs can't be read"


@pytest.mark.usefixtures("checkout")
def test_runs_that_nobody_takes_are_told_by_workflow(invoke: Invoke):
    in_store(
        *({"run_id": f"q{n}", "workflow_id": "unknown"} for n in range(7)),
        {"run_id": "late", "due_at": time.time() - 120.0, "workflow_id": "other"},
    )
    code, found = diagnosed(invoke)
    assert code == 1
    waiting = sorted(each["text"] for each in found["waiting"])
    assert waiting[0].startswith("1 of workflow 'other' wait for a worker, the first for 2 min")
    assert waiting[1].startswith("7 of workflow 'unknown' wait for a worker, the first for 1 h")
    assert waiting[1].endswith("and 2 more")
    assert "no worker is alive; start one" in found["waiting"][0]["advice"]
    plain = invoke("doctor")
    assert plain.exit_code == 1
    assert "problem  waiting: " in plain.stdout
    assert "         -> no worker is alive" in plain.stdout


@pytest.mark.usefixtures("checkout")
def test_runs_of_dead_workers_overdue_and_blocked_ones_are_told(invoke: Invoke):
    now = time.time()
    in_store(
        {"run_id": "stuck", "worker_id": "ghost", "token": 1, "status": RunStatus.RUNNING},
        {"run_id": "slept", "status": RunStatus.SUSPENDED, "due_at": now - 60},
        {"run_id": "blocked", "reason": "the conditions\nhave changed", "due_at": now + 3},
    )
    code, found = diagnosed(invoke)
    assert code == 1
    assert "1 owned by a dead worker: stuck" in found["left"][0]["text"]
    assert found["overdue"][0]["text"].startswith("1 should have been woken, the first 1 min")
    assert found["blocked"][0]["text"] == "run blocked: the conditions have changed"
    assert "waiting" not in found


@pytest.mark.usefixtures("checkout")
def test_a_run_that_nobody_undoes_needs_a_worker_and_no_cancel(invoke: Invoke):
    now = time.time()
    undoing: dict[str, Any] = {"reason": "undoing: enough", "status": RunStatus.RUNNING}
    in_store(
        {"run_id": "left", "due_at": now - 60, **undoing},
        {"run_id": "soon", "due_at": now + 60, **undoing},
        {"run_id": "retries", **undoing, "due_at": now - 60, "status": RunStatus.SUSPENDED},
    )
    _, found = diagnosed(invoke)
    assert "blocked" not in found
    assert found["overdue"][0]["text"].endswith("ago: retries")
    (told,) = found["undoing"]
    assert told["text"].startswith("1 wait for a worker that undoes their steps, the first for 1")
    assert told["text"].endswith(": left")
    assert "`gorkflow worker TARGET`, or `gorkflow runs resume" in told["advice"]


@pytest.mark.usefixtures("checkout")
def test_living_workers_and_unread_messages_are_told(invoke: Invoke):
    async def work() -> int:
        store = SqliteStore(STORE)
        await store.open()
        now = time.time()
        await store.register(
            worker("me", seen_at=now, started_at=now, host="box", pid=5, queues=("default",))
        )
        await store.write([new_run("mine", worker_id="me", token=1, status=RunStatus.RUNNING)])
        await store.write([new_run("old", workflow_id="unknown")])
        await store.post(Message(0, "mine", "signal", "ok", now, b"1"))
        code, found = await asyncio.to_thread(diagnosed, invoke)
        assert "'me' (process 5 on box) is alive" in found["worker"][0]["text"]
        assert "left" not in found
        assert "the workers are full, or know other workflows" in found["waiting"][0]["advice"]
        row = await store.get_run("mine")
        assert isinstance(row, RunRow)
        await store.close()
        return code

    assert asyncio.run(work()) == 1
    sql("UPDATE runs SET status = 'completed'")
    _, found = diagnosed(invoke)
    assert found["inbox"][0]["text"] == "never used: 1 message of 1 ended run"


@pytest.mark.usefixtures("checkout")
def test_what_can_not_be_opened_is_told_not_raised(invoke: Invoke):
    STORE.write_bytes(b"no database at all" * 300)
    code, found = diagnosed(invoke)
    assert code == 1
    assert "is not an SQLite database" in found["store"][0]["text"]


@pytest.mark.usefixtures("checkout")
def test_a_store_from_before_the_release_is_named_and_left_alone(invoke: Invoke):
    sql("PRAGMA user_version = 1")
    code, found = diagnosed(invoke)
    assert code == 1
    assert "from before the first release" in found["store"][0]["text"]
    assert sql("PRAGMA user_version") == [(1,)]


@pytest.mark.usefixtures("checkout")
def test_hostile_text_does_not_steer_the_terminal(invoke: Invoke):
    in_store(
        {"run_id": "x", "reason": "\x1b[2J\x07 gone"}, {"run_id": "y", "workflow_id": "\x1b]0;"}
    )
    result = invoke("doctor")
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout


def test_a_terminal_gets_marks_and_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    found = [
        Finding(Level.OK, "size", "[bold]1.0 MB[/]"),
        Finding(Level.PROBLEM, "left", "1 owned by \x1b[2J", "start a worker"),
    ]
    assert _db.show_findings(found, None, as_json=False) == 1
    lines = CONTROL.sub("", capsys.readouterr().out).splitlines()
    assert [line.rstrip() for line in lines] == [
        "\u2713 size: [bold]1.0 MB[/]",
        "\u2717 left: 1 owned by \ufffd[2J",
        "  \u2192 start a worker",
    ]


def test_prepare_makes_the_table_of_transactions(invoke: Invoke, folder: Path):
    for url in ("shop.db", f"sqlite:///{folder / 'shop.db'}"):
        assert invoke("db", "prepare", url).stderr == "the table gorkflow_results is there\n"
    with closing(sqlite3.connect(folder / "shop.db")) as db:
        assert db.execute("SELECT * FROM gorkflow_results").fetchall() == []
    assert invoke("db", "prepare", "--print-sql", "postgresql:///shop").stdout.startswith(
        "CREATE TABLE gorkflow_results (key text PRIMARY KEY"
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://127.0.0.1:1/shop", "the table gorkflow_results can't be made: connection"),
        ("nothing://ann:secret@host/shop", "Can't load plugin"),
        (":memory:", "':memory:' names no file"),
    ],
)
def test_prepare_says_what_is_wrong(invoke: Invoke, url: str, message: str):
    result = invoke("db", "prepare", url)
    assert result.exit_code != 0
    assert message in result.stderr
    assert "secret" not in result.stderr
