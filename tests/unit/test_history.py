"""What a history says of steps, sleeps and waits that is not plain from the outcome of a run."""

import pytest

from gorkflow.cli._board import Board
from gorkflow.errors import HistoryError
from gorkflow.flow import UndoSpec
from gorkflow.machine.history import KEPT, read
from gorkflow.model import StepStatus
from gorkflow.policy import tolerate
from tests.machine.drive import Drive, block, chain, mapped, sleep, step, wait
from tests.replacing import replace


def history(drive):
    return read("run", drive.tree, drive.history)


def shown(drive):
    """The rows of a run by path; the live tree has to agree with them."""
    values = drive.values
    found = {row.path: row for row in history(drive).executions(values)}
    board = Board("run", drive.tree)
    for event in drive.history:
        board.feed(event)
    assert {path: item.state for path, item in board.items.items() if item.is_step} == {
        path: row.status for path, row in found.items()
    }
    return found


def failures(drive):
    values = drive.values
    return [(f.path, str(f.code), f.attempt, f.handled)
            for f in history(drive).failures(values)]  # fmt: skip


def outcomes(drive):
    values = drive.values
    return history(drive).outcomes(values)


def undoable(name):
    return replace(step(name), undo=UndoSpec(step=step(f"un{name}"), inputs=1))


def interrupt_for_good(drive, path):
    for _ in range(11):
        drive.begin(path)
        drive.interrupt(path)


def test_a_history_that_stops_before_what_follows_from_it_is_damaged():
    drive = Drive(step("a"))
    drive.begin("a")
    drive.complete("a")
    assert drive.history[-1].kind == "run_finished"  # follows from the event before it
    last = len(drive.history)
    with pytest.raises(HistoryError, match=rf"stops before event {last}; it is damaged"):
        read("run", drive.tree, drive.history[:-1])


# ---- interrupted too often ------------------------------------------------------------------


def test_a_step_that_was_interrupted_too_often_has_a_failure_of_its_own():
    drive = Drive(step("a"))
    interrupt_for_good(drive, "a")
    assert failures(drive) == [("a", "interrupted", 11, False)]
    row = shown(drive)["a"]
    assert (row.status, row.attempt, len(row.attempts)) == ("failed", 11, 11)
    assert "interrupted 11 times in a row" in row.failure.message
    assert outcomes(drive)["a"].failure == row.failure


def test_it_is_listed_also_where_none_stands_in_for_it():
    flaky = replace(step("a"), continue_on_error=True)
    drive = Drive(block(flaky, step("b")))
    interrupt_for_good(drive, "a")
    drive.begin()
    drive.complete("b")
    assert drive.status == "completed"
    assert failures(drive) == [("a", "interrupted", 11, True)]
    assert outcomes(drive)["a"].failure.code == "interrupted"


# ---- what the machine made, and the run went on from -----------------------------------------


def test_a_branch_that_timed_out_is_listed_where_none_stands_in_for_it():
    drive = Drive(block(step("a"), replace(step("b"), continue_on_error=True), timeout=5))
    drive.begin()
    drive.complete("a")
    drive.fire("&a")
    assert (drive.status, failures(drive)) == ("completed", [("b", "timeout", 0, True)])


def losing(node):
    """A run whose first block goes on without a branch of this node, ``w``, and another step."""
    return Drive(block(chain("w", node, step("then")), step("b"), join="first"))


def test_what_timed_out_in_a_losing_branch_is_listed():
    drive = losing(block(step("a"), step("c"), timeout=5))
    drive.begin("w/a", "w/c")
    drive.complete("w/a")
    drive.fire("w/&a")
    drive.begin("b")
    drive.complete("b")
    assert (drive.status, failures(drive)) == ("completed", [("w/c", "timeout", 0, True)])


def test_so_is_a_nested_workflow():
    drive = losing(chain("v", step("a"), timeout=5))
    drive.fire("w/v")
    drive.begin("b")
    drive.complete("b")
    assert (drive.status, failures(drive)) == ("completed", [("w/v", "timeout", 0, True)])


def test_so_is_a_map_without_time_or_items():
    for join, code in (("all", "timeout"), ("first", "validation")):
        drive = losing(mapped(step("a"), join=join, timeout=5))
        if code == "timeout":
            drive.fire("w/*a")
        else:
            drive.expand("w/*a", 0)
        drive.begin("b")
        drive.complete("b")
        assert (drive.status, failures(drive)) == ("completed", [("w/*a", code, 0, True)])


def test_what_was_tolerated_is_listed_though_its_block_was_cancelled():
    inner = block(chain("v", step("a"), timeout=5), step("c"), join="settled")
    drive = losing(inner)
    drive.fire("w/v")
    drive.begin("b")
    drive.complete("b")
    assert drive.verdict("w/&v").verdict == "cancelled"
    assert (drive.status, failures(drive)) == ("completed", [("w/v", "timeout", 0, True)])


def test_what_a_run_fails_of_is_listed_once_and_is_not_handled():
    flaky = replace(step("b"), continue_on_error=True)
    drive = Drive(block(chain("w", block(step("a"), flaky, timeout=5)), step("c")))
    drive.begin()
    drive.fire("w/&a")
    drive.complete("c")
    assert drive.status == "failed"
    told = [("w/a", "timeout", 0, False), ("w/b", "timeout", 0, True)]
    assert failures(drive) == told


# ---- while a run is undone -------------------------------------------------------------------


def test_what_failed_the_run_is_not_handled_while_it_is_undone():
    drive = Drive(
        undoable("a"),
        block(replace(step("flaky"), continue_on_error=True), step("b")),
        undoable("c"),
        step("d"),
    )
    drive.begin("a")
    drive.complete("a")
    drive.begin("flaky")
    drive.fail("flaky")
    for path in ("b", "c"):
        drive.begin(path)
        drive.complete(path)
    drive.begin("d")
    drive.fail("d")
    told = [("flaky", "step_failed", 1, True), ("d", "step_failed", 1, False)]
    assert (drive.status, failures(drive)) == ("running", told)
    drive.begin("c~undo")
    drive.fail("c~undo")
    told.append(("c~undo", "step_failed", 1, False))
    assert (drive.status, failures(drive)) == ("running", told)
    drive.begin("a~undo")
    drive.complete("a~undo")
    assert (drive.status, failures(drive)) == ("failed", told)


# ---- sleeps and waits -----------------------------------------------------------------------


def test_a_run_that_waits_says_for_what():
    drive = Drive(block(step("a"), sleep("nap", 60), wait("ok"), wait("paid", timeout=30)))
    rows = shown(drive)
    assert [rows[path].status for path in ("a", "nap", "ok", "paid")] == [
        "pending", "suspended", "suspended", "suspended"
    ]  # fmt: skip
    assert rows["nap"].reason == "sleeps until 1970-01-01 00:17:40 UTC"
    assert rows["ok"].reason == "waits for signal 'go'"
    assert rows["paid"].reason == "waits for signal 'go' until 1970-01-01 00:17:10 UTC"
    assert rows["ok"].started_at.timestamp() == drive.at
    assert rows["ok"].finished_at is None


def test_what_was_waited_for_is_shown():
    drive = Drive(
        sleep("nap", 60), wait("ok"), wait("paid", timeout=5, default='"never"'), step("a")
    )
    drive.at += 60
    drive.fire("nap", "sleep")
    drive.receive("ok")
    drive.fire("paid", "wait")
    rows = shown(drive)
    assert [rows[path].output for path in ("nap", "ok", "paid")] == [None, "now", "never"]
    assert {rows[path].status for path in ("nap", "ok", "paid")} == {StepStatus.COMPLETED}
    assert rows["nap"].finished_at.timestamp() == drive.at
    assert rows["paid"].reason == "timed out; its default stands in"


def test_a_wait_that_timed_out_is_failed():
    drive = Drive(block(wait("ok", timeout=5), step("a"), join=tolerate(1)))
    drive.begin()
    drive.complete("a")
    drive.fire("ok", "wait")
    row = shown(drive)["ok"]
    assert (row.status, row.failure.code, row.output) == ("failed", "timeout", None)
    assert (row.reason, row.attempts) == ("", ())
    assert failures(drive) == [("ok", "timeout", 0, True)]


@pytest.mark.parametrize("node", [sleep("x"), wait("x")])
def test_one_that_was_cancelled_says_why(node):
    drive = Drive(block(step("a"), chain("w", node)))
    drive.begin()
    drive.fail("a")
    row = shown(drive)["w/x"]
    assert (row.status, row.reason, row.attempts) == ("cancelled", "drained", ())


# ---- kept results ---------------------------------------------------------------------------


def test_what_was_kept_says_so():
    drive = Drive(
        step("a"), sleep("nap"), wait("ok"), wait("late", timeout=5, default="3"), step("b"),
        kept={
            "a": ("completed", b'"old"', None, 4),
            "nap": ("slept", None, None, 6),
            "ok": ("received", b'"yes"', None, 8),
            "late": ("received", None, None, 9),
        },
    )  # fmt: skip
    rows = shown(drive)
    assert [rows[path].output for path in ("a", "nap", "ok", "late")] == ["old", None, "yes", 3]
    for path in ("a", "nap", "ok", "late"):
        assert (rows[path].status, rows[path].reason, rows[path].attempt) == ("completed", KEPT, 0)
    assert rows["b"].status == "pending"
