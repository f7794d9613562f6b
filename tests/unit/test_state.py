"""``ctx.state`` as a step sees it: what it reads, what it may write, and what comes of that."""

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from gorkflow import (
    EncodingError,
    PayloadTooLargeError,
    State,
    StepValueError,
    UnavailableError,
)
from gorkflow.state import initial, layer_of
from gorkflow.state_changes import Write


class Order(BaseModel):
    number: int


@dataclass
class Point:
    x: int


def state(**texts):
    return State((layer_of(texts),), "w/a", 1_000)


def test_its_keys_can_be_looked_at_while_others_write():
    layer: dict[str, Any] = layer_of({"a": "1", "b": "2"})

    class Busy:  # as if an undo step ended while another one, in a thread, is looking
        @property
        def op(self) -> str:
            layer["new"] = layer["b"]
            return "set"

    layer["a"] = Busy()
    assert list(State((layer,), "a~undo", 1_000)) == ["a", "b"]


def test_it_is_a_mapping():
    seen = state(a="1", b='{"c":[2]}')
    assert seen["a"] == 1
    assert seen.get("b") == {"c": [2]}
    assert seen.get("other", 7) == 7
    assert "a" in seen
    assert "other" not in seen
    assert 7 not in seen
    assert list(seen) == ["a", "b"]
    assert len(seen) == 2
    assert seen == {"a": 1, "b": {"c": [2]}}
    assert repr(seen) == "State({'a': 1, 'b': {'c': [2]}})"
    with pytest.raises(KeyError, match=r"no key 'other'; state\.get"):
        seen["other"]
    with pytest.raises(KeyError, match="no key 'other'"):
        del seen["other"]


def test_what_is_written_is_seen_at_once_and_handed_over_in_the_end():
    seen = state(a="1", b="2", c='["x"]')
    seen["a"] = 3
    del seen["b"]
    seen.append("c", "y")
    seen.append("c", "z")
    assert seen.incr("n") == 1
    assert seen.incr("n", 2) == 3
    seen.update(d=None)
    assert seen.setdefault("d", 5) is None
    assert seen == {"a": 3, "c": ["x", "y", "z"], "d": None, "n": 3}
    assert seen.close() == (
        Write("a", "set", "3"),
        Write("b", "delete"),
        Write("c", "append", '["y","z"]'),
        Write("n", "incr", "3"),
        Write("d", "set", "null"),
    )


def test_what_is_done_to_a_value_that_was_set_is_set():
    seen = state(a="1")
    seen["a"] = 5
    seen.incr("a", 0.5)
    seen["l"] = [1]
    seen.append("l", 2)
    seen["gone"] = 1
    del seen["gone"]
    seen.append("gone", 1)
    assert seen.close() == (
        Write("a", "set", "5.5"),
        Write("l", "set", "[1,2]"),
        Write("gone", "set", "[1]"),
    )


def test_a_step_that_writes_nothing_has_nothing_to_hand_over():
    seen = state(a="1")
    assert seen["a"] == 1
    assert seen.close() == ()


def test_values_are_copies():
    seen = state(a='{"b":1}')
    seen["a"]["b"] = 2
    given = [1]
    seen["l"] = given
    given.append(2)
    assert seen == {"a": {"b": 1}, "l": [1]}


def test_values_come_back_as_objects_where_a_type_is_named():
    seen = state()
    seen["order"] = Order(number=7)
    seen["points"] = [Point(1), Point(2)]
    assert seen["order"] == {"number": 7}
    assert seen.read("order", Order) == Order(number=7)
    assert seen.read("points", list[Point]) == [Point(1), Point(2)]
    assert seen.read("other", Order, None) is None
    with pytest.raises(KeyError, match="no key 'other'"):
        seen.read("other", Order)
    with pytest.raises(StepValueError, match=r"^state key 'order': x: Field required"):
        seen.read("order", Point)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (object(), EncodingError, "state key 'k': a value of type object can't be read back"),
        ([1, threading.Lock()], EncodingError, r"state key 'k': \[1\]: a value of type lock"),
        ("\udc80", EncodingError, "state key 'k': .*surrogate"),
        (SecretStr("x"), EncodingError, "state key 'k': a secret would be masked"),
        ("x" * 999, PayloadTooLargeError, "state key 'k': it is 1,001 bytes as JSON, over"),
    ],
)
def test_what_json_cant_say_is_refused_with_its_key(value, error, message):
    seen = state()
    with pytest.raises(error, match=message):
        seen["k"] = value
    with pytest.raises(error, match=message):
        seen.append("k", value)
    assert seen.close() == ()


@pytest.mark.parametrize(
    "key", ["", "x" * 201, 7, None, "\udc80"], ids=["empty", "long", "int", "None", "surrogate"]
)
def test_what_is_no_key_is_refused(key):
    seen = state()
    with pytest.raises(StepValueError, match=r"^state key .* (must be a text of|holds a lone)"):
        seen[key] = 1
    with pytest.raises(StepValueError, match=r"^state key"):
        seen.incr(key)
    with pytest.raises(StepValueError, match=r"^state key"):
        seen.append(key, 1)


@pytest.mark.parametrize("key", ["x" * 200, "a b/c[3]#~", "\u00fc\n"])
def test_all_other_texts_are_keys(key):
    seen = state()
    seen[key] = 1
    assert seen[key] == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[1]", "a list"),
        ("{}", "an object"),
        ('"x"', "a text"),
        ("true", "a truth value"),
        ("false", "a truth value"),
        ("null", "None"),
    ],
)
def test_only_numbers_are_added_to(text, kind):
    seen = state(k=text)
    with pytest.raises(StepValueError, match=f"state key 'k' holds {kind}: only a number"):
        seen.incr("k")


def test_only_lists_are_appended_to():
    seen = state(k="-5", text='"x"')
    with pytest.raises(StepValueError, match="state key 'k' holds a number: only a list"):
        seen.append("k", 1)
    seen.incr("n")
    with pytest.raises(StepValueError, match="state key 'n' holds a number"):
        seen.append("n", 1)
    seen.append("l", 1)
    with pytest.raises(StepValueError, match="state key 'l' holds a list"):
        seen.incr("l")


@pytest.mark.parametrize("by", [True, "1", None, 1j])
def test_only_numbers_are_added(by):
    with pytest.raises(StepValueError, match="state key 'n': incr takes a number"):
        state().incr("n", by)


@pytest.mark.parametrize(
    ("before", "by"),
    [
        ("0", float("nan")),
        ("0", float("inf")),
        ("0", 10**301),
        ("0", 10**4000),
        ("1" * 400, 1.5),
        ("1e301", 1),
    ],
)
def test_sums_stay_what_json_can_say(before, by):
    with pytest.raises(EncodingError, match=r"state key 'n': .* is too much to add up"):
        state(n=before).incr("n", by)


def test_nothing_is_written_once_the_step_has_ended():
    seen = state(a="1")
    seen.close()
    assert seen["a"] == 1
    for write in (
        lambda: seen.update(a=2),
        lambda: seen.incr("a"),
        lambda: seen.append("l", 1),
        lambda: seen.pop("a"),
    ):
        with pytest.raises(UnavailableError, match="step 'w/a' has ended"):
            write()


def test_threads_of_one_step_do_not_lose_what_they_add():
    seen = state()

    def work():
        for _ in range(500):
            seen.incr("n")
            seen.append("l", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen["n"] == 2_000
    assert len(seen["l"]) == 2_000


def test_what_a_run_begins_with():
    assert initial({"a": [1], "b": "x"}, 100) == (
        Write("a", "set", "[1]"),
        Write("b", "set", '"x"'),
    )
