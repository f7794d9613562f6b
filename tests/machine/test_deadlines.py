"""A retry that would start after a deadline is not waited for, and the verdict says so."""

from gorkflow.machine import StartTimer

from .drive import Drive, block, chain, out, step

A, B, C = map(step, "abc")


def test_a_retry_after_the_runs_deadline_ends_the_step_at_once():
    drive = Drive(A, deadline=30.0)
    drive.begin()
    drive.fail("a", retry=42.0)
    assert drive.status == "failed"
    assert drive.failures == [("step_failed", "a")]
    assert drive.cancelled == {"a": "a is not retried: that would be 12 s after the run's deadline"}
    assert drive.finish.reason == drive.cancelled["a"]
    drive.replays()


def test_a_retry_before_it_is_waited_for():
    drive = Drive(A, deadline=30.0)
    drive.begin()
    drive.fail("a", retry=29.9)
    assert drive.status == "running"
    drive.fire("a", "retry")
    drive.begin()
    drive.complete("a")
    assert drive.output == out("a", 2)


def test_the_very_deadline_is_too_late():
    drive = Drive(A, deadline=30.0)
    drive.begin()
    drive.fail("a", retry=30.0)
    assert drive.status == "failed"


def test_the_verdict_of_a_block_says_whose_timeout_it_was():
    drive = Drive(block(A, B, timeout=5.0))
    drive.begin()
    drive.complete("b")
    drive.fail("a", retry=7.0)
    verdict = drive.verdict("&a")
    assert verdict is not None
    assert verdict.reason == (
        "1 of 2 failed (a); all can't be met after 0 s; b completed; "
        "a is not retried: that would be 2 s after the timeout of block '&a'"
    )


def test_the_earliest_deadline_around_a_step_counts_however_deep_it_is():
    inner = chain("w", chain("v", block(A, timeout=50.0), timeout=40.0), timeout=9.0)
    drive = Drive(inner, deadline=20.0)
    drive.begin()
    assert drive.machine.deadline("w/v/a") == StartTimer("w", "timeout", drive.at + 9)
    drive.fail("w/v/a", retry=10.0)
    assert drive.cancelled["w/v/a"].endswith("1 s after the timeout of workflow 'w'")


def test_a_timeout_holds_only_for_what_it_is_around():
    drive = Drive(block(A, timeout=5.0), B)
    drive.begin()
    drive.complete("a")
    drive.begin()
    drive.fail("b", retry=10.0)
    assert drive.status == "running"


def test_continue_on_error_goes_on_at_once():
    drive = Drive(step("a", continue_on_error=True), B, deadline=30.0)
    drive.begin()
    drive.fail("a", retry=42.0)
    assert drive.ready == ["b"]


def test_a_drain_comes_before_it():
    drive = Drive(block(A, B, timeout=5.0))
    drive.begin()
    drive.fail("a")
    drive.fail("b", retry=7.0)
    assert drive.cancelled == {"b": "drained"}


def test_without_a_timeout_there_is_no_deadline():
    assert Drive(C).machine.deadline("c") is None
    assert Drive(C, deadline=9.0).machine.deadline("nowhere") is None
