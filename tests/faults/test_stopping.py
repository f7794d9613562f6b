"""Stopping the program in the middle of writing."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gorkflow.clock import SystemClock, Times
from gorkflow.engine._committer import Committer
from gorkflow.engine._patience import Patience
from gorkflow.errors import StoreError
from gorkflow.store import Append, Written
from gorkflow.testing.conformance import completed, run_row

PATIENCE = Patience(Times(SystemClock(), 30.0))


class SlowStore:
    """Takes one turn of the loop for a batch."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Append]] = []

    async def write(self, batch: Sequence[Append]) -> list[Written]:
        await asyncio.sleep(0)
        self.batches.append(batch)
        return [Written.OK] * len(batch)


class OneTransition:
    """Stands in for a driver."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.answers: list[Any] = []

    def transition(self) -> Append:
        return Append(None, (), 0)  # type: ignore[arg-type]

    def committed(self, written: Written) -> None:
        if self.error is not None:
            raise self.error
        self.answers.append(written)

    def broken(self, error: BaseException) -> None:
        self.answers.append(error)


def test_a_write_that_is_cancelled_leaves_nobody_waiting():
    async def main() -> None:
        store, lost, driver = SlowStore(), OneTransition(), OneTransition()
        committer = Committer(store, asyncio.get_running_loop(), (), PATIENCE)  # type: ignore[arg-type]
        committer.submit(lost)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert committer._writing is not None
        committer._writing.cancel()  # as asyncio.run does with every task
        committer.submit(driver)  # type: ignore[arg-type]
        await committer.drain()
        assert [type(answer) for answer in lost.answers] == [StoreError]
        assert driver.answers == [Written.OK]

    asyncio.run(main())


def test_a_run_that_can_not_go_on_does_not_keep_the_others_of_its_batch_waiting():
    async def main() -> None:
        error = RuntimeError("can't start new thread")
        store, broken, driver = SlowStore(), OneTransition(error), OneTransition()
        committer = Committer(store, asyncio.get_running_loop(), (), PATIENCE)  # type: ignore[arg-type]
        committer.submit(broken)  # type: ignore[arg-type]
        committer.submit(driver)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await committer.drain()
        assert broken.answers == [error]
        assert driver.answers == [Written.OK]

    asyncio.run(main())


def test_a_run_whose_events_have_a_gap_does_not_keep_the_others_from_being_written():
    async def main() -> None:
        store, broken, driver = SlowStore(), OneTransition(), OneTransition()
        gap = Append(run_row("b", seq=3), (completed("b", 3),), 1)
        broken.transition = lambda: gap  # type: ignore[method-assign]
        committer = Committer(store, asyncio.get_running_loop(), (), PATIENCE)  # type: ignore[arg-type]
        committer.submit(broken)  # type: ignore[arg-type]
        committer.submit(driver)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await committer.drain()
        assert [type(answer) for answer in broken.answers] == [StoreError]
        assert "the events 2 to 2, but got [3]" in str(broken.answers[0])
        assert driver.answers == [Written.OK]

    asyncio.run(main())


class BlockingStore:
    """Keeps whether it may block."""

    def __init__(self) -> None:
        self.blocked: list[bool] = []

    def write(
        self, batch: Sequence[Append], *, block: bool = False
    ) -> asyncio.Future[list[Written]]:
        self.blocked.append(block)
        answer: asyncio.Future[list[Written]] = asyncio.get_running_loop().create_future()
        answer.set_result([Written.OK] * len(batch))
        return answer


@pytest.mark.parametrize(
    ("owns_loop", "live", "blocks"),
    [(True, 1, True), (True, 2, False), (False, 1, False)],
)
def test_only_a_run_that_is_alone_in_a_loop_of_ours_blocks_it(
    owns_loop: bool, live: int, blocks: bool
) -> None:
    async def main() -> None:
        store = BlockingStore()
        loop = asyncio.get_running_loop()
        committer = Committer(store, loop, range(live), PATIENCE, owns_loop=owns_loop)  # type: ignore[arg-type]
        committer.submit(OneTransition())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert store.blocked == [blocks]

    asyncio.run(main())


PROGRAM = """
import os, signal, sys
from gorkflow import Workflow, run, step
from gorkflow.stores.sqlite import _writes

path, handler, commit = sys.argv[1:]
number, write = 0, _writes.write


def stop(number, frame):
    if handler == "exit":
        sys.exit(143)
    raise KeyboardInterrupt


def counted(db, batch):
    global number
    number += 1
    written = write(db, batch)
    if str(number) == commit:
        os.kill(os.getpid(), signal.SIGTERM)  # its handler runs before this returns
    return written


@step
async def tick(n: int) -> int:
    return n + 1


async def never() -> bool:
    return False


signal.signal(signal.SIGTERM, stop)
_writes.write = counted
ticks = Workflow("ticks", input=int).loop(tick, until=never, max_iterations=100_000)
run(ticks, 0, store=path)
"""


def program(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("commit", ["1", "2", "9"])
@pytest.mark.parametrize(
    ("handler", "code"), [("exit", 143), ("interrupt", -signal.SIGINT)], ids=["exit", "interrupt"]
)
def test_a_signal_in_a_commit_ends_the_program(
    tmp_path: Path, handler: str, code: int, commit: str
) -> None:
    path = tmp_path / "runs.db"
    with program(str(path), handler, commit) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "never retrieved" not in errors
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT status, worker_id FROM runs").fetchall()
    if commit == "1":  # the thread may have been at it, and finishes it
        assert rows in ([], [("pending", None)], [("running", None)])
    else:
        assert rows == [("running", None)]
