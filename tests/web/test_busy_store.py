"""A store that is locked, gone or newer than the code: it is said soon, and clearly."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gorkflow.engine import _patience
from gorkflow.web import _operations
from gorkflow.web._openapi import document
from gorkflow.web.api import OPERATIONS
from tests.engine.support import in_loop, until

from .test_api import start, waiting_run
from .tools import Place, site


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Write to a store meanwhile, as a program that hangs. Clients are impatient."""
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        pytest.MonkeyPatch.context() as patch,
    ):
        other.execute("BEGIN IMMEDIATE")
        patch.setattr(_operations, "PATIENCE", 0.1)
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


async def ids(it: Place) -> list[str]:
    return [run.run_id for run in await it.engine.list_runs()]


@pytest.mark.parametrize("repeats", ["while it is locked", "afterwards"])
@pytest.mark.parametrize("what", ["start", "rerun", "another input"])
@in_loop
async def test_a_start_that_waits_is_answered_and_done_once(path, what, repeats):
    async with site(f"sqlite:{path}") as it:
        await it.engine.wait(await start(it, run_id="origin"))
        bodies = {"start": {"workflow_id": "doubling", "input": 4}, "another input": {"input": 5}}
        body = bodies.get(what, {})
        address = "/api/runs" if what == "start" else "/api/runs/origin/rerun"
        with locked(path):
            found = await it.local.post(address, json=body)
            assert (found.status_code, found.headers["retry-after"]) == (503, "0")
            answer = found.json()
            run_id = answer["repeat"]["run_id"]
            for wanted in ("'runs.db'", "runs.db.write", f"run_id={run_id}", "done once"):
                assert wanted in answer["error"]
            if repeats == "while it is locked":
                again = await it.local.post(address, json={**body, **answer["repeat"]})
                assert (again.status_code, again.json()["repeat"]) == (503, answer["repeat"])
        await it.engine.wait(run_id)
        last = await it.local.post(address, json={**body, **answer["repeat"]})
        assert (last.status_code, last.json()) == (201, {"run_id": run_id})
        assert sorted(await ids(it)) == sorted(["origin", run_id])


@in_loop
async def test_a_change_that_is_not_a_start_says_what_to_do(path, caplog):
    caplog.set_level("INFO", "gorkflow.web")
    async with site(f"sqlite:{path}") as it:
        run_id = await waiting_run(it)
        with locked(path):
            signal = f"/api/runs/{run_id}/signals/approved"
            sent = await it.local.post(signal, json={"payload": True})
            assert sent.status_code == 503
            assert "look before you send it again" in sent.json()["error"]
            assert "repeat" not in sent.json()
            cancelled = await it.local.post(f"/api/runs/{run_id}/cancel")
            assert "send it again" in cancelled.json()["error"]
        await it.engine.wait(run_id)
        await until(lambda: "send_signal was done after it was answered" in caplog.text)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 999")


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda path: path.unlink(), "deleted or replaced"),
        (lambda path: path.rename(f"{path}-old"), "deleted or replaced"),
        (lambda path: (path.rename(f"{path}-old"), path.touch()), "deleted or replaced"),
        (newer, "made by a newer gorkflow"),
    ],
    ids=["deleted", "moved", "replaced", "newer"],
)
@in_loop
async def test_a_store_that_is_another_one_now_is_not_served(path, harm, named, monkeypatch):
    async with site(f"sqlite:{path}") as it:
        await it.engine.wait(await start(it, run_id="r1"))
        harm(path)
        monkeypatch.setattr(_patience, "SECONDS", 0.2)
        for address in ("/api/runs", "/api/runs/r1", "/api/run-count", "/", "/runs/r1"):
            found = await it.local.get(address)
            assert found.status_code == 503, address
            assert "'runs.db'" in found.json()["error"]
            assert named in found.json()["error"]
        monkeypatch.setattr(_operations, "PATIENCE", 0.2)
        changed = await it.local.post("/api/runs", json={"workflow_id": "doubling", "input": 4})
        assert (changed.status_code, named in changed.text) == (503, True)
        assert str(path.parent) not in changed.text


def test_the_document_knows_that_a_change_may_have_to_be_sent_again():
    found = document(OPERATIONS, "")
    assert "repeat" in found["components"]["schemas"]["Error"]["properties"]
    assert "503" in found["paths"]["/runs"]["post"]["responses"]
