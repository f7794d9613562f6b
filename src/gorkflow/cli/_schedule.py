"""Schedules from the command line. Only adding one needs a workflow's code."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from gorkflow.cli import _plain
from gorkflow.cli._errors import CliError
from gorkflow.cli._input import read_input
from gorkflow.cli._output import put, say, stdout_is_ours
from gorkflow.cli._stores import check_exists, naming_source, opened, same_store
from gorkflow.cli._target import load
from gorkflow.cli._text import json_text, table
from gorkflow.clock import SystemClock
from gorkflow.engine._scheduling import ScheduleOptions
from gorkflow.engine.engine import Engine
from gorkflow.errors import ScheduleNotFoundError
from gorkflow.schedule import PATIENCE, Schedule, schedules_of

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for on the command line."""

    target: str
    store: str | None
    """``None``: the engine's own default."""
    workflow: str | None
    schedule_id: str | None
    """``None``: the workflow's."""
    input_text: str | None
    """As it was typed."""
    as_json: bool


def add(wanted: Wanted, options: ScheduleOptions) -> None:
    """Add a schedule, or change it.

    Raises:
        CliError: the target can't be used, or the input does not fit.
    """
    with stdout_is_ours():
        target = load(wanted.target)
        if target.engine is not None and wanted.store is not None:
            raise CliError("the engine of TARGET brings its store; leave out --store")
        workflow = target.choose(wanted.workflow)
        value = read_input(workflow, wanted.input_text)

    async def work() -> Schedule:
        engine = target.engine or Engine(wanted.store, execute=False)
        await engine.open(recover=False)
        async with engine:
            chosen = wanted.schedule_id or workflow.id
            return await engine.schedule(workflow, value, id=chosen, **options)

    with naming_source(target.engine or wanted.store):
        made = asyncio.run(work())
    put(json_text(_to_json(made), short=None) if wanted.as_json else made.id)
    say(
        f"{_state(made)}; workers that know workflow {made.workflow_id!r} start its runs: "
        f"gorkflow worker {shlex.quote(wanted.target)}{same_store(wanted.store)}"
    )


def show_list(store: str | None, *, as_json: bool) -> None:
    """Print all schedules.

    Args:
        store: its URL; ``None``: the default.
        as_json: as one object with ``schedules``.
    """
    found = asyncio.run(_schedules(store))
    if as_json:
        put(json_text({"schedules": [_to_json(each) for each in found]}, short=None))
    elif not found:
        say(f"no schedules; `gorkflow schedule add TARGET{same_store(store)}` makes one")
    else:
        head = ("SCHEDULE", "WORKFLOW", "WHEN", "ZONE", "NEXT", "NOTE")
        put("\n".join(table(head, map(_row, found))))


def show_next(store: str | None, schedule_id: str, count: int, *, as_json: bool) -> None:
    """Print the next due times of a schedule.

    Args:
        store: its URL; ``None``: the default.
        schedule_id: the schedule.
        count: how many.
        as_json: as one object with ``due``.

    Raises:
        ScheduleNotFoundError: there is no such schedule.
    """
    found = {each.id: each for each in asyncio.run(_schedules(store))}.get(schedule_id)
    if found is None:
        raise ScheduleNotFoundError(schedule_id)
    times = [each.isoformat() for each in found.upcoming(count)]
    if as_json:
        put(json_text({"id": found.id, "paused": found.paused, "due": times}, short=None))
        return
    if found.paused:
        again = f"gorkflow schedule resume {shlex.quote(schedule_id)}{same_store(store)}"
        say(f"it is paused; `{again}` has it go on")
    put("\n".join(times))


def pause(store: str | None, schedule_id: str) -> str:
    """Pause a schedule; return what to tell."""
    return _state(_with_engine(store, lambda engine: engine.pause_schedule(schedule_id)))


def resume(store: str | None, schedule_id: str) -> str:
    """Go on with a schedule; return what to tell."""
    return _state(_with_engine(store, lambda engine: engine.resume_schedule(schedule_id)))


def remove(store: str | None, schedule_id: str) -> str:
    """Remove a schedule; return what to tell."""
    _with_engine(store, lambda engine: engine.unschedule(schedule_id))
    return f"schedule {schedule_id!r} is removed; its runs are left as they are"


def _with_engine(store: str | None, ask: Callable[[Engine], Awaitable[T]]) -> T:
    async def work() -> T:
        with naming_source(store):
            async with Engine(check_exists(store), execute=False) as engine:
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


def _row(schedule: Schedule) -> tuple[str, ...]:
    note = ""
    if not schedule.paused and schedule.next_due.timestamp() < SystemClock().now() - PATIENCE:
        note = "overdue: no worker that knows the workflow looks"
    return (
        schedule.id,
        schedule.workflow_id,
        schedule.cron or f"every {schedule.every}",
        schedule.timezone if schedule.cron else "",
        "paused" if schedule.paused else _shown(schedule.next_due),
        note,
    )


def _to_json(schedule: Schedule) -> dict[str, Any]:
    body: dict[str, Any] = _plain.to_json(schedule)
    body["every"] = None if schedule.every is None else schedule.every.total_seconds()
    return body
