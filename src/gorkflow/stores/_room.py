"""The room in the queues that a claim names, as all stores count it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf

from gorkflow.limits import NONE


class Room:
    """How many more runs of each queue one claim may take.

    Args:
        queues: the queues of the claim, each with its bound, as of ``Store.claim``.
        owned: counts the live runs with an owner, by queue. It is asked only if there is a bound.
    """

    def __init__(
        self, queues: Mapping[str, int | None] | None, owned: Callable[[], Mapping[str, int]]
    ) -> None:
        self._room: dict[str, float] | None = None
        if queues is not None:
            is_bounded = any(bound is not None for bound in queues.values())
            taken: Mapping[str, int] = owned() if is_bounded else NONE
            self._room = {
                name: inf if bound is None else bound - taken.get(name, 0)
                for name, bound in queues.items()
            }

    @property
    def queues(self) -> list[str] | None:
        """The queues that have room, sorted; ``None``: all have."""
        if self._room is None:
            return None
        return sorted(name for name, room in self._room.items() if room > 0)

    def has(self, queue: str) -> bool:
        """Return whether there is room in a queue."""
        return self._room is None or self._room.get(queue, 0) > 0

    def take(self, queue: str) -> bool:
        """Take a place in a queue; return whether there was one."""
        if self._room is None:
            return True
        if not self.has(queue):
            return False
        self._room[queue] -= 1
        return True
