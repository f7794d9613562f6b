"""The blocking run, for scripts: one run, from start to end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from os import PathLike
from typing import Any, Literal, TypeVar, overload

from gorkflow.engine.engine import Engine
from gorkflow.engine.handle import FRAMELESS
from gorkflow.step import StepDefaults
from gorkflow.store import Store
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")


@overload
def run(
    workflow: Workflow[None, Out],
    input: None = None,
    *,
    store: Store | str | PathLike[str] | None = None,
    deps: object = None,
    defaults: StepDefaults | None = None,
    run_id: str | None = None,
    if_exists: Literal["raise", "return"] = "raise",
    resource_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    timeout: float | timedelta | None = None,
    delay: float | timedelta | None = None,
    priority: int = 0,
    queue: str | None = None,
    exclusive: bool | Literal["wait"] = False,
    state: Mapping[str, Any] | None = None,
) -> Out: ...
@overload
def run(
    workflow: Workflow[In, Out],
    input: In,
    *,
    store: Store | str | PathLike[str] | None = None,
    deps: object = None,
    defaults: StepDefaults | None = None,
    run_id: str | None = None,
    if_exists: Literal["raise", "return"] = "raise",
    resource_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    timeout: float | timedelta | None = None,
    delay: float | timedelta | None = None,
    priority: int = 0,
    queue: str | None = None,
    exclusive: bool | Literal["wait"] = False,
    state: Mapping[str, Any] | None = None,
) -> Out: ...
def run(
    workflow: Workflow[Any, Out],
    input: Any = None,
    *,
    store: Store | str | PathLike[str] | None = None,
    deps: object = None,
    defaults: StepDefaults | None = None,
    run_id: str | None = None,
    if_exists: Literal["raise", "return"] = "raise",
    resource_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    timeout: float | timedelta | None = None,
    delay: float | timedelta | None = None,
    priority: int = 0,
    queue: str | None = None,
    exclusive: bool | Literal["wait"] = False,
    state: Mapping[str, Any] | None = None,
) -> Out:
    """Run a workflow, wait until it has ended, and return its output.

    It opens an engine for this one run and closes it; it does not continue runs that an earlier
    process left unfinished. Programs that use asyncio keep an ``Engine`` open instead.

    Example:
        >>> from gorkflow import Workflow, run, step
        >>> @step
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> run(Workflow("doubling", input=int).then(double), 21, store="memory:")
        42

    Args:
        workflow: what to run.
        input: its input: of the workflow's input type, or what validates as one.
        store: a ``Store``, a URL (``memory:``, ``sqlite:PATH``), or the path of a file. ``None``:
            the environment's ``GORKFLOW_STORE``, else ``.gorkflow/runs.db`` in the current folder.
        deps: passed to every step as ``ctx.deps``; never stored.
        defaults: options for steps and workflows that don't set them.
        run_id: as of ``Engine.start``, like the following.
        if_exists: for an id that is taken: ``"raise"``, or ``"return"`` that run's output.
        resource_id: what the run is about, to find it by.
        tags: more to find it by.
        timeout: seconds that the run may take.
        delay: seconds until the run begins.
        queue: as of ``Client.start``.
        priority: among runs that wait for a place.
        exclusive: ``True``: reject the start while another live run has the ``resource_id``;
            ``"wait"``: begin when no earlier live run has it.
        state: what ``ctx.state`` begins with.

    Raises:
        RuntimeError: If an event loop runs in this thread.
        RunFailedError: If the run failed; lists every unhandled failure.
        RunCancelledError: If the run was cancelled.
        InputInvalidError: If the input or an option is not valid; nothing was stored.
        DuplicateRunError: If the id is taken.
        WorkflowInvalidError: If the workflow does not work with ``defaults``.
        StoreError: If the store failed.
    """
    if _in_loop():
        raise RuntimeError(
            "gorkflow.run() blocks, and an event loop runs here already; write "
            "`async with Engine() as engine:` and `await engine.run(workflow, input)` instead"
        )

    async def whole() -> Out:
        engine = Engine(store, deps=deps, defaults=defaults, recover=False)
        engine._owns_loop = True  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - one of us
        async with engine:
            return await engine.run(
                workflow,
                input,
                run_id=run_id,
                if_exists=if_exists,
                resource_id=resource_id,
                tags=tags,
                timeout=timeout,
                delay=delay,
                priority=priority,
                queue=queue,
                exclusive=exclusive,
                state=state,
            )

    with FRAMELESS:
        return asyncio.run(whole())


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
