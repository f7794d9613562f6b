"""The named limits: admit as many steps as there is room for. Pure; every store judges by this.

The number that runs is counted per worker, not per step: so a lease costs the same for one step and
for thousands. A worker says at each call how many it holds, and a dead worker holds none.

The number that starts within a time is a sliding-window log (B. Liu et al., "Rate limiting", the
"sliding log" of Cloudflare and Figma): never more than ``rate`` in *any* window of ``per`` seconds.
A token bucket would let twice as many pass after a pause. Services that count by windows reject
these.
Starts that lie close together are kept as one entry, which leaves the window as late as its latest
start: so the log has at most 65 entries, and errs by less than 1/64 of ``per``, to the safe side.

An admitted step begins a moment later, and much later where the store is slow. So a start is in the
log only once its worker says when it began; until then it counts in every window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec import Struct

from gorkflow.model import instant
from gorkflow.policy import Limit

_MERGED = 64
"""Parts of a window: starts within one part leave the window together."""
_PATIENCE = 2.0
"""Seconds that a worker waits in vain before the others leave one place free for it."""
_FORGOTTEN = 3.0
"""Seconds after its latest question at which a worker waits no longer."""
_SOON = 1.0
"""Seconds before its turn at which a step that lacks one of its limits reserves the others."""


class LimitRequest(NamedTuple):
    """Steps that want to start, with the limits that they all need."""

    limits: tuple[Limit, ...]
    steps: int
    """The number of steps."""
    defined_at: float = 0.0
    """When the run was created that brings this definition: the newest one holds for all."""


class LimitGrant(NamedTuple):
    """The steps that may start."""

    counts: tuple[int, ...]
    """For each request. The places that may start are taken, until a later call changes that."""
    ask_at: float | None = None
    """When time alone admits the next step, in seconds since the epoch."""
    contended: bool = False
    """True if others hold the missing places: their release is not announced."""
    in_force: tuple[Limit, ...] = ()
    """The definitions by which this was judged."""


class Lease(Struct):
    """The places that one worker has of one limit."""

    held: int = 0
    """Its steps that are in."""
    since: float | None = None
    """Since when it waits in vain; ``None``: it doesn't wait."""
    asked_at: float = 0.0
    unbegun: int = 0
    """Its admitted steps that have not begun yet, as far as it has said; for limits with a rate."""
    let_in_at: float = 0.0
    """When the latest of these was admitted."""


NONE: Mapping[str, Any] = MappingProxyType({})
"""No steps, of any limit."""

Starts = tuple[tuple[float, float, int], ...]


class Book(Struct):
    """The facts about one limit. Stores keep it; ``settle`` changes it."""

    limit: Limit
    defined_at: float = 0.0
    starts: Starts = ()
    """The latest starts: from when, until when, how many. Oldest first."""
    leases: dict[str, Lease] = {}
    """By worker."""

    def started(self, count: int, at: float, now: float) -> None:
        """Record starts at an instant that is not after now."""
        window = self.limit.window
        if window is None or not count:
            return
        kept: list[tuple[float, float, int]] = []
        for entry in sorted([*self.current(now), (at, at, count)]):
            if kept and entry[1] - kept[-1][0] < window[1] / _MERGED:
                first, last, before = kept.pop()
                kept.append((first, max(last, entry[1]), before + entry[2]))
            else:
                kept.append(entry)
        self.starts = tuple(kept)

    def leave(self, worker_id: str, now: float | None = None) -> None:
        """Forget what a worker has. A start that it never mentioned may have begun until ``now``.

        Without ``now`` it began at once, since an orderly leave reports it.
        """
        lease = self.leases.pop(worker_id, None)
        if lease is not None and lease.unbegun:
            at = lease.let_in_at if now is None else now
            self.started(lease.unbegun, at, max(at, *(last for _, last, _ in self.starts), at))

    def set_back(self, now: float) -> None:
        """Move starts that lie ahead to now: the clock was set back, and would keep them for long.

        Once, and not at each look: else they would never leave the window.
        """
        if any(last > now for _, last, _ in self.starts):
            self.starts = tuple(self.current(now))
        for lease in self.leases.values():
            lease.let_in_at = min(lease.let_in_at, now)

    def current(self, now: float) -> list[tuple[float, float, int]]:
        """Return the starts that still count. None is later than now: a clock may be set back."""
        window = self.limit.window
        if window is None:
            return []
        return [
            (min(first, now), min(last, now), count)
            for first, last, count in self.starts
            if last + window[1] > now
        ]

    def startable(self, now: float) -> float:
        """Return how many may start now, without regard to others."""
        window = self.limit.window
        if window is None:
            return float("inf")
        unbegun = sum(lease.unbegun for lease in self.leases.values())
        return window[0] - unbegun - sum(count for _, _, count in self.current(now))

    def is_unsure(self, mine: Lease, now: float) -> bool:
        """Return whether there may be room, once others say when their steps began."""
        window = self.limit.window
        return window is not None and any(
            lease.unbegun and lease.let_in_at + window[1] <= now
            for lease in self.leases.values()
            if lease is not mine
        )

    def next_start(self, now: float) -> float:
        """Return when the next one may start."""
        window = self.limit.window
        if window is None:
            return now
        # As if they had begun at once; of what is late by a window, only its worker knows better.
        waiting = [
            (lease.let_in_at, lease.let_in_at, lease.unbegun)
            for lease in self.leases.values()
            if lease.let_in_at + window[1] > now
        ]
        counted = sorted([*self.current(now), *waiting])
        over = 1 - self.startable(now)
        for _, last, count in counted:
            if over <= 0:
                break
            over -= count
            if over <= 0:
                return last + window[1]
        return now


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """The use of a named limit at one moment.

    Example:
        >>> from gorkflow import Limit
        >>> from gorkflow.limits import LimitUse
        >>> use = LimitUse(limit=Limit("db", concurrency=5), running={"w1": 3, "w2": 2})
        >>> f"{use.limit.name}: {sum(use.running.values())} of {use.limit.concurrency}"
        'db: 5 of 5'
    """

    limit: Limit
    """The definition in force: of the newest run that uses the limit."""
    running: Mapping[str, int] = field(default_factory=dict[str, int])
    """The attempts that hold a place, by worker."""
    started: int = 0
    """The attempts that count against the rate now: in its current window of time."""
    next_start: datetime | None = None
    """When the rate admits the next one; ``None``: it admits one now, or there is no rate."""
    waiting: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    """The workers with steps that wait for a place, and since when they get none."""


def use(book: Book, now: float) -> LimitUse:
    """Return the use of a limit at an instant, in seconds since the epoch."""
    leases = book.leases
    room = book.startable(now)
    window = book.limit.window
    return LimitUse(
        limit=book.limit,
        running={name: lease.held for name, lease in sorted(leases.items()) if lease.held},
        started=0 if window is None else window[0] - int(room),
        next_start=None if room >= 1 else instant(book.next_start(now)),
        waiting={
            name: instant(lease.since)
            for name, lease in sorted(leases.items())
            if lease.since is not None and lease.asked_at >= now - _FORGOTTEN
        },
    )


def settle(
    books: MutableMapping[str, Book],
    worker_id: str,
    held: Mapping[str, int],
    requests: Sequence[LimitRequest],
    now: float,
    *,
    unbegun: Mapping[str, int] = NONE,
    began: Mapping[str, float] = NONE,
) -> LimitGrant:
    """Admit as many steps as there is room for, in the order of the requests; change the books.

    Args:
        books: of every limit that is held or asked for, by name; new ones are added.
        worker_id: who asks.
        held: how many steps of it are in now, by limit.
        requests: who wants in, those who came first in front.
        now: seconds since the epoch.
        unbegun: how many of those let in before have not begun yet, by limit.
        began: when the latest of the others did, in seconds since the epoch, by limit; where it
            is not said, when they were let in.
    """
    for request in requests:
        for limit in request.limits:
            _define(books, limit, request.defined_at)
    asked = dict.fromkeys(limit.name for request in requests for limit in request.limits)
    for name, book in books.items():
        mine = book.leases.setdefault(worker_id, Lease())
        mine.held = held.get(name, 0)
        book.set_back(now)
        left = min(mine.unbegun, unbegun.get(name, 0))
        book.started(mine.unbegun - left, min(began.get(name, mine.let_in_at), now), now)
        mine.unbegun = left
        if name not in asked:
            mine.since = None
    turn = _Turn({name: _Room(books[name], worker_id, now) for name in asked}, now)
    counts = tuple(turn.admit(request) for request in requests)
    for name, room in turn.rooms.items():
        room.close(waits=name in turn.waited)
    for book in books.values():
        mine = book.leases[worker_id]
        if not mine.held and not mine.unbegun and mine.since is None:
            del book.leases[worker_id]
    in_force = tuple(books[name].limit for name in asked)
    return LimitGrant(counts, turn.ask_at, turn.contended, in_force)


def _define(books: MutableMapping[str, Book], limit: Limit, defined_at: float) -> None:
    book = books.get(limit.name)
    if book is None:
        books[limit.name] = Book(limit, defined_at)
    elif defined_at > book.defined_at:
        book.limit, book.defined_at = limit, defined_at


class _Room:
    """The room that a limit has left in this turn."""

    def __init__(self, book: Book, worker_id: str, now: float) -> None:
        self._book = book
        self._mine = mine = book.leases[worker_id]
        self._now = now
        self._taken = 0
        others = [lease for name, lease in book.leases.items() if name != worker_id]
        kept = sum(1 for lease in others if _starves(lease, mine, now))
        self.others = kept + sum(lease.held + lease.unbegun for lease in others)
        concurrency = book.limit.concurrency
        held = mine.held + sum(lease.held for lease in others)
        self.places = (float("inf") if concurrency is None else concurrency - held) - kept
        self.starts = book.startable(now) - kept

    @property
    def left(self) -> float:
        return max(0, min(self.places, self.starts))

    @property
    def next_start(self) -> float | None:
        """When time alone makes room; ``None``: it doesn't."""
        book = self._book
        if self.places < 1 or book.is_unsure(self._mine, self._now):
            return None
        at = book.next_start(self._now)
        return at if at > self._now else None

    def take(self, count: int) -> None:
        self._taken += count
        if count and self._book.limit.window is not None:
            self._mine.unbegun += count
            self._mine.let_in_at = self._now
        self.keep(count)

    def keep(self, count: int) -> None:
        """Keep these from others in this turn."""
        self.places -= count
        self.starts -= count

    def close(self, *, waits: bool) -> None:
        """Record in the lease what was admitted, and since when the worker waits."""
        mine = self._mine
        mine.held += self._taken
        if self._taken or not waits:
            mine.since = None
        if waits:
            if mine.since is None:
                mine.since = self._now
            mine.asked_at = self._now


def _starves(other: Lease, mine: Lease, now: float) -> bool:
    """Return whether another worker has waited for long, and longer than we: it goes first."""
    return (
        other.since is not None
        and other.since <= now - _PATIENCE
        and other.asked_at >= now - _FORGOTTEN
        and (mine.since is None or other.since < mine.since)
    )


class _Turn:
    def __init__(self, rooms: dict[str, _Room], now: float) -> None:
        self.rooms = rooms
        self._now = now
        self.waited: set[str] = set()
        self.ask_at: float | None = None
        self.contended = False

    def admit(self, request: LimitRequest) -> int:
        rooms = [self.rooms[limit.name] for limit in request.limits]
        count = int(min(request.steps, *(room.left for room in rooms)))
        for room in rooms:
            room.take(count)
        if count < request.steps:
            self._wait(request)
        return count

    def _wait(self, request: LimitRequest) -> None:
        lacking = [limit.name for limit in request.limits if self.rooms[limit.name].left < 1]
        first = not self.waited.issuperset(lacking)
        self.waited.update(lacking)
        turns = [self.rooms[name].next_start for name in lacking]
        at = max((turn for turn in turns if turn is not None), default=None)
        if None in turns:
            self.contended = self.contended or any(
                self.rooms[name].others
                for name, turn in zip(lacking, turns, strict=True)
                if turn is None
            )
        elif at is not None:
            self.ask_at = at if self.ask_at is None else min(self.ask_at, at)
        if first and (at is None or at <= self._now + _SOON):
            # The first step that lacks a limit reserves one place of each other limit it needs.
            # Else steps that need only one of these would always be faster. The second step
            # reserves nothing, or a long queue for one limit would use up the others.
            _keep(self.rooms[limit.name] for limit in request.limits if limit.name not in lacking)


def _keep(rooms: Iterable[_Room]) -> None:
    for room in rooms:
        room.keep(1)
