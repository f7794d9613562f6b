"""Schedules among workers that die, and after none ran for a while: one start per due time."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from gorkflow import Client, Engine, StepContext, Workflow, step
from gorkflow.schedule import MOST, CatchUp, run_id_of
from gorkflow.store import NewRun
from gorkflow.stores.sqlite import SqliteStore
from tests.faults import ledger
from tests.faults.clocks import HOUR, JumpingClock
from tests.faults.forkserver import eventually
from tests.faults.ledger import begin, end
from tests.faults.oracle import Database
from tests.faults.owners import Crowd, a_crowd, ask, check_left_behind
from tests.faults.points import die
from tests.faults.registry import Result, Size, chance, fault

ACTOR = "tests.faults.scheduled"
POINTS = ("before create", "after create", "before move", "after move")
POLICIES: tuple[CatchUp, ...] = ("last", "skip", "all")


@step
async def ticks(ctx: StepContext, number: int) -> int:
    begin(ctx, number)
    return end(ctx, number)


TICKING = Workflow("ticking", input=int).then(ticks)


class Dying(SqliteStore):
    """Kills its process around the two writes that a start takes."""

    die_at: tuple[str, int] = ("", 0)
    """A point, and the how-manieth time there."""

    async def write(self, batch: Sequence[Any]) -> Any:
        new = [item for item in batch if isinstance(item, NewRun)]
        for item in new:
            ledger.write("starting", run=item.row.run_id)
        if new:
            self._reach("before create")
        written = await super().write(batch)
        if new:
            self._reach("after create")
        return written

    async def put_schedule(self, row: Any) -> bool:
        self._reach("before move")
        moved = await super().put_schedule(row)
        self._reach("after move")
        return moved

    def _reach(self, point: str) -> None:
        name, number = self.die_at
        if name == point:
            self.die_at = (name, number - 1)
            if number <= 1:
                die(point)


def schedule_all(db: str, witness: str, every: float, policies: list[CatchUp]) -> int:
    """Make schedules, due for the first time after one interval."""

    async def main() -> None:
        async with Client(f"sqlite:{db}") as client:
            for number, policy in enumerate(policies):
                interval = timedelta(seconds=every)
                name = f"{policy}-{number}"
                await client.schedule(TICKING, number, id=name, every=interval, catch_up=policy)

    asyncio.run(main())
    return 0


def forget_all(db: str, witness: str) -> int:
    """Remove the schedules; their runs stay."""

    async def main() -> None:
        async with Client(f"sqlite:{db}") as client:
            for schedule in await client.schedules():
                await client.unschedule(schedule.id)

    asyncio.run(main())
    return 0


def carry_scheduled(
    db: str, witness: str, offset: float = 0.0, die_at: tuple[str, int] = ("", 0)
) -> int:
    """Start and carry what is due, by a clock of one's own, until told to stop or killed."""
    ledger.open_ledger(witness)
    clock = JumpingClock()
    clock.offset = offset

    async def main() -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        store = Dying(db)
        store.die_at = die_at
        async with Engine(store, workflows=[TICKING], clock=clock):
            ledger.write("open")
            await told.wait()

    asyncio.run(main())
    return 0


@fault("T1", "schedules among kills", "SIGKILL of workers around a start, and at any other moment")
def schedules_among_kills(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("T1", seed)
    for number in range(size.of(1, 2, 20, 200)):
        with a_crowd() as crowd, result.watch(f"kills {number}"):
            _kill_among_starts(crowd, dice, result, size.of(3, 15, 15, 15))
    return result


def _kill_among_starts(crowd: Crowd, dice: random.Random, result: Result, kills: int) -> None:
    scene = crowd.scene
    scene.call(f"{ACTOR}:schedule_all", every=1.0, policies=["all"] * 3)
    first = _next_due(crowd)
    workers = [_mortal(crowd, dice) for _ in range(2)]
    for _ in range(kills):
        time.sleep(dice.uniform(0.1, 0.8))
        crowd.kill(workers.pop(dice.randrange(len(workers))))  # it may have died before
        result.injections += 1
        workers.append(_mortal(crowd, dice))
    for pid in workers:
        crowd.kill(pid)
    last = crowd.worker(f"{ACTOR}:carry_scheduled")
    eventually(lambda: min(_next_due(crowd).values()) > time.time(), "all to be started")
    due = _next_due(crowd)
    scene.call(f"{ACTOR}:forget_all")
    crowd.all_end()
    assert crowd.stop(last) == 0
    runs = scene.database().runs
    for name, began in first.items():
        found = {run for run in runs if run.startswith(f"{name}@")}
        # More may have been started until the schedule was gone; but none was left out.
        count = max(len(found), int(due[name] - began))
        expected = {run_id_of(name, int(began) + number) for number in range(count)}
        assert found == expected, f"{name}: {sorted(found ^ expected)} are wrong"
    _check_one_run_each(crowd)
    check_left_behind(scene)


def _mortal(crowd: Crowd, dice: random.Random) -> int:
    die_at = dice.choice(POINTS), dice.randint(1, 4)
    return crowd.worker(f"{ACTOR}:carry_scheduled", die_at=die_at)


@fault("T2", "downtime", "no worker for hours or weeks; then several, one of which is killed")
def downtimes(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("T2", seed)
    for number in range(size.of(1, 5, 20, 200)):
        hours = dice.choice((1, 3, 30, 400))
        with a_crowd() as crowd, result.injection(f"downtime {number}, {hours} hours"):
            _come_back_after(crowd, hours, (dice.choice(POINTS), dice.randint(1, 3)))
    return result


def _come_back_after(crowd: Crowd, hours: int, die_at: tuple[str, int]) -> None:
    """What passed meanwhile is made up for as each policy says, and once over all workers."""
    scene = crowd.scene
    scene.call(f"{ACTOR}:schedule_all", every=HOUR, policies=POLICIES)
    first = _next_due(crowd)
    # Two minutes late: none of the due times that passed is only late.
    offset = hours * HOUR + 120
    crowd.worker(f"{ACTOR}:carry_scheduled", offset=offset, die_at=die_at)
    others = [crowd.worker(f"{ACTOR}:carry_scheduled", offset=offset) for _ in range(2)]
    now = time.time() + offset
    eventually(lambda: min(_next_due(crowd).values()) > now, "all to be dealt with")
    crowd.all_end()
    assert [crowd.stop(pid) for pid in others] == [0, 0], scene.server.tail()
    runs = set(scene.database().runs)
    for name, began in first.items():
        passed = [run_id_of(name, int(began + HOUR * n)) for n in range(hours)]
        policy = name.partition("-")[0]
        expected = {"skip": [], "last": passed[-1:], "all": passed[-MOST:]}[policy]
        found = {run for run in runs if run.startswith(f"{name}@")}
        wrong = sorted(found ^ set(expected))
        assert not wrong, f"{name}, after {hours} hours: {len(wrong)} are wrong, as {wrong[0]}"
    _check_one_run_each(crowd)


def _next_due(crowd: Crowd) -> dict[str, float]:
    rows = ask(crowd.scene.db, "SELECT schedule_id, next_due FROM schedules")
    return {str(name): float(cast("float", due)) for name, due in rows}


def _check_one_run_each(crowd: Crowd) -> None:
    """Every run that was started ended, and its step was recorded once."""
    database = Database(crowd.scene.db).read()
    for run_id, loaded in database.runs.items():
        assert loaded.row.status == "completed", f"{run_id} is {loaded.row.status}"
        kinds = [event.kind for event in loaded.events]
        assert kinds.count("step_completed") == 1, f"{run_id}: {kinds}"
