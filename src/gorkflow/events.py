"""The events of a run: what was recorded, in order. Frozen, slotted, documented field by field.

Each event has these fields first:

``run_id``  the run
``seq``     its place in the run's history, from 1, without gaps
``path``    where in the run it happened; empty for the run itself
``at``      when it was recorded, in seconds since the epoch; only at a ``ClockSet`` is that before
            the event before it

An event that the engine makes brings all that the machine can't know by itself: results, due times,
answers of conditions. The events marked *derived* follow from the tree and the earlier events: the
machine makes them, and on replay checks them against the history.

Values are moved about as references. A reference is plain data that names where a value was
recorded, so composing values costs nothing. No composed value, such as the tuple of a block, is
stored twice. The engine materialises bytes only for the step about to run.

==============  =================================================================================
``None``        the value ``None``
``int``         the value recorded by the event of that ``seq``; of a ``block_decided`` event, what
                its own ``output`` reference stands for
``tuple``       the tuple of these values
``ListOf``      the list of these values: what a map gives
``Item``        one item of a recorded list
``Default``     the ``default=`` that the definition gives the choice or wait at a path
``Ended``       the outcome of a branch: how it ended, with its value or failure
==============  =================================================================================

As JSON (in events): null, a number, a list, ``{"list": […]}``, ``{"item": 3, "of": …}``,
``{"default": path}``, ``{"path": …, "status": …}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from msgspec import Meta, Struct, convert
from msgspec.structs import replace

from gorkflow.model import Failure, RunStatus, StepStatus
from gorkflow.state_changes import Write

LATEST = 250_000_000_000.0
"""Seconds since the epoch, in the year 9892; Python's calendar ends in 9999."""
Seconds = Annotated[float, Meta(ge=0, le=LATEST)]
"""An instant in seconds since the epoch, or a duration."""
ClockChange = Annotated[float, Meta(ge=-LATEST, le=LATEST)]


class Default(Struct, frozen=True, gc=False, rename={"path": "default"}):
    """The ``default=`` value that the definition holds for the choice or wait at ``path``."""

    path: str


FailureRef = int | Failure
"""A failure: the ``seq`` of its ``step_failed`` event, or one that the machine itself made."""


class Ended(Struct, frozen=True, gc=False, omit_defaults=True):
    """The end of a step, branch or workflow. As a reference: the outcome of a branch."""

    path: str
    status: StepStatus
    """``completed``, ``failed``, ``cancelled`` or ``skipped``."""
    value: Ref = None
    """The output, when completed or skipped."""
    failures: tuple[FailureRef, ...] = ()
    """The failures in declared order, if it failed."""
    reason: str = ""
    """Why, when cancelled or skipped."""
    optional: bool = False
    """Failed, but ``continue_on_error`` lets the value ``None`` stand in for it."""


class ListOf(Struct, frozen=True, gc=False, rename={"items": "list"}):
    """The list of these values."""

    items: tuple[Ref, ...]


class Item(Struct, frozen=True, gc=False, rename={"index": "item"}):
    """One item of a list that was recorded as a whole."""

    of: Ref
    index: int


if TYPE_CHECKING:
    Ref = None | int | tuple["Ref", ...] | ListOf | Item | Default | Ended
else:
    Ref = Any  # msgspec can't read a type that contains itself; ``ref_from_json`` does


def item_of(ref: Ref, index: int) -> Ref:
    """Return the reference to an item of a list."""
    known = ref.items if isinstance(ref, ListOf) else ref
    if isinstance(known, tuple) and index < len(known):
        return known[index]
    return Item(ref, index)


_BY_KEY: dict[str, tuple[type[Struct], str]] = {
    "list": (ListOf, "items"),
    "item": (Item, "of"),
    "default": (Default, ""),
    "status": (Ended, "value"),
}
"""By a key that only the JSON of this class has: the class, and its field with a reference."""


def ref_from_json(body: Any) -> Ref:
    """Return the reference of its JSON form."""
    if body is None or type(body) is int:
        return body
    if isinstance(body, list | tuple):
        return tuple(map(ref_from_json, cast("list[object]", body)))
    for key, (cls, inner) in _BY_KEY.items():
        if isinstance(body, dict) and key in body:
            ref: Any = convert(body, cls)
            if inner:
                ref = replace(ref, **{inner: ref_from_json(getattr(ref, inner))})
            return cast("Ref", ref)
    raise ValueError(f"not a reference: {body!r}")


DRAINED = "drained"
"""The reason that what a drain withdrew is given."""


def was_met(join: object, block: str) -> str:
    """Return the reason that the rest of a block is given when its join was met."""
    return f"{join} of {block} was met"


class Event(Struct, frozen=True, gc=False):
    """The common fields of all events.

    ``gc=False``: events hold no cycles, so that the garbage collector need not look at them.
    """

    kind: ClassVar[str]

    run_id: str
    seq: int
    path: str
    at: Seconds


class RunCreated(Event, frozen=True):
    """The run exists and will not be lost; always the first event."""

    kind = "run_created"
    fingerprint: str
    """The fingerprint of the flow tree that the run executes."""
    input: bytes | None
    """The exact bytes of the input; ``None`` for a workflow without input."""
    timeout: Seconds | None = None
    """Seconds that the run may take once it is started."""
    origin: str | None = None
    """The run that this one repeats, if it is a rerun."""
    from_step: str | None = None
    """The path from which it runs again; ``None``: from the nodes that did not complete."""
    state: tuple[Write, ...] = ()
    """The state that it starts with."""
    defined_at: Seconds | None = None
    """For a rerun: the time when the first run of its definition was created, in seconds since the
    epoch. If two definitions of a limit differ, the newer one holds."""
    scheduled_for: Seconds | None = None
    """The due time for which a schedule started the run; of a rerun: that of the run it repeats."""


class RunStarted(Event, frozen=True):
    """A worker begins the run; always the second event, unless it was cancelled before."""

    kind = "run_started"
    deadline: Seconds | None
    """When the run's timeout ends, in seconds since the epoch."""


class StepScheduled(Event, frozen=True):
    """An attempt is used up: its handler may begin from now on."""

    kind = "step_scheduled"
    attempt: int
    input: Ref
    ready_at: Seconds
    """When the step could have run, had there been room; seconds since the epoch."""
    limits: tuple[str, ...] = ()
    """The named limits that let it in."""


class StepCompleted(Event, frozen=True):
    """An attempt returned."""

    kind = "step_completed"
    attempt: int
    output: bytes
    """The exact bytes of the output."""
    began_at: Seconds
    """When the handler began, in seconds since the epoch."""
    ended_at: Seconds | None = None
    """When it ended; ``at`` is when that was recorded."""
    state: tuple[Write, ...] = ()
    """Its writes into the state of the run."""


class StepFailed(Event, frozen=True):
    """An attempt failed, or a condition did, or the keys of a map.

    *Derived* where no handler is to blame: an interruption too many, a wait that timed out, a loop
    at its limit, a conflict over the state.
    """

    kind = "step_failed"
    attempt: int
    """For a wait, a loop at its limit, or a block: 0."""
    failure: Failure
    began_at: Seconds | None
    """When the handler began; ``None`` when it did not (its input did not validate)."""
    retry_at: Seconds | None
    """When the next attempt is due; ``None``: this failure is final."""
    ended_at: Seconds | None = None
    """When the handler ended; ``at`` is when that was recorded."""
    unknown: bool = False
    """Whether the handler may have done its work all the same: it timed out, its process died, or
    what it returned could not be recorded."""


class StepInterrupted(Event, frozen=True):
    """The process died, or the engine let the run go, while this attempt was open.

    Outside the retries.
    """

    kind = "step_interrupted"
    attempt: int
    reason: str
    counts: bool = True
    """Whether the process vanished, so that the step may be what killed it. Not after a close, nor
    after a lapse of the lease: these say nothing about the step."""


class StepCancelled(Event, frozen=True):
    """*Derived.* A step, sleep or wait was cancelled, or a step's next attempt was withdrawn."""

    kind = "step_cancelled"
    attempt: int
    """The latest, or the one that was about to be scheduled; of a sleep or wait: 0."""
    reason: str
    failure: int | None = None
    """Set when a retry was withdrawn, by a drain or because it would start after a deadline: the
    ``seq`` of the failure that stands as the step's end, so that the step counts as failed."""


class StepSkipped(Event, frozen=True):
    """*Derived.* A condition left out the node at this path, and all below it."""

    kind = "step_skipped"
    reason: str


class TimerSet(Event, frozen=True):
    """*Derived.* The sleep at this path began, or the timeout of a block or nested workflow."""

    kind = "timer_set"
    key: str
    """``sleep`` or ``timeout``."""
    due: Seconds
    """Seconds since the epoch."""


class TimerFired(Event, frozen=True):
    """A due time passed."""

    kind = "timer_fired"
    key: str
    """``retry``, ``timeout`` (of a block or workflow), ``deadline``, ``sleep`` or ``wait``."""


class WaitOpened(Event, frozen=True):
    """*Derived.* The run waits for a signal."""

    kind = "wait_opened"
    signal: str
    """The signal's name."""
    schema: str
    """Digest of the JSON schema of its payload."""
    due: Seconds | None
    """When the wait times out, in seconds since the epoch; ``None``: never."""


class SignalReceived(Event, frozen=True):
    """The wait at this path got a signal."""

    kind = "signal_received"
    inbox_id: int
    """The id of its message, which this uses up."""
    payload: bytes
    """Its exact bytes."""


class ResultKept(Event, frozen=True):
    """A rerun keeps a result of the run that it repeats.

    It stands between ``run_created`` and ``run_started``. When the node at this path is entered, it
    ends at once with that result.
    """

    kind = "result_kept"
    what: str
    """``completed`` (a step), ``decided`` (a choice), ``slept``, ``received`` (a wait),
    ``expanded`` (a map), ``looped`` (a loop: its condition held in the end) or ``looping`` (not
    yet)."""
    output: bytes | None
    """The exact bytes: of a step's output, or of the payload; ``None``: the wait had timed out, and
    its default stands in."""
    choice: int | None
    """A decision of a choice, the items of a map, or the condition of a loop after an iteration."""
    source_seq: int
    """The event of the other run that recorded it."""
    keys: tuple[str, ...] | None = None
    """For a map: its items' keys."""
    state: tuple[Write, ...] = ()
    """For a step: its writes into the state."""


class Decided(Event, frozen=True):
    """The conditions of a choice were evaluated, or a loop's after an iteration."""

    kind = "decided"
    choice: int
    """The arm whose condition held first; as many as there are arms when none did. For a loop: 0
    when its condition held, 1 when the body is to run again."""


class Expanded(Event, frozen=True):
    """The items of a map were counted, and given their keys."""

    kind = "expanded"
    count: int
    keys: tuple[str, ...] | None
    """As they stand in paths, one per item; ``None``: the items are numbered, from 0."""


class Timed(Event, frozen=True):
    """The function of a sleep or wait said how long it takes, from now on, or until when.

    For a wait, neither may be set: it never times out.
    """

    kind = "timed"
    seconds: Seconds | None
    due: Seconds | None
    """Seconds since the epoch."""


class BlockDecided(Event, frozen=True):
    """*Derived.* The verdict over a parallel block or a map."""

    kind = "block_decided"
    verdict: str
    """``completed``, ``failed`` or ``cancelled``."""
    reason: str
    """One line for people: what was met or can't be met any more, by whom, after how long."""
    output: Ref
    """The value of the block, when completed."""
    failures: tuple[Failure, ...] = ()
    """Failures that the machine made, as by a timeout, and that are nowhere else: not in an event,
    in the reason of the block, or in its output."""


class CancelRequested(Event, frozen=True):
    """A cancel of the run was requested."""

    kind = "cancel_requested"
    reason: str


class TypesAccepted(Event, frozen=True):
    """The types of other code were accepted for the run, though they do not seem to fit."""

    kind = "types_accepted"
    fingerprint: str
    """The fingerprint of the accepted definition."""
    problems: tuple[str, ...]
    """Each type that did not fit."""


class ClockSet(Event, frozen=True):
    """The time of day was set while the run was in a process.

    Timeouts and back-offs keep the seconds that they have left, and no sleep gets longer by it.
    """

    kind = "clock_set"
    by: ClockChange
    """Seconds; below 0: back."""


class UndoStarted(Event, frozen=True):
    """*Derived.* The run is going to end as failed or cancelled, and undoes first what it did."""

    kind = "undo_started"
    status: RunStatus
    """How it will end."""
    failures: tuple[FailureRef, ...]
    """The unhandled final failures, in declared order."""
    reason: str
    paths: tuple[str, ...]
    """The paths of the steps that will be undone, in that order."""


class RunFinished(Event, frozen=True):
    """*Derived.* The run ended; always the last event."""

    kind = "run_finished"
    status: RunStatus
    output: Ref
    failures: tuple[FailureRef, ...]
    """The unhandled final failures, in declared order; then those of undo steps."""
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
        Expanded,
        Timed,
        WaitOpened,
        SignalReceived,
        ResultKept,
        BlockDecided,
        CancelRequested,
        TypesAccepted,
        ClockSet,
        UndoStarted,
        RunFinished,
    )
}
"""Every kind of event."""
