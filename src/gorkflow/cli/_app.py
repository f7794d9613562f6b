"""The commands and their options. What they do is imported only when they do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gorkflow.cli._errors import Group

_Command = TypeVar("_Command", bound=Callable[..., Any])
_STATUSES = ("pending", "running", "suspended", "completed", "failed", "cancelled")
_STORE_HELP = (
    "Where runs are kept: memory:, or sqlite:PATH.  "
    "[default: $GORKFLOW_STORE, or sqlite:.gorkflow/runs.db]"
)


class Example(click.Command):
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


def _store_option(command: _Command) -> _Command:
    return click.option("--store", metavar="URL", help=_STORE_HELP)(command)


def _json_option(command: _Command) -> _Command:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")(
        command
    )


def _traceback_option(command: _Command) -> _Command:
    return click.option(
        "--traceback", "tracebacks", is_flag=True, help="Show where each failure was raised."
    )(command)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    if not wanted or ctx.resilient_parsing:
        return
    from gorkflow.cli import version

    click.echo(f"gorkflow {version()}")
    ctx.exit()


def _tags(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        tags[name] = value
    return tags


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    cls=ExampleGroup,
    example=(
        "gorkflow run shop.py:checkout --input '{\"id\": 7}'",
        "gorkflow runs list --status failed",
        "gorkflow graph shop.py --format mermaid",
    ),
    context_settings=_CONTEXT,
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli() -> None:
    """Durable workflows for Python: run them, look at runs, draw them."""


@cli.command(
    "run",
    cls=Example,
    example=(
        "gorkflow run shop.py --input '{\"id\": 7}'",
        "gorkflow run shop.flows:checkout --input @order.json --tag customer=42",
        "cat order.json | gorkflow run shop.py:make_engine --workflow checkout --input -",
    ),
)
@click.argument("target")
@click.option("--input", "input_text", metavar="JSON|@FILE|-", help="The input of the workflow.")
@click.option("--workflow", metavar="ID", help="Which workflow, where TARGET has several.")
@click.option("--run-id", metavar="ID", help="The id of the run.  [default: a fresh one]")
@click.option(
    "--if-exists", type=click.Choice(["raise", "return"]), default="raise", show_default=True,
    help="For an id that is taken: fail, or follow the run that has it.",
)  # fmt: skip
@click.option(
    "--tag", "tags", multiple=True, callback=_tags, metavar="NAME=VALUE", help="To find it by."
)
@click.option("--timeout", type=float, metavar="SECONDS", help="How long the run may take.")
@_store_option
@_json_option
@_traceback_option
@click.pass_context
def run_command(
    ctx: click.Context, *, target: str, input_text: str | None, workflow: str | None,
    run_id: str | None, if_exists: str, tags: dict[str, str], timeout: float | None,
    store: str | None, as_json: bool, tracebacks: bool,
) -> None:  # fmt: skip
    """Run a workflow and follow it to its end.

    TARGET is path/file.py or package.module, with :name where it has more than one workflow. It may
    name a Workflow, an Engine that knows workflows, or a function that returns one of them.

    The output goes to standard output as JSON, everything else to standard error. Ctrl-C leaves the
    run to be continued with `gorkflow runs resume`.
    """
    from gorkflow.cli import _run

    wanted = _run.Wanted(
        target=target, store=store, workflow=workflow, as_json=as_json, tracebacks=tracebacks
    )
    code = _run.start(
        wanted,
        input_text,
        {
            "run_id": run_id,
            "if_exists": "return" if if_exists == "return" else "raise",
            "tags": tags,
            "timeout": timeout,
        },
    )
    ctx.exit(code)


@cli.command(
    "graph",
    cls=Example,
    example=(
        "gorkflow graph shop.py:checkout",
        "gorkflow graph shop.py --format mermaid > shop.mmd",
    ),
)
@click.argument("target")
@click.option("--workflow", metavar="ID", help="Which workflow, where TARGET has several.")
@click.option(
    "--format", "how", type=click.Choice(["text", "mermaid"]), default="text", show_default=True,
    help="A tree of lines, or a Mermaid flowchart.",
)  # fmt: skip
def graph_command(target: str, workflow: str | None, how: str) -> None:
    """Draw a workflow.

    TARGET is what `gorkflow run` takes.
    """
    from gorkflow.cli._graph import draw
    from gorkflow.cli._output import put

    put(draw(target, workflow, how), nl=False)


@cli.group(
    "runs",
    cls=ExampleGroup,
    example=(
        "gorkflow runs list --limit 10",
        "gorkflow runs show 0199d1c2-7f3e-7abc-8def-0123456789ab",
    ),
    context_settings=_CONTEXT,
)
@_store_option
@click.pass_context
def runs_group(ctx: click.Context, store: str | None) -> None:
    """List, show, cancel and resume runs."""
    ctx.obj = store


@runs_group.command(
    "list",
    cls=Example,
    example=("gorkflow runs list --status failed --status cancelled --tag customer=42",),
)
@click.option(
    "--status", multiple=True, type=click.Choice(_STATUSES), help="Only such runs; repeatable."
)
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option(
    "--tag", "tags", multiple=True, callback=_tags, metavar="NAME=VALUE", help="Only with this tag."
)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many."
)
@click.option("--cursor", metavar="C", help="Go on where the page before ended.")
@_store_option
@_json_option
@click.pass_obj
def list_command(
    group_store: str | None, *, status: tuple[str, ...], workflow: str | None, tags: dict[str, str],
    limit: int, cursor: str | None, store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """List runs, newest first."""
    from gorkflow.cli import _runs
    from gorkflow.model import RunFilter, RunStatus

    query = RunFilter(
        workflow_id=workflow,
        status=[RunStatus(item) for item in status] or None,
        tags=tags,
        limit=limit,
        cursor=cursor,
    )
    _runs.show_list(store or group_store, query, as_json=as_json)


@runs_group.command("show", cls=Example, example=("gorkflow runs show RUN_ID --traceback",))
@click.argument("run_id")
@click.option("--events", is_flag=True, help="The recorded history too.")
@_traceback_option
@_store_option
@_json_option
@click.pass_obj
def show_command(
    group_store: str | None, *, run_id: str, store: str | None,
    events: bool, tracebacks: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show a run: its steps, failures, input and output. Needs no code of the workflow."""
    from gorkflow.cli import _runs

    _runs.show_run(
        store or group_store, run_id, as_json=as_json, events=events, tracebacks=tracebacks
    )


@runs_group.command(
    "cancel", cls=Example, example=("gorkflow runs cancel RUN_ID --reason 'wrong order'",)
)
@click.argument("run_id")
@click.option(
    "--reason",
    default="cancelled from the command line",
    show_default=True,
    help="Kept with the run.",
)
@_store_option
@click.pass_obj
def cancel_command(group_store: str | None, run_id: str, reason: str, store: str | None) -> None:
    """Cancel a run, wherever it runs."""
    from gorkflow.cli import _runs

    click.echo(_runs.cancel(store or group_store, run_id, reason), err=True)


@runs_group.command(
    "resume", cls=Example, example=("gorkflow runs resume RUN_ID shop.py:checkout",)
)
@click.argument("run_id")
@click.argument("target")
@_store_option
@_json_option
@_traceback_option
@click.pass_context
def resume_command(
    ctx: click.Context, *, run_id: str, target: str, store: str | None,
    as_json: bool, tracebacks: bool,
) -> None:  # fmt: skip
    """Continue a run that was interrupted, with the code of TARGET, and follow it to its end.

    Completed steps don't run again. TARGET is what `gorkflow run` takes.
    """
    from gorkflow.cli import _run

    wanted = _run.Wanted(
        target=target, store=store or ctx.obj, run_id=run_id, as_json=as_json, tracebacks=tracebacks
    )
    ctx.exit(_run.resume(wanted))
