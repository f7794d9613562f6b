"""The commands and their options. What they do is imported only when they do it."""

from __future__ import annotations

import click

from gorkflow.cli._app_db import db_group, doctor_command
from gorkflow.cli._app_runs import runs_group
from gorkflow.cli._app_schedule import schedule_group
from gorkflow.cli._options import (
    CONTEXT,
    Example,
    ExampleGroup,
    json_option,
    read_tags,
    store_option,
    traceback_option,
)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    if not wanted or ctx.resilient_parsing:
        return
    from gorkflow.cli import version

    click.echo(f"gorkflow {version()}")
    ctx.exit()


@click.group(
    cls=ExampleGroup,
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
    "--tag", "tags", multiple=True, callback=read_tags, metavar="NAME=VALUE", help="To find it by."
)
@click.option("--timeout", type=float, metavar="SECONDS", help="How long the run may take.")
@click.option("--resource", metavar="ID", help="What the run is about, to find it by.")
@click.option("--exclusive", is_flag=True, help="Only while no other live run has the --resource.")
@click.option(
    "--state", "state_text", metavar="JSON|@FILE|-", help="What ctx.state begins with: an object."
)
@click.option("--delay", type=float, metavar="SECONDS", help="When to begin.  [default: at once]")
@store_option
@json_option
@traceback_option
@click.pass_context
def run_command(
    ctx: click.Context, *, target: str, input_text: str | None, workflow: str | None,
    run_id: str | None, if_exists: str, tags: dict[str, str], timeout: float | None,
    resource: str | None, exclusive: bool, delay: float | None, state_text: str | None,
    store: str | None, as_json: bool, tracebacks: bool,
) -> None:  # fmt: skip
    """Run a workflow and follow it to its end.

    TARGET is path/file.py or package.module, with :name where it has more than one workflow. It may
    name a Workflow, an Engine that knows workflows, or a function without arguments that returns an
    Engine or a Workflow.

    The output goes to standard output as JSON, everything else to standard error. Ctrl-C leaves the
    run to be continued with `gorkflow runs resume`.
    """
    if input_text == state_text == "-":
        raise click.UsageError(
            "only one of --input and --state can be '-': standard input is read once; give the "
            "other one as @FILE"
        )
    if exclusive and resource is None:
        raise click.UsageError("--exclusive needs --resource ID: what the run has for itself")
    from gorkflow.cli import _run
    from gorkflow.cli._input import read_state

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
            "resource_id": resource,
            "exclusive": exclusive,
            "delay": delay,
            "state": read_state(state_text),
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


@cli.command(
    "check",
    cls=Example,
    example=(
        "gorkflow check shop.py",
        "gorkflow check shop.flows:checkout --ignore unbounded --json",
    ),
)
@click.argument("target")
@click.option("--workflow", metavar="ID", help="Only this one, where TARGET has several.")
@click.option(
    "--ignore", multiple=True, metavar="CODE", help="Advice that is not wanted; may be repeated."
)
@json_option
@click.pass_context
def check_command(
    ctx: click.Context, *, target: str, workflow: str | None, ignore: tuple[str, ...], as_json: bool
) -> None:
    """Look for what costs time or gets lost in workflows, without running them.

    TARGET is what `gorkflow run` takes; all workflows of a module count. Exit code 1 where there is
    a warning; docs/check.md explains each code.
    """
    from gorkflow.cli import _check

    ctx.exit(_check.check(target, workflow, ignore, as_json=as_json))


@cli.command(
    "worker",
    cls=Example,
    example=(
        "gorkflow worker shop.py",
        "gorkflow worker shop.flows billing.flows --max-runs 100 --store sqlite:runs.db",
    ),
)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option(
    "--max-runs", type=click.IntRange(1), metavar="N", help="Runs at a time.  [default: no limit]"
)
@click.option(
    "--max-steps", type=click.IntRange(1), metavar="N",
    help="Attempts at a time.  [default: no limit]",
)  # fmt: skip
@click.option(
    "--lease", type=click.FloatRange(1.0), default=30.0, show_default=True, metavar="SECONDS",
    help="How long a worker that went silent keeps its runs.",
)  # fmt: skip
@click.option(
    "--grace", type=click.FloatRange(0.0), default=30.0, show_default=True, metavar="SECONDS",
    help="What running steps get when the worker is told to stop.",
)  # fmt: skip
@store_option
@click.pass_context
def worker_command(
    ctx: click.Context, *, targets: tuple[str, ...], max_runs: int | None, max_steps: int | None,
    lease: float, grace: float, store: str | None,
) -> None:  # fmt: skip
    """Carry runs of workflows: those that are queued, and those that other workers left.

    TARGET is what `gorkflow run` takes; all workflows of a module count. SIGTERM or Ctrl-C stops
    the worker after its running steps, a second one at once; no run is lost either way.
    """
    from gorkflow.cli import _worker

    wanted = _worker.Wanted(
        targets=targets, store=store, max_runs=max_runs, max_steps=max_steps, lease=lease,
        grace=grace,
    )  # fmt: skip
    ctx.exit(_worker.work(wanted))


cli.add_command(runs_group)
cli.add_command(schedule_group)
cli.add_command(db_group)
cli.add_command(doctor_command)
