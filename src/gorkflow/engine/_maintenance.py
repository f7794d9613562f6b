"""The maintenance of a store: its old runs are deleted, and each run is checked for damage."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from gorkflow._text import brief
from gorkflow.engine._reads import Shown, run_of
from gorkflow.engine._recorded import reading, tree_of
from gorkflow.engine._row import portions
from gorkflow.engine._values import Values
from gorkflow.errors import GorkflowError
from gorkflow.journal import to_row
from gorkflow.listing import RunFilter
from gorkflow.machine.history import read
from gorkflow.model import RunStatus, instant
from gorkflow.store import Finding, Inspectable, Level, Loaded, RunReader, RunRow, Store

_PAGE = 200
_BATCH_RUNS = 100
_BATCH_EVENTS = 2000
"""Deleted in one transaction, which others wait for; a run with more is one by itself."""


# ---- old runs -----------------------------------------------------------------------------


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
        for batch in portions(page, _BATCH_EVENTS):
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
    if deleted and isinstance(store, Inspectable):
        await store.tidy()
    return deleted


# ---- damage -------------------------------------------------------------------------------


async def damaged(store: RunReader) -> AsyncIterator[Finding | None]:
    """Yield for each run what is wrong with it; ``None``: nothing."""
    query = RunFilter(limit=_PAGE)
    while True:
        page = await store.list_runs(query)
        for row in page:
            yield await _examined(store, row.run_id)
        if page.next_cursor is None:
            return
        query = RunFilter(limit=_PAGE, cursor=page.next_cursor)


async def _examined(store: RunReader, run_id: str) -> Finding | None:
    try:
        loaded = await store.load(run_id)
        wrong = "" if loaded is None else _contradiction(loaded)
    except GorkflowError as error:
        wrong = str(error)
    if not wrong:
        return None
    advice = f"restore a backup, or delete it: gorkflow runs delete {run_id}"
    return Finding(Level.PROBLEM, f"run {run_id}", wrong, advice)


def _contradiction(loaded: Loaded) -> str:
    """Return in what the summary differs from the history; empty: in nothing."""
    row = loaded.row
    with reading(row.run_id):
        tree = tree_of(loaded)
        history = read(row.run_id, tree, loaded.events)
        machine = history.machine
        values = Values(row.run_id, None, tree)
        values.note(loaded.events)
        run_of(row, history, loaded.events[0], Shown(values))
        history.executions(Shown(values))
        for event in loaded.events:
            payload = to_row(event).payload
            if payload is not None:
                json.loads(payload)
    if tree.id != row.workflow_id:
        return f"its summary says workflow {row.workflow_id!r}, its definition {tree.id!r}"
    if machine.seq != row.seq:
        return f"its summary stands at event {row.seq}, its history at {machine.seq}"
    if machine.status.terminal != row.status.terminal or (
        row.status.terminal and machine.status is not row.status
    ):
        return f"its summary says {row.status.value}, its history {machine.status.value}"
    if machine.waits_for != row.waits_for:
        said, waits = (", ".join(names) or "none" for names in (row.waits_for, machine.waits_for))
        return f"its summary waits for the signals {said}, its history for {waits}"
    return ""
