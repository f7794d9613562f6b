"""Which items and iterations a run had, as its events tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from gorkflow import events as ev
from gorkflow.flow import LoopSpec, NodeSpec, item_mark, iteration_mark


class Unfolding:
    """Gathers them event by event. Called as ``walk`` wants it, it gives what paths end with.

    A map that has not been expanded stands there with its template, a loop with its first
    iteration.
    """

    def __init__(self) -> None:
        self._items: dict[str, tuple[int, tuple[str, ...] | None]] = {}
        self._again: Counter[str] = Counter()

    def note(self, event: ev.Event) -> None:
        """Take an event."""
        if isinstance(event, ev.Expanded):
            self._items[event.path] = (event.count, event.keys)
        elif isinstance(event, ev.Decided):
            self._again[event.path] += event.choice  # of a loop: 1 for every further iteration
        elif isinstance(event, ev.ResultKept) and event.choice is not None:
            if event.what == "expanded":
                self._items[event.path] = (event.choice, event.keys)
            elif event.what in {"looped", "looping"}:
                self._again[event.path] = event.choice - (event.what == "looped")

    def __call__(self, path: str, node: NodeSpec) -> Sequence[str]:
        """Return what the paths of a body end with."""
        if isinstance(node, LoopSpec):
            count = min(self._again[path] + 1, node.max_iterations)
            return [iteration_mark(number) for number in range(1, count + 1)]
        if path not in self._items:
            return (node.mark,)
        count, keys = self._items[path]
        return [item_mark(index, keys) for index in range(count)]


def unfolded(events: Iterable[ev.Event]) -> Unfolding:
    """Return which items and iterations a run had, for ``walk``."""
    unfolding = Unfolding()
    for event in events:
        unfolding.note(event)
    return unfolding
