"""Runs, step executions, outcomes and failures, as callers see them. The same from every store.

Everything here is plain frozen data. Instants that callers see are aware ``datetime`` in UTC;
inside the engine an instant is a float, seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, Literal, NoReturn, TypeVar

T_co = TypeVar("T_co", covariant=True)
DEFAULT_QUEUE = "default"
"""The queue of runs that name none, and of workers that name none."""


class GorkflowError(Exception):
    """The root of all errors of this library; ``gorkflow.errors`` draws their tree.

    Example:
        >>> from gorkflow import GorkflowError, Workflow
        >>> try:
        ...     Workflow("not a valid id")
        ... except GorkflowError:
        ...     print("rejected")
        rejected
    """

    def __reduce__(self) -> tuple[object, ...]:
        """Let it be copied and pickled, with any constructor."""
        return _remade, (type(self), self.args), vars(self)


def _remade(cls: type[GorkflowError], args: tuple[object, ...]) -> GorkflowError:
    return cls.__new__(cls, *args)


class _Status(StrEnum):
    terminal: bool
    """Whether the status can't change any more."""

    # Both are asked for several times a step: an enum's own hash, and a property, are calls.
    __hash__ = str.__hash__

    def __init__(self, value: str) -> None:
        self.terminal = value in {"completed", "failed", "cancelled", "skipped"}


class RunStatus(_Status):
    """The status of a run. ``completed``, ``failed`` and ``cancelled`` are terminal.

    Example:
        >>> from gorkflow import RunStatus
        >>> RunStatus.COMPLETED == "completed", RunStatus.COMPLETED.terminal
        (True, True)
    """

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(_Status):
    """The status of a step execution. The last four are terminal.

    Example:
        >>> from gorkflow import StepStatus
        >>> StepStatus("retrying").terminal
        False
    """

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    """It is a sleep, or a wait for a signal, which is under way."""
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class FailureCode(StrEnum):
    """The kind of a failure.

    Example:
        >>> from gorkflow import FailureCode
        >>> FailureCode.TIMEOUT == "timeout"
        True
    """

    STEP_FAILED = "step_failed"
    """The step raised."""
    TIMEOUT = "timeout"
    """A step, block or workflow took longer than it may."""
    VALIDATION = "validation"
    """A value does not match its annotation."""
    ENCODING = "encoding"
    """A value can't be written as strict JSON."""
    CONDITION = "condition"
    """A condition raised, timed out, or did not return a bool."""
    CANCELLED = "cancelled"
    """The step raised ``CancelledError`` though it was not cancelled."""
    LOOP_LIMIT = "loop_limit"
    STATE_CONFLICT = "state_conflict"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    INTERRUPTED = "interrupted"
    """The process died during the step too many times in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something failed.

    Example:
        >>> from datetime import datetime, timezone
        >>> from gorkflow import Failure, FailureCode
        >>> failure = Failure(
        ...     path="charge",
        ...     step_id="charge",
        ...     attempt=2,
        ...     code=FailureCode.STEP_FAILED,
        ...     type="builtins.ConnectionError",
        ...     message="the bank is down",
        ...     at=datetime.now(timezone.utc),
        ... )
        >>> print(failure)
        charge (attempt 2): ConnectionError: the bank is down
    """

    path: str
    """The path within the run; empty for the run itself."""
    step_id: str
    attempt: int
    """The attempt, from 1; 0 if no attempt failed (a block's timeout)."""
    code: FailureCode
    type: str
    """The qualified name of the exception's class; empty where there was none."""
    message: str
    traceback: str = ""
    at: datetime
    handled: bool = False
    """True if the run continued despite it."""

    def __str__(self) -> str:
        """Return one line: where, what, why."""
        where = self.path or "the run"
        tries = f" (attempt {self.attempt})" if self.attempt > 1 else ""
        name = self.type.removeprefix("builtins.") if self.code == FailureCode.STEP_FAILED else ""
        return f"{where}{tries}: {name or self.code.value}: {self.message}"


def instant(seconds: float) -> datetime:
    """Return seconds since the epoch as an aware ``datetime`` in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def instant_if(seconds: float | None) -> datetime | None:
    """Return an instant, if there is one."""
    return None if seconds is None else instant(seconds)


class OutcomeError(GorkflowError):
    """``result()`` was called on an outcome that has no value.

    Example:
        >>> from gorkflow import Skipped
        >>> Skipped("shorten", "the condition is false").result()
        Traceback (most recent call last):
        gorkflow.model.OutcomeError: 'shorten' was skipped: the condition is false
    """


@dataclass(frozen=True, slots=True)
class Completed(Generic[T_co]):
    """A branch or step that completed.

    Example:
        >>> from gorkflow import Completed
        >>> Completed("double", 42).result()
        42
    """

    path: str
    value: T_co
    status: Literal["completed"] = "completed"

    def result(self) -> T_co:
        """Return the value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Failed:
    """A branch or step that failed for good; timed out is ``failure.code == "timeout"``.

    Example:
        >>> from gorkflow import Failed, Workflow, run, step
        >>> @step
        ... def charge(cents: int) -> str:
        ...     raise ConnectionError("the bank is down")
        >>> trying = Workflow("trying", input=int).parallel(charge, join="settled")
        >>> (outcome,) = run(trying, 990, store="memory:")
        >>> isinstance(outcome, Failed), outcome.failure.message
        (True, 'the bank is down')
    """

    path: str
    failure: Failure
    status: Literal["failed"] = "failed"

    def result(self) -> NoReturn:
        """Raise, since there is no value.

        Raises:
            OutcomeError: If it is called: the message has the failure.
        """
        raise OutcomeError(f"{self.path!r} failed: {self.failure}")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A step that a condition left out.

    Example:
        >>> from gorkflow import Skipped
        >>> Skipped("shorten", "the condition is false").status
        'skipped'
    """

    path: str
    reason: str
    status: Literal["skipped"] = "skipped"

    def result(self) -> NoReturn:
        """Raise, since there is no value.

        Raises:
            OutcomeError: If it is called: the message has the reason.
        """
        raise OutcomeError(f"{self.path!r} was skipped: {self.reason}")


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A branch or step that was cancelled before it ended.

    Example:
        >>> from gorkflow import Cancelled
        >>> Cancelled("publish", "not reached").status
        'cancelled'
    """

    path: str
    reason: str
    status: Literal["cancelled"] = "cancelled"

    def result(self) -> NoReturn:
        """Raise, since there is no value.

        Raises:
            OutcomeError: If it is called: the message has the reason.
        """
        raise OutcomeError(f"{self.path!r} was cancelled: {self.reason}")


Outcome = Completed[T_co] | Failed | Skipped | Cancelled
"""The end of a step or branch. Use it with ``match``, or by its ``status``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a run: steps that ended, of the known steps.

    Example:
        >>> from gorkflow import Progress
        >>> progress = Progress(done=3, total=4)
        >>> f"{progress.done} of {progress.total}"
        '3 of 4'
    """

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The latest progress report of a running attempt: ``ctx.progress``.

    Example:
        >>> from datetime import datetime, timezone
        >>> from gorkflow import Report
        >>> now = datetime.now(timezone.utc)
        >>> report = Report(run_id="r", path="load", attempt=1, done=3, total=4, message="", at=now)
        >>> report.share
        0.75
    """

    run_id: str
    path: str
    attempt: int
    done: float
    """The units that are done."""
    total: float | None
    """All units; ``None``: unknown."""
    message: str
    at: datetime

    @property
    def share(self) -> float | None:
        """The part that is done, from 0 to 1; ``None``: unknown."""
        if self.total is None or self.total <= 0:
            return None
        return min(1.0, max(0.0, self.done / self.total))


_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line in the log of a step: one record of ``ctx.logger``.

    Example:
        >>> from gorkflow import Engine, StepContext, Workflow, step
        >>> @step
        ... def double(ctx: StepContext, number: int) -> int:
        ...     ctx.logger.info("doubling %d", number)
        ...     return 2 * number
        >>> async def main() -> None:
        ...     async with Engine("memory:") as engine:
        ...         doubling = Workflow("doubling", input=int).then(double)
        ...         await engine.run(doubling, 21, run_id="first")
        ...         [line] = await engine.logs("first")
        ...         print(line.path, line.level_name, line.text)
        >>> import asyncio
        >>> asyncio.run(main())
        double INFO doubling 21
    """

    id: int
    """Rises in the order in which lines can be read."""
    run_id: str
    path: str
    attempt: int
    number: int
    """Within its attempt, from 1."""
    at: datetime
    level: int
    """As of ``logging``: 20 is ``INFO``."""
    text: str
    """The message, with the traceback under it if there was one. It may have several lines."""

    @property
    def level_name(self) -> str:
        """The name of the level: ``INFO``."""
        return _LEVELS.get(self.level, f"LEVEL {self.level}")


UNDOING = "undoing: "
"""The first word in the reason of a run that is being undone; its failure or cancel follows. If a
worker can't continue the undoing, the obstacle follows instead."""
BLOCKED = "blocked: "
"""The first word in the reason of a live run that the available code does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a workflow.

    Example:
        >>> from gorkflow import Workflow, testing
        >>> run = testing.run_sync(Workflow("nap", input=int).sleep(60), 21).run
        >>> str(run.status), run.input, run.output
        ('completed', 21, 21)
    """

    run_id: str
    workflow_id: str
    workflow_version: str
    status: RunStatus
    input: Any = None
    """Decoded to the workflow's type where the workflow is known, else plain JSON."""
    output: Any = None
    """The same; ``None`` until the run completed. A failed run has no output."""
    plain: str = ""
    """Why the input or output is plain data though the workflow is known; empty: it is not."""
    failures: tuple[Failure, ...] = ()
    """All final failures in declared order, those that the run continued after, too
    (``handled``)."""
    reason: str = ""
    """Why it failed, was cancelled, or is blocked."""
    progress: Progress | None = None
    resource_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    """When a suspended run wakes up."""
    scheduled_for: datetime | None = None
    """The due time for which a schedule started it, also if it repeats such a run; ``None``: no
    schedule did, or a list has not read it."""
    waits_for: tuple[str, ...] = ()
    """The names of the signals that it waits for now, sorted."""
    worker_id: str | None = None
    """The worker that holds it."""
    queue: str = DEFAULT_QUEUE
    """The queue whose workers run it."""
    origin: str | None = None
    """The run that it repeats, if it is a rerun."""
    from_step: str | None = None
    """The path from which a rerun runs again; ``None``: from the steps that did not complete."""
    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The values in ``ctx.state``, as plain JSON data; of a live run, as seen outside of its
    blocks."""
    drawing: Callable[[str], dict[str, str]] | None = field(default=None, repr=False, compare=False)
    """Draws it as it was read, by MIME type, for notebooks; takes its ``repr``. ``None``: a list
    has not read its history."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return its drawing, for a notebook."""
        shown = repr(self)
        return {"text/plain": shown} if self.drawing is None else self.drawing(shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveWorker:
    """A worker that is alive: a process that claims runs and runs them.

    Example:
        from gorkflow import Engine

        async with Engine("memory:") as engine:
            [worker] = await engine.workers()
            assert worker.worker_id == engine.worker_id and worker.runs == 0
    """

    worker_id: str
    host: str
    """The name of its machine."""
    pid: int
    """The id of its process."""
    started_at: datetime
    seen_at: datetime
    """Its latest heartbeat."""
    lease: float
    """Seconds after ``seen_at`` for which the others believe it alive."""
    runs: int
    """The number of runs that it owns."""
    concurrency: int | None = None
    """The number of runs that it has at a time, at most; ``None``: no limit."""
    queues: tuple[str, ...] = ()
    """The queues whose runs it takes, sorted; empty: it takes no runs of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a step.

    Example:
        >>> from gorkflow import Workflow, step, testing
        >>> @step
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> result = testing.run_sync(Workflow("doubling", input=int).then(double), 21)
        >>> [attempt] = result.steps["double"].attempts
        >>> attempt.number, attempt.failure, attempt.limits
        (1, None, ())
    """

    number: int
    started_at: datetime | None
    """When the handler began; of a running one, when it was scheduled; ``None`` where it never
    began, or died before it could say."""
    finished_at: datetime | None
    failure: Failure | None
    queued: float | None
    """Seconds from when the step could run to when its handler began: for want of a slot of the
    engine, or of its named limits."""
    ran: float | None
    """Seconds from when its handler began to when it ended."""
    limits: tuple[str, ...] = ()
    """The named limits that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepExecution:
    """One step at one path of a run, over all its attempts.

    Example:
        >>> from gorkflow import Workflow, step, testing
        >>> @step
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> result = testing.run_sync(Workflow("doubling", input=int).then(double), 21)
        >>> [execution] = result.steps.values()
        >>> execution.path, execution.input, execution.output
        ('double', 21, 42)
    """

    run_id: str
    path: str
    step_id: str
    name: str
    status: StepStatus
    attempt: int = 0
    """The latest attempt, from 1; 0 before the first."""
    input: Any = None
    output: Any = None
    plain: str = ""
    """Why the input or output is plain data though the workflow is known; empty: it is not."""
    failure: Failure | None = None
    """The latest."""
    reason: str = ""
    """Why it was cancelled or skipped, is not tried again, or what it waits for."""
    undone: StepStatus | None = None
    """The status of its undo step; ``None``: it is not undone."""
    executor: str = ""
    """The place where it runs: ``loop``, ``thread``, ``process`` or an executor's name; empty: it
    only waits.
    """
    progress: Report | None = None
    """The latest report of the running attempt; ``None``: it runs not, or reported nothing."""
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
