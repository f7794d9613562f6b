"""The base of the conformance suite: the samples, and the store of a test."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, TypeVar

from msgspec.structs import replace

from gorkflow import events as ev
from gorkflow.clock import Moment
from gorkflow.events import Default, Ended, Item, ListOf
from gorkflow.listing import Page
from gorkflow.model import Failure, FailureCode, RunStatus, StepStatus, instant
from gorkflow.state_changes import Write
from gorkflow.store import (
    Append,
    Loaded,
    Message,
    NewRun,
    RunRow,
    Store,
    Transition,
    Worker,
    Written,
)

T = TypeVar("T")
T0 = 1_700_000_000.25
"""The instant at which most of it happens, in seconds since the epoch."""
LEASE = 30.0
MANY = 8
"""The stores of a test of several."""
OK, DUPLICATE, FENCED = Written.OK, Written.DUPLICATE, Written.FENCED
OCCUPIED = Written.OCCUPIED

PAYLOADS = (
    b"",
    b"null",
    b'"\\u0000"',
    b"\x00\xff\xfe not text at all",
    b'{"b":1,"a":1.10,"b":2}',
    b"9" * 5000,
    "\u00fc\U0001f600".encode(),
    bytes(range(256)) * 4096,
)
"""Payloads that must be returned byte for byte: NUL, no UTF-8, doubled keys, big numbers, 1 MiB."""

_FAILURE = Failure(
    path="a/b",
    step_id="b",
    attempt=2,
    code=FailureCode.STEP_FAILED,
    type="builtins.ValueError",
    message="no \x00 \u2028 \u00e9",
    traceback="line\nline",
    at=instant(T0),
)
_ENDED = Ended("a", StepStatus.FAILED, failures=(3, _FAILURE), optional=True)
_STATE = (
    Write("k \u00e9", "set", '{"b":1,"a":1.10}'),
    Write("n", "incr", "1"),
    Write("k", "delete"),
)

EVENTS: tuple[ev.Event, ...] = (
    ev.RunCreated("r", 1, "", T0, "f1", b'{"id":7}'),
    ev.RunStarted("r", 2, "", T0, T0 + 60),
    ev.StepScheduled("r", 3, "a", T0, 1, 1, T0),
    ev.StepScheduled("r", 4, "b", T0 + 1, 1, (1, None, (2, Default("c"))), T0, ("db", "github")),
    ev.StepCompleted("r", 5, "a", T0 + 1, 1, b"[1]", T0 + 0.125),
    ev.StepFailed("r", 6, "b", T0 + 1, 1, _FAILURE, T0, T0 + 2),
    ev.StepFailed("r", 7, "b", T0 + 1, 2, _FAILURE, None, None),
    ev.StepInterrupted("r", 8, "b", T0 + 2, 2, "the process died"),
    ev.StepCancelled("r", 9, "c", T0 + 2, 1, "drained", 6),
    ev.StepCancelled("r", 10, "d", T0 + 2, 1, "cancelled \udc80"),
    ev.StepSkipped("r", 11, "e", T0 + 2, "the condition did not hold"),
    ev.TimerSet("r", 12, "&a", T0 + 2, "timeout", T0 + 9),
    ev.TimerFired("r", 13, "&a", T0 + 9, "timeout"),
    ev.Decided("r", 14, "when", T0 + 9, 2),
    ev.BlockDecided("r", 15, "&a", T0 + 9, "completed", "2 of 3 completed", (5, _ENDED)),
    ev.CancelRequested("r", 16, "", T0 + 9, "enough"),
    ev.TimerSet("r", 17, "nap", T0 + 9, "sleep", T0 + 19),
    ev.WaitOpened("r", 18, "approved", T0 + 9, "approved", "5c1e", T0 + 99),
    ev.WaitOpened("r", 19, "paid", T0 + 9, "paid", "5c1e", None),
    ev.SignalReceived("r", 20, "approved", T0 + 9, 7, b'"yes"'),
    ev.ResultKept("r", 21, "a", T0 + 9, "completed", b"[1]", None, 5, None, _STATE),
    ev.ResultKept("r", 22, "when", T0 + 9, "decided", None, 2, 14),
    ev.Expanded("r", 23, "*a", T0 + 9, 3, None),
    ev.Expanded("r", 24, "*b", T0 + 9, 2, ("x", "%C3%BC")),
    ev.ResultKept("r", 25, "*b", T0 + 9, "expanded", None, 2, 24, ("x", "%C3%BC")),
    ev.StepScheduled("r", 26, "a[2]", T0 + 9, 1, Item(Item(3, 1), 2), T0 + 9),
    ev.BlockDecided("r", 27, "*a", T0 + 9, "completed", "", ListOf((5, None, 6))),
    ev.StepFailed("r", 28, "a", T0 + 9, 1, _FAILURE, T0, None, T0 + 8, unknown=True),
    ev.UndoStarted("r", 29, "", T0 + 9, RunStatus.FAILED, (7, _FAILURE), "", ("b", "a[2]")),
    ev.StepInterrupted("r", 30, "a[2]", T0 + 9, 1, "the worker closed", counts=False),
    ev.BlockDecided("r", 31, "&c", T0 + 9, "completed", "1 of 2", (5, None), (_FAILURE,)),
    ev.TypesAccepted("r", 32, "", T0 + 9, "f2", ("the output of step 'a' can't be read as B",)),
    ev.Timed("r", 33, "nap", T0 + 9, 2.5, None),
    ev.Timed("r", 34, "paid", T0 + 9, None, T0 + 99),
    ev.ClockSet("r", 35, "", T0 - 3591, -3600.5),
    ev.RunFinished("r", 36, "", T0 - 3591, RunStatus.FAILED, None, (7, _FAILURE), "b failed"),
)
"""One of every kind, and the odd ones of some."""


def run_row(run_id: str = "r", **changes: object) -> RunRow:
    """Return the summary of a new run."""
    row = RunRow(
        run_id=run_id,
        workflow_id="shop",
        workflow_version="1",
        fingerprint="f1",
        created_at=T0,
        seq=1,
    )
    return replace(row, **changes)


def new_run(run_id: str = "r", **changes: object) -> NewRun:
    """Return a new run with its first event."""
    row = run_row(run_id, **changes)
    created = ev.RunCreated(run_id, 1, "", row.created_at, row.fingerprint, b'{"id":7}')
    return NewRun(row, '{"tree":1}', (created,))


def completed(run_id: str, seq: int, output: bytes = b"1") -> ev.Event:
    """Return the event that a step completed."""
    return ev.StepCompleted(run_id, seq, f"step-{seq}", T0, 1, output, T0)


def step_forward(row: RunRow, count: int = 1, **changes: object) -> Append:
    """Return the append of ``count`` more events to a run that stands at ``row``."""
    seqs = range(row.seq + 1, row.seq + count + 1)
    after = replace(row, seq=row.seq + count, **changes)
    return Append(after, tuple(completed(row.run_id, seq) for seq in seqs), row.seq)


def finish(row: RunRow, status: RunStatus = RunStatus.COMPLETED) -> Append:
    """Return the append that ends a run."""
    return step_forward(row, status=status, worker_id=None, finished_at=T0 + 5)


def worker(worker_id: str = "w1", **changes: object) -> Worker:
    """Return a worker that was seen at ``T0``."""
    made = Worker(worker_id=worker_id, started_at=T0, seen_at=T0, lease=LEASE)
    return made._replace(**changes)  # type: ignore[arg-type]


async def register(store: Store, *worker_ids: str) -> None:
    """Register workers that were seen at ``T0``."""
    for worker_id in worker_ids:
        await store.register(worker(worker_id))


def message(run_id: str = "r", body: str = "enough") -> Message:
    """Return a request to cancel."""
    return Message(id=0, run_id=run_id, kind="cancel", body=body, at=T0)


def signal(payload: bytes | None = b"true", run_id: str = "r") -> Message:
    """Return a signal."""
    return Message(id=0, run_id=run_id, kind="signal", body="approved", at=T0, payload=payload)


class Turning:
    """A ``Timekeeper`` that moves when the store asks another one, which had the lock first.

    Args:
        at: what it shows until then, in seconds since the epoch.
        then: what it shows from then on.
    """

    def __init__(self, at: float, then: float) -> None:
        self._shown = at
        self._then = then

    def now(self) -> float:
        """Return what it shows."""
        return self._shown

    def alive(self, seen_at: float, lease: float) -> bool:
        """Return whether a lease holds then."""
        return Moment(self._shown).alive(seen_at, lease)

    async def after_another(self, store: Store, call: Awaitable[T]) -> T:
        """Make a call that waits for the lock behind another one, and return what it returns."""
        turning, shown = self, Moment(self._shown)

        class First:
            def now(self) -> float:
                return shown.now()

            def alive(self, seen_at: float, lease: float) -> bool:
                turning._shown = turning._then  # the lock is held
                return shown.alive(seen_at, lease)

        _, result = await asyncio.gather(store.heartbeat("other", First()), call)
        return result


async def row_of(store: Store, run_id: str = "r") -> RunRow:
    """Return the summary of a run that is there."""
    row = await store.get_run(run_id)
    assert row is not None
    return row


async def whole(store: Store, run_id: str = "r") -> Loaded:
    """Return all of a run that is there."""
    loaded = await store.load(run_id)
    assert loaded is not None
    return loaded


async def ids(pages: Awaitable[Page[RunRow]]) -> list[str]:
    """Return the ids of the runs of a page."""
    return [row.run_id for row in await pages]


def names(claims: Sequence[RunRow]) -> list[str]:
    """Return the ids of the runs claimed."""
    return [claim.run_id for claim in claims]


async def decided(store: Store, item: Transition) -> Written:
    """Write one item; again, while the store can't decide about it."""
    while True:
        [answer] = await store.write([item])
        if answer is not Written.UNDECIDED:
            return answer


class Conformance:
    """Gives an open store to each test with a parameter ``store``; several to one with ``stores``.

    Several stores are of one place, as in several processes: their calls meet in the place itself,
    not in the one writer of a store.
    """

    def __init_subclass__(cls) -> None:
        """Make each test that asks for ``store`` or ``stores`` one that pytest runs as it is."""
        for name, test in list(vars(cls).items()):
            if inspect.iscoroutinefunction(test):
                asked = inspect.signature(test).parameters
                if "store" in asked:
                    setattr(cls, name, _with_store(test))
                elif "stores" in asked:
                    setattr(cls, name, _with_stores(test))

    durable: ClassVar[bool] = True
    """True: a new store on the same place has the recorded rows."""

    def make_store(self) -> Store:
        """Return a store, made but not opened.

        Within one test each call returns a store of the same place; each test has a fresh one.
        """
        raise NotImplementedError

    def make_stores(self, count: int) -> list[Store]:
        """Return stores of the same place, as of several processes: each with its own connections.

        One that is not ``durable`` has its place within itself: then all are the same.
        """
        if not self.durable:
            return [self.make_store()] * count
        return [self.make_store() for _ in range(count)]

    def check(self, test: Callable[[Store], Awaitable[None]]) -> None:
        """Run a test with an open store."""

        async def run() -> None:
            store = self.make_store()
            await store.open()
            try:
                await test(store)
            finally:
                await store.close()

        asyncio.run(run())

    def check_many(self, test: Callable[[list[Store]], Awaitable[None]]) -> None:
        """Run a test with ``MANY`` open stores of one place."""

        async def run() -> None:
            stores = self.make_stores(MANY)
            async with AsyncExitStack() as opened:
                for store in stores:
                    await store.open()
                    opened.push_async_callback(store.close)
                await test(stores)

        asyncio.run(run())


def _with_stores(
    test: Callable[[Any, list[Store]], Awaitable[None]],
) -> Callable[[Conformance], None]:
    def run(self: Conformance) -> None:
        self.check_many(functools.partial(test, self))

    run.__name__ = run.__qualname__ = test.__name__
    run.__doc__ = test.__doc__
    return run


def _with_store(test: Callable[[Any, Store], Awaitable[None]]) -> Callable[[Conformance], None]:
    # Not `functools.wraps`: pytest would take `store` for a fixture.
    def run(self: Conformance) -> None:
        self.check(functools.partial(test, self))

    run.__name__ = run.__qualname__ = test.__name__
    run.__doc__ = test.__doc__
    return run
