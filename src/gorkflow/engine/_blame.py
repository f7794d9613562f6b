"""Whose code holds the event loop: read from the frames of its thread, by another one."""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gorkflow.engine._within import caller_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

    from gorkflow.engine._driver import Driver


class Work(Protocol):
    """An attempt, or what asks a condition."""

    driver: Driver
    command: Any
    held: float
    """Seconds for which it held the loop so far."""


class Holder(NamedTuple):
    """What holds the loop."""

    work: Work
    place: str
    """The line of the program, as ``file:line in function``."""


roots: dict[CodeType, Callable[[Any], Work]] = {}
"""Functions that all of some work runs in, and whose ``self`` tells which: tasks may begin eagerly,
within the callback of another one, and not every loop has callbacks in Python."""
_HANDLE: CodeType = asyncio.Handle._run.__code__  # noqa: SLF001 - by which a loop calls
_OURS = f"{Path(__file__).parent.parent}{os.sep}"
_STDLIB = sysconfig.get_path("stdlib") + os.sep
_DEBUGGERS = ("bdb.py", "pdb.py", "pydevd.py")


def holder(thread: int) -> Holder | None:
    """Return which step's code holds an event loop; ``None``: none does, or code of ours.

    Args:
        thread: the identifier of the loop's thread.
    """
    frames: list[FrameType] = []
    # All frames together are never kept: this one is among them, which would be a cycle.
    innermost = sys._current_frames().get(thread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    for frame in _outward(innermost):
        if frame.f_code is _HANDLE:
            # The context in which it calls: that of a task, or of who asked for the call.
            work: Work | None = caller_in(frame.f_locals["self"]._context)  # noqa: SLF001
        elif frame.f_code in roots:
            work = roots[frame.f_code](frame.f_locals["self"])
        else:
            frames.append(frame)
            continue
        place = None if work is None else _place(frames)
        return None if work is None or place is None else Holder(work, place)
    return None


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(frames: list[FrameType]) -> str | None:
    """Return the innermost line of the program, or of the library that all of it is."""
    found = None
    for frame in frames:
        kind = _kind(frame.f_code.co_filename)
        if kind == "debugger":
            return None
        if kind == "ours":
            break
        found = frame
        if kind == "program":
            break
    else:
        kind = "program"
    if found is None or kind != "program":
        return None
    return f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_name}"


@lru_cache(4096)
def _kind(file: str) -> str:
    if Path(file).name in _DEBUGGERS:
        return "debugger"
    if file.startswith(_OURS):
        return "ours"
    is_library = file.startswith(("<frozen", _STDLIB)) or "site-packages" in file
    return "library" if is_library else "program"
