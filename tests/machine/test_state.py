"""What steps write into the state: who sees it, and what a join makes of it."""

import pytest

from gorkflow import events as ev
from gorkflow.flow import LoopSpec, MapSpec
from gorkflow.policy import Join, at_least, tolerate
from gorkflow.state_changes import Entry, Write, entry_of, keys, lay, merged, read, write_of

from .drive import Drive, block, chain, choice, passthrough, sleep, step, wait


def writes(**values):
    """Return writes: a number or text is set, a list appended, None deleted, `+n` added."""
    made = []
    for key, value in values.items():
        if value is None:
            made.append(Write(key, "delete"))
        elif isinstance(value, list):
            made.append(Write(key, "append", str(value).replace(" ", "").replace("'", '"')))
        elif isinstance(value, str) and value.startswith("+"):
            made.append(Write(key, "incr", value[1:]))
        else:
            made.append(Write(key, "set", str(value)))
    return tuple(made)


class Run(Drive):
    """A run whose steps write."""

    def write(self, path, **values):
        fields = (self.attempt(path), b"1", self.at, None, writes(**values))
        return self.feed(ev.StepCompleted, path, *fields)

    def state(self, path=""):
        return self.machine.texts(path)

    def conflict(self):
        """Return the message of the failure that a conflict is."""
        found = [e for e in self.history if isinstance(e, ev.StepFailed)]
        assert [e.failure.code.value for e in found] == ["state_conflict"]
        return found[0].failure.message


def begun(*nodes, **options):
    run = Run(*nodes, **options)
    run.begin()
    return run


def test_what_comes_after_a_step_sees_what_it_wrote():
    run = begun(step("a"), chain("w", step("b")), step("c"))
    run.write("a", n=1, log=["x"])
    assert run.state("w/b") == {"n": "1", "log": '["x"]'}
    run.begin()
    run.write("w/b", n="+2", log=["y"])
    assert run.state("c") == {"n": "3", "log": '["x","y"]'}
    run.begin()
    run.write("c", n=None)
    assert run.state() == {"log": '["x","y"]'}
    run.replays()


def test_a_run_that_never_writes_has_no_state_at_all():
    run = begun(block(step("a"), step("b")), step("c"))
    run.complete("a")
    run.complete("b")
    assert run.machine.state is None
    assert run.machine.layers("c") == ()


def test_a_branch_sees_its_own_writes_and_not_its_siblings():
    run = begun(step("a"), block(chain("x", step("b"), step("c")), step("d")), step("e"))
    run.write("a", n=1)
    run.begin()
    run.write("x/b", mine=2, n="+1")
    assert run.state("x/c") == {"mine": "2", "n": "2"}
    assert run.state("d") == run.state() == {"n": "1"}
    run.begin("x/c")
    run.complete("x/c")
    run.write("d", n="+5")
    assert run.state("e") == {"mine": "2", "n": "7"}


def test_writes_merge_in_declared_order_whoever_ends_first():
    run = begun(block(step("a"), step("b"), step("c")))
    for path in ("c", "a", "b"):
        run.write(path, log=[path], n="+1")
    assert run.state() == {"log": '["a","b","c"]', "n": "3"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"k": 1}, {"k": 2}),
        ({"k": 1}, {"k": None}),
        ({"k": 1}, {"k": "+1"}),
        ({"k": None}, {"k": "+1"}),
        ({"k": ["x"]}, {"k": "+1"}),
        ({"k": ["x"]}, {"k": "[]"}),
        ({"k": 1}, {"k": "1.0"}),
        ({"k": 1}, {"k": "true"}),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_branches_conflict(one, other, turned):
    run = begun(step("z"), block(step("a"), step("b")))
    run.write("z", k="+1") if "+1" in one.values() else run.complete("z")
    before = run.state()
    run.begin()
    if turned:
        one, other = other, one
    run.write("a", **one)
    derived = run.write("b", **other)
    assert [event.kind for event in derived] == ["step_failed", "block_decided", "run_finished"]
    assert run.status == "failed"
    assert run.failures == [("state_conflict", "&a")]
    assert run.state() == before
    message = run.conflict()
    assert "'a' left" in message
    assert "'b' " in message
    assert "state key 'k'" in message
    assert "use ctx.state.incr or append" in message
    assert run.verdict("&a").verdict == "failed"
    assert "conflict over state key 'k': 'a' left" in run.verdict("&a").reason
    run.replays()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"k": 1}, {"k": 1}),
        ({"k": None}, {"k": None}),
        ({"k": '{"a":1,"b":2}'}, {"k": '{"b":2,"a":1}'}),
        ({"k": "1e2"}, {"k": "100.0"}),
        ({"k": 1}, {"other": 2}),
    ],
)
def test_branches_agree(one, other):
    run = begun(block(step("a"), step("b")), step("c"))
    run.write("a", **one)
    run.write("b", **other)
    assert run.ready == ["c"]
    assert run.state().get("k", "None") == str(one["k"])


def test_a_conflict_names_who_wrote_last_in_each_branch_and_every_key():
    branch = chain("x", step("b"), step("c"))
    run = begun(block(branch, step("d")))
    run.write("x/b", k=0, n=0)
    run.begin()
    run.write("x/c", k=1)
    run.write("d", k=2, n=1)
    message = run.conflict()
    assert "'x/c' left 1, 'd' 2" in message
    assert "over 'n': 'x/b' left 0, 'd' 1" in message


def test_a_conflict_is_between_the_first_two_that_differ():
    run = begun(block(step("a"), step("b"), step("c")))
    for path, value in (("c", 3), ("b", 1), ("a", 1)):
        run.write(path, k=value)
    assert "'a' left 1, 'c' 3" in run.conflict()


@pytest.mark.parametrize("join", ["settled", tolerate(1), at_least(1)])
def test_only_branches_that_completed_are_taken(join):
    run = begun(block(chain("x", step("a"), step("b")), step("c"), join=join), step("d"))
    run.write("x/a", lost=1)
    run.begin()
    if join.kind != "at_least" if isinstance(join, Join) else True:
        run.fail("x/b")
    run.write("c", taken=1)
    assert run.state("d") == {"taken": "1"}


def test_first_takes_the_winner_alone():
    run = begun(block(chain("x", step("a"), step("b")), step("c"), join="first"), step("d"))
    run.write("x/a", who=1)
    run.begin()
    run.write("c", who=2)
    assert run.state("d") == {"who": "2"}


def test_quorum_takes_those_that_were_counted():
    run = begun(block(step("a"), step("b"), step("c"), join=at_least(2)), step("d"))
    run.write("c", log=["c"])
    run.write("a", log=["a"])
    assert run.state("d") == {"log": '["a","c"]'}


@pytest.mark.parametrize("on_failure", ["drain", "cancel"])
def test_a_failed_block_leaves_nothing(on_failure):
    inner = block(chain("x", step("a"), step("b")), step("c"), step("d"), on_failure=on_failure)
    run = begun(step("z"), block(chain("y", inner), step("e"), join="settled"), step("f"))
    run.write("z", n=1)
    run.begin()
    run.write("y/x/a", n="+1")
    run.fail("y/c")
    if on_failure == "drain":
        run.write("y/d", n="+10")
    run.complete("e")
    assert run.state("f") == {"n": "1"}


def test_a_conflict_inside_a_settled_block_is_an_outcome():
    inner = chain("y", block(step("a"), step("b")))
    run = begun(block(inner, step("c"), join="settled"), step("d"))
    run.write("y/a", k=1)
    run.write("y/b", k=2)
    run.write("c", k=3)
    assert run.state("d") == {"k": "3"}


def test_inner_blocks_merge_into_their_branch_first():
    inner = chain("y", block(step("a"), step("b")), step("c"))
    run = begun(step("z"), block(inner, step("d")), step("e"))
    run.write("z", n=1)
    run.begin()
    run.write("y/a", n="+1")
    run.write("y/b", n="+1")
    assert run.state("y/c") == {"n": "3"}
    assert run.state("d") == {"n": "1"}
    run.begin("y/c")
    run.write("y/c", n="+1")
    run.write("d", n="+10")
    assert run.state("e") == {"n": "14"}


def test_failed_and_interrupted_attempts_leave_nothing():
    run = begun(step("a"), step("b"))
    run.fail("a", retry=1.0)
    run.fire("a", "retry")
    run.begin()
    run.interrupt("a")
    run.begin()
    assert run.state("a") == {}
    run.write("a", n="+1")
    assert run.state("b") == {"n": "1"}


def test_choices_sleeps_and_waits_pass_state_on():
    run = begun(step("a"), choice("q", chain("x", step("b"))), sleep("s"), wait("w"), step("c"))
    run.write("a", n=1)
    run.decide("q", 0)
    assert run.state("x/b") == {"n": "1"}
    run.begin()
    run.write("x/b", n="+1")
    run.fire("s", "sleep")
    run.receive("w")
    assert run.state("c") == {"n": "2"}


def test_iterations_see_what_those_before_wrote():
    run = Run(LoopSpec(id="@a", body=step("a"), condition="c", max_iterations=3), step("b"))
    for number in (1, 2, 3):
        run.begin()
        assert run.state(f"a#{number}").get("n", "0") == str(number - 1)
        run.write(f"a#{number}", n="+1", log=[number])
        run.decide("@a", 0 if number == 3 else 1)
    assert run.state("b") == {"n": "3", "log": "[1,2,3]"}


def test_items_are_branches():
    spec = MapSpec(id="*a", body=chain("a", step("x"), step("y")), join=Join("all"),
                   on_failure="drain", max_concurrency=None, timeout=None, keyed=False)  # fmt: skip
    run = Run(spec, step("b"))
    run.feed(ev.Expanded, "*a", 3, None)
    run.begin()
    for item in (2, 0, 1):
        run.write(f"a[{item}]/x", log=[item])
        assert run.state(f"a[{item}]/y") == {"log": f"[{item}]"}
    run.begin()
    for item in (1, 2, 0):
        run.write(f"a[{item}]/y", n="+1")
    assert run.state("b") == {"log": "[0,1,2]", "n": "3"}


def test_a_failed_run_keeps_what_stood_outside_of_branches():
    run = begun(step("a"), chain("w", step("b"), step("c")))
    run.write("a", n=1)
    run.begin()
    run.write("w/b", n=2)
    run.begin()
    run.fail("w/c")
    assert run.status == "failed"
    assert run.state() == {"n": "2"}


def test_kept_results_bring_their_state():
    kept = {"a": ("completed", b"1", None, 7, None, writes(n=1, log=["a"])),
            "b": ("completed", b"1", None, 8, None, writes(log=["b"]))}  # fmt: skip
    run = Run(block(step("a"), step("b")), step("c"), kept=kept)
    assert run.state("c") == {"n": "1", "log": '["a","b"]'}


def test_passthroughs_beside_writers_change_nothing():
    run = begun(block(passthrough("p"), step("a")), step("b"))
    run.write("a", n=1)
    assert run.state("b") == {"n": "1"}


def test_a_join_costs_what_was_written():
    """And a branch nothing: no overlay has what stood before it."""
    run = begun(step("a"), block(step("b"), step("c")), step("d"))
    run.write("a", **{f"k{number}": number for number in range(100)})
    run.begin()
    run.write("b", one=1)
    frame = run.machine.frames["c"].parent
    assert [len(each) for each in frame.overlays.values()] == [1]
    assert [len(layer) for layer in run.machine.layers("c")] == [100]


# ---- overlays ---------------------------------------------------------------------------------


def over(*steps):
    """Return an overlay into which these were written, one after another."""
    result = {}
    for step_writes in steps:
        for write in step_writes:
            lay(result, write.key, entry_of(write, "s"))
    return result


def test_writes_survive_being_laid_together():
    result = over(writes(a=["x"], b="+1", c="[1]"), writes(a=["y"], b="+2", c=[2]), writes(d=None))
    again = [write_of(key, entry) for key, entry in result.items()]
    assert again == [
        Write("a", "append", '["x","y"]'),
        Write("b", "incr", "3"),
        Write("c", "set", "[1,2]"),
        Write("d", "delete", ""),
    ]


def test_a_deleted_key_begins_anew():
    layered = [over(writes(a=None), writes(a=["x"], b="+1"), writes(b=None), writes(b="+2")),
               over(writes(a="[0]", b="7"))]  # fmt: skip
    assert read(layered, "a") == '["x"]'
    assert read(layered, "b") == "2"
    assert keys(layered) == ["a", "b"]
    assert keys([over(writes(a=None)), *layered]) == ["b"]


@pytest.mark.parametrize(
    ("before", "write", "after"),
    [
        ("[1]", {"k": "+1"}, "1"),
        ('"text"', {"k": "+1"}, "1"),
        ("true", {"k": "+1"}, "1"),
        ("nonsense", {"k": "+1"}, "1"),
        ("5", {"k": ["x"]}, '["x"]'),
        ("+5", {"k": ["x"]}, '["x"]'),
        ("1" * 5000, {"k": "+2"}, "2"),
        ("1" * 400, {"k": "+0.5"}, "0.5"),
    ],
)
def test_what_does_not_fit_counts_as_nothing(before, write, after):
    """No step can write so; a rerun with another state can lead to it, and damage."""
    assert read([over(writes(k=before), writes(**write))], "k") == after
    assert read([over(writes(**write)), over(writes(k=before))], "k") == after


def test_texts_that_are_no_json_are_equal_when_they_are_the_same():
    made, conflicts = merged([{"k": Entry("set", "{", "a")}, {"k": Entry("set", "{", "b")}])
    assert not conflicts
    assert made["k"].writer == "a"
    _, conflicts = merged([{"k": Entry("set", "{", "a")}, {"k": Entry("set", "[", "b")}])
    assert len(conflicts) == 1


def test_long_values_are_cut_in_messages():
    _, (conflict,) = merged([over(writes(k='"' + "x" * 500 + '"')), over(writes(k=["y"]))])
    assert len(str(conflict)) < 200
    assert '["y"] appended' in str(conflict)
