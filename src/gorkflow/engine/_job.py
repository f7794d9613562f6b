"""An attempt as bytes: what a step needs to run elsewhere, and how it tells that it has.

Nothing is pickled: values are the JSON that is recorded anyway, and functions are names. This
module is all that another process, or a worker of a cluster, runs of the engine.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from functools import cache
from types import ModuleType
from typing import Any, NoReturn, cast

from msgspec import convert, to_builtins

from gorkflow._record import named_record
from gorkflow.clock import SystemClock
from gorkflow.codec import Codec, codec_of, view
from gorkflow.context import Outputs, StepContext
from gorkflow.engine._results import RemoteError, code_of, encoded, make_failure
from gorkflow.engine._retries import Thrown, thrown
from gorkflow.errors import NonRetryableError, UnavailableError
from gorkflow.language._program import import_program
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

_clock = SystemClock()
Report = Callable[[float, "float | None", str], None]
_KINDS = {cls.__name__: cls for cls in (Skipped, Cancelled)}


@named_record
class Job:
    """An attempt, ready to run anywhere."""

    function: str
    """``module:name``."""
    settings: Mapping[str, str]
    """The settings that are recorded with the run: JSON by parameter."""
    ids: Mapping[str, Any]
    """The ids of the attempt, as ``StepContext`` takes them."""
    timeout: float | None
    """Seconds that the attempt may take."""
    due: float | None
    """The earliest deadline around it, in seconds since the epoch."""
    max_payload: int
    input: bytes
    """The one input, or the list of all."""
    run_input: bytes | None = None
    outcomes: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict[str, Any])
    """How the nodes ended that the step may read, by id; ``None``: they have not."""
    outputs: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """The outputs of those that completed."""
    state: Mapping[str, str] = field(default_factory=dict[str, str])
    """What it sees of the state of the run: JSON, by key."""
    program: str = ""
    """What to import for the module ``__main__``; empty where the function is not in it."""


def pack(head: Mapping[str, Any], parts: Iterable[bytes] = ()) -> bytes:
    """Return a message: a line of JSON, then the parts, whose lengths it tells."""
    parts = list(parts)
    line = json.dumps({**head, "parts": [len(part) for part in parts]})
    return b"".join((line.encode(), b"\n", *parts))


def unpack(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return what ``pack`` packed."""
    at = data.index(b"\n") + 1
    head = json.loads(data[:at])
    parts: list[bytes] = []
    for length in head.pop("parts"):
        parts.append(data[at : at + length])
        at += length
    return head, parts


def job_to_bytes(job: Job) -> bytes:
    """Return a job as a message."""
    head = {
        "function": job.function,
        "program": job.program,
        "settings": dict(job.settings),
        "ids": dict(job.ids),
        "timeout": job.timeout,
        "due": job.due,
        "max_payload": job.max_payload,
        "outcomes": dict(job.outcomes),
        "outputs": list(job.outputs),
        "takes": job.run_input is not None,
        "state": dict(job.state),
    }
    given = [] if job.run_input is None else [job.run_input]
    return pack(head, [job.input, *given, *job.outputs.values()])


def _job_from_bytes(data: bytes) -> Job:
    head, parts = unpack(data)
    first = 2 if head.pop("takes") else 1
    run_input = parts[1] if first == 2 else None
    outputs = dict(zip(head.pop("outputs"), parts[first:], strict=True))
    return Job(**head, input=parts[0], run_input=run_input, outputs=outputs)


# ---- there ------------------------------------------------------------------------------------


def run_job(data: bytes, began: Callable[[], object] | None = None,
            report: Report | None = None) -> bytes:  # fmt: skip
    """Run an attempt and return how it ended, as ``result_of`` reads it. Raises nothing.

    Args:
        data: what ``job_to_bytes`` gave.
        began: called when the handler begins.
        report: takes the progress reports of the handler.
    """
    job = _job_from_bytes(data)
    before = _clock.monotonic()
    context: _Context | None = None
    try:
        found = found_step(job.function, job.program)
        arguments = _arguments(found.wanted, job.input)
        context = _context(job, found, report) if found.takes_context else None
        if began is not None:
            began()
        before = _clock.monotonic()
        value = found.call(context, arguments, tuple(job.settings.items()))
        ran = _clock.monotonic() - before
        writes = () if context is None else context.written()
        output = encoded(value, found.output, job.max_payload)
    except BaseException as error:  # noqa: BLE001 - outcome as data
        return _failed(job, error, _clock.monotonic() - before)
    finally:
        if context is not None:
            context.written()  # a thread may outlive the step
    state = {"state": to_builtins(writes)} if writes else {}
    return pack({"ran": ran, **state}, [output])


def _failed(job: Job, error: BaseException, ran: float) -> bytes:
    ids, code = job.ids, code_of(error)
    if code is FailureCode.CANCELLED:
        code = FailureCode.STEP_FAILED  # of a function that uses asyncio itself
    failure = make_failure(ids["path"], ids["step_id"], ids["attempt"], code, error, _clock.now())
    seen = thrown(error)
    head = {
        "ran": ran,
        "failure": to_builtins(failure),
        "errors": [sorted(names) for names in seen.errors],
        "names": sorted(seen.names),
        "is_final": seen.is_final,
        "delay": seen.delay,
    }
    return pack(head)


@cache
def found_step(reference: str, program: str = "") -> Step[Any, Any]:
    """Return the step behind a function of this name.

    Args:
        reference: ``module:name``.
        program: what to import for the module ``__main__``.

    Raises:
        NonRetryableError: there is none.
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
    value = codec_of(input_annotation(wanted)).decode(data)
    return (value,) if len(wanted) == 1 else tuple(value)


def input_annotation(wanted: tuple[Any, ...]) -> Any:
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
    """What a context asks, answered from the job."""

    def __init__(self, job: Job, reads: Iterable[Node[Any, Any]], report: Report | None) -> None:
        self._job = job
        self._report = report
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
        told = self._job.outcomes[node_id]
        if told is None:
            return None
        if told["kind"] == "Failed":
            return Failed(told["path"], convert(told["failure"], Failure))
        if told["kind"] != "Completed":
            return _KINDS[told["kind"]](told["path"], told["reason"])
        data = self._job.outputs.get(node_id)
        if data is None:
            raise UnavailableError(
                f"the output of {node_id!r} holds outcomes, which don't cross to another process; "
                "let a step in between return what of them is needed"
            )
        annotation = self.annotations.get(node_id, Any)
        value = view(data) if annotation is Any else codec_of(annotation).decode(data)
        return Completed(told["path"], value)

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


def _context(job: Job, found: Step[Any, Any], report: Report | None) -> _Context:
    host = _Host(job, found.reads, report)
    deadline = None if host.due is None else instant(host.due)
    context = _Context(host, **job.ids, deadline=deadline, deps=None)
    context.outputs = _Outputs(host, context.step_id)
    return context


# ---- here -------------------------------------------------------------------------------------


def result_of(data: bytes) -> tuple[float, bytes, tuple[Write, ...]]:
    """Return how long a handler ran, in seconds, its output, and what it wrote into the state.

    Raises:
        RemoteError: it failed; ``ran`` is how long it took.
    """
    head, parts = unpack(data)
    if parts:
        return head["ran"], parts[0], convert(head.get("state", ()), tuple[Write, ...])
    errors = frozenset(map(frozenset[str], head["errors"]))
    seen = Thrown(errors, frozenset(head["names"]), head["is_final"], head["delay"])
    raise RemoteError(convert(head["failure"], Failure), seen, head["ran"])
