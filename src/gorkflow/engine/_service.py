"""What goes on beside the runs: which of them this engine carries, and its life among others."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import socket
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gorkflow.engine._driver import Driver, duplicate
from gorkflow.engine._match import carried_on, differences, tree_of
from gorkflow.engine._values import Values
from gorkflow.errors import (
    EngineClosedError,
    LeaseLostError,
    RunBlockedError,
    RunNotFoundError,
    StoreCorruptError,
    StoreError,
)
from gorkflow.events import CancelRequested, RunCreated, RunStarted
from gorkflow.machine import replay
from gorkflow.model import RunStatus
from gorkflow.store import Append, Loaded, Message, Worker, Written

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runtime import Runtime
    from gorkflow.store import Claim

logger = logging.getLogger("gorkflow.engine")

_BEAT = 1.0  # seconds between heartbeats: also how soon another process's cancel is seen
_LOOK_AGAIN = 60.0  # seconds until a run that can't be carried on is looked at again
_RETRY = 5.0  # seconds until a run that the store failed is taken up again
_POLL = 0.02  # seconds between looks at whether everything has come to rest


class Service:
    """The runs of an engine.

    Args:
        runtime: the engine's.
        registry: the workflows it knows.
        max_runs: runs that may be live at a time; ``None``: no limit.
        lease: seconds without a heartbeat after which others may take its runs.
    """

    def __init__(
        self, runtime: Runtime, registry: Registry, *, max_runs: int | None, lease: float
    ) -> None:
        self.runtime = runtime
        self.registry = registry
        self.drivers: dict[str, Driver] = {}
        self._max_runs = max_runs
        self._lease = lease
        self._live: set[str] = set()
        self._waiting: deque[Driver] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._registered = False
        self._recover = False
        self._watched: set[str] = set()
        self._delivered: set[int] = set()
        self._broken: dict[str, int] = {}
        self._context = contextvars.copy_context()

    # ---- life -----------------------------------------------------------------------------

    async def open(self, *, recover: bool) -> None:
        """Announce this worker, and continue what others left."""
        self._recover = recover
        await self._register()
        if recover:
            await self.recover()
        self._spawn(self._beat())

    async def close(self, grace: float) -> None:
        """Stop: give running attempts the grace, then let everything go."""
        runtime = self.runtime
        runtime.closing = True
        deadline = runtime.clock.monotonic() + grace
        while any(d.busy for d in self.drivers.values()):
            if runtime.clock.monotonic() >= deadline:
                break
            await asyncio.sleep(_POLL)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        closed = EngineClosedError("the engine was closed before the run ended; recover() it")
        for driver in list(self.drivers.values()):
            driver.give_up(closed)
        await runtime.committer.drain()
        if self._registered:
            try:
                await runtime.store.unregister(runtime.worker_id)
            except StoreError:
                logger.exception("could not give back the runs; others take them over by lease")
        runtime.threads.close()

    # ---- runs -----------------------------------------------------------------------------

    async def start(self, driver: Driver) -> None:
        """Record a run and begin it; returns when it is durable."""
        rival = self.drivers.get(driver.run_id)
        if rival is not None:
            driver.give_up()
            if rival.created is not None:  # so that what a duplicate finds in the store is whole
                await asyncio.wait([rival.created])
            raise duplicate(driver.run_id)
        self.drivers[driver.run_id] = driver
        if driver.row.worker_id is not None:
            self._admit(driver)
        assert driver.created is not None  # it is new
        await asyncio.shield(driver.created)
        if driver.row.worker_id is None:
            self.ended(driver)

    def _admit(self, driver: Driver) -> None:
        if self._max_runs is not None and len(self._live) >= self._max_runs:
            self._waiting.append(driver)
            return
        self._live.add(driver.run_id)
        now = self.runtime.clock.now()
        deadline = None if driver.timeout is None else now + driver.timeout
        driver.post(RunStarted, "", None, (deadline,))

    def ended(self, driver: Driver) -> None:
        """Forget a run that has ended or was given up, and let the next one begin."""
        if self.drivers.get(driver.run_id) is driver:
            del self.drivers[driver.run_id]
            self._live.discard(driver.run_id)
            if driver.is_broken:
                self._broken[driver.run_id] = driver.row.token
        while self._waiting and (self._max_runs is None or len(self._live) < self._max_runs):
            waiting = self._waiting.popleft()
            if not waiting.done.done() and not self.runtime.closing:
                self._admit(waiting)

    async def cancel(self, run_id: str, reason: str) -> None:
        """Cancel a run, wherever it is."""
        driver = self.drivers.get(run_id)
        if driver is not None:
            driver.post(CancelRequested, "", None, (reason,))
            await asyncio.shield(driver.done)
            return
        store = self.runtime.store
        now = self.runtime.clock.now()
        message = Message(id=0, run_id=run_id, kind="cancel", body=reason, at=now)
        if not await store.post(message):
            if await store.get_run(run_id) is None:
                raise RunNotFoundError(run_id)
            return
        await self._register()
        for claim in await store.claim(self.runtime.worker_id, now=now, run_id=run_id, limit=1):
            await self._cancel_unowned(claim, reason)

    async def _cancel_unowned(self, claim: Claim, reason: str) -> None:
        """Cancel a run that nobody carries: for that, its tree is enough."""
        store = self.runtime.store
        run_id = claim.row.run_id
        loaded = await store.load(run_id)
        if loaded is None:
            return
        machine = replay(run_id, tree_of(loaded), loaded.events)
        now = max(self.runtime.clock.now(), machine.at)
        event = CancelRequested(run_id, machine.seq + 1, "", now, reason)
        events = [event, *machine.feed(event)]
        row = replace(
            claim.row,
            status=machine.status,
            reason=reason,
            finished_at=now,
            seq=machine.seq,
            worker_id=None,
        )
        await store.append([Append(row, events, loaded.row.seq)])
        await store.acknowledge([message.id for message in await store.inbox(run_id)])

    # ---- recovery -------------------------------------------------------------------------

    def watch_for(self, workflow_id: str, *, recover: bool) -> None:
        """Continue runs of this workflow too, now that it is known."""
        if recover and workflow_id not in self._watched:
            self._spawn(self._recover_quietly([workflow_id]))
        self._watched.add(workflow_id)

    async def recover(
        self, *, run_id: str | None = None, workflow_ids: list[str] | None = None
    ) -> list[str]:
        """Take over runs that nobody carries; return their ids."""
        known = self.registry.ids() if workflow_ids is None else workflow_ids
        self._watched.update(known)
        if not known and run_id is None:
            return []
        await self._register()
        if run_id is not None:
            await self._give_back(0.0)
        taken: list[str] = []
        while True:
            claims = await self.runtime.store.claim(
                self.runtime.worker_id,
                now=self.runtime.clock.now(),
                workflow_ids=None if run_id is not None else known,
                run_id=run_id,
            )
            for claim in claims:
                try:
                    await self._take_over(claim)
                    taken.append(claim.row.run_id)
                except Exception as error:  # a run that breaks must not stop the others
                    await self._put_back(claim, error)
                    if run_id is not None:
                        raise
            if not claims or run_id is not None:
                return taken

    async def _take_over(self, claim: Claim) -> None:
        run_id = claim.row.run_id
        loaded = await self.runtime.store.load(run_id)
        if loaded is None:
            return
        tree = tree_of(loaded)
        definition = self.registry.get(claim.row.workflow_id)
        if definition is None:
            raise RunBlockedError(
                run_id,
                f"run {run_id!r} belongs to workflow {claim.row.workflow_id!r}, which this engine "
                "does not know; give it to Engine(workflows=…)",
            )
        problems = differences(tree, definition, loaded.events)
        if problems:
            raise RunBlockedError(
                run_id,
                f"run {run_id!r} was started with other code: {'; '.join(problems)}. Run it with "
                "that code, or cancel it",
            )
        machine = replay(run_id, tree, loaded.events)
        definition = carried_on(definition, tree, loaded.tree)
        values = Values(run_id, definition)
        values.note(loaded.events)
        driver = Driver(self.runtime, definition, claim.row, machine, values, self._context)
        driver.timeout = _timeout(loaded)
        self.drivers[run_id] = driver
        logger.info("run %r is continued by %s", run_id, self.runtime.worker_id)
        if machine.status is RunStatus.PENDING:
            self._admit(driver)
        else:
            self._live.add(run_id)
            driver.resume()

    async def _put_back(self, claim: Claim, error: Exception) -> None:
        """Give back a run that can't be carried on here, to be looked at again later."""
        logger.error("%s", error)
        row = replace(
            claim.row,
            worker_id=None,
            reason=str(error),
            due_at=self.runtime.clock.now() + _LOOK_AGAIN,
        )
        written = await self.runtime.store.append([Append(row, (), row.seq)])
        if written != [Written.OK]:
            logger.info("run %r was taken over meanwhile", row.run_id)

    async def _give_back(self, delay: float) -> None:
        """Let go of the runs that broke here, so that they go on: with us again, or with others.

        Args:
            delay: seconds until then.
        """
        store, now = self.runtime.store, self.runtime.clock.now()
        for run_id, token in list(self._broken.items()):
            try:
                row = await store.get_run(run_id)
            except StoreCorruptError:
                row = None  # nobody can carry it on
            if row is not None and row.worker_id == self.runtime.worker_id and row.token == token:
                row = replace(row, worker_id=None, due_at=now + delay if delay else None)
                await store.append([Append(row, (), row.seq)])
            self._broken.pop(run_id, None)

    async def _recover_quietly(self, workflow_ids: list[str]) -> None:
        try:
            await self.recover(workflow_ids=workflow_ids)
        except StoreError:
            logger.exception("could not look for unfinished runs; trying again later")

    # ---- life among others ----------------------------------------------------------------

    async def _register(self) -> None:
        if self._registered:
            return
        now = self.runtime.clock.now()
        await self.runtime.store.register(
            Worker(
                worker_id=self.runtime.worker_id,
                started_at=now,
                seen_at=now,
                lease=self._lease,
                host=socket.gethostname(),
                pid=os.getpid(),
            )
        )
        self._registered = True

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            try:
                now = self.runtime.clock.now()
                beat = await self.runtime.store.heartbeat(self.runtime.worker_id, now)
                if not beat.alive:
                    await self._lapsed()
                for message in beat.messages:
                    self._deliver(message)
                await self._give_back(_RETRY)
                if self._recover:
                    await self.recover(workflow_ids=list(self._watched))
            except StoreError:
                logger.exception("the heartbeat failed; trying again")

    async def _lapsed(self) -> None:
        """Stop everything: others may have taken over while this process did not run."""
        for run_id, driver in list(self.drivers.items()):
            driver.broken(
                LeaseLostError(run_id, f"the lease ended before run {run_id!r} could be renewed")
            )
        self._registered = False
        await self._register()
        await self._give_back(0.0)

    def _deliver(self, message: Message) -> None:
        if message.id in self._delivered:
            return
        self._delivered.add(message.id)
        self._spawn(self._cancel_and_acknowledge(message))

    async def _cancel_and_acknowledge(self, message: Message) -> None:
        driver = self.drivers.get(message.run_id)
        if driver is not None:
            driver.post(CancelRequested, "", None, (message.body,))
            await asyncio.shield(driver.done)
        await self.runtime.store.acknowledge([message.id])
        self._delivered.discard(message.id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.runtime.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _timeout(loaded: Loaded) -> float | None:
    first = loaded.events[0] if loaded.events else None
    return first.timeout if isinstance(first, RunCreated) else None
