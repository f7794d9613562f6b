"""What a run ended without is told as its blocks told it."""

import random
from collections import Counter

import pytest

from gorkflow import events as ev
from gorkflow.cli._board import Board
from gorkflow.cli._plain import Values
from gorkflow.flow import SleepSpec, StepSpec, WaitSpec, WorkflowSpec, id_at, join_path
from gorkflow.history import step_executions, step_outcomes
from gorkflow.machine import replay
from gorkflow.machine.block import BlockFrame
from gorkflow.model import StepStatus
from gorkflow.policy import at_least
from gorkflow.unreached import NOT_REACHED, withdrawn

from .drive import Drive, block, chain, mapped, step
from .simulation import RUN, Simulation, simulate

LEAF = StepSpec | SleepSpec | WaitSpec


def reasons(drive):
    """Why each step without an attempt had none; rows, outcomes and the live tree agree."""
    values = Values(RUN, drive.tree, drive.history)
    rows = step_executions(RUN, drive.tree, drive.history, values)
    found = {row.path: row.reason for row in rows if not row.attempt}
    outcomes = step_outcomes(drive.tree, drive.history, values)
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


def test_what_a_timeout_left_was_not_reached():
    drive = timed()
    drive.fire("&x")
    assert reasons(drive) == {"x/then": NOT_REACHED, "queued": NOT_REACHED}


def test_nor_what_the_timeout_of_a_branch_left_in_it():
    drive = timed()
    drive.fire("x")  # which fails the block
    drive.complete("a")
    assert reasons(drive) == {"x/then": NOT_REACHED, "queued": "drained"}


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
    told = withdrawn(drive.tree, drive.history)
    assert [told.get(path) for path in ("x[1]/b", "x[2]/a", "x[2]/b")] == ["drained"] * 3
    assert "x[0]/b" not in told


def test_a_cancelled_run_did_not_reach_the_rest():
    drive = Drive(block(chain("x", step("a"), step("then")), step("b")), step("after"))
    drive.begin()
    drive.cancel()
    assert reasons(drive) == {"x/then": NOT_REACHED, "after": NOT_REACHED}


def test_it_is_told_only_once_the_run_has_ended():
    drive = Drive(block(step("bad"), step("slow"), step("queued"), max_concurrency=2))
    drive.begin()
    drive.fail("bad")
    values = Values(RUN, drive.tree, drive.history)
    rows = step_executions(RUN, drive.tree, drive.history, values)
    assert [row.status for row in rows] == ["failed", "running", "pending"]


# ---- at random --------------------------------------------------------------------------------


@pytest.fixture
def ends(monkeypatch):
    """The branches of all blocks that end, each with its end and the path of its block."""
    found, end = [], BlockFrame.end

    def noted(self, *args, **fields):
        results = enumerate(getattr(self, "results", ()))
        found.extend(
            (self.branch(index), ended, self.path) for index, ended in results if ended is not None
        )
        end(self, *args, **fields)

    monkeypatch.setattr(BlockFrame, "end", noted)
    return found


@pytest.fixture
def runs(monkeypatch):
    """The runs that are simulated."""
    found, run = [], Simulation.run

    def noted(self):
        found.append(self)
        return run(self)

    monkeypatch.setattr(Simulation, "run", noted)
    return found


def leaves(node, ended):
    """Yield the paths of what is a branch, or stands in its chain."""
    if isinstance(node, LEAF):
        yield ended.path
    elif isinstance(node, WorkflowSpec):
        yield from (join_path(ended.path, n.id) for n in node.nodes if isinstance(n, LEAF))


def expected(ended, block_path, verdict):
    own = ended.reason.endswith(f" of {id_at(block_path)} was met")
    if ended.reason.endswith(" was met") and verdict == "failed" and not own:
        return "drained"  # its own block had drained it before one around it was met
    told = ended.reason == "drained" or ended.reason.endswith(" was met")
    return ended.reason if told and ended.status is StepStatus.CANCELLED else NOT_REACHED


def test_blocks_told_the_same_of_their_branches(ends, runs):
    told = Counter()
    for seed in range(500):
        simulate(random.Random(seed))
        run = runs[-1]
        ends.clear()
        replay(RUN, run.tree, run.history)
        found = withdrawn(run.tree, run.history)
        known = {event.path for event in run.history}
        verdicts = {e.path: e.verdict for e in run.history if isinstance(e, ev.BlockDecided)}
        for node, ended, block_path in ends:
            reason = expected(ended, block_path, verdicts.get(block_path))
            for path in leaves(node, ended):
                if ended.status is not StepStatus.COMPLETED and path not in known:
                    assert found.get(path, NOT_REACHED) == reason, f"seed {seed}: {path}"
                    told[reason] += 1
    assert min(told[NOT_REACHED], told["drained"]) >= 10
    assert len(told) > 4
