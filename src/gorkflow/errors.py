"""Every error that gorkflow raises, and the ones that a step may raise to steer it.

* GorkflowError
  x StepInvalidError            ``@step`` can't make a step of this
  x WorkflowInvalidError        a workflow can't be built; lists every problem
  x InputInvalidError           the input of a run does not validate; nothing was stored
  x UnavailableError            an output that a step asked for is not available
  x ValueInvalidError           a value that can't cross a step boundary
    + EncodingError             not representable as strict JSON
    + StepValueError            does not match the annotation
    + UnreadableError           its type's own function can't read what it wrote
    + PayloadTooLargeError      over the limit
  x RunError                    about one run
    + RunFailedError            it failed; lists every unhandled failure
      - StateConflictError      branches left different values under one key of its state
    + RunCancelledError         it was cancelled
    + RunNotFoundError          there is no such run
    + RunBlockedError           the available code can't continue it
    + DuplicateRunError         the id is taken by another run
    + ResourceBusyError         another live run has the resource
    + RunEndedError             it has ended, and takes no more signals
    + RunNotEndedError          it has not ended, and can't be repeated yet
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
  x StepControl                 raised by steps, to the engine
    + NonRetryableError         fail now, without a retry
    + RetryAfterError           fail, and try again after this many seconds
    + StepCancelledError        the step noticed that it was cancelled
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from gorkflow._durations import seconds_of
from gorkflow.model import Failure, Outcome
from gorkflow.model import GorkflowError as GorkflowError  # noqa: PLC0414 - for importers


class StepInvalidError(GorkflowError):
    """``@step`` can't make a step of its argument; the message says what to write instead.

    Example:
        >>> from gorkflow import step
        >>> step(lambda number: 2 * number)
        Traceback (most recent call last):
        gorkflow.errors.StepInvalidError: a lambda ...
    """


class WorkflowInvalidError(GorkflowError):
    """A workflow, or what it is made of, can't be built as written.

    Args:
        workflow_id: The workflow, or the name of the other thing.
        problems: Every problem that the call found, one sentence each.
        what: The noun for it.

    Example:
        >>> from gorkflow import Workflow
        >>> Workflow("outer", input=int).then(Workflow("inner", input=str).sleep(1))
        Traceback (most recent call last):
        gorkflow.errors.WorkflowInvalidError: workflow 'outer' can't be built:
          - workflow 'inner' takes input: str, but gets int as input
    """

    def __init__(
        self, workflow_id: str, problems: Sequence[str], *, what: str = "workflow"
    ) -> None:
        self.workflow_id = workflow_id
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{what} {workflow_id!r} can't be built:{lines}")


class InputInvalidError(GorkflowError):
    """The input of a run does not validate. Raised by ``start`` before anything is stored.

    Example:
        >>> from gorkflow import Workflow, run
        >>> run(Workflow("napping", input=int).sleep(0), "two", store="memory:")
        Traceback (most recent call last):
        gorkflow.errors.InputInvalidError: the input of workflow 'napping' is not valid: ...
    """


class UnavailableError(GorkflowError):
    """A step asked for the output of a node that has none, or that it did not declare.

    Example:
        >>> from gorkflow import testing
        >>> testing.context().outputs["prepare"]
        Traceback (most recent call last):
        gorkflow.errors.UnavailableError: this test gives no output of 'prepare'; ...
    """


class ValueInvalidError(GorkflowError):
    """A value can't cross a step boundary. The step fails at once and is not retried.

    Example:
        >>> from gorkflow import RunFailedError, Workflow, run, step
        >>> @step
        ... def length(text: str) -> int:
        ...     return str(len(text))
        >>> try:
        ...     run(Workflow("lengths", input=str).then(length), "tea", store="memory:")
        ... except RunFailedError as error:
        ...     print(error.failures[0].code)
        validation
    """


class EncodingError(ValueInvalidError):
    r"""A value can't be written as strict JSON (NaN, a lone surrogate, an unknown type, ...).

    Example:
        >>> from gorkflow import testing
        >>> testing.context().state["page"] = "\ud800"
        Traceback (most recent call last):
        gorkflow.errors.EncodingError: ...
    """


class StepValueError(ValueInvalidError):
    """A value does not match the annotation that it crosses the boundary under.

    Example:
        >>> from gorkflow import testing
        >>> testing.context(run_input="tea").run_input(int)
        Traceback (most recent call last):
        gorkflow.errors.StepValueError: Input should be a valid integer, not str
    """

    problems: tuple[tuple[str, str], ...] = ()
    """The first problems, if it is an input or a signal: each a place, as ``items[0].price``, and
    the reason. An empty place means the whole value."""


class UnreadableError(ValueInvalidError):
    """Only a type's own function can read a recorded value, and that function has failed.

    The run is blocked, not failed: it continues once the function reads the value again.

    Example:
        from gorkflow import Engine, Workflow
        from gorkflow.errors import UnreadableError

        waiting = Workflow("waiting", input=int).sleep(0.01)

        async with Engine("memory:") as engine:
            handle = await engine.start(waiting, 1)
            try:
                await handle.result()
            except UnreadableError:  # ``get_run`` still shows plain data
                print((await handle.info()).output)
    """


class PayloadTooLargeError(ValueInvalidError):
    """An encoded value is larger than the engine allows.

    Example:
        >>> from gorkflow import testing
        >>> testing.context().state["page"] = "x" * 5_000_000
        Traceback (most recent call last):
        gorkflow.errors.PayloadTooLargeError: ...
    """


class RunError(GorkflowError):
    """Something about one run.

    Args:
        run_id: the run.
        message: one sentence, ending with what to do.

    Example:
        from gorkflow import Engine, RunError

        async with Engine("memory:") as engine:
            try:
                await engine.get_run("unknown")
            except RunError as error:
                assert error.run_id == "unknown"
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

    Example:
        >>> from gorkflow import RunFailedError, Workflow, run, step
        >>> @step
        ... def charge(cents: int) -> str:
        ...     raise ConnectionError("the bank is down")
        >>> try:
        ...     run(Workflow("paying", input=int).then(charge), 990, store="memory:")
        ... except RunFailedError as error:
        ...     print(error.failures[0])
        charge: ConnectionError: the bank is down
    """

    def __init__(
        self, run_id: str, failures: Sequence[Failure], outcomes: Mapping[str, Outcome[object]]
    ) -> None:
        self.failures = tuple(failures)
        self.outcomes = outcomes
        lines = "".join(f"\n  - {failure}" for failure in self.failures)
        super().__init__(run_id, f"run {run_id!r} failed:{lines}")
        traced = [(each, lines) for each in self.failures if (lines := shown(each.traceback))]
        for failure, lines in traced[:SHOWN]:
            self.add_note(f"\n{failure.path or 'the run'} failed:\n{lines}")
        if len(traced) > SHOWN:
            self.add_note(f"\n… and {len(traced) - SHOWN} more; `failures` has their tracebacks")


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

    Example:
        >>> from gorkflow import StepContext, Workflow, run, step
        >>> @step
        ... def offer(ctx: StepContext, item: str) -> None:
        ...     ctx.state["best"] = ctx.path
        >>> offers = Workflow("offers", input=str).parallel(offer, offer.options(id="other"))
        >>> run(offers, "tea", store="memory:")
        Traceback (most recent call last):
        gorkflow.errors.StateConflictError: ...
    """


class RunCancelledError(RunError):
    """A run was cancelled.

    Args:
        run_id: the run.
        reason: who or what asked for it.

    Example:
        from gorkflow import Engine, RunCancelledError, Workflow

        waiting = Workflow("waiting", input=int).sleep(3600)

        async with Engine("memory:") as engine:
            handle = await engine.start(waiting, 1)
            await handle.cancel("changed my mind")
            try:
                await handle.result()
            except RunCancelledError as error:
                assert error.reason == "changed my mind"
    """

    def __init__(self, run_id: str, reason: str) -> None:
        self.reason = reason
        super().__init__(run_id, f"run {run_id!r} was cancelled: {reason}")


class RunNotFoundError(RunError):
    """The store has no run of this id.

    Example:
        from gorkflow import Engine, RunNotFoundError

        async with Engine("memory:") as engine:
            try:
                await engine.steps("unknown")
            except RunNotFoundError:
                print("look into another store")
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id, f"there is no run {run_id!r} in this store; `gorkflow runs list` shows them"
        )


class RunBlockedError(RunError):
    """The available code can't continue a run that was started with another definition.

    Example:
        from gorkflow import Engine, RunBlockedError, Workflow

        old = Workflow("naps", input=int).sleep(0.1)
        async with Engine("sqlite:runs.db") as engine:
            await engine.start(old, 7, run_id="r1")

        async with Engine("sqlite:runs.db", workflows=[old.sleep(1, id="more")]) as engine:
            try:
                await engine.handle("r1").result()
            except RunBlockedError as error:
                print(error)
    """


class DuplicateRunError(RunError):
    """A run of this id exists, and ``if_exists`` does not allow to return it.

    Example:
        from gorkflow import DuplicateRunError, Engine, Workflow

        waiting = Workflow("waiting", input=int).sleep(3600)

        async with Engine("memory:") as engine:
            await engine.start(waiting, 1, run_id="order-7")
            try:
                await engine.start(waiting, 1, run_id="order-7")
            except DuplicateRunError:
                await engine.start(waiting, 1, run_id="order-7", if_exists="return")
    """


class ResourceBusyError(RunError):
    """The run was not started, since another live run has its resource, and one is exclusive.

    Example:
        from gorkflow import Engine, ResourceBusyError, Workflow

        waiting = Workflow("waiting", input=int).sleep(3600)

        async with Engine("memory:") as engine:
            await engine.start(waiting, 1, resource_id="customer-42", exclusive=True)
            try:
                await engine.start(waiting, 2, resource_id="customer-42")
            except ResourceBusyError:
                print("wait for the first run")
    """


class RunEndedError(RunError):
    """The run has ended: nothing can be sent into it any more.

    Example:
        from gorkflow import Engine, RunEndedError, Signal, Workflow

        approved = Signal("approved", str)
        asking = Workflow("asking", input=int).wait_for(approved)

        async with Engine("memory:") as engine:
            handle = await engine.start(asking, 1)
            await handle.send(approved, "Ann")
            await handle.result()
            try:
                await handle.send(approved, "Ben")
            except RunEndedError:
                print("too late")
    """


class RunNotEndedError(RunError):
    """The run has not ended yet; only one that has can be repeated.

    Example:
        from gorkflow import Engine, RunNotEndedError, Workflow

        waiting = Workflow("waiting", input=int).sleep(3600)

        async with Engine("memory:") as engine:
            handle = await engine.start(waiting, 1)
            try:
                await engine.rerun(handle.run_id)
            except RunNotEndedError:
                await handle.cancel()
    """


class LeaseLostError(RunError):
    """Another worker owns the run now; what this one still knew of it was not recorded.

    Example:
        from gorkflow import Engine, LeaseLostError, Workflow

        waiting = Workflow("waiting", input=int).sleep(0.01)

        async with Engine("memory:") as engine:
            handle = await engine.start(waiting, 1)
            try:
                await handle.result()
            except LeaseLostError:  # another worker runs it now
                await engine.handle(handle.run_id).result()
    """


class HistoryError(RunError):
    """The events of a run contradict each other or its definition.

    Raised by the machine. While replaying it means that the history is damaged; while running, that
    the engine fed an event that can't happen, which is a bug in gorkflow.

    Example:
        from gorkflow import Engine, HistoryError, Workflow

        waiting = Workflow("waiting", input=int).sleep(0.01)

        async with Engine("memory:") as engine:
            handle = await engine.start(waiting, 1)
            try:
                await handle.result()
            except HistoryError as error:
                print(f"restore a backup: {error.run_id}")
    """


class ScheduleNotFoundError(GorkflowError):
    """The store has no schedule of this id.

    Example:
        from gorkflow import Engine, ScheduleNotFoundError

        async with Engine("memory:") as engine:
            try:
                await engine.pause_schedule("nightly")
            except ScheduleNotFoundError as error:
                assert error.schedule_id == "nightly"
    """

    def __init__(self, schedule_id: str) -> None:
        self.schedule_id = schedule_id
        super().__init__(
            f"there is no schedule {schedule_id!r} in this store; `gorkflow schedule list` shows "
            "them"
        )


class EngineClosedError(GorkflowError):
    """The engine is closed, or was not opened with ``async with``.

    Example:
        from gorkflow import Engine, EngineClosedError

        engine = Engine("memory:")
        try:
            await engine.list_runs()
        except EngineClosedError:
            async with engine:
                await engine.list_runs()
    """


class DeadlockError(GorkflowError):
    """A step waits for a run that can't end before the step. Never retried.

    It is the step's own run, a run that waits for it, or one that needs the step's limit.

    Example:
        from gorkflow import DeadlockError, Engine, Limit, Workflow, step

        @step(limits=[Limit("one", concurrency=1)])
        async def count(number: int) -> int:
            if number == 0:
                return 0
            try:
                return 1 + await engine.run(counting, number - 1)
            except DeadlockError:
                return -1

        counting = Workflow("counting", input=int).then(count)
        async with Engine("memory:") as engine:
            assert await engine.run(counting, 7) == -1
    """


class ProcessDiedError(GorkflowError):
    """The process in which a step ran ended before the step did: a crash, or a lack of memory.

    The failure of one attempt, retried as any other; name it in ``retry_on`` or ``give_up_on`` to
    have it otherwise.

    Example:
        >>> from gorkflow import ProcessDiedError, RetryPolicy
        >>> RetryPolicy(retries=5, give_up_on=(ProcessDiedError,)).give_up_on
        ('gorkflow.errors.ProcessDiedError',)
    """


class StoreError(GorkflowError):
    """The store could not do its work; nothing of the failed call was recorded unless said.

    Example:
        >>> from gorkflow import Engine
        >>> Engine("mysql://localhost/runs")
        Traceback (most recent call last):
        gorkflow.errors.StoreError: ...
    """


class StoreUnavailableError(StoreError):
    """The store can't be opened, written or reached.

    That may pass. An engine keeps what it has to record and sends it again as long as its lease
    holds. Other calls are made again for 10 s before they raise this.

    Example:
        from gorkflow import Engine, StoreUnavailableError

        try:
            async with Engine("sqlite:missing/folder/runs.db") as engine:
                await engine.list_runs()
        except StoreUnavailableError as error:
            assert "missing" in str(error)
    """


class StoreVersionError(StoreError):
    """The store was made by a newer version of gorkflow.

    Example:
        from gorkflow import Engine, StoreVersionError

        try:
            async with Engine("sqlite:runs.db") as engine:
                await engine.list_runs()
        except StoreVersionError:
            print("update gorkflow")
    """


class StoreCorruptError(StoreError):
    """A stored row can't be read.

    Example:
        from gorkflow import Engine, StoreCorruptError

        async with Engine("sqlite:runs.db") as engine:
            try:
                await engine.list_runs()
            except StoreCorruptError:
                print("run `gorkflow db check`")
    """


class StepControl(GorkflowError):  # noqa: N818 - the family of errors by which a step speaks to us
    """The family of errors by which a step speaks to the engine.

    Example:
        >>> from gorkflow import NonRetryableError, RetryAfterError, StepControl
        >>> issubclass(NonRetryableError, StepControl), issubclass(RetryAfterError, StepControl)
        (True, True)
    """


class NonRetryableError(StepControl):
    """Raise it in a step to fail at once, without a retry.

    Example:
        >>> from gorkflow import NonRetryableError, Workflow, step, testing
        >>> @step(retries=5)
        ... def charge(cents: int) -> str:
        ...     raise NonRetryableError("the card is stolen")
        >>> paying = Workflow("paying", input=int).then(charge)
        >>> testing.run_sync(paying, 990).steps["charge"].attempt
        1
    """


class RetryAfterError(StepControl):
    """Raise it in a step to set the delay before the next attempt.

    It uses up an attempt like any failure: without retries left the step fails. If a subclass
    leaves ``delay`` unset, or sets an invalid one, the step's policy decides.

    Args:
        delay: seconds, or a ``timedelta``.
        message: why, for the record.

    Raises:
        ValueError: If the delay is negative, NaN, infinite, or longer than 100 years.
        TypeError: If it is not a duration.

    Example:
        >>> from gorkflow import RetryAfterError, StepContext, Workflow, step, testing
        >>> @step(retries=1)
        ... def fetch(ctx: StepContext, url: str) -> str:
        ...     if ctx.attempt == 1:
        ...         raise RetryAfterError(30, "the server is busy")
        ...     return "a page"
        >>> testing.run_sync(Workflow("fetching", input=str).then(fetch), "index.html").output
        'a page'
    """

    def __init__(self, delay: float | timedelta, message: str = "") -> None:
        self.delay = seconds_of(delay, "a retry delay", endless=False)
        super().__init__(message or f"asked to be tried again after {self.delay:g} s")


class StepCancelledError(StepControl):
    """Raised by ``ctx.raise_if_cancelled()`` in a step that was cancelled or timed out.

    Example:
        >>> from gorkflow import testing
        >>> testing.context(cancelled=True).raise_if_cancelled()
        Traceback (most recent call last):
        gorkflow.errors.StepCancelledError: ...
    """
