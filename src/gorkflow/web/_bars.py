"""The bars of a timeline, for a page: places are in percent, so that they fit any width."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from gorkflow._text import span_of
from gorkflow.insight.explain import Explanation, Phase, Row, Span
from gorkflow.insight.timeline import Axis, kind_of, label_of, lines, spans_of, status_of
from gorkflow.model import StepStatus
from gorkflow.web._view import StepRow

_MOST = 30
"""Nodes that have not begun, in a timeline."""
_LEAST = 0.006
"""The part of the axis that a bar takes at least; other stretches that are shorter are left out."""
_ROOM = 0.15
"""The part of the axis that the duration beside a bar needs."""
_WIDE, _NARROW = 0.11, 0.34
"""The part of the axis between two marks, on a wide screen and on a phone."""
_LISTED = frozenset({"step", "undo", "sleep", "wait"})
"""Kinds of nodes that have a status of their own."""
_BARS = frozenset({Phase.RUNNING, Phase.WAITING})
"""Phases that are drawn as bars; the others are lines."""


class Bar(NamedTuple):
    """A stretch of time in one row."""

    kind: str
    is_line: bool
    """Whether it is drawn as a line: time in which nothing ran."""
    left: str
    right: str
    width: str
    title: str
    is_critical: bool
    grows: bool


class Beside(NamedTuple):
    """A duration beside the bars of a row."""

    at: str
    anchor: str
    words: str


class BarRow(NamedTuple):
    """A row: a node, and its bars."""

    path: str
    label: str
    depth: int
    status: str
    hidden: int
    bars: tuple[Bar, ...]
    took: Beside | None = None


class Mark(NamedTuple):
    """A mark on the axis."""

    left: str
    label: str
    anchor: str
    is_main: bool
    """Whether a phone has room for it."""


class Hole(NamedTuple):
    """A stretch that is cut out of the axis."""

    left: str
    width: str


class Chart(NamedTuple):
    """A timeline to draw."""

    rows: tuple[BarRow, ...]
    ticks: tuple[Mark, ...]
    cuts: tuple[Hole, ...]
    is_cut: str
    """The stretches that are cut out, in words."""
    to_come: int = 0
    """The nodes that have not begun and have no row."""


def chart(found: Explanation, tree: Iterable[StepRow] = ()) -> Chart:
    """Return the timeline of a run.

    Args:
        found: where its time went.
        tree: all nodes of a live run, in declared order: those that have not begun stand where
            they will run.
    """
    drawn = _Drawing(found).chart()
    began = {row.path for row in found.rows}
    return _with_coming(drawn, began, tree)


def _with_coming(drawn: Chart, began: Iterable[str], tree: Iterable[StepRow]) -> Chart:
    """Return a timeline with what is to come: inside the same nodes, after what began there."""
    inside: dict[str, list[BarRow]] = defaultdict(list)
    for around, row in _around(drawn.rows):
        inside[around].append(row)
    shown = {"", *(row.path for row in drawn.rows)}
    began, left_out = frozenset(began), 0
    branches: dict[str, int] = {}
    places = _MOST
    for around, each in _around(tree):
        if each.counts:
            branches[each.path] = sum(number for _, number in each.counts)
        is_step = each.kind in _LISTED
        if each.path in began or around not in shown or each.status is not StepStatus.PENDING:
            continue
        if not places:
            left_out += is_step
            continue
        places -= is_step
        shown.add(each.path)
        status = each.status.value if is_step else ""
        inside[around].append(BarRow(each.path, each.label, each.depth, status, 0, ()))
    rows = [
        row._replace(
            depth=min(4, row.depth),
            hidden=max(row.hidden, branches.get(row.path, 0) - len(inside[row.path])),
        )
        for row in _walk(inside, "")
        if row.status or row.path in began or inside[row.path]
    ]
    return drawn._replace(rows=tuple(rows), to_come=left_out)


_R = TypeVar("_R", BarRow, StepRow)


def _around(rows: Iterable[_R]) -> Iterator[tuple[str, _R]]:
    """Yield each row with the path of the one that it is in; empty: the run."""
    stack: list[str] = []
    for row in rows:
        del stack[row.depth :]
        yield (stack[-1] if stack else ""), row
        stack.append(row.path)


def _walk(inside: dict[str, list[BarRow]], around: str) -> Iterator[BarRow]:
    for row in inside[around]:
        yield row
        yield from _walk(inside, row.path)


class _Drawing:
    def __init__(self, found: Explanation) -> None:
        self._found = found
        self._axis = Axis(found)
        self._critical = {(span.path, span.phase, span.attempt) for span in found.critical}

    def chart(self) -> Chart:
        return Chart(
            rows=tuple(
                BarRow(
                    path=line.row.path,
                    label=label_of(line.row.path, line.row.kind),
                    depth=line.row.depth,
                    status=status_of(line.row) if line.row.kind in _LISTED else "",
                    hidden=line.hidden,
                    bars=tuple(self._bars(line.row)),
                    took=self._beside(line.row),
                )
                for line in lines(self._found)
            ),
            ticks=tuple(self._ticks()),
            cuts=tuple(
                Hole(_percent(each.left), _percent(each.right - each.left))
                for each in self._axis.stretches
                if each.is_cut
            ),
            is_cut=self._axis.cut_out(),
        )

    def _ticks(self) -> Iterator[Mark]:
        main = self._axis.apart(self._axis.ticks(7), _NARROW)
        for at in self._axis.apart(self._axis.ticks(7), _WIDE):
            place = self._axis.place(at)
            anchor = "start" if place < 0.02 else "end" if place > 0.96 else "middle"
            yield Mark(_percent(place), span_of(at), anchor, at in main)

    def _beside(self, row: Row) -> Beside | None:
        """Return the duration of a row, where there is room for it."""
        spans = spans_of(row)
        if not spans:
            return None
        words = span_of(row.ended - row.began)
        left, right = self._place(spans[0])[0], self._place(spans[-1])[1]
        if right <= 1 - _ROOM:
            return Beside(_percent(right), "start", words)
        return Beside(_percent(left), "end", words) if left >= _ROOM else None

    def _bars(self, row: Row) -> list[Bar]:
        return [self._bar(row, span) for span in spans_of(row) if self._is_seen(row, span)]

    def _is_seen(self, row: Row, span: Span) -> bool:
        left, right = self._axis.place(span.began), self._axis.place(span.ended)
        ran = any(each.phase in _BARS for each in row.spans)
        return span.phase in _BARS or right - left >= _LEAST or not ran

    def _place(self, span: Span) -> tuple[float, float]:
        left, right = self._axis.place(span.began), self._axis.place(span.ended)
        left = min(left, 1 - _LEAST)
        return left, max(right, left + _LEAST)

    def _bar(self, row: Row, span: Span) -> Bar:
        left, right = self._place(span)
        again = f", attempt {span.attempt}" if span.attempt > 1 else ""
        live = not row.status.terminal and span.ended >= row.ended
        return Bar(
            kind=kind_of(row, span),
            is_line=span.phase not in _BARS,
            left=_percent(left),
            right=_percent(right),
            width=_percent(right - left),
            title=f"{span.phase.value} {span_of(span.seconds)}{again}",
            is_critical=(span.path, span.phase, span.attempt) in self._critical,
            grows=live and not self._found.status.terminal,
        )


def _percent(part: float) -> str:
    return f"{part * 100:.2f}%"
