"""`gorkflow worker`: a process that runs the runs of a store until a signal stops it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import click

from gorkflow.cli._app import CONTEXT, Command, Seconds, read_queues, store_option
from gorkflow.cli._leaving import run_in_loop
from gorkflow.cli._output import CliError, ExitCode, say, stdout_is_ours
from gorkflow.cli._progress import step_of
from gorkflow.cli._target import Target, load, naming_source
from gorkflow.cli._telemetry import Watching, json_lines, log_format_option, watching_options
from gorkflow.engine._observer import Telemetry
from gorkflow.engine._runs import LEFT_RUNS
from gorkflow.engine.client import Client
from gorkflow.engine.engine import Engine
from gorkflow.model import DEFAULT_QUEUE
from gorkflow.stores.memory import MemoryStore
from gorkflow.workflow import Workflow

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The wishes of the command line."""

    targets: Sequence[str]
    store: str | None
    """``None``: the engine's own default."""
    concurrency: int | None = None
    max_steps: int | None = None
    queues: dict[str, int | None] | None = None
    """Those to serve, each with its bound; ``None``: the engine's own default."""
    lease: float = 30.0
    grace: float = 30.0
    """Seconds that running steps get once a signal stops the worker."""
    watching: Watching = field(default_factory=Watching)
    as_json: bool = False
    """Whether the log is JSON."""


@click.command(
    "worker",
    cls=Command,
    context_settings=CONTEXT,
    example=(
        "gorkflow worker shop.py",
        "gorkflow worker shop.flows billing.flows --concurrency 100 --store sqlite:runs.db",
        "gorkflow worker shop.flows --queue gpu=2 --queue default",
    ),
)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option(
    "--concurrency", type=click.IntRange(1), metavar="N",
    help="Runs at a time.  [default: no limit]",
)  # fmt: skip
@click.option(
    "--max-steps", type=click.IntRange(1), metavar="N",
    help="Attempts at a time.  [default: no limit]",
)  # fmt: skip
@click.option(
    "--queue", "queues", multiple=True, callback=read_queues, metavar="NAME[=N]",
    help="Take the runs of this queue, N of them at a time over all workers; repeatable.  "
    "[default: default]",
)  # fmt: skip
@click.option(
    "--lease", type=Seconds(1.0), default=30.0, show_default=True, metavar="SECONDS",
    help="How long a worker that went silent keeps its runs.",
)  # fmt: skip
@click.option(
    "--grace", type=Seconds(0.0), default=30.0, show_default=True, metavar="SECONDS",
    help="Time for running steps once a signal stops the worker.",
)  # fmt: skip
@store_option
@watching_options
@log_format_option
@click.pass_context
def worker_command(
    ctx: click.Context, *, targets: tuple[str, ...], concurrency: int | None, max_steps: int | None,
    queues: dict[str, int | None] | None, lease: float, grace: float, store: str | None, otel: bool,
    metrics_port: int | None, metrics_host: str, log_format: str,
) -> None:  # fmt: skip
    """Run the queued runs of workflows, and those that other workers left.

    TARGET is what `gorkflow run` takes; all workflows of a module count. SIGTERM or Ctrl-C stops
    the worker after its running steps, a second one at once; no run is lost either way.
    """
    wanted = Wanted(
        targets=targets, store=store, concurrency=concurrency, max_steps=max_steps, queues=queues,
        lease=lease, grace=grace, as_json=log_format == "json",
        watching=Watching(otel=otel, port=metrics_port, host=metrics_host),
    )  # fmt: skip
    ctx.exit(work(wanted))


def work(wanted: Wanted) -> ExitCode:
    """Run until SIGTERM or Ctrl-C.

    The first one stops the taking of runs and gives running steps the grace; the second one takes
    the grace away. Runs that have not ended are released, for other workers or the next start.

    Raises:
        CliError: If a target can't be used.
    """
    lines = json_lines() if wanted.as_json else telling()
    with stdout_is_ours(), naming_source(wanted.store), lines:
        targets = [load(text) for text in wanted.targets]  # they may configure OpenTelemetry
        with wanted.watching.open() as telemetry:
            engine = engine_of(wanted, targets, telemetry)
            _check_shared(engine)
            return run_in_loop(stay(engine, wanted.grace, _greeting(engine)))


def _check_shared(engine: Engine) -> None:
    if isinstance(engine.store, MemoryStore):
        raise CliError(
            "the store of a worker must be a file: no other process can reach the runs in "
            "'memory:'; write --store sqlite:PATH"
        )


def engine_of(wanted: Wanted, targets: list[Target], telemetry: list[Telemetry]) -> Engine:
    """Return the engine of the targets, or one that knows their workflows.

    Raises:
        CliError: If a target can't be used.
    """
    engines = [target for target in targets if target.engine is not None]
    if not engines:
        return Engine(
            wanted.store,
            workflows=_workflows(targets),
            max_concurrent_runs=wanted.concurrency,
            max_concurrent_steps=wanted.max_steps,
            queues=wanted.queues,
            lease=wanted.lease,
            telemetry=telemetry,
        )
    if len(targets) > 1:
        raise CliError(
            f"{engines[0].text!r} brings an engine, which knows its workflows; name it alone"
        )
    own = (wanted.store, wanted.concurrency, wanted.max_steps, wanted.queues)
    if any(given is not None for given in own):
        raise CliError(
            "the engine of TARGET brings its store, its limits and its queues; leave them out"
        )
    if telemetry:
        raise CliError(
            "the engine of TARGET brings its telemetry; leave out --otel and --metrics-port, and "
            "write Engine(telemetry=…)"
        )
    engine = engines[0].engine
    assert engine is not None  # that is how it was found
    if not engine.recovers:
        raise CliError(
            f"the engine of {engines[0].text!r} takes no runs of others: it was made with "
            "recover=False"
        )
    return engine


def _workflows(targets: list[Target]) -> list[Workflow[Any, Any]]:
    found: dict[str, Workflow[Any, Any]] = {}
    for target in targets:
        if not target.workflows:
            raise CliError(f"{target.text!r} has no Workflow")
        for workflow in target.workflows.values():
            if found.setdefault(workflow.id, workflow) is not workflow:
                raise CliError(f"two workflows have the id {workflow.id!r}; rename one of them")
    return list(found.values())


@asynccontextmanager
async def _greeting(engine: Engine) -> AsyncGenerator[None]:
    known = ", ".join(sorted(item.id for item in engine.workflows))
    queues = ", ".join(engine.queues)
    where = "" if queues == DEFAULT_QUEUE else f" of queue{'s' * (',' in queues)} {queues}"
    say(f"worker {engine.worker_id} runs {known}{where}; stop it with Ctrl-C or SIGTERM")
    yield


async def stay(engine: Client, grace: float, beside: AbstractAsyncContextManager[None]) -> ExitCode:
    """Keep an engine open until SIGTERM or Ctrl-C.

    Args:
        engine: the engine, or a client.
        grace: seconds for running steps after the signal; a second signal ends it.
        beside: what is there while it is open, and ends with the first signal.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()

    def tell(number: int, _: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are on the way out
            loop.call_soon_threadsafe(told.put_nowait, signal.Signals(number))

    # Never taken back: a late signal must not turn an orderly end into a death.
    for number in _SIGNALS:
        signal.signal(number, tell)
    opening = asyncio.ensure_future(engine.open())
    try:
        first = await _signal_before(opening, told)
        if first is None:
            async with beside:
                first = await told.get()
        if isinstance(engine, Engine):
            say(f"{first.name}: running steps get {grace:g} s; once more to stop them now")
        closing = asyncio.ensure_future(engine.aclose(grace=grace))
        again = await _signal_before(closing, told)
        if again is not None:
            for number in _SIGNALS:
                signal.signal(number, partial(_leave, _code(first)))
            say(f"{again.name}: stopping now; once more not to wait for the store either")
            opening.cancel()
            await engine.aclose(grace=0)
        await closing
    finally:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)  # it may fail while we stop
        await engine.aclose(grace=0)
    if isinstance(engine, Engine):
        say("stopped; unfinished runs are kept, and the next worker continues them")
    return _code(first)


def _leave(code: ExitCode, *_: object) -> None:
    os._exit(code)


async def _signal_before(
    work: asyncio.Future[None], told: asyncio.Queue[signal.Signals]
) -> signal.Signals | None:
    """Wait until some work is done, or a signal comes before that: then return it."""
    coming = asyncio.ensure_future(told.get())
    await asyncio.wait((work, coming), return_when=asyncio.FIRST_COMPLETED)
    if coming.done():
        return coming.result()
    coming.cancel()
    await work
    return None


def _code(first: signal.Signals) -> ExitCode:
    return ExitCode.INTERRUPTED if first is signal.SIGINT else ExitCode.OK


class _Formatter(logging.Formatter):
    """Puts the run and the path before what a step logged."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as logging calls it
        found = step_of(record)
        if found is not None:
            record.message = f"run {found[0]} {found[1]}: {record.message}"
        return super().formatMessage(record)


@contextmanager
def telling() -> Generator[None]:
    """Show what happens as lines, unless the program has its own logging."""
    logger = logging.getLogger("gorkflow")
    if logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(lambda record: not hasattr(record, LEFT_RUNS))  # the last line says it
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
