"""What a rerun keeps: everything done that is not downstream of what runs again."""

import pytest

from gorkflow import Workflow, at_least, passthrough, step, tolerate
from gorkflow import events as ev
from gorkflow.errors import InputInvalidError
from gorkflow.events import Default
from gorkflow.flow import ChoiceSpec, SleepSpec, StepSpec, WaitSpec, walk
from gorkflow.machine.history import read
from gorkflow.machine.rerun import Result, kept, locate, results
from tests.machine.drive import Drive, block, chain, choice, sleep, wait
from tests.machine.drive import passthrough as through
from tests.machine.drive import step as leaf
from tests.machine.simulation import RUN

A, B, C, D, E, F, G, H = map(leaf, "abcdefgh")
WHAT = {StepSpec: "completed", ChoiceSpec: "decided", SleepSpec: "slept", WaitSpec: "received"}


def tree(*nodes):
    return chain("run", *nodes)


def done(root, *without, chosen=0):
    """Return results for all nodes that have one, but for these."""
    return {
        path: Result(WHAT[type(node)], b"1", chosen if isinstance(node, ChoiceSpec) else None, 7)
        for path, node in walk(root)
        if type(node) in WHAT and path not in without
    }


def keeps(root, start=None, *, without=(), chosen=0):
    return " ".join(kept(root, done(root, *without, chosen=chosen), start))


# ---- from a step ------------------------------------------------------------------------------


def test_what_comes_after_runs_again():
    assert keeps(tree(A, B, C), "b") == "a"


def test_a_run_from_its_first_step_keeps_nothing():
    assert keeps(tree(A, B, C), "a") == ""


def test_branches_beside_it_are_kept_and_the_join_is_not():
    assert keeps(tree(A, block(B, C, D), E), "c") == "a b d"


def test_a_chain_beside_it_is_kept_whole():
    root = tree(block(chain("w", A, B, C), chain("v", D, E, F)), G)
    assert keeps(root, "w/b") == "w/a v/d v/e v/f"


def test_later_siblings_in_every_sequence_around_it_run_again():
    root = tree(A, chain("w", B, chain("v", C, D), E), F)
    assert keeps(root, "w/v/c") == "a w/b"


def test_blocks_in_blocks():
    root = tree(block(chain("w", A, block(B, C), D), E), F)
    assert keeps(root, "w/b") == "w/a w/c e"


def test_from_a_block_its_branches_run_again():
    assert keeps(tree(A, block(B, C), D), "&b") == "a"


def test_from_a_nested_workflow_all_of_it_runs_again():
    assert keeps(tree(A, block(chain("w", B, C), D), E), "w") == "a d"


def test_from_a_choice_it_is_decided_anew():
    assert keeps(tree(A, choice("?", B, C), D), "?") == "a"


def test_from_an_arm_the_decision_is_kept():
    assert keeps(tree(choice("?", chain("w", A, B), C), D), "w/b") == "? w/a"


def test_from_the_arm_that_was_not_chosen_what_follows_runs_again():
    assert keeps(tree(choice("?", A, B), C), "b") == "? a"


def test_from_a_sleep_or_a_wait():
    root = tree(A, sleep("nap"), B, wait("x"), C)
    assert keeps(root, "nap") == "a"
    assert keeps(root, "x") == "a nap b"


def test_from_a_passthrough():
    assert keeps(tree(A, block(through("p"), B), C), "p") == "a b"


def test_a_join_that_others_would_meet_is_judged_anew():
    assert keeps(tree(block(A, B, C, join=at_least(1)), D), "b") == "a c"


def test_a_step_that_was_not_reached_drops_nothing():
    assert keeps(tree(A, B, C), "c", without=("b", "c")) == "a"


@step
async def make(number: int) -> int:
    return number


@step(reads=(make,))
async def read_it(number: int) -> int:
    return number


@step(reads=(read_it,))
async def read_the_reader(number: int) -> int:
    return number


@step
async def beside(number: int) -> int:
    return number


@step
async def both(one: int, other: int) -> int:
    return one + other


def test_readers_run_again_and_what_follows_them():
    inner = Workflow("inner", input=int).then(beside).then(read_it)
    last = Workflow("last", input=int).then(read_the_reader.options(id="r2", reads=(make,)))
    work = (
        Workflow("outer", input=int)
        .then(beside.options(id="before"))
        .parallel(make, beside.options(id="other"))
        .then(both)
        .parallel(inner, beside.options(id="third"))
        .then(both.options(id="both2"))
        .then(last)
    )
    root = work.compile().tree
    assert keeps(root, "make") == "before other"
    assert keeps(root, "inner/read_it") == "before make other both inner/beside third"


# ---- without a step ---------------------------------------------------------------------------


def test_all_that_is_done_is_kept():
    root = tree(A, block(B, chain("w", C, sleep("nap"), wait("x"))), choice("?", D, E), F)
    assert keeps(root) == "a b w/c w/nap w/x ? d f"


def test_three_of_five_hundred():
    root = tree(block(*(leaf(f"s{n}") for n in range(500)), max_concurrency=4))
    assert len(keeps(root, without=("s3", "s77", "s499")).split()) == 497


def test_what_saw_a_failure_runs_again():
    """`settled` went on with the failure of b; what follows was made of it."""
    assert keeps(tree(block(A, B, join="settled"), C, D), without=("b", "d")) == "a"
    assert keeps(tree(block(A, B, join=tolerate(1)), C, D), without=("b", "d")) == "a"
    assert keeps(tree(A, B, C), without=("b",)) == "a"  # continue_on_error


def test_what_lost_a_race_need_not_run():
    assert keeps(tree(block(A, B, join="first"), C), without=("b",)) == "a c"
    root = tree(block(A, chain("w", B, C), D, join=at_least(2)), E)
    assert keeps(root, without=("w/c",)) == "a w/b d e"


def test_an_arm_is_entered_only_by_a_decision():
    root = tree(choice("?", A, otherwise=B), C)
    assert keeps(root, without=("?",)) == ""
    assert keeps(root, chosen=1) == "? b c"
    skipped = tree(choice("?", A, default="7"), C)
    assert keeps(skipped, chosen=1) == "? c"


# ---- what a history has done ------------------------------------------------------------------


def test_results_are_read_from_the_history():
    drive = Drive(
        A, choice("?", B, otherwise=C), sleep("nap"), wait("x"), wait("y", timeout=5, default="7"),
        wait("z", timeout=5),
    )  # fmt: skip
    drive.begin()
    drive.fail("a", retry=True)
    drive.fire("a", "retry")
    drive.begin()
    drive.complete("a")
    drive.decide("?", 1)
    drive.begin()
    drive.complete("c")
    drive.fire("nap", "sleep")
    drive.receive("x")
    drive.fire("y", "wait")
    drive.fire("z", "wait")
    found = results(read(RUN, drive.tree, drive.history), drive.history)
    at = {(event.kind, event.path): event.seq for event in drive.history}
    assert found == {
        "a": Result("completed", b"1", None, at["step_completed", "a"]),
        "?": Result("decided", None, 1, at["decided", "?"]),
        "c": Result("completed", b"1", None, at["step_completed", "c"]),
        "nap": Result("slept", None, None, at["timer_fired", "nap"]),
        "x": Result("received", b'"now"', None, at["signal_received", "x"]),
        "y": Result("received", None, None, at["timer_fired", "y"]),
    }
    again = Drive(*drive.tree.nodes, kept=found)
    assert again.machine.next_waiter("go") == "z"
    again.receive("z")
    assert again.output[0][1] == ("default", "y")
    assert isinstance(again.history[-1], ev.RunFinished)
    assert Default("y") in again.finish.output[0]


def test_what_a_rerun_kept_is_a_result_like_any_other():
    drive = Drive(A, B, kept={"a": ("completed", b"1", None, 7)})
    drive.begin()
    drive.fail("b")
    assert results(read(RUN, drive.tree, drive.history), drive.history) == {
        "a": Result("completed", b"1", None, 2)
    }


# ---- names ------------------------------------------------------------------------------------

NAMES = tree(A, chain("w", B, block(C, D)), chain("v", A, B))


@pytest.mark.parametrize(
    ("name", "path"),
    [("a", "a"), ("w/b", "w/b"), ("c", "w/c"), ("&c", "w/&c"), ("w", "w"), ("v/a", "v/a")],
)
def test_a_step_is_found_by_its_path_or_its_only_id(name, path):
    assert locate(NAMES, name) == path


def test_an_id_at_several_places_is_refused():
    with pytest.raises(InputInvalidError, match=r"several places .* 'w/b', 'v/b'"):
        locate(NAMES, "b")


def test_a_misspelled_name_is_guessed():
    with pytest.raises(InputInvalidError, match="no step 'w/bb'; did you mean 'w/b'"):
        locate(NAMES, "w/bb")
    with pytest.raises(InputInvalidError, match="it has a, w, w/b, "):
        locate(NAMES, "payments")


def test_passthrough_branches_are_done():
    work = Workflow("w", input=int).parallel(passthrough(int), make).then(both)
    assert keeps(work.compile().tree, "both") == "make"
