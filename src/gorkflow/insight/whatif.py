"""The forecast of a run: its recorded durations, run again by the real machine under other rules.

No handler is called, and no time passes: a discrete-event simulation. It knows one run: steps of
other runs that share its named limits are not in it.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from operator import itemgetter
from statistics import fmean
from typing import NamedTuple, cast

from msgspec import Struct
from msgspec.structs import replace

from gorkflow import events as ev
from gorkflow._text import brief, did_you_mean
from gorkflow.flow import WorkflowSpec, from_json, id_at, template_of, to_json, walk
from gorkflow.insight.explain import Explanation, explain
from gorkflow.insight.steady import steady
from gorkflow.machine import (
    AskTime,
    AwaitSignal,
    Decide,
    Expand,
    Machine,
    RunStep,
    StartTimer,
)
from gorkflow.policy import Limit

_LONGER = 0.001
"""Seconds that an attempt would have run on, at least, had it not been cut off."""


class Changes(Struct, frozen=True, kw_only=True):
    """The rules that a forecast changes.

    Example:
        >>> from gorkflow.insight import Changes
        >>> Changes(max_concurrency=16, without_retries=True).max_concurrency
        16
    """

    max_concurrency: int | None = None
    """The most branches that are live in each block; ``None``: as recorded."""
    slots: int | None = None
    """The steps that the engine runs at a time; ``None``: any number."""
    without_retries: bool = False
    """True: each step has its last attempt only."""
    scale: Mapping[str, float] = {}
    """Factors of the time that handlers take, by the id or path of a step."""


class Try(NamedTuple):
    """A recorded attempt."""

    starts: float
    """Seconds from when it was admitted to when its handler began."""
    runs: float
    """Seconds that the handler ran."""
    records: float
    """Seconds from its end to when that was recorded."""
    end: ev.StepCompleted | ev.StepFailed | ev.StepInterrupted | None
    back_off: float | None = None
    """Seconds to the next attempt; ``None``: the end is final."""


def whatif(
    run_id: str, tree: WorkflowSpec, events: Sequence[ev.Event], changes: Changes
) -> Explanation:
    """Return how the run would have gone under other rules.

    Args:
        run_id: The run; it has ended.
        tree: The flow tree that it executed.
        events: All its events, in order.
        changes: The rules to change.

    Raises:
        ValueError: If the run has not ended, or ``scale`` names no step of the workflow.
    """
    if not events or not isinstance(events[-1], ev.RunFinished):
        raise ValueError(f"run {run_id!r} has not ended; a forecast needs its whole history")
    for option in ("max_concurrency", "slots"):
        number = getattr(changes, option)
        if number is not None and (isinstance(number, bool) or number < 1):
            raise ValueError(f"{option} must be at least 1, not {brief(number)}")
    for name, factor in changes.scale.items():
        if not 0 <= factor < inf:
            raise ValueError(f"the factor of {name!r} must be 0 or more, not {brief(factor)}")
    known = {name for path, node in walk(tree) for name in (path, node.id)}
    for name in changes.scale:
        if name not in known and template_of(name) not in known:
            hint = did_you_mean(name, sorted(known))
            raise ValueError(f"workflow {tree.id!r} has no step {name!r}; {hint}")
    changed = tree if changes.max_concurrency is None else _bounded(tree, changes.max_concurrency)
    forecast = Forecast(run_id, changed, _Recorded(steady(events)), changes)
    return explain(run_id, changed, forecast.run(), now=forecast.now)


def _bounded(tree: WorkflowSpec, most: int) -> WorkflowSpec:
    """Return a tree whose blocks have at most so many live branches."""

    def bound(node: object) -> object:
        if isinstance(node, list):
            return [bound(each) for each in cast("list[object]", node)]
        if not isinstance(node, dict):
            return node
        changed = {key: bound(value) for key, value in cast("dict[str, object]", node).items()}
        return {**changed, "max_concurrency": most} if "max_concurrency" in changed else changed

    return from_json(json.dumps(bound(json.loads(to_json(tree)))))


class _Recorded:
    """The durations and answers of a history, by path.

    Args:
        events: all its events, by a clock that was not set.
    """

    def __init__(self, events: Sequence[ev.Event]) -> None:
        self.opening = [each for each in events if isinstance(each, ev.RunCreated | ev.ResultKept)]
        self.started: ev.RunStarted | None = None
        self.cancelled: ev.CancelRequested | None = None
        self.tries: dict[str, list[Try]] = {}
        self.answers: dict[str, list[ev.Event]] = defaultdict(list)
        """The answers of conditions, keys and times; of a loop one for each iteration."""
        self.signals: dict[str, float] = {}
        """Seconds that each wait for a signal took."""
        self._read(events)
        self.usual = self._usual()
        self._last = {template_of(path): found[-1] for path, found in self.answers.items()}

    def _read(self, events: Iterable[ev.Event]) -> None:
        open_: dict[str, ev.StepScheduled] = {}
        since: dict[str, float] = {}
        for each in events:
            if isinstance(each, ev.RunStarted):
                self.started = each
            elif isinstance(each, ev.CancelRequested):
                self.cancelled = each
            elif isinstance(each, ev.StepScheduled):
                open_[each.path] = each
            elif isinstance(each, ev.Decided | ev.Expanded | ev.Timed):
                self.answers[each.path].append(each)
            elif isinstance(each, ev.WaitOpened):
                since[each.path] = each.at
            elif isinstance(each, ev.SignalReceived):
                self.signals[each.path] = each.at - since.get(each.path, each.at)
            elif scheduled := open_.pop(each.path, None):
                self.tries.setdefault(each.path, []).append(_try(scheduled, each))

    def _usual(self) -> dict[str, float]:
        """Return the mean seconds that handlers ran, by template."""
        runs: dict[str, list[float]] = defaultdict(list)
        for path, tries in self.tries.items():
            runs[template_of(path)] += [each.runs for each in tries if each.end is not None]
        return {template: fmean(found) for template, found in runs.items() if found}

    def answer(self, path: str, number: int) -> ev.Event | None:
        """Return an answer of the function at a path.

        Args:
            path: the choice, loop, map, sleep or wait.
            number: how many came before. If there is none of that number, another item's stands in.
        """
        answers = self.answers.get(path, ())
        if number < len(answers):
            return answers[number]
        return self._last.get(template_of(path))

    def attempt(self, path: str, number: int, *, last: bool) -> Try:
        """Return how an attempt goes; if none is recorded, as is usual for the step.

        Args:
            path: the step.
            number: the attempt, from 1.
            last: whether only the last recorded attempt counts.
        """
        tries = self.tries.get(path, [])
        if last and tries:
            tries = tries[-1:]
        usual = self.usual.get(template_of(path), 0.0)
        if number > len(tries):
            return Try(0.0, usual, 0.0, None)
        found = tries[number - 1]
        if found.end is None:  # it was cut off, so it would have taken longer
            return found._replace(runs=max(found.runs + _LONGER, usual))
        return found


def _try(scheduled: ev.StepScheduled, end: ev.Event) -> Try:
    if not isinstance(end, ev.StepCompleted | ev.StepFailed | ev.StepInterrupted):
        return Try(0.0, max(0.0, end.at - scheduled.at), 0.0, None)
    if isinstance(end, ev.StepInterrupted):
        return Try(0.0, max(0.0, end.at - scheduled.at), 0.0, end)
    began = end.began_at or scheduled.at
    ended = end.ended_at or end.at
    retry_at = end.retry_at if isinstance(end, ev.StepFailed) else None
    return Try(
        starts=max(0.0, began - scheduled.at),
        runs=max(0.0, ended - began),
        records=max(0.0, end.at - ended),
        end=end,
        back_off=None if retry_at is None else max(0.0, retry_at - ended),
    )


class Forecast:
    """A discrete-event simulation: the next thing that happens is taken from a heap."""

    def __init__(
        self, run_id: str, tree: WorkflowSpec, record: _Recorded, changes: Changes
    ) -> None:
        self.machine = Machine(run_id, tree)
        self.record = record
        self.changes = changes
        self.events: list[ev.Event] = []
        self.now = 0.0
        self._ahead: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._answered: Counter[str] = Counter()
        self._queues: dict[tuple[Limit, ...], deque[tuple[int, RunStep]]] = defaultdict(deque)
        """The steps that want to start, by the limits that they need, each with its turn."""
        self._running = 0
        self._inside: Counter[str] = Counter()
        """The steps that hold a limit, by its name."""
        self._starts: dict[str, list[float]] = defaultdict(list)
        """When steps started that took a limit with a rate, by its name."""

    def run(self) -> list[ev.Event]:
        """Return the history of the simulated run."""
        for event in self.record.opening:
            self.now = max(self.now, event.at)
            self._take(replace(event, seq=self.machine.seq + 1, at=self.now))
        started, cancelled = self.record.started, self.record.cancelled
        if started is not None:
            self.now = started.at
            self._feed(ev.RunStarted, "", started.deadline)
        if cancelled is not None:
            ask = partial(self._feed, ev.CancelRequested, "", cancelled.reason)
            self._later(cancelled.at - self.now, ask)
        while not self.machine.status.terminal:
            self._perform()
            if not self._ahead:
                raise ValueError(
                    "under these rules the run waits for a signal that is not recorded; "
                    "forecast a run that got it"
                )
            self.now, _, act = heapq.heappop(self._ahead)
            act()
        return self.events

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._ahead, (self.now + max(0.0, seconds), next(self._order), act))

    def _feed(self, event: Callable[..., ev.Event], path: str, *fields: object) -> None:
        self._take(event(self.machine.run_id, self.machine.seq + 1, path, self.now, *fields))

    def _take(self, event: ev.Event) -> None:
        self.events += [event, *self.machine.feed(event)]

    def _perform(self) -> None:
        """Do what the machine asks for."""
        for command in self.machine.take_commands():
            if isinstance(command, RunStep):
                self._queues[command.spec.limits].append((next(self._order), command))
            elif isinstance(command, Decide | Expand | AskTime):
                self._later(0.0, partial(self._answer, command))
            elif isinstance(command, AwaitSignal):
                seconds = self.record.signals.get(command.path)
                if seconds is not None:
                    self._later(seconds, partial(self._signal, command.signal))
            elif isinstance(command, StartTimer):
                self._later(command.due - self.now, partial(self._fire, command))
        self._admit()

    def _answer(self, command: Decide | Expand | AskTime) -> None:
        if not self.machine.wants(command):
            return
        number = self._answered[command.path]
        answer = self.record.answer(command.path, number)
        if answer is None:
            raise ValueError(
                f"under these rules the run reaches {command.path!r}, and no answer of its "
                "function is recorded; forecast a run that came so far"
            )
        self._answered[command.path] += 1
        self._take(replace(answer, path=command.path, seq=self.machine.seq + 1, at=self.now))

    def _signal(self, signal: str) -> None:
        """Hand a message, which arrives now, to the wait whose turn it is."""
        path = self.machine.next_waiter(signal)
        if path is not None:
            self._feed(ev.SignalReceived, path, next(self._order), b"null")

    def _fire(self, timer: StartTimer) -> None:
        if self.machine.wants(timer):
            self._feed(ev.TimerFired, timer.path, timer.key)

    # ---- steps ----------------------------------------------------------------------------

    def _admit(self) -> None:
        """Start the steps that have room, in the order in which they asked."""
        soonest = inf
        heads = [(queue[0][0], limits) for limits, queue in self._queues.items() if queue]
        while heads:
            first = min(heads, key=itemgetter(0))
            heads.remove(first)
            limits = first[1]
            at = self._room_at(limits)
            if at > self.now:  # nor can those behind it start: they need the same
                soonest = min(soonest, at)
                continue
            queue = self._queues[limits]
            _, step = queue.popleft()
            if self.machine.wants(step):
                self._start(step)
            if queue:
                heads.append((queue[0][0], limits))
        if soonest < inf:
            self._later(soonest - self.now, lambda: None)

    def _room_at(self, limits: Sequence[Limit]) -> float:
        """Return when a step may start; infinity: only after another has ended."""
        slots = self.changes.slots
        if slots is not None and self._running >= slots:
            return inf
        at = self.now
        for limit in limits:
            if limit.concurrency is not None and self._inside[limit.name] >= limit.concurrency:
                return inf
            if limit.window is not None:
                most, per = limit.window
                recent = self._starts[limit.name][-most:]
                if len(recent) == most:
                    at = max(at, recent[0] + per)
        return at

    def _start(self, step: RunStep) -> None:
        path, names = step.path, tuple(limit.name for limit in step.spec.limits)
        self._feed(ev.StepScheduled, path, step.attempt, step.input, step.ready_at, names)
        self._running += 1
        self._inside.update(names)
        for name in names:
            self._starts[name].append(self.now)
        alone = self.changes.without_retries
        how = self.record.attempt(path, step.attempt, last=alone)
        scale = self.changes.scale
        known = (path, template_of(path), id_at(path))
        factor = next((scale[name] for name in known if name in scale), 1.0)
        began = self.now + how.starts
        ended = began + how.runs * factor
        self._later(ended + how.records - self.now, partial(self._end, step, how, began, ended))

    def _end(self, step: RunStep, how: Try, began: float, ended: float) -> None:
        path, attempt = step.path, step.attempt
        self._running -= 1
        self._inside.subtract(limit.name for limit in step.spec.limits)
        if not self.machine.expects(path, attempt):
            return
        end = how.end
        if isinstance(end, ev.StepInterrupted):
            self._feed(ev.StepInterrupted, path, attempt, end.reason, end.counts)
        elif isinstance(end, ev.StepFailed):
            retry_at = None if how.back_off is None else ended + how.back_off
            fields = (attempt, end.failure, began, retry_at, ended, end.unknown)
            self._feed(ev.StepFailed, path, *fields)
        else:
            state = () if end is None else end.state
            self._feed(ev.StepCompleted, path, attempt, b"null", began, ended, state)
