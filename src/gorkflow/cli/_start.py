"""`gorkflow start`: queues a run for a worker; and the options of a start, which `run` has, too."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click

from gorkflow.cli._app import (
    CONTEXT,
    Command,
    json_option,
    read_queue,
    store_option,
    tags_option,
)
from gorkflow.cli._output import CliError, ExitCode, json_text, put, say, stdout_is_ours
from gorkflow.cli._target import load, naming_source, read_input, read_state, same_store
from gorkflow.engine import _json
from gorkflow.engine._start import StartOptions
from gorkflow.engine.client import Client
from gorkflow.errors import DuplicateRunError
from gorkflow.model import DEFAULT_QUEUE, Run, RunStatus
from gorkflow.stores.memory import MemoryStore

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--input", "input_text", metavar="JSON|@FILE|-", help="The input of the workflow."
    ),
    click.option("--workflow", metavar="ID", help="Which workflow, if TARGET has several."),
    click.option("--run-id", metavar="ID", help="The id of the run.  [default: a fresh one]"),
    click.option(
        "--if-exists", type=click.Choice(["raise", "return"]), default="raise", show_default=True,
        help="For an id that is taken: fail, or take the run that has it.",
    ),
    tags_option("To find it by."),
    click.option(
        "--timeout", type=float, metavar="SECONDS", help="How long the run may take."
    ),
    click.option(
        "--resource", metavar="ID", help="The id of the thing that the run is about, to find it by."
    ),
    click.option(
        "--exclusive", is_flag=True, help="Only while no other live run has the --resource."
    ),
    click.option(
        "--in-line", is_flag=True, help="Begin when no earlier live run has the --resource."
    ),
    click.option(
        "--state", "state_text", metavar="JSON|@FILE|-",
        help="The first content of ctx.state: an object.",
    ),
    click.option(
        "--delay", type=float, metavar="SECONDS", help="When to begin.  [default: at once]"
    ),
    click.option(
        "--queue", metavar="NAME", callback=read_queue,
        help="The queue whose workers run it.  [default: the workflow's]",
    ),
    click.option(
        "--priority", type=int, default=0, metavar="N",
        help="Workers take the highest first.  [default: 0]",
    ),
)  # fmt: skip


def start_options(command: _Command) -> _Command:
    """Add the options of a start."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def options_of(given: dict[str, Any]) -> StartOptions:
    """Return the options of a start, as ``Client.start`` takes them.

    Args:
        given: what the command got for ``start_options``.

    Raises:
        UsageError: If two of them don't fit together.
    """
    if given["input_text"] == given["state_text"] == "-":
        raise click.UsageError(
            "only one of --input and --state can be '-': standard input is read once; give the "
            "other one as @FILE"
        )
    if given["exclusive"] and given["in_line"]:
        raise click.UsageError("--exclusive fails where --in-line waits; give one of the two")
    if (given["exclusive"] or given["in_line"]) and given["resource"] is None:
        flag = "--in-line" if given["in_line"] else "--exclusive"
        raise click.UsageError(f"{flag} needs --resource ID: what the run has for itself")
    return {
        "run_id": given["run_id"],
        "if_exists": "return" if given["if_exists"] == "return" else "raise",
        "tags": given["tags"],
        "timeout": given["timeout"],
        "resource_id": given["resource"],
        "exclusive": "wait" if given["in_line"] else given["exclusive"],
        "delay": given["delay"],
        "queue": given["queue"],
        "priority": given["priority"],
        "state": read_state(given["state_text"]),
    }


def taken(error: DuplicateRunError, options: StartOptions, instead: str) -> str:
    """Return what to say of an id that is taken.

    Args:
        error: says that it is.
        options: those of the start.
        instead: what the command does with ``--if-exists return``.
    """
    if options.get("if_exists") == "return":  # then it says in what the runs differ
        return str(error).replace("another run_id", "another --run-id")
    return (
        f"run {error.run_id!r} exists already; give another --run-id, or {instead} with "
        "--if-exists return"
    )


def say_who_runs(run: Run, store: str | None, target: str = "TARGET") -> None:
    """Say which worker a run waits for, if it does.

    Args:
        run: the run.
        store: its store, as it was given.
        target: the code of its workflow.
    """
    if run.status is RunStatus.PENDING:
        queue = "" if run.queue == DEFAULT_QUEUE else f" --queue {run.queue}"
        say(
            f"it waits for a worker that knows workflow {run.workflow_id!r}: "
            f"gorkflow worker {target}{queue}{same_store(store)}"
        )


@click.command(
    "start",
    cls=Command,
    context_settings=CONTEXT,
    example=(
        "gorkflow start shop.py --input '{\"id\": 7}'",
        "gorkflow start shop.flows:render --input @scene.json --queue gpu --priority 5",
    ),
)
@click.argument("target")
@start_options
@store_option
@json_option
def start_command(*, target: str, store: str | None, as_json: bool, **given: Any) -> None:
    """Queue a run for a worker, and print its id.

    TARGET is as for `gorkflow run`. This command runs no step: a worker does, now or later.
    """
    options = options_of(given)
    with stdout_is_ours():
        loaded = load(target)
        engine = loaded.engine
        if engine is not None and store is not None:
            raise CliError("the engine of TARGET brings its store; leave out --store")
        workflow = loaded.choose(given["workflow"])
        value = read_input(workflow, given["input_text"])

    async def work() -> _json.Record:
        client = Client(store) if engine is None else Client(engine.store, defaults=engine.defaults)
        if isinstance(client.store, MemoryStore):
            raise CliError(
                "no worker can reach a run in 'memory:'; write --store sqlite:PATH, or run it here "
                "with gorkflow run"
            )
        async with client:
            try:
                handle = await client.start(workflow, value, **options)
            except DuplicateRunError as error:
                raise CliError(taken(error, options, "get its id"), ExitCode.CONFLICT) from None
            return await _json.record(client.store, handle.run_id)

    with naming_source(engine or store):
        found = asyncio.run(work())
    put(json_text(found.to_json(), short=None) if as_json else found.run.run_id)
    say_who_runs(found.run, store, shlex.quote(target))
