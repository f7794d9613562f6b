"""What an error means for whoever called the command: one message, one exit code."""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from typing import Any

import click

from gorkflow import errors
from gorkflow.cli._text import clean


class ExitCode(IntEnum):
    """How the command ended."""

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
    """The id is taken; the run is blocked, or somebody else's."""
    BUG = 70
    """Ours."""
    INTERRUPTED = 130
    TERMINATED = 143
    """By SIGTERM."""


STORE = "gorkflow.store"
"""Where click keeps, for all commands of one call, what ``--store`` was given."""


class CliError(click.ClickException):
    """Ends the command with a message.

    Args:
        message: what is wrong and what to do about it.
        code: of the exit.
    """

    def __init__(self, message: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(clean(message))
        vars(self)["exit_code"] = int(code)  # click declares it for the class


class Command(click.Command):
    """A command whose help, and whatever else it writes before it begins, may meet a full disk.

    Args:
        args: what ``click.Command`` takes.
        more: likewise.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        callback = more.get("callback")
        if more.get("help") is None and callback is not None:  # ``python -OO`` has no docstrings
            more["help"] = _doc_in_source(callback)
        super().__init__(*args, **more)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what was typed; ``--help`` and ``--version`` are answered here.

        Raises:
            CliError: the answer can't be written.
        """
        from gorkflow.cli._output import unwritten

        try:
            return super().parse_args(ctx, args)
        except OSError as error:
            if _is_broken_pipe(error):
                raise
            raise unwritten(error) from None


class Group(Command, click.Group):
    """A group of commands that never show a traceback of ours."""

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command.

        Raises:
            ClickException: whatever went wrong, for people.
        """
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            raise CliError("interrupted", ExitCode.INTERRUPTED) from None
        except Exception as error:
            if os.environ.get("GORKFLOW_DEBUG") or _is_broken_pipe(error):
                raise
            raise explained(error, ctx.meta.get(STORE)) from None


def _doc_in_source(function: Any) -> str | None:
    import ast
    import inspect
    import textwrap

    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return None
    found = tree.body[0]
    return ast.get_docstring(found) if isinstance(found, ast.FunctionDef) else None


def _is_broken_pipe(error: Exception) -> bool:
    """Whether the reader of our output went away, which click deals with."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


_CODES: tuple[tuple[type[errors.GorkflowError], ExitCode], ...] = (
    (errors.StoreError, ExitCode.STORE),
    (errors.RunNotFoundError, ExitCode.NOT_FOUND),
    (errors.ScheduleNotFoundError, ExitCode.NOT_FOUND),
    (errors.HistoryError, ExitCode.STORE),
    (errors.DuplicateRunError, ExitCode.CONFLICT),
    (errors.RunBlockedError, ExitCode.CONFLICT),
    (errors.RunNotEndedError, ExitCode.CONFLICT),
    (errors.ResourceBusyError, ExitCode.CONFLICT),
    (errors.RunEndedError, ExitCode.CONFLICT),
    (errors.LeaseLostError, ExitCode.CONFLICT),
    (errors.RunError, ExitCode.RUN_FAILED),
    (errors.GorkflowError, ExitCode.USAGE),
)


def explained(error: Exception, store: str | None) -> CliError:
    """Return the error as a message and an exit code.

    Args:
        error: what was raised.
        store: what ``--store`` was given, for the commands that the error advises.
    """
    from gorkflow.cli._stores import in_same_store

    for kind, code in _CODES:
        if isinstance(error, kind):
            return CliError(in_same_store(str(error), store), code)
    if isinstance(error, OSError):
        return CliError(str(error), ExitCode.STORE)
    if isinstance(error, ModuleNotFoundError) and error.name == "cronsim":
        return CliError(str(error))  # an extra; it says how to get it
    return CliError(
        f"{type(error).__name__}: {error}\nThis should not happen; GORKFLOW_DEBUG=1 shows where.",
        ExitCode.BUG,
    )
