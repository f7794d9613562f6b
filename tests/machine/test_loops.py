"""Loops, and maps and loops in each other, driven by hand: one example each of their rules."""

import pytest

from gorkflow.errors import HistoryError

from .drive import (
    CANCELLED,
    COMPLETED,
    FAILED,
    Drive,
    block,
    chain,
    choice,
    loop,
    mapped,
    out,
    step,
)

A, B, C = map(step, "abc")
DONE = ("completed", b"1", None, 7)
AGAIN, ENOUGH = 1, 0


def items(*symbols):
    return ("list", symbols)


def turn(drive, path, choice):
    drive.begin()
    drive.complete(path)
    drive.decide(path.partition("#")[0].rpartition("/")[0] + f"@{path.partition('#')[0]}", choice)


def test_a_loop_gives_what_its_last_iteration_gave():
    drive = Drive(loop(A), B)
    turn(drive, "a#1", AGAIN)
    assert drive.ready == ["a#2"]
    turn(drive, "a#2", ENOUGH)
    assert drive.ready == ["b"]
    drive.begin()
    assert drive.machine.find("b", "@a").status is COMPLETED
    assert drive.machine.find("b", "a") is None
    drive.replays()


def test_an_iteration_gets_what_the_one_before_it_gave():
    drive = Drive(loop(A))
    turn(drive, "a#1", AGAIN)
    drive.begin()
    first, second = (e for e in drive.history if e.kind == "step_scheduled")
    assert first.input == 1
    assert drive.history[second.input - 1].path == "a#1"


def test_the_condition_may_hold_in_the_last_iteration():
    drive = Drive(loop(A, times=2))
    turn(drive, "a#1", AGAIN)
    turn(drive, "a#2", ENOUGH)
    assert drive.output == out("a#2")


def test_past_its_limit_a_loop_fails_with_an_event_of_its_own():
    drive = Drive(loop(A, times=2))
    turn(drive, "a#1", AGAIN)
    turn(drive, "a#2", AGAIN)
    assert drive.failures == [("loop_limit", "@a")]
    assert [e.path for e in drive.history if e.kind == "step_failed"] == ["@a"]
    drive.replays()


def test_an_iteration_that_fails_ends_the_loop():
    drive = Drive(loop(A))
    turn(drive, "a#1", AGAIN)
    drive.begin()
    drive.fail("a#2")
    assert drive.failures == [("step_failed", "a#2")]


def test_a_condition_that_fails_ends_the_loop():
    drive = Drive(loop(A))
    drive.begin()
    drive.complete("a#1")
    drive.condition_fails("@a")
    assert drive.failures == [("condition", "@a")]


@pytest.mark.parametrize("choice_made", [-1, 2])
def test_a_condition_says_one_of_two_things(choice_made):
    drive = Drive(loop(A))
    drive.begin()
    drive.complete("a#1")
    with pytest.raises(HistoryError, match="nothing asked"):
        drive.decide("@a", choice_made)


def test_a_condition_is_not_asked_while_the_body_runs():
    drive = Drive(loop(A))
    drive.begin()
    with pytest.raises(HistoryError):
        drive.decide("@a", ENOUGH)


@pytest.mark.parametrize("stage", ["asking", "running"])
def test_a_run_is_cancelled_in_the_middle_of_a_loop(stage):
    drive = Drive(loop(A))
    turn(drive, "a#1", AGAIN)
    drive.begin()
    if stage == "asking":
        drive.complete("a#2")
    drive.cancel()
    assert drive.status == "cancelled"
    assert drive.cancelled == ({"a#2": "enough"} if stage == "running" else {})
    drive.replays()


def test_a_loop_that_drains_finishes_its_step_and_asks_no_more():
    drive = Drive(block(loop(A), B))
    drive.begin()
    drive.fail("b")
    drive.complete("a#1")
    assert drive.failures == [("step_failed", "b")]
    assert drive.ready == []


def test_a_block_that_times_out_ends_its_loop():
    drive = Drive(block(loop(A), B, join="settled", timeout=5))
    drive.begin()
    drive.complete("a#1")
    drive.complete("b")
    drive.fire("&@a")
    late = ("failed", "@a", (("timeout", "@a", 0),))
    assert drive.output == (late, ("completed", "b", out("b")))
    drive.replays()


def test_an_interrupted_iteration_is_the_same_iteration_again():
    drive = Drive(loop(A))
    turn(drive, "a#1", AGAIN)
    drive.begin()
    drive.interrupt("a#2")
    drive.replays()
    turn(drive, "a#2", ENOUGH)
    assert drive.output == out("a#2", 2)


def test_a_loop_that_had_ended_is_kept_as_it_is():
    drive = Drive(loop(A), B, kept={"@a": ("looped", None, 2, 7), "a#1": DONE, "a#2": DONE})
    assert drive.ready == ["b"]


def test_a_loop_goes_on_after_the_iterations_that_were_kept():
    drive = Drive(loop(A), kept={"@a": ("looping", None, 2, 7), "a#1": DONE, "a#2": DONE})
    assert drive.ready == ["a#3"]
    turn(drive, "a#3", ENOUGH)
    assert drive.output == out("a#3")


# ---- in each other ----------------------------------------------------------------------------


def test_a_loop_in_a_map_in_a_block():
    drive = Drive(block(mapped(chain("w", loop(A), B)), C))
    drive.expand("*w", 2)
    drive.begin()
    drive.complete("w[0]/a#1")
    drive.complete("w[1]/a#1")
    drive.decide("w[0]/@a", ENOUGH)
    drive.decide("w[1]/@a", AGAIN)
    assert drive.ready == ["w[0]/b", "w[1]/a#2"]
    drive.begin()
    drive.complete("w[0]/b")
    drive.complete("c")
    drive.complete("w[1]/a#2")
    drive.decide("w[1]/@a", ENOUGH)
    drive.begin()
    drive.complete("w[1]/b")
    assert drive.output == (items(out("w[0]/b"), out("w[1]/b")), out("c"))
    drive.replays()


def test_a_map_in_a_loop_is_expanded_again_in_every_iteration():
    drive = Drive(loop(chain("w", mapped(A))))
    for number, count in ((1, 2), (2, 0)):
        drive.expand(f"w#{number}/*a", count)
        drive.begin()
        for index in range(count):
            drive.complete(f"w#{number}/a[{index}]")
        drive.decide("@w", ENOUGH if number == 2 else AGAIN)
    assert drive.output == items()
    drive.replays()


def test_a_choice_in_a_map_is_made_for_each_item():
    drive = Drive(mapped(chain("w", choice("?", A, otherwise=B))))
    drive.expand("*w", 2)
    drive.decide("w[0]/?", 0)
    drive.decide("w[1]/?", 1)
    assert drive.ready == ["w[0]/a", "w[1]/b"]
    assert list(drive.skipped) == ["w[0]/b", "w[1]/a"]


@pytest.mark.parametrize("mode", ["drain", "cancel"])
def test_a_map_in_a_map_stops_with_it(mode):
    drive = Drive(mapped(chain("w", mapped(A, on_failure=mode)), on_failure=mode))
    drive.expand("*w", 2)
    drive.expand("w[0]/*a", 2)
    drive.expand("w[1]/*a", 1)
    drive.begin()
    drive.fail("w[0]/a[0]")
    if mode == "drain":
        assert drive.running == ["w[0]/a[1]", "w[1]/a[0]"]
        assert drive.status == "running"
        drive.do("w[0]/a[1]", FAILED)
        assert drive.verdict("*w").verdict == FAILED.value
        drive.complete("w[1]/a[0]")
        expected = ["w[0]/a[0]", "w[0]/a[1]"]
    else:
        assert drive.running == []
        expected = ["w[0]/a[0]"]
    assert drive.failures == [("step_failed", path) for path in expected]
    drive.replays()


def test_a_drain_and_then_a_cancel_from_above():
    drive = Drive(block(mapped(A), join="settled", timeout=5))
    drive.expand("*a", 2)
    drive.begin()
    drive.fail("a[0]")
    drive.fire("&*a")
    assert drive.verdict("*a").verdict == FAILED.value
    assert drive.cancelled["a[1]"].startswith("block")
    assert drive.status == COMPLETED.value
    assert CANCELLED.value not in repr(drive.output)
    drive.replays()
