"""The places of live runs: owned, ready, asleep. To find some costs no more than these."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from gorkflow.model import RunStatus
from gorkflow.stores.memory._runs import Run


@dataclass(slots=True)
class Places:
    """The live runs, by owner, or by what those without one wait for."""

    owned: dict[str, dict[str, Run]] = field(default_factory=dict[str, dict[str, Run]])
    """By worker, then by run."""
    ready: dict[str, Run] = field(default_factory=dict[str, Run])
    """Unowned, with something to do now."""
    asleep: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """Unowned, with a due time: that and the id, the earliest first."""
    mailed: dict[str, Run] = field(default_factory=dict[str, Run])
    """Unowned, with fresh mail; these are ready, asleep, or in neither of them."""
    resources: dict[str, dict[str, Run]] = field(default_factory=dict[str, dict[str, Run]])
    """By resource, then by run, with an owner or without."""

    def enter(self, run: Run) -> None:
        """Note a run that is live from now on."""
        if run.written.resource_id is not None:
            self.resources.setdefault(run.written.resource_id, {})[run.written.run_id] = run
        self.add(run)

    def leave(self, run: Run) -> None:
        """Forget a run, before its row says that it has ended."""
        self.remove(run)
        if run.written.resource_id is not None:
            _drop(self.resources, run.written.resource_id, run.written.run_id)

    def add(self, run: Run) -> None:
        """Put a run where its row says that it is."""
        row = run.written
        if row.worker_id is not None:
            self.owned.setdefault(row.worker_id, {})[row.run_id] = run
            return
        if row.due_at is not None:
            insort(self.asleep, (row.due_at, row.run_id))
        elif row.status is not RunStatus.SUSPENDED:
            self.ready[row.run_id] = run
        if run.has_fresh_mail:
            self.mailed[row.run_id] = run

    def remove(self, run: Run) -> None:
        """Take a run away, before its row changes."""
        row = run.written
        if row.worker_id is not None:
            _drop(self.owned, row.worker_id, row.run_id)
            return
        if row.due_at is not None:
            del self.asleep[bisect_left(self.asleep, (row.due_at, row.run_id))]
        self.ready.pop(row.run_id, None)
        self.mailed.pop(row.run_id, None)

    def mail_changed(self, run: Run) -> None:
        """Note that an unowned run has, or no longer has, fresh mail."""
        if run.written.worker_id is None and run.has_fresh_mail:
            self.mailed[run.written.run_id] = run
        else:
            self.mailed.pop(run.written.run_id, None)

    def due(self, now: float) -> Iterator[str]:
        """Return the ids of the sleeping runs that are due."""
        for due, run_id in self.asleep:
            if due > now:
                return
            yield run_id

    def occupied(self, run: Run) -> bool:
        """Whether a live run keeps this new one from its resource."""
        others = self.resources.get(run.written.resource_id or "", {})
        if run.written.resource_id is None or not others:
            return False
        return run.written.exclusive or any(other.written.exclusive for other in others.values())


def _drop(groups: dict[str, dict[str, Run]], name: str, run_id: str) -> None:
    group = groups[name]
    del group[run_id]
    if not group:
        del groups[name]
