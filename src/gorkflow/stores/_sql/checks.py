"""The checks of a store's rows: their workers, messages that no worker looks at, and damage."""

from __future__ import annotations

from collections.abc import Iterator

from gorkflow._text import listed
from gorkflow.clock import Moment
from gorkflow.errors import StoreCorruptError
from gorkflow.store import Finding, Level
from gorkflow.stores._sql import limits, schedules
from gorkflow.stores._sql.database import Database
from gorkflow.stores._sql.rows import run_row

_LATE = 10.0
"""Seconds after which a worker should have looked at a message: workers look every second."""
_FEW = 5
SHOWN = 20
"""Problems of one kind that are named one by one."""

_CROSS_CHECKS = {
    "find_orphaned_events": "events are kept of runs that are gone",
    "find_orphaned_messages": "messages are kept for runs that are gone",
    "find_orphaned_reports": "progress reports are kept of runs that are gone",
    "find_orphaned_lines": "log lines are kept of runs that are gone",
    "find_orphaned_hook_calls": "hook calls are kept of runs that are gone, or have not ended",
    "find_odd_hook_calls": "hook calls contradict their run",
    "find_orphaned_tags": "tags are kept of runs that are gone, or that lack them",
    "find_missing_tags": "tags of a run are missing where runs are found by them",
    "find_orphaned_waits": "waits are kept of runs that are gone, or that lack them",
    "find_missing_waits": "waits of a run are missing where runs are found by them",
    "find_missed_mail": "messages would not wake their run",
    "find_odd_messages": "messages contradict their run",
    "find_odd_workers": "workers contradict themselves",
}
"""Named queries that return one text per thing that is wrong."""


def examine(db: Database, now: float) -> list[Finding]:
    """Return the state of the workers, and what of the rows a person should look at."""
    return [*_workers(db, now), *_unread(db), *_unheard(db, now), *_few(_unreadable(db))]


def _workers(db: Database, now: float) -> Iterator[Finding]:
    for row in db.rows("list_workers"):
        worker_id, _, seen_at, _, host, pid = row[:6]
        alive = db.alive(row, Moment(now))
        text = (
            f"{worker_id!r} (process {pid} on {host or 'an unnamed host'}) is "
            f"{'alive' if alive else 'dead'}; last heartbeat {max(0.0, now - seen_at):,.0f} s ago"
        )
        if alive:
            yield Finding(Level.OK, "worker", text)
        else:
            yield Finding(
                Level.INFO, "worker", text,
                "nothing to do: its runs go to the next worker that claims, and its entry goes "
                "when one starts",
            )  # fmt: skip


def _unread(db: Database) -> Iterator[Finding]:
    [(messages, runs)] = db.rows("count_unread_messages")
    if messages:
        yield Finding(
            Level.INFO, "inbox",
            f"never used: {_counted(messages, 'message')} of {_counted(runs, 'ended run')}",
            "they go with their runs: `gorkflow db prune`",
        )  # fmt: skip


def _few(damage: Iterator[Finding]) -> Iterator[Finding]:
    found = [*damage]
    yield from found[:_FEW]
    if len(found) > _FEW:
        yield Finding(
            Level.PROBLEM, "damage", f"{len(found) - _FEW:,} more runs can't be read",
            "`gorkflow db check` names them",
        )  # fmt: skip


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _unheard(db: Database, now: float) -> Iterator[Finding]:
    found = db.rows("find_unheard_runs", before=now - _LATE, limit=_FEW)
    runs = [run_id for (run_id,) in found]
    if runs:
        yield Finding(
            Level.PROBLEM, "messages",
            f"runs got messages that no worker looks at: {', '.join(runs)}",
            "no living worker knows their workflow, or all are full; start one: "
            "`gorkflow worker TARGET`",
        )  # fmt: skip


def check(db: Database, failure: type[Exception], restore: str) -> Iterator[Finding]:
    """Yield what is damaged, except in single runs' events, which ``load`` checks.

    Args:
        db: the database.
        failure: raised by a statement that can't take what is there.
        restore: what to do about rows that contradict each other.
    """
    for name, meaning in _CROSS_CHECKS.items():
        try:
            named = [str(text) for (text,) in db.rows(name)]
        except failure as error:
            named = [str(error)]
        if named:
            text = f"{meaning}: {listed(named, SHOWN)}"
            yield Finding(Level.PROBLEM, "rows", text, restore)
    yield from _unreadable(db)
    for text in limits.check(db):
        advice = "nothing to do: it begins anew with the next step that takes it"
        yield Finding(Level.PROBLEM, "limit", text, advice)
    for damage in schedules.check(db):
        yield Finding(Level.PROBLEM, "schedule", str(damage))


def _unreadable(db: Database) -> Iterator[Finding]:
    """Yield the runs whose summary can't be read: no listing shows them, no worker takes them."""
    for values in db.rows("list_all_runs"):
        try:
            run_row(values)
        except StoreCorruptError as error:
            run_id = values[1]
            advice = f"restore a backup, or delete it: gorkflow runs delete {run_id} --force"
            yield Finding(Level.PROBLEM, f"run {run_id}", str(error), advice)
