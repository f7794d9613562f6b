"""Steps that do not stop when told to: the command leaves them behind."""

import contextlib
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.tools import COMMAND, environment, gorkflow_in

FLOW = """
import asyncio, sys, threading
from gorkflow import Workflow, step

@step
async def stubborn(number: int) -> int:
    print("begun", flush=True)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

def wait() -> None:
    print("begun", flush=True)
    threading.Event().wait()

@step
async def threaded(number: int) -> int:
    await asyncio.to_thread(wait)
    return number

@step
async def leave(number: int) -> int:
    sys.exit(3)

stuck = Workflow("stuck", input=int).then(stubborn)
waiting = Workflow("waiting", input=int).then(threaded)
leaving = Workflow("leaving", input=int).parallel(stubborn, leave)
"""
STORE = ("--store", "sqlite:runs.db")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "slow.py").write_text(FLOW)
    return tmp_path


@contextlib.contextmanager
def command(place: Path, *args: str) -> Generator["subprocess.Popen[str]"]:
    """Run the command, and go on when a step of it has begun."""
    process = subprocess.Popen(
        [*COMMAND, *args, *STORE], cwd=place, env=environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        while process.stderr.readline() != "begun\n":
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.communicate()


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


@pytest.mark.parametrize(
    ("workflow", "by", "code", "named"),
    [
        ("stuck", signal.SIGINT, 130, "'stubborn'"),
        ("stuck", signal.SIGTERM, 143, "'stubborn'"),
        ("waiting", signal.SIGTERM, 143, "'asyncio.to_thread'"),
    ],
)
def test_a_stopped_run_ends(place: Path, workflow: str, by: signal.Signals, code: int, named: str):
    with command(place, "run", f"slow.py:{workflow}", "--input", "1") as process:
        process.send_signal(by)
        ended, said = end(process)
    assert ended == code
    assert f"did not stop when cancelled, abandoned: {named} (" in said
    assert said.endswith("--store sqlite:runs.db\n")  # how to go on is told all the same
    assert "destroyed" not in said


def test_a_run_that_is_cancelled_from_elsewhere_ends(place: Path):
    with command(place, "run", "slow.py:stuck", "--input", "1", "--run-id", "a") as process:
        assert gorkflow_in(place, "runs", "cancel", "a", *STORE).returncode == 0
        ended, said = end(process)
    assert ended == 1
    assert "did not stop when cancelled, abandoned: 'stubborn' (" in said
    assert "run a was cancelled" in said


def test_a_step_that_exits_ends_the_command_beside_one_that_stays(place: Path):
    with command(place, "run", "slow.py:leaving", "--input", "1") as process:
        ended, said = end(process)
    assert ended == 1
    assert "did not stop when cancelled, abandoned: 'stubborn' (" in said
    assert "a step stopped the program: SystemExit(3)" in said


@pytest.mark.parametrize(("by", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_worker_ends(place: Path, by: signal.Signals, code: int):
    with command(place, "run", "slow.py:stuck", "--input", "1") as first:
        first.kill()
    with command(place, "worker", "slow.py", "--grace", "0") as process:
        process.send_signal(by)
        ended, said = end(process)
    assert ended == code
    assert "\nstopped; unfinished runs are kept" in said
    assert "did not stop when cancelled, abandoned: 'stubborn' (" in said
