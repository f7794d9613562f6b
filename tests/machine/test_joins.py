"""Every join, over every way in which up to four branches can end, in every order."""

from itertools import permutations, product

import pytest

from gorkflow.machine.joins import TOLERATED, Tally, reason, tolerated, verdict
from gorkflow.policy import Join, at_least, tolerate

from .drive import CANCELLED, COMPLETED, FAILED, Drive, block, mapped, out, step

NAMES = "abcd"


def table(join, outcomes):
    """What a block of these outcomes has come to, read off the table in the documentation.

    ``outcomes`` are those of the branches that ended, and ``None`` for the others.
    """
    ended = [outcome for outcome in outcomes if outcome is not None]
    all_ended = len(ended) == len(outcomes)
    completed, failed = ended.count(COMPLETED), ended.count(FAILED)
    match join.kind:
        case "all":
            met, lost = completed == len(outcomes), failed > 0
        case "settled":
            met, lost = all_ended, False
        case "first":
            met, lost = completed >= 1, failed == len(outcomes)
        case "at_least":
            met, lost = completed >= join.count, failed > len(outcomes) - join.count
        case "tolerate":
            accepted = join.count if join.count is not None else len(outcomes) * join.percent // 100
            met, lost = all_ended and failed <= accepted, failed > accepted
    return COMPLETED if met else FAILED if lost else None


def joins_for(branches):
    yield from (Join("all"), Join("settled"), Join("first"))
    yield from (at_least(count) for count in range(1, branches + 1))
    yield from (tolerate(count) for count in range(branches + 1))
    yield from (tolerate(percent=share) for share in (0, 25, 50, 100))


def cases(most):
    for branches in range(1, most + 1):
        for join in joins_for(branches):
            for on_failure in ("drain", "cancel"):
                yield pytest.param(branches, join, on_failure, id=f"{branches}-{join}-{on_failure}")


def expected_output(join, outcomes, names):
    if join.kind == "all":
        return tuple(out(name) for name in names)
    if join.kind == "first":
        return out(names[outcomes.index(COMPLETED)])
    words = {
        COMPLETED: lambda name: ("completed", name, out(name)),
        FAILED: lambda name: ("failed", name, (("step_failed", name, 1),)),
        CANCELLED: lambda name: ("cancelled", name, "stopped"),
    }
    return tuple(words[o](name) for name, o in zip(names, outcomes, strict=True))


def a_block(join, on_failure, branches):
    """Return a run of a block, and where its branches are."""
    names = NAMES[:branches]
    return Drive(block(*map(step, names), join=join, on_failure=on_failure)), "&a", [*names]


def a_map(join, on_failure, branches):
    """Return a run of a map, and where its items are."""
    drive = Drive(mapped(step("a"), join=join, on_failure=on_failure))
    drive.expand("*a", branches)
    return drive, "*a", [f"a[{index}]" for index in range(branches)]


def play(make, join, on_failure, vector, order):
    """Let the branches end in this order, and check every step of the way against the table."""
    drive, path, names = make(join, on_failure, len(vector))
    drive.begin()
    seen = [None] * len(vector)
    verdict_now = None
    for index in order:
        drive.do(names[index], vector[index])
        seen[index] = vector[index]
        verdict_now = table(join, seen)
        decided = drive.verdict(path)
        assert (decided.verdict if decided else None) == verdict_now
        if verdict_now is not None:
            break
    rest = [index for index in order if seen[index] is None]
    if verdict_now is FAILED and on_failure == "drain":
        for index in rest:
            assert drive.status == "running"
            drive.do(names[index], vector[index])
            seen[index] = vector[index]
        rest = []
    for index in rest:
        seen[index] = CANCELLED
    assert sorted(drive.cancelled) == sorted(names[index] for index in rest)
    assert drive.status == verdict_now
    if verdict_now is COMPLETED:
        expected = expected_output(join, seen, names)
        a_list = make is a_map and join.kind != "first"
        assert drive.output == (("list", expected) if a_list else expected)
        assert drive.failures == []
    else:
        failed = [name for name, o in zip(names, seen, strict=True) if o is FAILED]
        assert drive.failures == [("step_failed", name) for name in failed]


@pytest.mark.parametrize(("branches", "join", "on_failure"), list(cases(len(NAMES))))
def test_block_does_what_the_table_says(branches, join, on_failure):
    for vector in product((COMPLETED, FAILED), repeat=branches):
        for order in permutations(range(branches)):
            play(a_block, join, on_failure, vector, order)


@pytest.mark.parametrize(("branches", "join", "on_failure"), list(cases(3)))
def test_map_does_what_the_table_says(branches, join, on_failure):
    for vector in product((COMPLETED, FAILED), repeat=branches):
        for order in permutations(range(branches)):
            play(a_map, join, on_failure, vector, order)


@pytest.mark.parametrize("join", list(joins_for(4)), ids=str)
def test_cancelled_branches_are_neither_completed_nor_failed(join):
    """Only a drain from outside cancels branches of an undecided block."""
    for ends in product(range(5), repeat=3):
        if sum(ends) != 4:
            continue
        completed, failed, cancelled = ends
        found = verdict(join, Tally(4, completed, failed, cancelled))
        outcomes = [COMPLETED] * completed + [FAILED] * failed + [CANCELLED] * cancelled
        assert found == (table(join, outcomes) or CANCELLED)


@pytest.mark.parametrize(
    ("percent", "branches", "accepted"),
    [(0, 10, 0), (50, 3, 1), (33.4, 3, 1), (33.3, 3, 0), (100, 7, 7), (1.15, 10_000, 115)],
)
def test_percent_is_rounded_down_from_the_number_as_written(percent, branches, accepted):
    assert tolerated(tolerate(percent=percent), branches) == accepted


def _reason(join, status, results, after):
    tally = Tally(
        total=sum(map(len, results.values())),
        completed=len(results.get(COMPLETED, ())) + len(results.get(TOLERATED, ())),
        failed=len(results.get(FAILED, ())),
        cancelled=len(results.get(CANCELLED, ())),
        tolerated=len(results.get(TOLERATED, ())),
    )
    return reason(join, status, tally, lambda status, number: results[status][:number], after)


def test_reason_of_a_met_join():
    results = {COMPLETED: ["a", "c"], CANCELLED: ["b"]}
    assert _reason(at_least(2), COMPLETED, results, 1.2) == (
        "2 of 3 completed (a, c); at_least(2) met after 1.2 s; b cancelled"
    )


def test_reason_of_a_join_that_can_not_be_met():
    results = {COMPLETED: ["a"], FAILED: ["b", "d"], CANCELLED: ["c"]}
    assert _reason(tolerate(1), FAILED, results, 0.25) == (
        "2 of 4 failed (b, d); tolerate(1) can't be met after 0.25 s; a completed; c cancelled"
    )


def test_reason_of_a_block_that_was_drained():
    results = {COMPLETED: ["a"], CANCELLED: ["b"]}
    assert _reason(Join("all"), CANCELLED, results, 3) == (
        "1 of 2 cancelled (b); all can't be met after 3 s; a completed"
    )


def test_reason_of_a_block_that_went_on_from_failures():
    results = {COMPLETED: ["a"], TOLERATED: ["b", "c"]}
    assert _reason(Join("all"), COMPLETED, results, 3) == (
        "1 of 3 completed (a); all met after 3 s; b, c failed (tolerated)"
    )


def test_reason_names_no_more_than_people_can_read():
    results = {COMPLETED: [f"s{number}" for number in range(1_000)]}
    assert _reason(Join("all"), COMPLETED, results, 9) == (
        "1000 of 1000 completed (s0, s1, s2, s3, s4 and 995 more); all met after 9 s"
    )
