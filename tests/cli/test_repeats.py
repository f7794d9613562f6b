"""A wide map does not flood the tree: its items are counted."""

from gorkflow import events as ev
from gorkflow.cli._board import Board
from gorkflow.cli._rows import rows
from gorkflow.flow import LoopSpec, MapSpec
from gorkflow.model import StepStatus
from tests.machine.drive import Drive, chain, step


def watched(drive):
    board = Board("r", drive.tree)
    for event in drive.history:
        board.feed(event)
    return board


def test_items_are_counted():
    body = chain("w", step("a"), step("b"))
    drive = Drive(MapSpec(id="*w", body=body), step("z"))
    drive.feed(ev.Expanded, "*w", 1_000, None)
    drive.begin()
    drive.complete("w[7]/a")
    board = watched(drive)
    assert len(rows(board, 20)) == 6
    item = board.items["w[]/a"]
    assert (item.done, item.tally.total()) == (1, 1_000)
    assert board.items["*w"].state is StepStatus.RUNNING
    assert board.items["*w"].note == "1,000 items"
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
