"""Processes killed at random moments: nothing acknowledged is lost, nothing recorded runs again.

``GORKFLOW_TEST_SEED=<seed>`` chooses the plan of runs and moments; what the machine makes of the
moments is its own.
"""

import json
import os
import random
import time
from pathlib import Path

import pytest

from tests.crash import ledger
from tests.crash.forkserver import ForkServer
from tests.crash.oracle import Database, check, check_ended
from tests.crash.workload import planned_index

SEED = int(os.environ.get("GORKFLOW_TEST_SEED") or random.SystemRandom().randrange(10**6))
SESSION = "tests.crash.session"


@pytest.mark.parametrize(
    "kills", [40, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(600)])]
)
def test_killed_processes_lose_nothing(tmp_path: Path, kills: int):
    print(
        f"to replay: GORKFLOW_TEST_SEED={SEED} GORKFLOW_TEST_SIZE=full "
        f"python -m pytest 'tests/crash/test_kills.py' -k '[{kills}]'"
    )
    with ForkServer(tmp_path / "log") as server:
        Campaign(server, tmp_path, SEED).run(kills)


class Campaign:
    """One database, one process after another, each killed or sent home.

    Args:
        server: forks the processes.
        folder: for the files.
        seed: of the plan.
    """

    def __init__(self, server: ForkServer, folder: Path, seed: int) -> None:
        self.server = server
        self.seed = seed
        self.chance = random.Random(seed)
        self.db = folder / "runs.db"
        self.witness = folder / "ledger"
        self.into = folder / "expected.json"
        self.kills = 0

    def run(self, kills: int) -> None:
        while self.kills < kills:
            self.session()
            if self.kills % 10 == 0 and self.db.exists():
                check(Database(self.db).read(), ledger.read(self.witness))
        self.server.call(f"{SESSION}:finish", db=str(self.db), witness=str(self.witness))
        lines = ledger.read(self.witness)
        database = Database(self.db).read()
        runs = list(database.runs)
        self.server.call(f"{SESSION}:reference", seed=self.seed, runs=runs, into=str(self.into))
        check(database, lines)
        check_ended(database, lines, json.loads(self.into.read_text()))
        begun = sum(line.what == "begin" for line in lines)
        print(f"{self.kills} kills, {len(runs)} runs, {begun} attempts, {lines[-1].place} lines")
        assert len(runs) >= kills, "too little happened between the kills"

    def session(self) -> None:
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
        pid = self.server.fork(
            f"{SESSION}:carry",
            seed=self.seed,
            db=str(self.db),
            witness=str(self.witness),
            first=self._next_run(),
            leave_after=leave_after,
        )
        time.sleep(moment)
        if self.server.kill(pid):
            self.kills += 1

    def _next_run(self) -> int:
        started = [line.run for line in ledger.read(self.witness) if line.what == "starting"]
        return max(map(planned_index, started), default=-1) + 1
