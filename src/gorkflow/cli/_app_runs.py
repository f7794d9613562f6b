"""The commands about runs. What they do is imported only when they do it."""

from __future__ import annotations

import click

from gorkflow.cli._options import (
    CONTEXT,
    STATUSES,
    Example,
    ExampleGroup,
    json_option,
    read_tags,
    store_option,
    traceback_option,
)


@click.group(
    "runs",
    cls=ExampleGroup,
    example=(
        "gorkflow runs list --limit 10",
        "gorkflow runs show 0199d1c2-7f3e-7abc-8def-0123456789ab",
    ),
    context_settings=CONTEXT,
)
@store_option
@click.pass_context
def runs_group(ctx: click.Context, store: str | None) -> None:
    """List, show, compare, cancel, resume, repeat, delete runs, and send signals into them."""
    ctx.obj = store


@runs_group.command(
    "list",
    cls=Example,
    example=("gorkflow runs list --status failed --status cancelled --tag customer=42",),
)
@click.option(
    "--status", multiple=True, type=click.Choice(STATUSES), help="Only such runs; repeatable."
)
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    callback=read_tags,
    metavar="NAME=VALUE",
    help="Only with this tag.",
)
@click.option("--resource", metavar="ID", help="Only runs about this, as `run --resource` said.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many."
)
@click.option("--cursor", metavar="C", help="Go on where the page before ended.")
@store_option
@json_option
@click.pass_obj
def list_command(
    group_store: str | None, *, status: tuple[str, ...], workflow: str | None, tags: dict[str, str],
    resource: str | None, limit: int, cursor: str | None, store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """List runs, newest first."""
    from gorkflow.cli import _runs
    from gorkflow.listing import RunFilter
    from gorkflow.model import RunStatus

    query = RunFilter(
        workflow_id=workflow,
        status=[RunStatus(item) for item in status] or None,
        tags=tags,
        resource_id=resource,
        limit=limit,
        cursor=cursor,
    )
    _runs.show_list(store or group_store, query, as_json=as_json)


@runs_group.command("show", cls=Example, example=("gorkflow runs show RUN_ID --traceback",))
@click.argument("run_id")
@click.option("--events", is_flag=True, help="The recorded history too.")
@traceback_option
@store_option
@json_option
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
@store_option
@click.pass_obj
def cancel_command(group_store: str | None, run_id: str, reason: str, store: str | None) -> None:
    """Cancel a run, wherever it runs."""
    from gorkflow.cli import _runs

    click.echo(_runs.cancel(store or group_store, run_id, reason), err=True)


@runs_group.command(
    "send",
    cls=Example,
    example=(
        'gorkflow runs send RUN_ID approved --payload \'{"by": "ann"}\'',
        "gorkflow runs send RUN_ID document --payload @document.json",
    ),
)
@click.argument("run_id")
@click.argument("signal")
@click.option("--payload", metavar="JSON|@FILE|-", help="The value of the signal.  [default: null]")
@store_option
@click.pass_obj
def send_command(
    group_store: str | None, *, run_id: str, signal: str, payload: str | None, store: str | None
) -> None:
    """Send a signal into a run, wherever it runs.

    It is kept until the run waits for it. Whether the payload is what the run waits for is checked
    by the worker that carries it, since this command does not know the code.
    """
    from gorkflow.cli import _runs
    from gorkflow.cli._input import read_payload

    _runs.send(store or group_store, run_id, signal, read_payload(payload))
    click.echo(
        f"signal {signal!r} is recorded for run {run_id}; whether its payload fits is checked "
        "where the run goes on",
        err=True,
    )


accept_types_option = click.option(
    "--accept-types", is_flag=True,
    help="Continue though recorded values or types of steps don't fit the code; it is recorded.",
)  # fmt: skip


@runs_group.command(
    "resume", cls=Example, example=("gorkflow runs resume RUN_ID shop.py:checkout",)
)
@click.argument("run_id")
@click.argument("target")
@accept_types_option
@store_option
@json_option
@traceback_option
@click.pass_context
def resume_command(
    ctx: click.Context, *, run_id: str, target: str, accept_types: bool, store: str | None,
    as_json: bool, tracebacks: bool,
) -> None:  # fmt: skip
    """Continue a run that was interrupted, with the code of TARGET, and follow it to its end.

    Completed steps don't run again. TARGET is what `gorkflow run` takes.
    """
    from gorkflow.cli import _run

    wanted = _run.Wanted(
        target=target, store=store or ctx.obj, run_id=run_id, as_json=as_json, tracebacks=tracebacks
    )
    ctx.exit(_run.resume(wanted, accept_types=accept_types))


@runs_group.command(
    "rerun",
    cls=Example,
    example=(
        "gorkflow runs rerun RUN_ID shop.py:checkout",
        "gorkflow runs rerun RUN_ID --from quote_shipping",
    ),
)
@click.argument("run_id")
@click.argument("target", required=False)
@click.option(
    "--from", "from_step", metavar="STEP",
    help="Where to begin again: a path, or an id.  [default: at what did not complete]",
)  # fmt: skip
@click.option("--run-id", "new_id", metavar="ID", help="The id of the new run.")
@accept_types_option
@click.option(
    "--tag",
    "tags",
    multiple=True,
    callback=read_tags,
    metavar="NAME=VALUE",
    help="Added to the tags of the run that is repeated.",
)
@store_option
@json_option
@traceback_option
@click.pass_context
def rerun_command(
    ctx: click.Context, *, run_id: str, target: str | None, from_step: str | None,
    new_id: str | None, tags: dict[str, str], accept_types: bool, store: str | None,
    as_json: bool, tracebacks: bool,
) -> None:  # fmt: skip
    """Repeat a run that has ended, as a new run that keeps what need not be done again.

    It keeps every completed result that is not downstream of STEP. With TARGET, which is what
    `gorkflow run` takes, this command carries the new run and follows it to its end. Without, it is
    left to a worker, and its id is the output.
    """
    from gorkflow.cli import _run
    from gorkflow.engine._start import StartOptions

    options: StartOptions = {"run_id": new_id, "tags": tags}
    store = store or ctx.obj
    if target is None:
        if accept_types:
            raise click.UsageError(
                "--accept-types needs TARGET, the code to judge the types with; add it"
            )
        _run.queue_rerun(store, run_id, from_step, options, as_json=as_json)
        return
    wanted = _run.Wanted(target=target, store=store, as_json=as_json, tracebacks=tracebacks)
    ctx.exit(_run.rerun(wanted, run_id, from_step, options, accept_types=accept_types))


@runs_group.command("delete", cls=Example, example=("gorkflow runs delete RUN_ID OTHER_RUN_ID",))
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID…")
@click.option(
    "--force", is_flag=True,
    help="Also runs that can't be read, and unfinished ones that nobody alive carries.",
)  # fmt: skip
@store_option
@click.pass_obj
def delete_command(
    group_store: str | None, *, run_ids: tuple[str, ...], force: bool, store: str | None
) -> None:
    """Delete runs that have ended, with all that is kept of them.

    All of them, or none where one can't be deleted. A run that a living worker carries never is.
    For old runs by the thousand there is `gorkflow db prune`.
    """
    from gorkflow.cli import _delete

    click.echo(_delete.delete(store or group_store, run_ids, force=force), err=True)


@runs_group.command("diff", cls=Example, example=("gorkflow runs diff RUN_ID OTHER_RUN_ID",))
@click.argument("run_a", metavar="A")
@click.argument("run_b", metavar="B")
@store_option
@json_option
@click.pass_context
def diff_command(
    ctx: click.Context, *, run_a: str, run_b: str, store: str | None, as_json: bool
) -> None:
    """Show what differs between two runs: definition, input, steps, verdicts, output.

    The exit code is 0 where nothing does, and 1 where something does. How long steps took is shown,
    but makes no difference; nor does whether a step ran, or a rerun kept its result.
    """
    from gorkflow.cli import _diff

    ctx.exit(_diff.show_diff(store or ctx.obj, run_a, run_b, as_json=as_json))
