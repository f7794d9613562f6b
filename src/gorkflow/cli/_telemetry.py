"""The telemetry of commands: options for spans, metrics and the format of the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gorkflow.cli._output import CliError, ExitCode, saying_with
from gorkflow.engine._runs import LEFT_RUNS

if TYPE_CHECKING:
    from gorkflow.engine._observer import Telemetry

_Command = TypeVar("_Command", bound=Callable[..., Any])
_logger = logging.getLogger("gorkflow.command")


@dataclass(frozen=True, kw_only=True)
class Watching:
    """The wishes of the command line."""

    otel: bool = False
    """Report to OpenTelemetry."""
    port: int | None = None
    """Show metrics to Prometheus at this port."""
    host: str = "127.0.0.1"

    @contextmanager
    def open(self) -> Generator[list[Telemetry]]:
        """Yield what an engine reports to; at the end, close it.

        Raises:
            CliError: If the metrics can't be shown there.
            ModuleNotFoundError: If an extra is not installed.
        """
        with ExitStack() as stack:
            found: list[Telemetry] = []
            if self.otel:
                from gorkflow.telemetry._sdk import configured

                found.append(stack.enter_context(configured()))
            if self.port is not None:
                found.append(self._prometheus(self.port, stack))
            yield found

    def _prometheus(self, port: int, stack: ExitStack) -> Telemetry:
        from gorkflow.cli._output import say
        from gorkflow.telemetry import Prometheus

        metrics = Prometheus()
        try:
            port = stack.enter_context(metrics.serving(port, host=self.host))
        except OSError as error:
            raise CliError(
                f"can't show metrics at {self.host}:{port}: {error.strerror or error}; choose "
                "another --metrics-port or --metrics-host",
                ExitCode.STORE,
            ) from None
        host = f"[{self.host}]" if ":" in self.host else self.host
        say(f"metrics are at http://{host}:{port}/metrics")
        return metrics


def watching_options(command: _Command) -> _Command:
    """Add ``--otel``, ``--metrics-port`` and ``--metrics-host``."""
    options = (
        click.option(
            "--otel", is_flag=True,
            help="Report spans and metrics by OpenTelemetry, as TARGET or OTEL_… configures it.",
        ),
        click.option(
            "--metrics-port", type=click.IntRange(0, 65_535), metavar="PORT",
            help="Show metrics to Prometheus at this port, as 9464.",
        ),
        click.option(
            "--metrics-host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
            help="The address of that port. Anyone who reaches it reads the metrics.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def log_format_option(command: _Command) -> _Command:
    """Add ``--log-format``."""
    return click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
        help="How standard error looks: lines for people, or one JSON object a line.",
    )(command)  # fmt: skip


@contextmanager
def json_lines() -> Generator[None]:
    """Write all log records and messages to standard error as JSON, one object a line."""
    from gorkflow.telemetry import JsonFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(lambda record: not hasattr(record, LEFT_RUNS))  # the command says it
    ours, root = logging.getLogger("gorkflow"), logging.getLogger()
    level = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        with saying_with(_logger.info):
            yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(level)
