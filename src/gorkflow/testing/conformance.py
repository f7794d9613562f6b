"""One suite that every store passes whole. Written against the sentences of ``gorkflow.store``.

Make a test class of it, and say how a store is made::

    class TestMyStore(StoreConformance):
        def make_store(self) -> Store:
            return MyStore(...)

Every instant is fixed and nothing sleeps. Needs pytest.
"""

import pytest

pytest.register_assert_rewrite(
    "gorkflow.testing._conformance_limits",
    "gorkflow.testing._conformance_listing",
    "gorkflow.testing._conformance_mail",
    "gorkflow.testing._conformance_owning",
    "gorkflow.testing._conformance_reading",
    "gorkflow.testing._conformance_schedules",
    "gorkflow.testing._conformance_waiting",
    "gorkflow.testing._conformance_writing",
)

# Only now, so that a failing assert shows its values.
# ruff: noqa: E402
from gorkflow.testing._conformance_base import (
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
    with_store,
    worker,
)
from gorkflow.testing._conformance_limits import Limiting
from gorkflow.testing._conformance_listing import Listing
from gorkflow.testing._conformance_mail import Mail
from gorkflow.testing._conformance_owning import Owning
from gorkflow.testing._conformance_reading import Reading
from gorkflow.testing._conformance_schedules import Schedules
from gorkflow.testing._conformance_waiting import Waiting
from gorkflow.testing._conformance_writing import Writing

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
    "with_store",
    "worker",
]


class StoreConformance(Writing, Owning, Waiting, Limiting, Mail, Reading, Listing, Schedules):
    """The contract of every store, as tests. Subclass it, and define ``make_store``.

    Set ``durable = False`` for a store that forgets its runs when it is closed.
    """
