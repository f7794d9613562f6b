"""`gorkflow runs`: lists, shows, cancels, resumes, repeats and deletes runs, and sends signals."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Any

import click
from msgspec import structs

from gorkflow import events as ev
from gorkflow._text import span_of
from gorkflow.cli import _run, _watch
from gorkflow.cli._app import (
    CONTEXT,
    STATUSES,
    Group,
    group_store_option,
    json_option,
    store_option,
    tags_option,
    traceback_option,
)
from gorkflow.cli._db import counted, maintainable
from gorkflow.cli._diff import diff_command
from gorkflow.cli._output import (
    CliError,
    ExitCode,
    clock,
    indented,
    json_text,
    moment,
    one_line,
    put,
    say,
    table,
)
from gorkflow.cli._target import check_exists, opened, read_payload, same_store
from gorkflow.clock import SystemClock
from gorkflow.engine import _json
from gorkflow.engine._reads import summary_of
from gorkflow.engine.client import Client
from gorkflow.errors import RunNotFoundError, StoreCorruptError
from gorkflow.flow import undone_path
from gorkflow.listing import Page, RunFilter
from gorkflow.model import UNDOING, Run, RunStatus, StepExecution, StepStatus
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


for _other in (_watch.watch_command, _run.resume_command, _run.rerun_command, diff_command):
    runs_command.add_command(_other)


# ---- list -------------------------------------------------------------------------------------


@runs_command.command(
    "list",
    example=("gorkflow runs list --status failed --status cancelled --tag customer=42",),
)
@click.option(
    "--status", multiple=True, type=click.Choice(STATUSES), help="Only such runs; repeatable."
)
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@tags_option("Only with this tag.")
@click.option("--resource", metavar="ID", help="Only runs about this, as `run --resource` said.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many."
)
@click.option("--cursor", metavar="C", help="Continue where the page before ended.")
@store_option
@json_option
def list_command(
    *, status: tuple[str, ...], workflow: str | None, tags: dict[str, str],
    resource: str | None, limit: int, cursor: str | None, store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """List runs, newest first."""
    try:
        query = RunFilter(
            workflow_id=workflow,
            status=[RunStatus(item) for item in status] or None,
            tags=tags,
            resource_id=resource,
            limit=limit,
            cursor=cursor,
        )
    except ValueError as error:  # such as bytes that are not UTF-8
        raise CliError(str(error)) from None

    async def page() -> tuple[Page[RunRow], set[str]]:
        async with opened(store) as reader:
            try:
                return await reader.list_runs(query), await _alive(reader)
            except ValueError:  # all else was checked as it was typed
                raise CliError(
                    f"--cursor {query.cursor!r} is none; `gorkflow runs list{same_store(store)}` "
                    "names it below a page"
                ) from None

    found, alive = asyncio.run(page())
    runs = [summary_of(row) for row in found]
    if as_json:
        body = {"runs": [_json.summary_json(run) for run in runs], "next_cursor": found.next_cursor}
        put(json_text(body, short=None))
        return
    if not runs:
        say("no runs")
        return
    head = ("RUN", "WORKFLOW", "STATUS", "CREATED", "TOOK", "NOTE")
    put("\n".join(table(head, (_row(run, alive) for run in runs))))
    if found.next_cursor is not None:
        say(f"older ones: --cursor {found.next_cursor}")


async def _alive(store: Store) -> set[str]:
    return {worker.worker_id for worker in await store.workers(now=SystemClock().now())}


def _is_left(run: Run, alive: set[str]) -> bool:
    """Return whether the run could continue, but no living worker runs it."""
    waits = run.status in {RunStatus.PENDING, RunStatus.RUNNING}
    delayed = run.due_at is not None and run.due_at.timestamp() > SystemClock().now()
    return waits and not delayed and run.worker_id not in alive


def _row(run: Run, alive: set[str]) -> tuple[str, ...]:
    tags = " ".join(f"{name}={value}" for name, value in run.tags.items())
    left = "no worker runs it" if _is_left(run, alive) else ""
    due = f"due {moment(run.due_at)}" if run.due_at else ""
    note = "; ".join(part for part in (left, due, tags, one_line(run.reason)) if part)
    return (
        run.run_id,
        run.workflow_id,
        run.status.value,
        moment(run.created_at),
        _took(run.started_at, run.finished_at),
        note if len(note) <= 60 else f"{note[:59]}…",
    )


def _took(started: datetime | None, finished: datetime | None) -> str:
    if started is None or finished is None:
        return ""
    return span_of(max(0.0, (finished - started).total_seconds()))


# ---- show -------------------------------------------------------------------------------------


@runs_command.command("show", example=("gorkflow runs show RUN_ID --traceback",))
@click.argument("run_id")
@click.option("--events", is_flag=True, help="The recorded history too.")
@traceback_option
@store_option
@json_option
def show_command(
    *, run_id: str, store: str | None,
    events: bool, tracebacks: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show a run: its steps, failures, input and output. Needs no code of the workflow."""

    async def look() -> tuple[_json.Record, set[str]]:
        async with opened(store) as reader:
            return await _json.record(reader, run_id), await _alive(reader)

    found, alive = asyncio.run(look())
    if as_json:
        put(json_text(found.to_json(events=events), short=None))
        return
    note = ""
    if _is_left(found.run, alive):
        note = f"no worker runs it: gorkflow runs resume {run_id} TARGET{same_store(store)}"
    parts = [
        _facts(found.run, note),
        _steps(found.steps),
        *_failures(found.run, tracebacks=tracebacks),
    ]
    if events:
        parts.append(_events(found.events))
    put("\n\n".join("\n".join(part) for part in parts if part))


def _facts(run: Run, note: str) -> list[str]:
    progress = run.progress
    took = _took(run.started_at, run.finished_at)
    facts = {
        "run": run.run_id,
        "workflow": f"{run.workflow_id} (version {run.workflow_version})",
        "status": run.status.value,
        "note": note,
        "reason": run.reason,
        "repeats": _origin(run),
        "resource": run.resource_id or "",
        "tags": ", ".join(f"{name}={value}" for name, value in run.tags.items()),
        "created": moment(run.created_at),
        "started": moment(run.started_at),
        "finished": moment(run.finished_at) + (f" ({took})" if took else ""),
        "due": moment(run.due_at),
        "worker": run.worker_id or "",
        "steps": f"{progress.done} of {progress.total} ended" if progress else "",
    }
    lines = [f"{name:<9} {one_line(value)}" for name, value in facts.items() if value]
    if run.input is not None:
        lines.append(_value("input", run.input))
    if run.status is RunStatus.COMPLETED:
        lines.append(_value("output", run.output))
    if run.state:
        lines.append(_value("state", {key: _cut(value) for key, value in run.state.items()}))
    return lines


_LONG_VALUE = 1_000  # characters of one value of the state, as JSON


def _cut(value: Any) -> Any:
    """Return a value of the state, or what of it is worth showing."""
    text = json_text(value, short=None)
    return value if len(text) <= _LONG_VALUE else _shortened(text)


def _shortened(text: str) -> str:
    if len(text) <= _LONG_VALUE:
        return text
    return f"{text[:_LONG_VALUE]}… ({len(text):,} characters; --json has all)"


def _origin(run: Run) -> str:
    if run.origin is None:
        return ""
    where = "what had not completed" if run.from_step is None else run.from_step
    return f"{run.origin}, from {where}"


def _value(name: str, value: Any) -> str:
    text = json_text(value)
    return f"{name}\n{indented(text)}" if "\n" in text else f"{name:<9} {text}"


def _steps(steps: list[StepExecution]) -> list[str]:
    head = ("STEP", "STATUS", "ATTEMPT", "STARTED", "TOOK", "NOTE")
    return table(head, (_step(step) for step in steps))


_UTC = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")
"""As histories have it; all other instants here are local."""


def _step(step: StepExecution) -> tuple[str, ...]:
    reason = step.reason
    if step.status is StepStatus.SUSPENDED:
        reason = _UTC.sub(lambda found: moment(datetime.fromisoformat(f"{found[1]}Z")), reason)
    notes = [reason]
    if step.failure is not None and step.status is not StepStatus.COMPLETED:
        notes.insert(0, f"{step.failure.code.value}: {step.failure.message}")
    if step.executor not in {"", "loop", "thread"}:
        notes.append("in a process" if step.executor == "process" else f"on {step.executor}")
    notes.append(_queued(step))
    notes.append(f"by {step.step_id}" if undone_path(step.path) is not None else _undone(step))
    note = one_line("; ".join(filter(None, notes)))
    return (
        step.path,
        step.status.value,
        str(step.attempt or ""),
        "" if step.started_at is None else clock(step.started_at.timestamp()),
        _took(step.started_at, step.finished_at),
        note if len(note) <= 80 else f"{note[:79]}…",
    )


_UNDONE = {
    StepStatus.COMPLETED: "undone",
    StepStatus.FAILED: "could not be undone",
    StepStatus.PENDING: "to be undone",
}


def _undone(step: StepExecution) -> str:
    """Return where the undoing of a step stands, in words; empty: it is not undone."""
    return "" if step.undone is None else _UNDONE.get(step.undone, "is being undone")


_LONG = 0.1  # seconds in a queue that are worth a word


def _queued(step: StepExecution) -> str:
    """Return how long the latest attempt was kept waiting by its limits; empty: not for long."""
    last = step.attempts[-1] if step.attempts else None
    if last is None or not last.limits or last.queued is None or last.queued < _LONG:
        return ""
    names = " and ".join(repr(name) for name in last.limits)
    return f"waited {span_of(last.queued)} for limit{'s' if len(last.limits) > 1 else ''} {names}"


def _failures(run: Run, *, tracebacks: bool) -> list[list[str]]:
    parts: list[list[str]] = []
    for title, handled in (("failures", False), ("failures that the run handled", True)):
        found = [failure for failure in run.failures if failure.handled is handled]
        if found:
            lines = [f"{title}:"]
            for failure in found:
                lines += _run.failure_lines(failure, failure.traceback if tracebacks else "")
            parts.append(lines)
    return parts


def _events(events: tuple[ev.Event, ...]) -> list[str]:
    head = ("SEQ", "TIME", "EVENT", "PATH", "DETAILS")
    return table(head, (_event(event) for event in events))


_SHOWN_APART = frozenset(
    {"run_id", "seq", "path", "at", "input", "output", "failures", "fingerprint"}
)


def _event(event: ev.Event) -> tuple[str, ...]:
    details: list[str] = []
    for field in structs.fields(event):
        value = getattr(event, field.name)
        if field.name not in _SHOWN_APART and value not in {None, "", (), field.default}:
            details.append(f"{field.name}={_detail(field.name, value)}")
    return (str(event.seq), clock(event.at), event.kind, event.path, "  ".join(details))


def _detail(name: str, value: Any) -> str:
    if name.endswith("_at") or name in {"due", "deadline"}:
        return clock(value)
    if name == "state":
        value = ", ".join(
            f"{write.op} {write.key} {_shortened(write.text)}".strip() for write in value
        )
    return one_line(value.decode(errors="replace") if isinstance(value, bytes) else str(value))


# ---- cancel -----------------------------------------------------------------------------------

_PATIENCE = 3.0  # seconds to wait for the worker of the run
_LOOK_EVERY = 0.1


@runs_command.command("cancel", example=("gorkflow runs cancel RUN_ID --reason 'wrong order'",))
@click.argument("run_id")
@click.option(
    "--reason",
    default="cancelled from the command line",
    show_default=True,
    help="Kept with the run.",
)
@store_option
def cancel_command(*, run_id: str, reason: str, store: str | None) -> None:
    """Cancel a run, wherever it runs."""

    async def ask() -> tuple[RunRow | None, RunRow | None, set[str]]:
        async with Client(check_exists(store)) as engine:
            before = await engine.store.get_run(run_id)
            asks = before is None or not _is_undoing(before)  # else it stands how it ends
            if asks:
                await engine.cancel(run_id, reason=reason)
            clock = SystemClock()
            until = clock.monotonic() + _PATIENCE
            while True:
                row, alive = await engine.store.get_run(run_id), await _alive(engine.store)
                if row is None or row.status.terminal or clock.monotonic() > until:
                    return before, row, alive
                if _is_undoing(row) and not (asks and row.worker_id in alive):
                    return before, row, alive
                await asyncio.sleep(_LOOK_EVERY)

    before, after, alive = asyncio.run(ask())
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
@click.argument("run_id")
@click.argument("signal")
@click.option("--payload", metavar="JSON|@FILE|-", help="The value of the signal.  [default: null]")
@store_option
def send_command(*, run_id: str, signal: str, payload: str | None, store: str | None) -> None:
    """Send a signal into a run, wherever it runs.

    It is kept until the run waits for it. The worker of the run checks the payload, since this
    command does not know the code.
    """
    value = read_payload(payload)

    async def post() -> None:
        async with Client(check_exists(store)) as engine:
            await engine.send(run_id, signal, value)

    asyncio.run(post())
    say(
        f"signal {signal!r} is recorded for run {run_id}; the worker of the run checks whether its "
        "payload fits"
    )


# ---- delete -----------------------------------------------------------------------------------


@runs_command.command("delete", example=("gorkflow runs delete RUN_ID OTHER_RUN_ID",))
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID…")
@click.option(
    "--force", is_flag=True,
    help="Also runs that can't be read, and unfinished ones that no living worker runs.",
)  # fmt: skip
@store_option
def delete_command(*, run_ids: tuple[str, ...], force: bool, store: str | None) -> None:
    """Delete runs that have ended, with all that is kept of them.

    All of them, or none where one can't be deleted. A run of a living worker is never deleted.
    For old runs by the thousand there is `gorkflow db prune`.
    """
    where = same_store(store)

    async def work() -> int:
        async with opened(store) as rows:
            keeper = maintainable(rows)
            now = SystemClock().now()
            alive = {worker.worker_id for worker in await rows.workers(now=now)}
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

    say(f"{counted(asyncio.run(work()))} deleted")


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
