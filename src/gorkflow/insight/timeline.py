"""The timeline of a run: a bar for each node, drawn as SVG or as text.

A long stretch in which nothing ran is cut out of the axis, and labelled. A block of many branches
shows the failed ones, those on the critical path, and the longest.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, log10
from typing import NamedTuple

from gorkflow._text import cleaned, cut, listed, span_of
from gorkflow.insight.explain import Explanation, Phase, Row, Span
from gorkflow.insight.svg import legend, picture, plain
from gorkflow.insight.svg import text as words
from gorkflow.model import StepStatus

_MOST = 12
"""Branches of one block that are shown."""
_MARKED = frozenset({"block", "map", "loop", "choice"})
"""Kinds of nodes whose ids begin with a mark, unless the user gave them one."""
_PAUSES = frozenset({"sleep", "wait"})
_WORKS = frozenset({"step", "undo"})
_ENDED = frozenset({StepStatus.COMPLETED, StepStatus.FAILED})
_IDLE = frozenset({Phase.WAITING, Phase.INTERRUPTED, Phase.BACK_OFF})
_CUT = 1.0
"""An idle stretch is cut if it is longer than this part of all the time that is not idle."""
_GAP = 0.05
"""The part of the axis that a cut stretch keeps."""


# ---- the axis ---------------------------------------------------------------------------------


class Stretch(NamedTuple):
    """A part of the axis."""

    began: float
    """Seconds since the run began."""
    ended: float
    left: float
    """The place of its begin in the drawing, from 0 to 1."""
    right: float
    is_cut: bool


class Axis:
    """The time of a run, drawn from 0 to 1."""

    def __init__(self, found: Explanation) -> None:
        idle = list(_idle(found))
        busy = found.seconds - sum(ended - began for began, ended in idle)
        cut = [(b, e) for b, e in idle if e - b > _CUT * max(busy, 1e-9)]
        shown = found.seconds - sum(ended - began for began, ended in cut)
        room = max(0.1, 1 - _GAP * len(cut))
        self.stretches: list[Stretch] = []
        at = left = 0.0
        for began, ended in [*cut, (found.seconds, found.seconds)]:
            width = (began - at) / shown * room if shown else 0.0
            self.stretches.append(Stretch(at, began, left, left + width, is_cut=False))
            left += width
            if ended > began:
                gap = (1 - room) / len(cut)
                self.stretches.append(Stretch(began, ended, left, left + gap, is_cut=True))
                left += gap
            at = ended

    def place(self, at: float) -> float:
        """Return where a time is drawn, from 0 to 1."""
        for each in self.stretches:
            if at <= each.ended:
                length = each.ended - each.began
                part = (at - each.began) / length if length else 0.0
                return each.left + max(0.0, part) * (each.right - each.left)
        return 1.0

    def ticks(self, most: int) -> list[float]:
        """Return times for marks, at most about so many."""
        shown = sum(each.ended - each.began for each in self.stretches if not each.is_cut)
        step = _round(shown / max(1, most))
        found: list[float] = []
        for each in self.stretches:
            if not each.is_cut and step > 0:
                number = -(-each.began // step)
                while (at := number * step) <= each.ended:
                    found.append(at)
                    number += 1
        return found

    def apart(self, ticks: Iterable[float], least: float) -> list[float]:
        """Return those of some times that leave room for their labels.

        Args:
            ticks: The times, in order.
            least: The part of the drawing that is between two of them.
        """
        found: list[float] = []
        for at in ticks:
            if not found or self.place(at) - self.place(found[-1]) >= least:
                found.append(at)
        return found

    def cut_out(self) -> str:
        """Return in words which stretches are cut out; empty: none."""
        cuts = [span_of(each.ended - each.began) for each in self.stretches if each.is_cut]
        if not cuts:
            return ""
        return f"cut out: {listed(cuts)} in which nothing ran"


def _round(seconds: float) -> float:
    """Return a round number that is not smaller."""
    if seconds <= 0:
        return 0.0
    for step in (60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400):
        if 30 < seconds <= step:
            return float(step)
    power = 10.0 ** floor(log10(seconds))
    return next(float(n) * power for n in (1, 2, 5, 10) if n * power >= seconds * 0.999)


def _idle(found: Explanation) -> Iterable[tuple[float, float]]:
    """Yield the stretches in which nothing but waits was under way."""
    busy = sorted(
        (span.began, span.ended)
        for row in found.rows
        for span in row.spans
        if span.phase not in _IDLE and span.ended > span.began
    )
    at = 0.0
    for began, ended in [*busy, (found.seconds, found.seconds)]:
        if began > at:
            yield at, began
        at = max(at, ended)


# ---- rows -------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line of the timeline: a row, or the place of rows that are left out."""

    row: Row
    hidden: int = 0
    """The number of branches of this block that are not shown."""


def lines(found: Explanation, most: int = _MOST) -> list[Line]:
    """Return the rows worth showing, in order.

    Args:
        found: The explanation.
        most: The most branches of a block.
    """
    critical = {span.path for span in found.critical}
    shown: dict[str, int] = {}
    left_out: set[str] = set()
    for block in found.blocks:
        if len(block.branches) > most:
            ranked = sorted(
                block.branches,
                key=lambda each: (
                    each.path != block.critical and each.path not in critical,
                    each.status is not StepStatus.FAILED,
                    each.began - each.ended,
                ),
            )
            left_out |= {each.path for each in ranked[most:]}
            shown[block.path] = len(block.branches) - most
    result: list[Line] = []
    skip: int | None = None
    for row in found.rows:
        if skip is not None and row.depth > skip:
            continue
        skip = None
        if row.path in left_out:
            skip = row.depth
            continue
        result.append(Line(row, shown.get(row.path, 0)))
    return result


def label_of(path: str, kind: str) -> str:
    """Return the name of a node in a list of nodes.

    Args:
        path: Its path.
        kind: As in ``Row.kind``. A block is called ``parallel``, as in the code.
    """
    name = path.rpartition("/")[2] or path
    word = "parallel" if kind == "block" else kind
    return f"{word} {name.lstrip('&*@?')}" if kind in _MARKED else name


def _label(line: Line) -> str:
    name = label_of(line.row.path, line.row.kind)
    return f"{name} ({line.hidden:,} more)" if line.hidden else name


# ---- text -------------------------------------------------------------------------------------

_MARKS = {
    Phase.RUNNING: "█",
    Phase.QUEUED: "░",
    Phase.LIMIT: "▒",
    Phase.BACK_OFF: "·",
    Phase.WAITING: "~",
    Phase.INTERRUPTED: "?",
    Phase.ENGINE: "░",
}
_FAILED = "▓"


def text(found: Explanation, columns: int = 100) -> list[str]:
    """Return the timeline as lines of text.

    Args:
        found: The explanation.
        columns: The width of the terminal.
    """
    rows = lines(found)
    if not rows:
        return ["It has not begun."]
    axis = Axis(found)
    names = [f"{'  ' * line.row.depth}{cleaned(_label(line))}" for line in rows]
    left = min(max(map(len, names), default=0), columns // 2)
    width = max(10, columns - left - 12)
    critical = {(span.path, span.attempt) for span in found.critical}
    result: list[str] = []
    for line, name in zip(rows, names, strict=True):
        bar = [" "] * width
        for span in line.row.spans:
            _paint(bar, axis, span)
        on_path = any((span.path, span.attempt) in critical for span in line.row.spans)
        took = span_of(line.row.ended - line.row.began)
        result.append(
            f"{name[:left]:<{left}} {''.join(bar)} {took:>9} {'*' if on_path else ''}".rstrip()
        )
    left_out = axis.cut_out()
    if left_out:
        result.append(left_out)
    return [*result, *_legend("".join(result))]


def _legend(drawn: str) -> list[str]:
    """Return the line that explains the marks of a drawing."""
    words = {"█": "ran", _FAILED: "failed", "░": "queued, or the engine", "▒": "waited for a limit",
             "·": "back-off", "~": "waited", "?": "interrupted", "*": "critical path"}  # fmt: skip
    used = [f"{mark} {word}" for mark, word in words.items() if mark in drawn]
    return [", ".join(used)] if used else []


def _paint(bar: list[str], axis: Axis, span: Span) -> None:
    width = (axis.place(span.ended) - axis.place(span.began)) * len(bar)
    if width == 0 or (width < 0.5 and span.phase is not Phase.RUNNING):
        return
    first = min(len(bar) - 1, int(axis.place(span.began) * len(bar)))
    last = max(first + 1, round(axis.place(span.ended) * len(bar)))
    mark = _FAILED if span.failed else _MARKS[span.phase]
    for place in range(first, min(last, len(bar))):
        bar[place] = mark


# ---- SVG --------------------------------------------------------------------------------------

_WIDTH, _ROW, _FOOT = 960, 26, 30
_LEAST, _TICK = 4.0, 70.0
"""Pixels: the least width of a bar, and the room of a label of the axis."""
MEANINGS = {
    "completed": "ran",
    "running": "runs",
    "failed": "failed attempt",
    "cancelled": "cancelled",
    "waiting": "waits",
    "queued": "queued",
    "limit": "limit",
    "back-off": "back-off",
    "interrupted": "interrupted",
    "engine": "engine",
    "critical": "critical path",
}
"""The meaning of each kind of bar and line."""
_LINES = frozenset({"queued", "limit", "back-off", "interrupted", "engine", "critical"})


def svg(found: Explanation, *, width: int = _WIDTH, style: bool = True) -> str:
    """Return the timeline as an SVG picture, with names and bars in one grid.

    Args:
        found: The explanation.
        width: Its width in pixels.
        style: ``False``: without its own style, for a page that has one.
    """
    return _Picture(found, width).draw(style=style)


class _Picture:
    def __init__(self, found: Explanation, width: int) -> None:
        self.found = found
        self.rows = lines(found)
        self.axis = Axis(found)
        longest = max((2 * line.row.depth + len(_label(line)) for line in self.rows), default=0)
        self.left = min(260, 40 + 7 * longest)
        self.width = width
        self.height = _ROW * len(self.rows) + _FOOT
        self.critical = {(s.path, s.phase, s.attempt) for s in found.critical}
        self.parts: list[str] = []

    def x(self, at: float) -> float:
        """Return where a time is drawn, in pixels."""
        return self.left + self.axis.place(at) * (self.width - self.left - 16)

    def draw(self, *, style: bool) -> str:
        self._axis()
        for number, line in enumerate(self.rows):
            self._row(number * _ROW, line)
        more = self._legend()
        title = f"timeline of run {self.found.run_id}"
        size = self.width, self.height + more
        return picture("timeline", title, size, self.parts, style=style)

    def _legend(self) -> float:
        """Add what the shapes mean that were drawn, and return how high that is."""
        drawn = "".join(self.parts)
        entries = [
            (_shape(kind), meaning) for kind, meaning in MEANINGS.items() if f'"{kind}"' in drawn
        ]
        if left_out := self.axis.cut_out():
            entries.append(('<rect class="cut" width="18" height="10"/>', left_out))
        parts, height = legend(entries, (10, self.height + 2), self.width - 20)
        self.parts += parts
        return height + 6 if parts else 0.0

    def _axis(self) -> None:
        bottom = self.height - _FOOT + 4
        ticks = self.axis.ticks(max(2, (self.width - self.left) // 110))
        for at in self.axis.apart(ticks, _TICK / (self.width - self.left - 16)):
            x = self.x(at)
            self.parts.append(f'<path class="grid" d="M{x:.1f} 0V{bottom}"/>')
            anchor = "start" if not at else "end" if x > self.width - 40 else "middle"
            self.parts.append(words(x, bottom + 16, span_of(at), "soft", anchor))
        for each in self.axis.stretches:
            if each.is_cut:
                x, end = self.x(each.began), self.x(each.ended)
                self.parts.append(
                    f'<rect class="cut" x="{x:.1f}" y="0" width="{end - x:.1f}" height="{bottom}"/>'
                )

    def _row(self, top: float, line: Line) -> None:
        row = line.row
        middle = top + _ROW / 2
        indent = 10 + 14 * row.depth
        spans = spans_of(row)
        if spans:
            self.parts.append(
                f'<rect class="{status_of(row)}" x="{indent}" y="{middle - 4}" width="8" '
                'height="8" rx="2"/>'
            )
        label, kind = cut(_label(line), 30), "" if spans else "soft"
        self.parts.append(words(indent + 15, middle + 4, label, kind))
        for span in spans:
            self._span(middle, row, span)
        if spans:
            self._took(middle + 4, row, self.x(spans[0].began), self.x(spans[-1].ended))

    def _took(self, y: float, row: Row, x: float, end: float) -> None:
        """Write the duration beside the bars of a row, where there is room."""
        took = span_of(row.ended - row.began)
        room = 10 + 7 * len(took)
        if max(end, x + _LEAST) + room <= self.width:
            self.parts.append(words(max(end, x + _LEAST) + 6, y, took, "soft"))
        elif x - room >= self.left:
            self.parts.append(words(x - 6, y, took, "soft", "end"))

    def _span(self, middle: float, row: Row, span: Span) -> None:
        x, end = self.x(span.began), self.x(span.ended)
        title = plain(f"{span.path}: {span.phase.value} {span_of(span.seconds)}")
        if span.attempt > 1:
            title += f", attempt {span.attempt}"
        if span.phase in {Phase.RUNNING, Phase.WAITING}:
            shape = (
                f'<rect class="{kind_of(row, span)}" x="{x:.1f}" y="{middle - 7}" '
                f'width="{max(_LEAST, end - x):.1f}" height="13" rx="2">'
            )
            self.parts.append(f"{shape}<title>{title}</title></rect>")
        elif end - x >= _LEAST:
            line = f'<path class="{span.phase.value}" d="M{x:.1f} {middle}H{end:.1f}">'
            self.parts.append(f"{line}<title>{title}</title></path>")
        if (span.path, span.phase, span.attempt) in self.critical and (
            end - x >= _LEAST or span.phase is Phase.RUNNING
        ):
            end = max(end, x + _LEAST)
            self.parts.append(f'<path class="critical" d="M{x:.1f} {middle + 9}H{end:.1f}"/>')


def _shape(kind: str) -> str:
    if kind in _LINES:
        return f'<path class="{kind}" d="M0 5H18"/>'
    return f'<rect class="{kind}" width="18" height="10" rx="2"/>'


def spans_of(row: Row) -> tuple[Span, ...]:
    """Return the stretches to draw of a row: a step that took no time has one, too."""
    took_none = row.kind in _WORKS and row.status in _ENDED and not row.spans
    none = Span(row.path, Phase.RUNNING, row.began, row.ended, failed=row.status == "failed")
    return (none,) if took_none else row.spans


def status_of(row: Row) -> str:
    """Return how a node stands; one that only waits is suspended."""
    if row.kind in _PAUSES and not row.status.terminal:
        return StepStatus.SUSPENDED.value
    return row.status.value


def kind_of(row: Row, span: Span) -> str:
    """Return the kind of a bar: the phase, or how its attempt ended."""
    if span.phase is not Phase.RUNNING:
        return span.phase.value
    if span.failed:
        return "failed"
    return row.status.value if span.ended >= row.ended or row.status != "failed" else "cancelled"
