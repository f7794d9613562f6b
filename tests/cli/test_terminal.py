"""The live tree, on a real terminal device."""

import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.tools import on_terminal

TIME = re.compile(r" +(\d+ ms|[0-9.]+ s)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def test_the_tree_stays_and_the_output_goes_to_the_pipe(folder: Path):
    shown = on_terminal(folder, "run", "flows.py:checkout", "--input", '{"id": 7}')
    assert shown.code == 0
    assert shown.stdout == '{"text": "ok", "cents": 700}\n'
    tree = [TIME.sub("  T", line) for line in shown.last_tree]
    assert re.fullmatch(r"✓ checkout     3/3  T  [0-9a-f-]{36}", tree[0])
    assert tree[1:] == [
        "├─ ✓ parallel  2/2  T",
        "│  ├─ ✓ check  T",
        "│  └─ ✓ price  T",
        "└─ ✓ confirm  T",
    ]
    assert COLOUR.search(shown.raw)
    assert shown.raw.count("\x1b[?25l") == shown.raw.count("\x1b[?25h") == 1  # the cursor is back


@pytest.mark.parametrize("columns", [200, 80, 40, 20])
def test_no_line_of_the_tree_is_wider_than_the_terminal(folder: Path, columns: int):
    shown = on_terminal(
        folder, "run", "flows.py:failing", "--run-id", "r1", columns=columns, NO_COLOR="1"
    )
    assert shown.code == 1
    end = shown.last_tree.index("run r1 failed:")
    tree = shown.last_tree[:end]
    assert [line for line in tree if cell_len(line) > columns] == []
    tree = [TIME.sub("  T", line) for line in tree]
    if columns == 20:
        assert re.fullmatch(r"✗ failing +T", tree[0])
        assert tree[3].startswith("│  └─ ✗ bad")
    else:
        assert re.match(r"✗ failing      2/3  T  1 failed", tree[0])
        assert re.match(r"│  └─ ✗ bad  T  NonRetry", tree[3])
        assert re.fullmatch(r"└─ ⊘ total +not reached", tree[4])
    assert not COLOUR.search(shown.raw)


def test_a_wide_run_shows_what_fits_and_counts_the_rest(folder: Path):
    shown = on_terminal(folder, "run", "flows.py:wide", "--input", "3", rows=10, columns=60)
    assert shown.code == 0
    assert shown.last_tree[0].startswith("✓ wide            200/200")
    assert shown.last_tree[-1] == "   └─ … 143 done"
    assert len(shown.last_tree) == 60


def test_retries_are_numbered_and_warnings_stay_out_of_the_tree(folder: Path):
    shown = on_terminal(folder, "run", "flows.py:retried")
    assert re.fullmatch(r"└─ ✓ flaky +\d+ ms  attempt 2", shown.last_tree[1])
    shown = on_terminal(folder, "run", "flows.py:warning")
    assert len([line for line in shown.lines if line.endswith("warning: mind the gap")]) == 1
    assert not any("mind" in line for line in shown.last_tree)


def test_a_dumb_terminal_and_one_without_unicode_get_what_they_can_show(folder: Path):
    shown = on_terminal(folder, "run", "flows.py:retried", TERM="dumb")
    assert "flaky started (attempt 2)" in shown.raw
    shown = on_terminal(folder, "run", "flows.py:retried", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert shown.raw.isascii()
    assert re.fullmatch(r"`- \+ flaky +\d+ ms  attempt 2", shown.last_tree[1])


def test_texts_of_two_lines_are_shown_on_one(folder: Path):
    (folder / "odd.py").write_text(
        "from gorkflow import Signal, Workflow, step\n\n"
        "@step(name='a\\nb\\x1b[2J')\n"
        "async def odd() -> int:\n"
        "    raise ValueError('no\\n12:00:00 run r9 completed\\x1b[2J')\n\n"
        "odd = Workflow('odd', name='one\\ntwo').then(odd)\n"
    )
    shown = on_terminal(folder, "run", "odd.py", columns=200)
    assert shown.code == 1
    assert re.fullmatch(r"✗ one two  1/1 +\d+ ms  1 failed  \S+", shown.last_tree[0])
    assert re.match(r"└─ ✗ odd  .* ValueError: no 12:00:00 run r9 completed", shown.last_tree[1])
    assert not any(line.startswith("12:00:00") for line in shown.lines)
    assert "\x1b[2J" not in shown.raw
