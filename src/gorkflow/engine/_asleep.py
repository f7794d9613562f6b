"""The state of a run in memory, and the suspended runs of an engine, whose state it keeps.

To wake such a run, nothing has to be replayed.

The store alone says what is recorded. A kept state counts only as far as the store agrees: the run
has the token of our own claim, or the machine is first fed the later events of others.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gorkflow.engine._signals import Inbox
from gorkflow.errors import HistoryError
from gorkflow.machine import extend
from gorkflow.model import RunStatus

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.engine._values import Values
    from gorkflow.machine import Machine
    from gorkflow.store import RunRow, Store

LIMIT = 64 * 2**20
"""Bytes that all kept runs may take together, as ``weight`` estimates them."""

_EVENT, _FRAME = 100, 1000  # bytes that an event of the past takes, and a live node


@dataclass(slots=True, eq=False)
class RunState:
    """A run as its events left it."""

    definition: Definition
    machine: Machine
    values: Values
    timeout: float | None = None
    """Seconds that it may take once it is started."""
    defined_at: float | None = None
    """When its definition was new, in seconds since the epoch; ``None``: when it was created."""
    scheduled_for: float | None = None
    """The due time for which a schedule started it, in seconds since the epoch."""
    tags: tuple[tuple[str, str], ...] = ()
    mail: Inbox = field(init=False)
    """The messages that have had no effect yet."""

    def __post_init__(self) -> None:
        self.forget_mail()

    def forget_mail(self) -> None:
        """Have the messages read anew."""
        self.mail = Inbox(self.machine, self.definition.payloads)

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        events, frames = self.machine.seq * _EVENT, len(self.machine.frames) * _FRAME
        return self.values.size + self.mail.size + events + frames


class Asleep:
    """The latest of the runs that this engine suspended.

    Args:
        store: where they are recorded.
        limit: bytes that they may take together; those that slept longest go first.
    """

    def __init__(self, store: Store, limit: int = LIMIT) -> None:
        self._store = store
        self._limit = limit
        self._runs: OrderedDict[str, tuple[RunRow, RunState, int]] = OrderedDict()
        self.weight = 0

    def put(self, row: RunRow, run: RunState) -> None:
        """Keep a run whose suspension is durable. Its driver does not use it any more."""
        if row.status is not RunStatus.SUSPENDED:
            return
        self._take(row.run_id)
        weight = run.weight
        self._runs[row.run_id] = row, run, weight
        self.weight += weight
        while self.weight > self._limit:
            self._take(next(iter(self._runs)))

    async def wake(self, row: RunRow) -> RunState | None:
        """Return a run as it is recorded, and forget it; ``None``: it has to be loaded.

        Args:
            row: as our claim left it: no other worker writes to the run meanwhile.

        Raises:
            StoreError: If the store failed.
        """
        found = self._take(row.run_id)
        if found is None:
            return None
        old, run, _ = found
        machine = run.machine
        if (old.created_at, old.fingerprint) != (row.created_at, row.fingerprint):
            return None  # it was deleted, and another one has its id
        if row.token == old.token + 1:
            return run if row.seq == machine.seq else None
        if run.definition.fingerprint != row.fingerprint:
            return None  # what others recorded may not fit the types of our code: load it, and see
        run.forget_mail()  # others may have read some
        missing = row.seq - machine.seq
        if missing > 0:
            events = await self._store.read_events(row.run_id, after=machine.seq, limit=missing)
            try:
                extend(machine, events)
            except HistoryError:
                return None  # the whole history tells whether it is damaged
            run.values.note(events)
        return run if row.seq == machine.seq else None

    def _take(self, run_id: str) -> tuple[RunRow, RunState, int] | None:
        found = self._runs.pop(run_id, None)
        if found is not None:
            self.weight -= found[2]
        return found
