"""The questions that an engine answers about runs, wherever they live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Never

from gorkflow.engine._part import Part
from gorkflow.errors import LeaseLostError
from gorkflow.events import Event
from gorkflow.model import Page, Run, RunFilter, StepExecution

if TYPE_CHECKING:
    from gorkflow.engine._watch import Ended
    from gorkflow.step import StepDefaults
    from gorkflow.workflow import Workflow


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
        return await self._watch.get_run(run_id)

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
                f"list_runs takes a RunFilter: write list_runs(RunFilter({name}=…)), which has the "
                f"fields {', '.join(each.name for each in fields(RunFilter))}"
            )
        self._opened()
        return await self._watch.list_runs(query or RunFilter())

    async def steps(self, run_id: str) -> list[StepExecution]:
        """Return all steps of a run in declared order, those not reached yet too.

        Raises:
            RunNotFoundError: there is no such run.
        """
        self._opened()
        return await self._watch.steps(run_id)

    def events(self, run_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Iterate over a run's events as they are recorded, until it has ended.

        Args:
            run_id: the run.
            after: skip events up to this ``seq``: to go on where an earlier iteration stopped.

        Raises:
            RunNotFoundError: there is no such run (raised by the first step of the iteration).
        """
        self._opened()
        return self._watch.events(run_id, after)

    async def wait(self, run_id: str, *, workflow_id: str | None = None) -> Ended:
        """Wait until a run has ended, here or elsewhere, and return how.

        Args:
            run_id: the run.
            workflow_id: the workflow that it is believed to be of; ``None``: of any.

        Raises:
            RunNotFoundError: there is no such run.
            RunError: it is of another workflow.
        """
        service, _ = self._opened()
        if workflow_id is not None:
            await self._watch.check_workflow(run_id, workflow_id)
        driver = service.runs.drivers.get(run_id)
        if driver is not None:
            error = await driver.done.wait()
            if error is not None and not isinstance(error, LeaseLostError):
                raise error
        return await self._watch.ended(run_id, driver)
