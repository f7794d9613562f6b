"""Faults among processes that share a file: who owns a run when they stop, freeze, die or crowd."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gorkflow import events as ev
from gorkflow.flow import from_json
from gorkflow.machine import replay
from tests.faults.forkserver import eventually
from tests.faults.ledger import Line
from tests.faults.oracle import Database, check, check_ended, events_of
from tests.faults.owned import BEGUN
from tests.faults.process import SESSION
from tests.faults.registry import Result, Size, chance, fault
from tests.faults.scene import Scene, a_scene

ACTORS = "tests.faults.owned"
LONG = 30.0
"""Seconds of a lease that no test waits for."""


class Crowd:
    """Workers of one file, which are all gone in the end.

    Args:
        scene: where.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.pids: list[int] = []
        self.gate = scene.folder / f"{scene.db.name}.gate"

    def worker(self, actor: str = "worker", **options: Any) -> int:
        pid = self.scene.fork(actor, **options)
        self.pids.append(pid)
        return pid

    def queue(self, count: int) -> None:
        self.scene.call("queue", gate=str(self.gate), count=count)

    def begun(self, count: int, *, by: int | None = None) -> list[Line]:
        """Wait until so many held steps have begun, and return the lines of these beginnings."""

        def lines() -> list[Line]:
            found = [line for line in self.scene.lines() if line.path in BEGUN]
            return [line for line in found if by in {None, line.pid}]

        try:
            eventually(lambda: len(lines()) >= count, f"{count} steps to begin", patience=LONG)
        except AssertionError as error:
            told = f"of worker {by}: {lines()}\nof all: {self.scene.lines()}"
            raise AssertionError(f"{error}\n{told}\n{self.scene.server.tail()}") from None
        return lines()

    def latest(self, pid: int) -> dict[tuple[str, str], int]:
        """Return the latest attempt of each held step that a worker began."""
        lines = (line for line in self.scene.lines() if line.path in BEGUN and line.pid == pid)
        return {(line.run, line.path): line.attempt for line in lines}

    def hold(self, pid: int, count: int, *, after: int = 0) -> None:
        """Wait until a worker has begun so many held steps, each as an attempt after that one."""
        eventually(
            lambda: sum(attempt > after for attempt in self.latest(pid).values()) == count,
            f"{count} steps to begin as attempts after {after}",
            patience=LONG,
        )

    def freeze(self, pid: int) -> None:
        """Stop a worker where it stands, but not in the midst of a write.

        There it would keep all others from writing for as long as it is stopped: another fault.
        """
        while True:
            os.kill(pid, signal.SIGSTOP)
            eventually(lambda: _is_stopped(pid), "it to stop")
            with Path(f"{self.scene.db}.write").open("rb") as turn:
                try:
                    fcntl.flock(turn, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.kill(pid, signal.SIGCONT)
                else:
                    return

    def all_end(self) -> None:
        """Wait until every run has ended."""
        left = "SELECT COUNT(*) FROM runs WHERE finished_at IS NULL"
        eventually(lambda: not ask(self.scene.db, left)[0][0], "all runs to end", patience=60)

    def stop(self, pid: int, *signals: signal.Signals) -> int:
        """Stop a worker gracefully, and return its exit code."""
        for number in signals or (signal.SIGTERM,):
            os.kill(pid, number)
            time.sleep(0.01)
        self.pids.remove(pid)
        return self.scene.server.wait(pid)

    def kill(self, pid: int) -> float:
        """Kill a worker; return when."""
        self.pids.remove(pid)
        died = time.monotonic()
        self.scene.server.kill(pid)
        return died


def _is_stopped(pid: int) -> bool:
    """Return whether a process stands still. The signal comes to each of its threads by itself."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():  # not Linux
        time.sleep(0.05)
        return True
    states = [
        task.joinpath("stat").read_text().rpartition(")")[2].split()[0] for task in tasks.iterdir()
    ]
    return all(state == "T" for state in states)


@contextmanager
def a_crowd() -> Iterator[Crowd]:
    with a_scene(ACTORS) as scene:
        crowd = Crowd(scene)
        try:
            yield crowd
        finally:
            for pid in list(crowd.pids):
                os.kill(pid, signal.SIGCONT)
                crowd.kill(pid)


def ask(db: Path, statement: str) -> list[tuple[int | str | None, ...]]:
    with closing(sqlite3.connect(db, timeout=30)) as connection:
        return connection.execute(statement).fetchall()


def check_left_behind(scene: Scene) -> None:
    """Nothing stays behind once all workers have gone."""
    owned = ask(scene.db, "SELECT run_id, worker_id FROM runs WHERE worker_id IS NOT NULL")
    assert not owned, f"still owned: {owned}"
    workers = ask(scene.db, "SELECT worker_id FROM workers")
    assert not workers, f"still registered: {workers}"
    locks = [path.name for path in Path(f"{scene.db}.workers").glob("*.lock")]
    assert not locks, f"still there: {locks}"


@fault("K7", "graceful stop", "SIGTERM, SIGTERM twice or SIGINT to a worker at a random moment")
def graceful_stops(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("K7", seed)
    for part in itertools.count(seed * 1000):
        if result.injections >= size.of(2, 20, 100, 1_000):
            return result
        with a_crowd() as crowd, result.watch(f"part {part}"):
            _stop_until_done(crowd, part, size.of(12, 60, 60, 60), dice, result)
    return result


def _stop_until_done(
    crowd: Crowd, part: int, runs: int, dice: random.Random, result: Result
) -> None:
    scene = crowd.scene
    scene.call("queue_planned", seed=part, count=runs)
    ways = ((signal.SIGTERM,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,))
    cut_off: set[tuple[str, str, int]] = set()
    while _unfinished(scene):
        before = len(scene.lines())
        pid = crowd.worker()
        _begun(scene, before)
        time.sleep(dice.uniform(0, 0.05))
        way = dice.choice(ways)
        code = crowd.stop(pid, *way)
        result.injections += 1
        assert code == (130 if way[0] == signal.SIGINT else 0), f"{way} gave exit code {code}"
        check_left_behind(scene)
        earlier, cut_off = cut_off, _cut_off(scene.database())
        # Told once, it records what it began; what another one left it may not have come to yet.
        assert len(way) > 1 or cut_off <= earlier, f"{cut_off - earlier} were cut off"
    check_all_ended(scene, part)


def _unfinished(scene: Scene) -> list[tuple[int | str | None, ...]]:
    return ask(scene.db, "SELECT run_id, status, worker_id FROM runs WHERE finished_at IS NULL")


def _begun(scene: Scene, before: int) -> None:
    """Wait until a worker has begun a step; or has none to begin, where runs only have to end."""
    try:
        eventually(lambda: len(scene.lines()) > before or not _unfinished(scene), "it to begin")
    except AssertionError as error:
        workers = ask(scene.db, "SELECT * FROM workers")
        told = f"{error}\nleft: {_unfinished(scene)}\nworkers: {workers}"
        raise AssertionError(f"{told}\n{scene.server.tail()}") from None


def _cut_off(database: Database) -> set[tuple[str, str, int]]:
    """Return the attempts without an end that nobody carries: by run, path and number."""
    return {
        (run_id, path, number)
        for run_id, loaded in database.runs.items()
        for path, number in replay(run_id, from_json(loaded.tree), loaded.events).running_attempts()
    }


def check_all_ended(scene: Scene, seed: int, *, set_back: float = 0.0) -> None:
    """Every run of the plan ended as it does when nothing disturbs it.

    Args:
        set_back: seconds by which a clock was set back meanwhile.
    """
    database = Database(scene.db).read()
    into = scene.folder / "expected.json"
    runs = list(database.runs)
    scene.server.call(f"{SESSION}:reference", seed=seed, runs=runs, into=str(into))
    check(database, scene.ledger(), set_back=set_back)
    check_ended(database, scene.ledger(), json.loads(into.read_text()))


@fault("K8", "freeze", "SIGSTOP of a worker, SIGCONT before its lease ends; another one waits")
def freezes(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("K8", seed)
    for number in range(size.of(1, 5, 20, 200)):
        with a_crowd() as crowd, result.injection(f"freeze {number}"):
            crowd.queue(4)
            frozen = crowd.worker()
            crowd.begun(8)
            crowd.worker()
            os.kill(frozen, signal.SIGSTOP)
            time.sleep(dice.uniform(0.05, 1.5 if number else 0.2))
            os.kill(frozen, signal.SIGCONT)
            crowd.gate.touch()
            crowd.all_end()
            crowd.scene.database()
            begun = crowd.begun(8)
            assert all(line.pid == frozen and line.attempt == 1 for line in begun), begun
    return result


@fault("K9", "zombie", "SIGSTOP of a worker beyond its lease; SIGCONT once another has its runs")
def zombies(size: Size, seed: int) -> Result:
    result = Result()
    for number in range(size.of(1, 8, 50, 1_000)):
        # Some were frozen before, and nobody took their runs: then these just go on.
        lapses = 3 if number % 4 == 3 else 0
        with a_crowd() as crowd, result.injection(f"zombie {number}"):
            _one_zombie(crowd, lapses, ends_first=number % 2 == 0, result=result)
    return result


def _one_zombie(crowd: Crowd, lapses: int, *, ends_first: bool, result: Result) -> None:
    """Let a worker wake up after another one has taken its runs over, or ended them too."""
    scene = crowd.scene
    crowd.queue(3)
    zombie = crowd.worker(lease=1.0)
    crowd.hold(zombie, 6)
    for _ in range(lapses):
        begun = crowd.latest(zombie)
        crowd.freeze(zombie)
        time.sleep(1.1)  # its lease, and a bit
        thawed = time.time()
        os.kill(zombie, signal.SIGCONT)
        seen = f"SELECT MAX(seen_at) > {thawed} FROM workers"
        eventually(lambda seen=seen: ask(scene.db, seen) == [(1,)], "a heartbeat")
        assert crowd.latest(zombie) == begun
    crowd.freeze(zombie)
    frozen = time.monotonic()
    owned = _attempts(scene)
    heir = crowd.worker()
    taken = crowd.begun(6, by=heir)
    result.recoveries.append(min(line.at for line in taken) - frozen)
    if ends_first:
        crowd.gate.touch()
        crowd.all_end()
    before = {run: events_of(scene.db, run) for run in Database(scene.db).read().runs}
    os.kill(zombie, signal.SIGCONT)
    if not ends_first:
        time.sleep(0.05)
    crowd.gate.touch()
    assert crowd.stop(zombie) == 0
    crowd.all_end()
    assert crowd.stop(heir) == 0
    scene.database()
    for run, events in before.items():
        after = events_of(scene.db, run)
        assert after[: len(events)] == events, "what was recorded has changed"
        assert after == events or not ends_first, "the zombie wrote"
    # The heir completed what it had interrupted, under its own attempt numbers.
    heirs = {place: attempt + 1 for place, attempt in owned.items()}
    assert crowd.latest(heir) == heirs
    completed = [event for run in before for event in events_of(scene.db, run)]
    results = [e for e in completed if isinstance(e, ev.StepCompleted) and e.path in BEGUN]
    assert {(e.run_id, e.path): e.attempt for e in results} == heirs, "results of others"
    again = {p: n for p, n in crowd.latest(zombie).items() if n > owned[p]}
    assert not again, f"the zombie began steps that it does not own: {again}"
    check_left_behind(scene)


def _attempts(scene: Scene) -> dict[tuple[str, str], int]:
    """Return the latest recorded attempt of each held step."""
    return {
        (event.run_id, event.path): event.attempt
        for event in Database(scene.db).read().events()
        if isinstance(event, ev.StepScheduled) and event.path in BEGUN
    }


@fault("K10", "herd", "several workers start at once on runs that a killed one left")
def herds(size: Size, seed: int) -> Result:
    result = Result()
    workers = size.of(3, 4, 8, 8)
    orphans = size.of(10, 50, 60, 60)  # no more than one worker has threads for
    for number in range(size.of(1, 3, 20, 100)):
        with a_crowd() as crowd, result.injection(f"herd {number}"):
            crowd.queue(orphans)
            first = crowd.worker()
            crowd.begun(2 * orphans)
            died = crowd.kill(first)
            herd = [crowd.worker() for _ in range(workers)]
            begun = [line for line in crowd.begun(4 * orphans) if line.pid != first]
            result.recoveries += [line.at - died for line in begun]
            crowd.gate.touch()
            crowd.all_end()
            crowd.scene.database()
            assert all(crowd.stop(pid) == 0 for pid in herd)
            _check_each_once(begun, 2 * orphans)
            check_left_behind(crowd.scene)
    return result


def _check_each_once(begun: list[Line], count: int) -> None:
    places = [(line.run, line.path) for line in begun]
    assert len(places) == len(set(places)) == count, "a step began with two owners"


@fault("K13", "takeover", "SIGKILL of a worker while another one waits for such things")
def takeovers(size: Size, seed: int) -> Result:
    result = Result()
    for number in range(size.of(1, 10, 50, 500)):
        with a_crowd() as crowd, result.injection(f"takeover {number}"):
            crowd.queue(5)
            first = crowd.worker()
            crowd.begun(10)
            heir = crowd.worker()
            eventually(lambda: ask(crowd.scene.db, "SELECT COUNT(*) FROM workers") == [(2,)], "two")
            died = crowd.kill(first)
            begun = crowd.begun(10, by=heir)
            crowd.gate.touch()
            crowd.all_end()
            crowd.scene.database()
            slowest = max(line.at for line in begun) - died
            result.recoveries.append(slowest)
            assert slowest <= 2.0 or size is Size.SHORT, f"took {slowest:.2f} s"
    return result


@fault("X2", "crash loop", "a run whose step kills its worker every time, among others")
def crash_loops(size: Size, seed: int) -> Result:
    result = Result()
    for number in range(size.of(1, 2, 5, 50)):
        with a_crowd() as crowd, result.watch(f"loop {number}"):
            _crash_loop(crowd, seed + number, result)
    return result


def _crash_loop(crowd: Crowd, seed: int, result: Result) -> None:
    """It is given up, and keeps no other run from ending."""
    scene = crowd.scene
    scene.call("queue_poison")
    scene.call("queue_planned", seed=seed, count=15)
    ended = "SELECT COUNT(*) FROM runs WHERE finished_at IS NOT NULL AND workflow_id != 'poison'"
    while ask(scene.db, "SELECT COUNT(*) FROM runs WHERE finished_at IS NULL") != [(0,)]:
        pid = scene.fork("worker_until_done")
        code = scene.server.wait(pid, patience=60)
        assert code in {0, -signal.SIGKILL}, f"exit code {code}\n{scene.server.tail()}"
        result.injections += code != 0
        deaths = len(scene.attempts("dies"))
        assert deaths <= 12, "it was not given up"
    assert ask(scene.db, ended) == [(15,)]
    database = scene.database()
    status, _, failures = database.end("poison")
    assert (status, failures) == ("failed", [["dies", "interrupted", ""]])
    del database.runs["poison"]


@fault("K11", "duplicate starts", "the same run id from many threads of many processes at once")
def duplicate_starts(size: Size, seed: int) -> Result:
    result = Result()
    processes, threads = size.of(2, 4, 4, 4), size.of(4, 8, 16, 16)
    with a_crowd() as crowd:
        for number in range(size.of(1, 2, 10, 200)):
            scene = crowd.scene
            scene.reset(f"-{number}")
            barrier = scene.folder / f"barrier-{number}"
            ids = [f"{kind}-{n}" for n in range(5) for kind in ("same", "each")]
            pids = [
                scene.fork("contend", barrier=str(barrier), threads=threads, ids=ids, me=n)
                for n in range(processes)
            ]
            scene.wait_for_lines("ready", processes)
            barrier.touch()
            codes = [scene.server.wait(pid) for pid in pids]
            result.injections += len(ids)
            for run_id in ids:
                with result.watch(f"{number}, {run_id}"):
                    assert codes == [0] * processes, scene.server.tail()
                    _check_one_run(scene, run_id, processes * threads)
    return result


def _check_one_run(scene: Scene, run_id: str, starts: int) -> None:
    (created,) = events_of(scene.db, run_id)
    told = [line for line in scene.ledger() if line.run == run_id]
    started = [line.note for line in told if line.what == "started"]
    refused = [line.note for line in told if line.what == "refused"]
    assert len(started) + len(refused) == starts
    if run_id.startswith("same"):
        assert len(started) == starts
    else:
        assert len(started) == 1, f"started with the inputs {started}"
        payload = getattr(created, "input", b"")
        assert json.loads(payload)["number"] == int(started[0])


@fault("K12", "stale lock files", "what a killed worker left is removed, reused or made up")
def stale_locks(size: Size, seed: int) -> Result:
    result = Result()
    for name, mess in MESSES.items():
        with a_crowd() as crowd, result.injection(name):
            _kill_and_mess(crowd, mess, "worker", result)
    with a_crowd() as crowd, result.injection("worker id reused"):
        _kill_and_mess(crowd, lambda _: None, "worker_called", result, worker_id="one")
    return result


def _kill_and_mess(
    crowd: Crowd, mess: Callable[[Path], object], actor: str, result: Result, **options: str
) -> None:
    crowd.queue(2)
    first = crowd.worker(actor, **options)
    crowd.begun(4)
    died = crowd.kill(first)
    mess(crowd.scene.db)
    heir = crowd.worker(actor, **options)
    result.recoveries += [line.at - died for line in crowd.begun(4, by=heir)]
    crowd.gate.touch()
    crowd.all_end()
    crowd.scene.database()
    if actor == "worker":
        assert crowd.stop(heir) == 0
    else:  # it ends by itself
        crowd.pids.remove(heir)
        assert crowd.scene.server.wait(heir) == 0
    check_left_behind(crowd.scene)


def _folder(db: Path) -> Path:
    return Path(f"{db}.workers")


def _remove_locks(db: Path) -> None:
    for path in _folder(db).glob("*.lock"):
        path.unlink()


def _remove_folder(db: Path) -> None:
    _remove_locks(db)
    _folder(db).rmdir()


def _reuse_pid(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE workers SET pid = ?", (os.getpid(),))


def _make_up_locks(db: Path) -> None:
    for name in ("nobody.lock", "%2e%2e.lock", "a b.lock"):
        (_folder(db) / name).write_text("stale")


def _forget_row(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("DELETE FROM workers")


MESSES: dict[str, Callable[[Path], object]] = {
    "left as it was": lambda _: None,
    "locks removed": _remove_locks,
    "folder removed": _remove_folder,
    "turn file removed": lambda db: Path(f"{db}.write").unlink(),
    "process id reused": _reuse_pid,
    "locks of nobody": _make_up_locks,
    "worker row lost": _forget_row,
}
