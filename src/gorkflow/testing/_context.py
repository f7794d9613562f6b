"""A context without an engine, to call a step in a unit test."""

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
from gorkflow.language._elements import UNSET
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
    """A progress report of a step."""

    done: float
    total: float | None
    message: str


class _Everything(frozenset[str]):
    """What a step may read in a test: whether it declared that is checked with its workflow."""

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

    def report(self, done: float, total: float | None, message: str) -> None:
        self.reports.append(Report(done, total, message))


class _Kept(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


class FakeContext(StepContext[Deps]):
    """A ``StepContext`` that remembers what the step told it. Made by ``context``."""

    __slots__ = ("_input", "_own_logger", "records")

    def __init__(self, host: _Host, *, run_input: object, **fields: Any) -> None:
        super().__init__(host, **fields)
        self._input = run_input
        self.records: list[logging.LogRecord] = []
        """What the step logged, at any level; it goes to the logger ``gorkflow.step`` as well."""
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
        """What the step logged, as texts."""
        return [record.getMessage() for record in self.records]

    def cancel(self) -> None:
        """Let the step see from now on that it is cancelled."""
        cast("_Host", self._host).cancelled = True

    def run_input(self, annotation: type[T]) -> T:
        """Return a copy of the input that the test gave.

        Raises:
            UnavailableError: the test gave none.
            StepValueError: it does not match the annotation.
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
) -> FakeContext[D]:
    """Return a context for calling a step directly: ``await charge(testing.context(), order)``.

    Args:
        run_id: part of the idempotency key, with the path.
        workflow_id: of the run.
        path: where in the run the step stands; its last part is ``step_id``. With ``~undo`` at its
            end, the step sees the key of the one before that as ``ctx.undone_key``.
        attempt: from 1.
        deps: what the step finds as ``ctx.deps``.
        outputs: what the step reads with ``ctx.outputs``, by node or id.
        outcomes: how nodes ended that have no output, by node or id: ``Failed(…)``, ``Skipped(…)``.
        run_input: what ``ctx.run_input(…)`` copies.
        state: what ``ctx.state`` begins with; what the step wrote is seen in it afterwards.
        cancelled: what the step sees as ``ctx.cancelled``; ``cancel()`` sets it later.
        deadline: when the attempt times out; ``None``: never.

    Raises:
        TypeError: one of these is of another kind.
        ValueInvalidError: the state can't be written as JSON.
    """
    _check_kinds(str, run_id=run_id, workflow_id=workflow_id, path=path)
    _check_kinds(int, attempt=attempt)
    _check_kinds(datetime | None, deadline=deadline)
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
