"""The context of a step without an engine, for unit tests."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from gorkflow._text import brief
from gorkflow.codec import Codec, codec_of
from gorkflow.context import Deps, StepContext
from gorkflow.engine._settings import MAX_PAYLOAD
from gorkflow.errors import UnavailableError
from gorkflow.flow import id_at
from gorkflow.language.elements import UNSET
from gorkflow.model import Completed, Outcome
from gorkflow.node import Node
from gorkflow.state import State, initial
from gorkflow.state_changes import entry_of

if TYPE_CHECKING:
    import typing_extensions

    D = typing_extensions.TypeVar("D", default=Any)
else:
    D = TypeVar("D")

T = TypeVar("T")


class Report(NamedTuple):
    """A progress report of a step.

    Example:
        >>> from gorkflow import testing
        >>> ctx = testing.context()
        >>> ctx.progress(1, 2, "half done")
        >>> ctx.reports
        [Report(done=1, total=2, message='half done')]
    """

    done: float
    total: float | None
    message: str


class _Everything(frozenset[str]):
    """Every id: a test without a workflow can't check ``reads=``."""

    def __contains__(self, _: object) -> bool:
        return True


class _Host:
    def __init__(
        self, outcomes: Mapping[str, Outcome[object]], path: str, state: Mapping[str, Any]
    ) -> None:
        layer = {write.key: entry_of(write, "") for write in initial(state, MAX_PAYLOAD)}
        self._state = State((layer,), path, MAX_PAYLOAD)
        self.outcomes = outcomes
        self.cancelled = False
        self.reports: list[Report] = []
        self.readable: frozenset[str] = _Everything()

    def outcome_of(self, node_id: str) -> Outcome[object] | None:
        found = self.outcomes.get(node_id)
        if found is None:
            raise UnavailableError(
                f"this test gives no output of {node_id!r}; write "
                f"testing.context(outputs={{{node_id!r}: …}})"
            )
        return found

    def run_input_bytes(self) -> tuple[bytes | None, Codec | None]:
        return None, None

    def state(self) -> State:
        return self._state

    redaction = None

    max_payload = MAX_PAYLOAD

    log_level = 2**31
    """``FakeContext`` keeps the records by itself."""

    def log(self, level: int, text: str) -> None:
        pass  # as above

    def report(self, done: float, total: float | None, message: str) -> None:
        self.reports.append(Report(done, total, message))


class _Kept(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


class FakeContext(StepContext[Deps]):
    """A ``StepContext`` that keeps the reports and logs of its step. ``context`` makes it.

    Example:
        >>> from gorkflow import testing
        >>> ctx = testing.context(run_id="r1", path="charge")
        >>> ctx.logger.info("charging %s", 990)
        >>> ctx.messages
        ['charging 990']
        >>> ctx.idempotency_key
        'r1:charge'
    """

    __slots__ = ("_input", "_own_logger", "records")

    def __init__(self, host: _Host, *, run_input: object, **fields: Any) -> None:
        super().__init__(host, **fields)
        self._input = run_input
        self.records: list[logging.LogRecord] = []
        """The log records of the step, at any level. ``gorkflow.step`` gets them, too."""
        self._own_logger = logging.Logger("gorkflow.step", logging.DEBUG)  # noqa: LOG001 - its own
        self._own_logger.parent = logging.getLogger("gorkflow.step")
        self._own_logger.addHandler(_Kept(self.records))

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger of the step, which also keeps its records in ``records``."""
        adapter = super().logger
        adapter.logger = self._own_logger
        return adapter

    @property
    def reports(self) -> list[Report]:
        """The progress that the step reported, oldest first."""
        return cast("_Host", self._host).reports

    @property
    def messages(self) -> list[str]:
        """The log messages of the step."""
        return [record.getMessage() for record in self.records]

    def cancel(self) -> None:
        """Cancel the step: ``ctx.cancelled`` is true from now on."""
        cast("_Host", self._host).cancelled = True

    def run_input(self, annotation: type[T]) -> T:
        """Return a copy of the run's input.

        Raises:
            UnavailableError: If the test gave none.
            StepValueError: If it does not match the annotation.
        """
        if self._input is UNSET:
            raise UnavailableError(
                "this test gives no input of the run; write testing.context(run_input=…)"
            )
        codec = codec_of(annotation)
        value: T = codec.decode(codec.accept(self._input))
        return value


def context(
    *,
    run_id: str = "test-run",
    workflow_id: str = "test-workflow",
    path: str = "step",
    attempt: int = 1,
    deps: D = None,  # type: ignore[assignment]
    outputs: Mapping[Any, object] | None = None,
    outcomes: Mapping[Any, Outcome[object]] | None = None,
    run_input: object = UNSET,
    state: Mapping[str, Any] | None = None,
    cancelled: bool = False,
    deadline: datetime | None = None,
    tags: Mapping[str, str] | None = None,
    scheduled_for: datetime | None = None,
) -> FakeContext[D]:
    """Return a context to call a step with: ``await charge(testing.context(), order)``.

    Args:
        run_id: The run's id. With the path it makes the idempotency key.
        workflow_id: The workflow's id.
        path: The path of the step; its last part is ``step_id``. With ``~undo`` at its end,
            ``ctx.undone_key`` is the key of the undone step.
        attempt: The number of the attempt, from 1.
        deps: ``ctx.deps``.
        outputs: The outputs that the step reads with ``ctx.outputs``, by node or id.
        outcomes: The outcomes of nodes without an output, by node or id: ``Failed(…)``.
        run_input: The value that ``ctx.run_input(…)`` copies.
        state: The first ``ctx.state``. Afterwards ``ctx.state`` has the writes of the step, too.
        cancelled: ``ctx.cancelled``; ``cancel()`` sets it later.
        deadline: The end of the attempt; ``None`` means never.
        tags: The tags of the run.
        scheduled_for: The due time for which a schedule started the run; ``None`` means none did.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ``scheduled_for`` has no time zone.
        ValueInvalidError: If the state can't be written as JSON.

    Example:
        >>> from gorkflow import StepContext, step, testing
        >>> @step
        ... def count(ctx: StepContext, page: str) -> int:
        ...     return ctx.state.incr("pages")
        >>> count(testing.context(state={"pages": 2}), "index.html")
        3
    """
    _check_kinds(str, run_id=run_id, workflow_id=workflow_id, path=path)
    _check_kinds(int, attempt=attempt)
    _check_kinds(datetime | None, deadline=deadline, scheduled_for=scheduled_for)
    _check_kinds(Mapping | None, tags=tags)
    if scheduled_for is not None and scheduled_for.utcoffset() is None:
        raise ValueError(f"scheduled_for {scheduled_for!r} has no time zone; write tzinfo=UTC")
    host = _host(outputs, outcomes, path, state, cancelled=cancelled)
    return FakeContext(
        host,
        run_input=run_input,
        run_id=run_id,
        workflow_id=workflow_id,
        step_id=id_at(path),
        path=path,
        attempt=attempt,
        deadline=deadline,
        deps=deps,
        tags=tuple((tags or {}).items()),
        scheduled_for=None if scheduled_for is None else scheduled_for.timestamp(),
    )


def _host(
    outputs: Mapping[Any, object] | None,
    outcomes: Mapping[Any, Outcome[object]] | None,
    path: str,
    state: Mapping[str, Any] | None,
    *,
    cancelled: bool,
) -> _Host:
    _check_kinds(Mapping | None, outputs=outputs, outcomes=outcomes, state=state)
    ended: dict[str, Outcome[object]] = {}
    for node, value in (outputs or {}).items():
        ended[_id(node)] = Completed(_id(node), value)
    for node, outcome in (outcomes or {}).items():
        ended[_id(node)] = outcome
    host = _Host(ended, path, state or {})
    host.cancelled = cancelled
    return host


def _check_kinds(kind: Any, **given: object) -> None:
    for name, value in given.items():
        if not isinstance(value, kind):
            raise TypeError(f"{name} is of another kind: {brief(value)}; see testing.context")


def _id(node: Any) -> str:
    if not isinstance(node, Node | str):
        raise TypeError(f"outputs and outcomes are given by node or id, not by {brief(node)}")
    return node if isinstance(node, str) else node.id
