"""The program itself, the module ``__main__``: how another process imports what it defines."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

MAIN = "__main__"
IN_PROCESS = "__mp_main__"
"""The name of the program where it is imported for its steps, as multiprocessing calls it: so that
what stands under ``if __name__ == "__main__":`` runs once."""

_importing = ""


def program_of(names: Mapping[str, Any]) -> str:
    """Return how to import the program: the name of its module, or the path of its file.

    Empty where there is neither, as in a notebook, in a shell, and for what comes from stdin.

    Args:
        names: the global names of a function that it defines.
    """
    name = getattr(names.get("__spec__"), "name", None)  # of `python -m package.module`
    if name and name != MAIN:
        return str(name)
    file = names.get("__file__")
    return str(Path(file).absolute()) if isinstance(file, str) and Path(file).is_file() else ""


@cache
def import_program(program: str) -> ModuleType:
    """Import the program in a process for its steps, and return it.

    Args:
        program: what ``program_of`` gave.

    Raises:
        BaseException: whatever its code raises.
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
