"""What must hold after everything was killed: ledger, database and undisturbed run compared."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gorkflow import events as ev
from gorkflow.engine._reads import Shown, run_of
from gorkflow.engine._values import Values
from gorkflow.flow import from_json
from gorkflow.journal import Row, from_row
from gorkflow.machine import replay
from gorkflow.machine.history import read
from gorkflow.model import RunStatus
from gorkflow.store import Loaded
from gorkflow.stores._sql import reads
from gorkflow.stores.sqlite._database import SqliteDatabase
from gorkflow.stores.sqlite._files import WorkerLocks
from tests.faults.ledger import Line

Place = tuple[str, str]
"""A run and a path in it."""


@dataclass
class Database:
    """What the file holds, read without the store."""

    path: Path
    runs: dict[str, Loaded] = field(default_factory=dict[str, Loaded])
    integrity: str = ""
    orphans: int = 0

    def read(self) -> "Database":
        with closing(sqlite3.connect(self.path)) as db:
            (self.integrity,) = db.execute("PRAGMA integrity_check").fetchone()
            (self.orphans,) = db.execute(
                "SELECT COUNT(*) FROM events WHERE run <> 0 AND run NOT IN (SELECT key FROM runs)"
            ).fetchone()
            for (run_id,) in db.execute("SELECT run_id FROM runs ORDER BY created_at").fetchall():
                database = SqliteDatabase(db, WorkerLocks(self.path))
                loaded = reads.load(database, run_id)
                assert loaded is not None
                self.runs[run_id] = loaded
        return self

    def is_empty(self) -> bool:
        """Return whether there are no tables yet."""
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone() == (0,)

    def count(self, kind: str) -> int:
        """Return how many events of a kind are recorded by now."""
        with closing(sqlite3.connect(self.path, timeout=30)) as db:
            asked = db.execute("SELECT COUNT(*) FROM events WHERE kind = ?", (kind,))
            return int(asked.fetchone()[0])

    def events(self) -> Iterable[ev.Event]:
        for run in self.runs.values():
            yield from run.events

    def end(self, run_id: str) -> list[Any]:
        """Return status, output and unhandled failures, as ``session.reference`` does."""
        loaded = self.runs[run_id]
        values = Values(run_id, None)
        values.note(loaded.events)
        history = read(run_id, from_json(loaded.tree), loaded.events)
        run = run_of(loaded.row, history, loaded.events[0], Shown(values))
        failures = sorted([f.path, f.code.value, f.type] for f in run.failures if not f.handled)
        return [run.status.value, run.output, failures]


def events_of(db: Path, run_id: str) -> list[ev.Event]:
    """Return the events that are recorded by now."""
    with closing(sqlite3.connect(db)) as connection:
        found = connection.execute(
            "SELECT runs.run_id, seq_, kind, path, at, body, payload FROM runs JOIN "
            "(SELECT run, seq AS seq_, kind, path, at, body, payload FROM events) ON run = key "
            "WHERE run_id = ? ORDER BY seq_",
            (run_id,),
        ).fetchall()
    return [from_row(Row._make(values)) for values in found]


def check(database: Database, lines: list[Line], *, set_back: float = 0.0) -> None:
    """Check what must hold at any moment between two processes."""
    assert database.integrity == "ok"
    assert database.orphans == 0
    _check_starts(database, lines)
    for run_id, loaded in database.runs.items():
        machine = replay(run_id, from_json(loaded.tree), loaded.events)
        status = loaded.row.status
        if status == RunStatus.SUSPENDED:
            assert machine.is_waiting, f"{run_id} is suspended, with something to do"
        else:
            assert machine.status == status, f"{run_id} is {machine.status}, its row {status}"
    _check_attempts(database)
    _check_waits(database, set_back)
    _check_begins(database, lines)
    _check_results(database, lines)


def _check_starts(database: Database, lines: list[Line]) -> None:
    started = {line.run for line in lines if line.what == "started"}
    tried = {line.run for line in lines if line.what == "starting"}
    assert started <= set(database.runs), "an acknowledged start is lost"
    assert set(database.runs) <= tried
    for run_id in started:
        assert isinstance(database.runs[run_id].events[0], ev.RunCreated), run_id


def _check_attempts(database: Database) -> None:
    """Attempts are numbered without gaps, and each is ended before the next is scheduled."""
    latest: dict[Place, int] = defaultdict(int)
    for event in database.events():
        place = event.run_id, event.path
        if isinstance(event, ev.StepScheduled):
            assert event.attempt == latest[place] + 1, f"{event} after attempt {latest[place]}"
            latest[place] = event.attempt
        elif isinstance(event, ev.StepCompleted | ev.StepInterrupted):
            assert event.attempt == latest[place], f"{event} while {latest[place]} is the latest"


def _check_waits(database: Database, set_back: float) -> None:
    """A signal is taken once, and nothing wakes before its time.

    Except that a timer's last seconds are not looked at again: a clock that is set back meanwhile
    makes it early by as much.
    """
    received = Counter(
        (event.run_id, event.inbox_id)
        for event in database.events()
        if isinstance(event, ev.SignalReceived)
    )
    assert all(count == 1 for count in received.values()), received
    due: dict[tuple[str, str, str], float] = {}
    for event in database.events():
        if isinstance(event, ev.TimerSet):
            due[event.run_id, event.path, event.key] = event.due
        elif isinstance(event, ev.ClockSet):
            for place in [each for each in due if each[0] == event.run_id]:
                due[place] += event.by if place[2] != "sleep" else min(event.by, 0.0)
        elif isinstance(event, ev.TimerFired):
            early = due.get((event.run_id, event.path, event.key), event.at) - event.at
            assert early < 0.002 + set_back, f"{event} is {early:.3f} s early"


def _check_begins(database: Database, lines: list[Line]) -> None:
    scheduled = Counter(
        (event.run_id, event.path)
        for event in database.events()
        if isinstance(event, ev.StepScheduled)
    )
    begins: dict[Place, list[Line]] = defaultdict(list)
    cancelled: set[str] = set()
    for line in lines:
        if line.what == "cancelled":
            cancelled.add(line.run)
        elif line.what == "begin":
            assert line.run not in cancelled, f"{line} after its run was cancelled"
            begins[line.run, line.path].append(line)
    for place, found in begins.items():
        attempts = [line.attempt for line in found]
        # Strictly rising: no attempt number ever serves twice, whatever died in between.
        assert attempts == sorted(set(attempts)), f"{place} began as attempts {attempts}"
        assert len(attempts) <= scheduled[place], f"{place} began more often than was recorded"
        assert attempts[-1] <= scheduled[place], f"{place} began before that was recorded"
    for event in database.events():
        if isinstance(event, ev.StepCompleted):
            again = [
                line for line in begins[event.run_id, event.path] if line.attempt > event.attempt
            ]
            assert not again, f"{event} was recorded, and yet {again}"


def _check_results(database: Database, lines: list[Line]) -> None:
    """Nothing is recorded that did not happen: every result has its begin and its end."""
    ends = {(line.run, line.path, line.attempt) for line in lines if line.what == "end"}
    for event in database.events():
        if isinstance(event, ev.StepCompleted):
            assert (event.run_id, event.path, event.attempt) in ends, event


def check_ended(database: Database, lines: list[Line], expected: dict[str, Any]) -> None:
    """Check that every run ended, and as it does when nothing disturbs it."""
    cancels = {line.run for line in lines if line.what == "cancelling"}
    for run_id, loaded in database.runs.items():
        assert loaded.row.status.terminal, f"{run_id} is still {loaded.row.status}"
        assert loaded.row.worker_id is None
        found = database.end(run_id)
        if not (run_id in cancels and found[0] == "cancelled"):
            assert found == expected[run_id], run_id
