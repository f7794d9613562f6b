"""The layout of a drawing: boxes that depend on each other, from left to right, in layers.

After K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual Understanding of Hierarchical System
Structures" (1981): each box stands in the layer after the last box that it needs. The boxes of a
layer are ordered by the mean place of their neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

_SWEEPS = 4
"""Times that the order of all layers is mended; more change little."""


class Layout(NamedTuple):
    """The places of boxes: their top left corners, and the size of the whole."""

    corners: list[tuple[float, float]]
    width: float
    height: float


def layout(
    sizes: Sequence[tuple[float, float]],
    edges: Iterable[tuple[int, int]],
    *,
    across: float,
    down: float,
) -> Layout:
    """Return where boxes stand.

    Args:
        sizes: Width and height of each box.
        edges: Pairs of boxes by number: the second needs the first. They form no circle.
        across: The room between layers.
        down: The room between the boxes of a layer.
    """
    before: list[list[int]] = [[] for _ in sizes]
    after: list[list[int]] = [[] for _ in sizes]
    for first, second in dict.fromkeys(edges):
        before[second].append(first)
        after[first].append(second)
    layers = _ordered(_layers(before), before, after)
    heights = [_height(layer, sizes, down) for layer in layers]
    tallest = max(heights, default=0.0)
    corners = [(0.0, 0.0)] * len(sizes)
    x = 0.0
    for layer, height in zip(layers, heights, strict=True):
        widest = max(sizes[box][0] for box in layer)
        y = (tallest - height) / 2
        for box in layer:
            corners[box] = (x + (widest - sizes[box][0]) / 2, y)
            y += sizes[box][1] + down
        x += widest + across
    return Layout(corners, max(0.0, x - across), tallest)


def _height(layer: Sequence[int], sizes: Sequence[tuple[float, float]], down: float) -> float:
    return sum(sizes[box][1] for box in layer) + down * (len(layer) - 1)


def _layers(before: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the boxes by layer: one more than the deepest box that each needs."""
    depth: dict[int, int] = {}
    waiting = list(reversed(range(len(before))))
    while waiting:
        box = waiting[-1]
        unknown = [each for each in before[box] if each not in depth]
        if unknown:
            waiting += unknown
            continue
        waiting.pop()
        depth[box] = 1 + max((depth[each] for each in before[box]), default=-1)
    layers: list[list[int]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for box in range(len(before)):
        layers[depth[box]].append(box)
    return layers


def _ordered(
    layers: list[list[int]], before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Return the layers with their boxes in the order that crosses least of those tried."""
    best, fewest = layers, crossings(layers, after)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        forward = sweep % 2 == 0
        layers = [list(layer) for layer in best]
        near = before if forward else after
        for number in range(len(layers)) if forward else reversed(range(len(layers))):
            place = {box: at for layer in layers for at, box in enumerate(layer)}
            layers[number].sort(
                key=lambda box: (
                    fmean(place[each] for each in near[box]) if near[box] else place[box]
                )
            )
        found = crossings(layers, after)
        if found < fewest:
            best, fewest = layers, found
    return best


def crossings(layers: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> int:
    """Return how many pairs of edges cross between neighbouring layers."""
    place = {box: at for layer in layers for at, box in enumerate(layer)}
    level = {box: number for number, layer in enumerate(layers) for box in layer}
    count = 0
    for layer in layers:
        ends = [
            [
                place[other]
                for other in sorted(after[box], key=place.__getitem__)
                if level[other] == level[box] + 1
            ]
            for box in layer
        ]
        flat = [end for each in ends for end in each]
        count += sum(1 for at, end in enumerate(flat) for other in flat[at + 1 :] if other < end)
    return count
