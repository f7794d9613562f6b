"""A store without a file: for tests, for scripts, for runs that need not survive the process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from heapq import nlargest, nsmallest

from gorkflow.errors import StoreError
from gorkflow.events import Event
from gorkflow.model import Page, RunFilter
from gorkflow.store import (
    Append,
    Claim,
    Heartbeat,
    Loaded,
    Message,
    NewRun,
    RunRow,
    Worker,
    Written,
)
from gorkflow.stores._common import (
    check_events,
    feed_cursor,
    feed_position,
    page_cursor,
    page_start,
    statuses,
)


@dataclass(slots=True, eq=False)
class _Run:
    row: RunRow
    events: list[Event]
    deleted: bool = False

    @property
    def age(self) -> tuple[float, str]:
        return self.row.created_at, self.row.run_id


@dataclass(slots=True)
class _Feed:
    """The events of all runs in the order they were recorded, numbered from 1."""

    ends: list[int] = field(default_factory=list[int])
    """The number of the last event of each chunk."""
    chunks: list[tuple[_Run, Sequence[Event]]] = field(
        default_factory=list[tuple[_Run, Sequence[Event]]]
    )
    last: int = 0
    held: int = 0
    """How many events the chunks hold."""
    dead: int = 0
    """How many of them are of deleted runs."""

    def add(self, run: _Run, events: Sequence[Event]) -> None:
        if events:
            self.last += len(events)
            self.held += len(events)
            self.ends.append(self.last)
            self.chunks.append((run, events))

    def forget(self, run: _Run) -> None:
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


class MemoryStore:
    """Keeps runs in this process, for as long as it is open.

    Args:
        keep_ended: how many ended runs to keep; the one that ended first is forgotten first.
    """

    def __init__(self, *, keep_ended: int = 10_000) -> None:
        self.keep_ended = keep_ended
        self._open = False
        self._clear()

    def _clear(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._live: dict[str, _Run] = {}
        self._ended: dict[str, _Run] = {}
        self._trees: dict[str, str] = {}
        self._feed = _Feed()
        self._inbox: dict[int, Message] = {}
        self._posted = 0
        self._workers: dict[str, Worker] = {}

    def __repr__(self) -> str:
        """Return the class and how many runs it holds."""
        return f"<MemoryStore: {len(self._runs)} runs>"

    async def open(self) -> None:
        """Get ready. Opening twice is harmless."""
        self._open = True

    async def close(self) -> None:
        """Forget everything. Closing twice is harmless."""
        self._open = False
        self._clear()

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError("the memory store is not open; call open() first")

    # Writing

    async def create(self, batch: Sequence[NewRun]) -> list[Written]:
        """Create runs. ``OK`` or ``DUPLICATE`` each."""
        return self.create_now(batch)

    def create_now(self, batch: Sequence[NewRun]) -> list[Written]:
        """Do what ``create`` does."""
        self._check_open()
        for new in batch:
            check_events(new.row.run_id, new.events, 1, new.row.seq)
        return [self._create(new) for new in batch]

    def _create(self, new: NewRun) -> Written:
        run_id = new.row.run_id
        if run_id in self._runs:
            return Written.DUPLICATE
        run = _Run(new.row, list(new.events))
        self._trees.setdefault(new.row.fingerprint, new.tree)
        self._runs[run_id] = self._live[run_id] = run
        self._feed.add(run, new.events)
        if new.row.status.terminal:
            self._end(run)
        return Written.OK

    async def append(self, batch: Sequence[Append]) -> list[Written]:
        """Record transitions of several runs. ``OK`` or ``FENCED`` each."""
        return self.append_now(batch)

    def append_now(self, batch: Sequence[Append]) -> list[Written]:
        """Do what ``append`` does."""
        self._check_open()
        for item in batch:
            check_events(item.row.run_id, item.events, item.expected_seq + 1, item.row.seq)
        return [self._append(item) for item in batch]

    def _append(self, item: Append) -> Written:
        row = item.row
        run = self._live.get(row.run_id)
        if run is None:
            return Written.FENCED
        old = run.row
        if old.seq != item.expected_seq or old.token != row.token:
            return Written.FENCED
        run.row = row if _same_origin(old, row) else _with_origin(old, row)
        run.events.extend(item.events)
        self._feed.add(run, item.events)
        if row.status.terminal:
            self._end(run)
        return Written.OK

    def _end(self, run: _Run) -> None:
        run_id = run.row.run_id
        del self._live[run_id]
        self._ended[run_id] = run
        while len(self._ended) > self.keep_ended:
            self._delete(next(iter(self._ended)))

    def _delete(self, run_id: str) -> bool:
        run = self._ended.pop(run_id, None)
        if run is None:
            return False
        del self._runs[run_id]
        self._feed.forget(run)
        for message in [m for m in self._inbox.values() if m.run_id == run_id]:
            del self._inbox[message.id]
        return True

    async def delete_runs(self, run_ids: Sequence[str]) -> int:
        """Delete ended runs; return how many."""
        self._check_open()
        return sum(self._delete(run_id) for run_id in run_ids)

    # Owning

    async def register(self, worker: Worker) -> None:
        """Announce a worker."""
        self._check_open()
        self._workers[worker.worker_id] = worker

    async def unregister(self, worker_id: str) -> None:
        """Forget a worker and give back its runs."""
        self._check_open()
        self._workers.pop(worker_id, None)
        for run in self._live.values():
            if run.row.worker_id == worker_id:
                run.row = replace(run.row, worker_id=None)

    def _alive(self, worker_id: str, now: float) -> bool:
        worker = self._workers.get(worker_id)
        return worker is not None and worker.seen_at + worker.lease >= now

    async def heartbeat(self, worker_id: str, now: float) -> Heartbeat:
        """Extend the worker's lease and fetch the messages for its runs."""
        self._check_open()
        if not self._alive(worker_id, now):
            return Heartbeat(alive=False)
        self._workers[worker_id] = self._workers[worker_id]._replace(seen_at=now)
        return Heartbeat(
            alive=True,
            messages=tuple(
                message
                for message in self._inbox.values()
                if self._runs[message.run_id].row.worker_id == worker_id
            ),
        )

    async def claim(
        self,
        worker_id: str,
        *,
        now: float,
        workflow_ids: Sequence[str] | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[Claim]:
        """Take over runs that nobody alive owns, oldest first."""
        self._check_open()
        self._release_the_dead(now)
        if run_id is not None:
            candidates = [run] if (run := self._live.get(run_id)) else []
        else:
            mailed = {message.run_id for message in self._inbox.values()}
            candidates = [
                run
                for run in self._live.values()
                if (due := run.row.due_at) is None or due <= now or run.row.run_id in mailed
            ]
        free = (
            run
            for run in candidates
            if run.row.worker_id is None
            and (workflow_ids is None or run.row.workflow_id in workflow_ids)
        )
        claims: list[Claim] = []
        for run in nsmallest(limit, free, key=lambda run: run.age):
            run.row = replace(run.row, worker_id=worker_id, token=run.row.token + 1)
            claims.append(Claim(run.row))
        return claims

    def _release_the_dead(self, now: float) -> None:
        alive = {None, *(worker_id for worker_id in self._workers if self._alive(worker_id, now))}
        for run in self._live.values():
            if run.row.worker_id not in alive:
                run.row = replace(run.row, worker_id=None)

    async def post(self, message: Message) -> bool:
        """Leave a message for a run. False: no such run, or it has ended."""
        self._check_open()
        if message.run_id not in self._live:
            return False
        self._posted += 1
        self._inbox[self._posted] = message._replace(id=self._posted)
        return True

    async def inbox(self, run_id: str) -> list[Message]:
        """Return the messages of a run, oldest first."""
        self._check_open()
        return [message for message in self._inbox.values() if message.run_id == run_id]

    async def acknowledge(self, ids: Sequence[int]) -> None:
        """Drop messages."""
        self._check_open()
        for message_id in ids:
            self._inbox.pop(message_id, None)

    # Reading

    async def get_run(self, run_id: str) -> RunRow | None:
        """Return the summary of a run."""
        self._check_open()
        run = self._runs.get(run_id)
        return run.row if run else None

    async def list_runs(self, query: RunFilter) -> Page[RunRow]:
        """Return one page of summaries, newest first."""
        self._check_open()
        start = page_start(query)
        matching = (run for run in self._runs.values() if run.age < start and _matches(query, run))
        found = [run.row for run in nlargest(query.limit + 1, matching, key=lambda run: run.age)]
        rows = found[: query.limit]
        more = len(found) > len(rows)
        return Page(rows, page_cursor(rows[-1].created_at, rows[-1].run_id) if more else None)

    async def load(self, run_id: str) -> Loaded | None:
        """Return everything recorded of a run."""
        self._check_open()
        run = self._runs.get(run_id)
        if run is None:
            return None
        return Loaded(run.row, self._trees[run.row.fingerprint], tuple(run.events))

    async def read_events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return events of a run above a ``seq``."""
        self._check_open()
        run = self._runs.get(run_id)
        first = max(after, 0)
        return run.events[first : first + max(limit, 0)] if run else []

    async def read_all_events(
        self, *, after: str = "", limit: int = 1000
    ) -> tuple[list[Event], str]:
        """Return events of all runs after a cursor, and the cursor after them."""
        self._check_open()
        position = feed_position(after)
        if limit < 1:
            return [], after
        events, position = self._feed.read(position, limit)
        return events, feed_cursor(position) if events else after

    async def workers(self, *, now: float | None = None) -> list[Worker]:
        """Return the workers that are registered and, at ``now``, within their lease."""
        self._check_open()
        return [
            worker
            for worker in self._workers.values()
            if now is None or self._alive(worker.worker_id, now)
        ]


def _same_origin(old: RunRow, new: RunRow) -> bool:
    return (
        old.created_at == new.created_at
        and old.workflow_id == new.workflow_id
        and old.workflow_version == new.workflow_version
        and old.fingerprint == new.fingerprint
        and old.resource_id == new.resource_id
        and old.tags == new.tags
    )


def _with_origin(old: RunRow, new: RunRow) -> RunRow:
    return replace(
        old,
        status=new.status,
        reason=new.reason,
        started_at=new.started_at,
        finished_at=new.finished_at,
        due_at=new.due_at,
        seq=new.seq,
        worker_id=new.worker_id,
    )


def _matches(query: RunFilter, run: _Run) -> bool:
    row = run.row
    allowed = statuses(query)
    return (
        (query.workflow_id is None or row.workflow_id == query.workflow_id)
        and (allowed is None or row.status in allowed)
        and (query.resource_id is None or row.resource_id == query.resource_id)
        and (query.created_after is None or row.created_at >= query.created_after.timestamp())
        and (query.created_before is None or row.created_at < query.created_before.timestamp())
        and (not query.tags or query.tags.items() <= dict(row.tags).items())
    )
