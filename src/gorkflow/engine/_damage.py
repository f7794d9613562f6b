"""The damage in a store: checks of each run: its history, folded as a recovery would."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from gorkflow.engine._reads import Shown, run_of
from gorkflow.engine._recorded import reading, tree_of
from gorkflow.engine._values import Values
from gorkflow.errors import GorkflowError
from gorkflow.journal import to_row
from gorkflow.listing import RunFilter
from gorkflow.machine.history import read
from gorkflow.store import Finding, Level, Loaded, RunReader

_PAGE = 200


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
    return ""
