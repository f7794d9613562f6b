"""The JSON API of runs: list, show, explain, start, cancel, repeat, signal and remove them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from math import inf
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field
from starlette.responses import Response

from gorkflow.codec import codec_of
from gorkflow.engine._json import event_json, summary_json
from gorkflow.engine._start import new_id, run_id_of
from gorkflow.errors import RunNotEndedError, RunNotFoundError, StepValueError
from gorkflow.events import Event, RunCreated
from gorkflow.insight import Changes, Explanation, picture, timeline
from gorkflow.listing import RunFilter, page_start
from gorkflow.model import LogLine, Run, RunStatus, StepExecution, StepStatus
from gorkflow.redaction import Redaction
from gorkflow.store import ReportRow
from gorkflow.web._answers import Rejected, places_in
from gorkflow.web._drawing import drawing
from gorkflow.web._operations import Asked, Operation
from gorkflow.web._signals import Waiting, payload_of, waiting
from gorkflow.web._view import RunView
from gorkflow.web._workflows_api import known_workflow

Few = Annotated[int, Meta(ge=1, le=1000)]


# ---- look ---------------------------------------------------------------------------------------


class RunQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filter of a list of runs."""

    workflow_id: str | None = None
    status: tuple[RunStatus, ...] = ()
    """May be repeated."""
    resource_id: str | None = None
    waiting_for: str | None = None
    """Only live runs that wait for the signal of this name."""
    id_prefix: str | None = None
    tag: tuple[str, ...] = ()
    """Each NAME=VALUE; may be repeated, and a run needs them all."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None
    limit: Few = 50
    cursor: str | None = None


class RunSummary(Struct, frozen=True, kw_only=True):
    """A run without its values."""

    run_id: str
    workflow_id: str
    workflow_version: str
    status: RunStatus
    reason: str
    resource_id: str | None
    tags: dict[str, str]
    created_at: str
    started_at: str | None
    finished_at: str | None
    due_at: str | None
    worker_id: str | None
    queue: str
    waits_for: tuple[str, ...]
    """The names of the signals that it waits for now."""


class RunPage(Struct, frozen=True, kw_only=True):
    """A page of runs, the newest first."""

    runs: tuple[RunSummary, ...]
    next_cursor: str | None
    searched_to: str | None
    """The page ended early: it has all runs that were created after this instant."""


async def list_runs(asked: Asked) -> dict[str, Any]:
    page = await asked.site.engine.list_runs(filter_of(asked.query))
    return {
        "runs": [summary_json(run) for run in page],
        "next_cursor": page.next_cursor,
        "searched_to": page.searched_to,
    }


class Count(Struct, frozen=True, kw_only=True):
    """The number of runs of a filter."""

    runs: int
    more: bool
    """Whether there may be more: the count stopped early."""


async def count_runs(asked: Asked) -> Count:
    found = await asked.site.engine.count_runs(filter_of(asked.query))
    return Count(runs=found.runs, more=found.more)


def filter_of(query: RunQuery) -> RunFilter:
    """Return the filter that a query asks for.

    Raises:
        Rejected: If it is not valid.
    """
    tags: dict[str, str] = {}
    for text in query.tag:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Rejected(400, "tag must be NAME=VALUE", problems=(("tag", "not NAME=VALUE"),))
        tags[name] = value
    try:
        found = RunFilter(
            workflow_id=query.workflow_id,
            status=query.status or None,
            resource_id=query.resource_id,
            waiting_for=query.waiting_for,
            id_prefix=query.id_prefix,
            tags=tags,
            created_after=query.created_after,
            created_before=query.created_before,
            finished_after=query.finished_after,
            finished_before=query.finished_before,
            limit=query.limit,
            cursor=query.cursor,
        )
        page_start(found)
    except (ValueError, TypeError) as error:
        raise Rejected(400, str(error)) from None
    return found


async def view_of(asked: Asked) -> RunView:
    """Return the view of the run that is asked for."""
    return await asked.site.views.of(run_id_of(asked.part("run_id")))


async def _with_reports(asked: Asked) -> tuple[RunView, Sequence[ReportRow]]:
    """Return the view of a run, and what its steps reported.

    That is read first: then the view has learned all secrets that may be in it.
    """
    reports = await asked.site.engine.store.reports(run_id_of(asked.part("run_id")))
    return await view_of(asked), reports


async def show_run(asked: Asked) -> Run:
    view = await view_of(asked)
    return await asked.site.views.apart(lambda: view.run)


class StepQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the steps of a run, in declared order."""

    status: tuple[StepStatus, ...] = ()
    """May be repeated."""
    after: Annotated[int, Meta(ge=0)] = 0
    """The number of steps to leave out."""
    limit: Few = 1000


class StepPage(Struct, frozen=True, kw_only=True):
    """A part of the steps of a run."""

    steps: tuple[StepExecution, ...]
    total: int
    """The number of steps, with those on other pages."""


async def list_steps(asked: Asked) -> dict[str, Any]:
    query: StepQuery = asked.query
    view, reports = await _with_reports(asked)
    found = await asked.site.views.apart(view.steps, reports)
    if query.status:
        found = [step for step in found if step.status in query.status]
    return {"steps": found[query.after : query.after + query.limit], "total": len(found)}


async def show_step(asked: Asked) -> StepExecution:
    view, reports = await _with_reports(asked)
    step = await asked.site.views.apart(view.step, asked.part("path"), reports)
    if step is None:
        raise Rejected(404, "this run has no step at this path")
    return step


class EventQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the history of a run."""

    after: Annotated[int, Meta(ge=0, le=2**62)] = 0
    """Only events with a higher ``seq``."""
    limit: Few = 1000


class RunEvent(Struct, frozen=True, kw_only=True):
    """An event of a run, with more fields for each kind."""

    kind: str
    run_id: str
    seq: int
    path: str
    at: str


class History(Struct, frozen=True, kw_only=True):
    """Events of a run, in order."""

    events: tuple[RunEvent, ...]


async def show_history(asked: Asked) -> dict[str, Any]:
    query: EventQuery = asked.query
    run_id = run_id_of(asked.part("run_id"))
    views, store = asked.site.views, asked.site.engine.store
    found = await store.read_events(run_id, after=query.after, limit=query.limit)
    redaction = await views.redaction(run_id)
    return {"events": await views.apart(_events, found, redaction)}


def _events(found: Sequence[Event], redaction: Redaction) -> list[dict[str, Any]]:
    return [event_json(redaction.shown(event)) for event in found]


class LogQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the log of a run."""

    path: str | None = None
    """Only of the step at this path."""
    after: Annotated[int, Meta(ge=0, le=2**62)] = 0
    """Only lines with a higher ``id``."""
    limit: Few = 1000


class Log(Struct, frozen=True, kw_only=True):
    """Lines of the log of a run, the oldest first."""

    lines: tuple[LogLine, ...]


async def show_log(asked: Asked) -> Log:
    query: LogQuery = asked.query
    run_id = asked.part("run_id")
    lines = await asked.site.engine.logs(run_id, query.path, after=query.after, limit=query.limit)
    redaction = await asked.site.views.redaction(run_id)
    return Log(lines=await asked.site.views.apart(redaction.shown, tuple(lines)))


# ---- explain ------------------------------------------------------------------------------------


async def explain_run(asked: Asked) -> Explanation:
    view = await view_of(asked)
    return await asked.site.views.apart(view.explanation, asked.site.now)


class ForecastQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of a forecast."""

    max_concurrency: Annotated[int, Meta(ge=1)] | None = None
    slots: Annotated[int, Meta(ge=1)] | None = None
    without_retries: bool = False
    scale: tuple[str, ...] = ()
    """Each STEP=FACTOR; may be repeated."""


async def forecast_run(asked: Asked) -> Explanation:
    query: ForecastQuery = asked.query
    scale: dict[str, float] = {}
    for text in query.scale:
        name, _, factor = text.rpartition("=")
        try:
            scale[name] = float(factor)
            is_factor = 0 <= scale[name] < inf
        except ValueError:
            is_factor = False
        if not is_factor:
            raise Rejected(400, "scale must be STEP=FACTOR, as in resize=0.5")
    changes = Changes(
        max_concurrency=query.max_concurrency,
        slots=query.slots,
        without_retries=query.without_retries,
        scale=scale,
    )
    try:
        return await asked.site.views.apart((await view_of(asked)).forecast, changes)
    except ValueError as error:
        raise Rejected(409, str(error)) from None


async def draw_timeline(asked: Asked) -> Response:
    return drawing(await asked.site.views.apart(timeline.svg, await explain_run(asked)))


async def draw_flow(asked: Asked) -> Response:
    view = await view_of(asked)
    return drawing(await asked.site.views.apart(lambda: picture.svg(view.tree, view.listed())))


# ---- change -------------------------------------------------------------------------------------


class Start(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run to start."""

    workflow_id: str
    input: msgspec.Raw = field(default_factory=msgspec.Raw)
    """As the workflow's type; its JSON schema is that of the workflow."""
    run_id: str | None = None
    if_exists: Literal["raise", "return"] = "raise"
    """For an id that is taken: ``return`` that run, if it has the same workflow and input."""
    resource_id: str | None = None
    tags: dict[str, str] | None = None
    timeout: float | None = None
    """Seconds."""
    delay: float | None = None
    """Seconds."""
    priority: int = 0
    queue: str | None = None
    """``null``: that of the workflow."""
    exclusive: bool | Literal["wait"] = False
    state: dict[str, Any] | None = None


class Started(Struct, frozen=True, kw_only=True):
    """The run that was started."""

    run_id: str


async def start_run(asked: Asked) -> Started:
    body: Start = asked.body
    workflow = known_workflow(asked.site, body.workflow_id)
    handle = await asked.site.engine.start(
        workflow,
        input_of(workflow.input, body.input),
        run_id=_id_of_new(asked),
        if_exists=body.if_exists,
        resource_id=body.resource_id,
        tags=body.tags,
        timeout=body.timeout,
        delay=body.delay,
        priority=body.priority,
        queue=body.queue,
        exclusive=body.exclusive,
        state=body.state,
    )
    return Started(run_id=handle.run_id)


def _id_of_new(asked: Asked) -> str:
    """Return the id of the run that is asked for; who sends the same again has to name it."""
    given: str | None = asked.body.run_id
    run_id = new_id(asked.site.now) if given is None else given
    asked.repeat.update(run_id=run_id, if_exists="return")
    return run_id


def input_of(annotation: Any, given: msgspec.Raw) -> Any:
    """Return the input that a body has, as the workflow's type.

    Raises:
        Rejected: If it does not fit; it names the places.
    """
    data = bytes(given) or b"null"
    if annotation is None:
        return codec_of(None).decode_lax(data)
    try:
        return codec_of(annotation).decode_lax(data)
    except StepValueError as error:
        problems = places_in("input", error)
        raise Rejected(422, f"the input is not valid: {error}", problems=problems) from None


class Cancel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reason of a cancellation."""

    reason: str = "cancelled from the page"


class Accepted(Struct, frozen=True, kw_only=True):
    """The run that will change."""

    run_id: str


async def cancel_run(asked: Asked) -> Accepted:
    run_id = asked.part("run_id")
    await asked.site.engine.cancel(run_id, reason=asked.body.reason)
    return Accepted(run_id=run_id)


class Rerun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run to repeat."""

    from_step: str | None = None
    """The step to begin at; without it, the steps that did not complete."""
    input: msgspec.Raw = field(default_factory=msgspec.Raw)
    """Another input: then nothing of the old run is kept."""
    run_id: str | None = None
    """The id of the new run."""
    if_exists: Literal["raise", "return"] = "raise"
    """For an id that is taken: ``return`` that run, if it repeats the same run, too."""
    accept_types: bool = False


async def rerun(asked: Asked) -> Started:
    body: Rerun = asked.body
    engine, origin = asked.site.engine, asked.part("run_id")
    if not bytes(body.input):
        handle = await engine.rerun(
            origin,
            body.from_step,
            run_id=_id_of_new(asked),
            if_exists=body.if_exists,
            accept_types=body.accept_types,
        )
        return Started(run_id=handle.run_id)
    if body.from_step is not None:
        raise Rejected(422, "a rerun from a step keeps its input; leave out one of the two")
    row = await engine.store.get_run(run_id_of(origin))
    if row is None:
        raise RunNotFoundError(origin)
    workflow = known_workflow(asked.site, row.workflow_id)
    [created] = await engine.store.read_events(row.run_id, limit=1)
    assert isinstance(created, RunCreated)
    handle = await engine.start(
        workflow,
        input_of(workflow.input, body.input),
        run_id=_id_of_new(asked),
        if_exists=body.if_exists,
        resource_id=row.resource_id,
        tags=dict(row.tags),
        timeout=created.timeout,
        state={write.key: json.loads(write.text) for write in created.state},
        priority=row.priority,
        queue=row.queue,
        exclusive=row.asked_exclusive,
    )
    return Started(run_id=handle.run_id)


class Payload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload of a signal."""

    payload: msgspec.Raw = field(default_factory=msgspec.Raw)
    """As the signal's type."""


class Signals(Struct, frozen=True, kw_only=True):
    """The signals that a run may take."""

    signals: tuple[Waiting, ...]


async def list_signals(asked: Asked) -> Signals:
    view = await view_of(asked)
    found = await asked.site.views.apart(lambda: tuple(waiting(asked.site, view)))
    return Signals(signals=found)


async def send_signal(asked: Asked) -> Accepted:
    run_id, name = asked.part("run_id"), asked.part("name")
    given = bytes(asked.body.payload) or b"null"
    payload = payload_of(asked.site, await view_of(asked), name, given)
    await asked.site.engine.send(run_id, name, payload)
    return Accepted(run_id=run_id)


async def remove_run(asked: Asked) -> Accepted:
    run_id = run_id_of(asked.part("run_id"))
    store = asked.site.engine.store
    row = await store.get_run(run_id)
    if row is None:
        raise RunNotFoundError(run_id)
    if not row.status.terminal:
        raise RunNotEndedError(run_id, "the run has not ended; cancel it first")
    await store.delete_runs([run_id])
    return Accepted(run_id=run_id)


def _run(method: str, path: str, name: str, summary: str, do: Any, answer: Any, **more: Any) -> Any:
    fails = more.pop("fails", ())
    return Operation(
        method=method, path=f"/runs/{{run_id}}{path}", name=name, summary=summary, do=do,
        answer=answer, fails=(404, *fails), **more,
    )  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/runs", name="list_runs", summary="List runs, the newest first.",
        do=list_runs, answer=RunPage, query=RunQuery, fails=(400,),
    ),
    Operation(
        method="GET", path="/run-count", name="count_runs", summary="Count runs, up to a bound.",
        do=count_runs, answer=Count, query=RunQuery, fails=(400,),
    ),
    Operation(
        method="POST", path="/runs", name="start_run", summary="Start a run.", do=start_run,
        answer=Started, body=Start, status=201, fails=(404, 409, 422),
    ),
    _run("GET", "", "show_run", "Show a run, without its steps.", show_run, Run),
    _run("DELETE", "", "remove_run", "Remove a run that has ended.", remove_run, Accepted,
         fails=(409,)),
    _run("GET", "/steps", "list_steps", "List the steps of a run.", list_steps, StepPage,
         query=StepQuery, fails=(400,)),
    _run("GET", "/steps/{path:path}", "show_step", "Show a step.", show_step, StepExecution),
    _run("GET", "/history", "show_history", "Show what was recorded.", show_history, History,
         query=EventQuery, fails=(400,)),
    _run("GET", "/logs", "show_log", "Show what steps logged.", show_log, Log, query=LogQuery,
         fails=(400,)),
    _run("GET", "/explain", "explain_run", "Show where the time went.", explain_run, Explanation),
    _run("GET", "/whatif", "forecast_run", "Forecast the run under other rules.", forecast_run,
         Explanation, query=ForecastQuery, fails=(400, 409)),
    _run("GET", "/timeline.svg", "draw_timeline", "Draw when each step ran.", draw_timeline,
         "image/svg+xml"),
    _run("GET", "/flow.svg", "draw_run", "Draw the flow, coloured by status.", draw_flow,
         "image/svg+xml"),
    _run("GET", "/signals", "list_signals", "List the signals that it waits for.", list_signals,
         Signals),
    _run("POST", "/signals/{name}", "send_signal", "Send a signal into a run.", send_signal,
         Accepted, body=Payload, status=202, fails=(409, 422), may_repeat=False),
    _run("POST", "/cancel", "cancel_run", "Cancel a run.", cancel_run, Accepted, body=Cancel,
         status=202, fails=(422,)),
    _run("POST", "/rerun", "rerun", "Repeat a run that has ended.", rerun, Started, body=Rerun,
         status=201, fails=(409, 422)),
)  # fmt: skip
