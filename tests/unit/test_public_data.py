"""The data that callers see: frozen dataclasses, with messages that help."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, fields

import pytest

import gorkflow
from gorkflow import Completed, Limit, RetryPolicy, RunFilter

VALUES = [RetryPolicy(), Completed("a", 1), RunFilter(), Limit("x", concurrency=1)]


@pytest.mark.parametrize("value", VALUES)
def test_public_data_can_not_be_changed(value):
    name = fields(value)[0].name
    with pytest.raises(FrozenInstanceError, match=name):
        setattr(value, name, 7)
    with pytest.raises(FrozenInstanceError, match=name):
        delattr(value, name)
    with pytest.raises((AttributeError, TypeError)):
        value.new = 7


@pytest.mark.parametrize("value", VALUES)
def test_public_data_can_be_copied_and_pickled(value):
    assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value


def test_signatures_of_public_data_name_every_option():
    assert [*inspect.signature(Limit).parameters][:2] == ["name", "concurrency"]
    assert "retries" in inspect.signature(RetryPolicy).parameters
    for name in gorkflow.__all__:
        thing = getattr(gorkflow, name)
        if isinstance(thing, type) and hasattr(thing, "__dataclass_fields__"):
            assert "kwargs" not in inspect.signature(thing).parameters, name


@pytest.mark.parametrize(
    ("make", "option", "hint"),
    [
        (RetryPolicy, "retrys", "did you mean 'retries'"),
        (RunFilter, "state", "did you mean 'status'"),
        (lambda **options: Limit("x", **options), "rates", "did you mean 'rate'"),
        (lambda **options: gorkflow.Workflow("x", **options), "inptu", "did you mean 'input'"),
        (RetryPolicy, "x", "there are: retries, "),
    ],
)
def test_an_unknown_option_suggests_what_was_meant(make, option, hint):
    with pytest.raises(TypeError, match=f"has no option '{option}'; {hint}"):
        make(**{option: 1})


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_has_at_least_one_run(limit):
    with pytest.raises(ValueError, match="at least 1"):
        RunFilter(limit=limit)
