"""Named limits: the judgement, against a simple reference that remembers every start."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gorkflow.limits import Book, LimitRequest, settle
from gorkflow.policy import Limit

A = Limit("a", concurrency=1)
B = Limit("b", concurrency=1)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "limits nothing"),
        ({"concurrency": 0}, "at least 1"),
        ({"concurrency": True}, "whole number"),
        ({"concurrency": 1.5}, "whole number"),
        ({"rate": 0}, "more than 0"),
        ({"rate": float("nan")}, "more than 0"),
        ({"rate": float("inf")}, "finite"),
        ({"rate": "5"}, "must be a number"),
        ({"rate": 5, "per": 0}, "more than 0"),
        ({"rate": 5, "per": float("inf")}, "finite"),
        ({"rate": 5, "per": "s"}, "seconds or a timedelta"),
        ({"concurrency": 5, "per": 60}, "without rate="),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(options: dict[str, Any], problem: str):
    with pytest.raises((ValueError, TypeError), match=problem):
        Limit("github", **options)


@pytest.mark.parametrize("name", ["", "a b", "-a", "é", "a" * 101, 7])
def test_the_name_is_an_id(name: Any):
    with pytest.raises(ValueError, match="name must be"):
        Limit(name, concurrency=1)


def test_equal_limits_are_equal_however_they_are_written():
    assert Limit("x", rate=60, per=timedelta(minutes=1)) == Limit("x", rate=60.0, per=60)
    assert Limit("x", rate=5).per == 1.0


def test_a_rate_that_is_not_whole_is_spread():
    assert Limit("x", rate=2.5).window == (2, 0.8)
    assert Limit("x", rate=0.5).window == (1, 2.0)
    assert Limit("x", rate=100, per=60).window == (100, 60.0)
    assert Limit("x", concurrency=1).window is None


def ask(
    books: dict[str, Book], worker: str, held: dict[str, int], *requests: LimitRequest, now: float
) -> tuple[int, ...]:
    """Ask, and begin at once what is let in."""
    counts = settle(books, worker, held, requests, now).counts
    inside = Counter(held)
    for request, count in zip(requests, counts, strict=True):
        inside.update({limit.name: count for limit in request.limits})
    settle(books, worker, inside, (), now)
    return counts


@given(
    rate=st.integers(1, 40),
    per=st.floats(0.1, 100.0),
    steps=st.lists(st.tuples(st.floats(0, 30.0), st.integers(1, 30), st.booleans()), max_size=60),
)
def test_a_rate_holds_in_every_window_and_wastes_little(
    rate: int, per: float, steps: list[tuple[float, int, bool]]
):
    """Every start is remembered; none is one too many, and none is refused without need."""
    limit = Limit("x", rate=rate, per=per)
    books: dict[str, Book] = {}
    starts: list[float] = []
    now = 1000.0
    for pause, count, other in steps:
        now += pause
        (granted,) = ask(books, "w2" if other else "w1", {}, LimitRequest((limit,), count), now=now)
        assert len(books["x"].starts) <= 66
        starts += [now] * granted
        assert sum(1 for at in starts if at + per > now) <= rate
        if granted < count:  # then it is full, but for what one part of the window may hide
            # or for the one place that is kept for the other worker.
            kept = len({worker for _, _, worker in steps}) - 1
            assert sum(1 for at in starts if at + per * (1 + 1 / 64) > now) >= rate - kept
    assert len(starts) <= rate * (1 + (now - 1000.0) / per) + 1e-6


@given(
    rate=st.integers(1, 8),
    moves=st.lists(
        st.tuples(
            st.sampled_from(["ask", "begin", "tell", "lose", "pause", "die", "leave"]),
            st.sampled_from(["w1", "w2", "w3"]),
            st.integers(1, 4),
            st.floats(0.0, 12.0),
        ),
        max_size=80,
    ),
)
def test_a_rate_holds_however_late_what_was_let_in_begins(
    rate: int, moves: list[tuple[str, str, int, float]]
):
    """Workers are let in, begin much later, tell that late or never, lose answers, and die."""
    limit = Limit("x", rate=rate, per=10.0)
    books: dict[str, Book] = {}
    unbegun: Counter[str] = Counter()
    began: dict[str, float] = {}
    begins: list[float] = []
    now = 1000.0

    def call(worker: str, *requests: LimitRequest) -> int:
        told = {"x": began.pop(worker)} if worker in began else {}
        left = {"x": unbegun[worker]}
        return sum(settle(books, worker, {}, requests, now, unbegun=left, began=told).counts)

    for what, worker, count, pause in moves:
        if what == "pause":
            now += pause
        elif what == "begin":
            starting = min(count, unbegun[worker])
            if starting:
                unbegun[worker] -= starting
                began[worker] = now
                begins += [now] * starting
        elif what == "tell":
            call(worker)
        elif what == "ask":
            unbegun[worker] += call(worker, LimitRequest((limit,), count))
        elif what == "lose":
            call(worker, LimitRequest((limit,), count))
        elif "x" in books:
            del unbegun[worker]
            told = began.pop(worker, None) is None
            books["x"].leave(worker, None if what == "leave" and told else now)
        assert sum(1 for at in begins if at + 10.0 > now) <= rate


@given(rate=st.floats(0.1, 30.0), per=st.floats(0.1, 10.0), backlog=st.integers(1, 80))
def test_who_asks_when_told_gets_on(rate: float, per: float, backlog: int):
    """Asking at ``ask_at`` always lets somebody in: nobody waits for ever."""
    limit = Limit("x", rate=rate, per=per)
    books: dict[str, Book] = {}
    now, left = 0.0, backlog
    while left:
        grant = settle(books, "w", {}, [LimitRequest((limit,), left)], now)
        assert grant.counts[0] > 0
        left -= grant.counts[0]
        if left:
            assert grant.ask_at is not None
            assert grant.ask_at > now
            now = grant.ask_at
    window = limit.window
    assert window is not None
    starts, seconds = window
    assert now <= (backlog / starts) * seconds * (1 + 1 / 64) + 1e-6


def test_a_clock_that_is_set_back_delays_by_no_more_than_a_window():
    limit = Limit("x", rate=1, per=10.0)
    books: dict[str, Book] = {}
    assert ask(books, "w", {}, LimitRequest((limit,), 1), now=5000.0) == (1,)
    grant = settle(books, "w", {}, [LimitRequest((limit,), 1)], 100.0)
    assert grant.counts == (0,)
    assert grant.ask_at == 110.0


def test_a_smaller_definition_waits_until_enough_have_left():
    books: dict[str, Book] = {}
    ask(books, "w", {}, LimitRequest((Limit("x", rate=4, per=10.0),), 2, 1.0), now=0.0)
    ask(books, "w", {}, LimitRequest((Limit("x", rate=4, per=10.0),), 2, 1.0), now=5.0)
    tight = LimitRequest((Limit("x", rate=1, per=10.0),), 1, 2.0)
    assert settle(books, "w", {}, [tight], 6.0).ask_at == 15.0
    assert ask(books, "w", {}, tight, now=15.0) == (1,)


def test_a_step_that_needs_two_limits_is_not_outrun_by_those_that_need_one():
    """It holds what is free of the one while it waits for the other, as the first in that queue."""
    books: dict[str, Book] = {}
    assert ask(books, "w", {}, LimitRequest((B,), 1), now=0.0) == (1,)
    both, only_a = LimitRequest((A, B), 1), LimitRequest((A,), 1)
    assert ask(books, "w", {"b": 1}, both, only_a, now=0.0) == (0, 0)
    assert ask(books, "w", {"b": 1}, only_a, both, now=0.0) == (1, 0)


def test_a_queue_for_one_limit_does_not_use_up_another():
    wide = Limit("wide", concurrency=3)
    books: dict[str, Book] = {}
    ask(books, "w", {}, LimitRequest((B,), 1), now=0.0)
    both = [LimitRequest((B, wide), 1) for _ in range(5)]
    counts = ask(books, "w", {"b": 1}, *both, LimitRequest((wide,), 9), now=0.0)
    assert counts == (0, 0, 0, 0, 0, 2)


def test_who_waits_for_a_rate_holds_nothing_until_its_turn_is_near():
    slow = Limit("slow", rate=1, per=100.0)
    books: dict[str, Book] = {}
    ask(books, "w", {}, LimitRequest((slow,), 1), now=0.0)
    both, only_a = LimitRequest((A, slow), 1), LimitRequest((A,), 1)
    assert ask(books, "w", {}, both, only_a, now=50.0) == (0, 1)
    assert ask(books, "w", {}, both, only_a, now=99.5) == (0, 0)
    assert ask(books, "w", {}, both, only_a, now=100.0) == (1, 0)


@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    steps=st.lists(
        st.tuples(st.sampled_from(["w1", "w2"]), st.sampled_from(["a", "b", "ab"]),
                  st.integers(1, 4), st.integers(0, 3)),
        max_size=60,
    ),
)  # fmt: skip
def test_concurrency_holds_over_all_workers(
    sizes: tuple[int, int], steps: list[tuple[str, str, int, int]]
):
    limits = {
        "a": Limit("a", concurrency=sizes[0]),
        "b": Limit("b", concurrency=sizes[1]),
    }
    books: dict[str, Book] = {}
    running: dict[str, list[str]] = {"w1": [], "w2": []}
    for now, (worker, needs, count, ended) in enumerate(steps):
        del running[worker][:ended]
        held = Counter("".join(running[worker]))
        request = LimitRequest(tuple(limits[name] for name in needs), count)
        (granted,) = ask(books, worker, held, request, now=now / 10)
        running[worker] += [needs] * granted
        total = Counter("".join(running["w1"] + running["w2"]))
        assert total["a"] <= sizes[0]
        assert total["b"] <= sizes[1]


def test_nothing_is_left_in_the_books_of_who_holds_nothing():
    books: dict[str, Book] = {}
    ask(books, "w", {}, LimitRequest((A,), 1), now=0.0)
    settle(books, "w", {}, [], 1.0)
    assert books["a"].leases == {}
