"""Named limits among processes that die: what these held comes back, and never more are let in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from gorkflow import Client, Engine, Limit, StepContext, Workflow, step
from gorkflow.clock import Timekeeper
from gorkflow.stores.sqlite import SqliteStore
from tests.faults import ledger
from tests.faults.forkserver import eventually
from tests.faults.ledger import Line, begin, end
from tests.faults.owners import Crowd, a_crowd, ask, check_left_behind
from tests.faults.registry import Result, Size, chance, fault

ACTOR = "tests.faults.limited"
PLACES, RATE, PER = 3, 10, 0.4
places = Limit("places", concurrency=PLACES)
paced = Limit("paced", rate=RATE, per=PER)
LIMITED = {"holds", "shares"}
PACED = {"starts", "shares"}
ITEMS = 8
_LATE = 0.05  # seconds from when a handler begins until it writes so


class Work(BaseModel):
    """One item."""

    seconds: float
    gate: str = ""
    """A file to wait for."""


@step(limits=(places,))
async def holds(ctx: StepContext, work: Work) -> float:
    begin(ctx, work.seconds)
    await asyncio.sleep(work.seconds)
    while work.gate and not os.path.exists(work.gate):  # noqa: ASYNC240, PTH110 - quick
        await asyncio.sleep(0.003)
    return end(ctx, work.seconds)


@step(limits=(paced,))
async def starts(ctx: StepContext, seconds: float) -> float:
    begin(ctx, seconds)
    return end(ctx, seconds)


@step(limits=(paced, places))
def shares(ctx: StepContext, work: Work) -> float:
    begin(ctx, work.seconds)
    time.sleep(work.seconds)
    return end(ctx, work.seconds)


@step
async def both(ctx: StepContext, values: tuple[float, float]) -> float:
    begin(ctx, values)
    return end(ctx, sum(values))


item = Workflow("item", input=Work).then(holds).then(starts)
pair = Workflow("pair", input=Work).parallel(item, shares)
limited = Workflow("limited", input=list[Work]).map(pair).map(both)


class Told(SqliteStore):
    """Writes down what it lets in, and when it judged so."""

    async def take_limits(self, worker_id: str, *, times: Timekeeper, **options: Any) -> Any:
        grant = await super().take_limits(worker_id, times=times, **options)
        for request, count in zip(options["requests"], grant.counts, strict=True):
            if count:
                names = [limit.name for limit in request.limits]
                ledger.write("let in", note=json.dumps([count, names]))
        return grant


def carry_limited(db: str, witness: str, begin: str = "") -> int:
    """Carry what is there, and perhaps a run of one's own, until told to stop."""
    ledger.open_ledger(witness)

    async def main() -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        async with Engine(Told(db), workflows=[limited]) as engine:
            ledger.write("open")
            if begin:
                ledger.write("starting", run=begin)
                await engine.start(limited, [Work(seconds=0.0)], run_id=begin)
                ledger.write("started", run=begin)
            await told.wait()

    asyncio.run(main())
    return 0


def queue_limited(db: str, witness: str, works: list[dict[str, Any]], name: str) -> int:
    """Start a run without carrying it."""
    ledger.open_ledger(witness)

    async def main() -> None:
        async with Client(f"sqlite:{db}") as client:
            ledger.write("starting", run=name)
            await client.start(limited, [Work(**work) for work in works], run_id=name)
            ledger.write("started", run=name)

    asyncio.run(main())
    return 0


@fault("L1", "holders killed", "SIGKILL of a worker that has all places of a limit others wait for")
def holders(size: Size, seed: int) -> Result:
    result = Result()
    for number in range(size.of(1, 10, 50, 500)):
        with a_crowd() as crowd, result.injection(f"holder {number}"):
            _one_holder(crowd, result, size)
    return result


def _one_holder(crowd: Crowd, result: Result, size: Size) -> None:
    """Let a worker have all places, and another one wait for some."""
    scene = crowd.scene
    gated = [{"seconds": 0.0, "gate": str(crowd.gate)}] * (2 * PLACES)
    scene.call(f"{ACTOR}:queue_limited", works=gated, name="first")
    first = crowd.worker(f"{ACTOR}:carry_limited")
    held = lambda: [line for line in _begun(crowd) if line.path.endswith("holds")]  # noqa: E731
    eventually(lambda: len(held()) >= PLACES, "all places to be taken")
    heir = crowd.worker(f"{ACTOR}:carry_limited", begin="second")
    waits = "SELECT COUNT(*) FROM limit_leases WHERE since IS NOT NULL AND held = 0"
    eventually(lambda: ask(scene.db, waits)[0][0], "the other worker to wait")
    died = crowd.kill(first)
    after = lambda: [line for line in _begun(crowd) if line.pid == heir]  # noqa: E731
    eventually(lambda: bool(after()), "the other worker to get a place")
    taken = after()[0].at - died
    result.recoveries.append(taken)
    crowd.gate.touch()
    crowd.all_end()
    assert crowd.stop(heir) == 0
    scene.database()
    _check_limits(scene.ledger(), {first: died})
    assert taken <= 2.0 or size is Size.SHORT, f"took {taken:.2f} s"


def _begun(crowd: Crowd) -> list[Line]:
    return [line for line in crowd.scene.lines() if _of(line, LIMITED)]


@fault("L2", "limits among kills", "workers that share limits are killed at random and replaced")
def limits_among_kills(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("L2", seed)
    for number in range(size.of(1, 3, 20, 200)):
        with a_crowd() as crowd, result.watch(f"kills {number}"):
            scene = crowd.scene
            for run in range(size.of(2, 4, 6, 8)):
                works = [{"seconds": dice.choice((0.0, 0.01, 0.05))} for _ in range(ITEMS)]
                scene.call(f"{ACTOR}:queue_limited", works=works, name=f"run-{run}")
            workers = [crowd.worker(f"{ACTOR}:carry_limited") for _ in range(3)]
            died: dict[int, float] = {}
            for _ in range(size.of(2, 8, 10, 12)):
                _wait_for_more(crowd)
                time.sleep(dice.uniform(0, 0.1))
                pid = workers.pop(dice.randrange(len(workers)))
                died[pid] = crowd.kill(pid)
                result.injections += 1
                workers.append(crowd.worker(f"{ACTOR}:carry_limited"))
            crowd.all_end()
            assert [crowd.stop(pid) for pid in workers] == [0] * 3, scene.server.tail()
            database = scene.database()
            assert all(loaded.row.status == "completed" for loaded in database.runs.values())
            _check_limits(scene.ledger(), died)
            check_left_behind(scene)
    return result


def _wait_for_more(crowd: Crowd) -> None:
    """Wait until another step is let in; or none is left that could be."""
    before = len(crowd.scene.lines("let in"))
    left = "SELECT COUNT(*) FROM runs WHERE finished_at IS NULL"
    eventually(
        lambda: len(crowd.scene.lines("let in")) > before or not ask(crowd.scene.db, left)[0][0],
        "another step to be let in",
    )


# ---- what must hold -----------------------------------------------------------------------------


def _of(line: Line, names: Iterable[str]) -> bool:
    return line.path.rpartition("/")[2] in names


def _check_limits(lines: list[Line], died: dict[int, float]) -> None:
    """Never more than the limits say: at a time, nor in any window.

    Args:
        lines: the ledger. A handler is in from its line at the beginning to that at its end.
        died: when each process was killed that was: nothing in it is in any more.
    """
    inside: set[tuple[str, str, int]] = set()
    for line in sorted(lines, key=lambda line: line.at):
        attempt = (line.run, line.path, line.attempt)
        if line.what == "begin" and _of(line, LIMITED):
            inside = {each for each in inside if died.get(_pid_of(each, lines), line.at) >= line.at}
            inside.add(attempt)
            assert len(inside) <= PLACES, f"{len(inside)} are in: {sorted(inside)}"
        elif line.what == "end":
            inside.discard(attempt)
    _check_starts([json.loads(line.note) for line in lines if line.what == "let in"], lines)


def _pid_of(attempt: tuple[str, str, int], lines: list[Line]) -> int:
    return next(
        line.pid
        for line in lines
        if line.what == "begin" and (line.run, line.path, line.attempt) == attempt
    )


def _check_starts(let_in: list[tuple[int, list[str]]], lines: list[Line]) -> None:
    """Never more than the rate begin in any window, and nothing that was not let in."""
    began = [line for line in lines if line.what == "begin" and _of(line, PACED)]
    times = sorted(line.at for line in began)
    for first in times:
        window = [at for at in times if first <= at < first + PER - _LATE]
        assert len(window) <= RATE, f"{len(window)} began within {PER - _LATE} s"
    counted = sum(count for count, names in let_in if "paced" in names)
    assert len(began) <= counted, "some began that were not let in"
