"""The view of a run: what its pages show, made of its record. It needs no code of the workflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from gorkflow import events as ev
from gorkflow.codec import Codec
from gorkflow.engine._json import run_shown, values_of
from gorkflow.engine._recorded import Recorded, load
from gorkflow.errors import RunNotFoundError, StoreCorruptError
from gorkflow.events import Ended
from gorkflow.flow import BlockSpec, Place, StepSpec, WorkflowSpec
from gorkflow.insight import overview
from gorkflow.insight.explain import Explanation, Timed, explained
from gorkflow.insight.timeline import label_of
from gorkflow.machine.history import History, left_by
from gorkflow.model import Run, RunStatus, StepExecution, StepStatus
from gorkflow.store import RunReader, RunRow
from gorkflow.values.secret import has_mark

_FEW = 12
"""Branches of a block that stand for all of them, until someone asks for the rest."""
_PAGE = 200
"""Branches on a page of a block."""
_CELLS = 14
"""Cells of a run at a glance."""
_LONG = 600
"""Events from which on a list shows a run without its steps."""
_KEPT = 40_000
"""Events of the runs whose views are kept."""
_WORST = (
    StepStatus.FAILED,
    StepStatus.RETRYING,
    StepStatus.RUNNING,
    StepStatus.SUSPENDED,
    StepStatus.CANCELLED,
    StepStatus.SKIPPED,
    StepStatus.COMPLETED,
    StepStatus.PENDING,
)
"""The statuses in the order in which one stands for several steps, and branches are shown."""


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
    pages: int = 0
    """The number of pages of a block whose branches are not all shown."""


class Listed(NamedTuple):
    """A step, sleep or wait."""

    path: str
    status: StepStatus


class Waiting(NamedTuple):
    """A wait for a signal that is under way."""

    path: str
    signal: str
    since: float


class RunView:
    """A run as its pages show it.

    Args:
        run: its record.
    """

    def __init__(self, run: Recorded) -> None:
        self.recorded = run
        self.row = run.row
        self.redaction = redaction = run.redaction()
        """Leaves out the secrets: all that the view returns has passed it."""
        self._values = values_of(run, redaction)
        with run.reading():
            self._timed = Timed(run.row.run_id, run.tree, run.events)
        self.history: History = self._timed.history
        self._found: tuple[float, Explanation] | None = None

    @cached_property
    def run(self) -> Run:
        """The run as callers see it, its values as plain data."""
        with self.recorded.reading():
            return run_shown(self.recorded, self.history, self._values, self.redaction)

    @cached_property
    def tree(self) -> WorkflowSpec:
        """The flow tree that it executes."""
        return self.redaction.shown(self.history.tree)

    def explanation(self, now: float) -> Explanation:
        """Return where its time went.

        Args:
            now: of a live run: up to when, in seconds since the epoch.
        """
        if self._found is None or (self._found[0] != now and not self.row.status.terminal):
            with self.recorded.reading():
                self._found = now, self.redaction.shown(explained(self._timed, now=now))
        return self._found[1]

    def step(self, path: str) -> StepExecution | None:
        """Return a step, sleep or wait; ``None``: there is none at this path."""
        with self.recorded.reading():
            return self.redaction.shown(self.history.execution(path, self._values))

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
        with self.recorded.reading():
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

    def waits(self) -> list[Waiting]:
        """Return the waits for signals that are under way."""
        return [
            Waiting(event.path, event.signal, event.at)
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
        with self.recorded.reading():
            found = [
                Listed(place.path, self._stands(place, around)[0])
                for place, around in self._places()
                if place.spec.is_listed
            ]
        return self.redaction.shown(found)

    def rows(self, opened: str = "", page: int = 0) -> list[StepRow]:
        """Return the rows of its steps; a block of many branches shows some of them.

        Args:
            opened: the path of a block whose branches are shown page by page.
            page: the page, from 0.
        """
        with self.recorded.reading():
            root = Place("", self.history.tree)
            found = list(self._rows(root, -1, self.history.ended.get(""), opened, page))
        return self.redaction.shown(found)

    def _rows(
        self, place: Place, depth: int, around: Ended | None, opened: str, page: int
    ) -> Iterator[StepRow]:
        path, spec = place
        around = self.history.ended.get(path, around)
        children = place.inside(self.history.marks)
        counts: tuple[tuple[str, int], ...] = ()
        pages = 0
        if isinstance(spec, BlockSpec) and len(children) > _FEW:
            found = [self._stands(child, around)[0] for child in children]
            tally = Counter(found)
            counts = tuple((each.value, tally[each]) for each in _WORST if tally[each])
            pages = -(-len(children) // _PAGE)
            if opened == path:
                children = children[page * _PAGE : (page + 1) * _PAGE]
            else:
                ranks = [_WORST.index(each) for each in found]
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
                pages=pages,
            )
        for child in children:
            yield from self._rows(child, depth + 1, around, opened, page)

    def glance(self) -> list[str]:
        """Return a few statuses that stand for all steps, in declared order."""
        found = [status for _, status in self.listed()]
        size = -(-len(found) // _CELLS) or 1
        return [worst(found[start : start + size]).value for start in range(0, len(found), size)]


def worst(statuses: Iterable[StepStatus]) -> StepStatus:
    """Return the status that stands for several steps."""
    return min(statuses, key=_WORST.index)


class Views:
    """The views of runs, of which the latest are kept: a run that ended stays as it is.

    Args:
        store: has the runs.
    """

    def __init__(self, store: RunReader) -> None:
        self._store = store
        self._kept: dict[str, RunView] = {}
        self._events = 0
        """The number of events of the runs that are kept."""

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

    async def _of(self, row: RunRow) -> RunView:
        kept = self._drop(row.run_id)
        if kept is None or kept.row != row:
            kept = RunView(await load(self._store, row.run_id))
            self._drop(row.run_id)  # another visit may have loaded it meanwhile
        self._kept[row.run_id] = kept
        self._events += kept.row.seq
        while len(self._kept) > 1 and self._events > _KEPT:
            self._drop(next(iter(self._kept)))
        return kept

    def _drop(self, run_id: str) -> RunView | None:
        kept = self._kept.pop(run_id, None)
        self._events -= 0 if kept is None else kept.row.seq
        return kept

    async def of_all(self, rows: Sequence[RunRow], most: int) -> list[RunView]:
        """Return the views of runs, up to so many events of all together.

        Runs that are damaged, or were removed meanwhile, are left out.
        """
        found: list[RunView] = []
        for row in rows:
            most -= row.seq
            if most < 0 and found:
                break
            try:
                found.append(await self._of(row))
            except (RunNotFoundError, StoreCorruptError):
                continue
        return found

    async def brief(self, row: RunRow) -> RunView | None:
        """Return the view of a run in a list; ``None``: it is too long to read for that.

        Raises:
            RunNotFoundError: If it was removed meanwhile.
            StoreCorruptError: If its record is damaged.
        """
        return None if row.seq > _LONG else await self._of(row)


def in_common(workflow_id: str, found: Sequence[RunView], now: float) -> overview.Overview | None:
    """Return what runs of a workflow have in common; ``None``: none of them completed."""
    done = [each for each in found if each.row.status is RunStatus.COMPLETED]
    if not done:
        return None
    return overview.overview(workflow_id, [each.explanation(now) for each in done])
