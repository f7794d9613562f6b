"""A value that comes later, for any number of those who wait for it."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Promise(Generic[T]):
    """A value that is set once.

    Like a future, but for several who wait: when one of them is cancelled, the others and the value
    are left alone. ``asyncio.shield`` would do that too, at the price of a second future and a
    second turn of the loop for each run.
    """

    __slots__ = ("_value", "_waiting", "is_set")

    _value: T

    def __init__(self) -> None:
        self.is_set = False
        """Whether there is a value."""
        # A dict: an empty one is nothing to the garbage collector, up to Python 3.13 at least.
        self._waiting: dict[asyncio.Future[None], None] = {}

    def result(self) -> T:
        """Return the value; only once it is set."""
        return self._value

    def set_result(self, value: T) -> None:
        """Set the value, once, and wake those who wait."""
        assert not self.is_set
        self.is_set = True
        self._value = value
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> T:
        """Return the value as soon as it is set."""
        if not self.is_set:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[waiter] = None
            try:
                await waiter
            except asyncio.CancelledError:
                self._waiting.pop(waiter, None)
                raise
        return self._value
