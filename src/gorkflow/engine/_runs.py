"""The runs that an engine carries: started here, or taken over."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from gorkflow.engine._driver import duplicate
from gorkflow.errors import EngineClosedError
from gorkflow.events import RunCreated, RunStarted
from gorkflow.model import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from gorkflow.engine._driver import Driver
    from gorkflow.engine._runtime import Runtime

logger = logging.getLogger("gorkflow.engine")

_POLL = 0.02  # seconds between looks at whether everything has come to rest


class Runs:
    """The drivers of an engine, and which of them may run.

    Args:
        runtime: the engine's.
        max_runs: runs that may be live at a time; the others wait. ``None``: no limit.
        dropped: called with a run that this engine gave up though the store has it as ours.
    """

    def __init__(
        self, runtime: Runtime, *, max_runs: int | None, dropped: Callable[[Driver], None]
    ) -> None:
        self.drivers: dict[str, Driver] = {}
        self._runtime = runtime
        self._max_runs = max_runs
        self._dropped = dropped
        self._live: set[str] = set()
        self._waiting: deque[Driver] = deque()

    async def start(self, driver: Driver) -> None:
        """Record a new run and begin it; returns when it is durable.

        Raises:
            DuplicateRunError: the id is taken.
            EngineClosedError: the engine was closed before it was recorded.
            StoreError: the store failed; it was not recorded.
        """
        while (rival := self.drivers.get(driver.run_id)) is not None:
            # What a duplicate finds in the store must be whole; and if the rival could not be
            # recorded, the id is free again.
            if await asyncio.shield(rival.created) is None:
                driver.give_up()
                raise duplicate(driver.run_id)
            await asyncio.sleep(0)
        self.drivers[driver.run_id] = driver
        driver.post(RunCreated, "", None, driver.opening or ())
        if driver.row.worker_id is not None:
            self._admit(driver)
        error = await asyncio.shield(driver.created)
        if error is not None:
            raise error
        if driver.row.worker_id is None:
            driver.give_up()  # its part is done: a worker will carry the run

    def carry(self, driver: Driver) -> None:
        """Go on with a run that was taken over."""
        self.drivers[driver.run_id] = driver
        self._admit(driver)

    def _admit(self, driver: Driver) -> None:
        if self._max_runs is not None and len(self._live) >= self._max_runs:
            self._waiting.append(driver)
            return
        self._live.add(driver.run_id)
        if driver.machine.status is RunStatus.PENDING:
            now = self._runtime.clock.now()
            deadline = None if driver.timeout is None else now + driver.timeout
            driver.post(RunStarted, "", None, (deadline,))
        else:
            driver.resume()

    def ended(self, driver: Driver) -> None:
        """Forget a run that has ended or was given up, and let the next one begin."""
        if self.drivers.get(driver.run_id) is not driver:
            return
        del self.drivers[driver.run_id]
        self._live.discard(driver.run_id)
        if driver.is_broken:
            self._dropped(driver)
        while self._waiting and (self._max_runs is None or len(self._live) < self._max_runs):
            waiting = self._waiting.popleft()
            if not waiting.done.done() and not self._runtime.closing:
                self._admit(waiting)

    async def rest(self, grace: float) -> None:
        """Wait until no handler runs and nothing is being written, at most ``grace`` seconds."""
        clock = self._runtime.clock
        deadline = clock.monotonic() + grace
        # Polled: an event for it would cost something in every attempt, for this one moment.
        while any(d.busy for d in self.drivers.values()) and clock.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL)

    async def let_go(self, cleanup: float) -> None:
        """Give up every run, and wait for the handlers that are told to stop.

        Args:
            cleanup: seconds that they get.
        """
        error = EngineClosedError("the engine was closed before the run ended; recover() it")
        tasks = [task for d in self.drivers.values() for task in d.tasks()]
        for driver in list(self.drivers.values()):
            driver.give_up(error)
        if tasks:
            await asyncio.wait(tasks, timeout=cleanup)
