"""Writing to standard output, whose reader may leave early, and whose disk may be full."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

import click

from gorkflow.cli._errors import CliError, ExitCode
from gorkflow.cli._text import clean


def put(text: str, *, nl: bool = True) -> None:
    """Write to standard output; a reader that went away has seen enough.

    Args:
        text: what to write.
        nl: and a line end.

    Raises:
        CliError: it can't be written.
    """
    try:
        click.echo(clean(text), nl=nl)
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        raise unwritten(error) from None


def unwritten(error: OSError) -> CliError:
    """Return what to tell where standard output can't be written; forgets what waits to be."""
    _discard(sys.stdout)
    return CliError(f"can't write to standard output: {error.strerror}", ExitCode.STORE)


def say(text: str) -> None:
    """Write to standard error, if that is possible."""
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
