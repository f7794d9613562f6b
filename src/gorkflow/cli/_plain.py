"""What is recorded of a run as plain JSON data, with no need of the code that made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, cast

from msgspec import Struct

from gorkflow import events as ev
from gorkflow.codec import view
from gorkflow.engine._reads import run_of
from gorkflow.engine._recorded import reading, tree_of
from gorkflow.errors import HistoryError, RunNotFoundError
from gorkflow.events import Default, Ended, FailureRef, Item, ListOf, Ref
from gorkflow.flow import WorkflowSpec, defaults_of, template_of
from gorkflow.machine.history import read
from gorkflow.model import (
    Cancelled,
    Completed,
    Failed,
    Failure,
    Outcome,
    Run,
    Skipped,
    StepExecution,
    StepStatus,
    instant,
)
from gorkflow.store import Loaded, RunReader

_INPUT = 1  # the seq that stands for the run's input: that of `run_created`


@dataclass(frozen=True, slots=True)
class Record:
    """All there is to show of a run."""

    run: Run
    tree: WorkflowSpec
    steps: list[StepExecution]
    events: tuple[ev.Event, ...]

    def to_json(self, *, events: bool = False) -> dict[str, Any]:
        """Return the run with its steps, and its events if wanted, as JSON data."""
        body: dict[str, Any] = to_json(self.run)
        body["steps"] = [to_json(step) for step in self.steps]
        if events:
            body["events"] = [event_to_json(event) for event in self.events]
        return body


async def load(reader: RunReader, run_id: str) -> Loaded:
    """Return what is recorded of a run.

    Raises:
        RunNotFoundError: there is no such run.
    """
    loaded = await reader.load(run_id)
    if loaded is None:
        raise RunNotFoundError(run_id)
    return loaded


async def record(reader: RunReader, run_id: str) -> Record:
    """Return a run with its steps.

    Raises:
        RunNotFoundError: there is no such run.
    """
    loaded = await load(reader, run_id)
    with reading(run_id):
        tree = tree_of(loaded)
        values = Values(run_id, tree, loaded.events)
        history = read(run_id, tree, loaded.events)
        run = run_of(loaded.row, history, loaded.events[0], values)
        return Record(run, tree, history.executions(values), loaded.events)


class Values:
    """Turns the references of a run into JSON data.

    Args:
        run_id: the run.
        tree: what it executes.
        events: its history.
    """

    def __init__(self, run_id: str, tree: WorkflowSpec, events: Iterable[ev.Event]) -> None:
        self._run_id = run_id
        self._tree = tree
        self._bytes: dict[int, bytes | None] = {_INPUT: None}
        self._composed: dict[int, Ref] = {}
        self._lists: dict[Ref, Any] = {}  # of which items are shown: read once for all of them
        self._failures: dict[int, Failure] = {}
        for event in events:
            if isinstance(event, ev.StepCompleted):
                self._bytes[event.seq] = event.output
            elif isinstance(event, ev.SignalReceived):
                self._bytes[event.seq] = event.payload
            elif isinstance(event, ev.ResultKept):
                self._bytes[event.seq] = event.output
            elif isinstance(event, ev.BlockDecided):
                self._composed[event.seq] = event.output
            elif isinstance(event, ev.StepFailed):
                self._failures[event.seq] = event.failure
            elif isinstance(event, ev.RunCreated):
                self._bytes[_INPUT] = event.input

    def shown(self, given: Ref, made: Ref) -> tuple[Any, Any, str]:
        """Return an input and an output; all are plain data here."""
        return self.value(given), self.value(made), ""

    def value(self, ref: Ref) -> Any:
        """Return the value.

        Raises:
            HistoryError: the reference leads nowhere.
        """
        if ref is None:
            return None
        if isinstance(ref, int):
            if ref in self._composed:
                return self.value(self._composed[ref])
            if ref not in self._bytes:
                raise HistoryError(self._run_id, f"event {ref} of {self._run_id!r} holds no value")
            data = self._bytes[ref]
            return None if data is None else view(data)
        if isinstance(ref, tuple):
            return [self.value(item) for item in ref]
        if isinstance(ref, ListOf):
            return self.value(ref.items)
        if isinstance(ref, Item):
            return self._item(ref)
        if isinstance(ref, Ended):
            return self._ended(ref)
        return self._default(ref)

    def _item(self, ref: Item) -> Any:
        items: Any = self._lists.get(ref.of)
        if items is None:
            items = self._lists[ref.of] = self.value(ref.of)
        try:
            return items[ref.index]
        except (LookupError, TypeError) as error:
            message = f"a list of {self._run_id!r} has no item {ref.index}"
            raise HistoryError(self._run_id, message) from error

    def failure(self, ref: FailureRef) -> Failure:
        """Return the failure."""
        return self._failures[ref] if isinstance(ref, int) else ref

    def outcome(self, ended: Ended) -> Outcome[Any]:
        """Return the outcome."""
        match ended.status:
            case StepStatus.COMPLETED:
                return Completed(ended.path, self.value(ended.value))
            case StepStatus.FAILED:
                return Failed(ended.path, self.failure(ended.failures[0]))
            case StepStatus.SKIPPED:
                return Skipped(ended.path, ended.reason)
            case _:
                return Cancelled(ended.path, ended.reason)

    def _ended(self, ended: Ended) -> dict[str, Any]:
        return {"status": ended.status.value, **to_json(self.outcome(ended))}

    def _default(self, ref: Default) -> Any:
        text = defaults_of(self._tree).get(template_of(ref.path))
        if text is not None:
            return view(text.encode())
        raise HistoryError(self._run_id, f"run {self._run_id!r} has no default at {ref.path!r}")


def to_json(item: Any) -> Any:
    """Return what callers see (runs, steps, failures, outcomes) as JSON data."""
    if is_dataclass(item) and not isinstance(item, type):
        return {field.name: to_json(getattr(item, field.name)) for field in fields(item)}
    if isinstance(item, Struct):
        return {name: to_json(getattr(item, name)) for name in item.__struct_fields__}
    if isinstance(item, Enum):
        return item.value
    if isinstance(item, datetime):
        return item.isoformat()
    if isinstance(item, Mapping):
        mapping = cast("Mapping[str, object]", item)
        return {key: to_json(value) for key, value in mapping.items()}
    if isinstance(item, tuple | list):
        return [to_json(value) for value in cast("Iterable[object]", item)]
    return item


def event_to_json(event: ev.Event) -> dict[str, Any]:
    """Return an event as JSON data; values as they are, references as their places."""
    body: dict[str, Any] = {"kind": event.kind}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, bytes):
            value = view(value)
        elif name == "at":
            value = instant(value)
        body[name] = to_json(value)
    return body
