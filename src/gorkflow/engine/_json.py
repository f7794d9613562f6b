"""The JSON of a run: its facts, steps and events as plain data. Needs no code of the workflow.

All views of a run read it here, so that none shows a secret.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, cast

from msgspec import Struct

from gorkflow.codec import view
from gorkflow.engine._reads import Shown, redacted, with_reports
from gorkflow.engine._recorded import Recorded, load, placed, reading
from gorkflow.events import Event, RunFinished
from gorkflow.flow import WorkflowSpec
from gorkflow.machine.history import History
from gorkflow.model import LogLine, Run, StepExecution, instant
from gorkflow.redaction import Redaction
from gorkflow.store import ReportRow, RunReader


@dataclass(frozen=True, slots=True)
class Record:
    """A run in full, without its secrets."""

    run: Run
    tree: WorkflowSpec
    steps: list[StepExecution]
    events: tuple[Event, ...]
    """For people. A machine needs those of ``recorded``."""
    recorded: Recorded
    """The run with its secrets: show of it only that which passed ``redaction.shown``."""
    redaction: Redaction

    def to_json(self, *, events: bool = False) -> dict[str, Any]:
        """Return the run with its steps, and its events if wanted, as JSON data."""
        body: dict[str, Any] = to_json(self.run)
        body["steps"] = [to_json(step) for step in self.steps]
        if events:
            body["events"] = [event_json(event) for event in self.events]
        return body


async def record(reader: RunReader, run_id: str) -> Record:
    """Read a run.

    Raises:
        RunNotFoundError: If there is no such run.
        StoreCorruptError: If its record is damaged.
    """
    reports = await reader.reports(run_id)  # first: a secret in one is in a later record
    return record_of(await placed(reader, await load(reader, run_id)), reports)


def record_of(found: Recorded, reports: Sequence[ReportRow] = ()) -> Record:
    """Return what a record says, as plain data without secrets.

    Args:
        found: the record.
        reports: what its running steps reported.

    Raises:
        StoreCorruptError: If it is damaged.
    """
    return _record(found, reports, found.redaction())


def with_secrets(found: Record) -> Record:
    """Return the same run with its secrets, to compare it. Show nothing of it."""
    return _record(found.recorded, (), Redaction()) if found.redaction else found


def _record(found: Recorded, reports: Sequence[ReportRow], redaction: Redaction) -> Record:
    shown = redaction.shown
    with found.reading():
        history, values = found.history(), values_of(found, redaction)
        return Record(
            run=run_shown(found, history, values, redaction),
            tree=shown(found.tree),
            steps=shown(with_reports(history.executions(values), reports)),
            events=shown(tuple(found.events)),
            recorded=found,
            redaction=redaction,
        )


async def redaction_of(reader: RunReader, run_id: str) -> Redaction:
    """Return what leaves the secrets of a run out of a part of it, such as some of its events.

    Raises:
        RunNotFoundError: If there is no such run.
        StoreCorruptError: If its record is damaged.
    """
    return (await load(reader, run_id)).redaction()


async def without_secrets(
    reader: RunReader, run_id: str, lines: AsyncIterator[LogLine]
) -> AsyncIterator[LogLine]:
    """Yield lines of a run's log without the secrets that the run has recorded by then.

    Give it only the lines that are wanted: each costs a look at a run that is live.

    Raises:
        RunNotFoundError: If there is no such run.
        StoreCorruptError: If its record is damaged.
    """
    found = await load(reader, run_id)
    redaction, last = found.redaction(), found.events[-1]
    async for line in lines:
        while not isinstance(last, RunFinished):
            events = await reader.read_events(run_id, after=last.seq)
            if not events:
                break
            for event in events:
                with reading(run_id, [event]):
                    redaction.learn(event)
            last = events[-1]
        yield redaction.shown(line)


def values_of(found: Recorded, redaction: Redaction) -> Shown:
    """Return the values of a run, as plain data without secrets."""
    return Shown(found.values(None, redaction.view if redaction else view))


def run_shown(found: Recorded, history: History, values: Shown, redaction: Redaction) -> Run:
    """Return a run as plain data without secrets.

    Args:
        found: its record.
        history: what its events say.
        values: its values.
        redaction: leaves its secrets out.
    """
    run = redacted(found, history, values, redaction)
    return replace(run, input=to_json(run.input), output=to_json(run.output))  # of outcomes, too


def summary_json(run: Run) -> dict[str, Any]:
    """Return a run as JSON data without what a summary does not know."""
    unknown = {
        "input", "output", "plain", "failures", "progress", "origin", "from_step", "state",
        "scheduled_for",
    }  # fmt: skip
    return {name: value for name, value in to_json(run).items() if name not in unknown}


def to_json(item: Any) -> Any:
    """Return what callers see (runs, steps, failures, outcomes) as JSON data."""
    if isinstance(item, Struct):
        return {name: to_json(getattr(item, name)) for name in item.__struct_fields__}
    if is_dataclass(item) and not isinstance(item, type):
        names = [field.name for field in fields(item) if field.repr]  # not how it is drawn
        return {name: to_json(getattr(item, name)) for name in names}
    if isinstance(item, Enum):
        return item.value
    if isinstance(item, datetime):
        return item.isoformat()
    if isinstance(item, timedelta):
        return item.total_seconds()
    if isinstance(item, Mapping):
        mapping = cast("Mapping[str, object]", item)
        return {key: to_json(value) for key, value in mapping.items()}
    if isinstance(item, tuple | list):
        return [to_json(value) for value in cast("Iterable[object]", item)]
    return item


def event_json(event: Event) -> dict[str, Any]:
    """Return an event as JSON data; values as they are, references as their places.

    Raises:
        StoreCorruptError: If a value of it is damaged.
    """
    body: dict[str, Any] = {"kind": event.kind}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, bytes):
            with reading(event.run_id, [event]):
                value = view(value)
        elif name == "at":
            value = instant(value)
        body[name] = to_json(value)
    return body
