"""Errors go where callers take them: into copies, and to other processes."""

import copy
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import gorkflow
from gorkflow import Completed, Failed, Failure, FailureCode, errors

FAILURE = Failure(
    path="a", step_id="a", attempt=1, code=FailureCode.STEP_FAILED, type="ValueError", message="no",
    at=datetime(2026, 11, 27, tzinfo=UTC),
)  # fmt: skip
ARGUMENTS: dict[type[errors.GorkflowError], tuple[Any, ...]] = {
    errors.WorkflowInvalidError: ("w", ["a problem"]),
    errors.RunFailedError: ("r", [FAILURE], {"a": Failed("a", FAILURE), "b": Completed("b", 1)}),
    errors.RunCancelledError: ("r", "because"),
    errors.RunNotFoundError: ("r",),
    errors.RunError: ("r", "something"),
    errors.RetryAfterError: (5, "busy"),
    errors.GorkflowError: ("something",),
}


def family(cls: type[errors.GorkflowError]) -> Iterator[type[errors.GorkflowError]]:
    if cls.__module__ == "gorkflow.errors":
        yield cls
        for each in cls.__subclasses__():
            yield from family(each)


def made(cls: type[errors.GorkflowError]) -> errors.GorkflowError:
    known = next(each for each in cls.__mro__ if each in ARGUMENTS)
    return cls(*ARGUMENTS[known])


@pytest.mark.parametrize("cls", dict.fromkeys(family(errors.GorkflowError)))
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],
    ids=["copy", "deepcopy", "pickle"],
)  # fmt: skip
def test_every_error_can_be_copied_and_pickled(
    cls: type[errors.GorkflowError], again: Callable[[Any], Any]
) -> None:
    error = made(cls)
    error.add_note("seen")
    other = again(error)
    assert type(other) is cls
    assert (str(other), vars(other)) == (str(error), vars(error))


def test_what_callers_get_to_see_can_be_pickled() -> None:
    for item in (FAILURE, Completed("b", 1), gorkflow.RetryPolicy(), gorkflow.RunFilter(limit=3)):
        other = pickle.loads(pickle.dumps(item))
        assert (other, copy.deepcopy(item)) == (item, item)
