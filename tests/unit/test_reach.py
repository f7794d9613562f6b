"""What a run can still reach of its tree, after what has happened."""

from gorkflow.flow import UndoSpec, walk
from gorkflow.machine.history import read
from tests.machine.drive import (
    Drive,
    block,
    chain,
    choice,
    loop,
    mapped,
    step,
    wait,
)
from tests.replacing import replace

A, B, C, D, Q, THEN = map(step, ("a", "b", "c", "d", "q", "then"))


def reach(drive):
    return read("run", drive.tree, drive.history).reach()


def begins(drive):
    """Return the steps and waits that may begin."""
    found = reach(drive)
    return [path for path, node in walk(drive.tree) if node.is_listed and found.begins(path)]


def asks(drive):
    """Return the choices, loops and maps that may ask their function."""
    found = reach(drive)
    return [path for path, node in walk(drive.tree) if found.asks(path)]


def undoes(drive):
    """Return the steps that may have to be undone."""
    found = reach(drive)
    nodes = walk(drive.tree)
    return [path for path, node in nodes if getattr(node, "undo", None) and found.undoes(path)]


def test_what_is_inside_a_skipped_arm_is_over():
    drive = Drive(choice("?", A, otherwise=chain("n", chain("inner", B), D)))
    assert begins(drive) == ["a", "n/inner/b", "n/d"]
    drive.decide("?", 0)
    assert begins(drive) == ["a"]


def two():
    drive = Drive(block(chain("p", A, B, chain("n", C, timeout=5)), Q, join="settled"), THEN)
    drive.begin("p/a")
    return drive


def test_what_comes_after_a_failure_is_over_beside_it_all_goes_on():
    drive = two()
    drive.fail("p/a", retry=9.0)
    assert begins(drive) == ["p/a", "p/b", "p/n/c", "q", "then"]
    drive.fire("p/a", "retry")
    drive.begin("p/a")
    drive.fail("p/a")
    assert begins(drive) == ["q", "then"]


def test_so_is_what_a_timeout_ended():
    drive = two()
    drive.complete("p/a")
    assert begins(drive) == ["p/b", "p/n/c", "q", "then"]
    drive.begin("p/b")
    drive.complete("p/b")
    drive.fire("p/n")
    assert begins(drive) == ["q", "then"]


def test_a_retry_that_is_withdrawn_ends_its_step():
    drive = Drive(block(A, B), C)
    drive.begin()
    drive.fail("a", retry=9.0)
    assert begins(drive) == ["a", "b", "c"]
    drive.fail("b")
    assert begins(drive) == []


def test_a_step_that_may_finish_begins_no_other_attempt():
    drive = Drive(block(A, B), C)
    drive.begin()
    drive.fail("a")
    assert begins(drive) == []
    assert reach(drive).matters("b")


def test_a_failure_ends_the_workflows_around_it_up_to_the_block():
    drive = Drive(block(chain("p", chain("n", A, B), C), Q, join="settled"), THEN)
    drive.begin()
    drive.fail("p/n/a")
    assert begins(drive) == ["q", "then"]
    drive.complete("q")
    assert begins(drive) == ["then"]


def test_a_failure_that_becomes_none_ends_nothing_but_its_step():
    drive = Drive(chain("p", step("a", continue_on_error=True), B))
    drive.begin()
    drive.fail("p/a")
    assert begins(drive) == ["p/b"]
    drive.cancel()
    assert begins(drive) == []


def test_the_arm_that_fails_ends_what_comes_after_the_choice():
    def deciding():
        return Drive(block(chain("p", choice("?", A), B), Q, join="settled"))

    drive = deciding()
    drive.decide("p/?", 0)
    drive.begin("p/a")
    drive.fail("p/a")
    assert begins(drive) == ["q"]
    drive = deciding()
    drive.decide("p/?", 1)
    assert begins(drive) == ["p/b", "q"]
    drive = deciding()
    drive.condition_fails("p/?")
    assert begins(drive) == ["q"]


def test_items_end_with_their_map():
    body = chain("n", A, B)
    drive = Drive(mapped(body, join="settled", max_concurrency=1), THEN)
    assert begins(drive) == ["n[]/a", "n[]/b", "then"]
    drive.expand("*n", 2)
    drive.begin()
    drive.complete("n[0]/a")
    assert begins(drive) == ["n[]/a", "n[]/b", "then"]  # another item comes
    drive.begin()
    drive.complete("n[0]/b")
    drive.begin()
    drive.complete("n[1]/a")
    assert begins(drive) == ["n[]/b", "then"]
    drive.begin()
    drive.fail("n[1]/b")
    assert begins(drive) == ["then"]


def test_iterations_end_with_their_loop():
    drive = Drive(loop(A), THEN)
    drive.begin()
    drive.complete("a#1")
    drive.decide("@a", 1)
    assert begins(drive) == ["a#", "then"]
    drive.begin()
    drive.complete("a#2")
    drive.decide("@a", 0)
    assert begins(drive) == ["then"]


def test_functions_are_asked_once_but_that_of_a_loop():
    nodes = choice("?", A), mapped(B, keyed=True), loop(C)
    drive = Drive(*nodes)
    assert asks(drive) == ["?", "*b", "@c"]
    drive.decide("?", 0)
    assert asks(drive) == ["*b", "@c"]
    drive.begin()
    drive.complete("a")
    drive.expand("*b", 1, "k")
    assert asks(drive) == ["@c"]
    drive.begin()
    drive.complete("b[k]")
    drive.begin()
    drive.complete("c#1")
    drive.decide("@c", 1)
    assert asks(drive) == ["@c"]
    drive.begin()
    drive.complete("c#2")
    drive.decide("@c", 0)
    assert asks(drive) == []


def test_what_is_kept_is_asked_and_begun_no_more():
    nodes = choice("?", A, otherwise=Q), mapped(B), loop(C)
    decided = {"?": ("decided", None, 0, 7), "*b": ("expanded", None, 1, 8)}
    drive = Drive(*nodes, kept=decided)
    assert asks(drive) == ["@c"]
    assert begins(drive) == ["a", "b[]", "c#"]
    looped = {"@c": ("looped", None, 1, 9), "c#1": ("completed", b"1", None, 8)}
    drive = Drive(*nodes, kept=looped)
    assert begins(drive) == ["a", "q", "b[]"]
    assert asks(drive) == ["?", "*b"]
    looping = {"@c": ("looping", None, 1, 9), "c#1": ("completed", b"1", None, 8)}
    assert begins(Drive(*nodes, kept=looping)) == ["a", "q", "b[]", "c#"]
    drive = Drive(A, B, kept={"b": ("completed", b"1", None, 7)})
    assert begins(drive) == ["a"]
    assert reach(drive).matters("b")


def test_a_wait_is_over_when_its_time_is():
    drive = Drive(wait("go", timeout=1, default="1"), THEN)
    assert begins(drive) == ["go", "then"]
    drive.fire("go", "wait")
    assert begins(drive) == ["then"]
    assert reach(drive).matters("go")


def undoable(name):
    return replace(step(name), undo=UndoSpec(step=step(f"un{name}"), inputs=1))


def test_a_step_may_be_undone_once_it_has_begun_until_it_is():
    nodes = [undoable(name) for name in "abc"]
    drive = Drive(*nodes)
    drive.begin()
    drive.complete("a")
    drive.begin()
    assert undoes(drive) == ["a", "b", "c"]
    drive.fail("b")
    assert undoes(drive) == ["a"]
    drive.begin("a~undo")
    drive.complete("a~undo")
    assert undoes(drive) == []
    kept = dict.fromkeys("ab", ("completed", b"1", None, 7))
    assert undoes(Drive(*nodes, kept=kept)) == ["c"]


def test_what_never_began_and_never_will_does_not_matter():
    drive = two()
    drive.fail("p/a")
    found = reach(drive)
    assert [found.matters(path) for path in ("p/a", "p/b", "q")] == [True, False, True]
