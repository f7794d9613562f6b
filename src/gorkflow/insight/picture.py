"""The picture of a workflow as SVG: its nodes from left to right, coloured by how they stand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from gorkflow._text import cut
from gorkflow.flow import (
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    ParallelSpec,
    PauseSpec,
    Place,
    WorkflowSpec,
    template_of,
)
from gorkflow.insight.diagram import note
from gorkflow.insight.layout import layout
from gorkflow.insight.svg import legend, picture, plain, text
from gorkflow.model import StepStatus

WORST = (
    StepStatus.FAILED,
    StepStatus.RETRYING,
    StepStatus.RUNNING,
    StepStatus.SUSPENDED,
    StepStatus.COMPLETED,
    StepStatus.CANCELLED,
    StepStatus.SKIPPED,
    StepStatus.PENDING,
)
"""The order in which one status stands for several steps, and branches are shown."""
_HEIGHT, _LETTER, _PAD, _ACROSS, _DOWN = 36.0, 7.4, 14.0, 44.0, 14.0
_END = 28.0
"""Pixels from where the flow begins or ends to its first or last node."""
_LEGEND = 280.0
"""Pixels that the legend has at least."""
_MOST = 8
"""Branches of a block that are drawn; the rest is a number."""


class _Drawn(NamedTuple):
    """A part of the picture; arrows come in on the left and leave on the right, at ``middle``."""

    width: float
    height: float
    middle: float
    parts: list[str]

    def at(self, x: float, y: float) -> str:
        """Return it, moved to a place."""
        return f'<g transform="translate({x:.1f} {y:.1f})">{"".join(self.parts)}</g>'


class Standing(Protocol):
    """A step, sleep or wait, and its status."""

    @property
    def path(self) -> str:
        """Its path in the run."""
        ...

    @property
    def status(self) -> StepStatus:
        """Its status."""
        ...


def svg(tree: WorkflowSpec, steps: Iterable[Standing] = (), *, style: bool = True) -> str:
    """Return the picture of a workflow.

    Args:
        tree: The flow tree, as a compiled workflow or a stored run has it.
        steps: The steps of a run, whose statuses colour the nodes; none: all are grey.
        style: ``False``: without its own style, for a page that has one.
    """
    statuses: dict[str, Counter[StepStatus]] = {}
    for step in steps:
        statuses.setdefault(template_of(step.path), Counter())[step.status] += 1
    drawn = _between_ends(_Picture(statuses).sequence(Place("", tree)))
    height = drawn.height + 2 * _PAD
    found = [each for each in StepStatus if any(counted[each] for counted in statuses.values())]
    entries = [(_stripe(each), each.value) for each in found]
    room = max(drawn.width, _LEGEND) if entries else drawn.width
    words, more = legend(entries, (_PAD, height), room)
    size = room + 2 * _PAD, height + more
    parts = [drawn.at(_PAD, _PAD), *words]
    return picture("flow", f"the flow of {tree.id}", size, parts, style=style)


class _Picture:
    def __init__(self, statuses: Mapping[str, Counter[StepStatus]]) -> None:
        self.statuses = statuses

    def draw(self, place: Place) -> _Drawn:
        """Return the picture of a node."""
        spec = place.spec
        if isinstance(spec, ParallelSpec):
            return self.branches(place, {}, str(spec.join) if spec.join.kind != "all" else "")
        if isinstance(spec, ChoiceSpec):
            labels = {number: f"if {arm.condition}" for number, arm in enumerate(spec.arms)}
            return self.branches(place, {**labels, len(spec.arms): "otherwise"}, spec.id)
        if isinstance(spec, MapSpec):
            return self.boxed(place, f"for each item{_times(self.count(place))}")
        if isinstance(spec, LoopSpec):
            return self.boxed(place, f"until {spec.condition}{_times(self.count(place))}")
        if isinstance(spec, WorkflowSpec):
            return self.framed(self.sequence(place), spec.name or spec.id)
        return self.leaf(place)

    def count(self, place: Place) -> int:
        """Return how often the body of a map or loop ran or will run, as far as that is known."""
        (body,) = place.inside()
        direct = re.compile(re.escape(body.path) + r"[^\[#]*")  # no item of a map further in
        inside = (self.statuses.get(path) for path, _ in body.walk() if direct.fullmatch(path))
        return max((found.total() for found in inside if found), default=0)

    def leaf(self, place: Place) -> _Drawn:
        """Return a box with a stripe of its status."""
        spec = place.spec
        found = self.statuses.get(place.path)
        status = next((each for each in WORST if found and found[each]), StepStatus.PENDING)
        left = 18 if isinstance(spec, PauseSpec) else 0
        label = cut(getattr(spec, "name", "") or spec.id, 32)
        width = max(90.0, left + len(label) * _LETTER + 2 * _PAD + 6)
        about = [
            note(spec),
            *(f"{number:,} {each.value}" for each, number in (found or {}).items()),
        ]
        title = plain(f"{place.path}: {'; '.join(filter(None, about))}".rstrip(": "))
        parts = [
            f"<title>{title}</title>",
            f'<rect class="node" width="{width:.1f}" height="{_HEIGHT}" rx="6"/>',
            f'<rect class="{status.value}" width="5" height="{_HEIGHT}" rx="2.5"/>',
            text(_PAD + 4 + left, _HEIGHT / 2 + 4.5, label),
        ]
        if left:  # two bars, as on the button that pauses
            parts.append(f'<path class="pause" d="M{_PAD + 7} 13v10M{_PAD + 12} 13v10"/>')
        return _Drawn(width, _HEIGHT, _HEIGHT / 2, parts)

    def sequence(self, place: Place) -> _Drawn:
        """Return nodes one after another."""
        drawn = [self.draw(child) for child in place.inside()]
        if not drawn:
            return _Drawn(20.0, _HEIGHT, _HEIGHT / 2, [_edge(0, _HEIGHT / 2, 20, _HEIGHT / 2)])
        top = max(each.middle for each in drawn)
        height = top + max(each.height - each.middle for each in drawn)
        edges = [(number, number + 1) for number in range(len(drawn) - 1)]
        sizes = [(each.width, height) for each in drawn]
        spread = layout(sizes, edges, across=_ACROSS, down=_DOWN)
        lefts = [x for x, _ in spread.corners]
        parts = [_edge(lefts[a] + drawn[a].width, top, lefts[b], top) for a, b in edges]
        parts += [each.at(left, top - each.middle) for left, each in zip(lefts, drawn, strict=True)]
        return _Drawn(spread.width, height, top, parts)

    def branches(self, place: Place, labels: Mapping[int, str], title: str) -> _Drawn:
        """Return nodes side by side, in a frame."""
        children = place.inside()
        drawn = [self.draw(child) for child in children[:_MOST]]
        if len(children) > _MOST:
            drawn.append(_words(f"… {len(children) - _MOST:,} more"))
        elif len(labels) > len(children):  # nothing is done otherwise
            drawn.append(_line(max(each.width for each in drawn)))
        spread = layout([(each.width, each.height) for each in drawn], [], across=0, down=_DOWN)
        room = max([_ACROSS, *(len(label) * 5.6 + 16 for label in labels.values())])
        top = 24.0 if title else 12.0
        width, height = spread.width + room + _ACROSS, spread.height + top + 12
        middle = top + spread.height / 2
        parts = [
            _frame(
                room / 2 if not labels else 0,
                width - (_ACROSS / 2 if not labels else 0),
                height,
                title,
            )
        ]
        for number, (each, (x, y)) in enumerate(zip(drawn, spread.corners, strict=True)):
            left, at = room + x, top + y + each.middle
            parts += [
                _edge(0, middle, left, at),
                _edge(left + each.width, at, width, middle),
                each.at(left, top + y),
            ]
            if label := labels.get(number):
                beside = at + 14 if at > middle else at - 6  # where its curve is not
                parts.append(text(left - 6, beside, cut(label, 60), "soft", "end"))
        return _Drawn(width, height, middle, parts)

    def boxed(self, place: Place, title: str) -> _Drawn:
        """Return the body of a map or loop, in a frame."""
        (body,) = place.inside()
        return self.framed(self.draw(body), title)

    def framed(self, inner: _Drawn, title: str) -> _Drawn:
        """Return a part in a frame with a title."""
        width = max(inner.width, len(title) * 5.8) + 2 * _PAD
        height = inner.height + 24 + 12
        middle = inner.middle + 24
        left = (width - inner.width) / 2
        parts = [
            _frame(0, width, height, title),
            _edge(0, middle, left, middle),
            _edge(left + inner.width, middle, width, middle),
            inner.at(left, 24),
        ]
        return _Drawn(width, height, middle, parts)


def _between_ends(flow: _Drawn) -> _Drawn:
    """Return a flow between a dot where it begins and a ring where it ends."""
    middle = flow.middle
    left, right = _END, _END + flow.width
    parts = [
        f'<circle class="end" cx="4" cy="{middle:.1f}" r="4"/>',
        _edge(8, middle, left, middle),
        flow.at(left, 0),
        _edge(right, middle, right + _END - 9, middle),
        f'<circle class="end" cx="{right + _END - 4.5:.1f}" cy="{middle:.1f}" r="2"/>',
        f'<circle class="ring" cx="{right + _END - 4.5:.1f}" cy="{middle:.1f}" r="4.5"/>',
    ]
    return _Drawn(flow.width + 2 * _END, flow.height, middle, parts)


def _stripe(status: StepStatus) -> str:
    return f'<rect class="{status.value}" x="6" width="6" height="10" rx="2.5"/>'


def _line(width: float) -> _Drawn:
    return _Drawn(width, 20.0, 10.0, [_edge(0, 10, width, 10)])


def _words(words: str) -> _Drawn:
    return _Drawn(len(words) * 6.2, 20.0, 10.0, [text(2, 14, words, "soft")])


def _frame(left: float, right: float, height: float, title: str) -> str:
    size = f'width="{right - left:.1f}" height="{height:.1f}"'
    box = f'<rect class="group" x="{left:.1f}" {size} rx="8"/>'
    return box + (text(left + 10, 16, cut(title, 60), "soft") if title else "")


def _edge(x: float, y: float, to_x: float, to_y: float) -> str:
    if y == to_y:
        return f'<path class="edge" d="M{x:.1f} {y:.1f}H{to_x:.1f}"/>'
    bend = (to_x - x) / 2
    return (
        f'<path class="edge" d="M{x:.1f} {y:.1f}C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} '
        f'{to_y:.1f} {to_x:.1f} {to_y:.1f}"/>'
    )


def _times(count: int) -> str:
    return f", {count:,} times" if count > 1 else ""
