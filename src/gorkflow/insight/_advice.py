"""The word for what a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["warning", "info"]


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing about a workflow that costs something, and what to write instead."""

    code: str
    """Which kind it is; docs/check.md has them all."""
    path: str
    """The node that it is about; empty: the workflow itself."""
    message: str
    level: Level
    """``warning``: should be changed; ``info``: good to know."""
