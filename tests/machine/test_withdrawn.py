"""Steps that a run ended without have the reason that the machine has for what is around."""

from gorkflow.cli._board import Board
from gorkflow.machine.history import NOT_REACHED, read
from gorkflow.policy import at_least

from .drive import Drive, block, chain, choice, mapped, step
from .simulation import RUN


def rows_of(drive):
    history = read(RUN, drive.tree, drive.history)
    return history.executions(drive.values)


def reasons(drive):
    """Why each step without an attempt had none; rows, outcomes and the live tree agree."""
    values = drive.values
    found = {row.path: row.reason for row in rows_of(drive) if not row.attempt}
    outcomes = read(RUN, drive.tree, drive.history).outcomes(values)
    assert {path: outcomes[path].reason for path in found} == found
    board = Board(RUN, drive.tree)
    for event in drive.history:
        board.feed(event)
    shown = {path: item.note for path, item in board.items.items() if path in found}
    assert shown == found
    return found


def test_branches_and_later_steps_that_a_drain_withdrew_are_drained():
    branches = (chain("x", step("slow"), step("then")), step("bad"), step("queued"))
    drive = Drive(block(*branches, max_concurrency=2), step("after"))
    drive.begin()
    drive.fail("bad")
    drive.complete("x/slow")
    assert reasons(drive) == {"x/then": "drained", "queued": "drained", "after": NOT_REACHED}


def test_so_are_those_that_a_join_withdrew():
    branches = (chain("x", step("slow"), step("then")), step("good"), step("queued"))
    drive = Drive(block(*branches, join=at_least(1), max_concurrency=2))
    drive.begin()
    drive.complete("good")
    met = "at_least(1) of &x was met"
    assert reasons(drive) == {"x/then": met, "queued": met}
    cancelled = [what for what, *_ in drive.output]
    assert (cancelled, drive.cancelled) == (
        ["cancelled", "completed", "cancelled"],
        {"x/slow": met},
    )


def test_what_comes_after_a_failure_was_not_reached_though_its_block_drains():
    drive = Drive(block(chain("x", step("bad"), step("then")), step("slow"), step("c")))
    drive.begin()
    drive.fail("x/bad")
    drive.complete("slow")
    drive.complete("c")
    assert reasons(drive) == {"x/then": NOT_REACHED}


def test_nor_what_comes_after_a_block_that_failed_in_a_branch():
    inner = chain("x", block(step("bad"), step("a")), step("then"))
    drive = Drive(block(inner, step("slow")))
    drive.begin()
    drive.fail("x/bad")
    drive.complete("x/a")
    drive.complete("slow")
    assert reasons(drive) == {"x/then": NOT_REACHED}


def test_what_comes_after_a_failure_that_may_be_is_drained():
    inner = chain("x", step("flaky", continue_on_error=True), step("then"))
    drive = Drive(block(inner, step("bad")))
    drive.begin()
    drive.fail("bad")
    drive.fail("x/flaky")
    assert reasons(drive) == {"x/then": "drained"}


def timed():
    branches = (chain("x", step("slow"), step("then"), timeout=3), step("a"), step("queued"))
    drive = Drive(block(*branches, max_concurrency=2, timeout=9))
    drive.begin()
    return drive


def test_what_a_timeout_left_says_so():
    drive = timed()
    drive.fire("&x")
    late = "block '&x' took longer than 9 s"
    assert reasons(drive) == {"x/then": late, "queued": late}
    statuses = {row.path: (row.status, row.reason) for row in rows_of(drive)}
    assert statuses["a"] == ("cancelled", late)


def test_so_does_what_the_timeout_of_a_branch_left_in_it():
    drive = timed()
    drive.fire("x")  # which fails the block
    drive.complete("a")
    assert reasons(drive) == {"x/then": "workflow 'x' took longer than 3 s", "queued": "drained"}


def test_what_a_block_that_cancels_left_says_what_failed():
    drive = Drive(block(step("bad"), chain("x", step("a"), step("then")), on_failure="cancel"))
    drive.begin()
    drive.fail("bad")
    assert reasons(drive) == {"x/then": "bad failed"}


def test_what_a_condition_that_failed_leads_to_was_not_reached():
    drive = Drive(block(chain("x", choice("?", step("arm"))), step("slow")))
    drive.begin()
    drive.condition_fails("x/?")
    drive.complete("slow")
    assert reasons(drive) == {"x/arm": NOT_REACHED}


def test_the_first_that_stopped_it_is_the_reason():
    inner = block(step("a"), step("b"), step("c"), id="&in", join="first", max_concurrency=2)
    drive = Drive(block(inner, step("bad")))
    drive.begin()
    drive.fail("bad")
    drive.complete("a")
    assert drive.cancelled == {"b": "first of &in was met"}
    assert reasons(drive) == {"c": "drained"}


def test_items_that_waited_for_their_turn_are_drained():
    drive = Drive(mapped(chain("x", step("a"), step("b")), max_concurrency=2))
    drive.expand("*x", 3)
    drive.begin()
    drive.fail("x[0]/a")
    drive.complete("x[1]/a")
    values = drive.values
    outcomes = read(RUN, drive.tree, drive.history).outcomes(values)
    assert [outcomes[path].reason for path in ("x[1]/b", "x[2]/a", "x[2]/b")] == ["drained"] * 3
    assert outcomes["x[0]/b"].reason == NOT_REACHED


def test_a_cancelled_run_cancelled_the_rest():
    drive = Drive(block(chain("x", step("a"), step("then")), step("b")), step("after"))
    drive.begin()
    drive.cancel("enough")
    assert reasons(drive) == {"x/then": "enough", "after": "enough"}


def test_it_is_known_as_soon_as_it_is_withdrawn():
    drive = Drive(block(step("bad"), step("slow"), step("queued"), max_concurrency=2))
    drive.begin()
    drive.fail("bad")
    assert [(row.status, row.reason) for row in rows_of(drive)] == [
        ("failed", ""), ("running", ""), ("cancelled", "drained")
    ]  # fmt: skip
    assert reasons(drive) == {"queued": "drained"}
