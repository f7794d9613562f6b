"""The pages of workflows: all, one with its latest runs side by side, and the form to start it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gorkflow._text import span_of
from gorkflow.codec import codec_of
from gorkflow.engine._row import summary_of
from gorkflow.flow import WorkflowSpec, template_of, walk
from gorkflow.insight import overview, picture
from gorkflow.listing import RunFilter
from gorkflow.model import Run, RunStatus, StepStatus
from gorkflow.web._forms import fields_of
from gorkflow.web._view import RunView, in_common, worst
from gorkflow.web._workflows_api import known_workflow, tree_of, workflow_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gorkflow.store import RunRow
    from gorkflow.web._visit import Visit

_LATEST = 200
"""Runs that durations and the failure rate are made of."""
_GRID = 30
"""Runs that stand side by side."""
_STEPS = 40
"""Rows of the grid."""
_CELL, _NAME, _TOP, _TALL = 22, 170, 34, 26
"""Pixels: a cell of the grid, the names beside it, the bars above it, and the tallest bar."""


class Card(NamedTuple):
    """A workflow in the list of all. One that is only a part of others has no card."""

    workflow_id: str
    is_known: bool
    latest: Sequence[Run]
    median: str
    parts: list[str]
    """The known workflows within it that have no runs of their own."""


class Summary(NamedTuple):
    """The latest runs of a workflow in numbers."""

    runs: int
    completed: str
    p50: str
    p95: str


class Column(NamedTuple):
    """A run in the grid."""

    url: str
    title: str
    status: str
    x: int
    height: float
    """The height of the bar that stands for its duration."""
    cells: list[tuple[int, str]]
    """The place and status of each step."""


class Grid(NamedTuple):
    """The latest runs side by side. Places are in pixels."""

    width: int
    height: int
    names: list[tuple[int, str]]
    columns: list[Column]


async def show_all(visit: Visit) -> dict[str, Any]:
    """Return what the page of all workflows shows."""
    latest: dict[str, list[RunRow]] = {}
    for workflow_id in await workflow_ids(visit.site):
        query = RunFilter(workflow_id=workflow_id, limit=20)
        latest[workflow_id] = list(await visit.engine.store.list_runs(query))
    parts = _parts(visit, {each for each, rows in latest.items() if not rows})
    cards = [
        Card(
            workflow_id=workflow_id,
            is_known=visit.site.workflow(workflow_id) is not None,
            latest=[summary_of(row) for row in reversed(rows)],
            median=span_of(took.p50) if (took := _usual(rows)) else "",
            parts=parts.get(workflow_id, []),
        )
        for workflow_id, rows in latest.items()
        if not any(workflow_id in inside for inside in parts.values())
    ]
    return {"cards": sorted(cards, key=lambda card: not card.latest)}  # those with runs first


def _parts(visit: Visit, unused: set[str]) -> dict[str, list[str]]:
    """Return which of some workflows are inside each of those that are known."""
    found: dict[str, list[str]] = {}
    for workflow in visit.engine.workflows:
        nodes = (node for _, node in walk(workflow.compile(visit.engine.defaults).tree))
        names = {node.name or node.id for node in nodes if isinstance(node, WorkflowSpec)}
        found[workflow.id] = sorted(names & unused - {workflow.id})
    return found


async def show(visit: Visit) -> dict[str, Any]:
    """Return what the page of a workflow shows.

    Raises:
        Rejected: If there is neither code nor a run of it.
    """
    workflow_id = visit.part["workflow_id"]
    tree = await tree_of(visit.site, workflow_id)
    query = RunFilter(workflow_id=workflow_id, limit=_LATEST)
    rows = list(await visit.engine.store.list_runs(query))
    found = await visit.views.of_all(rows[:_GRID])
    return await visit.views.apart(_shown, visit, tree, rows, found)


def _shown(
    visit: Visit, tree: WorkflowSpec, rows: Sequence[RunRow], found: Sequence[RunView]
) -> dict[str, Any]:
    workflow_id = visit.part["workflow_id"]
    return {
        "workflow_id": workflow_id,
        "is_known": visit.site.workflow(workflow_id) is not None,
        "version": tree.version,
        "summary": _summary(rows),
        "picture": picture.svg(tree, style=False),
        "grid": _grid(visit, tree, found[::-1]) if found else None,
        "common": in_common(workflow_id, found, visit.now),
        "live": visit.url("api", "events"),
    }


async def show_form(visit: Visit) -> dict[str, Any]:
    """Return what the page shows that starts a run.

    Raises:
        Rejected: If the code of the workflow is not here.
    """
    workflow_id = visit.part["workflow_id"]
    definition = known_workflow(visit.site, workflow_id).compile(visit.engine.defaults)
    schema = None if definition.input is None else codec_of(definition.input).form()
    fields = () if schema is None else fields_of("input", schema)
    return {"workflow_id": workflow_id, "fields": fields}


def _summary(rows: Sequence[RunRow]) -> Summary:
    ended = [row for row in rows if row.status.terminal]
    done = sum(row.status is RunStatus.COMPLETED for row in ended)
    took = _usual(rows)
    return Summary(
        runs=len(ended),
        completed=f"{done / len(ended):.1%}" if ended else "",
        p50=span_of(took.p50) if took else "",
        p95=span_of(took.p95) if took else "",
    )


def _usual(rows: Sequence[RunRow]) -> overview.Usual | None:
    """Return the usual durations of completed runs; ``None``: none completed."""
    took = [
        row.finished_at - row.started_at
        for row in rows
        if row.status is RunStatus.COMPLETED and row.finished_at and row.started_at
    ]
    return overview.usual("", took) if took else None


def _grid(visit: Visit, tree: WorkflowSpec, found: Sequence[RunView]) -> Grid:
    """Return the latest runs, step by step: a column for each run, a row for each step."""
    steps = [place for place in walk(tree) if place.spec.is_listed][:_STEPS]
    rows = {place.path: number for number, place in enumerate(steps)}
    ended = [each for each in found if each.row.status.terminal]  # one may sleep for days
    longest = max((each.explanation(visit.now).seconds for each in ended), default=0.0) or 1.0
    columns: list[Column] = []
    for number, each in enumerate(found):
        seconds = each.explanation(visit.now).seconds
        by_template: dict[str, list[StepStatus]] = {}
        for path, status in each.listed():
            by_template.setdefault(template_of(path), []).append(status)
        columns.append(
            Column(
                url=visit.url("runs", each.row.run_id),
                title=f"{each.row.run_id}: {each.row.status.value}, {span_of(seconds)}",
                status=each.row.status.value,
                x=_NAME + _CELL * number,
                height=max(2.0, min(1.0, seconds / longest) * _TALL),
                cells=[
                    (_TOP + _CELL * rows[path], worst(statuses).value)
                    for path, statuses in by_template.items()
                    if path in rows
                ],
            )
        )
    names = [(_TOP + _CELL * number, path) for path, number in rows.items()]
    return Grid(_NAME + _CELL * len(found), _TOP + _CELL * len(rows), names, columns)
