"""One attempt of a step: has its handler run, and answers how it ended, as data.

The slots are held from when the attempt is scheduled until its handler has ended. A handler that
can't be stopped and outlives its attempt is counted as a stray.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import structs
from msgspec.msgpack import encode

from gorkflow.context import NoDeps, StepContext
from gorkflow.engine._call import Answer, Call
from gorkflow.engine._handlers import Handlers
from gorkflow.engine._remote_job import address_of, job_of, with_readable
from gorkflow.engine._results import (
    RemoteError,
    code_of,
    encoded,
    logged,
    make_failure,
    unreadable,
)
from gorkflow.engine._retries import retry_delay, thrown, unknown_names
from gorkflow.engine._watchdog import Countdown
from gorkflow.engine._within import context_of
from gorkflow.errors import StepCancelledError
from gorkflow.events import StepCompleted, StepFailed
from gorkflow.flow import UNDO, template_of
from gorkflow.language.placement import PROCESS
from gorkflow.language.signature import is_async_function, unwrapped
from gorkflow.model import FailureCode, Outcome, instant
from gorkflow.state import State
from gorkflow.store import AttemptId

if TYPE_CHECKING:
    from datetime import datetime

    from gorkflow.clock import TimerHandle
    from gorkflow.codec import Codec
    from gorkflow.engine._call import Owner
    from gorkflow.engine._executors import Stop
    from gorkflow.engine._notes import AttemptNotes
    from gorkflow.engine._observer import Activations
    from gorkflow.engine._remote_job import Log
    from gorkflow.engine._runtime import Runtime
    from gorkflow.machine import RunStep
    from gorkflow.policy import RetryPolicy
    from gorkflow.redaction import Redaction
    from gorkflow.state_changes import Overlay, Write

logger = logging.getLogger("gorkflow.step")

CLEANUP = 5.0
"""Seconds that a handler gets to clean up once it is stopped."""
_OF_OUTPUTS = frozenset(
    {FailureCode.VALIDATION, FailureCode.ENCODING, FailureCode.PAYLOAD_TOO_LARGE}
)
"""Codes of a handler that has returned: what it did is done, but could not be recorded."""


class Attempt(Call):
    """A running attempt. Also the host that its ``StepContext`` asks."""

    # On the class, as in ``Call``.
    cancelled = False
    task: asyncio.Task[None] | None = None
    due: float | None = None
    """The earliest deadline around the step, in seconds since the epoch."""
    writes: tuple[Write, ...] = ()
    """The writes of the handler into the state, once it has ended."""
    _layers: tuple[Overlay, ...] = ()
    _state: State | None = None
    _began_at = 0.0
    _began = 0.0
    """The same, by the monotonic clock."""
    _ended_at = 0.0
    _stop_handler: Stop | None = None
    """Stops the handler; ``None``: none runs."""
    _left_thread_with: Coroutine[Any, Any, Any] | None = None
    """The coroutine that a handler in a thread returned."""
    _timers: tuple[TimerHandle, ...] = ()
    _timed_out = False
    _has_lapsed = False
    _is_lost = False
    _decided = False
    _is_stray = False
    _notes: AttemptNotes | None = None
    """Its reports and log lines, once there are any."""

    def __init__(self, owner: Owner, command: RunStep) -> None:
        super().__init__(owner, command)
        self.command = command
        self.attempt = command.attempt
        if command.spec.limits:
            self.limits = command.spec.limits
        steps, path = owner.run.definition.steps, command.path
        self.step = steps[path] if path in steps else steps[template_of(path)]
        # Taken now, for later there may be no branch any more: a thread may outlive it.
        machine = owner.run.machine
        if machine.timers and (deadline := machine.deadline(path)) is not None:
            self.due = deadline.due
        if machine.state is not None:
            self._layers = machine.layers(path)

    # ---- what the run calls ---------------------------------------------------------------

    def start(self) -> None:
        """Begin as soon as the lease holds. The run gets the answer by ``Owner.ended``."""
        if self._decided:
            return
        runtime = self.owner.runtime
        if runtime.lease.holds():
            self._stop_handler = self._start_handler(runtime)
        elif runtime.closing:
            self.cancel()  # without an answer: it begins where the run continues
        else:
            runtime.lease.when_held(self.start_late)  # unless others have the run by then

    def start_late(self) -> None:
        """Begin later than the commands around it, which must not suffer if that fails."""
        try:
            self.start()
        except Exception as error:  # noqa: BLE001 - no thread can be made, say; others continue
            self.owner.ended(self, error)

    def _start_handler(self, runtime: Runtime) -> Stop:
        executors, executor = runtime.executors, self.command.spec.executor
        if executor == "loop":
            self.owner.handlers.start(self)
            return self._cancel_task
        if executor == "thread":
            context = context_of(self)
            self.count_down()
            work = partial(context.run, self._in_thread)
            return executors.in_thread(work, partial(self._left_thread, context), self)
        if executor != PROCESS:
            self.begins()  # as far as we know
            self.count_down()
        return executors.send(executor, self._job, self)

    # ---- a handler on the loop ------------------------------------------------------------

    def means_nothing(self, error: BaseException) -> bool:
        """Return whether the handler was cancelled because the whole program stops."""
        if self.cancelled or not isinstance(error, asyncio.CancelledError):
            return False
        cancelled = self.task is not None and self.task.cancelling() > 0
        return cancelled and self.owner.runtime.is_shutting_down()

    def _cancel_task(self) -> bool:
        if self.task is not None:
            self.task.cancel()
        else:  # it has not begun, and never will
            self.loop.call_soon(self.ended, None, asyncio.CancelledError())
        return True

    # ---- a handler elsewhere --------------------------------------------------------------

    def _in_thread(self) -> bytes | Coroutine[Any, Any, Any]:
        value = self.call()
        if inspect.iscoroutine(value) and is_async_function(unwrapped(self.step.fn)):
            return value  # of a plain function around an async one
        return self.returned(value)

    def _left_thread(
        self, context: Context, result: bytes | Coroutine[Any, Any, Any] | None,
        error: BaseException | None,
    ) -> None:  # fmt: skip
        if result is None or isinstance(result, bytes):
            self.ended(result, error)
        elif self.cancelled:
            result.close()
            self.ended(None, StepCancelledError("it was stopped before it began"))
        else:
            self._stop_handler = self._cancel_task
            self._left_thread_with = result
            Handlers(self.loop, context).start(self)

    def _job(self) -> bytes:
        run, command = self.owner.run, self.command
        job = job_of(
            self.step,
            command,
            run.values,
            ids=self.ids(),
            due=self.due,
            max_payload=self.owner.runtime.max_payload,
            log_level=self.log_level,
        )
        if command.spec.executor != PROCESS:
            job = structs.replace(job, home=address_of(self))
        if self.owner.observed is not None:
            now = self.owner.runtime.clock.now()
            job = structs.replace(job, sent=self.owner.observed.sent(command, now))
        if self.step.takes_context:
            state = run.machine.texts(command.path)
            job = with_readable(job, run.machine, run.values, self.readable, state)
        return encode(job)

    def _begin_again(self) -> None:
        """Begin as if for the first time, and not before the lease is renewed."""
        self._stop_timers()
        self._has_lapsed = self._is_lost = False
        self._began_at = self._ended_at = 0.0
        vars(self).pop("_state", None)
        self.start_late()

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = ()

    def lend(self) -> None:
        self.owner.runtime.admission.lend(self.command.spec.executor)

    def take_back(self) -> None:
        self.owner.runtime.admission.take_back(self.command.spec.executor)

    @property
    def label(self) -> str:
        """The step, for messages."""
        return f"step {self.path!r} of run {self.run_id!r}"

    @property
    def is_over(self) -> bool:
        """Whether it is decided; its handler may run on."""
        return self._decided

    def cancel(self) -> None:
        """Stop the handler; what it may still return is of no interest."""
        again, self.cancelled = self.cancelled, True
        if self._stop_handler is None:
            self._decide()  # it has not begun
        elif not again:  # to say it twice would cut its cleaning up short
            self._stop()

    def _stop(self) -> None:
        assert self._stop_handler is not None  # it was started
        if not self._stop_handler():
            self._is_stray = True
            self._decide()
        else:
            clock = self.owner.runtime.clock
            self._timers += (clock.call_later(CLEANUP, self._give_up),)

    def _give_up(self) -> None:
        if not self._decided:
            logger.error(
                "step %r of run %r did not stop within %g s of being cancelled; it runs on, and "
                "its result will be ignored",
                self.command.path,
                self.run_id,
                CLEANUP,
            )
            self._decide()

    def _time_out(self) -> None:
        if not self._decided:
            self._timed_out = True
            self.cancelled = True
            self._stop()

    # ---- what runs the handler asks and tells ----------------------------------------------

    def call(self) -> Any:
        """Call the handler where it runs; the result of an async one is still to be awaited.

        Raises:
            StepCancelledError: If it should not begin any more.
            StepValueError: If its input does not match its parameters.
        """
        if self._left_thread_with is not None:
            coroutine, self._left_thread_with = self._left_thread_with, None
            return coroutine
        run, step, spec = self.owner.run, self.step, self.command.spec
        if spec.executor == "loop" and spec.timeout is not None:
            self.count_down()
        again = self.attempt > 1 or self.path.endswith(UNDO)
        arguments = run.values.arguments(step.wanted, self.command.input, again=again)
        self.began()
        context = self._context() if step.takes_context else None
        if not self.may_begin():  # last, so that nothing comes between
            raise StepCancelledError(f"{self.command.path!r} was stopped before it began")
        if spec.limits and spec.executor == "thread":
            self.owner.runtime.executors.post(self.begins, self)
        elif spec.limits:
            self.begins()
        if self.owner.observed is None:
            return step.call(context, arguments, spec.settings)
        call = partial(step.call, context, arguments, spec.settings)
        return self._observed(self.owner.observed, call)

    def _observed(self, observed: Activations, call: Callable[[], Any]) -> Any:
        """Call the handler, and have the observers see it where it runs."""
        if self.command.spec.executor == "thread":
            observed.enter(self.command, self._began_at)  # these context variables are its own
            return call()

        async def awaited() -> Any:
            leave = observed.enter(self.command, self._began_at)
            try:
                return await call()
            finally:
                leave()  # the next handler may run in this task

        return awaited()

    def returned(self, value: Any) -> bytes:
        """Note that the handler has returned, and return its output as JSON.

        Raises:
            EncodingError: If it can't be written as JSON.
            StepValueError: If it does not match the annotation.
            PayloadTooLargeError: If it is over the limit.
        """
        self.took()
        return encoded(value, self.step.output, self.owner.runtime.max_payload)

    def _context(self) -> StepContext[Any]:
        deps, wanted = self.owner.runtime.deps, self.step.deps
        if deps is None and wanted is not None:
            deps = NoDeps(self.step.id, wanted)
        return StepContext(self, **self.ids(), deadline=self._deadline(), deps=deps)

    def ids(self) -> dict[str, Any]:
        """Return the ids of the attempt and of its run, as the context takes them."""
        return {
            "run_id": self.run_id,
            "workflow_id": self.owner.run.definition.workflow_id,
            "step_id": self.step.id,
            "path": self.command.path,
            "attempt": self.command.attempt,
            "tags": self.owner.run.tags,
            "scheduled_for": self.owner.run.scheduled_for,
        }

    def _deadline(self) -> datetime | None:
        """Return the earliest end of the attempt and of all nodes around it."""
        timeout = self.command.spec.timeout
        own = None if timeout is None else self._began_at + timeout
        both = [at for at in (own, self.due) if at is not None]
        return instant(min(both)) if both else None

    def count_down(self) -> None:
        """Let the timeout run from now."""
        timeout = self.command.spec.timeout
        if timeout is not None and not self._decided:
            self._timers += (Countdown(self.owner.runtime.watchdog, self, timeout, self._time_out),)

    def may_begin(self) -> bool:
        """Return, right before the handler begins, whether it should. From any thread.

        The process may have stood still since the attempt was recorded, and the loop not have come
        to notice: by now, the next attempt may have begun elsewhere. If that can be, the handler
        begins once the lease is renewed. Executors that were given can't ask: what waits in them
        begins when they like.
        """
        self._has_lapsed = not self.owner.runtime.lease.holds()
        return not self._has_lapsed and not self.cancelled

    def begins(self) -> None:
        """Have the rates of its limits count from now. Not before: it may not have begun at all."""
        if self.command.spec.limits:
            self.owner.runtime.admission.limits.began(self.command)

    def began(self) -> None:
        """Note that the handler begins, unless ``may_begin`` says no."""
        clock = self.owner.runtime.clock
        self._began_at, self._began = clock.now(), clock.monotonic()

    def took(self) -> None:
        """Note that the handler has returned: as long after it began as that took."""
        clock = self.owner.runtime.clock
        took = clock.monotonic() - self._began
        self._ended_at = self._began_at + took if self._began_at else clock.now()
        if self._state is not None:
            self.writes = self._state.close()

    def began_there(self) -> None:
        """Note that the handler began in another process."""
        self.began()
        self.begins()
        self.count_down()

    def ended_there(
        self,
        ran: float,
        output: bytes | None,
        writes: tuple[Write, ...],
        error: BaseException | None,
    ) -> None:
        """Take the result of a handler that ran elsewhere, by another clock, for so long."""
        self.writes = writes
        self.took()
        # Its process died, say, or the executor lost it: the handler never had its word.
        self._is_lost = error is not None and not isinstance(error, RemoteError)
        if not self._began_at and (output is not None or isinstance(error, RemoteError)):
            self._began_at = max(self.command.ready_at, self._ended_at - ran)
        self.ended(output, error)

    def ended(self, output: bytes | None, error: BaseException | None) -> None:
        """Take the result."""
        if self._left_thread_with is not None:
            self._left_thread_with.close()  # it was stopped before it began
        self._stop_handler = None  # else they would keep each other, as cycles
        self.task = None
        if self._has_lapsed and not self.cancelled:
            self._begin_again()
            return
        if self._is_stray:
            self.owner.runtime.admission.reclaim(self.command.spec.executor)
            # One that noticed, and left for it, is as it should be.
            obeyed = isinstance(error, StepCancelledError)
            logger.log(
                logging.DEBUG if obeyed else logging.WARNING,
                "step %r of run %r ended after its attempt %d was decided; its result is ignored",
                self.command.path,
                self.run_id,
                self.command.attempt,
            )
        if self._decided:
            return
        if self._timed_out:
            output, error = None, None
        self._decide(output, error)

    # ---- the result -----------------------------------------------------------------------

    def _decide(self, output: bytes | None = None, error: BaseException | None = None) -> None:
        runtime, command = self.owner.runtime, self.command
        if self.waits:
            self.take_back()
        self._decided = True
        if self._state is not None:
            self._state.close()  # a handler that outlives the attempt writes no more
        if self._timers:
            self._stop_timers()
        if self._notes is not None:
            self._notes.end()
        runtime.admission.release(command, abandoned=self.label if self._is_stray else "")
        if output is not None:
            fields = (command.attempt, output, self._began_at, self._ended_at, self.writes)
            self.owner.ended(self, Answer(StepCompleted, fields))
        elif (damage := unreadable(self.run_id, self.path, error)) is not None:
            self.owner.ended(self, damage)
        elif self._timed_out or not self.cancelled:
            self._fail(error)
        else:
            self.owner.ended(self, None)

    def _fail(self, error: BaseException | None) -> None:
        command, run_id, path = self.command, self.run_id, self.path
        now = self.owner.runtime.clock.now()
        if error is None:
            error = TimeoutError(f"the attempt took longer than {command.spec.timeout:g} s")
            code = FailureCode.TIMEOUT
        else:
            code = code_of(error)
        if isinstance(error, RemoteError):
            failure, seen = replace(error.failure, at=instant(now)), error.thrown
        else:
            failure = make_failure(path, command.spec.id, command.attempt, code, error, now)
            seen = thrown(error)
        uniform = self.owner.runtime.uniform
        delay = retry_delay(command.spec.retry, command.failures + 1, seen, uniform)
        retry_at = None if delay is None else now + delay
        fields = {"run_id": run_id, "path": path, "attempt": command.attempt}
        late = retry_at is not None and self.due is not None and retry_at >= self.due
        what_next = _what_next(command.spec.retry, delay, late=late)
        unknown = self._is_unknown(failure.code)
        times = self._began_at or None, retry_at, self._ended_at or now
        answer = Answer(StepFailed, (command.attempt, failure, *times, unknown))
        try:
            is_final = retry_at is None or late
            shown = self.owner.run.values.hidden(failure)
            info = logged(failure, shown, error) if is_final else None
            logger.warning("run %r: %s%s", run_id, shown, what_next, exc_info=info, extra=fields)
        finally:  # a log handler of the program's may raise, but the run has to continue
            self.owner.ended(self, answer)

    def _is_unknown(self, code: FailureCode) -> bool:
        """Return whether the handler may have done its work in spite of the failure."""
        unrecorded = code in _OF_OUTPUTS and self._began_at > 0
        return self._timed_out or self._is_lost or unrecorded

    # ---- the host of the context ----------------------------------------------------------

    @property
    def readable(self) -> frozenset[str]:
        """Ids whose outputs the step may read."""
        return self.owner.run.definition.readable.get(template_of(self.command.path), frozenset())

    def outcome_of(self, node_id: str) -> Outcome[object] | None:
        """Return how a node ended; ``None`` while it has not."""
        ended = self.owner.run.machine.find(self.command.path, node_id)
        return None if ended is None else self.owner.run.values.outcome(ended)

    def run_input_bytes(self) -> tuple[bytes | None, Codec]:
        """Return the run's input."""
        return self.owner.run.values.input_bytes()

    def state(self) -> State:
        """Return the state as the attempt sees it."""
        state = self._state
        if state is None:
            made = State(self._layers, self.command.path, self.owner.runtime.max_payload)
            state = vars(self).setdefault("_state", made)  # threads of the step may ask at once
        if self._decided or self._ended_at:
            state.close()
        return state

    @property
    def redaction(self) -> Redaction | None:
        """It leaves the secrets of the run out of logs; ``None``: there are none."""
        return self.owner.run.values.redaction

    @property
    def max_payload(self) -> int:
        """Bytes that one value may have as JSON."""
        return self.owner.runtime.max_payload

    @property
    def log_level(self) -> int:
        """The least level of the log lines that are kept."""
        return self.owner.runtime.log_level

    def report(self, done: float, total: float | None, message: str) -> None:
        """Keep a progress report of the handler. May be called from any thread."""
        self._noted().add_report(done, total, message)

    def log(self, level: int, text: str) -> None:
        """Keep a line of the handler's log. May be called from any thread."""
        self._noted().add_line(level, text)

    def logged_there(self, log: Log) -> None:
        """Keep the log of a handler that ran elsewhere. May be called from any thread."""
        notes = self._noted()
        for level, text, at in log.lines:
            notes.add_line(level, text, at)
        notes.leave_out(log.left_out)

    def _noted(self) -> AttemptNotes:
        notes = self._notes
        if notes is None:
            run = self.owner.row
            which = AttemptId(run.run_id, run.created_at, self.path, self.attempt)
            made = self.owner.runtime.notes.of(which)
            notes = vars(self).setdefault("_notes", made)  # threads of the step may come at once
            if self._decided:
                notes.has_ended = True  # only a thread that was left behind comes so late
        return notes


def _what_next(policy: RetryPolicy, delay: float | None, *, late: bool) -> str:
    if late:
        return f"; a next attempt, in {delay:.3g} s, would start after the deadline"
    if delay is not None:
        return f"; next attempt in {delay:.3g} s"
    unknown = unknown_names(policy)
    if not unknown:
        return ""
    names = ", ".join(map(repr, unknown))
    return f"; its retry policy names {names}, as no exception class here is called: misspelt?"
