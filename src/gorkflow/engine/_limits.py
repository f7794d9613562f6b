"""Named limits: steps that wait for them, and the one conversation with the store about them.

A step asks for all of its limits at once, and for the engine's own slot last. Nobody holds a slot
while waiting for a limit, so limits never keep other steps from running; and who holds a limit
waits for nothing but a slot, which is freed by steps that wait for nothing: so there is no
deadlock. While no slot is free, nobody asks, and other workers may have the limits; unless steps
without limits queue for slots, too: then one step per kind of slot gets its limits in advance, or
it would never be the first to take a slot.

Steps that need the same limits form a queue. However long the queues are, one question asks for all
of them, and only when the answer may be another: when a step here gave something back, when the
time has come that the store named, and, while other workers hold what is lacking, now and then.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter, deque
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gorkflow.clock import background
from gorkflow.limits import LimitRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gorkflow.clock import TimerHandle
    from gorkflow.engine._slots import Slots
    from gorkflow.engine._times import Times
    from gorkflow.limits import LimitGrant
    from gorkflow.machine import RunStep
    from gorkflow.policy import Limit
    from gorkflow.store import Store

logger = logging.getLogger("gorkflow.engine")

_AT_ONCE = 64
"""Steps of one queue that ask together."""
_POLL = (0.2, 0.5)
"""Seconds between questions while others hold what is lacking: first, and at most."""
_GIVE_BACK = 0.1
"""Seconds that what nobody here waits for may stay held, so that many are given back at once."""
_AGAIN = 1.0
"""Seconds until the next question after the store failed."""


class Applicant(Protocol):
    """A run whose steps ask to be let in."""

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


Key = tuple[tuple["Limit", ...], str]


class _Asked(NamedTuple):
    key: Key
    request: LimitRequest


class Limits:
    """The limits that steps of this engine need.

    Args:
        store: where all workers ask.
        worker_id: this one.
        clock: the engine's.
        slots: tell how many may have their limits, and take them over.
    """

    def __init__(self, store: Store, worker_id: str, clock: Times, slots: Slots) -> None:
        self._store = store
        self._worker_id = worker_id
        self._clock = clock
        self._slots = slots
        self._queues: dict[Key, deque[Ticket]] = {}
        self._held: Counter[str] = Counter()
        self._unbegun: dict[int, RunStep] = {}
        """Steps that were let in, by identity, until their handlers begin."""
        self._began: dict[str, float] = {}
        """When the latest step began, by limit, as long as the store was not told."""
        self._told: Counter[str] = Counter()
        """What the store has as held by us."""
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._crowded = False
        """Whether some didn't ask since there was no slot for them."""
        self._timer: TimerHandle | None = None
        self._give_back_timer: TimerHandle | None = None
        self._delay = _POLL[0]
        self._warned: set[tuple[Limit, Limit]] = set()
        self._closed = False

    def wait(self, ticket: Ticket) -> None:
        """Have a step wait for its limits."""
        spec = ticket.step.spec
        queue = self._queues.setdefault((spec.limits, spec.executor), deque())
        queue.append(ticket)
        if len(queue) == 1:  # else those before it have asked, or wait for the time to ask
            self._ask()

    def give_back(self, command: RunStep) -> None:
        """Take note that a step that got its limits needs them no more."""
        if not command.spec.limits or self._closed:
            return
        names = {limit.name for limit in command.spec.limits}
        self._unbegun.pop(id(command), None)
        self._held.subtract(names)
        if self._is_waited_for(names):
            self._ask()
        else:
            self._tell_soon()

    def began(self, command: RunStep) -> None:
        """Take note that the handler begins of a step that got its limits: a rate counts from now.

        Where the store is slow, that may be long after it was let in.
        """
        if self._unbegun.pop(id(command), None) is None or self._closed:
            return
        paced = {limit.name for limit in command.spec.limits if limit.window is not None}
        if not paced:
            return
        self._began.update(dict.fromkeys(paced, self._clock.now()))
        if self._timer is None and self._is_waited_for(paced):
            self._ask()  # time made no room for those while it had not begun
        else:
            self._tell_soon()

    def _is_waited_for(self, names: set[str]) -> bool:
        return any(limit.name in names for limits, _ in self._queues for limit in limits)

    def _tell_soon(self) -> None:
        """Tell the store what has changed, for the sake of other workers."""
        if self._give_back_timer is None:
            with background():
                self._give_back_timer = self._clock.call_later(_GIVE_BACK, self._ask)

    def made_room(self) -> None:
        """Take note that a slot has become free."""
        if self._crowded:
            self._ask()

    def close(self) -> list[asyncio.Task[None]]:
        """Ask no more; return what still asks. What is held, the worker gives back at its end."""
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
        for timer in (self._timer, self._give_back_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._give_back_timer = None

    async def _run(self) -> None:
        while self._again and not self._closed:
            self._again = False
            self._cancel_timers()
            asked = self._next()
            held = +self._held
            began, self._began = self._began, {}
            if not asked and held == self._told and not began:
                return
            try:
                grant = await self._store.take_limits(
                    self._worker_id,
                    times=self._clock,
                    held=held,
                    requests=[item.request for item in asked],
                    unbegun=Counter(_names(self._unbegun.values())),
                    began=began,
                )
            except Exception:  # whatever it was: steps wait for the answer
                logger.exception("could not ask for limits; trying again")
                self._began = began | self._began
                self._ask_after(_AGAIN, looks=False)
                return
            self._told = held
            self._warn(asked, grant)
            self._take(asked, grant)

    def _next(self) -> list[_Asked]:
        """Return the next steps to ask for, in the order of their arrival."""
        self._crowded = False
        heads: list[tuple[int, int, Key, float]] = []
        for key, queue in list(self._queues.items()):
            while queue and not queue[0].run.wants(queue[0].step):
                queue.popleft()
            if not queue:
                del self._queues[key]
                continue
            room = min(self._slots.room(key[1]), _AT_ONCE)
            if room >= 1:
                heads.append((queue[0].arrival, 0, key, min(room, len(queue))))
            if room < len(queue):
                self._crowded = True
        heapq.heapify(heads)
        asked: list[_Asked] = []
        while heads:
            _, index, key, most = heads[0]
            self._add(asked, key, self._queues[key][index].run.defined_at)
            if index + 1 < most:
                arrival = self._queues[key][index + 1].arrival
                heapq.heapreplace(heads, (arrival, index + 1, key, most))
            else:
                heapq.heappop(heads)
        return asked

    @staticmethod
    def _add(asked: list[_Asked], key: Key, defined_at: float) -> None:
        """Ask for one step more."""
        if asked and asked[-1].key == key:
            last = asked[-1].request
            newest = max(last.defined_at, defined_at)
            request = last._replace(steps=last.steps + 1, defined_at=newest)
            asked[-1] = _Asked(key, request)
        else:
            asked.append(_Asked(key, LimitRequest(key[0], 1, defined_at)))

    def _take(self, asked: list[_Asked], grant: LimitGrant) -> None:
        """Let in those who got their limits, and see when to ask again."""
        refused: set[Key] = set()
        for (key, request), count in zip(asked, grant.counts, strict=True):
            self._let_in(key, count)
            if count < request.steps:
                refused.add(key)
        others = [key for key in self._queues if key not in refused]
        if any(self._slots.room(key[1]) >= 1 for key in others):
            self._again = True
        elif others:
            self._crowded = True  # those who came while the store was asked
        if any(grant.counts):
            self._delay = _POLL[0]
        if grant.contended:
            delay = min(self._delay, self._until(grant.ask_at))
            self._ask_after(delay, looks=grant.ask_at is None)
            self._delay = min(self._delay * 1.5, _POLL[1])
        elif grant.ask_at is not None:
            self._ask_after(self._until(grant.ask_at), looks=False)

    def _until(self, at: float | None) -> float:
        """Return the seconds until time makes room, however the time of day is set meanwhile."""
        return float("inf") if at is None else at - self._clock.now()

    def _let_in(self, key: Key, count: int) -> None:
        names = [limit.name for limit in key[0]]
        self._told.update(dict.fromkeys(names, count))
        queue = self._queues.get(key, deque())
        while queue and count:
            ticket = queue.popleft()
            if ticket.run.wants(ticket.step):
                count -= 1
                self._held.update(names)
                self._unbegun[id(ticket.step)] = ticket.step
                self._slots.admit_limited(ticket)
        if not queue:
            self._queues.pop(key, None)
        if count:  # they were cancelled meanwhile
            self._again = True

    def _warn(self, asked: list[_Asked], grant: LimitGrant) -> None:
        """Say it when another definition holds than that of a run here."""
        in_force = {limit.name: limit for limit in grant.in_force}
        for limit in {limit for key, _ in asked for limit in key[0]}:
            holds = in_force.get(limit.name, limit)
            if holds != limit and (limit, holds) not in self._warned:
                self._warned.add((limit, holds))
                logger.warning(
                    "limit %r is %s for some runs here, but a newer run defines it as %s, which "
                    "now holds for all; define it once, and let all workflows use that",
                    limit.name,
                    limit,
                    holds,
                )


def _names(commands: Iterable[RunStep]) -> Iterator[str]:
    return (limit.name for command in commands for limit in command.spec.limits)
