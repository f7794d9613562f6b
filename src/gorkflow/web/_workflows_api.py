"""The JSON API of workflows: which there are, what they take, and what many of their runs say."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.responses import Response

from gorkflow.codec import codec_of
from gorkflow.engine._recorded import tree_from
from gorkflow.flow import WorkflowSpec
from gorkflow.insight import picture
from gorkflow.insight.overview import Overview
from gorkflow.listing import RunFilter
from gorkflow.model import RunStatus
from gorkflow.web._answers import Rejected
from gorkflow.web._drawing import drawing
from gorkflow.web._operations import Asked, Operation
from gorkflow.web._view import in_common
from gorkflow.web.site import Site
from gorkflow.workflow import Workflow

_AT_ONCE = 500  # workflows that are read at a time


class KnownWorkflow(Struct, frozen=True, kw_only=True):
    """A workflow of this program, or of a run in the store."""

    workflow_id: str
    can_start: bool
    """Whether its code is here, so that it can be started from here."""


class Workflows(Struct, frozen=True, kw_only=True):
    """The workflows."""

    workflows: tuple[KnownWorkflow, ...]


class WorkflowFacts(Struct, frozen=True, kw_only=True):
    """A workflow in full."""

    workflow_id: str
    can_start: bool
    version: str
    takes_input: bool | None
    """``None``: its code is not here."""
    input_schema: dict[str, Any] | None
    """The JSON schema of its input; ``None``: it takes none, or its code is not here."""
    signals: dict[str, dict[str, Any]]
    """The JSON schema of each signal that it waits for."""


def known_workflow(site: Site, workflow_id: str) -> Workflow[Any, Any]:
    """Return a workflow whose code is here.

    Raises:
        Rejected: If it is not.
    """
    workflow = site.workflow(workflow_id)
    if workflow is None:
        raise Rejected(
            404,
            f"the code of workflow {workflow_id!r} is not here; start the page with it: gorkflow "
            "web TARGET",
        )
    return workflow


async def workflow_ids(site: Site) -> list[str]:
    """Return the ids of the workflows of this program, of schedules, and of all runs."""
    found = {workflow.id for workflow in site.engine.workflows}
    found |= {row.workflow_id for row in await site.engine.store.schedules()}
    last = ""
    while latest := await site.engine.latest_runs(after=last, limit=_AT_ONCE):
        found |= {run.workflow_id for run in latest}
        last = latest[-1].workflow_id
    return sorted(found)


async def list_workflows(asked: Asked) -> Workflows:
    here = {workflow.id for workflow in asked.site.engine.workflows}
    found = await workflow_ids(asked.site)
    return Workflows(
        workflows=tuple(KnownWorkflow(workflow_id=each, can_start=each in here) for each in found)
    )


async def show_workflow(asked: Asked) -> WorkflowFacts:
    return await facts(asked.site, asked.part("workflow_id"))


async def facts(site: Site, workflow_id: str) -> WorkflowFacts:
    """Return what there is to know about a workflow.

    Raises:
        Rejected: If there is none.
    """
    definition = site.definition(workflow_id)
    if definition is None:
        tree = await tree_of(site, workflow_id)
        return WorkflowFacts(
            workflow_id=workflow_id, can_start=False, version=tree.version, takes_input=None,
            input_schema=None, signals={},
        )  # fmt: skip
    takes = definition.input is not None
    return WorkflowFacts(
        workflow_id=workflow_id,
        can_start=True,
        version=definition.version,
        takes_input=takes,
        input_schema=codec_of(definition.input).schema() if takes else None,
        signals={name: codec_of(each).schema() for name, each in definition.signals.items()},
    )


async def tree_of(site: Site, workflow_id: str) -> WorkflowSpec:
    """Return the flow tree of a workflow: that of the code here, else of its latest run.

    Raises:
        Rejected: If there is neither.
    """
    definition = site.definition(workflow_id)
    if definition is not None:
        return definition.tree
    store = site.engine.store
    for row in await store.list_runs(RunFilter(workflow_id=workflow_id, limit=1)):
        return tree_from(row.run_id, await store.get_tree(row.fingerprint))
    raise Rejected(404, f"there is no workflow {workflow_id!r} here, and no run of it")


class OverviewQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The runs of an overview."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    """The latest completed ones. Fewer are read if these have many events: see ``run.count``."""


async def show_overview(asked: Asked) -> Overview:
    return await overview_of(asked.site, asked.part("workflow_id"), asked.query.limit)


async def overview_of(site: Site, workflow_id: str, limit: int) -> Overview:
    """Return what the latest completed runs of a workflow have in common.

    Raises:
        Rejected: If there are none.
    """
    query = RunFilter(workflow_id=workflow_id, status=RunStatus.COMPLETED, limit=limit)
    views = await site.views.of_all(list(await site.engine.store.list_runs(query)))
    found = await site.views.apart(in_common, workflow_id, views, site.now)
    if found is None:
        raise Rejected(404, f"workflow {workflow_id!r} has no completed run yet")
    return found


async def draw_workflow(asked: Asked) -> Response:
    tree = await tree_of(asked.site, asked.part("workflow_id"))
    return drawing(await asked.site.views.apart(picture.svg, tree))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/workflows", name="list_workflows", summary="List workflows.",
        do=list_workflows, answer=Workflows,
    ),
    Operation(
        method="GET", path="/workflows/{workflow_id}", name="show_workflow",
        summary="Show what a workflow takes.", do=show_workflow, answer=WorkflowFacts,
        fails=(404,),
    ),
    Operation(
        method="GET", path="/workflows/{workflow_id}/overview", name="show_overview",
        summary="Show what the latest completed runs have in common.", do=show_overview,
        answer=Overview, query=OverviewQuery, fails=(400, 404),
    ),
    Operation(
        method="GET", path="/workflows/{workflow_id}/flow.svg", name="draw_workflow",
        summary="Draw the flow.", do=draw_workflow, answer="image/svg+xml", fails=(404,),
    ),
)  # fmt: skip
