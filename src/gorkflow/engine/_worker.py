"""The worker of an open engine: its parts, and its life beside other workers of the store."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from gorkflow.clock import background
from gorkflow.engine._attempt import CLEANUP
from gorkflow.engine._claims import RETRY, Claims
from gorkflow.engine._runs import LEFT, Runs
from gorkflow.engine._schedules import Scheduler
from gorkflow.engine._sync import Promise
from gorkflow.engine._within import calling
from gorkflow.errors import (
    EngineClosedError,
    RunBlockedError,
    RunError,
    StoreCorruptError,
    StoreError,
)
from gorkflow.events import CancelRequested
from gorkflow.store import HintKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from gorkflow.engine._driver import Driver
    from gorkflow.engine._hooks import Hooks
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runtime import Runtime
    from gorkflow.hooks import HookCall
    from gorkflow.model import Run
    from gorkflow.store import Message, RunRow

T = TypeVar("T")
logger = logging.getLogger("gorkflow.engine")

_MOST_LOOKED_UP = 1_000  # suspended runs at the end: others may have ended them


class Worker:
    """The parts of an open engine, and what it does beside its runs.

    A client has one, too: it starts runs and cancels them, but never opens it.

    Args:
        runtime: of the engine.
        registry: the workflows that are known.
        drivers: takes the runs that it owns, by id.
        max_runs: runs that may be live at a time; ``None``: no limit.
        get_run: returns a run as a hook gets it.
    """

    def __init__(
        self,
        runtime: Runtime,
        registry: Registry,
        drivers: dict[str, Driver],
        *,
        max_runs: int | None,
        get_run: Callable[[str], Awaitable[Run]],
    ) -> None:
        self.runtime = runtime
        self.runs = Runs(
            runtime,
            drivers,
            max_runs=max_runs,
            own=registry.own,
            over=self._over,
            dropped=self._dropped,
            room=self._look_for_more,
            freed=self._look_again,
        )
        self.lease = runtime.lease
        self.claims = Claims(runtime, registry, self.runs)
        self._scheduler = Scheduler(runtime, registry, self.runs)
        self._registry = registry
        self._get_run = get_run
        self._wake = asyncio.Event()
        self._watched: set[str] = set()
        self._is_worker = False
        self._beat: asyncio.Task[None] | None = None
        self._visit = asyncio.Lock()
        if runtime.observers is not None:
            runtime.observers.opened(runtime.strays)
        self.unfinished: list[str] = []
        """Once it is closed: the runs that it left, and that no worker has."""

    @functools.cached_property
    def hooks(self) -> Hooks:
        """The hooks of the engine and its workflows. Made with the first one."""
        from gorkflow.engine._hooks import Hooks  # only who has hooks pays for them

        return Hooks(self.runtime, self._registry, self._get_run)

    # ---- life -----------------------------------------------------------------------------

    async def open(self) -> None:
        """Announce this worker, and continue what others left."""
        self._is_worker = True
        if not self.runtime.clock.is_virtual:
            self.runtime.watchdog.start()
        await self.lease.take(self.runs)
        self._beat = self.runtime.spawn(self.lease.beat())
        if self.runtime.recovers:
            self._watched.update(self._registry.ids())
            await self._take_what_fits(self._registry.ids())
        self.runtime.spawn(self._look_on())

    async def close(self, grace: float) -> None:
        """Stop: give running attempts the grace, then abandon them."""
        self.hurry(grace)
        try:
            await self.runs.rest(self._leave)
            if self._calls_hooks:
                await self.hooks.rest(lambda: self.runs.rest_until)
        finally:
            if self._calls_hooks:
                self.hooks.close()
            await self._stop()
        self.unfinished = [*self.runs.left, *await self._resting()]

    async def _resting(self) -> list[str]:
        """Return the runs that were suspended here, have not ended, and run nowhere."""
        resting = [*self.runs.resting]
        looked_up, rest = resting[:_MOST_LOOKED_UP], resting[_MOST_LOOKED_UP:]
        if not looked_up:
            return []
        rows: dict[str, RunRow] = {}
        with contextlib.suppress(StoreError):
            rows = await self.runtime.store.get_runs(looked_up)
        left = [
            run_id
            for run_id, row in rows.items()
            if not row.status.terminal and row.worker_id is None
        ]
        return left + rest

    def hurry(self, grace: float) -> None:
        """Schedule nothing more, and shorten what is left of the grace to this many seconds."""
        self.runtime.closing = True
        self.runtime.committer.hurry()
        self.runs.hurry(grace)
        self.lease.wait_no_more()

    def _leave(self, driver: Driver) -> None:
        """Give a run that rests to the other workers, who need not wait until we are gone."""
        driver.close(EngineClosedError(LEFT))
        if driver.row.worker_id is not None:
            self.claims.drop(driver.run_id, driver.row.token)
            self._wake.set()

    async def _stop(self) -> None:
        """Stop everything. Cancelled meanwhile, it waits for no handler and no write."""
        runtime = self.runtime
        # The heartbeat continues while handlers clean up: others must not have their runs yet.
        tasks = [task for task in self.runtime.tasks if task is not self._beat]
        tasks += runtime.admission.limits.close()
        cleaning = self.runs.abandon()
        try:
            await self._end_of(tasks)
            if cleaning:
                await asyncio.wait(cleaning, timeout=CLEANUP)
            await runtime.committer.drain()
            await runtime.notes.close()
        finally:
            # First what needs no waiting: should that be cut off, too, we are gone all the same.
            self.lease.end()
            runtime.watchdog.stop()
            runtime.executors.close()
            if runtime.observers is not None:
                runtime.observers.closed(runtime.strays)
            await self._end_of(runtime.tasks)
            try:
                await self.lease.release()
            except StoreError as error:
                logger.warning("could not release the runs; others take them over later: %s", error)

    @staticmethod
    async def _end_of(tasks: Iterable[asyncio.Task[Any]]) -> None:
        cancelled = list(tasks)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)

    # ---- what the engine asks for ---------------------------------------------------------

    def watch_for(self, workflow_id: str) -> None:
        """Continue runs of this workflow too, now that it is known."""
        if self.runtime.recovers and workflow_id not in self._watched:
            self.runtime.spawn(self._recover_quietly([workflow_id]))
        self._watched.add(workflow_id)

    async def recover(self, run_id: str | None, *, accept_types: bool = False) -> list[str]:
        """Take over runs without a worker; return their ids."""
        # In a task of its own: were it cancelled half-way, runs would be ours and not run.
        if run_id is None:
            return await self._whole(self._recover_all(accept_types=accept_types))
        return await self._whole(self._recover_one(run_id, accept_types=accept_types))

    async def check_code(self, run_id: str) -> None:
        """Check that a run that sleeps fits the code here: no worker may have looked yet.

        Raises:
            RunBlockedError: If it does not; the message says why.
        """
        if self.runtime.recovers and not self.runtime.closing:
            await self.claims.check(run_id)

    async def looks_again(self, run_id: str) -> bool:
        """Return whether a run that was blocked is continued, here or by another worker.

        Raises:
            RunBlockedError: If the code here does not fit; the message says why.
        """
        row = await self.runtime.store.get_run(run_id)
        if not self.runtime.recovers or self.runtime.closing or row is None:
            return False
        if not self.runtime.serves(row.queue):
            return False
        if self._registry.of_run(run_id, row.workflow_id) is None:
            return False
        await self.recover(run_id)
        return True

    async def follow(self, run_id: str) -> None:
        """Take over one run, now or as soon as its worker is gone."""
        if not await self.recover(run_id):
            self.runs.followed.add(run_id)

    async def start(self, driver: Driver) -> None:
        """Record a new run and begin it, as ``Runs.start``; a step's own needs no room."""
        if calling() is not None:
            self.let_in(driver.run_id)
        await self.runs.start(driver)
        if driver.row.worker_id is None and driver.row.due_at is None:
            self._wake.set()  # it was queued, maybe for us
        if driver.row.is_in_line and self._is_worker and not self.runtime.recovers:
            self.runs.followed.add(driver.run_id)  # no other look gives it its turn

    def let_in(self, run_id: str) -> None:
        """Have a run begin or continue though there is no room: a step has to do with it."""
        self.runs.let_in(run_id)
        if run_id not in self.runs.drivers:
            self._wake.set()

    async def cancel(self, run_id: str, reason: str) -> None:
        """Cancel a run, wherever it is."""
        if await self._cancel_here(run_id, reason):
            return
        await self._whole(self._cancel_elsewhere(run_id, reason))
        # It may be that we were just taking it over, and had looked for its mail already.
        await self._cancel_here(run_id, reason)

    async def _cancel_here(self, run_id: str, reason: str) -> bool:
        """Cancel a run if it is live here. Returns whether that is durable, or it has ended.

        Its undo steps may take long, or wait for another try: this does not wait for them.
        """
        driver = self.runs.drivers.get(run_id)
        if driver is None:
            return False
        recorded: Promise[None] = Promise()

        def requested(*fields: Any) -> CancelRequested:
            driver.noted += (recorded,)
            return CancelRequested(*fields)

        driver.post(requested, "", None, (reason,))
        # Not with spawn: a cancelled task of the engine means that the program stops.
        waits = [asyncio.ensure_future(promise.wait()) for promise in (recorded, driver.done)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if recorded.is_set:
            return True
        return driver.done.result() is None and driver.row.status.terminal

    async def send(self, message: Message) -> bool:
        """Leave a message for a run, and have it read soon. False: no such run, or it has ended."""
        store = self.runtime.asked
        if not await store.post(message):
            return False
        driver = self.runs.drivers.get(message.run_id)
        if driver is not None:
            driver.receive(await store.inbox(message.run_id, after=driver.mail.seen))
        elif self.runtime.recovers:
            self._wake.set()  # it may be suspended; don't wait for the next heartbeat
        return True

    async def _cancel_elsewhere(self, run_id: str, reason: str) -> None:
        if self._is_worker:
            await self.runtime.patience.call(self.lease.ensure)
            await self.claims.cancel(run_id, reason)
            return
        async with self._visit:  # a client is a worker for as long as this takes
            try:
                await self.runtime.patience.call(self.lease.take, self.runs)
                await self.claims.cancel(run_id, reason)
            finally:
                await self.lease.release()

    async def _recover_all(self, *, accept_types: bool) -> list[str]:
        await self.lease.ensure()
        await self.claims.release(0.0)
        workflow_ids = self._registry.ids()
        self._watched.update(workflow_ids)
        if not workflow_ids:
            return []
        taken = await self.claims.recover(
            workflow_ids, queues=self.runtime.served, accept_types=accept_types
        )
        await self._look_for_calls(ahead=not self.runtime.recovers)
        return taken + (await self.claims.accept_types(workflow_ids) if accept_types else [])

    async def _recover_one(self, run_id: str, *, accept_types: bool) -> list[str]:
        await self.lease.ensure()
        await self.claims.release(0.0)
        taken = await self.claims.recover(None, run_id, accept_types=accept_types)
        self._watched.update(
            self.runs.drivers[taken_id].definition.workflow_id
            for taken_id in taken
            if taken_id in self.runs.drivers
        )
        return taken

    async def _take_what_fits(self, workflow_ids: list[str]) -> None:
        """Claim only what can run here now: what waits in the store, any worker may take."""
        if workflow_ids:
            await self.claims.recover(workflow_ids, queues=self.runtime.served, room=self.runs.room)

    async def calls_left(self, run_id: str) -> list[HookCall]:
        """Wait until the hooks of a run were called, and return the calls that failed.

        Raises:
            StoreError: If the store failed.
        """
        if not self._calls_hooks:
            return []
        await self.hooks.rest(lambda: float("inf"))
        return await self.runtime.store.hook_calls(run_id=run_id)

    @property
    def _calls_hooks(self) -> bool:
        """Whether there are hooks to call here."""
        return "hooks" in vars(self)

    def _over(self, row: RunRow) -> None:
        if self._is_worker:
            self.hooks.ended(row)

    async def _look_for_calls(self, *, ahead: bool = False) -> None:
        """Make the hook calls that are due, of any run; see ``Hooks.look``."""
        if self.runtime.on_end is not None or self._registry.has_hooks:
            await self.hooks.look(ahead=ahead)

    def _dropped(self, driver: Driver) -> None:
        why = driver.done.result()
        self.claims.drop(driver.run_id, driver.row.token, why)
        if isinstance(why, RunBlockedError):
            self.claims.unreadable(driver.run_id)
            self._wake.set()  # so that those who wait elsewhere learn it soon
        if not self.runtime.recovers:
            self.runs.followed.add(driver.run_id)  # there may be no other worker to continue it

    def _look_for_more(self) -> None:
        """Don't wait for the next heartbeat: there is room for a run that may be queued."""
        if self.runtime.recovers and self.claims.left_some:
            self._wake.set()

    def _look_again(self) -> None:
        """Don't wait for the next heartbeat: a run may have its turn."""
        if not self.runtime.closing:
            self._wake.set()

    async def _recover_quietly(self, workflow_ids: list[str]) -> None:
        try:
            await self.lease.ensure()
            await self._take_what_fits(workflow_ids)
        except StoreError as error:
            self.runtime.patience.note_away(error, "work")

    # ---- hints ----------------------------------------------------------------------------

    def wants(self, kind: HintKind, name: str) -> bool:
        """Return whether it would look for what a hint is about. May be called from any thread."""
        if kind is HintKind.MAIL:
            return name == self.runtime.worker_id
        return kind is HintKind.QUEUED and self.runtime.recovers and name in self._watched

    def look(self, kind: HintKind) -> None:
        """Look now, since a hint says that there may be something."""
        if kind is HintKind.MAIL:
            self.lease.renew_soon()
        elif self.runs.room():
            self._wake.set()
        else:
            self.claims.left_some = True  # it looks when there is room

    # ---- what others leave ----------------------------------------------------------------

    async def _look_on(self) -> None:
        """Take up what is there to do, again and again.

        Beside the heartbeat: to load many runs, or long ones, may take longer than the lease.
        """
        while True:
            with background(), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.lease.period):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._look()
                self.runtime.patience.note_answer("work")
            except StoreError as error:
                self.runtime.patience.note_away(error, "work")
            except Exception:
                logger.exception("could not look for work; trying again")

    async def _look(self) -> None:
        if self.runtime.closing:
            await self.claims.release(0.0)
            return
        await self.lease.ensure()
        if self.runs.stopped:
            await self.claims.release(0.0)
            await self._take(self.runs.stopped, once=True)
        await self.claims.release(RETRY)
        await self._take(self.runs.followed)
        await self._registry.own.tidy(self.runtime.store, self.runtime.clock.monotonic())
        if self.runtime.recovers:
            await self._scheduler.start_due(self._watched)
            await self._take_what_fits(list(self._watched))
            # Though there is no room for others, here or in their queues.
            queues = dict[str, int | None].fromkeys(self.runtime.served or ())
            await self._take(self.runs.inside, queues, rouse=False)
            await self._look_for_calls()

    async def _take(
        self,
        wanted: set[str],
        queues: Mapping[str, int | None] | None = None,
        *,
        once: bool = False,
        rouse: bool = True,
    ) -> None:
        """Take over the runs that are wanted; forget those that are over, or can't continue here.

        One that can't be read must not keep the others waiting.

        Args:
            wanted: the runs.
            queues: those that are taken, as of ``Claims.recover``.
            once: whether to forget those, too, that another worker has.
            rouse: whether to take also those that have nothing to do now.
        """
        run_ids = [*(wanted - (set() if once else self.runs.drivers.keys()))]
        if not run_ids:
            return
        store = self.runtime.store
        rows = await store.get_runs(run_ids)
        for run_id in run_ids:
            try:
                row = rows.get(run_id) or await store.get_run(run_id)
                over = row is None or row.status.terminal
                if row is not None and not over and (rouse or await self.claims.has_work(row)):
                    await self.claims.recover(None, run_id, queues=queues)
                over = over or once
            except (RunError, StoreError) as error:
                over = _is_hopeless(run_id, error)
            if over:
                wanted.discard(run_id)

    # ---- tasks ----------------------------------------------------------------------------

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it to its end, even if its caller is cancelled."""
        task = self.runtime.spawn(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and self.runtime.closing:
                raise EngineClosedError("the engine was closed before it was done") from None
            raise


def _is_hopeless(run_id: str, error: RunError | StoreError) -> bool:
    """Say why a run can't be taken over, and return whether that will not change."""
    logger.error("run %r can't continue here: %s", run_id, error)
    # Else the store may work again at the next look.
    return not isinstance(error, StoreError) or isinstance(error, StoreCorruptError)
