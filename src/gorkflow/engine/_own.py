"""The definitions of the runs of an engine: each run keeps its own as long as the engine lives."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from gorkflow.errors import StoreCorruptError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gorkflow.definition import Definition
    from gorkflow.store import Store

_ENDED = 100  # ended runs whose functions are known, to repeat them with
_EVERY = 10.0  # seconds between looks at whether others ended runs that are kept
_FEW, _PART = 10, 100  # how many are looked at: so many, or one of so many


class Own:
    """The definitions of runs that were begun or ran here, by run.

    Args:
        learns: whether the engine runs any; else it does not learn when they end.
    """

    def __init__(self, *, learns: bool) -> None:
        self._learns = learns
        self._running: dict[str, Definition] = {}
        self._live: dict[str, Definition] = {}
        self._ended: dict[str, Definition] = {}
        self._next = 0.0

    def get(self, run_id: str) -> Definition | None:
        """Return the definition of a run; ``None``: not known, or no longer."""
        found = self._running.get(run_id) or self._live.get(run_id)
        return found or self._ended.get(run_id)

    def use(self, run_id: str, definition: Definition) -> None:
        """Keep the definition of a run that runs here now."""
        self._running[run_id] = definition

    def drop(self, run_id: str) -> None:
        """Forget a run that was not recorded; another one may have the id."""
        self._running.pop(run_id, None)

    def keep(self, run_id: str, definition: Definition) -> None:
        """Keep the definition of a run that leaves for now: it sleeps, say."""
        self._running.pop(run_id, None)
        if self._learns:
            self._live[run_id] = definition
        else:
            self.end(run_id, definition)

    def end(self, run_id: str, definition: Definition) -> None:
        """Keep the definition of a run that has ended, or continues elsewhere, for a while."""
        self._running.pop(run_id, None)
        self._live.pop(run_id, None)
        self._ended.pop(run_id, None)
        if definition.outputs:  # else a client queued it, without any code
            self._ended[run_id] = definition
        if len(self._ended) > _ENDED:
            del self._ended[next(iter(self._ended))]

    def forget(self, run_ids: Iterable[str]) -> None:
        """Forget runs that were deleted."""
        for run_id in run_ids:
            self._live.pop(run_id, None)
            self._ended.pop(run_id, None)

    async def tidy(self, store: Store, now: float) -> None:
        """Forget runs that others ended or deleted: a few are looked at each time, in turn.

        Args:
            store: where the runs are.
            now: seconds, by a clock that never jumps.
        """
        if now < self._next:
            return
        self._next = now + _EVERY
        for run_id in list(islice(self._live, max(_FEW, len(self._live) // _PART))):
            try:
                row = await store.get_run(run_id)
            except StoreCorruptError:
                row = None  # nobody can run it on
            definition = self._live.pop(run_id, None)
            if row is None or definition is None:
                continue
            if row.status.terminal:
                self.end(run_id, definition)
            else:
                self._live[run_id] = definition  # behind those that were not looked at
