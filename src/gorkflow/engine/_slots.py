"""Admission: which of the steps that are ready may be scheduled now.

An attempt is used up when it is scheduled, so a step waits for its slots *before* that: a crash
while ten thousand branches wait costs none of them an attempt. First come, first served over all
runs of the engine, except that a step that waits for a thread or a process lets the others pass. A
step with named limits takes those first (``_limits``), and keeps its place.
"""

from __future__ import annotations

import itertools
import logging
from bisect import insort
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

from gorkflow.engine._limits import Ticket

if TYPE_CHECKING:
    from gorkflow.engine._limits import Applicant, Limits
    from gorkflow.machine import RunStep

logger = logging.getLogger("gorkflow.engine")


class Slots:
    """The engine's slots.

    Args:
        max_steps: attempts that may run at a time; ``None``: no limit.
        max_threads: sync attempts that may run at a time in threads.
        max_processes: the same in processes. Elsewhere, the executor sees to its own queue.
    """

    def __init__(self, max_steps: int | None, max_threads: int, max_processes: int) -> None:
        self._free_steps = float("inf") if max_steps is None else max_steps
        self._free = {"thread": max_threads, "process": max_processes}
        self._max_abandoned = max_threads
        self._arrivals = itertools.count()
        self._waiting: dict[str, deque[Ticket]] = defaultdict(deque)
        self._limited: Counter[str] = Counter()  # of those, who hold their limits already
        self.limits: Limits
        """The named limits; given once they are made."""
        self._strays: Counter[str] = Counter()

    @property
    def strays(self) -> int:
        """Handlers that can't be stopped, and run on though their attempts were decided."""
        return self._strays.total()

    def admit(self, run: Applicant, command: RunStep) -> bool:
        """Take the slots for an attempt, or queue it and return False."""
        if command.spec.limits:
            self.limits.wait(Ticket(next(self._arrivals), run, command))
            return False
        kind = command.spec.executor
        if self._waiting[kind] or not self._take(kind):
            self._waiting[kind].append(Ticket(next(self._arrivals), run, command))
            return False
        return True

    def admit_limited(self, ticket: Ticket) -> None:
        """Queue an attempt that got its limits, at the place at which it arrived."""
        kind = ticket.step.spec.executor
        self._limited[kind] += 1
        insort(self._waiting[kind], ticket)
        self._serve()

    def room(self, kind: str) -> float:
        """Return how many more attempts may get their limits: as many as can start, or be next."""
        free = min(self._free_steps, self._free.get(kind, float("inf")))
        if free < 1 and any(self._waiting.values()):
            free = 1  # the next slot goes to one of those who queue for it, so it has to be there
        return free - self._limited[kind]

    def withdraw(self, command: RunStep) -> None:
        """Give back what an attempt got that will not be made."""
        self.limits.give_back(command)
        self.release(command.spec.executor)

    def release(self, kind: str, *, abandoned: str = "") -> None:
        """Give back the slots of an attempt that ended.

        Args:
            kind: where it ran.
            abandoned: what it is called, if it is decided, but its handler still runs. Up to a
                limit another thread replaces it; past that its slot stays taken until ``reclaim``.
        """
        self._free_steps += 1
        if abandoned:
            self._abandon(kind, abandoned)
        elif kind in self._free:
            self._free[kind] += 1
        for queue in self._waiting.values():
            if queue:
                self._serve()
                break
        self.limits.made_room()

    def take_back(self, kind: str) -> None:
        """Take the slots again of an attempt that had released them while it waited for a run.

        Others may have them by now: then nobody gets any before more than one has ended.
        """
        self._free_steps -= 1
        if kind in self._free:
            self._free[kind] -= 1

    def reclaim(self, kind: str) -> None:
        """Take note that an abandoned handler has ended."""
        if kind == "thread" and self._strays[kind] > self._max_abandoned:
            self._free[kind] += 1
        self._strays[kind] -= 1
        self._serve()
        self.limits.made_room()

    def _abandon(self, kind: str, name: str) -> None:
        self._strays[kind] += 1
        if kind != "thread" or self._strays[kind] <= self._max_abandoned:
            if kind in self._free:
                self._free[kind] += 1
            logger.warning(
                "%s runs on (%s), since nothing can stop it; its result will be ignored. Handlers "
                "that do so: %d",
                name,
                kind,
                self.strays,
            )
        else:
            logger.error(
                "%s runs on, as threads do that timed out or were cancelled: %d; steps that need a "
                "thread wait until some end. A thread can't be killed: let the handler look at "
                "ctx.cancelled, or give its calls timeouts of their own",
                name,
                self._strays[kind],
            )

    def _take(self, kind: str) -> bool:
        if self._free_steps < 1 or self._free.get(kind, 1) < 1:
            return False
        self._free_steps -= 1
        if kind in self._free:
            self._free[kind] -= 1
        return True

    def _serve(self) -> None:
        """Give free slots to those who waited longest, of those that can be served."""
        progress = True
        while progress:
            progress = False
            for _, kind in sorted((q[0][0], kind) for kind, q in self._waiting.items() if q):
                _, run, command = self._waiting[kind][0]
                wanted = run.wants(command)
                if wanted and not self._take(kind):
                    continue
                self._waiting[kind].popleft()
                if command.spec.limits:
                    self._limited[kind] -= 1
                    self.limits.made_room()
                if wanted:
                    run.granted(command)
                else:
                    self.limits.give_back(command)
                progress = True
                break
