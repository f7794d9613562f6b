"""Deleting single runs from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gorkflow.cli._db import counted, maintainable
from gorkflow.cli._errors import CliError, ExitCode
from gorkflow.cli._output import say
from gorkflow.cli._stores import opened, same_store
from gorkflow.clock import SystemClock
from gorkflow.errors import RunNotFoundError, StoreCorruptError
from gorkflow.store import Store


def delete(url: str | None, run_ids: Sequence[str], *, force: bool) -> str:
    """Delete runs; return what came of it. Where one of them can't be deleted, none is.

    Args:
        url: of the store; ``None``: the default.
        run_ids: the runs.
        force: also those that can't be read, and those that nobody alive carries.

    Raises:
        CliError: one is carried by a living worker, or needs ``force``.
        RunNotFoundError: there is no such run.
    """
    where = same_store(url)

    async def work() -> int:
        async with opened(url) as store:
            keeper = maintainable(store)
            now = SystemClock().now()
            alive = {worker.worker_id for worker in await store.workers(now=now)}
            troubles = {each: await _trouble(store, each, alive, where) for each in run_ids}
            for run_id, trouble in troubles.items():
                if trouble and not force:
                    raise CliError(
                        f"run {run_id!r} {trouble}; nothing was deleted. --force deletes such a "
                        "run, too",
                        ExitCode.CONFLICT,
                    )
            for run_id, trouble in troubles.items():
                if not trouble:
                    await store.delete_runs([run_id])
                    continue
                say(f"run {run_id!r} {trouble}; it is deleted all the same")
                if not await keeper.discard(run_id, now):
                    raise _carried(run_id, "a worker", where)
            await keeper.tidy()
            return len(troubles)

    return f"{counted(asyncio.run(work()))} deleted"


async def _trouble(store: Store, run_id: str, alive: set[str], where: str) -> str:
    """Return why a run needs force to be deleted; empty: it doesn't."""
    try:
        row = await store.get_run(run_id)
    except StoreCorruptError:
        return "can't be read"
    if row is None:
        raise RunNotFoundError(run_id)
    if row.status.terminal:
        return ""
    if row.worker_id in alive:
        raise _carried(run_id, row.worker_id, where)
    return f"has not ended ({row.status.value}), though nobody alive carries it"


def _carried(run_id: str, worker: str | None, where: str) -> CliError:
    return CliError(
        f"run {run_id!r} is carried by {worker}, which is alive, and was not deleted; cancel it "
        f"first: gorkflow runs cancel {run_id}{where}",
        ExitCode.CONFLICT,
    )
