"""Which nodes of a run are shown where there is room for so many lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice

from gorkflow.cli._board import Board, Item
from gorkflow.model import StepStatus

_ORDER = (
    StepStatus.FAILED,
    StepStatus.RUNNING,
    StepStatus.RETRYING,
    StepStatus.SUSPENDED,
    StepStatus.COMPLETED,
    StepStatus.PENDING,
    StepStatus.SKIPPED,
    StepStatus.CANCELLED,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tree."""

    indent: str
    item: Item | None
    more: str = ""
    """Without an item: what is left out."""


def rows(board: Board, room: int) -> list[Row]:
    """Return the lines of the tree: all of them where there is room.

    Else steps that failed or are running come first, and the rest is counted.

    Args:
        board: the run.
        room: how many lines there may be, at least 2.
    """
    if len(board.items) < room:
        return _tree(board.root, None)
    wanted = room
    while True:
        chosen = _chosen(board, wanted)
        found = _tree(board.root, chosen)
        if len(found) <= room or not wanted:
            return found[: max(room, 2)]
        wanted = min(wanted - 1, wanted * room // len(found))


def _chosen(board: Board, wanted: int) -> set[str]:
    """Return the paths of the steps to show, and of what they are in."""
    by = board.by_status
    first = chain(
        board.counted.values(),
        islice(by[StepStatus.FAILED].values(), (wanted + 1) // 2),
        by[StepStatus.RUNNING].values(),
        by[StepStatus.RETRYING].values(),
        by[StepStatus.SUSPENDED].values(),
        by[StepStatus.FAILED].values(),
        by[StepStatus.PENDING].values(),
        by[StepStatus.COMPLETED].values(),
    )
    paths: set[str] = set()
    for step in islice(first, wanted):
        item: Item | None = step
        while item is not None and item.path not in paths:
            paths.add(item.path)
            item = item.parent
    return paths


def _tree(root: Item, chosen: set[str] | None) -> list[Row]:
    found = [Row("", root)]
    _grow(root, chosen, "", found)
    return found


def _grow(item: Item, chosen: set[str] | None, indent: str, found: list[Row]) -> None:
    shown = item.children
    more = ""
    if chosen is not None:
        shown = [child for child in item.children if child.path in chosen]
        more = _counted(_hidden(item, shown))
    for place, child in enumerate(shown):
        last = place == len(shown) - 1 and not more
        found.append(Row(f"{indent}{'└─' if last else '├─'} ", child))
        _grow(child, chosen, f"{indent}{'   ' if last else '│  '}", found)
    if more:
        found.append(Row(f"{indent}└─ ", None, more))


def _hidden(item: Item, shown: list[Item]) -> Counter[StepStatus]:
    hidden = Counter(item.tally)
    for child in shown:
        if child.is_step:
            hidden[child.status] -= 1
        else:
            hidden.subtract(child.tally)
    return hidden


def _counted(hidden: Counter[StepStatus]) -> str:
    if hidden.total() <= 0:
        return ""
    parts = [f"{hidden[status]:,} {status.value}" for status in _ORDER if hidden[status] > 0]
    return f"… {hidden.total():,} more: {', '.join(parts)}"
