"""The command as a process: what goes where, exit codes, Ctrl-C."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.tools import COMMAND, environment, gorkflow_in

ORDER = '{"id": "7"}'


def test_output_goes_to_stdout_and_all_else_to_stderr(folder: Path):
    done = gorkflow_in(folder, "run", "flows.py:checkout", "--input", ORDER)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"text": "ok", "cents": 700}
    assert done.stdout.count("\n") == 1
    assert re.search(r"^\d\d:\d\d:\d\d check completed in \d+ m?s$", done.stderr, re.MULTILINE)
    assert done.stderr.splitlines()[-1].partition(" ")[2].startswith("run completed in ")
    assert "imported" in done.stderr
    assert "checking" in done.stderr
    assert "\x1b" not in done.stderr


LOUD = """
import os, subprocess
from gorkflow import Workflow, step

os.write(1, b"imported\\n")

@step(executor="process")
def elsewhere(number: int) -> int:
    print("printed")
    subprocess.run(["echo", "echoed"])
    return number

@step
def here(number: int) -> int:
    os.write(1, b"written\\n")
    return number

loud = Workflow("loud", input=int).then(elsewhere).then(here)
"""


def test_not_even_processes_write_to_stdout(folder: Path):
    (folder / "loud.py").write_text(LOUD)
    done = gorkflow_in(folder, "run", "loud.py", "--input", "7")
    assert done.stdout == "7\n"
    for text in ("imported", "printed", "echoed", "written"):
        assert f"{text}\n" in done.stderr
    drawn = gorkflow_in(folder, "graph", "loud.py", "--format", "text")
    assert "imported" not in drawn.stdout
    assert "elsewhere" in drawn.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_was_closed_before_it_began_does_not_matter(folder: Path, closed: str):
    words = [*COMMAND, "run", "flows.py:checkout", "--input", ORDER, "--store", "memory:"]
    command = f"{shlex.join(words)} {closed}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment(), capture_output=True, check=False,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert (done.stdout != "") == (">&-" not in closed.replace("2>&-", ""))
    assert "should not happen" not in done.stderr


def test_json_is_all_there_is(folder: Path):
    done = gorkflow_in(folder, "run", "flows:checkout", "--input", "-", "--json", stdin=ORDER)
    assert done.returncode == 0
    run = json.loads(done.stdout)
    assert run["status"] == "completed"
    assert run["input"] == {"id": 7, "note": ""}
    assert run["output"] == {"text": "ok", "cents": 700}
    assert [step["path"] for step in run["steps"]] == ["check", "price", "confirm"]
    assert run["steps"][0]["attempts"][0]["number"] == 1
    assert done.stderr.splitlines() == ["imported", "checking"]


def test_a_failed_run_says_where_what_and_what_next(folder: Path):
    done = gorkflow_in(folder, "run", "flows.py:failing", "--traceback", "--run-id", "r1")
    assert done.returncode == 1
    assert done.stdout == ""
    end = done.stderr[done.stderr.index("run r1 failed:") :]
    assert "\n  bad  step_failed  gorkflow.errors.NonRetryableError: there is a very" in end
    assert "raise NonRetryableError" in end
    assert end.endswith("\nsee: gorkflow runs show r1\n")


def test_retries_and_warnings_are_lines_without_control_characters(folder: Path):
    done = gorkflow_in(folder, "run", "flows.py:retried")
    assert done.stdout == '"at last"\n'
    assert "ValueError: not \ufffd[31myet please wait; next try in " in done.stderr
    assert "flaky started (attempt 2)\n" in done.stderr
    assert "\x1b" not in done.stderr
    assert "warning:" not in done.stderr  # the line above says it already
    done = gorkflow_in(folder, "run", "flows.py:warning")
    assert re.search(r"^\d\d:\d\d:\d\d warning: mind the gap$", done.stderr, re.MULTILINE)
    assert re.search(r"^\d\d:\d\d:\d\d warning: warn: careful: hot$", done.stderr, re.MULTILINE)


def interrupted(
    folder: Path, by: signal.Signals = signal.SIGINT, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Start a run and send the signal that Ctrl-C sends once its first step has run."""
    with subprocess.Popen(
        [*COMMAND, "run", "flows.py:patient", "--run-id", "r1", "--store", "sqlite:a.db"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "second started" in line:
                break
        assert (folder / "marker").exists()
        process.send_signal(by)
        stdout, stderr = process.communicate(timeout=30)
    return subprocess.CompletedProcess([], process.returncode, stdout, said + stderr)


def test_ctrl_c_leaves_the_run_to_be_resumed(folder: Path):
    done = interrupted(folder)
    assert done.returncode == 130
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    command = "gorkflow runs resume r1 flows.py:patient --store sqlite:a.db"
    assert done.stderr.endswith(f"  {command}\n")
    (folder / "go").touch()
    (folder / "marker").unlink()
    resumed = gorkflow_in(folder, *command.split()[1:])
    assert (resumed.returncode, resumed.stdout) == (0, '"first, second"\n')
    assert not (folder / "marker").exists()  # what had completed did not run again
    assert "first " not in resumed.stderr
    assert "second completed" in resumed.stderr


@pytest.mark.parametrize("background", [False, True])
def test_sigterm_leaves_the_run_to_be_resumed_too(folder: Path, background: bool):
    # A shell that starts a command in the background has it ignore Ctrl-C.
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    done = interrupted(folder, signal.SIGTERM, **(ignoring if background else {}))
    assert done.returncode == 143
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "Error: terminated; completed steps are kept" in done.stderr
    assert done.stderr.endswith("gorkflow runs resume r1 flows.py:patient --store sqlite:a.db\n")
    (folder / "go").touch()
    resumed = gorkflow_in(folder, *done.stderr.splitlines()[-1].split()[1:])
    assert (resumed.returncode, resumed.stdout) == (0, '"first, second"\n')


def test_a_step_that_exits_ends_the_command_but_not_the_run(folder: Path):
    done = gorkflow_in(folder, "run", "flows.py:leaving", "--run-id", "r1")
    assert done.returncode == 1
    assert "a step stopped the program: SystemExit(3)" in done.stderr
    assert "gorkflow runs resume r1 flows.py:leaving" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_traceback(folder: Path):
    process = subprocess.Popen(
        [*COMMAND, "graph", "flows.py:wide"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        _, stderr = process.communicate(timeout=30)
        assert b"Traceback" not in stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [("runs show r1", 0), ("runs list", 0), ("run flows.py:tolerant", 0), ("run flows.py:bad", 2)],
)
def test_a_reader_that_leaves_does_not_change_the_exit_code(folder: Path, command: str, code: int):
    gorkflow_in(folder, "run", "flows.py:tolerant", "--run-id", "r1")
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*COMMAND, *command.split()],
        cwd=folder,
        env=environment(),
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(theirs)
    assert done.returncode == code
    assert b"Broken pipe" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize(
    "command", ["graph flows.py:wide", "--version", "--help", "run --help", "runs list --help"]
)
def test_a_full_disk_under_the_output_is_told(folder: Path, command: str):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *command.split()],
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr.removeprefix("imported\n") == (
        "Error: can't write to standard output: No space left on device\n"
    )


def test_help_and_version_import_nothing_heavy(folder: Path):
    code = (
        "import sys, gorkflow.cli; sys.argv = ['gorkflow', '--version']\n"
        "try: gorkflow.cli.main()\n"
        "except SystemExit as stop: assert stop.code == 0, stop\n"
        "print(*sys.modules.keys() & {'beartype', 'pydantic', 'rich', 'sqlite3'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env=environment(), capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    version, loaded = done.stdout.splitlines()
    assert version.startswith("gorkflow ")
    assert loaded == ""


def test_the_help_has_its_words_without_docstrings(tmp_path: Path):
    for command in ([], ["runs"], ["runs", "show"]):
        shown = [
            subprocess.run(
                [sys.executable, *flags, "-m", "gorkflow", *command, "--help"],
                cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True,
            ).stdout
            for flags in ([], ["-OO"])
        ]  # fmt: skip
        assert shown[0] == shown[1]


LOGS = """
from gorkflow import StepContext, Workflow, step

@step
async def talk(ctx: StepContext, number: int) -> int:
    ctx.logger.info("hello")
    return number

async def alert(run) -> None:
    raise OSError("no mail today")

talking = Workflow("talking", input=int, on_end=alert).then(talk)
"""


def test_the_lines_of_a_step_follow_its_begin(folder: Path):
    (folder / "talking.py").write_text(LOGS)
    done = gorkflow_in(folder, "run", "talking.py", "--input", "1", "--run-id", "r")
    lines = [line.partition(" ")[2] for line in done.stderr.splitlines()]
    begun = lines.index("talk started")
    assert lines.index("run r of talking started") < begun < lines.index("talk: hello")


def test_a_failed_hook_is_told_once_with_how_it_goes_on(folder: Path):
    (folder / "talking.py").write_text(LOGS)
    done = gorkflow_in(folder, "run", "talking.py", "--input", "1", "--run-id", "r")
    assert "is called again in" not in done.stderr
    assert "OSError: no mail today" in done.stderr
    assert "a worker calls it again:\n  gorkflow worker talking.py" in done.stderr
