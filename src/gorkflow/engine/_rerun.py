"""The rerun of a run that has ended: a new run that keeps what need not be done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from gorkflow._text import brief
from gorkflow.definition import without_code
from gorkflow.engine import _compatibility as compatibility
from gorkflow.engine._recorded import Recorded, load
from gorkflow.engine._start import StartOptions, driver_for
from gorkflow.errors import InputInvalidError, RunNotEndedError
from gorkflow.events import Event, ResultKept, RunCreated, TypesAccepted
from gorkflow.machine.rerun import Result, kept, locate, results
from gorkflow.node import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gorkflow.definition import Definition
    from gorkflow.engine._driver import Driver, Inbound
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runtime import Runtime
    from gorkflow.store import RunRow
    from gorkflow.workflow import Workflow


async def driver_of_rerun(
    runtime: Runtime,
    registry: Registry,
    origin: str,
    from_step: Node[Any, Any] | str | None,
    workflow: Workflow[Any, Any] | None,
    options: StartOptions,
    *,
    accept_types: bool,
) -> Driver:
    """Return the driver of a run that repeats another one.

    Args:
        runtime: the engine's.
        registry: the workflows that it knows. One without executors runs no run, and needs no code.
        origin: the run to repeat.
        from_step: where to begin again.
        workflow: the functions to use, if given.
        options: as the caller gave them.
        accept_types: whether types may differ.
    """
    wanted = _step_id(from_step)
    code = None if workflow is None else registry.add(workflow)
    run = await load(runtime.asked, origin)
    row, created = run.row, run.created
    _check_ended(row, workflow)
    start, keep = _kept(run, wanted)
    more: list[Inbound] = [(ResultKept, path, None, fields) for path, fields in keep.items()]
    if registry.executors is None:
        definition = without_code(row.workflow_id, run.tree, run.text)
    else:
        code = code or registry.of_run(row.run_id, row.workflow_id)
        ended = [
            ResultKept(row.run_id, seq, path, created.at, *result)
            for seq, (path, result) in enumerate(keep.items(), 2)
        ]
        definition, unfit = _definition(
            code, run, [created, *ended], registry.executors, accept=accept_types
        )
        if unfit:
            more.append((TypesAccepted, "", None, (definition.fingerprint, tuple(unfit))))
    recorded: Any = {"version": row.workflow_version, "fingerprint": row.fingerprint}
    return driver_for(
        runtime,
        replace(definition, tags=dict(row.tags), **recorded),
        created.input,
        _options(row, created, options),
        claimed=registry.executors is not None,
        origin=(row.run_id, start),
        defined_at=row.created_at if created.defined_at is None else created.defined_at,
        scheduled_for=created.scheduled_for,
        hooks=row.hooks,
        state=created.state,
        more=more,
    )


def _step_id(from_step: Node[Any, Any] | str | None) -> str | None:
    if not isinstance(from_step, Node | str | None):
        raise InputInvalidError(
            f"from_step must be a step, its id or its path, not {brief(from_step)}"
        )
    return from_step.id if isinstance(from_step, Node) else from_step


def _check_ended(row: RunRow, workflow: Workflow[Any, Any] | None) -> None:
    """Check that a run can be repeated, with this workflow."""
    run_id = row.run_id
    if workflow is not None and workflow.id != row.workflow_id:
        raise InputInvalidError(
            f"run {run_id!r} belongs to workflow {row.workflow_id!r}, not to {workflow.id!r}; give "
            "it that one"
        )
    if not row.status.terminal:
        raise RunNotEndedError(
            run_id,
            f"run {run_id!r} is {row.status.value}; wait until it has ended, or cancel it, and "
            "repeat it then",
        )


def _kept(run: Recorded, from_step: str | None) -> tuple[str | None, dict[str, Result]]:
    """Return the path to begin again at, and what is kept, by path."""
    with run.reading():
        done = results(run.history(), run.events)
        start = None if from_step is None else locate(run.tree, from_step, done)
        return start, kept(run.tree, done, start)


def _options(row: RunRow, created: RunCreated, given: StartOptions) -> StartOptions:
    """Return the options of a rerun: what is unset is as in the run that it repeats."""
    same = {
        "resource_id": row.resource_id,
        "timeout": created.timeout,
        "priority": row.priority,
        "queue": row.queue,
        "exclusive": row.asked_exclusive,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return cast("StartOptions", {**same, **chosen})


def _definition(
    code: Definition | None,
    run: Recorded,
    history: Sequence[Event],
    executors: frozenset[str] | None,
    *,
    accept: bool,
) -> tuple[Definition, list[str]]:
    """Return the code under the tree of the run, and the types that were accepted."""
    run_id = run.row.run_id
    if code is None:
        raise compatibility.unknown(run_id, run.row.workflow_id, rerun=True)
    misfit = compatibility.misfit_of(run.tree, code, history, executors)
    if misfit.problems or (misfit.types and not accept):
        raise compatibility.blocked(run_id, misfit, rerun=True)
    return compatibility.continued_by(code, run.tree, run.text), misfit.types
