"""`gorkflow explain`, `whatif`, `timeline`: where the time of a run went, and what would help."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence

import click

from gorkflow.cli._app import CONTEXT, Command, json_option, store_option
from gorkflow.cli._named import find_run, run_argument
from gorkflow.cli._output import CliError, ExitCode, json_text, put, show_picture, table
from gorkflow.cli._target import opened
from gorkflow.clock import time_of
from gorkflow.engine import _json
from gorkflow.engine._recorded import Recorded, load
from gorkflow.insight import account, timeline
from gorkflow.insight.explain import Explanation, explain
from gorkflow.insight.overview import overview
from gorkflow.insight.whatif import Changes, whatif
from gorkflow.listing import RunFilter
from gorkflow.model import RunStatus

_markdown_option = click.option(
    "--markdown", is_flag=True, help="Write tables in Markdown, for a ticket or a chat."
)


@click.command(
    "explain",
    cls=Command,
    context_settings=CONTEXT,
    example=(
        "gorkflow explain 0199d1c2-7f3e-7abc-8def-0123456789ab",
        "gorkflow explain --workflow checkout --limit 500",
    ),
)
@run_argument(required=False)
@click.option("--workflow", metavar="ID", help="Explain the latest runs of this workflow together.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=200, show_default=True,
    help="With --workflow: the most runs.",
)  # fmt: skip
@_markdown_option
@store_option
@json_option
def explain_command(
    *, given: str | None, workflow: str | None, limit: int, markdown: bool, store: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Show where the time of a run went.

    The critical path is the chain of work and waits that ended last: to shorten anything else saves
    nothing. Slack is the time that a branch could have taken longer for free.
    """
    if (given is None) == (workflow is None):
        raise CliError("give a RUN_ID, or --workflow ID for many runs")
    write = account.markdown if markdown else table
    if given is not None:
        found = asyncio.run(_explained(store, given))
        _show(found, account.account(found, write), as_json=as_json)
        return
    assert workflow is not None  # one of the two is given
    many = asyncio.run(_completed(store, workflow, limit))
    if not many:
        raise CliError(
            f"workflow {workflow!r} has no completed run in this store; "
            "`gorkflow runs list` shows the runs",
            ExitCode.NOT_FOUND,
        )
    whole = overview(workflow, many)
    _show(whole, account.summary(whole, write), as_json=as_json)


def _show(found: object, lines: Sequence[str], *, as_json: bool) -> None:
    put(json_text(_json.to_json(found), short=None) if as_json else "\n".join(lines))


async def _explained(store: str | None, given: str) -> Explanation:
    async with opened(store) as reader:
        run = await load(reader, await find_run(reader, given))
        return _account(run, await time_of(reader))


async def _completed(store: str | None, workflow: str, limit: int) -> list[Explanation]:
    """Return the explanations of the latest completed runs of a workflow."""
    query = RunFilter(workflow_id=workflow, status=[RunStatus.COMPLETED], limit=limit)
    async with opened(store) as reader:
        rows, now = await reader.list_runs(query), await time_of(reader)
        return [_account(await load(reader, row.run_id), now) for row in rows]


def _account(run: Recorded, now: float) -> Explanation:
    with run.reading():
        return explain(run.row.run_id, run.tree, run.events, now=now)


# ---- whatif -----------------------------------------------------------------------------------


def _read_factors(
    _: click.Context, __: click.Parameter, given: tuple[str, ...]
) -> dict[str, float]:
    factors: dict[str, float] = {}
    for text in given:
        name, _equals, factor = text.partition("=")
        try:
            factors[name] = float(factor)
        except ValueError:
            factors[name] = -1.0
        if not name or not 0 <= factors[name] < float("inf"):
            raise click.BadParameter(f"{text!r} is not STEP=FACTOR, as in resize=0.5")
    return factors


@click.command(
    "whatif",
    cls=Command,
    context_settings=CONTEXT,
    example=(
        "gorkflow whatif RUN_ID --max-concurrency 16",
        "gorkflow whatif RUN_ID --without-retries --scale resize=0.5",
    ),
)
@run_argument()
@click.option(
    "--max-concurrency", type=click.IntRange(1), metavar="N",
    help="The most branches of each block and map that run at a time.",
)  # fmt: skip
@click.option(
    "--slots", type=click.IntRange(1), metavar="N", help="The most steps of the engine at a time."
)
@click.option(
    "--without-retries",
    is_flag=True,
    help="Let each step have its last attempt only: a step that failed in all still fails.",
)
@click.option(
    "--scale", multiple=True, callback=_read_factors, metavar="STEP=FACTOR",
    help="Let a step take this part of its time; repeatable.",
)  # fmt: skip
@_markdown_option
@store_option
@json_option
def whatif_command(
    *, given: str, max_concurrency: int | None, slots: int | None, without_retries: bool,
    scale: Mapping[str, float], markdown: bool, store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Forecast how long a run would have taken under other rules.

    The recorded durations run again through the real machine; no step is called. Steps of other
    runs that share a limit are not in the forecast.
    """

    async def look() -> Recorded:
        async with opened(store) as reader:
            return await load(reader, await find_run(reader, given))

    changes = Changes(
        max_concurrency=max_concurrency, slots=slots, without_retries=without_retries, scale=scale
    )
    if changes == Changes():
        raise CliError(
            "name a rule to change: --max-concurrency N, --slots N, --without-retries, or "
            "--scale STEP=FACTOR"
        )
    run = asyncio.run(look())
    try:
        same, found = (
            whatif(run.row.run_id, run.tree, run.events, each) for each in (Changes(), changes)
        )
    except ValueError as error:
        raise CliError(str(error)) from None
    write = account.markdown if markdown else table
    was = _account(run, run.events[-1].at)  # it has ended
    lines = [account.compared(was, same, found), "", *account.account(found, write)[2:]]
    _show(found, lines, as_json=as_json)


# ---- timeline ---------------------------------------------------------------------------------


@click.command(
    "timeline",
    cls=Command,
    context_settings=CONTEXT,
    example=(
        "gorkflow timeline RUN_ID",
        "gorkflow timeline RUN_ID --format svg > run.svg",
    ),
)
@run_argument()
@click.option(
    "--format", "how", type=click.Choice(["text", "svg"]), default="text", show_default=True,
    help="Bars of text, or a picture.",
)  # fmt: skip
@click.option("--open", "opens", is_flag=True, help="Show the picture in the browser.")
@store_option
def timeline_command(*, given: str, how: str, opens: bool, store: str | None) -> None:
    """Draw when the steps of a run waited, ran and failed.

    A star marks the critical path. A long stretch in which nothing ran is cut out.
    """
    found = asyncio.run(_explained(store, given))
    if opens:
        show_picture(timeline.svg(found), f"timeline-{found.run_id}")
    elif how == "svg":
        put(timeline.svg(found))
    else:
        put("\n".join(timeline.text(found, shutil.get_terminal_size((100, 24)).columns)))
