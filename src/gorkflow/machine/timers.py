"""The open timers of a run: due times, and which comes first."""

from __future__ import annotations

import heapq

from gorkflow.machine.commands import StartTimer

_SLACK = 64  # entries of timers that are gone, before all are looked at to drop them


class Timers(dict[tuple[str, str], StartTimer]):
    """By path and key. The earliest is found without a look at all: there may be thousands."""

    def __init__(self) -> None:
        super().__init__()
        self._by_due: list[tuple[float, str, str]] = []  # a heap; also of some that are gone

    def add(self, timer: StartTimer) -> None:
        """Open a timer."""
        self[timer.path, timer.key] = timer
        heapq.heappush(self._by_due, (timer.due, timer.path, timer.key))
        if len(self._by_due) > 2 * len(self) + _SLACK:
            self._by_due = [(each.due, each.path, each.key) for each in self.values()]
            heapq.heapify(self._by_due)

    def next_due(self) -> float | None:
        """Return when the earliest is due, in seconds since the epoch; ``None``: there is none."""
        while self._by_due:
            due, path, key = self._by_due[0]
            timer = self.get((path, key))
            if timer is not None and timer.due == due:
                return due
            heapq.heappop(self._by_due)
        return None
