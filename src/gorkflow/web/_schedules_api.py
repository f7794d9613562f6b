"""The JSON API of schedules, limits and workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from gorkflow.errors import ScheduleNotFoundError
from gorkflow.limits import LimitUse
from gorkflow.model import LiveWorker
from gorkflow.schedule import Schedule
from gorkflow.web._operations import Asked, Operation


class Schedules(Struct, frozen=True, kw_only=True):
    """All schedules."""

    schedules: tuple[Schedule, ...]


async def list_schedules(asked: Asked) -> Schedules:
    return Schedules(schedules=tuple(await asked.site.engine.schedules()))


async def show_schedule(asked: Asked) -> Schedule:
    wanted = asked.part("schedule_id")
    for schedule in await asked.site.engine.schedules():
        if schedule.id == wanted:
            return schedule
    raise ScheduleNotFoundError(wanted)


async def pause_schedule(asked: Asked) -> Schedule:
    return await asked.site.engine.pause_schedule(asked.part("schedule_id"))


async def resume_schedule(asked: Asked) -> Schedule:
    return await asked.site.engine.resume_schedule(asked.part("schedule_id"))


class Removed(Struct, frozen=True, kw_only=True):
    """The schedule that is gone."""

    id: str


async def remove_schedule(asked: Asked) -> Removed:
    await asked.site.engine.unschedule(asked.part("schedule_id"))
    return Removed(id=asked.part("schedule_id"))


class RunsStarted(Struct, frozen=True, kw_only=True):
    """The runs that were started; those that were there already are left out."""

    run_ids: tuple[str, ...]


class Backfill(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The due times to start runs for: from the first instant, until before the last."""

    start: datetime
    end: datetime


async def backfill(asked: Asked) -> RunsStarted:
    body: Backfill = asked.body
    made = await asked.site.engine.backfill(asked.part("schedule_id"), body.start, body.end)
    return RunsStarted(run_ids=tuple(handle.run_id for handle in made))


async def run_schedule(asked: Asked) -> RunsStarted:
    handle = await asked.site.engine.run_schedule(asked.part("schedule_id"))
    return RunsStarted(run_ids=(handle.run_id,))


class Workers(Struct, frozen=True, kw_only=True):
    """All workers that are alive."""

    workers: tuple[LiveWorker, ...]


async def list_workers(asked: Asked) -> Workers:
    return Workers(workers=tuple(await asked.site.engine.workers()))


class Limits(Struct, frozen=True, kw_only=True):
    """The use of all named limits."""

    limits: tuple[LimitUse, ...]


async def list_limits(asked: Asked) -> Limits:
    return Limits(limits=tuple(await asked.site.engine.limits()))


def _schedule(
    method: str, path: str, name: str, summary: str, do: Any, answer: Any, **more: Any
) -> Operation:
    fails = more.pop("fails", ())
    return Operation(
        method=method, path=f"/schedules/{{schedule_id}}{path}", name=name, summary=summary,
        do=do, answer=answer, fails=(404, *fails), **more,
    )  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/schedules", name="list_schedules", summary="List schedules.",
        do=list_schedules, answer=Schedules,
    ),
    _schedule("GET", "", "show_schedule", "Show a schedule.", show_schedule, Schedule),
    _schedule("DELETE", "", "remove_schedule", "Remove a schedule.", remove_schedule, Removed),
    _schedule("POST", "/pause", "pause_schedule", "Pause a schedule.", pause_schedule, Schedule),
    _schedule("POST", "/resume", "resume_schedule", "Resume a schedule.", resume_schedule,
              Schedule),
    _schedule(
        "POST", "/run", "run_schedule", "Start a run of it now.", run_schedule, RunsStarted,
        status=201, fails=(409, 422), may_repeat=False,
    ),
    _schedule(
        "POST", "/backfill", "backfill", "Start runs for due times that have passed.", backfill,
        RunsStarted, body=Backfill, status=201, fails=(422,),
    ),
    Operation(
        method="GET", path="/limits", name="list_limits", summary="Show the use of limits.",
        do=list_limits, answer=Limits,
    ),
    Operation(
        method="GET", path="/workers", name="list_workers", summary="List living workers.",
        do=list_workers, answer=Workers,
    ),
)  # fmt: skip
