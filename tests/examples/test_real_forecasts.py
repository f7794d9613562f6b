"""Forecasts of the examples come within 10 % of what really happens, in real time."""

from __future__ import annotations

import asyncio

import pytest

from bench import forecasts

CASES = list(forecasts.cases())


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=[f"{case.name} {case.option}" for case in CASES])
def test_a_forecast_is_right_within_ten_percent(case: forecasts.Case) -> None:
    for _ in range(3):  # a busy machine delays threads, and nobody forecasts that
        row = asyncio.run(forecasts.measured(case))
        if abs(row.off) <= 0.1:
            return
    raise AssertionError(str(row))


def test_the_cases_change_something() -> None:
    assert {case.option.split()[0] for case in CASES} == {
        "--max-concurrency", "--scale", "--slots", "--without-retries",
    }  # fmt: skip
    assert len({case.name for case in CASES}) >= 8
