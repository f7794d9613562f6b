"""Workflows without a run: `gorkflow check` advises, `gorkflow graph` draws."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from gorkflow.cli._app import CONTEXT, Command, json_option
from gorkflow.cli._output import (
    CliError,
    ExitCode,
    clean,
    json_text,
    put,
    say,
    show_picture,
    stdout_is_ours,
)
from gorkflow.cli._target import Target, load
from gorkflow.insight import diagram, picture
from gorkflow.insight.check import Advice
from gorkflow.insight.check import check as advice_on
from gorkflow.workflow import Workflow

_MARKS = {"warning": ("!", "yellow"), "info": ("·", "cyan")}
_Found = list[tuple[Workflow[Any, Any], Advice]]


@click.command(
    "check",
    cls=Command,
    context_settings=CONTEXT,
    example=(
        "gorkflow check shop.py",
        "gorkflow check shop.flows:checkout --ignore unbounded --json",
    ),
)
@click.argument("target")
@click.option("--workflow", metavar="ID", help="Only this one, if TARGET has several.")
@click.option("--ignore", multiple=True, metavar="CODE", help="Leave out this advice; repeatable.")
@json_option
@click.pass_context
def check_command(
    ctx: click.Context, *, target: str, workflow: str | None, ignore: tuple[str, ...], as_json: bool
) -> None:
    """Look for what costs time or gets lost in workflows, without running them.

    TARGET is what `gorkflow run` takes; all workflows of a module count. Exit code 1 where there is
    a warning; docs/check.md explains each code.
    """
    ctx.exit(check(target, workflow, ignore, as_json=as_json))


def check(
    target: str, workflow_id: str | None, ignore: Sequence[str], *, as_json: bool
) -> ExitCode:
    """Print what could be better in workflows, and return the exit code.

    Args:
        target: as it was typed.
        workflow_id: which one; ``None``: all.
        ignore: codes of advice that is not wanted.
        as_json: as one object.

    Raises:
        CliError: If TARGET can't be used, or the code does not exist.
        WorkflowInvalidError: If a workflow is not complete.
    """
    with stdout_is_ours():
        loaded = load(target)
    workflows = _chosen(loaded, workflow_id)
    defaults = None if loaded.engine is None else loaded.engine.defaults
    try:
        found = [
            (workflow, advice)
            for workflow in workflows
            for advice in advice_on(workflow, defaults=defaults, ignore=ignore)
        ]
    except ValueError as error:
        raise CliError(str(error)) from None
    _show(workflows, found, as_json=as_json)
    warned = any(advice.level == "warning" for _, advice in found)
    return ExitCode.WARNED if warned else ExitCode.OK


def _chosen(target: Target, workflow_id: str | None) -> list[Workflow[Any, Any]]:
    if workflow_id is not None or not target.workflows:
        return [target.choose(workflow_id)]
    return list({id(item): item for item in target.workflows.values()}.values())


def _show(workflows: Sequence[Workflow[Any, Any]], found: _Found, *, as_json: bool) -> None:
    if as_json:
        body = {
            "workflows": [workflow.id for workflow in workflows],
            "advice": [{"workflow": workflow.id, **asdict(advice)} for workflow, advice in found],
        }
        put(json_text(body, short=None))
        return
    if found and sys.stdout.isatty():
        _draw(found)
    elif found:
        put("\n".join(_plain(found)))
    count = len(workflows)
    say(f"{count} workflow{'' if count == 1 else 's'} checked: {_total(found)}")


def _plain(found: _Found) -> Iterator[str]:
    for workflow, advice in found:
        yield clean(f"{_place(workflow, advice)}: {advice.level}: {advice.message} [{advice.code}]")


def _draw(found: _Found) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for workflow, advice in found:
        mark, colour = _MARKS[advice.level]
        head = (f"{mark} ", colour), (clean(_place(workflow, advice)), "bold")
        console.print(Text.assemble(*head, f"  {advice.code}"))
        console.print(Padding(Text(clean(advice.message)), (0, 0, 0, 2)))


def _place(workflow: Workflow[Any, Any], advice: Advice) -> str:
    return f"{workflow.id}/{advice.path}" if advice.path else workflow.id


def _total(found: Iterable[tuple[object, Advice]]) -> str:
    levels = [advice.level for _, advice in found]
    warned, told = levels.count("warning"), levels.count("info")
    parts = [f"{warned} warning{'' if warned == 1 else 's'}"] if warned else []
    parts += [f"{told} hint{'' if told == 1 else 's'}"] if told else []
    return ", ".join(parts) or "no advice"


# ---- graph ------------------------------------------------------------------------------------


@click.command(
    "graph",
    cls=Command,
    context_settings=CONTEXT,
    example=(
        "gorkflow graph shop.py:checkout",
        "gorkflow graph shop.py --format mermaid > shop.mmd",
    ),
)
@click.argument("target")
@click.option("--workflow", metavar="ID", help="Which workflow, if TARGET has several.")
@click.option(
    "--format", "how", type=click.Choice(["text", "mermaid", "svg"]), default="text",
    show_default=True, help="A tree of lines, a Mermaid flowchart, or a picture.",
)  # fmt: skip
@click.option("--open", "opens", is_flag=True, help="Show the picture in the browser.")
def graph_command(target: str, workflow: str | None, how: str, *, opens: bool) -> None:
    """Draw a workflow.

    TARGET is what `gorkflow run` takes.
    """
    with stdout_is_ours():
        tree = load(target).choose(workflow).compile().tree
    if opens:
        show_picture(picture.svg(tree), f"flow-{tree.id}")
    elif how == "svg":
        put(picture.svg(tree))
    else:
        put(diagram.mermaid(tree) if how == "mermaid" else diagram.text(tree), nl=False)
