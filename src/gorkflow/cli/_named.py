"""RUN_ID of a command: a whole id, the first letters of one, or ``latest``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import click

from gorkflow._text import span_of
from gorkflow.cli._app import STORE
from gorkflow.cli._output import CliError, ExitCode
from gorkflow.cli._target import opened
from gorkflow.clock import time_of
from gorkflow.errors import RunNotFoundError, StoreCorruptError
from gorkflow.listing import RunFilter
from gorkflow.store import RunReader, RunRow

_Command = TypeVar("_Command", bound=Callable[..., Any])
LATEST = "latest"
_SHOWN = 8


def run_argument(
    name: str = "given", *, metavar: str = "RUN_ID", required: bool = True, nargs: int = 1
) -> Callable[[_Command], _Command]:
    """Add the argument RUN_ID. The command has it looked up by ``find_run``."""
    return click.argument(
        name, metavar=metavar, required=required, nargs=nargs, shell_complete=_complete
    )


def _complete(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return the ids that begin so, for the completion of a shell; none where that fails."""

    async def look() -> list[str]:
        async with opened(ctx.meta.get(STORE)) as reader:
            return [row.run_id for row in await _first(reader, RunFilter(id_prefix=begun))]

    with suppress(Exception):  # a shell can't say why
        return [*asyncio.run(look()), *([LATEST] if LATEST.startswith(begun) else [])]
    return []


async def find_run(reader: RunReader, given: str) -> str:
    """Return the id of the run that was named. A whole id comes before all else.

    Args:
        reader: the store, open.
        given: the id, its first letters, or ``latest``: the run that was created last.

    Raises:
        RunNotFoundError: If there is no such run.
        CliError: If several ids begin so.
    """
    try:
        if not given or await reader.get_run(given) is not None:
            return given
    except StoreCorruptError:
        return given
    if given == LATEST:
        found = await _first(reader, RunFilter(limit=1))
        if not found:
            raise CliError("the store has no run yet", ExitCode.NOT_FOUND)
        return found[0].run_id
    found = await _first(reader, RunFilter(id_prefix=given, limit=_SHOWN))
    if not found:
        raise RunNotFoundError(given)
    if len(found) > 1:
        count = await reader.count_runs(RunFilter(id_prefix=given))
        now = await time_of(reader)
        raise CliError(
            f"{given!r} begins the ids of {count} runs; write more of it:\n"
            + "\n".join(_candidate(row, now) for row in found)
            + ("\n  …" if count.runs > len(found) else "")
        )
    return found[0].run_id


async def _first(reader: RunReader, query: RunFilter) -> list[RunRow]:
    """Return the first runs of a filter, as many as its limit: a page may end early."""
    found: list[RunRow] = []
    while True:
        page = await reader.list_runs(query)
        found += page
        if len(found) >= query.limit or page.next_cursor is None:
            return found[: query.limit]
        query = replace(query, cursor=page.next_cursor)


def _candidate(row: RunRow, now: float) -> str:
    age = span_of(max(0.0, now - row.created_at))
    return f"  {row.run_id}  {row.workflow_id}  {row.status.value}  {age} ago"
