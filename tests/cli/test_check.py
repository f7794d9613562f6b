"""`gorkflow check`: what it prints, and what its exit code says."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.cli.tools import on_terminal

ADVISED = """
from gorkflow.engine.engine import Engine
from gorkflow.step import step
from gorkflow.workflow import Workflow

print("imported")

@step(timeout=5)
def pull() -> int:
    return 1

@step
async def push() -> int:
    return pull()

pushing = Workflow("pushing").then(push)
pulling = again = Workflow("pulling").then(pull)
late = Workflow("late", timeout=3).then(pull)
"""
ENGINE = """
from advised import *
engine = Engine(workflows=[pushing, pulling], defaults={"timeout": 9})
"""


@pytest.fixture(autouse=True)
def advised(folder: Path):
    (folder / "advised.py").write_text(ADVISED)
    (folder / "engined.py").write_text(ENGINE)


def test_all_workflows_of_a_file_are_checked(invoke: Invoke):
    result = invoke("check", "advised.py")
    assert result.exit_code == 1
    first, second, third = result.stdout.splitlines()
    assert first.startswith("pushing: info: 'push' may take any time, and so may a run")
    assert first.endswith(" [unbounded]")
    assert second.startswith("pushing/push: warning: step 'push' calls step 'pull' (line ")
    assert second.endswith(" [step-in-step]")
    assert third.startswith("late: warning: workflow 'late' may take 5 s")
    assert result.stderr == "imported\n3 workflows checked: 2 warnings, 1 hint\n"


def test_one_can_be_chosen_and_advice_be_ignored(invoke: Invoke):
    result = invoke("check", "advised.py", "--workflow", "pulling")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("1 workflow checked: no advice\n")
    only = invoke("check", "advised.py:pushing", "--ignore", "step-in-step")
    assert only.exit_code == 0
    assert only.stderr.endswith("1 workflow checked: 1 hint\n")
    both = invoke(
        "check", "advised.py:pushing", "--ignore", "step-in-step", "--ignore", "unbounded"
    )
    assert both.stdout == ""


def test_the_defaults_of_an_engine_count(invoke: Invoke):
    result = invoke("check", "engined.py", "--json")
    assert result.exit_code == 1
    body = json.loads(result.stdout)
    assert body["workflows"] == ["pushing", "pulling"]
    (advice,) = body["advice"]
    assert advice.pop("message").startswith("step 'push' calls step 'pull'")
    assert advice == {
        "workflow": "pushing", "code": "step-in-step", "path": "push", "level": "warning",
    }  # fmt: skip


def test_bad_codes_and_targets_are_refused(invoke: Invoke):
    result = invoke("check", "advised.py", "--ignore", "unbound")
    assert result.exit_code == 2
    assert "there is no advice 'unbound'; did you mean 'unbounded'?" in result.stderr
    assert invoke("check", "nowhere.py").exit_code == 2
    (Path("advised.py").parent / "empty.py").write_text("")
    assert "has no Workflow" in invoke("check", "empty.py").stderr
    assert invoke("check", "advised.py", "--workflow", "pull").exit_code == 2


def test_on_a_terminal_it_is_drawn(folder: Path):
    shown = on_terminal(folder, "check", "advised.py:pushing")
    assert shown.code == 1
    assert "1 workflow checked: 1 warning, 1 hint" in shown.lines
