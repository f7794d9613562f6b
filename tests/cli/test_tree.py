"""What the live tree shows, and what it leaves out."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from gorkflow.cli._board import Board
from gorkflow.cli._output import clean, json_text, one_line, table
from gorkflow.cli._rows import rows
from gorkflow.flow import (
    ArmSpec,
    ChoiceSpec,
    MapSpec,
    ParallelSpec,
    PassthroughSpec,
    StepSpec,
    UndoSpec,
    WaitSpec,
    WorkflowSpec,
)
from gorkflow.model import Report, StepStatus
from tests.cli.tools import drawn
from tests.machine.drive import Drive, a_failure


def step(step_id: str, **options) -> StepSpec:
    return StepSpec(id=step_id, name=step_id, **options)


def tree(*nodes, **options) -> WorkflowSpec:
    return WorkflowSpec(id=options.pop("id", "w"), nodes=nodes)


class Feed:
    """A board, and a run that it shows."""

    def __init__(self, spec: WorkflowSpec) -> None:
        self.drive = Drive(tree=spec)
        self.board = Board(self.drive.machine.run_id, spec)
        self.fed = 0
        self.show()

    def show(self) -> None:
        for event in self.drive.history[self.fed :]:
            self.board.feed(event)
        self.fed = len(self.drive.history)

    def run(self, *paths: str) -> None:
        self.drive.begin(*paths)
        self.show()

    def complete(self, *paths: str) -> None:
        for path in paths:
            self.drive.complete(path)
        self.show()

    def fail(self, path: str, *, retry: bool = False) -> None:
        self.drive.fail(path, retry=retry)
        self.show()

    def drawn(self, room: int = 100) -> list[str]:
        return [
            row.indent + (row.more or f"{row.item.label} {row.item.state.value}")
            for row in rows(self.board, room)
            if row.item or row.more
        ]


def block(*branches, **options) -> ParallelSpec:
    return ParallelSpec(id=f"&{branches[0].id}", branches=branches, **options)


def test_states_rise_from_the_steps():
    feed = Feed(
        tree(
            block(step("a"), tree(step("b"), step("c"), id="in"), PassthroughSpec(id="p")),
            step("d"),
        )
    )
    feed.run("a", "in/b")
    feed.complete("in/b")
    feed.run("in/c")
    assert feed.drawn() == [
        "w running",
        "├─ parallel running",
        "│  ├─ a running",
        "│  └─ in running",
        "│     ├─ b completed",
        "│     └─ c running",
        "└─ d pending",
    ]
    feed.fail("in/c", retry=True)
    assert feed.board.items["in/c"].failures == {"in/c": "ValueError: no"}
    assert feed.board.items["in"].state is StepStatus.RUNNING
    feed.drive.fire("in/c", "retry")
    feed.run("in/c")
    feed.fail("in/c")
    assert feed.board.items["in"].state is StepStatus.FAILED
    assert feed.board.root.state is StepStatus.RUNNING  # the block drains
    feed.complete("a")
    assert feed.drawn()[:2] == ["w failed", "├─ parallel failed"]
    assert feed.drawn()[-1] == "└─ d cancelled"


def test_what_may_fail_fails_nothing_around_it():
    feed = Feed(tree(tree(step("a", continue_on_error=True), id="in")))
    feed.run("in/a")
    feed.fail("in/a")
    assert feed.drawn() == ["w completed", "└─ in completed", "   └─ a failed"]


def test_a_skipped_node_is_skipped_with_all_inside():
    arms = (ArmSpec(condition="c", node=tree(step("a"), step("b"), id="in")),)
    feed = Feed(tree(ChoiceSpec(id="?in", arms=arms, otherwise=step("d"))))
    feed.drive.decide("?in", 1)
    feed.show()
    assert feed.drawn() == [
        "w running",
        "└─ choice in running",
        "   ├─ in skipped",
        "   │  ├─ a skipped",
        "   │  └─ b skipped",
        "   └─ d pending",
    ]


def test_a_condition_that_fails_fails_the_choice():
    feed = Feed(tree(ChoiceSpec(id="?a", arms=(ArmSpec(condition="c", node=step("a")),))))
    feed.drive.condition_fails("?a")
    feed.show()
    assert feed.board.items["?a"].state is StepStatus.FAILED
    assert feed.board.root.state is StepStatus.FAILED


def test_a_drained_retry_counts_as_failed():
    feed = Feed(tree(block(step("a"), step("b"))))
    feed.run("a", "b")
    feed.fail("a", retry=True)
    feed.fail("b")
    assert feed.board.items["a"].state is StepStatus.FAILED
    assert feed.board.items["a"].failures == {"a": "ValueError: no"}


@pytest.mark.parametrize("room", [6, 7, 10, 24])
def test_a_wide_block_shows_failed_and_running_steps_first(room: int):
    names = [f"s{index}" for index in range(200)]
    feed = Feed(tree(step("z"), block(*map(step, names)), step("end")))
    feed.run("z")
    feed.complete("z")
    feed.run(*names[:160])
    feed.complete(*names[:140])
    feed.fail("s150")
    feed.fail("s151")
    drawn = feed.drawn(room)
    assert len(drawn) <= room
    assert any("s150 failed" in line for line in drawn)
    assert any(line.endswith("running") and " s1" in line for line in drawn)
    assert not any("completed" in line and " s" in line for line in drawn if "more" not in line)
    (counted,) = [line for line in drawn if "140 done" in line]
    hidden = int(counted.split("… ")[1].split(" more")[0].replace(",", ""))
    assert hidden + sum(1 for line in drawn if " s1" in line) == 200


def test_many_small_workflows_are_counted_too():
    inner = [tree(step("a"), step("b"), id=f"in{index}") for index in range(100)]
    feed = Feed(tree(block(*inner)))
    feed.run("in50/a")
    drawn = feed.drawn(8)
    assert len(drawn) <= 8
    assert any("a running" in line for line in drawn)
    assert drawn[-1].startswith("   └─ … ")


@pytest.mark.parametrize("room", [2, 3, 4])
def test_there_is_always_a_root(room: int):
    feed = Feed(tree(block(*[step(f"s{index}") for index in range(9)])))
    assert feed.drawn(room)[0] == "w pending"
    assert len(feed.drawn(room)) <= room


def test_text_is_safe_and_aligned():
    assert clean("a\tb\nc\x1b[0m\x9b\u202e\ud800") == "a\tb\nc\ufffd[0m\ufffd\ufffd\ufffd"
    assert one_line(" a\n\tb ") == "a b"
    assert table(["A", "B"], [["日本", "x"], ["e\u0301", "y"]]) == [
        "A     B",
        "日本  x",
        "e\u0301     y",
    ]


def test_json_loses_nothing_to_safety():
    data = {"a": "\x1b \x9b \u202e \U000e0001 é", "n": 1.5}
    assert json.loads(json_text(data)) == data
    assert not any(char in json_text(data) for char in "\x1b\x9b\u202e")


def test_a_map_counts_what_became_of_its_items():
    feed = Feed(tree(MapSpec(id="*it", body=step("it"), max_concurrency=2)))
    assert drawn(feed.board)[1] == "└─ ○ map of it"
    never = Feed(tree(step("a"), MapSpec(id="*it", body=step("it"))))
    never.run("a")
    never.fail("a")
    assert drawn(never.board)[2] == "└─ ⊘ map of it"
    feed.drive.expand("*it", 5)
    feed.run("it[0]", "it[1]")
    assert drawn(feed.board)[1].split() == ["└─", "⠋", "map", "of", "it", "0/5", "0", "s", BAR[2]]
    feed.complete("it[1]")
    feed.run("it[2]")
    feed.fail("it[0]")
    found = drawn(feed.board, columns=140)
    assert "2/5" in found[1]
    assert "draining: 1 running attempt finishes (it[2]); 1 of 5 failed (it[0])" in found[1]
    assert "draining: 1 running attempt finishes" in found[0]
    feed.complete("it[2]")
    assert drawn(feed.board)[1].endswith("3/5  0 s  1 failed  2 cancelled  it[0]: no")


BAR = {2: "╍╍╍╍╍╍╍╍┈┈┈┈┈┈┈┈┈┈┈┈"}


def test_the_time_of_a_run_goes_on_while_it_undoes():
    undo = UndoSpec(step=step("back"), inputs=1)
    feed = Feed(tree(step("a", undo=undo), step("b")))
    feed.run("a")
    feed.complete("a")
    feed.run("b")
    feed.fail("b")
    root = feed.board.root
    assert root.state is StepStatus.FAILED
    assert "9 s" in drawn(feed.board, at=1_009.0)[0]
    feed.run("a~undo")
    feed.drive.at += 2.0
    feed.complete("a~undo")
    assert "2 s" in drawn(feed.board, at=1_010.0)[0]


def reported(path: str, done: float, total: float | None, message: str = "") -> Report:
    at = datetime.fromtimestamp(0, UTC)
    return Report(run_id="r", path=path, attempt=1, done=done, total=total, message=message, at=at)


def test_a_step_shows_how_far_it_says_it_is():
    feed = Feed(tree(block(step("a"), step("b"), step("c"))))
    feed.run("a", "b")
    feed.board.report(reported("a", 12, 20, "shard 3\x1b[31m\n"))
    feed.board.report(reported("b", 1234.5, None))
    feed.board.report(reported("c", 1, 2))  # it does not run
    feed.board.report(reported("gone", 1, 2))
    shown = drawn(feed.board)
    assert shown[2].endswith("━━━━━━━━━━━━┈┈┈┈┈┈┈┈  12/20  shard 3\ufffd[31m")
    assert shown[3].endswith("  1,234.5")
    assert shown[4].endswith("○ c")
    assert "━" not in drawn(feed.board, columns=40)[2]
    feed.complete("a")
    assert "12/20" not in drawn(feed.board)[2]


def test_of_many_items_the_one_that_spoke_last_is_shown():
    feed = Feed(tree(MapSpec(id="*it", body=step("it"))))
    feed.drive.expand("*it", 3)
    feed.run("it[0]", "it[2]")
    feed.board.report(reported("it[2]", 1, 2, "x"))
    feed.board.report(reported("it[0]", 0, 5, "y"))
    assert drawn(feed.board)[1].endswith("it[0] 0/5  y")
    feed.complete("it[0]")
    assert drawn(feed.board)[1].endswith("it[2] 1/2  x")


def test_no_secret_is_shown():
    feed = Feed(tree(step("a")))
    feed.board.redaction.learn_record(b'{"token":{"$":"secret","$v":"hunter2"}}')
    feed.run("a")
    feed.board.report(reported("a", 1, 2, "with hunter2"))
    assert drawn(feed.board)[1].endswith("with •••")
    failed = replace(a_failure("a", 1), message="hunter2 is wrong")
    assert feed.board.of_failure(failed) == "ValueError: ••• is wrong"


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_lines_fit_whatever_they_say(columns: int):
    long = "日本" * 30
    spec = tree(
        block(step("a"), tree(step(long), MapSpec(id="*it", body=step("it")), id="in")), id=long
    )
    feed = Feed(spec)
    feed.run("a", f"in/{long}")
    feed.complete(f"in/{long}")
    feed.drive.expand("in/*it", 1_000)
    feed.run("in/it[0]", "in/it[1]")
    feed.board.report(reported("in/it[1]", 10**9, 10**10, long))
    feed.fail("in/it[0]", retry=True)
    for line in drawn(feed.board, at=1e6, columns=columns):
        assert cell_len(line) <= columns
    feed.fail("a")
    for line in drawn(feed.board, at=1e6, columns=columns):
        assert cell_len(line) <= columns


def test_a_single_step_is_shown_rather_than_counted():
    inner = [tree(step("a"), step("b"), id=f"in{index}") for index in range(20)]
    feed = Feed(tree(block(*inner)))
    feed.run(*[f"in{index}/a" for index in range(20)])
    feed.complete(*[f"in{index}/a" for index in range(20)])
    feed.run(*[f"in{index}/b" for index in range(20)])
    shown = feed.drawn(12)
    assert len(shown) <= 12
    assert shown[2:5] == ["   ├─ in0 running", "   │  ├─ a completed", "   │  └─ b running"]
    assert shown[-1].startswith("   └─ … ")
    assert "running" in shown[-1]


def test_the_time_that_is_left_is_told_while_the_run_works():
    feed = Feed(tree(step("a"), WaitSpec(id="go", signal="go", schema=""), step("b")))
    feed.board.usual = 20.0
    feed.run("a")
    began = feed.board.root.began_at
    assert began is not None
    assert "about 18 s left" in drawn(feed.board, at=began + 2.4)[0]
    assert "about 1 s left" in drawn(feed.board, at=began + 19.9)[0]
    assert "usually 20 s" in drawn(feed.board, at=began + 20.1)[0]
    feed.complete("a")
    assert "usually" not in drawn(feed.board, at=began + 99)[0]  # it waits for a signal
