"""What steps log and report: shown by `run` and `worker`, and read again by `runs logs`."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gorkflow import Client, Workflow, step
from gorkflow.cli._board import Board
from gorkflow.events import RunCreated, RunStarted, StepScheduled
from gorkflow.model import Report, instant
from tests.cli.tools import COMMAND, CONTROL, drawn, environment, gorkflow_in

FLOW = """
import asyncio
from pathlib import Path
from gorkflow import StepContext, Workflow, step

@step
async def load(ctx: StepContext, pages: int) -> list[int]:
    ctx.logger.info("loads \\x1b[31m%d pages\\nof the book", pages)
    ctx.progress(1, pages, "first \\x1b[31m page")
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    ctx.logger.debug("not shown")
    return list(range(pages))

@step(retries=1)
def check(ctx: StepContext, page: int) -> int:
    ctx.logger.warning("checks %d", page)
    if ctx.attempt == 1 and page == 1:
        try:
            raise LookupError("no such page")
        except LookupError:
            ctx.logger.exception("failed")
            raise
    return page

@step
async def silent(pages: list[int]) -> int:
    return len(pages)

loading = Workflow("loading", input=int).then(load).map(check).then(silent)
"""


@step
async def load(pages: int) -> list[int]:
    return [pages]


@step
def check(page: int) -> int:
    return page


@step
async def silent(pages: list[int]) -> int:
    return len(pages)


LOADING = Workflow("loading", input=int).then(load).map(check).then(silent)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW)
    return tmp_path


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def started(place: Path, *args: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command in the background; what is left of it is killed."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    process = subprocess.Popen(
        [*COMMAND, *args], cwd=place, env=environment(), text=True, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_log_of_a_run_is_read_again(place: Path):
    (place / "go").touch()
    ran = gorkflow_in(place, "run", "flow.py", "--input", "2", "--run-id", "one")
    assert ran.returncode == 0
    assert ran.stdout == "2\n"
    shown = [line.partition(" ")[2] for line in ran.stderr.splitlines()]
    assert r"load: loads \x1b[31m2 pages\nof the book" in shown
    assert "warning: check[0]: checks 0" in shown
    assert "not shown" not in ran.stderr

    logs = gorkflow_in(place, "runs", "logs", "latest")
    assert logs.returncode == 0
    lines = [line[21:] if line[:2] == "20" else line for line in logs.stdout.splitlines()]
    assert lines[:2] == ["INFO     load  loads �[31m2 pages", "    of the book"]
    assert "WARNING  check[1] (attempt 2)  checks 1" in lines
    at = lines.index("ERROR    check[1]  failed")
    assert lines[at + 1] == "    Traceback (most recent call last):"
    assert lines[at + 2].startswith("      File")
    assert "    LookupError: no such page" in lines
    assert "\x1b" not in logs.stdout


def test_the_log_of_one_step(place: Path):
    (place / "go").touch()
    assert gorkflow_in(place, "run", "flow.py", "--input", "2", "--run-id", "one").returncode == 0
    for name, paths in (
        ("load", {"load"}),
        ("check", {"check[0]", "check[1]"}),
        ("check[]", {"check[0]", "check[1]"}),
        ("check[0]", {"check[0]"}),
    ):
        logs = gorkflow_in(place, "runs", "logs", "one", "--step", name, "--json")
        lines = [json.loads(line) for line in logs.stdout.splitlines()]
        assert {line["path"] for line in lines} == paths
    assert set(lines[0]) == {
        "id", "run_id", "path", "attempt", "number", "at", "level", "level_name", "text",
    }  # fmt: skip
    empty = gorkflow_in(place, "runs", "logs", "one", "--step", "silent")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert empty.stderr == "run one has no log lines of 'silent'\n"
    wrong = gorkflow_in(place, "runs", "logs", "one", "--step", "chek")
    assert wrong.returncode == 4
    assert "run one has no step 'chek'; did you mean 'check" in wrong.stderr
    assert gorkflow_in(place, "runs", "logs", "other").returncode == 4


def test_the_log_is_followed_while_another_process_runs_it(place: Path):
    with started(place, "run", "flow.py", "--input", "1", "--run-id", "one") as running:
        assert running.stderr is not None
        while "loads" not in running.stderr.readline():
            pass
        with started(place, "runs", "logs", "one", "--follow") as following:
            assert following.stdout is not None
            assert "INFO     load  loads" in following.stdout.readline()
            assert following.stdout.readline() == "    of the book\n"
            (place / "go").touch()
            rest, errors = following.communicate(timeout=30)
            assert following.returncode == 0, errors
            assert rest.endswith("WARNING  check[0]  checks 0\n")


def test_a_process_that_is_killed_loses_no_more_than_the_last_second(place: Path):
    with started(place, "run", "flow.py", "--input", "1", "--run-id", "one") as running:
        until(lambda: "loads" in gorkflow_in(place, "runs", "logs", "one").stdout)
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert "loads" in gorkflow_in(place, "runs", "logs", "one").stdout
    shown = json.loads(gorkflow_in(place, "runs", "show", "one", "--json").stdout)
    assert shown["steps"][0]["progress"]["message"] == "first \x1b[31m page"
    (place / "go").touch()
    assert gorkflow_in(place, "runs", "resume", "one", "flow.py").returncode == 0
    lines = gorkflow_in(place, "runs", "logs", "one", "--step", "load", "--json").stdout
    assert [json.loads(line)["attempt"] for line in lines.splitlines()] == [1, 2]


def test_a_worker_names_run_and_path(place: Path):
    (place / "go").touch()

    async def queue() -> None:
        async with Client(f"sqlite:{place / 'runs.db'}") as client:
            await client.start(LOADING, 1, run_id="queued")

    asyncio.run(queue())
    with started(place, "worker", "flow.py", "--store", "sqlite:runs.db") as worker:
        assert worker.stderr is not None
        while "checks" not in (line := worker.stderr.readline()):
            if "loads" in line:
                assert line.endswith("INFO run queued load: loads \\x1b[31m1 pages\\nof the book\n")
        assert line.endswith("WARNING run queued check[0]: checks 0\n")


def test_the_tree_shows_the_progress(place: Path):
    primary, secondary = pty.openpty()
    with started(
        place, "run", "flow.py", "--input", "4", "--run-id", "one",
        stderr=secondary, stdin=secondary,
    ) as running:  # fmt: skip
        os.close(secondary)
        seen = ""
        while "1/4" not in seen:
            seen += CONTROL.sub("", os.read(primary, 10_000).decode(errors="replace"))
        (place / "go").touch()
        running.wait(30)
    os.close(primary)


def test_only_a_running_step_has_a_report():
    board = Board("r", LOADING.compile().tree)
    report = Report(
        run_id="r", path="load", attempt=1, done=3, total=4, message="a \x1b[31m\nb", at=instant(1)
    )
    board.report(report)
    assert not any("3/4" in line for line in drawn(board))
    board.feed(RunCreated("r", 1, "", 0.0, "f", b"1"))
    board.feed(RunStarted("r", 2, "", 0.0, None))
    board.feed(StepScheduled("r", 3, "load", 0.0, 1, 1, 0.0))
    board.report(report)
    [line] = [line for line in drawn(board) if "3/4" in line]
    assert line.endswith("3/4  a �[31m b")
