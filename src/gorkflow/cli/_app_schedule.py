"""The commands about schedules. What they do is imported only when they do it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import click

from gorkflow.cli._options import (
    CONTEXT,
    Example,
    ExampleGroup,
    json_option,
    read_age,
    read_tags,
    store_option,
)

if TYPE_CHECKING:
    from gorkflow.engine._scheduling import ScheduleOptions


@click.group(
    "schedule",
    cls=ExampleGroup,
    example=(
        "gorkflow schedule add shop.py:report --cron '0 3 * * *' --timezone Europe/Berlin",
        "gorkflow schedule list",
    ),
    context_settings=CONTEXT,
)
@store_option
@click.pass_context
def schedule_group(ctx: click.Context, store: str | None) -> None:
    """Have runs started by the clock. Workers start them: gorkflow worker TARGET."""
    ctx.obj = store


def _read_interval(ctx: click.Context, param: click.Parameter, given: Any) -> timedelta | None:
    return None if given is None else read_age(ctx, param, given)


@schedule_group.command(
    "add",
    cls=Example,
    example=(
        "gorkflow schedule add shop.py:report --cron '0 3 * * *' --timezone Europe/Berlin",
        "gorkflow schedule add shop.py:restock --every 15m --input '{\"id\": 7}' --overlap skip",
    ),
)
@click.argument("target")
@click.option("--cron", metavar="RULE", help="Minute, hour, day of month, month, day of week.")
@click.option(
    "--every", callback=_read_interval, metavar="AGE",
    help="Or an interval: a number and s, m, h, d or w, as in 15m.",
)  # fmt: skip
@click.option(
    "--timezone", metavar="NAME",
    help="By whose clocks the rule goes, as in Europe/Berlin.  [default: UTC]",
)  # fmt: skip
@click.option("--input", "input_text", metavar="JSON|@FILE|-", help="The input of each run.")
@click.option(
    "--catch-up", type=click.Choice(["skip", "last", "all"]), default="last", show_default=True,
    help="What to start for times that passed while no worker ran.",
)  # fmt: skip
@click.option(
    "--overlap", type=click.Choice(["allow", "skip"]), default="allow", show_default=True,
    help="For a time at which an earlier run has not ended: start another, or none.",
)  # fmt: skip
@click.option("--id", "schedule_id", metavar="ID", help="[default: the workflow's]")
@click.option("--workflow", metavar="ID", help="Which workflow, where TARGET has several.")
@click.option(
    "--tag", "tags", multiple=True, callback=read_tags, metavar="NAME=VALUE", help="Of each run."
)
@store_option
@json_option
@click.pass_obj
def add_command(
    group_store: str | None, *, target: str, cron: str | None, every: timedelta | None,
    timezone: str | None, input_text: str | None, catch_up: str, overlap: str,
    schedule_id: str | None, workflow: str | None, tags: dict[str, str], store: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Add a schedule, or change the one of this id.

    TARGET is what `gorkflow run` takes. Needs --cron or --every.
    """
    if every is not None and timezone is not None:
        raise click.UsageError("--timezone is for --cron; an interval knows no time zone")
    from gorkflow.cli import _schedule

    options = cast(
        "ScheduleOptions",
        {
            "cron": cron,
            "every": every,
            "timezone": timezone or "UTC",
            "catch_up": catch_up,
            "overlap": overlap,
            "tags": tags,
        },
    )
    wanted = _schedule.Wanted(
        target=target, store=store or group_store, workflow=workflow, schedule_id=schedule_id,
        input_text=input_text, as_json=as_json,
    )  # fmt: skip
    _schedule.add(wanted, options)


@schedule_group.command("list", cls=Example, example=("gorkflow schedule list --json",))
@store_option
@json_option
@click.pass_obj
def list_command(group_store: str | None, *, store: str | None, as_json: bool) -> None:
    """List schedules, with when they are due next."""
    from gorkflow.cli import _schedule

    _schedule.show_list(store or group_store, as_json=as_json)


@schedule_group.command("next", cls=Example, example=("gorkflow schedule next report --count 10",))
@click.argument("schedule_id", metavar="ID")
@click.option(
    "--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many."
)
@store_option
@json_option
@click.pass_obj
def next_command(
    group_store: str | None, *, schedule_id: str, count: int, store: str | None, as_json: bool
) -> None:
    """Show the next due times of a schedule, in its time zone."""
    from gorkflow.cli import _schedule

    _schedule.show_next(store or group_store, schedule_id, count, as_json=as_json)


@schedule_group.command("pause", cls=Example, example=("gorkflow schedule pause report",))
@click.argument("schedule_id", metavar="ID")
@store_option
@click.pass_obj
def pause_command(group_store: str | None, schedule_id: str, store: str | None) -> None:
    """Have a schedule start nothing until it is resumed."""
    from gorkflow.cli import _schedule

    click.echo(_schedule.pause(store or group_store, schedule_id), err=True)


@schedule_group.command("resume", cls=Example, example=("gorkflow schedule resume report",))
@click.argument("schedule_id", metavar="ID")
@store_option
@click.pass_obj
def resume_command(group_store: str | None, schedule_id: str, store: str | None) -> None:
    """Go on with a paused schedule, from now on: what passed meanwhile is not made up for."""
    from gorkflow.cli import _schedule

    click.echo(_schedule.resume(store or group_store, schedule_id), err=True)


@schedule_group.command("remove", cls=Example, example=("gorkflow schedule remove report",))
@click.argument("schedule_id", metavar="ID")
@store_option
@click.pass_obj
def remove_command(group_store: str | None, schedule_id: str, store: str | None) -> None:
    """Remove a schedule. Runs that it started go on."""
    from gorkflow.cli import _schedule

    click.echo(_schedule.remove(store or group_store, schedule_id), err=True)
