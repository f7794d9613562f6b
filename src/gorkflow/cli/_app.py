"""The command line: its root, which loads a command when it is asked for, and shared options.

Each command, or group of commands, is a module: its options and, below them, the work.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib import import_module
from math import isfinite
from typing import Any, ClassVar, TypeVar

import click

from gorkflow import errors
from gorkflow._text import brief, is_utf8
from gorkflow.cli._output import CliError, ExitCode, unwritten, write_what_can_be
from gorkflow.clock import SystemClock
from gorkflow.model import instant
from gorkflow.policy import queue_problems

_Command = TypeVar("_Command", bound=Callable[..., Any])
STORE = "gorkflow.store"
"""The key under which click keeps the value of ``--store`` for all commands of one call."""
STATUSES = ("pending", "running", "suspended", "completed", "failed", "cancelled")
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_STORE_HELP = (
    "The store of runs: memory:, or sqlite:PATH.  "
    "[default: $GORKFLOW_STORE, or sqlite:.gorkflow/runs.db]"
)


# ---- commands ---------------------------------------------------------------------------------


class _Utf8(click.types.StringParamType):
    """A text that a store can keep."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text: str = super().convert(value, param, ctx)
        if not is_utf8(text):
            self.fail(f"{text!r} is not UTF-8", param, ctx)
        return text


class Seconds(click.FloatRange):
    """A number of seconds: a float that is neither infinite nor NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        found = super().convert(value, param, ctx)
        if not isfinite(found):
            self.fail(f"{value!r} is not a number of seconds; write one, as in 30", param, ctx)
        return found


_MAY_BE_FILES = frozenset({"target", "targets", "store", "input_text", "state_text", "payload"})
"""Parameters that may name a file; its name may have any bytes."""


class Command(click.Command):
    """A command whose help ends with examples. Its help may meet a full disk, too.

    Args:
        example: one line each.
    """

    def __init__(self, *args: Any, example: tuple[str, ...] = (), **more: Any) -> None:
        callback = more.get("callback")
        if more.get("help") is None and callback is not None:  # ``python -OO`` has no docstrings
            more["help"] = _doc_in_source(callback)
        super().__init__(*args, **more)
        self._example = example
        for param in self.params:
            if param.type is click.STRING and param.name not in _MAY_BE_FILES:
                param.type = _Utf8()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; ``--help`` and ``--version`` are answered here.

        Raises:
            CliError: If the answer can't be written.
        """
        try:
            return super().parse_args(ctx, args)
        except OSError as error:
            if _is_broken_pipe(error):
                raise
            raise unwritten(error) from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Example" if len(self._example) == 1 else "Examples"):
            for line in self._example:
                formatter.write(f"{' ' * formatter.current_indent}{line}\n")


class Group(Command, click.Group):
    """A group of commands. An error becomes one message and an exit code."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command.

        Raises:
            ClickException: If the command fails, with a message for people.
        """
        try:
            return super().invoke(ctx)
        except CliError as error:
            from gorkflow.cli._target import in_same_store

            vars(error)["message"] = in_same_store(error.message, ctx.meta.get(STORE))
            raise
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            raise CliError("interrupted", ExitCode.INTERRUPTED) from None
        except Exception as error:
            if os.environ.get("GORKFLOW_DEBUG") or _is_broken_pipe(error):
                raise
            raise explained(error, ctx.meta.get(STORE)) from None


class _Root(Group):
    """The root: the module of a command is imported when the command is asked for."""

    modules: ClassVar = {
        "run": ("_run", "Run a workflow and follow it to its end."),
        "runs": ("_runs", "List, show, compare, cancel, resume, repeat, delete runs."),
        "start": ("_start", "Queue a run for a worker, and print its id."),
        "worker": ("_worker", "Run the queued runs of workflows, and those of dead workers."),
        "workers": ("_workers", "List the workers that are alive, and what they serve."),
        "web": ("_web", "Show runs, workflows and schedules in the browser."),
        "schedule": ("_schedule", "Start runs by the clock."),
        "explain": ("_explain", "Show where the time of a run, or of many, went."),
        "whatif": ("_explain", "Forecast a run under other rules."),
        "timeline": ("_explain", "Draw when the steps of a run waited and ran."),
        "graph": ("_check", "Draw a workflow."),
        "check": ("_check", "Report code in workflows that costs time or loses results."),
        "db": ("_db", "Look after the store: delete old runs, check, back up."),
        "doctor": ("_doctor", "Report how the store, its workers and its runs are."),
        "demo": ("_demo", "Make a store full of runs, to try all of this on."),
    }

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command, with streams that take all that it writes."""
        write_what_can_be()
        return super().main(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; ``None``: it does not exist."""
        if cmd_name not in self.modules:
            return None
        module = import_module(f"gorkflow.cli.{self.modules[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each command, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.modules.items()])


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
    return isinstance(error, OSError) and error.errno == errno.EPIPE


# ---- errors -----------------------------------------------------------------------------------


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


_EXTRAS = {"cronsim", "h11", "jinja2", "opentelemetry", "prometheus_client", "starlette", "uvicorn"}
"""Packages of extras; the error says how to get each."""


def explained(error: Exception, store: str | None) -> CliError:
    """Return the error as a message and an exit code.

    Args:
        error: what was raised.
        store: what ``--store`` was given, for the commands that the error advises.
    """
    from gorkflow.cli._target import in_same_store

    for kind, code in _CODES:
        if isinstance(error, kind):
            return CliError(in_same_store(str(error), store), code)
    if isinstance(error, OSError):
        return CliError(str(error), ExitCode.STORE)
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return CliError(str(error))
    return CliError(
        f"{type(error).__name__}: {error}\nThis should not happen; GORKFLOW_DEBUG=1 shows where.",
        ExitCode.BUG,
    )


# ---- options ----------------------------------------------------------------------------------


def _note_store(ctx: click.Context, _: click.Parameter, given: str | None) -> str | None:
    """Take ``--store`` of the command, or that of its group."""
    if given == "":
        raise click.BadParameter("it is empty; write sqlite:PATH or memory:, or leave it out")
    if given is not None:
        ctx.meta[STORE] = given
    return ctx.meta.get(STORE)


def store_option(command: _Command) -> _Command:
    """Add ``--store``."""
    return click.option("--store", metavar="URL", callback=_note_store, help=_STORE_HELP)(command)


def group_store_option(command: _Command) -> _Command:
    """Add ``--store`` to a group: it holds for the group's command."""
    return click.option(
        "--store", metavar="URL", callback=_note_store, help=_STORE_HELP, expose_value=False
    )(command)


def json_option(command: _Command) -> _Command:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")(
        command
    )


def traceback_option(command: _Command) -> _Command:
    """Add ``--traceback``."""
    return click.option(
        "--traceback", "tracebacks", is_flag=True, help="Show the whole traceback of each failure."
    )(command)


def tags_option(help: str) -> Callable[[_Command], _Command]:  # noqa: A002 - as click has it
    """Add ``--tag``, which may be repeated."""
    return click.option(
        "--tag", "tags", multiple=True, callback=_read_tags, metavar="NAME=VALUE", help=help
    )


def _read_tags(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Return what ``--tag`` was given.

    Raises:
        BadParameter: If one is not ``NAME=VALUE``, or has two values.
    """
    tags: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        if tags.setdefault(name, value) != value:
            raise click.BadParameter(
                f"tag {name!r} has two values, {tags[name]!r} and {value!r}; give it one"
            )
    return tags


def read_queue(_: click.Context, __: click.Parameter, given: str | None) -> str | None:
    """Return the name of a queue.

    Raises:
        BadParameter: If no queue can have it.
    """
    if given is not None and (problems := queue_problems(given)):
        raise click.BadParameter(problems[0])
    return given


def read_queues(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, int | None] | None:
    """Return the queues of a worker, each with its bound; ``None``: none was given.

    Raises:
        BadParameter: If one is not ``NAME`` or ``NAME=N``, or was given twice.
    """
    queues: dict[str, int | None] = {}
    for text in given:
        name, equals, bound = text.partition("=")
        read_queue(ctx, param, name)
        if equals and (not bound.isdecimal() or int(bound) < 1):
            raise click.BadParameter(f"{text!r} is not NAME or NAME=N with a number from 1")
        if name in queues:
            raise click.BadParameter(f"queue {name!r} was given twice; name it once")
        queues[name] = int(bound) if equals else None
    return queues or None


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"([0-9]+)([smhdw])")


def read_age(_: click.Context, __: click.Parameter, given: str) -> timedelta:
    """Return what an option for a length of time was given.

    Raises:
        BadParameter: If it is not a number and a unit.
    """
    if not _AGE.fullmatch(given):
        raise click.BadParameter(
            f"{given!r} is not a length of time; write a number and s, m, h, d or w: 30d"
        )
    return _age(given)


def _age(given: str) -> timedelta:
    try:
        return timedelta(**{_UNITS[given[-1]]: int(given[:-1])})
    except (OverflowError, ValueError):
        raise click.BadParameter(
            f"{brief(given)} is too long a time; write 36500d or less"
        ) from None


def read_instant(_: click.Context, __: click.Parameter, given: str | None) -> datetime | None:
    """Return what an option for an instant was given: an age, or a local date and time.

    Raises:
        BadParameter: If it is neither.
    """
    if given is None:
        return None
    try:
        if _AGE.fullmatch(given):
            return instant(SystemClock().now()) - _age(given)
        return datetime.fromisoformat(given).astimezone()
    except (OverflowError, OSError):
        raise click.BadParameter(f"{brief(given)} is too far away") from None
    except ValueError:
        raise click.BadParameter(
            f"{brief(given)} is not a time; write an age, as in 2h or 30d, or a date, as in "
            "2026-11-23 or 2026-11-23T08:00"
        ) from None


# ---- the root ---------------------------------------------------------------------------------


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    if wanted and not ctx.resilient_parsing:
        from gorkflow import __version__

        click.echo(f"gorkflow {__version__}")
        ctx.exit()


@click.group(
    cls=_Root,
    example=(
        "gorkflow run shop.py:checkout --input '{\"id\": 7}'",
        "gorkflow runs list --status failed",
        "gorkflow graph shop.py --format mermaid",
    ),
    context_settings=CONTEXT,
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli() -> None:
    """Durable workflows for Python: run them, look at runs, draw them."""
