"""What the parts of ``Engine`` have in common."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gorkflow.errors import EngineClosedError

if TYPE_CHECKING:
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runtime import Runtime
    from gorkflow.engine._service import Service
    from gorkflow.engine._watch import Watch
    from gorkflow.store import Store


class Part:
    """What each part of ``Engine`` builds on, and ``Engine`` fills in."""

    store: Store
    _registry: Registry
    _watch: Watch
    _execute: bool
    _was_open: bool = False
    _runtime: Runtime | None
    _service: Service | None

    def _opened(self) -> tuple[Service, Runtime]:
        """Return the parts of an open engine.

        Raises:
            EngineClosedError: it is not open, or was called from elsewhere.
        """
        if self._service is None or self._runtime is None:
            if self._was_open:
                raise EngineClosedError(
                    "the engine is closed: the block of `async with Engine(…)` was left, or "
                    "aclose() called; do this inside the block"
                )
            raise EngineClosedError(
                "the engine is not open; use it with `async with Engine(…) as engine:`"
            )
        if asyncio._get_running_loop() is not self._runtime.loop:  # noqa: SLF001 - never raises
            raise EngineClosedError(
                "the engine belongs to the event loop that it was opened in, and was called from "
                "elsewhere; from a thread, use asyncio.run_coroutine_threadsafe(…, loop)"
            )
        return self._service, self._runtime
