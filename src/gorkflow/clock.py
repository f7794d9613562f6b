"""Time, as a thing that can be given: nothing else in the engine asks the system for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

_background: ContextVar[bool] = ContextVar("gorkflow_background", default=False)


class TimerHandle(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Call it off. Harmless after it ran."""
        ...


class Clock(Protocol):
    """Where the engine gets its time from."""

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch. May jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some moment. Never goes back."""
        ...

    def call_at(self, due: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop when the time of day ``due`` has come; at once if past."""
        ...


class SystemClock:
    """The system's clocks."""

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return the system's monotonic time, in seconds."""
        return time.monotonic()

    def call_at(self, due: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop when ``due`` has come."""
        return asyncio.get_running_loop().call_later(max(0.0, due - time.time()), callback)


@contextmanager
def background() -> Generator[None]:
    """Mark the timers set in here as of no consequence by themselves: they only wake who looks.

    A virtual clock does not jump to them, or a day without events would be 86,400 heartbeats.
    """
    token = _background.set(True)
    try:
        yield
    finally:
        _background.reset(token)


def in_background() -> bool:
    """Return whether a timer set now is one of those."""
    return _background.get()
