"""The conditions of a choice: evaluated in order, once; what they decided is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gorkflow.engine._results import make_failure
from gorkflow.events import Decided, StepFailed
from gorkflow.model import FailureCode

if TYPE_CHECKING:
    from gorkflow._elements import Condition
    from gorkflow.engine._driver import Driver
    from gorkflow.machine import Decide


class Decision:
    """The evaluation of a choice."""

    def __init__(self, driver: Driver, command: Decide) -> None:
        self.driver = driver
        self.command = command
        self._asked = ""
        self._cancelled = False
        self.task = asyncio.get_running_loop().create_task(
            self._run(), context=driver.context.copy()
        )

    def cancel(self) -> None:
        """Stop evaluating. A sync condition runs to its end in its thread, unheard."""
        self._cancelled = True
        self.task.cancel()

    def _means_nothing(self) -> bool:
        """Return whether we were told to stop, or the whole program is."""
        stopping = self.driver.runtime.is_shutting_down
        return self._cancelled or (self.task.cancelling() > 0 and stopping())

    async def _run(self) -> None:
        path = self.command.path
        try:
            choice = await self._choose()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.driver.attempt_ended(self)
            if isinstance(error, asyncio.CancelledError) and self._means_nothing():
                raise
            now = self.driver.runtime.clock.now()
            failure = make_failure(path, self.command.spec.id, 1, FailureCode.CONDITION, error, now)
            if self._asked not in failure.message:
                raised = f"condition {self._asked!r} raised {type(error).__name__}"
                failure = replace(failure, message=f"{raised}: {failure.message}")
            self.driver.post(StepFailed, path, 1, (1, failure, None, None))
        else:
            self.driver.attempt_ended(self)
            self.driver.post(Decided, path, 1, (choice,))

    async def _choose(self) -> int:
        arms = self.command.spec.arms
        conditions = self.driver.definition.conditions[self.command.path]
        for index, (arm, condition) in enumerate(zip(arms, conditions, strict=True)):
            self._asked = arm.condition
            timeout = asyncio.timeout(arm.timeout)
            try:
                async with timeout:
                    holds = await self._evaluate(condition)
            except TimeoutError as error:
                if not timeout.expired():
                    raise
                raise TimeoutError(
                    f"condition {arm.condition!r} took longer than {arm.timeout:g} s"
                ) from error
            if not isinstance(holds, bool):
                raise TypeError(
                    f"condition {arm.condition!r} must return True or False, not {holds!r:.100}"
                )
            if holds:
                return index
        return len(arms)

    async def _evaluate(self, condition: Condition) -> Any:
        wanted = [annotation for _, annotation in condition.params]
        arguments = self.driver.values.arguments(wanted, self.command.input)
        if condition.is_async:
            return await condition.fn(*arguments)
        return await _in_thread(self.driver, partial(condition.fn, *arguments))


async def _in_thread(driver: Driver, work: Callable[[], Any]) -> Any:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = driver.context.copy()

    def settle(value: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_result((value, error))  # set_exception refuses StopIteration

    def run() -> None:
        value, error = None, None
        try:
            value = context.run(work)
        except BaseException as caught:  # noqa: BLE001 - handed to whoever waits
            error = caught
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            return  # the loop is closed, nobody waits any more

    driver.runtime.executors.threads.submit(run)
    value, error = await future
    if error is not None:
        raise error
    return value
