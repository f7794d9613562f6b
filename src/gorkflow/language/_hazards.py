"""What can be seen in a step's code before it ever runs: blocking calls, loop variables."""

from __future__ import annotations

import dis
import functools
import inspect
import time
import warnings
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

PACKAGE = __name__.partition(".")[0]


class StepClosureWarning(UserWarning):
    """A step uses a variable that changed after the step was made; ``bind`` fixes its value."""


class BlockingCallWarning(UserWarning):
    """An ``async`` step calls something that stops the whole event loop."""


class Snapshot:
    """What the free variables and globals of a step's function held when the step was made."""

    __slots__ = ("__weakref__", "cells", "contents", "fn", "global_values")

    def __init__(self, fn: Callable[..., Any]) -> None:
        code = fn.__code__
        self.fn = fn
        self.cells = fn.__closure__ or ()
        self.contents = tuple(map(_content, self.cells))
        # Only a module's own loop rebinds globals between two executions of one def.
        at_module_level = "<locals>" not in fn.__qualname__
        names = code.co_names if at_module_level else ()
        module = fn.__globals__
        self.global_values = {name: module[name] for name in names if name in module}

    def changed_since(self, earlier: Snapshot) -> list[str]:
        """Return the variables that both functions share and that changed in between."""
        names = self.fn.__code__.co_freevars
        changed = [
            name
            for name, cell, before, old, new in zip(
                names, self.cells, earlier.cells, earlier.contents, self.contents, strict=True
            )
            if cell is before and old is not new
        ]
        changed += [
            name
            for name, value in self.global_values.items()
            if name in earlier.global_values and earlier.global_values[name] is not value
        ]
        return changed

    def changed(self, *, module_too: bool) -> list[str]:
        """Return the variables that changed since the step was made.

        Args:
            module_too: whether to look at globals, which may change for good reasons.
        """
        names = self.fn.__code__.co_freevars
        # What it changes itself, it means to: a counter, say.
        own = {i.argval for i in dis.get_instructions(self.fn) if i.opname == "STORE_DEREF"}
        found = [
            name
            for name, cell, old in zip(names, self.cells, self.contents, strict=True)
            if name not in own and old is not None and _content(cell) is not old
        ]
        if module_too:
            now = self.fn.__globals__
            found += [
                name for name, old in self.global_values.items() if now.get(name, old) is not old
            ]
        return found


_latest: weakref.WeakValueDictionary[int, Snapshot] = weakref.WeakValueDictionary()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def watch(fn: Callable[..., Any], step_id: str) -> Snapshot | None:
    """Warn if the function was made before, in the same loop, with other values of its variables.

    A factory that makes one function per call has a fresh variable each time and is left in peace.

    Returns:
        What the step has to keep, so that the next one can be compared with it.
    """
    code: CodeType | None = getattr(fn, "__code__", None)
    if code is None:
        return None
    snapshot = Snapshot(fn)
    earlier = _latest.get(id(code))
    if earlier is not None and earlier.fn.__code__ is code:
        for name in snapshot.changed_since(earlier):
            warn(
                f"step {step_id!r} uses the variable {name!r}, which changed since an earlier step "
                f"was made from the same function: all of them will see its last value. Make it "
                f"a parameter with a default and fix it with step.bind(id, {name}=…)",
                StepClosureWarning,
            )
    _latest[id(code)] = snapshot
    return snapshot


def mentions_sleep(fn: Callable[..., Any]) -> bool:
    """Return whether a function mentions ``time.sleep``; quick, and needs no source."""
    code = getattr(fn, "__code__", None)
    if code is None or not any(name in code.co_names for name in _sleepers(fn)):
        return False
    return _loads_sleep(fn)


def _sleepers(fn: Callable[..., Any]) -> list[str]:
    """Return the names by which the function may reach ``time.sleep``."""
    names = [name for name in fn.__code__.co_names if fn.__globals__.get(name) is time.sleep]
    return [*names, "sleep"]


def _loads_sleep(fn: Callable[..., Any]) -> bool:
    previous: str = ""
    imported = False
    for instruction in dis.get_instructions(fn.__code__):
        name = instruction.argval
        if instruction.opname == "IMPORT_NAME" and name == "time":
            imported = True
        if instruction.opname == "LOAD_GLOBAL" and fn.__globals__.get(name) is time.sleep:
            return True
        if (
            instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"}
            and name == "sleep"
            and (fn.__globals__.get(previous) is time or (imported and previous == "time"))
        ):
            return True
        if instruction.opname.startswith("LOAD_") and isinstance(name, str):
            previous = name
        elif instruction.opname not in {"PRECALL", "CACHE", "PUSH_NULL"}:
            previous = ""
    return False


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
