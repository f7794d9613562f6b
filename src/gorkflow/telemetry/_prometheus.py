"""The observer for Prometheus: metrics in a registry, and a page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from gorkflow.engine._observer import Telemetry
from gorkflow.telemetry._extra import imported
from gorkflow.telemetry._measures import INSTRUMENTS, STRAYS, Instrument, Measures

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The type of ``Prometheus.text``, for a response of HTTP."""
_KINDS = {"counter": "Counter", "gauge": "Gauge", "histogram": "Histogram"}
_METHODS = {"counter": "inc", "gauge": "inc", "histogram": "observe"}
_meters: WeakKeyDictionary[CollectorRegistry, _Meter] = WeakKeyDictionary()
_lock = Lock()


class Prometheus(Telemetry):
    """Metrics of runs for Prometheus: ``Engine(telemetry=Prometheus())``.

    The names are those of ``OpenTelemetry``, as Prometheus writes them. It needs
    ``pip install '.[prometheus]'`` in the clone.

    Example:
        from prometheus_client import CollectorRegistry

        from gorkflow import Engine, Workflow, step
        from gorkflow.telemetry import Prometheus

        @step
        async def double(number: int) -> int:
            return 2 * number

        metrics = Prometheus(registry=CollectorRegistry())
        async with Engine("memory:", telemetry=metrics) as engine:
            await engine.run(Workflow("doubling", input=int).then(double), 21)
        assert 'gorkflow_runs_started_total{workflow="doubling"} 1.0' in metrics.text()

    Args:
        registry: has the metrics; ``None``: the global one of ``prometheus_client``. Objects with
            one registry share its metrics.

    Raises:
        ModuleNotFoundError: If ``prometheus_client`` is not installed.
    """

    def __init__(self, *, registry: CollectorRegistry | None = None) -> None:
        client = imported("prometheus_client", "prometheus")
        self.registry: CollectorRegistry = client.REGISTRY if registry is None else registry
        """The registry that has the metrics."""
        with _lock:
            meter = _meters.get(self.registry)
            if meter is None:
                meter = _meters[self.registry] = _Meter(client, self.registry)
        self.observers = (Measures(meter),)

    def text(self) -> str:
        """Return all metrics of the registry, as Prometheus reads them.

        The content type is ``telemetry.CONTENT_TYPE``.
        """
        from prometheus_client import generate_latest

        return generate_latest(self.registry).decode()

    @contextmanager
    def serving(self, port: int = 9464, *, host: str = "127.0.0.1") -> Generator[int]:
        """Show the metrics at ``http://HOST:PORT/metrics``, while the ``with`` block lasts.

        A thread serves them. There is no password: use another host than the loopback only in a
        network that you trust.

        Example:
            from urllib.request import urlopen

            from gorkflow.telemetry import Prometheus

            with Prometheus().serving(0) as port:
                page = urlopen(f"http://127.0.0.1:{port}/metrics").read()
            assert b"gorkflow_runs_ended_total" in page

        Args:
            port: the port; 0: one that is free, which you get.
            host: the address to listen at.

        Raises:
            OSError: If the port is taken.
        """
        from prometheus_client import start_http_server

        server, thread = start_http_server(port, host, self.registry)
        try:
            yield int(server.server_port)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Meter:
    """The metrics as Prometheus takes them."""

    def __init__(self, client: Any, registry: CollectorRegistry) -> None:
        self.strays: list[Callable[[], int]] = []
        self._metrics = {each: _made(client, registry, each) for each in INSTRUMENTS}
        strays = client.Gauge(_name(STRAYS), STRAYS.text, registry=registry)
        strays.set_function(lambda: sum(count() for count in [*self.strays]))

    def add(self, instrument: Instrument, amount: float, *labels: str) -> None:
        metric = self._metrics[instrument]
        getattr(metric.labels(*labels) if labels else metric, _METHODS[instrument.kind])(amount)


def _made(client: Any, registry: CollectorRegistry, it: Instrument) -> Any:
    more = {"buckets": it.buckets} if it.buckets else {}
    kind = getattr(client, _KINDS[it.kind])
    return kind(_name(it), it.text, it.labels, registry=registry, **more)


def _name(it: Instrument) -> str:
    """Return the name of a metric as OpenTelemetry's exporter for Prometheus writes it."""
    return it.name.replace(".", "_") + ("_seconds" if it.unit == "s" else "")
