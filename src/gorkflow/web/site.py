"""The site: the page with its JSON API and its streams, over one engine or client."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gorkflow.web._access import Access
from gorkflow.web._open_streams import OpenStreams

if TYPE_CHECKING:
    from gorkflow.engine.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The things that all routes of one app share."""

    engine: Client
    """Opened and closed by its owner."""
    access: Access
    """The rules for who may read and who may change."""
    streams: OpenStreams = field(default_factory=OpenStreams)
    """The streams that are open."""
    late: set[asyncio.Future[Any]] = field(default_factory=set[asyncio.Future[Any]])
    """Changes that were answered with 503, and are still to be recorded."""

    @property
    def max_payload(self) -> int:
        """The bytes that one value may have as JSON."""
        return self.engine._settings.max_payload  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    @property
    def now(self) -> float:
        """The time by the clock of the engine, in seconds since the epoch."""
        return self.engine._clock.now()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    @property
    def store_name(self) -> str:
        """The name of the store, to show."""
        path = getattr(self.engine.store, "path", None)
        return os.path.basename(path) if isinstance(path, str) else "memory"  # noqa: PTH119

    @property
    def runs_steps(self) -> bool:
        """Whether this process runs what is started here: it has an engine, not only a client."""
        from gorkflow.engine.engine import Engine

        return isinstance(self.engine, Engine)
