"""The engine: a client that also runs the steps of runs, its own and those that others left."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal, TypeVar, overload

from gorkflow.clock import Clock
from gorkflow.engine._observer import Telemetry
from gorkflow.engine._runs import LEFT_RUNS
from gorkflow.engine._settings import MAX_PAYLOAD, Settings, check_flag, served
from gorkflow.engine._start import run_id_of
from gorkflow.engine._within import check_limits, check_line
from gorkflow.engine._worker import Worker
from gorkflow.engine.client import Client
from gorkflow.engine.handle import FRAMELESS
from gorkflow.errors import RunNotFoundError
from gorkflow.hooks import OnEnd
from gorkflow.step import StepDefaults
from gorkflow.store import Store
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")

logger = logging.getLogger("gorkflow.engine")


class Engine(Client):
    """Runs workflows: what a ``Client`` does, and the steps of its runs.

    Several engines on one store share the work: each unfinished run has one engine at a time, and
    another one continues it when that engine dies. Use it with ``async with``, in one event loop.

    Example:
        from gorkflow import Engine, Workflow, step

        @step
        async def double(number: int) -> int:
            return 2 * number

        doubling = Workflow("doubling", input=int).then(double)

        async with Engine("memory:", workflows=[doubling]) as engine:
            assert await engine.run(doubling, 21) == 42

    Args:
        store: as of ``Client``: a ``Store``, a URL, or the path of a file.
        workflows: whose unfinished runs it continues; those started through it are added.
        deps: passed to every step as ``ctx.deps``; never stored.
        defaults: options for steps and workflows that don't set them.
        max_concurrent_runs: further runs wait, ``pending``. ``None``: no limit.
        max_concurrent_steps: further attempts wait. ``None``: no limit.
        max_threads: sync steps that may run at a time, in threads; as many again are there for
            sync conditions and keys.
        max_processes: steps with ``executor="process"`` that may run at a time. ``None``: one per
            CPU.
        queues: the names of the queues whose runs it takes; ``None``: ``["default"]``. A dict has
            a bound for each: the runs of the queue that all workers have at a time, or ``None``.
            Give all workers the same bounds.
        executors: where steps with ``executor="name"`` run, by name: any executor like those of
            ``concurrent.futures``. The engine does not shut them down.
        max_payload: bytes that one value may have as JSON.
        lease: seconds without a sign of life after which others may take this engine's runs.
        logs: which lines of ``ctx.logger`` are kept with their run: those of ``INFO`` and above
            (``True``), none (``False``), or those from a level on, such as ``"DEBUG"``. An attempt
            keeps 1,000 lines of 2 KiB.
        recover: continue unfinished runs that no live engine has. ``False``: run only the runs
            that are started here, or named to ``recover``.
        clock: where the time comes from; ``None``: the clock of the store, or else the system's.
        telemetry: who watches: one object of ``gorkflow.telemetry``, such as ``OpenTelemetry()``,
            or several; ``None``: no one.
        on_end: a function that is called with each ``Run`` that has ended, of any workflow, plain
            or async. It is called at least once, and again until it returns.

    Raises:
        ValueError: If a number is out of range, ``defaults`` has an unknown option, an executor
            uses a reserved name, the name of a queue is not valid, or there is no such level of
            ``logs``.
        TypeError: If an argument has the wrong type.
        WorkflowInvalidError: If two workflows have one id, or one does not work with the engine.
        StoreError: If the store's URL can't be understood.
    """

    _name = "engine"
    _executes = True

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        workflows: Iterable[Workflow[Any, Any]] = (),
        deps: object = None,
        defaults: StepDefaults | None = None,
        max_concurrent_runs: int | None = None,
        max_concurrent_steps: int | None = None,
        max_threads: int = 64,
        max_processes: int | None = None,
        queues: Mapping[str, int | None] | Iterable[str] | None = None,
        executors: Mapping[str, Executor] | None = None,
        max_payload: int = MAX_PAYLOAD,
        lease: float = 30.0,
        logs: bool | int | str = True,
        recover: bool = True,
        clock: Clock | None = None,
        telemetry: Telemetry | Iterable[Telemetry] | None = None,
        on_end: OnEnd | None = None,
    ) -> None:
        check_flag("recover", recover)
        self._recovers = recover
        settings = Settings(
            max_payload=max_payload,
            deps=deps,
            max_concurrent_runs=max_concurrent_runs,
            max_concurrent_steps=max_concurrent_steps,
            max_threads=max_threads,
            max_processes=max_processes,
            queues=served(queues),
            executors={} if executors is None else executors,
            lease=lease,
            logs=logs,
            telemetry=telemetry,
            on_end=on_end,
        )
        self._set_up(settings, store, workflows, defaults, clock)

    @property
    def recovers(self) -> bool:
        """``True``: it continues runs that others queued or left. Set it before it is opened."""
        return self._recovers

    @recovers.setter
    def recovers(self, value: bool) -> None:
        check_flag("recovers", value)
        self._recovers = value

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues whose runs it takes, sorted; none if it takes no runs of others."""
        return tuple(sorted(self._settings.queues)) if self._recovers else ()

    @property
    def stray_threads(self) -> int:
        """The number of threads, and of calls on ``executors``, that outlive their attempts."""
        if self._worker is None:
            return 0
        return self._worker.runtime.strays()

    async def _close(self, worker: Worker, grace: float) -> None:
        try:
            await super()._close(worker, grace)
        finally:
            _warn_of_unfinished(self.store, worker.unfinished, kept=self._shared.is_open)

    @overload
    async def run(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        *,
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
    async def run(
        self,
        workflow: Workflow[In, Out],
        input: In,
        *,
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
    async def run(
        self,
        workflow: Workflow[Any, Out],
        input: Any = None,
        *,
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
        """Start a run, wait until it has ended, and return its output.

        It raises what ``start`` and ``RunHandle.result`` raise. Cancelling the wait does not cancel
        the run.

        Args:
            workflow: what to run.
            input: its input: of the workflow's input type, or what validates as one.
            run_id: as of ``start``.
            if_exists: as of ``start``.
            resource_id: as of ``start``.
            tags: as of ``start``.
            timeout: as of ``start``; in seconds.
            delay: as of ``start``; in seconds.
            priority: as of ``start``.
            queue: as of ``start``.
            exclusive: as of ``start``.
            state: as of ``start``.

        Raises:
            RunFailedError: If the run failed; lists every unhandled failure.
            RunCancelledError: If the run was cancelled.
            DeadlockError: If a step calls this, and the run is its own, or needs a limit which the
                step holds.
        """
        with FRAMELESS:
            check_limits(self._registry.add(workflow), run_id, self.store)
            if exclusive == "wait":
                await check_line(self.store, None, resource_id)
            handle = await self.start(
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
            return await handle.result()

    async def recover(self, run_id: str | None = None, *, accept_types: bool = False) -> list[str]:
        """Continue unfinished runs of known workflows that no live engine has.

        Args:
            run_id: only this run.
            accept_types: continue also runs whose recorded values or types of steps do not fit this
                code. That is recorded with the run. A step then fails if it gets a value that does
                not fit. Without ``run_id``, that includes runs that sleep or wait for a signal.

        Returns:
            The ids of the runs that this engine has now and did not have before.

        Raises:
            RunNotFoundError: If there is no such run.
            RunBlockedError: If this code can't continue this run. Without ``run_id`` such runs are
                left alone, and logged.
            StoreError: If the store failed.
            TypeError: If an argument has the wrong type.
        """
        worker = self._opened()
        check_flag("accept_types", accept_types)
        if run_id is not None and await self.store.get_run(run_id_of(run_id)) is None:
            raise RunNotFoundError(run_id)
        return await worker.recover(run_id, accept_types=accept_types)


def _warn_of_unfinished(store: Store, run_ids: list[str], *, kept: bool) -> None:
    """Log how many runs have not ended, where they are, and how to continue them.

    Args:
        store: the store that has them.
        run_ids: the runs; the log record has them, too.
        kept: whether another engine here has the store open.
    """
    if not run_ids:
        return
    first, count = run_ids[0], len(run_ids)
    if count == 1:
        runs, were, are, continue_ = f"1 run has not ended: {first}. It", "was", "is", "continues"
    else:
        runs = f"{count} runs have not ended: {first}, …. They"
        were, are, continue_ = "were", "are", "continue"
    if not store.durable:
        if kept:
            return
        text = (
            f"{runs} {were} lost with the store in memory; wait for runs before you close the "
            "engine (await handle.result()), or keep them in a file: Engine('sqlite:runs.db')"
        )
    else:
        place = _place(store)
        text = (
            f"{runs} {are} kept in {place} and {continue_} with the next engine that knows the "
            f"workflow: `gorkflow runs resume {first} TARGET --store {place}`, or "
            f"Engine({place!r}, workflows=[…])"
        )
    logger.warning("%s", text, extra={LEFT_RUNS: run_ids})


def _place(store: Store) -> str:
    """Return the store as a URL, short where it can be."""
    path = getattr(store, "path", None)
    if not isinstance(path, str):
        return repr(store)
    with suppress(ValueError):  # another drive
        short = os.path.relpath(path)
        if not short.startswith(os.pardir):
            path = short
    return f"sqlite:{path}"
