"""Output of commands: text that is safe for terminals, exit codes, errors, the two streams."""

from __future__ import annotations

import codecs
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from datetime import datetime
from enum import IntEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, TextIO

import click

from gorkflow._text import cleaned, is_shown

_SHORT_JSON = 80
clean = cleaned
PLAIN: Final = str.maketrans("├│└─…━╍┈•·→↻✓✗⊘○●◌█▓▒░≤", "||`-~#=.*->~+x-.*z#x%:<")
"""ASCII for the characters that we draw with, each as wide as the other."""


class ExitCode(IntEnum):
    """The exit code of a command."""

    OK = 0
    RUN_FAILED = 1
    DIFFERENT = 1
    """The two runs are not the same."""
    WARNED = 1
    """A workflow should be changed."""
    USAGE = 2
    STORE = 3
    """The store, or the configuration, does not work."""
    NOT_FOUND = 4
    CONFLICT = 5
    """The id is taken; the run is blocked, or another worker's."""
    BUG = 70
    """Ours."""
    INTERRUPTED = 130
    TERMINATED = 143
    """By SIGTERM."""


class CliError(click.ClickException):
    """Ends the command with a message."""

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(clean(message))
        vars(self)["exit_code"] = int(code)  # click declares it for the class


# ---- streams ----------------------------------------------------------------------------------


def write_what_can_be() -> None:
    """Have the streams write ASCII in the place of characters that their encodings don't have."""
    codecs.register_error("gorkflow.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and not has_characters(stream.encoding):
            stream.reconfigure(errors="gorkflow.plain")


def has_characters(encoding: str) -> bool:
    """Return whether an encoding has the characters that we draw with."""
    try:
        "".join(map(chr, PLAIN)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII for what can't be encoded, and where to continue."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end


def put(text: str, *, nl: bool = True) -> None:
    """Write to standard output; a reader that went away has seen enough.

    Raises:
        CliError: If it can't be written.
    """
    try:
        click.echo(clean(text), nl=nl)
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        raise unwritten(error) from None


def unwritten(error: OSError) -> CliError:
    """Return the error of a standard output that can't be written; discard what waits to be."""
    _discard(sys.stdout)
    return CliError(f"can't write to standard output: {error.strerror}", ExitCode.STORE)


_says: ContextVar[Callable[[str], object] | None] = ContextVar("says", default=None)


@contextmanager
def saying_with(says: Callable[[str], object]) -> Generator[None]:
    """Have ``say`` call this instead, while the context lasts."""
    token = _says.set(says)
    try:
        yield
    finally:
        _says.reset(token)


def say(text: str) -> None:
    """Write to standard error, if that is possible."""
    says = _says.get()
    if says is not None:
        says(clean(text))
        return
    try:
        click.echo(clean(text), err=True)
    except OSError:
        _discard(sys.stderr)


@contextmanager
def stdout_is_ours() -> Generator[None]:
    """Have all that anybody prints meanwhile go to standard error: the output is for a pipe.

    That of processes, too, which know nothing of ``sys.stdout``.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        ours = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of the two is closed
        with redirect_stdout(sys.stderr):
            yield
        return
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        with suppress(OSError, ValueError):
            if sys.__stdout__ is not None:
                sys.__stdout__.flush()
        os.dup2(ours, 1)
        os.close(ours)


def _discard(stream: TextIO) -> None:
    """Let what is still written, and what waits in the buffer, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def show_picture(svg: str, name: str) -> None:
    """Write a picture to its own file, and show it in the browser."""
    import tempfile
    import webbrowser

    path = Path(tempfile.mkdtemp(prefix="gorkflow-")) / f"{name}.svg"
    path.write_text(svg, encoding="utf-8")
    say(f"wrote {path}")
    if not webbrowser.open(path.as_uri()):
        say("no browser can be opened here; open the file yourself")


# ---- text -------------------------------------------------------------------------------------


def one_line(text: str) -> str:
    """Return the text on one line, safe for terminals."""
    return clean(" ".join(text.split()))


def width(text: str) -> int:
    """Return how many columns the text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def cut_to(text: str, columns: int) -> str:
    """Return a line of at most so many columns; if it was longer, ``…`` ends it."""
    if width(text) <= columns:
        return text
    room, found = columns - 1, ""
    for char in text:
        room -= _columns(char)
        if room < 0:
            break
        found += char
    return f"{found.rstrip()}…"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of an aligned table."""
    cells = [list(head), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(head))]
    return ["  ".join(_padded(row, widths)).rstrip() for row in cells]


def _padded(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    return (cell + " " * (columns - width(cell)) for cell, columns in zip(row, widths, strict=True))


def clock(at: float) -> str:
    """Return an instant, in seconds since the epoch, as the local time of day."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def moment(at: datetime | None) -> str:
    """Return an instant as local date and time; empty: there is none."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def json_text(value: Any, *, short: int | None = _SHORT_JSON) -> str:
    """Return JSON data for people and programs: what is not safe to print is escaped.

    Args:
        value: the data.
        short: on more than one line if longer than that; ``None``: never.
    """
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=ascii_only)
    if short is not None and len(text) > short:
        text = json.dumps(value, ensure_ascii=ascii_only, indent=2)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in "\n\t" or is_shown(char) else json.dumps(char)[1:-1] for char in text
    )


def indented(text: str, by: str = "    ") -> str:
    """Return the text with each line moved to the right."""
    return "\n".join(f"{by}{line}" for line in text.rstrip().splitlines())
