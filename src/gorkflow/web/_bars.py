"""The bars of a timeline, for a page: places are in percent, so that they fit any width."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gorkflow._text import span_of
from gorkflow.insight.explain import Explanation, Phase, Row, Span
from gorkflow.insight.timeline import Axis, kind_of, label_of, lines
from gorkflow.model import StepStatus
from gorkflow.web._view import StepRow

_MOST = 30
"""Nodes that have not begun, in a timeline."""
_PAUSES = frozenset({"sleep", "wait"})
_LISTED = frozenset({"step", "undo", *_PAUSES})
"""Kinds of nodes that have a status of their own."""


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


class BarRow(NamedTuple):
    """A row: a node, and its bars."""

    path: str
    label: str
    depth: int
    status: str
    hidden: int
    bars: tuple[Bar, ...]


class Mark(NamedTuple):
    """A mark on the axis, or a stretch that is cut out of it."""

    left: str
    label: str
    anchor: str = "middle"
    width: str = ""


class Chart(NamedTuple):
    """A timeline to draw."""

    rows: tuple[BarRow, ...]
    ticks: tuple[Mark, ...]
    cuts: tuple[Mark, ...]


def chart(found: Explanation, coming: Iterable[StepRow] = ()) -> Chart:
    """Return the timeline of a run.

    Args:
        found: where its time went.
        coming: the nodes that have not begun, and still may.
    """
    drawn = _Drawing(found).chart()
    later = [
        BarRow(each.path, each.label, min(4, each.depth), each.status.value, 0, ())
        for each in coming
        if each.kind in _LISTED
    ]
    return drawn._replace(rows=(*drawn.rows, *later[:_MOST]))


class _Drawing:
    def __init__(self, found: Explanation) -> None:
        self._found = found
        self._axis = Axis(found)
        self._critical = {(span.path, span.phase, span.attempt) for span in found.critical}

    def chart(self) -> Chart:
        cuts = [each for each in self._axis.stretches if each.is_cut]
        return Chart(
            rows=tuple(
                BarRow(
                    path=line.row.path,
                    label=label_of(line.row.path, line.row.kind),
                    depth=min(4, line.row.depth),
                    status=_status(line.row) if line.row.kind in _LISTED else "",
                    hidden=line.hidden,
                    bars=tuple(self._bars(line.row)),
                )
                for line in lines(self._found)
            ),
            ticks=tuple(
                Mark(self._at(at), span_of(at), "middle" if at else "start")
                for at in self._axis.ticks(7)
            ),
            cuts=tuple(
                Mark(
                    _percent(each.left),
                    f"{span_of(each.ended - each.began)} cut",
                    width=_percent(each.right - each.left),
                )
                for each in cuts
            ),
        )

    def _at(self, at: float) -> str:
        return _percent(self._axis.place(at))

    def _bars(self, row: Row) -> list[Bar]:
        return [self._bar(row, span) for span in row.spans if self._is_seen(span)]

    def _is_seen(self, span: Span) -> bool:
        width = self._axis.place(span.ended) - self._axis.place(span.began)
        return span.phase is Phase.RUNNING or width > 0.001

    def _bar(self, row: Row, span: Span) -> Bar:
        left, right = self._axis.place(span.began), self._axis.place(span.ended)
        again = f", attempt {span.attempt}" if span.attempt > 1 else ""
        live = not row.status.terminal and span is row.spans[-1]
        return Bar(
            kind=kind_of(row, span),
            is_line=span.phase not in {Phase.RUNNING, Phase.WAITING},
            left=_percent(left),
            right=_percent(right),
            width=_percent(max(right - left, 0.002)),
            title=f"{span.phase.value} {span_of(span.seconds)}{again}",
            is_critical=(span.path, span.phase, span.attempt) in self._critical,
            grows=live and not self._found.status.terminal,
        )


def _status(row: Row) -> str:
    if row.kind in _PAUSES and not row.status.terminal:
        return StepStatus.SUSPENDED.value
    return row.status.value


def _percent(part: float) -> str:
    return f"{part * 100:.2f}%"
