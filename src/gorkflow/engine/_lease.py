"""The lease of a worker: while it is renewed in time, nobody else takes up its runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from gorkflow.clock import background
from gorkflow.errors import EngineClosedError, LeaseLostError, StoreCorruptError, StoreError
from gorkflow.store import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gorkflow.engine._runs import Runs
    from gorkflow.engine._runtime import Runtime
    from gorkflow.store import Message

logger = logging.getLogger("gorkflow.engine")

BEAT = 1.0
"""Seconds between heartbeats, at most: also how soon another process's cancel is seen."""
_MARGIN = 1 / 6  # of the lease: what steps get to stop in before others may take their runs
_CHANCE = 1 / 12  # of the lease: what a heartbeat gets at the least before steps are stopped


class _Moment(NamedTuple):
    """A moment by two clocks: the loop's, and the time of day.

    Others judge by the latter, which goes on while the machine sleeps; but it may be set back.
    """

    loop: float
    day: float

    def after(self, seconds: float) -> _Moment:
        return _Moment(self.loop + seconds, self.day + seconds)


_NEVER = _Moment(float("-inf"), float("-inf"))


class Lease:
    """Registers the worker, and renews its lease in a task of its own.

    Args:
        runtime: the engine's.
        runs: those that it carries, which are stopped before the lease can end.
        seconds: without a heartbeat, after which others may take its runs.
        mail: takes the messages that heartbeats bring.
    """

    def __init__(
        self,
        runtime: Runtime,
        runs: Runs,
        seconds: float,
        mail: Callable[[Sequence[Message]], None],
    ) -> None:
        self._runtime = runtime
        self._runs = runs
        self._seconds = seconds
        self._mail = mail
        self._mail_up_to = 0
        self._registered = False
        self._announced = False
        self._released = False
        self._lapsed = False
        self._failed = False
        self._hangs = False
        self._renewing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._holds_until = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[Callable[[], object]] = []
        self._moved = runtime.clock.moved
        runtime.clock.when_moved = self._clock_was_set
        self.stopped: set[str] = set()
        """Runs that were stopped because of it, and are to go on here if nobody has taken them."""

    @property
    def period(self) -> float:
        """Seconds between heartbeats."""
        return min(BEAT, self._seconds / 3)

    def holds(self) -> bool:
        """Return whether nobody else can have taken our runs. May be called from any thread."""
        runtime, end = self._runtime, self._holds_until
        return runtime.loop.time() < end.loop and runtime.clock.now() < end.day

    def when_held(self, call: Callable[[], object]) -> None:
        """Call as soon as the lease is renewed. What is stopped by its end must not mind."""
        self._waiting.append(call)
        self._wake.set()

    def _clock_was_set(self) -> None:
        """Have it renewed by the new time, and all runs know. May be called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._runtime.loop.call_soon_threadsafe(self._tell_of_the_clock)

    def _tell_of_the_clock(self) -> None:
        clock = self._runtime.clock
        by, self._moved = clock.moved - self._moved, clock.moved
        self._wake.set()
        for driver in list(self._runs.drivers.values()):
            driver.clock_was_set(by)

    def wait_no_more(self) -> None:
        """Call now what waits for the renewal: it is there, or the engine is being closed."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    # ---- life -----------------------------------------------------------------------------

    async def take(self) -> None:
        """Register the worker, unless it is.

        Raises:
            StoreError: the store failed.
        """
        self._released = False
        if not self._registered:
            self._hold(await self._register())

    async def beat(self) -> None:
        """Renew it again and again, for ever."""
        while True:
            with background(), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.period):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.renew()
            except StoreError as error:
                self._failed = True
                logger.warning("the heartbeat failed; trying again: %s", error)
            except Exception:  # whatever it was: without a heartbeat, others take over our runs
                self._failed = True
                logger.exception("the heartbeat failed; trying again")

    async def renew(self) -> None:
        """Make sure that it holds, without which a claim is worthless; bring the mail.

        Raises:
            StoreError: the store failed.
            EngineClosedError: it was given back.
        """
        async with self._renewing:
            if self._released:
                raise EngineClosedError("the engine is closed, and carries no more runs")
            if not self._registered:
                await self._register()
            while not await self._beat_once():
                pass

    async def ensure(self) -> None:
        """Make sure that it holds, unless it does.

        Raises:
            StoreError: the store failed.
            EngineClosedError: it was given back.
        """
        if not self.holds():
            await self.renew()

    def end(self) -> None:
        """Renew it no more, and let nothing begin: the half of ``release`` that nobody cuts off."""
        self._released = True
        if self._timer is not None:
            self._timer.cancel()
        self._holds_until = _NEVER

    async def release(self) -> None:
        """Give back every run, and be no worker any more.

        Raises:
            StoreError: the store failed; others take the runs over when the lease has ended.
        """
        self.end()
        if self._announced:
            self._registered = False
            await self._runtime.store.unregister(self._runtime.worker_id)
            self._announced = False

    def _now(self) -> _Moment:
        return _Moment(self._runtime.loop.time(), self._runtime.clock.now())

    async def _register(self) -> _Moment:
        """Announce the worker; return when that was asked for."""
        asked = self._now()
        # Before it is: closing may cut us off here, and it happens all the same.
        self._announced = True
        await self._runtime.store.register(
            Worker(
                worker_id=self._runtime.worker_id,
                started_at=asked.day,
                seen_at=asked.day,
                lease=self._seconds,
                host=socket.gethostname(),
                pid=os.getpid(),
            )
        )
        self._registered = True
        return asked

    async def _beat_once(self) -> bool:
        asked = self._now()
        beat = await self._runtime.store.heartbeat(
            self._runtime.worker_id, self._runtime.clock, after=self._mail_up_to
        )
        self._hangs = False
        self._mail(beat.messages)
        self._mail_up_to = max(self._mail_up_to, beat.upto)
        if not beat.alive:
            logger.warning("the lease of %s ended before it was renewed", self._runtime.worker_id)
            self._lapsed = True
            self._registered = False
            await self._register()
            return False
        if self._lapsed:
            await self._stop_what_is_lost()
            self._lapsed = False
        self._holds_until = self._end_of(asked)
        if not self.holds():
            return False  # it took so long that what it renewed is over already
        self._hold(asked)
        return True

    async def _stop_what_is_lost(self) -> None:
        """Stop what others have taken over while the lease did not hold."""
        for run_id, driver in list(self._runs.drivers.items()):
            if not driver.created.is_set:
                continue
            try:
                row = await self._runtime.store.get_run(run_id)
            except StoreCorruptError as error:
                driver.broken(error)  # nobody can carry it on; the others are no worse for it
                continue
            if row is not None and row.token == driver.row.token:
                if row.worker_id == self._runtime.worker_id:
                    continue
                self.stopped.add(run_id)  # released, but not taken
                lost = f"the lease on run {run_id!r} ended while this process did not run"
            else:
                lost = f"another worker took over run {run_id!r} while this process did not run"
            driver.broken(LeaseLostError(run_id, lost))

    # ---- its end --------------------------------------------------------------------------

    def _end_of(self, asked: _Moment) -> _Moment:
        """Return until when a renewal holds that was asked for then."""
        return asked.after(self._seconds * (1 - _MARGIN))

    def _hold(self, asked: _Moment) -> None:
        self._failed = False
        self._holds_until = self._end_of(asked)
        self._call_at(self._holds_until.loop - self._seconds * _CHANCE, self._last_chance)
        self.wait_no_more()

    def _last_chance(self) -> None:
        """Have it renewed now, or else stop.

        The time for that runs from now on: if a handler blocked the loop, this comes late, and no
        heartbeat has had a turn either. Nothing has been lost by that yet, as far as we know. But
        one that has been under way since the chance before this one had its turn, and failed.
        """
        self._failed = self._failed or self._hangs
        self._hangs = self._renewing.locked()
        self._wake.set()
        self._call_at(self._runtime.loop.time() + self._seconds * _CHANCE, self._stop)

    def _stop(self) -> None:
        """Stop every run before the lease could end: from then on others may carry them on.

        By a timer of its own, since the heartbeat may fail or hang. As long as it does neither, and
        only the loop is blocked, it gets another chance.
        """
        assert self._timer is not None  # it brought us here
        late = self._runtime.loop.time() - self._timer.when()
        if late > self._seconds * _CHANCE / 2 and not self._failed:
            self._last_chance()
            return
        logger.error(
            "%s could not renew its lease of %g s; it stops its runs, which go on here or "
            "elsewhere once the store answers",
            self._runtime.worker_id,
            self._seconds,
        )
        for run_id, driver in list(self._runs.drivers.items()):
            if driver.created.is_set:
                self.stopped.add(run_id)
                driver.broken(
                    LeaseLostError(run_id, f"the lease on run {run_id!r} could not be renewed")
                )

    def _call_at(self, when: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._runtime.loop.call_at(when, call)
