"""How a handler ended, as data: the bytes of its output, or the record of its failure.

Shared by the engine and by the processes that run steps for it.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any, cast

from gorkflow.codec import codec_of
from gorkflow.engine._retries import Thrown
from gorkflow.errors import (
    EncodingError,
    PayloadTooLargeError,
    RunBlockedError,
    UnreadableError,
    ValidationError,
    ValueInvalidError,
)
from gorkflow.model import Failure, FailureCode, instant
from gorkflow.policy import exception_name

if TYPE_CHECKING:
    from types import TracebackType

_MESSAGE = 4_000
_MEMBERS = 5  # exceptions of a group that its message tells of
_TRACEBACK = 16_000  # characters: the innermost frames are at the end, so the end is kept


class RemoteError(Exception):
    """What a handler raised in another process.

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
        EncodingError: it can't be written as JSON.
        ValidationError: it does not match the annotation.
        PayloadTooLargeError: it is over the limit.
    """
    try:
        return codec_of(annotation).encode(value, limit)
    except ValueInvalidError as error:
        raise type(error)(f"its output: {error}") from None


def unreadable(run_id: str, path: str, error: BaseException | None) -> RunBlockedError | None:
    """Return what blocks a run if a recorded value could not be read; ``None``: nothing does."""
    failure = error.failure if isinstance(error, RemoteError) else None
    name = exception_name(UnreadableError)
    if not isinstance(error, UnreadableError) and (failure is None or failure.type != name):
        return None
    return RunBlockedError(
        run_id,
        f"run {run_id!r} can't go on: a value for {path!r} can't be read: {error}. Mend that "
        "type, or cancel the run",
    )


def code_of(error: BaseException) -> FailureCode:
    """Return what kind of failure an exception of a handler is."""
    match error:
        case PayloadTooLargeError():
            return FailureCode.PAYLOAD_TOO_LARGE
        case ValidationError():
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
    """Return what the first exceptions of a group say, which its own message does not."""
    if not isinstance(error, BaseExceptionGroup):
        return ""
    group = cast("BaseExceptionGroup[BaseException]", error)
    told: list[str] = []
    for each in group.exceptions[:_MEMBERS]:
        try:
            told.append(f"{type(each).__name__}: {each}")
        except Exception:  # noqa: BLE001 - its str() is anybody's code
            told.append(type(each).__name__)
    return f": {'; '.join(told)}"


def _is_cancelled(error: BaseException) -> bool:
    # Whoever raises one has loaded asyncio, which processes for steps can do without.
    found = sys.modules.get("asyncio.exceptions")
    return found is not None and isinstance(error, found.CancelledError)


def make_failure(
    path: str, step_id: str, attempt: int, code: FailureCode, error: BaseException, at: float
) -> Failure:
    """Return the record of an exception. Never raises, whatever the exception does."""
    try:
        message = str(error)
    except Exception as nested:  # noqa: BLE001 - its str() is anybody's code
        message = f"<its str() raised {type(nested).__name__}>"
    message += _members(error)
    try:
        shown = _from_the_handler(error.__traceback__)
        text = "".join(traceback.format_exception(type(error), error, shown))
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


def _from_the_handler(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of ours at its beginning."""
    found = frames
    while found is not None and found.tb_frame.f_globals.get("__name__", "").startswith("gorkflow"):
        found = found.tb_next
    return found or frames
