"""The state of a run, from the command line."""

import json

from tests.cli.conftest import Invoke


def test_show_has_the_state(invoke: Invoke):
    invoke("run", "flows.py:tallied", "--run-id", "r1", "--input", "7")
    result = invoke("runs", "show", "r1", "--events")
    assert 'state     {"count": 7, "last": 7}' in result.stdout
    assert "state=set last 7, incr count 7" in result.stdout
    body = json.loads(invoke("runs", "show", "r1", "--json", "--events").stdout)
    assert body["state"] == {"count": 7, "last": 7}
    (done,) = [event for event in body["events"] if event["kind"] == "step_completed"]
    assert done["state"][0] == {"key": "last", "op": "set", "text": "7"}


def test_a_run_without_state_shows_none(invoke: Invoke):
    invoke("run", "flows.py:checkout", "--run-id", "r1", "--input", '{"id": 7}')
    result = invoke("runs", "show", "r1", "--events")
    assert "state" not in result.stdout
    assert json.loads(invoke("runs", "show", "r1", "--json").stdout)["state"] == {}


def test_diff_compares_the_state(invoke: Invoke):
    for run_id, number in (("r1", "7"), ("r2", "7"), ("r3", "8")):
        invoke("run", "flows.py:tallied", "--run-id", run_id, "--input", number)
    same = json.loads(invoke("runs", "diff", "r1", "r2", "--json").stdout)
    assert (same["same"], same["state"]) == (True, None)
    result = invoke("runs", "diff", "r1", "r3")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    at = lines.index("state:")
    assert lines[at + 1 : at + 3] == [
        '  a  {"count": 7, "last": 7}',
        '  b  {"count": 8, "last": 8}',
    ]


def test_a_rerun_with_the_same_result_has_the_same_state(invoke: Invoke):
    invoke("run", "flows.py:tallied", "--run-id", "r1", "--input", "7")
    invoke("runs", "rerun", "r1", "flows.py:tallied", "--run-id", "r2")
    assert invoke("runs", "diff", "r1", "r2").exit_code == 0


def test_a_run_begins_with_a_given_state(invoke: Invoke, tmp_path):
    run = ("run", "flows.py:tallied", "--input", "7")
    assert invoke(*run, "--state", '{"count": 10}').stdout == "17\n"
    (tmp_path / "state.json").write_text('{"count": 20}')
    assert invoke(*run, "--state", f"@{tmp_path}/state.json").stdout == "27\n"
    for wrong in ("[]", "{", "7"):
        result = invoke(*run, "--state", wrong)
        assert result.exit_code == 2
        assert "--state is not a JSON object" in result.stderr


def test_show_cuts_long_values(invoke: Invoke):
    state = json.dumps({"count": 0, "text": "x" * 100_000})
    invoke("run", "flows.py:tallied", "--run-id", "r1", "--input", "7", "--state", state)
    result = invoke("runs", "show", "r1", "--events")
    assert len(result.stdout) < 10_000
    assert "… (100,002 characters; --full shows all)" in result.stdout
    assert '"count": 7' in result.stdout
    assert json.loads(invoke("runs", "show", "r1", "--json").stdout)["state"]["text"][99_999] == "x"
