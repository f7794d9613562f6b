"""`gorkflow demo`: a store full of runs to look at."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from gorkflow.cli._app import CONTEXT, Command, store_option
from gorkflow.cli._output import CliError, ExitCode, put, say
from gorkflow.cli._target import naming_source, same_store
from gorkflow.cli._web import WantedPage, show
from gorkflow.clock import SystemClock
from gorkflow.demo.history import DAYS, make_history
from gorkflow.demo.traffic import keep_busy, visit
from gorkflow.engine.client import Client
from gorkflow.listing import RunFilter
from gorkflow.store import RunRow, Store
from gorkflow.stores import open_store
from gorkflow.stores.memory import MemoryStore

_STORE = "sqlite:.gorkflow/demo.db"
_FLOWS = "gorkflow.demo.flows"


@click.command(
    "demo",
    cls=Command,
    context_settings=CONTEXT,
    example=("gorkflow demo", "gorkflow demo --store sqlite:try.db --runs 200 --no-web"),
)
@click.option(
    "--runs", type=click.IntRange(1, 100_000), default=2000, show_default=True,
    help="The number of runs.",
)  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Another one: other runs."
)
@click.option("--no-web", is_flag=True, help="Do not serve the page, and run nothing more.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N",
    help="The port of the page.  [default: 8765, or the next free one]",
)  # fmt: skip
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@store_option
@click.pass_context
def demo_command(
    ctx: click.Context, *, runs: int, seed: int, no_web: bool, port: int | None, opens: bool,
    store: str | None,
) -> None:  # fmt: skip
    """Make a store with the runs of a week, serve its page, and show what to try on it.

    The runs are of five workflows: a shop, a report, pictures, an agent and an import. The engine
    runs them in virtual time, which takes up to a minute. A store that has the runs already is left
    as it is. While the page is served, new runs start every few seconds. Ctrl-C stops it.

    The default of --store is sqlite:.gorkflow/demo.db here, so the runs of others are left alone.
    """
    url = store or _STORE
    if isinstance(open_store(url), MemoryStore):
        raise CliError("the runs of the demo must be in a file; write --store sqlite:PATH")
    with naming_source(url), _quiet():
        if not asyncio.run(_is_made(url, seed)):
            _make(url, runs, seed)
        serves = not no_web and find_spec("starlette") is not None
        put("\n".join(asyncio.run(_advice(url, runs_go_on=serves))))
        if serves:
            put("")
            page = WantedPage(targets=[_FLOWS], store=url, port=port, opens=opens, grace=0.0)
            ctx.exit(show(page, partial(_busy, seed=seed)))
        if not no_web:
            put("\nThe page needs an extra: run pip install '.[web]' in the clone of gorkflow")
        run = f"gorkflow worker {_FLOWS}{same_store(url)}"
        put(f"\nNothing runs now. `{run}` continues the runs, and starts those that are due.")


def _make(url: str, runs: int, seed: int) -> None:
    clock = SystemClock()
    began = clock.monotonic()
    label = f"running {runs:,} runs of {DAYS} days; this takes up to a minute"
    draws = sys.stderr.isatty()
    with (
        _without_collector(),
        click.progressbar(length=runs, label=label, file=sys.stderr) as bar,
    ):

        def report(number: int) -> None:
            bar.update(1)
            if not draws and number % max(1, runs // 4) == 0:
                say(f"{number:,} of {runs:,} runs")

        make_history(url, now=clock.now(), runs=runs, seed=seed, report=report)
    say(f"made {runs:,} runs in {clock.monotonic() - began:.0f} s")


async def _is_made(url: str, seed: int) -> bool:
    """Return whether the store has the runs of the demo.

    Raises:
        CliError: If it has other runs.
    """
    async with _opened(url) as store:
        if await store.get_run(visit(0, seed).run_id) is not None:
            return True
        if not await store.list_runs(RunFilter(limit=1)):
            return False
    raise CliError(
        f"the store {url!r} has runs already, and the demo would add its own; name a new file: "
        "gorkflow demo --store sqlite:demo.db",
        ExitCode.CONFLICT,
    )


async def _advice(url: str, *, runs_go_on: bool) -> list[str]:
    """Return what to try, with ids of runs that are worth a look."""
    async with _opened(url) as store:
        failed = await _latest(store, "failed", "checkout")
        waits = await _latest(store, "suspended", "checkout")
        slow = await _latest(store, "completed", "research")
        total = await _latest(store, "completed", "checkout")
    lines: list[tuple[str, str]] = [
        ("runs list --status failed", "failed runs, with the reason"),
        *_about(failed, "runs show {} --traceback", "one of them, with its traceback"),
        ("explain --workflow checkout", "steps that hold the checkout back"),
        *_about(total, "explain {}", "where the time of a run went"),
        *_about(total, "whatif {} --scale carriers=0.5", "the time it would take otherwise"),
        *_about(slow, "timeline {}", "an agent at work"),
        *_about(slow, "runs logs {}", "its log"),
        *_about(waits, "runs show {}", "a run that waits for an approval"),
        ("runs list --waiting-for approved", "all that wait for one"),
        *([("runs watch latest", "the newest run, while it runs")] if runs_go_on else []),
    ]
    option = same_store(url)
    width = max(len(command) for command, _ in lines) + len(option) + len("gorkflow ")
    shown = [f"  {f'gorkflow {command}{option}':{width}}  {about}" for command, about in lines]
    return [f"The workflows: {_path()}", "", "Try:", *shown]


def _path() -> Path:
    from gorkflow.demo import flows

    return Path(flows.__file__)


def _about(run: RunRow | None, command: str, about: str) -> Iterable[tuple[str, str]]:
    return [] if run is None else [(command.format(run.run_id), about)]


async def _latest(store: Store, status: str, workflow_id: str) -> RunRow | None:
    page = await store.list_runs(RunFilter(status=status, workflow_id=workflow_id, limit=1))
    return page[0] if page else None


@asynccontextmanager
async def _busy(engine: Client, *, seed: int) -> AsyncGenerator[None]:
    """Have runs start meanwhile, under ids that are not taken."""
    first = (await engine.count_runs(RunFilter(), most=1_000_000)).runs
    traffic = asyncio.create_task(keep_busy(engine, first=first, seed=seed))
    try:
        yield
    finally:
        traffic.cancel()
        await asyncio.gather(traffic, return_exceptions=True)


@asynccontextmanager
async def _opened(url: str) -> AsyncGenerator[Store]:
    store = open_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def _without_collector() -> Generator[None]:
    """Put the collection of garbage off: it would look at all runs again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _quiet() -> Generator[None]:
    """Keep the logs of the runs off the terminal: hundreds of them fail on purpose."""
    logger, handler = logging.getLogger("gorkflow"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        with suppress(ValueError):
            logger.removeHandler(handler)
