"""The open timers: which is the next, without a look at all of them."""

from hypothesis import given
from hypothesis import strategies as st

from gorkflow.machine import StartTimer
from gorkflow.machine.frame import Timers

PATHS = st.sampled_from([f"p{n}" for n in range(6)])
ACTS = st.lists(st.tuples(st.sampled_from(["add", "add", "pop"]), PATHS, st.integers(0, 9)))


def earliest(timers):
    return min((timer.due for timer in timers.values()), default=None)


@given(ACTS)
def test_the_next_due_is_the_earliest_of_those_that_are_open(acts):
    timers = Timers()
    for act, path, due in acts:
        if act == "add":
            timers.add(StartTimer(path, "sleep", float(due)))
        else:
            timers.pop((path, "sleep"), None)
        assert timers.next_due() == earliest(timers)


def test_timers_that_were_withdrawn_leave_nothing_behind():
    timers = Timers()
    for number in range(10_000):  # as in a loop whose waits never time out
        timers.add(StartTimer("wait", "wait", 1e9 + number))
        del timers["wait", "wait"]
    assert timers.next_due() is None
    assert len(timers._by_due) < 100
    for number in range(1_000):
        timers.add(StartTimer(f"w{number}", "wait", 1e9 - number))
    for number in range(1_000):
        assert timers.next_due() == 1e9 - 999 + number
        del timers[f"w{999 - number}", "wait"]
