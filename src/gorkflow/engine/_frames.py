"""Errors as the caller sees them: with the lines of the program, and none of ours."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gorkflow.errors import GorkflowError

if TYPE_CHECKING:
    from types import TracebackType


class _Frameless:
    """Takes our frames off an error that passes. Python adds no frame where it only passes on."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        # Ctrl-C shows a CancelledError, too.
        if not isinstance(error, GorkflowError | asyncio.CancelledError):
            return
        if os.environ.get("GORKFLOW_DEBUG"):
            return
        error.__traceback__ = None
        if isinstance(error.__context__, GorkflowError):
            error.__suppress_context__ = True  # what we met on the way has frames of ours, too


FRAMELESS = _Frameless()
"""Around all that a public function does: ``with FRAMELESS: …``. The environment's
``GORKFLOW_DEBUG=1`` keeps the frames."""
