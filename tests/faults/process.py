"""Faults of processes: killed at random, twice, by their own steps."""

from __future__ import annotations

import json
import random
import signal
import time

from tests.faults import ledger
from tests.faults.actors import DEADLY
from tests.faults.oracle import Database, check, check_ended
from tests.faults.registry import Result, Size, fault
from tests.faults.scene import Scene, a_scene
from tests.faults.workload import planned_index

SESSION = "tests.faults.session"
PER_DATABASE = 100  # kills, after which a campaign begins a new file


@fault("K1", "random kill", "SIGKILL of a process at a random moment of its work")
def random_kills(size: Size, seed: int) -> Result:
    result = Result()
    while (left := size.of(40, 150, 1_000, 20_000) - result.injections) > 0:
        part = seed * 1_000 + result.injections // PER_DATABASE
        with a_scene(SESSION) as scene:
            campaign = Campaign(scene, part, result)
            with result.watch(f"campaign {part}"):
                campaign.run(min(left, PER_DATABASE))
    return result


class Campaign:
    """One database, one process after another, each killed or sent home.

    Args:
        scene: where.
        seed: of the plan.
        result: counts the kills.
    """

    def __init__(self, scene: Scene, seed: int, result: Result) -> None:
        self.scene = scene
        self.seed = seed
        self.result = result
        self.chance = random.Random(seed)
        self.kills = 0
        self.died_at: dict[int, float] = {}

    def run(self, kills: int) -> None:
        scene = self.scene
        # On a busy machine many come before anything has happened; those prove little.
        while self.kills < kills or (self._next_run() < kills and self.kills < 5 * kills):
            self._session()
            if self.kills % 10 == 0 and scene.has_schema():
                scene.database()
        scene.call("finish")
        lines = scene.ledger()
        database = Database(scene.db).read()
        into = scene.folder / "expected.json"
        runs = list(database.runs)
        scene.server.call(f"{SESSION}:reference", seed=self.seed, runs=runs, into=str(into))
        check(database, lines)
        check_ended(database, lines, json.loads(into.read_text()))
        self.result.recoveries += recoveries(self.died_at, lines)
        assert len(runs) >= kills, "too little happened between the kills"

    def _session(self) -> None:
        """Let one process work, and end it: in its first moments, at work, or as it leaves."""
        way = self.chance.random()
        leave_after = None
        if way < 0.2:
            moment = self.chance.uniform(0.0, 0.06)
        elif way < 0.8:
            moment = self.chance.uniform(0.03, 0.35)
        else:
            leave_after = self.chance.uniform(0.05, 0.25)
            moment = leave_after + self.chance.uniform(0.0, 0.08)
        pid = self.scene.fork(
            "carry", seed=self.seed, first=self._next_run(), leave_after=leave_after
        )
        time.sleep(moment)
        self.died_at[pid] = time.monotonic()
        if self.scene.server.kill(pid):
            self.kills += 1
            self.result.injections += 1
        else:
            del self.died_at[pid]

    def _next_run(self) -> int:
        started = [line.run for line in self.scene.lines("starting")]
        return max(map(planned_index, started), default=-1) + 1


def recoveries(died_at: dict[int, float], lines: list[ledger.Line]) -> list[float]:
    """Return the seconds from each death until the next process had taken all runs over."""
    opens = [line.at for line in lines if line.what == "open"]
    found = [min((at for at in opens if at > died), default=None) for died in died_at.values()]
    pairs = zip(found, died_at.values(), strict=True)
    return [at - died for at, died in pairs if at is not None]


@fault("K5", "step kills its process", "os._exit, abort() and a segmentation fault in a step")
def deadly_steps(size: Size, seed: int) -> Result:
    result = Result()
    codes = {"aborts": -signal.SIGABRT, "segfaults": -signal.SIGSEGV}
    for number in range(size.of(4, 20, 20, 200)):
        workflow = list(DEADLY)[(seed + number) % len(DEADLY)]
        with a_scene() as scene, result.injection(f"{workflow} {number}"):
            code = scene.exit_code("carry_one", workflow=workflow)
            died = time.monotonic()
            assert code == codes.get(workflow, 9), f"exit code {code}"
            assert scene.end()[0] == "running"
            scene.call("carry_one", workflow=workflow)
            assert scene.end()[0] == "completed"
            assert scene.attempts(workflow) == [1, 2]
            result.recoveries += recoveries({0: died}, scene.ledger())
    return result
