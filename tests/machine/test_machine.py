"""The machine as its drivers see it: refusals, replay, scopes, references, and what it costs."""

import sys

import msgspec
import pytest

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.events import ref_from_json
from gorkflow.flow import from_json, to_json
from gorkflow.journal import from_row, to_row
from gorkflow.machine import Machine, RunStep, replay
from gorkflow.model import RunStatus, StepStatus
from gorkflow.policy import tolerate
from tests.replacing import replace

from .drive import Drive, block, chain, choice, out, passthrough, step
from .simulation import RUN, a_failure, snapshot

A, B, C, D = map(step, "abcd")


def a_long_story():
    """A history with an event of every kind."""
    drive = Drive(
        choice("?", step("z"), default="7"),
        block(A, chain("w", B, block(C, D), timeout=9), step("e"), join="settled", timeout=5.5,
              max_concurrency=2, on_failure="cancel"),
        block(step("x"), step("y"), join=tolerate(0)),
        deadline=100.123,
    )  # fmt: skip
    drive.at += 0.1234567
    drive.decide("?", 1)
    drive.begin()
    drive.interrupt("a")
    drive.begin()
    drive.fail("a", retry=True)
    drive.complete("w/b")
    drive.begin()
    drive.fire("&a")
    drive.begin()
    drive.fail("x", retry=True)
    drive.at += 1.1
    drive.fail("y")
    return drive


# ---- refusals -------------------------------------------------------------------------------


def test_pending_run_can_be_cancelled():
    machine = Machine(RUN, chain("w", A))
    machine.feed(ev.RunCreated(RUN, 1, "", 1.0, "fingerprint", None))
    finished = machine.feed(ev.CancelRequested(RUN, 2, "", 2.0, "never mind"))
    assert finished == [
        ev.RunFinished(RUN, 3, "", 2.0, RunStatus.CANCELLED, None, (), "never mind")
    ]
    with pytest.raises(HistoryError, match="the run is cancelled"):
        machine.feed(ev.RunStarted(RUN, 4, "", 2.0, None))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seq": 4}, "expected seq 3"),
        ({"seq": 2}, "expected seq 3"),
        ({"at": 999.0}, "not before"),
        ({"run_id": "other"}, "can't happen"),
        ({"path": "b"}, "nothing is live at 'b'"),
        ({"attempt": 2}, "nothing asked for it"),
        ({"input": 2}, "nothing asked for it"),
    ],
)
def test_impossible_event_is_refused_and_leaves_no_trace(change, why):
    drive = Drive(A)
    before = snapshot(drive.machine)
    event = ev.StepScheduled(RUN, 3, "a", 1_000.0, 1, 1, 1_000.0)
    with pytest.raises(HistoryError, match=why):
        drive.machine.feed(replace(event, **change))
    assert snapshot(drive.machine) == before
    drive.machine.feed(event)


@pytest.mark.parametrize("number", [-1, 2])
def test_decision_for_an_arm_that_does_not_exist_is_refused(number):
    drive = Drive(choice("?", A, otherwise=B))
    with pytest.raises(HistoryError):
        drive.decide("?", number)


def test_a_condition_is_not_tried_again():
    drive = Drive(choice("?", A, otherwise=B))
    failed = ev.StepFailed(RUN, 3, "?", drive.at, 1, a_failure("?", 1), None, drive.at + 5)
    with pytest.raises(HistoryError, match="can't happen"):
        drive.machine.feed(failed)
    drive.condition_fails("?")


def test_a_timeout_leaves_a_block_that_fails_by_itself_its_own_failure():
    inner = chain("w", block(A, B), timeout=5)
    drive = Drive(inner)
    drive.begin()
    drive.fail("w/a")  # the block drains, and b runs on
    drive.fire("w")
    assert drive.failures == [("step_failed", "w/a")]


def test_only_the_running_attempt_is_expected():
    drive = Drive(block(A, B, join="first"))
    assert not drive.machine.expects("a", 1)
    drive.begin()
    assert drive.machine.expects("a", 1)
    assert not drive.machine.expects("a", 2)
    drive.complete("b")
    assert not drive.machine.expects("a", 1)
    with pytest.raises(HistoryError, match="nothing is live"):
        drive.feed(ev.StepCompleted, "a", 1, b"1", 0.0)


def test_withdrawn_commands_are_not_wanted():
    machine = Machine(RUN, chain("run", block(A, B, join="first", timeout=5)))
    machine.feed(ev.RunCreated(RUN, 1, "", 0.0, "fingerprint", None))
    machine.feed(ev.RunStarted(RUN, 2, "", 0.0, None))
    commands = machine.take_commands()
    assert all(machine.wants(command) for command in commands)
    machine.feed(ev.StepScheduled(RUN, 4, "a", 0.0, 1, 1, 0.0))
    machine.feed(ev.StepCompleted(RUN, 5, "a", 0.0, 1, b"1", 0.0))
    assert not any(machine.wants(command) for command in commands)


# ---- replay ---------------------------------------------------------------------------------


def test_every_prefix_between_groups_replays_and_no_other_does():
    drive = a_long_story()
    derived = {ev.StepCancelled, ev.StepSkipped, ev.TimerSet, ev.BlockDecided, ev.RunFinished}
    for length in range(len(drive.history) + 1):
        whole = length == len(drive.history) or type(drive.history[length]) not in derived
        if whole:
            assert replay(RUN, drive.tree, drive.history[:length]).seq == length
        else:
            with pytest.raises(HistoryError, match=r"damaged"):
                replay(RUN, drive.tree, drive.history[:length])


def test_history_with_a_missing_event_is_refused():
    drive = a_long_story()
    for index in range(len(drive.history) - 1):
        with pytest.raises(HistoryError):
            replay(RUN, drive.tree, drive.history[:index] + drive.history[index + 1 :])


def test_history_in_another_order_is_refused():
    drive = a_long_story()
    for index in range(len(drive.history) - 1):
        swapped = [*drive.history]
        swapped[index : index + 2] = swapped[index + 1], swapped[index]
        with pytest.raises(HistoryError):
            replay(RUN, drive.tree, swapped)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (ev.StepCancelled, {"reason": "other"}),
        (ev.StepCancelled, {"failure": 1}),
        (ev.StepSkipped, {"path": "b"}),
        (ev.TimerSet, {"due": 0.0}),
        (ev.BlockDecided, {"verdict": "failed"}),
        (ev.BlockDecided, {"output": 1}),
        (ev.RunFinished, {"status": RunStatus.COMPLETED}),
        (ev.RunFinished, {"failures": ()}),
        (ev.StepScheduled, {"attempt": 3}),
    ],
)
def test_history_with_an_altered_event_is_refused(kind, change):
    drive = a_long_story()
    index = next(i for i, event in enumerate(drive.history) if type(event) is kind)
    damaged = [*drive.history]
    damaged[index] = replace(damaged[index], **change)
    with pytest.raises(HistoryError):
        replay(RUN, drive.tree, damaged)


def test_history_of_another_tree_is_refused():
    drive = a_long_story()
    with pytest.raises(HistoryError):
        replay(RUN, chain("run", B), drive.history)


def test_history_and_tree_survive_being_written_down():
    drive = a_long_story()
    history = [from_row(to_row(event)) for event in drive.history]
    text = to_json(drive.tree)
    assert history == drive.history
    assert from_json(text) == drive.tree
    assert snapshot(replay(RUN, from_json(text), history)) == snapshot(drive.machine)


def test_references_are_plain_data():
    drive = a_long_story()
    refs = [e.output for e in drive.history if isinstance(e, ev.BlockDecided | ev.RunFinished)]
    refs += [e.input for e in drive.history if isinstance(e, ev.StepScheduled)]
    for ref in refs:
        assert ref_from_json(msgspec.to_builtins(ref)) == ref


# ---- scopes ---------------------------------------------------------------------------------


def test_find_looks_in_the_nearest_scope_that_has_the_id():
    drive = Drive(A, B, block(chain("w", A, C), D))
    for path in ("a", "b"):
        drive.begin()
        drive.complete(path)
    drive.begin()
    outer = drive.machine.find("w/c", "a")
    drive.complete("w/a")
    inner = drive.machine.find("w/c", "a")
    assert (outer.path, inner.path) == ("a", "w/a")
    assert drive.machine.find("w/c", "b").path == "b"
    assert drive.machine.find("d", "a").path == "a"


def test_find_never_sees_inside_a_nested_workflow():
    drive = Drive(chain("w", A), B)
    drive.begin()
    drive.complete("w/a")
    assert drive.machine.find("b", "a") is None
    assert drive.machine.find("b", "w").path == "w"


def test_find_tells_failed_skipped_and_not_yet_run_apart():
    drive = Drive(step("a", continue_on_error=True), choice("?", B), C, D)
    drive.begin()
    drive.fail("a")
    drive.decide("?", 1)
    assert drive.machine.find("c", "a").status is StepStatus.FAILED
    assert drive.machine.find("c", "b").status is StepStatus.SKIPPED
    assert drive.machine.find("c", "d") is None


# ---- what it costs --------------------------------------------------------------------------


def calls_during(function):
    """Return how many Python calls a function makes: a measure that no busy machine disturbs."""
    count = 0

    def profile(_frame, event, _arg):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("join", ["all", "settled", tolerate(percent=50)], ids=str)
def test_calls_per_branch_do_not_grow_with_the_block(join):
    def run(branches):
        tree = chain("run", block(*(step(f"s{n}") for n in range(branches)), join=join))
        machine = Machine(RUN, tree)
        machine.feed(ev.RunCreated(RUN, 1, "", 0.0, "fingerprint", None))
        machine.feed(ev.RunStarted(RUN, 2, "", 0.0, None))
        for command in machine.take_commands():
            seq, path = machine.seq, command.path
            assert isinstance(command, RunStep)
            machine.feed(ev.StepScheduled(RUN, seq + 1, path, 0.0, 1, command.input, 0.0))
            machine.feed(ev.StepCompleted(RUN, seq + 2, path, 0.0, 1, b"1", 0.0))
        assert machine.status is RunStatus.COMPLETED

    small, large = calls_during(lambda: run(100)), calls_during(lambda: run(10_000))
    assert large / 10_000 <= small / 100


@pytest.mark.parametrize("fate", ["cancel", "fail"])
def test_stopping_ten_thousand_branches_is_linear(fate):
    def stop(branches):
        drive = Drive(block(*(step(f"s{n}") for n in range(branches))))
        machine = drive.machine
        machine.feed(ev.StepScheduled(RUN, 3, "s0", 1_000.0, 1, 1, 0.0))
        if fate == "cancel":
            event = ev.CancelRequested(RUN, 4, "", 1_000.0, "enough")
        else:
            event = ev.StepInterrupted(RUN, 4, "s0", 1_000.0, 1, "died")
        return calls_during(lambda: machine.feed(event))

    if fate == "cancel":
        assert stop(10_000) <= 100 * stop(100)
    else:
        assert stop(10_000) == stop(100)  # it is about one branch


def test_nesting_forty_deep_runs_and_replays():
    node = A
    for depth in range(40):
        node = chain(f"w{depth}", block(node, step("x"), passthrough("p"), join="settled"))
    drive = Drive(node)
    drive.begin()
    assert len(drive.running) == 41
    drive.replays()
    for path in drive.running:
        drive.complete(path)
    assert drive.status == "completed"
    drive.replays()


def test_chain_of_five_thousand_passthroughs_needs_no_stack():
    names = [f"p{number}" for number in range(5_000)]
    drive = Drive(*map(passthrough, names), A, *(passthrough(f"q{name}") for name in names))
    drive.begin()
    drive.complete("a")
    assert drive.output == out("a")


def test_thousands_of_blocks_that_need_no_work_need_no_stack():
    blocks = [block(passthrough(f"p{n}"), id=f"b{n}", join="first") for n in range(3_000)]
    drive = Drive(*blocks)
    assert drive.output == "input"
