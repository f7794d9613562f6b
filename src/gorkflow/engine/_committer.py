"""Group commit: the transitions of all runs that are ready together share one transaction."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from gorkflow.errors import GorkflowError, StoreError
from gorkflow.store import Append, Immediate, NewRun, Written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence, Sized

    from gorkflow.engine._driver import Driver
    from gorkflow.store import Store

T = TypeVar("T", NewRun, Append)
Batch = tuple[list["Driver"], list[T]]
logger = logging.getLogger("gorkflow.engine")


class Committer:
    """Brings the transitions of drivers into the store, one batch after another.

    While one batch is being written, what becomes ready gathers for the next: the slower the disk,
    the larger the groups.
    """

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop, carried: Sized) -> None:
        self._store = store
        self._loop = loop
        self._immediate = store if isinstance(store, Immediate) else None
        self._ready: list[Driver] = []
        self._scheduled = False
        self._is_settling = False
        self._carried = carried
        self._task: asyncio.Task[None] | None = None

    def submit(self, driver: Driver) -> None:
        """Have the driver's next transition written. Call it once until ``committed``."""
        self._ready.append(driver)
        # Not at once: whatever else gets ready in this turn of the loop belongs to the same batch.
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._begin)

    def commit(self, driver: Driver) -> None:
        """Have the driver's next transition written now, where there is nothing to wait for.

        That is where the store answers at once, and no other run is carried: to take the same
        steps with many runs in turn is quicker than all steps with each. Else it is submitted.

        Only for a run in which nothing goes on, and where nothing comes after: the last act of a
        task or callback, or of what records a new run.
        """
        if self._immediate is None or self._is_settling or len(self._carried) > 1:
            self.submit(driver)
        else:
            self._write_now(self._immediate, [driver])

    async def drain(self) -> None:
        """Wait until nothing is left to write."""
        while self._ready or self._is_writing():
            if self._task is not None and self._is_writing():
                await asyncio.wait([self._task])
            else:
                self._begin()  # also where the program is being stopped, which cancels the task

    def _is_writing(self) -> bool:
        return self._task is not None and not self._task.done()

    def _begin(self) -> None:
        self._scheduled = False
        if self._is_writing():
            return  # it takes what is ready when it is done with its batch
        if self._immediate is None:
            self._task = self._loop.create_task(self._run())
            return
        drivers, self._ready = self._ready, []
        self._write_now(self._immediate, drivers)

    def _write_now(self, store: Immediate, drivers: list[Driver]) -> None:
        self._is_settling = True
        try:
            (creators, new), (appenders, appends) = self._collect(drivers)
            if new:
                self._settle(creators, _attempt(store.create_now, new))
            if appends:
                self._settle(appenders, _attempt(store.append_now, appends))
        finally:
            self._is_settling = False

    async def _run(self) -> None:
        while self._ready:
            drivers, self._ready = self._ready, []
            (creators, new), (appenders, appends) = self._collect(drivers)
            if new:
                self._settle(creators, await _attempt_async(self._store.create, new))
            if appends:
                self._settle(appenders, await _attempt_async(self._store.append, appends))

    @staticmethod
    def _collect(drivers: list[Driver]) -> tuple[Batch[NewRun], Batch[Append]]:
        new: Batch[NewRun] = [], []
        appends: Batch[Append] = [], []
        for driver in drivers:
            try:
                transition = driver.transition()
            except Exception as error:  # noqa: BLE001 - a bug in one run must not stop the others
                driver.broken(error)
                continue
            if type(transition) is Append:
                appends[0].append(driver)
                appends[1].append(transition)
            elif type(transition) is NewRun:
                new[0].append(driver)
                new[1].append(transition)
        return new, appends

    @staticmethod
    def _settle(drivers: list[Driver], results: list[Written] | Exception) -> None:
        if isinstance(results, Exception):
            for driver in drivers:
                driver.broken(results)
            return
        for driver, written in zip(drivers, results, strict=True):
            try:
                driver.committed(written)
            except Exception as error:  # noqa: BLE001 - as in _collect: say, no thread can be made
                driver.broken(error)


def _attempt(
    write: Callable[[Sequence[T]], list[Written]], batch: list[T]
) -> list[Written] | Exception:
    try:
        return write(batch)
    except Exception as error:  # noqa: BLE001 - whatever it was, nobody may wait for ever
        return _store_error(error)


async def _attempt_async(
    write: Callable[[Sequence[T]], Awaitable[list[Written]]], batch: list[T]
) -> list[Written] | Exception:
    try:
        return await write(batch)
    except Exception as error:  # noqa: BLE001 - as above
        return _store_error(error)


def _store_error(error: Exception) -> Exception:
    if isinstance(error, GorkflowError):
        return error
    logger.error("the store failed in a way it should not", exc_info=error)
    return StoreError(f"the store failed: {error!r}")
