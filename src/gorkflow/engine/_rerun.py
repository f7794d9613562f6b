"""Repeating a run that has ended: a new run that keeps what need not be done again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast, overload

from gorkflow._text import brief
from gorkflow.definition import without_code
from gorkflow.engine import _blocked
from gorkflow.engine._driver import Inbound
from gorkflow.engine._given import run_id_of
from gorkflow.engine._match import carried_on, differences, tree_of, type_differences
from gorkflow.engine._part import Part
from gorkflow.engine._reading import reading
from gorkflow.engine._start import StartOptions, check_options, driver_for
from gorkflow.errors import (
    InputInvalidError,
    RunNotEndedError,
    RunNotFoundError,
    StoreCorruptError,
)
from gorkflow.events import Event, ResultKept, RunCreated, TypesAccepted
from gorkflow.node import Node
from gorkflow.rerun import Result, kept, locate, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gorkflow.definition import Definition
    from gorkflow.engine._driver import Driver
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runtime import Runtime
    from gorkflow.engine.handle import RunHandle
    from gorkflow.flow import WorkflowSpec
    from gorkflow.store import Loaded, RunRow, Store
    from gorkflow.workflow import Workflow

Out = TypeVar("Out")


class Reruns(Part):
    """The part of ``Engine`` that repeats runs."""

    async def _begin(self, driver: Driver, options: StartOptions) -> RunHandle[Any]:
        """Record a new run and begin it."""
        raise NotImplementedError

    @overload
    async def rerun(
        self,
        origin: str,
        from_step: Node[Any, Any] | str | None = None,
        *,
        workflow: Workflow[Any, Out],
        accept_types: bool = False,
        **options: Unpack[StartOptions],
    ) -> RunHandle[Out]: ...
    @overload
    async def rerun(
        self,
        origin: str,
        from_step: Node[Any, Any] | str | None = None,
        *,
        workflow: None = None,
        accept_types: bool = False,
        **options: Unpack[StartOptions],
    ) -> RunHandle[Any]: ...
    async def rerun(
        self,
        origin: str,
        from_step: Node[Any, Any] | str | None = None,
        *,
        workflow: Workflow[Any, Any] | None = None,
        accept_types: bool = False,
        **options: Unpack[StartOptions],
    ) -> RunHandle[Any]:
        """Repeat a run that has ended, as a new run that keeps what need not be done again.

        It executes the definition of the run that it repeats, with the same input. It keeps every
        completed result that is not downstream of ``from_step``, those of parallel branches too;
        without a step, every one that is not downstream of a step that did not complete. When this
        returns, the new run is recorded with all that it keeps, and will not be lost.

        Args:
            origin: the id of the run to repeat.
            from_step: where to begin again: a step, block, choice, nested workflow, sleep or wait,
                itself, by its path, or by its id where no other has it. It runs when it is reached.
                Inside a map or loop, ``resize[3]`` or ``poll#2`` means one item or iteration, and
                an id all of them.
            workflow: its workflow, with the functions to use, and so that the output is typed.
                Without it: those of the run itself, where this engine began or ran it, else
                those that the engine knows by the workflow's id.
            accept_types: repeat it though recorded values or types of steps do not fit the code at
                hand. That is recorded with the new run. A client (``execute=False``) rejects it.
            options: see ``StartOptions``. What is unset is as in the run that is repeated, but for
                ``run_id`` and ``delay``; ``tags`` are added to that run's.

        Raises:
            RunNotFoundError: there is no such run.
            RunNotEndedError: it has not ended yet.
            RunBlockedError: the code at hand can't run it; the message has the differences.
            InputInvalidError: there is no such step, or several; or an option is not valid.
            DuplicateRunError: the new run's id is taken.
            ResourceBusyError: another live run has the resource, and one of the two is exclusive.
            EngineClosedError: the engine is not open.
            StoreError: the store failed; the new run was not recorded.
            TypeError: an option is not known.
        """
        _, runtime = self._opened()
        _check(options, accept_types=accept_types, execute=self._execute)
        start = _step_id(from_step)
        code = None if workflow is None else self._registry.add(workflow)
        loaded = await _loaded(runtime.store, run_id_of(origin, "origin"), workflow)
        registry = self._registry if self._execute else None
        driver = _driver(runtime, registry, code, loaded, start, options, accept_types=accept_types)
        return await self._begin(driver, options)


def _check(options: StartOptions, *, accept_types: bool, execute: bool) -> None:
    check_options(options)
    if accept_types and not execute:
        raise InputInvalidError(
            "a client (execute=False) can't accept types, since it does not judge code; repeat the "
            "run with an engine that runs steps, or leave accept_types out"
        )


def _step_id(from_step: Node[Any, Any] | str | None) -> str | None:
    if not isinstance(from_step, Node | str | None):
        raise InputInvalidError(
            f"from_step must be a step, its id or its path, not {brief(from_step)}"
        )
    return from_step.id if isinstance(from_step, Node) else from_step


async def _loaded(store: Store, run_id: str, workflow: Workflow[Any, Any] | None) -> Loaded:
    """Return a run that can be repeated."""
    loaded = await store.load(run_id)
    if loaded is None:
        raise RunNotFoundError(run_id)
    row = loaded.row
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
    return loaded


def _driver(
    runtime: Runtime,
    registry: Registry | None,
    code: Definition | None,
    loaded: Loaded,
    from_step: str | None,
    options: StartOptions,
    *,
    accept_types: bool,
) -> Driver:
    """Return the driver of a run that repeats another one.

    Args:
        runtime: the engine's.
        registry: the workflows that it knows; ``None``: it will not run the run, and needs none.
        code: the functions to use, if some were given.
        loaded: the run to repeat.
        from_step: where to begin again.
        options: as the caller gave them.
        accept_types: whether types may differ.
    """
    row = loaded.row
    created = loaded.events[0] if loaded.events else None
    if not isinstance(created, RunCreated):
        raise StoreCorruptError(f"run {row.run_id!r} has no first event; restore it from a backup")
    tree, start, keep = _kept(loaded, from_step)
    more: list[Inbound] = [(ResultKept, path, None, fields) for path, fields in keep.items()]
    if registry is None:
        definition = without_code(row.workflow_id, tree, loaded.tree)
    else:
        code = code or registry.of_run(row.run_id, row.workflow_id)
        ended = [ResultKept(row.run_id, 0, path, 0.0, *result) for path, result in keep.items()]
        definition, unfit = _definition(
            code, loaded, tree, [created, *ended], registry.executors, accept=accept_types
        )
        if unfit:
            more.append((TypesAccepted, "", None, (definition.fingerprint, tuple(unfit))))
    told: Any = {"version": row.workflow_version, "fingerprint": row.fingerprint}
    return driver_for(
        runtime,
        replace(definition, tags=dict(row.tags), **told),
        created.input,
        _options(row, created, options),
        claimed=registry is not None,
        origin=(row.run_id, start),
        defined_at=row.created_at if created.defined_at is None else created.defined_at,
        state=created.state,
        more=more,
    )


def _kept(
    loaded: Loaded, from_step: str | None
) -> tuple[WorkflowSpec, str | None, dict[str, Result]]:
    """Return the tree of a run, the path to begin again at, and what is kept, by path."""
    with reading(loaded.row.run_id):
        tree = tree_of(loaded)
        done = results(tree, loaded.events)
        start = None if from_step is None else locate(tree, from_step, done)
        return tree, start, kept(tree, done, start)


def _options(row: RunRow, created: RunCreated, given: StartOptions) -> StartOptions:
    """Return the options of a rerun: those of the run that it repeats, unless told otherwise."""
    same = {
        "resource_id": row.resource_id,
        "timeout": created.timeout,
        "priority": row.priority,
        "exclusive": row.exclusive,
    }
    told = {name: value for name, value in given.items() if value is not None}
    return cast("StartOptions", {**same, **told})


def _definition(
    code: Definition | None,
    loaded: Loaded,
    tree: WorkflowSpec,
    history: Sequence[Event],
    executors: frozenset[str] | None,
    *,
    accept: bool,
) -> tuple[Definition, list[str]]:
    """Return the code at hand under the tree of the run, and which types were accepted."""
    run_id, workflow_id = loaded.row.run_id, loaded.row.workflow_id
    if code is None:
        raise _blocked.unknown(run_id, workflow_id, rerun=True)
    problems = differences(tree, code, history, executors)
    unfit = type_differences(tree, code, history, thorough=False)
    if problems or (unfit and not accept):
        raise _blocked.misfit(run_id, problems, unfit, rerun=True)
    return carried_on(code, tree, loaded.tree), unfit
