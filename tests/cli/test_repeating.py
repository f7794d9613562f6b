"""`runs rerun` and `runs diff`."""

import json
from pathlib import Path

import pytest

from gorkflow.cli._diff import Side, compare
from gorkflow.model import instant
from tests.cli.conftest import Invoke


@pytest.fixture
def failed(invoke: Invoke) -> str:
    """A run whose second branch failed, of which the cause is gone."""
    command = ("run", "flows.py:delivery", "--run-id", "r1", "--input", '{"id": 7}', "--tag", "a=b")
    assert invoke(*command).exit_code == 1
    Path("mended").touch()
    return "r1"


def shown(invoke: Invoke, run_id: str):
    return json.loads(invoke("runs", "show", run_id, "--json").stdout)


# ---- rerun ------------------------------------------------------------------------------------


def test_a_rerun_is_followed_to_its_end(invoke: Invoke, failed: str):
    result = invoke("runs", "rerun", failed, "flows.py:delivery", "--run-id", "r2", "--tag", "c=d")
    assert (result.exit_code, result.stdout) == (0, '"7 delivered"\n')
    assert "collecting" not in result.stderr
    run = shown(invoke, "r2")
    assert (run["origin"], run["from_step"]) == ("r1", None)
    assert run["tags"] == {"a": "b", "c": "d"}
    assert [step["attempt"] for step in run["steps"]] == [0, 1, 1]


def test_from_a_step(invoke: Invoke, failed: str):
    result = invoke("runs", "rerun", failed, "flows.py:delivery", "--from", "collect", "--json")
    assert result.exit_code == 0
    run = json.loads(result.stdout)
    assert (run["origin"], run["from_step"], run["output"]) == ("r1", "collect", "7 delivered")
    text = invoke("runs", "show", run["run_id"]).stdout
    assert "repeats   r1, from collect" in text


def test_a_rerun_that_fails_says_so(invoke: Invoke, failed: str):
    Path("mended").unlink()
    result = invoke("runs", "rerun", failed, "flows.py:delivery", "--run-id", "r2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "run r2 failed" in result.stderr


def test_without_a_target_it_is_left_to_a_worker(invoke: Invoke, failed: str):
    result = invoke("runs", "rerun", failed, "--run-id", "r2")
    assert (result.exit_code, result.stdout) == (0, "r2\n")
    assert "waits for a worker that knows workflow 'delivery'" in result.stderr
    assert shown(invoke, "r2")["status"] == "pending"
    resumed = invoke("runs", "resume", "r2", "flows.py:delivery")
    assert resumed.stdout == '"7 delivered"\n'
    assert "collecting" not in resumed.stderr


@pytest.mark.parametrize("target", [[], ["flows.py"]])
@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["nowhere"], 4, "there is no run 'nowhere'"),
        (["r1", "--from", "colect"], 2, "no step 'colect'; did you mean 'collect'"),
        (["r1", "--run-id", "r1"], 5, "run 'r1' exists already; give another --run-id"),
        (["r1", "--tag", "x"], 2, "'x' is not NAME=VALUE"),
    ],
)
def test_what_can_not_be_repeated(
    invoke: Invoke, failed: str, args: list[str], target: list[str], code: int, says: str
):
    result = invoke("runs", "rerun", args[0], *target, *args[1:])
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr
    assert len(json.loads(invoke("runs", "list", "--json").stdout)["runs"]) == 1


def test_types_are_accepted_only_with_code_to_judge_them(invoke: Invoke, failed: str):
    result = invoke("runs", "rerun", failed, "--accept-types")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--accept-types needs TARGET" in result.stderr
    assert len(json.loads(invoke("runs", "list", "--json").stdout)["runs"]) == 1


def test_the_code_must_fit(invoke: Invoke, failed: str):
    flows = Path("flows.py")
    flows.write_text(flows.read_text().replace("(collect, deliver)", "(collect, collect2)").replace(
        "delivery = ", 'collect2 = deliver.options(id="other")\ndelivery = '))  # fmt: skip
    result = invoke("runs", "rerun", failed, "flows.py")
    assert result.exit_code == 5
    assert "step 'deliver' is gone" in result.stderr


def test_a_run_that_has_not_ended_can_not_be_repeated(invoke: Invoke, failed: str):
    invoke("runs", "rerun", failed, "--run-id", "r2")
    result = invoke("runs", "rerun", "r2")
    assert result.exit_code == 5
    assert "run 'r2' is pending; wait until it has ended" in result.stderr


# ---- diff -------------------------------------------------------------------------------------


def test_two_runs_that_went_the_same_way(invoke: Invoke):
    for run_id in ("r1", "r2"):
        invoke("run", "flows.py:checkout", "--run-id", run_id, "--input", '{"id": 7}')
    result = invoke("runs", "diff", "r1", "r2")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "no difference in 3 steps"
    body = json.loads(invoke("runs", "diff", "r1", "r2", "--json").stdout)
    assert body["same"] is True
    assert (body["steps"], body["definition"], body["verdicts"]) == ([], [], [])


def test_a_run_and_its_repetition(invoke: Invoke, failed: str):
    invoke("runs", "rerun", failed, "flows.py:delivery", "--run-id", "r2")
    result = invoke("runs", "diff", "r1", "r2")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert any(line.startswith("b  r2") and line.endswith("repeats r1") for line in lines)
    assert any(
        line.startswith("deliver") and "failed" in line and "status, output, failure" in line
        for line in lines
    )
    assert any(line.startswith("&collect") and "can't be met" in line for line in lines)
    assert "the van is broken" in result.stdout
    assert lines[-1] == "2 steps differ, 1 are the same (1 kept, not run)"
    body = json.loads(invoke("runs", "diff", "r1", "r2", "--json").stdout)
    assert body["same"] is False
    (deliver, close) = body["steps"]
    assert (deliver["path"], deliver["a"]["status"], deliver["b"]["status"]) == (
        "deliver", "failed", "completed",
    )  # fmt: skip
    assert deliver["a"]["failure"]["message"] == "the van is broken"
    assert close["differs"] == ["status", "output", "attempts"]
    (verdict,) = body["verdicts"]
    assert (verdict["a"]["verdict"], verdict["b"]["verdict"]) == ("failed", "completed")
    assert body["input"] is None
    assert body["output"] == {"a": None, "b": "7 delivered"}


def test_other_input_and_other_attempts(invoke: Invoke):
    for run_id, number in (("r1", 7), ("r2", 8)):
        invoke("run", "flows.py:checkout", "--run-id", run_id, "--input", f'{{"id": {number}}}')
    result = invoke("runs", "diff", "r1", "r2")
    assert result.exit_code == 1
    assert 'input:\n  a  {"id": 7, "note": ""}\n  b  {"id": 8, "note": ""}' in result.stdout
    assert "output of price:\n  a  700\n  b  800" in result.stdout


def test_another_definition(invoke: Invoke, failed: str):
    third = "\n\n@step\nasync def third(a: str) -> str:\n    return a\n\n\n"
    flows = Path("flows.py")
    text = flows.read_text().replace("@step\nasync def close", "@step(timeout=5)\nasync def close")
    text = text.replace(
        "(collect, deliver).then(close)", "(collect, deliver).then(close).then(third)"
    )
    flows.write_text(text.replace("delivery = ", f"{third}delivery = "))
    invoke("run", "flows.py:delivery", "--run-id", "r2", "--input", '{"id": 7}')
    result = invoke("runs", "diff", "r1", "r2")
    assert "definition:" in result.stdout
    assert "  close: timeout is null in a, 5.0 in b" in result.stdout
    assert "  third: only in b" in result.stdout
    assert "nodes is" in result.stdout
    assert "not in this workflow" in result.stdout


def test_a_run_that_is_not_there(invoke: Invoke, failed: str):
    result = invoke("runs", "diff", "r1", "r9")
    assert result.exit_code == 4
    assert "there is no run 'r9'" in result.stderr


def test_time_alone_makes_no_difference(invoke: Invoke, failed: str):
    import asyncio
    from dataclasses import replace

    from gorkflow.cli import _diff
    from gorkflow.cli._target import opened
    from gorkflow.engine import _json

    async def look() -> Side:
        async with opened(None) as reader:
            return _diff._side(await _json.record(reader, "r1"))

    side = asyncio.run(look())
    assert any(step.finished_at for step in side.steps.values())
    later = {
        path: replace(step, finished_at=step.finished_at and instant(9e9))
        for path, step in side.steps.items()
    }
    assert compare(side, side._replace(steps=later))["same"]
    step = side.steps["deliver"]
    for change in ({"attempt": 2}, {"failure": None}, {"output": 3}):
        other = {**side.steps, "deliver": replace(step, **change)}
        assert not compare(side, side._replace(steps=other))["same"]
