"""The standing of a run: whether a living worker has it, and the time that it took."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from gorkflow._text import span_of
from gorkflow.clock import time_of
from gorkflow.model import Run, RunStatus
from gorkflow.store import RunReader


class Living(NamedTuple):
    """The workers that are alive at a moment."""

    ids: set[str]
    now: float
    """The moment, by the clock of the store."""


async def living_workers(reader: RunReader) -> Living:
    """Return the workers that are alive."""
    now = await time_of(reader)
    return Living({worker.worker_id for worker in await reader.workers(now=now)}, now)


def is_left(run: Run, living: Living) -> bool:
    """Return whether a run could continue, but no living worker runs it.

    Args:
        run: the run.
        living: the workers that are alive.
    """
    waits = run.status in {RunStatus.PENDING, RunStatus.RUNNING}
    delayed = run.due_at is not None and run.due_at.timestamp() > living.now
    return waits and not delayed and run.worker_id not in living.ids


def took(started: datetime | None, finished: datetime | None) -> str:
    """Return the time between two instants in words; empty: one of them is not known."""
    if started is None or finished is None:
        return ""
    return span_of(max(0.0, (finished - started).total_seconds()))
