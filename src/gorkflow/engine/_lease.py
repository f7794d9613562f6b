"""The lease of a worker: while it is renewed in time, no other worker takes its runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gorkflow.clock import background
from gorkflow.errors import EngineClosedError, StoreError
from gorkflow.model import LiveWorker, instant
from gorkflow.store import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gorkflow.clock import Times
    from gorkflow.engine._patience import Patience
    from gorkflow.store import Message, Store

logger = logging.getLogger("gorkflow.engine")

BEAT = 1.0
"""Seconds between heartbeats, at most: also how soon another process's cancel is seen."""
_MARGIN = 1 / 6  # of the lease: what steps get to stop in before others may take their runs
_CHANCE = 1 / 12  # of the lease: what a heartbeat gets at the least before steps are stopped


def shown(worker: Worker, runs: int) -> LiveWorker:
    """Return a worker as callers see it.

    Args:
        worker: as the store has it.
        runs: the number of runs that it owns.
    """
    return LiveWorker(
        worker_id=worker.worker_id,
        host=worker.host,
        pid=worker.pid,
        started_at=instant(worker.started_at),
        seen_at=instant(worker.seen_at),
        lease=worker.lease,
        runs=runs,
        concurrency=worker.concurrency,
        queues=worker.queues,
    )


class _Moment(NamedTuple):
    """A moment by two clocks: the loop's, and the time of day.

    Others judge by the time of day, which moves while the machine sleeps, and may be set back.
    """

    loop: float
    day: float

    def after(self, seconds: float) -> _Moment:
        return _Moment(self.loop + seconds, self.day + seconds)


_NEVER = _Moment(float("-inf"), float("-inf"))


class Holder(Protocol):
    """The owner of runs, which may run them only while its lease holds."""

    def deliver(self, messages: Sequence[Message]) -> None:
        """Take the messages that a heartbeat brought."""
        ...

    async def on_lapsed(self) -> None:
        """Stop the runs that others own by now: the lease had ended, and is about to hold again.

        Raises:
            StoreError: If the store failed.
        """
        ...

    def on_lost(self) -> None:
        """Stop every run: the lease may end at any moment, and others may take the runs."""
        ...

    def clock_was_set(self, by: float) -> None:
        """Set timers anew: the time of day was set by so many seconds."""
        ...


class Lease:
    """The lease of a worker, which it renews in a task of its own.

    Args:
        loop: the engine's.
        clock: the engine's.
        store: where the worker is registered.
        worker_id: its name.
        seconds: without a heartbeat, after which others may take its runs.
        patience: says when the store is away.
        concurrency: the number of runs that it has at a time, at most.
        queues: the queues whose runs it takes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Times,
        store: Store,
        worker_id: str,
        seconds: float,
        *,
        patience: Patience,
        concurrency: int | None,
        queues: Iterable[str],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._store = store
        self._worker_id = worker_id
        self._seconds = seconds
        self._patience = patience
        self._concurrency = concurrency
        self._queues = tuple(queues)
        self._holder: Holder | None = None
        self._mail_cursor = ""
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
        self._moved = clock.moved
        clock.when_moved = self._clock_was_set

    @property
    def period(self) -> float:
        """Seconds between heartbeats."""
        return min(BEAT, self._seconds / 3)

    def holds(self) -> bool:
        """Return whether no other worker can own our runs. May be called from any thread."""
        end = self._holds_until
        return self._loop.time() < end.loop and self._clock.now() < end.day

    def when_held(self, call: Callable[[], object]) -> None:
        """Call as soon as the lease is renewed, or when the engine is closed."""
        self._waiting.append(call)
        self._wake.set()

    def renew_soon(self) -> None:
        """Don't wait for the next heartbeat, since it brings messages."""
        self._wake.set()

    def _clock_was_set(self) -> None:
        """Renew by the new time, and report that to the holder. May be called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._report_clock)

    def _report_clock(self) -> None:
        by, self._moved = self._clock.moved - self._moved, self._clock.moved
        self._wake.set()
        if self._holder is not None:
            self._holder.clock_was_set(by)

    def wait_no_more(self) -> None:
        """Call now all that waits for the renewal: it is there, or the engine is being closed."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    # ---- life -----------------------------------------------------------------------------

    async def take(self, holder: Holder) -> None:
        """Register the worker, unless it is registered.

        Raises:
            StoreError: If the store failed.
        """
        self._holder = holder
        self._released = False
        if not self._registered:
            self._hold(await self._register())

    async def beat(self) -> None:
        """Renew it again and again, without end."""
        while True:
            with background(), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.period):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.renew()
            except StoreError as error:
                self._failed = True
                self._patience.note_away(error, "heartbeat")
            except Exception:  # of any kind: without a heartbeat, others take over our runs
                self._failed = True
                logger.exception("the heartbeat failed; trying again")

    async def renew(self) -> None:
        """Make sure that it holds, without which a claim is worthless; deliver the messages.

        Raises:
            StoreError: If the store failed.
            EngineClosedError: If it was released.
        """
        async with self._renewing:
            if self._released:
                raise EngineClosedError("the engine is closed, and runs nothing any more")
            if not self._registered:
                await self._register()
            while not await self._beat_once():
                pass

    async def ensure(self) -> None:
        """Make sure that it holds, unless it does.

        Raises:
            StoreError: If the store failed.
            EngineClosedError: If it was released.
        """
        if not self.holds():
            await self.renew()

    def end(self) -> None:
        """Stop renewing, and let no step begin: the half of ``release`` that can't be cut off."""
        self._released = True
        if self._timer is not None:
            self._timer.cancel()
        self._holds_until = _NEVER

    async def release(self) -> None:
        """Release every run, and the worker.

        Raises:
            StoreError: If the store failed; others take the runs over when the lease has ended.
        """
        self.end()
        if self._announced:
            self._registered = False
            await self._store.unregister(self._worker_id)
            self._announced = False

    def _now(self) -> _Moment:
        return _Moment(self._loop.time(), self._clock.now())

    async def _register(self) -> _Moment:
        """Announce the worker; return when that was asked for."""
        asked = self._now()
        # Before it is: closing may cut us off here, and it happens all the same.
        self._announced = True
        await self._store.register(
            Worker(
                worker_id=self._worker_id,
                started_at=asked.day,
                seen_at=asked.day,
                lease=self._seconds,
                host=socket.gethostname(),
                pid=os.getpid(),
                concurrency=self._concurrency,
                queues=self._queues,
            )
        )
        self._registered = True
        return asked

    async def _beat_once(self) -> bool:
        await self._clock.ask(self._store)
        asked = self._now()
        beat = await self._store.heartbeat(self._worker_id, self._clock, after=self._mail_cursor)
        self._hangs = False
        self._patience.note_answer("heartbeat")
        assert self._holder is not None  # or it was never taken
        self._holder.deliver(beat.messages)
        if not beat.alive:
            logger.warning("the lease of %s ended before it was renewed", self._worker_id)
            self._lapsed = True
            self._registered = False
            await self._register()
            return False
        self._mail_cursor = beat.cursor
        if self._lapsed:
            await self._holder.on_lapsed()
            self._lapsed = False
        self._holds_until = self._end_of(asked)
        if not self.holds():
            return False  # it took so long that what it renewed is over already
        self._hold(asked)
        return True

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
        self._call_at(self._loop.time() + self._seconds * _CHANCE, self._stop)

    def _stop(self) -> None:
        """Stop every run before the lease could end: from then on others may continue them.

        By a timer of its own, since the heartbeat may fail or hang. As long as it does neither, and
        only the loop is blocked, it gets another chance.
        """
        assert self._timer is not None  # it brought us here
        late = self._loop.time() - self._timer.when()
        if late > self._seconds * _CHANCE / 2 and not self._failed:
            self._last_chance()
            return
        logger.error(
            "%s could not renew its lease of %g s; it stops its runs, which continue here or "
            "elsewhere once the store answers",
            self._worker_id,
            self._seconds,
        )
        assert self._holder is not None  # as above
        self._holder.on_lost()

    def _call_at(self, when: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, call)
