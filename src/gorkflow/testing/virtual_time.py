"""Virtual time: a clock, and the event loop that moves it.

In a ``VirtualLoop``, time stands still while anything can run, and jumps to the next timer
otherwise. So ``asyncio.sleep(86_400)`` takes no time, and the same program always sees
the same times.

The loop looks in this order, whenever no callback is ready:

1. Work outside of it is awaited: a thread of a sync step or of ``asyncio.to_thread``, a socket, a
   subprocess, what ``outside()`` encloses. Then it waits. Up to a second of that takes no virtual
   time, so that short work always ends at the same time. After that, virtual time flows as real
   time does, so that timeouts of such work still come.
2. Timers: it jumps to the earliest. Timers more than ten years ahead don't count.
3. Only background timers (the heartbeats of engines): it jumps to those, for a while.
4. Nothing can happen any more: ``StuckError``.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime
from threading import Thread
from threading import enumerate as threads
from typing import Any, NamedTuple, TypeVar, TypeVarTuple, Unpack

from gorkflow._text import brief
from gorkflow.clock import TimerHandle, in_background
from gorkflow.errors import GorkflowError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_Events = list[tuple[selectors.SelectorKey, int]]

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The default start of virtual time."""
_LATEST = 221_845_392_000.0  # the year 9000
in_handler: ContextVar[bool] = ContextVar("gorkflow_in_handler", default=False)
"""True in a step's handler that one of our schedulers watches."""

_NEVER = 10 * 365 * 86_400.0
_RESOLUTION = 1e-6  # seconds: a float that counts since 1970 can't tell 1e-9, asyncio's own, apart
_PATIENCE = 1.0  # real seconds that work outside may take before virtual time flows
_FUTILE = 300  # jumps to background timers in a row after which nothing will come of it


def _seconds(start: datetime | float) -> float:
    """Return the instant at which a clock begins, in seconds since the epoch.

    Raises:
        TypeError: If it is not an instant.
        ValueError: If it is before 1970, or after the year 9000, where some calendars end.
    """
    if isinstance(start, bool) or not isinstance(start, datetime | int | float):
        raise TypeError(f"start must be a datetime or seconds since the epoch, not {brief(start)}")
    try:
        seconds = start.timestamp() if isinstance(start, datetime) else start
        if 0 <= seconds <= _LATEST:
            return float(seconds)
    except (OverflowError, ValueError, OSError):
        pass  # beyond what the system's calendar has
    raise ValueError(f"start must be from 1970 to 9000, not {brief(start)}")


class VirtualClock:
    """A clock that only moves when a ``VirtualLoop`` moves it.

    You can set its time of day. That changes no duration.

    Args:
        start: The first time of day; seconds since the epoch, or a ``datetime``.

    Example:
        >>> from gorkflow.testing import VirtualClock
        >>> clock = VirtualClock(start=1_000)
        >>> clock.set_ahead(60)
        >>> clock.now(), clock.monotonic()
        (1060.0, 1000.0)
    """

    is_virtual = True
    """True: no real time passes, so a step can't block the loop."""

    def __init__(self, start: datetime | float = START) -> None:
        self._passed = _seconds(start)
        self._ahead = 0.0
        self.alarms: set[_Alarm] = set()
        """The alarms that are set, by the time of day."""

    def __repr__(self) -> str:
        """Return the time it shows."""
        return f"<VirtualClock {datetime.fromtimestamp(self.now(), UTC).isoformat()}>"

    def now(self) -> float:
        """Return the virtual time of day, in seconds since the epoch."""
        return self._passed + self._ahead

    def monotonic(self) -> float:
        """Return the virtual time that has passed. ``set_ahead`` does not change it."""
        return self._passed

    def set_ahead(self, seconds: float) -> None:
        """Set the time of day, as if a clock were corrected. Nothing else moves.

        Args:
            seconds: Seconds to add to the time of day; less than 0 sets it back.
        """
        self._ahead += seconds
        for alarm in list(self.alarms):
            alarm.set()

    def call_at(self, due: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop when the virtual time of day ``due`` has come.

        Raises:
            RuntimeError: If the running loop is not the one that moves this clock.
        """
        return _Alarm(self, self._loop(), due, callback)

    def call_later(self, delay: float, callback: Callable[[], object]) -> TimerHandle:
        """Call back in the running loop after ``delay`` seconds of virtual time.

        Raises:
            RuntimeError: If the running loop is not the one that moves this clock.
        """
        return self._loop().call_at(self._passed + max(0.0, delay), callback)

    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if getattr(loop, "clock", None) is not self:
            raise RuntimeError(
                "a VirtualClock is moved by its own VirtualLoop, and another loop runs here; use "
                "testing.run(…), or run the test with testing.in_virtual_time(…)"
            )
        return loop

    def advance(self, to: float) -> None:
        """Move on to a time of ``monotonic``; never back."""
        self._passed = max(self._passed, to)


class _Alarm:
    """A timer that follows the time of day, and is set anew when that is."""

    def __init__(
        self,
        clock: VirtualClock,
        loop: asyncio.AbstractEventLoop,
        due: float,
        callback: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._loop = loop
        self._due = due
        self._callback = callback
        self._context = copy_context()
        self._handle: asyncio.TimerHandle | None = None
        self.set()

    def set(self) -> None:
        """Set it by the time of day as it is now."""
        if self._handle is not None:
            self._handle.cancel()
        clock = self._clock
        clock.alarms.add(self)
        due = clock.monotonic() + self._due - clock.now()
        self._handle = self._context.run(self._loop.call_at, due, self._fire)

    def _fire(self) -> None:
        self._clock.alarms.discard(self)
        self._callback()

    def cancel(self) -> None:
        """Call it off."""
        self._clock.alarms.discard(self)
        if self._handle is not None:
            self._handle.cancel()


class StuckError(GorkflowError):
    """Nothing can happen any more in virtual time: no timer, thread or socket is left.

    Example:
        import asyncio

        from gorkflow import testing

        try:
            testing.in_virtual_time(asyncio.Event().wait())
        except testing.StuckError as error:
            assert "nothing can happen any more" in str(error)
    """


class _Timer(NamedTuple):
    due: float
    number: int
    handle: asyncio.TimerHandle
    of_handler: bool


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual.

    Args:
        clock: The clock that it moves; the default is a fresh one.

    Example:
        import asyncio

        from gorkflow.testing import VirtualLoop

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(asyncio.sleep(86_400))  # takes no time
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.scheduler: Callable[[bool], bool] | None = None
        """Asked before time passes: True if it made something ready. Its argument: whether the next
        thing to come is a timer of a handler."""
        self.stuck: list[Callable[[StuckError], object]] = []
        """Called when nothing can happen any more; they have to make something happen."""
        self._timers: list[_Timer] = []
        self._idle: list[_Timer] = []
        self._numbers = itertools.count()
        self._working = 0
        self._futile = 0
        self._patience = _PATIENCE
        self._sockets = _Selector(self._nothing_ready)
        super().__init__(self._sockets)
        self._clock_resolution = _RESOLUTION

    # ---- time -----------------------------------------------------------------------------

    def time(self) -> float:
        """Return the virtual time; it counts from the epoch."""
        return self.clock.monotonic()

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back when the virtual time ``when`` has come."""
        idle = in_background() and when > self.time()  # what is due needs no jump
        if idle:
            handle = asyncio.TimerHandle(when, callback, args, self, context)
        else:
            handle = super().call_at(when, callback, *args, context=context)
        timer = _Timer(when, next(self._numbers), handle, in_handler.get())
        heapq.heappush(self._idle if idle else self._timers, timer)
        return handle

    def _jump(self, due: float) -> None:
        self.clock.advance(due)
        while self._idle and self._idle[0].due <= due:
            handle = heapq.heappop(self._idle).handle
            if not handle.cancelled():
                self.call_soon(_run, handle)

    def _next(self, timers: list[_Timer]) -> _Timer | None:
        now = self.clock.monotonic()
        while timers and (timers[0].handle.cancelled() or timers[0].due <= now):
            heapq.heappop(timers)
        return timers[0] if timers and timers[0].due < now + _NEVER else None

    # ---- work that the loop can't see -------------------------------------------------------

    def begin_outside(self) -> None:
        """Count work outside of the loop that begins: time must not jump over it."""
        self._working += 1

    def end_outside(self) -> None:
        """Count the end of such work. From other threads: ``call_soon_threadsafe`` it."""
        self._working -= 1

    @property
    def is_working(self) -> bool:
        """True while such work runs."""
        return self._working > 0

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Run a function in a thread; time does not jump over it."""
        future = super().run_in_executor(executor, func, *args)
        self.begin_outside()
        future.add_done_callback(lambda _: self.end_outside())
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """Wait for the threads of ``asyncio.to_thread`` to end."""
        with outside():
            await super().shutdown_default_executor(*timeout)

    def _is_awaiting(self) -> bool:
        sockets = (
            len(self._sockets.get_map()) > 1
        )  # one is the loop's own, by which threads wake it
        return self._working > 0 or sockets or _has_subprocess(self)

    # ---- when nothing is ready --------------------------------------------------------------

    def _nothing_ready(self) -> _Events:
        if self._is_awaiting():
            self._futile = 0
            return self._wait()
        self._patience = _PATIENCE
        timer, idle = self._next(self._timers), self._next(self._idle)
        if self.scheduler is not None and self.scheduler(timer is not None and timer.of_handler):
            self._futile = 0
        elif timer is not None:
            self._futile = 0
            self._jump(timer.due)
        elif idle is not None and self._futile < _FUTILE:
            self._futile += 1
            self._jump(idle.due)
        else:
            self._give_up()
        return []

    def _wait(self) -> _Events:
        """Wait for what happens outside: with patience, then letting virtual time flow."""
        is_patient = self._patience > 0
        room = self._patience if is_patient else self._room()
        began = time.monotonic()  # noqa: TID251 - real time, on purpose
        events = self._sockets.wait(room)
        passed = time.monotonic() - began if events else room  # noqa: TID251
        if is_patient:
            self._patience = max(0.0, self._patience - passed)
        else:
            self._jump(self.clock.monotonic() + min(passed, room))
        if not events and room >= _PATIENCE / 2 and self.scheduler is not None:
            self.scheduler(False)  # threads may wait for each other
        return events

    def _room(self) -> float:
        """Return how long it may wait without missing a timer."""
        timers = (self._next(self._timers), self._next(self._idle))
        due = min((timer.due for timer in timers if timer), default=_NEVER + self.clock.monotonic())
        return min(_PATIENCE, max(0.0, due - self.clock.monotonic()))

    def _give_up(self) -> None:
        error = StuckError(
            "nothing can happen any more: every task waits for something that no timer, thread or "
            "socket will bring; a thread of your own has to be awaited under testing.outside()"
        )
        if not self.stuck:
            raise error
        for tell in list(self.stuck):
            tell(error)


def _run(handle: asyncio.TimerHandle) -> None:
    if not handle.cancelled():
        handle._run()  # noqa: SLF001 - what a loop does with its handles


def _has_subprocess(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether asyncio waits for a subprocess of this loop, in a thread (before 3.12).

    Loops of other threads may have some, too, as a notebook does, or a test that drives a browser.
    """
    waiting = (thread for thread in threads() if thread.name.startswith("asyncio-waitpid-"))
    return any(getattr(thread, "_args", (loop,))[0] is loop for thread in waiting)


class _Selector(selectors.DefaultSelector):
    """Asks the loop instead of waiting."""

    wait = selectors.DefaultSelector.select

    def __init__(self, nothing_ready: Callable[[], _Events]) -> None:
        super().__init__()
        self._nothing_ready = nothing_ready

    def select(self, timeout: float | None = None) -> _Events:
        events = self.wait(0)
        return events if events or timeout == 0 else self._nothing_ready()


@contextmanager
def outside() -> Generator[None]:
    """Let virtual time wait for work outside of the loop, such as a thread of yours.

    In any other loop this does nothing.

    Example:
        import asyncio
        import threading

        from gorkflow import testing


        async def main() -> None:
            loop, done = asyncio.get_running_loop(), asyncio.Event()
            threading.Thread(target=loop.call_soon_threadsafe, args=(done.set,)).start()
            with testing.outside():
                await done.wait()


        testing.in_virtual_time(main())
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        yield
        return
    loop.begin_outside()
    try:
        yield
    finally:
        loop.end_outside()


def in_virtual_time(main: Coroutine[Any, Any, T], *, start: datetime | float = START) -> T:
    """Run a coroutine in a fresh ``VirtualLoop``, and return its result. Blocks.

    If an event loop is running already, it runs in a thread of its own.

    Args:
        main: The coroutine.
        start: The first time of day; seconds since the epoch, or a ``datetime``.

    Raises:
        StuckError: If it waits for ever.

    Example:
        >>> import asyncio
        >>> from gorkflow import testing
        >>> testing.in_virtual_time(asyncio.sleep(86_400, "good morning"))
        'good morning'
    """

    def whole() -> T:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(VirtualClock(start))) as runner:
            return runner.run(main)

    return in_own_thread(whole)


def in_own_thread(work: Callable[[], T]) -> T:
    """Do work that needs an event loop of its own: here, or in a thread if a loop runs here."""
    # The public function raises where there is none, and that would be the context of all errors
    # of the work.
    if asyncio._get_running_loop() is None:  # noqa: SLF001
        return work()
    return in_thread(work).result()


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Begin work in a thread of its own."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # so that only this thread ends it

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)

    context = copy_context()
    Thread(target=context.run, args=(run,), name="gorkflow-testing", daemon=True).start()
    return done
