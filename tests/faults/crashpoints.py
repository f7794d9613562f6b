"""Crash points, enumerated: named ones, pairs of them, and system calls."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.actors import SCENARIOS
from tests.faults.forkserver import eventually
from tests.faults.points import all_points
from tests.faults.process import recoveries
from tests.faults.registry import Result, Size, chance, fault
from tests.faults.scene import Scene, a_scene

Crash = tuple[str, int]
"""A point, and the how-manieth time there."""


@fault("K2", "crash points", "SIGKILL at every named point, 1st to 3rd time, in 5 workflows")
def crash_points(size: Size, seed: int) -> Result:
    result = Result()
    with a_scene() as scene:
        passed = {scenario: undisturbed(scene, scenario) for scenario in SCENARIOS}
        for point in all_points():
            with result.watch(f"point {point!r}"):
                assert any(point in points for points, _ in passed.values()), (
                    "no workflow gets here"
                )
        cases = [
            (scenario, (point, number))
            for scenario, (points, _) in passed.items()
            for point, times in points.items()
            for number in range(1, min(times, size.of(1, 1, 3, 5)) + 1)
        ]
        chance("K2", seed).shuffle(cases)
        for scenario, crash in cases[: size.of(10, None, None, None)]:
            scene.reset(f"-{scenario}-{crash[0]}-{crash[1]}".replace(" ", "-"))
            with result.watch(f"{scenario}, {crash}"):
                if die_at(scene, scenario, crash):
                    result.injections += 1
                    recover(scene, scenario, passed[scenario][1], result)
    return result


@fault("K4", "double crash", "SIGKILL at one named point, then at another while recovering")
def double_crashes(size: Size, seed: int) -> Result:
    result = Result()
    dice = chance("K4", seed)
    with a_scene() as scene:
        passed: dict[str, tuple[dict[str, int], list[Any]]] = {}
        for number in itertools.count():
            if result.injections >= size.of(2, 40, 200, 5_000):
                return result
            scenario = dice.choice(sorted(SCENARIOS))
            if scenario not in passed:
                passed[scenario] = undisturbed(scene, scenario)
            points, expected = passed[scenario]
            # What recovers passes the points less often: the second crash is an early one.
            first, second = [dice.choice(sorted(points.items())) for _ in range(2)]
            first = first[0], dice.randint(1, first[1])
            second = second[0], 1
            scene.reset(f"-{number}")
            with result.watch(f"{scenario}, {first}, then {second}"):
                if die_at(scene, scenario, first) and die_at(scene, scenario, second):
                    result.injections += 1
                    recover(scene, scenario, expected, result)
    return result


def undisturbed(scene: Scene, scenario: str) -> tuple[dict[str, int], list[Any]]:
    """Return how often a scenario passes each point, and how it ends."""
    scene.reset(f"-{scenario}-undisturbed")
    report = scene.folder / f"{scenario}.json"
    scene.call("play", scenario=scenario, report=str(report))
    return json.loads(report.read_text()), scene.end()


def die_at(scene: Scene, scenario: str, crash: Crash) -> bool:
    """Play a scenario up to a point. Returns whether that was reached; checks what is left."""
    code = scene.exit_code("play", scenario=scenario, kill_at=crash)
    assert code in {0, -signal.SIGKILL}, f"exit code {code}\n{scene.server.tail()}"
    if scene.has_schema():
        scene.database()
    return code != 0


def recover(scene: Scene, scenario: str, expected: list[Any], result: Result) -> None:
    """Play it to its end, which must be as it is when nothing disturbs it."""
    scene.call("play", scenario=scenario)
    assert scene.end() == expected
    died = {line.pid: line.at for line in scene.lines("dying")}
    result.recoveries += recoveries(died, scene.ledger())


# System calls

SYSCALLS = ("pwrite64", "fdatasync", "ftruncate", "unlink")
WORKFLOW = "block"


_ATTEMPTS = 5


@fault("K3", "crash at system calls", "SIGKILL at the nth write, sync, truncate, unlink (strace)")
def syscall_crashes(size: Size, seed: int) -> Result:
    result = Result(skipped=no_strace())
    if result.skipped:
        return result
    with a_scene() as scene:
        scene.reset("-undisturbed")
        scene.call("carry_one", workflow=WORKFLOW)
        expected = scene.end()
        for name, number in syscall_cases(size, seed):
            scene.reset(f"-{name}-{number}")
            with result.watch(f"{name} {number}"):
                inject = f"{name}:signal=SIGKILL:when={number}"
                code = traced(scene, [f"inject={inject}"])
                died = time.monotonic()
                assert code in {0, -signal.SIGKILL}, f"exit code {code}\n{scene.server.tail()}"
                if scene.has_schema():
                    scene.database()
                if code:
                    result.injections += 1
                    scene.call("carry_one", workflow=WORKFLOW)
                    result.recoveries += recoveries({0: died}, scene.ledger())
                assert scene.end() == expected
    return result


def syscall_cases(size: Size, seed: int) -> Iterator[tuple[str, int]]:
    """Return system calls and the how-manieth of them, the more frequent ones more often."""
    limits = {"pwrite64": 60, "fdatasync": 16, "ftruncate": 3, "unlink": 2}
    cases = [(name, n) for name, limit in limits.items() for n in range(1, limit + 1)]
    chance("K3", seed).shuffle(cases)
    rounds = size.of(1, 1, 3, 10)
    return itertools.islice(itertools.cycle(cases), size.of(4, 40, rounds * 81, rounds * 81))


def no_strace() -> str:
    """Return why strace can't be used here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(
        ["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
    )
    return f"strace can't trace here: {probe.stderr.strip()}" if probe.returncode else ""


def traced(
    scene: Scene,
    options: list[str],
    *,
    actor: str = "carry_one",
    calls: tuple[str, ...] = SYSCALLS,
) -> int:
    """Carry a run under strace; return the exit code. It waits until strace is attached."""
    go = scene.folder / f"{scene.db.name}.go"
    pid = scene.fork(actor, workflow=WORKFLOW, wait_for=str(go))
    log = scene.folder / "strace"
    command = [
        "strace",
        "-f",
        "-q",
        "-o",
        str(log),
        "-p",
        str(pid),
        "-e",
        "trace=" + ",".join(calls),
    ]
    for option in options:
        command += ["-e", option]
    strace = _attached(command, pid)
    try:
        go.touch()
        return scene.server.wait(pid)
    finally:
        strace.wait(30)


def _attached(command: list[str], pid: int) -> subprocess.Popen[bytes]:
    """Return strace, attached to a process. One that ended before that is started again."""
    for _ in range(_ATTEMPTS):
        strace = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        over = strace.poll
        eventually(lambda over=over: _is_traced(pid) or over() is not None, "strace to attach")
        if over() is None:
            return strace
    raise AssertionError(f"strace ended with {strace.returncode} before it was attached")


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in status)
