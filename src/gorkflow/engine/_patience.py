"""The patience with a store that is away: a call is made again, until it answers or too long."""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gorkflow.clock import background
from gorkflow.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gorkflow.clock import Clock
    from gorkflow.errors import StoreError
    from gorkflow.store import Store

T = TypeVar("T")
logger = logging.getLogger("gorkflow.engine")

SECONDS = 10.0
"""How long a call is made again at the least."""
_FIRST, _LONGEST = 0.05, 1.0
"""Seconds between two tries: at the beginning, and in the end."""
_CALLERS = "callers"


class Patience:
    """Makes calls again that failed because the store was away.

    Args:
        clock: the engine's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._away: set[str] = set()
        """Those who were not answered."""
        self.holds: Callable[[], bool] = _never
        """Returns whether no other worker can own our runs: what they did is sent until then."""

    def note_away(self, error: StoreError, asks: str = _CALLERS) -> None:
        """Log that the store does not answer: once for all who ask, until all are answered."""
        if not self._away:
            logger.warning("the store does not answer; trying again: %s", error)
        self._away.add(asks)

    def note_answer(self, asks: str = _CALLERS) -> None:
        """Log that the store answers, if it was away for these and for no others."""
        if asks in self._away:
            self._away.discard(asks)
            if not self._away:
                logger.warning("the store answers again")

    def with_(self, store: Store) -> Store:
        """Return the store with patience: what a caller asks of it is asked again."""
        return cast("Store", _Asked(store, self))

    async def call(
        self, method: Callable[..., Awaitable[T]], *args: object, **options: object
    ) -> T:
        """Call a method, and again while the store is away.

        Raises:
            StoreUnavailableError: If it took too long.
        """
        try:
            return await method(*args, **options)
        except StoreUnavailableError as error:
            return await self.again(partial(method, *args, **options), error)

    async def again(
        self,
        call: Callable[[], Awaitable[T]],
        error: StoreUnavailableError,
        *,
        lasts: Callable[[], bool] | None = None,
    ) -> T:
        """Make a call again that has just failed with this error.

        Args:
            call: makes it.
            error: the error.
            lasts: says whether to continue when it has been made again for ``SECONDS``.

        Raises:
            StoreUnavailableError: If it took too long.
        """
        until = self._clock.monotonic() + SECONDS
        delay = _FIRST
        self.note_away(error)
        while self._clock.monotonic() < until or (lasts is not None and lasts()):
            with background():
                await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST)
            try:
                result = await call()
            except StoreUnavailableError as later:
                error = later
            else:
                self.note_answer()
                return result
        raise error


class _Asked:
    """A store that is asked again while it is away."""

    def __init__(self, store: Store, patience: Patience) -> None:
        self._store = store
        self._patience = patience

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return partial(self._patience.call, found)


def _never() -> bool:
    return False
