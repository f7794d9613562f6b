"""The store: what keeps runs, events, schedules, limits and hook calls.

A store moves rows and holds leases. It judges nothing: no retry, join or status rule lives here.
All methods but ``write`` are coroutines; a store may do its work in threads. All instants are
floats, seconds since the epoch, and come from the caller. A store that hosts share has a clock,
from which the caller takes them. A ``Timekeeper`` judges who is alive, who may start and what is
due, where nothing is waited for any more: in the transaction that writes. A store with a clock may
ask that instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from gorkflow.clock import Timekeeper
from gorkflow.events import Event, Seconds
from gorkflow.hooks import Hook, HookCall, HookStore
from gorkflow.limits import NONE, LimitGrant, LimitRequest, LimitUse
from gorkflow.listing import MOST_COUNTED, Page, RunCount, RunFilter
from gorkflow.model import DEFAULT_QUEUE, RunStatus
from gorkflow.schedule import ScheduleStore


class Line(IntEnum):
    """The place of a run in the line of its resource."""

    NONE = 0
    """It was not started with ``exclusive="wait"``."""
    WAITS = 1
    """Earlier runs have the resource: a look for work does not find it, though it has mail."""
    TURN = 2
    """It has the resource."""


class RunRow(Struct, frozen=True, kw_only=True):
    """The summary of a run. Never holds a payload: it is rewritten by every append."""

    run_id: str
    workflow_id: str
    workflow_version: str
    fingerprint: str
    """The fingerprint of the flow tree that the run executes."""
    status: RunStatus = RunStatus.PENDING
    reason: str = ""
    resource_id: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    """Sorted by name."""
    created_at: Seconds
    started_at: Seconds | None = None
    finished_at: Seconds | None = None
    due_at: Seconds | None = None
    """When the run next has something to do; ``None`` where it waits for nothing but its steps, or,
    when it is ``suspended``, for nothing but a message. Each append writes it: if the owner dies,
    another worker takes the run over at this instant."""
    seq: int
    """The ``seq`` of its latest event."""
    worker_id: str | None = None
    """The owner; ``None``: the run has none."""
    token: int = 0
    """The lease token: each claim raises it by one; an append with an older one is fenced."""
    priority: int = 0
    """A run of a higher one is claimed first."""
    exclusive: bool = False
    """Whether no other live run may have the same ``resource_id``, unless it waits in line."""
    seen: int = 0
    """The id of the latest message that its owner knew of when it suspended the run: only a later
    one wakes it before it is due."""
    orphaned: bool = False
    """Whether an owner died with it since the latest append, which writes this like the rest."""
    trace: str = ""
    """The trace that it belongs to, as its observers write it; empty: none."""
    waits_for: tuple[str, ...] = ()
    """The names of the signals that it waits for now, sorted. Runs can be listed by each."""
    hooks: int = 0
    """The hooks to call when the run has ended: ``Hook`` names the bits. The transition that ends
    the run makes these calls due, from ``finished_at``."""
    queue: str = DEFAULT_QUEUE
    """Only workers that name this queue claim the run."""
    line: Line = Line.NONE
    """Only a claim changes it, and only from ``WAITS`` to ``TURN``. A run with a line is
    ``exclusive``, too."""

    @property
    def is_in_line(self) -> bool:
        """Whether it waits for its turn."""
        return self.line is Line.WAITS and not self.status.terminal

    @property
    def asked_exclusive(self) -> bool | Literal["wait"]:
        """The option ``exclusive`` of its start."""
        return "wait" if self.line else self.exclusive


def calls_of(row: RunRow) -> list[HookCall]:
    """Return the hook calls that fall due with the transition that ends a run.

    Args:
        row: the summary after it.
    """
    at = row.created_at if row.finished_at is None else row.finished_at
    return [
        HookCall(
            run_id=row.run_id,
            workflow_id=row.workflow_id,
            hook=hook,
            ended_at=at,
            due_at=at,
        )
        for hook in Hook(row.hooks)
    ]


class NewRun(Struct, frozen=True):
    """A run to create."""

    row: RunRow
    """``seq`` is that of the last of ``events``. A row with a ``worker_id`` is created already
    claimed by it, with the row's ``token``."""
    tree: str
    """The canonical text of the flow tree, kept once per fingerprint."""
    events: Sequence[Event]
    """Its first events, from ``seq`` 1."""

    @property
    def seq(self) -> int:
        """The ``seq`` that the run has after it."""
        return len(self.events)


class Append(Struct, frozen=True):
    """One transition of one run: its events, and the summary after them."""

    row: RunRow
    """The new summary, except for its ``seq``, which follows from the events. ``row.token`` is the
    token of the claim. ``row.worker_id`` ``None`` releases the run in the same transaction. The
    fields fixed at creation (ids, fingerprint, tags, ``created_at``, ``priority``, ``exclusive``,
    ``queue``) and ``line`` are not written again."""
    events: Sequence[Event]
    """In order, without gaps; may be empty, to change only the summary."""
    expected_seq: int
    """The ``seq`` that the run must still have."""
    consumed: Sequence[int] = ()
    """Messages of this run that the events make use of: dropped in the same transaction, so that
    what one brings happens once. Those that are gone already, or another run's, are passed over."""
    changed: bool = True
    """Whether ``row`` differs from what this owner wrote or claimed last. Most transitions change
    only the ``seq`` of a summary; if ``False``, a store writes only that."""

    @property
    def seq(self) -> int:
        """The ``seq`` that the run has after it."""
        return self.expected_seq + len(self.events)


Transition = NewRun | Append
"""One item of a batch to write."""


class Written(StrEnum):
    """The store's answer for one item of a batch. Unless it is ``OK``, nothing was written."""

    OK = "ok"
    DUPLICATE = "duplicate"
    """A new run: a run of this id exists."""
    OCCUPIED = "occupied"
    """A new run: another live run has the same ``resource_id``, and one of the two is
    ``exclusive``. A run that waits in line is never ``OCCUPIED``, but keeps others out."""
    UNDECIDED = "undecided"
    """A new run: whether it is one of these depends on a transaction that another program has open.
    It is to be sent again, after a while."""
    FENCED = "fenced"
    """An append: token or ``seq`` did not match, or the run is gone."""
    UNSTORABLE = "unstorable"
    """One of its values can't be kept: a lone surrogate, or an integer of more than 64 bits."""


class Message(NamedTuple):
    """Something sent into a run from outside."""

    id: int
    """Given by the store, rising within its run, and never given twice there; 0 when posted."""
    run_id: str
    kind: str
    """``cancel`` or ``signal``."""
    body: str
    """For ``cancel``: the reason. For ``signal``: its name."""
    at: float
    payload: bytes | None = None
    """For ``signal``: its value as JSON, kept byte for byte."""


class Loaded(NamedTuple):
    """All that is recorded of a run."""

    row: RunRow
    tree: str
    events: tuple[Event, ...]
    messages: tuple[Message, ...] = ()
    """Those that were not consumed yet, oldest first."""


class AttemptId(NamedTuple):
    """An attempt of a step."""

    run_id: str
    created_at: Seconds
    """When its run was created: another run may have the id by now."""
    path: str
    attempt: int


class ReportRow(NamedTuple):
    """The latest progress report of a running attempt."""

    run_id: str
    created_at: Seconds
    """As of ``AttemptId``."""
    path: str
    attempt: int
    done: float
    total: float | None
    message: str
    at: float
    """Seconds since the epoch."""


class LineRow(NamedTuple):
    """A line in the log of an attempt."""

    run_id: str
    created_at: Seconds
    """As of ``AttemptId``."""
    path: str
    attempt: int
    number: int
    """Within its attempt, from 1."""
    at: float
    """Seconds since the epoch."""
    level: int
    """As of ``logging``: 20 is ``INFO``."""
    text: str
    id: int = 0
    """Given by the store, rising; 0 in a line to keep."""


class Worker(NamedTuple):
    """A process that claims runs."""

    worker_id: str
    started_at: float
    seen_at: float
    """Its latest heartbeat."""
    lease: float
    """Seconds after ``seen_at`` for which the others believe it alive."""
    host: str = ""
    pid: int = 0
    concurrency: int | None = None
    """The number of runs that it has at a time, at most; ``None``: no limit."""
    queues: tuple[str, ...] = ()
    """The queues whose runs it takes, sorted."""


class Heartbeat(NamedTuple):
    """The answer to a heartbeat."""

    alive: bool
    """False: the lease had ended and others may have taken the runs; stop working on them."""
    messages: tuple[Message, ...] = ()
    """Messages for runs that this worker owns, not yet dropped; those of a run oldest first."""
    cursor: str = ""
    """For ``after``, the next time."""


@runtime_checkable
class RunReader(Protocol):
    """The part of a store that dashboards and command lines read through. It changes nothing.

    Example:
        >>> import asyncio
        >>> from gorkflow import stores
        >>> async def count(reader: stores.RunReader) -> int:
        ...     return len(await reader.read_events("no-such-run"))
        >>> async def main() -> int:
        ...     store = stores.open_store("memory:")
        ...     await store.open()
        ...     return await count(store)
        >>> asyncio.run(main())
        0
    """

    async def get_run(self, run_id: str) -> RunRow | None:
        """Return the summary of a run, or ``None`` where there is no such run."""
        ...

    async def get_runs(self, run_ids: Sequence[str]) -> dict[str, RunRow]:
        """Return the summaries of several runs by their ids, as of one moment.

        A run that is not there is left out. So is one that can't be read: ``get_run`` says why.
        """
        ...

    async def list_runs(self, query: RunFilter) -> Page[RunRow]:
        """Return one page of summaries, newest first (``created_at``, then ``run_id``).

        Costs what the page costs, not what the store holds; never reads events. If no index has
        just the runs of the filter, a page may end early, even without a run: with a cursor, and
        ``searched_to``. Pages don't overlap and miss nothing that existed when the first was read.

        Raises:
            ValueError: If the cursor did not come from this method.
        """
        ...

    async def count_runs(self, query: RunFilter, *, most: int = MOST_COUNTED) -> RunCount:
        """Count the runs of a filter; its limit and cursor do not matter.

        Costs at most what ``most`` runs cost, not what the store holds: it stops early, as a page
        does, and says so.

        Args:
            query: the filter.
            most: count no further than that.
        """
        ...

    async def latest_runs(self, *, after: str = "", limit: int = 100) -> list[RunRow]:
        """Return the newest run of each workflow, in the order of the workflows' ids.

        Costs what the workflows are, not what their runs are.

        Args:
            after: only workflows whose id comes after this one.
            limit: at most so many.
        """
        ...

    async def load(self, run_id: str) -> Loaded | None:
        """Return everything recorded of a run, or ``None`` where there is no such run.

        Row and events are of one moment: ``row.seq`` is the ``seq`` of the last event.

        Raises:
            StoreCorruptError: If a row of this run can't be read. Other runs are not affected.
        """
        ...

    async def load_many(self, run_ids: Sequence[str]) -> dict[str, Loaded]:
        """Return everything recorded of several runs by their ids, as of one moment.

        A store far away is asked once or twice, however many runs there are. A run that is not
        there is left out. So is one that can't be read: ``load`` says why.
        """
        ...

    async def get_tree(self, fingerprint: str) -> str | None:
        """Return the canonical text of the flow tree with this fingerprint; ``None``: none has."""
        ...

    async def read_events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return events of a run with ``seq`` above ``after``, in order, at most ``limit``.

        An unknown run has no events.

        Raises:
            StoreCorruptError: If a row can't be read.
        """
        ...

    async def read_all_events(
        self, *, after: str = "", limit: int = 1000
    ) -> tuple[list[Event], str]:
        """Return events of all runs in an order that never changes, and the cursor after them.

        Each run's come by ``seq``. An event never appears before a cursor already given. For that,
        a store may hold back what was recorded last, until older write transactions have ended.
        With nothing new the list is empty and the cursor the same.

        Args:
            after: the cursor of an earlier call; empty: from the beginning.
            limit: at most so many.

        Raises:
            ValueError: If the cursor did not come from this method.
        """
        ...

    async def end_of_feed(self) -> str:
        """Return a cursor of ``read_all_events``: after it comes all that is recorded from now on.

        If older write transactions are open, what they and later ones recorded comes after it, too.
        """
        ...

    async def reports(self, run_id: str) -> list[ReportRow]:
        """Return the latest report of each path of a run that has one, in the order of the paths.

        A report may be left over from an attempt whose process died: compare the attempts.
        """
        ...

    async def logs(
        self, run_id: str, *, path: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[LineRow]:
        """Return lines of a run's log with an id above ``after``, in order, at most ``limit``.

        Ids rise in the order in which lines can be read: none appears below one already seen.

        Args:
            run_id: the run; an unknown one has no lines.
            path: only lines of the step at this path.
            after: the ``id`` of the last line that was read.
            limit: at most so many.
        """
        ...

    async def clock(self) -> float | None:
        """Return the time by the store's own clock; ``None``: it has none, the caller's is used.

        All workers of a store must judge leases and due times by one clock. A store that hosts
        share has it.

        Returns:
            Seconds since the epoch.
        """
        ...

    async def workers(self, *, now: float | None = None) -> list[Worker]:
        """Return the workers that the store believes alive.

        Args:
            now: seconds since the epoch; without it, a lease that has ended is not noticed.
        """
        ...

    async def owned(self) -> dict[str, int]:
        """Return how many live runs each worker owns, alive or not; those without any are left out.

        Costs what they own.
        """
        ...

    async def waiting_queues(self) -> list[str]:
        """Return the queues of the runs that a worker may claim now, or once they are due.

        In the order of their names. Costs what the queues are, not what their runs are.
        """
        ...

    async def limits(self, *, now: float) -> list[LimitUse]:
        """Return what is known of each named limit, in the order of their names.

        Args:
            now: seconds since the epoch. Places of dead workers are left out.
        """
        ...


@runtime_checkable
class Store(RunReader, ScheduleStore, HookStore, Protocol):
    """The place where runs and events are kept.

    A failed call raises ``StoreError`` (or a subclass) and recorded nothing, for the whole batch;
    what concerns a single run of a batch comes back as its ``Written`` and never fails the others.

    ``StoreUnavailableError`` is for what passes: the store is away, or in use by others for too
    long. Then the same call may be made again. Only ``write`` may have recorded its batch. Then an
    item that is sent again comes back ``FENCED`` or ``DUPLICATE``; its run stands as the item left
    it. For all that does not pass, a store raises another ``StoreError``.

    Example:
        >>> from gorkflow import stores
        >>> isinstance(stores.open_store("memory:"), stores.Store)
        True
    """

    durable: bool
    """Whether what was written is there after a restart of the process."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date (under a lock; safe to kill anywhere).

        Raises:
            StoreUnavailableError: If it can't be opened or written; says why.
            StoreVersionError: If its schema is newer than this code.
        """
        ...

    async def close(self) -> None:
        """Release everything. Closing twice is harmless. A memory store forgets its runs."""
        ...

    async def register(self, worker: Worker) -> None:
        """Announce a worker, alive from now until ``unregister`` or its death.

        An earlier worker of this id is gone by now. Its runs are released, ``orphaned``.

        If the store sees a process die, by a lock that the system frees, the lease does not matter.
        A sign of life that is gone for everybody, or whose connection just broke, does not prove a
        death.
        """
        ...

    async def unregister(self, worker_id: str) -> None:
        """Forget a worker, and release every run and every place at a limit that it still has."""
        ...

    async def heartbeat(self, worker_id: str, times: Timekeeper, *, after: str = "") -> Heartbeat:
        """Extend the worker's lease, from when it is written, and fetch the messages for its runs.

        Costs what it brings, not what the inboxes hold.

        Args:
            worker_id: the registered worker.
            times: judges whether the lease still holds, and from when it is extended.
            after: the cursor of an earlier heartbeat: only messages that can be read since then.
                Some of those from before may come again. Messages for a run from before its claim
                may be left out: ``inbox`` has them. Empty: from the beginning.

        Raises:
            ValueError: If the cursor did not come from this method.
        """
        ...

    def write(
        self, batch: Sequence[Transition], *, block: bool = False
    ) -> Awaitable[list[Written]]:
        """Create runs, and record transitions of others, in one transaction, durable on return.

        Answers for each item, in their order; the earlier items of a batch count as written.

        * A new run is ``OK``, ``DUPLICATE`` or ``OCCUPIED``; ``DUPLICATE`` where both hold.
        * An append is written only where ``seq`` equals ``expected_seq`` and ``token`` equals the
          row's token; else it is ``FENCED``. So is one to a run whose status is terminal: a
          terminal status never changes.
        * An item with a value that the store can't keep is ``UNSTORABLE``.
        * No call waits for the transaction in which another program creates a run: that may stay
          open for long. A new run that depends on it is ``UNDECIDED``.
        * One after which the run has ended also records a ``HookCall`` for each of ``row.hooks``.

        A store that never waits returns a future that is done, and raises at once: the engine then
        continues without a turn of the event loop.

        Args:
            batch: what to write.
            block: whether the store may do it in this thread, since nothing else runs in its event
                loop: that is quicker than a change of thread. A store may ignore it.
        """
        ...

    async def claim(
        self,
        worker_id: str,
        *,
        times: Timekeeper,
        ahead: float = 0.0,
        workflow_ids: Sequence[str] | None = None,
        queues: Mapping[str, int | None] | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[RunRow]:
        """Take over runs without a living owner; return them as they are then, with fresh tokens.

        A run is claimable if it has not ended, has no living owner, and has something to do: its
        ``due_at`` is not after now; or it is ``None`` and the run not suspended; or there is a
        message for it with an id above its ``seen``. Else a sleeping run could be cancelled only
        once it wakes.

        First, it gives turns: a run whose ``line`` is ``WAITS`` gets its ``TURN``. That is
        the oldest (``created_at``, then ``run_id``), where all live runs of its ``resource_id``
        wait. At no moment do two have their turn. Until then, only its
        ``run_id`` finds it. This costs what the resources are that runs wait for.

        The highest ``priority`` first; of one priority, the oldest (``created_at``, then
        ``run_id``). Atomic: of several workers that claim at the same time, one gets a run. The
        other runs and places of dead workers are released, as by ``unregister``. The cost grows
        with runs that are due or have fresh mail. Sleeping runs, other workflows and other queues
        cost nothing.

        A queue may have a bound: the number of its live runs that all workers together own, at
        most. One call may find fewer runs than there are, since runs beyond a bound take up its
        ``limit``; the next call passes by the queues that are full.

        All runs taken from an owner become ``orphaned``, unless the store sees that the owner
        lives: it was frozen, or too slow.

        Args:
            worker_id: the registered worker that claims.
            times: judges what is due, and who is alive.
            ahead: seconds; runs that are due within them count as due.
            workflow_ids: only runs of these workflows; ``None``: of any.
            queues: only runs of these queues, each with its bound; ``None`` as a bound: there is
                none. ``None`` in all: runs of any queue.
            run_id: only this run, whether or not it has something to do.
            limit: at most so many.
        """
        ...

    async def take_limits(
        self,
        worker_id: str,
        *,
        times: Timekeeper,
        held: Mapping[str, int],
        requests: Sequence[LimitRequest] = (),
        unbegun: Mapping[str, int] = NONE,
        began: Mapping[str, float] = NONE,
    ) -> LimitGrant:
        """Let steps in at limits that all workers share, as ``gorkflow.limits.settle`` judges it.

        In one transaction: places of dead workers are released; ``held`` is recorded as all that
        this worker has; and as many of each request as there is room for are let in. The worker
        holds them until a later call leaves them out of ``held``. So a call whose outcome is
        unknown can be made again, and costs at most some of the rate.

        A worker that is not alive itself holds nothing and is let in nowhere: the grant is
        ``contended``, as if others were in its way.

        Args:
            worker_id: the registered worker.
            times: judges who is alive, and what time it is.
            held: how many of its steps are in, by the limit's name.
            requests: who wants in, those who came first in front.
            unbegun: how many of those let in before have not begun yet, by the limit's name.
            began: when the latest of the others did; where it isn't said, when they were let in.
        """
        ...

    async def note(
        self,
        *,
        reports: Sequence[ReportRow] = (),
        lines: Sequence[LineRow] = (),
        ended: Sequence[AttemptId] = (),
    ) -> None:
        """Keep reports and log lines, in one transaction. They are not events, and not fenced.

        They outlive the process on return; a power loss may take the latest. All of a run that is
        not there are dropped. So are all with another ``created_at`` than the run of that id.

        Args:
            reports: each becomes the report of its path, unless that has one of a later attempt.
            lines: each is kept under its attempt and number, and replaces an earlier one there.
            ended: attempts that ended: their reports are dropped.
        """
        ...

    async def post(self, message: Message) -> bool:
        """Leave a message for a run, durable on return. False: no such run, or it is terminal.

        Within a run, ids rise in the order in which its messages can be read: none appears below
        one already seen.
        """
        ...

    async def inbox(self, run_id: str, *, after: int = 0) -> list[Message]:
        """Return the messages of a run that were not consumed yet, oldest first.

        Costs what it brings: only messages with an id above ``after``.
        """
        ...

    async def delete_runs(self, run_ids: Sequence[str]) -> int:
        """Delete ended runs with all that belongs to them; return how many. Others are left.

        Reports, log lines and hook calls that are due belong to them, too.
        """
        ...


class HintKind(StrEnum):
    """The kind of a hint: where to look."""

    QUEUED = "queued"
    """A run of this workflow may be claimable."""
    MAIL = "mail"
    """There may be a message for a run of this worker."""
    ENDED = "ended"
    """This run may have ended."""


Hinted = Callable[[HintKind, str], object]
"""Takes hints: the kind, and the id of the workflow, worker or run."""


@runtime_checkable
class Hinting(Protocol):
    """A store that says when it is worth to look, before those who look now and then come by.

    A hint may be late, wrong, doubled or missing. So it only ever wakes a look.

    Example:
        >>> from gorkflow import stores
        >>> isinstance(stores.open_store("memory:"), stores.Hinting)
        True
    """

    def hints(self, call: Hinted) -> Callable[[], object]:
        """Have a function called with each hint, from any thread; return what ends that.

        Args:
            call: returns soon, and does not raise.
        """
        ...


def hints_of(row: RunRow) -> Iterator[tuple[HintKind, str]]:
    """Yield the hints that a summary leads to which was just written."""
    if row.status.terminal:
        yield HintKind.ENDED, row.run_id
    elif row.worker_id is None and row.due_at is None and row.status is not RunStatus.SUSPENDED:
        yield HintKind.QUEUED, row.workflow_id


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    """Works, but should be looked at."""
    PROBLEM = "problem"
    """It fails until a person acts."""


class Finding(NamedTuple):
    """One thing that was found out about a store, or about what it keeps."""

    level: Level
    about: str
    """Its subject, in a word or two."""
    text: str
    advice: str = ""
    """The remedy."""


class Examination(NamedTuple):
    """The findings about a store that is not open."""

    findings: tuple[Finding, ...]
    opens: bool
    """Whether opening it would succeed, and change nothing."""


@runtime_checkable
class Inspectable(Protocol):
    """A store that can be examined, checked and tidied while others use it.

    Example:
        >>> from gorkflow import stores
        >>> isinstance(stores.open_store("memory:"), stores.Inspectable)  # it keeps no files
        False
        >>> isinstance(stores.open_store("sqlite:runs.db"), stores.Inspectable)
        True
    """

    async def examine(self, now: float) -> Examination:
        """Return the state of the place, its files and workers. Need not be open; changes nothing.

        Args:
            now: seconds since the epoch.
        """
        ...

    async def check(self, *, rows_only: bool = False) -> list[Finding]:
        """Look at everything that is kept, and return what is damaged. Must be open.

        It reads one moment, and writers continue meanwhile. Whether histories make sense is not
        judged here.

        Args:
            rows_only: leave out what has to read the whole file for it.

        Raises:
            StoreError: If it can't even be looked at.
        """
        ...

    async def discard(self, run_id: str, now: float) -> bool:
        """Delete a run in any state, even one that can't be read. Must be open.

        Args:
            run_id: the run.
            now: seconds since the epoch.

        Returns:
            Whether it was deleted: not where there is none, or a living worker owns it.
        """
        ...

    async def tidy(self) -> int:
        """Drop what no run uses any more; return the bytes that are free for new runs. Be open."""
        ...


@runtime_checkable
class Copyable(Protocol):
    """A store that copies itself while others use it. For the others, its database has tools.

    Example:
        >>> from gorkflow import stores
        >>> isinstance(stores.open_store("sqlite:runs.db"), stores.Copyable)
        True
    """

    async def backup(self, path: str) -> int:
        """Copy everything, as of one moment, into a new file; return its size in bytes.

        Must be open; writers continue meanwhile. The file appears under its name only once it is
        whole, verified and on the disk; only its owner may read it.

        Raises:
            StoreError: If there is such a file already, or it can't be written, or isn't sound.
        """
        ...
