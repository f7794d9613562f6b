"""The page of a run: timeline, flow, steps, events, explanation and data, and a step's details."""

from __future__ import annotations

import json
import shlex
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from gorkflow import events as ev
from gorkflow._text import brief, cleaned, cut, span_of
from gorkflow.codec import codec_of
from gorkflow.engine._json import event_json
from gorkflow.engine._reads import report_of
from gorkflow.engine._start import run_id_of
from gorkflow.flow import spoken, undone_path, walk
from gorkflow.insight import picture
from gorkflow.insight.account import compared
from gorkflow.insight.explain import Explanation, Phase, Row
from gorkflow.insight.timeline import label_of
from gorkflow.insight.whatif import Changes
from gorkflow.listing import RunFilter
from gorkflow.model import LogLine, Report, RunStatus, StepExecution, instant
from gorkflow.web._bars import chart
from gorkflow.web._forms import Field, fields_of
from gorkflow.web._render import moment
from gorkflow.web._runs_page import note_of, progress_of
from gorkflow.web._signals import schema_of
from gorkflow.web._view import OpenWait, RunView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gorkflow.store import ReportRow, RunRow
    from gorkflow.web._visit import Visit

_TABS = (
    ("timeline", "Timeline"),
    ("flow", "Flow"),
    ("steps", "Steps"),
    ("events", "Events"),
    ("explain", "Explain"),
    ("data", "Input and state"),
)
_EVENTS = 200
"""Events that are shown at a time."""
_TYPICAL = 50
"""Earlier runs that say how long a run usually takes."""
_WORTH_IT = 0.005
"""The part of a step's time from which on a kind of time is named."""
_ENOUGH = 3
"""Runs from which on there is a usual duration."""
_ENDED = {RunStatus.FAILED: "failed", RunStatus.CANCELLED: "was cancelled"}
_SHOWN_ASIDE = frozenset({"kind", "run_id", "seq", "at", "path"})
"""The facts of an event that have columns of their own."""
_TIMES = frozenset({"due", "ready_at", "retry_at", "began_at", "ended_at", "deadline"})
"""The facts of an event that are instants."""
_SAID = 2000
"""Characters of an error at the head; the page of its step has all."""
_CHOICES = 500
"""Paths from which a form lets a rerun begin."""


class Say(NamedTuple):
    """The sentence that matters most about a run."""

    lead: str
    rest: str
    kind: str = ""


class Wait(NamedTuple):
    """A wait for a signal, with the form that sends it."""

    path: str
    signal: str
    since: float
    fields: tuple[Field, ...]
    command: str
    """The command that sends it, of a file from its folder; empty: there is none."""


class Part(NamedTuple):
    """A part of a run's time."""

    phase: str
    seconds: float
    share: str
    left: str
    width: str


class Told(NamedTuple):
    """The progress that a step reported."""

    words: str
    width: str
    """The part that is done, in percent; empty: it is not known."""


class Took(NamedTuple):
    """The time of a step."""

    total: float
    parts: str


async def show(visit: Visit) -> dict[str, Any]:
    """Return what the page of a run shows.

    Raises:
        RunNotFoundError: If there is no such run.
    """
    engine, chosen = visit.engine, visit.query["step"]
    run_id = run_id_of(visit.part["run_id"])
    # Before the record: then that has all secrets which may be in them.
    reports = await engine.store.reports(run_id)
    logs = await engine.logs(run_id, chosen) if chosen else ()
    view = await visit.views.of(run_id)
    row = view.row
    typical = RunFilter(workflow_id=row.workflow_id, status=RunStatus.COMPLETED, limit=_TYPICAL)
    beside = _Beside(
        await engine.store.list_runs(typical), () if row.status.terminal else reports, logs
    )
    return await visit.views.apart(_shown, visit, view, beside)


class _Beside(NamedTuple):
    """The facts of a page that are not in the record of its run."""

    typical: Sequence[RunRow] = ()
    """Earlier runs that say how long it usually takes."""
    reports: Sequence[ReportRow] = ()
    logs: Sequence[LogLine] = ()
    """Those of the chosen step."""


def _shown(visit: Visit, view: RunView, beside: _Beside) -> dict[str, Any]:
    return _Page(visit, view, beside).show()


async def show_rerun(visit: Visit) -> dict[str, Any]:
    """Return what the page shows that repeats a run: it alone has the input in full.

    Raises:
        RunNotFoundError: If there is no such run.
    """
    view = await visit.views.of(visit.part["run_id"])
    return await visit.views.apart(lambda: _Page(visit, view, _Beside()).rerun())


class _Page:
    def __init__(self, visit: Visit, view: RunView, beside: _Beside) -> None:
        self.visit = visit
        self.query = visit.query
        self.view = view
        self.beside = beside
        self.run = view.run
        self.over = view.run.status.terminal
        self.found: Explanation = view.explanation(visit.now)
        rows = view.redaction.shown(beside.reports)
        self.reports = {row.path: _told(report_of(row)) for row in rows}
        """The latest progress reports of what runs, by path."""

    def show(self) -> dict[str, Any]:
        visit, run = self.visit, self.run
        tab = self.query["tab"] if self.query["tab"] in dict(_TABS) else "timeline"
        chosen = self.query["step"]
        step = self.view.step(chosen) if chosen else None
        tabs = {
            "timeline": self._timeline,
            "flow": self._flow,
            "steps": self._steps,
            "events": self._events,
            "explain": self._explain,
            "data": self._data,
        }
        return {
            "run": run,
            "tab": tab,
            "tabs": _TABS,
            "facts": [*self._facts(), *self._typical()],
            "say": self._say(),
            "waits": [] if self.over else list(map(self._wait, self.view.waits())),
            "live": ""
            if self.over
            else visit.url("api", "runs", run.run_id, "events", after=self.view.row.seq),
            "reports": self.reports,
            "chosen": chosen,
            "step": step,
            "block": "",
            "part": 0,
            "can_begin": self.over and chosen in self._begins(),
            **tabs[tab](),
            **(self._panel(step) if step else {}),
        }

    def rerun(self) -> dict[str, Any]:
        asks = self.over and self.visit.may_change
        return {
            "run": self.run,
            "chosen": self.query["step"],
            "begins": self._begins() if asks else [],
            "fields": self._fields() if asks else (),
        }

    # ---- the head -------------------------------------------------------------------------

    def _facts(self) -> list[tuple[str, str]]:
        run = self.run
        facts: list[tuple[str, str]] = []
        if run.started_at is not None:
            facts.append((span_of(self.found.seconds), "took" if run.finished_at else "until now"))
            facts.append((moment(run.started_at), "started"))
        handled = sum(each.handled for each in run.failures)
        about = f"{handled} failed, handled" if handled else "ended or were skipped"
        facts.append((progress_of(self.view), about))
        if run.resource_id is not None:
            facts.append((run.resource_id, "resource"))
        if run.tags:
            facts.append(
                (" · ".join(f"{name}={value}" for name, value in run.tags.items()), "tags")
            )
        return facts

    def _typical(self) -> list[tuple[str, str]]:
        """Return how long runs of the workflow usually take."""
        took = [
            row.finished_at - row.started_at
            for row in self.beside.typical
            if row.finished_at and row.started_at
        ]
        if len(took) < _ENOUGH:
            return []
        return [(span_of(median(took)), f"typical, p50 of {len(took)}")]

    def _say(self) -> Say | None:
        run, found = self.run, self.found
        if run.status in {RunStatus.FAILED, RunStatus.CANCELLED}:
            kind = "failed" if run.status is RunStatus.FAILED else ""
            why = cut(note_of(self.view) or run.reason, _SAID)
            return Say(f"The run {_ENDED[run.status]}.", why, kind)
        if not self.over and (note := note_of(self.view)):
            if self.view.waits():
                return None  # each has a card
            said = f"It {note}." if note.startswith("sleeps") else note
            return Say(said, "", "suspended")
        blocks = [
            each
            for each in found.blocks
            if each.critical and len(each.branches) > 1 and each.path in self.view.history.ended
        ]
        block = max(blocks, key=lambda each: each.lead, default=None)
        if block is None or block.lead < 0.01 * found.seconds:
            return None
        tries = self.view.tries(block.critical)
        again = f" It took {tries} attempts." if tries > 1 else ""
        name = label_of(block.path, block.kind)
        return Say(
            f"{spoken(block.critical)} ended last in {name}",
            f"{span_of(block.lead)} after the others, of {span_of(found.seconds)} in all.{again}",
        )

    def _wait(self, wait: OpenWait) -> Wait:
        schema = schema_of(self.visit.site, self.view, wait.signal)
        fields = fields_of("payload", schema)
        return Wait(wait.path, wait.signal, wait.since, fields, self._command(wait.signal))

    def _command(self, signal: str) -> str:
        """Return the command that sends a signal; empty: the store is only in memory."""
        site = self.visit.site
        if not site.store_url:
            return ""
        words = ("gorkflow", "runs", "send", self.run.run_id, signal, "--payload", "JSON")
        return shlex.join((*words, "--store", site.store_url))

    def _fields(self) -> tuple[Field, ...]:
        """Return the fields for another input."""
        definition = self.visit.site.definition(self.run.workflow_id)
        if definition is None or definition.input is None:
            return ()
        codec = codec_of(definition.input)
        return fields_of("input", codec.form(), self.view.typed_input(codec))

    def _begins(self) -> list[str]:
        """Return where a rerun may begin again: at the nodes that began."""
        paths = (row.path for row in self.found.rows)
        return [path for path in paths if undone_path(path) is None][:_CHOICES]

    # ---- the tabs -------------------------------------------------------------------------

    def _timeline(self) -> dict[str, Any]:
        return {"chart": chart(self.found, () if self.over else self.view.rows())}

    def _flow(self) -> dict[str, Any]:
        drawn = picture.svg(self.view.tree, self.view.listed(), style=False)
        return {"picture": drawn}

    def _steps(self) -> dict[str, Any]:
        block, part = self.query["block"], self.visit.number("part")
        took = {row.path: row.ended - row.began for row in self.found.rows}
        return {"rows": self.view.rows(block, part), "took": took, "block": block, "part": part}

    def _events(self) -> dict[str, Any]:
        after = self.visit.number("after")
        total = len(self.view.recorded.events)
        events = self.view.events(after, _EVENTS)
        last = after + len(events)
        return {
            "events": [
                {"seq": each.seq, "at": instant(each.at), "kind": each.kind, "path": each.path,
                 "facts": _facts_of(each)}
                for each in events
            ],
            "total": total,
            "before": after,
            "more": last if last < total else None,
        }  # fmt: skip

    def _explain(self) -> dict[str, Any]:
        forecast, problem = "", ""
        try:
            changes = _changes(self.query)
            if changes is not None and self.over:
                same, other = map(self.view.forecast, (Changes(), changes))
                forecast = compared(self.found, same, other)
        except ValueError as error:
            problem = str(error)
        nodes = (node for _, node in walk(self.view.tree))
        return {
            "found": self.found,
            "label_of": label_of,
            "parts": _parts(self.found),
            "forecast": forecast,
            "forecast_problem": problem,
            "step_ids": list(dict.fromkeys(node.id for node in nodes if node.is_listed)),
        }

    def _data(self) -> dict[str, Any]:
        has_input = self.view.recorded.created.input is not None
        return {"has_input": has_input, "input": self.view.input}

    # ---- one step -------------------------------------------------------------------------

    def _panel(self, step: StepExecution) -> dict[str, Any]:
        spec = self.view.spec(step.path)
        row = next((row for row in self.found.rows if row.path == step.path), None)
        return {
            "spec": spec,
            "most_attempts": 0 if spec is None else spec.retry.retries + 1,
            "took_by": None if row is None or not row.spans else _took(row),
            "progress": self.reports.get(step.path),
            "logs": self.view.redaction.shown(self.beside.logs),
        }


def _told(report: Report) -> Told:
    done = f"{report.done:g}" + ("" if report.total is None else f" of {report.total:g}")
    return Told(
        f"{done} {report.message}".strip(), "" if report.share is None else f"{report.share:.1%}"
    )


def _took(row: Row) -> Took:
    total = row.ended - row.began
    seconds: dict[Phase, float] = {}
    for span in row.spans:
        seconds[span.phase] = seconds.get(span.phase, 0.0) + span.seconds
    parts = [
        f"{span_of(each)} {phase.value}"
        for phase, each in seconds.items()
        if each >= max(_WORTH_IT * total, 0.0005)
    ]
    return Took(total, ", ".join(parts) if len(parts) > 1 else "")


def _facts_of(event: ev.Event) -> Markup:
    """Return what an event says beside its time and place."""
    parts: list[Markup] = []
    for name, value in event_json(event).items():
        if name not in _SHOWN_ASIDE and value not in (None, "", [], {}):
            if name in _TIMES and isinstance(value, int | float):
                shown: str = moment(instant(value))
            else:
                text = json.dumps(value, ensure_ascii=False, default=str)
                shown = cut(cleaned(text), 200)
            parts.append(Markup("{}={}").format(name, shown))
    return Markup(" ").join(parts)


def _parts(found: Explanation) -> list[Part]:
    parts: list[Part] = []
    at = 0.0
    for phase in Phase:
        seconds = found.time.get(phase, 0.0)
        share = seconds / found.seconds if found.seconds else 0.0
        if share >= 0.0005:
            width, left = f"{share:.2%}", f"{at:.2%}"
            parts.append(Part(phase.value, seconds, f"{share:.1%}", left, width))
        at += share
    return parts


def _changes(query: Mapping[str, str]) -> Changes | None:
    """Return the rules that a visitor asks about; ``None``: none.

    Raises:
        ValueError: If a number is not one.
    """
    most, factor = query.get("max_concurrency"), query.get("scale_factor")
    step, once = query.get("scale_step"), bool(query.get("without_retries"))
    if not (most or step or once):
        return None
    scale = {step: _number(factor or "1", "the factor")} if step else {}
    if most and not (most.isdecimal() and len(most) < 10):
        raise ValueError(
            f"the number of branches must be a whole number of up to 9 digits, not {brief(most)}"
        )
    return Changes(max_concurrency=int(most) if most else None, without_retries=once, scale=scale)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {brief(text)}") from None
