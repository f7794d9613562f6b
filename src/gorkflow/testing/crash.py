"""The crashes of a run: its engine dies at every commit, before and after it is durable.

An engine dies by an exception that leaves its event loop from within the commit. That loop never
runs again while the next engine works, so nothing of the dead one still happens: no handler, no
clean-up, no heartbeat. Only when the case is over, its handlers may close what they hold.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, Unpack, cast, overload

from gorkflow._text import brief
from gorkflow.errors import StoreError
from gorkflow.store import Store, Transition, Written
from gorkflow.stores.memory import MemoryStore
from gorkflow.testing._engine import Outside, VirtualEngine
from gorkflow.testing._run import RUN_ID, Play, PlayOptions, Result, play_of
from gorkflow.testing._scheduler import Begun, Scheduler
from gorkflow.testing.explore import Comparison, Difference, compared, lines, why
from gorkflow.testing.virtual_time import (
    StuckError,
    VirtualClock,
    VirtualLoop,
    in_own_thread,
    outside,
)
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")

_CLEANUP = 10  # virtual seconds that handlers of a dead engine get in the end


class CrashOptions(PlayOptions, total=False):
    """Options of ``crash_at_every_commit``, beside those of ``testing.run``. All are optional.

    Example:
        >>> from gorkflow import Workflow, testing
        >>> options: testing.CrashOptions = {"commits": [1, 2]}
        >>> nap = Workflow("nap", input=int).sleep(60)
        >>> testing.crash_at_every_commit(nap, 7, **options).cases
        4
    """

    commits: Iterable[int] | None
    """The commits to test, counted from 1; the default is all."""
    make_store: Callable[[], Store]
    """Called for each case; returns a fresh store, not opened. The default makes a memory store."""
    make_deps: Callable[[], object] | None
    """Called for each case, for ``deps`` that have a state: the world that survives the crash."""
    check: Callable[[Any], object] | None
    """Called with the ``deps`` of each case at its end; a failed ``assert`` is a difference."""


@dataclass(frozen=True, kw_only=True)
class Doubled:
    """A step that began more often than in the undisturbed run.

    Example:
        >>> from gorkflow.testing import Doubled
        >>> print(Doubled(path="pay", times=2, expected=1, same_key=True, cases=("case 1",)))
        'pay' began 2 times instead of 1, with the same idempotency key (1 cases, first: case 1)
    """

    path: str
    times: int
    """Number of beginnings in the worst case."""
    expected: int
    """Number of beginnings in the undisturbed run."""
    same_key: bool
    """True if it always had the same idempotency key."""
    cases: tuple[str, ...]
    """The cases in which it did."""

    def __str__(self) -> str:
        """Return one line."""
        key = "the same idempotency key" if self.same_key else "OTHER idempotency keys"
        return (
            f"{self.path!r} began {self.times} times instead of {self.expected}, with {key} "
            f"({len(self.cases)} cases, first: {self.cases[0]})"
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class CrashReport(Comparison):
    """The report of ``crash_at_every_commit``.

    Example:
        >>> from gorkflow import Workflow, testing
        >>> report = testing.crash_at_every_commit(Workflow("nap", input=int).sleep(60), 7)
        >>> report.cases == 2 * report.commits, report.differences, report.doubled
        (True, (), ())
    """

    commits: int
    """Number of commits of the undisturbed run."""
    cases: int
    """Number of deaths of the engine."""
    undisturbed: Result[Any]
    doubled: tuple[Doubled, ...]
    """Steps whose side effects may have happened twice: they should use their idempotency key."""

    def __str__(self) -> str:
        """Return it for people."""
        return "\n".join([super().__str__(), *lines("began more than once:", self.doubled)])

    def _first_line(self) -> str:
        return (
            f"killed {self.cases} times at {self.commits} commits: {self._wrong} cases ended "
            f"otherwise, {len(self.doubled)} steps began twice"
        )


class CrashCampaign(Protocol):
    """The type of ``crash_at_every_commit``, for tests that take it as a fixture.

    Example:
        from gorkflow import Workflow, testing

        def test_nap(crash_at_every_commit: testing.CrashCampaign) -> None:
            nap = Workflow("nap", input=int).sleep(60)
            assert not crash_at_every_commit(nap, 7).differences
    """

    @overload
    def __call__(
        self, workflow: Workflow[None, Out], input: None = None, **options: Unpack[CrashOptions]
    ) -> CrashReport: ...
    @overload
    def __call__(
        self, workflow: Workflow[In, Out], input: In, **options: Unpack[CrashOptions]
    ) -> CrashReport: ...
    def __call__(
        self, workflow: Workflow[Any, Any], input: Any = None, **options: Unpack[CrashOptions]
    ) -> CrashReport:
        """See ``crash_at_every_commit``."""
        ...


@overload
def crash_at_every_commit(
    workflow: Workflow[None, Out], input: None = None, **options: Unpack[CrashOptions]
) -> CrashReport: ...
@overload
def crash_at_every_commit(
    workflow: Workflow[In, Out], input: In, **options: Unpack[CrashOptions]
) -> CrashReport: ...
def crash_at_every_commit(
    workflow: Workflow[Any, Any], input: Any = None, **options: Unpack[CrashOptions]
) -> CrashReport:
    """Run a workflow, kill its engine at every commit, resume it, and compare. Blocks.

    For every commit of the undisturbed run there are two cases: the engine dies just before the
    commit is durable, and just after. The first engine stops dead, and releases nothing. A second
    one opens the same store and continues the run. If the start was not recorded, it starts the
    run again, as a caller would.

    Args:
        workflow: The workflow to run.
        input: Its input.
        options: Those of ``CrashOptions`` and ``PlayOptions``.

    Raises:
        WorkflowInvalidError: If a fake names an unknown step, or does not fit.
        InputInvalidError: If the input is not valid.
        StuckError: If the undisturbed run waits for ever.
        ValueError: If the undisturbed run has no such commit.

    Example:
        from gorkflow import Workflow, step, testing

        @step
        def pack(order: int) -> str:
            return f"parcel {order}"

        report = testing.crash_at_every_commit(Workflow("packing", input=int).then(pack), 7)
        assert not report.differences, str(report)
        assert [step.path for step in report.doubled] == ["pack"]
    """
    commits = options.pop("commits", None)
    make_store = options.pop("make_store", MemoryStore)
    make_deps = options.pop("make_deps", None)
    check = options.pop("check", None)
    play = play_of(workflow, input, options)
    campaign = _Campaign(play, make_store, make_deps, check)
    return in_own_thread(lambda: campaign.run(commits))


@dataclass
class _Campaign:
    play: Play
    make_store: Callable[[], Store]
    make_deps: Callable[[], object] | None
    check: Callable[[Any], object] | None
    found: list[Difference] = field(default_factory=list[Difference])
    doubled: dict[str, Doubled] = field(default_factory=dict[str, Doubled])

    def __post_init__(self) -> None:
        self._tree = self.play.workflow.compile(self.play.defaults).tree

    def run(self, commits: Iterable[int] | None) -> CrashReport:
        undisturbed, problem = self._lived(None)
        if undisturbed.result is None:
            assert undisturbed.error is not None  # one of the two
            raise undisturbed.error
        if problem is not None:
            raise problem
        numbers = _numbers(undisturbed.commits, commits)
        for number in numbers:
            self._compare(undisturbed, Case(number, "before"))
            self._compare(undisturbed, Case(number, "after"))
        return CrashReport(
            commits=undisturbed.commits,
            cases=2 * len(numbers),
            undisturbed=undisturbed.result,
            differences=tuple(item for item in self.found if not item.by_design),
            by_design=tuple(item for item in self.found if item.by_design),
            doubled=tuple(self.doubled.values()),
        )

    def _lived(self, case: Case | None) -> tuple[Ended, AssertionError | None]:
        deps = self.play.deps if self.make_deps is None else self.make_deps()
        ended = lived(replace(self.play, deps=deps), self.make_store(), case)
        if self.check is not None:
            try:
                self.check(deps)
            except AssertionError as error:
                return ended, error
        return ended, None

    def _compare(self, undisturbed: Ended, case: Case) -> None:
        ended, problem = self._lived(case)
        if problem is not None:
            self._differs(case, "check", "to pass", str(problem) or repr(problem))
        if ended.result is None or undisturbed.result is None:
            self._differs(case, "end", "to be reached", repr(ended.error))
        else:
            results = (undisturbed.result, ended.result)
            for what, expected, got in compared(*results):
                self._differs(case, what, expected, got, why(self._tree, what, *results))
        self._note_doubled(undisturbed.begun, ended.begun, case)

    def _differs(
        self, case: Case, what: str, expected: object, got: object, by_design: str = ""
    ) -> None:
        self.found.append(
            Difference(
                case=str(case),
                number=case.commit,
                what=what,
                expected=expected,
                got=got,
                by_design=by_design,
            )
        )

    def _note_doubled(self, undisturbed: list[Begun], begun: list[Begun], case: Case) -> None:
        before = Counter(item.path for item in undisturbed)
        for path, times in Counter(item.path for item in begun).items():
            if times <= before[path]:
                continue
            keys = {item.key for item in begun if item.path == path}
            known = self.doubled.get(path)
            self.doubled[path] = Doubled(
                path=path,
                times=max(times, known.times if known else 0),
                expected=before[path],
                same_key=len(keys) == 1 and (known is None or known.same_key),
                cases=(*(known.cases if known else ()), str(case)),
            )


def _numbers(count: int, wanted: Iterable[int] | None) -> list[int]:
    """Return the commits to test."""
    every = range(1, count + 1)
    numbers = list(every if wanted is None else wanted)
    unknown = [number for number in numbers if number not in every]
    if unknown or not numbers:
        raise ValueError(
            f"commits={brief(numbers)}: the undisturbed run has {count} commits; name some of "
            f"1 to {count}, or leave it out for all"
        )
    return numbers


# ---- the lives of engines -----------------------------------------------------------------------


class Case(NamedTuple):
    """The commit at which an engine dies."""

    commit: int
    """From 1."""
    moment: Literal["before", "after"]

    def __str__(self) -> str:
        return f"killed {self.moment} commit {self.commit}"


@dataclass
class Ended:
    """The end of a case."""

    commits: int = 0
    """In the first life."""
    begun: list[Begun] = field(default_factory=list[Begun])
    result: Result[Any] | None = None
    error: StuckError | None = None


class Killed(SystemExit):
    """Leaves the event loop at once, past every handler of errors."""


def lived(play: Play, store: Store, case: Case | None) -> Ended:
    """Run a workflow, kill its engine, and continue the run with another one.

    Args:
        play: The run.
        store: A fresh store, not opened; it survives.
        case: The death; ``None``: there is none.
    """
    clock = VirtualClock(play.start)
    lives: list[_Life] = []
    ended = Ended()
    try:
        while True:
            life = _Life(play, clock, _Mortal(store, None if lives else case), lives[-1:])
            lives.append(life)
            survived = life.live(ended)
            if survived:
                break
    finally:
        for life in lives:
            life.bury()
        _close(store)
    ended.commits = lives[0].store.commits
    ended.begun = [begun for life in lives for begun in life.scheduler.begun]
    return ended


class _Mortal(Outside):
    """A store that ends its engine at a commit; for the next one, it is as the engine left it.

    Every commit is awaited, as in a file.
    """

    def __init__(self, store: Store, case: Case | None) -> None:
        super().__init__(store)
        self._case = case
        self.commits = 0
        self.dead = False

    def check(self) -> None:
        if self.dead:
            raise StoreError("the engine of this test is dead")

    async def write(  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        self, batch: Sequence[Transition], *, block: bool = False
    ) -> list[Written]:
        self.check()
        self.commits += 1
        self._maybe_die("before")
        with outside():
            written = await self._store.write(batch)
        self._maybe_die("after")
        return written

    async def close(self) -> None:
        """Leave it open: the case closes it."""

    def _maybe_die(self, moment: str) -> None:
        if self._case == (self.commits, moment):
            self.dead = True
            raise Killed


class _Life:
    """One engine, in a loop of its own.

    Args:
        play: The run.
        clock: The clock of the life before, which continues.
        store: It may end the life.
        before: The life before, if there was one.
    """

    def __init__(
        self, play: Play, clock: VirtualClock, store: _Mortal, before: Sequence[_Life]
    ) -> None:
        self.store = store
        self.loop = VirtualLoop(clock)
        self.scheduler = Scheduler(self.loop, None)
        self.sent: int = before[0].sent if before else 0
        """Number of signals that were sent."""
        self._workflow = self.scheduler.watched(play.workflow)
        self._play = play
        self._before = before
        self._engine = VirtualEngine(
            cast("Store", store),
            workflows=[self._workflow],
            deps=play.deps,
            defaults=play.defaults,
            recover=False,
        )

    def live(self, ended: Ended) -> bool:
        """Live; return whether to the end."""
        try:
            with self.scheduler:
                ended.result = self.loop.run_until_complete(self._main())
        except Killed:
            return False
        except StuckError as error:
            ended.error = error
        return True

    async def _main(self) -> Result[Any]:
        store = cast("Store", self.store)
        await store.open()
        for life in self._before:  # the system would tell the store that its process is gone
            await store.unregister(life._engine.worker_id)  # noqa: SLF001 - one of us
        await self._engine.open()
        run_id = self._play.options.get("run_id") or RUN_ID
        if await store.get_run(run_id) is not None:
            await self._engine.recover(run_id)
        options: Any = {**self._play.options, "if_exists": "return"}
        signals = tuple(self._play.signals)[self.sent :]
        play = replace(self._play, options=options, signals=signals, sent=self._note_sent)
        return await play.played(self._engine, self._workflow)

    def _note_sent(self) -> None:
        self.sent += 1

    def bury(self) -> None:
        """Stop everything that is still there, and let the handlers close what they hold."""
        self.store.dead = True
        self.loop.scheduler = None
        self.loop.set_exception_handler(_unheard)
        with _silence(), suppress(StuckError, Killed):
            self.loop.run_until_complete(self._stop())
        self._engine.abandon()
        self.loop.close()

    async def _stop(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_CLEANUP)
        for _ in range(_CLEANUP):  # threads that were let go say so once more
            if not self.loop.is_working:
                break
            await asyncio.sleep(0.1)
        await self.loop.shutdown_asyncgens()


def _unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Ignore what the tasks of a dead loop still say: that they never ended, and such."""


@contextmanager
def _silence() -> Generator[None]:
    """Keep what a dead engine logs in this thread to ourselves."""
    here = threading.get_ident()
    loggers = [logging.getLogger(f"gorkflow.{name}") for name in ("engine", "run", "step")]

    def is_alive(record: logging.LogRecord) -> bool:
        return record.thread != here

    for logger in loggers:
        logger.addFilter(is_alive)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_alive)


def _close(store: Store) -> None:
    with asyncio.Runner() as runner:
        runner.run(store.close())
