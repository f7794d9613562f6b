"""Callables: what a function really is, who called this package, and functions as conditions."""

from __future__ import annotations

import functools
import inspect
import typing
import warnings
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from gorkflow._text import brief
from gorkflow.annotations import describe, fits
from gorkflow.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

PACKAGE = __name__.partition(".")[0]


def caller_frames() -> list[FrameType]:
    """Return the frames of the caller outside this package, innermost first."""
    frame = inspect.currentframe()
    while frame is not None and is_inside(frame):
        frame = frame.f_back
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def is_inside(frame: FrameType) -> bool:
    """Return whether a frame is of this package."""
    name = str(frame.f_globals.get("__name__", ""))
    return name == PACKAGE or name.startswith(PACKAGE + ".")


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the user's line."""
    frame = inspect.currentframe()
    level = 1
    while frame is not None and is_inside(frame):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def unwrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that decorators and partials are wrapped around."""
    while True:
        inner = getattr(fn, "func", None) if hasattr(fn, "keywords") else None
        if inner is None:
            inner = getattr(fn, "__wrapped__", None)
        if inner is None:
            return fn if inspect.isroutine(fn) or isinstance(fn, type) else _call_of(fn)
        fn = inner


def is_async_function(fn: Callable[..., Any]) -> bool:
    """Return whether a call gives a coroutine; only the outermost function counts.

    A plain function around an async one may run that to its end, so it is a plain function.
    """
    while True:
        if inspect.ismethod(fn):
            fn = fn.__func__
        elif isinstance(fn, functools.partial):
            fn = fn.func
        else:
            break
    if inspect.iscoroutinefunction(fn):
        return True
    return not isinstance(fn, type) and inspect.iscoroutinefunction(type(fn).__call__)


def _call_of(fn: Callable[..., Any]) -> Callable[..., Any]:
    call = getattr(fn, "__call__", fn)  # noqa: B004 - the bound method itself is wanted
    return call if inspect.ismethod(call) else fn


def defaulted(parameters: Iterable[Parameter]) -> tuple[str, ...]:
    """Return the parameters that could be given by their place, but have a default."""
    placed = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(
        item.name
        for item in parameters
        if item.kind in placed and item.default is not Parameter.empty
    )


# ---- functions that are not steps --------------------------------------------------------------


class Condition:
    """A function that is not a step: it decides, or returns a key or a time.

    It is called with the value as a step is: without a parameter it gets nothing, with one the
    whole value, with more the items of a tuple.
    """

    __slots__ = ("fn", "is_async", "name", "params", "returns", "unused")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.name: str = getattr(fn, "__name__", None) or type(fn).__name__
        if self.name == "<lambda>":
            self.name = f"<lambda in line {fn.__code__.co_firstlineno}>"  # to tell several apart
        self.is_async = is_async_function(fn)
        hints = _quiet_hints(fn)
        self.params: tuple[tuple[str, Any], ...] = tuple(
            (item.name, hints.get(item.name, Any)) for item in _required(fn)
        )
        self.unused: tuple[str, ...] = () if self.params else defaulted(_parameters(fn))
        """Parameters with a default, where there are no others: the value would be dropped."""
        self.returns: Any = hints.get("return", Any)

    def __call__(self, value: Any) -> Any:
        """Return what the function decides about a value."""
        if not self.params:
            return self.fn()
        return self.fn(value) if len(self.params) == 1 else self.fn(*value)


def _required(fn: Callable[..., Any]) -> list[Parameter]:
    """Return the positional parameters without a default; of ``*args``, where there is no other."""
    positional = [item for item in _parameters(fn) if item.kind <= Parameter.VAR_POSITIONAL]
    required = [item for item in positional if item.default is Parameter.empty]
    named = [item for item in required if item.kind is not Parameter.VAR_POSITIONAL]
    return named or required


def _parameters(fn: Callable[..., Any]) -> list[Parameter]:
    value = Parameter("value", Parameter.POSITIONAL_ONLY)
    if isinstance(fn, type) and fn.__module__ == "builtins":
        return [value]  # such as bool, which has a default from Python 3.13 on
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return [value]


def _quiet_hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # noqa: BLE001 - a condition's annotations only help to check it
        return {}


def condition_problems(fn: Any) -> list[str]:
    """Return why something can't be a condition."""
    if inspect.iscoroutine(fn):
        fn.close()
        return ["the condition was called; give the function itself, without ()"]
    if isinstance(fn, Node):
        return [f"{fn!r} is not a condition; give a function that returns a bool"]
    if not callable(fn):
        return [f"a condition must be a function that returns a bool, not {brief(fn)}"]
    returns = Condition(fn).returns
    if not fits(returns, bool):
        return [f"condition {Condition(fn).name!r} must return bool, not {describe(returns)}"]
    return []


def key_problems(key: Any) -> list[str]:
    """Return why something can't be the key function of a map."""
    if inspect.iscoroutine(key):
        key.close()
        return ["the key function was called; give the function itself, without ()"]
    if isinstance(key, Node) or not callable(key):
        return [f"key must be a function that returns a str or int, not {brief(key)}"]  # pyright: ignore[reportUnknownArgumentType]
    function = Condition(key)
    if not fits(function.returns, str | int):
        name, gives = function.name, describe(function.returns)
        return [f"key {name!r} must return a str or int, which names the item, not {gives}"]
    return []
