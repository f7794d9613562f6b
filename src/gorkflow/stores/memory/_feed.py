"""The events of all runs, in one row."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import compress

from gorkflow.events import Event
from gorkflow.stores.memory._runs import Run


@dataclass(slots=True)
class Feed:
    """The events of all runs in the order they were recorded, numbered from 1.

    A chunk is what was recorded of a run at a time. What is known of it stands in four lists side
    by side, since an object for each would be one more for the garbage collector to look after.
    """

    ends: list[int] = field(default_factory=list[int])
    """The number of the last event of each chunk."""
    runs: list[Run] = field(default_factory=list[Run])
    befores: list[int] = field(default_factory=list[int])
    """How many events of its run come before the chunk."""
    sizes: list[int] = field(default_factory=list[int])
    """How many events it has."""
    last: int = 0
    held: int = 0
    """How many events the chunks hold."""
    dead: int = 0
    """How many of them are of deleted runs."""

    def add(self, run: Run, before: int, size: int) -> None:
        """Add what was recorded of a run."""
        self.last += size
        self.held += size
        self.ends.append(self.last)
        self.runs.append(run)
        self.befores.append(before)
        self.sizes.append(size)

    def forget(self, run: Run) -> None:
        """Drop a run. Room is made once most of what is held is dead, so it costs little each."""
        run.deleted = True
        self.dead += run.seq
        if self.dead * 2 > self.held:
            kept = [not run.deleted for run in self.runs]
            self.ends = [*compress(self.ends, kept)]
            self.befores = [*compress(self.befores, kept)]
            self.sizes = [*compress(self.sizes, kept)]
            self.runs = [*compress(self.runs, kept)]
            self.held -= self.dead
            self.dead = 0

    def read(self, position: int, limit: int) -> tuple[list[Event], int]:
        """Return up to ``limit`` events after a position, and the position after them."""
        found: list[Event] = []
        for index in range(bisect_right(self.ends, position), len(self.ends)):
            run, size = self.runs[index], self.sizes[index]
            start = self.ends[index] - size
            skip = max(0, position - start)
            count = min(size - skip, limit - len(found))
            position = start + skip + count
            if not run.deleted:
                found += run.read(self.befores[index] + skip, count)
            if len(found) >= limit:
                break
        return found, position
