"""A run as the memory store holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from gorkflow.events import Event
from gorkflow.store import Message, RunRow


class Run:
    """All that is kept of one run.

    Args:
        row: its summary.
        events: what is recorded of it.
    """

    __slots__ = ("deleted", "events", "mail", "seq", "written")

    def __init__(self, row: RunRow, events: Sequence[Event]) -> None:
        self.written = row
        """The summary as it was written last. Most appends change nothing in it but ``seq``, and so
        leave it as it is."""
        self.seq = row.seq
        """Of the latest event."""
        self.events = list(events)
        self.mail: dict[int, Message] = {}
        """By id, which rises."""
        self.deleted = False

    @property
    def row(self) -> RunRow:
        """The summary as it is."""
        if self.written.seq != self.seq:
            self.written = replace(self.written, seq=self.seq)
        return self.written

    @row.setter
    def row(self, row: RunRow) -> None:
        self.written = row

    def add(self, events: Sequence[Event]) -> None:
        """Add events."""
        self.events += events
        self.seq += len(events)

    def read(self, after: int, limit: int) -> list[Event]:
        """Return events with ``seq`` above ``after``, in order, at most ``limit``."""
        return self.events[after : after + limit]

    def mail_after(self, after: int) -> list[Message]:
        """Return the messages with an id above this one, oldest first."""
        later = takewhile(lambda message: message.id > after, reversed(self.mail.values()))
        return [*later][::-1]

    @property
    def age(self) -> tuple[float, str]:
        """By which runs are listed."""
        return self.written.created_at, self.written.run_id

    @property
    def turn(self) -> tuple[int, float, str]:
        """By which runs are claimed."""
        return -self.written.priority, *self.age

    @property
    def has_fresh_mail(self) -> bool:
        """Whether there is mail that its last owner did not know of."""
        return bool(self.mail) and next(reversed(self.mail)) > self.written.seen
