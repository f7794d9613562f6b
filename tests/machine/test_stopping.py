"""Drain and cancel, timeouts, and what a step between attempts comes to: one example each."""

import pytest

from gorkflow.policy import at_least

from .drive import COMPLETED, FAILED, Drive, block, chain, choice, out, passthrough, step

A, B, C, D, E = map(step, "abcde")


def test_drain_lets_running_attempts_finish_and_starts_nothing_new():
    drive = Drive(block(A, chain("w", B, C), D, max_concurrency=2))
    drive.begin()
    drive.fail("a")
    assert drive.running == ["w/b"]
    assert drive.ready == []
    drive.complete("w/b")
    assert drive.status == "failed"
    assert drive.failures == [("step_failed", "a")]
    assert drive.cancelled == {}  # neither c nor d was ever entered


def test_cancel_on_failure_stops_running_attempts_at_once():
    drive = Drive(block(A, B, on_failure="cancel"))
    drive.begin()
    drive.fail("a")
    assert drive.cancelled == {"b": "a failed"}
    assert drive.status == "failed"


def test_steps_that_wait_for_room_are_drained():
    drive = Drive(block(A, B))
    drive.begin("a")
    drive.fail("a")
    assert drive.cancelled == {"b": "drained"}
    assert drive.status == "failed"


def test_failures_while_draining_count_in_declared_order():
    drive = Drive(block(A, B, C))
    drive.begin()
    for name in "cab":
        drive.fail(name)
    assert drive.failures == [("step_failed", name) for name in "abc"]


def test_drain_leaves_the_last_failure_of_a_step_that_waits_for_its_retry():
    drive = Drive(block(A, B))
    drive.begin()
    drive.fail("b", retry=True)
    drive.fail("a")
    assert drive.cancelled == {"b": "drained"}
    assert drive.failures == [("step_failed", "a"), ("step_failed", "b")]


def test_drain_leaves_the_last_failure_of_a_retry_that_waits_for_room():
    drive = Drive(block(A, B))
    drive.begin()
    drive.fail("b", retry=True)
    drive.fire("b", "retry")
    assert drive.ready == ["b"]
    drive.fail("a")
    assert drive.failures == [("step_failed", "a"), ("step_failed", "b")]


def test_drain_withdraws_the_retry_of_an_attempt_that_fails_meanwhile():
    drive = Drive(block(A, B))
    drive.begin()
    drive.fail("a")
    drive.fail("b", retry=True)
    assert drive.cancelled == {"b": "drained"}
    assert drive.failures == [("step_failed", "a"), ("step_failed", "b")]


def test_drain_does_not_repeat_an_interrupted_attempt():
    drive = Drive(block(A, B))
    drive.begin()
    drive.fail("a")
    drive.interrupt("b")
    assert drive.cancelled == {"b": "drained"}
    assert drive.failures == [("step_failed", "a")]


def test_drain_leaves_the_last_failure_even_where_a_later_attempt_was_interrupted():
    drive = Drive(block(A, B))
    drive.begin()
    drive.fail("b", retry=True)
    drive.fire("b", "retry")
    drive.begin("b")
    drive.fail("a")
    drive.interrupt("b")
    assert drive.failures == [("step_failed", "a"), ("step_failed", "b")]


def test_cancel_forgets_the_failure_of_a_step_that_waits_for_its_retry():
    drive = Drive(block(A, B, on_failure="cancel"))
    drive.begin()
    drive.fail("b", retry=True)
    drive.fail("a")
    assert drive.failures == [("step_failed", "a")]


def test_drain_withdraws_conditions():
    drive = Drive(block(A, chain("w", choice("?", B))))
    drive.begin()
    drive.fail("a")
    assert drive.status == "failed"


@pytest.mark.parametrize(
    ("join", "verdict"),
    [("all", "cancelled"), ("first", "cancelled"), (at_least(2), "cancelled"),
     ("settled", "completed")],
)  # fmt: skip
def test_undecided_inner_block_goes_on_judging_while_it_is_drained(join, verdict):
    inner = chain("w", block(B, step("late"), join=join, max_concurrency=1))
    drive = Drive(block(A, inner))
    drive.begin()
    drive.fail("a")
    assert drive.verdict("w/&b") is None
    drive.do("w/b", FAILED if join == "first" else COMPLETED)
    assert drive.verdict("w/&b").verdict == verdict
    assert drive.status == "failed"


def test_drained_block_with_on_failure_cancel_ends_cancelled_without_a_failure():
    drive = Drive(block(A, chain("w", block(B, C, max_concurrency=1, on_failure="cancel"))))
    drive.begin()
    drive.fail("a")
    drive.complete("w/b")
    decided = drive.verdict("w/&b")
    assert decided.verdict == "cancelled"
    assert decided.reason == "1 of 2 cancelled (c); all can't be met after 0 s; b completed"
    assert drive.failures == [("step_failed", "a")]


def test_branch_reaches_the_outer_block_when_it_has_ended_not_at_its_verdict():
    drive = Drive(block(chain("w", block(A, B)), C, join="first"))
    drive.begin()
    drive.fail("w/a")
    assert drive.verdict("w/&a").verdict == "failed"
    assert drive.verdict("&w") is None
    drive.complete("w/b")
    drive.fail("c")
    assert drive.failures == [("step_failed", "w/a"), ("step_failed", "c")]


def test_outer_cancel_overrides_a_drain():
    drive = Drive(block(chain("w", block(A, B)), C, join="first"))
    drive.begin()
    drive.fail("w/a")
    drive.complete("c")
    assert drive.cancelled == {"w/b": "first of &w was met"}
    assert drive.output == out("c")


# ---- a cancel request -----------------------------------------------------------------------


def test_cancel_request_ends_everything_at_once():
    drive = Drive(block(A, chain("w", block(B, C, max_concurrency=1)), chain("v", choice("?", D))))
    drive.begin()
    drive.cancel("enough")
    assert drive.cancelled == {"a": "enough", "w/b": "enough"}
    assert drive.verdict("w/&b").verdict == drive.verdict("&a").verdict == "cancelled"
    assert (drive.status, drive.finish.reason, drive.failures) == ("cancelled", "enough", [])


def test_cancel_request_does_not_undo_a_verdict():
    drive = Drive(block(A, B))
    drive.begin()
    drive.fail("a")
    drive.cancel()
    assert drive.cancelled == {"b": "enough"}
    assert (drive.status, drive.failures) == ("failed", [("step_failed", "a")])


def test_cancel_request_wins_over_an_undecided_block_around_a_failed_one():
    drive = Drive(block(chain("w", block(A, B)), C, join="settled"))
    drive.begin()
    drive.fail("w/a")
    drive.cancel()
    assert (drive.status, drive.failures) == ("cancelled", [])


# ---- timeouts -------------------------------------------------------------------------------


def test_block_timeout_fails_what_is_undecided_running_or_queued():
    drive = Drive(block(A, B, C, join="settled", max_concurrency=2, timeout=5))
    drive.begin()
    drive.complete("a")
    drive.fire("&a")
    late = [("timeout", name, 0) for name in "bc"]
    assert drive.output == (
        ("completed", "a", out("a")),
        ("failed", "b", (late[0],)),
        ("failed", "c", (late[1],)),
    )
    assert drive.cancelled == dict.fromkeys("bc", "block '&a' took longer than 5 s")


def test_block_timeout_leaves_a_branch_that_failed_by_its_own_verdict_its_failures():
    drive = Drive(block(chain("w", block(A, B)), C, timeout=5))
    drive.begin()
    drive.fail("w/a")
    drive.fire("&w")
    assert drive.failures == [("step_failed", "w/a"), ("timeout", "c")]


def test_block_timeout_overrides_its_own_drain():
    drive = Drive(block(A, B, timeout=5))
    drive.begin()
    drive.fail("a")
    drive.fire("&a")
    assert list(drive.cancelled) == ["b"]
    assert drive.failures == [("step_failed", "a")]


def test_timed_out_branch_with_continue_on_error_gives_none_under_all():
    drive = Drive(block(A, step("b", continue_on_error=True), timeout=5))
    drive.begin()
    drive.complete("a")
    drive.fire("&a")
    assert drive.output == (out("a"), None)


def test_the_verdict_says_that_it_went_on_from_what_timed_out():
    drive = Drive(block(A, step("b", continue_on_error=True), timeout=5))
    drive.begin()
    drive.complete("a")
    drive.fire("&a")
    verdict = drive.verdict("&a")
    assert verdict.reason == "1 of 2 completed (a); all met after 0 s; b failed (tolerated)"
    assert [(it.path, it.code, it.attempt) for it in verdict.failures] == [("b", "timeout", 0)]
    assert drive.output == (out("a"), None)
    drive.replays()


def test_the_verdict_says_so_of_any_failure_and_why_it_was_not_tried_again():
    drive = Drive(block(A, step("b", continue_on_error=True), C, timeout=5))
    drive.begin()
    drive.fail("b", retry=7.0)
    drive.fail("a")
    assert drive.verdict("&a").reason == (
        "1 of 3 failed (a); all can't be met after 0 s; b failed (tolerated); "
        "b is not retried: that would be 2 s after the timeout of block '&a'"
    )
    assert drive.verdict("&a").failures == ()  # its event tells
    drive.complete("c")
    assert drive.failures == [("step_failed", "a")]


def test_nested_workflow_times_out_as_a_whole():
    drive = Drive(block(chain("w", A, B, timeout=9), C, join="settled"))
    drive.begin()
    drive.complete("w/a")
    drive.fire("w")
    assert drive.cancelled == {"w/b": "workflow 'w' took longer than 9 s"}
    drive.complete("c")
    assert drive.output[0] == ("failed", "w", (("timeout", "w", 0),))


def test_deadline_fails_the_run_whatever_the_workflow_says_of_timeouts():
    drive = Drive(A, deadline=30)
    drive.begin()
    drive.fire("", "deadline")
    assert drive.cancelled == {"a": "workflow 'run' took longer than 30 s"}
    assert (drive.status, drive.failures) == ("failed", [("timeout", "")])


# ---- steps ----------------------------------------------------------------------------------


def test_continue_on_error_goes_on_with_none():
    drive = Drive(step("a", continue_on_error=True), B)
    drive.begin()
    drive.fail("a")
    assert drive.machine.open_commands()[0].input is None
    drive.begin()
    drive.complete("b")
    assert drive.status == "completed"


def test_joins_other_than_all_see_the_failure_of_a_branch_with_continue_on_error():
    drive = Drive(block(step("a", continue_on_error=True), B, join="settled"))
    drive.begin()
    drive.fail("a")
    drive.complete("b")
    assert drive.output[0] == ("failed", "a", (("step_failed", "a", 1),))


def test_interruptions_use_up_attempts_but_no_retries():
    drive = Drive(A)
    for _ in range(3):
        drive.begin()
        drive.interrupt("a")
    command = drive.machine.open_commands()[0]
    assert (command.attempt, command.failures) == (4, 0)


def test_eleventh_interruption_in_a_row_fails_the_step():
    drive = Drive(A)
    for number in range(21):
        drive.begin()
        if number == 9:
            drive.fail("a", retry=True)  # which breaks the row
            drive.fire("a", "retry")
        else:
            assert drive.status == "running"
            drive.interrupt("a")
    assert drive.failures == [("interrupted", "a")]


def test_interruptions_that_do_not_count_never_fail_a_step():
    drive = Drive(A)
    for _ in range(50):
        drive.begin()
        drive.interrupt("a", counts=False)
    command = drive.machine.open_commands()[0]
    assert (command.attempt, command.failures) == (51, 0)
    assert drive.machine.interruptions(died=True) == 0


def test_interruptions_that_do_not_count_leave_a_row_as_it_is():
    drive = Drive(A)
    for number in range(21):
        assert drive.machine.interruptions(died=False) == (number + 1) // 2
        drive.begin()
        drive.interrupt("a", counts=number % 2 == 0)
    assert drive.failures == [("interrupted", "a")]


def test_an_open_attempt_is_one_more_if_its_worker_died():
    drive = Drive(A)
    drive.begin()
    drive.interrupt("a")
    drive.begin()
    assert drive.machine.interruptions(died=True) == 2
    assert drive.machine.interruptions(died=False) == 1


# ---- branches that end without work ---------------------------------------------------------


def test_instant_branches_count_before_siblings_start():
    drive = Drive(block(A, passthrough("p"), join="first"))
    assert drive.output == "input"
    assert drive.cancelled == {}


def test_block_that_a_passthrough_decides_is_an_instant_branch_too():
    nested = chain("w", block(A, passthrough("p"), join="first"))
    drive = Drive(block(B, nested, join="first"))
    assert drive.output == "input"
    assert drive.cancelled == {}


def test_instant_branches_take_no_slot():
    branches = (A, passthrough("p"), B, chain("w", passthrough("q")))
    drive = Drive(block(*branches, join="settled", max_concurrency=1))
    assert drive.ready == ["a"]
    drive.begin()
    drive.complete("a")
    assert drive.ready == ["b"]


# ---- choices --------------------------------------------------------------------------------


def test_choice_runs_the_arm_that_held_and_skips_the_others():
    drive = Drive(choice("?", A, B, otherwise=C))
    drive.decide("?", 1)
    assert drive.skipped == {"a": "is_b held", "c": "is_b held"}
    drive.begin()
    drive.complete("b")
    assert drive.output == out("b")


def test_choice_without_an_arm_left_hands_its_input_on():
    drive = Drive(choice("?", A))
    drive.decide("?", 1)
    assert drive.skipped == {"a": "is_a did not hold"}
    assert drive.output == "input"


def test_choice_without_an_arm_left_gives_its_default():
    drive = Drive(choice("?", A, default="7"))
    drive.decide("?", 1)
    assert drive.output == ("default", "?")


def test_condition_that_fails_fails_the_run():
    drive = Drive(choice("?", A), B)
    drive.condition_fails("?")
    assert drive.failures == [("condition", "?")]
