"""The reads of an engine: answers about runs from the store, wherever they run."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gorkflow._notebook import Bundle, drawn
from gorkflow._text import brief
from gorkflow.clock import background
from gorkflow.codec import views
from gorkflow.engine import _within
from gorkflow.engine._lease import shown
from gorkflow.engine._recorded import Recorded, load, placed
from gorkflow.engine._row import summary_of
from gorkflow.engine._values import INPUT, Values
from gorkflow.errors import (
    EngineClosedError,
    LeaseLostError,
    RunBlockedError,
    RunError,
    RunNotFoundError,
    StoreCorruptError,
    StoreError,
    ValueInvalidError,
)
from gorkflow.events import Ended as EndedRef
from gorkflow.events import (
    Event,
    FailureRef,
    Ref,
    RunCreated,
    RunFinished,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepInterrupted,
    StepScheduled,
)
from gorkflow.listing import Page, RunCount, RunFilter
from gorkflow.model import (
    BLOCKED,
    Failure,
    LiveWorker,
    LogLine,
    Outcome,
    Report,
    Run,
    RunStatus,
    StepExecution,
    StepStatus,
    instant,
    instant_if,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gorkflow.engine._driver import Driver
    from gorkflow.engine._patience import Patience
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._worker import Worker
    from gorkflow.insight import Changes, Explanation
    from gorkflow.limits import LimitUse
    from gorkflow.machine.history import History, Reader
    from gorkflow.redaction import Redaction
    from gorkflow.store import LineRow, ReportRow, RunRow, Store

_POLL = (0.05, 1.0)  # seconds between looks at a run that lives elsewhere: at first, at most
_LOOKS = 200  # looks a second that are enough, for all who wait together
_PAGE = 1000
_LAST = 1.0  # seconds after the end of a run in which its last log lines are kept
LARGEST_SEQ = 2**63 - 1  # stores have 64 bits for it
_CLOSED = "the engine or client is closed, and waits for no run any more; the run itself is safe"
ENDS = (StepCompleted, StepFailed, StepInterrupted, StepCancelled)
"""The events with which an attempt ends."""
_ANY = ""  # what those who wait for events of any run wait for: no run has such an id


class Ended(Struct, frozen=True, kw_only=True):
    """How a run ended."""

    status: RunStatus
    output: Any = None
    reason: str = ""
    failures: tuple[Failure, ...] = ()
    """The unhandled ones, when failed."""
    outcomes: Mapping[str, Outcome[object]] = {}


class Reads:
    """Answers questions about runs."""

    def __init__(self, store: Store, registry: Registry, patience: Patience) -> None:
        self._place = store
        self._store = patience.with_(store)
        self._registry = registry
        self._waiting: dict[str, set[_Woken]] = {}
        self._closed = False
        self._drivers: Mapping[str, Driver] = {}
        self._latest: dict[str, Driver] = {}
        """The last drivers of the runs that are awaited here."""

    def changed(self, run_id: str) -> None:
        """Wake those that wait for events of a run, or of any."""
        if self._waiting:
            driver = self._drivers.get(run_id)
            if driver is not None and run_id in self._waiting:
                self._latest[run_id] = driver
            for event in (*self._waiting.get(run_id, ()), *self._waiting.get(_ANY, ())):
                event.set()

    def awaits(self, run_id: str) -> bool:
        """Return whether a caller waits for a run. May be called from any thread."""
        return run_id in self._waiting

    def open(self, drivers: Mapping[str, Driver]) -> None:
        """Answer: the store is open.

        Args:
            drivers: the runs that run here now, by id.
        """
        self._closed = False
        self._drivers = drivers

    def close(self) -> None:
        """Answer no more, and let those who wait know."""
        self._closed = True
        for event in [event for events in self._waiting.values() for event in events]:
            event.closed = True
            event.set()

    async def get_run(self, run_id: str, now: float) -> Run:
        """Return a run in full."""
        run, shown = await self._load(run_id)
        with self._asking():
            run = await placed(self._store, run)
        with run.reading():
            found = run_of(run.row, run.history(), run.created, shown)
        return replace(found, drawing=partial(_drawn_run, run, now))

    async def explain(self, run_id: str, changes: Changes | None, now: float) -> Explanation:
        """Return where the time of a run went, or would go under other rules."""
        run = await self._recorded(run_id)
        return await asyncio.to_thread(_explained, run, changes, now)

    async def list_runs(self, query: RunFilter) -> Page[Run]:
        """Return one page of runs."""
        with self._asking():
            page = await self._store.list_runs(query)
        return Page([summary_of(row) for row in page], page.next_cursor, page.searched_to)

    async def count_runs(self, query: RunFilter, most: int) -> RunCount:
        """Count the runs of a filter."""
        with self._asking():
            return await self._store.count_runs(query, most=most)

    async def latest_runs(self, after: str, limit: int) -> list[Run]:
        """Return the newest run of each workflow."""
        with self._asking():
            found = await self._store.latest_runs(after=after, limit=limit)
        return [summary_of(row) for row in found]

    async def limits(self, now: float) -> list[LimitUse]:
        """Return the use of each named limit."""
        with self._asking():
            return await self._store.limits(now=now)

    async def workers(self, now: float) -> list[LiveWorker]:
        """Return the workers that are alive."""
        with self._asking():
            workers = await self._store.workers(now=now)
            owned = await self._store.owned()
        return [shown(each, owned.get(each.worker_id, 0)) for each in workers]

    async def steps(self, run_id: str) -> list[StepExecution]:
        """Return all steps of a run."""
        run, shown = await self._load(run_id)
        rows = [] if run.row.status.terminal else await self._store.reports(run_id)
        with run.reading():
            return with_reports(run.history().executions(shown), rows)

    async def logs(self, run_id: str, path: str | None, after: int, limit: int) -> list[LogLine]:
        """Return lines of a run's log."""
        with self._asking():
            await self._row(run_id)
            rows = await self._store.logs(run_id, path=path, after=after, limit=limit)
        return [line_of(row) for row in rows]

    async def follow_logs(
        self, run_id: str, path: str | None, after: int, now: Callable[[], float]
    ) -> AsyncIterator[LogLine]:
        """Iterate over the lines of a run's log until it has ended."""
        with self._woken(run_id) as woken:
            delay = _POLL[0]
            while True:
                woken.clear()
                ended = (await self._row(run_id)).finished_at
                rows = await self._store.logs(run_id, path=path, after=after, limit=_PAGE)
                for row in rows:
                    yield line_of(row)
                    after = row.id
                if rows:
                    delay = _POLL[0]
                elif ended is not None and not 0 <= now() - ended < _LAST:
                    return
                else:
                    with _within.waiting():
                        delay = await _sleep(woken, delay, self._patience)

    async def events(
        self, run_id: str, after: int, *, progress: bool = False
    ) -> AsyncIterator[Event | Report]:
        """Iterate over a run's events until it has ended, with reports between them."""
        fresh = _Fresh()
        start = 0 if progress else after  # all events say which attempts run
        async with contextlib.aclosing(self._looks(run_id, start, progress=progress)) as looks:
            async for events, reports in looks:
                for event in events:
                    if progress:
                        fresh.feed(event)
                    if event.seq > after:
                        yield event
                for row in fresh.of(reports):
                    yield report_of(row)

    async def _looks(
        self, run_id: str, after: int, *, progress: bool
    ) -> AsyncGenerator[tuple[list[Event], list[ReportRow]], None]:
        """Iterate over looks at a run until it has ended: the new events, and the reports."""
        with self._woken(run_id) as woken:
            await self._row(run_id)
            delay = _POLL[0]
            over = False
            checked = False
            while True:
                woken.clear()
                # The reports first: then the events have the beginnings of their attempts.
                reports = await self._store.reports(run_id) if progress else []
                page = await self._store.read_events(run_id, after=after, limit=_PAGE)
                if page or reports:
                    yield page, reports
                if page:
                    after = page[-1].seq
                    if isinstance(page[-1], RunFinished):
                        return
                    delay = _POLL[0]
                elif over:
                    return  # everything up to the end had been seen before
                elif (await self._row(run_id)).status.terminal:
                    over = True  # it may have ended after its events were read: look once more
                else:
                    if not checked:
                        await self.check_limits(run_id)
                        checked = True
                    with _within.waiting():  # not around the yield: there the step works
                        delay = await _sleep(woken, delay, self._patience)

    async def feed(self, after: str) -> AsyncIterator[tuple[list[Event], str]]:
        """Iterate over what is recorded of all runs: some events, and the cursor after them."""
        with self._woken(_ANY) as woken:
            delay = _POLL[0]
            while True:
                woken.clear()
                events, after = await self._store.read_all_events(after=after, limit=_PAGE)
                if events:
                    yield events, after
                    delay = _POLL[0]
                else:
                    delay = await _sleep(woken, delay, self._patience)

    async def wait(
        self,
        run_id: str,
        worker: Worker,
        *,
        workflow_id: str | None = None,
        wait_blocked: bool = False,
    ) -> Ended:
        """Wait until a run has ended, here or elsewhere, and return how.

        Args:
            run_id: the run.
            worker: of the engine.
            workflow_id: the workflow that the caller takes it to be of; ``None``: any.
            wait_blocked: whether to wait while no worker's code fits.

        Raises:
            RunBlockedError: If this code can't continue the run.
            RunNotFoundError: If there is no such run.
            RunError: If it is of another workflow.
            DeadlockError: If a step of it waits for it, or one that holds a limit that it needs.
        """
        if workflow_id is not None:
            await self.check_workflow(run_id, workflow_id)
        driver = worker.runs.drivers.get(run_id)
        with _within.waiting(run_id):
            # Of two steps of one deadlock, the one that waits last finds the other.
            if _within.calling() is not None and (driver is None or not driver.done.is_set):
                _within.check_own(run_id, self._place)
                await self.check_limits(run_id)
                worker.let_in(run_id)
            while True:
                driver = worker.runs.drivers.get(run_id)
                if driver is not None:
                    error = await driver.done.wait()
                    if isinstance(error, LeaseLostError) or (
                        wait_blocked and isinstance(error, RunBlockedError)
                    ):
                        driver = None  # it was given up here: another worker ends it
                    elif error is not None:
                        raise error
                elif not wait_blocked:
                    await worker.check_code(run_id)
                try:
                    return await self.ended(run_id, driver, wait_blocked=wait_blocked)
                except RunBlockedError:
                    if not await worker.looks_again(run_id):
                        raise

    async def ended(self, run_id: str, driver: Driver | None, *, wait_blocked: bool) -> Ended:
        """Wait until a run has ended, and return how.

        Args:
            run_id: the run.
            driver: that ran it to its end here, if one did: what it knows need not be loaded.
            wait_blocked: whether to wait on where no worker's code fits.

        Raises:
            RunBlockedError: If the latest worker that looked at it can't continue it, and none has
                it now.
        """
        known = None if driver is None else _as_ended_here(driver)
        if known is not None and known.status is not RunStatus.FAILED:
            return known
        try:
            return await self._ended(run_id, wait_blocked=wait_blocked)
        except (RunNotFoundError, EngineClosedError):
            if known is None:
                raise
            return known  # a store in memory keeps so many: this one is forgotten already

    async def _ended(self, run_id: str, *, wait_blocked: bool) -> Ended:
        with self._woken(run_id) as woken:
            delay = _POLL[0]
            while not (row := await self._row(run_id)).status.terminal:
                if row.reason.startswith(BLOCKED) and row.worker_id is None and not wait_blocked:
                    raise RunBlockedError(run_id, row.reason.removeprefix(BLOCKED))
                delay = await _sleep(woken, delay, self._patience)
                woken.clear()
            driver = self._latest.get(run_id)
        known = None if driver is None else _as_ended_here(driver)
        if known is not None and known.status is not RunStatus.FAILED:
            return known  # it was suspended meanwhile, and another driver brought it to its end
        run, shown = await self._load(run_id)
        last = run.events[-1]
        if not isinstance(last, RunFinished):
            raise StoreCorruptError(
                f"run {run_id!r} is said to be {run.row.status}, but its events do not end so; "
                f"restore it from a backup, or delete it: gorkflow runs delete {run_id}"
            )
        failed = last.status is RunStatus.FAILED
        try:
            output = shown.value(last.output)
        except ValueInvalidError:  # it does not fit the types of this code, or is damaged
            with run.reading():
                shown.plain.value(last.output)
            raise
        with run.reading():
            return Ended(
                status=last.status,
                output=output,
                reason=last.reason,
                failures=tuple(map(shown.failure, last.failures)),
                outcomes=run.history().outcomes(shown) if failed else {},
            )

    async def check_workflow(self, run_id: str, workflow_id: str) -> None:
        """Check that a run, if there is one, is of this workflow: its output is of another type.

        Raises:
            RunError: If it is of another one.
        """
        with self._asking():
            row = await self._store.get_run(run_id)
        if row is not None and row.workflow_id != workflow_id:
            raise RunError(
                run_id,
                f"run {run_id!r} is of workflow {row.workflow_id!r}, not of "
                f"{brief(workflow_id)}; give engine.handle its own workflow, or none",
            )

    async def check_limits(self, run_id: str) -> None:
        """Check that a step which waits for a run does not hold what that still needs.

        Raises:
            DeadlockError: If it does, wherever the run is.
        """
        with self._asking():
            await _within.check_line(self._place, run_id)
        if not _within.holds_limits(self._place):
            return
        found = [run_id]
        for each in found:
            found += [run for run in _within.awaited_inside(each) if run not in found]
            await self._check_limits(each)

    async def _check_limits(self, run_id: str) -> None:
        try:
            with self._asking():
                run = await load(self._store, run_id)
        except RunNotFoundError:
            return
        definition = self._registry.of_run(run_id, run.row.workflow_id)
        if definition is not None and not run.row.status.terminal:
            with run.reading():
                begins = run.history().reach().begins
                _within.check_limits(definition, run_id, self._place, begins)

    async def _row(self, run_id: str) -> RunRow:
        row = await self._store.get_run(run_id)
        if row is None:
            raise RunNotFoundError(run_id)
        return row

    async def _recorded(self, run_id: str) -> Recorded:
        with self._asking():
            return await load(self._store, run_id)

    async def _load(self, run_id: str) -> tuple[Recorded, Shown]:
        run = await self._recorded(run_id)
        definition = self._registry.of_run(run_id, run.row.workflow_id)
        return run, Shown(run.values(definition))

    @property
    def _patience(self) -> float:
        """Seconds between looks, at most: where many wait, each looks less often."""
        return max(_POLL[1], len(self._waiting) / _LOOKS)

    @contextlib.contextmanager
    def _asking(self) -> Generator[None]:
        """Say that the engine is closed, where the store would say that it is not open."""
        if self._closed:
            raise EngineClosedError(_CLOSED)
        try:
            yield
        except StoreError as error:
            if self._closed:
                raise EngineClosedError(_CLOSED) from error
            raise

    @contextlib.contextmanager
    def _woken(self, run_id: str) -> Generator[_Woken]:
        event = _Woken()
        waiting = self._waiting.setdefault(run_id, set())
        waiting.add(event)
        try:
            with self._asking():
                yield event
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(run_id, None)
                self._latest.pop(run_id, None)


def _explained(run: Recorded, changes: Changes | None, now: float) -> Explanation:
    from gorkflow.insight.explain import explain  # few need it
    from gorkflow.insight.whatif import whatif

    with run.reading():
        found = explain(run.row.run_id, run.tree, run.events, now=now)
    return found if changes is None else whatif(run.row.run_id, run.tree, run.events, changes)


def _drawn_run(run: Recorded, now: float, shown: str) -> Bundle:
    """Return the drawing of a run for a notebook, whose text shows no secret either."""
    redaction = run.redaction()
    if redaction:
        with run.reading():
            values = Shown(run.values(None, redaction.view))
            shown = repr(redacted(run, run.history(), values, redaction))
    return drawing(run, now, shown)


def redacted(run: Recorded, history: History, values: Shown, redaction: Redaction) -> Run:
    """Return a run in full without secrets.

    Args:
        run: the run.
        history: the meaning of its events.
        values: its values, as plain data without secrets.
        redaction: leaves its secrets out.
    """
    found = run_of(run.row, history, run.created, values)
    if redaction:
        texts = history.machine.texts()
        found = replace(found, state={key: redaction.view(text) for key, text in texts.items()})
    return redaction.shown(found)


def drawing(run: Recorded, now: float, shown: str) -> Bundle:
    """Return the drawing of a run for a notebook.

    Args:
        run: the run.
        now: the time up to which it is drawn, in seconds since the epoch.
        shown: the run as text.
    """
    with run.reading():
        steps = run.history().executions(Shown(run.values(None)))
        return drawn("run", shown, run.tree, steps, run.events, now)


def run_of(row: RunRow, history: History, first: Event, reader: Reader) -> Run:
    """Return a run in full."""
    result = history.machine.result
    output = result.value if result is not None and row.status is RunStatus.COMPLETED else None
    given, made, plain = reader.shown(INPUT, output)
    created = first if isinstance(first, RunCreated) else None
    return replace(
        summary_of(row),
        input=given,
        output=made,
        plain=plain,
        failures=history.failures(reader),
        progress=history.progress(),
        state=views(history.machine.texts()),
        origin=None if created is None else created.origin,
        from_step=None if created is None else created.from_step,
        scheduled_for=None if created is None else instant_if(created.scheduled_for),
    )


class Shown:
    """The values of a run for readers: as their types, or as plain data if they don't fit these."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def value(self, ref: Ref) -> Any:
        """Return a value.

        Raises:
            ValueInvalidError: If it does not fit its type.
        """
        return self._values.value(ref)

    def shown(self, given: Ref, made: Ref) -> tuple[Any, Any, str]:
        """Return an input, an output, and why one is plain data; empty: it is not."""
        found: list[Any] = []
        why: list[str] = []
        for name, ref in (("input", given), ("output", made)):
            try:
                found.append(self._values.value(ref))
            except ValueInvalidError as error:
                found.append(self.plain.value(ref))
                why.append(f"its {name} is plain data: {error}")
        return found[0], found[1], "; ".join(why)

    def failure(self, ref: FailureRef) -> Failure:
        """Return the failure that a reference means."""
        return self._values.failure(ref)

    def outcome(self, ended: EndedRef) -> Outcome[Any]:
        """Return how a step or branch ended."""
        try:
            return self._values.outcome(ended)
        except ValueInvalidError:
            return self.plain.outcome(ended)

    @property
    def plain(self) -> Values:
        """The same as plain data."""
        found = copy.copy(self._values)
        found.forget_types()
        return found


def _as_ended_here(driver: Driver) -> Ended | None:
    """Return how a run ended that ran here, without the outcomes of its steps."""
    machine, values = driver.machine, driver.values
    result = machine.result
    done = driver.done.is_set and driver.done.result() is None
    if result is None or not (done and driver.row.status.terminal):
        # It was given up, or suspended: another driver has its machine, and may be ahead of the
        # store.
        return None
    return Ended(
        status=machine.status,
        output=values.value(result.value) if machine.status is RunStatus.COMPLETED else None,
        reason=result.reason,
        failures=tuple(values.failure(each) for each in result.failures),
    )


class _Fresh:
    """Knows which reports of a run are new, and of an attempt that runs."""

    def __init__(self) -> None:
        self._seen: dict[str, ReportRow] = {}
        self._running: dict[str, int] = {}
        """The attempt of each path that runs."""

    def feed(self, event: Event) -> None:
        """Take the next event of the run."""
        if isinstance(event, StepScheduled):
            self._running[event.path] = event.attempt
        elif isinstance(event, ENDS):
            self._running.pop(event.path, None)

    def of(self, rows: list[ReportRow]) -> Iterator[ReportRow]:
        """Yield the reports that were not yielded yet."""
        for row in rows:
            if self._running.get(row.path) == row.attempt and self._seen.get(row.path) != row:
                self._seen[row.path] = row
                yield row


def with_reports(steps: list[StepExecution], rows: Sequence[ReportRow]) -> list[StepExecution]:
    """Return the steps of a run, the running ones with what they reported."""
    latest = {(row.path, row.attempt): row for row in rows}
    for place, each in enumerate(steps if latest else ()):
        row = latest.get((each.path, each.attempt))
        if row is not None and each.status is StepStatus.RUNNING:
            steps[place] = replace(each, progress=report_of(row))
    return steps


def report_of(row: ReportRow) -> Report:
    """Return a report as callers see it."""
    return Report(
        run_id=row.run_id,
        path=row.path,
        attempt=row.attempt,
        done=row.done,
        total=row.total,
        message=row.message,
        at=instant(row.at),
    )


def line_of(row: LineRow) -> LogLine:
    """Return a line as callers see it."""
    return LogLine(
        id=row.id,
        run_id=row.run_id,
        path=row.path,
        attempt=row.attempt,
        number=row.number,
        at=instant(row.at),
        level=row.level,
        text=row.text,
    )


class _Woken(asyncio.Event):
    """Set when there may be something new, or never will be."""

    closed = False
    """Whether the engine was closed during the wait for it."""


async def _sleep(woken: _Woken, delay: float, longest: float) -> float:
    """Wait until woken, or for ``delay`` seconds; return the next delay."""
    with background(), contextlib.suppress(TimeoutError):
        async with asyncio.timeout(delay):
            await woken.wait()
    if woken.closed:
        raise EngineClosedError(_CLOSED)
    return min(delay * 1.5, longest)
