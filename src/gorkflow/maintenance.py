"""Looking after a store that keeps files: what such a store offers beside ``Store``.

A store that has nothing to look after, like the one in memory, is no ``Maintainable``, which is how
the command line finds out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    """Works, but should be looked at."""
    PROBLEM = "problem"
    """Doesn't work until somebody does something."""


class Finding(NamedTuple):
    """One thing that was found out about a store, or about what it keeps."""

    level: Level
    about: str
    """What it concerns, in a word or two."""
    text: str
    advice: str = ""
    """What to do about it."""


class Examination(NamedTuple):
    """What can be said of a store from outside."""

    findings: tuple[Finding, ...]
    opens: bool
    """Whether opening it would succeed, and change nothing."""


@runtime_checkable
class Maintainable(Protocol):
    """A store that can be examined, checked, copied and tidied while others use it."""

    async def examine(self, now: float) -> Examination:
        """Return the state of the place, its files and workers. Need not be open; changes nothing.

        Args:
            now: seconds since the epoch.
        """
        ...

    async def check(self, *, rows_only: bool = False) -> list[Finding]:
        """Look at everything that is kept, and return what is damaged. Must be open.

        Of one moment; writers go on meanwhile. Whether histories make sense is not judged here.

        Args:
            rows_only: leave out what has to read the whole file for it.

        Raises:
            StoreError: it can't even be looked at.
        """
        ...

    async def backup(self, path: str) -> int:
        """Copy everything, as of one moment, into a new file; return its size in bytes.

        Must be open; writers go on meanwhile. The file appears under its name only once it is
        whole, verified and on the disk; only its owner may read it.

        Raises:
            StoreError: there is such a file already, or it can't be written, or isn't sound.
        """
        ...

    async def discard(self, run_id: str, now: float) -> bool:
        """Delete a run whatever its state, even one that can't be read. Must be open.

        Args:
            run_id: the run.
            now: seconds since the epoch.

        Returns:
            Whether it was deleted: not where there is none, or a living worker carries it.
        """
        ...

    async def tidy(self) -> int:
        """Drop what no run uses any more; return the bytes that are free for new runs. Be open."""
        ...
