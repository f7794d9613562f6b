"""The blocking way in, for scripts: one run, from start to end."""

from __future__ import annotations

import asyncio
from os import PathLike
from typing import Any, TypeVar, Unpack, overload

from gorkflow.engine._frames import FRAMELESS
from gorkflow.engine._start import StartOptions
from gorkflow.engine.engine import Engine
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
    **options: Unpack[StartOptions],
) -> Out: ...
@overload
def run(
    workflow: Workflow[In, Out],
    input: In,
    *,
    store: Store | str | PathLike[str] | None = None,
    deps: object = None,
    defaults: StepDefaults | None = None,
    **options: Unpack[StartOptions],
) -> Out: ...
def run(
    workflow: Workflow[Any, Out],
    input: Any = None,
    *,
    store: Store | str | PathLike[str] | None = None,
    deps: object = None,
    defaults: StepDefaults | None = None,
    **options: Unpack[StartOptions],
) -> Out:
    """Run a workflow, wait until it has ended, and return its output.

    Opens an engine for this one run and closes it; runs that an earlier process left unfinished are
    not continued. Programs that use asyncio keep an ``Engine`` open instead.

    Args:
        workflow: what to run.
        input: its input: of the workflow's input type, or what validates as one.
        store: a ``Store``, a URL (``memory:``, ``sqlite:PATH``), or the path of a file. ``None``:
            the environment's ``GORKFLOW_STORE``, else ``.gorkflow/runs.db`` in the current folder.
        deps: handed to every step as ``ctx.deps``; never stored.
        defaults: options for steps and workflows that don't set them.
        options: see ``StartOptions``.

    Raises:
        RuntimeError: it was called where an event loop runs.
        RunFailedError: the run failed; lists every unhandled failure.
        RunCancelledError: the run was cancelled.
        InputInvalidError: input, id or tags are not valid; nothing was stored.
        DuplicateRunError: the id is taken.
        WorkflowInvalidError: the workflow does not work with these defaults.
        StoreError: the store failed.
    """
    if _in_loop():
        raise RuntimeError(
            "gorkflow.run() blocks, and an event loop runs here already; write "
            "`async with Engine() as engine:` and `await engine.run(workflow, input)` instead"
        )

    async def whole() -> Out:
        async with Engine(store, deps=deps, defaults=defaults, recover=False) as engine:
            return await engine.run(workflow, input, **options)

    with FRAMELESS:
        return asyncio.run(whole())


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
