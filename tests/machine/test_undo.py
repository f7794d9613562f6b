"""When a run fails, what it did is undone: in reverse, durably, and visibly."""

from gorkflow import events as ev
from gorkflow.flow import LoopSpec, MapSpec, StepSpec, UndoSpec
from gorkflow.machine import RunStep

from .drive import Drive, block, chain, choice, passthrough, sleep, step


def undoable(name, *, inputs=1, **options):
    undo = StepSpec(id=f"un{name}", name=f"un{name}")
    return StepSpec(id=name, name=name, undo=UndoSpec(step=undo, inputs=inputs), **options)


def done(run, *paths):
    for path in paths:
        run.begin(path)
        run.complete(path)


def failed(run, path):
    run.begin(path)
    return run.fail(path)


def plan(run):
    started = [event for event in run.history if isinstance(event, ev.UndoStarted)]
    return list(started[0].paths) if started else None


def undo_all(run):
    """Complete every undo step as it comes; return the groups in which they could run."""
    groups = []
    while run.status == "running":
        groups.append(run.ready)
        done(run, *run.ready)
    return groups


def test_the_latest_is_undone_first_and_each_in_its_turn():
    run = Drive(undoable("a"), step("plain"), undoable("b"), step("c"))
    done(run, "a", "plain", "b")
    failed(run, "c")
    assert run.status == "running"
    assert plan(run) == ["b", "a"]
    assert undo_all(run) == [["b~undo"], ["a~undo"]]
    assert run.status == "failed"
    assert run.failures == [("step_failed", "c")]
    assert run.finish.reason == "undone: b, a"
    run.replays()


def test_a_run_without_undo_steps_ends_as_ever():
    run = Drive(step("a"), step("b"))
    done(run, "a")
    failed(run, "b")
    assert run.status == "failed"
    assert plan(run) is None


def test_a_run_that_completes_undoes_nothing():
    run = Drive(undoable("a"), block(undoable("b"), undoable("c"), join="first"))
    done(run, "a")
    run.begin()
    run.complete("b")
    assert run.status == "completed"
    assert plan(run) is None


def test_a_step_that_raised_is_not_undone():
    run = Drive(undoable("a"))
    failed(run, "a")
    assert run.status == "failed"
    assert plan(run) is None


def test_branches_are_undone_side_by_side():
    run = Drive(undoable("first"), block(undoable("a"), chain("w", undoable("b"), undoable("c"))),
                step("end"))  # fmt: skip
    done(run, "first", "a", "w/b", "w/c")
    failed(run, "end")
    assert undo_all(run) == [["w/c~undo", "a~undo"], ["w/b~undo"], ["first~undo"]]


def test_as_many_are_undone_at_a_time_as_ran():
    run = Drive(block(*map(undoable, "abc"), max_concurrency=2), step("end"))
    done(run, "a", "b", "c")
    failed(run, "end")
    assert run.ready == ["c~undo", "b~undo"]
    done(run, "b~undo")
    assert run.ready == ["c~undo", "a~undo"]


def test_items_of_a_map_are_undone_side_by_side():
    body = chain("w", undoable("a"), undoable("b"))
    run = Drive(MapSpec(id="*w", body=body), step("end"))
    run.feed(ev.Expanded, "*w", 2, None)
    done(run, "w[0]/a", "w[1]/a", "w[1]/b", "w[0]/b")
    failed(run, "end")
    assert undo_all(run) == [["w[1]/b~undo", "w[0]/b~undo"], ["w[1]/a~undo", "w[0]/a~undo"]]


def test_iterations_are_undone_in_reverse():
    run = Drive(LoopSpec(id="@a", body=undoable("a"), condition="c", max_iterations=3), step("end"))
    for number in (1, 2, 3):
        done(run, f"a#{number}")
        run.decide("@a", number < 3)
    failed(run, "end")
    assert undo_all(run) == [["a#3~undo"], ["a#2~undo"], ["a#1~undo"]]


def test_the_arm_that_a_choice_took_is_undone():
    run = Drive(choice("?", undoable("a"), undoable("b")), step("end"))
    run.decide("?", 1)
    done(run, "b")
    failed(run, "end")
    assert undo_all(run) == [["b~undo"]]


def test_branches_that_a_join_dropped_are_undone_with_the_run():
    run = Drive(block(undoable("a"), chain("w", undoable("b"), step("x")), join="first"),
                step("end"))  # fmt: skip
    done(run, "w/b")
    done(run, "a")
    failed(run, "end")
    assert undo_all(run) == [["w/b~undo", "a~undo"]]


class TestUnknownOutcomes:
    def undone_with(self, run):
        return [c.input for c in run.machine.open_commands() if isinstance(c, RunStep)]

    def test_what_was_running_when_the_run_was_cancelled(self):
        run = Drive(undoable("a"))
        run.begin()
        run.cancel()
        assert plan(run) == ["a"]
        assert self.undone_with(run) == [(1, None)]
        undo_all(run)
        assert run.status == "cancelled"
        assert run.finish.reason == "enough; undone: a"

    def test_what_had_not_begun_is_not_undone(self):
        run = Drive(undoable("a"))
        run.cancel()
        assert run.status == "cancelled"

    def test_what_was_interrupted_and_then_raised(self):
        run = Drive(undoable("a"))
        run.begin()
        run.interrupt("a")
        failed(run, "a")
        assert plan(run) == ["a"]

    def test_what_timed_out_and_then_raised(self):
        run = Drive(undoable("a"))
        run.begin()
        run.fail("a", retry=1.0, unknown=True)
        run.at += 1
        run.fire("a", "retry")
        failed(run, "a")
        assert plan(run) == ["a"]
        assert self.undone_with(run) == [(1, None)]

    def test_what_completed_after_all_is_undone_with_its_output(self):
        run = Drive(undoable("a"), step("end"))
        run.begin()
        run.interrupt("a")
        done(run, "a")
        completed = run.machine.seq
        failed(run, "end")
        assert self.undone_with(run) == [(1, completed)]

    def test_what_the_next_step_got_none_for(self):
        run = Drive(undoable("a", continue_on_error=True), step("end"))
        run.begin()
        run.fail("a", unknown=True)
        failed(run, "end")
        assert plan(run) == ["a"]


def test_an_undo_step_gets_each_input_and_the_output():
    run = Drive(undoable("none", inputs=0), block(passthrough("p"), step("q")),
                undoable("two", inputs=2), step("end"))  # fmt: skip
    done(run, "none")
    none = run.machine.seq
    done(run, "q", "two")
    two = run.machine.seq
    failed(run, "end")
    ((command,),) = ([c for c in run.machine.open_commands() if isinstance(c, RunStep)],)
    *inputs, output = command.input
    assert output == two
    assert [item.index for item in inputs] == [0, 1]
    done(run, "two~undo")
    assert [c.input for c in run.machine.open_commands()] == [none]


def test_one_that_fails_does_not_keep_the_others_from_being_undone():
    run = Drive(undoable("a"), undoable("b"), step("c"))
    done(run, "a", "b")
    failed(run, "c")
    failed(run, "b~undo")
    done(run, "a~undo")
    assert run.status == "failed"
    assert run.failures == [("step_failed", "c"), ("step_failed", "b~undo")]
    assert run.finish.reason == "undone: a; could not undo b"


def test_undo_steps_are_retried_whatever_the_deadline():
    run = Drive(undoable("a"), step("b"), deadline=10.0)
    done(run, "a")
    run.at += 10
    run.fire("", "deadline")
    run.begin()
    run.fail("a~undo", retry=60.0)
    assert not run.machine.deadline("a~undo")
    run.at += 60
    run.fire("a~undo", "retry")
    assert undo_all(run) == [["a~undo"]]
    assert run.failures == [("timeout", "")]


def test_a_cancel_while_undoing_changes_nothing():
    run = Drive(undoable("a"), step("b"))
    done(run, "a")
    failed(run, "b")
    assert run.cancel() == []
    assert run.ready == ["a~undo"]
    undo_all(run)
    assert run.status == "failed"
    run.replays()


def test_all_that_runs_ends_before_undoing_begins():
    run = Drive(block(undoable("a"), step("b")))
    run.begin()
    run.fail("b")
    assert plan(run) is None
    run.complete("a")
    assert plan(run) == ["a"]


def test_a_kept_result_is_left_to_the_run_that_recorded_it():
    kept = {"a": ("completed", b"1", None, 5)}
    run = Drive(undoable("a"), undoable("b"), step("c"), kept=kept)
    done(run, "b")
    failed(run, "c")
    assert plan(run) == ["b"]


def test_a_crash_while_undoing_goes_on_where_it_was():
    run = Drive(undoable("a"), undoable("b"), sleep("z"))
    done(run, "a", "b")
    run.cancel()
    done(run, "b~undo")
    run.begin("a~undo")
    run.replays()
    run.interrupt("a~undo")
    run.replays()
    assert undo_all(run) == [["a~undo"]]
    assert run.status == "cancelled"
