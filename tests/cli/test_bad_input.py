"""Bad values of options and arguments: each kind has one message, and an exit code of its own."""

import pytest

from tests.cli.conftest import Invoke

ODD = "\udcff\udcfe"  # bytes that are not UTF-8, as Python hands them to programs
CHECKOUT = "flows.py:checkout"
INPUT = ("--input", '{"id": 7}')
EVERY = ("schedule", "add", CHECKOUT, *INPUT, "--every", "1h")


@pytest.fixture
def _store(invoke: Invoke) -> None:
    assert invoke("run", CHECKOUT, *INPUT, "--run-id", "r1").exit_code == 0


@pytest.mark.usefixtures("_store")
@pytest.mark.parametrize(
    "args",
    [
        ("runs", "show", ODD),
        ("runs", "diff", "r1", ODD),
        ("runs", "cancel", ODD),
        ("runs", "cancel", "r1", "--reason", ODD),
        ("runs", "resume", ODD, CHECKOUT),
        ("runs", "rerun", ODD),
        ("runs", "rerun", "r1", "--from", ODD),
        ("runs", "rerun", "r1", "--run-id", ODD),
        ("runs", "send", ODD, "go"),
        ("runs", "send", "r1", ODD),
        ("runs", "delete", "r1", ODD),
        ("runs", "list", "--cursor", ODD),
        ("run", CHECKOUT, *INPUT, "--run-id", ODD),
        ("run", CHECKOUT, *INPUT, "--tag", f"a={ODD}"),
        ("run", CHECKOUT, *INPUT, "--workflow", ODD),
        ("schedule", "next", ODD),
        ("schedule", "remove", ODD),
        (*EVERY, "--id", ODD),
        ("schedule", "add", CHECKOUT, *INPUT, "--cron", ODD),
        ("check", "flows.py", "--ignore", ODD),
        ("graph", "flows.py", "--workflow", ODD),
        ("db", "prune", "--older-than", "1d", "--workflow", ODD),
    ],
)
def test_texts_are_utf8(invoke: Invoke, args: tuple[str, ...]):
    result = invoke(*args)
    assert "is not UTF-8" in result.stderr
    assert result.exit_code == 2


@pytest.mark.usefixtures("_store")
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("db", "backup", ""), "'' is not a file; name a new file for the copy"),
        (("db", "backup", "."), "'.' is not a file; name a new file for the copy"),
        (("run", CHECKOUT, "--input", "@."), "--input @.: name a file after the @"),
        (("run", CHECKOUT, "--input", "@"), "--input @: name a file after the @"),
        (("run", CHECKOUT, *INPUT, "--state", "@."), "--state @.: name a file after the @"),
        (("runs", "send", "r1", "x", "--payload", "@."), "--payload @.: name a file after the @"),
        (("run", CHECKOUT, "--input", "@none"), "there is no file 'none'"),
        (("run", "."), "'.' is a folder; name a file in it"),
        (("run", ""), "'' names no module or file"),
        (("runs", "list", "--store", ""), "it is empty; write sqlite:PATH or memory:"),
        (("db", "prune", "--older-than", ""), "'' is not a length of time"),
        (("db", "prune", "--older-than", "3"), "'3' is not a length of time"),
        (("db", "prune", "--older-than", "9" * 12 + "d"), "is too long a time; write 36500d"),
        (("db", "prune", "--older-than", "9" * 6000 + "s"), "is too long a time; write 36500d"),
        (("schedule", "add", CHECKOUT, "--every", "9" * 12 + "w"), "is too long a time"),
        (("schedule", "add", CHECKOUT, *INPUT, "--every", "0s"), "every must be"),
        (("run", CHECKOUT, *INPUT, "--timeout", "nan"), "timeout must be more than 0 seconds"),
        (("run", CHECKOUT, *INPUT, "--delay", "-1"), "delay must be 0 seconds or more"),
        (("run", CHECKOUT, *INPUT, "--delay", "soon"), "'soon' is not a valid float"),
        (("worker", "flows.py", "--lease", "nan"), "'nan' is not a number of seconds"),
        (("worker", "flows.py", "--grace", "inf"), "'inf' is not a number of seconds"),
        (("runs", "list", "--cursor", "x"), "--cursor 'x' is none"),
    ],
)
def test_bad_values_are_usage_errors(invoke: Invoke, args: tuple[str, ...], words: str):
    result = invoke(*args)
    assert words in result.stderr
    assert result.exit_code == 2


def test_a_payload_that_is_not_json_is_said_once(invoke):
    said = invoke("runs", "send", "r", "go", "--payload", "[1,").stderr
    assert said.startswith("Error: --payload: it is not JSON: ")
