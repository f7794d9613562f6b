"""Whether what is kept of each run makes sense: its history, folded as a recovery would."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from gorkflow.engine._match import tree_of
from gorkflow.errors import GorkflowError
from gorkflow.listing import RunFilter
from gorkflow.machine import replay
from gorkflow.maintenance import Finding, Level
from gorkflow.store import Loaded, RunReader

logger = logging.getLogger("gorkflow.engine")
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
    except Exception as error:  # a history that was tampered with may break anything
        logger.debug("run %r can't be replayed", run_id, exc_info=True)
        wrong = f"its history can't be replayed ({type(error).__name__}: {error})"
    if not wrong:
        return None
    advice = f"restore a backup, or delete it: gorkflow runs delete {run_id}"
    return Finding(Level.PROBLEM, f"run {run_id}", wrong, advice)


def _contradiction(loaded: Loaded) -> str:
    """Return in what the summary differs from the history; empty: in nothing."""
    row = loaded.row
    machine = replay(row.run_id, tree_of(loaded), loaded.events)
    if machine.seq != row.seq:
        return f"its summary stands at event {row.seq}, its history at {machine.seq}"
    if machine.status.terminal != row.status.terminal or (
        row.status.terminal and machine.status is not row.status
    ):
        return f"its summary says {row.status.value}, its history {machine.status.value}"
    return ""
