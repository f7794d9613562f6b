"""Processes that end at chosen moments, each followed by one that carries on."""

import os
from pathlib import Path
from typing import Any

import pytest

from gorkflow import events as ev
from tests.faults.forkserver import eventually
from tests.faults.moments import RUN
from tests.faults.oracle import Database, events_of
from tests.faults.scene import Scene, shared_server

FULL = os.environ.get("GORKFLOW_TEST_SIZE") == "full"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(shared_server(), tmp_path, "tests.faults.moments")


@pytest.mark.parametrize(("workflow", "path"), [("thread", "stays_in_thread"), ("async", "stays")])
def test_killed_while_a_step_runs(scene: Scene, workflow: str, path: str):
    pid = scene.fork("carry", workflow=workflow)
    scene.wait_for(path)
    scene.wait_for_record("quick")
    assert scene.server.kill(pid)
    assert scene.end()[0] == "running"
    scene.call("carry", workflow=workflow)
    assert scene.end() == ["completed", 17, []]
    assert scene.attempts(path) == [1, 2]
    assert scene.attempts("quick") == scene.attempts("first") == [1]


@pytest.mark.parametrize("where", ["before", "inside", "after"])
@pytest.mark.parametrize("workflow", ["chain", "block"])
def test_killed_at_each_write(scene: Scene, workflow: str, where: str):
    """A start that was acknowledged is there, one that was not is whole or not there at all."""
    expected = _undisturbed(scene, workflow)
    number = 0
    while True:
        number += 1
        scene.reset(f"-{number}")
        if scene.exit_code("carry", workflow=workflow, crash=(number, where)) == 0:
            break
        if scene.has_schema():
            scene.database()
        scene.call("carry", workflow=workflow)
        assert scene.end() == expected
    assert number > 5, "it did not get to write"


@pytest.mark.parametrize("second", range(1, 5))
def test_killed_again_while_it_recovers(scene: Scene, second: int):
    expected = _undisturbed(scene, "block")
    for crash in range(2, 12 if FULL else 6):
        for where in ("before", "inside", "after") if FULL else ("inside", "after"):
            scene.reset(f"-{crash}-{where}")
            if scene.exit_code("carry", workflow="block", crash=(crash, "after")) == 0:
                return
            scene.exit_code("carry", workflow="block", crash=(second, where))
            scene.database()
            scene.call("carry", workflow="block")
            assert scene.end() == expected


def _undisturbed(scene: Scene, workflow: str) -> list[Any]:
    scene.reset("-undisturbed")
    scene.call("carry", workflow=workflow)
    return scene.end()


def test_a_run_that_never_began_is_recovered(scene: Scene):
    pid = scene.fork(
        "carry", workflow="async", runs=["one", "two"], wait=False, max_concurrent_runs=1
    )
    scene.wait_for("stays")
    eventually(lambda: len(scene.lines("started")) == 2, "both starts")
    assert scene.server.kill(pid)
    assert scene.end("two")[0] == "pending"
    assert len(events_of(scene.db, "two")) == 1
    scene.call("recover_one", workflow="async", expect=["one"])
    # The attempt that was lost is the first of "one"; "two" has all its attempts before it.
    pid = scene.fork("recover_one", workflow="async", expect=["two"])
    eventually(lambda: "two" in {line.run for line in scene.lines() if line.path == "stays"}, "two")
    assert scene.server.kill(pid)
    scene.call("recover_one", workflow="async", expect=["two"])
    assert scene.end("one") == scene.end("two") == ["completed", 17, []]


@pytest.mark.parametrize("base", [6, 7], ids=["KeyboardInterrupt", "SystemExit"])
@pytest.mark.parametrize("function", ["carry", "run_blocking"])
@pytest.mark.parametrize("workflow", ["stops", "stops-in-thread"])
def test_a_step_that_stops_the_program(scene: Scene, workflow: str, function: str, base: int):
    code = scene.exit_code(function, workflow=workflow, base=base)
    assert code == (3 if base % 2 else 130), scene.server.tail()
    run = scene.database().runs[RUN]
    assert run.row.status == "running"
    assert run.row.worker_id is None, "it was not given back"
    assert not any(isinstance(event, ev.StepFailed) for event in run.events)
    scene.call("carry", workflow=workflow, base=base)
    assert scene.end() == ["completed", 2 * base + 2, []]


def test_an_engine_that_is_left_records_what_finishes(scene: Scene):
    steps = ["lingers", "lingers_in_thread"]
    scene.call("leave", workflow="leaves", until=steps)
    database = scene.database()
    run = database.runs[RUN]
    assert run.row.status == "running"
    assert run.row.worker_id is None
    recorded = {event.path for event in run.events if isinstance(event, ev.StepCompleted)}
    assert recorded >= {"first", "quick", *steps}
    assert scene.attempts("total") == []
    before = {path: scene.attempts(path) for path in recorded}
    scene.call("carry", workflow="leaves")
    assert scene.end() == ["completed", 25, []]
    assert {path: scene.attempts(path) for path in recorded} == before


def test_a_run_whose_code_has_changed_is_blocked_and_says_why(scene: Scene):
    pid = scene.fork("carry", workflow="async")
    scene.wait_for("stays")
    scene.wait_for_record("quick")
    assert scene.server.kill(pid)
    before = events_of(scene.db, RUN)
    scene.call("find_blocked")
    assert events_of(scene.db, RUN) == before
    assert scene.attempts("stays") == [1]
    scene.call("recover_one", workflow="async", expect=[RUN])  # the code that it was started with
    database = Database(scene.db).read()
    assert database.end(RUN) == ["completed", 17, []]
    assert database.runs[RUN].row.reason == ""


def test_a_run_of_an_unknown_workflow_is_left_alone(scene: Scene):
    pid = scene.fork("carry", workflow="async")
    scene.wait_for("stays")
    assert scene.server.kill(pid)
    before = events_of(scene.db, RUN)
    scene.call("find_unknown")
    assert events_of(scene.db, RUN) == before
    scene.call("recover_one", workflow="async", expect=[RUN])
    assert Database(scene.db).read().end(RUN) == ["completed", 17, []]


def test_a_step_that_kills_its_process_is_given_up(scene: Scene):
    codes = [scene.exit_code("carry", workflow="poison") for _ in range(12)]
    assert codes == [-9] * 11 + [0]
    assert scene.end() == ["failed", None, [["dies", "interrupted", ""]]]
    assert scene.attempts("dies") == list(range(1, 12))
