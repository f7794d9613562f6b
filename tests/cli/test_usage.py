"""Options and targets that make no sense, and what is said of them."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke


def test_standard_input_is_for_one_option(invoke: Invoke):
    result = invoke("run", "flows.py:tallied", "--input", "-", "--state", "-", stdin="7")
    assert result.exit_code == 2
    assert "only one of --input and --state can be '-'" in result.stderr


@pytest.mark.parametrize("flag", ["--exclusive", "--in-line"])
def test_an_exclusive_run_needs_a_resource(invoke: Invoke, flag: str):
    result = invoke("run", "flows.py:tallied", "--input", "7", flag)
    assert result.exit_code == 2
    assert f"{flag} needs --resource ID" in result.stderr


def test_a_run_fails_or_waits_for_its_resource_and_not_both(invoke: Invoke):
    options = ("--resource", "r", "--exclusive", "--in-line")
    result = invoke("run", "flows.py:tallied", "--input", "7", *options)
    assert result.exit_code == 2
    assert "--exclusive fails where --in-line waits" in result.stderr


def test_a_run_begins_when_its_resource_is_free(invoke: Invoke):
    options = ("--resource", "r", "--in-line", "--store", "sqlite:line.db")
    assert invoke("run", "flows.py:tallied", "--input", "7", *options).exit_code == 0


@pytest.mark.parametrize(
    "command", [("run", "flows.py:tallied", "--input", "7"), ("runs", "list"), ("doctor",)]
)
def test_an_empty_store_is_no_store(invoke: Invoke, command: tuple[str, ...]):
    result = invoke(*command, "--store", "")
    assert result.exit_code == 2
    assert "it is empty; write sqlite:PATH or memory:, or leave it out" in result.stderr


def test_a_tag_has_one_value(invoke: Invoke):
    command = ("run", "flows.py:tallied", "--input", "7", "--tag", "a=1")
    assert invoke(*command, "--tag", "a=1", "--tag", "b=2").exit_code == 0
    result = invoke(*command, "--tag", "a=2")
    assert result.exit_code == 2
    assert "tag 'a' has two values, '1' and '2'" in result.stderr


def test_a_folder_is_called_a_folder_whatever_its_name(invoke: Invoke):
    Path("d.py").mkdir()
    for target in ("d.py", "d.py:flow", "./d.py"):
        result = invoke("run", target)
        assert result.exit_code == 2
        assert "d.py' is a folder; name a file in it" in result.stderr


def test_an_interval_knows_no_time_zone(invoke: Invoke):
    command = ("schedule", "add", "flows.py:failing", "--timezone", "Europe/Berlin")
    result = invoke(*command, "--every", "1h")
    assert result.exit_code == 2
    assert "--timezone is for --cron" in result.stderr
    added = invoke(*command, "--cron", "0 3 * * *", "--json")
    assert json.loads(added.stdout)["timezone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    "command", [["runs", "list"], ["runs", "show", "r"], ["doctor"], ["db", "check"]]
)
def test_no_password_of_a_store_is_shown(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, command: list[str]
):
    url = "postgresql://bob:s3cr3t@127.0.0.1:1/x"
    given = invoke(*command, "--store", url)
    monkeypatch.setenv("GORKFLOW_STORE", url)
    for result in (given, invoke(*command)):
        assert result.exit_code == (1 if command == ["doctor"] else 3)
        assert "bob@127.0.0.1:1/x" in result.output
        assert "s3cr3t" not in result.output


def test_filters_that_are_not_utf8_are_named(invoke: Invoke):
    for option in (("--tag", "a=\udcff"), ("--workflow", "\udcff"), ("--resource", "\udcff")):
        result = invoke("runs", "list", *option)
        assert result.exit_code == 2
        assert "surrogate" in result.stderr or "UTF-8" in result.stderr
