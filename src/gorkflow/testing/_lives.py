"""The lives of an engine: one that ends at a commit without a word, and the one after it.

An engine dies by an exception that leaves its event loop from within the commit. That loop never
runs while the next engine works. So nothing of the dead engine runs: no handler, no clean-up, no
heartbeat. Its handlers close their resources when the case is over.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple, cast

from gorkflow.errors import StoreError
from gorkflow.store import Store, Transition, Written
from gorkflow.testing._engine import VirtualEngine
from gorkflow.testing._gates import Begun, Gates
from gorkflow.testing._run import RUN_ID, Play, Result
from gorkflow.testing._virtual_clock import VirtualClock
from gorkflow.testing.clock import StuckError, VirtualLoop, outside

_CLEANUP = 10  # virtual seconds that handlers of a dead engine get in the end


class Moment(StrEnum):
    """The moment at which an engine dies."""

    BEFORE = "before"
    AFTER = "after"


class Case(NamedTuple):
    """The commit at which an engine dies."""

    commit: int
    """From 1."""
    moment: Moment

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
    ended.begun = [begun for life in lives for begun in life.gates.begun]
    return ended


class _Mortal:
    """A store that ends its engine at a commit; for the next one, it is as the engine left it.

    Every commit is awaited, as in a file.

    Args:
        store: does the work.
        case: where to die.
    """

    def __init__(self, store: Store, case: Case | None) -> None:
        self._store = store
        self._case = case
        self.commits = 0
        self.dead = False

    async def write(self, batch: Sequence[Transition]) -> list[Written]:
        if self.dead:
            raise StoreError("the engine of this test is dead")
        self.commits += 1
        self._maybe_die(Moment.BEFORE)
        with outside():
            written = await self._store.write(batch)
        self._maybe_die(Moment.AFTER)
        return written

    async def close(self) -> None:
        """Leave it open: the case closes it."""

    def _maybe_die(self, moment: Moment) -> None:
        if self._case == (self.commits, moment):
            self.dead = True
            raise Killed

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def waited_for(*args: Any, **options: Any) -> Any:
            if self.dead:
                raise StoreError("the engine of this test is dead")
            with outside():
                return await method(*args, **options)

        return waited_for


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
        self.gates = Gates(self.loop, None)
        self.sent: int = before[0].sent if before else 0
        """Number of signals that were sent."""
        self._workflow = self.gates.watched(play.workflow)
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
            with self.gates:
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
