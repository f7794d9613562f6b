"""The rows of the tree of a run: all of it, or what is worth the room there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from gorkflow.cli._board import ACTIVE, Board, Item
from gorkflow.model import StepStatus

_WORDS = {
    StepStatus.FAILED: "failed",
    StepStatus.RUNNING: "running",
    StepStatus.RETRYING: "to be retried",
    StepStatus.SUSPENDED: "waiting",
    StepStatus.COMPLETED: "done",
    StepStatus.PENDING: "to come",
    StepStatus.SKIPPED: "skipped",
    StepStatus.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tree."""

    indent: str
    item: Item | None
    more: str = ""
    """Without an item: what is left out."""


def rows(board: Board, room: int) -> list[Row]:
    """Return the lines of the tree: all of them where there is room.

    Else what failed or is running comes first, and the rest is counted.

    Args:
        board: the run.
        room: how many lines there may be, at least 2.
    """
    if board.size <= room:
        return _tree(board.root, None)
    wanted = room
    while True:
        chosen = _chosen(board, wanted)
        found = _tree(board.root, chosen)
        if len(found) <= room or not wanted:
            return found[: max(room, 2)]
        wanted = min(wanted - 1, wanted * room // len(found))


def _chosen(board: Board, wanted: int) -> set[str]:
    """Return the paths of the items to show, and of what they are in."""
    paths: set[str] = set()
    for found in islice(_worth(board, wanted), wanted):
        item: Item | None = found
        while item is not None and item.path not in paths:
            paths.add(item.path)
            item = item.parent
    return paths


def _worth(board: Board, wanted: int) -> Iterator[Item]:
    """Yield the items, those first that are most worth a line."""
    by = board.by_status
    live = [each for each in board.counted.values() if _is_live(each)]
    return chain(
        islice(by[StepStatus.FAILED].values(), (wanted + 1) // 2),
        islice(live, (wanted + 1) // 2),
        by[StepStatus.RUNNING].values(),
        by[StepStatus.RETRYING].values(),
        by[StepStatus.SUSPENDED].values(),
        live,
        by[StepStatus.FAILED].values(),
        board.counted.values(),
        by[StepStatus.PENDING].values(),
        by[StepStatus.COMPLETED].values(),
    )


def _is_live(item: Item) -> bool:
    return any(item.tally[status] for status in (*ACTIVE, StepStatus.FAILED))


def _tree(root: Item, chosen: set[str] | None) -> list[Row]:
    found = [Row("", root)]
    _grow(root, chosen, "", found)
    return found


def _grow(item: Item, chosen: set[str] | None, indent: str, found: list[Row]) -> None:
    shown = item.children
    more = ""
    if chosen is not None:
        shown = [child for child in item.children if child.path in chosen]
        if len(shown) == len(item.children) - 1 and not _left_out(item, shown).children:
            shown = item.children  # it takes the line that would count it
        more = _counted(_hidden(item, shown))
    for place, child in enumerate(shown):
        last = place == len(shown) - 1 and not more
        found.append(Row(f"{indent}{'└─' if last else '├─'} ", child))
        _grow(child, chosen, f"{indent}{'   ' if last else '│  '}", found)
    if more:
        found.append(Row(f"{indent}└─ ", None, more))


def _left_out(item: Item, shown: list[Item]) -> Item:
    """Return the first child that is not shown."""
    paths = {child.path for child in shown}
    return next(child for child in item.children if child.path not in paths)


def _hidden(item: Item, shown: list[Item]) -> Counter[StepStatus]:
    """Return the number of steps inside that no line shows, by status."""
    if item.body.is_listed:
        return Counter()  # its own line has them
    hidden = Counter(item.tally)
    for child in shown:
        if child.is_step:
            hidden[child.state] -= 1
        else:
            hidden.subtract(child.tally)
    return hidden


def _counted(hidden: Counter[StepStatus]) -> str:
    parts = [f"{hidden[status]:,} {word}" for status, word in _WORDS.items() if hidden[status] > 0]
    if len(parts) < 2:
        return f"… {parts[0]}" if parts else ""
    return f"… {hidden.total():,} more: {', '.join(parts)}"
