"""The admission of steps: which of those that are ready may be scheduled now.

Scheduling uses up an attempt, so a step waits *before* that: a crash while ten thousand branches
wait costs none of them an attempt. Steps are admitted in the order of their arrival, over all runs
of the engine. Only a step that waits for a thread or a process lets others pass.

A step takes all of its named limits at once, and its slot last. So no step holds a slot while it
waits for a limit, and limits never keep other steps from running. A step that holds limits waits
only for a slot, and slots are freed by steps that wait for nothing: so there is no deadlock. While
no slot is free, no step asks for limits, and other workers may have them. If steps without limits
queue for slots, too, one step per executor gets its limits in advance; else it would never be the
first to take a slot.

Steps that need the same limits form a queue. One question to the store asks for all queues, and
only when the answer may have changed: a step here released something, or the time has come that the
store named. While other workers hold the rest, it asks again after a short while.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from bisect import insort
from collections import Counter, defaultdict, deque
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gorkflow.clock import background
from gorkflow.limits import LimitRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gorkflow.clock import TimerHandle, Times
    from gorkflow.limits import LimitGrant
    from gorkflow.machine import RunStep
    from gorkflow.policy import Limit
    from gorkflow.store import Store

logger = logging.getLogger("gorkflow.engine")

_AT_ONCE = 64
"""Steps of one queue that ask together, at most."""
_POLL = (0.2, 0.5)
"""Seconds between questions while other workers hold what is lacking: first, and at most."""
_RELEASE = 0.1
"""Seconds until limits that no step here waits for are released in the store, all at once."""
_AGAIN = 1.0
"""Seconds until the next question after the store failed."""


class Applicant(Protocol):
    """A run whose steps ask to be admitted."""

    @property
    def defined_at(self) -> float:
        """When its definition was new: the newest one says what a limit is."""
        ...

    def wants(self, command: RunStep) -> bool:
        """Return whether a step that waits should still run."""
        ...

    def granted(self, command: RunStep) -> None:
        """Take the slots and the limits for a step that waited for them."""
        ...


class Ticket(NamedTuple):
    """A step that waits."""

    arrival: int
    """Counts up: tickets sort by it alone."""
    run: Applicant
    step: RunStep

    @property
    def is_wanted(self) -> bool:
        return self.run.wants(self.step)


Key = tuple[tuple["Limit", ...], str]
"""Steps that share a queue for limits need the same limits, and run on the same executor."""


class Admission:
    """The slots of an engine, and its named limits.

    Args:
        store: where all workers ask for limits.
        worker_id: this worker.
        clock: the engine's.
        max_steps: attempts that may run at a time; ``None``: no limit.
        max_threads: sync attempts that may run at a time in threads.
        max_processes: the same in processes. Given executors have queues of their own.
    """

    def __init__(
        self,
        store: Store,
        worker_id: str,
        clock: Times,
        max_steps: int | None,
        max_threads: int,
        max_processes: int,
    ) -> None:
        self._is_unlimited = max_steps is None
        self._free_steps = float("inf") if max_steps is None else max_steps
        self._free = {"thread": max_threads, "process": max_processes}
        self._max_abandoned = max_threads
        self._arrivals = itertools.count()
        self._waiting: dict[str, deque[Ticket]] = defaultdict(deque)
        self._limited: Counter[str] = Counter()  # of those, the ones that hold their limits
        self._strays: Counter[str] = Counter()
        self.limits = Limits(self, store, worker_id, clock)

    @property
    def strays(self) -> int:
        """Handlers that can't be stopped and outlive their attempts."""
        return sum([*self._strays.values()])  # copied: another thread may ask

    def admit(self, run: Applicant, command: RunStep) -> bool:
        """Take the slots for an attempt, or queue it and return False."""
        executor = command.spec.executor
        if command.spec.limits:
            self.limits.wait(Ticket(next(self._arrivals), run, command))
            return False
        if self._is_unlimited and executor == "loop":
            return True
        if self._waiting[executor] or not self._take(executor):
            self._waiting[executor].append(Ticket(next(self._arrivals), run, command))
            return False
        return True

    def admit_limited(self, ticket: Ticket) -> None:
        """Queue an attempt that got its limits, at the place at which it arrived."""
        executor = ticket.step.spec.executor
        self._limited[executor] += 1
        insort(self._waiting[executor], ticket)
        self._serve()

    def room(self, executor: str) -> float:
        """Return how many more attempts may get their limits: as many as can start, or be next."""
        free = min(self._free_steps, self._free.get(executor, float("inf")))
        if free < 1 and any(self._waiting.values()):
            free = 1  # the next free slot goes to a step that is in its queue by then
        return free - self._limited[executor]

    def release(self, command: RunStep, *, abandoned: str = "") -> None:
        """Release what an attempt got that has ended, or will not be made.

        Args:
            command: the attempt.
            abandoned: its name, if its handler still runs. Up to a limit another thread replaces
                it; past that its slot stays taken until ``reclaim``.
        """
        if command.spec.limits:
            self.limits.release(command)
        elif self._is_unlimited and command.spec.executor == "loop":
            return
        self.lend(command.spec.executor, abandoned=abandoned)

    def lend(self, executor: str, *, abandoned: str = "") -> None:
        """Let other attempts have the slots of one; see ``release`` and ``take_back``."""
        self._free_steps += 1
        if abandoned:
            self._abandon(executor, abandoned)
        elif executor in self._free:
            self._free[executor] += 1
        self._made_room()

    def take_back(self, executor: str) -> None:
        """Take the slots again of an attempt that had released them while it waited for a run.

        Other attempts may have them by now: then the next slot is free when several have ended.
        """
        self._free_steps -= 1
        if executor in self._free:
            self._free[executor] -= 1

    def reclaim(self, executor: str) -> None:
        """Release what an abandoned handler still held, now that it has ended."""
        if executor == "thread" and self._strays[executor] > self._max_abandoned:
            self._free[executor] += 1
        self._strays[executor] -= 1
        self._made_room()

    def _abandon(self, executor: str, name: str) -> None:
        self._strays[executor] += 1
        if executor != "thread" or self._strays[executor] <= self._max_abandoned:
            if executor in self._free:
                self._free[executor] += 1
            logger.warning(
                "%s is still running (%s), since nothing can stop it; its result will be ignored. "
                "Such handlers: %d",
                name,
                executor,
                self.strays,
            )
        else:
            logger.error(
                "%s is still running. %d threads outlive their attempts; new thread steps wait "
                "until some end. A thread can't be killed: let the handler look at ctx.cancelled, "
                "or give its calls timeouts of their own",
                name,
                self._strays[executor],
            )

    def _take(self, executor: str) -> bool:
        if self._free_steps < 1 or self._free.get(executor, 1) < 1:
            return False
        self._free_steps -= 1
        if executor in self._free:
            self._free[executor] -= 1
        return True

    def _made_room(self) -> None:
        for queue in self._waiting.values():
            if queue:
                self._serve()
                break
        self.limits.made_room()

    def _serve(self) -> None:
        """Give free slots to the tickets that came first, of those that can be served."""
        progress = True
        while progress:
            progress = False
            for _, executor in sorted(
                (q[0].arrival, name) for name, q in self._waiting.items() if q
            ):
                ticket = self._waiting[executor][0]
                wanted = ticket.is_wanted
                if wanted and not self._take(executor):
                    continue
                self._waiting[executor].popleft()
                if ticket.step.spec.limits:
                    self._limited[executor] -= 1
                    self.limits.made_room()
                if wanted:
                    ticket.run.granted(ticket.step)
                elif ticket.step.spec.limits:
                    self.limits.release(ticket.step)
                progress = True
                break


class Limits:
    """The limits that steps of this engine hold and wait for, and the questions to the store.

    Args:
        admission: knows how many steps may have their limits, and takes over those that have them.
        store: where all workers ask.
        worker_id: this one.
        clock: the engine's.
    """

    def __init__(self, admission: Admission, store: Store, worker_id: str, clock: Times) -> None:
        self._admission = admission
        self._store = store
        self._worker_id = worker_id
        self._clock = clock
        self._queues: dict[Key, deque[Ticket]] = {}
        self._held: Counter[str] = Counter()
        self._known: Counter[str] = Counter()  # what the store has as held by us
        self._unbegun: dict[int, RunStep] = {}  # admitted, by identity, until their handlers begin
        self._began: dict[str, float] = {}  # the latest start by limit that the store doesn't know
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._crowded = False  # whether some didn't ask since there was no slot for them
        self._timer: TimerHandle | None = None
        self._release_timer: TimerHandle | None = None
        self._delay = _POLL[0]
        self._warned: set[tuple[Limit, Limit]] = set()
        self._closed = False

    def wait(self, ticket: Ticket) -> None:
        """Queue a step for its limits."""
        spec = ticket.step.spec
        queue = self._queues.setdefault((spec.limits, spec.executor), deque())
        queue.append(ticket)
        if len(queue) == 1:  # else those before it have asked, or wait for the time to ask
            self._ask()

    def release(self, command: RunStep) -> None:
        """Release the limits of a step."""
        if self._closed:
            return
        names = {limit.name for limit in command.spec.limits}
        self._unbegun.pop(id(command), None)
        self._held.subtract(names)
        self._changed(names)

    def began(self, command: RunStep) -> None:
        """Count the rates of a step from now, when its handler begins.

        If the store is slow, that may be long after the step was admitted.
        """
        if self._unbegun.pop(id(command), None) is None or self._closed:
            return
        paced = {limit.name for limit in command.spec.limits if limit.window is not None}
        if paced:
            self._began.update(dict.fromkeys(paced, self._clock.now()))
            # If a timer runs, the store has named the time: what has begun makes room no earlier.
            self._changed(paced if self._timer is None else set())

    def _changed(self, names: set[str]) -> None:
        """Ask at once if steps here wait for these limits, else soon, for other workers' sake."""
        if any(limit.name in names for limits, _ in self._queues for limit in limits):
            self._ask()
        elif self._release_timer is None:
            with background():
                self._release_timer = self._clock.call_later(_RELEASE, self._ask)

    def made_room(self) -> None:
        """Ask for steps that did not ask for lack of a slot: one has become free."""
        if self._crowded:
            self._ask()

    def close(self) -> list[asyncio.Task[None]]:
        """Ask no more; return what still asks. The worker releases what is held at its end."""
        self._closed = True
        self._cancel_timers()
        return [] if self._task is None else [self._task]

    # ---- asking ---------------------------------------------------------------------------

    def _ask(self) -> None:
        self._again = True
        if self._closed or (self._task is not None and not self._task.done()):
            return
        self._task = asyncio.get_running_loop().create_task(self._run())

    def _ask_after(self, delay: float, *, looks: bool) -> None:
        """Ask later. ``looks``: only to see what others did, not since time makes room."""
        with background() if looks else nullcontext():
            self._timer = self._clock.call_later(delay, self._ask)

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._release_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._release_timer = None

    async def _run(self) -> None:
        while self._again and not self._closed:
            self._again = False
            self._cancel_timers()
            asked = self._next()
            held = +self._held
            began, self._began = self._began, {}
            if not asked and held == self._known and not began:
                return
            try:
                grant = await self._store.take_limits(
                    self._worker_id,
                    times=self._clock,
                    held=held,
                    requests=[request for _, request in asked],
                    unbegun=Counter(_names(self._unbegun.values())),
                    began=began,
                )
            except Exception:  # whatever it was: steps wait for the answer
                logger.exception("could not ask for limits; trying again")
                self._began = began | self._began
                self._ask_after(_AGAIN, looks=False)
                return
            self._known = held
            self._warn(asked, grant)
            self._take(asked, grant)

    def _next(self) -> list[tuple[Key, LimitRequest]]:
        """Return what to ask for next, in the order of arrival."""
        self._crowded = False
        first: list[tuple[int, Key, Ticket]] = []
        for key, queue in list(self._queues.items()):
            while queue and not queue[0].is_wanted:
                queue.popleft()
            if not queue:
                del self._queues[key]
                continue
            room = min(self._admission.room(key[1]), _AT_ONCE)
            if room < len(queue):
                self._crowded = True
            asking = itertools.islice(queue, max(int(room), 0))
            first += [(ticket.arrival, key, ticket) for ticket in asking]
        first.sort(key=lambda item: item[0])
        asked: list[tuple[Key, LimitRequest]] = []
        for key, same in itertools.groupby(first, key=lambda item: item[1]):
            defined_at = [ticket.run.defined_at for _, _, ticket in same]
            asked.append((key, LimitRequest(key[0], len(defined_at), max(defined_at))))
        return asked

    def _take(self, asked: list[tuple[Key, LimitRequest]], grant: LimitGrant) -> None:
        """Admit the steps that got their limits, and see when to ask again."""
        full: set[Key] = set()
        for (key, request), count in zip(asked, grant.counts, strict=True):
            self._let_in(key, count)
            if count < request.steps:
                full.add(key)
        others = [key for key in self._queues if key not in full]
        if any(self._admission.room(key[1]) >= 1 for key in others):
            self._again = True
        elif others:
            self._crowded = True  # those that came while the store was asked
        if any(grant.counts):
            self._delay = _POLL[0]
        if grant.contended:
            delay = min(self._delay, self._until(grant.ask_at))
            self._ask_after(delay, looks=grant.ask_at is None)
            self._delay = min(self._delay * 1.5, _POLL[1])
        elif grant.ask_at is not None:
            self._ask_after(self._until(grant.ask_at), looks=False)

    def _until(self, at: float | None) -> float:
        return float("inf") if at is None else at - self._clock.now()

    def _let_in(self, key: Key, count: int) -> None:
        names = [limit.name for limit in key[0]]
        self._known.update(dict.fromkeys(names, count))
        queue = self._queues.get(key, deque())
        while queue and count:
            ticket = queue.popleft()
            if ticket.is_wanted:
                count -= 1
                self._held.update(names)
                self._unbegun[id(ticket.step)] = ticket.step
                self._admission.admit_limited(ticket)
        if not queue:
            self._queues.pop(key, None)
        if count:  # they were cancelled meanwhile
            self._again = True

    def _warn(self, asked: list[tuple[Key, LimitRequest]], grant: LimitGrant) -> None:
        """Warn if a definition is in force that differs from that of a run here."""
        in_force = {limit.name: limit for limit in grant.in_force}
        for limit in {limit for key, _ in asked for limit in key[0]}:
            holds = in_force.get(limit.name, limit)
            if holds != limit and (limit, holds) not in self._warned:
                self._warned.add((limit, holds))
                logger.warning(
                    "limit %r is %s for some runs here, but a newer run defines it as %s; that "
                    "now holds for all; define it once, and let all workflows use that",
                    limit.name,
                    limit,
                    holds,
                )


def _names(commands: Iterable[RunStep]) -> Iterator[str]:
    return (limit.name for command in commands for limit in command.spec.limits)
