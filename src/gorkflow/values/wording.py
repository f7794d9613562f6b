"""The wording of messages: cut to a length, and safe from what others' ``__str__`` does."""

from __future__ import annotations

from typing import Any

from gorkflow.errors import EncodingError, PayloadTooLargeError, StepValueError
from gorkflow.values.kind import Misfit

_MAX_PROBLEMS = 5
_MAX_TEXT = 300
_MAX_PLACE = 100


def at(misfit: Misfit) -> str:
    place = misfit.place.removeprefix(".")
    if len(place) > _MAX_PLACE:
        place = f"{place[:_MAX_PLACE]}…"
    return short(f"{place}: {misfit.reason}" if place else misfit.reason)


def refusal(misfit: Misfit) -> StepValueError | EncodingError:
    return (EncodingError if misfit.unsayable else StepValueError)(at(misfit))


def too_large(limit: int, size: int | None = None) -> PayloadTooLargeError:
    found = "more" if size is None else f"{size:,} bytes"
    return PayloadTooLargeError(
        f"it is {found} as JSON, over the limit of {limit:,} bytes; store it elsewhere and hand on "
        "where, or raise Engine(max_payload=…)"
    )


def invalid(error: BaseException) -> StepValueError:
    """Return the error that says what pydantic, or a validator, said about a value."""
    import pydantic

    if isinstance(error, StepValueError) or not is_verdict(error):
        raise error
    if isinstance(error, RecursionError):
        return StepValueError("it is nested too deep")
    if not isinstance(error, pydantic.ValidationError):
        return StepValueError(f"a validator raised {type(error).__name__}: {text_of(error)}")
    try:
        details = error.errors(include_url=False, include_context=False)
    except Exception:  # noqa: BLE001 - a custom error whose message can't be made
        return StepValueError("a validator's error could not be shown")
    lines = [_problem_at(item["loc"], _said(item)) for item in details[:_MAX_PROBLEMS]]
    if len(details) > _MAX_PROBLEMS:
        lines.append(f"and {len(details) - _MAX_PROBLEMS} more")
    return StepValueError("; ".join(lines))


def is_verdict(error: BaseException) -> bool:
    """Return whether an error is about the value, rather than a wish to stop the program."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _said(problem: Any) -> str:
    """Return what pydantic says of a value; where its type is wrong, with that type."""
    said: str = problem["msg"]
    if not problem["type"].endswith("_type"):
        return said
    value = problem["input"]
    return f"{said}, not {'None' if value is None else type(value).__name__}"


def _problem_at(loc: tuple[int | str, ...], message: str) -> str:
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{part}" if place else part
    return f"{short(place)}: {short(message)}" if place else short(message)


def first_line(error: BaseException) -> str:
    """Return the first line of an error, without pydantic's advice."""
    line = (text_of(error).splitlines() or [type(error).__name__])[0]
    return line.partition(". Set `arbitrary_types_allowed")[0]


def text_of(item: Any) -> str:
    """Return ``str(item)``, even if that raises."""
    try:
        return short(str(item))
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return f"<{type(item).__name__}>"


def short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
