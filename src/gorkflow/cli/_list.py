"""`gorkflow runs list`: lists runs by what is known of them, and says what each waits for."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime

import click

from gorkflow._text import listed
from gorkflow.cli._app import (
    STATUSES,
    Command,
    json_option,
    read_instant,
    store_option,
    tags_option,
)
from gorkflow.cli._output import CliError, json_text, moment, one_line, put, say, table
from gorkflow.cli._standing import Living, is_left, living_workers, took
from gorkflow.cli._target import opened
from gorkflow.engine import _json
from gorkflow.engine._row import summary_of
from gorkflow.listing import Page, RunFilter
from gorkflow.model import Run, RunStatus
from gorkflow.store import RunRow

_NOTE = 60  # characters
_SIGNALS = 3
_MODULE = re.compile(r"(?<=: )(?:[^\W\d]\w*\.)+(?=[^\W\d]\w*: )")
"""The module of an exception in the reason of a run: its class says enough."""


@click.command(
    "list",
    cls=Command,
    example=(
        "gorkflow runs list --status failed --status cancelled --tag customer=42",
        "gorkflow runs list --waiting-for approved --since 2d",
    ),
)
@click.option(
    "--status", multiple=True, type=click.Choice(STATUSES), help="Only such runs; repeatable."
)
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@tags_option("Only with this tag.")
@click.option("--resource", metavar="ID", help="Only runs about this, as `run --resource` said.")
@click.option("--queue", metavar="NAME", help="Only runs of this queue.")
@click.option("--waiting-for", metavar="SIGNAL", help="Only runs that wait for this signal now.")
@click.option(
    "--since", metavar="AGE|DATE", callback=read_instant,
    help="Only runs created since then: 2h, 30d, 2026-11-23, 2026-11-23T08:00.",
)  # fmt: skip
@click.option(
    "--until", metavar="AGE|DATE", callback=read_instant, help="Only runs created before that."
)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many."
)
@click.option("--cursor", metavar="C", help="Continue where the page before ended.")
@store_option
@json_option
def list_command(
    *, status: tuple[str, ...], workflow: str | None, tags: dict[str, str], resource: str | None,
    queue: str | None, waiting_for: str | None, since: datetime | None, until: datetime | None,
    limit: int, cursor: str | None, store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """List runs, newest first."""
    try:
        query = RunFilter(
            workflow_id=workflow,
            status=[RunStatus(item) for item in status] or None,
            tags=tags,
            resource_id=resource,
            queue=queue,
            waiting_for=waiting_for,
            created_after=since,
            created_before=until,
            limit=limit,
            cursor=cursor,
        )
    except ValueError as error:  # such as bytes that are not UTF-8
        raise CliError(str(error)) from None
    found, alive = asyncio.run(_page(query, store))
    runs = [summary_of(row) for row in found]
    if as_json:
        body = {
            "runs": [_json.summary_json(run) for run in runs],
            "next_cursor": found.next_cursor,
            "searched_to": _json.to_json(found.searched_to),
        }
        put(json_text(body, short=None))
        return
    if runs:
        head = ("RUN", "WORKFLOW", "STATUS", "CREATED", "TOOK", "NOTE")
        put("\n".join(table(head, (_row(run, alive) for run in runs))))
    if found.searched_to is not None:
        none = "" if runs else "no runs so far; "
        say(
            f"{none}searched back to {moment(found.searched_to)}; "
            f"continue with --cursor {found.next_cursor}"
        )
    elif found.next_cursor is not None:
        say(f"older ones: --cursor {found.next_cursor}")
    elif not runs:
        say("no runs")


async def _page(query: RunFilter, store: str | None) -> tuple[Page[RunRow], Living]:
    async with opened(store) as reader:
        try:
            return await reader.list_runs(query), await living_workers(reader)
        except ValueError:  # all else was checked as it was typed
            raise CliError(
                f"--cursor {query.cursor!r} is none; `gorkflow runs list` names it below a page"
            ) from None


def _row(run: Run, alive: Living) -> tuple[str, ...]:
    tags = " ".join(f"{name}={value}" for name, value in run.tags.items())
    left = "no worker runs it" if is_left(run, alive) else ""
    reason = _MODULE.sub("", one_line(run.reason), count=1)
    note = "; ".join(part for part in (left, waiting(run), reason, tags) if part)
    return (
        run.run_id,
        run.workflow_id,
        run.status.value,
        moment(run.created_at),
        took(run.started_at, run.finished_at),
        note if len(note) <= _NOTE else f"{note[: _NOTE - 1]}…",
    )


def waiting(run: Run) -> str:
    """Return what a run waits for: signals, and a time; empty: nothing."""
    signals = listed([*run.waits_for], _SIGNALS)
    waits = f"waits for {signals}" if signals else ""
    due = f"due {moment(run.due_at)}" if run.due_at else ""
    return ", ".join(part for part in (waits, due) if part)
