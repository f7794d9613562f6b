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

    __slots__ = ("_done", "_value", "_waiting")

    _value: T

    def __init__(self) -> None:
        self._done = False
        self._waiting: list[asyncio.Future[None]] = []

    def done(self) -> bool:
        """Return whether the value is set."""
        return self._done

    def result(self) -> T:
        """Return the value; only once it is set."""
        return self._value

    def set_result(self, value: T) -> None:
        """Set the value, once, and wake those who wait."""
        assert not self._done
        self._done = True
        self._value = value
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting = []

    async def wait(self) -> T:
        """Return the value as soon as it is set."""
        if not self._done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if not self._done:
                    self._waiting.remove(waiter)
                raise
        return self._value
