"""Threads that do a store's blocking work, and hand the results back to the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from gorkflow.errors import StoreError

_logger = logging.getLogger("gorkflow.store")
_PATIENCE = 5.0
"""Seconds that stopping waits for a thread which hangs in the system."""


class Resource(Protocol):
    """What a thread works with, made and used in that thread only."""

    @property
    def broken(self) -> bool:
        """Whether to close it and make a new one."""
        ...

    def tidy(self) -> None:
        """Do what may wait until the result was handed back."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


R = TypeVar("R", bound=Resource)
T = TypeVar("T")


class _Job(NamedTuple):
    work: Callable[[Any], object]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Lane(Generic[R]):
    """Daemon threads that work off one queue, each with a resource of its own.

    Args:
        name: of the threads.
        make: makes the resource; called in the thread, at its first job and after it broke.
        threads: how many.
    """

    def __init__(self, name: str, make: Callable[[], R], *, threads: int = 1) -> None:
        self._make = make
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"gorkflow-{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, work: Callable[[R], T]) -> asyncio.Future[T]:
        """Do the work in a thread of this lane, and return the future of its result.

        Raises:
            StoreError: it was stopped; nobody would ever come to it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if self._stopped:
                raise StoreError("the store was closed meanwhile; open it again")
            self._queue.put(_Job(work, loop, future))
        return future

    def stop(self) -> None:
        """Finish the work in the queue, close the resources and end the threads. Blocks."""
        with self._lock:
            self._stopped = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _serve(self) -> None:
        resource: R | None = None
        while (job := self._queue.get()) is not None:
            try:
                if resource is None:
                    resource = self._make()
                result, error = job.work(resource), None
            except BaseException as caught:  # noqa: BLE001 - whatever it is, the caller gets it
                result, error = None, caught
            _deliver(job, result, error)
            del job, result, error
            resource = self._after(resource)
        if resource is not None:
            self._close(resource)

    def _after(self, resource: R | None) -> R | None:
        if resource is None:
            return None
        try:
            if not resource.broken:
                resource.tidy()
        except Exception:
            _logger.warning("could not tidy up the store; it will be tried again", exc_info=True)
        if resource.broken:
            self._close(resource)
            return None
        return resource

    def _close(self, resource: R) -> None:
        try:
            resource.close()
        except Exception:
            _logger.warning("could not close the store properly", exc_info=True)


def _deliver(job: _Job, result: object, error: BaseException | None) -> None:
    try:
        job.loop.call_soon_threadsafe(_settle, job.future, result, error)
    except RuntimeError:
        # The loop is closed: nobody waits for the result any more.
        return


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
