"""The telemetry of the command line: OpenTelemetry as its environment variables configure it."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from typing import Any

from gorkflow.telemetry._extra import imported
from gorkflow.telemetry._opentelemetry import OpenTelemetry

_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
"""The names of exporters by ``OTEL_EXPORTER_OTLP_PROTOCOL``."""


@contextmanager
def configured() -> Generator[OpenTelemetry]:
    """Configure OpenTelemetry, unless the program has; at the end, export what is left.

    ``OTEL_TRACES_EXPORTER`` and ``OTEL_METRICS_EXPORTER`` name exporters: ``otlp``, the default,
    ``console`` or ``none``. The SDK reads the other variables.

    Raises:
        ModuleNotFoundError: If the SDK or an exporter is not installed.
    """
    trace = imported("opentelemetry.trace", "otel")
    provider = trace.get_tracer_provider()
    with ExitStack() as stack:
        if isinstance(provider, trace.ProxyTracerProvider):
            _configure(stack)
        elif hasattr(provider, "force_flush"):
            stack.callback(provider.force_flush)
        yield OpenTelemetry()


def _configure(stack: ExitStack) -> None:
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise _missing("the package opentelemetry-sdk") from error
    from opentelemetry import metrics, trace

    if "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "gorkflow")
    spans = TracerProvider(shutdown_on_exit=False)
    for exporter in _exporters("traces"):
        spans.add_span_processor(BatchSpanProcessor(exporter))
    readers = [PeriodicExportingMetricReader(exporter) for exporter in _exporters("metrics")]
    measures = MeterProvider(readers, shutdown_on_exit=False)
    stack.callback(measures.shutdown)
    stack.callback(spans.shutdown)
    trace.set_tracer_provider(spans)
    metrics.set_meter_provider(measures)


def _exporters(signal: str) -> list[Any]:
    """Return the exporters for ``traces`` or ``metrics``."""
    wanted = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() or "otlp"
    return [_exporter(signal, name.strip()) for name in wanted.split(",") if name.strip() != "none"]


def _exporter(signal: str, name: str) -> Any:
    names = [name]
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
        names = [_OTLP[protocol]] if protocol in _OTLP else [*reversed(_OTLP.values())]
    for each in names:
        for found in entry_points(group=f"opentelemetry_{signal}_exporter", name=each):
            return found.load()()
    raise _missing(f"an exporter for {signal} called {name!r}")


def _missing(what: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"--otel needs {what}; run pip install opentelemetry-sdk "
        "opentelemetry-exporter-otlp-proto-http, or configure OpenTelemetry in TARGET",
        name="opentelemetry",
    )
