"""One attempt of a step: prepares its arguments, runs its handler, and tells how it went as data.

The slots are held from when the attempt is scheduled until its handler has ended, except for a
thread that outlives its attempt: that one is counted as abandoned.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, Any

from gorkflow.codec import codec_of
from gorkflow.context import StepContext
from gorkflow.errors import (
    EncodingError,
    PayloadTooLargeError,
    ValidationError,
)
from gorkflow.events import StepCompleted, StepFailed
from gorkflow.model import Failure, FailureCode, Outcome, instant
from gorkflow.policy import exception_name, retry_delay

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from gorkflow.clock import TimerHandle
    from gorkflow.codec import Codec
    from gorkflow.engine._driver import Driver
    from gorkflow.machine import RunStep

logger = logging.getLogger("gorkflow.step")

CLEANUP = 5.0
"""Seconds that an async handler gets to clean up once it was told to stop."""
_MESSAGE = 4_000
_TRACEBACK = 16_000  # characters: the innermost frames are at the end, so the end is kept


class Attempt:
    """A running attempt. Also the host that its ``StepContext`` asks."""

    __slots__ = (
        "_began_at",
        "_decided",
        "_due",
        "_ended_at",
        "_timed_out",
        "_timers",
        "cancelled",
        "command",
        "driver",
        "step",
        "task",
    )

    def __init__(self, driver: Driver, command: RunStep) -> None:
        self.driver = driver
        self.command = command
        self.step = driver.definition.steps[command.path]
        self.cancelled = False
        deadline = driver.machine.deadline(command.path)
        self._due = None if deadline is None else deadline.due
        self._began_at = 0.0
        self._ended_at = 0.0
        self.task: asyncio.Task[None] | None = None
        self._timers: list[TimerHandle] = []
        self._timed_out = False
        self._decided = False

    # ---- what the driver calls ------------------------------------------------------------

    def start(self) -> None:
        """Begin. The result comes to the driver as an event."""
        runtime = self.driver.runtime
        spec = self.command.spec
        if spec.timeout is not None:
            due = runtime.clock.now() + spec.timeout
            self._timers.append(runtime.clock.call_at(due, self._time_out))
        if spec.executor == "thread":
            context = self.driver.context.copy()
            runtime.threads.submit(lambda: context.run(self._run_in_thread, runtime.loop))
        else:
            self.task = runtime.loop.create_task(
                self._run_on_loop(), context=self.driver.context.copy()
            )

    def cancel(self) -> None:
        """Stop the handler; what it may still return is of no interest."""
        self.cancelled = True
        self._stop()

    def _stop(self) -> None:
        if self.task is None:
            self._decide(abandoned=True)
        else:
            self.task.cancel()
            clock = self.driver.runtime.clock
            self._timers.append(clock.call_at(clock.now() + CLEANUP, self._give_up))

    def _give_up(self) -> None:
        if not self._decided:
            logger.error(
                "step %r of run %r did not stop within %g s of being cancelled; it runs on, and "
                "its result will be ignored",
                self.command.path,
                self.driver.run_id,
                CLEANUP,
            )
            self._decide()

    def _time_out(self) -> None:
        if not self._decided:
            self._timed_out = True
            self.cancelled = True
            self._stop()

    # ---- the handler ----------------------------------------------------------------------

    async def _run_on_loop(self) -> None:
        output, error = None, None
        try:
            arguments = self.driver.values.arguments(self.step.wanted, self.command.input)
            self._began_at = self.driver.runtime.clock.now()
            value = await self.step.call(self._context(), arguments)
            self._ended_at = self.driver.runtime.clock.now()
            output = self._encode(value)
        except (KeyboardInterrupt, SystemExit):
            raise  # not a failure of the step: somebody wants the program to stop
        except BaseException as caught:
            error = caught
            if isinstance(caught, asyncio.CancelledError) and self._means_nothing():
                raise  # the attempt has no result, and runs again
        self._ended(output, error)

    def _means_nothing(self) -> bool:
        """Return whether we were cancelled because the whole program stops."""
        cancelled = self.task is not None and self.task.cancelling() > 0
        return cancelled and not self.cancelled and self.driver.runtime.is_shutting_down()

    def _run_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        output, error = None, None
        try:
            arguments = self.driver.values.arguments(self.step.wanted, self.command.input)
            self._began_at = self.driver.runtime.clock.now()
            value = self.step.call(self._context(), arguments)
            self._ended_at = self.driver.runtime.clock.now()
            output = self._encode(value)
        except BaseException as caught:  # noqa: BLE001 - outcome as data
            error = caught
        try:
            loop.call_soon_threadsafe(self._thread_ended, output, error)
        except RuntimeError:
            logger.warning(
                "step %r of run %r ended after its event loop was closed; its result is lost",
                self.command.path,
                self.driver.run_id,
            )

    def _thread_ended(self, output: bytes | None, error: BaseException | None) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error  # in the loop's thread, where it stops the program
        if self._decided:
            self.driver.runtime.slots.reclaim()
            logger.warning(
                "step %r of run %r ended after its attempt %d was decided; its result is ignored",
                self.command.path,
                self.driver.run_id,
                self.command.attempt,
            )
        self._ended(output, error)

    def _encode(self, value: Any) -> bytes:
        codec: Codec = codec_of(self.step.output)
        try:
            data = codec.encode(value)
        except (EncodingError, ValidationError) as error:
            raise type(error)(f"its output: {error}") from None
        limit = self.driver.runtime.max_payload
        if len(data) > limit:
            raise PayloadTooLargeError(
                f"the output is {len(data):,} bytes as JSON, over the limit of {limit:,}; store "
                "it elsewhere and return where, or raise Engine(max_payload=…)"
            )
        return data

    def _context(self) -> StepContext[Any] | None:
        if not self.step.takes_context:
            return None
        return StepContext(
            self,
            run_id=self.driver.run_id,
            workflow_id=self.driver.definition.workflow_id,
            step_id=self.step.id,
            path=self.command.path,
            attempt=self.command.attempt,
            deadline=self._deadline(),
            deps=self.driver.runtime.deps,
        )

    def _deadline(self) -> datetime | None:
        """Return when the attempt times out, or what is around it, whichever is first."""
        timeout = self.command.spec.timeout
        own = None if timeout is None else self._began_at + timeout
        both = [at for at in (own, self._due) if at is not None]
        return instant(min(both)) if both else None

    # ---- the result -----------------------------------------------------------------------

    def _ended(self, output: bytes | None, error: BaseException | None) -> None:
        if self._decided:
            return
        if self._timed_out:
            output, error = None, None
        self._decide(output, error)

    def _decide(
        self,
        output: bytes | None = None,
        error: BaseException | None = None,
        *,
        abandoned: bool = False,
    ) -> None:
        self._decided = True
        for timer in self._timers:
            timer.cancel()
        driver, command = self.driver, self.command
        driver.attempt_ended(self)
        driver.runtime.slots.release(command.spec.executor, abandoned=abandoned)
        if output is not None:
            fields = (command.attempt, output, self._began_at, self._ended_at)
            driver.post(StepCompleted, command.path, command.attempt, fields)
        elif self._timed_out or not self.cancelled:
            self._post_failure(error)

    def _post_failure(self, error: BaseException | None) -> None:
        driver, command = self.driver, self.command
        now = driver.runtime.clock.now()
        if error is None:
            timeout = command.spec.timeout
            error = TimeoutError(f"the attempt took longer than {timeout:g} s")
            code = FailureCode.TIMEOUT
        else:
            code = code_of(error)
        failure = make_failure(command.path, command.spec.id, command.attempt, code, error, now)
        delay = retry_delay(command.spec.retry, command.failures + 1, error, driver.runtime.uniform)
        retry_at = None if delay is None else now + delay
        fields = {"run_id": driver.run_id, "path": command.path, "attempt": command.attempt}
        late = retry_at is not None and self._due is not None and retry_at >= self._due
        what_next = _what_next(delay, late=late)
        logger.warning("run %r: %s%s", driver.run_id, failure, what_next, extra=fields)
        ended_at = self._ended_at or now
        result = (command.attempt, failure, self._began_at or None, retry_at, ended_at)
        driver.post(StepFailed, command.path, command.attempt, result)

    # ---- the host of the context ----------------------------------------------------------

    @property
    def readable(self) -> frozenset[str]:
        """Ids whose outputs the step may read."""
        return self.driver.definition.readable.get(self.command.path, frozenset())

    def outcome_of(self, node_id: str) -> Outcome[object] | None:
        """Return how a node ended; ``None`` while it has not."""
        ended = self.driver.machine.find(self.command.path, node_id)
        return None if ended is None else self.driver.values.outcome(ended)

    def run_input_bytes(self) -> tuple[bytes | None, Codec]:
        """Return the run's input."""
        return self.driver.values.input_bytes()

    def report(self, done: float, total: float | None, message: str) -> None:
        """Take a progress report of the handler."""
        self.driver.progress(self.command.path, done, total, message)


def code_of(error: BaseException) -> FailureCode:
    """Return what kind of failure an exception of a handler is."""
    match error:
        case PayloadTooLargeError():
            return FailureCode.PAYLOAD_TOO_LARGE
        case ValidationError():
            return FailureCode.VALIDATION
        case EncodingError():
            return FailureCode.ENCODING
        case asyncio.CancelledError():
            return FailureCode.CANCELLED
        case _:
            return FailureCode.STEP_FAILED


def make_failure(
    path: str, step_id: str, attempt: int, code: FailureCode, error: BaseException, at: float
) -> Failure:
    """Return the record of an exception. Never raises, whatever the exception does."""
    try:
        message = str(error)
    except Exception as nested:  # noqa: BLE001 - its str() is anybody's code
        message = f"<its str() raised {type(nested).__name__}>"
    try:
        shown = _from_the_handler(error.__traceback__)
        text = "".join(traceback.format_exception(type(error), error, shown))
    except Exception as nested:  # noqa: BLE001 - formatting runs anybody's code, too
        text = f"<its traceback can't be shown: {type(nested).__name__}>"
    return Failure(
        path=path,
        step_id=step_id,
        attempt=attempt,
        code=code,
        type=exception_name(type(error)),
        message=message[:_MESSAGE],
        traceback=text[-_TRACEBACK:],
        at=instant(at),
    )


def _from_the_handler(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of ours at its beginning."""
    found = frames
    while found is not None and found.tb_frame.f_globals.get("__name__", "").startswith("gorkflow"):
        found = found.tb_next
    return found or frames


def _what_next(delay: float | None, *, late: bool) -> str:
    if late:
        return f"; a next attempt, in {delay:.3g} s, would start after the deadline"
    return "" if delay is None else f"; next attempt in {delay:.3g} s"
