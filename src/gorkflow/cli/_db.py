"""Looking after a store from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from gorkflow.cli import _findings
from gorkflow.cli._errors import CliError, ExitCode
from gorkflow.cli._stores import opened
from gorkflow.clock import SystemClock
from gorkflow.engine import _retention
from gorkflow.engine._damage import damaged
from gorkflow.maintenance import Finding, Level, Maintainable
from gorkflow.model import RunStatus
from gorkflow.store import Store


def maintainable(store: Store) -> Maintainable:
    """Return the store as one that can be looked after.

    Raises:
        CliError: it can't.
    """
    if isinstance(store, Maintainable):
        return store
    raise CliError(
        f"{store!r} keeps no file, so there is nothing to look after; name one: --store sqlite:PATH"
    )


@asynccontextmanager
async def _kept(url: str | None) -> AsyncGenerator[tuple[Store, Maintainable]]:
    async with opened(url) as store:
        yield store, maintainable(store)


def prune(
    url: str | None,
    age: timedelta,
    status: Sequence[RunStatus] | None,
    workflow_id: str | None,
    *,
    dry_run: bool,
) -> str:
    """Delete runs that ended longer ago than an age; return what came of it.

    Raises:
        CliError: the store keeps no file.
    """

    async def work() -> str:
        async with _kept(url) as (store, keeper):
            now = SystemClock().now()
            query = _retention.ended(age, now=now, workflow_id=workflow_id, status=status)
            if dry_run:
                found = sum([len(batch) async for batch in _retention.batches(store, query)])
                return f"{_runs(found)} would be deleted"
            deleted = await _retention.delete(store, query)
            free = await keeper.tidy()
            return (
                f"{_runs(deleted)} deleted; {free / 1e6:,.1f} MB of the file are free for new ones"
            )

    return asyncio.run(work())


def _runs(count: int) -> str:
    return f"{count:,} run" if count == 1 else f"{count:,} runs"


def check(url: str | None, *, as_json: bool) -> ExitCode:
    """Look for damage, print what there is, and return the exit code.

    Raises:
        CliError: the store keeps no file.
    """

    async def work() -> tuple[list[Finding], int]:
        async with _kept(url) as (store, keeper):
            found, runs = await keeper.check(), 0
            named = {each.about for each in found}
            async for wrong in damaged(store):
                runs += 1
                if wrong is not None and wrong.about not in named:
                    found.append(wrong)
            return found, runs

    found, runs = asyncio.run(work())
    if not found:
        found = [Finding(Level.OK, "store", f"{_runs(runs)} checked, nothing is damaged")]
    return _findings.show(found, as_json=as_json, runs=runs)


def backup(url: str | None, path: str) -> str:
    """Copy the store into a new file; return what came of it.

    Raises:
        CliError: the store keeps no file.
    """

    async def work() -> int:
        async with _kept(url) as (_, keeper):
            return await keeper.backup(path)

    size = asyncio.run(work())
    return f"backed up to {path}: {size / 1e6:,.1f} MB, verified"
