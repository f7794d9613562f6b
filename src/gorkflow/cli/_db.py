"""The care of a store: `gorkflow db` prunes it, checks it for damage, and backs it up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import click

from gorkflow import transaction
from gorkflow._text import counted
from gorkflow.cli._app import (
    CONTEXT,
    Group,
    group_store_option,
    json_option,
    read_age,
    store_option,
)
from gorkflow.cli._output import CliError, ExitCode, clean, json_text, put, say
from gorkflow.cli._target import check_exists, in_same_store, naming_source, opened
from gorkflow.clock import time_of
from gorkflow.engine import _maintenance
from gorkflow.engine._maintenance import damaged
from gorkflow.errors import StoreCorruptError
from gorkflow.model import RunStatus
from gorkflow.store import Copyable, Finding, Inspectable, Level, Store

_MARKS = {
    Level.OK: ("✓", "green"),
    Level.INFO: ("·", "cyan"),
    Level.WARNING: ("!", "yellow"),
    Level.PROBLEM: ("✗", "red"),
}


@click.group(
    "db",
    cls=Group,
    example=("gorkflow db prune --older-than 30d --dry-run", "gorkflow db backup runs-monday.db"),
    context_settings=CONTEXT,
)
@group_store_option
def db_command() -> None:
    """Look after the store: delete old runs, check for damage, back it up."""


@db_command.command(
    "prune",
    example=("gorkflow db prune --older-than 30d --status completed --workflow checkout",),
)
@click.option(
    "--older-than", "age", callback=read_age, required=True, metavar="AGE",
    help="Only runs that ended longer ago than this: a number and s, m, h, d or w, as in 30d.",
)  # fmt: skip
@click.option(
    "--status", multiple=True, type=click.Choice(["completed", "failed", "cancelled"]),
    help="Only runs that ended so; repeatable.  [default: all three]",
)  # fmt: skip
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option("--dry-run", is_flag=True, help="Only count the runs.")
@store_option
def prune_command(
    *, age: timedelta, status: tuple[str, ...], workflow: str | None, dry_run: bool,
    store: str | None,
) -> None:  # fmt: skip
    """Delete runs that ended long ago, with all their records.

    Runs that have not ended are never deleted. Other processes may use the store meanwhile.
    """
    statuses = [RunStatus(each) for each in status] or None

    async def work() -> str:
        async with _kept(store) as (rows, keeper):
            now = await time_of(rows)
            query = _maintenance.ended(age, now=now, workflow_id=workflow, status=statuses)
            if dry_run:
                found = sum([len(batch) async for batch in _maintenance.batches(rows, query)])
                return f"{counted(found, 'run')} would be deleted"
            deleted = await _maintenance.delete(rows, query)
            free = await keeper.tidy()
            room = f"{free / 1e6:,.1f} MB of the file are free for new ones"
            return f"{counted(deleted, 'run')} deleted; {room}"

    say(asyncio.run(work()))


@db_command.command("check", example=("gorkflow db check --store sqlite:runs.db",))
@store_option
@json_option
@click.pass_context
def check_command(ctx: click.Context, *, store: str | None, as_json: bool) -> None:
    """Look for damage: in the file, between its tables, in the history of each run.

    Reads everything; other processes may use the store meanwhile. Exit code 1 if it finds damage.
    """

    async def work() -> tuple[list[Finding], int]:
        rows = check_exists(store)
        keeper = inspectable(rows)
        found: list[Finding] = []
        runs = 0
        with naming_source(store):
            try:
                await rows.open()
                found += await keeper.check()
                named = {each.about for each in found}
                async for wrong in damaged(rows):
                    runs += 1
                    if wrong is not None and wrong.about not in named:
                        found.append(wrong)
            except StoreCorruptError as error:  # too far gone to be looked at as a whole
                found.append(Finding(Level.PROBLEM, "file", str(error)))
            finally:
                await rows.close()
        return found, runs

    found, runs = asyncio.run(work())
    if not found:
        found = [Finding(Level.OK, "store", f"{counted(runs, 'run')} checked, nothing is damaged")]
    ctx.exit(show_findings(found, store, as_json=as_json, runs=runs))


def _read_file(_: click.Context, __: click.Parameter, given: str) -> str:
    if not given or Path(given).is_dir():
        raise click.BadParameter(f"{given!r} is not a file; name a new file for the copy")
    return given


@db_command.command("backup", example=("gorkflow db backup /backups/runs-monday.db",))
@click.argument("path", type=click.Path(), callback=_read_file)
@store_option
def backup_command(*, path: str, store: str | None) -> None:
    """Copy the store into a new file, while other processes use it.

    The copy is of one moment, verified, and readable by its owner alone. A file that exists is
    never overwritten. To restore it: stop all that uses the store, and put the copy in its place.
    """

    async def work() -> int:
        async with _kept(store) as (rows, _):
            if not isinstance(rows, Copyable):
                raise CliError(f"{rows!r} can't copy itself; use the tools of its database")
            return await rows.backup(path)

    size = asyncio.run(work())
    say(f"backed up to {path}: {size / 1e6:,.1f} MB, verified")


@runtime_checkable
class _Scripted(Protocol):
    """A store on a server, whose tables another user may have to make."""

    def schema_sql(self) -> str:
        """Return the SQL that makes them."""
        ...


@db_command.command("migrate", example=("gorkflow db migrate --print-sql > gorkflow.sql",))
@click.option(
    "--print-sql", is_flag=True,
    help="Only print the SQL that makes the tables in an empty database.",
)  # fmt: skip
@store_option
def migrate_command(*, print_sql: bool, store: str | None) -> None:
    """Bring the tables of a store up to date, as the first engine otherwise does.

    On a server that may need the rights of another user: run it as that user, or have the SQL run.
    """
    rows = check_exists(store)
    if not print_sql:
        asyncio.run(_open_once(rows, store))
        say(f"{rows!r} is up to date")
    elif isinstance(rows, _Scripted):
        put(rows.schema_sql())
    else:
        raise CliError(f"{rows!r} needs no SQL: the first engine makes the file")


async def _open_once(rows: Store, store: str | None) -> None:
    with naming_source(store):
        await rows.open()
    await rows.close()


@db_command.command("prepare", example=("gorkflow db prepare postgresql:///shop",))
@click.argument("url")
@click.option("--print-sql", is_flag=True, help="Only print the statement.")
def prepare_command(*, url: str, print_sql: bool) -> None:
    """Make the table for results of ctx.transaction in a database of yours.

    URL is a URL of PostgreSQL or SQLAlchemy, or the path of an SQLite file. Steps make the table by
    themselves, if their user may. A table that exists stays as it is.
    """
    try:
        if print_sql:
            put(transaction.statement(url))
        else:
            transaction.prepare(url)
            say(f"the table {transaction.TABLE} is there")
    except (ModuleNotFoundError, TypeError, ValueError) as error:
        raise CliError(str(error)) from None
    except Exception as error:
        raise CliError(f"the table {transaction.TABLE} can't be made: {error}") from error


def inspectable(store: Store) -> Inspectable:
    """Return the store as one that can be examined, checked and tidied.

    Raises:
        CliError: If it keeps no file.
    """
    if isinstance(store, Inspectable):
        return store
    raise CliError(
        f"{store!r} keeps no file, so there is nothing to look after; name one: --store sqlite:PATH"
    )


@asynccontextmanager
async def _kept(url: str | None) -> AsyncGenerator[tuple[Store, Inspectable]]:
    async with opened(url) as store:
        yield store, inspectable(store)


# ---- findings ---------------------------------------------------------------------------------


def show_findings(
    findings: Sequence[Finding], store: str | None, *, as_json: bool, **more: Any
) -> ExitCode:
    """Print findings; return the exit code that says whether all is well.

    Args:
        findings: of the store, its workers, its runs.
        store: the value of ``--store``, for the commands that findings advise.
        as_json: as one object, with ``healthy`` and ``findings``.
        more: further fields of that object.
    """
    findings = [
        each._replace(
            text=in_same_store(each.text, store), advice=in_same_store(each.advice, store)
        )
        for each in findings
    ]
    healthy = all(each.level is not Level.PROBLEM for each in findings)
    if as_json:
        body = {"healthy": healthy, **more, "findings": [each._asdict() for each in findings]}
        put(json_text(body, short=None))
    elif sys.stdout.isatty():
        _draw(findings)
    else:
        put("\n".join(_plain(findings)))
    return ExitCode.OK if healthy else ExitCode.RUN_FAILED


def _plain(findings: Iterable[Finding]) -> Iterable[str]:
    for each in findings:
        yield clean(f"{each.level.value:<8} {each.about}: {each.text}")
        if each.advice:
            yield clean(f"{'':<8} -> {each.advice}")


def _draw(findings: Iterable[Finding]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for each in findings:
        mark, colour = _MARKS[each.level]
        line = Text.assemble(
            (f"{mark} ", colour), (f"{clean(each.about)}: ", "bold"), clean(each.text)
        )
        console.print(line)
        if each.advice:
            console.print(Padding(Text(f"→ {clean(each.advice)}"), (0, 0, 0, 2)))
