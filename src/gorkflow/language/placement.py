"""The placement of a step: where it runs, and how another process finds its function.

That process imports the function by its name; of the program itself, the module ``__main__``, it
imports the file.
"""

from __future__ import annotations

import inspect
import runpy
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gorkflow._text import did_you_mean
from gorkflow.errors import StepInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gorkflow.language.signature import StepSignature

MAIN = "__main__"
IN_PROCESS = "__mp_main__"
"""The name of the program where it is imported for its steps, as multiprocessing calls it: so that
what stands under ``if __name__ == "__main__":`` runs once."""

_importing = ""
PROCESS = "process"
LOCAL = ("loop", "thread")
"""The places of steps in the engine's own process: of async ones, and of plain functions."""
UNIMPORTABLE = "_gorkflow_target_"
"""Begins the names of modules that were loaded from files which no import finds by their names."""


def executor_of(options: Mapping[str, Any], *, is_async: bool) -> str:
    """Return where a step runs."""
    chosen: str | None = options.get("executor")
    return chosen or ("loop" if is_async else "thread")


def check_placement(
    fn: Any,
    options: Mapping[str, Any],
    label: str,
    signature: StepSignature,
) -> None:
    """Raise unless a function can run where it should.

    Raises:
        StepInvalidError: If it can't; the message says what to write.
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


# ---- the program itself ------------------------------------------------------------------------


def program_of(names: Mapping[str, Any]) -> str:
    """Return how to import the program: the name of its module, or the path of its file.

    Empty where there is neither, as in a notebook, in a shell, and for code from stdin. The names
    are the globals of a function that it defines.
    """
    name = getattr(names.get("__spec__"), "name", None)  # of `python -m package.module`
    if name and name != MAIN:
        return str(name)
    file = names.get("__file__")
    return str(Path(file).absolute()) if isinstance(file, str) and Path(file).is_file() else ""


@cache
def import_program(program: str) -> ModuleType:
    """Import the program, as ``program_of`` named it, in a process for its steps, and return it.

    Raises:
        BaseException: If its code raises it.
    """
    global _importing  # noqa: PLW0603 - a process imports one program
    _importing = program
    try:
        if Path(program).is_absolute():
            names = runpy.run_path(program, run_name=IN_PROCESS)
        else:
            names = runpy.run_module(program, run_name=IN_PROCESS, alter_sys=True)
    finally:
        _importing = ""
    module = ModuleType(IN_PROCESS)
    module.__dict__.update(names)
    sys.modules[MAIN] = sys.modules[IN_PROCESS] = module
    return module


def importing() -> str:
    """Return the program that is being imported for its steps; else an empty string."""
    return _importing
