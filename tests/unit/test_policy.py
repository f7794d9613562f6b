"""Retries, back-off, durations and joins, as pure functions."""

import json
import random
from asyncio import CancelledError
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gorkflow._durations import seconds_of
from gorkflow.engine._retries import is_retryable, retry_delay, unknown_names
from gorkflow.errors import (
    EncodingError,
    NonRetryableError,
    RetryAfterError,
    StepCancelledError,
    StepValueError,
)
from gorkflow.policy import (
    Join,
    RetryPolicy,
    at_least,
    backoff_delay,
    tolerate,
)


def middle(low: float, high: float) -> float:
    return (low + high) / 2


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (RetryPolicy(), [1, 2, 4, 8, 16, 32, 60, 60]),
        (RetryPolicy(backoff="linear"), [1, 2, 3, 4]),
        (RetryPolicy(backoff="constant", initial_interval=2), [2, 2, 2]),
        (RetryPolicy(factor=3, max_interval=5), [1, 3, 5, 5]),
        (RetryPolicy(initial_interval=0), [0, 0]),
        (RetryPolicy(initial_interval=100), [60, 60]),
    ],
)
def test_delays(policy: RetryPolicy, delays: list[float]):
    assert [backoff_delay(policy, number) for number in range(1, len(delays) + 1)] == delays


@given(attempt=st.integers(1, 10**6), seed=st.integers())
def test_a_delay_stays_within_the_cap_and_its_jitter(attempt: int, seed: int):
    policy = RetryPolicy(retries=10**7, jitter=0.2, max_interval=30)
    delay = retry_delay(policy, attempt, ValueError(), random.Random(seed).uniform)
    assert delay is not None
    assert 0 <= delay <= 36


def test_retries_are_attempts_after_the_first():
    policy = RetryPolicy(retries=2, jitter=0)
    assert [retry_delay(policy, n, ValueError(), middle) for n in (1, 2, 3)] == [1, 2, None]
    assert retry_delay(RetryPolicy(retries=0), 1, ValueError(), middle) is None


@pytest.mark.parametrize(
    ("policy", "error", "expected"),
    [
        (RetryPolicy(), ValueError(), True),
        (RetryPolicy(), KeyboardInterrupt(), False),
        (RetryPolicy(), SystemExit(), False),
        (RetryPolicy(), NonRetryableError(), False),
        (RetryPolicy(), StepValueError(), False),
        (RetryPolicy(), EncodingError(), False),
        (RetryPolicy(), StepCancelledError(), False),
        (RetryPolicy(retry_on=(OSError,)), ConnectionError(), True),
        (RetryPolicy(retry_on=(OSError,)), ValueError(), False),
        (RetryPolicy(retry_on=(OSError,)), RetryAfterError(1), True),
        (RetryPolicy(give_up_on=(ConnectionError,)), ConnectionResetError(), False),
        (RetryPolicy(retry_on=("builtins.OSError",)), OSError(), True),
        (RetryPolicy(retry_on=("OSError",)), OSError(), True),
        (RetryPolicy(give_up_on=("OSError",)), OSError(), False),
    ],
)
def test_which_errors_are_tried_again(policy: RetryPolicy, error: BaseException, expected: bool):
    assert is_retryable(policy, error) is expected


class ReadTimeoutError(OSError):
    class SlowError(Exception):
        """Called by more than one name, and so is its base."""


def local_class() -> type[Exception]:
    class LocalError(Exception):
        pass

    return LocalError


def caused(error: BaseException, *causes: BaseException) -> BaseException:
    """Return an exception raised from another, and that from the next, …"""
    last = error
    for cause in causes:
        last.__cause__ = cause
        last = cause
    return error


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("several", errors)


ON_IO = RetryPolicy(retry_on=(OSError,))
NO_IO = RetryPolicy(give_up_on=(OSError,))


@pytest.mark.parametrize(
    ("policy", "error", "expected"),
    [
        (RetryPolicy(), group(ValueError(), OSError()), True),
        (RetryPolicy(), group(ValueError(), NonRetryableError()), False),
        (RetryPolicy(), group(ValueError(), group(OSError(), NonRetryableError())), False),
        (RetryPolicy(), group(RetryAfterError(1), NonRetryableError()), False),
        (RetryPolicy(), group(ValueError(), StepValueError()), False),
        (RetryPolicy(), BaseExceptionGroup("x", [ValueError(), KeyboardInterrupt()]), False),
        (ON_IO, group(OSError(), group(ConnectionError())), True),
        (ON_IO, group(OSError(), group(ValueError())), False),
        (ON_IO, group(OSError(), RetryAfterError(1)), True),
        (ON_IO, group(ValueError(), RetryAfterError(1)), False),
        (ON_IO, group(caused(ValueError(), OSError())), True),
        (NO_IO, group(ValueError(), group(ConnectionError())), False),
        (NO_IO, group(ValueError(), caused(ValueError(), OSError())), False),
        (RetryPolicy(retry_on=(ExceptionGroup,)), group(ValueError()), True),
        (RetryPolicy(give_up_on=(ExceptionGroup,)), group(ValueError()), False),
        # Along __cause__.
        (RetryPolicy(), caused(ValueError(), KeyError(), NonRetryableError()), False),
        (RetryPolicy(), caused(ValueError(), StepValueError()), False),
        (RetryPolicy(), caused(TimeoutError(), CancelledError()), True),  # as asyncio.timeout
        (ON_IO, caused(ValueError(), KeyError(), ConnectionError()), True),
        (ON_IO, caused(ValueError(), RetryAfterError(1)), True),
        (ON_IO, caused(ValueError(), group(OSError(), OSError())), True),
        (ON_IO, caused(ValueError(), group(OSError(), KeyError())), False),
        (NO_IO, caused(ValueError(), KeyError(), ConnectionError()), False),
        (NO_IO, caused(RetryAfterError(1), OSError()), True),  # it has had the last word
        (RetryPolicy(), caused(RetryAfterError(1), NonRetryableError()), True),
        (RetryPolicy(), caused(NonRetryableError(), RetryAfterError(1)), False),
    ],
)
def test_groups_and_causes_count(policy: RetryPolicy, error: BaseException, expected: bool):
    assert is_retryable(policy, error) is expected


def test_what_was_being_handled_does_not_count():
    error = ValueError()
    error.__context__ = NonRetryableError()
    assert is_retryable(RetryPolicy(), error)
    assert not is_retryable(ON_IO, error)
    error.__context__ = ConnectionError()
    assert not is_retryable(ON_IO, error)


def test_the_longest_delay_that_was_asked_for_counts():
    error = group(RetryAfterError(3), group(caused(ValueError(), RetryAfterError(7)), OSError()))
    assert retry_delay(RetryPolicy(), 1, error, middle) == 7
    assert retry_delay(RetryPolicy(), 1, caused(KeyError(), RetryAfterError(2)), middle) == 2


def test_causes_that_go_in_circles_and_without_end():
    error, other = ValueError(), OSError()
    caused(error, other, error)
    assert is_retryable(ON_IO, error)
    inside = group(error)
    error.__cause__ = inside
    assert not is_retryable(ON_IO, inside)
    deep: Exception = NonRetryableError()
    for _ in range(5_000):
        deep = group(deep)
    assert not is_retryable(RetryPolicy(), deep)

    class EndlessError(Exception):
        @property  # type: ignore[misc]
        def __cause__(self) -> BaseException:
            return EndlessError()

    assert is_retryable(RetryPolicy(), EndlessError())


@pytest.mark.parametrize(
    ("name", "error", "expected"),
    [
        ("ReadTimeoutError", ReadTimeoutError(), True),
        (f"{__name__}.ReadTimeoutError", ReadTimeoutError(), True),
        ("test_policy.ReadTimeoutError", ReadTimeoutError(), True),
        ("SlowError", ReadTimeoutError.SlowError(), True),
        ("ReadTimeoutError.SlowError", ReadTimeoutError.SlowError(), True),
        ("ReadTimeoutError", ReadTimeoutError.SlowError(), False),
        ("LocalError", local_class()(), True),
        ("OSError", ReadTimeoutError(), True),
        ("TimeoutError", ReadTimeoutError(), False),
        ("IOError", ReadTimeoutError(), True),  # as builtins calls it
        ("json.JSONDecodeError", json.JSONDecodeError("", "", 0), True),  # is json.decoder's own
        ("asyncio.TimeoutError", TimeoutError(), True),
        ("socket.timeout", TimeoutError(), True),
        ("other.ReadTimeoutError", ReadTimeoutError(), False),
    ],
)
def test_a_text_names_each_class_that_is_called_so(name: str, error: Exception, expected: bool):
    assert is_retryable(RetryPolicy(retry_on=(name,)), error) is expected
    assert is_retryable(RetryPolicy(give_up_on=(name,)), error) is not expected


def test_names_that_nothing_is_called_by_are_known():
    given = (
        "ReadTimeoutError",
        "ReadTimoutError",
        "json.JSONDecodeError",
        "SlowError",
        OSError,
        "no.such.Error",
    )
    assert unknown_names(RetryPolicy(retry_on=given)) == ("ReadTimoutError", "no.such.Error")
    assert unknown_names(RetryPolicy(give_up_on=("Missspelt",))) == ("Missspelt",)
    assert unknown_names(RetryPolicy()) == ()


def test_a_step_may_set_the_next_delay():
    policy = RetryPolicy(retries=1)
    assert retry_delay(policy, 1, RetryAfterError(timedelta(minutes=2)), middle) == 120
    assert retry_delay(policy, 2, RetryAfterError(5), middle) is None


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan"), 1e10, timedelta(days=40_000)])
def test_a_delay_is_some_time_that_will_come(delay: float):
    with pytest.raises(ValueError, match=r"delay must be (0 seconds or more|at most)"):
        RetryAfterError(delay)


@pytest.mark.parametrize("delay", ["5", None, True, [5]])
def test_a_delay_is_seconds_or_a_timedelta(delay: Any):
    with pytest.raises(TypeError, match="must be seconds or a timedelta, not "):
        RetryAfterError(delay)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"retries": -1}, ValueError),
        ({"retries": True}, ValueError),
        ({"retries": 1.5}, ValueError),
        ({"backoff": "wild"}, ValueError),
        ({"initial_interval": -1}, ValueError),
        ({"max_interval": float("inf")}, ValueError),
        ({"factor": 0.5}, ValueError),
        ({"factor": float("nan")}, ValueError),
        ({"jitter": 1.1}, ValueError),
        ({"retry_on": ValueError}, TypeError),
        ({"retry_on": "ValueError"}, TypeError),
        ({"give_up_on": (5,)}, TypeError),
        ({"give_up_on": ("",)}, ValueError),
        ({"retry_on": ("httpx.",)}, ValueError),
    ],
)
def test_a_policy_out_of_range_is_refused(options: dict[str, Any], error: type[Exception]):
    with pytest.raises(error):
        RetryPolicy(**options)


def test_a_policy_is_data():
    policy = RetryPolicy(retry_on=(ValueError,))
    assert policy.retry_on == ("builtins.ValueError",)
    assert policy == RetryPolicy(retry_on=("builtins.ValueError",))
    assert hash(policy) == hash(RetryPolicy(retry_on=(ValueError,)))


def test_durations():
    assert seconds_of(1, "x") == 1.0
    assert seconds_of(timedelta(minutes=1), "x") == 60.0
    assert seconds_of(float("inf"), "x") == float("inf")
    for wrong in (0, -1, float("nan"), timedelta(0)):
        with pytest.raises(ValueError, match="x must be more than 0 seconds"):
            seconds_of(wrong, "x")
    for odd in ("5", None, True):
        with pytest.raises(TypeError, match="x must be seconds or a timedelta"):
            seconds_of(odd, "x")


def test_joins():
    assert str(at_least(2)) == "at_least(2)"
    assert str(tolerate(0)) == "tolerate(0)"
    assert str(tolerate(percent=12.5)) == "tolerate(percent=12.5)"
    assert str(Join("all")) == "all"
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match="at_least"):
            at_least(wrong)  # type: ignore[arg-type]
    for options in ({}, {"count": 1, "percent": 5}, {"count": -1}, {"percent": 101}):
        with pytest.raises(ValueError, match="tolerate"):
            tolerate(**options)  # type: ignore[arg-type]
