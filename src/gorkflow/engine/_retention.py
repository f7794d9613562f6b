"""The deletion of runs that ended long ago."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from gorkflow._text import brief
from gorkflow.listing import RunFilter
from gorkflow.model import RunStatus, instant
from gorkflow.store import Maintainable, RunReader, RunRow, Store

_BATCH_RUNS = 100
_BATCH_EVENTS = 2000
"""Deleted in one transaction, which others wait for; a run with more is one by itself."""


def ended(
    before: datetime | timedelta,
    *,
    now: float,
    workflow_id: str | None = None,
    status: RunStatus | str | Iterable[RunStatus | str] | None = None,
) -> RunFilter:
    """Return the filter of the runs that ended before an instant, or longer ago than that.

    Args:
        before: the instant, or the age.
        now: seconds since the epoch.
        workflow_id: only of this workflow.
        status: only of these; ``None``: however they ended.

    Raises:
        ValueError: If a status is not one of an ended run, or the age is negative.
        TypeError: If ``before`` is neither an instant nor an age.
    """
    if not isinstance(before, datetime | timedelta):
        raise TypeError(
            f"before must be an instant, or an age such as timedelta(days=30), not {brief(before)}"
        )
    terminal = [each for each in RunStatus if each.terminal]
    wanted = RunFilter(status=terminal if status is None else status).statuses or ()
    for each in wanted:
        if each not in terminal:
            raise ValueError(
                f"runs that are {str(each)!r} have not ended and are not deleted; choose from "
                f"{', '.join(terminal)}"
            )
    if isinstance(before, timedelta):
        if before < timedelta():
            raise ValueError(f"before is an age, which can't be negative: {before!r}")
        before = instant(now) - min(before, timedelta(seconds=now))  # there was nothing before 1970
    elif before.utcoffset() is None:
        raise ValueError(
            f"before {before!r} has no time zone; say which, as in datetime.now(timezone.utc)"
        )
    return RunFilter(workflow_id=workflow_id, status=wanted, finished_before=before)


async def batches(store: RunReader, query: RunFilter) -> AsyncIterator[list[RunRow]]:
    """Yield the runs of a filter, in lists that one transaction may delete."""
    query = replace(query, limit=_BATCH_RUNS)
    while True:
        page = await store.list_runs(query)
        batch: list[RunRow] = []
        events = 0
        for row in page:
            if batch and events + row.seq > _BATCH_EVENTS:
                yield batch
                batch, events = [], 0
            batch.append(row)
            events += row.seq
        if batch:
            yield batch
        if page.next_cursor is None:
            return
        query = replace(query, cursor=page.next_cursor)


async def delete(
    store: Store, query: RunFilter, forget: Callable[[list[str]], object] | None = None
) -> int:
    """Delete the runs of a filter, a batch at a time; return how many.

    Args:
        store: where they are.
        query: the filter.
        forget: called with the ids of each batch.
    """
    deleted = 0
    async for batch in batches(store, query):
        run_ids = [row.run_id for row in batch]
        deleted += await store.delete_runs(run_ids)
        if forget is not None:
            forget(run_ids)
    if deleted and isinstance(store, Maintainable):
        await store.tidy()
    return deleted
