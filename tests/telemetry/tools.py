"""Spans and metrics in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gorkflow.telemetry import OpenTelemetry

Tree = dict[str, "Tree"]


@dataclass
class Recorder:
    """The spans and metrics of engines with its ``telemetry``."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = OpenTelemetry(tracer_provider=self.provider, meter_provider=self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name, in the order in which they began."""
        found = [span for span in self.spans if span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def inside(self, parent: ReadableSpan | None) -> list[ReadableSpan]:
        wanted = None if parent is None else parent.context.span_id
        known = {span.context.span_id for span in self.spans}
        found = [
            span
            for span in self.spans
            if (span.parent.span_id if span.parent and span.parent.span_id in known else None)
            == wanted
        ]
        return sorted(found, key=lambda span: (span.start_time or 0, shown(span)))

    def tree(self, parent: ReadableSpan | None = None) -> list[object]:
        """Return the spans as nested lists: what they are, then those inside."""
        return [[shown(span), *self.tree(span)] for span in self.inside(parent)]

    def metric(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric by its labels; of a histogram, how many it counted."""
        found = {
            tuple(labels.values()): value for it, labels, value in self.metrics() if it == name
        }
        return {tuple(map(str, labels)): value for labels, value in found.items()}

    def metrics(self) -> Iterator[tuple[str, dict[str, object], float]]:
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        labels = dict(point.attributes or {})
                        is_histogram = isinstance(point, HistogramDataPoint)
                        yield metric.name, labels, point.count if is_histogram else point.value


def shown(span: ReadableSpan) -> str:
    kind = span.name.partition(" ")[0]
    fields = span.attributes or {}
    if kind == "run":
        return f"{span.name}: {fields['gorkflow.status']}"
    if kind not in {"step", "attempt"}:
        return span.name
    number = f" {fields['gorkflow.attempt']}" if kind == "attempt" else ""
    return f"{kind} {fields['gorkflow.path']}{number}: {fields['gorkflow.outcome']}"


def links(span: ReadableSpan) -> list[int]:
    """Return the ids of the spans that a span is linked to."""
    return [link.context.span_id for link in span.links]
