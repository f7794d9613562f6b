"""Stopping the program in the middle of writing."""

import asyncio
from collections.abc import Sequence
from typing import Any

from gorkflow.engine._committer import Committer
from gorkflow.errors import StoreError
from gorkflow.store import Append, Written


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
        committer = Committer(store, asyncio.get_running_loop(), ())  # type: ignore[arg-type]
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
        committer = Committer(store, asyncio.get_running_loop(), ())  # type: ignore[arg-type]
        committer.submit(broken)  # type: ignore[arg-type]
        committer.submit(driver)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await committer.drain()
        assert broken.answers == [error]
        assert driver.answers == [Written.OK]

    asyncio.run(main())
