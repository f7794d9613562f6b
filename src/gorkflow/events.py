"""The events of a run: what was recorded, in order. Frozen, slotted, documented field by field.

Each event has these fields first:

``run_id``  the run
``seq``     its place in the run's history, from 1, without gaps
``path``    where in the run it happened; empty for the run itself
``at``      when it was recorded, in seconds since the epoch; never before the event before it

An event that the engine makes brings all that the machine can't know by itself (results, due times,
what a condition decided). The events marked *derived* follow from the tree and the earlier events:
the machine makes them, and on replay checks them against the history.
"""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar

from gorkflow._record import record
from gorkflow.model import Failure, RunStatus
from gorkflow.refs import FailureRef, Ref


@record
class Event:
    """What all events have in common."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    kind: ClassVar[str]
    v: ClassVar[int] = 1
    """The version of the event's fields. Raise it together with an upcaster in ``journal``."""

    run_id: str
    seq: int
    path: str
    at: float


@record
class RunCreated(Event):
    """The run exists and will not be lost; always the first event."""

    kind = "run_created"
    fingerprint: str
    """Of the flow tree that the run executes."""
    input: bytes | None
    """The exact bytes of the input; ``None`` for a workflow without input."""
    timeout: float | None = None
    """Seconds that the run may take once it is started."""


@record
class RunStarted(Event):
    """A worker begins the run; always the second event, unless it was cancelled before."""

    kind = "run_started"
    deadline: float | None
    """When the run's timeout ends, in seconds since the epoch."""


@record
class StepScheduled(Event):
    """An attempt is used up: its handler may begin from now on."""

    kind = "step_scheduled"
    attempt: int
    input: Ref
    ready_at: float
    """When the step could have run, had there been room; seconds since the epoch."""


@record
class StepCompleted(Event):
    """An attempt returned."""

    kind = "step_completed"
    attempt: int
    output: bytes
    """The exact bytes of the output."""
    began_at: float
    """When the handler began, in seconds since the epoch."""
    ended_at: float | None = None
    """When it ended; ``at`` is when that was recorded."""


@record
class StepFailed(Event):
    """An attempt failed, or the condition of a choice did."""

    kind = "step_failed"
    attempt: int
    failure: Failure
    began_at: float | None
    """When the handler began; ``None`` when it did not (its input did not validate)."""
    retry_at: float | None
    """When the next attempt is due; ``None``: this failure is final."""
    ended_at: float | None = None
    """When the handler ended; ``at`` is when that was recorded."""


@record
class StepInterrupted(Event):
    """The process died, or the engine closed, while this attempt was open. Outside the retries."""

    kind = "step_interrupted"
    attempt: int
    reason: str


@record
class StepCancelled(Event):
    """*Derived.* The step was cancelled, or its next attempt was withdrawn."""

    kind = "step_cancelled"
    attempt: int
    """The latest, or the one that was about to be scheduled."""
    reason: str
    failure: int | None = None
    """Set when a drain withdrew a retry: the ``seq`` of the failure that stands as the step's end,
    so that the step counts as failed."""


@record
class StepSkipped(Event):
    """*Derived.* A condition left out the node at this path, and all below it."""

    kind = "step_skipped"
    reason: str


@record
class TimerSet(Event):
    """*Derived.* The timeout of the block or nested workflow at this path began to run."""

    kind = "timer_set"
    key: str
    due: float
    """Seconds since the epoch."""


@record
class TimerFired(Event):
    """A due time passed: of a retry, a block's or workflow's timeout, the run's deadline."""

    kind = "timer_fired"
    key: str


@record
class Decided(Event):
    """The conditions of a choice were evaluated."""

    kind = "decided"
    choice: int
    """The arm whose condition held first; as many as there are arms when none did."""


@record
class BlockDecided(Event):
    """*Derived.* The verdict over a parallel block."""

    kind = "block_decided"
    verdict: str
    """``completed``, ``failed`` or ``cancelled``."""
    reason: str
    """One line for people: what was met or can't be met any more, by whom, after how long."""
    output: Ref
    """The value of the block, when completed."""


@record
class CancelRequested(Event):
    """Somebody asked for the run to be cancelled."""

    kind = "cancel_requested"
    reason: str


@record
class RunFinished(Event):
    """*Derived.* The run ended; always the last event."""

    kind = "run_finished"
    status: RunStatus
    output: Ref
    failures: tuple[FailureRef, ...]
    """The unhandled final failures, in declared order."""
    reason: str


EVENT_TYPES: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        RunCreated,
        RunStarted,
        StepScheduled,
        StepCompleted,
        StepFailed,
        StepInterrupted,
        StepCancelled,
        StepSkipped,
        TimerSet,
        TimerFired,
        Decided,
        BlockDecided,
        CancelRequested,
        RunFinished,
    )
}
"""Every kind of event. Map, loop, sleep and wait bring theirs: ``expanded``, ``wait_opened``, …"""
