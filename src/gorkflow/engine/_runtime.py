"""What all runs of one engine share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gorkflow.engine._asleep import Asleep

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gorkflow.engine._admission import Admission
    from gorkflow.engine._committer import Committer
    from gorkflow.engine._driver import Driver
    from gorkflow.engine._executors import Executors
    from gorkflow.engine._functions import Functions
    from gorkflow.engine._lease import Lease
    from gorkflow.engine._times import Times
    from gorkflow.engine._watchdog import Watchdog
    from gorkflow.store import Store


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Runtime:
    """The shared parts, and the two ways in which a driver speaks to its engine."""

    loop: asyncio.AbstractEventLoop
    store: Store
    clock: Times
    committer: Committer
    executors: Executors
    functions: Functions
    slots: Admission
    worker_id: str
    deps: object
    max_payload: int
    """Bytes that one value may have as JSON."""
    uniform: Callable[[float, float], float]
    """Draws the jitter of retries."""
    ended: Callable[[Driver], None]
    """Called once when a driver has nothing more to do."""
    changed: Callable[[str], None]
    """Called with a run's id when events of it were recorded."""
    is_shutting_down: Callable[[], bool]
    """Whether all tasks of the loop are being cancelled, so that what they say means nothing."""
    asleep: Asleep = field(init=False)
    """The runs that were suspended here."""
    watchdog: Watchdog = field(init=False)
    """Counts for how long the event loop was blocked."""
    lease: Lease = field(init=False)
    """While it holds, nobody else has our runs, and steps may begin."""
    recovers: bool = field(default=False)
    """Whether runs that nobody carries are taken up here. Then one that only waits leaves the
    process: it is claimed when it is due."""
    closing: bool = field(default=False)
    """No step is scheduled any more."""

    def __post_init__(self) -> None:
        """Begin with no run that sleeps."""
        self.asleep = Asleep(self.store)
