"""The runs of a memory store, the places of those that are live, and the feed of their events."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice, takewhile

from msgspec.structs import replace

from gorkflow.events import Event
from gorkflow.hooks import Hook, HookCall
from gorkflow.model import RunStatus
from gorkflow.store import AttemptId, Line, LineRow, Message, ReportRow, RunRow


class Notes:
    """The reports and log lines of one run."""

    __slots__ = ("_places", "lines", "reports")

    def __init__(self) -> None:
        self.reports: dict[str, ReportRow] = {}
        """By path."""
        self.lines: list[LineRow] = []
        """In the order of their ids."""
        self._places: dict[tuple[str, int, int], int] = {}
        """The place of a line by its path, attempt and number."""

    def report(self, row: ReportRow) -> None:
        """Keep the latest report of a path."""
        old = self.reports.get(row.path)
        if old is None or old.attempt <= row.attempt:
            self.reports[row.path] = row

    def add(self, row: LineRow) -> None:
        """Keep a line, with its id; or replace the one that has its place."""
        place = self._places.setdefault((row.path, row.attempt, row.number), len(self.lines))
        if place < len(self.lines):
            self.lines[place] = row._replace(id=self.lines[place].id)
        else:
            self.lines.append(row)

    def end(self, attempt: AttemptId) -> None:
        """Drop the report of an attempt that ended."""
        old = self.reports.get(attempt.path)
        if old is not None and old.attempt <= attempt.attempt:
            del self.reports[attempt.path]

    def read(self, path: str | None, after: int, limit: int) -> list[LineRow]:
        """Return lines with an id above ``after``, in order, at most ``limit``."""
        first = bisect_right(self.lines, after, key=lambda line: line.id)
        later = islice(self.lines, first, None)
        return [*islice((line for line in later if path is None or line.path == path), limit)]


class Run:
    """All that is kept of one run."""

    __slots__ = ("calls", "deleted", "events", "mail", "notes", "seq", "written")

    def __init__(self, row: RunRow, events: Sequence[Event]) -> None:
        self.written = row
        """The summary as it was written last. Most appends change nothing in it but ``seq``, and so
        leave it as it is."""
        self.seq = row.seq
        """The ``seq`` of the latest event."""
        self.events = list(events)
        self.mail: dict[int, Message] = {}
        """By id, which rises."""
        self.notes: Notes | None = None
        """Made with the first one: few runs have any."""
        self.calls: dict[Hook, HookCall] = {}
        """The hook calls that are due since it ended."""
        self.deleted = False

    @property
    def row(self) -> RunRow:
        """The summary as it is."""
        if self.written.seq != self.seq:
            self.written = replace(self.written, seq=self.seq)
        return self.written

    @row.setter
    def row(self, row: RunRow) -> None:
        self.written = row

    def add(self, events: Sequence[Event]) -> None:
        """Add events."""
        self.events += events
        self.seq += len(events)

    def read(self, after: int, limit: int) -> list[Event]:
        """Return events with ``seq`` above ``after``, in order, at most ``limit``."""
        return self.events[after : after + limit]

    def mail_after(self, after: int) -> list[Message]:
        """Return the messages with an id above this one, oldest first."""
        later = takewhile(lambda message: message.id > after, reversed(self.mail.values()))
        return [*later][::-1]

    @property
    def age(self) -> tuple[float, str]:
        """By which runs are listed."""
        return self.written.created_at, self.written.run_id

    @property
    def turn(self) -> tuple[int, float, str]:
        """By which runs are claimed."""
        return -self.written.priority, *self.age

    @property
    def has_fresh_mail(self) -> bool:
        """Whether there is mail that its last owner did not know of."""
        return bool(self.mail) and next(reversed(self.mail)) > self.written.seen


@dataclass(slots=True)
class Places:
    """The live runs, by owner, or by what those without one wait for."""

    owned: dict[str, dict[str, Run]] = field(default_factory=dict[str, dict[str, Run]])
    """By worker, then by run."""
    ready: dict[str, Run] = field(default_factory=dict[str, Run])
    """Unowned, with something to do now."""
    asleep: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """Unowned, with a due time: that and the id, the earliest first."""
    mailed: dict[str, Run] = field(default_factory=dict[str, Run])
    """Unowned, with fresh mail; these are ready, asleep, or in neither of them."""
    lines: dict[str, dict[str, Run]] = field(default_factory=dict[str, dict[str, Run]])
    """Unowned, and waiting for a resource: by that, then by run. These are nowhere else."""
    resources: dict[str, dict[str, Run]] = field(default_factory=dict[str, dict[str, Run]])
    """By resource, then by run, with an owner or without."""

    def enter(self, run: Run) -> None:
        """Note a run that is live from now on."""
        if run.written.resource_id is not None:
            self.resources.setdefault(run.written.resource_id, {})[run.written.run_id] = run
        self.add(run)

    def leave(self, run: Run) -> None:
        """Forget a run, before its row says that it has ended."""
        self.remove(run)
        if run.written.resource_id is not None:
            _drop(self.resources, run.written.resource_id, run.written.run_id)

    def add(self, run: Run) -> None:
        """Put a run where its row says that it is."""
        row = run.written
        if row.worker_id is not None:
            self.owned.setdefault(row.worker_id, {})[row.run_id] = run
            return
        if row.line is Line.WAITS:
            self.lines.setdefault(row.resource_id or "", {})[row.run_id] = run
            return
        if row.due_at is not None:
            insort(self.asleep, (row.due_at, row.run_id))
        elif row.status is not RunStatus.SUSPENDED:
            self.ready[row.run_id] = run
        if run.has_fresh_mail:
            self.mailed[row.run_id] = run

    def remove(self, run: Run) -> None:
        """Take a run away, before its row changes."""
        row = run.written
        if row.worker_id is not None:
            _drop(self.owned, row.worker_id, row.run_id)
            return
        if row.line is Line.WAITS:
            _drop(self.lines, row.resource_id or "", row.run_id)
            return
        if row.due_at is not None:
            del self.asleep[bisect_left(self.asleep, (row.due_at, row.run_id))]
        self.ready.pop(row.run_id, None)
        self.mailed.pop(row.run_id, None)

    def mail_changed(self, run: Run) -> None:
        """Note that an unowned run has, or no longer has, fresh mail."""
        row = run.written
        if row.worker_id is None and row.line is not Line.WAITS and run.has_fresh_mail:
            self.mailed[run.written.run_id] = run
        else:
            self.mailed.pop(run.written.run_id, None)

    def due(self, now: float) -> Iterator[str]:
        """Return the ids of the sleeping runs that are due."""
        for due, run_id in self.asleep:
            if due > now:
                return
            yield run_id

    def owned_by_queue(self) -> dict[str, int]:
        """Return how many live runs of each queue have an owner."""
        return Counter(run.written.queue for runs in self.owned.values() for run in runs.values())

    def turns(self) -> list[tuple[Run, RunRow]]:
        """Return the runs whose turn it is now, with what their rows become."""
        found: list[Run] = []
        for resource_id in self.lines:
            live = self.resources[resource_id].values()
            if all(run.written.line is Line.WAITS for run in live):
                found.append(min(live, key=lambda run: run.age))
        return [(run, replace(run.row, line=Line.TURN)) for run in found]

    def occupants(self, resource_id: str | None) -> dict[str, bool]:
        """Return a resource, if live runs have it, and whether one of these is exclusive."""
        if resource_id is None or resource_id not in self.resources:
            return {}
        others = self.resources[resource_id].values()
        return {resource_id: any(other.written.exclusive for other in others)}


@dataclass(slots=True)
class Ages:
    """The places of all runs in a list, age and id: the oldest first."""

    places: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    def add(self, place: tuple[float, str]) -> None:
        """Add a run; nearly always the newest."""
        if not self.places or place > self.places[-1]:
            self.places.append(place)
        else:
            insort(self.places, place)

    def remove(self, place: tuple[float, str]) -> None:
        """Remove a run."""
        del self.places[bisect_left(self.places, place)]

    def between(
        self, start: tuple[float, str], end: tuple[float, str]
    ) -> Iterator[tuple[float, str]]:
        """Return the places before the one and not before the other, newest first."""
        for number in range(bisect_left(self.places, start) - 1, -1, -1):
            place = self.places[number]
            if place < end:
                return
            yield place


def _drop(groups: dict[str, dict[str, Run]], name: str, run_id: str) -> None:
    group = groups[name]
    del group[run_id]
    if not group:
        del groups[name]


@dataclass(slots=True)
class Feed:
    """The events of all runs in the order they were recorded, numbered from 1.

    A chunk is what was recorded of a run at a time. Its fields stand in four lists side by side: an
    object for each would cost the garbage collector a visit.
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
