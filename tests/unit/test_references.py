"""References survive the way to JSON and back, whatever they are made of."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gorkflow.events import (
    Default,
    Ended,
    FailureRef,
    ref_from_json,
)
from gorkflow.model import Failure, FailureCode, StepStatus, instant

TEXT = st.text(max_size=20)
FAILURES = st.builds(
    Failure,
    path=TEXT,
    step_id=TEXT,
    attempt=st.integers(0, 99),
    code=st.sampled_from(FailureCode),
    type=TEXT,
    message=TEXT,
    traceback=TEXT,
    at=st.integers(0, 2**32).map(instant),
    handled=st.booleans(),
)


def ended(values: st.SearchStrategy[object]) -> st.SearchStrategy[Ended]:
    return st.builds(
        Ended,
        path=TEXT,
        status=st.sampled_from(StepStatus),
        value=values,
        failures=st.lists(st.integers(1) | FAILURES, max_size=2).map(tuple),
        reason=TEXT,
        optional=st.booleans(),
    )


REFS = st.recursive(
    st.none() | st.integers(1) | st.builds(Default, TEXT),
    lambda refs: st.lists(refs, max_size=4).map(tuple) | ended(refs),
    max_leaves=8,
)


@given(REFS)
def test_a_reference_comes_back_equal_through_json_text(ref):
    assert ref_from_json(json.loads(msgspec.json.encode(ref))) == ref


@given(st.lists(st.integers(1) | FAILURES).map(tuple))
def test_failures_come_back_equal_through_json_text(failures):
    text = msgspec.json.encode(failures)
    assert msgspec.json.decode(text, type=tuple[FailureRef, ...]) == failures


@pytest.mark.parametrize(
    ("ref", "body"),
    [
        (None, None),
        (7, 7),
        ((), []),
        ((1, (2, None)), [1, [2, None]]),
        (Default("a/b"), {"default": "a/b"}),
        (Ended("a", StepStatus.CANCELLED, reason="drained"), {
            "path": "a", "status": "cancelled", "reason": "drained",
        }),
        (Ended("a", StepStatus.COMPLETED, 5), {"path": "a", "status": "completed", "value": 5}),
    ],
)  # fmt: skip
def test_the_recorded_form_is_kept(ref, body):
    assert json.loads(msgspec.json.encode(ref)) == body
    assert ref_from_json(body) == ref


@pytest.mark.parametrize("body", [True, 1.5, "text", {}, {"path": "a"}, [1, "text"]])
def test_what_is_no_reference_is_refused(body):
    with pytest.raises(ValueError, match="not a reference"):
        ref_from_json(body)


def test_an_unknown_status_is_refused():
    with pytest.raises(ValueError, match="odd"):
        ref_from_json({"path": "a", "status": "odd"})
