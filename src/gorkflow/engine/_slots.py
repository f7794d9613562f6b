"""Admission: which of the steps that are ready may be scheduled now.

An attempt is used up when it is scheduled, so a step waits for its slots *before* that: a crash
while ten thousand branches wait costs none of them an attempt. First come, first served over all
runs of the engine, except that a sync step that waits for a thread lets async steps pass.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from gorkflow.machine import RunStep

if TYPE_CHECKING:
    from gorkflow.engine._driver import Driver

logger = logging.getLogger("gorkflow.engine")


class Slots:
    """The engine's slots.

    Args:
        max_steps: attempts that may run at a time; ``None``: no limit.
        max_threads: sync attempts that may run at a time.
        wake: called with a driver that has a step which was waiting and got its slots.
    """

    def __init__(
        self, max_steps: int | None, max_threads: int, wake: Callable[[Driver], None]
    ) -> None:
        self._free_steps = float("inf") if max_steps is None else max_steps
        self._free_threads = max_threads
        self._max_abandoned = max_threads
        self._wake = wake
        self._arrivals = itertools.count()
        self._waiting: dict[str, deque[tuple[int, Driver, RunStep]]] = {
            "loop": deque(),
            "thread": deque(),
        }
        self.abandoned = 0
        """Threads whose attempt was decided while they went on running."""

    def admit(self, driver: Driver, command: RunStep) -> bool:
        """Take the slots for an attempt, or queue it and return False."""
        kind = command.spec.executor
        if self._waiting[kind] or not self._take(kind):
            self._waiting[kind].append((next(self._arrivals), driver, command))
            return False
        return True

    def release(self, kind: str, *, abandoned: bool = False) -> None:
        """Give back the slots of an attempt that ended.

        Args:
            kind: where it ran.
            abandoned: the attempt is decided, but its thread still runs. Up to a limit another
                thread replaces it; past that the slot stays taken until ``reclaim``.
        """
        self._free_steps += 1
        if kind == "thread":
            if not abandoned:
                self._free_threads += 1
            else:
                self._abandon()
        if any(self._waiting.values()):
            self._serve()

    def reclaim(self) -> None:
        """Take note that an abandoned thread has ended."""
        if self.abandoned > self._max_abandoned:
            self._free_threads += 1
        self.abandoned -= 1
        self._serve()

    def _abandon(self) -> None:
        self.abandoned += 1
        if self.abandoned <= self._max_abandoned:
            self._free_threads += 1
        else:
            logger.error(
                "%d threads run on though their attempts timed out or were cancelled; steps that "
                "need a thread wait until some end. A thread can't be killed: let the handler look "
                "at ctx.cancelled, or give its calls timeouts of their own",
                self.abandoned,
            )

    def _take(self, kind: str) -> bool:
        if self._free_steps < 1 or (kind == "thread" and self._free_threads < 1):
            return False
        self._free_steps -= 1
        if kind == "thread":
            self._free_threads -= 1
        return True

    def _serve(self) -> None:
        """Give free slots to those who waited longest, of those that can be served."""
        progress = True
        while progress:
            progress = False
            for _, kind in sorted((q[0][0], kind) for kind, q in self._waiting.items() if q):
                _, driver, command = self._waiting[kind][0]
                wanted = driver.wants(command)
                if wanted and not self._take(kind):
                    continue
                self._waiting[kind].popleft()
                if wanted:
                    driver.admitted.append(command)
                    self._wake(driver)
                progress = True
                break
