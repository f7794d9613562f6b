"""What commands have in common: options, and help that ends with examples."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from gorkflow.cli._errors import STORE, Command, Group

_Command = TypeVar("_Command", bound=Callable[..., Any])
STATUSES = ("pending", "running", "suspended", "completed", "failed", "cancelled")
_STORE_HELP = (
    "Where runs are kept: memory:, or sqlite:PATH.  "
    "[default: $GORKFLOW_STORE, or sqlite:.gorkflow/runs.db]"
)


class Example(Command):
    """A command whose help ends with an example.

    Args:
        name: of the command.
        example: one line each.
        more: what ``click.Command`` takes.
    """

    def __init__(self, name: str | None, *, example: tuple[str, ...] = (), **more: Any) -> None:
        super().__init__(name, **more)
        self._example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        _write_example(formatter, self._example)


class ExampleGroup(Group):
    """A group whose help ends with an example.

    Args:
        name: of the group.
        example: one line each.
        more: what ``click.Group`` takes.
    """

    def __init__(
        self, name: str | None = None, *, example: tuple[str, ...] = (), **more: Any
    ) -> None:
        super().__init__(name, **more)
        self._example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        _write_example(formatter, self._example)


def _write_example(formatter: click.HelpFormatter, lines: tuple[str, ...]) -> None:
    with formatter.section("Example" if len(lines) == 1 else "Examples"):
        for line in lines:
            formatter.write(f"{' ' * formatter.current_indent}{line}\n")


def _note_store(ctx: click.Context, _: click.Parameter, given: str | None) -> str | None:
    if given == "":
        raise click.BadParameter("it is empty; write sqlite:PATH or memory:, or leave it out")
    if given is not None:
        ctx.meta[STORE] = given
    return given


def store_option(command: _Command) -> _Command:
    """Add ``--store``."""
    return click.option("--store", metavar="URL", callback=_note_store, help=_STORE_HELP)(command)


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


def read_tags(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Return what ``--tag`` was given.

    Raises:
        BadParameter: one is not ``NAME=VALUE``, or has two values.
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


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_age(_: click.Context, __: click.Parameter, given: str) -> timedelta:
    """Return what an option for a length of time was given.

    Raises:
        BadParameter: it is not a number and a unit.
    """
    found = re.fullmatch(r"(\d{1,6})([smhdw])", given)
    if found is None:
        raise click.BadParameter(
            f"{given!r} is no length of time; write a number and s, m, h, d or w: 30d"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
