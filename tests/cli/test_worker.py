"""``gorkflow worker`` as a process: what it takes, how it stops."""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from gorkflow import Client, Run, Workflow, step
from tests.cli.tools import COMMAND, environment, gorkflow_in

FLOW = """
import asyncio
from pathlib import Path
from gorkflow import Engine, StepContext, Workflow, step

@step
async def hold(ctx: StepContext, name: str) -> str:
    Path(f"begun-{ctx.run_id}-{ctx.attempt}").touch()
    while not Path(name).exists():
        await asyncio.sleep(0.01)
    return f"{name} in attempt {ctx.attempt}"

@step
async def after(text: str) -> str:
    Path("after").touch()
    return text

held = Workflow("held", input=str).then(hold).then(after)
"""


@step
async def hold(name: str) -> str:
    return name


@step
async def after(text: str) -> str:
    return text


HELD = Workflow("held", input=str).then(hold).then(after)
OTHER = Workflow("other", input=str).then(after)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "held.py").write_text(FLOW)
    return tmp_path


def queue(place: Path, *starts: tuple[Workflow[Any, Any], str, str]) -> None:
    async def start() -> None:
        async with Client(f"sqlite:{place / 'runs.db'}") as client:
            for workflow, run_id, name in starts:
                await client.start(workflow, name, run_id=run_id)

    asyncio.run(start())


def look(place: Path, run_id: str) -> Run:
    async def get() -> Run:
        async with Client(f"sqlite:{place / 'runs.db'}") as client:
            return await client.get_run(run_id)

    return asyncio.run(get())


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


@contextlib.contextmanager
def worker(place: Path, *more: str) -> Generator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [*COMMAND, "worker", "held.py", "--store", "sqlite:runs.db", *more],
        cwd=place,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def has_open(pid: int, name: str) -> bool:
    found = False
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found = found or each.readlink().name == name
    return found


def stop(process: "subprocess.Popen[str]") -> tuple[int, str]:
    said = process.communicate(timeout=30)[1]
    return process.returncode, said


def test_it_takes_what_is_queued_and_stops_when_told(place: Path) -> None:
    (place / "go").touch()
    queue(place, (HELD, "a", "go"), (OTHER, "b", "x"))
    with worker(place) as process:
        until(lambda: look(place, "a").status == "completed")
        process.send_signal(signal.SIGTERM)
        code, said = stop(process)
    assert code == 0
    assert "runs held; stop it with" in said
    assert "run 'a' of 'held' completed" in said
    assert said.endswith("the next worker continues them\n")
    other = look(place, "b")
    assert (other.status, other.worker_id) == ("pending", None)  # not its workflow: left, and seen


def test_it_takes_the_runs_of_its_queues(place: Path) -> None:
    (place / "go").touch()
    queue(place, (HELD, "plain", "go"))
    for run_id in ("mail", "gpu"):
        started = gorkflow_in(
            place, "start", "held.py", "--input", '"go"', "--run-id", run_id, "--queue", run_id,
            "--store", "sqlite:runs.db",
        )  # fmt: skip
        assert started.stdout == f"{run_id}\n", started.stderr
    with worker(place, "--queue", "gpu=1", "--queue", "mail") as process:
        until(lambda: all(look(place, each).status == "completed" for each in ("gpu", "mail")))
        process.send_signal(signal.SIGTERM)
        code, said = stop(process)
    assert code == 0
    assert "runs held of queues gpu, mail; stop it with" in said
    left = look(place, "plain")
    assert (left.status, left.worker_id, left.queue) == ("pending", None, "default")


def test_the_first_signal_lets_running_steps_finish(place: Path) -> None:
    queue(place, (HELD, "a", "go"))
    with worker(place) as process:
        until((place / "begun-a-1").exists)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "running steps get 30 s" not in process.stderr.readline():
            pass
        (place / "go").touch()
        code, _ = stop(process)
    assert code == 130
    run = look(place, "a")
    assert (run.status, run.worker_id) == ("running", None)
    assert not (place / "after").exists()  # no step begins any more
    with worker(place) as process:
        until(lambda: look(place, "a").status == "completed")
    assert look(place, "a").output == "go in attempt 1"


def test_the_second_signal_stops_them(place: Path) -> None:
    queue(place, (HELD, "a", "go"))
    with worker(place) as process:
        until((place / "begun-a-1").exists)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while "once more" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        code, said = stop(process)
    assert code == 0
    assert "SIGTERM: stopping now" in said
    assert look(place, "a").worker_id is None
    (place / "go").touch()
    with worker(place) as process:
        until(lambda: look(place, "a").status == "completed")
    assert look(place, "a").output == "go in attempt 2"


@pytest.mark.parametrize("again", [False, True])
def test_signals_are_heard_while_it_opens(place: Path, again: bool) -> None:
    queue(place, (HELD, "a", "go"))
    lock = os.open(place / "runs.db.write", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a process that writes, and is frozen
        with worker(place) as process:
            until(lambda: has_open(process.pid, "runs.db.write"))
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            while "once more" not in process.stderr.readline():
                pass
            if again:
                process.send_signal(signal.SIGTERM)
                while "not to wait for the store" not in process.stderr.readline():
                    pass
                process.send_signal(signal.SIGTERM)
            else:
                fcntl.flock(lock, fcntl.LOCK_UN)
            code, _ = stop(process)
    finally:
        os.close(lock)
    assert code == 130
    run = look(place, "a")
    assert (run.status, run.worker_id) == ("pending", None)


def test_what_a_killed_worker_had_goes_on_with_another(place: Path) -> None:
    queue(place, (HELD, "a", "go"))
    with worker(place, "--lease", "600") as killed, worker(place, "--lease", "600") as other:
        until((place / "begun-a-1").exists)
        owner = look(place, "a").worker_id or ""
        victim = killed if f"-{killed.pid}-" in owner else other
        os.kill(victim.pid, signal.SIGKILL)
        (place / "go").touch()
        until(lambda: look(place, "a").status == "completed")
    assert look(place, "a").output == "go in attempt 2"


def test_what_it_can_not_use(place: Path) -> None:
    (place / "again.py").write_text("from held import *\nheld = held.then(after.options(id='x'))\n")
    (place / "own.py").write_text(
        "from held import *\nengine = Engine('memory:', workflows=[held], recover=False)\n"
    )
    for args, why in (
        (("held.py", "again.py"), "two workflows have the id 'held'; rename one of them"),
        (("held.py", "own.py"), "'own.py' brings an engine, which knows its workflows; name it"),
        (
            ("own.py", "--store", "memory:"),
            "brings its store, its limits and its queues; leave them out",
        ),
        (("own.py",), "takes no runs of others: it was made with recover=False"),
        (("nothing.py",), "nothing.py"),
        (("held.py", "--store", "memory:"), "no other process can reach the runs in 'memory:'"),
    ):
        done = gorkflow_in(place, "worker", *args)
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr


def test_a_signal_is_sent_from_the_command_line(place: Path) -> None:
    (place / "asked.py").write_text(
        "from gorkflow import Signal, Workflow, step\n"
        "@step\n"
        "async def add(a: int, b: int) -> int:\n"
        "    return a + b\n"
        "asked = Workflow('asked', input=int).wait_for(Signal('more', int)).then(add)\n"
    )
    args = ("--store", "sqlite:runs.db")
    client = (
        "import asyncio, asked, gorkflow\n"
        "async def start():\n"
        "    async with gorkflow.Client('sqlite:runs.db') as client:\n"
        "        await client.start(asked.asked, 1, run_id='a')\n"
        "asyncio.run(start())\n"
    )
    subprocess.run([sys.executable, "-c", client], cwd=place, env=environment(), check=True)
    for sent, code, said in (
        (("a", "mor"), 2, "did you mean 'more'?"),
        (("a", "more", "--payload", "two"), 2, "--payload: it is not JSON"),
        (("b", "more"), 4, "'b'"),
        (("a", "more", "--payload", '"two"'), 0, "is recorded"),  # the worker knows its type
        (("a", "more", "--payload", "2"), 0, "signal 'more' is recorded for run a"),
    ):
        done = gorkflow_in(place, "runs", "send", *sent, *args)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    with worker(place, "asked.py") as process:
        until(lambda: look(place, "a").status == "completed")
        process.send_signal(signal.SIGTERM)
        _, told = stop(process)
    assert look(place, "a").output == 3
    assert "signal 'more' (message 1) is rejected" in told
    done = gorkflow_in(place, "runs", "send", "a", "more", *args)
    assert (done.returncode, "has ended (completed)" in done.stderr) == (5, True)
