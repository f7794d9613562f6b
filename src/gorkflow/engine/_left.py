"""What an engine says when it is closed and runs have not ended: how many, where, and what next."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from gorkflow.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gorkflow.store import Store

logger = logging.getLogger("gorkflow.engine")

LEFT_RUNS = "left_runs"
"""The field of the log record that has their ids, for those who say it themselves."""
_MOST = 1_000  # suspended runs that are looked up: others may have ended them


async def still_waiting(store: Store, run_ids: Iterable[str]) -> list[str]:
    """Return which of these runs have not ended and run nowhere."""
    found: list[str] = []
    for number, run_id in enumerate(run_ids):
        row = None
        if number < _MOST:
            with suppress(StoreError):
                row = await store.get_run(run_id)
            if row is None or row.status.terminal or row.worker_id is not None:
                continue
        found.append(run_id)
    return found


def tell(store: Store, run_ids: list[str], *, kept: bool) -> None:
    """Log that runs are left, if some are.

    Args:
        store: that has them.
        run_ids: these.
        kept: whether another engine here has the store open.
    """
    if not run_ids:
        return
    from gorkflow.stores.memory import MemoryStore  # a process loads only the store that it uses

    count, first = len(run_ids), run_ids[0]
    runs = (
        f"1 run has not ended: {first}"
        if count == 1
        else f"{count} runs have not ended: {first}, …"
    )
    if isinstance(store, MemoryStore):
        if kept:
            return
        text = (
            f"{runs}. It was lost with the store in memory"
            if count == 1
            else f"{runs}. They were lost with the store in memory"
        )
        text += (
            "; wait for runs before you close the engine (await handle.result()), or keep them in "
            "a file: Engine('sqlite:runs.db')"
        )
    else:
        place = _place(store)
        it, goes = ("It", "goes") if count == 1 else ("They", "go")
        text = (
            f"{runs}. {it} {'is' if count == 1 else 'are'} kept in {place} and {goes} on with the "
            f"next engine that knows the workflow: `gorkflow runs resume {first} TARGET --store "
            f"{place}`, or Engine({place!r}, workflows=[…])"
        )
    logger.warning("%s", text, extra={LEFT_RUNS: run_ids})


def _place(store: Store) -> str:
    """Return the store as a URL, short where it can be."""
    path = getattr(store, "path", None)
    if not isinstance(path, str):
        return repr(store)
    with suppress(ValueError):  # another drive
        short = os.path.relpath(path)
        if not short.startswith(os.pardir):
            path = short
    return f"sqlite:{path}"
