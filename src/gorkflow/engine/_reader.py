"""The reader in a client: its methods that read runs, and change nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, overload

from gorkflow._text import brief
from gorkflow.engine._reads import LARGEST_SEQ, Reads
from gorkflow.engine._settings import check_flag
from gorkflow.engine._start import run_id_of
from gorkflow.engine._within import calling
from gorkflow.engine.handle import EventFeed
from gorkflow.events import Event
from gorkflow.listing import MOST_COUNTED, Page, RunCount, RunFilter
from gorkflow.model import LiveWorker, LogLine, Report, Run, StepExecution

if TYPE_CHECKING:
    from gorkflow.engine._worker import Worker
    from gorkflow.insight import Changes, Explanation
    from gorkflow.limits import LimitUse


class ClientReader:
    """The part of a client that answers questions about runs."""

    _reads: Reads

    def _opened(self) -> Worker:
        raise NotImplementedError

    async def get_run(self, run_id: str) -> Run:
        """Return a run in full.

        Raises:
            RunNotFoundError: If there is no such run.
            StoreCorruptError: If its record can't be read.
        """
        now = self._opened().runtime.clock.now()
        return await self._reads.get_run(run_id_of(run_id), now)

    async def steps(self, run_id: str) -> list[StepExecution]:
        """Return all steps of a run in declared order, also those that it has not reached.

        Raises:
            RunNotFoundError: If there is no such run.
            StoreCorruptError: If its record can't be read.
        """
        self._opened()
        return await self._reads.steps(run_id_of(run_id))

    async def logs(
        self, run_id: str, path: str | None = None, *, after: int = 0, limit: int = 1000
    ) -> list[LogLine]:
        """Return the log of a run's steps: what ``ctx.logger`` got, the oldest lines first.

        Lines are kept within a second. See ``Engine`` on which of them are kept.

        Args:
            run_id: the run.
            path: only the step at this path; ``None``: all steps.
            after: where to begin: after the line with this ``id``.
            limit: at most so many lines.

        Example:
            from gorkflow import Engine, StepContext, Workflow, step

            @step
            def double(ctx: StepContext, number: int) -> int:
                ctx.logger.info("doubling %d", number)
                return 2 * number

            async with Engine("memory:") as engine:
                await engine.run(Workflow("doubling", input=int).then(double), 21, run_id="first")
                [line] = await engine.logs("first")
                assert (line.path, line.text) == ("double", "doubling 21")

        Raises:
            RunNotFoundError: If there is no such run.
            TypeError: If an argument has the wrong type.
        """
        worker = self._opened()
        run_id, after, limit = _checked_log(run_id, path, after, limit)
        await worker.runtime.notes.flush(run_id)  # a caller who waited for the run sees all of it
        return await self._reads.logs(run_id, path, after, limit)

    def follow_logs(
        self, run_id: str, path: str | None = None, *, after: int = 0
    ) -> AsyncIterator[LogLine]:
        """Iterate over the log of a run's steps as it grows, until the run has ended.

        Args:
            run_id: the run.
            path: only the step at this path; ``None``: all steps.
            after: where to begin: after the line with this ``id``.

        Raises:
            RunNotFoundError: If there is no such run (raised by the iteration).
            TypeError: If an argument has the wrong type.
        """
        worker = self._opened()
        run_id, after, _ = _checked_log(run_id, path, after, 1)
        if calling() is not None:
            worker.let_in(run_id)
        return self._reads.follow_logs(run_id, path, after, worker.runtime.clock.now)

    async def explain(self, run_id: str, changes: Changes | None = None) -> Explanation:
        """Return where the time of a run went: its critical path, and the slack of each branch.

        Args:
            run_id: The run.
            changes: Other rules; then the run is a forecast: the recorded durations run again by
                them, and no step is called. ``None``: the run as it was.

        Example:
            from gorkflow import Engine, Workflow, step
            from gorkflow.insight import Changes

            @step
            def double(number: int) -> int:
                return 2 * number

            async with Engine("memory:") as engine:
                handle = await engine.start(Workflow("doubling", input=int).then(double), 21)
                await handle.result()
                found = await engine.explain(handle.run_id)
                assert found.critical[-1].path == "double"
                faster = await engine.explain(handle.run_id, Changes(scale={"double": 0.5}))
                assert faster.seconds <= found.seconds

        Raises:
            RunNotFoundError: If there is no such run.
            StoreCorruptError: If its record can't be read.
            ValueError: If there are changes, and the run has not ended, a change is not valid, or
                the rules lead to what was not recorded.
        """
        now = self._opened().runtime.clock.now()
        return await self._reads.explain(run_id_of(run_id), changes, now)

    async def list_runs(self, query: RunFilter | None = None) -> Page[Run]:
        """Return one page of runs, newest first, without their inputs and outputs.

        Example:
            from gorkflow import Client, RunFilter

            async with Client("memory:") as client:
                page = await client.list_runs(RunFilter(status="failed", limit=20))

        Args:
            query: which runs; ``None``: the newest of all.

        Raises:
            ValueError: If the filter's limit or cursor is not valid.
            TypeError: If ``query`` is not a ``RunFilter``.
        """
        self._opened()
        return await self._reads.list_runs(_query("list_runs", query))

    async def count_runs(
        self, query: RunFilter | None = None, *, most: int = MOST_COUNTED
    ) -> RunCount:
        """Count runs, up to a bound: that costs at most what so many runs cost.

        Example:
            from gorkflow import Client, RunFilter

            async with Client("memory:") as client:
                failed = await client.count_runs(RunFilter(status="failed"))
                assert str(failed) == "0"  # "10,000+" if there are more than it counts

        Args:
            query: which runs, whatever its limit and cursor; ``None``: all.
            most: count no further than that.

        Raises:
            ValueError: If ``most`` is below 1.
            TypeError: If ``query`` is not a ``RunFilter``, or ``most`` not a whole number.
        """
        self._opened()
        if isinstance(most, bool) or not isinstance(most, int):
            raise TypeError(f"most must be a whole number of runs, not {brief(most)}")
        if most < 1:
            raise ValueError(f"a count goes to 1 or more; most is {most}")
        wanted = replace(_query("count_runs", query), cursor=None)
        return await self._reads.count_runs(wanted, min(most, LARGEST_SEQ))

    async def latest_runs(self, *, after: str = "", limit: int = 100) -> list[Run]:
        """Return the newest run of each workflow that has any, in the order of their workflow ids.

        Example:
            from gorkflow import Client

            async with Client("memory:") as client:
                for run in await client.latest_runs():
                    print(run.workflow_id, run.status)

        Args:
            after: only workflows whose id comes after this one, to read them in parts.
            limit: at most so many.
        """
        self._opened()
        return await self._reads.latest_runs(after, limit)

    async def limits(self) -> list[LimitUse]:
        """Return the use of each named limit that steps have asked for, in the order of names.

        Example:
            from gorkflow import Client

            async with Client("memory:") as client:
                for use in await client.limits():
                    print(use.limit, sum(use.running.values()), list(use.waiting))
        """
        return await self._reads.limits(self._opened().runtime.clock.now())

    async def workers(self) -> list[LiveWorker]:
        """Return the workers of the store that are alive, the one that started first in front."""
        return await self._reads.workers(self._opened().runtime.clock.now())

    @overload
    def events(
        self, run_id: str, *, after: int = 0, progress: Literal[False] = False
    ) -> AsyncIterator[Event]: ...
    @overload
    def events(
        self, run_id: str, *, after: int = 0, progress: bool
    ) -> AsyncIterator[Event | Report]: ...
    @overload
    def events(self, *, after: str = "") -> EventFeed: ...
    def events(
        self,
        run_id: str | None = None,
        *,
        after: int | str | None = None,
        progress: bool = False,
    ) -> AsyncIterator[Event | Report] | EventFeed:
        """Iterate over events as they are recorded: of one run until it has ended, or of all runs.

        Args:
            run_id: the run. ``None``: the events of all runs, in the order in which they were
                recorded, for ever.
            after: where to begin: for one run, after this ``seq``; for all, at the ``cursor`` of an
                earlier ``EventFeed``.
            progress: whether to yield also the reports of running steps, of one run: each a
                ``Report``, as soon as it is kept.

        Raises:
            RunNotFoundError: If there is no such run (raised by the iteration).
            DeadlockError: If a step would wait for a run that needs the step's limit. The iteration
                raises it.
            TypeError: If ``after`` is the wrong one of the two, or ``progress`` is for all runs.
            ValueError: If it is not a cursor (raised by the iteration).
        """
        worker = self._opened()
        check_flag("progress", progress)
        if run_id is None:
            if progress:
                raise TypeError("progress=True needs a run_id: it is of one run")
            if not isinstance(after, str | None):
                raise TypeError(
                    f"after={brief(after)} is a seq, and that belongs to a run: give its run_id"
                )
            return EventFeed(self._reads.feed, after or "")
        if isinstance(after, str):
            raise TypeError(f"after={brief(after)} is a cursor over all runs; of one, give a seq")
        if isinstance(after, bool) or not isinstance(after, int | None):
            raise TypeError(f"after must be a seq, a whole number, not {brief(after)}")
        run_id_of(run_id)
        if calling() is not None:
            worker.let_in(run_id)
        start = min(max(after or 0, 0), LARGEST_SEQ)
        return self._reads.events(run_id, start, progress=progress)


def _checked_log(run_id: str, path: object, after: int, limit: int) -> tuple[str, int, int]:
    """Return what to read of a log, within what stores take.

    Raises:
        TypeError: If an argument has the wrong type.
    """
    if not isinstance(path, str | None):
        raise TypeError(f"path must be a text, not {brief(path)}")
    for name, number in (("after", after), ("limit", limit)):
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name} must be a whole number, not {brief(number)}")
    return run_id_of(run_id), min(max(after, 0), LARGEST_SEQ), min(max(limit, 0), LARGEST_SEQ)


def _query(name: str, given: object) -> RunFilter:
    """Return the filter that a method of this name was given, or that of all runs."""
    if not isinstance(given, RunFilter | None):
        raise TypeError(
            f"the query of {name} is a RunFilter: write {name}(RunFilter(status=…)), not "
            f"{brief(given)}"
        )
    return given or RunFilter()
