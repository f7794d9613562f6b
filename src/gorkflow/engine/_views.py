"""The questions that an engine answers about runs, wherever they live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Never, overload

from gorkflow._text import brief
from gorkflow.engine._given import run_id_of
from gorkflow.engine._part import Part
from gorkflow.engine._within import calling, waiting
from gorkflow.errors import LeaseLostError, RunBlockedError
from gorkflow.events import Event
from gorkflow.listing import Page, RunFilter
from gorkflow.model import Run, StepExecution

if TYPE_CHECKING:
    from collections.abc import Callable

    from gorkflow.engine._watch import Ended
    from gorkflow.step import StepDefaults
    from gorkflow.workflow import Workflow


_LARGEST = 2**63 - 1


class EventFeed:
    """The events of all runs, as they are recorded: ``async for event in engine.events()``.

    Args:
        read: iterates over pages of events after a cursor, each with the cursor after it.
        after: where to begin; empty: with the first event there is.
    """

    def __init__(
        self, read: Callable[[str], AsyncIterator[tuple[list[Event], str]]], after: str
    ) -> None:
        self._read = read
        self.cursor = after
        """Where to go on later: ``engine.events(after=cursor)``. All events before it were handed
        out; it moves by pages, so up to a thousand that were, too, may come again."""

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Hand out what is there, then what comes, for ever."""
        async for events, cursor in self._read(self.cursor):
            for event in events:
                yield event
            self.cursor = cursor


class Views(Part):
    """The part of ``Engine`` that looks and never changes anything."""

    @property
    def workflows(self) -> tuple[Workflow[Any, Any], ...]:
        """The workflows that this engine knows: given to it, or started through it."""
        return self._registry.workflows()

    @property
    def defaults(self) -> StepDefaults | None:
        """The options that steps inherit from this engine."""
        return self._registry.defaults

    async def get_run(self, run_id: str) -> Run:
        """Return a run in full.

        Raises:
            RunNotFoundError: there is no such run.
            StoreCorruptError: what is stored of it can't be read.
        """
        self._opened()
        return await self._watch.get_run(run_id_of(run_id))

    async def list_runs(self, query: RunFilter | None = None, **options: Never) -> Page[Run]:
        """Return one page of runs, newest first, without their inputs and outputs.

        Args:
            query: which runs; without it, the newest of all.
            options: there are none: what restricts the list is a field of ``RunFilter``.

        Raises:
            ValueError: the filter's limit or cursor is not valid.
            TypeError: it is no ``RunFilter``.
        """
        if options or not isinstance(query, RunFilter | None):
            name = next(iter(options), "status")
            raise TypeError(
                f"the query of list_runs is a RunFilter: write list_runs(RunFilter({name}=…)), "
                f"which has the fields {', '.join(each.name for each in fields(RunFilter))}"
            )
        self._opened()
        return await self._watch.list_runs(query or RunFilter())

    async def steps(self, run_id: str) -> list[StepExecution]:
        """Return all steps of a run in declared order, those not reached yet too.

        Raises:
            RunNotFoundError: there is no such run.
        """
        self._opened()
        return await self._watch.steps(run_id_of(run_id))

    @overload
    def events(self, run_id: str, *, after: int = 0) -> AsyncIterator[Event]: ...
    @overload
    def events(self, *, after: str = "") -> EventFeed: ...
    def events(
        self, run_id: str | None = None, *, after: int | str | None = None
    ) -> AsyncIterator[Event] | EventFeed:
        """Iterate over events as they are recorded: of one run, until it has ended, or of all.

        Args:
            run_id: the run; without it, those of all runs in the order they were recorded, whoever
                carries them. That goes on for ever.
            after: where to go on: for one run, the ``seq`` up to which events are skipped; for
                all, the ``cursor`` of an earlier ``EventFeed``.

        Raises:
            RunNotFoundError: there is no such run (raised by the first step of the iteration).
            DeadlockError: If a step would wait for the next event of a run that needs a limit
                which the step holds (raised by the iteration).
            TypeError: ``after`` is the wrong one of the two.
            ValueError: it is no cursor (raised by the first step of the iteration).
        """
        service, _ = self._opened()
        if run_id is None:
            if not isinstance(after, str | None):
                raise TypeError(
                    f"after={brief(after)} is a seq, and that belongs to a run: give its run_id"
                )
            return EventFeed(self._watch.feed, after or "")
        if isinstance(after, str):
            raise TypeError(f"after={brief(after)} is a cursor over all runs; of one, give a seq")
        if isinstance(after, bool) or not isinstance(after, int | None):
            raise TypeError(f"after must be a seq, a whole number, not {brief(after)}")
        run_id_of(run_id)
        if calling() is not None:
            service.let_in(run_id)
        # No seq is larger, nor below 0; and a database's ints have 64 bits.
        return self._watch.events(run_id, min(max(after or 0, 0), _LARGEST))

    async def wait(
        self, run_id: str, *, workflow_id: str | None = None, wait_blocked: bool = False
    ) -> Ended:
        """Wait until a run has ended, here or elsewhere, and return how.

        Args:
            run_id: the run.
            workflow_id: the workflow that it is believed to be of; ``None``: of any.
            wait_blocked: wait on where the code at hand can't go on with the run, until other code
                ends it.

        Raises:
            RunBlockedError: If the code at hand can't go on with the run; says why.
            RunNotFoundError: there is no such run.
            RunError: it is of another workflow.
            DeadlockError: a step waits for it that holds a limit which it needs.
        """
        service, _ = self._opened()
        run_id_of(run_id)
        if workflow_id is not None:
            await self._watch.check_workflow(run_id, workflow_id)
        driver = service.runs.drivers.get(run_id)
        if calling() is not None and (driver is None or not driver.done.is_set):
            await self._watch.check_limits(run_id)
            service.let_in(run_id)
        with waiting():
            return await self._wait(run_id, wait_blocked=wait_blocked)

    async def _wait(self, run_id: str, *, wait_blocked: bool) -> Ended:
        service, _ = self._opened()
        while True:
            driver = service.runs.drivers.get(run_id)
            if driver is not None:
                error = await driver.done.wait()
                if isinstance(error, LeaseLostError) or (
                    wait_blocked and isinstance(error, RunBlockedError)
                ):
                    driver = None  # it was given up here: somebody else ends it
                elif error is not None:
                    raise error
            elif not wait_blocked:
                await self._check_code(run_id)
            try:
                return await self._watch.ended(run_id, driver, wait_blocked=wait_blocked)
            except RunBlockedError:
                if not await self._looks_again(run_id):
                    raise

    async def _check_code(self, run_id: str) -> None:
        """Check that a run that sleeps can go on with the code here: nobody has looked yet.

        Raises:
            RunBlockedError: If it can't; says why.
        """
        service, runtime = self._opened()
        if runtime.recovers and not runtime.closing:
            await service.claims.check(run_id)

    async def _looks_again(self, run_id: str) -> bool:
        """Look whether a run that is blocked, for others or before, goes on with the code here.

        Raises:
            RunBlockedError: If it does not; says why.
        """
        service, runtime = self._opened()
        row = await runtime.store.get_run(run_id)
        if not runtime.recovers or runtime.closing or row is None:
            return False
        if self._registry.of_run(run_id, row.workflow_id) is None:
            return False
        await service.recover(run_id)
        return True  # or somebody else has it by now
