"""A run as the memory store holds it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gorkflow.events import Event
from gorkflow.store import Message, RunRow


@dataclass(slots=True, eq=False)
class Run:
    """All that is kept of one run."""

    row: RunRow
    events: list[Event]
    mail: dict[int, Message] = field(default_factory=dict[int, Message])
    """By id, which rises."""
    deleted: bool = False

    @property
    def age(self) -> tuple[float, str]:
        """By which runs are listed."""
        return self.row.created_at, self.row.run_id

    @property
    def turn(self) -> tuple[int, float, str]:
        """By which runs are claimed."""
        return -self.row.priority, self.row.created_at, self.row.run_id

    @property
    def has_fresh_mail(self) -> bool:
        """Whether there is mail that its last owner did not know of."""
        return bool(self.mail) and next(reversed(self.mail)) > self.row.seen
