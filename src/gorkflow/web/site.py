"""The site: the page with its JSON API and its streams, over one engine or client."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gorkflow.web._access import Access
from gorkflow.web._open_streams import OpenStreams
from gorkflow.web._view import Views

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.engine.client import Client
    from gorkflow.workflow import Workflow


MEMORY = "memory"
"""The name of a store that is in no database."""


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
    views: Views = field(init=False)
    """The runs as they are shown, and the threads that do it."""

    def __post_init__(self) -> None:
        """Keep the views of the runs of the engine's store."""
        object.__setattr__(self, "views", Views(self.engine.store))

    def workflow(self, workflow_id: str) -> Workflow[Any, Any] | None:
        """Return a workflow whose code is here; ``None``: it is not."""
        return next((each for each in self.engine.workflows if each.id == workflow_id), None)

    def definition(self, workflow_id: str) -> Definition | None:
        """Return the definition of a workflow whose code is here; ``None``: it is not."""
        workflow = self.workflow(workflow_id)
        return None if workflow is None else workflow.compile(self.engine.defaults)

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
        return self._file or getattr(self.engine.store, "name", MEMORY)

    @property
    def store_url(self) -> str:
        """The URL of the store without a password, of a file as in its folder; empty: none."""
        return f"sqlite:{self._file}" if self._file else getattr(self.engine.store, "url", "")

    @property
    def lock(self) -> str:
        """The file whose lock those hold that write to the store; empty: it is not in a file."""
        return self._file and f"{self._file}.write"

    @property
    def _file(self) -> str:
        return os.path.basename(getattr(self.engine.store, "path", ""))  # noqa: PTH119
