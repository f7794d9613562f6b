"""The runtime: what all runs of one engine share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gorkflow.clock import Times
from gorkflow.engine._admission import Admission
from gorkflow.engine._asleep import Asleep
from gorkflow.engine._committer import Committer
from gorkflow.engine._lease import Lease
from gorkflow.engine._notes import Notes
from gorkflow.engine._observer import Commits
from gorkflow.engine._threads import Functions
from gorkflow.engine._watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sized

    from gorkflow.clock import Clock
    from gorkflow.engine._executors import Executors
    from gorkflow.engine._observer import Observers
    from gorkflow.engine._patience import Patience
    from gorkflow.engine._settings import Settings
    from gorkflow.hooks import OnEnd
    from gorkflow.store import Store

T = TypeVar("T")


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class Runtime:
    """The parts that all runs of one engine share."""

    loop: asyncio.AbstractEventLoop
    store: Store
    clock: Times
    patience: Patience
    """With the store, where it is away."""
    asked: Store = field(init=False)
    """The store, with patience: for what a caller asks."""
    committer: Committer
    executors: Executors
    functions: Functions
    admission: Admission
    worker_id: str
    max_runs: int | None
    """Runs that may be live here at a time."""
    deps: object
    lease_seconds: float
    """Seconds without a heartbeat after which others may take the runs."""
    max_payload: int
    """Bytes that one value may have as JSON."""
    log_level: int
    """The least level of the log lines of steps that are kept, as of ``logging``."""
    recovers: bool
    """Whether runs without an owner are claimed here. Then a run that only waits leaves the
    process: it is claimed when it is due."""
    queues: Mapping[str, int | None]
    """The queues whose runs are claimed here, each with its bound."""
    uniform: Callable[[float, float], float]
    """Draws the jitter of retries."""
    on_end: OnEnd | None
    """The hook of the engine."""
    changed: Callable[[str], None]
    """Called with a run's id when events of it were recorded."""
    observers: Observers | None = None
    closing: bool = False
    """No step is scheduled any more."""
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """The engine's own tasks."""
    asleep: Asleep = field(init=False)
    """The runs that were suspended here."""
    watchdog: Watchdog = field(init=False)
    """Counts for how long the event loop was blocked."""
    notes: Notes = field(init=False)
    """The reports and log lines of steps, on their way to the store."""
    lease: Lease = field(init=False)
    """While it holds, no other worker owns our runs, and steps may begin."""

    def __post_init__(self) -> None:
        self.asked = self.patience.with_(self.store)
        self.asleep = Asleep(self.store)
        self.watchdog = Watchdog(self.loop, self.clock)
        self.notes = Notes(self.loop, self.clock, self.store, self.changed)
        self.lease = Lease(
            self.loop,
            self.clock,
            self.store,
            self.worker_id,
            self.lease_seconds,
            patience=self.patience,
            concurrency=self.max_runs,
            queues=sorted(self.queues) if self.recovers else (),
        )
        self.patience.holds = self._keeps_on

    def _keeps_on(self) -> bool:
        """Whether our runs wait for the store however long it is away."""
        return self.lease.holds() and not self.closing

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work of the engine in a task of its own."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    @property
    def served(self) -> Mapping[str, int | None] | None:
        """The queues whose runs this engine takes, each with its bound; ``None``: any.

        One that takes no runs of others takes those that are named to it, in any queue.
        """
        return self.queues if self.recovers else None

    def serves(self, queue: str) -> bool:
        """Return whether runs of a queue are run here."""
        return self.served is None or queue in self.served

    def strays(self) -> int:
        """Return how many threads outlive their attempts. From any thread."""
        return self.admission.strays + self.functions.strays

    def is_shutting_down(self) -> bool:
        """Return whether all tasks of the loop are being cancelled, the engine's among them."""
        return self.closing or any(task.cancelling() for task in self.tasks)


def runtime_of(
    settings: Settings,
    store: Store,
    clock: Clock,
    patience: Patience,
    live: Sized,
    executors: Executors,
    *,
    worker_id: str,
    changed: Callable[[str], None],
    recovers: bool,
    owns_loop: bool,
    closing: bool,
) -> Runtime:
    """Make the parts of an engine.

    Args:
        settings: the engine's.
        store: has the runs.
        clock: where the time comes from.
        patience: as of ``Runtime``.
        live: the runs that are live here.
        executors: where handlers run.
        worker_id: the engine's.
        changed: as of ``Runtime``.
        recovers: as of ``Runtime``.
        owns_loop: as of ``Committer``.
        closing: as of ``Runtime``.
    """
    import random  # as late as possible: it is slow to load

    loop = asyncio.get_running_loop()
    times, observers = Times(clock, settings.lease), settings.observers
    commits = None if observers is None else Commits(observers, times)
    return Runtime(
        loop=loop,
        store=store,
        clock=times,
        patience=patience,
        committer=Committer(store, loop, live, patience, owns_loop=owns_loop, commits=commits),
        executors=executors,
        functions=Functions(loop, executors.threads, settings.max_threads),
        admission=Admission(store, worker_id, times, *settings.room),
        worker_id=worker_id,
        max_runs=settings.max_concurrent_runs,
        deps=settings.deps,
        max_payload=settings.max_payload,
        log_level=settings.log_level,
        uniform=random.Random().uniform,
        on_end=settings.on_end,
        changed=changed,
        observers=observers,
        closing=closing,
        lease_seconds=settings.lease,
        recovers=recovers,
        queues=settings.queues,
    )
