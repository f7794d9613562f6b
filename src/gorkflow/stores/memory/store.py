"""A store without a file: for tests, for scripts, for runs that need not survive the process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nsmallest
from math import inf
from operator import attrgetter

from msgspec.structs import replace

from gorkflow._text import brief
from gorkflow.clock import Moment, Timekeeper
from gorkflow.errors import StoreError
from gorkflow.events import Event
from gorkflow.hooks import Hook, HookCall
from gorkflow.limits import NONE, Book, LimitGrant, LimitRequest, LimitUse, settle, use
from gorkflow.listing import (
    MOST_COUNTED,
    MOST_READ,
    Page,
    RunCount,
    RunFilter,
    feed_cursor,
    feed_position,
    mail_cursor,
    mail_position,
    page_bounds,
    page_cursor,
)
from gorkflow.model import instant
from gorkflow.schedule import ScheduleRow
from gorkflow.store import (
    Append,
    AttemptId,
    Heartbeat,
    Hinted,
    LineRow,
    Loaded,
    Message,
    NewRun,
    ReportRow,
    RunRow,
    Transition,
    Worker,
    Written,
    calls_of,
)
from gorkflow.stores._hints import Hints
from gorkflow.stores._new_runs import judge
from gorkflow.stores._room import Room
from gorkflow.stores.memory._runs import Ages, Feed, Notes, Places, Run

_logger = logging.getLogger("gorkflow.store")

MOST_CALLED = 10_000
"""Ended runs that are kept because a hook call of them is due."""
_ORIGIN = (
    "workflow_id", "workflow_version", "fingerprint", "resource_id", "tags", "created_at",
    "priority", "exclusive", "queue", "line",
)  # fmt: skip
"""The part of a run that no append changes."""
_origin = attrgetter(*_ORIGIN)


class MemoryStore:
    """Keeps runs in this process, for as long as it is open. Its methods are those of ``Store``.

    Example:
        >>> from gorkflow import Workflow, run, step, stores
        >>> @step
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> run(Workflow("doubling", input=int).then(double), 21, store=stores.MemoryStore())
        42

    Args:
        keep_ended: how many ended runs to keep; the one that ended first is forgotten first. Runs
            with a hook call that is due are kept besides, at most 10,000.

    Raises:
        StoreError: If that is not a number of runs.
    """

    durable = False
    _most_read = MOST_READ

    def __init__(self, *, keep_ended: int = 10_000) -> None:
        if isinstance(keep_ended, bool) or not isinstance(keep_ended, int) or keep_ended < 0:
            raise StoreError(f"keep_ended is a number of runs, 0 or more, not {brief(keep_ended)}")
        self.keep_ended = keep_ended
        self._open = False
        self._hints = Hints()
        self._clear()

    def _clear(self) -> None:
        self._runs: dict[str, Run] = {}
        self._ages = Ages()
        self._ended: dict[str, Run] = {}
        self._called: dict[str, Run] = {}
        """Ended runs of which a hook call is due, in the order of their ends."""
        self._has_forgotten_calls = False
        self._trees: dict[str, str] = {}
        self._feed = Feed()
        self._places = Places()
        self._mailed: dict[int, Run] = {}
        self._posted = 0
        self._lines = 0
        self._workers: dict[str, Worker] = {}
        self._books: dict[str, Book] = {}
        self._schedules: dict[str, ScheduleRow] = {}

    def hints(self, call: Hinted) -> Callable[[], object]:
        return self._hints.add(call)

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self._runs)} runs>"

    async def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = False
        self._clear()

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError("the memory store is not open; call open() first")

    # Writing

    def write(
        self, batch: Sequence[Transition], *, block: bool = False
    ) -> asyncio.Future[list[Written]]:
        self._check_open()
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(
            [
                self._append(item) if isinstance(item, Append) else self._create(item)
                for item in batch
            ]
        )
        return answer

    def _create(self, new: NewRun) -> Written:
        run_id = new.row.run_id
        occupants = self._places.occupants(new.row.resource_id)
        (answer,) = judge([new.row], self._runs, occupants)
        if answer is not Written.OK:
            return answer
        run = Run(new.row, new.events)
        self._trees.setdefault(new.row.fingerprint, new.tree)
        self._runs[run_id] = run
        self._ages.add(run.age)
        self._feed.add(run, 0, len(new.events))
        if new.row.status.terminal:
            self._end(run)
        else:
            self._places.enter(run)
            self._hints.written(new.row)
        return Written.OK

    def _append(self, item: Append) -> Written:
        row, events = item.row, item.events
        run = self._live(row.run_id)
        if run is None:
            return Written.FENCED
        old = run.written
        if run.seq != item.expected_seq or old.token != row.token:
            return Written.FENCED
        if item.consumed:
            self._drop(number for number in item.consumed if number in run.mail)
        if events:
            self._feed.add(run, run.seq, len(events))
            run.add(events)
        if item.changed:
            if (kept := _origin(old)) != _origin(row):
                row = replace(row, **dict(zip(_ORIGIN, kept, strict=True)))
            self._set_row(run, row)
        return Written.OK

    def _live(self, run_id: str) -> Run | None:
        run = self._runs.get(run_id)
        return None if run is None or run.written.status.terminal else run

    def _set_row(self, run: Run, row: RunRow) -> None:
        if row.status.terminal:
            self._places.leave(run)
            run.row = row
            self._end(run)
        elif row.worker_id is not None and row.worker_id == run.written.worker_id:
            run.row = row
        else:
            self._places.remove(run)
            run.row = row
            self._places.add(run)
            self._hints.written(row)

    def _end(self, run: Run) -> None:
        row = run.written
        self._hints.written(row)
        if row.hooks:
            run.calls = {call.hook: call for call in calls_of(row)}
            self._called[row.run_id] = run
            if len(self._called) > MOST_CALLED:
                self._forget_call(next(iter(self._called)))
        else:
            self._keep(run)

    def _forget_call(self, run_id: str) -> None:
        """Forget a run though its hooks were not called: there is not room for all."""
        self._delete(run_id)
        if not self._has_forgotten_calls:
            self._has_forgotten_calls = True
            _logger.error(
                "hook calls of more than %d ended runs are due; a store in memory forgets the run "
                "that ended first, here %r, and its calls. This is not said again",
                MOST_CALLED,
                run_id,
            )

    def _keep(self, run: Run) -> None:
        """Keep an ended run of which no hook has to be called, and forget the one before all."""
        self._ended[run.written.run_id] = run
        while len(self._ended) > self.keep_ended:
            self._delete(next(iter(self._ended)))

    def _delete(self, run_id: str) -> bool:
        run = self._ended.pop(run_id, None) or self._called.pop(run_id, None)
        if run is None:
            return False
        del self._runs[run_id]
        self._ages.remove(run.age)
        self._feed.forget(run)
        self._drop(list(run.mail))
        return True

    async def delete_runs(self, run_ids: Sequence[str]) -> int:
        self._check_open()
        return sum(self._delete(run_id) for run_id in run_ids)

    # Owning

    async def register(self, worker: Worker) -> None:
        self._check_open()
        if worker.worker_id not in self._workers:
            self._release(worker.worker_id, died=True)
        self._workers[worker.worker_id] = worker

    async def clock(self) -> float | None:
        return None

    async def unregister(self, worker_id: str) -> None:
        self._check_open()
        self._workers.pop(worker_id, None)
        self._release(worker_id, died=False)

    def _release(self, worker_id: str, *, died: bool) -> None:
        for book in self._books.values():
            book.leave(worker_id)
        for run in list(self._places.owned.get(worker_id, {}).values()):
            orphaned = died or run.row.orphaned
            self._set_row(run, replace(run.row, worker_id=None, orphaned=orphaned))

    def _alive(self, worker_id: str, times: Timekeeper) -> bool:
        worker = self._workers.get(worker_id)
        return worker is not None and times.alive(worker.seen_at, worker.lease)

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        self._check_open()
        position = mail_position(after)
        if not self._alive(worker_id, times):
            return Heartbeat(alive=False)
        self._workers[worker_id] = self._workers[worker_id]._replace(seen_at=times.now())
        found: list[Message] = []
        for message_id, run in reversed(self._mailed.items()):
            if message_id <= position:
                break
            if run.written.worker_id == worker_id:
                found.append(run.mail[message_id])
        cursor = mail_cursor(max(next(reversed(self._mailed), 0), position))
        return Heartbeat(alive=True, messages=tuple(reversed(found)), cursor=cursor)

    async def claim(
        self,
        worker_id: str,
        *,
        times: Timekeeper,
        ahead: float = 0.0,
        workflow_ids: Sequence[str] | None = None,
        queues: Mapping[str, int | None] | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[RunRow]:
        self._check_open()
        for owner in list(self._places.owned):
            # Whoever claims is alive, though its lease may have ended.
            if owner != worker_id and not self._alive(owner, times):
                # Those who registered are of this process: they live, at least as long as we do.
                self._release(owner, died=owner not in self._workers)
        for run, row in self._places.turns():
            self._set_row(run, row)
        room = Room(queues, self._places.owned_by_queue)
        free = (
            run
            for run in self._candidates(times.now() + ahead, run_id)
            if (workflow_ids is None or run.written.workflow_id in workflow_ids)
            and room.has(run.written.queue)
        )
        claims: list[RunRow] = []
        for run in nsmallest(limit, free, key=lambda run: run.turn):
            if not room.take(run.written.queue):
                continue
            row = replace(run.row, worker_id=worker_id, token=run.row.token + 1)
            self._set_row(run, row)
            claims.append(row)
        return claims

    def _candidates(self, due_by: float, run_id: str | None) -> Iterable[Run]:
        if run_id is not None:
            run = self._live(run_id)
            return [run] if run is not None and run.written.worker_id is None else []
        due = {run_id: self._runs[run_id] for run_id in self._places.due(due_by)}
        return (self._places.ready | due | self._places.mailed).values()

    async def take_limits(
        self,
        worker_id: str,
        *,
        times: Timekeeper,
        held: Mapping[str, int],
        requests: Sequence[LimitRequest] = (),
        unbegun: Mapping[str, int] = NONE,
        began: Mapping[str, float] = NONE,
    ) -> LimitGrant:
        self._check_open()
        if not self._alive(worker_id, times):
            return LimitGrant((0,) * len(requests), contended=True)
        now = times.now()
        for book in self._books.values():
            for other in [name for name in book.leases if not self._alive(name, times)]:
                book.leave(other, now)
        return settle(self._books, worker_id, held, requests, now, unbegun=unbegun, began=began)

    async def post(self, message: Message) -> bool:
        self._check_open()
        run = self._live(message.run_id)
        if run is None:
            return False
        self._posted += 1
        self._mailed[self._posted] = run
        run.mail[self._posted] = message._replace(id=self._posted)
        self._places.mail_changed(run)
        self._hints.mailed(run.written)
        return True

    async def inbox(self, run_id: str, *, after: int = 0) -> list[Message]:
        self._check_open()
        run = self._runs.get(run_id)
        return run.mail_after(after) if run else []

    def _drop(self, ids: Iterable[int]) -> None:
        for message_id in ids:
            run = self._mailed.pop(message_id, None)
            if run is not None:
                del run.mail[message_id]
                self._places.mail_changed(run)

    # Notes

    async def note(
        self,
        *,
        reports: Sequence[ReportRow] = (),
        lines: Sequence[LineRow] = (),
        ended: Sequence[AttemptId] = (),
    ) -> None:
        self._check_open()
        for report in reports:
            if (notes := self._notes_of(report)) is not None:
                notes.report(report)
        for line in lines:
            if (notes := self._notes_of(line)) is not None:
                self._lines += 1
                notes.add(line._replace(id=self._lines))
        for attempt in ended:
            if (notes := self._notes_of(attempt)) is not None:
                notes.end(attempt)

    def _notes_of(self, noted: ReportRow | LineRow | AttemptId) -> Notes | None:
        """Return what is noted of the run, to add to it; ``None``: there is no such run."""
        run = self._runs.get(noted.run_id)
        if run is None or run.written.created_at != noted.created_at:
            return None
        if run.notes is None:
            run.notes = Notes()
        return run.notes

    async def reports(self, run_id: str) -> list[ReportRow]:
        self._check_open()
        run = self._runs.get(run_id)
        if run is None or run.notes is None:
            return []
        return [row for _, row in sorted(run.notes.reports.items())]

    async def logs(
        self, run_id: str, *, path: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[LineRow]:
        self._check_open()
        run = self._runs.get(run_id)
        if run is None or run.notes is None:
            return []
        return run.notes.read(path, after, max(limit, 0))

    # Schedules

    async def schedules(self, *, due_by: float | None = None) -> list[ScheduleRow]:
        self._check_open()
        return [
            row
            for _, row in sorted(self._schedules.items())
            if due_by is None or (not row.paused and row.next_due <= due_by)
        ]

    async def put_schedule(self, row: ScheduleRow) -> bool:
        self._check_open()
        old = self._schedules.get(row.schedule_id)
        if (old.revision if old else 0) != row.revision - 1:
            return False
        self._schedules[row.schedule_id] = row
        return True

    async def drop_schedule(self, schedule_id: str) -> bool:
        self._check_open()
        return self._schedules.pop(schedule_id, None) is not None

    # Hook calls

    async def hook_calls(
        self,
        *,
        due_by: float | None = None,
        of: Iterable[tuple[Hook, str]] | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[HookCall]:
        self._check_open()
        runs = self._called if run_id is None else {run_id} & self._called.keys()
        which = None if of is None else set(of)
        found = (
            call
            for each in runs
            for call in self._called[each].calls.values()
            if (due_by is None or call.due_at <= due_by)
            and (which is None or (call.hook, call.workflow_id) in which)
        )
        return nsmallest(max(limit, 0), found, key=attrgetter("due_at", "run_id", "hook"))

    async def put_hook_call(self, call: HookCall) -> bool:
        self._check_open()
        old = self._call(call)
        if old is None or old.revision != call.revision - 1:
            return False
        self._called[call.run_id].calls[call.hook] = call
        return True

    async def drop_hook_call(self, call: HookCall) -> bool:
        self._check_open()
        if self._call(call) is None:
            return False
        run = self._called[call.run_id]
        del run.calls[call.hook]
        if not run.calls:
            del self._called[call.run_id]
            self._keep(run)
        return True

    def _call(self, call: HookCall) -> HookCall | None:
        """Return the call as it is kept; ``None``: it is not."""
        run = self._called.get(call.run_id)
        kept = run.calls.get(call.hook) if run else None
        return kept if kept is not None and kept.ended_at == call.ended_at else None

    # Reading

    async def get_run(self, run_id: str) -> RunRow | None:
        self._check_open()
        run = self._runs.get(run_id)
        return run.row if run else None

    async def get_runs(self, run_ids: Sequence[str]) -> dict[str, RunRow]:
        self._check_open()
        return {run_id: self._runs[run_id].row for run_id in run_ids if run_id in self._runs}

    async def list_runs(self, query: RunFilter) -> Page[RunRow]:
        self._check_open()
        found: list[RunRow] = []
        size = query.limit
        for read, place in enumerate(self._ages.between(*page_bounds(query)), 1):
            run = self._runs[place[1]]
            if _matches(query, run):
                if len(found) == size:
                    return Page(found, page_cursor(found[-1].created_at, found[-1].run_id))
                found.append(run.row)
            if read - len(found) >= self._most_read:
                return Page(found, page_cursor(*place), instant(place[0]))
        return Page(found)

    async def count_runs(self, query: RunFilter, *, most: int = MOST_COUNTED) -> RunCount:
        self._check_open()
        found = 0
        for read, place in enumerate(self._ages.between(*page_bounds(query)), 1):
            found += _matches(query, self._runs[place[1]])
            if found >= most or read >= self._most_read:
                return RunCount(found, more=True)
        return RunCount(found)

    async def latest_runs(self, *, after: str = "", limit: int = 100) -> list[RunRow]:
        self._check_open()
        latest: dict[str, Run] = {}
        for run in self._runs.values():
            workflow_id = run.written.workflow_id
            if workflow_id > after and (
                workflow_id not in latest or run.age > latest[workflow_id].age
            ):
                latest[workflow_id] = run
        return [latest[workflow_id].row for workflow_id in nsmallest(max(limit, 0), latest)]

    async def load(self, run_id: str) -> Loaded | None:
        self._check_open()
        run = self._runs.get(run_id)
        return None if run is None else self._loaded(run)

    async def load_many(self, run_ids: Sequence[str]) -> dict[str, Loaded]:
        self._check_open()
        return {
            run_id: self._loaded(self._runs[run_id]) for run_id in run_ids if run_id in self._runs
        }

    def _loaded(self, run: Run) -> Loaded:
        tree = self._trees[run.written.fingerprint]
        return Loaded(run.row, tree, tuple(run.read(0, run.seq)), tuple(run.mail.values()))

    async def get_tree(self, fingerprint: str) -> str | None:
        self._check_open()
        return self._trees.get(fingerprint)

    async def read_events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        self._check_open()
        run = self._runs.get(run_id)
        return run.read(max(after, 0), max(limit, 0)) if run else []

    async def read_all_events(
        self, *, after: str = "", limit: int = 1000
    ) -> tuple[list[Event], str]:
        self._check_open()
        position = feed_position(after)
        if limit < 1:
            return [], after
        events, position = self._feed.read(position, limit)
        return events, feed_cursor(position) if events else after

    async def end_of_feed(self) -> str:
        self._check_open()
        return feed_cursor(self._feed.last)

    async def workers(self, *, now: float | None = None) -> list[Worker]:
        self._check_open()
        times = None if now is None else Moment(now)
        return [
            worker
            for worker in self._workers.values()
            if times is None or times.alive(worker.seen_at, worker.lease)
        ]

    async def owned(self) -> dict[str, int]:
        self._check_open()
        return {name: len(runs) for name, runs in self._places.owned.items()}

    async def waiting_queues(self) -> list[str]:
        self._check_open()
        return sorted({run.written.queue for run in self._candidates(inf, None)})

    async def limits(self, *, now: float) -> list[LimitUse]:
        self._check_open()
        times = Moment(now)
        found: list[LimitUse] = []
        for _, kept in sorted(self._books.items()):
            book = replace(kept, leases={**kept.leases})  # a reader changes nothing
            for other in [name for name in book.leases if not self._alive(name, times)]:
                book.leave(other, now)
            found.append(use(book, now))
        return found


def _matches(query: RunFilter, run: Run) -> bool:
    row = run.written
    allowed = query.statuses
    return (
        (query.workflow_id is None or row.workflow_id == query.workflow_id)
        and (allowed is None or row.status in allowed)
        and (query.resource_id is None or row.resource_id == query.resource_id)
        and (query.queue is None or row.queue == query.queue)
        and (query.created_after is None or row.created_at >= query.created_after.timestamp())
        and (query.created_before is None or row.created_at < query.created_before.timestamp())
        and (not query.wants_ended or _ended_within(row, query))
        and (query.waiting_for is None or query.waiting_for in row.waits_for)
        and (query.id_prefix is None or row.run_id.startswith(query.id_prefix))
        and (not query.tags or query.tags.items() <= dict(row.tags).items())
    )


def _ended_within(row: RunRow, query: RunFilter) -> bool:
    at, after, before = row.finished_at, query.finished_after, query.finished_before
    return (
        at is not None
        and (after is None or at >= after.timestamp())
        and (before is None or at < before.timestamp())
    )
