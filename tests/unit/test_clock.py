"""The system's clock: timers go by the time of day, however that moves."""

import asyncio
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gorkflow import Engine
from gorkflow.clock import SystemClock


class Loop:
    """Takes timers as the loop does, and lets them fire by hand."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Callable[[], Any]]] = []

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Any:
        self.set.append((delay, callback))
        return self

    def cancel(self) -> None:
        self.set.clear()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop


def test_a_long_wait_notices_that_the_time_has_jumped(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    fired: list[bool] = []
    SystemClock().call_at(5000.0, lambda: fired.append(True))
    delay, look = loop.set.pop()
    assert delay <= 60
    monkeypatch.setattr(time, "time", lambda: 8000.0)  # the laptop was shut for two hours
    look()
    delay, fire = loop.set.pop()
    assert delay == 0
    fire()
    assert fired == [True]


def test_a_timer_set_back_waits_for_its_time(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    timer = SystemClock().call_at(1015.0, lambda: None)
    monkeypatch.setattr(time, "time", lambda: 990.0)
    _, look = loop.set.pop()
    look()
    assert loop.set[0][0] > 0
    timer.cancel()
    assert loop.set == []


METHODS = ("now", "monotonic", "call_at", "call_later")


@pytest.mark.parametrize("missing", METHODS)
def test_an_engine_names_what_its_clock_lacks(missing: str) -> None:
    given: Any = SimpleNamespace(**{name: lambda: 0.0 for name in METHODS if name != missing})
    with pytest.raises(TypeError, match=re.escape(f"lacks {missing}()")):
        Engine("memory:", clock=given)


def test_a_class_is_not_a_clock() -> None:
    given: Any = SystemClock
    with pytest.raises(TypeError, match="not the class"):
        Engine("memory:", clock=given)
