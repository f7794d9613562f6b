"""Group commit: the transitions of all runs that are ready together share one transaction."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from gorkflow.errors import GorkflowError, StoreError
from gorkflow.store import Append, NewRun, Written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gorkflow.engine._driver import Driver
    from gorkflow.store import Store

T = TypeVar("T", NewRun, Append)
logger = logging.getLogger("gorkflow.engine")


class Committer:
    """Brings the transitions of drivers into the store, one batch after another.

    While one batch is being written, what becomes ready gathers for the next: the slower the disk,
    the larger the groups.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ready: list[Driver] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, driver: Driver) -> None:
        """Have the driver's next transition written. Call it once until ``committed``."""
        self._ready.append(driver)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> None:
        """Wait until nothing is left to write."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._ready:
                drivers, self._ready = self._ready, []
                new: list[tuple[Driver, NewRun]] = []
                appends: list[tuple[Driver, Append]] = []
                for driver in drivers:
                    self._collect(driver, new, appends)
                await self._write(self._store.create, new)
                await self._write(self._store.append, appends)
        finally:
            self._task = None

    def _collect(
        self,
        driver: Driver,
        new: list[tuple[Driver, NewRun]],
        appends: list[tuple[Driver, Append]],
    ) -> None:
        try:
            transition = driver.transition()
        except Exception as error:  # noqa: BLE001 - a bug in one run must not stop the others
            driver.broken(error)
            return
        if isinstance(transition, NewRun):
            new.append((driver, transition))
        elif transition is not None:
            appends.append((driver, transition))

    async def _write(
        self,
        write: Callable[[Sequence[T]], Awaitable[list[Written]]],
        batch: list[tuple[Driver, T]],
    ) -> None:
        if not batch:
            return
        try:
            results = await write([transition for _, transition in batch])
        except GorkflowError as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may wait for ever
            logger.exception("the store failed in a way it should not")
            self._fail(batch, StoreError(f"the store failed: {error!r}"))
        else:
            for (driver, _), written in zip(batch, results, strict=True):
                driver.committed(written)

    @staticmethod
    def _fail(batch: list[tuple[Driver, T]], error: Exception) -> None:
        for driver, _ in batch:
            driver.broken(error)
