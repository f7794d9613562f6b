"""One suite that every store passes whole. Written against the sentences of ``gorkflow.store``.

Make a test class of it, and say how a store is made::

    class TestMyStore(StoreConformance):
        def make_store(self) -> Store:
            return MyStore(...)

Every instant is fixed and nothing sleeps. Needs pytest.
"""

import pytest

for part in (
    "hooks",
    "limits",
    "listing",
    "mail",
    "notes",
    "owning",
    "queues",
    "reading",
    "schedules",
    "writing",
):
    pytest.register_assert_rewrite(f"{__name__}.{part}")

# Only now, so that a failing assert shows its values.
# ruff: noqa: E402
from gorkflow.testing.conformance.base import (
    EVENTS,
    LEASE,
    PAYLOADS,
    T0,
    completed,
    finish,
    message,
    new_run,
    run_row,
    signal,
    step_forward,
    worker,
)
from gorkflow.testing.conformance.hooks import Hooks
from gorkflow.testing.conformance.limits import Limiting
from gorkflow.testing.conformance.lines import Lines
from gorkflow.testing.conformance.listing import Listing
from gorkflow.testing.conformance.mail import Mail
from gorkflow.testing.conformance.notes import Noting
from gorkflow.testing.conformance.owning import Owning
from gorkflow.testing.conformance.queues import Queues
from gorkflow.testing.conformance.reading import Reading
from gorkflow.testing.conformance.schedules import Schedules
from gorkflow.testing.conformance.writing import Writing

__all__ = [
    "EVENTS",
    "LEASE",
    "PAYLOADS",
    "T0",
    "StoreConformance",
    "completed",
    "finish",
    "message",
    "new_run",
    "run_row",
    "signal",
    "step_forward",
    "worker",
]


class StoreConformance(
    Writing, Owning, Limiting, Mail, Noting, Reading, Listing, Schedules, Hooks, Queues, Lines
):
    """The contract of every store, as tests. Subclass it, and define ``make_store``.

    Set ``durable = False`` for a store that forgets its runs when it is closed.
    """
