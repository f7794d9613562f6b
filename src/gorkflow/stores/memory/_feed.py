"""The events of all runs, in one row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from gorkflow.events import Event
from gorkflow.stores.memory._runs import Run


@dataclass(slots=True)
class Feed:
    """The events of all runs in the order they were recorded, numbered from 1."""

    ends: list[int] = field(default_factory=list[int])
    """The number of the last event of each chunk."""
    chunks: list[tuple[Run, Sequence[Event]]] = field(
        default_factory=list[tuple[Run, Sequence[Event]]]
    )
    last: int = 0
    held: int = 0
    """How many events the chunks hold."""
    dead: int = 0
    """How many of them are of deleted runs."""

    def add(self, run: Run, events: Sequence[Event]) -> None:
        """Add what was recorded of a run."""
        if events:
            self.last += len(events)
            self.held += len(events)
            self.ends.append(self.last)
            self.chunks.append((run, events))

    def forget(self, run: Run) -> None:
        """Drop a run. Room is made once most of what is held is dead, so it costs little each."""
        run.deleted = True
        self.dead += len(run.events)
        if self.dead * 2 > self.held:
            kept = [
                (end, chunk)
                for end, chunk in zip(self.ends, self.chunks, strict=True)
                if not chunk[0].deleted
            ]
            self.ends = [end for end, _ in kept]
            self.chunks = [chunk for _, chunk in kept]
            self.held -= self.dead
            self.dead = 0

    def read(self, position: int, limit: int) -> tuple[list[Event], int]:
        """Return up to ``limit`` events after a position, and the position after them."""
        found: list[Event] = []
        for index in range(bisect_right(self.ends, position), len(self.ends)):
            run, events = self.chunks[index]
            end = self.ends[index]
            skip = max(0, position - (end - len(events)))
            wanted = events[skip : skip + limit - len(found)]
            position = end - len(events) + skip + len(wanted)
            if not run.deleted:
                found.extend(wanted)
            if len(found) >= limit:
                break
        return found, position
