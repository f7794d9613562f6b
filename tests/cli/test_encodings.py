"""Output in encodings that lack characters which commands draw with, or which users wrote."""

from click.testing import CliRunner

from gorkflow.cli._app import cli
from tests.cli.conftest import Invoke

COMMANDS = [
    ["--help"],
    ["runs", "list"],
    ["runs", "show", "r1"],
    ["runs", "show", "r1", "--json"],
    ["runs", "logs", "r1"],
    ["runs", "diff", "r1", "r2"],
    ["timeline", "r1"],
    ["timeline", "r2"],
    ["explain", "r1"],
    ["explain", "r2", "--json"],
    ["whatif", "r1", "--scale", "check=2"],
    ["graph", "flows.py:checkout"],
    ["graph", "flows.py:checkout", "--format", "mermaid"],
    ["check", "flows.py:checkout"],
    ["workers"],
    ["schedule", "list"],
    ["db", "check"],
    ["doctor"],
    ["run", "flows.py:checkout", "--input", '{"id": 7, "note": "→ ✓ ж"}'],
    ["runs", "show", "✓"],
]
ENCODINGS = ["latin-1", "iso8859-15", "cp1252", "cp437", "koi8-r", "shift_jis"]


def outcome(encoding: str, command: list[str]) -> tuple[int, str]:
    result = CliRunner(charset=encoding).invoke(cli, command)
    return result.exit_code, result.output


def test_every_command_can_be_read_in_every_encoding(invoke: Invoke):
    order = '{"id": 7, "note": "→ ✓ ж"}'
    assert invoke("run", "flows.py:checkout", "--run-id", "r1", "--input", order).exit_code == 0
    assert invoke("run", "flows.py:failing", "--run-id", "r2", "--tag", "é=✓ж").exit_code == 1
    wanted = {" ".join(words): outcome("utf-8", words)[0] for words in COMMANDS}
    assert [words for words, code in wanted.items() if code not in {0, 1, 4}] == []
    for encoding in ENCODINGS:
        found = {" ".join(words): outcome(encoding, words)[0] for words in COMMANDS}
        assert found == wanted, encoding


def test_drawings_take_ascii_for_what_an_encoding_lacks(invoke: Invoke):
    invoke("run", "flows.py:checkout", "--run-id", "r1", "--input", '{"id": 7}')
    whole = outcome("utf-8", ["timeline", "r1"])[1]
    plain = outcome("latin-1", ["timeline", "r1"])[1]
    assert "█" in whole
    assert whole.translate(str.maketrans("█░", "#:")) == plain
