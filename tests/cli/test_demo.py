"""`gorkflow demo`: makes a store once, and says what to try on it."""

from __future__ import annotations

import shlex

import pytest


@pytest.fixture
def made(invoke):
    result = invoke("demo", "--runs", "120")
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
    again = invoke("demo")
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
