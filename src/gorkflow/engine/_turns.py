"""One task at a time: like ``asyncio.Lock``, but it may be used in one event loop after another."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Turns:
    """Lets one task in at a time, with ``async with``; the others wait."""

    def __init__(self) -> None:
        self._over: asyncio.Event | None = None

    async def __aenter__(self) -> None:
        """Wait until nobody is in, and go in."""
        while self._over is not None:
            await self._over.wait()
        self._over = asyncio.Event()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Let the next one in."""
        assert self._over is not None  # it was made on entry
        self._over.set()
        self._over = None
