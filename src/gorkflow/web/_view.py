"""The view of a run: what pages and the JSON API show of it. It needs no code of the workflow.

A view is made and read in threads: of a large run that takes its time, and an engine may live on
the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import accumulate
from threading import RLock
from typing import Any, NamedTuple, ParamSpec, TypeVar

from gorkflow import events as ev
from gorkflow.codec import Codec
from gorkflow.engine._json import run_shown, values_of
from gorkflow.engine._reads import with_reports
from gorkflow.engine._recorded import Recorded, load, recorded
from gorkflow.errors import GorkflowError, RunNotFoundError, StoreCorruptError
from gorkflow.events import Ended
from gorkflow.flow import BlockSpec, Place, StepSpec, WorkflowSpec
from gorkflow.insight import overview
from gorkflow.insight.explain import Explanation, Timed, explained
from gorkflow.insight.picture import WORST
from gorkflow.insight.timeline import label_of
from gorkflow.insight.whatif import Changes, whatif
from gorkflow.machine.history import History, left_by
from gorkflow.model import Run, RunStatus, StepExecution, StepStatus
from gorkflow.redaction import Redaction, records_of
from gorkflow.store import Loaded, ReportRow, RunReader, RunRow
from gorkflow.values.secret import has_mark

_FEW = 12
"""Branches of a block that stand for all of them, until someone asks for the rest."""
PART = 200
"""Branches of a block that are shown at a time, once someone asks for all."""
_CELLS = 14
"""Cells of a run at a glance."""
_LONG = 600
"""Events from which on a list shows a run without its steps."""
_READ = 60_000
"""Events that are read of several runs, to say what these have in common."""
_KEPT = 128 * 2**20
"""Bytes of the views that are kept."""
_OF_EVENT = 1_200
"""Bytes that a view takes for an event, without the values in it."""
_FRESH = 1.0
"""Seconds for which the explanation of a live run is shown again."""
_THREADS = 2
"""Threads that make and show views. They share the interpreter with the event loop."""
P = ParamSpec("P")
T = TypeVar("T")


class StepRow(NamedTuple):
    """A node in the table of a run's steps."""

    path: str
    label: str
    kind: str
    depth: int
    status: StepStatus
    reason: str
    attempts: int = 0
    counts: tuple[tuple[str, int], ...] = ()
    """The branches of a block by status."""
    parts: int = 0
    """The number of parts of a block whose branches are not all shown."""


class Listed(NamedTuple):
    """A step, sleep or wait."""

    path: str
    status: StepStatus


class OpenWait(NamedTuple):
    """A wait for a signal that is under way."""

    path: str
    signal: str
    since: float


class RunView:
    """A run as pages and the JSON API show it. Several threads may ask it.

    Args:
        run: its record.
    """

    def __init__(self, run: Recorded) -> None:
        self._lock = RLock()  # what a history knows of a step, it finds out when it is asked
        self.recorded = run
        self.row = run.row
        self.redaction = redaction = run.redaction()
        """Leaves out the secrets: all that the view returns has passed it."""
        self._values = values_of(run, redaction)
        with self._reading():
            self._timed = Timed(run.row.run_id, run.tree, run.events)
        self.history: History = self._timed.history
        self._found: tuple[float, Explanation] | None = None
        self._run: Run | None = None
        self.size = _size(run)
        """The bytes that it takes, about."""

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Let one thread at a time ask, and report a run as damaged if it can't be read.

        Raises:
            StoreCorruptError: If it is damaged.
        """
        with self._lock, self.recorded.reading():
            yield

    @property
    def run(self) -> Run:
        """The run as callers see it, its values as plain data."""
        with self._reading():
            if self._run is None:
                self._run = run_shown(self.recorded, self.history, self._values, self.redaction)
            return self._run

    @property
    def tree(self) -> WorkflowSpec:
        """The flow tree that it executes."""
        return self.redaction.shown(self.history.tree)

    def explanation(self, now: float) -> Explanation:
        """Return where its time went.

        Args:
            now: of a live run: up to when, in seconds since the epoch.
        """
        with self._reading():
            at, found = self._found or (0.0, None)
            is_fresh = self.row.status.terminal or 0 <= now - at < _FRESH
            if found is None or not is_fresh:
                found = self.redaction.shown(explained(self._timed, now=now))
                self._found = now, found
            return found

    def forecast(self, changes: Changes) -> Explanation:
        """Return where its time would go under other rules.

        Raises:
            ValueError: If the run has not ended, a change is not valid, or the rules lead to what
                was not recorded.
        """
        run = self.recorded
        return self.redaction.shown(whatif(run.row.run_id, run.tree, run.events, changes))

    def steps(self, reports: Sequence[ReportRow] = ()) -> list[StepExecution]:
        """Return all its steps, sleeps and waits.

        Args:
            reports: what the running ones reported.
        """
        with self._reading():
            found = with_reports(self.history.executions(self._values), reports)
            return self.redaction.shown(found)

    def step(self, path: str, reports: Sequence[ReportRow] = ()) -> StepExecution | None:
        """Return a step, sleep or wait; ``None``: there is none at this path.

        Args:
            path: where it is.
            reports: what running steps reported.
        """
        with self._reading():
            found = self.history.execution(path, self._values)
            if found is None:
                return None
            return self.redaction.shown(with_reports([found], reports)[0])

    def tries(self, path: str) -> int:
        """Return how many attempts of a step ended."""
        with self._reading():
            return len(self.history.record(path).attempts)

    def spec(self, path: str) -> StepSpec | None:
        """Return the definition of a step, by the path of one of its executions."""
        for place, _ in self._places():
            if place.path == path:
                return place.spec if isinstance(place.spec, StepSpec) else None
        return None

    @property
    def input(self) -> Any:
        """The input of the run, as plain data."""
        data = self.recorded.created.input
        with self._reading():
            return None if data is None else self.redaction.view(data)

    def typed_input(self, codec: Codec) -> Any:
        """Return the input as a person would type it; its secrets are left out."""
        data = self.recorded.created.input
        if data is None or has_mark(data):  # only views know the places of short secrets
            return self.input
        return self.redaction.value(codec.typed(data))

    def events(self, after: int, limit: int) -> Sequence[ev.Event]:
        """Return events from behind a ``seq``, at most so many."""
        return self.redaction.shown(tuple(self.recorded.events[after : after + limit]))

    def waits(self) -> list[OpenWait]:
        """Return the waits for signals that are under way; a run that ended has none."""
        if self.row.status.terminal:
            return []
        return [
            OpenWait(event.path, event.signal, event.at)
            for event in self.recorded.events
            if isinstance(event, ev.WaitOpened) and event.path not in self.history.ended
        ]

    # ---- steps ----------------------------------------------------------------------------

    def _places(self) -> Iterator[tuple[Place, Ended | None]]:
        stack: list[tuple[Place, Ended | None]] = [
            (Place("", self.history.tree), self.history.ended.get(""))
        ]
        while stack:
            place, around = stack.pop()
            yield place, around
            around = self.history.ended.get(place.path, around)
            inside = place.inside(self.history.marks)
            stack.extend((inner, around) for inner in reversed(inside))

    def _stands(self, place: Place, around: Ended | None) -> tuple[StepStatus, str]:
        if place.spec.is_listed:
            return self.history.stands(place.path, around)
        ended = self.history.ended.get(place.path)
        if ended is not None:
            return ended.status, ended.reason
        if place.path in self.history.machine.frames:
            return StepStatus.RUNNING, ""
        return (StepStatus.PENDING, "") if around is None else left_by(around)

    def listed(self) -> list[Listed]:
        """Return each step, sleep and wait with its status, in declared order."""
        with self._reading():
            found = [
                Listed(place.path, self._stands(place, around)[0])
                for place, around in self._places()
                if place.spec.is_listed
            ]
        return self.redaction.shown(found)

    def rows(self, opened: str = "", part: int = 0) -> list[StepRow]:
        """Return the rows of its steps; a block of many branches shows some of them.

        Args:
            opened: the path of a block whose branches are all shown, part by part.
            part: the part, from 0.
        """
        with self._reading():
            root = Place("", self.history.tree)
            found = list(self._rows(root, -1, self.history.ended.get(""), opened, part))
        return self.redaction.shown(found)

    def _rows(
        self, place: Place, depth: int, around: Ended | None, opened: str, part: int
    ) -> Iterator[StepRow]:
        path, spec = place
        around = self.history.ended.get(path, around)
        children = place.inside(self.history.marks)
        counts: tuple[tuple[str, int], ...] = ()
        parts = 0
        if isinstance(spec, BlockSpec) and len(children) > _FEW:
            found = [self._stands(child, around)[0] for child in children]
            tally = Counter(found)
            counts = tuple((each.value, tally[each]) for each in WORST if tally[each])
            parts = -(-len(children) // PART)
            if opened == path:
                children = children[part * PART : (part + 1) * PART]
            else:
                ranks = [WORST.index(each) for each in found]
                best = sorted(range(len(children)), key=lambda number: (ranks[number], number))
                children = [children[number] for number in sorted(best[:_FEW])]
        if path:
            status, reason = self._stands(place, around)
            yield StepRow(
                path=path,
                label=label_of(path, spec.noun or spec.kind),
                kind=spec.noun or spec.kind,
                depth=depth,
                status=status,
                reason=reason,
                attempts=self.history.record(path).attempt if spec.is_listed else 0,
                counts=counts,
                parts=parts,
            )
        for child in children:
            yield from self._rows(child, depth + 1, around, opened, part)

    def glance(self) -> list[str]:
        """Return a few statuses that stand for all steps, in declared order."""
        found = [status for _, status in self.listed()]
        size = -(-len(found) // _CELLS) or 1
        return [worst(found[start : start + size]).value for start in range(0, len(found), size)]


def _size(run: Recorded) -> int:
    """Return the bytes that the view of a run takes, about."""
    values = sum(len(data) for event in run.events for data in records_of(event))
    failures = (each.failure for each in run.events if isinstance(each, ev.StepFailed))
    texts = sum(len(each.message) + len(each.traceback) for each in failures)
    return 2 * values + texts + _OF_EVENT * len(run.events)  # a value is read for people, too


def worst(statuses: Iterable[StepStatus]) -> StepStatus:
    """Return the status that stands for several steps."""
    return min(statuses, key=WORST.index)


class Views:
    """The views of runs, and the threads that make and show them.

    Those who want the same run share its view. The latest views are kept: a run that ended stays
    as it is.

    Args:
        store: has the runs.
        most: the bytes of those that are kept.
    """

    def __init__(self, store: RunReader, most: int = _KEPT) -> None:
        self._store = store
        self._most = most
        self._kept: dict[str, RunView] = {}
        self._size = 0
        """The bytes of those that are kept."""
        self._coming: dict[str, asyncio.Task[RunView]] = {}
        """The views that are being made."""
        self._threads = ThreadPoolExecutor(_THREADS, "gorkflow-web")

    async def apart(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Call a function that may take its time, in a thread, and return what it returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(work, *args, **options))

    async def of(self, run_id: str) -> RunView:
        """Return the view of a run.

        Raises:
            RunNotFoundError: If there is no such run.
            StoreCorruptError: If its record is damaged.
        """
        row = await self._store.get_run(run_id)
        if row is None:
            raise RunNotFoundError(run_id)
        return await self._of(row)

    async def redaction(self, run_id: str) -> Redaction:
        """Return what leaves the secrets of a run out of a part of it, even if that is damaged.

        Raises:
            RunNotFoundError: If there is no such run.
            StoreCorruptError: If its secrets can't be read.
        """
        try:
            return (await self.of(run_id)).redaction
        except StoreCorruptError:
            run = await load(self._store, run_id)
            return await self.apart(run.redaction)

    async def _of(self, row: RunRow) -> RunView:
        kept = self._drop(row.run_id)
        if kept is not None and _is_current(kept, row):
            self._keep(kept)
            return kept
        while True:
            coming = self._coming.get(row.run_id)
            is_mine = coming is None
            if coming is None:
                coming = asyncio.ensure_future(self._make(row.run_id))
                self._coming[row.run_id] = coming
                coming.add_done_callback(partial(self._made, row.run_id))
            view = await asyncio.shield(coming)  # another visitor may wait for it, too
            if is_mine or _is_current(view, row):
                return view

    async def _make(self, run_id: str) -> RunView:
        run = await load(self._store, run_id)
        view = await self.apart(RunView, run)
        self._drop(run_id)
        self._keep(view)
        return view

    def _made(self, run_id: str, made: asyncio.Task[RunView]) -> None:
        del self._coming[run_id]
        if not made.cancelled():
            made.exception()  # those who asked may all have left

    def _keep(self, view: RunView) -> None:
        self._kept[view.row.run_id] = view
        self._size += view.size
        while self._size > self._most:
            self._drop(next(iter(self._kept)))

    def _drop(self, run_id: str) -> RunView | None:
        kept = self._kept.pop(run_id, None)
        self._size -= 0 if kept is None else kept.size
        return kept

    async def of_all(self, rows: Sequence[RunRow]) -> list[RunView]:
        """Return the views of runs, up to a number of events of all together, or the first alone.

        Runs that are damaged, or were removed meanwhile, are left out.
        """
        read = list(accumulate(row.seq for row in rows))
        rows = [row for row, all_of in zip(rows, read, strict=True) if all_of <= _READ] or rows[:1]
        await self._read(rows)
        found = [await self._of_listed(row) for row in rows]
        return [view for view in found if isinstance(view, RunView)]

    async def brief(self, rows: Sequence[RunRow]) -> list[RunView | GorkflowError | None]:
        """Return the views of runs for a list, or why there is none: ``None``: it is too long."""
        await self._read([row for row in rows if row.seq <= _LONG])
        return [None if row.seq > _LONG else await self._of_listed(row) for row in rows]

    async def _of_listed(self, row: RunRow) -> RunView | GorkflowError:
        try:
            return await self._of(row)
        except (RunNotFoundError, StoreCorruptError) as error:
            return error

    async def _read(self, rows: Sequence[RunRow]) -> None:
        """Read the runs without a current view, all together; damaged ones are left out."""
        kept = [(row, self._kept.get(row.run_id)) for row in rows]
        missing = [row.run_id for row, view in kept if view is None or not _is_current(view, row)]
        if missing:
            loaded = await self._store.load_many(missing)
            for view in await self.apart(_views_of, loaded.values()):
                self._drop(view.row.run_id)
                self._keep(view)


def _is_current(view: RunView, row: RunRow) -> bool:
    """Return whether a view shows what a row says, or more; not if another run had the id."""
    seen = view.row
    return seen == row or (seen.created_at == row.created_at and seen.seq > row.seq)


def _views_of(loaded: Iterable[Loaded]) -> list[RunView]:
    found: list[RunView] = []
    for each in loaded:
        with suppress(StoreCorruptError):
            found.append(RunView(recorded(each)))
    return found


def in_common(workflow_id: str, found: Sequence[RunView], now: float) -> overview.Overview | None:
    """Return what runs of a workflow have in common; ``None``: none of them completed.

    ``run.count`` of it says how many did.
    """
    done = [each for each in found if each.row.status is RunStatus.COMPLETED]
    if not done:
        return None
    return overview.overview(workflow_id, [each.explanation(now) for each in done])
