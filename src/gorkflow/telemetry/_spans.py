"""The spans of a run: one for each activation, for each step in it, and for each attempt of that.

A span is open only while the run is in this engine. A later activation of a run is a new span, with
a link to the one before. All belong to one trace, which is kept with the run as two traceparents
of W3C: that of the parent of all activations, and that of the latest one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel
from opentelemetry import propagate
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from gorkflow import events as ev
from gorkflow.engine._observer import Activation, Observer
from gorkflow.flow import template_of
from gorkflow.model import Failure, RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import Context

    from opentelemetry.trace import Tracer

    from gorkflow.engine._observer import Sent
    from gorkflow.machine import RunStep
    from gorkflow.store import RunRow

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_CONTINUED = f"{__name__}:continued"


class Spans(Observer):
    """Makes the spans of runs.

    Args:
        tracer: makes one.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def activation(self, row: RunRow, context: Context) -> RunSpans:
        return RunSpans(self._tracer, row, context)


class _Open:
    """An attempt that is recorded as scheduled, and has not ended."""

    __slots__ = ("event", "span")

    def __init__(self, event: ev.StepScheduled) -> None:
        self.event = event
        self.span: Span | None = None


class RunSpans(Activation):
    """The spans of one activation.

    Args:
        tracer: makes them.
        row: the run.
        context: the context variables of who starts it, if it is new.
    """

    def __init__(self, tracer: Tracer, row: RunRow, context: Context) -> None:
        self._tracer = tracer
        self._row = row
        self.trace = row.trace
        if not row.seq:  # new: it belongs to the trace in which it is started
            self.trace = _written(context.run(get_current_span).get_span_context())
        self._run: Span = INVALID_SPAN
        self._began_at = 0.0
        self._steps: dict[str, Span] = {}
        self._open: dict[tuple[str, int], _Open] = {}
        self._before: dict[str, tuple[SpanContext, Failure | None]] = {}
        """The latest attempts of steps that may be tried again, by path, and why they failed."""

    # ---- the run --------------------------------------------------------------------------

    def begin(self, at: float, context: Context) -> None:
        parent, latest = _read(self.trace)
        row, around = self._row, context.run(otel.get_current)  # it may have baggage, too
        self._began_at = at
        self._run = self._tracer.start_span(
            f"run {row.workflow_id}",
            set_span_in_context(INVALID_SPAN if parent is None else parent, around),
            SpanKind.CONSUMER,
            _filled(
                {
                    "gorkflow.run_id": row.run_id,
                    "gorkflow.workflow_id": row.workflow_id,
                    "gorkflow.workflow_version": row.workflow_version,
                    "gorkflow.resource_id": row.resource_id,
                    "gorkflow.worker_id": row.worker_id,
                }
            ),
            links=[] if latest is None else [Link(latest, {"gorkflow.link": "before"})],
            start_time=_ns(at),
        )
        mine = self._run.get_span_context()
        if mine.is_valid:
            self.trace = f"{self.trace.split()[0] if parent else _written(mine)} {_written(mine)}"
        # What it calls besides its steps, such as conditions, belongs to the run.
        context.run(otel.attach, set_span_in_context(self._run, around))

    def left(self, row: RunRow, at: float) -> None:
        for path, attempt in list(self._open):
            self._end_attempt(path, attempt, at, "left")
        for path in list(self._steps):
            self._end_step(path, at, "left")
        self._run.set_attribute("gorkflow.status", row.status.value)
        if row.status is RunStatus.FAILED:
            self._run.set_status(Status(StatusCode.ERROR, row.reason))
        self._run.end(_ns(row.finished_at or at))

    def recorded(self, row: RunRow, events: Sequence[ev.Event]) -> None:
        for event in events:
            match event:
                case ev.StepScheduled():
                    self._scheduled(event)
                case ev.StepCompleted():
                    at = event.ended_at or event.at
                    self._end_attempt(event.path, event.attempt, at, "completed", event.began_at)
                    self._end_step(event.path, at, "completed")
                case ev.StepFailed():
                    self._failed(event)
                case ev.StepCancelled():
                    self._cancelled(event)
                case _:
                    self._happened(event)

    def _happened(self, event: ev.Event) -> None:
        """Write an event of the run that is about no attempt."""
        told: dict[str, Any] = {}
        match event:
            case ev.StepInterrupted():
                told = {
                    "gorkflow.attempt": event.attempt,
                    "gorkflow.reason": event.reason,
                }
            case ev.TimerSet(key="sleep") | ev.WaitOpened():
                told = {"gorkflow.due": event.due}
            case ev.BlockDecided():
                told = {"gorkflow.verdict": event.verdict, "gorkflow.reason": event.reason}
            case ev.SignalReceived() | ev.CancelRequested():
                pass
            case _:
                return
        told = _filled({"gorkflow.path": event.path, **told})
        self._run.add_event(f"gorkflow.{event.kind}", told, _ns(event.at))

    # ---- steps and attempts ---------------------------------------------------------------

    def _scheduled(self, event: ev.StepScheduled) -> None:
        path = event.path
        self._open[path, event.attempt] = _Open(event)
        if path not in self._steps:
            self._steps[path] = self._tracer.start_span(
                f"step {template_of(path)}",
                set_span_in_context(self._run, otel.Context()),
                attributes=self._of(path),
                start_time=_ns(max(event.ready_at, self._began_at)),
            )

    def _of(self, path: str) -> dict[str, Any]:
        return {
            "gorkflow.run_id": self._row.run_id,
            "gorkflow.workflow_id": self._row.workflow_id,
            "gorkflow.path": path,
        }

    def _begin_attempt(self, path: str, attempt: int, at: float, executor: str) -> Span:
        """Return the span of an attempt; it begins if it has not begun."""
        found = self._open.get((path, attempt))
        if found is None:
            return INVALID_SPAN  # it was decided before its thread came to begin it
        if found.span is None:
            before = self._before.get(path)
            found.span = self._tracer.start_span(
                f"attempt {template_of(path)}",
                set_span_in_context(self._steps.get(path, self._run), otel.Context()),
                attributes=_filled(
                    {
                        **self._of(path),
                        "gorkflow.attempt": attempt,
                        "gorkflow.executor": executor,
                        "gorkflow.limits": found.event.limits,
                    }
                ),
                links=[] if before is None else [Link(before[0], {"gorkflow.link": "before"})],
                start_time=_ns(at),
            )
        return found.span

    def enter(self, command: RunStep, at: float) -> Callable[[], object]:
        executor = command.spec.executor
        span = self._begin_attempt(command.path, command.attempt, at, executor)
        token = otel.attach(set_span_in_context(span))
        return lambda: otel.detach(token)

    def sent(self, command: RunStep, at: float) -> Sent:
        executor = command.spec.executor
        span = self._begin_attempt(command.path, command.attempt, at, executor)
        texts: dict[str, str] = {}
        propagate.inject(texts, set_span_in_context(span))
        return {_CONTINUED: texts} if texts else {}

    def _failed(self, event: ev.StepFailed) -> None:
        at = event.ended_at or event.at
        if (event.path, event.attempt) not in self._open:  # a condition did, say
            _raised(self._run, event.failure, at)
            return
        self._end_attempt(event.path, event.attempt, at, "failed", event.began_at, event.failure)
        if event.retry_at is None:
            self._end_step(event.path, at, "failed", event.failure)

    def _cancelled(self, event: ev.StepCancelled) -> None:
        path = event.path
        self._end_attempt(path, event.attempt, event.at, "cancelled")
        _, failure = self._before.get(path, (None, None))
        if event.failure is None:
            self._end_step(path, event.at, "cancelled")
        else:  # its retry was withdrawn
            self._end_step(path, event.at, "failed", failure)

    def _end_attempt(
        self,
        path: str,
        attempt: int,
        at: float,
        outcome: str,
        began_at: float | None = None,
        failure: Failure | None = None,
    ) -> None:
        found = self._open.get((path, attempt))
        if found is None:
            return
        event = found.event
        span = self._begin_attempt(path, attempt, event.at, "")  # if its handler never began
        del self._open[path, attempt]
        self._before[path] = span.get_span_context(), failure
        if began_at is not None:
            span.set_attribute("gorkflow.queued", max(0.0, began_at - event.ready_at))
        _end(span, at, outcome, failure)

    def _end_step(self, path: str, at: float, outcome: str, failure: Failure | None = None) -> None:
        self._before.pop(path, None)
        span = self._steps.pop(path, None)
        if span is not None:
            _end(span, at, outcome, failure)


def continued(texts: dict[str, str]) -> Callable[[], object]:
    """Continue a trace where a remote job runs; return what ends that."""
    token = otel.attach(propagate.extract(texts))
    return lambda: otel.detach(token)


def _end(span: Span, at: float, outcome: str, failure: Failure | None) -> None:
    span.set_attribute("gorkflow.outcome", outcome)
    if failure is not None:
        _raised(span, failure, at)
        span.set_status(Status(StatusCode.ERROR, str(failure)))
    span.end(_ns(at))


def _raised(span: Span, failure: Failure, at: float) -> None:
    """Write a failure as OpenTelemetry writes exceptions."""
    fields = {
        "exception.type": failure.type.removeprefix("builtins."),
        "exception.message": failure.message,
        "exception.stacktrace": failure.traceback,
        "gorkflow.code": failure.code.value,
        "gorkflow.path": failure.path,
    }
    span.add_event("exception", _filled(fields), _ns(at))


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", ())}


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _written(context: SpanContext) -> str:
    """Return a span context as a traceparent; empty if it is none."""
    if not context.is_valid:
        return ""
    flags = int(context.trace_flags)
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"


def _read(trace: str) -> tuple[Span | None, SpanContext | None]:
    """Return the parent of all activations and the latest one, as far as there are any."""
    found = [
        SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
        for trace_id, span_id, flags in _TRACEPARENT.findall(trace)
    ]
    parent = NonRecordingSpan(found[0]) if found else None
    return parent, found[1] if len(found) > 1 else None
