"""`gorkflow runs logs`: the log of a run's steps, also while it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import click

from gorkflow._text import did_you_mean
from gorkflow.cli._app import Command, store_option
from gorkflow.cli._named import find_run, run_argument
from gorkflow.cli._output import CliError, ExitCode, clean, json_text, moment, one_line, put, say
from gorkflow.cli._target import check_exists, naming_source
from gorkflow.engine import _json
from gorkflow.engine.client import Client
from gorkflow.flow import id_at, template_of
from gorkflow.model import LogLine

_PAGE = 1000


@click.command(
    "logs",
    cls=Command,
    example=("gorkflow runs logs RUN_ID --step charge", "gorkflow runs logs RUN_ID --follow"),
)
@run_argument()
@click.option("--step", metavar="PATH", help="Only this step, by its path or id.")
@click.option("--follow", is_flag=True, help="Wait for more, until the run has ended.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@store_option
def logs_command(
    *, given: str, step: str | None, follow: bool, as_json: bool, store: str | None
) -> None:
    """Show what the steps of a run logged with `ctx.logger`."""
    with naming_source(store):
        asyncio.run(_show(given, step, store, follow=follow, as_json=as_json))


async def _show(
    given: str, step: str | None, url: str | None, *, follow: bool, as_json: bool
) -> None:
    found = False
    async with Client(check_exists(url)) as client:
        run_id = await find_run(client.store, given)
        if step is not None:
            await _check_step(client, run_id, step)
        lines = client.follow_logs(run_id) if follow else _all(client, run_id)
        wanted = (line async for line in lines if step is None or _is_of(line, step))
        async for line in _json.without_secrets(client.store, run_id, wanted):
            found = True
            put(_json_text(line) if as_json else _text(line))
    if not found and not as_json:
        say(f"run {run_id} has no log lines" + (f" of {one_line(step)!r}" if step else ""))


async def _all(client: Client, run_id: str) -> AsyncIterator[LogLine]:
    """Iterate over the lines that are kept by now."""
    after = 0
    while page := await client.logs(run_id, after=after, limit=_PAGE):
        for line in page:
            yield line
        after = page[-1].id


def _is_of(line: LogLine, step: str) -> bool:
    return step in (line.path, id_at(line.path), template_of(line.path))


async def _check_step(client: Client, run_id: str, step: str) -> None:
    """Check that a run has such a step.

    Raises:
        CliError: If it has none.
    """
    steps = await client.steps(run_id)
    known = {name for each in steps for name in (each.path, each.step_id, template_of(each.path))}
    if step not in known:
        hint = did_you_mean(step, sorted(each.path for each in steps))
        raise CliError(f"run {run_id} has no step {step!r}; {hint}", ExitCode.NOT_FOUND)


def _json_text(line: LogLine) -> str:
    return json_text({**_json.to_json(line), "level_name": line.level_name}, short=None)


def _text(line: LogLine) -> str:
    """Return a line for people; further lines of its text are moved to the right."""
    tries = f" (attempt {line.attempt})" if line.attempt > 1 else ""
    first, *rest = clean(line.text).splitlines() or [""]
    level = one_line(line.level_name)
    head = f"{moment(line.at)}  {level:<7}  {one_line(line.path)}{tries}  {first}"
    return "\n".join([head.rstrip(), *(f"    {each}" for each in rest)])
