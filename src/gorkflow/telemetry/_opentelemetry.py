"""The observers for OpenTelemetry: spans and metrics, by the providers of the program."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from gorkflow.engine._observer import Telemetry
from gorkflow.telemetry._extra import imported
from gorkflow.telemetry._measures import INSTRUMENTS, STRAYS, Instrument, Measures

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from opentelemetry.trace import TracerProvider

_NAME = "gorkflow"


class OpenTelemetry(Telemetry):
    """Spans and metrics of runs, by OpenTelemetry: ``Engine(telemetry=OpenTelemetry())``.

    A run is a span, with a span for each step, and in that one for each attempt. Inside a step, the
    attempt is the current span: in threads, processes and executors of yours, too. A run that is
    started inside a span belongs to its trace.

    It needs ``pip install '.[otel]'`` in the clone, and providers that your program configures.

    Example:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from gorkflow import Engine, Workflow, step
        from gorkflow.telemetry import OpenTelemetry

        @step
        async def double(number: int) -> int:
            return 2 * number

        spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(spans))

        async with Engine("memory:", telemetry=OpenTelemetry(tracer_provider=provider)) as engine:
            await engine.run(Workflow("doubling", input=int).then(double), 21)
        names = [span.name for span in spans.get_finished_spans()]
        assert names == ["attempt double", "step double", "run doubling"]

    Args:
        tracer_provider: makes the spans; ``None``: the global one of OpenTelemetry.
        meter_provider: takes the metrics; ``None``: the global one.

    Raises:
        ModuleNotFoundError: If ``opentelemetry`` is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        imported("opentelemetry.trace", "otel")
        from opentelemetry import metrics, trace

        from gorkflow.telemetry._spans import Spans

        of = _version()
        tracer = trace.get_tracer(_NAME, of, tracer_provider)
        meter = metrics.get_meter(_NAME, of, meter_provider)
        self.observers = (Spans(tracer), Measures(_Meter(meter)))


def _version() -> str:
    try:
        return version(_NAME)
    except PackageNotFoundError:  # it runs from its sources
        return ""


class _Meter:
    """The metrics as OpenTelemetry takes them."""

    def __init__(self, meter: Meter) -> None:
        self.strays: list[Callable[[], int]] = []
        self._add = {each: _made(meter, each) for each in INSTRUMENTS}
        meter.create_observable_gauge(
            STRAYS.name,
            [self._count],
            STRAYS.unit,
            STRAYS.text,
        )

    def _count(self, _: CallbackOptions) -> list[Observation]:
        from opentelemetry.metrics import Observation

        return [Observation(sum(count() for count in [*self.strays]))]

    def add(self, instrument: Instrument, amount: float, *labels: str) -> None:
        self._add[instrument](amount, dict(zip(instrument.labels, labels, strict=True)))


def _made(meter: Meter, it: Instrument) -> Callable[..., None]:
    if it.kind == "counter":
        return meter.create_counter(it.name, it.unit, it.text).add
    if it.kind == "gauge":
        return meter.create_up_down_counter(it.name, it.unit, it.text).add
    return meter.create_histogram(
        it.name, it.unit, it.text, explicit_bucket_boundaries_advisory=it.buckets
    ).record
