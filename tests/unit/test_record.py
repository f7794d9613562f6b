"""Records: plain data that is cheap to define; to those who use it, a frozen dataclass."""

import inspect
from dataclasses import FrozenInstanceError, field, fields, replace

import pytest

import gorkflow
from gorkflow import Completed, Limit, RetryPolicy, RunFilter
from gorkflow._record import guarded, named_record, record


@record
class Point:
    x: int
    tags: list[str] = field(default_factory=list[str])


@named_record
class Named:
    a: int
    b: int = 2


@guarded(kw_only=True)
class Checked:
    number: int = 1

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("negative")


def test_a_record_is_made_compared_and_shown_as_a_dataclass_is():
    point = Point(1)
    assert (point.x, point.tags) == (1, [])
    assert point.tags is not Point(1).tags
    assert point == Point(1, []) != Point(2)
    assert repr(point) == "Point(x=1, tags=[])"
    assert [item.name for item in fields(point)] == ["x", "tags"]
    assert replace(point, x=5) == Point(x=5)
    assert hash(Named(a=1)) == hash(Named(a=1, b=2))
    assert not hasattr(point, "__dict__")


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Named.__init__\(\) takes 1 positional argument"):
        Named(1)  # type: ignore[misc]


def test_what_checks_itself_is_checked_each_time():
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            Checked(number=-1)


@pytest.mark.parametrize("value", [Checked(), RetryPolicy(), Completed("a", 1), RunFilter()])
def test_what_callers_see_can_not_be_changed(value):
    for name in (fields(value)[0].name, "new"):
        with pytest.raises(FrozenInstanceError, match=name):
            setattr(value, name, 7)
        with pytest.raises(FrozenInstanceError, match=name):
            delattr(value, name)


def test_public_classes_tell_how_they_are_made_before_the_first_is():
    assert [*inspect.signature(Limit).parameters][:2] == ["name", "concurrency"]
    assert "retries" in inspect.signature(RetryPolicy).parameters
    for name in gorkflow.__all__:
        thing = getattr(gorkflow, name)
        if isinstance(thing, type) and hasattr(thing, "__dataclass_fields__"):
            assert "kwargs" not in inspect.signature(thing).parameters, name
