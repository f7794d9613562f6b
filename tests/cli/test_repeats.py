"""A wide map does not flood the tree: its items are counted. Who waits for a limit is told."""

import re

from gorkflow import Limit
from gorkflow import events as ev
from gorkflow.cli._board import Board
from gorkflow.cli._progress import in_words
from gorkflow.cli._rows import rows
from gorkflow.flow import LoopSpec, MapSpec, StepSpec, UndoSpec
from gorkflow.model import StepStatus
from tests.cli.tools import drawn
from tests.machine.drive import Drive, chain, mapped, step


def watched(drive):
    board = Board(drive.machine.run_id, drive.tree)
    for event in drive.history:
        board.feed(event)
    return board


def test_items_are_counted():
    body = chain("w", step("a"), step("b"))
    drive = Drive(MapSpec(id="*w", body=body), step("z"))
    drive.expand("*w", 100)
    drive.begin()
    drive.complete("w[7]/a")
    board = watched(drive)
    assert len(rows(board, 20)) == 5
    item = board.items["w[]/a"]
    assert (item.counts[StepStatus.COMPLETED], item.counts.total()) == (1, 100)
    assert board.items["*w"].state is StepStatus.RUNNING
    assert board.items["*w"].counts.total() == 100
    assert board.items["z"].state is StepStatus.PENDING


def test_an_empty_map_is_done_and_iterations_are_counted():
    loop = LoopSpec(id="@b", body=step("b"), condition="c", max_iterations=5)
    drive = Drive(MapSpec(id="*a", body=step("a")), loop)
    drive.feed(ev.Expanded, "*a", 0, None)
    drive.begin()
    drive.complete("b#1")
    drive.decide("@b", 1)
    drive.begin()
    drive.complete("b#2")
    drive.decide("@b", 0)
    board = watched(drive)
    assert board.items["*a"].state is StepStatus.COMPLETED
    assert board.items["b#"].tally[StepStatus.COMPLETED] == 2
    assert board.items["@b"].state is StepStatus.COMPLETED


PAGES, MAIL = Limit("pages", rate=5, per=1), Limit("mail", concurrency=1)


def shown(board, path):
    """Return the line of a node in the live tree."""
    found = [row.item for row in rows(board, 20)]
    line = drawn(board, at=1_003.0, columns=200)[found.index(board.items[path])]
    return re.sub(r"[0-9.]+ (s|min|h|days)", "TIME", line)


def test_a_step_that_waits_for_a_limit_is_queued_and_says_for_which():
    drive = Drive(StepSpec(id="a", name="a", limits=(MAIL, PAGES)), step("b"))
    board = watched(drive)
    waiting = shown(board, "a")
    assert waiting.split("  ")[-2:] == ["queued TIME", "waits for limits 'mail' and 'pages'"]
    assert "queued" not in shown(board, "b")
    drive.begin()
    assert "queued" not in shown(watched(drive), "a")


def test_a_retry_waits_for_its_limit_again():
    drive = Drive(StepSpec(id="a", name="a", limits=(MAIL,)))
    drive.begin()
    drive.fail("a", retry=5)
    assert "waits for limit" not in shown(watched(drive), "a")
    drive.fire("a", "retry")
    assert "waits for limit 'mail'" in shown(watched(drive), "a")


def test_items_that_wait_for_a_limit_are_counted():
    drive = Drive(mapped(StepSpec(id="a", name="a", limits=(PAGES,))))
    drive.expand("*a", 5)
    drive.begin("a[0]", "a[3]")
    line = shown(watched(drive), "a[]")
    assert "3 waiting for limit 'pages'" in line
    drive.cancel()
    assert "waiting" not in shown(watched(drive), "a[]")


def test_lines_tell_of_a_long_queue_once_it_is_over():
    board = watched(Drive(step("a")))
    told_at = {
        at: in_words(board, ev.StepScheduled("r", 4, "a", at, 1, None, 100.0, ("mail", "pages")))
        for at in (100.2, 103.5)
    }
    assert told_at[100.2] == "a started"
    assert told_at[103.5] == "a started after 3.50 s queued for limits 'mail' and 'pages'"


def test_what_is_undone_has_a_part_of_its_own():
    undo = UndoSpec(step=StepSpec(id="back", name="back", limits=(MAIL,)), inputs=1)
    work = StepSpec(id="a", name="a", undo=undo)
    drive = Drive(StepSpec(id="b", name="b", undo=undo), mapped(work), step("z"), step("y"))
    drive.begin()
    drive.complete("b")
    drive.expand("*a", 2)
    for path in ("a[0]", "a[1]"):
        drive.begin(path)
        drive.complete(path)
    drive.begin()
    drive.fail("z")
    board = watched(drive)
    assert in_words(board, drive.history[-1]) == "undoing a[1], a[0], b"
    assert board.items["y"].state is StepStatus.CANCELLED
    assert board.items["a[]~undo"].tally == {StepStatus.PENDING: 2}
    assert [row.item.label for row in rows(board, 30) if row.item][-3:] == ["undo", "a[]", "b"]
    assert "2 waiting for limit 'mail'" in shown(board, "a[]~undo")
    drive.begin()
    drive.complete("a[0]~undo")
    drive.fail("a[1]~undo")
    board = watched(drive)
    assert board.items["~undo"].state is StepStatus.RUNNING
    assert board.items["a[]~undo"].tally[StepStatus.COMPLETED] == 1
    assert "waits for limit 'mail'" in shown(board, "b~undo")
    drive.begin()
    drive.complete("b~undo")
    board = watched(drive)
    assert board.items["b~undo"].state is StepStatus.COMPLETED
    assert board.items["~undo"].state is StepStatus.FAILED
