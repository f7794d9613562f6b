"""The context of a running step: ids, earlier outputs, dependencies, its own logger."""

from __future__ import annotations

import logging
import sys
from math import isfinite
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NoReturn,
    Protocol,
    TypeVar,
    TypeVarTuple,
    overload,
)

from gorkflow._logs import REDACTION
from gorkflow._text import brief, did_you_mean
from gorkflow.annotations import describe, needs_validation
from gorkflow.codec import Codec, codec_of
from gorkflow.errors import StepCancelledError, StepValueError, UnavailableError
from gorkflow.flow import undone_path
from gorkflow.model import Cancelled, Completed, Failed, Outcome, Skipped, instant_if
from gorkflow.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping
    from datetime import datetime

    import typing_extensions

    from gorkflow.redaction import Redaction
    from gorkflow.state import State

    Deps = typing_extensions.TypeVar("Deps", covariant=True, default=object)
else:
    Deps = TypeVar("Deps", covariant=True)

T = TypeVar("T")
U = TypeVar("U")
Ts = TypeVarTuple("Ts")

_MAX_KEY = 200
_READABLE = 120
_CUT = "…"
_logger = logging.getLogger("gorkflow.step")

LINE_BYTES = 2048
"""Bytes of one line of a log, or of a progress message."""


class Host(Protocol):
    """The part of an engine that the context of one attempt needs. Nothing here may block."""

    @property
    def readable(self) -> frozenset[str]:
        """Ids of the nodes whose outputs the step may read, declared or not."""
        ...

    @property
    def cancelled(self) -> bool:
        """True if the attempt was cancelled or timed out."""
        ...

    def outcome_of(self, node_id: str) -> Outcome[object] | None:
        """Return how the node ended, its value decoded; ``None``: it has not ended."""
        ...

    def run_input_bytes(self) -> tuple[bytes | None, Codec | None]:
        """Return the input of the run and its codec; ``None`` where the run takes none."""
        ...

    @property
    def log_level(self) -> int:
        """The least level of the log lines that are kept, as of ``logging``."""
        ...

    @property
    def redaction(self) -> Redaction | None:
        """It leaves the secrets of the run out of logs; ``None``: there are none."""
        ...

    @property
    def max_payload(self) -> int:
        """Bytes that one value may have as JSON."""
        ...

    def report(self, done: float, total: float | None, message: str) -> None:
        """Keep the step's progress."""
        ...

    def log(self, level: int, text: str) -> None:
        """Keep a line of the step's log."""
        ...

    def state(self) -> State:
        """Return the state as the attempt sees it, the same one each time."""
        ...


class _StepLogger(logging.LoggerAdapter[logging.Logger]):
    """Keeps lines with the run, and adds the ids of the step to the ``extra`` of a call.

    How logging is configured says only which lines are shown elsewhere.
    """

    def __init__(self, host: Host, fields: Mapping[str, object]) -> None:
        super().__init__(_logger, fields)
        self._host = host

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - as logging calls it
        return level >= self._host.log_level or self.logger.isEnabledFor(level)

    def getEffectiveLevel(self) -> int:  # noqa: N802 - as above
        return min(self._host.log_level, self.logger.getEffectiveLevel())

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        if level >= self._host.log_level:
            self._host.log(level, clipped(_line(msg, args, options.get("exc_info"))))
        if self.logger.isEnabledFor(level):
            # One more frame of ours lies between the logger and the step.
            options["stacklevel"] = options.get("stacklevel", 1) + 1
            super().log(level, msg, *args, **options)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        extra: dict[str, Any] = kwargs.get("extra") or {}
        redaction = self._host.redaction
        if redaction is not None:
            extra = {**redaction.shown(extra), REDACTION: redaction}
        kwargs["extra"] = {**extra, **(self.extra or {})}
        return msg, kwargs


class Outputs:
    """The outputs of the nodes that a step may read, by node (typed) or by id."""

    __slots__ = ("_host", "_step_id")

    def __init__(self, host: Host, step_id: str) -> None:
        self._host = host
        self._step_id = step_id

    @overload
    def __getitem__(self, node: Node[Any, T]) -> T: ...
    @overload
    def __getitem__(self, node: str) -> Any: ...
    def __getitem__(self, node: Node[Any, Any] | str) -> Any:
        """Return the output of a node.

        Raises:
            UnavailableError: If there is none: the node failed, was skipped or cancelled, has not
                run, or was not declared with ``reads``.
        """
        outcome = self.outcome(node)
        match outcome:
            case Completed():
                return outcome.value
            case Failed():
                why = f"failed: {outcome.failure.message}"
            case Skipped():
                why = f"was skipped: {outcome.reason}"
            case Cancelled():
                why = f"was cancelled: {outcome.reason}"
        raise UnavailableError(
            f"{_id(node)!r} has no output, it {why}; ctx.outcome() and ctx.outputs.get() allow "
            "for that"
        )

    @overload
    def get(self, node: Node[Any, T], default: U) -> T | U: ...
    @overload
    def get(self, node: Node[Any, T]) -> T | None: ...
    @overload
    def get(self, node: str, default: Any = None) -> Any: ...
    def get(self, node: Node[Any, Any] | str, default: Any = None) -> Any:
        """Return the output of a node, or the default where it has none.

        Raises:
            UnavailableError: If the node was not declared with ``reads``, or has not run.
        """
        outcome = self.outcome(node)
        return outcome.value if isinstance(outcome, Completed) else default

    @overload
    def outcome(self, node: Node[Any, T]) -> Outcome[T]: ...
    @overload
    def outcome(self, node: str) -> Outcome[Any]: ...
    def outcome(self, node: Node[Any, Any] | str) -> Outcome[Any]:
        """Return how a node ended; see ``StepContext.outcome``."""
        node_id = _id(node)
        if node_id not in self._host.readable:
            if hint := _meant(node, self._host.readable):
                raise UnavailableError(f"step {self._step_id!r} may not read {node_id!r}; {hint}")
            if isinstance(node, str):  # there may be no such step
                raise UnavailableError(
                    f"step {self._step_id!r} may not read {node_id!r}: declare it, if there is "
                    "such a step: @step(reads=(that_step,)), then ctx.outputs[that_step]"
                )
            raise UnavailableError(
                f"step {self._step_id!r} may not read {node_id!r}: declare it, "
                f"@step(reads=({_variable(node)},)), so that its output is checked and loaded"
            )
        outcome = self._host.outcome_of(node_id)
        if outcome is None:
            raise UnavailableError(
                f"{node_id!r} has not run yet (or was never reached), so step {self._step_id!r} "
                "can't read it"
            )
        return outcome


class StepContext(Generic[Deps]):
    """The view of a running step on its run. Nothing here blocks; it works in threads too.

    Ask for it with a first parameter annotated ``StepContext``, or ``StepContext[Deps]`` to have
    ``deps`` typed.

    Example:
        from gorkflow import StepContext, Workflow, run, step

        @step
        def price(item: str) -> int:
            return 495

        @step(reads=(price,))
        def label(ctx: StepContext, cents: int) -> str:
            ctx.logger.info("labels %s", ctx.run_input(str))
            return f"{ctx.run_input(str)}: {ctx.outputs[price]} ({ctx.path}, attempt {ctx.attempt})"

        flow = Workflow("labels", input=str).then(price).then(label)
        assert run(flow, "tea", store="memory:") == "tea: 495 (label, attempt 1)"
    """

    __slots__ = (
        "_host",
        "_logger",
        "_scheduled_for",
        "_tags",
        "_transactions",
        "attempt",
        "deadline",
        "deps",
        "outputs",
        "path",
        "run_id",
        "step_id",
        "workflow_id",
    )

    if TYPE_CHECKING:
        # What tells it from an input, in the signatures of `@step`.
        __hash__: ClassVar[None]  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride]

    def __init__(
        self,
        host: Host,
        *,
        run_id: str,
        workflow_id: str,
        step_id: str,
        path: str,
        attempt: int,
        deadline: datetime | None,
        deps: Deps,
        tags: Iterable[tuple[str, str]] = (),
        scheduled_for: float | None = None,
    ) -> None:
        self._host = host
        self._tags = tags
        self._scheduled_for = scheduled_for
        self._logger: _StepLogger | None = None
        self._transactions: set[str] | None = None  # keys
        self.run_id = run_id
        self.workflow_id = workflow_id
        """The workflow of the run, also inside a nested workflow."""
        self.step_id = step_id
        self.path = path
        """The place in the run: nested workflows put their id before the step's."""
        self.attempt = attempt
        """From 1."""
        self.deadline = deadline
        """When this attempt times out, or the first of the blocks and workflows around it, or the
        run; ``None``: never."""
        self.deps: Deps = deps
        """The ``deps=`` of the engine."""
        self.outputs = Outputs(host, step_id)
        """Outputs of earlier nodes: ``ctx.outputs[node]``."""

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of the run, by name. They can't be changed."""
        return MappingProxyType(dict(self._tags))

    @property
    def scheduled_for(self) -> datetime | None:
        """The due time for which a schedule started the run, in UTC; ``None``: none did.

        It may be long past: if no worker ran then, or if the run repeats an earlier one.
        """
        return instant_if(self._scheduled_for)

    @property
    def state(self) -> State:
        """The state of the run: values that its steps share. See ``State``."""
        return self._host.state()

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step in this run, crashes included; ≤ 200 bytes.

        Hand it to services that recognize a repeated request by it.
        """
        return _key(self.run_id, self.path)

    @property
    def undone_key(self) -> str | None:
        """In an undo step: the ``idempotency_key`` of the step that it undoes; else ``None``.

        If the outcome of that step is unknown, ask the service for it by this key.
        """
        undone = undone_path(self.path)
        return None if undone is None else _key(self.run_id, undone)

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger of this attempt. Its lines are kept with the run: ``engine.logs``.

        It also passes them to the logger ``gorkflow.step``, with the ids as fields of each record.
        """
        if self._logger is None:
            fields = {
                "run_id": self.run_id,
                "workflow_id": self.workflow_id,
                "step_id": self.step_id,
                "path": self.path,
                "attempt": self.attempt,
            }
            self._logger = _StepLogger(self._host, fields)
        return self._logger

    def run_input(self, annotation: type[T]) -> T:
        """Return a copy of the input of the run.

        Args:
            annotation: Its type, as the workflow declares it.

        Raises:
            UnavailableError: If the workflow takes no input.
            StepValueError: If it does not match the annotation.
        """
        data, codec = self._host.run_input_bytes()
        if data is None:
            raise UnavailableError(
                f"workflow {self.workflow_id!r} takes no input; declare one with input="
            )
        if codec is None:
            value: T = codec_of(annotation).understand(data)
        else:
            value = codec.decode(data)
            if needs_validation(codec.annotation, annotation):
                value = _as_asked_for(value, annotation)
        return value

    @overload
    def outcome(self, node: Node[Any, T]) -> Outcome[T]: ...
    @overload
    def outcome(self, node: str) -> Outcome[Any]: ...
    def outcome(self, node: Node[Any, Any] | str) -> Outcome[Any]:
        """Return how a node ended: ``Completed``, ``Failed``, ``Skipped`` or ``Cancelled``.

        Raises:
            UnavailableError: If the node was not declared with ``reads``, or has not run.
        """
        return self.outputs.outcome(node)

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Report how far the step is, for people who watch: ``engine.steps`` shows it.

        Call it as often as you like: the latest report is kept, once a second, while the attempt
        runs.

        Args:
            done: The units that are done.
            total: All units; ``None``: unknown.
            message: A few words.

        Raises:
            TypeError: If an argument has the wrong type.
        """
        self._host.report(
            _number("done", done),
            None if total is None else _number("total", total),
            clipped(_text("message", message)),
        )

    @overload
    def transaction(
        self, db: object, work: Callable[[Any, *Ts], Coroutine[Any, Any, T]], /, *args: *Ts,
        name: str = "",
    ) -> Coroutine[Any, Any, T]: ...  # fmt: skip
    @overload
    def transaction(
        self, db: object, work: Callable[[Any, *Ts], T], /, *args: *Ts, name: str = ""
    ) -> T: ...
    def transaction(
        self, db: Any, work: Callable[..., Any], /, *args: object, name: str = ""
    ) -> Any:
        """Do work on a database of yours that commits with its result, exactly once.

        The work runs in a transaction. Its result goes last into the table ``gorkflow_results`` of
        that database, then both are committed. A later attempt of the step returns that result, and
        does not call ``work`` again. If two attempts overlap, one of them is rolled back.

        Args:
            db: An SQLAlchemy ``Engine``, ``AsyncEngine``, ``sessionmaker`` or
                ``async_sessionmaker``; a psycopg pool or ``postgresql://`` URL; the path of an
                SQLite file; or a function that makes a connection.
            work: The function. It gets a connection, or a session, and then ``args``. Its return
                annotation says how its result is recorded, as for a step. It must not commit.
            args: Its other arguments.
            name: Needed if the step has several transactions; at most 40 characters.

        Returns:
            The result of ``work``, from this attempt or an earlier one. If ``work`` is async, a
            coroutine that returns it.

        Raises:
            TypeError: If ``db`` or ``work`` is of the wrong kind, or only one of them is async.
            ValueError: If this attempt has done a transaction of that name, or ``db`` is a text
                that names no database.
            ValueInvalidError: If the result can't be recorded; the work is then rolled back.
            NonRetryableError: If ``work`` has ended the transaction by itself.
            StepCancelledError: If the attempt was cancelled or timed out; it is rolled back.

        Example:
            import sqlite3
            from gorkflow import StepContext, Workflow, run, step

            def insert(db: sqlite3.Connection, name: str) -> int | None:
                db.execute("CREATE TABLE IF NOT EXISTS guests (id integer PRIMARY KEY, name)")
                return db.execute("INSERT INTO guests (name) VALUES (?)", [name]).lastrowid

            @step
            def register(ctx: StepContext, name: str) -> int | None:
                return ctx.transaction("guests.db", insert, name)

            flow = Workflow("guests", input=str).then(register)
            assert run(flow, "Ada", store="memory:") == 1
        """
        from gorkflow.transaction import Transaction, key_of

        if self._transactions is None:
            self._transactions = set()
        return Transaction(
            db=db,
            work=work,
            args=args,
            key=key_of(self.idempotency_key, name),
            limit=self._host.max_payload,
            check=self.raise_if_cancelled,
            used=self._transactions,
        ).run()

    @property
    def cancelled(self) -> bool:
        """True if this attempt was cancelled or timed out; its result is then discarded."""
        return self._host.cancelled

    def raise_if_cancelled(self) -> None:
        """Stop here if this attempt was cancelled or timed out.

        Raises:
            StepCancelledError: If it was.
        """
        if self._host.cancelled:
            raise StepCancelledError(f"step {self.step_id!r} was cancelled")


def clipped(text: str) -> str:
    """Return a text as it is kept: in UTF-8, and cut if it is too long."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= LINE_BYTES:
        return data.decode()
    # A traceback says most in its last lines. They are whole, and so is a secret in one of them.
    half = LINE_BYTES // 2
    _, line_end, tail = data[-half:].decode(errors="ignore").partition("\n")
    head = data[: half if line_end else LINE_BYTES][: -len(_CUT.encode())]
    return f"{head.decode(errors='ignore')}{_CUT}{line_end}{tail}"


def _line(msg: object, args: tuple[object, ...], exc_info: Any) -> str:
    """Return a record of a log as text: the message, and the traceback under it."""
    record = logging.LogRecord(_logger.name, 0, "", 0, msg, args, None)
    error: Any = exc_info
    try:
        if isinstance(exc_info, tuple):
            error = exc_info[1]  # pyright: ignore[reportUnknownVariableType]
        elif exc_info and not isinstance(exc_info, BaseException):
            error = sys.exc_info()[1]
        text = record.getMessage()
        if isinstance(error, BaseException):
            found = type(error), error, error.__traceback__
            text = f"{text}\n{logging.Formatter().formatException(found)}"
    except Exception:  # noqa: BLE001 - of the format, or a user's __str__: to log never fails a step
        return f"{brief(msg)} {brief(args)}"
    return text


_LARGEST = 2**63 - 1
"""A larger number is kept as a float: stores have 64 bits."""


def _number(name: str, value: object) -> float:
    """Return a number of units; what can't be a number of them counts as 0.

    Raises:
        TypeError: If it is not a number.
    """
    try:
        number = float(value)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    except OverflowError:
        return 0.0
    except (TypeError, ValueError):
        raise TypeError(f"ctx.progress: {name} must be a number, not {brief(value)}") from None
    if not isfinite(number):
        return 0.0
    return value if type(value) is int and abs(value) <= _LARGEST else number


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"ctx.progress: {name} must be a text, not {brief(value)}")
    return value


def _as_asked_for(value: Any, annotation: Any) -> Any:
    try:
        return codec_of(annotation).validate(value)
    except StepValueError as error:
        raise StepValueError(
            f"ctx.run_input({describe(annotation)}): the input of the run is not one: {error}"
        ) from None


def _meant(node: Node[Any, Any] | str, readable: frozenset[str]) -> str:
    """Return what an id that a step may not read was probably meant to be."""
    if not isinstance(node, str):
        return ""
    return did_you_mean(node, sorted(readable), "")


class NoDeps:
    """Stands for deps that a step wants and its engine was not given: says so once it is used.

    Args:
        step_id: the step.
        wanted: the class of its deps.
    """

    def __init__(self, step_id: str, wanted: type) -> None:
        self.__step_id, self.__wanted = step_id, wanted.__name__

    def __bool__(self) -> bool:
        """Return that there are none."""
        return False

    def __getattr__(self, name: str) -> NoReturn:
        """Raise what to do.

        Raises:
            UnavailableError: If it is called at all.
        """
        raise UnavailableError(
            f"step {self.__step_id!r} uses ctx.deps.{name}, but its engine was given no deps; "
            f"write Engine(…, deps={self.__wanted}(…))"
        )


def _id(node: Node[Any, Any] | str) -> str:
    return node if isinstance(node, str) else node.id


def _variable(node: Node[Any, Any] | str) -> str:
    """Return how the node is probably called in the user's code."""
    return _id(node).replace("-", "_").replace(".", "_")


def _key(run_id: str, path: str) -> str:
    key = f"{run_id}:{path}"
    data = key.encode()
    if len(data) <= _MAX_KEY:
        return key
    import hashlib  # slow to load, and such long paths are rare

    digest = hashlib.sha256(data).hexdigest()
    return f"{data[:_READABLE].decode(errors='ignore')}:{digest}"
