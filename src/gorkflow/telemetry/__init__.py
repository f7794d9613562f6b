"""Telemetry: the observers of an engine. Spans and metrics, and logs as JSON.

``OpenTelemetry`` and ``Prometheus`` need extras, which are imported when you make one of them.
"""

from gorkflow.telemetry._json_lines import JsonFormatter
from gorkflow.telemetry._opentelemetry import OpenTelemetry
from gorkflow.telemetry._prometheus import CONTENT_TYPE, Prometheus

__all__ = ["CONTENT_TYPE", "JsonFormatter", "OpenTelemetry", "Prometheus"]
