"""`gorkflow runs show`: a run with its steps, their values and attempts, and what failed."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

import click
from msgspec import structs

from gorkflow import events as ev
from gorkflow._text import cut, span_of
from gorkflow.cli._app import Command, json_option, store_option, traceback_option
from gorkflow.cli._named import find_run, run_argument
from gorkflow.cli._output import (
    clock,
    cut_to,
    indented,
    json_text,
    moment,
    one_line,
    put,
    table,
    width,
)
from gorkflow.cli._run import failure_lines
from gorkflow.cli._standing import Living, is_left, living_workers, took
from gorkflow.cli._target import opened, same_store
from gorkflow.codec import codec_of
from gorkflow.engine import _json
from gorkflow.errors import SHOWN, shown
from gorkflow.flow import WaitSpec, template_of, undone_path, walk
from gorkflow.model import (
    DEFAULT_QUEUE,
    Attempt,
    Failure,
    Report,
    Run,
    RunStatus,
    StepExecution,
    StepStatus,
)

_WIDTH = 100
"""Columns, where the output goes to no terminal."""
_LONG_VALUE = 1_000
"""Characters of one value, as JSON, that are shown without ``--full``."""
_ALIKE = 5
"""Items of a map, or iterations, that are shown without ``--full`` although all went well."""
_ODD = 20
"""The others of them that are shown."""
_LONG = 0.1
"""Seconds in a queue that are worth a word."""
_NOTHING = codec_of(None).digest()
"""The schema of a signal whose payload is null."""
_FINE = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED, StepStatus.CANCELLED,
                   StepStatus.PENDING})  # fmt: skip


@click.command(
    "show", cls=Command, example=("gorkflow runs show RUN_ID", "gorkflow runs show RUN_ID --full")
)
@run_argument()
@click.option("--events", is_flag=True, help="The recorded history too.")
@click.option("--full", is_flag=True, help="Cut no value, and leave out no step.")
@traceback_option
@store_option
@json_option
def show_command(
    *, given: str, store: str | None,
    events: bool, full: bool, tracebacks: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show a run: its steps with their values, failures, input and output.

    It needs no code of the workflow. Lines are cut to the width of the terminal.
    """

    async def look() -> tuple[_json.Record, Living, Counter[str]]:
        async with opened(store) as reader:
            run_id = await find_run(reader, given)
            unread = await reader.inbox(run_id)
            sent = Counter(each.body for each in unread if each.kind == "signal")
            return await _json.record(reader, run_id), await living_workers(reader), sent

    found, living, sent = asyncio.run(look())
    if as_json:
        put(json_text(found.to_json(events=events), short=None))
        return
    note = ""
    if is_left(found.run, living):
        note = (
            f"no worker runs it: gorkflow runs resume {found.run.run_id} TARGET{same_store(store)}"
        )
    columns = None if full else shutil.get_terminal_size((_WIDTH, 24)).columns
    page = _Page(found, columns, _Signals(found, sent, same_store(store), alive=bool(living.ids)))
    parts = [page.facts(note), page.steps(), *page.failures(whole=tracebacks)]
    if events:
        parts.append(_events(found.events))
    put("\n\n".join("\n".join(part) for part in parts if part))


class _Page:
    """A run in lines.

    Args:
        found: the run.
        columns: the width to cut lines to; ``None``: cut nothing, and leave out nothing.
        signals: those that it waits for.
    """

    def __init__(self, found: _json.Record, columns: int | None, signals: _Signals) -> None:
        self.found = found
        self.columns = columns
        self.signals = signals

    # ---- the run --------------------------------------------------------------------------

    def facts(self, note: str) -> list[str]:
        """Return the lines about the run as a whole."""
        run = self.found.run
        progress = run.progress
        whole = took(run.started_at, run.finished_at)
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
            "finished": moment(run.finished_at) + (f" ({whole})" if whole else ""),
            "due": moment(run.due_at),
            "worker": run.worker_id or "",
            "queue": run.queue if run.queue != DEFAULT_QUEUE else "",
            "steps": f"{progress.done} of {progress.total} ended" if progress else "",
        }
        lines = [f"{name:<9} {one_line(value)}" for name, value in facts.items() if value]
        if run.input is not None:
            lines.append(_named("input", self._long(run.input) or json_text(run.input)))
        if run.status is RunStatus.COMPLETED:
            lines.append(_named("output", self._long(run.output) or json_text(run.output)))
        if run.state:
            state = {key: self._long(value) or value for key, value in run.state.items()}
            lines.append(_named("state", json_text(state)))
        return lines

    def _long(self, value: Any) -> str:
        """Return what to show of a long value; empty: all of it."""
        text = json_text(value, short=None)
        if self.columns is None or len(text) <= _LONG_VALUE:
            return ""
        return f"{text[:_LONG_VALUE]}… ({len(text):,} characters; --full shows all)"

    # ---- its steps ------------------------------------------------------------------------

    def steps(self) -> list[str]:
        """Return a table of the steps, with lines below each."""
        some, left_out = self._worth(self.found.steps)
        head = ("STEP", "STATUS", "ATTEMPT", "STARTED", "TOOK")
        rows = table(head, (_row(step) for step in some))
        wide = max(map(width, rows))
        lines = [self._cut(f"{rows[0]:<{wide}}  NOTE")]
        for step, row in zip(some, rows[1:], strict=True):
            lines += self._step(step, row, wide)
            if step.path in left_out:
                lines.append(self._cut(f"  {left_out[step.path]}"))
        return lines

    def _worth(self, steps: list[StepExecution]) -> tuple[list[StepExecution], dict[str, str]]:
        """Return the steps to show, and by the path of one what is left out after it."""
        if self.columns is None:
            return steps, {}
        seen: Counter[tuple[str, bool]] = Counter()
        hidden: dict[str, Counter[StepStatus]] = {}
        last: dict[str, str] = {}
        some: list[StepExecution] = []
        for step in steps:
            template = template_of(step.path)
            is_fine = step.status in _FINE and step.attempt < 2
            seen[template, is_fine] += 1
            if seen[template, is_fine] <= (_ALIKE if is_fine else _ODD):
                some.append(step)
                last[template] = step.path
            else:
                hidden.setdefault(template, Counter())[step.status] += 1
        return some, {last[template]: _left_out(count) for template, count in hidden.items()}

    def _step(self, step: StepExecution, row: str, wide: int) -> list[str]:
        note = _note(step)
        line = f"{row}{' ' * (wide - width(row))}  {note}" if note else row
        lines = [line]
        if note and self.columns is not None and width(line) > self.columns:
            lines = [row, f"  {note}"]
        lines += self.signals.about(step)
        several = isinstance(step.input, tuple)
        given = cast("tuple[object, ...]", step.input if several else (step.input,))
        if any(each is not None for each in given):
            lines.append(f"  in   {self._flat(step.input)}")
        if step.status is StepStatus.COMPLETED and step.output is not None:
            lines.append(f"  out  {self._flat(step.output)}")
        lines += [f"  {each}" for each in _attempts(step)]
        if step.progress is not None:
            lines.append(f"  at   {_report(step.progress)}")
        return [self._cut(each) for each in lines]

    def _flat(self, value: Any) -> str:
        return json_text(_json.to_json(value), short=None)

    def _cut(self, line: str) -> str:
        return line if self.columns is None else cut_to(line, self.columns)

    # ---- what failed ----------------------------------------------------------------------

    def failures(self, *, whole: bool) -> list[list[str]]:
        """Return the failures, each with the lines of the user's code.

        Args:
            whole: with all lines of the tracebacks.
        """
        parts: list[list[str]] = []
        told = 0
        for title, handled in (("failures", False), ("failures that the run handled", True)):
            found = [each for each in self.found.run.failures if each.handled is handled]
            if not found:
                continue
            lines = [f"{title}:"]
            for failure in found if self.columns is None else found[:_ODD]:
                told += 1
                some = shown(failure.traceback) if told <= SHOWN else ""
                lines += failure_lines(failure, failure.traceback if whole else some)
            if self.columns is not None and len(found) > _ODD:
                lines.append(f"  … {len(found) - _ODD:,} more; --full shows them")
            parts.append(lines)
        return parts


class _Signals:
    """The signals that a run waits for.

    Args:
        found: the run.
        sent: the number of signals that were sent and not taken, by name.
        where: the option that names the store.
        alive: whether any worker is alive.
    """

    def __init__(
        self, found: _json.Record, sent: Mapping[str, int], where: str, *, alive: bool
    ) -> None:
        self.waits = {path: node for path, node in walk(found.tree) if isinstance(node, WaitSpec)}
        self.sent = sent
        self.alive = alive
        self.where = where

    def about(self, step: StepExecution) -> Iterator[str]:
        """Yield what a wait that is live waits for, and what was sent in vain."""
        wait = self.waits.get(template_of(step.path))
        if wait is None or step.status is not StepStatus.SUSPENDED:
            return
        number = self.sent.get(wait.signal, 0)
        if number:
            why = (
                "its worker rejects what does not fit, and its log says why"
                if self.alive
                else "no worker is alive to take it"
            )
            payloads = "1 payload was" if number == 1 else f"{number:,} payloads were"
            yield f"  {payloads} sent and not taken: {why}"
        payload = "" if wait.schema == _NOTHING else " --payload JSON"
        signal = one_line(shlex.quote(wait.signal))
        yield f"  send it: gorkflow runs send {step.run_id} {signal}{payload}{self.where}"


def _named(name: str, text: str) -> str:
    return f"{name}\n{indented(text)}" if "\n" in text else f"{name:<9} {text}"


def _origin(run: Run) -> str:
    if run.origin is None:
        return ""
    where = "what had not completed" if run.from_step is None else run.from_step
    return f"{run.origin}, from {where}"


def _left_out(count: Counter[StepStatus]) -> str:
    parts = [f"{number:,} {status.value}" for status, number in count.items()]
    return f"… {count.total():,} more: {', '.join(parts)}; --full shows them"


def _row(step: StepExecution) -> tuple[str, ...]:
    return (
        step.path,
        step.status.value,
        str(step.attempt or ""),
        "" if step.started_at is None else clock(step.started_at.timestamp()),
        took(step.started_at, step.finished_at),
    )


_UTC = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")
"""As histories have it; all other instants here are local."""


def _note(step: StepExecution) -> str:
    """Return why a step stands as it does, where it ran, and what became of it."""
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
    return one_line("; ".join(filter(None, notes)))


_UNDONE = {
    StepStatus.COMPLETED: "undone",
    StepStatus.FAILED: "could not be undone",
    StepStatus.PENDING: "to be undone",
}


def _undone(step: StepExecution) -> str:
    """Return where the undoing of a step stands, in words; empty: it is not undone."""
    return "" if step.undone is None else _UNDONE.get(step.undone, "is being undone")


def _queued(step: StepExecution) -> str:
    """Return how long the latest attempt was kept waiting by its limits; empty: not for long."""
    last = step.attempts[-1] if step.attempts else None
    if last is None or not last.limits or last.queued is None or last.queued < _LONG:
        return ""
    names = " and ".join(repr(name) for name in last.limits)
    return f"waited {span_of(last.queued)} for limit{'s' if len(last.limits) > 1 else ''} {names}"


def _attempts(step: StepExecution) -> Iterator[str]:
    """Yield the attempts before the latest, each with why there was another one."""
    for attempt, after in zip(step.attempts, step.attempts[1:], strict=False):
        ran = f" after {span_of(attempt.ran)}" if attempt.ran is not None else ""
        if attempt.failure is None:
            why = f"was interrupted{ran}"
        else:
            why = f"failed{ran}: {_said(attempt.failure)}"
        yield one_line(f"attempt {attempt.number} {why}{_pause(attempt, after)}")


def _report(report: Report) -> str:
    total = "" if report.total is None else f" of {report.total:,.10g}"
    said = f", {report.message}" if report.message else ""
    return one_line(f"{report.done:,.10g}{total}{said}")


def _said(failure: Failure) -> str:
    name = failure.type.rpartition(".")[2] or failure.code.value
    return f"{name}: {failure.message}"


def _pause(attempt: Attempt, after: Attempt) -> str:
    if attempt.finished_at is None or after.started_at is None:
        return ""
    pause = (after.started_at - attempt.finished_at).total_seconds()
    return f"; attempt {after.number} followed after {span_of(max(0.0, pause))}"


# ---- its history ------------------------------------------------------------------------------


def _events(events: Iterable[ev.Event]) -> list[str]:
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
            f"{write.op} {write.key} {cut(write.text, _LONG_VALUE)}".strip() for write in value
        )
    return one_line(value.decode(errors="replace") if isinstance(value, bytes) else str(value))
