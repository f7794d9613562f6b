"""Starting or continuing a run from the command line, and following it to its end."""

from __future__ import annotations

import asyncio
import shlex
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from gorkflow.cli import _plain
from gorkflow.cli._board import Board
from gorkflow.cli._errors import CliError, ExitCode
from gorkflow.cli._input import read_input
from gorkflow.cli._leaving import run_in_loop
from gorkflow.cli._output import put, say, stdout_is_ours
from gorkflow.cli._stores import check_exists, naming_source, same_store
from gorkflow.cli._target import Target, load
from gorkflow.cli._text import clean, indented, json_text, one_line
from gorkflow.cli._views import LogLines, View, logging_to, view_for
from gorkflow.clock import SystemClock
from gorkflow.engine._match import tree_of
from gorkflow.engine._start import StartOptions, new_id
from gorkflow.engine.engine import Engine
from gorkflow.errors import SHOWN, DuplicateRunError, RunNotFoundError, shown
from gorkflow.flow import undone_path
from gorkflow.machine.joins import names
from gorkflow.model import Failure, Run, RunStatus, StepExecution, StepStatus
from gorkflow.store import RunRow
from gorkflow.stores.memory import MemoryStore
from gorkflow.workflow import Workflow


@dataclass(kw_only=True)
class Wanted:
    """What was asked for on the command line."""

    target: str
    store: str | None = None
    """``None``: the engine's own default."""
    workflow: str | None = None
    as_json: bool = False
    tracebacks: bool = False
    run_id: str | None = None
    """The run, once it is known."""
    lasting: bool = True
    """Whether the store outlives this process."""
    terminated: bool = False
    """Whether SIGTERM came."""


def start(wanted: Wanted, input_text: str | None, options: StartOptions) -> ExitCode:
    """Start a run of TARGET and follow it.

    Args:
        wanted: what was asked for.
        input_text: the input, as it was typed.
        options: as ``Engine.start`` takes them.
    """

    async def begin(carrier: _Carrier) -> bool:
        engine, workflow = carrier.engine, carrier.workflow
        assert workflow is not None  # prepare() chose it
        # Chosen here, so that it can be told though a step stops the program at once.
        given = options.get("run_id")
        run_id = new_id(SystemClock().now()) if given is None else given
        known = await engine.store.get_run(run_id) is not None
        wanted.run_id = None if known else run_id
        chosen: StartOptions = {**options, "run_id": run_id}
        try:
            await engine.start(workflow, value, **chosen)
        except DuplicateRunError as error:
            raise CliError(_taken(error, options), ExitCode.CONFLICT) from None
        wanted.run_id = run_id
        if known:
            await _recovered(carrier, run_id)  # it may have been left unfinished
        return not known

    value: Any = None

    def prepare(target: Target) -> Workflow[Any, Any]:
        nonlocal value
        workflow = target.choose(wanted.workflow)
        value = read_input(workflow, input_text)
        return workflow

    return _carry(wanted, prepare, begin)


def _taken(error: DuplicateRunError, options: StartOptions) -> str:
    if options.get("if_exists") == "return":  # then it says in what the runs differ
        return str(error).replace("another run_id", "another --run-id")
    return (
        f"run {error.run_id!r} exists already; give another --run-id, or follow the run that has "
        "it with --if-exists return"
    )


def resume(wanted: Wanted, *, accept_types: bool = False) -> ExitCode:
    """Continue a run with the code of TARGET and follow it."""
    run_id = wanted.run_id
    assert run_id is not None  # it is an argument of the command

    async def begin(carrier: _Carrier) -> bool:
        row = await carrier.engine.store.get_run(run_id)
        if row is None:
            raise RunNotFoundError(run_id)
        if row.status.terminal:
            carrier.view.say(f"run {run_id} has already ended: {row.status.value}")
            return False
        carrier.engine.handle(run_id, _fitting(carrier.target, row))
        if not await _recovered(carrier, run_id, accept_types=accept_types):
            await _explain_not_taken(carrier.engine, run_id, same_store(wanted.store))
        return False

    return _carry(wanted, _look_into(wanted), begin)


def rerun(
    wanted: Wanted,
    origin: str,
    from_step: str | None,
    options: StartOptions,
    *,
    accept_types: bool = False,
) -> ExitCode:
    """Repeat a run with the code of TARGET and follow the new one.

    Args:
        wanted: what was asked for.
        origin: the run to repeat.
        from_step: where to begin again; ``None``: at what did not complete.
        options: as ``Engine.rerun`` takes them.
        accept_types: whether types may differ.
    """

    async def begin(carrier: _Carrier) -> bool:
        engine = carrier.engine
        row = await engine.store.get_run(origin)
        if row is None:
            raise RunNotFoundError(origin)
        workflow = _fitting(carrier.target, row)
        run_id = options.get("run_id") or new_id(SystemClock().now())
        chosen: StartOptions = {**options, "run_id": run_id}
        known = await engine.store.get_run(run_id) is not None
        wanted.run_id = None if known else run_id
        try:
            await engine.rerun(
                origin, from_step, workflow=workflow, accept_types=accept_types, **chosen
            )
        except DuplicateRunError as error:
            raise CliError(_taken_by(error), ExitCode.CONFLICT) from None
        return True

    return _carry(wanted, _look_into(wanted), begin)


def queue_rerun(
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

    async def ask() -> _plain.Record:
        async with Engine(check_exists(store), execute=False) as engine:
            try:
                handle = await engine.rerun(origin, from_step, **options)
            except DuplicateRunError as error:
                raise CliError(_taken_by(error), ExitCode.CONFLICT) from None
            return await _plain.record(engine.store, handle.run_id)

    found = asyncio.run(ask())
    run = found.run
    put(json_text(found.to_json(), short=None) if as_json else run.run_id)
    if run.status is RunStatus.PENDING:
        say(
            f"it waits for a worker that knows workflow {run.workflow_id!r}: "
            f"gorkflow worker TARGET{same_store(store)}"
        )


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


async def _recovered(carrier: _Carrier, run_id: str, *, accept_types: bool = False) -> bool:
    """Continue a run; return whether this process carries it now."""
    carrier.log.muted = True  # what it says about this run comes back as an error
    try:
        return bool(await carrier.engine.recover(run_id, accept_types=accept_types))
    finally:
        carrier.log.muted = False


async def _explain_not_taken(engine: Engine, run_id: str, where: str) -> None:
    row = await engine.store.get_run(run_id)
    if row is not None and row.worker_id is not None and row.worker_id != engine.worker_id:
        raise CliError(
            f"run {run_id!r} is carried on by {row.worker_id}, which is alive; "
            f"watch it with `gorkflow runs show {run_id}{where}`",
            ExitCode.CONFLICT,
        )


# ---- carrying ---------------------------------------------------------------------------------


@dataclass
class _Carrier:
    """What carries a run to its end."""

    engine: Engine
    target: Target
    workflow: Workflow[Any, Any] | None
    view: View
    log: LogLines


_Begin = Callable[[_Carrier], Coroutine[Any, Any, bool]]
"""Begins the run; returns whether it is a new one, whose first events are news too."""


def _carry(
    wanted: Wanted, prepare: Callable[[Target], Workflow[Any, Any] | None], begin: _Begin
) -> ExitCode:
    try:
        # What the steps print goes where the rest of the talk goes: the output is for a pipe.
        with stdout_is_ours(), _stopped_by_sigterm(wanted):
            target = load(wanted.target)
            if target.engine is not None and wanted.store is not None:
                raise CliError("the engine of TARGET brings its store; leave out --store")
            workflow = prepare(target)
            view = view_for(quiet=wanted.as_json)
            with naming_source(target.engine or wanted.store), logging_to(view) as log:
                engine = target.engine or Engine(wanted.store)
                wanted.lasting = not isinstance(engine.store, MemoryStore)
                carrier = _Carrier(engine, target, workflow, view, log)
                found = run_in_loop(_follow(wanted, carrier, begin))
    except KeyboardInterrupt:
        what = "terminated" if wanted.terminated else "interrupted"
        code = ExitCode.TERMINATED if wanted.terminated else ExitCode.INTERRUPTED
        raise CliError(_what_now(wanted, what), code) from None
    except SystemExit as error:
        what = f"a step stopped the program: SystemExit({error.code!r})"
        raise CliError(_what_now(wanted, what), ExitCode.RUN_FAILED) from None
    return _report(wanted, found)


@contextmanager
def _stopped_by_sigterm(wanted: Wanted) -> Generator[None]:
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


async def _follow(wanted: Wanted, carrier: _Carrier, begin: _Begin) -> _plain.Record:
    engine = carrier.engine
    await engine.open(recover=False)  # this command is about one run
    async with engine:
        is_new = await begin(carrier)
        run_id = wanted.run_id
        assert run_id is not None  # it has begun
        loaded = await _plain.load(engine.store, run_id)
        board = Board(run_id, tree_of(loaded))
        for event in () if is_new else loaded.events:
            board.feed(event)
        seen = 0 if is_new else loaded.row.seq
        with carrier.view.showing(board):
            await _watched(carrier, board, seen)
        return await _plain.record(engine.store, run_id)


async def _watched(carrier: _Carrier, board: Board, seen: int) -> None:
    """Follow the run until it has ended."""
    engine, view = carrier.engine, carrier.view

    async def watch() -> None:
        async for event in engine.events(board.run_id, after=seen):
            board.feed(event)
            view.fed(board, event)

    # An engine that loses the run says so to those who wait, and to nobody who only looks.
    watching = asyncio.ensure_future(watch())
    waiting = asyncio.ensure_future(engine.wait(board.run_id))
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


def _what_now(wanted: Wanted, what: str) -> str:
    if wanted.run_id is None or not wanted.lasting:
        return what
    target = shlex.quote(wanted.target)
    command = f"gorkflow runs resume {wanted.run_id} {target}{same_store(wanted.store)}"
    return f"{what}; what is done is kept, go on with\n  {command}"


# ---- the end ----------------------------------------------------------------------------------


def _report(wanted: Wanted, found: _plain.Record) -> ExitCode:
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
        lines.append(f"undone: {names(done) or 'nothing'} ({len(done)} of {len(undo)})")
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
