"""Callables: what a function really is, and who called this package."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
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
    """Return whether a call gives a coroutine, as far as the outermost function tells.

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
