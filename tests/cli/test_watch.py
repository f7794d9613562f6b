"""``gorkflow runs watch``: the tree of a run that a worker in another process runs."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.screen import terminal
from tests.cli.test_worker import HELD, look, place, queue, until, worker
from tests.cli.tools import gorkflow_in

__all__ = ["place"]  # a fixture
STORE = ("--store", "sqlite:runs.db")
WATCH = ("runs", "watch", "a", *STORE)


def shows(*patterns: str):
    """Return a condition: each pattern matches a line of the screen."""
    return lambda lines: all(any(re.search(each, line) for line in lines) for each in patterns)


def test_it_shows_the_run_of_another_process_to_its_end(place: Path):
    queue(place, (HELD, "a", "go"))
    with worker(place), terminal(place, *WATCH, "--traceback") as watching:
        until((place / "begun-a-1").exists)
        watching.until(shows(r"^[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] held +0/2", r"^├─ [⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] hold", r"^└─ ○ after"))
        (place / "go").touch()
        assert watching.wait() == 0
    lines = watching.screen.lines
    assert lines[0] == "watching run a of held; Ctrl-C leaves it alone"
    tree = lines[[line.startswith("✓ held") for line in lines].index(True) :]
    assert re.fullmatch(r"✓ held +2/2 +[\d.]+ m?s  a", tree[0])
    assert [line.split()[1:3] for line in tree[1:3]] == [["✓", "hold"], ["✓", "after"]]
    assert tree[3] == '"go in attempt 1"'


def test_the_time_that_is_left_comes_from_runs_that_completed(place: Path):
    queue(place, (HELD, "past", "past"), (HELD, "a", "go"))
    with worker(place), terminal(place, *WATCH) as watching:
        watching.until(shows(r"^. held +0/2.*  a$"))
        (place / "past").touch()
        until(lambda: look(place, "past").status == "completed")
        with terminal(place, *WATCH) as again:
            again.until(shows(r"^. held +0/2.*(about [\d.]+ \w+ left|usually [\d.]+ m?s).*  a$"))
        (place / "go").touch()
        assert watching.wait() == 0


def test_ctrl_c_leaves_the_run_alone(place: Path):
    queue(place, (HELD, "a", "go"))
    with worker(place), terminal(place, *WATCH) as watching:
        watching.until(shows(r"^├─ [⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] hold"))
        watching.interrupt()
        assert watching.wait() == 130
        lines = watching.screen.lines
        assert "stopped watching; run a is left alone, watch it again with" in lines
        assert "  gorkflow runs watch a --store sqlite:runs.db" in lines
        assert watching.raw.count("\x1b[?25l") == watching.raw.count("\x1b[?25h") == 1
        (place / "go").touch()
        until(lambda: look(place, "a").status == "completed")
    assert look(place, "a").output == "go in attempt 1"


def test_it_says_when_no_worker_runs_it(place: Path):
    queue(place, (HELD, "a", "go"))
    with terminal(place, *WATCH, columns=200) as watching:
        watching.until(
            shows(r"no worker runs it: gorkflow runs resume a TARGET", r"held .*no worker")
        )
        with worker(place):
            watching.until(lambda lines: not shows("held .*no worker")(lines))
            (place / "go").touch()
            assert watching.wait() == 0


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_run_that_has_ended_is_shown_and_its_code_is_the_exit_code(folder: Path, more):
    for run_id, flow in (("good", "retried"), ("bad", "failing")):
        gorkflow_in(folder, "run", f"flows.py:{flow}", "--run-id", run_id, *STORE)
    done = gorkflow_in(folder, "runs", "watch", "good", *STORE, *more)
    assert done.returncode == 0
    output = json.loads(done.stdout)
    assert (output["output"] if more else output) == "at last"
    done = gorkflow_in(folder, "runs", "watch", "bad", *STORE, *more)
    assert done.returncode == 1
    assert more or "run bad failed:\n  bad  step_failed" in done.stderr
    assert gorkflow_in(folder, "runs", "watch", "none", *STORE).returncode == 4


def test_lines_go_into_a_pipe(place: Path):
    queue(place, (HELD, "a", "go"))
    (place / "go").touch()
    with worker(place):
        done = gorkflow_in(place, *WATCH)
    assert done.stdout == '"go in attempt 1"\n'
    assert done.returncode == 0
    assert "\x1b" not in done.stderr


def test_a_tree_that_is_narrowed_leaves_no_rest(place: Path):
    queue(place, (HELD, "a", "go"))
    with worker(place), terminal(place, *WATCH, columns=200) as watching:
        watching.until(shows(r"^├─ [⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] hold"))
        watching.resize(30, 24)
        (place / "go").touch()
        assert watching.wait() == 0
    trees = [line for line in watching.screen.lines if re.match(r"\S held", line)]
    assert len(trees) == 1
    assert trees[0].startswith("✓ held")
