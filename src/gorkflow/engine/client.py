"""The client: starts runs, sends to them, waits for them and reads them, and runs nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload
from weakref import WeakKeyDictionary

from gorkflow.clock import ASK, Clock, StoreClock, background
from gorkflow.engine import _maintenance, _schedules, _signals
from gorkflow.engine._executors import Executors
from gorkflow.engine._hints import take_hints
from gorkflow.engine._observer import Telemetry
from gorkflow.engine._patience import Patience
from gorkflow.engine._reader import ClientReader
from gorkflow.engine._reads import Ended, Reads
from gorkflow.engine._registry import Registry
from gorkflow.engine._rerun import driver_of_rerun
from gorkflow.engine._runtime import Runtime, runtime_of
from gorkflow.engine._settings import (
    MAX_PAYLOAD,
    Settings,
    check_flag,
    checked_grace,
    clock_of,
    store_of,
)
from gorkflow.engine._start import (
    StartOptions,
    checked_input,
    driver_for,
    new_id,
    run_id_of,
    same_start,
)
from gorkflow.engine._sync import shared
from gorkflow.engine._threads import ThreadPool
from gorkflow.engine._worker import Worker
from gorkflow.engine.handle import FRAMELESS, RunHandle, outcome_of
from gorkflow.errors import (
    DuplicateRunError,
    EngineClosedError,
    InputInvalidError,
    RunNotFoundError,
    ScheduleNotFoundError,
    StoreError,
)
from gorkflow.language.options import text_problems
from gorkflow.model import Outcome, RunStatus
from gorkflow.node import Node
from gorkflow.schedule import CatchUp, Overlap, Schedule, schedule_of, schedules_of
from gorkflow.signal import Signal
from gorkflow.step import StepDefaults
from gorkflow.store import Store
from gorkflow.workflow import Workflow

if TYPE_CHECKING:
    from gorkflow.engine._driver import Driver

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


class Client(ClientReader):
    """Starts runs, sends to them, waits for them and reads them. Runs no step itself.

    A worker elsewhere runs them: ``gorkflow worker``, or an ``Engine`` on the same store. Use it
    with ``async with``, in one event loop. Its methods raise ``EngineClosedError`` while it is not
    open.

    Example:
        from gorkflow import Client, Engine, Workflow, step

        @step
        def double(number: int) -> int:
            return 2 * number

        doubling = Workflow("doubling", input=int).then(double)

        async with Client("sqlite:runs.db") as client:  # a web process
            handle = await client.start(doubling, 21, run_id="first")
            async with Engine("sqlite:runs.db", workflows=[doubling]):  # a worker, elsewhere
                assert await handle.result() == 42

    Args:
        store: a ``Store``, a URL (``memory:``, ``sqlite:PATH``), or the path of a file. ``None``:
            the environment's ``GORKFLOW_STORE``, else ``.gorkflow/runs.db`` in the current folder.
            Several engines and clients may share one ``Store``: the first opens it, the last
            closes it.
        workflows: the workflows whose values it reads as their types; those that it starts are
            added.
        defaults: options for steps and workflows that don't set them; as of the worker.
        max_payload: bytes that one value may have as JSON.
        clock: where the time comes from; ``None``: the clock of the store, or else the system's.
        telemetry: as of ``Engine``: a run that is started here belongs to the current trace.

    Raises:
        ValueError: If ``max_payload`` is below 1, or ``defaults`` has an option that a step lacks.
        TypeError: If an argument has the wrong type.
        WorkflowInvalidError: If two workflows have one id, or one does not work with ``defaults``.
        StoreError: If the store's URL can't be understood.
    """

    _name = "client"
    _executes = False
    _recovers = False
    _owns_loop = False
    """Whether nothing else runs in its event loop, as in ``gorkflow.run`` and the command line."""

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        workflows: Iterable[Workflow[Any, Any]] = (),
        defaults: StepDefaults | None = None,
        max_payload: int = MAX_PAYLOAD,
        clock: Clock | None = None,
        telemetry: Telemetry | Iterable[Telemetry] | None = None,
    ) -> None:
        settings = Settings(max_payload=max_payload, telemetry=telemetry)
        self._set_up(settings, store, workflows, defaults, clock)

    def _set_up(
        self,
        settings: Settings,
        store: Store | str | os.PathLike[str] | None,
        workflows: Iterable[Workflow[Any, Any]],
        defaults: StepDefaults | None,
        clock: Clock | None,
    ) -> None:
        settings.check(defaults)
        self._settings = settings
        self.store: Store = store_of(store)
        self._shared = shared(self.store)
        self._clock: Clock = clock_of(clock)
        places = frozenset(settings.executors) if self._executes else None
        self._registry = Registry(defaults, places)
        self._registry.add_all(workflows)
        self._patience = Patience(self._clock)
        self._reads = Reads(self.store, self._registry, self._patience)
        self._worker: Worker | None = None
        self._changing: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]
        self._changing = WeakKeyDictionary()  # a lock belongs to its loop
        self._entered = self._leaving = self._was_open = False
        self.worker_id = f"{socket.gethostname()}-{os.getpid()}-{new_id(self._clock.now())[-8:]}"

    @property
    def workflows(self) -> tuple[Workflow[Any, Any], ...]:
        """The known workflows: given to the constructor, or started since."""
        return self._registry.workflows()

    @property
    def defaults(self) -> StepDefaults | None:
        """The options that steps inherit from here."""
        return self._registry.defaults

    # ---- life -----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            EngineClosedError: If another ``async with`` has it: its end would close it here, too.
        """
        if self._entered:
            raise EngineClosedError(
                f"the {self._name} is in use by another `async with`, which closes it; enter "
                "it once and pass it on"
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
        """Close it; at once, if the program is being stopped."""
        self._entered = False
        stopped = isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit)
        await self.aclose(grace=0.0 if stopped else 30.0)

    async def open(self) -> None:
        """Open the store; an engine then continues unfinished runs. ``async with`` calls it.

        Raises:
            StoreError: If the store can't be opened.
            EngineClosedError: If ``aclose`` was called meanwhile.
        """
        worker = self._worker
        if worker is not None and worker.runtime.loop is not asyncio.get_running_loop():
            raise EngineClosedError(
                f"the {self._name} was opened in another event loop, and not closed there; "
                "make one per loop"
            )
        async with self._changing.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._worker is None:
                self._leaving, self._was_open = False, True
                await self._open()

    async def _open(self) -> None:
        await self._shared.enter()
        try:
            await self._look_at_its_clock()
        except BaseException:
            await self._shared.leave()
            raise
        drivers: dict[str, Driver] = {}
        self._reads.open(drivers)
        runs = self._settings.max_concurrent_runs
        worker = Worker(
            self._make_runtime(drivers),
            self._registry,
            drivers,
            max_runs=runs,
            get_run=self.get_run,
        )
        self._worker = worker
        self._end_hints = take_hints(self.store, self._reads, worker)
        try:
            if self._executes:
                await worker.open()
            elif isinstance(self._clock, StoreClock) and self._clock.is_shared:
                worker.runtime.spawn(self._keep_time())
        except BaseException:
            await self._close(worker, 0.0)
            raise
        if self._leaving:  # aclose() may be cancelled by now, and its grace with it
            await self._close(worker, float("inf"))
            raise EngineClosedError(f"the {self._name} was closed while it was being opened")

    async def _look_at_its_clock(self) -> None:
        """Take the time from the store, if it has a clock and the caller gave none."""
        if isinstance(self._clock, StoreClock):
            await self._clock.ask(self.store)

    async def _keep_time(self) -> None:
        """Look at the store's clock again and again: a client has no heartbeat to do so."""
        while True:
            with background():
                await asyncio.sleep(ASK)
            with suppress(StoreError):
                await self._look_at_its_clock()

    def _make_runtime(self, drivers: dict[str, Driver]) -> Runtime:
        return runtime_of(
            self._settings,
            self.store,
            self._clock,
            self._patience,
            drivers,
            self._make_executors(),
            worker_id=self.worker_id,
            changed=self._reads.changed,
            recovers=self._recovers,
            owns_loop=self._owns_loop,
            closing=self._leaving,
        )

    def _make_executors(self) -> Executors:
        loop = asyncio.get_running_loop()
        return Executors(loop, self._make_threads(), self._settings.executors)

    def _make_threads(self) -> ThreadPool:
        return ThreadPool()

    async def aclose(self, *, grace: float = 30.0) -> None:
        """Stop, and release the runs: other engines continue them. Returns when it is closed.

        The last engine or client of a store closes it. If cancelled, it stops waiting for steps
        and writes, and still releases the runs.

        Args:
            grace: seconds for running attempts to finish and be recorded. A second call may
                shorten the grace of the first.

        Raises:
            ValueError: If the grace is negative.
            TypeError: If it is not a number.
        """
        grace = checked_grace(grace)
        self._leaving = True  # while it opens, it then takes up nothing
        if self._worker is not None:
            self._worker.hurry(grace)
        async with self._changing.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._worker is not None:
                await self._close(self._worker, grace)

    async def _close(self, worker: Worker, grace: float) -> None:
        try:
            await worker.close(grace)
        finally:
            self._end_hints()
            self._worker = None
            self._reads.close()
            await self._shared.leave()

    def _opened(self) -> Worker:
        worker = self._worker
        if worker is None:
            kind = self._name.capitalize()
            if self._was_open:
                raise EngineClosedError(
                    f"the {self._name} is closed: the block of `async with {kind}(…)` was left, "
                    "or aclose() called; do this inside the block"
                )
            raise EngineClosedError(
                f"the {self._name} is not open; use it with `async with {kind}(…)`"
            )
        if asyncio._get_running_loop() is not worker.runtime.loop:  # noqa: SLF001 - never raises
            raise EngineClosedError(
                f"the {self._name} belongs to the event loop that opened it, and was called "
                "from elsewhere; from a thread, use asyncio.run_coroutine_threadsafe(…, loop)"
            )
        return worker

    # ---- starting -------------------------------------------------------------------------

    @overload
    async def start(
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
    ) -> RunHandle[Out]: ...
    @overload
    async def start(
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
    ) -> RunHandle[Out]: ...
    async def start(
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
    ) -> RunHandle[Out]:
        """Start a run. When this returns, the run is recorded and will not be lost.

        Args:
            workflow: what to run.
            input: its input: of the workflow's input type, or what validates as one.
            run_id: the run's id: up to 200 letters, digits and ``_.:@=+-``. ``None``: a new one
                that sorts by time.
            if_exists: for an id that is taken: ``"raise"``, or ``"return"`` that run, if it has the
                same workflow and input.
            resource_id: what the run is about, to find it by.
            tags: more to find it by; added to the workflow's own.
            timeout: seconds that the run may take, from when it begins. The shorter of this and the
                workflow's own holds. ``None`` or ``math.inf``: only the workflow's own.
            delay: seconds until the run begins; it is recorded at once.
            priority: of runs that wait for a place, the one with the highest priority begins first.
            queue: the queue whose workers run it, such as ``"gpu"``. ``None``: that of the
                workflow; else that of the run whose step calls this; else ``"default"``. An engine
                that does not serve the queue leaves the run to one that does.
            exclusive: ``True``: reject the start while another live run has the
                ``resource_id``; and reject other starts with it while this run lives. ``"wait"``:
                begin when no earlier live run has it; other starts that do not wait are rejected
                until this run has ended.
            state: what ``ctx.state`` begins with.

        Raises:
            InputInvalidError: If the input or an option is not valid; nothing was stored.
            DuplicateRunError: If the id is taken.
            ResourceBusyError: If another live run has the resource, and one of the two is
                exclusive.
            WorkflowInvalidError: If the workflow does not work with the ``defaults``.
            StoreError: If the store failed; the run was not recorded.
        """
        with FRAMELESS:
            worker = self._opened()
            definition = self._registry.add(workflow)
            if self.store.durable:
                self._registry.name_unrecorded(definition)
            options = StartOptions(
                run_id=run_id, if_exists=if_exists, resource_id=resource_id, tags=tags,
                timeout=timeout, delay=delay, priority=priority, queue=queue, exclusive=exclusive,
                state=state,
            )  # fmt: skip
            data = checked_input(definition, input, self._settings.max_payload)
            driver = driver_for(worker.runtime, definition, data, options, claimed=self._executes)
            return await self._begin(driver, if_exists)

    async def _begin(self, driver: Driver, if_exists: str) -> RunHandle[Any]:
        """Record a new run and begin it."""
        worker = self._opened()
        if worker.runtime.closing:
            raise EngineClosedError(f"the {self._name} is being closed; it starts no more runs")
        if self._registry.get(driver.row.workflow_id) is not None:
            worker.watch_for(driver.row.workflow_id)
        try:
            await worker.start(driver)
        except DuplicateRunError:
            if if_exists != "return":
                raise
            await same_start(worker.runtime.asked, driver)
            if self._executes and not worker.runtime.recovers:
                await worker.follow(driver.run_id)  # maybe no other worker is there to run it
        return self.handle(driver.run_id)

    @overload
    async def rerun(
        self,
        origin: str,
        from_step: Node[Any, Any] | str | None = None,
        *,
        workflow: Workflow[Any, Out],
        accept_types: bool = False,
        run_id: str | None = None,
        if_exists: Literal["raise", "return"] = "raise",
        resource_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        delay: float | timedelta | None = None,
        priority: int | None = None,
        queue: str | None = None,
        exclusive: bool | Literal["wait"] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> RunHandle[Out]: ...
    @overload
    async def rerun(
        self,
        origin: str,
        from_step: Node[Any, Any] | str | None = None,
        *,
        workflow: None = None,
        accept_types: bool = False,
        run_id: str | None = None,
        if_exists: Literal["raise", "return"] = "raise",
        resource_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        delay: float | timedelta | None = None,
        priority: int | None = None,
        queue: str | None = None,
        exclusive: bool | Literal["wait"] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> RunHandle[Any]: ...
    async def rerun(
        self,
        origin: str,
        from_step: Node[Any, Any] | str | None = None,
        *,
        workflow: Workflow[Any, Any] | None = None,
        accept_types: bool = False,
        run_id: str | None = None,
        if_exists: Literal["raise", "return"] = "raise",
        resource_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: float | timedelta | None = None,
        delay: float | timedelta | None = None,
        priority: int | None = None,
        queue: str | None = None,
        exclusive: bool | Literal["wait"] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> RunHandle[Any]:
        """Repeat a run that has ended, as a new run that keeps what need not be done again.

        The new run has the definition and the input of the old one. It keeps every completed result
        that is not downstream of ``from_step``, also those of parallel branches. Without a
        ``from_step``, it keeps those that are not downstream of a step that did not complete. When
        this returns, the new run is recorded with all that it keeps, and will not be lost.

        Args:
            origin: the id of the run to repeat.
            from_step: where to begin again: a step, block, choice, nested workflow, sleep or wait;
                the object, its path, or an id that no other node has. Inside a map or loop,
                ``resize[3]`` or ``poll#2`` means one item or iteration, and an id all of them.
            workflow: the workflow with the functions to use; its type is that of the output.
                ``None``: those that the run had here, else the known ones of its workflow's id.
            accept_types: repeat it although recorded values or the types of steps do not fit this
                code. That is recorded with the new run. A ``Client`` rejects it.
            run_id: as of ``start``.
            if_exists: as of ``start``.
            resource_id: as of ``start``; ``None``: as the run that is repeated.
            tags: as of ``start``; added to those of the run that is repeated.
            timeout: as of ``start``; ``None``: as the run that is repeated.
            delay: as of ``start``.
            priority: as of ``start``; ``None``: as the run that is repeated.
            queue: as of ``start``; ``None``: as the run that is repeated.
            exclusive: as of ``start``; ``None``: as the run that is repeated.
            state: as of ``start``; ``None``: as the run that is repeated.

        Raises:
            RunNotFoundError: If there is no such run.
            RunNotEndedError: If it has not ended yet.
            RunBlockedError: If this code can't run it; the message has the differences.
            InputInvalidError: If there is no such step, or several; or an option is not valid.
            DuplicateRunError: If the new run's id is taken.
            ResourceBusyError: If another live run has the resource, and one of the two is
                exclusive.
            StoreError: If the store failed; the new run was not recorded.
        """
        worker = self._opened()
        check_flag("accept_types", accept_types)
        if accept_types and not self._executes:
            raise InputInvalidError(
                "a Client can't accept types, since it does not judge code; repeat the run with an "
                "Engine, or leave accept_types out"
            )
        options = StartOptions(
            run_id=run_id, if_exists=if_exists, resource_id=resource_id, tags=tags,
            timeout=timeout, delay=delay, queue=queue, state=state,
        )  # fmt: skip
        if priority is not None:
            options["priority"] = priority
        if exclusive is not None:
            options["exclusive"] = exclusive
        driver = await driver_of_rerun(
            worker.runtime,
            self._registry,
            run_id_of(origin, "origin"),
            from_step,
            workflow,
            options,
            accept_types=accept_types,
        )
        return await self._begin(driver, if_exists)

    # ---- one run --------------------------------------------------------------------------

    def handle(self, run_id: str, workflow: Workflow[Any, Out] | None = None) -> RunHandle[Out]:
        """Return a handle on a run that was started earlier, or elsewhere.

        Args:
            run_id: the run. The first use of the handle shows whether it exists.
            workflow: its workflow, so that its output is decoded to the right type.

        Raises:
            WorkflowInvalidError: If the workflow does not work with the ``defaults``.
            RunNotFoundError: If no run can have this id.
        """
        if workflow is not None:
            self._registry.add(workflow)
        workflow_id = None if workflow is None else workflow.id
        return RunHandle(self, run_id_of(run_id), workflow_id)

    @overload
    async def send(self, run_id: str, signal: Signal[T], payload: T) -> None: ...
    @overload
    async def send(self, run_id: str, signal: str, payload: object = None) -> None: ...
    async def send(self, run_id: str, signal: Signal[Any] | str, payload: object = None) -> None:
        """Send a signal into a run. When this returns it is recorded, and will not be lost.

        The signal is kept until the run waits for it. Each wait takes one signal; signals of one
        name are taken in the order in which they were sent, and the longest wait comes first.

        Args:
            run_id: the run.
            signal: the signal, or its name.
            payload: its value: of the signal's type, or what validates as one. The type may differ
                from the one that the run waits for, if the value reads as that one. If the
                workflow is not known here, the worker checks that.

        Raises:
            RunNotFoundError: If there is no such run.
            RunEndedError: If it has ended.
            InputInvalidError: If the payload is not valid, or the run never waits for this signal.
            StoreError: If the store failed; the signal was not recorded.
        """
        worker = self._opened()
        run_id_of(run_id)
        message = await _signals.message_for(
            worker.runtime.asked,
            self._registry,
            run_id,
            signal,
            payload,
            now=worker.runtime.clock.now(),
            limit=self._settings.max_payload,
        )
        if not await worker.send(message):
            row = await worker.runtime.asked.get_run(run_id)
            if row is None:
                raise RunNotFoundError(run_id)
            raise _signals.ended(run_id, row.status.value)

    async def cancel(self, run_id: str, *, reason: str = "cancelled by the caller") -> None:
        """Cancel a run, wherever it runs. Has no effect on one that has ended, or is undoing.

        If this engine or no worker has the run, the cancellation is recorded on return: the run has
        ended, or first undoes its steps (``wait`` and ``RunHandle.result`` wait for that). If
        another worker has it, that worker gets a message, which it reads within a second.

        Raises:
            RunNotFoundError: If there is no such run.
            InputInvalidError: If the reason is not a text.
        """
        worker = self._opened()
        problems = text_problems(reason=reason)
        if problems:
            raise InputInvalidError(problems[0])
        await worker.cancel(run_id_of(run_id), reason)

    async def wait(self, run_id: str, *, wait_blocked: bool = False) -> Outcome[Any]:
        """Wait until a run has ended, here or elsewhere, and return how: as ``RunHandle.outcome``.

        Args:
            run_id: the run.
            wait_blocked: wait also while this code can't continue the run, until other code ends
                it.

        Raises:
            RunBlockedError: If this code can't continue the run; the message says why.
            RunNotFoundError: If there is no such run.
            DeadlockError: If a step waits for its own run, or for one that needs a limit which the
                step holds.
        """
        return outcome_of(await self._ended(run_id_of(run_id), wait_blocked=wait_blocked))

    async def _ended(
        self, run_id: str, *, workflow_id: str | None = None, wait_blocked: bool
    ) -> Ended:
        worker = self._opened()
        check_flag("wait_blocked", wait_blocked)
        return await self._reads.wait(
            run_id, worker, workflow_id=workflow_id, wait_blocked=wait_blocked
        )

    # ---- all runs -------------------------------------------------------------------------

    async def delete_runs(
        self,
        before: datetime | timedelta,
        *,
        workflow_id: str | None = None,
        status: RunStatus | str | Iterable[RunStatus | str] | None = None,
    ) -> int:
        """Delete runs that ended before an instant, with all that is kept of them.

        It uses many short transactions, so that others can work meanwhile. If interrupted, it may
        leave a run without some of its events; the next call deletes that one.

        Example:
            from datetime import timedelta
            from gorkflow import Client

            async with Client("memory:") as client:
                assert await client.delete_runs(timedelta(days=30), status="completed") == 0

        Args:
            before: the instant; or an age, to delete runs that ended longer ago.
            workflow_id: only runs of this workflow.
            status: only runs that ended so: completed, failed or cancelled.

        Returns:
            The number of deleted runs.

        Raises:
            ValueError: If the status is not one of an ended run, or the age is negative.
            TypeError: If ``before`` is neither an instant nor an age.
        """
        runtime = self._opened().runtime
        now = runtime.clock.now()
        query = _maintenance.ended(before, now=now, workflow_id=workflow_id, status=status)
        return await _maintenance.delete(runtime.store, query, self._registry.own.forget)

    # ---- schedules ------------------------------------------------------------------------

    @overload
    async def schedule(
        self,
        workflow: Workflow[None, Any],
        input: None = None,
        *,
        id: str,
        cron: str | None = None,
        every: float | timedelta | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "last",
        overlap: Overlap = "allow",
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
    ) -> Schedule: ...
    @overload
    async def schedule(
        self,
        workflow: Workflow[In, Any],
        input: In,
        *,
        id: str,
        cron: str | None = None,
        every: float | timedelta | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "last",
        overlap: Overlap = "allow",
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
    ) -> Schedule: ...
    async def schedule(
        self,
        workflow: Workflow[Any, Any],
        input: Any = None,
        *,
        id: str,
        cron: str | None = None,
        every: float | timedelta | None = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "last",
        overlap: Overlap = "allow",
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        queue: str | None = None,
    ) -> Schedule:
        """Start runs of a workflow by the clock. When this returns, the schedule is recorded.

        Workers that know the workflow start one run for each due time. A run's id is
        ``ID@2026-11-23T03:00:00Z``, and its tag ``schedule`` the schedule's id.

        A program may call this whenever it starts: a schedule of this id is changed. With the same
        rule, zone or interval, it keeps its next due time, and stays paused if it is.

        Example:
            from gorkflow import Client, Workflow, step

            @step
            def write() -> str:
                return "report"

            async with Client("memory:") as client:
                report = Workflow("report").then(write)
                await client.schedule(report, id="hourly", every=3600)

        Args:
            workflow: what to run.
            input: the input of each run.
            id: of the schedule: up to 150 letters, digits and ``_.:=+-``.
            cron: the rule: minute, hour, day of month, month, day of week. Needs
                the extra ``schedule``. Give this or ``every``.
            every: the interval in seconds, whole ones; the first run starts after one interval.
            timezone: whose clocks the rule goes by, a name like ``Europe/Berlin``.
            catch_up: due times that passed while no worker ran: ``"skip"`` them, start a run for
                the ``"last"``, or for ``"all"``, the latest 100 at most.
            overlap: ``"skip"`` a due time while an earlier run of the schedule has not ended, or
                ``"allow"`` both.
            tags: of each run; added to the workflow's own.
            priority: of each run.
            queue: of each run; ``None``: that of the workflow.

        Raises:
            InputInvalidError: If something is not valid; nothing was stored.
            WorkflowInvalidError: If the workflow does not work with the ``defaults``.
            ModuleNotFoundError: If the cron library is not installed.
            StoreError: If the store failed.
        """
        worker = self._opened()
        definition = self._registry.add(workflow)
        row = _schedules.row_of(
            definition,
            input,
            worker.runtime,
            schedule_id=id,
            cron=cron,
            every=every,
            timezone=timezone,
            catch_up=catch_up,
            overlap=overlap,
            tags=tags,
            priority=priority,
            queue=queue,
        )
        written = await _schedules.put(worker.runtime.asked, row)
        worker.watch_for(workflow.id)
        return schedule_of(written)

    async def schedules(self) -> list[Schedule]:
        """Return all schedules of the store, in the order of their ids."""
        return schedules_of(await self._opened().runtime.asked.schedules())

    async def unschedule(self, id: str) -> None:
        """Remove a schedule. Runs that it started continue.

        Raises:
            ScheduleNotFoundError: If there is no such schedule.
        """
        store = self._opened().runtime.asked
        if not await store.drop_schedule(_schedules.id_of(id)):
            raise ScheduleNotFoundError(id)

    async def pause_schedule(self, id: str) -> Schedule:
        """Pause a schedule: it starts nothing until it is resumed.

        A run that is due within two seconds may be recorded already; it can be cancelled.

        Raises:
            ScheduleNotFoundError: If there is no such schedule.
        """
        return schedule_of(await _schedules.pause(self._opened().runtime.asked, id))

    async def resume_schedule(self, id: str) -> Schedule:
        """Resume a paused schedule: it starts runs again from now on, and none for the pause.

        Raises:
            ScheduleNotFoundError: If there is no such schedule.
        """
        runtime = self._opened().runtime
        return schedule_of(await _schedules.resume(runtime.asked, id, runtime.clock.now()))

    async def run_schedule(self, id: str) -> RunHandle[Any]:
        """Start a run of a schedule now, beside those that it starts when they are due.

        Example:
            from gorkflow import Engine, Workflow, step

            @step
            def write() -> str:
                return "report"

            async with Engine("memory:") as engine:
                report = Workflow("report").then(write)
                await engine.schedule(report, id="hourly", every=3600)
                handle = await engine.run_schedule("hourly")
                assert await handle.result() == "report"

        Raises:
            ScheduleNotFoundError: If there is no such schedule.
            InputInvalidError: If its workflow is not known here.
            DuplicateRunError: If one was started in the same second.
            ResourceBusyError: If its runs must not overlap, and one has not ended.
        """
        runtime = self._opened().runtime
        now = int(runtime.clock.now())
        [driver] = await _schedules.drivers(
            runtime, self._registry, id, lambda _: [now], claimed=self._executes
        )
        return await self._begin(driver, "raise")

    async def backfill(self, id: str, start: datetime, end: datetime) -> list[RunHandle[Any]]:
        """Start the runs of a schedule for due times that have passed.

        A due time that has a run already gets no other one. A step reads its due time as
        ``ctx.scheduled_for``.

        Example:
            from datetime import datetime, timedelta, timezone
            from gorkflow import Client, Workflow, step

            @step
            def write() -> str:
                return "report"

            async with Client("memory:") as client:
                await client.schedule(Workflow("report").then(write), id="hourly", every=3600)
                now = datetime.now(timezone.utc)
                made = await client.backfill("hourly", now - timedelta(hours=3), now)
                assert len(made) == 3

        Args:
            id: the schedule, paused or not.
            start: the first instant.
            end: the instant to end before; not in the future.

        Returns:
            The runs that were started, at most 1,000, in the order of their due times.

        Raises:
            ScheduleNotFoundError: If there is no such schedule.
            InputInvalidError: If an instant is not valid, there are too many due times, or the
                workflow is not known here. Or if the runs must not overlap, and are several.
        """
        runtime = self._opened().runtime
        now = runtime.clock.now()
        made = await _schedules.drivers(
            runtime,
            self._registry,
            id,
            lambda row: _schedules.passed(row, start, end, now),
            claimed=False,
        )
        handles: list[RunHandle[Any]] = []
        for driver in made:
            with suppress(DuplicateRunError):
                handles.append(await self._begin(driver, "raise"))
        return handles
