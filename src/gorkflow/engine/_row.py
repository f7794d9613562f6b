"""The row of a run: its summary after a transition, and the errors for one that was rejected."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gorkflow.errors import (
    DuplicateRunError,
    GorkflowError,
    LeaseLostError,
    ResourceBusyError,
    StoreError,
    StoreUnavailableError,
)
from gorkflow.hooks import Hook
from gorkflow.model import UNDOING, Run, RunStatus, StepStatus, instant, instant_if
from gorkflow.store import Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gorkflow.definition import Definition
    from gorkflow.engine._asleep import RunState
    from gorkflow.events import Ended
    from gorkflow.hooks import OnEnd
    from gorkflow.store import RunRow

logger = logging.getLogger("gorkflow.run")
PENDING, RUNNING = RunStatus.PENDING, RunStatus.RUNNING

NOT_RECORDED = DuplicateRunError | ResourceBusyError
"""Errors of a start after which the store has no such run."""
_REASON = 500  # characters of a failure that the summary of a run repeats


def summary(
    row: RunRow,
    run: RunState,
    now: float,
    *,
    rests: bool,
    leaves: bool,
    begun: bool,
    trace: str,
) -> RunRow:
    """Return the next row of a run; the same object if only ``seq`` differs.

    Args:
        row: the row before.
        run: the run, after its machine took the events.
        now: when they are recorded, in seconds since the epoch.
        rests: whether the run only waits, for more than a moment.
        leaves: whether its owner releases it meanwhile.
        begun: whether it had its turn here.
        trace: the trace that it belongs to.
    """
    machine = run.machine
    waits_for = machine.waits_for
    if (
        row.status is machine.status is RUNNING
        and row.due_at is None
        and row.trace is trace
        and row.waits_for == waits_for
        and not (rests or row.orphaned)
        # It says why the run is being undone, or why it was put back before.
        and bool(row.reason) is (machine.undoing is not None)
    ):
        return row
    ended = machine.status.terminal
    begins = row.started_at is None and not ended and machine.status is not PENDING
    due_at = row.due_at if machine.status is PENDING else None
    return replace(
        row,
        status=RunStatus.SUSPENDED if rests else machine.status,
        reason=_reason(run) if ended or machine.undoing is not None else "",
        started_at=now if begins else row.started_at,
        finished_at=now if ended else None,
        due_at=machine.next_due() if rests else due_at,
        seq=machine.seq,
        worker_id=None if leaves or ended else row.worker_id,
        seen=run.mail.seen if leaves else row.seen,
        orphaned=row.orphaned and not begun,  # then that was recorded, or there was nothing
        trace=trace,
        waits_for=waits_for,
    )


def portions(rows: Iterable[RunRow], most: int) -> Iterator[list[RunRow]]:
    """Yield runs in lists, each of at most so many events, or of one run."""
    portion: list[RunRow] = []
    size = 0
    for row in rows:
        if portion and size + row.seq > most:
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += row.seq
    if portion:
        yield portion


def summary_of(row: RunRow) -> Run:
    """Return a run without what only its events say."""
    return Run(
        run_id=row.run_id,
        workflow_id=row.workflow_id,
        workflow_version=row.workflow_version,
        status=row.status,
        reason=row.reason or (f"waits for resource {row.resource_id!r}" if row.is_in_line else ""),
        resource_id=row.resource_id,
        tags=dict(row.tags),
        created_at=instant(row.created_at),
        started_at=instant_if(row.started_at),
        finished_at=instant_if(row.finished_at),
        due_at=instant_if(row.due_at),
        waits_for=row.waits_for,
        worker_id=row.worker_id,
        queue=row.queue,
    )


def hooks_of(definition: Definition, on_end: OnEnd | None) -> int:
    """Return the hooks that are called when a run has ended, as its row has them.

    Args:
        definition: the run's.
        on_end: the hook of the engine.
    """
    own = 0 if definition.on_end is None else Hook.WORKFLOW
    return own if on_end is None else own | Hook.ENGINE


def _reason(run: RunState) -> str:
    machine = run.machine
    undoing = machine.undoing
    result = machine.result or undoing
    if result is None:
        return ""
    why = run.values.hidden(_why(run, result))
    return why if undoing is None else f"{UNDOING}{why}"


def _why(run: RunState, result: Ended) -> str:
    if result.status is StepStatus.CANCELLED:
        return result.reason  # it names what could not be undone
    hidden = run.values.hidden  # lists of runs show it, and read no events
    texts = [str(hidden(run.values.failure(failure))) for failure in result.failures[:1]]
    more = f" (and {len(result.failures) - 1} more)" if len(result.failures) > 1 else ""
    if not texts:
        return result.reason
    why = f"; {result.reason}" if result.reason else ""  # the retry would come too late
    return texts[0][:_REASON] + more + why


def log_end(row: RunRow) -> None:
    """Log the end of a run, with its ids as fields."""
    if not logger.isEnabledFor(logging.INFO):
        return
    took = (row.finished_at or 0) - (row.started_at or row.created_at)
    why = f": {row.reason}" if row.reason else ""
    fields = {"run_id": row.run_id, "workflow_id": row.workflow_id}
    logger.info(
        "run %r of %r %s in %.3f s%s",
        row.run_id,
        row.workflow_id,
        row.status,
        took,
        why,
        extra=fields,
    )


def refusal(row: RunRow, written: Written) -> GorkflowError:
    """Return the error for a run whose transition was not written.

    Args:
        row: its summary.
        written: what the store said; not ``OK``.
    """
    if written is Written.DUPLICATE:
        return duplicate(row.run_id)
    if written is Written.OCCUPIED:
        return ResourceBusyError(
            row.run_id,
            f"run {row.run_id!r} was not started: another live run has the resource "
            f"{row.resource_id!r}, and one of the two is exclusive; wait for it to end, or cancel "
            "it",
        )
    if written is Written.UNSTORABLE:
        return StoreError(
            f"the store can't keep a value of run {row.run_id!r}; its log says which one"
        )
    if written is Written.UNDECIDED:
        return StoreUnavailableError(
            f"run {row.run_id!r} was not started: another program may be starting it, and has not "
            "said so yet; start it again"
        )
    return LeaseLostError(
        row.run_id, f"another worker took over run {row.run_id!r}; it continues there"
    )


def duplicate(run_id: str) -> DuplicateRunError:
    """Return the error for an id that is taken."""
    return DuplicateRunError(
        run_id,
        f"run {run_id!r} exists already; start with another run_id, or with "
        'if_exists="return" to get the run that has it',
    )
