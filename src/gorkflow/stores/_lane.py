"""The lanes of a store: threads that do its blocking work, and hand results to the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from gorkflow.errors import GorkflowError, StoreError

_logger = logging.getLogger("gorkflow.store")
_PATIENCE = 5.0
"""Seconds that stopping waits for a thread which hangs in the system."""


class Resource(Protocol):
    """A connection, or the like: one thread at a time uses it."""

    @property
    def broken(self) -> bool:
        """Whether to close it and make a new one."""
        ...

    @property
    def untidy(self) -> bool:
        """Whether ``tidy`` has something to do."""
        ...

    def tidy(self) -> None:
        """Do what may wait until the result is delivered."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class WouldWait(Exception):  # noqa: N818 - an answer, not an error
    """Nothing was done, since another process is in the way."""


R = TypeVar("R", bound=Resource)
T = TypeVar("T")


class _Job(NamedTuple):
    work: Callable[[Any], object]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class _Thread(Generic[R]):
    """A daemon thread that works off a queue, with a resource of its own.

    Args:
        name: of the thread.
        make: makes the resource; called in the thread, at its first job and after it broke.
        queue: the work; several threads may share it.
    """

    def __init__(self, name: str, make: Callable[[], R], queue: SimpleQueue[_Job | None]) -> None:
        self._make = make
        self._queue = queue
        self._resource: R | None = None
        self._using = threading.Lock()
        self.thread = threading.Thread(target=self._serve, name=f"gorkflow-{name}", daemon=True)
        self.thread.start()

    def do_here(self, future: asyncio.Future[T], work: Callable[[R], T]) -> bool:
        """Do the work in the calling thread, unless it would wait for other work; or return False.

        The loop is blocked meanwhile, which is quicker than two changes of thread. A program that
        is being stopped (a signal handler raises ``SystemExit``, say) stops here, too.
        """
        if not self._queue.empty() or not self._using.acquire(blocking=False):
            return False
        try:
            if self._resource is None or self._resource.untidy:
                return False  # the thread makes it, and tidies up after its next work
            try:
                result = work(self._resource)
            except WouldWait:
                return False
            except GorkflowError as caught:
                _settle(future, None, caught)
            except Exception as caught:  # noqa: BLE001 - whatever it is, the caller gets it
                self._drop()  # a signal handler may have raised it, anywhere
                _settle(future, None, caught)
            except BaseException:
                self._drop()  # as above
                raise
            else:
                _settle(future, result, None)
            self._keep()
        finally:
            self._using.release()
        return True

    def _serve(self) -> None:
        while (job := self._queue.get()) is not None:
            with self._using:
                result, error = self._do(job)
                _deliver(job, result, error)
                del job, result, error
                if self._keep():
                    self._tidy()
        with self._using:
            self._drop()

    def _do(self, job: _Job) -> tuple[object, BaseException | None]:
        try:
            if self._resource is None:
                self._resource = self._make()
            return job.work(self._resource), None
        except BaseException as caught:  # noqa: BLE001 - whatever it is, the caller gets it
            return None, caught

    def _keep(self) -> bool:
        """Return whether the resource can be used again; if it broke, it is closed."""
        if self._resource is not None and self._resource.broken:
            self._drop()
        return self._resource is not None

    def _tidy(self) -> None:
        assert self._resource is not None  # it is kept
        try:
            if self._resource.untidy:
                self._resource.tidy()
        except Exception:
            _logger.warning("could not tidy up the store; it will be tried again", exc_info=True)
        self._keep()

    def _drop(self) -> None:
        resource, self._resource = self._resource, None
        try:
            if resource is not None:
                resource.close()
        except Exception:
            _logger.warning("could not close the store properly", exc_info=True)


class Lane(Generic[R]):
    """One kind of work, done in turn: threads that share a queue.

    Args:
        name: of the threads.
        make: makes the resource of a thread.
        count: how many threads.
    """

    def __init__(self, name: str, make: Callable[[], R], *, count: int = 1) -> None:
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._stopped = False
        self._threads = [_Thread(f"{name}-{number}", make, self._queue) for number in range(count)]

    def run(
        self, work: Callable[[R], T], *, here: Callable[[R], T] | None = None
    ) -> asyncio.Future[T]:
        """Do the work in a thread, and return the future of its result.

        Args:
            work: gets the thread's resource.
            here: the same for the calling thread, if a thread has nothing to do. It raises
                ``WouldWait`` where ``work`` would wait for another process.

        Raises:
            StoreError: If the threads were stopped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if here is not None and self._threads[0].do_here(future, here):
            return future
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
        for each in self._threads:
            each.thread.join(_PATIENCE)


def _deliver(job: _Job, result: object, error: BaseException | None) -> None:
    try:
        job.loop.call_soon_threadsafe(_settle, job.future, result, error)
    except RuntimeError:
        return  # the loop is closed: no task waits for the result any more


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
