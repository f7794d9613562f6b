"""Due times, against a reference that looks at every single minute."""

import functools
import itertools
import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gorkflow import InputInvalidError
from gorkflow.schedule import CronRule, Interval, seconds_between, zone

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",  # until 2011 at one minute past midnight
    "America/Havana",  # at midnight
    "Africa/Casablanca",  # twice within five weeks
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # in 2011 by a whole day
]
DAY = 86_400
EXAMPLES = 1000 if os.environ.get("GORKFLOW_TEST_SIZE") == "full" else 60


@functools.cache
def changes(name: str) -> list[int]:
    """Return the days from 2005 to 2027 within which clocks are changed."""
    there = ZoneInfo(name)
    days = range(13_000 * DAY, 20_800 * DAY, DAY)
    offsets = [datetime.fromtimestamp(day, there).utcoffset() for day in days]
    found = [d for d, a, b in zip(days, offsets, offsets[1:], strict=False) if a != b]
    return found or [18_000 * DAY]


class Field:
    """One field of a rule: its text, and what it means."""

    def __init__(self, text: str, values: set[int]) -> None:
        self.text = text
        self.values = values
        self.is_star = text.startswith("*")

    def __repr__(self) -> str:
        return self.text


def fields(low: int, high: int) -> st.SearchStrategy[Field]:
    numbers = st.integers(low, high)
    steps = st.integers(1, high)
    ranges = st.tuples(numbers, numbers).map(sorted)
    return st.one_of(
        st.just(Field("*", {*range(low, high + 1)})),
        steps.map(lambda n: Field(f"*/{n}", {*range(low, high + 1, n)})),
        st.sets(numbers, min_size=1, max_size=4).map(
            lambda some: Field(",".join(map(str, some)), some)
        ),
        st.tuples(ranges, steps).map(
            lambda got: (
                Field(
                    f"{got[0][0]}-{got[0][1]}/{got[1]}", {*range(got[0][0], got[0][1] + 1, got[1])}
                )
                if got[0][0] < got[0][1]
                else Field(f"{got[0][0]}", {got[0][0]})
            )
        ),
    )


RULES = st.tuples(fields(0, 59), fields(0, 23), fields(1, 31), fields(0, 6))


def written(rule: tuple[Field, ...]) -> str:
    minute, hour, day, weekday = rule
    return f"{minute} {hour} {day} * {weekday}"


def matches(rule: tuple[Field, ...], shown: datetime) -> bool:
    minute, hour, day, weekday = rule
    days = [shown.day in day.values, shown.isoweekday() % 7 in weekday.values]
    on_day = all(days) if day.is_star or weekday.is_star else any(days)
    return shown.minute in minute.values and shown.hour in hour.values and on_day


def reference(rule: tuple[Field, ...], name: str, start: int, end: int) -> list[int]:
    """Return the due times after ``start`` and up to ``end``, by looking at each minute."""
    there = ZoneInfo(name)
    margin = 2 * DAY
    minutes = range(start - start % 60 - margin, end + 1, 60)
    shown = {at: datetime.fromtimestamp(at, there).replace(tzinfo=None) for at in minutes}
    if rule[0].is_star or rule[1].is_star:
        found = {at for at in minutes if matches(rule, shown[at])}
    else:
        found = set()
        latest = shown[minutes[0]]  # that clocks have shown
        for at in minutes:
            while latest < shown[at]:  # each time since then, one that was skipped too
                latest += timedelta(minutes=1)
                if matches(rule, latest):
                    found.add(at)
    return sorted(at for at in found if start < at <= end)


@st.composite
def places(draw: st.DrawFn) -> tuple[str, int]:
    name = draw(st.sampled_from(ZONES))
    return name, draw(st.sampled_from(changes(name))) + draw(st.integers(-DAY, 2 * DAY))


def berlin(text: str) -> tuple[str, int]:
    return "Europe/Berlin", int(datetime.fromisoformat(text).timestamp())


TWO_THIRTY = (Field("30", {30}), Field("2", {2}), Field("*", {*range(32)}), Field("*", {*range(7)}))


@settings(deadline=None, max_examples=EXAMPLES)
@given(RULES, places())
@example(TWO_THIRTY, berlin("2026-03-28T12:00Z"))
@example(TWO_THIRTY, berlin("2026-10-25T00:40Z"))
def test_rules_are_due_when_a_look_at_every_minute_says_so(
    rule: tuple[Field, ...], place: tuple[str, int]
) -> None:
    name, start = place
    end = start + 3 * DAY
    table = CronRule(written(rule), name)
    found = [*itertools.takewhile(lambda at: at <= end, table.following(start))]
    assert found == reference(rule, name, start, end)


@settings(deadline=None, max_examples=EXAMPLES // 3)
@given(RULES, places(), st.integers(0, 20), st.integers(1, 200))
def test_the_latest_are_the_last_of_all(
    rule: tuple[Field, ...], place: tuple[str, int], skip: int, limit: int
) -> None:
    table = CronRule(written(rule), place[0])
    times = [*itertools.islice(table.following(place[1]), skip + 150)]
    first, until = times[0], times[skip]
    every = [at for at in times if at <= until]
    assert table.latest(first, until, limit) == every[-limit:]
    assert table.latest(first, until + 0.5, limit) == every[-limit:]
    assert table.latest(first, first - 0.5, limit) == []


@given(st.integers(1, 10**6), st.floats(0, 10**9), st.floats(-(10**9), 10**9), st.integers(1, 50))
def test_intervals_keep_their_grid(every: int, anchor: float, at: float, limit: int) -> None:
    table = Interval(every, anchor)
    some = [*itertools.islice(table.following(at), 5)]
    assert some[0] - every <= at < some[0]
    assert {b - a for a, b in itertools.pairwise(some)} == {every}
    assert (some[0] - table._anchor) % every == 0
    up_to = table.latest(some[0], some[4] + 0.5, limit)
    assert up_to == some[-limit:]
    assert table.latest(some[1], some[0], limit) == []


def times(rule: str, name: str, start: str, count: int) -> list[str]:
    at = datetime.fromisoformat(start).timestamp()
    found = itertools.islice(CronRule(rule, name).following(at), count)
    return [datetime.fromtimestamp(each, zone(name)).isoformat() for each in found]


def test_a_time_that_is_skipped_is_due_right_after_the_gap() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_that_comes_twice_is_due_once() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10Z", 1) == [
        "2026-10-26T02:30:00+01:00"
    ]


def test_rules_with_a_star_go_by_the_wall() -> None:
    assert times("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", 1) == [
        "2026-03-30T02:00:00+02:00"
    ]
    assert times("*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", 4) == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
    ]


def test_seldom_rules_are_found_years_ahead() -> None:
    assert times("0 0 29 2 *", "Europe/Berlin", "2026-10-24T12:00Z", 2) == [
        "2028-02-29T00:00:00+01:00",
        "2032-02-29T00:00:00+01:00",
    ]
    assert times("0 12 L * *", "UTC", "2026-02-01T00:00Z", 2) == [
        "2026-02-28T12:00:00+00:00",
        "2026-03-31T12:00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("a * * * *", "bad minute"),
        ("*/0 * * * *", "bad minute"),
        (f"{'1' * 150} * * * *", "bad minute"),
        ("1" * 5_000, "five fields"),
        ("0 0 30 2 *", "is never due: there is no such date"),
        ("0 0 32 2 *", "bad day-of-month: it goes from 1 to 31"),
        (5, "five fields"),
    ],
)
def test_what_is_no_rule_is_refused(rule: str, says: str) -> None:
    with pytest.raises(InputInvalidError, match=says):
        CronRule(rule, "UTC")


def test_a_rule_that_is_never_due_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CronRule, "_matches", lambda *_: iter(()))
    with pytest.raises(InputInvalidError, match="never due"):
        CronRule("0 0 1 1 *", "UTC")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Europe/Berln", "did you mean 'Europe/Berlin'"),
        ("europe/berlin", "did you mean 'Europe/Berlin'"),
        ("", "a name like"),
        ("../../etc/passwd", "a name like"),
        ("Europe", "there is no time zone"),
        ("a\0b", "a name like"),
    ],
)
def test_what_is_no_time_zone_is_refused(name: str, says: str) -> None:
    with pytest.raises(InputInvalidError, match=says):
        zone(name)


def test_without_a_database_the_error_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    with pytest.raises(InputInvalidError, match=r"pip install tzdata"):
        zone("Nowhere/At_All")
    assert zone("UTC") is UTC


@pytest.mark.parametrize(
    "every",
    [timedelta(0), timedelta(seconds=-1), timedelta(seconds=1.5), 0, 1.5, 1e10, math.nan, math.inf,
     True, "60"],
)  # fmt: skip
def test_what_is_no_interval_is_refused(every: Any) -> None:
    with pytest.raises(InputInvalidError, match="every must be"):
        seconds_between(every)


@pytest.mark.parametrize("every", [timedelta(minutes=1), 60, 60.0])
def test_an_interval_is_a_timedelta_or_seconds(every: float | timedelta) -> None:
    assert seconds_between(every) == 60


def test_without_the_library_only_rules_are_an_error() -> None:
    program = """
import sys
sys.modules["cronsim"] = None
from gorkflow.schedule import CronRule, Interval
print(next(Interval(60, 0).following(30)))
try:
    CronRule("0 3 * * *", "UTC")
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("60\ncron rules need the package cronsim; run pip install")


FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")


@pytest.mark.parametrize(
    ("index", "field"),
    [
        (0, "*/90"),
        (0, "*/60"),
        (0, "0/90"),
        (0, "10-20/60"),
        (0, "5,*/90"),
        (0, f"*/{'9' * 60}"),
        (1, "*/36"),
        (1, "8/24"),
        (2, "*/45"),
        (2, "L/32"),
        (3, "*/13"),
        (3, "JAN-JUN/18"),
        (4, "*/8"),
        (4, "MON/14"),
    ],
)
def test_a_step_that_is_longer_than_its_field_is_refused(index: int, field: str):
    rule = ["0", "0", "*", "*", "*"]
    rule[index] = field
    with pytest.raises(InputInvalidError, match=f"has a step of .*, but {FIELDS[index]} goes"):
        CronRule(" ".join(rule), "UTC")


@pytest.mark.parametrize("rule", ["*/59 * * * *", "5-10/5 */23 */31 JAN/12 */7", "59/1 * L * *"])
def test_a_step_within_its_field_is_taken(rule: str):
    CronRule(rule, "UTC")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("5-70 * * * *", "bad minute: it goes from 0 to 59"),
        ("*/0 * * * *", "bad minute: it goes from 0 to 59, in steps of 1 or more"),
        ("0 24 * * *", "bad hour: it goes from 0 to 23"),
        ("0 0 0 * *", "bad day-of-month: it goes from 1 to 31"),
        ("0 0 * 1-13 *", "bad month: it goes from 1 to 12"),
        ("0 0 * * 8", "bad day-of-week: it goes from 0 to 7"),
    ],
)
def test_a_number_outside_of_its_field_is_refused_with_the_range(rule: str, reason: str):
    with pytest.raises(InputInvalidError, match=reason):
        CronRule(rule, "UTC")
