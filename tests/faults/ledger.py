"""The witness: an append-only file outside the database, written by the steps and the driver.

One line is one ``write`` to a file opened with ``O_APPEND``: lines of several threads and processes
don't mix, and their order in the file is the order in which they were written.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gorkflow import StepContext

_fd: list[int] = []
reach: Callable[[str], object] = lambda _: None  # noqa: E731
"""Called at the named points that handlers pass; ``points`` puts itself here."""


def open_ledger(path: str) -> None:
    """Let this process write to the ledger."""
    _fd[:] = [os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)]


def write(what: str, **fields: Any) -> None:
    if _fd:
        line = (
            json.dumps({"what": what, "pid": os.getpid(), "at": time.monotonic(), **fields}) + "\n"
        )
        os.write(_fd[0], line.encode())


def begin(ctx: StepContext[Any], value: Any) -> None:
    """Witness that a handler began."""
    reach("before handler")
    write("begin", run=ctx.run_id, path=ctx.path, attempt=ctx.attempt, hash=_hash(value))


def end(ctx: StepContext[Any], value: Any) -> Any:
    """Witness that a handler is about to return this value."""
    write("end", run=ctx.run_id, path=ctx.path, attempt=ctx.attempt, hash=_hash(value))
    reach("after handler")
    return value


def _hash(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Line:
    place: int
    """In the file."""
    what: str
    pid: int
    at: float
    """Seconds of a clock that all processes share."""
    run: str = ""
    path: str = ""
    attempt: int = 0
    hash: str = ""
    note: str = ""


def read(path: Path) -> list[Line]:
    if not path.exists():
        return []
    # Who reads while others write may find the beginning of a line: it is whole the next time.
    whole = path.read_text().rpartition("\n")[0]
    return [Line(n, **json.loads(text)) for n, text in enumerate(whole.splitlines())]
