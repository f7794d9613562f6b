"""The live tree counts what the history of the run says, after every event of random runs."""

import random
from collections import Counter

import pytest

from gorkflow.cli._board import Board
from gorkflow.events import ResultKept
from gorkflow.flow import PassthroughSpec, Place, is_template, template_of
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
        elif item.spec.is_listed:
            assert +item.tally == tallies.get(path, Counter()), path
    _check_groups(board, history)


def _check_groups(board: Board, history: History) -> None:
    stack = [(Place("", history.tree), None)]
    while stack:
        place, around = stack.pop()
        if place.spec.is_listed or isinstance(place.spec, PassthroughSpec):
            continue
        around = history.ended.get(place.path, around)
        item = board.items[template_of(place.path)]
        if around is not None and not is_template(item.path):
            own = around.path == place.path
            assert item.state == (around.status if own else left_by(around)[0]), place.path
        stack.extend((inner, around) for inner in place.inside(history.marks))


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
