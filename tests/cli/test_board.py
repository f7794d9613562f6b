"""The live tree counts what the history of the run says, after every event of random runs."""

import random
from collections import Counter

import pytest

from gorkflow.cli._board import Board
from gorkflow.cli._live import _took
from gorkflow.events import ResultKept
from gorkflow.flow import LoopSpec, PassthroughSpec, Place, is_template, template_of
from gorkflow.machine.history import History, left_by
from gorkflow.model import StepStatus
from tests.machine.simulation import RUN, simulate


class Nothing:
    """A reader of values that reads none."""

    def shown(self, _given, _made):
        return None, None, ""

    def failure(self, _ref):
        return None


def check(board: Board, history: History) -> None:
    rows = history.executions(Nothing())
    assert sum(board.root.tally.values()) == len(rows)
    tallies: dict[str, Counter[StepStatus]] = {}
    for row in rows:
        tallies.setdefault(template_of(row.path), Counter())[row.status] += 1
    for path, item in board.items.items():
        if item.is_step:
            assert Counter([item.state]) == tallies[path], path
            assert item.attempt == next(row.attempt for row in rows if row.path == path)
        elif item.spec_at(path).is_listed:
            assert +item.counts == tallies.get(path, Counter()), path
    _check_groups(board, history)


def _check_groups(board: Board, history: History) -> None:
    bodies: dict[str, Counter[bool]] = {}
    unknown: Counter[str] = Counter()
    stack = [(Place("", history.tree), None)]
    while stack:
        place, around = stack.pop()
        if isinstance(place.spec, PassthroughSpec):
            continue
        item = board.items[template_of(place.path)]
        if item.path != template_of(place.path):  # the body of a map or loop
            over = history.ended.get(place.path, around) is not None
            bodies.setdefault(item.path, Counter())[over] += 1
        if place.spec.is_listed:
            continue
        around = history.ended.get(place.path, around)
        is_open = isinstance(place.spec, LoopSpec) or place.path not in history.done
        if place.spec.mark and is_open and around is None:
            unknown[item.path] += 1
        if around is not None and not is_template(item.path) and place.spec is item.spec:
            own = around.path == place.path
            assert item.state == (around.status if own else left_by(around)[0]), place.path
        stack.extend((inner, around) for inner in place.inside(history.marks))
    for path, item in board.items.items():
        if item.path == path and item.spec.mark:
            assert len(item.unknown) == unknown[path], path
            over = sum(count for status, count in item.counts.items() if status.terminal)
            assert over == bodies.get(path, Counter())[True], path
            assert item.counts.total() == bodies.get(path, Counter()).total(), path
    assert board.root.grows == unknown.total()


@pytest.mark.parametrize("seed", range(60))
def test_the_board_counts_what_the_history_says(seed: int):
    simulation = simulate(random.Random(seed))
    board, history = Board(RUN, simulation.tree), History(RUN, simulation.tree)
    rng = random.Random(seed)
    for event in simulation.history:
        board.feed(event)
        history.feed(event)
        if isinstance(event, ResultKept):
            continue  # the board shows them when the run starts
        if rng.random() < 10 / len(simulation.history) or event is simulation.history[-1]:
            check(board, history)
    assert board.root.state == StepStatus(history.machine.status.value)
    assert not any(item.draining or item.reports for item in board.items.values())


@pytest.mark.parametrize("seed", range(100, 160))
def test_no_time_goes_back_and_no_known_total_moves(seed: int):
    simulation = simulate(random.Random(seed))
    board = Board(RUN, simulation.tree)
    totals: dict[str, int] = {}
    times: dict[str, float] = {}
    over: dict[str, Counter[StepStatus]] = {}
    """What is inside the nodes that have ended: as long as that stays, so does their time."""
    for event in simulation.history:
        board.feed(event)
        for path, item in board.items.items():
            took = seconds_of(board, path, event.at)
            assert took >= times.get(path, 0.0), path
            if path in over and item.state.terminal and +item.tally == over[path]:
                assert took == times[path], path
            times[path] = took
            over.pop(path, None)
            if item.state.terminal and item is not board.root:
                over[path] = +item.tally
            numbers = item.numbers
            live = sum(count for status, count in numbers.items() if not status.terminal)
            ended = sum(count for status, count in numbers.items() if status.terminal)
            assert all(count >= 0 for count in numbers.values()), path
            assert live + ended == numbers.total()
            if not isinstance(event, ResultKept) and not item.may_grow and not _undoes(board):
                assert totals.setdefault(path, numbers.total()) == numbers.total(), path
            else:
                totals.pop(path, None)


def _undoes(board: Board) -> bool:
    return board.note == "undoing" or "~undo" in board.items


def seconds_of(board: Board, path: str, at: float) -> float:
    """Return the time beside a node, in seconds."""
    item = board.items[path]
    if item.began_at is None:
        return 0.0
    over = board.status.terminal if item is board.root else item.state.terminal
    ended = item.ended_at if over else board.now(at)
    assert ended is not None, path
    assert _took(board, item, item.state, at)
    return ended - item.began_at
