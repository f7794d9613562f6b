"""Plain functions that are no steps, in threads: conditions, and the keys of maps."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from gorkflow.engine._threads import ThreadPool

logger = logging.getLogger("gorkflow.engine")


class NoThreadError(Exception):
    """There is no thread to be had now, which says nothing about the function."""


class Functions:
    """Calls functions in threads, so many at a time; the others wait in line.

    One that is not waited for any more can't be stopped. Up to a limit another thread replaces it;
    past that, those in line wait until some of these have ended.

    Args:
        loop: the engine's.
        threads: where they run. Those that steps have are counted elsewhere (see ``_admission``): a
            run's way must not wait for the steps of other runs.
        size: how many at a time, and how many may be replaced.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: ThreadPool, size: int) -> None:
        self._loop = loop
        self._threads = threads
        self._size = size
        self._room = asyncio.Semaphore(size)
        self.strays = 0
        """Functions that run on though nobody waits for them."""

    async def call(
        self, function: Callable[[], Any], context: Context, begins: Callable[[], None]
    ) -> Any:
        """Call a function and return what it returns.

        Args:
            function: what to call.
            context: the context variables that it sees.
            begins: called when it is its turn.

        Raises:
            BaseException: what the function raised.
            NoThreadError: it could not be called.
        """
        await self._room.acquire()
        begins()
        future: asyncio.Future[tuple[Any, BaseException | None]] = self._loop.create_future()
        try:
            self._threads.submit(lambda: self._run(function, context, future))
        except Exception as why:
            self._room.release()
            raise NoThreadError(str(why)) from why
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
        except BaseException as caught:  # noqa: BLE001 - handed to whoever waits
            error = caught
        try:
            self._loop.call_soon_threadsafe(self._ended, future, value, error)
        except RuntimeError:
            return  # the loop is closed, nobody waits any more

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
            "conditions and keys that run on in threads though nobody waits for them, since "
            "nothing can stop them: %d%s",
            self.strays,
            "" if replaced else "; others wait until some end",
        )
