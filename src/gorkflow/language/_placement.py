"""Where a step runs, and how it is named there: what runs in another process is found by name."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gorkflow.errors import StepInvalidError
from gorkflow.language._options import did_you_mean
from gorkflow.language._program import MAIN, program_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gorkflow.language._signature import StepSignature

PROCESS = "process"
LOCAL = ("loop", "thread")
"""Where steps run in the engine's own process: async ones, and plain functions."""


def executor_of(options: Mapping[str, Any], *, is_async: bool) -> str:
    """Return where a step runs."""
    chosen: str | None = options.get("executor")
    return chosen or ("loop" if is_async else "thread")


UNIMPORTABLE = "_gorkflow_target_"
"""Begins the names of modules that were loaded from files which no import finds by their names."""


def check_placement(
    fn: Any,
    options: Mapping[str, Any],
    label: str,
    signature: StepSignature,
) -> None:
    """Raise unless a function can run where it should.

    Args:
        fn: the step's function.
        options: those of the step.
        label: how errors name it.
        signature: what it takes and gives.

    Raises:
        StepInvalidError: it can't; the message says what to write.
    """
    is_async = signature.is_async
    executor = executor_of(options, is_async=is_async)
    problem = ""
    if is_async and executor != "loop":
        problem = (
            f"an async function runs on the event loop, not on executor={executor!r}; write a "
            "plain def for what should run elsewhere"
        )
    elif not is_async and executor == "loop":
        problem = (
            "a plain function would stop the event loop while it runs, so executor='loop' is for "
            "async def only; leave executor out, and it runs in a thread"
        )
    elif executor not in LOCAL and signature.leaves_open:
        problem = (
            f"executor={executor!r} knows the function there by its name alone, and its type "
            "variables don't say of what type the values are; write the types"
        )
    elif executor not in LOCAL:
        problem = _naming_problem(fn, executor)
    if problem:
        raise StepInvalidError(f"{label}: {problem}")


def _naming_problem(fn: Any, executor: str) -> str:
    """Return why another process would not find a function by its name."""
    name = getattr(fn, "__qualname__", "")
    if inspect.ismethod(fn) or not inspect.isroutine(fn):
        why = "what is not a plain function (a method of an object, a partial) has none"
    elif "<lambda>" in name:
        why = "a lambda has none"
    elif "<locals>" in name:
        why = f"a function inside another ({name}) has none"
    elif fn.__module__ == MAIN and executor != PROCESS:
        why = "the program itself (the module __main__) is another one there"
    elif fn.__module__ == MAIN and not program_of(getattr(fn, "__globals__", {})):
        why = "what is defined in a notebook or shell, or comes from stdin, is in no file"
    elif fn.__module__.startswith(UNIMPORTABLE):
        file = Path(inspect.getfile(fn)).name
        return (
            f"executor={executor!r} imports the file of the function in another process, and no "
            f"import finds {file!r} by its name; rename it, such as my_steps.py"
        )
    else:
        return ""
    meant = "" if executor == PROCESS else did_you_mean(executor, (PROCESS, *LOCAL), or_else="")
    if meant:
        return f"{meant} There is no executor {executor!r} unless the engine is given one"
    return (
        f"executor={executor!r} finds the function in another process by "
        f"its name, and {why}; write it at the top level of a module of its own, such as "
        "my_steps.py, and import it from there"
    )


def reference_of(fn: Any) -> str:
    """Return the name by which another process finds a function: ``module:name``."""
    return f"{fn.__module__}:{fn.__qualname__}"
