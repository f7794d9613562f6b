"""The live tree of a run on a terminal: names, numbers, times and remarks in columns."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from math import ceil

from rich.cells import cell_len
from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from gorkflow import events as ev
from gorkflow._text import listed, span_of
from gorkflow.cli._board import ACTIVE, Board, Item, finishing
from gorkflow.cli._output import PLAIN, clean, has_characters, one_line
from gorkflow.cli._rows import Row, rows
from gorkflow.clock import Clock, SystemClock
from gorkflow.flow import LoopSpec, MapSpec
from gorkflow.model import StepStatus

_EVERY = 0.1  # seconds between looks at the clock
_FINAL_ROOM = 60
_LEAST_NAME = 10
_NAME_BESIDE_ALL = 16
_LEAST_REST = 6
_GAP = 2
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
_TURNING = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_TURNING = "|/-\\"
_SOON = 10.0  # seconds, below which a part of one counts as one


@dataclass(slots=True)
class _Line:
    """One line of the tree, in columns."""

    name: Text
    numbers: str = ""
    took: str = ""
    rest: list[Text] = field(default_factory=list[Text])
    whole: Text | None = None
    """The end of the last column: a part of it would be of no use."""

    @property
    def more(self) -> Text:
        """Return the last column."""
        return Text("  ").join(self.rest)

    def within(self, columns: int) -> Text:
        """Return the last column as far as there is room."""
        if self.whole is not None:
            more = Text("  ").join((*self.rest, self.whole))
            if more.cell_len <= columns:
                return more
        return self.more


@dataclass(frozen=True, slots=True)
class _Columns:
    """How wide the columns are; 0: there is no room for it."""

    name: int
    numbers: int
    took: int
    rest: int

    @classmethod
    def of(cls, lines: list[_Line], room: int) -> _Columns:
        """Return widths that let the lines fit.

        On a narrow terminal the remarks go first, then names shrink, then the numbers go.
        """
        name = max(line.name.cell_len for line in lines)
        numbers = max(_with_gap(line.numbers) for line in lines)
        took = max(_with_gap(line.took) for line in lines)
        rest = max(line.within(room).cell_len for line in lines)
        if room - numbers - took < min(name, _NAME_BESIDE_ALL):
            numbers = 0
        if room - took < min(name, _LEAST_NAME):
            took = 0
        left = room - numbers - took
        wanted = rest + _GAP if rest else 0
        beside = min(name, max(left - wanted, left // 2))
        rest = left - beside - _GAP
        if wanted and rest >= _LEAST_REST:
            return cls(beside, numbers, took, rest)
        return cls(min(name, left), numbers, took, 0)


def _with_gap(text: str) -> int:
    return cell_len(text) + _GAP if text else 0


class LiveTree:
    """Shows the tree, and says lines above it.

    Args:
        console: where to; by default standard error.
        clock: the time of day.
    """

    looks_ahead = True

    def __init__(self, console: Console | None = None, clock: Clock | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._clock = clock or SystemClock()
        self._styled = not os.environ.get("NO_COLOR")
        self._unicode = has_characters(self._console.encoding)
        self._still = False
        self._drawn_widths: list[int] = []
        self._size = self._console.size

    @contextmanager
    def showing(self, board: Board) -> Generator[None]:
        """Show the tree until the context is left; it then stays."""
        # Refreshed by a task of the same loop, so that nobody changes the board while it is drawn.
        live = Live(
            get_renderable=lambda: self.drawn(board),
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
                self._still = True
                self._make_room()

    def fed(self, board: Board, event: ev.Event) -> None:
        """Do nothing: the next look at the clock shows it."""

    def say(self, line: str) -> None:
        """Show a line above the tree."""
        self._make_room()
        self._console.print(Text(clean(line)), soft_wrap=True)

    def say_of(self, path: str, line: str) -> None:
        """Show a line of a step above the tree."""
        self.say(line)

    async def _tick(self, live: Live) -> None:
        while True:
            self._make_room()
            live.refresh()
            await asyncio.sleep(_EVERY)

    def _make_room(self) -> None:
        """Go up by the lines that a narrowed terminal added when it wrapped the tree."""
        size, before = self._console.size, self._size
        self._size = size
        if size.width >= before.width or not self._drawn_widths:
            return
        wrapped = sum((width - 1) // size.width for width in self._drawn_widths if width)
        up = min(wrapped, max(0, size.height - len(self._drawn_widths)))
        if up:
            self._console.control(Control((ControlType.CURSOR_UP, up)))

    # ---- lines ----------------------------------------------------------------------------

    def drawn(self, board: Board) -> Group:
        """Return the tree as it is now."""
        now = self._clock.now()
        room, least = self._console.width, _FINAL_ROOM if self._still else 2
        found = rows(board, max(least, self._console.height - 1))
        lines = [self._line(board, row, now) for row in found]
        columns = _Columns.of(lines, room)
        texts = [self._joined(line, columns, room) for line in lines]
        self._drawn_widths = [text.cell_len for text in texts]
        return Group(*texts)

    def _joined(self, line: _Line, columns: _Columns, room: int) -> Text:
        whole = Text(no_wrap=True, overflow="ellipsis", end="\n")
        if not (line.numbers or line.took or line.rest or line.whole):  # nothing beside it
            whole.append_text(self._cut(line.name, room))
            return whole
        name = self._cut(line.name, columns.name)
        whole.append_text(name)
        whole.append(" " * (columns.name - name.cell_len))
        for text, wide in ((line.numbers, columns.numbers), (line.took, columns.took)):
            if wide:
                self._add(whole, text.rjust(wide), "dim" if text is line.took else "")
        if columns.rest and (more := line.within(columns.rest)):
            whole.append(" " * _GAP)
            whole.append_text(self._cut(more, columns.rest))
        whole.rstrip()
        return whole

    def _cut(self, text: Text, most: int) -> Text:
        if text.cell_len <= most:
            return text
        whole = text.copy()
        whole.truncate(max(0, most - 1))
        self._add(whole, "…", "")
        return whole

    def _line(self, board: Board, row: Row, now: float) -> _Line:
        line = _Line(Text())
        self._add(line.name, row.indent, "dim")
        if row.item is None:
            self._add(line.name, row.more, "dim")
            return line
        item, state = row.item, row.item.state
        style = "yellow" if item.draining else _SHAPES[state][2]
        self._add(line.name, f"{self._mark(state, now)} ", style)
        label = "red" if state is StepStatus.FAILED else "bold" if item is board.root else ""
        self._add(line.name, one_line(item.label), label)
        line.numbers = _numbers(item, state)
        line.took = _took(board, item, state, now)
        line.rest = list(self._remarks(board, item, state, now, style))
        if item is board.root:
            line.whole = self._text(one_line(board.run_id), "dim")
        return line

    def _mark(self, state: StepStatus, now: float) -> str:
        if state is StepStatus.RUNNING and not self._still:
            turning = _TURNING if self._unicode else _ASCII_TURNING
            return turning[int(now / _EVERY) % len(turning)]
        return _SHAPES[state][0 if self._unicode else 1]

    def _remarks(
        self, board: Board, item: Item, state: StepStatus, now: float, style: str
    ) -> Iterator[Text]:
        """Yield what there is to say beside a node."""
        wide = self._console.width >= _WIDE
        if isinstance(item.spec, MapSpec) and state in ACTIVE and wide:
            yield self._map_bar(item)
        remark = _remark(item)
        if item is board.root:
            remark, style = board.trouble or board.note or _drains(board), "yellow"
        if remark and (item.draining or item is board.root):
            yield self._text(remark, style)
            remark = ""
        if item.reports:
            yield from self._reported(item)
        for fact in _facts(item, state, board.now(now)):
            yield self._text(fact, "red" if fact.endswith(" failed") else "dim")
        if remark:
            yield self._text(remark, style)
        if item is board.root:
            left = _left(board, now)
            if left:
                yield self._text(left, "")

    def _bar(self, *parts: tuple[float, str, str]) -> Text:
        """Return a bar.

        Args:
            parts: for each of its parts the share of the whole, its mark and its style.
        """
        long = 20 if self._console.width >= _VERY_WIDE else 10
        bar = Text()
        at, share = 0, 0.0
        for part, mark, style in parts:
            share += part
            to = int(min(1.0, share) * long + 1e-9)
            self._add(bar, mark * (to - at), style)
            at = to
        self._add(bar, "┈" * (long - at), "dim")
        return bar

    def _map_bar(self, item: Item) -> Text:
        numbers = item.numbers
        whole = max(1, numbers.total())
        active = sum(numbers[status] for status in ACTIVE)
        return self._bar(
            (numbers[StepStatus.COMPLETED] / whole, "━", "green"),
            (numbers[StepStatus.FAILED] / whole, "━", "red"),
            (active / whole, "╍", "cyan"),
        )

    def _reported(self, item: Item) -> Iterator[Text]:
        """Yield how far a step is, as it said itself; of many, the one that spoke last."""
        path, last = next(reversed(item.reports.items()))
        name = "" if item.is_step else f"{one_line(path)} "
        if last.total is None or last.total <= 0:
            yield self._text(f"{name}{_amount(last.done)}", "")
        else:
            if item.is_step and self._console.width >= _WIDE:
                yield self._bar((last.done / last.total, "━", "cyan"))
            yield self._text(f"{name}{_amount(last.done)}/{_amount(last.total)}", "")
        if last.message:
            yield self._text(last.message, "dim")

    def _text(self, text: str, style: str) -> Text:
        found = Text()
        self._add(found, text, style)
        return found

    def _add(self, line: Text, text: str, style: str) -> None:
        text = text if self._unicode else text.translate(PLAIN)
        line.append(text, style if self._styled else "")


_WIDE = 50  # columns, from which on there is room for bars
_VERY_WIDE = 90  # for long ones


_ENDED = (StepStatus.COMPLETED, StepStatus.SKIPPED, StepStatus.FAILED)


def _numbers(item: Item, state: StepStatus) -> str:
    """Return how many of what is inside have ended, of how many."""
    numbers = item.numbers
    total = numbers.total()
    if not total or state is StepStatus.SKIPPED or isinstance(item.spec, LoopSpec):
        return ""
    done = sum(numbers[status] for status in _ENDED)
    more = "+" if item.may_grow else ""
    return f"{done:,}/{total:,}{more}"


def _took(board: Board, item: Item, state: StepStatus, now: float) -> str:
    if item.began_at is None:
        return ""
    # A run that failed still undoes what it did.
    over = board.status.terminal if item is board.root else state.terminal
    ended = item.ended_at if over else board.now(now)
    return "" if ended is None else span_of(max(0.0, ended - item.began_at))


def _facts(item: Item, state: StepStatus, now: float) -> Iterator[str]:
    """Yield the numbers beside a node that are worth a word."""
    if item.iteration:
        yield f"iteration {item.iteration:,}"
    if not item.is_step and state is not StepStatus.SKIPPED:
        for status in (StepStatus.FAILED, StepStatus.CANCELLED):
            if item.numbers[status]:
                yield f"{item.numbers[status]:,} {status.value}"
    if item.is_step and item.attempt > 1:
        yield f"attempt {item.attempt}"
    elif item.retried:
        yield f"{len(item.retried):,} retried"
    if item.queued:
        yield f"queued {span_of(max(0.0, now - next(iter(item.queued.values()))))}"


def _remark(item: Item) -> str:
    """Return why a node stands as it does: its failure, its reason, what it waits for."""
    if item.draining:
        reason = next(iter(item.draining.values()))
        names = [one_line(path) for path in islice(item.running(), _NAMED)]
        number = item.tally[StepStatus.RUNNING]
        who = f" ({listed(names, _NAMED, number)})" if names else ""
        return f"draining: {finishing(number)}{who}; {reason}"
    if item.queued:
        limits = item.limits
        return (
            f"waits for {limits}" if item.is_step else f"{len(item.queued):,} waiting for {limits}"
        )
    if item.failures:
        return next(reversed(item.failures.values()))
    return item.note


_NAMED = 3


def _drains(board: Board) -> str:
    """Return that the run only waits for what still runs, if so; it can't complete any more."""
    for item in board.root.children:
        if item.draining:
            return f"draining: {finishing(item.tally[StepStatus.RUNNING])}"
    return ""


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"


def _left(board: Board, now: float) -> str:
    """Return how long the run may take yet, if that is known."""
    if board.usual is None or board.root.began_at is None or board.status.terminal:
        return ""
    if board.note or board.trouble or board.root.state is StepStatus.SUSPENDED:
        return ""  # others say when it continues
    left = board.usual - (board.now(now) - board.root.began_at)
    if left <= 0:
        return f"usually {span_of(board.usual)}"
    return f"about {span_of(ceil(left) if left < _SOON else round(left))} left"
