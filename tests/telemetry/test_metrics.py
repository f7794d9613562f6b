"""The metrics of runs, as OpenTelemetry and Prometheus have them."""

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from gorkflow import Client, Engine, RetryPolicy, RunFailedError, StepContext, Workflow, step
from gorkflow.telemetry import CONTENT_TYPE, Prometheus
from gorkflow.telemetry._measures import INSTRUMENTS, STRAYS
from tests.engine.support import in_loop, until

from .tools import Recorder


@step(retries=RetryPolicy(retries=1, initial_interval=0.001))
async def flaky(ctx: StepContext, number: int) -> int:
    if ctx.attempt < 2:
        raise ConnectionError
    return number


@step
async def breaks(number: int) -> int:
    raise ValueError(number)


def by_label(labels: Mapping[str, object]) -> list[str]:
    """Return the values of labels in one order: workflow, step, then the rest."""
    first = ("workflow", "step")
    names = sorted(labels, key=lambda it: (first.index(it) if it in first else 2, it))
    return [str(labels[name]) for name in names]


def values(metrics: Prometheus) -> dict[tuple[str, ...], float]:
    """Return the samples of the page by their names and labels."""
    return {
        (sample.name, *by_label(sample.labels)): sample.value
        for family in text_string_to_metric_families(metrics.text())
        for sample in family.samples
        if "le" not in sample.labels
    }


@in_loop
async def test_open_telemetry_and_prometheus_have_the_same_metrics():
    seen, metrics = Recorder(), Prometheus(registry=CollectorRegistry())
    items = Workflow("items", input=list[int]).map(flaky)
    bad = Workflow("bad", input=int).then(breaks)
    async with Engine("memory:", telemetry=[seen.telemetry, metrics]) as engine:
        await engine.run(items, [1, 2, 3])
        with pytest.raises(RunFailedError):
            await engine.run(bad, 1)
    found = values(metrics)
    wanted = {
        ("gorkflow_runs_started_total", "items"): 1,
        ("gorkflow_runs_started_total", "bad"): 1,
        ("gorkflow_runs_ended_total", "items", "completed"): 1,
        ("gorkflow_runs_ended_total", "bad", "failed"): 1,
        ("gorkflow_run_duration_seconds_count", "items", "completed"): 1,
        ("gorkflow_runs_live", "items"): 0,
        ("gorkflow_attempts_total", "items", "flaky[]", "completed"): 3,
        ("gorkflow_attempts_total", "items", "flaky[]", "failed"): 3,
        ("gorkflow_attempts_total", "bad", "breaks", "failed"): 1,
        ("gorkflow_attempt_duration_seconds_count", "items", "flaky[]", "completed"): 3,
        ("gorkflow_attempt_queued_seconds_count", "items", "flaky[]"): 6,
        ("gorkflow_retries_total", "items", "flaky[]"): 3,
        ("gorkflow_steps_running", "items"): 0,
        ("gorkflow_threads_stray",): 0,
    }
    assert {key: found.get(key) for key in wanted} == wanted
    assert found["gorkflow_commit_duration_seconds_count",] > 0
    assert found["gorkflow_commit_events_sum",] >= 3 * 4
    assert found["gorkflow_run_duration_seconds_sum", "items", "completed"] > 0

    def translated(name: str, unit: str, kind: str) -> str:
        base = name.replace(".", "_") + ("_seconds" if unit == "s" else "")
        return base + {"counter": "_total", "histogram": "_count"}.get(kind, "")

    names = {it.name: translated(it.name, it.unit, it.kind) for it in (*INSTRUMENTS, STRAYS)}
    both = {(names[name], *by_label(labels)): value for name, labels, value in seen.metrics()}
    assert both == {key: value for key, value in found.items() if key[0] in names.values()}


@in_loop
async def test_live_runs_and_running_steps_are_counted_now():
    metrics = Prometheus(registry=CollectorRegistry())
    begun, go = asyncio.Event(), asyncio.Event()

    @step
    async def waits(number: int) -> int:
        begun.set()
        await go.wait()
        return number

    async with Engine("memory:", telemetry=metrics) as engine:
        handle = await engine.start(Workflow("long", input=int).then(waits), 1)
        await begun.wait()
        now = values(metrics)
        assert (now["gorkflow_runs_live", "long"], now["gorkflow_steps_running", "long"]) == (1, 1)
        go.set()
        await handle.result()
    now = values(metrics)
    assert (now["gorkflow_runs_live", "long"], now["gorkflow_steps_running", "long"]) == (0, 0)


@in_loop
async def test_a_run_that_is_cancelled_while_it_sleeps_is_counted(tmp_path: Path):
    metrics = Prometheus(registry=CollectorRegistry())
    flow = Workflow("naps", input=int).sleep(3600)
    store = f"sqlite:{tmp_path}/runs.db"
    async with Engine(store, telemetry=metrics) as engine:
        handle = await engine.start(flow, 1)

        def live() -> float:
            return values(metrics).get(("gorkflow_runs_live", "naps"), 1)

        await until(lambda: live() == 0)
    async with Client(store, telemetry=metrics) as client:
        await client.handle(handle.run_id).cancel("enough")
    assert values(metrics)["gorkflow_runs_ended_total", "naps", "cancelled"] == 1


def test_objects_of_one_registry_share_its_metrics():
    registry = CollectorRegistry()
    one, other = Prometheus(registry=registry), Prometheus(registry=registry)

    @in_loop  # no further: a loop's callback holds, until it returns, the engine that it closed
    async def measured(metrics: Prometheus) -> None:
        async with Engine("memory:", telemetry=metrics) as engine:
            await engine.run(Workflow("none", input=int).sleep(0), 1)

    measured(one)
    measured(other)
    assert values(one)["gorkflow_runs_ended_total", "none", "completed"] == 2
    assert one.text() == other.text()
    gone = weakref.ref(registry)
    del registry, one, other
    gc.collect()
    assert gone() is None


def test_the_metrics_are_served_on_the_loopback_only():
    metrics = Prometheus(registry=CollectorRegistry())
    with metrics.serving(0) as port:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            text = page.read().decode()
            assert page.headers["Content-Type"].startswith("text/plain")
        assert text == metrics.text()
        with pytest.raises(OSError, match="in use"), metrics.serving(port):
            pass
    with pytest.raises(OSError, match="refused"):
        urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert CONTENT_TYPE.startswith("text/plain")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("OpenTelemetry", "opentelemetry", "otel"),
        ("Prometheus", "prometheus_client", "prometheus"),
    ],
)
def test_without_the_extra_the_error_says_how_to_get_it(name: str, package: str, extra: str):
    code = f"""
import sys
sys.modules[{package!r}] = None
from gorkflow import Engine, telemetry
try:
    telemetry.{name}()
except ModuleNotFoundError as error:
    print(error, error.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    how = f"run pip install '.[{extra}]' in the clone of gorkflow"
    wanted = f"this needs the package {package}; {how} {package}\n"
    assert done.stdout == wanted
