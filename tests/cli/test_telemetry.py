"""Telemetry of commands: spans by OpenTelemetry, a page of metrics, logs as JSON lines."""

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.cli.test_worker import HELD, environment, look, queue, stop, until
from tests.cli.tools import COMMAND, gorkflow_in

FLOW = """
{setup}
from gorkflow import StepContext, Workflow, step

@step
async def hold(ctx: StepContext, name: str) -> str:
    ctx.logger.info("holds %s", name)
    return name

@step
async def after(text: str) -> str:
    return text

held = Workflow("held", input=str).then(hold).then(after)
"""
CONFIGURED = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "held.py").write_text(FLOW.format(setup=""))
    return tmp_path


def start(place: Path, *more: str, **env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, "worker", "held.py", "--store", "sqlite:runs.db", *more],
        cwd=place,
        env=environment(**env),
        stderr=subprocess.PIPE,
        text=True,
    )


def worked(place: Path, *more: str, **env: str) -> str:
    """Have a worker run one run, and return what it said."""
    queue(place, (HELD, "a", "you"))
    with start(place, *more, **env) as process:
        try:
            until(lambda: look(place, "a").status == "completed")
            process.send_signal(signal.SIGTERM)
            code, said = stop(process)
        finally:
            process.kill()
    assert code == 0
    return said


def test_a_worker_exports_as_the_variables_say(place: Path):
    env = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}
    said = worked(place, "--otel", **env)
    names = re.findall(r'"name": "((?:run|step|attempt) \w+)"', said)
    wanted = {f"{kind} {path}" for kind in ("step", "attempt") for path in ("hold", "after")}
    assert {*names} == {*wanted, "run held"}
    assert '"gorkflow.runs.ended"' in said
    assert '"service.name": "gorkflow"' in said


def test_a_worker_uses_what_its_target_configured(place: Path):
    (place / "held.py").write_text(FLOW.format(setup=CONFIGURED))
    said = worked(place, "--otel")
    assert '"name": "run held"' in said  # flushed at the end
    assert '"service.name": "unknown_service' in said


@pytest.mark.parametrize("protocol", ["", "grpc"])
def test_without_an_exporter_the_worker_says_what_to_install(place: Path, protocol: str):
    done = gorkflow_in(
        place, "worker", "held.py", "--otel", OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_TRACES_EXPORTER="missing",
    )  # fmt: skip
    assert done.returncode == 2
    assert "an exporter for traces called 'missing'; run pip install open" in done.stderr


@pytest.mark.parametrize(
    ("option", "package", "extra"),
    [("--otel", "opentelemetry", "otel"), ("--metrics-port=0", "prometheus_client", "prometheus")],
)
def test_without_the_extra_the_worker_says_how_to_get_it(
    place: Path, option: str, package: str, extra: str
):
    code = f"import sys; sys.modules[{package!r}] = None; from gorkflow.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "worker", "held.py", option],
        cwd=place, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    how = f"run pip install '.[{extra}]' in the clone of gorkflow"
    wanted = f"Error: this needs the package {package}; {how}\n"
    assert done.stderr == wanted


def test_a_worker_shows_metrics_on_the_loopback(place: Path):
    queue(place, (HELD, "a", "you"))
    with start(place, "--metrics-port", "0") as process:
        try:
            assert process.stderr is not None
            found = None
            while found is None:
                found = re.search(
                    r"metrics are at (http://127\.0\.0\.1:\d+/metrics)", process.stderr.readline()
                )
            ended = 'gorkflow_runs_ended_total{status="completed",workflow="held"} 1.0'
            until(lambda: ended in urlopen(found[1], timeout=10).read().decode())
            process.send_signal(signal.SIGTERM)
            assert stop(process)[0] == 0
        finally:
            process.kill()


def test_a_port_that_is_taken_is_an_error(place: Path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = gorkflow_in(place, "worker", "held.py", "--metrics-port", str(port))
    assert done.returncode == 3
    assert f"can't show metrics at 127.0.0.1:{port}: Address already in use" in done.stderr


def test_an_engine_brings_its_telemetry(place: Path):
    (place / "held.py").write_text(
        FLOW.format(setup="from gorkflow import Engine")
        + "\nengine = Engine('sqlite:runs.db', workflows=[held])\n"
    )
    done = gorkflow_in(place, "worker", "held.py:engine", "--metrics-port", "0")
    assert done.returncode == 2
    assert "the engine of TARGET brings its telemetry" in done.stderr


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_worker_logs_json_and_nothing_else(place: Path):
    found = lines(worked(place, "--log-format", "json", "--metrics-port", "0"))
    assert {"time", "level", "logger", "message"} <= {*found[0]}
    (said,) = [line for line in found if line["message"] == "holds you"]
    assert (said["run_id"], said["path"], said["attempt"]) == ("a", "hold", 1)
    assert any("runs held; stop it with" in line["message"] for line in found)


def test_a_run_logs_json_and_nothing_else(place: Path):
    done = gorkflow_in(
        place, "run", "held.py", "--input", '"you"', "--run-id", "a", "--log-format", "json"
    )
    assert done.returncode == 0
    assert done.stdout == '"you"\n'
    (said,) = [line for line in lines(done.stderr) if line["message"] == "holds you"]
    assert (said["run_id"], said["workflow_id"]) == ("a", "held")
