"""Schedules: one start per due time, whoever looks, whoever dies, however long nobody did."""

import asyncio
import dataclasses
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gorkflow import (
    Client,
    Engine,
    InputInvalidError,
    RunFilter,
    RunStatus,
    ScheduleNotFoundError,
    StepContext,
    Workflow,
    step,
)
from gorkflow.store import Written
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite import SqliteStore

from .placed import due_and_tags_there
from .support import Gate, in_loop, until
from .test_waiting import Lasting, ManualClock, reaches

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
gate = Gate()


@step
async def double(number: int) -> int:
    return number * 2


@step
async def hold(number: int) -> int:
    await gate.wait_async()
    return number


@step
async def nothing() -> str:
    return "done"


doubled = Workflow("doubled", input=int, tags={"team": "a"}).then(double)
held = Workflow("held", input=int).then(hold)
bare = Workflow("bare").then(nothing)


class Clock(ManualClock):
    def __init__(self) -> None:
        super().__init__()
        self.time = START.timestamp()

    def at(self, text: str) -> None:
        self.advance(datetime.fromisoformat(text).timestamp() - self.time)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'runs.db'}"
    return Lasting()


async def look(*engines: Engine) -> None:
    """Do now what each worker does within a second."""
    for engine in engines:
        assert engine._worker is not None
        await engine._worker._look()


async def runs(engine: Engine, schedule: str = "s") -> list[str]:
    """Return the due times that there are runs for."""
    page = await engine.list_runs(RunFilter(tags={"schedule": schedule}, limit=1000))
    return sorted(run.run_id.removeprefix(f"{schedule}@") for run in page)


# ---- one start per due time ---------------------------------------------------------------------


@in_loop
async def test_a_run_begins_when_it_is_due(store: Any) -> None:
    clock = Clock()
    async with Engine(store, clock=clock) as engine:
        made = await engine.schedule(
            doubled, 21, id="s", cron="0 3 * * *", timezone="Europe/Berlin", tags={"by": "b"}
        )
        assert made.next_due == datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
        assert made.next_due.isoformat() == "2026-11-23T03:00:00+01:00"
        clock.at("2026-11-23T01:59:57Z")
        await look(engine)
        assert await runs(engine) == []
        clock.at("2026-11-23T01:59:58.5Z")
        await look(engine)
        run_id = "s@2026-11-23T02:00:00Z"
        assert (await engine.get_run(run_id)).status is RunStatus.PENDING
        clock.at("2026-11-23T02:00:00Z")
        assert await engine.handle(run_id, doubled).result() == 42
        run = await engine.get_run(run_id)
        assert run.started_at == datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
        assert run.tags == {"schedule": "s", "by": "b", "team": "a"}
        assert run.input == 21
        (kept,) = await engine.schedules()
        assert kept.next_due == datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
        assert dataclasses.replace(kept, next_due=made.next_due) == made


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.999])
@in_loop
async def test_an_interval_is_due_for_the_first_time_once_it_has_passed(fraction: float) -> None:
    clock = Clock()
    clock.time += fraction
    async with Engine("memory:", clock=clock) as engine:
        made = await engine.schedule(doubled, 1, id="s", every=timedelta(minutes=5))
        waits = made.next_due.timestamp() - clock.time
        assert 300 <= waits < 301
        second = made.upcoming(2)[1]
        assert second - made.next_due == timedelta(minutes=5)
        await look(engine)
        assert await runs(engine) == []


@in_loop
async def test_two_workers_start_one_run_for_each_due_time(tmp_path: Path) -> None:
    url, clock = f"sqlite:{tmp_path / 'runs.db'}", Clock()
    async with (
        Engine(url, clock=clock, workflows=[doubled]) as one,
        Engine(url, clock=clock, workflows=[doubled]) as other,
        Client(url, clock=clock) as client,
    ):
        await client.schedule(doubled, 1, id="s", every=timedelta(minutes=1))
        for _ in range(20):
            clock.advance(30)
            await asyncio.gather(look(one), look(other))
        expected = [f"2026-11-22T12:{minute:02}:00Z" for minute in range(1, 11)]
        assert await runs(client) == expected
        for due in expected:
            await reaches(client, f"s@{due}", RunStatus.COMPLETED)
            created = [e.kind for e in await one.store.read_events(f"s@{due}")]
            assert created.count("run_created") == created.count("run_started") == 1


@in_loop
async def test_a_worker_finds_what_is_due_by_itself() -> None:
    async with (
        Engine(MemoryStore(), workflows=[bare]) as engine,
    ):
        await engine.schedule(bare, id="s", every=timedelta(seconds=1))
        async with asyncio.timeout(20):
            while len(await runs(engine)) < 2:
                await asyncio.sleep(0.01)
        done = await engine.handle(f"s@{(await runs(engine))[0]}").info()
        due = datetime.fromisoformat(done.run_id.removeprefix("s@"))
        await reaches(engine, done.run_id, RunStatus.COMPLETED)
        started = (await engine.get_run(done.run_id)).started_at
        assert started is not None
        assert started >= due


@step
async def due_and_tags(ctx: StepContext, _: int) -> tuple[str, dict[str, str]]:
    return str(ctx.scheduled_for), dict(ctx.tags)


@step
def due_and_tags_in_thread(ctx: StepContext, _: int) -> tuple[str, dict[str, str]]:
    return str(ctx.scheduled_for), dict(ctx.tags)


@pytest.mark.parametrize("told", [due_and_tags, due_and_tags_in_thread, due_and_tags_there])
@in_loop
async def test_a_step_knows_the_due_time_and_the_tags_of_its_run(told: Any, store: Any) -> None:
    flow = Workflow("telling", input=int, tags={"team": "a"}).then(told)
    clock = Clock()
    async with Engine(store, workflows=[flow], clock=clock) as engine:
        await engine.schedule(flow, 1, id="s", every=timedelta(hours=1), tags={"by": "b"})
        clock.at("2026-11-22T13:20:00Z")
        await look(engine)
        run_id = "s@2026-11-22T13:00:00Z"
        due = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
        tags = {"by": "b", "schedule": "s", "team": "a"}
        assert await engine.handle(run_id, flow).result() == (str(due), tags)
        assert (await engine.get_run(run_id)).scheduled_for == due
        again = await engine.rerun(run_id, told, workflow=flow, tags={"again": "1"})
        assert await again.result() == (str(due), {**tags, "again": "1"})
        assert (await again.info()).scheduled_for == due
        own = await engine.start(flow, 1)
        assert await own.result() == ("None", {"team": "a"})
        assert (await own.info()).scheduled_for is None


@in_loop
async def test_a_taken_over_run_keeps_its_due_time_and_tags(tmp_path: Path) -> None:
    url, clock = f"sqlite:{tmp_path / 'runs.db'}", Clock()
    flow = Workflow("telling", input=int).sleep(3600).then(due_and_tags)
    async with Engine(url, workflows=[flow], clock=clock) as engine:
        await engine.schedule(flow, 1, id="s", every=timedelta(hours=1))
        clock.at("2026-11-22T13:00:00Z")
        await look(engine)
        await reaches(engine, "s@2026-11-22T13:00:00Z", RunStatus.SUSPENDED)
    clock.at("2026-11-22T14:00:00Z")
    async with Engine(url, workflows=[flow], clock=clock) as engine:
        told = await engine.handle("s@2026-11-22T13:00:00Z", flow).result()
        assert told == ("2026-11-22 13:00:00+00:00", {"schedule": "s"})


KILLED = """
import asyncio, os, sys
from datetime import timedelta
from gorkflow import Engine, Workflow, step
from gorkflow.stores.sqlite import SqliteStore

@step
async def double(number: int) -> int:
    return number * 2

class Dying(SqliteStore):
    async def put_schedule(self, row):
        if row.revision > 1:
            os._exit(9)
        return await super().put_schedule(row)

async def main():
    workflow = Workflow("doubled", input=int, tags={"team": "a"}).then(double)
    async with Engine(Dying(sys.argv[1])) as engine:
        await engine.schedule(workflow, 21, id="s", every=timedelta(seconds=1))
        await asyncio.sleep(60)

asyncio.run(main())
"""


@in_loop
async def test_killed_between_the_start_and_the_move_it_is_started_once(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(path)], timeout=60, check=False
    )
    assert done.returncode == 9
    async with Client(SqliteStore(path)) as client:
        (left,) = await client.schedules()
        started = await runs(client)
        assert started
        assert started[0] == f"{left.next_due:%Y-%m-%dT%H:%M:%SZ}"
    clock = Clock()
    clock.time = left.next_due.timestamp() + 0.5
    async with Engine(SqliteStore(path), clock=clock, workflows=[doubled]) as engine:
        await look(engine)
        assert (await engine.schedules())[0].next_due > left.next_due
        both = await runs(engine)
        assert len(both) == len(set(both))
        assert both[0] == started[0]
        await reaches(engine, f"s@{started[0]}", RunStatus.COMPLETED)
        events = [e.kind for e in await engine.store.read_events(f"s@{started[0]}")]
        assert events.count("run_created") == events.count("step_completed") == 1


@in_loop
async def test_a_failed_start_is_tried_again_and_lost_by_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = True

    class Failing(MemoryStore):
        def write(self, batch: Any) -> asyncio.Future[list[Written]]:
            if broken:
                raise OSError("no room")
            return super().write(batch)

    clock = Clock()
    async with Engine(Failing(), clock=clock) as engine:
        before = (await engine.schedule(doubled, 1, id="s", every=timedelta(hours=1))).next_due
        clock.advance(3600)
        await look(engine, engine)
        assert (await engine.schedules())[0].next_due == before
        told = [r for r in caplog.records if "schedule 's'" in r.getMessage()]
        assert [r.levelno for r in told] == [logging.ERROR]
        broken = False
        await look(engine)
        assert await runs(engine) == ["2026-11-22T13:00:00Z"]


@in_loop
async def test_what_one_worker_does_not_know_is_left_to_others(store: Any) -> None:
    clock = Clock()
    async with Engine(store, clock=clock, workflows=[bare]) as stranger:
        async with Client(store, clock=clock) as client:
            await client.schedule(doubled, 1, id="s", every=timedelta(hours=1))
        clock.advance(3600)
        await look(stranger)
        assert await runs(stranger) == []
        assert stranger._worker is not None
    async with Engine(store, clock=clock, workflows=[doubled]) as engine:
        await look(engine)
        assert await runs(engine) == ["2026-11-22T13:00:00Z"]


@in_loop
async def test_engines_that_take_nothing_up_start_nothing(store: Any) -> None:
    clock = Clock()
    async with Engine(store, clock=clock, recover=False) as engine:
        await engine.schedule(doubled, 1, id="s", every=timedelta(hours=1))
        clock.advance(3600)
        await look(engine)
        assert await runs(engine) == []


@in_loop
async def test_what_does_not_fit_here_is_left_for_any_worker(store: Any) -> None:
    clock = Clock()
    gate.__init__()  # type: ignore[misc]
    async with Engine(store, clock=clock, max_concurrent_runs=1) as engine:
        await engine.schedule(held, 1, id="s", every=timedelta(seconds=10), catch_up="all")
        clock.advance(30)
        await look(engine)
        while len(await runs(engine)) < 3:  # its own heartbeat may be about it, too
            await asyncio.sleep(0.005)
        rows = [await engine.store.get_run(f"s@{due}") for due in await runs(engine)]
        owners = [row.worker_id for row in rows if row]
        assert owners == [engine.worker_id, None, None]
        gate.open()
        for due in await runs(engine):
            await reaches(engine, f"s@{due}", RunStatus.COMPLETED)


# ---- catching up --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("skip", []),
        ("last", ["2026-11-29T03:00:00Z"]),
        ("all", [f"2026-11-{day}T03:00:00Z" for day in range(23, 30)]),
    ],
)
@in_loop
async def test_after_a_week_without_workers(store: Any, catch_up: Any, expected: Any) -> None:
    clock = Clock()
    async with Client(store, clock=clock) as client:
        await client.schedule(bare, id="s", cron="0 3 * * *", catch_up=catch_up)
    clock.advance(7 * 86_400)
    async with Engine(store, clock=clock, workflows=[bare]) as engine:
        await look(engine, engine)
        assert await runs(engine) == expected
        assert (await engine.schedules())[0].next_due == datetime(2026, 11, 30, 3, tzinfo=UTC)
        for due in expected:
            await reaches(engine, f"s@{due}", RunStatus.COMPLETED)
        clock.at("2026-11-30T03:00:00Z")
        await look(engine)
        assert await runs(engine) == [*expected, "2026-11-30T03:00:00Z"]


@in_loop
async def test_a_start_that_is_a_little_late_is_not_missed(store: Any) -> None:
    clock = Clock()
    async with Engine(store, clock=clock) as engine:
        await engine.schedule(bare, id="s", every=timedelta(hours=1), catch_up="skip")
        clock.advance(3600 + 59)
        await look(engine)
        clock.advance(3600 + 2)
        await look(engine)
        assert await runs(engine) == ["2026-11-22T13:00:00Z"]


@in_loop
async def test_catching_up_with_all_has_a_bound(store: Any) -> None:
    clock = Clock()
    async with Engine(store, clock=clock) as engine:
        await engine.schedule(bare, id="s", every=timedelta(minutes=1), catch_up="all")
        clock.advance(86_400)
        await look(engine)
        found = await runs(engine)
        assert len(found) == 100
        assert (found[0], found[-1]) == ("2026-11-23T10:21:00Z", "2026-11-23T12:00:00Z")
        clock.advance(60)
        await look(engine)
        assert len(await runs(engine)) == 101


# ---- overlap ------------------------------------------------------------------------------------


@in_loop
async def test_runs_of_a_schedule_may_overlap(store: Any) -> None:
    clock = Clock()
    gate.__init__()  # type: ignore[misc]
    async with Engine(store, clock=clock) as engine:
        await engine.schedule(held, 1, id="s", every=timedelta(hours=1))
        for _ in range(2):
            clock.advance(3600)
            await look(engine)
        await until(lambda: gate.arrived == 2, "both to run")
        gate.open()


@in_loop
async def test_a_due_time_is_skipped_while_an_earlier_run_goes_on(store: Any) -> None:
    clock = Clock()
    gate.__init__()  # type: ignore[misc]
    async with Engine(store, clock=clock) as engine:
        await engine.schedule(held, 1, id="s", every=timedelta(hours=1), overlap="skip")
        await engine.schedule(held, 1, id="other", every=timedelta(hours=1), overlap="skip")
        clock.advance(3600)
        await look(engine)
        clock.advance(3599)  # a start ahead is not refused for good: the run may end in time
        await look(engine)
        assert (await engine.schedules())[1].next_due == datetime(2026, 11, 22, 14, tzinfo=UTC)
        clock.advance(1)
        await look(engine)
        assert (await engine.schedules())[1].next_due == datetime(2026, 11, 22, 15, tzinfo=UTC)
        assert await runs(engine) == await runs(engine, "other") == ["2026-11-22T13:00:00Z"]
        gate.open()
        await reaches(engine, "s@2026-11-22T13:00:00Z", RunStatus.COMPLETED)
        clock.advance(3600)
        await look(engine)
        assert await runs(engine) == ["2026-11-22T13:00:00Z", "2026-11-22T15:00:00Z"]


@in_loop
async def test_a_run_that_ends_in_time_does_not_cost_the_next_one(store: Any) -> None:
    clock = Clock()
    gate.__init__()  # type: ignore[misc]
    async with Engine(store, clock=clock) as engine:
        await engine.schedule(held, 1, id="s", every=timedelta(hours=1), overlap="skip")
        clock.advance(3600)
        await look(engine)
        clock.advance(3599)
        await look(engine)
        gate.open()
        await reaches(engine, "s@2026-11-22T13:00:00Z", RunStatus.COMPLETED)
        await look(engine)
        assert await runs(engine) == ["2026-11-22T13:00:00Z", "2026-11-22T14:00:00Z"]


# ---- changing -----------------------------------------------------------------------------------


@in_loop
async def test_the_same_schedule_again_goes_on_where_it_is(store: Any) -> None:
    clock = Clock()
    async with Client(store, clock=clock) as client:
        first = await client.schedule(doubled, 1, id="s", cron="0 * * * *")
        clock.advance(7200)  # nobody looked
        again = await client.schedule(doubled, 2, id="s", cron="0 * * * *")
        assert (again.next_due, again.created_at) == (first.next_due, first.created_at)
        assert again.input == 2
        await client.pause_schedule("s")
        assert (await client.schedule(doubled, 2, id="s", cron="0 * * * *")).paused
        other = await client.schedule(bare, id="s", cron="30 * * * *")
        assert (other.workflow_id, other.input, other.paused) == ("bare", None, True)
        assert other.next_due == START + timedelta(hours=2, minutes=30)


@in_loop
async def test_a_paused_schedule_starts_nothing_and_does_not_make_up_for_it(store: Any) -> None:
    clock = Clock()
    async with Engine(store, clock=clock) as engine:
        await engine.schedule(bare, id="s", every=timedelta(hours=1), catch_up="all")
        assert (await engine.pause_schedule("s")).paused
        clock.advance(3 * 3600 + 5)
        await look(engine)
        assert await runs(engine) == []
        resumed = await engine.resume_schedule("s")
        assert (resumed.paused, resumed.next_due) == (False, START + timedelta(hours=4))
        assert await engine.resume_schedule("s") == resumed
        await look(engine)
        clock.at("2026-11-22T16:00:00Z")
        await look(engine)
        assert await runs(engine) == ["2026-11-22T16:00:00Z"]


@in_loop
async def test_a_short_pause_costs_nothing(store: Any) -> None:
    clock = Clock()
    async with Engine(store, clock=clock) as engine:
        made = await engine.schedule(bare, id="s", every=timedelta(hours=1))
        await engine.pause_schedule("s")
        assert await engine.resume_schedule("s") == made


@in_loop
async def test_a_removed_schedule_starts_nothing_more(store: Any) -> None:
    clock = Clock()
    gate.__init__()  # type: ignore[misc]
    async with Engine(store, clock=clock) as engine:
        await engine.schedule(held, 1, id="s", every=timedelta(hours=1))
        clock.advance(3600)
        await look(engine)
        await engine.unschedule("s")
        clock.advance(3600)
        await look(engine)
        assert await engine.schedules() == []
        gate.open()
        await reaches(engine, "s@2026-11-22T13:00:00Z", RunStatus.COMPLETED)
        assert await runs(engine) == ["2026-11-22T13:00:00Z"]


@in_loop
async def test_a_change_is_made_on_top_of_what_others_changed(store: Any) -> None:
    clock = Clock()
    async with Engine(store, clock=clock) as engine:
        await engine.schedule(bare, id="s", every=timedelta(hours=1))
        store_of = engine.store
        original, times = store_of.put_schedule, 0

        async def slow(row: Any) -> bool:
            nonlocal times
            times += 1
            if times == 1:  # a worker moves it on just before
                (old,) = await store_of.schedules()
                moved = structs.replace(
                    old, next_due=old.next_due + 3600, revision=old.revision + 1
                )
                await original(moved)
            return await original(row)

        store_of.put_schedule = slow  # type: ignore[method-assign]
        paused = await engine.pause_schedule("s")
        assert times == 2
        assert paused.next_due == START + timedelta(hours=2)


@in_loop
async def test_upcoming_times_are_known() -> None:
    async with Engine(MemoryStore(), clock=Clock()) as engine:
        made = await engine.schedule(bare, id="s", cron="0 3 * * *", timezone="Europe/Berlin")
        assert [t.isoformat() for t in made.upcoming(2)] == [
            "2026-11-23T03:00:00+01:00",
            "2026-11-24T03:00:00+01:00",
        ]
        other = await engine.schedule(bare, id="t", every=timedelta(hours=1))
        assert other.upcoming(2) == [START + timedelta(hours=1), START + timedelta(hours=2)]
        assert other.upcoming(0) == []
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.paused = True  # type: ignore[misc]


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "but was given neither"),
        ({"cron": "0 3 * * *", "every": timedelta(hours=1)}, "but was given both"),
        ({"cron": "0 3 * *"}, "five fields"),
        ({"cron": "0 0 31 2 *"}, "is never due: there is no such date"),
        ({"cron": "0 3 * * *", "timezone": "Mars/Base"}, "no time zone 'Mars/Base'"),
        ({"cron": "0 3 * * *", "timezone": None}, "timezone must be a name"),
        ({"every": timedelta(hours=1), "timezone": "Mars/Base"}, "no time zone"),
        ({"every": timedelta(milliseconds=5)}, "every must be whole seconds"),
        ({"every": "1h"}, "every must be seconds or a timedelta"),
        ({"every": timedelta(hours=1), "catch_up": "most"}, "catch_up must be one of"),
        ({"every": timedelta(hours=1), "overlap": "no"}, "overlap must be one of"),
        ({"every": timedelta(hours=1), "overlap": "skip", "catch_up": "all"}, "change one"),
        ({"every": timedelta(hours=1), "tags": {"schedule": "x"}}, "the schedule's own"),
        ({"every": timedelta(hours=1), "tags": {"": "x"}}, "must be a text"),
        ({"every": timedelta(hours=1), "priority": 1.5}, "priority must be"),
        ({"every": timedelta(hours=1), "id": "a@b"}, "schedule id 'a@b' is not valid"),
        ({"every": timedelta(hours=1), "id": "x" * 151}, "up to 150"),
        ({"every": timedelta(hours=1), "input": "x"}, "input of workflow 'doubled'"),
    ],
)
@in_loop
async def test_what_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    async with Engine(MemoryStore()) as engine:
        given = {"input": 1, "id": "s", **options}
        with pytest.raises(InputInvalidError, match=says):
            await engine.schedule(doubled, **given)
        assert await engine.schedules() == []


@in_loop
async def test_an_unknown_option_is_an_error() -> None:
    async with Engine(MemoryStore()) as engine:
        with pytest.raises(TypeError, match="unexpected keyword argument 'corn'"):
            await engine.schedule(bare, id="s", corn="0 3 * * *")  # type: ignore[call-overload]


@in_loop
async def test_what_is_not_there_is_not_found() -> None:
    async with Engine(MemoryStore()) as engine:
        for ask in (engine.unschedule, engine.pause_schedule, engine.resume_schedule):
            with pytest.raises(ScheduleNotFoundError, match="no schedule 'x'"):
                await ask("x")


@in_loop
async def test_a_zone_that_is_unknown_here_is_shown_all_the_same() -> None:
    store = Lasting()
    async with Engine(store) as engine:
        await engine.schedule(bare, id="s", every=timedelta(hours=1))
        (row,) = await store.schedules()
        odd = structs.replace(row, timezone="Old/Name", cron="0 3 * * *", every=None)
        await store.put_schedule(structs.replace(odd, revision=2))
        (shown,) = await engine.schedules()
        assert (shown.timezone, shown.next_due.tzinfo) == ("Old/Name", UTC)


@in_loop
async def test_a_workflow_known_only_for_its_output_is_left_to_others(store: Any) -> None:
    clock = Clock()
    async with (
        Engine(store, clock=clock) as engine,
        Client(store, clock=clock) as client,
    ):
        await client.schedule(doubled, 1, id="s", every=timedelta(hours=1))
        engine.handle("r", doubled)
        clock.advance(3600)
        await look(engine)
        assert await runs(client) == []
