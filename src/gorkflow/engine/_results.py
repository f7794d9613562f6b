"""The result of a handler as data: the bytes of its output, or the record of its failure.

Shared by the engine and by the processes that run steps for it.
"""

from __future__ import annotations

import inspect
import logging
import sys
import traceback
from typing import Any, cast

from gorkflow._logs import aside, is_ours
from gorkflow.codec import codec_of
from gorkflow.engine._retries import Thrown
from gorkflow.errors import (
    EncodingError,
    PayloadTooLargeError,
    RunBlockedError,
    StepValueError,
    UnreadableError,
    ValueInvalidError,
)
from gorkflow.model import Failure, FailureCode, instant
from gorkflow.policy import exception_name

_MESSAGE = 4_000
_MEMBERS = 5  # exceptions of a group that its message tells of
_TRACEBACK = 16_000  # characters: the innermost frames are at the end, so the end is kept


class RemoteError(Exception):
    """The error that a handler raised in another process.

    Args:
        failure: the record of it.
        thrown: what a retry policy looks at.
        ran: seconds from when the handler began.
    """

    def __init__(self, failure: Failure, thrown: Thrown, ran: float) -> None:
        self.failure = failure
        self.thrown = thrown
        self.ran = ran
        super().__init__(failure.message)


def encoded(value: Any, annotation: Any, limit: int) -> bytes:
    """Return what a handler returned as JSON.

    Args:
        value: what it returned.
        annotation: what it is annotated to return.
        limit: bytes that it may have.

    Raises:
        EncodingError: If it can't be written as JSON.
        StepValueError: If it does not match the annotation.
        PayloadTooLargeError: If it is over the limit.
    """
    try:
        return codec_of(annotation).encode(value, limit)
    except ValueInvalidError as error:
        # A coroutine in its place, or in the place of a field.
        hint = "; write `await` before the call that gives it" if "coroutine" in str(error) else ""
        if inspect.iscoroutine(value):
            value.close()  # or Python warns as well
        raise type(error)(f"its output: {error}{hint}") from None


def unreadable(run_id: str, path: str, error: BaseException | None) -> RunBlockedError | None:
    """Return what blocks a run if a recorded value could not be read; ``None``: nothing does."""
    failure = error.failure if isinstance(error, RemoteError) else None
    name = exception_name(UnreadableError)
    if not isinstance(error, UnreadableError) and (failure is None or failure.type != name):
        return None
    return RunBlockedError(
        run_id,
        f"run {run_id!r} has a value for {path!r} that can't be read: {error}. Run it with code "
        "that fits, or cancel it",
    )


def code_of(error: BaseException) -> FailureCode:
    """Return what kind of failure an exception of a handler is."""
    match error:
        case PayloadTooLargeError():
            return FailureCode.PAYLOAD_TOO_LARGE
        case StepValueError():
            return FailureCode.VALIDATION
        case EncodingError():
            return FailureCode.ENCODING
        case _ if _is_cancelled(error):
            return FailureCode.CANCELLED
        case _:
            return FailureCode.STEP_FAILED


def _sayable(text: str) -> str:
    """Return a text without lone surrogates, which neither a log nor a pipe can say."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _members(error: BaseException) -> str:
    """Return what the first exceptions of a group say, nested ones too; its message does not."""
    todo: list[BaseException] = [error]
    texts: list[str] = []
    while todo and len(texts) < _MEMBERS:
        each = todo.pop()
        if isinstance(each, BaseExceptionGroup):
            todo += reversed(cast("BaseExceptionGroup[BaseException]", each).exceptions)
        elif each is not error:
            try:
                texts.append(f"{type(each).__name__}: {each}")
            except Exception:  # noqa: BLE001 - its str() is anybody's code
                texts.append(type(each).__name__)
    return f": {'; '.join(texts)}" if texts else ""


def _is_cancelled(error: BaseException) -> bool:
    # Whoever raises one has loaded asyncio, which processes for steps can do without.
    found = sys.modules.get("asyncio.exceptions")
    return found is not None and isinstance(error, found.CancelledError)


def make_failure(
    path: str, step_id: str, attempt: int, code: FailureCode, error: BaseException, at: float
) -> Failure:
    """Return the record of an exception. Never raises, even if the exception does."""
    try:
        message = str(error)
    except Exception as nested:  # noqa: BLE001 - its str() is anybody's code
        message = f"<its str() raised {type(nested).__name__}>"
    message = (message + _members(error)) or _unsaid(error)
    try:
        text = _traceback(error)
    except Exception as nested:  # noqa: BLE001 - formatting runs anybody's code, too
        text = f"<its traceback can't be shown: {type(nested).__name__}>"
    return Failure(
        path=path,
        step_id=step_id,
        attempt=attempt,
        code=code,
        type=exception_name(type(error)),
        message=_sayable(message[:_MESSAGE]),
        traceback=_sayable(text[-_TRACEBACK:]),
        at=instant(at),
    )


def _unsaid(error: BaseException) -> str:
    """Return what an exception without a message means."""
    if isinstance(error, TimeoutError):
        return "a timeout of its own fired, such as asyncio.timeout(…) in the step"
    return f"{type(error).__name__} without a message"


def _traceback(error: BaseException) -> str:
    """Return the traceback of an exception, and of those behind it, without our own frames."""
    shown = traceback.TracebackException(type(error), error, error.__traceback__)
    todo: list[traceback.TracebackException | None] = [shown]
    while todo:
        each = todo.pop()
        if each is not None:
            each.stack[:] = [frame for frame in each.stack if not is_ours(frame.filename)]
            if not each.stack:
                vars(each)["stack"] = None  # then it has no heading either
            todo += [each.__cause__, each.__context__, *(each.exceptions or ())]
    return "".join(shown.format())


def exc_info(error: BaseException) -> tuple[type[BaseException], BaseException, Any]:
    """Return an exception for a log record.

    Our own frames at its beginning are taken off: a log that keeps its records would keep the
    run with them.
    """
    found = error.__traceback__
    while found is not None and is_ours(found.tb_frame.f_code.co_filename):
        found = found.tb_next
    error.__traceback__ = found
    return type(error), error, found


def logged(
    failure: Failure, shown: Failure, error: BaseException
) -> tuple[type[BaseException], BaseException, Any]:
    """Return the exception for a log record of a failure; if that is without secrets, without it.

    Args:
        failure: as it is recorded.
        shown: as it is logged.
        error: was raised.
    """
    if shown == failure:
        return exc_info(error)
    stand_in = Exception(shown.message)  # the log shows the traceback of the failure
    return Exception, stand_in, None


def _as_recorded(record: logging.LogRecord) -> bool:
    """Have a log show an exception as the failure does: what a log can say, all of it."""
    if record.exc_info and isinstance(record.args, tuple):
        for item in record.args:
            if isinstance(item, Failure):
                record.exc_text = aside(item.traceback)
    return True


logging.getLogger("gorkflow.step").addFilter(_as_recorded)
