"""Starting what is due: workers look for schedules with each heartbeat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container
from dataclasses import replace
from typing import TYPE_CHECKING

from gorkflow.engine._claims import AHEAD
from gorkflow.engine._start import StartOptions, driver_for
from gorkflow.errors import DuplicateRunError, ResourceBusyError
from gorkflow.model import instant
from gorkflow.schedule import TAG, ScheduleRow, due, mended, run_id_of

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runs import Runs
    from gorkflow.engine._runtime import Runtime

logger = logging.getLogger("gorkflow.engine")

_MEND_EVERY = 60.0  # seconds between looks for schedules that a wrong clock has moved


class Scheduler:
    """Starts the runs of schedules, one for each due time over all workers.

    First the runs are recorded, under ids made of the schedule's and the due time; then the
    schedule is moved on, if no other worker was faster. Whoever dies in between, or is second,
    has the store say of each run that it exists already.

    Args:
        runtime: the engine's.
        registry: the workflows it knows.
        runs: those that it carries.
    """

    def __init__(self, runtime: Runtime, registry: Registry, runs: Runs) -> None:
        self._runtime = runtime
        self._registry = registry
        self._runs = runs
        self._told: dict[str, str] = {}
        self._moved = runtime.clock.moved
        self._mend_at = float("-inf")

    async def start_due(self, workflow_ids: Container[str]) -> None:
        """Start what is due soon, or was while nobody looked.

        Args:
            workflow_ids: whose schedules this engine looks after.
        """
        if self._runtime.closing:
            return
        clock = self._runtime.clock
        await self._mend(workflow_ids)
        for row in await self._runtime.store.schedules(due_by=clock.now() + AHEAD):
            definition = self._registry.get(row.workflow_id)
            if definition is None or row.workflow_id not in workflow_ids:
                continue
            try:
                await self._start(row, definition, clock.now())
            except Exception as error:  # noqa: BLE001 - one that breaks must not stop the others
                self._tell(row, error)

    async def _mend(self, workflow_ids: Container[str]) -> None:
        """Put right what is due far later than its rule says: the clock was wrong once.

        Looked for now and then, and as soon as the clock was set.
        """
        clock = self._runtime.clock
        if clock.moved == self._moved and clock.monotonic() < self._mend_at:
            return
        self._moved, self._mend_at = clock.moved, clock.monotonic() + _MEND_EVERY
        for row in await self._runtime.store.schedules():
            if row.paused or row.workflow_id not in workflow_ids:
                continue
            try:
                next_due = mended(row, clock.now(), AHEAD)
                if next_due is None:
                    continue
                moved = replace(row, next_due=next_due, revision=row.revision + 1)
                if await self._runtime.store.put_schedule(moved):
                    logger.warning(
                        "schedule %r was next due at %s, since a clock was wrong once; by its rule "
                        "it is due at %s, and starts then",
                        row.schedule_id,
                        instant(row.next_due),
                        instant(next_due),
                    )
            except Exception as error:  # noqa: BLE001 - one that breaks must not stop the others
                self._tell(row, error)

    async def _start(self, row: ScheduleRow, definition: Definition, now: float) -> None:
        starts, following = due(row, now, AHEAD)
        room = self._runs.room()  # what doesn't fit here is left to whoever has room
        started = await asyncio.gather(
            *(
                self._start_one(row, definition, at, claimed=index < room)
                for index, at in enumerate(starts)
            ),
            return_exceptions=True,
        )
        for at, error in zip(starts, started, strict=True):
            if isinstance(error, ResourceBusyError):
                if at > now:  # the earlier run may end before that
                    following = at
                    break
                logger.info(
                    "schedule %r starts no run for %s: an earlier one has not ended",
                    row.schedule_id,
                    instant(at),
                )
            elif error is not None:
                raise error
        if row.next_due not in starts and following != row.next_due:
            logger.warning(
                "schedule %r was due at %s and nobody looked; catch_up=%r starts %d late",
                row.schedule_id,
                instant(row.next_due),
                row.catch_up,
                sum(at <= now for at in starts),
            )
        if following != row.next_due:
            moved = replace(row, next_due=float(following), revision=row.revision + 1)
            await self._runtime.store.put_schedule(moved)

    async def _start_one(
        self, row: ScheduleRow, definition: Definition, at: int, *, claimed: bool
    ) -> None:
        """Record the run for one due time, which begins then; it may be there already."""
        options: StartOptions = {
            "run_id": run_id_of(row.schedule_id, at),
            "tags": {**dict(row.tags), TAG: row.schedule_id},
            "priority": row.priority,
            "delay": max(0.0, at - self._runtime.clock.now()),
        }
        if row.overlap == "skip":
            options["resource_id"] = f"{TAG}:{row.schedule_id}"
            options["exclusive"] = True
        driver = driver_for(self._runtime, definition, row.input, options, claimed=claimed)
        try:
            await self._runs.start(driver)
        except DuplicateRunError:
            return

    def _tell(self, row: ScheduleRow, error: Exception) -> None:
        """Say once what is the matter; it is tried again with each heartbeat."""
        text = f"{type(error).__name__}: {error}"
        if self._told.get(row.schedule_id) != text:
            self._told[row.schedule_id] = text
            logger.error("schedule %r can't start its run: %s", row.schedule_id, text)
