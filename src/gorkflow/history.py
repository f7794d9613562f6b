"""What the events of a run say: its steps, its failures, its progress. Pure functions.

A step that was never reached has no events; its state follows from what happened around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from gorkflow import events as ev
from gorkflow.events import Default, Ended, FailureRef, ListOf, Ref
from gorkflow.flow import SleepSpec, StepSpec, WaitSpec, WorkflowSpec, undo_path, undone_path, walk
from gorkflow.model import (
    Attempt,
    Failure,
    Outcome,
    Progress,
    Run,
    RunStatus,
    StepExecution,
    StepStatus,
    instant,
    instant_if,
)
from gorkflow.store import RunRow
from gorkflow.unfolding import unfolded
from gorkflow.unreached import NOT_REACHED, withdrawn

_Shown = StepSpec | SleepSpec | WaitSpec
KEPT = "kept from the run that this one repeats"
"""The reason of a step that a rerun did not run."""


class Reader(Protocol):
    """Turns references into values."""

    def shown(self, given: Ref, made: Ref) -> tuple[Any, Any, str]:
        """Return an input, an output, and why one is plain data though its type is known."""
        ...

    def failure(self, ref: FailureRef) -> Failure:
        """Return the failure."""
        ...

    def outcome(self, ended: Ended) -> Outcome[Any]:
        """Return the outcome."""
        ...


@dataclass(slots=True, eq=False, repr=False)
class _Record:
    """What is known of one step, sleep or wait so far."""

    status: StepStatus = StepStatus.PENDING
    attempt: int = 0
    input: Ref = None
    output: Ref = None
    failure: FailureRef | None = None
    reason: str = ""
    scheduled_at: float | None = None
    ready_at: float = 0.0
    limits: tuple[str, ...] = ()
    began_at: float | None = None
    finished_at: float | None = None
    attempt_at: float | None = None
    """When the latest attempt was scheduled."""
    undone: StepStatus | None = None
    attempts: list[Attempt] = field(default_factory=list[Attempt])

    @property
    def done(self) -> bool:
        """Whether it ended, or was skipped; not where its run ended without it."""
        return self.finished_at is not None or self.status is StepStatus.SKIPPED

    def close(self, at: float, began_at: float | None, failure: Failure | None) -> None:
        """End the open attempt."""
        queued = None if began_at is None else max(0.0, began_at - self.ready_at)
        self.began_at = self.began_at or began_at
        self.attempts.append(
            Attempt(
                number=self.attempt,
                started_at=None if began_at is None else instant(began_at),
                finished_at=instant(at),
                failure=failure,
                queued=queued,
                ran=None if began_at is None else max(0.0, at - began_at),
                limits=self.limits,
            )
        )


def step_executions(
    run_id: str, tree: WorkflowSpec, events: Iterable[ev.Event], reader: Reader
) -> list[StepExecution]:
    """Return every step of a run in declared order, those that were not reached too.

    Inside a map or loop there is one per item or iteration, as far as these are known. Sleeps and
    waits are among them: a run that only waits should say for what.
    """
    return [
        _execution(run_id, path, spec, record, reader)
        for path, spec, record in _step_records(tree, events, reader)
    ]


def _step_records(
    tree: WorkflowSpec, events: Iterable[ev.Event], reader: Reader
) -> Iterable[tuple[str, _Shown, _Record]]:
    """Yield what is known of every step, sleep and wait, in declared order."""
    events = [*events]
    records, skipped, finished = _fold(events, reader)
    given_up = withdrawn(tree, events) if finished else None
    to_undo, undo = undone_paths(events), dict[str, StepSpec]()
    for path in to_undo:
        records.setdefault(undo_path(path), _Record())
    for path, node in walk(tree, unfolded(events)):
        if isinstance(node, _Shown):
            record = records.get(path) or _unreached(path, skipped, given_up)
            if isinstance(node, StepSpec) and node.undo is not None:
                undo[path] = node.undo.step
                undone = records.get(undo_path(path))
                record.undone = None if undone is None else undone.status
            yield path, node, record
    for path in to_undo:
        yield undo_path(path), undo[path], records[undo_path(path)]


def undone_paths(events: Iterable[ev.Event]) -> tuple[str, ...]:
    """Return the paths of the steps that a run undoes, in the order in which that begins."""
    return next((event.paths for event in events if isinstance(event, ev.UndoStarted)), ())


def _fold(
    events: Iterable[ev.Event], reader: Reader
) -> tuple[dict[str, _Record], dict[str, str], bool]:
    records: dict[str, _Record] = {}
    skipped: dict[str, str] = {}
    finished = False
    for event in events:
        if isinstance(event, ev.StepSkipped):
            skipped[event.path] = event.reason
        elif isinstance(event, ev.UndoStarted | ev.RunFinished):
            finished = True  # what was not reached never will be
        elif type(event) in _FOLDS:
            record = records.get(event.path)
            if record is None:
                record = records[event.path] = _Record()
            _FOLDS[type(event)](record, event, reader)
    return records, skipped, finished


def _scheduled(record: _Record, event: ev.StepScheduled, _: Reader) -> None:
    record.status = StepStatus.RUNNING
    record.attempt = event.attempt
    record.input = event.input
    record.ready_at = event.ready_at
    record.limits = event.limits
    record.attempt_at = event.at
    if record.scheduled_at is None:
        record.scheduled_at = event.at


def _completed(record: _Record, event: ev.StepCompleted, _: Reader) -> None:
    record.status = StepStatus.COMPLETED
    record.reason = ""
    record.output = event.seq
    record.finished_at = event.ended_at or event.at
    record.close(record.finished_at, event.began_at, None)


def _failed(record: _Record, event: ev.StepFailed, _: Reader) -> None:
    record.attempt = event.attempt
    record.failure = event.seq
    ended_at = event.ended_at or event.at
    if record.status is StepStatus.RUNNING:  # else no attempt failed, but what was made of them
        record.close(ended_at, event.began_at, event.failure)
    elif record.status is StepStatus.COMPLETED:  # a wait whose time was over, without a default
        record.output, record.reason = None, ""
    if event.retry_at is None:
        record.status = StepStatus.FAILED
        record.finished_at = ended_at
    else:
        record.status = StepStatus.RETRYING


def _interrupted(record: _Record, event: ev.StepInterrupted, _: Reader) -> None:
    record.reason = event.reason
    record.close(event.at, None, None)
    record.status = StepStatus.PENDING


def _cancelled(record: _Record, event: ev.StepCancelled, _: Reader) -> None:
    if record.status is StepStatus.RUNNING:
        record.close(event.at, None, None)
    stands = event.failure is not None
    record.status = StepStatus.FAILED if stands else StepStatus.CANCELLED
    record.reason = event.reason
    record.finished_at = event.at


def _slept(record: _Record, event: ev.TimerSet, _: Reader) -> None:
    if event.key == "sleep":
        _suspend(record, event.at, f"sleeps until {instant(event.due):%Y-%m-%d %H:%M:%S} UTC")


def _waits(record: _Record, event: ev.WaitOpened, _: Reader) -> None:
    until = "" if event.due is None else f" until {instant(event.due):%Y-%m-%d %H:%M:%S} UTC"
    _suspend(record, event.at, f"waits for signal {event.signal!r}{until}")


def _suspend(record: _Record, at: float, reason: str) -> None:
    record.status = StepStatus.SUSPENDED
    record.scheduled_at = record.began_at = at
    record.reason = reason


def _woke(record: _Record, event: ev.TimerFired, _: Reader) -> None:
    if event.key == "sleep":
        _pass(record, event.at)
    elif event.key == "wait":  # if it has no default, its failure comes next, and corrects this
        _pass(record, event.at, Default(event.path), "timed out; its default stands in")


def _received(record: _Record, event: ev.SignalReceived, _: Reader) -> None:
    _pass(record, event.at, event.seq)


def _kept(record: _Record, event: ev.ResultKept, _: Reader) -> None:
    default = Default(event.path) if event.what == "received" else None
    _pass(record, event.at, default if event.output is None else event.seq, KEPT)


def _pass(record: _Record, at: float, output: Ref = None, reason: str = "") -> None:
    record.status = StepStatus.COMPLETED
    record.output = output
    record.reason = reason
    record.finished_at = at


_FOLDS: dict[type, Callable[[_Record, Any, Reader], None]] = {
    ev.TimerSet: _slept,
    ev.TimerFired: _woke,
    ev.WaitOpened: _waits,
    ev.SignalReceived: _received,
    ev.ResultKept: _kept,
    ev.StepScheduled: _scheduled,
    ev.StepCompleted: _completed,
    ev.StepFailed: _failed,
    ev.StepInterrupted: _interrupted,
    ev.StepCancelled: _cancelled,
}


def _unreached(path: str, skipped: dict[str, str], given_up: dict[str, str] | None) -> _Record:
    """Return the record of a step without events; in a run that ended, it was given up."""
    prefix = path
    while prefix:
        if prefix in skipped:
            return _Record(status=StepStatus.SKIPPED, reason=skipped[prefix])
        prefix = prefix.rpartition("/")[0]
    if given_up is None:
        return _Record()
    return _Record(status=StepStatus.CANCELLED, reason=given_up.get(path, NOT_REACHED))


def _execution(
    run_id: str, path: str, spec: _Shown, record: _Record, reader: Reader
) -> StepExecution:
    given, made, plain = reader.shown(record.input, record.output)
    return StepExecution(
        run_id=run_id,
        path=path,
        step_id=spec.id,
        name=spec.name if isinstance(spec, StepSpec) else spec.id,
        status=record.status,
        attempt=record.attempt,
        input=given,
        output=made,
        plain=plain,
        failure=None if record.failure is None else reader.failure(record.failure),
        reason=record.reason,
        undone=record.undone,
        executor=spec.executor if isinstance(spec, StepSpec) else "",
        scheduled_at=instant_if(record.scheduled_at),
        started_at=instant_if(record.began_at or record.attempt_at),
        finished_at=instant_if(record.finished_at),
        attempts=(*record.attempts, *_open_attempt(record)),
    )


def _open_attempt(record: _Record) -> Iterable[Attempt]:
    """Yield the attempt that is running, if one is. It tells when it began once it has ended."""
    if record.status is StepStatus.RUNNING:
        yield Attempt(
            number=record.attempt,
            started_at=instant_if(record.attempt_at),
            finished_at=None,
            failure=None,
            queued=None,
            ran=None,
            limits=record.limits,
        )


def final_failures(
    tree: WorkflowSpec, events: Sequence[ev.Event], reader: Reader
) -> tuple[Failure, ...]:
    """Return all final failures in declared order; ``handled`` where the run went on from one."""
    found: dict[tuple[str, int], FailureRef] = {}
    unhandled: set[FailureRef] = set()
    for event in events:
        if isinstance(event, ev.StepFailed) and event.retry_at is None:
            found[event.path, event.seq] = event.seq
        elif isinstance(event, ev.StepCancelled) and event.failure is not None:
            found[event.path, event.failure] = event.failure
        elif isinstance(event, ev.BlockDecided):
            made = (*_machine_made(event.output), *event.failures)
            found.update({(item.path, 0): item for item in made})
        elif isinstance(event, ev.UndoStarted | ev.RunFinished):
            unhandled = set(event.failures)
            made = tuple(item for item in event.failures if isinstance(item, Failure))
            found.update({(item.path, 0): item for item in made})
    order = [path for path, _ in walk(tree, unfolded(events))]
    order += map(undo_path, undone_paths(events))
    places = {path: place for place, path in enumerate(order)}
    in_order = sorted(found, key=lambda key: (places.get(key[0], -1), key[1]))
    handled = {key for key in found if found[key] not in unhandled and undone_path(key[0]) is None}
    return tuple(replace(reader.failure(found[key]), handled=key in handled) for key in in_order)


def _machine_made(ref: Ref) -> Iterable[Failure]:
    """Yield the failures that the machine made, from the outcomes inside a value."""
    if isinstance(ref, tuple | ListOf):
        for item in ref if isinstance(ref, tuple) else ref.items:
            if isinstance(item, Ended):
                yield from (f for f in item.failures if isinstance(f, Failure))


def unhandled_failures(events: Sequence[ev.Event], reader: Reader) -> tuple[Failure, ...]:
    """Return the failures that ended a run, in declared order."""
    last = events[-1] if events else None
    if not isinstance(last, ev.RunFinished):
        return ()
    return tuple(reader.failure(item) for item in last.failures)


def step_outcomes(
    tree: WorkflowSpec, events: Sequence[ev.Event], reader: Reader
) -> dict[str, Outcome[object]]:
    """Return how each step that has ended did, by path, in declared order."""
    outcomes: dict[str, Outcome[object]] = {}
    for path, _, record in _step_records(tree, events, reader):
        if record.status.terminal:
            failures = () if record.failure is None else (record.failure,)
            outcomes[path] = reader.outcome(
                Ended(path, record.status, record.output, failures, record.reason)
            )
    return outcomes


def run_of(row: RunRow, tree: WorkflowSpec, events: Sequence[ev.Event], reader: Reader) -> Run:
    """Return a run in full."""
    first, last = (events[0], events[-1]) if events else (None, None)
    output = last.output if isinstance(last, ev.RunFinished) else None
    created = first if isinstance(first, ev.RunCreated) else None
    records = [record for _, _, record in _step_records(tree, events, reader)]
    done = sum(1 for record in records if record.done)
    completed = row.status is RunStatus.COMPLETED
    given, made, plain = reader.shown(1, output if completed else None)
    return replace(
        summary_of(row),
        input=given,
        output=made,
        plain=plain,
        failures=final_failures(tree, events, reader),
        progress=Progress(done=done, total=len(records)),
        origin=None if created is None else created.origin,
        from_step=None if created is None else created.from_step,
    )


def summary_of(row: RunRow) -> Run:
    """Return a run without what only its events tell."""
    return Run(
        run_id=row.run_id,
        workflow_id=row.workflow_id,
        workflow_version=row.workflow_version,
        status=row.status,
        reason=row.reason,
        resource_id=row.resource_id,
        tags=dict(row.tags),
        created_at=instant(row.created_at),
        started_at=instant_if(row.started_at),
        finished_at=instant_if(row.finished_at),
        due_at=instant_if(row.due_at),
        worker_id=row.worker_id,
    )
