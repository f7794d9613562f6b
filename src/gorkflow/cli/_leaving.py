"""Ending a command though a step does not stop: it is left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from gorkflow.cli._output import say

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
_MOMENT = 1.0
"""Seconds to end in, for steps that the engine has given the time to clean up already."""
_unfinished: list[asyncio.Runner] = []
"""Loops whose tasks have not all ended. Kept, since a pending task that is destroyed complains."""


def run_in_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run an engine, as ``asyncio.run`` does, but without waiting for stubborn steps for ever."""
    import asyncio

    runner = asyncio.Runner()
    _unfinished.append(runner)
    try:
        return runner.run(main)
    finally:
        left = runner.get_loop().run_until_complete(_end(main))
        if left:
            say(
                f"did not stop when cancelled, abandoned: {', '.join(left)} "
                "(async steps must let CancelledError pass, threads must end)"
            )
        else:
            _unfinished.remove(runner)
            runner.close()


async def _end(main: Coroutine[Any, Any, Any]) -> list[str]:
    """End all tasks and threads of the loop; return the names of those that don't stop."""
    import asyncio

    loop = asyncio.get_running_loop()
    me = asyncio.current_task()
    tasks = asyncio.all_tasks() - {me}
    for task in tasks:
        task.cancel()
    # Still there when a step stopped the program. It closes the engine, which takes its time.
    ours = [task for task in tasks if task.get_coro() is main]
    if ours:
        await asyncio.wait(ours)
    tasks.add(loop.create_task(loop.shutdown_default_executor(), name="asyncio.to_thread"))
    await asyncio.wait(tasks, timeout=_MOMENT)
    return sorted(repr(task.get_name()) for task in asyncio.all_tasks() - {me})


def leave_behind(code: object) -> None:
    """Leave the process at once with this exit code, if something in it has not stopped."""
    if not _unfinished:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
