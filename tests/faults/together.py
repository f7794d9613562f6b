"""Two engines on one file, for minutes, with kills, freezes and cancels at random."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections import defaultdict
from dataclasses import dataclass

from gorkflow import Client, Engine, RunNotFoundError
from tests.faults import ledger
from tests.faults.ledger import Line
from tests.faults.oracle import Database, Place
from tests.faults.owners import Crowd, a_crowd, check_all_ended, check_left_behind
from tests.faults.registry import Result, Size, chance, fault
from tests.faults.session import begin, tell
from tests.faults.workload import WORKFLOWS, planned

ACTOR = "tests.faults.together"
LEASE = 2.0
PAUSE = 0.03  # seconds between two starts: what two busy engines manage
IN_FLIGHT = 30


def engine_of_two(db: str, witness: str) -> int:
    """Carry what is there until told to stop."""
    ledger.open_ledger(witness)

    async def main() -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        async with Engine(f"sqlite:{db}", workflows=WORKFLOWS.values(), lease=LEASE):
            ledger.write("open")
            await told.wait()

    asyncio.run(main())
    return 0


def keep_starting(db: str, witness: str, seed: int) -> int:
    """Start runs of the plan, and do to them what the plan says, until told to stop."""
    ledger.open_ledger(witness)

    async def main() -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        async with Client(f"sqlite:{db}") as client:
            for number in itertools.count():
                if told.is_set() or number >= 9_999:
                    return
                start = planned(seed, number)
                handle = await begin(client, start)
                await tell(handle, start)
                if start.cancel:  # it only asks: whoever carries the run looks for it in a moment
                    ledger.write("cancelling", run=start.run_id)
                    await handle.cancel()
                await asyncio.sleep(PAUSE)
                await _let_some_end(client, seed, number - IN_FLIGHT)

    asyncio.run(main())
    return 0


async def _let_some_end(client: Engine, seed: int, number: int) -> None:
    if number >= 0:
        try:
            await client.handle(planned(seed, number).run_id).outcome()
        except RunNotFoundError:
            raise AssertionError("a run is gone") from None


@fault("S1", "two engines, one file", "kills, freezes within and beyond the lease, cancels")
def two_engines(size: Size, seed: int) -> Result:
    result = Result()
    seconds = size.of(2.5, 30.0, 600.0, 3_600.0)
    with a_crowd() as crowd, result.watch("together"):
        dice = chance("S1", seed)
        together = Together(crowd, dice, result)
        together.run(seconds, seed)
    return result


@dataclass
class Together:
    """Two engines, and what is done to them."""

    crowd: Crowd
    dice: random.Random
    result: Result

    def run(self, seconds: float, seed: int) -> None:
        crowd, scene = self.crowd, self.crowd.scene
        engines = [crowd.worker(f"{ACTOR}:engine_of_two") for _ in range(2)]
        starter = crowd.worker(f"{ACTOR}:keep_starting", seed=seed)
        scene.wait_for_lines("begin", 5)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self.dice.uniform(0.1, 1.0))
            which = self.dice.randrange(2)
            engines[which] = self._disturb(engines[which])
            self.result.injections += 1
        assert crowd.stop(starter) == 0, scene.server.tail()
        crowd.all_end()
        assert [crowd.stop(pid) for pid in engines] == [0, 0], scene.server.tail()
        scene.database()
        check_all_ended(scene, seed)
        check_left_behind(scene)
        self._check_owners(Database(scene.db).read(), scene.ledger())

    def _disturb(self, pid: int) -> int:
        """Kill or freeze an engine; return the one that goes on in its place."""
        way = self.dice.random()
        if way < 0.4:
            died = self.crowd.kill(pid)
            heir = self.crowd.worker(f"{ACTOR}:engine_of_two")
            self._recovered(died)
            return heir
        if way < 0.5:
            assert self.crowd.stop(pid) == 0
            left = time.monotonic()
            heir = self.crowd.worker(f"{ACTOR}:engine_of_two")
            self._recovered(left)
            return heir
        os.kill(pid, signal.SIGSTOP)
        beyond = way < 0.65
        time.sleep(self.dice.uniform(LEASE, LEASE + 1.5) if beyond else self.dice.uniform(0, 0.8))
        os.kill(pid, signal.SIGCONT)
        return pid

    def _recovered(self, died: float) -> None:
        """Measure how long it takes until an engine is there again."""
        lines = self.crowd.scene.lines("open")
        deadline = time.monotonic() + 20
        while not (after := [line.at for line in lines if line.at > died]):
            assert time.monotonic() < deadline, "nobody took over"
            time.sleep(0.01)
            lines = self.crowd.scene.lines("open")
        self.result.recoveries.append(after[0] - died)

    def _check_owners(self, database: Database, lines: list[Line]) -> None:
        """Each attempt began in one process only, and what is recorded is what that one did."""
        by: dict[tuple[str, str, int], set[int]] = defaultdict(set)
        for line in lines:
            if line.what == "begin":
                by[line.run, line.path, line.attempt].add(line.pid)
        assert all(len(pids) == 1 for pids in by.values()), "an attempt began in two processes"
        ends: dict[tuple[str, str, int], Line] = {
            (line.run, line.path, line.attempt): line for line in lines if line.what == "end"
        }
        recorded: set[Place] = set()
        for event in database.events():
            if event.kind == "step_completed":
                place = event.run_id, event.path
                assert place not in recorded, f"{place} was recorded twice"
                recorded.add(place)
                attempt = (*place, getattr(event, "attempt", 0))
                assert ends[attempt].pid in by[attempt]
