"""`gorkflow runs`: lists, shows, cancels, resumes, repeats and deletes runs, and sends signals."""

from __future__ import annotations

import asyncio

import click

from gorkflow._text import counted
from gorkflow.cli import _list, _logs, _run, _show, _watch
from gorkflow.cli._app import (
    CONTEXT,
    Group,
    group_store_option,
    store_option,
)
from gorkflow.cli._db import inspectable
from gorkflow.cli._diff import diff_command
from gorkflow.cli._named import find_run, run_argument
from gorkflow.cli._output import (
    CliError,
    ExitCode,
    one_line,
    say,
)
from gorkflow.cli._standing import living_workers
from gorkflow.cli._target import check_exists, opened, read_payload, same_store
from gorkflow.clock import SystemClock, time_of
from gorkflow.engine.client import Client
from gorkflow.errors import RunNotFoundError, StoreCorruptError
from gorkflow.model import UNDOING, RunStatus
from gorkflow.store import RunRow, Store


@click.group(
    "runs",
    cls=Group,
    example=(
        "gorkflow runs list --limit 10",
        "gorkflow runs show 0199d1c2-7f3e-7abc-8def-0123456789ab",
    ),
    context_settings=CONTEXT,
)
@group_store_option
def runs_command() -> None:
    """List, show, compare, cancel, resume, repeat, delete runs, and send signals into them."""


for _other in (
    _list.list_command,
    _show.show_command,
    _watch.watch_command,
    _logs.logs_command,
    _run.resume_command,
    _run.rerun_command,
    diff_command,
):
    runs_command.add_command(_other)


# ---- cancel -----------------------------------------------------------------------------------

_PATIENCE = 3.0  # seconds to wait for the worker of the run
_LOOK_EVERY = 0.1


@runs_command.command("cancel", example=("gorkflow runs cancel RUN_ID --reason 'wrong order'",))
@run_argument()
@click.option(
    "--reason",
    default="cancelled from the command line",
    show_default=True,
    help="Kept with the run.",
)
@store_option
def cancel_command(*, given: str, reason: str, store: str | None) -> None:
    """Cancel a run, wherever it runs."""

    async def ask() -> tuple[str, RunRow | None, RunRow | None, set[str]]:
        async with Client(check_exists(store)) as engine:
            run_id = await find_run(engine.store, given)
            before = await engine.store.get_run(run_id)
            asks = before is None or not _is_undoing(before)  # else it stands how it ends
            if asks:
                await engine.cancel(run_id, reason=reason)
            clock = SystemClock()
            until = clock.monotonic() + _PATIENCE
            while True:
                row = await engine.store.get_run(run_id)
                alive = (await living_workers(engine.store)).ids
                if row is None or row.status.terminal or clock.monotonic() > until:
                    return run_id, before, row, alive
                if _is_undoing(row) and not (asks and row.worker_id in alive):
                    return run_id, before, row, alive
                await asyncio.sleep(_LOOK_EVERY)

    run_id, before, after, alive = asyncio.run(ask())
    if after is None or not after.status.terminal:
        say(_not_yet(run_id, before, after, alive, store))
    elif after.status is not RunStatus.CANCELLED:
        raise CliError(f"run {run_id!r} has ended: {after.status.value}", ExitCode.CONFLICT)
    elif before is not None and before.status.terminal:
        say(f"run {run_id} was cancelled before: {one_line(after.reason)}")
    else:
        say(f"run {run_id} is cancelled")


def _is_undoing(row: RunRow) -> bool:
    return not row.status.terminal and row.reason.startswith(UNDOING)


def _not_yet(
    run_id: str, before: RunRow | None, after: RunRow | None, alive: set[str], store: str | None
) -> str:
    """Return what to say of a cancelled run that has not ended yet."""
    left = after is not None and after.worker_id not in alive
    where = same_store(store)
    go_on = f"; no worker runs it: gorkflow runs resume {run_id} TARGET{where}" if left else ""
    if before is not None and _is_undoing(before):
        why = one_line(before.reason.removeprefix(UNDOING))
        return f"run {run_id} is undoing already, so this has no effect ({why}){go_on}"
    if after is not None and _is_undoing(after):
        return f"run {run_id} is undoing its steps, and ends afterwards{go_on}"
    if left:
        return f"the cancel of run {run_id} is recorded{go_on}"
    worker = after.worker_id if after is not None else None
    return f"asked {worker or 'its worker'} to cancel run {run_id}; it has not answered yet"


# ---- send -------------------------------------------------------------------------------------


@runs_command.command(
    "send",
    example=(
        'gorkflow runs send RUN_ID approved --payload \'{"by": "ann"}\'',
        "gorkflow runs send RUN_ID document --payload @document.json",
    ),
)
@run_argument()
@click.argument("signal")
@click.option("--payload", metavar="JSON|@FILE|-", help="The value of the signal.  [default: null]")
@store_option
def send_command(*, given: str, signal: str, payload: str | None, store: str | None) -> None:
    """Send a signal into a run, wherever it runs.

    It is kept until the run waits for it. The worker of the run checks the payload, since this
    command does not know the code.
    """
    value = read_payload(payload)

    async def post() -> str:
        async with Client(check_exists(store)) as engine:
            run_id = await find_run(engine.store, given)
            await engine.send(run_id, signal, value)
            return run_id

    run_id = asyncio.run(post())
    say(
        f"signal {signal!r} is recorded for run {run_id}; the worker of the run checks whether its "
        "payload fits"
    )


# ---- delete -----------------------------------------------------------------------------------


@runs_command.command("delete", example=("gorkflow runs delete RUN_ID OTHER_RUN_ID",))
@run_argument(nargs=-1, metavar="RUN_ID…")
@click.option(
    "--force", is_flag=True,
    help="Also runs that can't be read, and unfinished ones that no living worker runs.",
)  # fmt: skip
@store_option
def delete_command(*, given: tuple[str, ...], force: bool, store: str | None) -> None:
    """Delete runs that have ended, with all that is kept of them.

    All of them, or none where one can't be deleted. A run of a living worker is never deleted.
    For old runs by the thousand there is `gorkflow db prune`.
    """
    where = same_store(store)

    async def work() -> int:
        async with opened(store) as rows:
            keeper = inspectable(rows)
            now = await time_of(rows)
            alive = {worker.worker_id for worker in await rows.workers(now=now)}
            run_ids = [await find_run(rows, each) for each in given]
            troubles = {each: await _trouble(rows, each, alive, where) for each in run_ids}
            for run_id, trouble in troubles.items():
                if trouble and not force:
                    raise CliError(
                        f"run {run_id!r} {trouble}; nothing was deleted. --force deletes such a "
                        "run, too",
                        ExitCode.CONFLICT,
                    )
            for run_id, trouble in troubles.items():
                if not trouble:
                    await rows.delete_runs([run_id])
                    continue
                say(f"run {run_id!r} {trouble}; it is deleted all the same")
                if not await keeper.discard(run_id, now):
                    raise _carried(run_id, "a worker", where)
            await keeper.tidy()
            return len(troubles)

    say(f"{counted(asyncio.run(work()), 'run')} deleted")


async def _trouble(store: Store, run_id: str, alive: set[str], where: str) -> str:
    """Return why a run needs force to be deleted; empty: it doesn't."""
    try:
        row = await store.get_run(run_id)
    except StoreCorruptError:
        return "can't be read"
    if row is None:
        raise RunNotFoundError(run_id)
    if row.status.terminal:
        return ""
    if row.worker_id in alive:
        raise _carried(run_id, row.worker_id, where)
    return f"has not ended ({row.status.value}), though no living worker runs it"


def _carried(run_id: str, worker: str | None, where: str) -> CliError:
    return CliError(
        f"run {run_id!r} is run by {worker}, which is alive, and was not deleted; cancel it "
        f"first: gorkflow runs cancel {run_id}{where}",
        ExitCode.CONFLICT,
    )
