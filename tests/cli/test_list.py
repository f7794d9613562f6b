"""`gorkflow runs list`: its filters, its notes, and pages that end early."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from gorkflow.model import RunStatus
from gorkflow.store import Store
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.testing.conformance import new_run
from tests.cli.conftest import Invoke

HOUR = 3600.0


@pytest.fixture
def fill(folder: Path):
    """Record runs: an id, and what differs from a new run."""

    def fill(**runs: dict[str, Any]) -> None:
        async def work() -> None:
            (folder / ".gorkflow").mkdir()
            store: Store = SqliteStore(folder / ".gorkflow/runs.db")
            await store.open()
            await store.write([new_run(name, **fields) for name, fields in runs.items()])
            await store.close()

        asyncio.run(work())

    return fill


def listed(invoke: Invoke, *options: str) -> list[str]:
    result = invoke("runs", "list", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [run["run_id"] for run in json.loads(result.stdout)["runs"]]


def test_runs_are_listed_by_the_signal_that_they_wait_for(invoke: Invoke, fill):
    fill(
        a={"waits_for": ("approved", "paid"), "status": RunStatus.SUSPENDED},
        b={"waits_for": ("paid",)},
        c={},
    )
    assert listed(invoke, "--waiting-for", "approved") == ["a"]
    assert listed(invoke, "--waiting-for", "paid") == ["b", "a"]
    assert listed(invoke, "--waiting-for", "paid", "--status", "suspended") == ["a"]
    assert listed(invoke, "--waiting-for", "never") == []


def test_a_run_says_what_it_waits_for(invoke: Invoke, fill):
    soon = time.time() + HOUR
    fill(
        a={"waits_for": ("approved", "paid"), "status": RunStatus.SUSPENDED, "due_at": soon},
        b={"waits_for": tuple("abcde"), "status": RunStatus.SUSPENDED},
        c={"status": RunStatus.SUSPENDED, "due_at": soon},
    )
    lines = {line.split()[0]: line for line in invoke("runs", "list").stdout.splitlines()}
    assert re.search(r"waits for approved, paid, due \d{4}-\d\d-\d\d \d\d:", lines["a"])
    assert lines["b"].endswith("waits for a, b, c and 2 more")
    assert re.search(r"  due \d{4}", lines["c"])


def test_runs_are_listed_by_their_time(invoke: Invoke, fill):
    now = time.time()
    fill(
        old={"created_at": now - 50 * HOUR},
        day={"created_at": now - 20 * HOUR},
        new={"created_at": now - 60},
    )
    assert listed(invoke, "--since", "2h") == ["new"]
    assert listed(invoke, "--since", "1d") == ["new", "day"]
    assert listed(invoke, "--until", "1d") == ["old"]
    assert listed(invoke, "--since", "3d", "--until", "1h") == ["day", "old"]
    local = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now - 30 * HOUR))
    assert listed(invoke, "--since", local) == ["new", "day"]
    zoned = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 30 * HOUR))
    assert listed(invoke, "--until", zoned) == ["old"]
    assert listed(invoke, "--since", "2001-01-01") == ["new", "day", "old"]


@pytest.mark.parametrize("given", ["", "2", "h", "yesterday", "2026-13-01", "9" * 99 + "w"])
def test_a_time_that_is_none_is_refused(invoke: Invoke, fill, given: str):
    fill()
    result = invoke("runs", "list", "--since", given)
    assert result.exit_code == 2
    assert "Invalid value for '--since'" in result.stderr


def test_a_list_that_ended_early_says_how_far_back_it_searched(
    invoke: Invoke, fill, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(SqliteStore, "_most_read", 30)
    now = time.time()
    tagged, other = {"tags": (("t", "x"),)}, {"workflow_id": "w"}
    fill(
        **{f"r{n}": {"created_at": now - n, **(other if n % 2 else tagged)} for n in range(30)},
        wanted={"created_at": now - 99, **tagged, **other},
    )
    options: list[str] = []
    for _ in range(30):
        result = invoke("runs", "list", "--tag", "t=x", "--workflow", "w", *options)
        if result.stdout:
            break
        found = re.fullmatch(
            r"no runs so far; searched back to [\d:. -]+; continue with (--cursor) (\S+)\n",
            result.stderr,
        )
        assert found, result.stderr
        options = [*found.groups()]
    assert "wanted" in result.stdout
    body = json.loads(invoke("runs", "list", "--tag", "t=x", "--workflow", "w", "--json").stdout)
    assert body["runs"] == []
    assert body["next_cursor"]
    assert body["searched_to"].startswith("20")


def test_the_reason_comes_first_and_the_tags_last(invoke: Invoke):
    assert invoke("run", "flows.py:failing", "--tag", "channel=web").exit_code == 1
    (_, line) = invoke("runs", "list").stdout.splitlines()
    note = re.split(r" {2,}", line)[-1]
    assert re.match(r"\w+: [A-Z]\w+Error: ", note), note
    assert note.endswith(("; channel=web", "…")), note
