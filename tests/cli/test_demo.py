"""`gorkflow demo`: makes a store once, and says what to try on it."""

from __future__ import annotations

import shlex
import signal
import subprocess
import time

import httpx
import pytest

from tests.cli.tools import COMMAND, environment


@pytest.fixture
def made(invoke):
    result = invoke("demo", "--runs", "120", "--no-web")
    assert result.exit_code == 0, result.output
    return result


def test_all_that_it_recommends_works(made, invoke):
    commands = [line.split("  ")[1] for line in made.stdout.splitlines() if "  gorkflow " in line]
    assert len(commands) > 4
    for command in commands:
        done = invoke(*shlex.split(command)[1:])
        assert done.exit_code in (0, 1), (command, done.output)  # 1: the run that is shown failed


def test_a_second_time_changes_nothing(made, invoke, folder):
    file = folder / ".gorkflow/demo.db"
    before = file.read_bytes()
    again = invoke("demo", "--no-web")
    assert again.exit_code == 0
    assert again.stdout == made.stdout
    assert file.read_bytes() == before


def test_runs_of_others_are_left_alone(invoke):
    assert invoke("run", "flows.py:checkout", "--input", '{"id": 7}').exit_code == 0
    refused = invoke("demo", "--store", "sqlite:.gorkflow/runs.db")
    assert refused.exit_code == 5
    assert "has runs already" in refused.stderr


def test_memory_is_no_place(invoke):
    refused = invoke("demo", "--store", "memory:")
    assert refused.exit_code == 2
    assert "must be in a file" in refused.stderr


@pytest.fixture
def served(folder):
    """The command as a process, and the link that it prints."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--runs", "60", "--port", "0"], cwd=folder, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    with process:
        link = next(line.strip() for line in process.stderr if "?token=" in line)
        yield process, link
        process.kill()


def test_the_page_shows_it_and_more_runs_start(served):
    process, link = served
    with httpx.Client(timeout=60, follow_redirects=True) as browser:
        assert "order-" in browser.get(link).text
        ended = time.monotonic() + 60
        while "pill running" not in browser.get(link, params={"status": "running"}).text:
            assert time.monotonic() < ended
        assert browser.get(link.replace("/?", "/workflows/checkout?")).status_code == 200
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "gorkflow explain" in said
    assert "Traceback" not in errors


def test_without_the_extra_it_says_how_to_get_it(invoke, monkeypatch):
    monkeypatch.setattr("gorkflow.cli._demo.find_spec", lambda _: None)
    done = invoke("demo", "--runs", "60")
    assert done.exit_code == 0, done.output
    assert "pip install '.[web]' in the clone" in done.stdout
