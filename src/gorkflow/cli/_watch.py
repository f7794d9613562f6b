"""`gorkflow runs watch`: follows a run that another process runs."""

from __future__ import annotations

import asyncio

import click

from gorkflow.cli._app import Command, json_option, store_option, traceback_option
from gorkflow.cli._board import Board
from gorkflow.cli._named import find_run, run_argument
from gorkflow.cli._output import ExitCode, one_line, say
from gorkflow.cli._progress import View, board_of, show_events, view_for
from gorkflow.cli._run import Wanted, report, stopped_by_sigterm
from gorkflow.cli._standing import Living, is_left, living_workers
from gorkflow.cli._target import check_exists, naming_source, same_store
from gorkflow.engine import _json
from gorkflow.engine._row import summary_of
from gorkflow.engine.client import Client
from gorkflow.errors import RunNotFoundError
from gorkflow.model import BLOCKED, Run, RunStatus
from gorkflow.store import Store

_LOOK_EVERY = 1.0  # seconds between looks at who runs it


@click.command("watch", cls=Command, example=("gorkflow runs watch RUN_ID",))
@run_argument()
@store_option
@json_option
@traceback_option
@click.pass_context
def watch_command(
    ctx: click.Context, *, given: str, store: str | None, as_json: bool, tracebacks: bool
) -> None:
    """Watch a run that another process runs, until it ends.

    It shows what `gorkflow run` shows, prints the output, and exits with the same code. Ctrl-C
    leaves the run alone.
    """
    wanted = Wanted(store=store, as_json=as_json, tracebacks=tracebacks)
    try:
        with stopped_by_sigterm(wanted), naming_source(store):
            found = asyncio.run(_watch(wanted, given, view_for(quiet=as_json)))
    except KeyboardInterrupt:
        run_id = wanted.run_id or given
        code = ExitCode.TERMINATED if wanted.terminated else ExitCode.INTERRUPTED
        say(
            f"stopped watching; run {run_id} is left alone, watch it again with\n"
            f"  gorkflow runs watch {run_id}{same_store(store)}"
        )
        ctx.exit(code)
    ctx.exit(report(wanted, found))


async def _watch(wanted: Wanted, given: str, view: View) -> _json.Record:
    url = wanted.store
    async with Client(check_exists(url)) as client:
        run_id = wanted.run_id = await find_run(client.store, given)
        board = await board_of(client.store, run_id, view)
        if not board.status.terminal:
            view.say(f"watching run {run_id} of {board.root.label}; Ctrl-C leaves it alone")
        with view.showing(board):
            attending = asyncio.create_task(_attend(client.store, board, view, url))
            try:
                found = client.events(run_id, after=board.seq, progress=True)
                await show_events(found, board, view)
            finally:
                attending.cancel()
                await asyncio.gather(attending, return_exceptions=True)  # the events tell more
        return await _json.record(client.store, run_id)


async def _attend(store: Store, board: Board, view: View, url: str | None) -> None:
    """Say so when no worker runs the run."""
    told = before = ""
    while not board.status.terminal:
        row = await store.get_run(board.run_id)
        if row is None:
            raise RunNotFoundError(board.run_id)
        found = _trouble(summary_of(row), await living_workers(store))
        board.trouble = found if found == before else ""  # it may just pass from one to another
        if board.trouble and board.trouble != told:
            told = board.trouble
            view.say(f"{told}: gorkflow runs resume {board.run_id} TARGET{same_store(url)}")
        before = found
        await asyncio.sleep(_LOOK_EVERY)


def _trouble(run: Run, living: Living) -> str:
    """Return why the run does not continue; empty: it does, or waits for its time."""
    if run.reason.startswith(BLOCKED):
        return one_line(run.reason)
    if run.status is RunStatus.SUSPENDED and not living.ids:
        return "no worker is alive to continue it"
    return "no worker runs it" if is_left(run, living) else ""
