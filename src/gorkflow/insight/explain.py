"""The explanation of a run: where its time went, and which branch held a block back.

Pure functions over a history. The *critical path* is the chain of waits and work that ended last:
shorten another part, and the run takes as long as before. It covers the run from its start to its
end, so its parts add up to the duration. For the method, see J. E. Kelley and M. R. Walker,
"Critical-Path Planning and Scheduling" (1959).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from gorkflow import events as ev
from gorkflow._notebook import Bundle, drawn
from gorkflow.flow import (
    BlockSpec,
    ChoiceSpec,
    LoopSpec,
    PauseSpec,
    Place,
    StepSpec,
    WorkflowSpec,
    undo_path,
)
from gorkflow.insight.steady import steady
from gorkflow.machine.history import History, Record
from gorkflow.model import RunStatus, StepStatus

_GOES_ON = (StepStatus.COMPLETED, StepStatus.SKIPPED)


class Phase(StrEnum):
    """A kind of time in the life of a run.

    Example:
        >>> from gorkflow.insight import Phase
        >>> Phase("back-off").value
        'back-off'
    """

    RUNNING = "running"
    """A handler ran."""
    QUEUED = "queued"
    """A step waited for a slot of the engine."""
    LIMIT = "limit"
    """A step waited for its named limits."""
    BACK_OFF = "back-off"
    """A step waited for its next attempt."""
    WAITING = "waiting"
    """A sleep, or a wait for a signal."""
    INTERRUPTED = "interrupted"
    """An attempt whose process died, up to when a worker took the run over."""
    ENGINE = "engine"
    """The engine decided, recorded and started; conditions count here, too."""


class Span(Struct, frozen=True):
    """A stretch of time that one node spent in one way. Times are seconds since the run began.

    Example:
        >>> from gorkflow.insight import Phase, Span
        >>> Span("fetch", Phase.RUNNING, 1.0, 3.5).seconds
        2.5
    """

    path: str
    phase: Phase
    began: float
    ended: float
    attempt: int = 0
    """The attempt of a step, from 1; 0 where there is none."""
    failed: bool = False
    """True if the handler failed at its end."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.ended - self.began


class Row(Struct, frozen=True, kw_only=True):
    """A node that began. Times are seconds since the run began.

    Example:
        >>> from gorkflow import StepStatus
        >>> from gorkflow.insight import Phase, Row, Span
        >>> ran = Span("fetch", Phase.RUNNING, 1.0, 3.5)
        >>> Row(
        ...     path="fetch", kind="step", depth=0, status=StepStatus.COMPLETED,
        ...     began=0.5, ended=3.5, spans=(Span("fetch", Phase.QUEUED, 0.5, 1.0), ran),
        ... ).ran
        2.5
    """

    path: str
    kind: str
    """``step``, ``block``, ``map``, ``workflow`` and so on."""
    depth: int
    """The number of nodes around it, the run aside."""
    status: StepStatus
    began: float
    ended: float
    """When it ended, or until now."""
    spans: tuple[Span, ...] = ()
    """The time of a step, sleep or wait, without gaps; empty for other nodes, and if it took
    none."""
    attempts: int = 0
    """The attempts of a step that began."""
    kept: bool = False
    """True: its result was kept from the run that this one repeats."""

    @property
    def ran(self) -> float:
        """Seconds that its handler ran, over all attempts."""
        return sum(span.seconds for span in self.spans if span.phase is Phase.RUNNING)


class Branch(Struct, frozen=True, kw_only=True):
    """A branch of a block. Times are seconds since the run began.

    Example:
        from gorkflow import Engine, Workflow, step

        @step
        def double(number: int) -> int:
            return 2 * number

        async with Engine("memory:") as engine:
            handle = await engine.start(Workflow("doubling", input=int).parallel(double), 21)
            await handle.result()
            [block] = (await engine.explain(handle.run_id)).blocks
            [branch] = block.branches
            assert (branch.path, branch.slack) == ("double", 0.0)
    """

    path: str
    status: StepStatus
    began: float
    ended: float
    work: float
    """Seconds that its handlers ran."""
    slack: float | None
    """Seconds by which it could have ended later, with the block as long as it was; ``None``: it
    was cancelled before it showed."""


class Block(Struct, frozen=True, kw_only=True):
    """A parallel block or map that ran. Times are seconds since the run began.

    Example:
        from gorkflow import Engine, Workflow, step

        @step
        def double(number: int) -> int:
            return 2 * number

        async with Engine("memory:") as engine:
            handle = await engine.start(Workflow("doubling", input=int).parallel(double), 21)
            await handle.result()
            [block] = (await engine.explain(handle.run_id)).blocks
            assert block.critical == "double" and 0 <= block.efficiency <= 1
    """

    path: str
    kind: str
    join: str
    began: float
    ended: float
    branches: tuple[Branch, ...]
    """Those that began, in declared order."""
    critical: str
    """The path of the branch that held it back; empty: none began."""
    lead: float
    """Seconds by which that branch ended after all others."""
    efficiency: float
    """The work of the branches by what as many could have done in that time, from 0 to 1."""
    time: Mapping[Phase, float]
    """The seconds along its critical path, by phase. They add up to its duration."""

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.ended - self.began


class Explanation(Struct, frozen=True, kw_only=True):
    """The account of one run's time.

    Example:
        from gorkflow import Engine, Workflow, step

        @step
        def double(number: int) -> int:
            return 2 * number

        async with Engine("memory:") as engine:
            handle = await engine.start(Workflow("doubling", input=int).then(double), 21)
            await handle.result()
            found = await engine.explain(handle.run_id)
            assert abs(sum(found.time.values()) - found.seconds) < 1e-6
    """

    run_id: str
    workflow_id: str
    status: RunStatus
    seconds: float
    """The duration of the run from its start to its end, or until now."""
    critical: tuple[Span, ...]
    """The critical path. Its spans follow each other without gaps."""
    time: Mapping[Phase, float] = {}
    """The seconds along the critical path, by phase. They add up to the duration."""
    blocks: tuple[Block, ...] = ()
    """The blocks that began, in declared order."""
    rows: tuple[Row, ...] = ()
    """The nodes that began, in declared order, each with those inside after it; then the undo
    steps."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        """Return its drawing, for a notebook."""
        return drawn("explanation", self)


def explain(
    run_id: str, tree: WorkflowSpec, events: Sequence[ev.Event], *, now: float
) -> Explanation:
    """Return where the time of a run went.

    Args:
        run_id: The run.
        tree: The flow tree that it executes.
        events: All its events, in order.
        now: For a run that has not ended: the time up to which it is explained, in seconds since
            the epoch. A run that has ended is explained up to its end.

    Raises:
        HistoryError: If the events contradict the tree, or each other.
    """
    return explained(Timed(run_id, tree, events), now=now)


def explained(timed: Timed, *, now: float) -> Explanation:
    """Return where the time of a run went; as ``explain``.

    Args:
        timed: its history.
        now: as of ``explain``.
    """
    return _Account(timed, now).explanation()


class Timed:
    """A history, and when its nodes ended, on the clock of ``Machine.passed``.

    Args:
        run_id: The run.
        tree: The flow tree that it executes.
        events: All its events, in order.

    Raises:
        HistoryError: If the events contradict the tree, or each other.
    """

    def __init__(self, run_id: str, tree: WorkflowSpec, events: Sequence[ev.Event]) -> None:
        self.history = history = History(run_id, tree)
        self.ends: dict[str, float] = {}
        """When nodes ended, by path."""
        self.times: list[float] = []
        """When each event was recorded."""
        self.start: float | None = None
        """When the run began; ``None``: it has not."""
        self.undoing: float | None = None
        """When its undoing began; ``None``: it has not."""
        machine = history.machine
        for event in events:
            changed = history.feed(event)
            at = machine.passed(machine.at)
            self.times.append(at)
            for path in changed:
                if path in history.ended:
                    self.ends.setdefault(path, at)
            if isinstance(event, ev.RunStarted):
                self.start = at
            elif isinstance(event, ev.UndoStarted) and self.undoing is None:
                self.undoing = at
        history.complete()
        known = steady(events)
        self._records: dict[str, Record] | None = None
        """The records on the clock of ``Machine.passed``; ``None``: those of the history."""
        if known is not events:
            self._records = {}
            history.note_into(self._records, known)

    def record(self, path: str) -> Record:
        """Return what was recorded of a step, sleep or wait, on the clock of ``Machine.passed``."""
        if self._records is None:
            return self.history.record(path)
        return self._records.get(path) or Record()


class _Part(NamedTuple):
    """A node's critical path, and the seconds that the handlers inside ran."""

    spans: list[Span]
    work: float


class _Account:
    """Walks over the tree. Times are seconds since the run began."""

    def __init__(self, timed: Timed, now: float) -> None:
        self.history = timed.history
        self.record = timed.record
        self.blocks: dict[str, Block] = {}
        self.rows: list[Row] = []
        self._depth = -1
        machine = self.history.machine
        until = machine.passed(machine.at)
        if not machine.status.terminal:
            until = max(until, machine.passed(now))
        self.has_begun = timed.start is not None
        self.start = start = until if timed.start is None else timed.start
        """When the run began, on the clock of ``Machine.passed``."""
        self.times = [at - start for at in timed.times]
        """When each event was recorded."""
        self.ends = {path: at - start for path, at in timed.ends.items()}
        self.until = until - start
        self.undoing = None if timed.undoing is None else timed.undoing - start

    def explanation(self) -> Explanation:
        spans: list[Span] = []
        if self.has_begun:
            end = self.until if self.undoing is None else self.undoing
            spans += self.node(Place("", self.history.tree), 0.0, end).spans
            spans += self._undo(end)
        return Explanation(
            run_id=self.history.machine.run_id,
            workflow_id=self.history.tree.id,
            status=self._run_status(),
            seconds=self.until,
            critical=tuple(spans),
            time=by_phase(spans),
            blocks=tuple(self.blocks[row.path] for row in self.rows if row.path in self.blocks),
            rows=tuple(row for row in self.rows if row.path),
        )

    def _run_status(self) -> RunStatus:
        machine = self.history.machine
        return RunStatus.SUSPENDED if machine.is_waiting else machine.status

    def _undo(self, began: float) -> list[Span]:
        """Return the critical path of the undo steps."""
        lanes: list[_Lane] = []
        parts: dict[str, list[Span]] = {}
        for path in map(undo_path, self.history.undoes):
            record = self.record(path)
            if record.scheduled_at is None:
                continue
            first = record.attempts[0].ready_at if record.attempts else record.ready_at
            lane = _Lane(path, self._status(path), self._at(first), self._end(path))
            lanes.append(lane)
            parts[path] = self._step(path, lane.began, lane.ended)
            self._add_row(path, "undo", lane.began, lane.ended, parts[path])
        spans = [span for lane in reversed(_chain(lanes)) for span in parts[lane.path]]
        return _tiled(spans, began, self.until, "")

    # ---- nodes ----------------------------------------------------------------------------

    def _at(self, recorded: float) -> float:
        """Return a time of a record as seconds since the run began."""
        return recorded - self.start

    def _end(self, path: str) -> float:
        return self.ends.get(path, self.until)

    def _status(self, path: str) -> StepStatus:
        over = self.history.ended.get(path)
        return StepStatus.RUNNING if over is None else over.status

    def _add_row(
        self, path: str, kind: str, began: float, ended: float, spans: Iterable[Span] = ()
    ) -> None:
        record = self.record(path)
        self.rows.append(
            Row(
                path=path,
                kind=kind,
                depth=max(0, self._depth),
                status=self._status(path),
                began=began,
                ended=ended,
                spans=tuple(spans),
                attempts=len(record.attempts) + record.open,
                kept=record.kept,
            )
        )

    def node(self, place: Place, began: float, ended: float) -> _Part:
        """Return the critical path of a node. Its spans cover the time from its start to its end.

        Args:
            place: the node; it began.
            began: when.
            ended: when it ended, or now.
        """
        path, spec = place
        kind = spec.noun or spec.kind
        if isinstance(spec, StepSpec | PauseSpec):
            spans = (self._step if isinstance(spec, StepSpec) else self._pause)(path, began, ended)
            self._add_row(path, kind, began, ended, spans)
            return _Part(spans, self.rows[-1].ran)
        self._add_row(path, kind, began, ended)
        self._depth += 1
        if isinstance(spec, BlockSpec):
            part = self._block(place, spec, began, ended)
        else:
            part = self._sequence(place, began, ended)
        self._depth -= 1
        return part

    def _pause(self, path: str, began: float, ended: float) -> list[Span]:
        record = self.record(path)
        since = began if record.began_at is None else self._at(record.began_at)
        return _tiled([Span(path, Phase.WAITING, since, ended)], began, ended, path)

    def _step(self, path: str, began: float, ended: float) -> list[Span]:
        spans: list[Span] = []
        record = self.record(path)

        def spent(
            phase: Phase, since: float, until: float, number: int, *, failed: bool = False
        ) -> None:
            spans.append(Span(path, phase, self._at(since), self._at(until), number, failed))

        before: float | None = None
        for each in record.attempts:
            number, failed = each.number, each.failure is not None
            if before is not None:
                spent(Phase.BACK_OFF, before, each.ready_at, number)
            if each.began_at is None:
                lost = Phase.RUNNING if failed else Phase.INTERRUPTED
                spent(lost, each.ready_at, each.ended_at, number)
            else:
                waits = Phase.LIMIT if each.limits else Phase.QUEUED
                spent(waits, each.ready_at, each.began_at, number)
                spent(Phase.RUNNING, each.began_at, each.ended_at, number, failed=failed)
            before = each.ended_at
        if record.open and record.attempt_at is not None:
            waits = Phase.LIMIT if record.limits else Phase.QUEUED
            spent(waits, record.ready_at, record.attempt_at, record.attempt)
            since = self._at(record.attempt_at)
            spans.append(Span(path, Phase.RUNNING, since, self.until, record.attempt))
        elif spans and record.attempts[-1].failure is not None and record.finished_at != before:
            # A retry is due, or was and did not come.
            spans.append(Span(path, Phase.BACK_OFF, spans[-1].ended, ended, record.attempt))
        return _tiled(spans, began, ended, path)

    def _in_turn(self, place: Place) -> Iterable[Place]:
        """Yield the nodes inside that may have begun, in the order in which they did."""
        path, spec = place
        inside = place.inside(self.history.marks)
        if isinstance(spec, ChoiceSpec):
            done = self.history.done.get(path)
            chosen = None if done is None else done.choice
            inside = [] if chosen is None else inside[chosen : chosen + 1]
        return inside

    def _sequence(self, place: Place, began: float, ended: float) -> _Part:
        spans: list[Span] = []
        work = 0.0
        at = self._asked(place, began)
        for child in self._in_turn(place):
            over = self.history.ended.get(child.path)
            if over is None and ended < self.until:
                break
            part = self.node(child, at, min(ended, self._end(child.path)))
            spans += part.spans
            work += part.work
            at = self._end(child.path)
            if over is None or not (over.optional or over.status in _GOES_ON):
                break
        return _Part(_tiled(spans, began, ended, place.path), work)

    def _asked(self, place: Place, began: float) -> float:
        """Return when the function of a choice or map answered; it is asked at the start."""
        done = None if isinstance(place.spec, LoopSpec) else self.history.done.get(place.path)
        return began if done is None else max(began, self.times[done.seq - 1])

    # ---- blocks ---------------------------------------------------------------------------

    def _block(self, place: Place, spec: BlockSpec, began: float, ended: float) -> _Part:
        opened = min(ended, self._asked(place, began))
        inside = {child.path: child for child in place.inside(self.history.marks)}
        lanes, order = self._begun(place, spec, inside.values(), opened)
        parts = {each.path: self.node(inside[each.path], each.began, each.ended) for each in order}
        work = sum(part.work for part in parts.values())
        chain = _chain(order)
        spans = [span for each in reversed(chain) for span in parts[each.path].spans]
        spans = _tiled(spans, began, ended, place.path)
        slack = _slacks(order, lanes, ended)
        branches = {
            each.path: Branch(
                path=each.path,
                status=each.status,
                began=each.began,
                ended=each.ended,
                work=parts[each.path].work,
                slack=None if each.was_cut else max(0.0, slack[each.path]),
            )
            for each in order
        }
        others = [each.ended for each in order if each is not chain[0] and not each.was_cut]
        capacity = min(lanes, len(order)) * (ended - began)
        self.blocks[place.path] = Block(
            path=place.path,
            kind=spec.noun or spec.kind,
            join=str(spec.join),
            began=began,
            ended=ended,
            branches=tuple(branches[path] for path in inside if path in branches),
            critical=chain[0].path if chain else "",
            lead=chain[0].ended - max(others, default=opened) if chain else 0.0,
            efficiency=min(1.0, work / capacity) if capacity else 1.0,
            time=by_phase(spans),
        )
        return _Part(spans, work)

    def _begun(
        self, place: Place, spec: BlockSpec, inside: Iterable[Place], opened: float
    ) -> tuple[int, list[_Lane]]:
        """Return how many branches can be live, and those that began, in that order."""
        history = self.history
        live = not history.machine.status.terminal and place.path not in history.ended
        found: list[_Lane] = []
        for child in inside:
            over = history.ended.get(child.path)
            if over is None and not live:
                continue
            status = self._status(child.path)
            if (over is None or status is StepStatus.CANCELLED) and not self._has_begun(child):
                continue
            found.append(_Lane(child.path, status, opened, self._end(child.path)))
        lanes = spec.max_concurrency or len(found) or 1
        if lanes >= len(found):
            return lanes, found
        # The machine starts branches without work first, then the others as places become free.
        found.sort(key=lambda each: each.ended > opened)
        ends = sorted(each.ended for each in found)
        late = zip(found[lanes:], ends, strict=False)
        return lanes, [*found[:lanes], *(each._replace(began=end) for each, end in late)]

    def _has_begun(self, place: Place) -> bool:
        inside = (path for path, _ in place.walk(self.history.marks))
        records = map(self.record, inside)
        return any(
            each.scheduled_at is not None or each.finished_at is not None for each in records
        )


class _Lane(NamedTuple):
    """A branch that began, or an undo step."""

    path: str
    status: StepStatus
    began: float
    ended: float

    @property
    def was_cut(self) -> bool:
        """Whether it was stopped before its time."""
        return self.status is StepStatus.CANCELLED


def _chain(order: Sequence[_Lane]) -> list[_Lane]:
    """Return the branch that ended last, the one in whose place it began, and so on, back."""
    if not order:
        return []
    ending: dict[float, _Lane] = {}
    for each in order:
        rival = ending.get(each.ended, each)
        ending[each.ended] = min(rival, each, key=lambda lane: (lane.was_cut, lane.began))
    chain = [ending[max(ending)]]
    while (before := ending.get(chain[-1].began)) and before.began < before.ended:
        chain.append(before)
    return chain


def _slacks(order: Sequence[_Lane], lanes: int, ended: float) -> dict[str, float]:
    """Return by how much each branch could have ended later.

    The branch that took its place would have begun later, too.
    """
    by_end = sorted(range(len(order)), key=lambda index: order[index].ended)
    follows = {index: place + lanes for place, index in enumerate(by_end)}
    slack: dict[int, float] = {}
    for index in reversed(range(len(order))):
        own = ended - order[index].ended
        after = follows[index]
        slack[index] = own if after >= len(order) else min(own, slack[after])
        if order[index].status is StepStatus.FAILED:
            slack[index] = 0.0  # an earlier failure might end the block earlier
    return {each.path: slack[index] for index, each in enumerate(order)}


# ---- spans ------------------------------------------------------------------------------------


def _tiled(spans: Iterable[Span], began: float, ended: float, path: str) -> list[Span]:
    """Return spans that cover the time without gaps: what is left over is the engine's."""
    tiled: list[Span] = []
    at = began
    for span in spans:
        start, end = min(ended, max(at, span.began)), min(ended, max(at, span.ended))
        if start > at:
            tiled.append(Span(path, Phase.ENGINE, at, start))
        if end > start:
            fits = start == span.began and end == span.ended
            tiled.append(span if fits else replace(span, began=start, ended=end))
        at = max(at, end)
    if ended > at:
        tiled.append(Span(path, Phase.ENGINE, at, ended))
    return tiled


def by_phase(spans: Iterable[Span]) -> dict[Phase, float]:
    """Return the seconds of spans by phase; the phases that occur, in their order."""
    total = dict.fromkeys(Phase, 0.0)
    for span in spans:
        total[span.phase] += span.seconds
    return {phase: seconds for phase, seconds in total.items() if seconds}
