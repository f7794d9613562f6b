"""What makes a step, what doesn't, and what the engine reads off it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow.context import StepContext
from gorkflow.errors import StepInvalidError
from gorkflow.policy import RetryPolicy
from gorkflow.step import (
    AsyncStep,
    Step,
    SyncStep,
    step,
)


class Order(BaseModel):
    id: int


@step
async def check(ctx: StepContext, order: Order, limit: int = 3, *, model: str = "small") -> int:
    """Check it.

    At length.
    """
    return order.id + limit


@step(id="quote-it", name="Quote", timeout=timedelta(minutes=1), retries=3)
def quote(left: int, right: list[Order]) -> str | None:
    return None


def test_a_step_says_what_it_takes_and_gives():
    assert isinstance(check, AsyncStep)
    assert check.id == check.name == "check"
    assert check.description == "Check it."
    assert check.is_async
    assert check.takes_context
    assert check.params == (("order", Order),)
    assert check.output is int
    assert isinstance(quote, SyncStep)
    assert quote.params == (("left", int), ("right", list[Order]))
    assert quote.output == str | None
    assert not quote.takes_context


def test_calling_a_step_calls_the_function():
    assert quote(1, []) is None
    assert asyncio.run(check(None, Order(id=1), limit=1)) == 2
    assert inspect.unwrap(check) is check.fn
    assert check.__name__ == "check"
    assert check.__doc__ is not None


def test_the_engine_calls_with_the_context_if_asked_for():
    context: Any = object()

    @step
    def whole(ctx: StepContext, value: int, extra: int = 0) -> Any:
        return ctx, value, extra

    assert whole.call(context, (1,)) == (context, 1, 0)
    assert whole.bind("other", extra=5).call(context, (1,)) == (context, 1, 5)
    assert quote.call(context, (1, [])) is None


def test_options_are_resolved_field_by_field():
    spec = quote.spec({"timeout": 5, "continue_on_error": True})
    assert (spec.id, spec.name, spec.executor) == ("quote-it", "Quote", "thread")
    assert spec.timeout == 60
    assert spec.retry == RetryPolicy(retries=3)
    assert spec.continue_on_error
    plain = check.spec({})
    assert plain.timeout is None
    assert plain.retry.retries == 0
    assert not plain.continue_on_error
    assert plain.executor == "loop"
    assert check.options(timeout=math.inf).spec({"timeout": 5}).timeout is None
    assert check.options(retries=0).spec({"retries": 5}).retry.retries == 0
    assert (
        not check.options(continue_on_error=False)
        .spec({"continue_on_error": True})
        .continue_on_error
    )
    policy = RetryPolicy(retries=7, jitter=0)
    assert check.spec({"retries": policy}).retry == policy
    assert check.options(reads=(quote,)).spec({}).reads == ("quote-it",)


def test_copies_leave_the_original_alone():
    copy = quote.options(id="copy", timeout=1)
    assert (copy.id, copy.name, copy.spec({}).timeout) == ("copy", "copy", 1)
    assert copy.spec({}).retry.retries == 3
    assert (quote.id, quote.spec({}).timeout) == ("quote-it", 60)
    bound = check.bind("large", model="large")
    assert (bound.id, dict(bound.settings)) == ("large", {"model": "large"})
    assert dict(bound.bind("both", limit=1).settings) == {"model": "large", "limit": 1}
    assert not check.settings
    with pytest.raises(AttributeError, match=r"check\.options\(id=…\)"):
        check.id = "x"
    with pytest.raises(TypeError):
        bound.settings["model"] = "small"  # type: ignore[index]


def test_schemas_have_a_digest():
    other = quote.options(id="x")
    assert other.spec({}).input_schema == quote.spec({}).input_schema != ""
    assert check.spec({}).input_schema != quote.spec({}).input_schema


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeot": 3}, "unknown option 'timeot'; did you mean 'timeout'"),
        ({"zzz": 3}, "unknown option 'zzz'; there are: id, name"),
        ({"executor": "no name"}, "executor must be 'process', or a name given to"),
        ({"timeout": 0}, "timeout must be more than 0 seconds, not 0; math.inf means no timeout"),
        ({"timeout": -1}, "timeout must be more than 0"),
        ({"timeout": math.nan}, "timeout must be more than 0"),
        ({"timeout": "3"}, "timeout must be seconds or a timedelta, not '3'"),
        ({"timeout": True}, "timeout must be seconds"),
        ({"retries": -1}, "retries must be 0 or more"),
        ({"retries": 1.5}, "retries must be 0 or more"),
        ({"continue_on_error": "yes"}, "continue_on_error must be True or False"),
        ({"id": "a/b"}, "step id 'a/b' must be"),
        ({"id": ""}, "step id '' must be"),
        ({"id": "x" * 101}, "must be 1 to 100"),
        ({"id": "-x"}, "begin with a letter or digit"),
        ({"id": 5}, "step id 5 must be"),
        ({"name": 5}, "name must be a string, not 5"),
        ({"reads": check}, r"such as reads=\(prepare,\)"),
        ({"reads": ("check",)}, "reads must hold steps or other nodes, not 'check'"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str):
    def fine(x: int) -> int:
        return x

    with pytest.raises(StepInvalidError, match=message):
        step(fine, **options)
    with pytest.raises(StepInvalidError, match=message):
        step(**options)
    with pytest.raises(StepInvalidError, match=message):
        check.options(**options)


def test_bind_takes_settings_only():
    with pytest.raises(StepInvalidError, match="'modle' is not a parameter; did you mean 'model'"):
        check.bind("x", modle="large")
    with pytest.raises(StepInvalidError, match="'order' is an input"):
        check.bind("x", order=Order(id=1))
    with pytest.raises(StepInvalidError, match="no parameter has a default"):
        quote.bind("x", other=1)
    with pytest.raises(StepInvalidError, match="step id"):
        check.bind("a b")


def no_return(x: int):
    return x


def no_input(x) -> int:
    return x


def rest(*x: int) -> int:
    return len(x)


def keywords(**x: int) -> int:
    return len(x)


def required_keyword(*, x: int) -> int:
    return x


def late_context(x: int, ctx: StepContext) -> int:
    return x


def optional_context(ctx: StepContext | None, x: int) -> int:
    return x


def default_context(x: int, ctx: StepContext | None = None) -> int:
    return x


def unknown(x: Missing) -> int:  # type: ignore[name-defined]  # noqa: F821
    return 1


def live(x: int) -> asyncio.Lock:
    return asyncio.Lock()


def generator(x: int):
    yield x


async def stream(x: int):
    yield x


class Service:
    def method(self, x: int) -> int:
        return x

    @staticmethod
    def static(x: int) -> int:
        return x

    async def __call__(self, x: int) -> int:
        return x


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (no_return, "'no_return' does not say what it returns; annotate it: `-> Report`"),
        (no_input, "parameter 'x' has no annotation; write what it takes"),
        (rest, r"takes \*x.*one parameter per input"),
        (keywords, r"takes \*\*x"),
        (required_keyword, "keyword-only parameter 'x' is not an input and has no default"),
        (late_context, "'ctx' is annotated StepContext; the context is the first parameter"),
        (optional_context, r"'ctx' is annotated StepContext \| None"),
        (default_context, "the context is the first parameter"),
        (unknown, "'Missing' can't be found when the step is made"),
        (live, "what it returns is annotated Lock, which can't be written as JSON"),
        (generator, "is a generator; a step returns one value: return a list"),
        (stream, "is a generator"),
        (lambda x: x, "a lambda has no annotations; write a function"),
        (Service, "'Service' is a class"),
        (Service.method, r"'Service.method' is a method; write step\(obj.method, id=…\)"),
        (staticmethod(Service.static), "is a method of a class that has no instance yet"),
        (functools.partial(quote.fn, 1), "has no name to take as id; write step"),
        (Service(), "has no name to take as id"),
        (check, r"'check' is a step already; check.options\(…\)"),
        (5, "@step needs a function, not 5"),
        (print, "no signature|takes \\*|does not say"),
    ],
)
def test_what_is_no_step_says_what_to_write(fn: Any, message: str):
    with pytest.raises(StepInvalidError, match=message):
        step(fn)


def test_a_coroutine_is_closed_and_named():
    with pytest.raises(StepInvalidError, match="'check' was called; give the function itself"):
        step(check(None, Order(id=1)))


def test_methods_partials_and_callables_make_steps_with_an_id():
    service = Service()
    assert step(service.method, id="m").params == (("x", int),)
    assert step(service.method)(3) == 3
    assert step(Service.static).params == (("x", int),)
    called = step(service, id="called")
    assert called.is_async
    assert asyncio.run(called(3)) == 3
    partial = step(functools.partial(quote.fn, 1), id="partial")
    assert partial.params == (("right", list[Order]),)


async def fetched(x: int) -> int:
    return x


def computed(x: int) -> int:
    return x


class Fetcher:
    async def __call__(self, x: int) -> int:
        return x

    async def method(self, x: int) -> int:
        return x


def handing_on(fn: Any) -> Any:
    @functools.wraps(fn)
    def inner(*args: Any) -> Any:
        return fn(*args)

    return inner


def awaiting(fn: Any) -> Any:
    @functools.wraps(fn)
    async def inner(*args: Any) -> Any:
        return await fn(*args)

    return inner


def in_a_thread(fn: Any) -> Any:
    @functools.wraps(fn)
    async def inner(*args: Any) -> Any:
        return await asyncio.to_thread(fn, *args)

    return inner


@pytest.mark.parametrize(
    ("fn", "is_async"),
    [
        (fetched, True),
        (computed, False),
        (handing_on(fetched), False),
        (handing_on(awaiting(fetched)), False),
        (awaiting(fetched), True),
        (awaiting(handing_on(fetched)), True),
        (in_a_thread(computed), True),
        (functools.partial(fetched), True),
        (functools.partial(handing_on(fetched)), False),
        (functools.partial(functools.partial(in_a_thread(computed))), True),
        (Fetcher(), True),
        (functools.partial(Fetcher()), True),
        (Fetcher().method, True),
        (functools.partial(Fetcher().method), True),
        (handing_on(Fetcher().method), False),
        (functools.lru_cache(computed), False),
    ],
)
def test_the_outermost_function_says_whether_a_step_is_async(fn: Any, is_async: bool):
    made = step(fn, id="made")
    assert made.is_async is is_async
    assert made.params == (("x", int),)


def test_annotations_may_name_local_classes():
    class Local(BaseModel):
        x: int

    @step
    def take(value: Local) -> list[Local]:
        return [value]

    assert take.params[0].annotation is Local

    def inside() -> Step[Any, Any]:
        @step
        def deeper(value: Local) -> Local:
            return value

        return deeper

    assert inside().output is Local


def test_a_caller_with_a_name_of_its_own_does_not_confuse():
    class Order(BaseModel):  # another one, local to this test
        other: str

    assert Order is not globals()["Order"]
    assert step(check.fn).params[0].annotation is globals()["Order"]


def test_factories_defaults_and_constants_are_left_in_peace():
    def make(region: str) -> Step[Any, Any]:
        @step(id=region)
        def fetch(x: int) -> str:
            return region

        return fetch

    prefix = "p"
    kept = [make("a"), make("b")]
    for region in ("c", "d"):

        @step(id=region)
        def fetch(x: int, region: str = region) -> str:
            return prefix + region

        kept.append(fetch)
    assert [item(1) for item in kept] == ["a", "b", "pc", "pd"]
