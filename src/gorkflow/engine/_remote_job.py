"""The remote job: an attempt as bytes, which runs elsewhere, and its result.

Nothing is pickled: values are the JSON that is recorded anyway, and functions are names. Another
process, or a worker of a cluster, runs no other module of the engine than this.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast
from weakref import WeakValueDictionary

from msgspec import Struct, field
from msgspec.msgpack import decode, encode
from msgspec.structs import replace

from gorkflow.clock import SystemClock
from gorkflow.codec import Codec, codec_of, view
from gorkflow.context import Outputs, StepContext
from gorkflow.engine._observer import Sent, entered
from gorkflow.engine._results import RemoteError, code_of, encoded, make_failure
from gorkflow.engine._retries import Thrown, thrown
from gorkflow.errors import NonRetryableError, UnavailableError
from gorkflow.language.placement import MAIN, import_program, program_of, reference_of
from gorkflow.model import (
    Cancelled,
    Completed,
    Failed,
    Failure,
    FailureCode,
    Outcome,
    Skipped,
    instant,
)
from gorkflow.node import Node
from gorkflow.state import State, layer_of
from gorkflow.state_changes import Write
from gorkflow.step import Step, step

if TYPE_CHECKING:
    from gorkflow.engine._values import Values
    from gorkflow.machine import Machine, RunStep

_clock = SystemClock()
Report = Callable[[float, "float | None", str], None]
Keep = Callable[[int, str], None]
MOST_LINES = 1_000
"""Lines of its log that a job may bring along with its result."""
_KINDS = {cls.__name__: cls for cls in (Skipped, Cancelled)}


class Ended(Struct):
    """The end of a node, without its output."""

    kind: str
    """The name of the ``Outcome``."""
    path: str
    reason: str = ""
    failure: Failure | None = None


class Listener(Protocol):
    """Takes what the handler of an attempt says."""

    def report(self, done: float, total: float | None, message: str) -> None:
        """Take a progress report. From any thread."""
        ...

    def log(self, level: int, text: str) -> None:
        """Take a line of the log. From any thread."""
        ...


class Log(Struct):
    """The log of a handler, for the way back with its result."""

    lines: list[tuple[int, str, float]] = field(default_factory=list)
    """Level, text, and the time in seconds since the epoch."""
    left_out: int = 0
    """How many more there were."""

    def add(self, level: int, text: str) -> None:
        """Keep a line, unless there are too many."""
        if len(self.lines) < MOST_LINES:
            self.lines.append((level, text, _clock.now()))
        else:
            self.left_out += 1


class Job(Struct, kw_only=True):
    """An attempt, ready to run anywhere."""

    function: str
    """``module:name``."""
    settings: dict[str, str]
    """The settings that are recorded with the run: JSON by parameter."""
    ids: dict[str, Any]
    """The ids of the attempt and of its run, as ``StepContext`` takes them."""
    timeout: float | None
    """Seconds that the attempt may take."""
    due: float | None
    """The earliest deadline around it, in seconds since the epoch."""
    max_payload: int
    input: bytes
    """The one input, or the list of all."""
    run_input: bytes | None = None
    outcomes: dict[str, Ended | None] = field(default_factory=dict)
    """The ends of the nodes that the step may read, by id; ``None``: not ended."""
    outputs: dict[str, bytes] = field(default_factory=dict)
    """The outputs of those that completed."""
    state: dict[str, str] = field(default_factory=dict)
    """The state of the run that the step sees: JSON, by key."""
    log_level: int
    """The least level of the log lines that are kept."""
    program: str = ""
    """The program to import as ``__main__``; empty where the function is not in it."""
    home: str = ""
    """The address of its ``Listener``, for a job that runs in the process that made it."""
    sent: Sent = field(default_factory=dict)
    """The texts that the observers of the engine sent with it."""


class _Result(Struct):
    ran: float
    """Seconds from when the handler began."""
    output: bytes = b""
    writes: tuple[Write, ...] = ()
    failure: Failure | None = None
    thrown: Thrown | None = None
    """The facts that a retry policy looks at."""
    log: Log | None = None
    """The log of the handler, if there was no other way for it."""


# ---- here -------------------------------------------------------------------------------------


def job_of(
    step: Step[Any, Any],
    command: RunStep,
    values: Values,
    *,
    ids: dict[str, Any],
    due: float | None,
    max_payload: int,
    log_level: int,
) -> Job:
    """Return an attempt as a job, without what its context may be asked for.

    Raises:
        ValueInvalidError: If its input can't be written as JSON.
    """
    wanted = step.wanted
    data = b""
    if wanted:
        annotation = _input_annotation(wanted)
        recorded = values.record_as(annotation, command.input)
        if recorded is None:  # it is made of several, or of another type
            arguments = values.arguments(wanted, command.input)
            value = arguments[0] if len(wanted) == 1 else arguments
            recorded = codec_of(annotation).encode(value)
        data = recorded
    return Job(
        function=reference_of(step.fn),
        program=program_of(step.fn.__globals__) if step.fn.__module__ == MAIN else "",
        settings=dict(command.spec.settings),
        ids=ids,
        timeout=command.spec.timeout,
        due=due,
        max_payload=max_payload,
        log_level=log_level,
        input=data,
    )


def with_readable(
    job: Job,
    machine: Machine,
    values: Values,
    readable: Iterable[str],
    state: dict[str, str],
) -> Job:
    """Return a job with all that its context may be asked for.

    Args:
        job: without that.
        machine: knows how nodes ended.
        values: has their outputs.
        readable: ids of the nodes that the step may read.
        state: the state of the run that the step sees: JSON, by key.
    """
    outcomes: dict[str, Ended | None] = {}
    outputs: dict[str, bytes] = {}
    for node_id in sorted(readable):
        ended = machine.find(job.ids["path"], node_id)
        if ended is None:
            outcomes[node_id] = None
            continue
        outcome = values.outcome(ended)
        recorded = outcomes[node_id] = Ended(type(outcome).__name__, outcome.path)
        if isinstance(outcome, Failed):
            recorded.failure = outcome.failure
        elif not isinstance(outcome, Completed):
            recorded.reason = outcome.reason
        elif (data := values.record(ended.value)) is not None:
            outputs[node_id] = data
    run_input = values.input_bytes()[0]
    return replace(job, outcomes=outcomes, outputs=outputs, run_input=run_input, state=state)


_listeners: WeakValueDictionary[str, Listener] = WeakValueDictionary()


def address_of(listener: Listener) -> str:
    """Return where a job finds its listener, should it run in this process."""
    address = f"{os.getpid()} {id(listener)}"
    _listeners[address] = listener
    return address


def _listener_of(job: Job) -> Listener | None:
    """Return the listener of a job that runs at home; not in a fork, which has only its copy."""
    at_home = job.home.startswith(f"{os.getpid()} ")
    return _listeners.get(job.home) if at_home else None


def result_of(data: bytes, logged: Callable[[Log], None]) -> tuple[float, bytes, tuple[Write, ...]]:
    """Return how long a handler ran, in seconds, its output, and what it wrote into the state.

    Args:
        data: what ``run_job`` returned.
        logged: takes its log, if it came along.

    Raises:
        RemoteError: If it failed; ``ran`` is how long it took.
    """
    result = decode(data, type=_Result)
    if result.log is not None:
        logged(result.log)
    if result.failure is not None and result.thrown is not None:
        raise RemoteError(result.failure, result.thrown, result.ran)
    return result.ran, result.output, result.writes


# ---- there ------------------------------------------------------------------------------------


def run_job(data: bytes, began: Callable[[], object] | None = None,
            report: Report | None = None, log: Keep | None = None) -> bytes:  # fmt: skip
    """Run an attempt and return how it ended, as ``result_of`` reads it. Raises nothing.

    Args:
        data: a ``Job``, by ``encode``.
        began: called when the handler begins.
        report: takes the progress reports of the handler.
        log: takes the lines of its log; without it, they come with the result.
    """
    job = decode(data, type=Job)
    before = _clock.monotonic()
    context: _Context | None = None
    leave: Callable[[], object] = bool
    kept = Log()
    listener = None if report else _listener_of(job)
    if listener is not None:
        report, log = listener.report, listener.log
    try:
        found = found_step(job.function, job.program)
        arguments = _arguments(found.wanted, job.input)
        context = _context(job, found, report, log or kept.add) if found.takes_context else None
        if began is not None:
            began()
        leave = entered(job.sent)
        before = _clock.monotonic()
        value = found.call(context, arguments, tuple(job.settings.items()))
        ran = _clock.monotonic() - before
        writes = () if context is None else context.written()
        output = encoded(value, found.output, job.max_payload)
    except BaseException as error:  # noqa: BLE001 - outcome as data
        return _failed(job, error, _clock.monotonic() - before, kept)
    finally:
        leave()
        if context is not None:
            context.written()  # a thread may outlive the step
    return encode(_Result(ran, output, writes, log=kept if kept.lines else None))


def _failed(job: Job, error: BaseException, ran: float, log: Log) -> bytes:
    ids, code = job.ids, code_of(error)
    if code is FailureCode.CANCELLED:
        code = FailureCode.STEP_FAILED  # of a function that uses asyncio itself
    failure = make_failure(ids["path"], ids["step_id"], ids["attempt"], code, error, _clock.now())
    kept = log if log.lines else None
    return encode(_Result(ran, failure=failure, thrown=thrown(error), log=kept))


@cache
def found_step(reference: str, program: str = "") -> Step[Any, Any]:
    """Return the step behind a function of this name.

    Args:
        reference: ``module:name``.
        program: what to import for the module ``__main__``.

    Raises:
        NonRetryableError: If it can't be imported.
    """
    module, _, name = reference.partition(":")
    found: Any
    try:
        found = _program(program) if program else importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        cure = "the code must be importable by that name there, as it is here"
        if program:
            cure = 'move it above `if __name__ == "__main__":`, to the top level of the program'
        raise NonRetryableError(
            f"{name!r} of {module!r} can't be imported where the step should run: {error}; {cure}"
        ) from error
    return cast("Step[Any, Any]", found if isinstance(found, Step) else step(found, id="step"))


def _program(program: str) -> ModuleType:
    try:
        return import_program(program)
    except (Exception, SystemExit) as error:
        raise NonRetryableError(
            f"the process for this step can't import the program: {error}"
        ) from error


def _arguments(wanted: tuple[Any, ...], data: bytes) -> tuple[Any, ...]:
    if not wanted:
        return ()
    value = codec_of(_input_annotation(wanted)).decode(data)
    return (value,) if len(wanted) == 1 else tuple(value)


def _input_annotation(wanted: tuple[Any, ...]) -> Any:
    """Return the annotation that all inputs of a step are written under."""
    return wanted[0] if len(wanted) == 1 else tuple[wanted]  # type: ignore[valid-type]


class _Context(StepContext[Any]):
    """A context in another process: it has what the job brought."""

    __slots__ = ()

    def written(self) -> tuple[Write, ...]:
        """Return what the handler wrote into the state, and take no more."""
        host = cast("_Host", self._host)
        host.has_ended = True
        return () if host.made is None else host.made.close()

    @property
    def deps(self) -> NoReturn:
        """Raise ``UnavailableError``: live objects stay where they are."""
        raise UnavailableError(
            f"step {self.step_id!r} runs in another process, where ctx.deps is not: live objects "
            "don't cross; make what it needs there (a module-level functools.cache function does)"
        )

    @deps.setter
    def deps(self, value: object) -> None:
        pass  # the base class sets it


class _Outputs(Outputs):
    """Decodes each output as the node that is asked for says; by a mere id, as plain data."""

    __slots__ = ("_there",)

    def __init__(self, host: _Host, step_id: str) -> None:
        super().__init__(host, step_id)
        self._there = host

    def outcome(self, node: Node[Any, Any] | str) -> Outcome[Any]:
        if isinstance(node, Node):
            self._there.annotations[node.id] = getattr(node, "output", Any)
        return super().outcome(node)


class _Host:
    """The host of a context: it answers from the job."""

    redaction = None
    """The engine leaves secrets out of the log that it gets."""

    def __init__(
        self, job: Job, reads: Iterable[Node[Any, Any]], report: Report | None, log: Keep
    ) -> None:
        self._job = job
        self._report = report
        self._log = log
        self.log_level = job.log_level
        self.max_payload = job.max_payload
        self.made: State | None = None
        self.has_ended = False
        now = _clock.now()
        ends = (job.due, None if job.timeout is None else now + job.timeout)
        self.due = min((at for at in ends if at is not None), default=None)
        left = float("inf") if self.due is None else self.due - now
        self._until = _clock.monotonic() + left
        self.readable = frozenset(job.outcomes)
        self.annotations: dict[str, Any] = {node.id: getattr(node, "output", Any) for node in reads}

    @property
    def cancelled(self) -> bool:
        return _clock.monotonic() >= self._until

    def outcome_of(self, node_id: str) -> Outcome[object] | None:
        recorded = self._job.outcomes[node_id]
        if recorded is None:
            return None
        if recorded.failure is not None:
            return Failed(recorded.path, recorded.failure)
        if recorded.kind in _KINDS:
            return _KINDS[recorded.kind](recorded.path, recorded.reason)
        data = self._job.outputs.get(node_id)
        if data is None:
            raise UnavailableError(
                f"the output of {node_id!r} holds outcomes, which don't cross to another process; "
                "let a step in between return what of them is needed"
            )
        annotation = self.annotations.get(node_id, Any)
        value = view(data) if annotation is Any else codec_of(annotation).decode(data)
        return Completed(recorded.path, value)

    def run_input_bytes(self) -> tuple[bytes | None, Codec | None]:
        return self._job.run_input, None

    def state(self) -> State:
        if self.made is None:
            job = self._job
            self.made = State((layer_of(job.state),), job.ids["path"], job.max_payload)
        if self.has_ended:
            self.made.close()
        return self.made

    def report(self, done: float, total: float | None, message: str) -> None:
        if self._report is not None:
            self._report(done, total, message)

    def log(self, level: int, text: str) -> None:
        self._log(level, text)


def _context(job: Job, found: Step[Any, Any], report: Report | None, log: Keep) -> _Context:
    host = _Host(job, found.reads, report, log)
    deadline = None if host.due is None else instant(host.due)
    context = _Context(host, **job.ids, deadline=deadline, deps=None)
    context.outputs = _Outputs(host, context.step_id)
    return context
