"""The engine: starts runs, carries them, and answers questions about them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, Never, Self, TypeVar, Unpack, overload

from gorkflow._record import suggesting
from gorkflow.clock import Clock
from gorkflow.engine import _given
from gorkflow.engine._admission import Admission
from gorkflow.engine._committer import Committer
from gorkflow.engine._driver import Driver
from gorkflow.engine._executors import Executors, checked
from gorkflow.engine._frames import FRAMELESS
from gorkflow.engine._left import tell
from gorkflow.engine._messaging import Messaging
from gorkflow.engine._registry import Registry
from gorkflow.engine._rerun import Reruns
from gorkflow.engine._retention import Retention
from gorkflow.engine._runtime import Runtime
from gorkflow.engine._scheduling import Scheduling
from gorkflow.engine._service import Service
from gorkflow.engine._start import StartOptions, new_driver, new_id, same_start
from gorkflow.engine._sync import Turns, shared
from gorkflow.engine._threads import Functions, ThreadPool
from gorkflow.engine._times import Times
from gorkflow.engine._views import Views
from gorkflow.engine._watch import Watch
from gorkflow.engine._within import check_limits
from gorkflow.engine.handle import RunHandle
from gorkflow.errors import DuplicateRunError, EngineClosedError, RunNotFoundError
from gorkflow.step import StepDefaults
from gorkflow.store import Store
from gorkflow.workflow import Workflow

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")
MAX_PAYLOAD = 4 * 1024 * 1024


class Engine(Messaging, Reruns, Retention, Scheduling, Views):
    """Carries runs of workflows. Use it with ``async with``.

    Args:
        store: a ``Store``, a URL (``memory:``, ``sqlite:PATH``), or the path of a file. ``None``:
            the environment's ``GORKFLOW_STORE``, else ``.gorkflow/runs.db`` in the current folder.
            Several engines may share one ``Store``: the first opens it, the last closes it.
        workflows: whose unfinished runs it continues; those started through it are added.
        execute: ``False``: a client, which starts and looks, and leaves the running to others.
        deps: handed to every step as ``ctx.deps``; never stored.
        defaults: options for steps and workflows that don't set them.
        max_concurrent_runs: more runs than that wait, ``pending``. ``None``: no limit.
        max_concurrent_steps: more attempts than that wait. ``None``: no limit.
        max_threads: sync steps that may run at a time, in threads; as many again are there for
            sync conditions and keys.
        max_processes: steps with ``executor="process"`` that may run at a time; one per CPU.
        executors: where steps with ``executor="name"`` run, by name: any executor of
            ``concurrent.futures``, or of its kind. They stay yours: the engine shuts none down.
        max_payload: bytes that one value may have as JSON.
        lease: seconds after which others may take over the runs of an engine that went silent.
        recover: continue unfinished runs that no live engine holds.
        clock: where the time comes from.

    Raises:
        ValueError: a number is out of its range, the defaults are none of a step, or an executor
            has a name of ours.
        TypeError: what was given is no store, no executor, or no such number.
        StoreError: the store's URL can't be understood.
    """

    @suggesting
    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        workflows: Iterable[Workflow[Any, Any]] = (),
        execute: bool = True,
        deps: object = None,
        defaults: StepDefaults | None = None,
        max_concurrent_runs: int | None = None,
        max_concurrent_steps: int | None = None,
        max_threads: int = 64,
        max_processes: int | None = None,
        executors: Mapping[str, Executor] | None = None,
        max_payload: int = MAX_PAYLOAD,
        lease: float = 30.0,
        recover: bool = True,
        clock: Clock | None = None,
    ) -> None:
        _given.check_numbers(
            lease,
            max_concurrent_runs=max_concurrent_runs,
            max_concurrent_steps=max_concurrent_steps,
            max_threads=max_threads,
            max_processes=max_processes,
            max_payload=max_payload,
        )
        _given.check_switches(defaults, execute=execute, recover=recover)
        self.store: Store = _given.store_of(store)
        self._shared = shared(self.store)
        self._execute = execute
        self._deps = deps
        self._max_runs = max_concurrent_runs
        self._max_threads = max_threads
        self._room = (max_concurrent_steps, max_threads, max_processes or os.cpu_count() or 1)
        self._executors = checked({} if executors is None else executors)
        self._max_payload = max_payload
        self._lease = lease
        self._recover = recover and execute
        self._clock: Clock = _given.clock_of(clock)
        self._registry = Registry(defaults, frozenset(self._executors) if execute else None)
        self._registry.add_all(workflows)
        self._entered = False
        self._changing = Turns()
        self._leaving = False
        self._runtime: Runtime | None = None
        self._service: Service | None = None
        self._watch = Watch(self.store, self._registry)
        self.worker_id = f"{socket.gethostname()}-{os.getpid()}-{new_id(self._clock.now())[-8:]}"

    @property
    def stray_threads(self) -> int:
        """How many threads, and calls on ``executors``, outlive what waited for them."""
        runtime = self._runtime
        return 0 if runtime is None else runtime.slots.strays + runtime.functions.strays

    @property
    def carries_others(self) -> bool:
        """Whether it takes up runs that others queued or left."""
        return self._recover

    # ---- life -----------------------------------------------------------------------------

    def __enter__(self) -> Never:
        """Raise ``TypeError``, which says what to write: an engine needs an event loop."""
        raise TypeError(
            "write `async with Engine(…) as engine:`, or gorkflow.run(…) where there is no asyncio"
        )

    def __exit__(self, *_: object) -> None:
        """Never called."""

    async def __aenter__(self) -> Self:
        """Open the engine.

        Raises:
            EngineClosedError: it was entered already: leaving would close it under the other block.
        """
        if self._entered:
            raise EngineClosedError(
                "the engine is in use by another `async with`, which closes it; enter it once and "
                "hand it on"
            )
        self._entered = True
        try:
            await self.open()
        except BaseException:
            self._entered = False
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close the engine; at once, if the program is being stopped."""
        self._entered = False
        stopped = isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit)
        await self.aclose(grace=0.0 if stopped else 30.0)

    async def open(self, *, recover: bool = True) -> None:
        """Open the store and, unless told otherwise, continue the runs that nobody holds.

        Args:
            recover: ``False``: continue none, whatever the engine was made with.

        Raises:
            StoreError: the store can't be opened.
            EngineClosedError: ``aclose`` was called meanwhile.
        """
        if self._runtime is not None and self._runtime.loop is not asyncio.get_running_loop():
            raise EngineClosedError(
                "the engine was opened in another event loop, and not closed there; make one "
                "engine per loop"
            )
        async with self._changing:
            if self._runtime is None:
                self._leaving, self._was_open = False, True
                await self._open(recover=recover)

    async def _open(self, *, recover: bool) -> None:
        import random  # as late as possible: it is slow to load

        loop = asyncio.get_running_loop()
        await self._shared.enter()
        drivers: dict[str, Driver] = {}
        self._watch.open(drivers)
        executors = self._make_executors()
        clock = Times(self._clock, self._lease)
        self._runtime = runtime = Runtime(
            loop=loop,
            store=self.store,
            clock=clock,
            committer=Committer(self.store, loop, drivers),
            executors=executors,
            functions=Functions(loop, executors.threads, self._max_threads),
            slots=Admission(self.store, self.worker_id, clock, *self._room),
            worker_id=self.worker_id,
            deps=self._deps,
            max_payload=self._max_payload,
            uniform=random.Random().uniform,
            changed=self._watch.changed,
            closing=self._leaving,
            lease_seconds=self._lease,
            recovers=self._recover and recover,
        )
        service = Service(runtime, self._registry, drivers, max_runs=self._max_runs)
        self._service = service
        try:
            if self._execute:
                await service.open()
        except BaseException:
            await self._close(service, 0.0)
            raise
        if self._leaving:  # who asked for that, and gave what it took up a grace, may be gone
            await self._close(service, float("inf"))
            raise EngineClosedError("the engine was closed while it was being opened")

    def _make_executors(self) -> Executors:
        return Executors(asyncio.get_running_loop(), self._make_threads(), self._executors)

    def _make_threads(self) -> ThreadPool:
        return ThreadPool()

    async def aclose(self, *, grace: float = 30.0) -> None:
        """Stop. Runs that have not ended stay recoverable. Returns when the engine is closed.

        The store is closed with the last engine that has it open. Cancelled, this waits no more for
        handlers that clean up, nor for what is being written, and gives the runs back all the same.

        Args:
            grace: seconds that running attempts get to finish and be recorded. Where the engine is
                being closed already, a shorter one takes the place of what was given before.
        """
        self._leaving = True  # it may be opening still: then it takes up nothing
        if self._service is not None:
            self._service.hurry(grace)
        async with self._changing:
            if self._service is not None:
                await self._close(self._service, grace)

    async def _close(self, service: Service, grace: float) -> None:
        try:
            await service.close(grace)
        finally:
            self._service = self._runtime = None
            self._watch.close()
            await self._shared.leave()
            if self._execute:  # a client leaves its runs to others, as it should
                tell(self.store, service.unfinished, kept=self._shared.is_open)

    # ---- starting -------------------------------------------------------------------------

    @overload
    async def run(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        **options: Unpack[StartOptions],
    ) -> Out: ...
    @overload
    async def run(
        self,
        workflow: Workflow[In, Out],
        input: In,
        **options: Unpack[StartOptions],
    ) -> Out: ...
    async def run(
        self,
        workflow: Workflow[Any, Out],
        input: Any = None,
        **options: Unpack[StartOptions],
    ) -> Out:
        """Start a run, wait until it has ended, and return its output.

        Takes what ``start`` takes, and raises what ``start`` and ``RunHandle.result`` raise.
        Cancelling the wait does not cancel the run.
        """
        with FRAMELESS:
            check_limits(self._registry.add(workflow), options.get("run_id"), self.store)
            handle = await self.start(workflow, input, **options)
            return await handle.result()

    @overload
    async def start(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        **options: Unpack[StartOptions],
    ) -> RunHandle[Out]: ...
    @overload
    async def start(
        self,
        workflow: Workflow[In, Out],
        input: In,
        **options: Unpack[StartOptions],
    ) -> RunHandle[Out]: ...
    async def start(
        self,
        workflow: Workflow[Any, Out],
        input: Any = None,
        **options: Unpack[StartOptions],
    ) -> RunHandle[Out]:
        """Start a run. When this returns, the run is recorded and will not be lost.

        Args:
            workflow: what to run.
            input: its input: of the workflow's input type, or what validates as one.
            options: see ``StartOptions``.

        Raises:
            InputInvalidError: input, id or tags are not valid; nothing was stored.
            DuplicateRunError: the id is taken.
            ResourceBusyError: another live run has the resource, and one of the two is exclusive.
            WorkflowInvalidError: the workflow does not work with the engine's defaults.
            EngineClosedError: the engine is not open.
            StoreError: the store failed; the run was not recorded.
            TypeError: an option is not known.
        """
        with FRAMELESS:
            _, runtime = self._opened()
            definition = self._registry.add(workflow)
            if self.store.durable:
                self._registry.name_unrecorded(definition)
            driver = new_driver(runtime, definition, input, options, claimed=self._execute)
            return await self._begin(driver, options)

    async def _begin(self, driver: Driver, options: StartOptions) -> RunHandle[Any]:
        service, runtime = self._opened()
        if runtime.closing:
            raise EngineClosedError("the engine is being closed; it starts no more runs")
        if self._registry.get(driver.row.workflow_id) is not None:
            service.watch_for(driver.row.workflow_id)
        try:
            await service.start(driver)
        except DuplicateRunError:
            if options.get("if_exists") != "return":
                raise
            await same_start(self.store, driver)
            if self._execute and not runtime.recovers:
                await service.follow(driver.run_id)  # nobody else may be there to carry it on
        return RunHandle(self, driver.run_id)

    def handle(self, run_id: str, workflow: Workflow[Any, Out] | None = None) -> RunHandle[Out]:
        """Return a handle on a run that was started earlier, or elsewhere.

        Args:
            run_id: the run; whether it exists shows when the handle is used.
            workflow: its workflow, so that its output is decoded to the right type.
        """
        if workflow is not None:
            self._registry.add(workflow)
        return RunHandle(self, run_id, None if workflow is None else workflow.id)

    async def recover(self, run_id: str | None = None, *, accept_types: bool = False) -> list[str]:
        """Continue unfinished runs of known workflows that no live engine holds.

        Args:
            run_id: only this run.
            accept_types: run on also where recorded values or the types of steps do not fit the
                code at hand. That is recorded with the run; values are then judged anew, and a step
                fails that gets one which does not fit. Without ``run_id``, that includes runs that
                sleep or wait for a signal.

        Returns:
            The ids of the runs that this engine now carries and did not before.

        Raises:
            RunNotFoundError: there is no such run.
            RunBlockedError: the code at hand can't carry this run on. Without ``run_id`` such runs
                are left alone, and logged.
            EngineClosedError: the engine is not open, or a client.
        """
        service, _ = self._opened()
        if not self._execute:
            raise EngineClosedError(
                "a client (execute=False) carries no runs; recover with an engine that does"
            )
        if run_id is not None and await self.store.get_run(_given.run_id_of(run_id)) is None:
            raise RunNotFoundError(run_id)
        return await service.recover(run_id, accept_types=accept_types)
