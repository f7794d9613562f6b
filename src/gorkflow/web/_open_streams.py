"""The open streams of a site: counted for each client, and ended together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

MOST = 512
"""The streams of all clients: each takes a file of the process, and many systems allow 1,024."""
MOST_OF_CLIENT = 256
"""The streams of one address, which may be a proxy with a team behind it."""


class TooManyStreams(Exception):  # noqa: N818 - an answer of the site: 429
    """A client, or all of them, have as many open streams as they may."""


class OpenStreams:
    """Counts streams, and ends them when the server stops."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()
        self.closing = asyncio.Event()
        """Set when all have to end."""

    def __len__(self) -> int:
        return self._of.total()

    @contextmanager
    def opened(self, client: str) -> Generator[None]:
        """Count a stream of a client while it is open.

        Raises:
            TooManyStreams: If there are too many.
        """
        if len(self) >= MOST or self._of[client] >= MOST_OF_CLIENT:
            raise TooManyStreams
        self._of[client] += 1
        try:
            yield
        finally:
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]

    def close(self) -> None:
        """End all streams."""
        self.closing.set()
