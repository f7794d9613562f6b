"""The timers of one live run.

A sleep, and a delayed start, are due at a time of day, which other processes share. Timeouts and
back-offs are a matter of seconds, however the time of day is set: the monotonic clock counts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gorkflow.clock import JUMP

if TYPE_CHECKING:
    from collections.abc import Callable

    from gorkflow.clock import TimerHandle, Times
    from gorkflow.machine import StartTimer

_TURN = ("", "turn")


class Timers:
    """Timers by what they are for."""

    __slots__ = ("_by_day", "_clock", "_moved", "_set")

    def __init__(self, clock: Times) -> None:
        self._clock = clock
        self._set: dict[tuple[str, str], TimerHandle] = {}
        self._by_day: dict[tuple[str, str], tuple[float, Callable[[], object]]] = {}
        self._moved = clock.moved  # as far as the machine knows

    def look(self, latest: float) -> tuple[float, float]:
        """Return the time of day, and by how much it was set ahead since the look before.

        Also if it was set back while the run was elsewhere, or nowhere: by how much, its latest
        event says at the least.

        Args:
            latest: when that was recorded, in seconds since the epoch.
        """
        now = self._clock.now()
        by, self._moved = self._clock.moved - self._moved, self._clock.moved
        if not by and latest - now > JUMP:
            by = now - latest
        return now, by

    @property
    def are_off(self) -> bool:
        """Whether the clock was set since the machine last learned of it."""
        return self._moved != self._clock.moved

    def set(self, command: StartTimer, fire: Callable[[str, str], object]) -> None:
        """Set the timer that the machine asks for."""
        clock, key = self._clock, (command.path, command.key)

        def fired() -> None:
            self._forget(key)  # a run that sleeps often must not collect them
            fire(*key)

        if command.key == "sleep" or command.named:
            self._set_by_day(key, command.due, fired)
        else:
            self._set[key] = clock.call_later(command.due - clock.now(), fired)

    def cancel(self, path: str, key: str) -> None:
        """Call one off, if it is set."""
        timer = self._forget((path, key))
        if timer is not None:
            timer.cancel()

    def set_turn(self, due: float, callback: Callable[[], object]) -> None:
        """Have the run called when its turn has come, at a time of day."""

        def fired() -> None:
            self._forget(_TURN)
            callback()

        self._set_by_day(_TURN, due, fired)

    def clock_was_set(self, by: float) -> None:
        """Set the timers anew that follow the time of day. The run's turn comes no later by it.

        Args:
            by: seconds by which it was set ahead; below 0: back.
        """
        for key, (due, callback) in list(self._by_day.items()):
            self.cancel(*key)
            self._set_by_day(key, due + min(by, 0.0) if key == _TURN else due, callback)

    def clear(self) -> None:
        """Call all off."""
        for timer in self._set.values():
            timer.cancel()
        self._set.clear()
        self._by_day.clear()

    def _set_by_day(self, key: tuple[str, str], due: float, callback: Callable[[], object]) -> None:
        self._set[key] = self._clock.call_at(due, callback)
        self._by_day[key] = (due, callback)

    def _forget(self, key: tuple[str, str]) -> TimerHandle | None:
        self._by_day.pop(key, None)
        return self._set.pop(key, None)
