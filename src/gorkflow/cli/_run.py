"""Starting or continuing a run from the command line, and following it to its end."""

from __future__ import annotations

import asyncio
import shlex
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any

import click

from gorkflow._text import listed
from gorkflow.cli._app import (
    CONTEXT,
    Command,
    json_option,
    store_option,
    tags_option,
    traceback_option,
)
from gorkflow.cli._board import Board
from gorkflow.cli._leaving import run_in_loop
from gorkflow.cli._named import find_run, run_argument
from gorkflow.cli._output import (
    CliError,
    ExitCode,
    clean,
    indented,
    json_text,
    one_line,
    put,
    say,
    stdout_is_ours,
)
from gorkflow.cli._progress import LogLines, View, board_of, logging_to, show_events, view_for
from gorkflow.cli._start import options_of, say_who_runs, start_options, taken
from gorkflow.cli._target import (
    Target,
    check_exists,
    load,
    naming_source,
    read_input,
    same_store,
)
from gorkflow.cli._telemetry import json_lines, log_format_option
from gorkflow.clock import SystemClock
from gorkflow.engine import _json
from gorkflow.engine._start import StartOptions, new_id
from gorkflow.engine.client import Client
from gorkflow.engine.engine import Engine
from gorkflow.errors import (
    SHOWN,
    DuplicateRunError,
    RunNotFoundError,
    StoreUnavailableError,
    shown,
)
from gorkflow.events import Event
from gorkflow.flow import undone_path
from gorkflow.hooks import Hook
from gorkflow.model import Failure, Report, Run, RunStatus, StepExecution, StepStatus
from gorkflow.store import RunRow
from gorkflow.stores.memory import MemoryStore
from gorkflow.workflow import Workflow


@dataclass(kw_only=True)
class Wanted:
    """The wishes of the command line."""

    target: str = ""
    store: str | None = None
    """``None``: the engine's own default."""
    workflow: str | None = None
    as_json: bool = False
    tracebacks: bool = False
    logs_json: bool = False
    run_id: str | None = None
    """The run, once it is known."""
    lasting: bool = True
    """The store outlives this process."""
    terminated: bool = False
    """SIGTERM came."""


@click.command(
    "run",
    cls=Command,
    context_settings=CONTEXT,
    example=(
        "gorkflow run shop.py --input '{\"id\": 7}'",
        "gorkflow run shop.flows:checkout --input @order.json --tag customer=42",
        "cat order.json | gorkflow run shop.py:make_engine --workflow checkout --input -",
    ),
)
@click.argument("target")
@start_options
@store_option
@json_option
@traceback_option
@log_format_option
@click.pass_context
def run_command(
    ctx: click.Context, /, *, target: str, store: str | None, as_json: bool, tracebacks: bool,
    log_format: str, **given: Any,
) -> None:  # fmt: skip
    """Run a workflow and follow it to its end.

    TARGET is path/file.py or package.module, with :name where it has more than one workflow. It may
    name a Workflow or an Engine, or a function without arguments that returns one.

    The output goes to standard output as JSON, everything else to standard error. Ctrl-C leaves the
    run to be continued with `gorkflow runs resume`.
    """
    options = options_of(given)
    wanted = Wanted(
        target=target, store=store, workflow=given["workflow"], as_json=as_json,
        tracebacks=tracebacks, logs_json=log_format == "json",
    )  # fmt: skip
    # The id is chosen here, so that it can be shown though a step stops the program at once.
    given_id = given["run_id"]
    options["run_id"] = chosen = new_id(SystemClock().now()) if given_id is None else given_id
    ctx.exit(_start(wanted, given["input_text"], options, chosen))


def _start(wanted: Wanted, input_text: str | None, options: StartOptions, run_id: str) -> ExitCode:
    value: Any = None

    def prepare(target: Target) -> Workflow[Any, Any]:
        nonlocal value
        workflow = target.choose(wanted.workflow)
        value = read_input(workflow, input_text)
        return workflow

    async def begin(follower: _Follower) -> int:
        engine, workflow = follower.engine, follower.workflow
        assert workflow is not None  # prepare() chose it
        before = await engine.store.get_run(run_id)
        wanted.run_id = run_id if before is None else None
        try:
            await engine.start(workflow, value, **options)
        except DuplicateRunError as error:
            why = taken(error, options, "follow the run that has it")
            raise CliError(why, ExitCode.CONFLICT) from None
        wanted.run_id = run_id
        if before is None:
            return 0
        await _recovered(follower, run_id)  # it may have been left unfinished
        return before.seq

    return _run_to_its_end(wanted, prepare, begin)


# ---- resume, rerun ----------------------------------------------------------------------------

_accept_types_option = click.option(
    "--accept-types", is_flag=True,
    help="Continue even if recorded values or types don't fit the code. The run records it.",
)  # fmt: skip


@click.command("resume", cls=Command, example=("gorkflow runs resume RUN_ID shop.py:checkout",))
@run_argument()
@click.argument("target")
@_accept_types_option
@store_option
@json_option
@traceback_option
@click.pass_context
def resume_command(
    ctx: click.Context, *, given: str, target: str, accept_types: bool, store: str | None,
    as_json: bool, tracebacks: bool,
) -> None:  # fmt: skip
    """Continue a run that was interrupted, with the code of TARGET, and follow it to its end.

    Completed steps don't run again. TARGET is as for `gorkflow run`.
    """

    async def begin(follower: _Follower) -> int:
        run_id = wanted.run_id = await find_run(follower.engine.store, given)
        row = await follower.engine.store.get_run(run_id)
        if row is None:
            raise RunNotFoundError(run_id)
        if row.status.terminal:
            follower.view.say(f"run {run_id} has already ended: {row.status.value}")
            return row.seq
        follower.engine.handle(run_id, _fitting(follower.target, row))
        if not await _recovered(follower, run_id, accept_types=accept_types):
            await _explain_not_taken(follower.engine, run_id, same_store(store))
        return row.seq

    wanted = Wanted(target=target, store=store, as_json=as_json, tracebacks=tracebacks)
    ctx.exit(_run_to_its_end(wanted, _look_into(wanted), begin))


@click.command(
    "rerun",
    cls=Command,
    example=(
        "gorkflow runs rerun RUN_ID shop.py:checkout",
        "gorkflow runs rerun RUN_ID --from quote_shipping",
    ),
)
@run_argument()
@click.argument("target", required=False)
@click.option(
    "--from", "from_step", metavar="STEP",
    help="Begin again at this step: a path, or an id.  [default: at what did not complete]",
)  # fmt: skip
@click.option("--run-id", "new_run_id", metavar="ID", help="The id of the new run.")
@_accept_types_option
@tags_option("Added to the tags of the run that is repeated.")
@store_option
@json_option
@traceback_option
@click.pass_context
def rerun_command(
    ctx: click.Context, *, given: str, target: str | None, from_step: str | None,
    new_run_id: str | None, tags: dict[str, str], accept_types: bool, store: str | None,
    as_json: bool, tracebacks: bool,
) -> None:  # fmt: skip
    """Repeat a run that has ended, as a new run that keeps what need not be done again.

    It keeps every completed result that is not downstream of STEP. With TARGET, as for
    `gorkflow run`, this command runs the new run and follows it to its end. Without TARGET, a
    worker runs it, and the output is its id.
    """
    if target is None:
        if accept_types:
            raise click.UsageError(
                "--accept-types needs TARGET, the code to judge the types with; add it"
            )
        options: StartOptions = {"run_id": new_run_id, "tags": tags}
        _queue_rerun(store, given, from_step, options, as_json=as_json)
        return
    chosen: StartOptions = {"run_id": new_run_id or new_id(SystemClock().now()), "tags": tags}

    async def begin(follower: _Follower) -> int:
        engine = follower.engine
        run_id = await find_run(engine.store, given)
        row = await engine.store.get_run(run_id)
        if row is None:
            raise RunNotFoundError(run_id)
        workflow = _fitting(follower.target, row)
        new = chosen["run_id"] or ""
        wanted.run_id = None if await engine.store.get_run(new) is not None else new
        try:
            await engine.rerun(
                run_id, from_step, workflow=workflow, accept_types=accept_types, **chosen
            )
        except DuplicateRunError as error:
            raise CliError(_taken_by(error), ExitCode.CONFLICT) from None
        return 0

    wanted = Wanted(target=target, store=store, as_json=as_json, tracebacks=tracebacks)
    ctx.exit(_run_to_its_end(wanted, _look_into(wanted), begin))


def _queue_rerun(
    store: str | None, origin: str, from_step: str | None, options: StartOptions, *, as_json: bool
) -> None:
    """Record a run that repeats another one, for a worker to run it.

    Args:
        store: its URL; ``None``: the default.
        origin: the run to repeat.
        from_step: where to begin again; ``None``: at what did not complete.
        options: as ``Engine.rerun`` takes them.
        as_json: print the run, instead of its id.
    """

    async def ask() -> _json.Record:
        async with Client(check_exists(store)) as engine:
            try:
                run_id = await find_run(engine.store, origin)
                handle = await engine.rerun(run_id, from_step, **options)
            except DuplicateRunError as error:
                raise CliError(_taken_by(error), ExitCode.CONFLICT) from None
            return await _json.record(engine.store, handle.run_id)

    found = asyncio.run(ask())
    run = found.run
    put(json_text(found.to_json(), short=None) if as_json else run.run_id)
    say_who_runs(run, store)


def _taken_by(error: DuplicateRunError) -> str:
    return f"run {error.run_id!r} exists already; give another --run-id"


def _fitting(target: Target, row: RunRow) -> Workflow[Any, Any]:
    ids = {workflow.id for workflow in target.workflows.values()}
    if row.workflow_id not in ids:
        raise CliError(
            f"run {row.run_id!r} belongs to workflow {row.workflow_id!r}; {target.text!r} has "
            f"{', '.join(sorted(ids)) or 'none'}",
            ExitCode.CONFLICT,
        )
    return target.choose(row.workflow_id)


def _look_into(wanted: Wanted) -> Callable[[Target], None]:
    """Return what checks that the run can be there at all."""

    def prepare(target: Target) -> None:
        check_exists(target.engine.store if target.engine is not None else wanted.store)

    return prepare


async def _recovered(follower: _Follower, run_id: str, *, accept_types: bool = False) -> bool:
    """Continue a run; return whether this process runs it now."""
    follower.log.muted = True  # what it says about this run comes back as an error
    try:
        return bool(await follower.engine.recover(run_id, accept_types=accept_types))
    finally:
        follower.log.muted = False


async def _explain_not_taken(engine: Engine, run_id: str, where: str) -> None:
    row = await engine.store.get_run(run_id)
    if row is not None and row.worker_id is not None and row.worker_id != engine.worker_id:
        raise CliError(
            f"run {run_id!r} is run by {row.worker_id}, which is alive; "
            f"watch it with `gorkflow runs show {run_id}{where}`",
            ExitCode.CONFLICT,
        )


# ---- carrying ---------------------------------------------------------------------------------


@dataclass
class _Follower:
    """A run that is followed to its end, and what runs it."""

    engine: Engine
    target: Target
    workflow: Workflow[Any, Any] | None
    view: View
    log: LogLines


_Begin = Callable[[_Follower], Coroutine[Any, Any, int]]
"""Begins the run; returns the ``seq`` of the last event before that: later ones are news."""


def _run_to_its_end(
    wanted: Wanted, prepare: Callable[[Target], Workflow[Any, Any] | None], begin: _Begin
) -> ExitCode:
    try:
        # What the steps print goes where the rest of the talk goes: the output is for a pipe.
        telling = json_lines() if wanted.logs_json else nullcontext()
        with stdout_is_ours(), stopped_by_sigterm(wanted), telling:
            target = load(wanted.target)
            if target.engine is not None and wanted.store is not None:
                raise CliError("the engine of TARGET brings its store; leave out --store")
            workflow = prepare(target)
            view = view_for(quiet=wanted.as_json or wanted.logs_json)
            with naming_source(target.engine or wanted.store), logging_to(view) as log:
                engine = target.engine or Engine(wanted.store)
                engine._owns_loop = True  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
                wanted.lasting = not isinstance(engine.store, MemoryStore)
                follower = _Follower(engine, target, workflow, view, log)
                found = run_in_loop(_follow(wanted, follower, begin))
    except KeyboardInterrupt:
        what = "terminated" if wanted.terminated else "interrupted"
        code = ExitCode.TERMINATED if wanted.terminated else ExitCode.INTERRUPTED
        raise CliError(_what_now(wanted, what), code) from None
    except StoreUnavailableError as error:
        raise CliError(_what_now(wanted, str(error)), ExitCode.STORE) from None
    except SystemExit as error:
        what = f"a step stopped the program: SystemExit({error.code!r})"
        raise CliError(_what_now(wanted, what), ExitCode.RUN_FAILED) from None
    return report(wanted, found)


@contextmanager
def stopped_by_sigterm(wanted: Wanted) -> Generator[None]:
    """Let SIGTERM stop the command as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        wanted.terminated = True
        # asyncio's own while a loop runs. Started in the background of a script, there is none.
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):
            raise KeyboardInterrupt
        handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _follow(wanted: Wanted, follower: _Follower, begin: _Begin) -> _json.Record:
    engine = follower.engine
    engine.recovers = False  # this command is about one run
    await engine.open()
    async with engine:
        seen = await begin(follower)
        run_id = wanted.run_id
        assert run_id is not None  # it has begun
        board = await board_of(engine.store, run_id, follower.view, seen)
        with follower.view.showing(board):
            await _watched(follower, board, seen)
        found = await _json.record(engine.store, run_id)
        await _call_hooks(wanted, engine, run_id)
        return found


async def _call_hooks(wanted: Wanted, engine: Engine, run_id: str) -> None:
    """Have the hooks of the run called before this process ends, and report those that failed."""
    worker = engine._opened()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    for call in await worker.calls_left(run_id):
        owner = "workflow" if call.hook is Hook.WORKFLOW else "engine"
        then = "and is lost with the store in memory"
        if wanted.lasting:
            target = f"{shlex.quote(wanted.target)}{same_store(wanted.store)}"
            then = f"and a worker calls it again:\n  gorkflow worker {target}"
        why = f" ({one_line(call.error)})" if call.error else ""
        say(f"the on_end hook of the {owner} failed{why}, {then}")


async def _watched(follower: _Follower, board: Board, seen: int) -> None:
    """Follow the run until it has ended."""
    engine = follower.engine

    # An engine that loses the run says so to those who wait, and to nobody who only looks.
    found = _events(engine, board.run_id, seen)
    watching = asyncio.ensure_future(show_events(found, board, follower.view))
    waiting = asyncio.ensure_future(_end(engine, board.run_id))
    try:
        await asyncio.wait((watching, waiting), return_when=asyncio.FIRST_EXCEPTION)
        for task in (waiting, watching):
            if task.done():
                task.result()
    finally:
        for task in (watching, waiting):
            task.cancel()
        await asyncio.wait((watching, waiting))
        for task in (watching, waiting):
            if not task.cancelled():
                task.exception()  # one was raised; the other has been seen, too


async def _events(engine: Engine, run_id: str, after: int) -> AsyncIterator[Event | Report]:
    """Iterate over the run's events and reports, however long the store is away."""
    while True:
        try:
            async for found in engine.events(run_id, after=after, progress=True):
                if not isinstance(found, Report):
                    after = found.seq
                yield found
        except StoreUnavailableError:
            if not _holds(engine):
                raise
        else:
            return


async def _end(engine: Engine, run_id: str) -> None:
    """Wait for the end of the run, however long the store is away."""
    while True:
        try:
            await engine.wait(run_id)
        except StoreUnavailableError:
            if not _holds(engine):
                raise
        else:
            return


def _holds(engine: Engine) -> bool:
    """Return whether no other worker can take the run."""
    return engine._opened().lease.holds()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def _what_now(wanted: Wanted, what: str) -> str:
    if wanted.run_id is None or not wanted.lasting:
        return what
    target = shlex.quote(wanted.target)
    command = f"gorkflow runs resume {wanted.run_id} {target}{same_store(wanted.store)}"
    return f"{what}; completed steps are kept, continue with\n  {command}"


# ---- the end ----------------------------------------------------------------------------------


def report(wanted: Wanted, found: _json.Record) -> ExitCode:
    """Print the output of a run, or say how it failed; return the exit code."""
    run = found.run
    if wanted.as_json:
        put(json_text(found.to_json(), short=None))
    elif run.status is RunStatus.COMPLETED:
        put(json_text(run.output))
    else:
        say(_failed(wanted, run, [step for step in found.steps if undone_path(step.path)]))
    return ExitCode.OK if run.status is RunStatus.COMPLETED else ExitCode.RUN_FAILED


def _failed(wanted: Wanted, run: Run, undo: list[StepExecution]) -> str:
    if run.status is RunStatus.CANCELLED:
        lines = [f"run {run.run_id} was cancelled: {one_line(run.reason)}"]
    else:
        lines = [f"run {run.run_id} failed:"]
    unhandled = [failure for failure in run.failures if not failure.handled]
    for number, failure in enumerate(unhandled):
        some = shown(failure.traceback) if number < SHOWN else ""
        lines += failure_lines(failure, failure.traceback if wanted.tracebacks else some)
    done = [undone_path(step.path) or "" for step in undo if step.status is StepStatus.COMPLETED]
    if undo:
        lines.append(f"undone: {listed(done) or 'nothing'} ({len(done)} of {len(undo)})")
    if wanted.lasting:
        untold = not wanted.tracebacks and any(failure.traceback for failure in run.failures)
        hint = " --traceback" if untold else ""
        lines.append(f"see: gorkflow runs show {run.run_id}{hint}{same_store(wanted.store)}")
    return "\n".join(lines)


def failure_lines(failure: Failure, traceback: str) -> list[str]:
    """Return a failure for people: where, what kind, what it said, and this traceback."""
    where = failure.path or "the run"
    tries = f" (attempt {failure.attempt})" if failure.attempt > 1 else ""
    name = failure.type.removeprefix("builtins.")
    says = f"{name}: {failure.message}" if name else failure.message
    lines = [f"  {one_line(where)}{tries}  {failure.code.value}  {one_line(says)}"]
    if traceback:
        lines.append(indented(clean(traceback)))
    return lines
