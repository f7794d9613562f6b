"""The commands that look after a store. What they do is imported only when they do it."""

from __future__ import annotations

from datetime import timedelta

import click

from gorkflow.cli._options import (
    CONTEXT,
    Example,
    ExampleGroup,
    json_option,
    read_age,
    store_option,
)


@click.group(
    "db",
    cls=ExampleGroup,
    example=("gorkflow db prune --older-than 30d --dry-run", "gorkflow db backup runs-monday.db"),
    context_settings=CONTEXT,
)
@store_option
@click.pass_context
def db_group(ctx: click.Context, store: str | None) -> None:
    """Look after the store: delete old runs, check for damage, back it up."""
    ctx.obj = store


@db_group.command(
    "prune",
    cls=Example,
    example=("gorkflow db prune --older-than 30d --status completed --workflow checkout",),
)
@click.option(
    "--older-than", callback=read_age, required=True, metavar="AGE",
    help="Only runs that ended longer ago than this: a number and s, m, h, d or w, as in 30d.",
)  # fmt: skip
@click.option(
    "--status", multiple=True, type=click.Choice(["completed", "failed", "cancelled"]),
    help="Only runs that ended so; repeatable.  [default: however]",
)  # fmt: skip
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@store_option
@click.pass_obj
def prune_command(
    group_store: str | None, *, older_than: timedelta, status: tuple[str, ...],
    workflow: str | None, dry_run: bool, store: str | None,
) -> None:  # fmt: skip
    """Delete runs that ended long ago, with all that is kept of them.

    Runs that have not ended are never deleted. Others go on meanwhile.
    """
    from gorkflow.cli import _db
    from gorkflow.model import RunStatus

    statuses = [RunStatus(each) for each in status] or None
    click.echo(
        _db.prune(store or group_store, older_than, statuses, workflow, dry_run=dry_run), err=True
    )


@db_group.command("check", cls=Example, example=("gorkflow db check --store sqlite:runs.db",))
@store_option
@json_option
@click.pass_context
def check_command(ctx: click.Context, store: str | None, *, as_json: bool) -> None:
    """Look for damage: in the file, between its tables, in the history of each run.

    Reads everything, while others go on. Exit code 1 where something is damaged.
    """
    from gorkflow.cli import _db

    ctx.exit(_db.check(store or ctx.obj, as_json=as_json))


@db_group.command("backup", cls=Example, example=("gorkflow db backup /backups/runs-monday.db",))
@click.argument("path", type=click.Path())
@store_option
@click.pass_obj
def backup_command(group_store: str | None, path: str, store: str | None) -> None:
    """Copy the store into a new file, while others go on.

    The copy is of one moment, verified, and readable by its owner alone. A file that exists is
    never overwritten. To restore it: stop all that uses the store, and put the copy in its place.
    """
    from gorkflow.cli import _db

    click.echo(_db.backup(store or group_store, path), err=True)


@click.command(
    "doctor",
    cls=Example,
    example=("gorkflow doctor", "gorkflow doctor --store sqlite:runs.db --json"),
    context_settings=CONTEXT,
)
@store_option
@json_option
@click.pass_context
def doctor_command(ctx: click.Context, store: str | None, *, as_json: bool) -> None:
    """Tell how the store, its workers and its runs are, and what to do about it.

    Exit code 1 where something needs attention.
    """
    from gorkflow.cli import _doctor

    ctx.exit(_doctor.examine(store, as_json=as_json))
