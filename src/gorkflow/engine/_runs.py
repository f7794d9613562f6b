"""The live runs of an engine: started here, or taken over."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from gorkflow.engine._row import NOT_RECORDED, duplicate
from gorkflow.errors import EngineClosedError, LeaseLostError, StoreCorruptError
from gorkflow.model import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gorkflow.engine._driver import Driver
    from gorkflow.engine._registry import Own
    from gorkflow.engine._runtime import Runtime
    from gorkflow.store import Message, RunRow

logger = logging.getLogger("gorkflow.engine")
PENDING = RunStatus.PENDING

LEFT = "the engine was closed before the run ended; recover() it"
LEFT_RUNS = "left_runs"
"""The field of the log records about what is left when an engine closes: the ids of the runs."""
FAILED_HOOK = "failed_hook"
"""The field of the log records about a call that is to be made again: the id of its run."""
_POLL = 0.02  # seconds between looks at whether everything has come to rest
_SUSPECT = 3  # dead workers in a row from which on a run may be what kills them
_PROBATION = 60.0  # seconds after which a suspect that did no harm lets the next one in


class Runs:
    """The runs of an engine: those that it has, that wait here for a place, and that it wants.

    A run in ``drivers`` is owned here. It leaves when it has ended, is suspended, or
    can no longer continue here. One that is to come back is in ``resting``, ``stopped`` or
    ``followed`` until then.

    Args:
        runtime: the engine's.
        drivers: takes the runs that this engine owns, by id.
        max_runs: runs that may be live at a time; the others wait. ``None``: no limit.
        own: takes the definitions of runs that leave.
        over: called with the row of a run that has ended, if hooks are to be called.
        dropped: called with a run that this engine abandoned though the store has it as ours.
        room: called when a run has left and none that waits here took its place.
        freed: called when a run has ended that others may wait for, in line for its resource.
    """

    def __init__(
        self,
        runtime: Runtime,
        drivers: dict[str, Driver],
        *,
        max_runs: int | None,
        own: Own,
        over: Callable[[RunRow], None],
        dropped: Callable[[Driver], None],
        room: Callable[[], None],
        freed: Callable[[], None],
    ) -> None:
        self.drivers = drivers
        self._runtime = runtime
        self._max_runs = max_runs
        self._own = own
        self._over = over
        self._dropped = dropped
        self._room = room
        self._freed = freed
        self._live: set[str] = set()
        self.inside: set[str] = set()
        """Runs that steps started or wait for: they need no place of their own."""
        self.resting: dict[str, None] = {}
        """Runs that were suspended here, or queued, and have not come back."""
        self.left: list[str] = []
        """Runs that had not ended when the engine was closed."""
        self.stopped: set[str] = set()
        """Runs that the lease stopped, to be continued here if no other worker has them."""
        self.followed: set[str] = set()
        """Runs to be taken over as soon as their workers are gone."""
        self.coming: set[str] = set()
        """Runs that are being taken over."""
        self._early: list[Message] = []
        self._cleaning: set[asyncio.Task[None]] = set()  # of handlers that outlive their runs
        self._arrivals = itertools.count()
        self._waiting: list[tuple[int, int, Driver]] = []
        self._suspects = Suspects(runtime, self._admit)
        self.rest_until = float("inf")
        """When the grace of closing is over, by the monotonic clock."""

    def room(self) -> int:
        """Return how many more runs can be live now."""
        if self._max_runs is None:
            return sys.maxsize
        return max(0, self._max_runs - len(self.drivers))

    async def start(self, driver: Driver) -> None:
        """Record a new run and begin it; returns when it is durable.

        Raises:
            DuplicateRunError: If the id is taken.
            ResourceBusyError: If another live run has the resource.
            EngineClosedError: If the engine was closed before it was recorded.
            StoreError: If the store failed; it was not recorded.
        """
        while (rival := self.drivers.get(driver.run_id)) is not None:
            # What a duplicate finds in the store must be whole; and if the rival could not be
            # recorded, the id is free again.
            if await rival.created.wait() is None:
                driver.close()
                await asyncio.sleep(0)  # as below
                raise duplicate(driver.run_id)
            await asyncio.sleep(0)
        self._add(driver)
        if driver.row.worker_id is not None:
            self._when_due(driver, self._admit)
        self._runtime.committer.commit(driver)
        error = await driver.created.wait()
        if driver.done.is_set:
            # Rejected, left to others, or over already. A loop that starts such runs must not keep
            # other tasks from having a turn.
            await asyncio.sleep(0)
        if error is not None:
            raise error.with_traceback(None)  # shared by all that were to be recorded with it

    def resume(self, driver: Driver) -> None:
        """Continue a run that was taken over."""
        self._add(driver)
        self.resting.pop(driver.run_id, None)
        if _interruptions(driver) >= _SUSPECT:
            self._suspects.add(driver)
        else:
            self._when_due(driver, self._admit)

    def _add(self, driver: Driver) -> None:
        self.drivers[driver.run_id] = driver
        self._own.use(driver.run_id, driver.definition)
        driver.on_end = self.ended

    def _when_due(self, driver: Driver, admit: Callable[[Driver], None]) -> None:
        """Admit a run; one whose start was delayed, when that is over."""
        due = driver.row.due_at
        pending = driver.machine.status is PENDING
        if pending and due is not None and due > self._runtime.clock.now():
            driver.timers.set_turn(due, partial(admit, driver))
        else:
            admit(driver)

    def _admit(self, driver: Driver) -> None:
        if driver.done.is_set or self._runtime.closing:
            return
        if self._is_full() and driver.run_id not in self.inside:
            place = (-driver.row.priority, next(self._arrivals), driver)
            heapq.heappush(self._waiting, place)
            return
        self._live.add(driver.run_id)
        driver.begin()

    def _is_full(self) -> bool:
        return self._max_runs is not None and len(self._live) >= self._max_runs

    def let_in(self, run_id: str) -> None:
        """Let a run begin beyond the limit, now or when it comes here: a step has to do with it."""
        self.inside.add(run_id)
        for place in self._waiting:
            if place[2].run_id == run_id:
                self._waiting.remove(place)
                heapq.heapify(self._waiting)
                self._admit(place[2])
                return

    def ended(self, driver: Driver) -> None:
        """Forget a run that has ended or was abandoned, and let the next one begin."""
        if self.drivers.get(driver.run_id) is not driver:
            return
        del self.drivers[driver.run_id]
        self._live.discard(driver.run_id)
        for task in driver.tasks():
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)
        self._suspects.left(driver)
        why = driver.done.result()
        if driver.machine.status.terminal and why is None:
            self._own.end(driver.run_id, driver.definition)
        elif isinstance(why, NOT_RECORDED):
            self._own.drop(driver.run_id)
        else:
            self._own.keep(driver.run_id, driver.definition)  # it may come back
        if why is None:
            self._runtime.asleep.put(driver.row, driver.run)
        elif not isinstance(why, NOT_RECORDED | EngineClosedError):
            self._dropped(driver)  # given up here, though the store may still have it as ours
        self._remember(driver)
        if driver.row.hooks and why is None:
            self.over(driver.row)
        while self._waiting and not self._is_full():
            self._admit(heapq.heappop(self._waiting)[2])
        if not self._waiting:
            self._room()

    def over(self, row: RunRow) -> None:
        """Have the hooks of a run called, if it has ended."""
        if row.hooks and row.status.terminal:
            self._over(row)

    def _remember(self, driver: Driver) -> None:
        """Record a run that has not ended."""
        why = driver.done.result()
        if driver.machine.status.terminal:
            self.inside.discard(driver.run_id)
            if driver.row.resource_id is not None:
                self._freed()
        elif why is None:
            self.resting[driver.run_id] = None
        elif isinstance(why, EngineClosedError) and driver.opening is None:
            self.left.append(driver.run_id)

    # ---- the lease ------------------------------------------------------------------------

    def on_lost(self) -> None:
        """Stop every run, since the lease could not be renewed."""
        for run_id, driver in list(self.drivers.items()):
            if driver.created.is_set:
                self.stopped.add(run_id)
                driver.broken(
                    LeaseLostError(run_id, f"the lease on run {run_id!r} could not be renewed")
                )

    async def on_lapsed(self) -> None:
        """Stop the runs that others have taken over while the lease did not hold.

        Raises:
            StoreError: If the store failed.
        """
        store, mine = self._runtime.store, [*self.drivers.items()]
        rows = await store.get_runs([run_id for run_id, driver in mine if driver.created.is_set])
        for run_id, driver in mine:
            if not driver.created.is_set:
                continue
            try:
                row = rows.get(run_id) or await store.get_run(run_id)
            except StoreCorruptError as error:
                driver.broken(error)  # no worker can run it; the others are no worse for it
                continue
            if row is not None and row.token == driver.row.token:
                if row.worker_id == self._runtime.worker_id:
                    continue
                self.stopped.add(run_id)  # released, but not taken
                lost = f"the lease on run {run_id!r} ended while this process did not run"
            else:
                lost = f"another worker took over run {run_id!r} while this process did not run"
            driver.broken(LeaseLostError(run_id, lost))

    def clock_was_set(self, by: float) -> None:
        """Have every run know that the time of day was set by so many seconds."""
        for driver in list(self.drivers.values()):
            driver.clock_was_set(by)

    def deliver(self, messages: Sequence[Message]) -> None:
        """Give messages to their runs."""
        again, self._early = self._early, []
        for message in (*again, *messages):
            driver = self.drivers.get(message.run_id)
            if driver is not None:
                driver.receive((message,))
            elif message.run_id in self.coming or message not in again:
                self._early.append(message)  # its run was claimed: once more, when it is here

    # ---- closing --------------------------------------------------------------------------

    async def rest(self, leave: Callable[[Driver], None]) -> None:
        """Wait until no handler runs and nothing is being written, or the grace is over.

        Args:
            leave: called with each run as soon as it has come to rest.
        """
        clock = self._runtime.clock
        while True:
            for driver in list(self.drivers.values()):
                if not driver.busy:
                    leave(driver)
            if not self.drivers or clock.monotonic() >= self.rest_until:
                return
            # Polled: an event for it would cost something in every attempt, for this one moment.
            await asyncio.sleep(_POLL)

    def hurry(self, grace: float) -> None:
        """Shorten what is left of the grace to this many seconds."""
        self.rest_until = min(self.rest_until, self._runtime.clock.monotonic() + grace)

    def abandon(self) -> list[asyncio.Task[None]]:
        """Abandon every run; return the tasks of handlers that were cancelled, now or before."""
        for driver in list(self.drivers.values()):
            driver.close(EngineClosedError(LEFT))
        return [*self._cleaning]


class Suspects:
    """Runs that may be what kills their workers: they run one at a time.

    A step that takes its process down interrupts the innocent around it as often as itself. Alone,
    only the guilty one is interrupted again, until it has failed for it; the others continue.
    """

    def __init__(self, runtime: Runtime, admit: Callable[[Driver], None]) -> None:
        self._runtime = runtime
        self._admit = admit
        self._arrivals = itertools.count()
        self._waiting: list[tuple[int, int, Driver]] = []
        self._current: Driver | None = None

    def add(self, driver: Driver) -> None:
        """Continue a run when its turn comes: those interrupted least go first."""
        place = (_interruptions(driver), next(self._arrivals), driver)
        heapq.heappush(self._waiting, place)
        logger.warning(
            "run %r lost its worker %d times in a row in the same step; it continues when no other "
            "such run is on probation here",
            driver.run_id,
            place[0],
        )
        # Not at once: of those that are claimed together, the one interrupted least goes first.
        self._runtime.loop.call_soon(self._next)

    def left(self, driver: Driver) -> None:
        """Record that a run has ended, was released, or has done no harm for long enough."""
        if driver is self._current:
            self._current = None
            self._next()

    def _next(self) -> None:
        while self._waiting and self._current is None:
            driver = heapq.heappop(self._waiting)[2]
            if not driver.done.is_set:
                self._current = driver
                clock = self._runtime.clock
                driver.timers.set_turn(clock.now() + _PROBATION, partial(self.left, driver))
                self._admit(driver)


def _interruptions(driver: Driver) -> int:
    """Return how often in a row a worker died in a step of the run, the latest time included."""
    return driver.machine.interruptions(died=driver.row.orphaned)
