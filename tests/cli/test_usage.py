"""Options and targets that make no sense, and what is said of them."""

from tests.cli.conftest import Invoke


def test_standard_input_is_for_one_option(invoke: Invoke):
    result = invoke("run", "flows.py:tallied", "--input", "-", "--state", "-", stdin="7")
    assert result.exit_code == 2
    assert "only one of --input and --state can be '-'" in result.stderr
