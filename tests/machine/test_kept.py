"""A rerun starts with results of another run: what has one ends at once."""

import pytest

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.flow import from_json, to_json
from gorkflow.machine import replay
from gorkflow.policy import at_least

from .drive import Drive, block, chain, choice, out, passthrough, sleep, step, wait
from .simulation import RUN

A, B, C, D = map(step, "abcd")
DONE = ("completed", b"1", None, 7)
SLEPT = ("slept", None, None, 7)
RECEIVED = ("received", b"1", None, 7)
TIMED_OUT = ("received", None, None, 7)


def decided(number):
    return ("decided", None, number, 7)


def kept(path):
    return ("kept", path)


def test_kept_steps_do_not_run_again():
    drive = Drive(A, B, C, kept={"a": DONE, "b": DONE})
    assert drive.ready == ["c"]
    drive.begin()
    assert drive.history[-1].input == 3  # what was kept of b
    drive.complete("c")
    assert drive.output == out("c")
    drive.replays()


def test_a_run_of_which_everything_is_kept_completes_as_it_starts():
    drive = Drive(block(A, chain("w", B, passthrough("p"))), kept={"a": DONE, "w/b": DONE})
    assert drive.output == (kept("a"), kept("w/b"))


def test_sleeps_and_waits_are_kept():
    drive = Drive(
        sleep("nap"),
        wait("x"),
        wait("y", timeout=5, default="3"),
        kept={"nap": SLEPT, "x": RECEIVED, "y": TIMED_OUT},
    )
    assert drive.output == (("input", kept("x")), ("default", "y"))


def test_a_decision_is_kept():
    drive = Drive(choice("?", A, otherwise=B), kept={"?": decided(1)})
    assert drive.ready == ["b"]
    assert list(drive.skipped) == ["a"]


def test_a_decision_to_skip_is_kept():
    drive = Drive(choice("?", A, default="3"), B, kept={"?": decided(1)})
    assert drive.ready == ["b"]
    drive.begin()
    drive.complete("b")
    assert list(drive.skipped) == ["a"]


def test_kept_branches_take_no_slot_from_those_that_run():
    paths = {f"s{n}": DONE for n in range(500) if n not in {100, 250, 499}}
    drive = Drive(block(*(step(f"s{n}") for n in range(500)), max_concurrency=2), kept=paths)
    assert drive.ready == ["s100", "s250"]
    drive.begin()
    drive.complete("s100")
    assert drive.ready == ["s499"]


def test_kept_branches_are_counted_before_others_start():
    drive = Drive(
        block(
            A,
            chain("w", B, choice("?", C, D), sleep("nap"), wait("x")),
            D,
            join=at_least(2),
        ),
        kept={
            "w/b": DONE, "w/?": decided(0), "w/c": DONE, "w/nap": SLEPT, "w/x": RECEIVED, "d": DONE,
        },
    )  # fmt: skip
    assert drive.status == "completed"
    assert not any(isinstance(event, ev.StepScheduled) for event in drive.history)


def test_a_choice_whose_arm_is_not_kept_is_work():
    drive = Drive(block(choice("?", A, B), C, max_concurrency=1), kept={"?": decided(0), "c": DONE})
    assert drive.ready == ["a"]
    assert drive.machine.find("b", "c") is not None


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("nowhere", DONE),
        ("&a", DONE),
        ("a", SLEPT),
        ("a", ("completed", None, None, 7)),
        ("a", ("completed", b"1", 0, 7)),
        ("?", decided(3)),
        ("?", decided(-1)),
        ("?", decided(None)),
        ("?", ("decided", b"1", 0, 7)),
        ("nap", ("slept", b"1", None, 7)),
        ("x", TIMED_OUT),
        ("x", DONE),
    ],
)
def test_what_a_node_can_not_have_given_is_refused(path, fields):
    nodes = (block(A, B), choice("?", C, D), sleep("nap"), wait("x", timeout=5))
    with pytest.raises(HistoryError, match="can't keep such a result"):
        Drive(*nodes, kept={path: fields})


def test_nothing_is_kept_once_the_run_has_started():
    drive = Drive(A, B)
    with pytest.raises(HistoryError, match="the run is running"):
        drive.feed(ev.ResultKept, "b", *DONE)


def test_a_run_with_kept_results_can_be_cancelled_before_it_starts():
    drive = Drive(A, kept={"a": DONE})
    history = [*drive.history[:2], ev.CancelRequested(RUN, 3, "", drive.at, "no")]
    finished = ev.RunFinished(RUN, 4, "", drive.at, "cancelled", None, (), "no")
    tree = from_json(to_json(drive.tree))
    assert replay(RUN, tree, [*history, finished]).status == "cancelled"
