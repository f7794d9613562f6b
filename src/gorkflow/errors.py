"""Every error that gorkflow raises, and the ones that a step may raise to steer it.

* GorkflowError
  x StepInvalidError            what was given to ``@step`` is no step
  x WorkflowInvalidError        a workflow can't be built; lists every problem
  x InputInvalidError           the input of a run does not validate; nothing was stored
  x UnavailableError            an output that a step asked for can't be had
  x ValueInvalidError           a value that can't cross a step boundary
    + EncodingError             not representable as strict JSON
    + StepValueError           does not match the annotation
    + UnreadableError           its type's own function can't read what it wrote
    + PayloadTooLargeError      over the limit
  x RunError                    about one run
    + RunFailedError            it failed; lists every unhandled failure
      - StateConflictError      branches left different values under one key of its state
    + RunCancelledError         it was cancelled
    + RunNotFoundError          there is no such run
    + RunBlockedError           the code at hand can't carry it on
    + DuplicateRunError         the id is taken by another run
    + ResourceBusyError         another live run has the resource
    + RunEndedError             it has ended, and takes no more signals
    + RunNotEndedError          it is still going on, and can't be repeated yet
    + LeaseLostError            another worker owns it now
    + HistoryError              its recorded events contradict each other
  x DeadlockError               a step would wait for a run that waits for the step
  x ProcessDiedError            the process in which a step ran ended before the step did
  x ScheduleNotFoundError       there is no such schedule
  x EngineClosedError           the engine is closed, or was never opened
  x StoreError                  the store could not do its work
    + StoreUnavailableError     it can't be opened or reached
    + StoreVersionError         it was made by a newer version
    + StoreCorruptError         a stored row can't be read
  x StepControl                  raised by steps, to the engine
    + NonRetryableError         fail now, whatever the retry policy says
    + RetryAfterError           fail, and try again after this many seconds
    + StepCancelledError        the step noticed that it was cancelled
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from gorkflow._text import brief
from gorkflow.model import Failure, Outcome
from gorkflow.model import GorkflowError as GorkflowError  # noqa: PLC0414 - for importers


class StepInvalidError(GorkflowError):
    """What was given to ``@step`` can't be a step; the message says what to write instead."""


class WorkflowInvalidError(GorkflowError):
    """A workflow, or what it is made of, can't be built as written.

    Args:
        workflow_id: the workflow that was being built, or the name of the other thing.
        problems: every problem that the call found, one sentence each.
        what: it is.
    """

    def __init__(
        self, workflow_id: str, problems: Sequence[str], *, what: str = "workflow"
    ) -> None:
        self.workflow_id = workflow_id
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{what} {workflow_id!r} can't be built:{lines}")


class InputInvalidError(GorkflowError):
    """The input of a run does not validate. Raised by ``start`` before anything is stored."""


class UnavailableError(GorkflowError):
    """A step asked for the output of a node that has none, or that it did not declare."""


class ValueInvalidError(GorkflowError):
    """A value can't cross a step boundary. The step fails at once and is not retried."""


class EncodingError(ValueInvalidError):
    """A value can't be written as strict JSON (NaN, a lone surrogate, an unknown type, ...)."""


class StepValueError(ValueInvalidError):
    """A value does not match the annotation that it crosses the boundary under."""


class UnreadableError(ValueInvalidError):
    """Only a type's own function can read a recorded value, and that function has failed.

    The run is blocked, not failed: it continues once the function reads the value again.
    """


class PayloadTooLargeError(ValueInvalidError):
    """An encoded value is larger than the engine allows."""


class RunError(GorkflowError):
    """Something about one run.

    Args:
        run_id: the run.
        message: one sentence, ending with what to do.
    """

    def __init__(self, run_id: str, message: str) -> None:
        self.run_id = run_id
        super().__init__(message)


SHOWN = 5
"""Failures whose tracebacks are shown together."""
_LINES = 40
"""Lines of each: the last ones, where it was raised."""


class RunFailedError(RunError):
    """A run failed. Notes of the error show where the steps raised what they did.

    Args:
        run_id: the run.
        failures: every unhandled final failure, in the workflow's declared order.
        outcomes: how each step that was reached ended, by path.
    """

    def __init__(
        self, run_id: str, failures: Sequence[Failure], outcomes: Mapping[str, Outcome[object]]
    ) -> None:
        self.failures = tuple(failures)
        self.outcomes = outcomes
        lines = "".join(f"\n  - {failure}" for failure in self.failures)
        super().__init__(run_id, f"run {run_id!r} failed:{lines}")
        told = [(each, lines) for each in self.failures if (lines := shown(each.traceback))]
        for failure, lines in told[:SHOWN]:
            self.add_note(f"\n{failure.path or 'the run'} failed:\n{lines}")
        if len(told) > SHOWN:
            self.add_note(f"\n… and {len(told) - SHOWN} more; `failures` has their tracebacks")


def shown(traceback: str) -> str:
    """Return the last lines of a recorded traceback, as many as people read.

    Empty where it has no line of code: the failure's message says all that is in it then.
    """
    if 'File "' not in traceback:
        return ""
    lines = traceback.rstrip().split("\n")
    left = len(lines) - _LINES
    return "\n".join(lines if left <= 0 else [f"  … {left} lines before", *lines[left:]])


class StateConflictError(RunFailedError):
    """A run failed because parallel branches left different values under one key of its state.

    The failure with code ``state_conflict`` names the key and both writers.
    """


class RunCancelledError(RunError):
    """A run was cancelled.

    Args:
        run_id: the run.
        reason: who or what asked for it.
    """

    def __init__(self, run_id: str, reason: str) -> None:
        self.reason = reason
        super().__init__(run_id, f"run {run_id!r} was cancelled: {reason}")


class RunNotFoundError(RunError):
    """The store has no run of this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id, f"there is no run {run_id!r} in this store; `gorkflow runs list` shows them"
        )


class RunBlockedError(RunError):
    """The code at hand can't carry on a run that was started with another definition."""


class DuplicateRunError(RunError):
    """A run of this id exists, and ``if_exists`` does not allow to return it."""


class ResourceBusyError(RunError):
    """The run was not started, since another live run has its resource, and one is exclusive."""


class RunEndedError(RunError):
    """The run has ended: nothing can be sent into it any more."""


class RunNotEndedError(RunError):
    """The run has not ended yet; only one that has can be repeated."""


class LeaseLostError(RunError):
    """Another worker owns the run now; what this one still knew of it was not recorded."""


class HistoryError(RunError):
    """The events of a run contradict each other or its definition.

    Raised by the machine. While replaying it means that the history is damaged; while running, that
    the engine fed an event that can't happen, which is a bug in gorkflow.
    """


class ScheduleNotFoundError(GorkflowError):
    """The store has no schedule of this id."""

    def __init__(self, schedule_id: str) -> None:
        self.schedule_id = schedule_id
        super().__init__(
            f"there is no schedule {schedule_id!r} in this store; `gorkflow schedule list` shows "
            "them"
        )


class EngineClosedError(GorkflowError):
    """The engine is closed, or was not opened with ``async with``."""


class DeadlockError(GorkflowError):
    """A step waits for a run that needs a limit which the step itself holds. Never retried."""


class ProcessDiedError(GorkflowError):
    """The process in which a step ran ended before the step did: a crash, or a lack of memory.

    The failure of one attempt, retried as any other; name it in ``retry_on`` or ``give_up_on`` to
    have it otherwise.
    """


class StoreError(GorkflowError):
    """The store could not do its work; nothing of the failed call was recorded unless said."""


class StoreUnavailableError(StoreError):
    """The store can't be opened, written or reached."""


class StoreVersionError(StoreError):
    """The store was made by a newer version of gorkflow."""


class StoreCorruptError(StoreError):
    """A stored row can't be read."""


class StepControl(GorkflowError):  # noqa: N818 - the family of errors by which a step speaks to us
    """The family of errors by which a step speaks to the engine."""


class NonRetryableError(StepControl):
    """Raise it in a step to fail at once, whatever the retry policy says."""


_CENTURY = 100 * 365 * 86_400.0
"""Seconds; a longer delay is a mistake in the unit, and some instants can't be written down."""


class RetryAfterError(StepControl):
    """Raise it in a step to set the delay before the next attempt.

    It uses up an attempt like any failure: without retries left the step fails. Where a subclass
    leaves ``delay`` unset, or sets it to what is no delay, the step's policy decides.

    Args:
        delay: seconds, or a ``timedelta``.
        message: why, for the record.

    Raises:
        ValueError: the delay is negative, NaN, or longer than 100 years.
        TypeError: it is no duration.
    """

    def __init__(self, delay: float | timedelta, message: str = "") -> None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"a retry delay must be seconds or a timedelta, not {brief(delay)}")
        if not 0 <= seconds <= _CENTURY:
            raise ValueError(
                f"a retry delay must be from 0 seconds to 100 years, not {brief(delay)}; the "
                "delay is in seconds"
            )
        self.delay = float(seconds)
        super().__init__(message or f"asked to be tried again after {seconds:g} s")


class StepCancelledError(StepControl):
    """Raised by ``ctx.raise_if_cancelled()`` in a step that was cancelled or timed out."""
