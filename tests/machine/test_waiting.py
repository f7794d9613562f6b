"""Sleeps, and waits for signals."""

import pytest

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.machine import AwaitSignal, StartTimer

from .drive import Drive, block, chain, out, sleep, step, wait
from .symbols import waiters

A, B = step("a"), step("b")


def kinds(drive):
    return [event.kind for event in drive.history[2:]]


# ---- sleep ----------------------------------------------------------------------------------


def test_a_sleep_hands_its_input_on_when_it_is_due():
    drive = Drive(A, sleep("nap", 60), B)
    drive.begin()
    drive.complete("a")
    assert drive.machine.open_commands() == [StartTimer("nap", "sleep", 1_060.0)]
    drive.replays()
    drive.at = 1_060.0
    drive.fire("nap", "sleep")
    drive.begin()
    assert drive.history[-1].input == drive.history[3].seq
    drive.complete("b")
    assert kinds(drive) == ["step_scheduled", "step_completed", "timer_set", "timer_fired",
                            "step_scheduled", "step_completed", "run_finished"]  # fmt: skip


def test_a_sleep_without_a_length_still_leaves_a_trace():
    drive = Drive(sleep("nap", 0))
    drive.fire("nap", "sleep")
    assert kinds(drive) == ["timer_set", "timer_fired", "run_finished"]
    assert drive.output == "input"


@pytest.mark.parametrize("node", [sleep("x"), wait("x"), wait("x", timeout=5, default="1")])
def test_a_drain_ends_it_as_drained(node):
    drive = Drive(block(A, chain("w", node, B)))
    drive.begin()
    drive.fail("a")
    assert drive.cancelled == {"w/x": "drained"}
    assert drive.status == "failed"


@pytest.mark.parametrize("node", [sleep("x"), wait("x"), wait("x", timeout=5, default="1")])
def test_a_cancel_ends_it_with_the_reason(node):
    drive = Drive(block(A, chain("w", node, B)))
    drive.begin()
    drive.cancel("enough")
    assert drive.cancelled == {"a": "enough", "w/x": "enough"}
    assert drive.machine.next_waiter("go") is None
    assert drive.status == "cancelled"


# ---- wait -----------------------------------------------------------------------------------


def test_a_wait_gives_its_input_and_the_payload():
    drive = Drive(A, wait("ok"))
    drive.begin()
    drive.complete("a")
    assert drive.machine.open_commands() == [AwaitSignal("ok", "go")]
    drive.replays()
    drive.receive("ok")
    assert drive.output == (out("a"), ("payload", "ok"))
    drive.replays()


def test_a_wait_that_times_out_fails_with_an_event_of_its_own():
    drive = Drive(wait("ok", timeout=5))
    drive.at += 5
    failed, finished = drive.fire("ok", "wait")
    assert (failed.failure.code, failed.failure.path) == ("timeout", "ok")
    assert failed.failure.message == "signal 'go' did not arrive within 5 s"
    assert finished.failures == (failed.seq,)
    assert drive.status == "failed"


def test_a_wait_that_times_out_goes_on_with_its_default():
    drive = Drive(A, wait("ok", timeout=5, default="null"))
    drive.begin()
    drive.complete("a")
    drive.fire("ok", "wait")
    assert drive.output == (out("a"), ("default", "ok"))


def test_a_signal_that_is_in_time_withdraws_the_timeout():
    drive = Drive(wait("ok", timeout=5), A)
    timer = StartTimer("ok", "wait", 1_005.0)
    assert timer in drive.machine.open_commands()
    drive.receive("ok")
    assert ("ok", "wait") not in drive.machine.timers
    with pytest.raises(HistoryError):
        drive.fire("ok", "wait")


def test_the_oldest_wait_gets_the_signal():
    drive = Drive(block(chain("v", A, wait("late")), wait("early"), wait("other", "stop")))
    drive.begin()
    drive.complete("v/a")
    assert waiters(drive.machine, "go") == ["early", "v/late"]
    assert waiters(drive.machine, "stop") == ["other"]
    with pytest.raises(HistoryError, match="'v/late' is not next"):
        drive.receive("v/late")
    drive.receive("early")
    assert waiters(drive.machine, "go") == ["v/late"]


def test_a_signal_is_received_once():
    drive = Drive(wait("x"), wait("y"))
    drive.receive("x", 7)
    with pytest.raises(HistoryError, match="message 7 was received before"):
        drive.receive("y", 7)
    drive.receive("y", 8)
    assert drive.output == (("input", ("payload", "x")), ("payload", "y"))


@pytest.mark.parametrize("path", ["a", "nap", "nowhere"])
def test_a_signal_for_what_does_not_wait_is_refused(path):
    drive = Drive(block(A, sleep("nap"), wait("x")))
    with pytest.raises(HistoryError):
        drive.receive(path)


# ---- a run that only waits ------------------------------------------------------------------


def test_a_run_waits_when_nothing_else_is_left():
    drive = Drive(block(A, sleep("nap", 60), wait("x", timeout=30)), deadline=100)
    assert not drive.machine.is_waiting  # a is ready
    drive.begin()
    assert not drive.machine.is_waiting  # a runs
    drive.fail("a", retry=True)
    assert drive.machine.is_waiting
    assert drive.machine.next_due() == drive.at + 1  # the retry
    drive.at += 1
    drive.fire("a", "retry")
    drive.begin()
    drive.complete("a")
    assert drive.machine.is_waiting
    assert drive.machine.next_due() == 1_030.0
    drive.receive("x")
    assert drive.machine.next_due() == 1_060.0
    drive.fire("nap", "sleep")
    assert not drive.machine.is_waiting  # it is over


def test_a_run_that_waits_for_a_signal_alone_has_no_due_time():
    drive = Drive(wait("x"))
    assert drive.machine.is_waiting
    assert drive.machine.next_due() is None


def test_five_thousand_waits_are_answered_in_order():
    drive = Drive(block(*(wait(f"w{n}") for n in range(5_000))))
    paths = waiters(drive.machine, "go")
    assert paths == [f"w{n}" for n in range(5_000)]
    for number, path in enumerate(paths):
        seq = drive.machine.seq + 1
        drive.machine.feed(ev.SignalReceived("run", seq, path, drive.at, number, b"1"))
    assert drive.status == "completed"
