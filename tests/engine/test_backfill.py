"""Runs of a schedule that a person asks for: now, or for due times that have passed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gorkflow import (
    Client,
    DuplicateRunError,
    Engine,
    InputInvalidError,
    ResourceBusyError,
    ScheduleNotFoundError,
    StepContext,
    Workflow,
    step,
)

from .support import in_loop
from .test_waiting import ManualClock

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@step
def due(ctx: StepContext, region: str) -> str:
    at = ctx.scheduled_for
    return f"{region} {at:%d %H:%M}" if at else region


@step
def nothing(region: str) -> str:
    return region


report = Workflow("report", input=str).then(due)
waiting = Workflow("waiting", input=str).then(nothing).sleep(3600)


def clock() -> ManualClock:
    made = ManualClock()
    made.time = NOON.timestamp()
    return made


async def outputs(engine: Engine, handles: list[Any]) -> list[Any]:
    await engine.recover()
    return [await handle.result() for handle in handles]


@in_loop
async def test_each_due_time_of_a_rule_is_made_up_for():
    async with Engine("memory:", clock=clock()) as engine:
        await engine.schedule(report, "north", id="nightly", cron="0 3 * * *", tags={"a": "b"})
        start = datetime(2026, 11, 19, 3, tzinfo=UTC)
        made = await engine.backfill("nightly", start, datetime(2026, 11, 22, 3, tzinfo=UTC))
        assert [handle.run_id for handle in made] == [
            f"nightly@2026-11-{day}T03:00:00Z" for day in (19, 20, 21)
        ]
        assert (await made[0].info()).tags == {"a": "b", "schedule": "nightly"}
        found = await outputs(engine, made)
        assert found == ["north 19 03:00", "north 20 03:00", "north 21 03:00"]


@in_loop
async def test_a_due_time_that_has_a_run_gets_no_other_one():
    async with Client("memory:", clock=clock()) as client:
        await client.schedule(report, "north", id="hourly", every=3600)
        first = await client.backfill("hourly", NOON - timedelta(hours=2), NOON)
        again = await client.backfill("hourly", NOON - timedelta(hours=4), NOON)
        assert (len(first), len(again)) == (2, 2)
        assert not {each.run_id for each in first} & {each.run_id for each in again}


@in_loop
async def test_the_schedule_itself_continues_as_before():
    async with Client("memory:", clock=clock()) as client:
        made = await client.schedule(report, "north", id="hourly", every=3600)
        await client.pause_schedule("hourly")
        assert len(await client.backfill("hourly", NOON - timedelta(hours=1), NOON)) == 1
        [kept] = await client.schedules()
        assert (kept.next_due, kept.paused) == (made.next_due, True)


@in_loop
async def test_backfills_that_can_not_be():
    async with Client("memory:", clock=clock()) as client:
        await client.schedule(report, "north", id="hourly", every=3600)
        await client.schedule(report, "north", id="alone", every=3600, overlap="skip")

        async def rejected(match: str, id: str, start: Any, end: Any) -> None:
            with pytest.raises(InputInvalidError, match=match):
                await client.backfill(id, start, end)

        hour = timedelta(hours=1)
        await rejected("in the past", "hourly", NOON - hour, NOON + hour)
        await rejected("more than 1,000", "hourly", NOON - 2000 * hour, NOON)
        await rejected("with its zone", "hourly", datetime(2026, 11, 1), NOON)  # noqa: DTZ001
        await rejected("with its zone", "hourly", NOON - hour, "noon")
        await rejected("must not overlap", "alone", NOON - 2 * hour, NOON)
        assert len(await client.backfill("alone", NOON - hour, NOON)) == 1
        assert await client.backfill("hourly", NOON, NOON - hour) == []
        with pytest.raises(ScheduleNotFoundError):
            await client.backfill("none", NOON - hour, NOON)
        with pytest.raises(ScheduleNotFoundError):
            await client.run_schedule("none")


@in_loop
async def test_code_that_is_not_here_starts_nothing(tmp_path: Any):
    url = f"sqlite:{tmp_path / 'runs.db'}"
    async with Client(url, clock=clock()) as client:
        await client.schedule(report, "north", id="hourly", every=3600)
    async with Client(url, clock=clock()) as other:
        with pytest.raises(InputInvalidError, match="not known here"):
            await other.run_schedule("hourly")


@in_loop
async def test_a_run_now():
    async with Engine("memory:", clock=clock()) as engine:
        await engine.schedule(report, "north", id="hourly", every=3600)
        handle = await engine.run_schedule("hourly")
        assert handle.run_id == "hourly@2026-11-22T12:00:00Z"
        assert await handle.result() == "north 22 12:00"
        with pytest.raises(DuplicateRunError):
            await engine.run_schedule("hourly")


@in_loop
async def test_a_run_now_does_not_overlap():
    made = clock()
    async with Engine("memory:", clock=made) as engine:
        await engine.schedule(waiting, "north", id="alone", every=36_000, overlap="skip")
        await engine.run_schedule("alone")
        made.advance(5)
        with pytest.raises(ResourceBusyError):
            await engine.run_schedule("alone")
