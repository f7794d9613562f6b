"""Looking after a store from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from gorkflow.cli import _findings
from gorkflow.cli._errors import CliError, ExitCode
from gorkflow.cli._stores import check_exists, naming_source, opened
from gorkflow.clock import SystemClock
from gorkflow.engine import _retention
from gorkflow.engine._damage import damaged
from gorkflow.errors import StoreCorruptError
from gorkflow.model import RunStatus
from gorkflow.store import Finding, Level, Maintainable, Store


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
                return f"{counted(found)} would be deleted"
            deleted = await _retention.delete(store, query)
            free = await keeper.tidy()
            room = f"{free / 1e6:,.1f} MB of the file are free for new ones"
            return f"{counted(deleted)} deleted; {room}"

    return asyncio.run(work())


def counted(count: int) -> str:
    """Return so many runs in words."""
    return f"{count:,} run" if count == 1 else f"{count:,} runs"


def check(url: str | None, *, as_json: bool) -> ExitCode:
    """Look for damage, print what there is, and return the exit code.

    Raises:
        CliError: the store keeps no file.
    """

    async def work() -> tuple[list[Finding], int]:
        store = check_exists(url)
        keeper = maintainable(store)
        found: list[Finding] = []
        runs = 0
        with naming_source(url):
            try:
                await store.open()
                found += await keeper.check()
                named = {each.about for each in found}
                async for wrong in damaged(store):
                    runs += 1
                    if wrong is not None and wrong.about not in named:
                        found.append(wrong)
            except StoreCorruptError as error:  # too far gone to be looked at as a whole
                found.append(Finding(Level.PROBLEM, "file", str(error)))
            finally:
                await store.close()
        return found, runs

    found, runs = asyncio.run(work())
    if not found:
        found = [Finding(Level.OK, "store", f"{counted(runs)} checked, nothing is damaged")]
    return _findings.show(found, url, as_json=as_json, runs=runs)


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
