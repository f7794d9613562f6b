"""The live tree of a run on a terminal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from contextlib import contextmanager

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from gorkflow import events as ev
from gorkflow.cli._board import Board, Item, Row, rows
from gorkflow.cli._output import clean, one_line, seconds
from gorkflow.clock import SystemClock
from gorkflow.model import StepStatus

_EVERY = 0.1  # seconds between looks at the clock
_FINAL_ROOM = 60
_LEAST_LABEL = 8
_SHAPES = {
    StepStatus.PENDING: ("○", ".", "dim"),
    StepStatus.RUNNING: ("●", "*", "cyan"),
    StepStatus.RETRYING: ("↻", "~", "yellow"),
    StepStatus.SUSPENDED: ("◌", "z", "blue"),
    StepStatus.COMPLETED: ("✓", "+", "green"),
    StepStatus.FAILED: ("✗", "x", "red"),
    StepStatus.CANCELLED: ("⊘", "-", "dim"),
    StepStatus.SKIPPED: ("·", "-", "dim"),
}
_ASCII = str.maketrans({"├": "|", "│": "|", "└": "`", "─": "-", "…": "~"})


class LiveTree:
    """Shows the tree, and says lines above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._least_room = 2
        self._clock = SystemClock()
        self._styled = not os.environ.get("NO_COLOR")
        self._unicode = self._console.encoding.startswith("utf")

    @contextmanager
    def showing(self, board: Board) -> Generator[None]:
        """Show the tree until the context is left; it then stays."""
        # Refreshed by a task of the same loop, so that nobody changes the board while it is drawn.
        live = Live(
            get_renderable=lambda: self._drawn(board),
            console=self._console,
            auto_refresh=False,
            vertical_overflow="visible",
        )
        with live:
            ticking = asyncio.get_running_loop().create_task(self._tick(live))
            try:
                yield
            finally:
                ticking.cancel()
                self._least_room = _FINAL_ROOM

    def fed(self, board: Board, event: ev.Event) -> None:
        """Do nothing: the next look at the clock shows it."""

    def say(self, line: str) -> None:
        """Show a line above the tree."""
        self._console.print(Text(clean(line)), soft_wrap=True)

    async def _tick(self, live: Live) -> None:
        while True:
            live.refresh()
            await asyncio.sleep(_EVERY)

    def _drawn(self, board: Board) -> Group:
        now = self._clock.now()
        room = max(self._least_room, self._console.height - 1)
        return Group(*[self._line(board, row, now) for row in rows(board, room)])

    def _line(self, board: Board, row: Row, now: float) -> Text:
        room = self._console.width
        line = Text(no_wrap=True, overflow="ellipsis", end="")
        self._add(line, row.indent, "dim")
        if row.item is None:
            self._add(line, row.more, "dim")
        else:
            self._describe(line, board, row.item, now, room)
        line.truncate(room, overflow="ellipsis" if self._unicode else "crop")
        line.end = "\n"
        return line

    def _describe(self, line: Text, board: Board, item: Item, now: float, room: int) -> None:
        state = item.state
        symbol, ascii_symbol, style = _SHAPES[state]
        facts = _facts(board, item, state, now)
        label = one_line(item.label)
        # Where it is narrow, the note goes first, then the label shrinks; the time stays.
        left = room - cell_len(line.plain) - 2 - sum(2 + cell_len(fact) for fact in facts)
        if cell_len(label) > max(left, _LEAST_LABEL):
            label = set_cell_size(label, max(left, _LEAST_LABEL) - 1) + "…"
        self._add(line, f"{symbol if self._unicode else ascii_symbol} ", style)
        self._add(line, label, style if state is StepStatus.FAILED else "")
        for fact in facts:
            self._add(line, f"  {fact}", "dim")
        if item.remark:
            self._add(line, f"  {one_line(item.remark)}", style)

    def _add(self, line: Text, text: str, style: str) -> None:
        text = text if self._unicode else text.translate(_ASCII)
        line.append(text, style if self._styled else "")


def _facts(board: Board, item: Item, state: StepStatus, now: float) -> list[str]:
    """Return the numbers beside a node."""
    facts: list[str] = []
    size = item.tally.total()
    if size and state is not StepStatus.SKIPPED:
        facts.append(f"{item.done:,}/{size:,}")
    if item.path in board.counted and item.tally[StepStatus.FAILED]:
        facts.append(f"{item.tally[StepStatus.FAILED]:,} failed")
    if item.began_at is not None:
        # A run that failed still undoes what it did.
        over = board.status.terminal if item is board.root else state.terminal
        ended = item.ended_at if over else now
        if ended is not None:
            facts.append(seconds(max(0.0, ended - item.began_at)))
    if item.queued:
        facts.append(f"queued {seconds(max(0.0, now - next(iter(item.queued.values()))))}")
    if item.attempt > 1:
        facts.append(f"attempt {item.attempt}")
    if item is board.root:
        facts.append(board.run_id)
    return facts
