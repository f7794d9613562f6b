"""The summary of a run after a transition, and what is logged when it has ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gorkflow.model import UNDOING, RunStatus, StepStatus
from gorkflow.store import RunRow

if TYPE_CHECKING:
    from gorkflow.engine._driver import Driver
    from gorkflow.events import Ended

logger = logging.getLogger("gorkflow.run")
PENDING, RUNNING = RunStatus.PENDING, RunStatus.RUNNING

_REASON = 500  # characters of a failure that the summary of a run repeats


def summary(driver: Driver, now: float, *, rests: bool, keeps: bool) -> RunRow:
    """Return the run's row as it shall be; the same one where nothing but ``seq`` is another.

    Args:
        driver: of the run, after its machine took the events.
        now: when they are recorded, in seconds since the epoch.
        rests: whether the run only waits, and for long.
        keeps: whether it stays with its owner meanwhile.
    """
    row, machine = driver.row, driver.machine
    if (
        row.status is machine.status is RUNNING
        and row.due_at is None
        and not (rests or row.orphaned)
    ):
        told = bool(row.reason)  # why it is being undone, or why it was put back before
        if told is (machine.undoing is not None):
            return row
    ended = machine.status.terminal
    started_at, due_at = row.started_at, None
    if machine.status is PENDING:
        due_at = row.due_at
    elif started_at is None and not ended:
        started_at = now
    if rests:
        due_at = machine.next_due()
    return RunRow(
        run_id=row.run_id,
        workflow_id=row.workflow_id,
        workflow_version=row.workflow_version,
        fingerprint=row.fingerprint,
        status=RunStatus.SUSPENDED if rests else machine.status,
        reason=_reason(driver) if ended or machine.undoing is not None else "",
        resource_id=row.resource_id,
        tags=row.tags,
        created_at=row.created_at,
        started_at=started_at,
        finished_at=now if ended else None,
        due_at=due_at,
        seq=machine.seq,
        worker_id=row.worker_id if keeps and not ended else None,
        token=row.token,
        priority=row.priority,
        exclusive=row.exclusive,
        seen=row.seen if keeps else driver.mail.seen,
        orphaned=row.orphaned and not driver.begun,  # then that was recorded, or there was nothing
    )


def _reason(driver: Driver) -> str:
    machine = driver.machine
    undoing = machine.undoing
    result = machine.result or undoing
    if result is None:
        return ""
    why = _why(driver, result)
    return why if undoing is None else f"{UNDOING}{why}"


def _why(driver: Driver, result: Ended) -> str:
    if result.status is StepStatus.CANCELLED:
        return result.reason  # what could not be undone is in it
    texts = [str(driver.values.failure(failure)) for failure in result.failures[:1]]
    more = f" (and {len(result.failures) - 1} more)" if len(result.failures) > 1 else ""
    if not texts:
        return result.reason
    why = f"; {result.reason}" if result.reason else ""  # no retry was waited for
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
