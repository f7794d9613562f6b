"""`gorkflow schedule`: the schedules of a store. Only adding one needs a workflow's code."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar, cast

import click

from gorkflow._text import span_of
from gorkflow.cli._app import (
    CONTEXT,
    Group,
    group_store_option,
    json_option,
    read_age,
    read_queue,
    store_option,
    tags_option,
)
from gorkflow.cli._output import CliError, json_text, put, say, stdout_is_ours, table
from gorkflow.cli._target import (
    check_exists,
    load,
    naming_source,
    opened,
    read_input,
    same_store,
)
from gorkflow.clock import SystemClock
from gorkflow.engine import _json
from gorkflow.engine.client import Client
from gorkflow.engine.engine import Engine
from gorkflow.errors import ScheduleNotFoundError
from gorkflow.schedule import PATIENCE, Schedule, schedules_of

T = TypeVar("T")


@click.group(
    "schedule",
    cls=Group,
    example=(
        "gorkflow schedule add shop.py:report --cron '0 3 * * *' --timezone Europe/Berlin",
        "gorkflow schedule list",
    ),
    context_settings=CONTEXT,
)
@group_store_option
def schedule_command() -> None:
    """Start runs by the clock. Workers start them: gorkflow worker TARGET."""


def _read_interval(ctx: click.Context, param: click.Parameter, given: Any) -> timedelta | None:
    return None if given is None else read_age(ctx, param, given)


@schedule_command.command(
    "add",
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
    help="The time zone of the rule, as in Europe/Berlin.  [default: UTC]",
)  # fmt: skip
@click.option("--input", "input_text", metavar="JSON|@FILE|-", help="The input of each run.")
@click.option(
    "--catch-up", type=click.Choice(["skip", "last", "all"]), default="last", show_default=True,
    help="Which runs to start for times that passed while no worker ran.",
)  # fmt: skip
@click.option(
    "--overlap", type=click.Choice(["allow", "skip"]), default="allow", show_default=True,
    help="For a time at which an earlier run has not ended: start another, or none.",
)  # fmt: skip
@click.option("--id", "schedule_id", metavar="ID", help="[default: the workflow's]")
@click.option("--workflow", metavar="ID", help="Which workflow, if TARGET has several.")
@click.option(
    "--queue", callback=read_queue, metavar="NAME",
    help="The queue of each run.  [default: the workflow's]",
)  # fmt: skip
@tags_option("A tag of each run.")
@store_option
@json_option
def add_command(
    *, target: str, cron: str | None, every: timedelta | None, timezone: str | None,
    input_text: str | None, catch_up: str, overlap: str, schedule_id: str | None,
    workflow: str | None, tags: dict[str, str], queue: str | None, store: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Add a schedule, or change the one of this id.

    TARGET is as for `gorkflow run`. Needs --cron or --every.
    """
    if every is not None and timezone is not None:
        raise click.UsageError("--timezone is for --cron; an interval knows no time zone")
    with stdout_is_ours():
        loaded = load(target)
        if loaded.engine is not None and store is not None:
            raise CliError("the engine of TARGET brings its store; leave out --store")
        chosen = loaded.choose(workflow)
        value = read_input(chosen, input_text)

    async def work() -> Schedule:
        engine = loaded.engine or Client(store)
        if isinstance(engine, Engine):
            engine.recovers = False  # this command runs nothing
        async with engine:
            return await engine.schedule(
                chosen,
                value,
                id=schedule_id or chosen.id,
                cron=cron,
                every=every,
                timezone=timezone or "UTC",
                catch_up=cast("Literal['skip', 'last', 'all']", catch_up),
                overlap=cast("Literal['allow', 'skip']", overlap),
                tags=tags,
                queue=queue,
            )

    with naming_source(loaded.engine or store):
        made = asyncio.run(work())
    put(json_text(_json.to_json(made), short=None) if as_json else made.id)
    say(
        f"{_state(made)}; workers that know workflow {made.workflow_id!r} start its runs: "
        f"gorkflow worker {shlex.quote(target)}{same_store(store)}"
    )


@schedule_command.command("list", example=("gorkflow schedule list --json",))
@store_option
@json_option
def list_command(*, store: str | None, as_json: bool) -> None:
    """List schedules, with when they are due next."""
    found = asyncio.run(_schedules(store))
    if as_json:
        put(json_text({"schedules": [_json.to_json(each) for each in found]}, short=None))
    elif not found:
        say(f"no schedules; `gorkflow schedule add TARGET{same_store(store)}` makes one")
    else:
        head = ("SCHEDULE", "WORKFLOW", "WHEN", "ZONE", "NEXT", "NOTE")
        put("\n".join(table(head, map(_row, found))))


@schedule_command.command("next", example=("gorkflow schedule next report --count 10",))
@click.argument("schedule_id", metavar="ID")
@click.option(
    "--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many."
)
@store_option
@json_option
def next_command(*, schedule_id: str, count: int, store: str | None, as_json: bool) -> None:
    """Show the next due times of a schedule, in its time zone."""
    found = {each.id: each for each in asyncio.run(_schedules(store))}.get(schedule_id)
    if found is None:
        raise ScheduleNotFoundError(schedule_id)
    due = found.upcoming(count)
    if as_json:
        times = [each.isoformat() for each in due]
        put(json_text({"id": found.id, "paused": found.paused, "due": times}, short=None))
        return
    if found.paused:
        again = f"gorkflow schedule resume {shlex.quote(schedule_id)}{same_store(store)}"
        say(f"it is paused; continue it with `{again}`")
    put("\n".join(map(_shown, due)))


@schedule_command.command("pause", example=("gorkflow schedule pause report",))
@click.argument("schedule_id", metavar="ID")
@store_option
def pause_command(*, schedule_id: str, store: str | None) -> None:
    """Pause a schedule: it starts nothing until it is resumed."""
    say(_state(_with_engine(store, lambda engine: engine.pause_schedule(schedule_id))))


@schedule_command.command("resume", example=("gorkflow schedule resume report",))
@click.argument("schedule_id", metavar="ID")
@store_option
def resume_command(*, schedule_id: str, store: str | None) -> None:
    """Continue a paused schedule from now on. Times that passed meanwhile start no run."""
    say(_state(_with_engine(store, lambda engine: engine.resume_schedule(schedule_id))))


@schedule_command.command("remove", example=("gorkflow schedule remove report",))
@click.argument("schedule_id", metavar="ID")
@store_option
def remove_command(*, schedule_id: str, store: str | None) -> None:
    """Remove a schedule. Its runs continue."""
    _with_engine(store, lambda engine: engine.unschedule(schedule_id))
    say(f"schedule {schedule_id!r} is removed; its runs are left as they are")


def _with_engine(store: str | None, ask: Callable[[Client], Awaitable[T]]) -> T:
    async def work() -> T:
        with naming_source(store):
            async with Client(check_exists(store)) as engine:
                return await ask(engine)

    return asyncio.run(work())


async def _schedules(store: str | None) -> list[Schedule]:
    async with opened(store) as reader:
        return schedules_of(await reader.schedules())


def _state(schedule: Schedule) -> str:
    if schedule.paused:
        return f"schedule {schedule.id!r} is paused"
    return f"schedule {schedule.id!r} is due next at {_shown(schedule.next_due)}"


def _shown(at: datetime) -> str:
    return at.isoformat(" ")


def _rule(schedule: Schedule) -> str:
    if schedule.every is None:
        return schedule.cron or ""
    return f"every {span_of(schedule.every.total_seconds())}"


def _row(schedule: Schedule) -> tuple[str, ...]:
    note = ""
    if not schedule.paused and schedule.next_due.timestamp() < SystemClock().now() - PATIENCE:
        note = "overdue: no worker that knows the workflow looks"
    return (
        schedule.id,
        schedule.workflow_id,
        _rule(schedule),
        schedule.timezone if schedule.cron else "",
        "paused" if schedule.paused else _shown(schedule.next_due),
        note,
    )
