"""Threads of our own: for sync steps, and for conditions, keys and times that are plain functions.

They are daemons and never delay the exit of the interpreter. ``concurrent.futures`` joins its
threads at exit, so one step that hangs would hang the program.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

logger = logging.getLogger("gorkflow.engine")

_names = itertools.count(1)


class ThreadPool:
    """Threads that are made when needed and kept until ``close``.

    ``_admission`` bounds the number that steps use, and ``Functions`` that of the others.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._closed = False

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` in a thread. It must not raise.

        Raises:
            RuntimeError: If the pool is closed, or no thread can be started.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the thread pool is closed")
            if self._idle:
                self._idle -= 1
            else:
                self._threads += 1
                name = f"gorkflow-{next(_names)}"
                threading.Thread(target=self._loop, name=name, daemon=True).start()
        self._work.put(work)

    def _loop(self) -> None:
        while True:
            work = self._work.get()
            if work is None:
                return
            work()
            del work  # or the last work's objects would live until the next
            with self._lock:
                self._idle += 1

    def close(self) -> None:
        """End idle threads; those that work end after their work."""
        with self._lock:
            self._closed = True
            threads = self._threads
        for _ in range(threads):
            self._work.put(None)


class NoThreadError(Exception):
    """No thread can be started now, which says nothing about the function."""


class Functions:
    """Calls functions in threads, so many at a time; the others wait in line.

    An abandoned function can't be stopped. Up to a limit another thread replaces it; past that,
    those in line wait until some of these have ended.

    Args:
        loop: the engine's.
        threads: where they run. They don't count against the slots of steps: a run's way must not
            wait for the steps of other runs.
        size: how many at a time, and how many may be replaced.
        called: what they are called in the log.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads: ThreadPool,
        size: int,
        called: str = "condition, key or time functions",
    ) -> None:
        self._called = called
        self._loop = loop
        self._threads = threads
        self._size = size
        self._room = asyncio.Semaphore(size)
        self.strays = 0
        """Abandoned functions that are still running."""

    @property
    def are_full(self) -> bool:
        """Whether a function that is called now has to wait in line."""
        return self._room.locked()

    async def call(
        self, function: Callable[[], Any], context: Context, begins: Callable[[], None]
    ) -> Any:
        """Call a function and return what it returns.

        Args:
            function: what to call.
            context: the context variables that it sees.
            begins: called when it is its turn.

        Raises:
            BaseException: If the function raised it.
            NoThreadError: If it could not be called.
        """
        await self._room.acquire()
        begins()
        future: asyncio.Future[tuple[Any, BaseException | None]] = self._loop.create_future()
        try:
            self._threads.submit(lambda: self._run(function, context, future))
        except BaseException as why:
            self._room.release()
            if isinstance(why, RuntimeError | MemoryError):
                raise NoThreadError(str(why)) from why
            raise
        try:
            value, error = await future
        finally:
            if future.cancelled():
                self._abandon()
        if error is not None:
            raise error
        return value

    def _run(
        self,
        function: Callable[[], Any],
        context: Context,
        future: asyncio.Future[tuple[Any, BaseException | None]],
    ) -> None:
        value, error = None, None
        try:
            value = context.run(function)
        except BaseException as caught:  # noqa: BLE001 - raised where the call is awaited
            error = caught
        try:
            self._loop.call_soon_threadsafe(self._ended, future, value, error)
        except RuntimeError:
            return  # the loop is closed, nothing waits any more

    def _ended(
        self,
        future: asyncio.Future[tuple[Any, BaseException | None]],
        value: Any,
        error: BaseException | None,
    ) -> None:
        if not future.done():
            self._room.release()
            future.set_result((value, error))  # set_exception refuses StopIteration
            return
        if self.strays > self._size:
            self._room.release()
        self.strays -= 1

    def _abandon(self) -> None:
        self.strays += 1
        replaced = self.strays <= self._size
        if replaced:
            self._room.release()
        logger.log(
            logging.WARNING if replaced else logging.ERROR,
            "%d abandoned %s are still running in threads, since nothing can stop them%s",
            self.strays,
            self._called,
            "" if replaced else "; others wait until some end",
        )
