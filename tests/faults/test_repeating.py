"""A rerun that is killed is there whole or not at all, and what it keeps never runs again.

Sizes: 8 of the crash points; all of them, three times each, with ``GORKFLOW_TEST_SIZE=full``.
"""

import itertools
import json
import os
import signal

from gorkflow import events as ev
from tests.faults.registry import chance
from tests.faults.repeating import AGAIN, COUNT, SHAKY
from tests.faults.scene import Scene, a_scene
from tests.faults.test_faults import SEED

FULL = os.environ.get("GORKFLOW_TEST_SIZE") == "full"
ACTORS = "tests.faults.repeating"


def check_kept(scene: Scene) -> bool:
    """Check what is there of the rerun; return whether there is any."""
    run = scene.database().runs.get(AGAIN)
    if run is None:
        return False
    kept = [event.path for event in run.events if isinstance(event, ev.ResultKept)]
    assert kept == ["draw", *(f"x{n}" for n in range(COUNT) if f"x{n}" not in SHAKY)]
    return True


def check_whole(scene: Scene, expected: object) -> None:
    assert check_kept(scene)
    assert scene.end(AGAIN) == expected
    begun = {line.path for line in scene.lines() if line.run == AGAIN}
    assert begun == {*SHAKY, "codes"}


def test_a_rerun_survives_a_kill_at_any_point():
    print(f"GORKFLOW_TEST_SEED={SEED}")
    with a_scene(ACTORS) as scene:
        scene.reset("-undisturbed")
        scene.call("carry_original")
        scene.call("repeat", report=str(scene.folder / "report"))
        expected = scene.end(AGAIN)
        assert expected[:2] == ["completed", " ".join(["ok"] * COUNT)]
        check_whole(scene, expected)
        points = json.loads((scene.folder / "report").read_text())
        cases = [*itertools.product(points, range(1, 4 if FULL else 2))]
        chance("rerun", SEED).shuffle(cases)
        ends = set()
        for point, number in cases[: None if FULL else 8]:
            scene.reset(f"-{point}-{number}".replace(" ", "-"))
            scene.call("carry_original")
            code = scene.exit_code("repeat", kill_at=(point, number))
            assert code in {0, -signal.SIGKILL}, scene.server.tail()
            ends.add(check_kept(scene))
            scene.call("repeat")
            check_whole(scene, expected)
        assert True in ends
