"""The doctor of a store: how the store, its workers and its runs are, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

import click

from gorkflow._text import counted, listed, span_of
from gorkflow.cli._app import CONTEXT, Command, json_option, store_option
from gorkflow.cli._db import inspectable, show_findings
from gorkflow.cli._output import one_line
from gorkflow.cli._target import check_exists
from gorkflow.clock import SystemClock, time_of
from gorkflow.engine._maintenance import damaged
from gorkflow.errors import GorkflowError, StoreError
from gorkflow.hooks import HookCall
from gorkflow.listing import RunFilter
from gorkflow.model import BLOCKED, DEFAULT_QUEUE, UNDOING, RunStatus, instant
from gorkflow.schedule import ScheduleRow, mended
from gorkflow.store import Finding, Level, RunReader, RunRow, Store, Worker

_LATE = 10.0
"""Seconds after which a worker should have claimed a run: workers look every second."""
_SHOWN = 5
_PAGE = 1000
_REASON = 300  # characters of what keeps a run from going on
_HISTORIES = 500
"""The number of newest runs that are replayed; `gorkflow db check` replays all."""
_CALLS = 10_000
"""The number of hook calls that are looked at, those that are due first."""
_LIVE = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED)


@click.command(
    "doctor",
    cls=Command,
    example=("gorkflow doctor", "gorkflow doctor --store sqlite:runs.db --json"),
    context_settings=CONTEXT,
)
@store_option
@json_option
@click.pass_context
def doctor_command(ctx: click.Context, *, store: str | None, as_json: bool) -> None:
    """Report how the store, its workers and its runs are, and what to do about it.

    Exit code 1 if something needs attention.
    """

    async def work() -> list[Finding]:
        rows = check_exists(store)
        found, opens = await inspectable(rows).examine(SystemClock().now())
        if not opens:
            return list(found)
        try:
            await rows.open()
            now = await time_of(rows)
            more = [*(await _of_runs(rows, now)), *(await _of_schedules(rows, now))]
            more += _told_of_hooks(await rows.hook_calls(limit=_CALLS), now)
            more += await _of_damage(rows, {each.about for each in found})
        except StoreError as error:  # a patient too ill to be examined to the end
            more = [Finding(Level.PROBLEM, "store", str(error))]
        finally:
            await rows.close()
        return [*found, *more]

    ctx.exit(show_findings(asyncio.run(work()), store, as_json=as_json))


@dataclass(slots=True)
class _Group:
    """Runs with the same trouble. Only some are kept, so that a long queue costs no memory."""

    count: int = 0
    oldest: float = 0.0
    """Seconds since the trouble began, for the run that has it longest."""
    some: list[RunRow] = field(default_factory=list[RunRow])

    def add(self, row: RunRow, age: float) -> None:
        self.count += 1
        self.oldest = max(self.oldest, age)
        if len(self.some) < _SHOWN:
            self.some.append(row)

    @property
    def named(self) -> str:
        return listed([row.run_id for row in self.some], _SHOWN, self.count)


@dataclass(slots=True)
class _Ward:
    """The live runs, by what ails them."""

    counts: dict[str, _Group] = field(default_factory=dict[str, _Group])
    """All of them, by status."""
    left: _Group = field(default_factory=_Group)
    """Their worker is dead."""
    overdue: _Group = field(default_factory=_Group)
    """They should have been woken."""
    blocked: _Group = field(default_factory=_Group)
    """Their code can't continue them."""
    undoing: _Group = field(default_factory=_Group)
    """No worker claims them, to undo what they did."""
    untaken: dict[str, _Group] = field(default_factory=dict[str, _Group])
    """No worker claims them; by workflow."""
    unserved: dict[str, _Group] = field(default_factory=dict[str, _Group])
    """No living worker serves their queue; by queue."""

    def add(self, row: RunRow, alive: Mapping[str, Worker], now: float) -> None:
        """Put a live run where it belongs; most only count."""
        age = now - max(row.created_at, row.due_at or 0.0)
        # Where nobody is left to go on with what was begun, there is nothing to wait for.
        late = _LATE if alive or row.status is RunStatus.PENDING else 0.0
        self.counts.setdefault(row.status.value, _Group()).add(row, now - row.created_at)
        if row.worker_id is not None:
            if row.worker_id not in alive:
                self.left.add(row, age)
        elif row.reason and not row.reason.startswith(UNDOING):
            self.blocked.add(row, now - row.created_at)
        elif age > late and not _is_served(row, alive):
            self.unserved.setdefault(row.queue, _Group()).add(row, age)
        elif row.status is RunStatus.SUSPENDED:
            if row.due_at is not None and age > late:
                self.overdue.add(row, age)
        elif age > late and row.reason:
            self.undoing.add(row, age)
        elif age > late:
            self.untaken.setdefault(row.workflow_id, _Group()).add(row, age)


def _is_served(row: RunRow, alive: Mapping[str, Worker]) -> bool:
    """Return whether a living worker serves the queue of a run, or it has nothing to do now."""
    if row.status is RunStatus.SUSPENDED and row.due_at is None:
        return True
    if not alive and row.queue == DEFAULT_QUEUE:
        return True  # then no worker is what is missing
    return any(row.queue in worker.queues for worker in alive.values())


def _why(row: RunRow) -> str:
    return one_line(row.reason.removeprefix(BLOCKED))[:_REASON]


async def _of_runs(store: RunReader, now: float) -> list[Finding]:
    alive = {worker.worker_id: worker for worker in await store.workers(now=now)}
    ward = _Ward()
    async for row in _live(store):
        ward.add(row, alive, now)
    return list(_told(ward, someone=bool(alive)))


async def _live(store: RunReader) -> AsyncIterator[RunRow]:
    query = RunFilter(status=_LIVE, limit=_PAGE)
    while True:
        page = await store.list_runs(query)
        for row in page:
            yield row
        if page.next_cursor is None:
            return
        query = RunFilter(status=_LIVE, limit=_PAGE, cursor=page.next_cursor)


def _told(ward: _Ward, *, someone: bool) -> Iterator[Finding]:
    if not ward.counts:
        yield Finding(Level.OK, "runs", "none is unfinished")
    for status, group in ward.counts.items():
        yield Finding(
            Level.OK, "runs", f"{group.count:,} {status}, the oldest {span_of(group.oldest)} old"
        )
    busy = "the workers are full, or know other workflows" if someone else "no worker is alive"
    start = "start one: `gorkflow worker TARGET`"
    if ward.left.count:
        yield Finding(
            Level.PROBLEM, "left", f"{ward.left.count:,} owned by a dead worker: {ward.left.named}",
            "no living worker that knows their workflow takes them over; " + start,
        )  # fmt: skip
    if ward.overdue.count:
        yield Finding(
            Level.PROBLEM, "overdue",
            f"{ward.overdue.count:,} should have been woken, the first "
            f"{span_of(ward.overdue.oldest)} ago: {ward.overdue.named}",
            f"{busy}; {start}",
        )  # fmt: skip
    for workflow_id, group in ward.untaken.items():
        yield Finding(
            Level.PROBLEM, "waiting",
            f"{group.count:,} of workflow {workflow_id!r} wait for a worker, the first for "
            f"{span_of(group.oldest)}: {group.named}",
            f"{busy}; {start}",
        )  # fmt: skip
    yield from _told_of_queues(ward.unserved)
    if ward.undoing.count:
        yield Finding(
            Level.PROBLEM, "undoing",
            f"{ward.undoing.count:,} wait for a worker that undoes their steps, the first for "
            f"{span_of(ward.undoing.oldest)}: {ward.undoing.named}",
            f"{busy}; {start}, or `gorkflow runs resume RUN_ID TARGET`",
        )  # fmt: skip
    for row in ward.blocked.some:
        yield Finding(
            Level.PROBLEM, "blocked", f"run {row.run_id}: {_why(row)}",
            f"do what it says, or `gorkflow runs cancel {row.run_id}`",
        )  # fmt: skip
    if ward.blocked.count > _SHOWN:
        yield Finding(
            Level.PROBLEM, "blocked", counted(ward.blocked.count - _SHOWN, "more run"),
            "see the notes in `gorkflow runs list`",
        )  # fmt: skip


def _told_of_queues(unserved: Mapping[str, _Group]) -> Iterator[Finding]:
    for queue, group in unserved.items():
        yield Finding(
            Level.PROBLEM, "queue",
            f"{group.count:,} of queue {queue!r} wait for a worker, the first for "
            f"{span_of(group.oldest)}: {group.named}",
            "no living worker serves that queue; start one: "
            f"`gorkflow worker TARGET --queue {queue}`",
        )  # fmt: skip


async def _of_damage(store: Store, known: set[str]) -> list[Finding]:
    """Return what is damaged in the rows, and in the newest histories, unless it is known."""
    found = await inspectable(store).check(rows_only=True)
    looked_at = 0
    async for wrong in damaged(store):
        looked_at += 1
        if wrong is not None:
            found.append(wrong)
        if looked_at == _HISTORIES:
            break
    found = [each for each in found if each.about == "rows" or each.about not in known]
    text = f"the newest {looked_at:,} were looked at; `gorkflow db check` looks at all"
    return [*found, Finding(Level.INFO, "histories", text)]


def _due_by_rule(row: ScheduleRow, now: float) -> float | None:
    try:
        return mended(row, now, 0.0)
    except (GorkflowError, ModuleNotFoundError):
        return None  # who can't read its rule can't tell


async def _of_schedules(store: Store, now: float) -> list[Finding]:
    return list(_told_of_schedules(await store.schedules(), now))


def _told_of_schedules(rows: list[ScheduleRow], now: float) -> Iterator[Finding]:
    if rows:
        paused = sum(row.paused for row in rows)
        yield Finding(Level.OK, "schedules", f"{len(rows):,} kept, {paused:,} paused")
    for row in rows:
        if not row.paused and (due := _due_by_rule(row, now)) is not None:
            yield Finding(
                Level.PROBLEM, "schedule",
                f"{row.schedule_id!r} is next due at {instant(row.next_due)}, but by its rule at "
                f"{instant(due)}: a clock was wrong once",
                "a worker that knows its workflow puts that right within a minute: "
                "`gorkflow worker TARGET`",
            )  # fmt: skip
    overdue = [row for row in rows if not row.paused and row.next_due < now - _LATE]
    for row in overdue[:_SHOWN]:
        yield Finding(
            Level.PROBLEM, "schedule",
            f"{row.schedule_id!r} should have started a run of workflow {row.workflow_id!r} "
            f"{span_of(now - row.next_due)} ago",
            "no living worker knows that workflow, or it can't start the run and its log says why; "
            "start one: `gorkflow worker TARGET`",
        )  # fmt: skip
    if len(overdue) > _SHOWN:
        yield Finding(
            Level.PROBLEM, "schedule", f"{len(overdue) - _SHOWN:,} more are overdue",
            "see `gorkflow schedule list`",
        )  # fmt: skip


def _told_of_hooks(calls: list[HookCall], now: float) -> Iterator[Finding]:
    if not calls:
        return
    late = [call for call in calls if call.due_at < now - _LATE]
    failed = [call for call in calls if call.error]
    due = f"{len(calls):,} or more calls" if len(calls) == _CALLS else counted(len(calls), "call")
    yield Finding(
        Level.OK, "hooks",
        f"{due} due: {len(late):,} late, {len(failed):,} that failed before",
    )  # fmt: skip
    if failed:
        worst = max(failed, key=lambda call: call.tries)
        yield Finding(
            Level.WARNING, "hook",
            f"the one of run {worst.run_id} failed {counted(worst.tries, 'time')}, at last with "
            f"{one_line(worst.error)[:_REASON]}",
            "correct the hook and restart the workers; they call it again until it returns",
        )  # fmt: skip
    for workflow_id in list(dict.fromkeys(call.workflow_id for call in late))[:_SHOWN]:
        group = [call for call in late if call.workflow_id == workflow_id]
        names = listed([call.run_id for call in group[:_SHOWN]], _SHOWN, len(group))
        yield Finding(
            Level.PROBLEM, "hook",
            f"{counted(len(group), 'call')} late for runs of workflow {workflow_id!r}, the first "
            f"by {span_of(now - group[0].due_at)}: {names}",
            "no living worker knows that workflow and has the hook; start one: "
            "`gorkflow worker TARGET`",
        )  # fmt: skip
