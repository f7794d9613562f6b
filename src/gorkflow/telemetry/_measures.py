"""The measures of runs: the metrics of an engine, made of the events that it records.

OpenTelemetry and Prometheus get the same metrics, under the same names. No label has more values
than the workflows have steps: an item of a map counts as ``resize[]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from gorkflow import events as ev
from gorkflow.engine._observer import Activation, Observer
from gorkflow.flow import template_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from gorkflow.store import RunRow

_SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0,
    3_600.0, 21_600.0, 86_400.0,
)  # fmt: skip
_SECONDS_OF_COMMITS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
_SIZES = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0, 10_000.0)


class Instrument(NamedTuple):
    """One metric."""

    name: str
    kind: str
    """``counter``, ``gauge`` or ``histogram``."""
    text: str
    unit: str
    """In the notation of UCUM."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


RUNS_STARTED = Instrument(
    "gorkflow.runs.started", "counter", "Runs that began.", "{run}", ("workflow",)
)
RUNS_ENDED = Instrument(
    "gorkflow.runs.ended", "counter", "Runs that ended.", "{run}", ("workflow", "status")
)
RUN_DURATION = Instrument(
    "gorkflow.run.duration", "histogram", "Time from the begin of a run to its end.", "s",
    ("workflow", "status"), _SECONDS,
)  # fmt: skip
RUNS_LIVE = Instrument(
    "gorkflow.runs.live", "gauge", "Runs that engines here have in memory.", "{run}", ("workflow",)
)
ATTEMPTS = Instrument(
    "gorkflow.attempts", "counter", "Attempts that ended.", "{attempt}",
    ("workflow", "step", "outcome"),
)  # fmt: skip
ATTEMPT_DURATION = Instrument(
    "gorkflow.attempt.duration", "histogram", "Time for which handlers ran.", "s",
    ("workflow", "step", "outcome"), _SECONDS,
)  # fmt: skip
QUEUED = Instrument(
    "gorkflow.attempt.queued", "histogram", "Time from ready to run to the begin of the handler.",
    "s", ("workflow", "step"), _SECONDS,
)  # fmt: skip
RETRIES = Instrument(
    "gorkflow.retries",
    "counter",
    "Failed attempts that another one follows.",
    "{attempt}",
    ("workflow", "step"),
)
STEPS_RUNNING = Instrument(
    "gorkflow.steps.running", "gauge", "Attempts that run now.", "{attempt}", ("workflow",)
)
COMMIT_DURATION = Instrument(
    "gorkflow.commit.duration", "histogram", "Time of a commit of the store.", "s", (),
    _SECONDS_OF_COMMITS,
)  # fmt: skip
COMMIT_EVENTS = Instrument(
    "gorkflow.commit.events", "histogram", "Events in one commit.", "{event}", (), _SIZES
)
STRAYS = Instrument(
    "gorkflow.threads.stray", "gauge", "Threads that outlive their attempts.", "{thread}"
)
INSTRUMENTS = (
    RUNS_STARTED, RUNS_ENDED, RUN_DURATION, RUNS_LIVE, ATTEMPTS, ATTEMPT_DURATION, QUEUED, RETRIES,
    STEPS_RUNNING, COMMIT_DURATION, COMMIT_EVENTS,
)  # fmt: skip
"""All but ``STRAYS``, which is asked for instead of counted."""


class Meter(Protocol):
    """The place to which measures go."""

    strays: list[Callable[[], int]]
    """One for each open engine."""

    def add(self, instrument: Instrument, amount: float, *labels: str) -> None:
        """Add to a counter or gauge, or take a value into a histogram.

        Args:
            instrument: which one.
            amount: the amount.
            labels: the values of its labels.
        """
        ...


class Measures(Observer):
    """Measures what engines do.

    Args:
        meter: where it goes.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def opened(self, strays: Callable[[], int]) -> None:
        self._meter.strays.append(strays)

    def closed(self, strays: Callable[[], int]) -> None:
        self._meter.strays.remove(strays)

    def wrote(self, events: int, seconds: float) -> None:
        self._meter.add(COMMIT_DURATION, seconds)
        self._meter.add(COMMIT_EVENTS, events)

    def cancelled(self, row: RunRow) -> None:
        self._meter.add(RUNS_ENDED, 1, row.workflow_id, row.status.value)

    def activation(self, row: RunRow, context: Context) -> Measured:
        return Measured(self._meter, row.workflow_id)


class Measured(Activation):
    """Measures one run. It knows when each attempt was ready, until that ends."""

    def __init__(self, meter: Meter, workflow: str) -> None:
        self._meter = meter
        self._workflow = workflow
        self._is_live = False
        self._ready: dict[tuple[str, int], float] = {}

    def begin(self, at: float, context: Context) -> None:
        self._is_live = True
        self._meter.add(RUNS_LIVE, 1, self._workflow)

    def left(self, row: RunRow, at: float) -> None:
        if self._is_live:
            self._is_live = False
            self._meter.add(RUNS_LIVE, -1, self._workflow)
        self._meter.add(STEPS_RUNNING, -len(self._ready), self._workflow)
        self._ready.clear()

    def recorded(self, row: RunRow, events: Sequence[ev.Event]) -> None:
        withdrawn = {event.failure for event in events if isinstance(event, ev.StepCancelled)}
        for event in events:
            match event:
                case ev.StepScheduled():
                    self._scheduled(event)
                case ev.StepCompleted():
                    self._ended(event, "completed", event.began_at, event.ended_at)
                case ev.StepFailed():
                    self._ended(event, "failed", event.began_at, event.ended_at)
                    if event.retry_at is not None and event.seq not in withdrawn:
                        self._meter.add(RETRIES, 1, self._workflow, template_of(event.path))
                case ev.StepCancelled():
                    self._ended(event, "cancelled", None, None)
                case ev.StepInterrupted():
                    step = template_of(event.path)
                    self._meter.add(ATTEMPTS, 1, self._workflow, step, "interrupted")
                case ev.RunStarted():
                    self._meter.add(RUNS_STARTED, 1, self._workflow)
                case ev.RunFinished():
                    self._finished(row, event)
                case _:
                    pass

    def _scheduled(self, event: ev.StepScheduled) -> None:
        self._ready[event.path, event.attempt] = event.ready_at
        self._meter.add(STEPS_RUNNING, 1, self._workflow)

    def _ended(
        self,
        event: ev.StepCompleted | ev.StepFailed | ev.StepCancelled,
        outcome: str,
        began_at: float | None,
        ended_at: float | None,
    ) -> None:
        ready_at = self._ready.pop((event.path, event.attempt), None)
        if ready_at is None:
            return  # no handler: a condition failed, say, or a wait was cancelled
        step = template_of(event.path)
        labels = (self._workflow, step, outcome)
        self._meter.add(STEPS_RUNNING, -1, self._workflow)
        self._meter.add(ATTEMPTS, 1, *labels)
        if began_at is not None:
            self._meter.add(QUEUED, max(0.0, began_at - ready_at), self._workflow, step)
            took = (ended_at or event.at) - began_at
            self._meter.add(ATTEMPT_DURATION, max(0.0, took), *labels)

    def _finished(self, row: RunRow, event: ev.RunFinished) -> None:
        labels = (self._workflow, event.status.value)
        self._meter.add(RUNS_ENDED, 1, *labels)
        if row.started_at is not None:
            self._meter.add(RUN_DURATION, max(0.0, event.at - row.started_at), *labels)
