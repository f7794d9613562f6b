"""Maps, driven by hand: one example each of what their rules come to.

What their joins decide is in ``test_joins.py``; maps and loops in each other: ``test_loops.py``.
"""

import pytest

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.machine import CancelStep, Machine
from gorkflow.policy import at_least, tolerate

from .drive import COMPLETED, Drive, block, chain, mapped, out, step
from .simulation import RUN

A, B, C = map(step, "abc")
DONE = ("completed", b"1", None, 7)


def items(*symbols):
    return ("list", symbols)


def test_a_map_asks_how_many_there_are_before_anything_runs():
    drive = Drive(A, mapped(B), C)
    drive.begin()
    drive.complete("a")
    assert drive.ready == []
    drive.expand("*b", 2)
    assert drive.ready == ["b[0]", "b[1]"]
    drive.begin()
    drive.complete("b[1]")
    drive.complete("b[0]")
    drive.begin()
    drive.complete("c")
    assert drive.output == out("c")
    drive.replays()


@pytest.mark.parametrize("join", ["all", "settled", tolerate(0), tolerate(percent=50)], ids=str)
def test_a_map_of_nothing_gives_nothing_at_once(join):
    drive = Drive(mapped(A, join=join))
    drive.expand("*a", 0)
    assert drive.output == items()
    drive.replays()


@pytest.mark.parametrize("join", ["first", at_least(1)], ids=str)
def test_a_join_that_nothing_can_meet_fails_the_map_itself(join):
    drive = Drive(mapped(A, join=join))
    drive.expand("*a", 0)
    assert drive.failures == [("validation", "*a")]
    drive.replays()


def test_too_few_items_are_found_out_before_any_begins():
    drive = Drive(mapped(A, join=at_least(3)))
    drive.expand("*a", 2)
    assert drive.failures == [("validation", "*a")]
    assert drive.running == drive.ready == []


def test_a_share_counts_the_items_that_there_are():
    drive = Drive(mapped(A, join=tolerate(percent=25)))
    drive.expand("*a", 8)
    drive.begin()
    for index in range(2):
        drive.fail(f"a[{index}]")
    assert drive.verdict("*a") is None
    drive.fail("a[2]")
    assert drive.verdict("*a").reason.startswith(
        "3 of 8 failed (a[0], a[1], a[2]); tolerate(percent=25)"
    )


def test_items_take_turns_in_their_order():
    drive = Drive(mapped(A, max_concurrency=2))
    drive.expand("*a", 4)
    assert drive.ready == ["a[0]", "a[1]"]
    drive.begin()
    drive.complete("a[1]")
    assert drive.ready == ["a[2]"]
    drive.begin()
    drive.complete("a[2]")
    drive.complete("a[0]")
    assert drive.ready == ["a[3]"]


def test_items_that_never_began_are_cancelled_without_events():
    drive = Drive(mapped(A, max_concurrency=1))
    drive.expand("*a", 10_000)
    drive.begin()
    drive.fail("a[0]")
    assert drive.failures == [("step_failed", "a[0]")]
    assert drive.cancelled == {}
    assert len(drive.history) == 7


def test_a_drain_lets_items_finish_and_begins_no_other():
    drive = Drive(mapped(chain("w", A, B), max_concurrency=2))
    drive.expand("*w", 3)
    drive.begin()
    drive.fail("w[0]/a")
    assert drive.ready == []
    drive.complete("w[1]/a")
    assert drive.failures == [("step_failed", "w[0]/a")]
    drive.replays()


def test_a_cancel_stops_items_at_once():
    drive = Drive(mapped(A, on_failure="cancel"))
    drive.expand("*a", 3)
    drive.begin("a[0]", "a[1]")
    drive.fail("a[0]")
    assert drive.cancelled == {"a[1]": "a[0] failed", "a[2]": "a[0] failed"}
    assert drive.status == "failed"


def test_keys_stand_in_paths_and_an_answer_without_them_is_refused():
    drive = Drive(mapped(A, keyed=True))
    for count, keys in ((2, ()), (2, ("x",)), (2, ("x", "x")), (2, ("x", "a/b")), (1, ("",))):
        with pytest.raises(HistoryError, match="nothing asked"):
            drive.expand("*a", count, *keys)
    drive.expand("*a", 2, "x", "%C3%BC")
    assert drive.ready == ["a[x]", "a[%C3%BC]"]


def test_keys_that_nobody_asked_for_are_refused():
    drive = Drive(mapped(A))
    with pytest.raises(HistoryError, match="nothing asked"):
        drive.expand("*a", 1, "x")


def test_what_can_not_be_expanded_fails_the_map():
    drive = Drive(mapped(A), B)
    drive.condition_fails("*a")
    assert drive.failures == [("condition", "*a")]


def test_nobody_sees_a_single_item_from_outside():
    drive = Drive(mapped(A), B)
    drive.expand("*a", 1)
    drive.begin()
    drive.complete("a[0]")
    assert drive.machine.find("b", "a") is None
    assert drive.machine.find("b", "*a").status is COMPLETED


def test_an_item_that_goes_on_without_its_result_counts_as_completed():
    drive = Drive(mapped(step("a", continue_on_error=True)))
    drive.expand("*a", 2)
    drive.begin()
    drive.fail("a[0]")
    drive.complete("a[1]")
    assert drive.output == items(None, out("a[1]"))


def test_a_timeout_ends_what_is_open_and_the_join_decides():
    drive = Drive(mapped(A, join="settled", timeout=5, max_concurrency=2))
    drive.expand("*a", 4)
    drive.begin()
    drive.complete("a[0]")
    drive.fire("*a")
    late = [("failed", f"a[{n}]", (("timeout", f"a[{n}]", 0),)) for n in (1, 2, 3)]
    assert drive.output == items(("completed", "a[0]", out("a[0]")), *late)
    drive.replays()


def test_a_timeout_may_come_before_the_items_are_known():
    drive = Drive(mapped(A, join="settled", timeout=5))
    drive.fire("*a")
    assert drive.failures == [("timeout", "*a")]
    drive.replays()


def test_whoever_asks_for_the_items_is_told_when_the_time_is_up():
    machine = Machine(RUN, chain("run", mapped(A, timeout=5)))
    machine.feed(ev.RunCreated(RUN, 1, "", 0.0, "fingerprint", None))
    machine.feed(ev.RunStarted(RUN, 2, "", 0.0, None))
    machine.take_commands()
    machine.feed(ev.TimerFired(RUN, 4, "*a", 5.0, "timeout"))
    stopped = [c.path for c in machine.take_commands() if isinstance(c, CancelStep)]
    assert stopped == ["*a"]


@pytest.mark.parametrize("stage", ["asking", "running"])
def test_a_run_is_cancelled_in_the_middle_of_a_map(stage):
    drive = Drive(mapped(A, max_concurrency=1))
    if stage == "running":
        drive.expand("*a", 3)
        drive.begin()
    drive.cancel()
    assert drive.status == "cancelled"
    assert drive.cancelled == ({"a[0]": "enough"} if stage == "running" else {})
    drive.replays()


def test_a_map_whose_block_drains_while_it_asks_is_withdrawn():
    drive = Drive(block(mapped(A), B))
    drive.begin()
    drive.fail("b")
    assert drive.failures == [("step_failed", "b")]
    with pytest.raises(HistoryError):
        drive.expand("*a", 1)


def test_an_item_that_was_interrupted_is_tried_again_and_no_other():
    drive = Drive(mapped(A, max_concurrency=2))
    drive.expand("*a", 3)
    drive.begin()
    drive.complete("a[0]")
    drive.interrupt("a[1]")
    drive.replays()
    assert drive.ready == ["a[2]", "a[1]"]
    drive.begin()
    drive.complete("a[2]")
    drive.complete("a[1]")
    assert drive.output == items(out("a[0]"), out("a[1]", 2), out("a[2]"))


def test_a_rerun_runs_only_the_items_without_a_result():
    kept = {"*a": ("expanded", None, 3, 7, ("x", "y", "z")), "a[x]": DONE, "a[z]": DONE}
    drive = Drive(mapped(A, keyed=True, max_concurrency=1), kept=kept)
    assert drive.ready == ["a[y]"]
    drive.begin()
    drive.complete("a[y]")
    assert drive.output == items(("kept", "a[x]"), out("a[y]"), ("kept", "a[z]"))
